//! The commit: what a login found must still stand, and its nexus must be its own.

use std::time::Duration;

use iscsi_proto::login::{CommitRequest, Established, LoginIdentity, SessionType};
use iscsi_proto::session::RecoveryLimits;
use iscsi_wire::Tsih;
use model::RecoveryTimes;

use super::redirect::Proof;
use super::why::{Why, admission, nexus_key};
use super::{Become, Commit, Fate, Joins, LoginLink};
use crate::registry::{Claim, ClaimEvent, ClaimOutcome, SessionRef};
use crate::shared::{Admitted, Message, Place, WorkerId};
use crate::worker::cx::Cx;

/// A discovery session takes one request at a time.
const DISCOVERY_QUEUE_DEPTH: u16 = 4;

/// A session's patience, as its protocol has it.
fn patience(times: RecoveryTimes) -> RecoveryLimits {
    let seconds = |seconds: u16| Duration::from_secs(seconds.into());
    RecoveryLimits {
        data_out_timeout: seconds(times.data_out),
        status_timeout: seconds(times.status),
        data_in_timeout: seconds(times.data_in),
    }
}

impl LoginLink {
    /// The commit: what was found must still stand, and the nexus must be ours.
    pub(super) fn claim(&mut self, request: CommitRequest, cx: &mut Cx) -> Fate {
        if request.identity.session_type == SessionType::Discovery {
            let tsih = cx.shared.discovery_tsih();
            return self.become_session(tsih, self.discovery_place(), cx);
        }
        let place = match self.place(&request.identity, cx) {
            Ok(place) => place,
            Err(why) => return self.refuse(&why, &request.identity, cx),
        };
        if let Some(joins) = &self.joins {
            let session = joins.session;
            // RFC 7143 §9.2: all connections of a session authenticate alike, also where a rule leaves them the choice or has
            // changed.
            let record = cx.shared.directory.find(session.session());
            if record.is_some_and(|of| of.authenticated_as != request.authenticated_as) {
                return self.refuse(&Why::OTHER_IDENTITY, &request.identity, cx);
            }
            return self.join(request.identity.tsih, session, cx);
        }
        if self.is_redirected(&request.identity, Proof::Given, cx) {
            return Fate::Goes;
        }
        let Some(group) = place.group.clone() else {
            return self.refuse(&Why::CHANGED, &request.identity, cx);
        };
        let nexus = nexus_key(&request.identity);
        let (to, login) = (self.mailbox(cx), self.key);
        let notify = move |event: ClaimEvent| {
            let _gone = to.send(Message::Claim { login, event });
        };
        match group.registry.claim(nexus, notify) {
            ClaimOutcome::Granted(claim) => self.granted(&request, claim, cx),
            ClaimOutcome::Waits { claim, end } => {
                let deadline = cx
                    .now
                    .saturating_add(cx.shared.config.reinstatement_timeout);
                cx.timers.insert(deadline, self.key);
                self.commit = Some(Commit {
                    request,
                    claim,
                    deadline,
                });
                if let Some(old) = end {
                    cx.send(WorkerId(old.worker), Message::Replace(old.session()));
                }
                Fate::Goes
            }
            ClaimOutcome::Closed => self.refuse(&Why::CHANGED, &request.identity, cx),
        }
    }

    pub(in crate::worker) fn claim_event(&mut self, event: ClaimEvent, cx: &mut Cx) -> Fate {
        let Some(commit) = self.commit.take() else {
            return Fate::Goes;
        };
        match event {
            ClaimEvent::Ready => {
                let fate = self.granted(&commit.request, commit.claim, cx);
                self.after_commit(fate, cx)
            }
            // A newer login of the nexus has taken over: this connection is dropped unanswered.
            ClaimEvent::Superseded => self.close(cx),
            ClaimEvent::Cancelled => {
                let fate = self.refuse(&Why::CHANGED, &commit.request.identity, cx);
                self.after_commit(fate, cx)
            }
        }
    }

    /// A commit that did not become a session was refused: the refusal goes out, and the connection closes.
    pub(super) fn after_commit(&mut self, fate: Fate, cx: &mut Cx) -> Fate {
        match fate {
            Fate::Goes => self.advance(cx),
            fate => self.with_unread(fate),
        }
    }

