//! What one I_T nexus sees of a logical unit through the LUN it uses.

use std::time::Duration;

use crate::copy::TokenKey;
use crate::lun::LunList;

/// The time of day, asked for only by commands that tell it.
pub trait WallClock {
    /// Milliseconds since 1970-01-01 00:00 UTC.
    fn unix_ms(&self) -> u64;
}

/// What goes with a LUN of a nexus, not with the logical unit. Handed to every call, as it is then.
#[derive(Clone, Copy)]
pub struct LunView<'a> {
    /// Relative target port identifier of the target port the nexus uses.
    pub target_port: u16,
    /// The version descriptor of the transport, for INQUIRY. SPC-5 "Version descriptor".
    pub transport_version: u16,
    /// The mapping allows no writes.
    pub write_protected: bool,
    /// Time since some moment that stays the same, for how long commands take.
    pub now: Duration,
    /// The time of day.
    pub clock: &'a dyn WallClock,
    /// What the tokens of this process are sealed with; `None`: there are none.
    pub token_key: Option<&'a TokenKey>,
    /// All LUNs of the nexus, for REPORT LUNS and third-party copies.
    pub luns: &'a dyn LunList,
}
