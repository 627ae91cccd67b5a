//! The two questions a login asks of whoever authenticates, and their answers.

use core::fmt;
use std::net::SocketAddr;

use iscsi_wire::{IscsiName, Redirection};

use crate::ChapAlgorithm;

/// The first question: how must this initiator authenticate itself here?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyRequest {
    /// Who asks to log in. Claimed by the peer, not yet proven.
    pub initiator: IscsiName,
    /// The target, or `None` in a discovery session.
    pub target: Option<IscsiName>,
    /// The portal group of the target that the connection came in through, or `None` in a discovery session.
    pub portal_group_tag: Option<u16>,
    /// Our end of the connection.
    pub portal: SocketAddr,
    /// The initiator's end of the connection.
    pub peer: SocketAddr,
}

/// The answer to [`PolicyRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Policy {
    /// No authentication: the name is believed.
    Open,
    /// CHAP, with these conditions.
    Chap(ChapPolicy),
    /// Nobody logs in under this name here.
    Deny(Refusal),
    /// The target is elsewhere for this initiator, whoever it is. Of no use in a discovery session, which has no target.
    Redirect(Redirection),
}

/// How CHAP is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChapPolicy {
    /// The algorithms allowed, the preferred first. Of what the initiator lists, the first of these is chosen.
    pub algorithms: Vec<ChapAlgorithm>,
    /// Whether the target authenticates itself too.
    pub mutual: Mutual,
    /// CHAP is offered but not required: an initiator that prefers no authentication is let in without.
    pub none_allowed: bool,
}

/// Whether the target authenticates itself to the initiator (RFC 7143 §12.1.3, CHAP_I and CHAP_C of the initiator).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutual {
    /// It cannot: an initiator that asks for it is refused.
    Never,
    /// It does where the initiator asks for it.
    Allowed,
    /// An initiator that does not ask for it is refused.
    Required,
}

/// The second question: does this response prove that the initiator knows a secret we accept?
#[derive(Clone, PartialEq, Eq)]
pub struct VerifyRequest {
    /// The first question again: what the answer is about.
    pub request: PolicyRequest,
    /// The algorithm agreed on.
    pub algorithm: ChapAlgorithm,
    /// The identifier of our challenge.
    pub identifier: u8,
    /// Our challenge.
    pub challenge: Vec<u8>,
    /// CHAP_N: the user name, 1 to [`crate::MAX_CHAP_NAME_BYTES`] bytes.
    pub name: String,
    /// CHAP_R: as long as a digest of `algorithm`.
    pub response: Vec<u8>,
    /// The initiator's own challenge, where it asks the target to authenticate itself.
    pub mutual: Option<MutualChallenge>,
}

/// The initiator's challenge to the target.
#[derive(Clone, PartialEq, Eq)]
pub struct MutualChallenge {
    /// CHAP_I.
    pub identifier: u8,
    /// CHAP_C: 1 to [`crate::MAX_BINARY_BYTES`] bytes, never our own challenge.
    pub challenge: Vec<u8>,
}

/// The answer to [`VerifyRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The initiator is who it says.
    Allow {
        /// The target's proof; required exactly where the request carried a challenge.
        mutual: Option<MutualResponse>,
        /// The node ACL by which this initiator is served in place of its own: a name that configuration knows.
        acl: Option<IscsiName>,
    },
    /// It is not, or it cannot be told.
    Deny(Refusal),
    /// It is, and the target is elsewhere for it.
    Redirect(Redirection),
}

/// The target's answer to the initiator's challenge.
#[derive(Clone, PartialEq, Eq)]
pub struct MutualResponse {
    /// CHAP_N of the target.
    pub name: String,
    /// CHAP_R of the target.
    pub response: Vec<u8>,
}

/// Why an authenticator says no. The peer hears only the login status; the log and the counters hear this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// This initiator may not use this target at all.
    NotAuthorized,
    /// Nobody of this CHAP_N may log in here.
    UnknownUser,
    /// The CHAP_R does not prove the secret.
    WrongResponse,
    /// One secret serves both directions.
    SameSecret,
    /// The initiator asks the target to authenticate itself, and there is no secret for that.
    MutualNotConfigured,
    /// No answer can be had now: the initiator may try again.
    Unavailable,
}

