//! How the daemon is.

use serde::{Deserialize, Serialize};

/// The daemon in one answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Status {
    /// Quintain's version.
    pub version: String,
    /// The generation in force.
    pub generation: u64,
    /// Every portal serves.
    pub ready: bool,
    /// Where it listens.
    #[serde(default)]
    pub portals: Vec<String>,
    /// How many sessions there are.
    pub sessions: usize,
    /// Objects that wait for their device.
    #[serde(default)]
    pub degraded: Vec<String>,
    /// What drains left behind at their deadlines.
    #[serde(default)]
    pub remnants: Vec<String>,
    /// The I/O driver: `uring`, `epoll` or `mixed`.
    pub driver: String,
    /// How many workers serve.
    pub workers: usize,
}
