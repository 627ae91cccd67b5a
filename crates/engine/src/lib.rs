//! Runs the tree: workers, portals, sessions, logical units. The one place where a task tag meets an LBA.
//!
//! Each worker is a thread with one completion loop; a session and its connection live on one worker, a logical unit has a
//! shard on each worker that uses it and a home on one. Workers share nothing on the data path: they talk in messages.
//! `iscsi-proto` and `scsi` decide, this crate carries out: it lends memory, submits I/O, gathers answers.
#![forbid(unsafe_code)]

mod config;
mod control;
mod counters;
mod credentials;
mod directory;
mod discoveries;
mod drain;
mod engine;
mod observe;
mod open;
mod panics;
mod registry;
mod reservations;
mod shared;
mod slots;
mod timers;
mod usage;
mod worker;

pub use backstores::{OpenError, OpenProblem, ResizeError};
pub use config::{EngineConfig, StartError};
pub use control::{ApplyError, Missing, Release, Remnant, SessionEffect, TouchedSession};
pub use counters::Counters;
pub use credentials::Helpers;
pub use directory::{ConnectionInfo, ConnectionState, SessionInfo};
pub use drain::Left;
pub use engine::{Engine, UnitReport};
pub use observe::{Observer, RefusedLogin};
pub use open::StoreProblem;
pub use shared::SessionId;
