//! Logins that are sent elsewhere (RFC 7143 §11.13.5), by the tree or by what the authenticator says.

use iscsi_proto::login::{LoginIdentity, SessionType};
use iscsi_wire::{Redirection, Tsih};

use super::LoginLink;
use super::why::admission;
use crate::worker::cx::Cx;

/// Whether the initiator has proved who it is, or need not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    Missing,
    Given,
}

impl LoginLink {
    /// Sends the login elsewhere where the tree, as it is now, says so. Whoever is not admitted is not told where to.
    // A connection for a session that there is (RFC 7143 §6.3.1) belongs here: the session is at this portal group, and its
    // connections are all of one group (§4.4.1).
    pub(super) fn is_redirected(
        &mut self,
        identity: &LoginIdentity,
        proof: Proof,
        cx: &Cx,
    ) -> bool {
        if identity.session_type == SessionType::Discovery || identity.tsih != Tsih(0) {
            return false;
        }
        let world = cx.shared.world.load();
        let redirect = admission(&world, identity, self.local)
            .ok()
            .and_then(|admission| admission.redirect())
            .filter(|redirect| proof == Proof::Given || !redirect.after_authentication);
        let Some(redirect) = redirect else {
            return false;
        };
        self.note_redirection(&redirect.redirection, "redirect", cx);
        self.proto.redirect(&redirect.redirection);
        true
    }

    /// Tells the operator, and counts.
    pub(super) fn note_redirection(&self, to: &Redirection, rule: &'static str, cx: &Cx) {
        cx.counters.logins_redirected.add(1);
        let Some(identity) = &self.identity else {
            return;
        };
        let text = format!("the target has {to}");
        self.tell_observer(identity, (to.status(), rule), text, cx);
        if cx.may_log_peer() {
            let (peer, initiator) = (self.peer, &identity.initiator_name);
            tracing::info!(%peer, %initiator, rule, "login redirected: the target has {to}");
        }
    }
}
