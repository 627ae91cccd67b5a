//! What the tests of this folder start from.

use core::time::Duration;
use std::net::{Ipv4Addr, SocketAddr};

use iscsi_wire::{Cid, IscsiName, Isid, Itt, Lun64, SerialNumber, Tsih};

use super::task::{Decision, R2ts, RequestSlot, Task, Unsolicited};
use super::{ConnectionIndex, Session, SessionLimits};
use crate::login::{Established, LoginIdentity, SessionType};
use crate::negotiate::NegotiatedParams;

/// The only connection.
pub(crate) const C0: ConnectionIndex = ConnectionIndex(0);

/// A task that expects nothing.
pub(crate) fn plain_task(itt: Itt) -> Task {
    Task {
        itt,
        lun: Lun64(0),
        cmd_sn: SerialNumber(0),
        connection: C0,
        slot: RequestSlot::Numbered,
        read: false,
        write: false,
        expected_data_transfer_length: 0,
        decision: Decision::Pending,
        unsolicited: Unsolicited::default(),
        received: super::ranges::Ranges::default(),
        granted: 0,
        next_r2t_offset: 0,
        r2ts: R2ts::default(),
        fault: None,
        fault_told: false,
        next_data_sn: 0,
        sent: 0,
        available: 0,
        burst: 0,
        completion: None,
        queued: false,
        internal: false,
        recovery: None,
    }
}

/// A login that ended with these parameters, CmdSN 1 next of a window of 8, and StatSN 1 next.
pub(crate) fn established(kind: SessionType, params: NegotiatedParams) -> Established {
    let name = |text| IscsiName::parse(text).unwrap();
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 3260));
    Established {
        identity: LoginIdentity {
            initiator_name: name("iqn.2026-01.org.example:host"),
            initiator_alias: None,
            target_name: Some(name("iqn.2026-01.org.example:disk")),
            session_type: kind,
            isid: Isid([0x80, 0, 0, 0, 0, 1]),
            tsih: Tsih(0),
            cid: Cid(7),
        },
        tsih: Tsih(1),
        portal_group_tag: Some(1),
        authenticated_as: None,
        acl: None,
        params,
        exp_cmd_sn: SerialNumber(1),
        max_cmd_sn: SerialNumber(8),
        first_exp_stat_sn: SerialNumber(0),
        stat_sn: SerialNumber(1),
        final_response: Vec::new(),
        refusal: Vec::new(),
        portal: here,
        peer: here,
    }
}

/// Limits without pings, small enough to be reached.
pub(crate) fn limits() -> SessionLimits {
    SessionLimits {
        window: 8,
        immediate_allowance: 3,
        max_text_bytes: 4096,
        nop_interval: None,
        nop_timeout: Duration::from_secs(5),
        late_data_timeout: Duration::from_secs(2),
        in_place_threshold: 1024,
        recovery: super::RecoveryLimits::default(),
    }
}

/// A normal session with these parameters.
pub(crate) fn session(params: NegotiatedParams) -> Session {
    Session::new(
        &established(SessionType::Normal, params),
        limits(),
        Duration::ZERO,
    )
}
