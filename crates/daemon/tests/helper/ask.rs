//! Asking an authenticator and waiting for its answer.

use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use auth::{Answer, Authenticator, Policy, PolicyRequest, Reply, Verdict, VerifyRequest};
use iscsi_wire::IscsiName;

/// Longer than any deadline in these tests: what takes so long hangs.
const HANGS: Duration = Duration::from_secs(60);

/// An answer on its way.
pub(crate) struct Pending<T>(Receiver<Option<T>>);

impl<T: Send + 'static> Pending<T> {
    fn of(ask: impl FnOnce(Reply<T>) -> Answer<T>) -> Self {
        let (sender, receiver) = mpsc::channel();
        let now = sender.clone();
        let reply = Reply::new(move |answer| {
            // The test may have gone on.
            let _gone = sender.send(answer);
        });
        if let Answer::Now(answer) = ask(reply) {
            now.send(Some(answer)).expect("the receiver is here");
        }
        Self(receiver)
    }

    /// The answer.
    pub(crate) fn wait(self) -> T {
        let answer = self.0.recv_timeout(HANGS).expect("it hangs");
        let second = self.0.recv_timeout(HANGS).is_ok();
        assert!(!second, "a second answer");
        answer.expect("no answer at all: a reply was dropped")
    }
}

pub(crate) fn begin_policy(of: &dyn Authenticator, request: &PolicyRequest) -> Pending<Policy> {
    Pending::of(|reply| of.policy(request, reply))
}

pub(crate) fn begin_verify(of: &dyn Authenticator, request: &VerifyRequest) -> Pending<Verdict> {
    Pending::of(|reply| of.verify(request, reply))
}

pub(crate) fn policy(of: &dyn Authenticator, request: &PolicyRequest) -> Policy {
    begin_policy(of, request).wait()
}

pub(crate) fn verify(of: &dyn Authenticator, request: &VerifyRequest) -> Verdict {
    begin_verify(of, request).wait()
}

pub(crate) fn name(text: &str) -> IscsiName {
    IscsiName::parse(&format!("iqn.2024-01.lab.example:{text}")).expect("well formed")
}

/// `initiator` to `target`, or to discovery.
pub(crate) fn request(initiator: &str, target: Option<&str>) -> PolicyRequest {
    PolicyRequest {
        initiator: name(initiator),
        target: target.map(name),
        portal_group_tag: target.map(|_| 1),
        portal: ([127, 0, 0, 1], 3260).into(),
        peer: ([127, 0, 0, 1], 40000).into(),
    }
}
