//! The object tree as plain data: what exists, how it changes, and who may log in and see what.
//!
//! A [`Tree`] is one generation of everything the control plane can change: backstores, targets, portal groups, portals,
//! LUNs, node ACLs and their authentication. It is immutable; [`Tree::plan`] applies a list of [`Change`]s and makes the
//! next, which shares whatever they did not touch, so that one change costs one path through the tree and not the whole. Objects hold the attributes that
//! were set; the [attribute table](attributes) says what there is, in what range, with which defaults, and everything that parses, shows,
//! completes or documents attributes reads it. [`admit`] is the one function that says who may log in to what, and by which
//! rule; login, SendTargets and every explanation to an operator call it.
//!
//! This crate deliberately does no I/O and knows nothing of sessions, workers or sockets.
#![forbid(unsafe_code)]

mod admit;
pub mod attributes;
mod change;
pub mod desired;
mod document;
mod error;
mod file;
mod filename;
mod path;
mod redirect;
pub mod saveconfig;
mod saved;
#[cfg(test)]
mod testing;
mod tree;
mod value;

pub use admit::{
    Admission, Asker, Refusal, Rule, Step, VisibleLun, VisibleTarget, admit, explain,
    serving_portal, visible_luns, visible_targets,
};
pub use change::{Change, Given, Mistake, Plan, Touched};
pub use error::{ConfigCode, ConfigError};
pub use file::{Desired, FileError, SecretFile};
pub use filename::{path_of_text, text_of_path};
pub use path::{ObjectPath, PathError};
pub use redirect::Redirect;
pub use saved::LoadError;
pub use tree::{
    AccessGroup, AluaGroup, Backing, Backstore, BackstoreType, ChapCredential, Credentials,
    DEFAULT_QUEUE_DEPTH, Digests, LogicalUnitNumber, Lun, MappedLun, Node, NodeAcl, ObjectId,
    Portal, PortalGroup, RecoveryTimes, Requirement, SessionSettings, Source, Target, Tree,
};
pub use value::{Attributes, Raw, Value};