impl Refusal {
    /// What it says, for people.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::NotAuthorized => "this initiator is not allowed here",
            Self::UnknownUser => "unknown CHAP user",
            Self::WrongResponse => "wrong CHAP response",
            Self::SameSecret => "one CHAP secret is used in both directions",
            Self::MutualNotConfigured => "no secret for mutual CHAP",
            Self::Unavailable => "authentication is not available now",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// When an answer comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<T> {
    /// Here it is. Made by [`Reply::now`], which makes sure that no second answer comes.
    Now(T),
    /// Through [`Reply::send`], from any thread.
    Later,
}

/// Whoever decides who may log in. Deny by default: an answer that never comes is a refusal, the asker keeps a deadline.
///
/// Both questions are asked by a worker that must not wait: an implementation that has the answer in memory returns
/// [`Reply::now`]; any other hands the reply to a thread of its own and returns [`Answer::Later`].
pub trait Authenticator: Send + Sync {
    /// How must this initiator authenticate itself? Asked once per login, before anything is agreed.
    fn policy(&self, request: &PolicyRequest, reply: Reply<Policy>) -> Answer<Policy>;

    /// Is this response right? Asked at most once per login.
    fn verify(&self, request: &VerifyRequest, reply: Reply<Verdict>) -> Answer<Verdict>;

    /// The target's proof alone, where its secret is in memory: for another authenticator that has found the response
    /// right and cannot answer the initiator's challenge itself.
    ///
    /// # Errors
    /// There is no challenge, or no secret for it, or the response was made with that secret.
    fn prove(&self, _request: &VerifyRequest) -> Result<MutualResponse, Refusal> {
        Err(Refusal::MutualNotConfigured)
    }
}

/// The way back for an answer that comes later. Dropped unused, it says "no answer", so that a login whose helper died
/// ends at once instead of at its deadline.
pub struct Reply<T>(Option<Box<dyn FnOnce(Option<T>) + Send>>);

impl<T> Reply<T> {
    /// `deliver` is called exactly once, from any thread, unless the question is answered by [`Self::now`]; with `None`
    /// when there will be no answer.
    #[must_use]
    pub fn new(deliver: impl FnOnce(Option<T>) + Send + 'static) -> Self {
        Self(Some(Box::new(deliver)))
    }

    /// Answers at once, by return value; `deliver` is not called.
    #[must_use]
    pub fn now(mut self, answer: T) -> Answer<T> {
        self.0 = None;
        Answer::Now(answer)
    }

    /// Answers later.
    pub fn send(mut self, answer: T) {
        if let Some(deliver) = self.0.take() {
            deliver(Some(answer));
        }
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        if let Some(deliver) = self.0.take() {
            deliver(None);
        }
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

// A challenge and its response together let a reader of the log guess at the secret at leisure: neither is printed.
impl fmt::Debug for VerifyRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyRequest")
            .field("request", &self.request)
            .field("algorithm", &self.algorithm)
            .field("identifier", &self.identifier)
            .field("name", &self.name)
            .field("mutual", &self.mutual)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for MutualChallenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MutualChallenge")
            .field("identifier", &self.identifier)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for MutualResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MutualResponse")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn reply_sent_from_another_thread_is_delivered_once() {
        let (sender, receiver) = mpsc::channel();
        let reply = Reply::new(move |answer| sender.send(answer).expect("the test listens"));
        std::thread::scope(|scope| {
            scope.spawn(move || reply.send(Policy::Open));
        });
        assert_eq!(receiver.iter().collect::<Vec<_>>(), [Some(Policy::Open)]);
    }

    #[test]
    fn reply_dropped_says_no_answer() {
        let (sender, receiver) = mpsc::channel::<Option<Policy>>();
        drop(Reply::new(move |answer| {
            sender.send(answer).expect("the test listens")
        }));
        assert_eq!(receiver.iter().collect::<Vec<_>>(), [None]);
    }

    #[test]
    fn reply_now_answers_by_value_only() {
        let (sender, receiver) = mpsc::channel();
        let reply = Reply::new(move |answer| sender.send(answer).expect("the test listens"));
        assert_eq!(reply.now(Policy::Open), Answer::Now(Policy::Open));
        assert_eq!(receiver.iter().count(), 0);
    }
}
