//! What a login asks: which target is meant, how its initiator must prove itself, and whether it has.

use auth::{Policy, Verdict};
use iscsi_proto::login::{LoginIdentity, SessionType, TargetOffer};
use iscsi_wire::{LoginStatus, Tsih};
use model::{Admission, SessionSettings};

use super::why::{Why, admission, nexus_key, offered};
use super::{Fate, LoginLink};
use crate::observe::RefusedLogin;
use crate::shared::{Admitted, World};
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
            return Ok(TargetOffer {
                portal_group_tag: 0,
                target_alias: None,
                params: offered(&SessionSettings::default()),
            });
        }
        let admission = admission(&world, identity, self.local)?;
        if identity.tsih != Tsih(0) {
            return Err(self.resolve_existing(identity, &admission, &world));
        }
        self.admitted = Some(Admitted::by(&admission, &world.tree));
        Ok(TargetOffer {
            portal_group_tag: admission.group.tag,
            target_alias: admission.target.alias().map(str::to_owned),
            params: offered(&admission.group.settings(admission.acl.as_deref())),
        })
    }

    /// A TSIH that is not zero asks to join a session (RFC 7143 §6.3.1). With MaxConnections 1 none can be joined.
    pub(super) fn resolve_existing(
        &self,
        identity: &LoginIdentity,
        admission: &Admission,
        world: &World,
    ) -> Why {
        let group = world.groups.get(&admission.group.id);
        match group.and_then(|group| group.registry.find(identity.tsih)) {
            Some((nexus, _)) if nexus == nexus_key(identity) => Why {
                status: LoginStatus::TOO_MANY_CONNECTIONS,
                rule: "max_connections",
                text: "the session has as many connections as it may",
            },
            // RFC 7143 §6.3.1: another nexus' session is not this initiator's to join.
            _ => Why {
                status: LoginStatus::SESSION_DOES_NOT_EXIST,
                rule: "no_session",
                text: "the session that it asks to join is not there",
            },
        }
    }

    pub(super) fn log_refusal(&self, identity: &LoginIdentity, why: &Why, cx: &Cx) {
        cx.counters.logins_refused.add(1);
        if let Some(observer) = &cx.shared.config.observer {
            observer.login_refused(RefusedLogin {
                local: self.local,
                peer: self.peer,
                initiator: identity.initiator_name.clone(),
                target: identity.target_name.clone(),
                status: why.status,
                rule: why.rule,
                text: why.text.to_owned(),
            });
        }
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
            status = ?why.status,
            rule = why.rule,
            "login refused: {}",
            why.text
        );
    }
}
