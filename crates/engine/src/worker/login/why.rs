//! Why a login is refused, and what it is measured by.

use std::net::SocketAddr;

use iscsi_proto::login::LoginIdentity;
use iscsi_proto::negotiate::{DigestChoice, OfferedParams};
use iscsi_proto::session::{MAX_CONNECTIONS, MAX_ERROR_RECOVERY_LEVEL};
use iscsi_wire::{LoginStatus, Tsih};
use model::{Admission, Digests, Rule, SessionSettings};

use crate::registry::NexusKey;
use crate::shared::{Shared, World};

/// Why a login is refused: what the initiator is told, and what the operator is.
pub(super) struct Why {
    pub(super) status: LoginStatus,
    pub(super) rule: &'static str,
    pub(super) text: &'static str,
}

impl Why {
    pub(super) const DRAINING: Self = Self {
        status: LoginStatus::SERVICE_UNAVAILABLE,
        rule: "draining",
        text: "the daemon is shutting down",
    };
    pub(super) const CHANGED: Self = Self {
        status: LoginStatus::SERVICE_UNAVAILABLE,
        rule: "changed",
        text: "what it was admitted by changed while it logged in; trying again decides anew",
    };
    pub(super) const OLD_SESSION: Self = Self {
        status: LoginStatus::SERVICE_UNAVAILABLE,
        rule: "reinstatement",
        text: "the session that it replaces still waits for a backstore",
    };
    pub(super) const NO_SESSION: Self = Self {
        status: LoginStatus::SESSION_DOES_NOT_EXIST,
        rule: "no_session",
        text: "the session that it asks to join is not there",
    };
    pub(super) const TOO_MANY_CONNECTIONS: Self = Self {
        status: LoginStatus::TOO_MANY_CONNECTIONS,
        rule: "max_connections",
        text: "the session has as many connections as it may",
    };
    pub(super) const OTHER_IDENTITY: Self = Self {
        status: LoginStatus::AUTHENTICATION_FAILURE,
        rule: "other_identity",
        text: "it proved another identity than the session that it asks to join, or none",
    };
    pub(super) const NO_TARGET: Self = Self {
        status: LoginStatus::MISSING_PARAMETER,
        rule: "no_target_name",
        text: "it names no target",
    };

    /// The status for each rule: class 02h only for what an operator must change.
    pub(super) fn by(rule: Rule) -> Self {
        let status = match rule {
            Rule::UnknownTarget | Rule::NoPortal => LoginStatus::NOT_FOUND,
            Rule::NoAcl => LoginStatus::AUTHORIZATION_FAILURE,
            _ => LoginStatus::SERVICE_UNAVAILABLE,
        };
        Self {
            status,
            rule: rule.as_str(),
            text: rule.text(),
        }
    }
}

pub(super) fn admission(
    world: &World,
    identity: &LoginIdentity,
    local: SocketAddr,
) -> Result<Admission, Why> {
    let target = identity.target_name.as_ref().ok_or(Why::NO_TARGET)?;
    model::admit(&world.tree, &identity.initiator_name, target, local)
        .map_err(|refusal| Why::by(refusal.0))
}

pub(super) fn nexus_key(identity: &LoginIdentity) -> NexusKey {
    NexusKey {
        initiator: identity.initiator_name.clone(),
        isid: identity.isid,
    }
}

pub(super) fn offered(settings: &SessionSettings) -> OfferedParams {
    OfferedParams {
        max_recv_data_segment_length: settings.max_recv_data_segment_length,
        max_burst_length: settings.max_burst_length,
        // Unsolicited data must fit into one window of a task.
        first_burst_length: settings.first_burst_length.min(scsi::WINDOW_BYTES),
        initial_r2t: settings.initial_r2t,
        immediate_data: settings.immediate_data,
        data_pdu_in_order: settings.data_pdu_in_order,
        data_sequence_in_order: settings.data_sequence_in_order,
        max_outstanding_r2t: settings.max_outstanding_r2t,
        error_recovery_level: settings.error_recovery_level.min(MAX_ERROR_RECOVERY_LEVEL),
        max_connections: settings.max_connections.min(MAX_CONNECTIONS),
        header_digest: digest(settings.header_digest),
        data_digest: digest(settings.data_digest),
        default_time2wait: settings.default_time2wait,
        default_time2retain: settings.default_time2retain,
        ..OfferedParams::default()
    }
}

fn digest(allowed: Digests) -> DigestChoice {
    match allowed {
        Digests::None => DigestChoice::None,
        Digests::Crc32c => DigestChoice::Crc32c,
        Digests::Either => DigestChoice::Either,
    }
}

impl Shared {
    /// A TSIH for a discovery session, which no registry keeps.
    pub(super) fn discovery_tsih(&self) -> Tsih {
        let id = self.new_session_id().0;
        Tsih(
            u16::try_from(id % u64::from(u16::MAX))
                .unwrap_or(0)
                .saturating_add(1),
        )
    }
}
