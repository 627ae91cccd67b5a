//! What a login asks: which target is meant, how its initiator must prove itself, and whether it has.

use auth::{Policy, Verdict};
use iscsi_proto::login::{JoinedWindow, LoginIdentity, SessionType, TargetOffer};
use iscsi_wire::{LoginStatus, Tsih};
use model::{Admission, SessionSettings};

use super::why::{Why, admission, nexus_key, offered};
use super::{Fate, Joinable, LoginLink};
use crate::observe::RefusedLogin;
use crate::registry::SessionRef;
use crate::shared::{Admitted, JoinRefused, MayJoin, Message, WorkerId, World};
use crate::worker::cx::Cx;

impl LoginLink {
    pub(super) fn verdict(&mut self, verdict: Option<Verdict>, cx: &Cx) {
        let refusal = match &verdict {
            Some(Verdict::Deny(reason)) => Some(*reason),
            None => Some(auth::Refusal::Unavailable),
            Some(Verdict::Allow { acl, .. }) => {
                self.named.clone_from(acl);
                None
            }
            Some(Verdict::Redirect(to)) => {
                self.note_redirection(to, "auth_helper", cx);
                None
            }
        };
        self.log_denial(refusal, cx);
        self.proto.verdict_is(verdict);
    }

    pub(super) fn policy(&mut self, policy: Option<Policy>, cx: &Cx) {
        let refusal = match &policy {
            Some(Policy::Deny(reason)) => Some(*reason),
            None => Some(auth::Refusal::Unavailable),
            Some(Policy::Redirect(to)) => {
                self.note_redirection(to, "auth_helper", cx);
                None
            }
            Some(_) => None,
        };
        self.log_denial(refusal, cx);
        self.proto.policy_is(policy);
    }

    /// Tells the operator, where the authenticator said no.
    pub(super) fn log_denial(&self, refusal: Option<auth::Refusal>, cx: &Cx) {
        let (Some(refusal), Some(identity)) = (refusal, &self.identity) else {
            return;
        };
        let status = match refusal {
            auth::Refusal::Unavailable => LoginStatus::SERVICE_UNAVAILABLE,
            _ => LoginStatus::AUTHENTICATION_FAILURE,
        };
        let why = Why {
            status,
            rule: "authentication",
            text: refusal.text(),
        };
        self.log_refusal(identity, &why, cx);
    }

    pub(in crate::worker) fn policy_answer(&mut self, answer: Option<Policy>, cx: &mut Cx) -> Fate {
        self.policy(answer, cx);
        self.advance(cx)
    }

    pub(in crate::worker) fn verdict_answer(
        &mut self,
        answer: Option<Verdict>,
        cx: &mut Cx,
    ) -> Fate {
        self.verdict(answer, cx);
        self.advance(cx)
    }

    pub(super) fn resolve(
        &mut self,
        identity: &LoginIdentity,
        cx: &Cx,
    ) -> Result<TargetOffer, Why> {
        if cx.shared.is_draining() {
            return Err(Why::DRAINING);
        }
        let world = cx.shared.world.load();
        if identity.session_type == SessionType::Discovery {
            // RFC 7143 §7.4.2.2, §13.9: where a target is named, its group there is known. It is told to whom the target would be.
            let named = identity.target_name.as_ref();
            let named = named.and_then(|_| admission(&world, identity, self.local).ok());
            return Ok(TargetOffer {
                portal_group_tag: named.map(|admission| admission.group.tag),
                target_alias: None,
                joins: None,
                params: offered(&SessionSettings::default()),
            });
        }
        let admission = admission(&world, identity, self.local)?;
        let offer = TargetOffer {
            portal_group_tag: Some(admission.group.tag),
            target_alias: admission.target.alias().map(str::to_owned),
            joins: None,
            params: offered(&admission.group.settings(admission.acl.as_deref())),
        };
        if identity.tsih != Tsih(0) {
            let session = self.session_to_join(identity, &admission, &world)?;
            self.joins = Some(Joinable {
                session,
                offer: offer.clone(),
            });
        }
        self.admitted = Some(Admitted::by(&admission, &world.tree));
        Ok(offer)
    }

    /// A TSIH that is not zero asks to join a session of the same nexus (RFC 7143 §6.3.1).
    fn session_to_join(
        &self,
        identity: &LoginIdentity,
        admission: &Admission,
        world: &World,
    ) -> Result<SessionRef, Why> {
        let group = world.groups.get(&admission.group.id);
        match group.and_then(|group| group.registry.find(identity.tsih)) {
            Some((nexus, session)) if nexus == nexus_key(identity) => Ok(session),
            // RFC 7143 §6.3.1: another nexus' session is not this initiator's to join.
            _ => Err(Why::NO_SESSION),
        }
    }

    /// Asks the session, on its worker, whether it has a place.
    pub(super) fn ask_to_join(&self, identity: &LoginIdentity, cx: &mut Cx) -> Result<(), Why> {
        let Some(Joinable { session, .. }) = &self.joins else {
            return Ok(());
        };
        let question = MayJoin {
            session: session.session(),
            cid: identity.cid,
            login: self.key,
            worker: cx.id,
        };
        let asked = cx.send(WorkerId(session.worker), Message::MayJoin(question));
        if asked { Ok(()) } else { Err(Why::NO_SESSION) }
    }

    /// The session has answered.
    pub(in crate::worker) fn join_answer(
        &mut self,
        answer: Result<JoinedWindow, JoinRefused>,
        cx: &mut Cx,
    ) -> Fate {
        let offer = self.joins.as_ref().map(|joins| joins.offer.clone());
        let answer = match (answer, offer) {
            (Ok(window), Some(offer)) => Ok(TargetOffer {
                joins: Some(window),
                ..offer
            }),
            (Err(JoinRefused::TooMany), _) => Err(Why::TOO_MANY_CONNECTIONS),
            (Err(JoinRefused::NoSession), _) | (_, None) => Err(Why::NO_SESSION),
        };
        self.resolved(answer, cx);
        self.advance(cx)
    }

    pub(super) fn resolved(&mut self, answer: Result<TargetOffer, Why>, cx: &Cx) {
        if let (Err(why), Some(identity)) = (&answer, &self.identity) {
            self.log_refusal(identity, why, cx);
        }
        self.proto.resolved(answer.map_err(|why| why.status));
    }

    /// Tells whoever listens of a login that ends without a session.
    pub(super) fn tell_observer(
        &self,
        identity: &LoginIdentity,
        (status, rule): (LoginStatus, &'static str),
        text: String,
        cx: &Cx,
    ) {
        if let Some(observer) = &cx.shared.config.observer {
            observer.login_refused(RefusedLogin {
                local: self.local,
                peer: self.peer,
                initiator: identity.initiator_name.clone(),
                target: identity.target_name.clone(),
                status,
                rule,
                text,
            });
        }
    }

    pub(super) fn log_refusal(&self, identity: &LoginIdentity, why: &Why, cx: &Cx) {
        cx.counters.logins_refused.add(1);
        self.tell_observer(identity, (why.status, why.rule), why.text.to_owned(), cx);
        if !cx.may_log_peer() {
            return;
        }
        let target = identity
            .target_name
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::warn!(
            peer = %self.peer,
            initiator = %identity.initiator_name,
            %target,
            status = %why.status,
            rule = why.rule,
            "login refused: {}",
            why.text
        );
    }
}
