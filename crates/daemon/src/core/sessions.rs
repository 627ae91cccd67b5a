//! Sessions as the API shows them.

use std::collections::BTreeMap;

use control_api::{
    ConnectionState, Session, SessionAuthentication, SessionConnection, SessionCounters,
    SessionKind, SessionState,
};
use engine::{ConnectionInfo, SessionInfo};
use model::Tree;

/// One session, with the portals that serve it.
pub(super) fn session_of(tree: &Tree, info: &SessionInfo) -> Session {
    let group = info
        .target
        .as_ref()
        .and_then(|target| tree.group(target, info.tag));
    let connection = |one: &ConnectionInfo| {
        let portal = group.and_then(|group| model::serving_portal(group, one.local));
        SessionConnection {
            cid: one.cid.0,
            local: one.local.to_string(),
            peer: one.peer.to_string(),
            portal: portal.map_or_else(
                || one.local.to_string(),
                |portal| portal.address.to_string(),
            ),
            state: match one.state {
                engine::ConnectionState::FullFeature => ConnectionState::FullFeature,
                engine::ConnectionState::Closing => ConnectionState::Closing,
                engine::ConnectionState::Lost => ConnectionState::Lost,
            },
        }
    };
    Session {
        id: info.id.0,
        initiator: info.initiator.to_string(),
        initiator_alias: None,
        isid: info
            .isid
            .0
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
        tsih: info.tsih.0,
        target: info
            .target
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        tpg: info.tag,
        kind: if info.target.is_some() {
            SessionKind::Normal
        } else {
            SessionKind::Discovery
        },
        worker: usize::from(info.worker),
        connections: info.connections.iter().map(connection).collect(),
        parameters: parameters(info),
        authentication: match info.authenticated_as {
            Some(_) => SessionAuthentication::Chap,
            None => SessionAuthentication::None,
        },
        luns: info.luns,
        since_s: info.age.as_secs(),
        counters: SessionCounters {
            commands: info.commands,
            read_bytes: info.read_bytes,
            written_bytes: info.written_bytes,
            more: BTreeMap::new(),
        },
        state: if info.draining {
            SessionState::Draining
        } else {
            SessionState::FullFeature
        },
    }
}

/// The negotiated keys, in the RFC's spelling.
fn parameters(info: &SessionInfo) -> BTreeMap<String, String> {
    let params = &info.params;
    let yes = |yes: bool| if yes { "Yes" } else { "No" }.to_owned();
    let digest = |on: bool| if on { "CRC32C" } else { "None" }.to_owned();
    [
        ("HeaderDigest", digest(params.header_digest)),
        ("DataDigest", digest(params.data_digest)),
        ("MaxConnections", params.max_connections.to_string()),
        ("InitialR2T", yes(params.initial_r2t)),
        ("ImmediateData", yes(params.immediate_data)),
        (
            "MaxRecvDataSegmentLength",
            params.max_recv_data_segment_length.to_string(),
        ),
        (
            "MaxXmitDataSegmentLength",
            params.max_send_data_segment_length.to_string(),
        ),
        ("MaxBurstLength", params.max_burst_length.to_string()),
        ("FirstBurstLength", params.first_burst_length.to_string()),
        ("DefaultTime2Wait", params.default_time2wait.to_string()),
        ("DefaultTime2Retain", params.default_time2retain.to_string()),
        ("MaxOutstandingR2T", params.max_outstanding_r2t.to_string()),
        ("DataPDUInOrder", yes(params.data_pdu_in_order)),
        ("DataSequenceInOrder", yes(params.data_sequence_in_order)),
        (
            "ErrorRecoveryLevel",
            params.error_recovery_level.to_string(),
        ),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}