    /// The nexus is ours. The session is made live by the worker it lives on, once that knows it: whoever wants it ended
    /// from then on finds it there.
    pub(super) fn granted(&mut self, request: &CommitRequest, claim: Claim, cx: &mut Cx) -> Fate {
        // The world may have changed while the login waited.
        match self.place(&request.identity, cx) {
            Ok(place) => {
                let tsih = claim.tsih();
                let claim = Some(claim);
                self.become_session(tsih, Place { claim, ..place }, cx)
            }
            Err(why) => {
                drop(claim);
                self.refuse(&why, &request.identity, cx)
            }
        }
    }

    /// It is admitted: its session takes it in, and makes sure once more that it may.
    fn join(&mut self, tsih: Tsih, session: SessionRef, cx: &Cx) -> Fate {
        let established = self.establish(tsih, cx);
        Fate::Joins(Box::new(Joins {
            worker: WorkerId(session.worker),
            session: session.session(),
            established,
            admitted: self.admitted.clone(),
            unread: Vec::new(),
            socket: self.socket,
        }))
    }

    pub(super) fn become_session(&mut self, tsih: Tsih, place: Place, cx: &mut Cx) -> Fate {
        let (worker, session) = (cx.shared.place_session(cx.id), cx.shared.new_session_id());
        let established = self.establish(tsih, cx);
        Fate::Session(Box::new(Become {
            worker,
            session,
            established,
            place,
            unread: Vec::new(),
            socket: self.socket,
        }))
    }

    /// The login is done; its link has nothing to do any more.
    fn establish(&mut self, tsih: Tsih, cx: &Cx) -> Established {
        let mut established = self.proto.commit(tsih);
        // Responses that came before the last one and have not been sent yet go before it.
        if !self.out.is_empty() {
            let earlier = std::mem::take(&mut self.out);
            for last in [&mut established.final_response, &mut established.refusal] {
                last.splice(0..0, earlier.iter().copied());
            }
        }
        cx.counters.logins_accepted.add(1);
        self.closed = true;
        self.became_session = true;
        established
    }

    pub(super) fn refuse(&mut self, why: &Why, identity: &LoginIdentity, cx: &Cx) -> Fate {
        self.log_refusal(identity, why, cx);
        self.proto.refuse(why.status);
        Fate::Goes
    }

    /// Admits once more, by the tree as it is now, and finds what the session will work with.
    pub(super) fn place(&self, identity: &LoginIdentity, cx: &Cx) -> Result<Place, Why> {
        if cx.shared.is_draining() {
            return Err(Why::DRAINING);
        }
        let world = cx.shared.world.load();
        let admission = admission(&world, identity, self.local).map_err(|_| Why::CHANGED)?;
        let admitted = Admitted::by(&admission, &world.tree);
        if self.admitted.as_ref() != Some(&admitted) {
            // Another object of the same name, or another policy: start again.
            return Err(Why::CHANGED);
        }
        let served = admission.served_by(self.named.as_ref());
        let admission = served.map_err(|refusal| Why::by(refusal.0))?;
        let settings = admission.group.settings(admission.acl.as_deref());
        Ok(Place {
            group: world.groups.get(&admission.group.id).cloned(),
            admitted: Some(admitted),
            named: self.named.clone(),
            acl: admission.acl.as_ref().map(|acl| acl.id),
            generation: world.tree.generation,
            queue_depth: settings.queue_depth,
            reports: settings.report_unit_attentions,
            recovery: patience(settings.recovery),
            relative_target_port: admission.group.relative_target_port(),
            luns: world.luns(&admission.group, admission.acl.as_deref()),
            local: self.local,
            peer: self.peer,
            claim: None,
        })
    }

    pub(super) fn discovery_place(&self) -> Place {
        Place {
            group: None,
            admitted: None,
            named: None,
            acl: None,
            generation: 0,
            queue_depth: DISCOVERY_QUEUE_DEPTH,
            reports: false,
            recovery: RecoveryLimits::default(),
            relative_target_port: 0,
            luns: Vec::new().into(),
            local: self.local,
            peer: self.peer,
            claim: None,
        }
    }
}
