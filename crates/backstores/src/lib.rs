//! File, block device, RAM and null backstores, one for a disk that is not there, and the filters that hurt them in tests.
//!
//! A [`Backstore`] is a place where blocks are kept, as the whole process knows it; a [`LocalStore`] is one worker's part of
//! it, which turns requests into operations of that worker's driver. Stores never block, spawn or look at a clock: whatever
//! waits for a disk is an operation ([`IoPort::push`]). Only opening one ([`open_path`]) and making it larger
//! ([`Backstore::resize`]) may wait.
//!
//! What they do not know: SCSI, sessions, and who asks. What they keep: one lock and one identity per disk, exactly one
//! completion per request, and that nothing is called durable after a flush has failed.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod api;
mod change;
mod check;
mod claim;
mod error;
mod file;
pub mod filters;
mod identity;
mod missing;
mod mounts;
mod null;
mod protected;
mod ram;
mod size;
mod sysfs;
#[cfg(test)]
mod testing;

pub use api::{Backstore, IoDone, IoPort, IoRequest, LocalStore, Opened, StoreIo};
pub use change::{ReadOnlyError, ResizeError, ResizeProblem};
pub use error::{OpenError, OpenProblem};
pub use file::{Expect, FileStore, PathOptions, open_path};
pub use identity::{
    IDENTITY_ATTRIBUTE, Identity, IdentityHints, IdentityOrigin, MachineId, SERIAL_MAX_BYTES,
    SerialError,
};
pub use missing::{MissingStore, open_missing};
pub use null::{NullStore, open_null};
pub use protected::{ProtectedStore, tuple_file};
pub use ram::{RamStore, open_ram};
