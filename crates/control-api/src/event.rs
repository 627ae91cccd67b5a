//! What a watcher is told.

use serde::{Deserialize, Serialize};

use crate::change::Effect;
use crate::record::Refusal;

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A new generation is in force.
    Committed {
        /// Its number.
        generation: u64,
        /// Who made it.
        who: String,
        /// What it changed.
        effects: Vec<Effect>,
    },
    /// All that a generation took away is gone.
    Drained {
        /// The generation.
        generation: u64,
        /// What was left at the deadline.
        remnants: Vec<String>,
    },
    /// A login was refused.
    LoginRefused(Refusal),
    /// A session reached full feature phase.
    SessionStarted(SessionStart),
    /// A session is gone.
    SessionEnded(SessionEnd),
    /// An object lost its device.
    Degraded {
        /// Which object.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// Its device is back.
    Restored {
        /// Which object.
        path: String,
    },
}

impl Event {
    /// The name in the `event` field: what the stream calls it too.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Committed { .. } => "committed",
            Self::Drained { .. } => "drained",
            Self::LoginRefused(_) => "login_refused",
            Self::SessionStarted(_) => "session_started",
            Self::SessionEnded(_) => "session_ended",
            Self::Degraded { .. } => "degraded",
            Self::Restored { .. } => "restored",
        }
    }
}

/// A session that began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SessionStart {
    /// As in [`Session::id`](crate::Session).
    pub id: u64,
    /// The initiator's name.
    pub initiator: String,
    /// The target's name; empty for a discovery session.
    pub target: String,
    /// The portal group's tag.
    pub tpg: u16,
    /// The initiator's end, `address:port`.
    pub peer: String,
}

/// A session that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SessionEnd {
    /// As in [`Session::id`](crate::Session).
    pub id: u64,
    /// The initiator's name.
    pub initiator: String,
    /// The target's name; empty for a discovery session.
    pub target: String,
    /// The portal group's tag.
    pub tpg: u16,
    /// Why it ended, for a person.
    pub reason: String,
}
