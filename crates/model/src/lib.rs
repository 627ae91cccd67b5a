//! The object tree as plain data: what exists, and who may log in and see what.
//!
//! A [`Tree`] is one generation of everything the control plane can change: backstores, targets, portal groups, portals,
//! LUNs, node ACLs and their authentication. It is immutable once published; a change makes a new one that shares what did
//! not change. [`admit`] is the one function that says who may log in to what, and by which rule; login, SendTargets and
//! every explanation to an operator call it.
//!
//! This crate deliberately does no I/O and knows nothing of sessions, workers or sockets.
#![forbid(unsafe_code)]

mod admit;
mod error;
mod tree;
mod validate;

pub use admit::{Admission, Refusal, Rule, VisibleTarget, admit, serving_portal, visible_targets};
pub use error::{ConfigCode, ConfigError};
pub use tree::{
    Authentication, Backstore, BackstoreKind, ChapCredential, Credentials, DEFAULT_QUEUE_DEPTH,
    LogicalUnitNumber, Lun, MappedLun, NodeAcl, ObjectId, Portal, PortalGroup, SessionSettings,
    Target, Tree,
};
pub use validate::validate;
