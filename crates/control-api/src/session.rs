//! Who is logged in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One iSCSI session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Session {
    /// Never used again in the daemon's life.
    pub id: u64,
    /// The initiator's name (InitiatorName).
    pub initiator: String,
    /// What the initiator calls itself (InitiatorAlias).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initiator_alias: Option<String>,
    /// RFC 7143 §11.12.5: six bytes in hexadecimal.
    pub isid: String,
    /// RFC 7143 §11.12.6.
    pub tsih: u16,
    /// The target's name; empty for a discovery session.
    pub target: String,
    /// The portal group's tag.
    pub tpg: u16,
    /// Normal or discovery.
    pub kind: SessionKind,
    /// The worker that serves it.
    pub worker: usize,
    /// Its connections.
    #[serde(default)]
    pub connections: Vec<SessionConnection>,
    /// The negotiated keys, in the RFC's spelling.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// What was proved at login.
    pub authentication: SessionAuthentication,
    /// How many LUNs it sees.
    pub luns: usize,
    /// How long it has lived, in seconds.
    pub since_s: u64,
    /// What it did.
    #[serde(default)]
    pub counters: SessionCounters,
    /// Whether it serves or is being drained.
    pub state: SessionState,
}

/// One connection of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SessionConnection {
    /// RFC 7143 §11.12.7: the connection's number in its session.
    pub cid: u16,
    /// Our end, `address:port`.
    pub local: String,
    /// The initiator's end, `address:port`.
    pub peer: String,
    /// The portal that it was accepted through, as configured.
    pub portal: String,
    /// Where it is in its life.
    #[serde(default)]
    pub state: ConnectionState,
}

/// RFC 7143 §8.1.3, §8.2: where a connection is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ConnectionState {
    /// It serves.
    #[default]
    FullFeature,
    /// Its last answers are sent, then it closes.
    Closing,
    /// It is lost, and kept with its tasks for the initiator to recover them (ErrorRecoveryLevel 2).
    Lost,
}

/// RFC 7143 §4.3: what a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SessionKind {
    /// SCSI commands.
    Normal,
    /// SendTargets only.
    Discovery,
}

/// What was proved at login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum SessionAuthentication {
    /// Nothing.
    #[serde(rename = "none")]
    None,
    /// The initiator proved who it is.
    #[serde(rename = "chap")]
    Chap,
    /// Both proved who they are.
    #[serde(rename = "chap+mutual")]
    ChapMutual,
}

/// Where a session is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// It serves.
    FullFeature,
    /// It was asked to log out and ends at a deadline.
    Draining,
}

/// What a session did since it began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SessionCounters {
    /// SCSI commands completed.
    #[serde(default)]
    pub commands: u64,
    /// Data-In bytes sent.
    #[serde(default)]
    pub read_bytes: u64,
    /// Data-Out bytes received.
    #[serde(default)]
    pub written_bytes: u64,
    /// Any further counter, by name.
    #[serde(flatten)]
    pub more: BTreeMap<String, u64>,
}
