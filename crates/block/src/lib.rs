//! The words between SCSI and storage: addresses, counts, geometry, capabilities, errors.
//!
//! What it does not know: how a block is stored (`backstores`), how it is asked for (`scsi`), or by whom. Nothing here
//! does I/O; every number may have come from a peer, so all arithmetic is checked.
//!
//! Standards: SBC-4 r22 "Logical block access" and "Logical block provisioning" for the terms.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod address;
mod caps;
mod error;
mod map;
mod protection;
mod usage;

pub use address::{BlockCount, Geometry, GeometryError, Lba, SUPPORTED_BLOCK_SIZES_BYTES};
pub use caps::StoreCaps;
pub use error::{IoError, IoErrorKind, IoOpKind};
pub use map::MapRun;
pub use protection::{ProtectionType, TUPLE_BYTES};
pub use usage::Usage;
