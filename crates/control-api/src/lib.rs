//! The control plane's requests, answers and events, and a client for the control socket.
//!
//! Every face outside the daemon's process (command line, shell, configfs mount, scripts) speaks these types: JSON over
//! HTTP/1.1 on a Unix socket. Plain data and one blocking client on `std` alone; what an attribute means, which change
//! is valid and who may ask for it are the daemon's to know. `docs/reference/api.md` tells the same to people.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod attribute;
mod change;
pub mod client;
mod event;
mod explain;
pub mod path;
mod problem;
mod record;
mod session;
mod status;
mod tree;

pub use attribute::AttributeInfo;
pub use change::{
    Attributes, Change, Effect, EffectAction, Outcome, Rollback, SessionBrief, Terms, Transaction,
};
pub use client::{Client, ClientError, Events, Precondition, ProtocolFault};
pub use event::{Event, SessionEnd, SessionStart};
pub use explain::{ExplainLun, ExplainOutcome, ExplainQuery, ExplainStep, Explanation};
pub use problem::{Problem, ProblemDocument, ProblemItem};
pub use record::{AuditEntry, ExportFormat, HistoryEntry, Refusal};
pub use session::{
    ConnectionState, Session, SessionAuthentication, SessionConnection, SessionCounters,
    SessionKind, SessionState,
};
pub use status::Status;
pub use tree::{AttributeMap, Object, SECRET_MARK, TreeAnswer};

#[cfg(test)]
mod tests;
