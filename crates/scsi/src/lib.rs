//! The SCSI device server, sans-I/O: SAM-5, SPC-5, SBC-4. CDB in, [`Step`]s out.
//!
//! It knows nothing of iSCSI, sockets, files or memory: payload is named by offset and length, and bytes are seen only
//! as slices for one call. Pinned revisions: SAM-5 r21, SPC-5 r22, SBC-4 r22, SPC-2 r20 (RESERVE and RELEASE).
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod lu;

mod command;
mod io_error;
mod limits;
mod lun;
mod missing;
mod opcodes;
mod reply;
mod reports;
mod sense;
mod snapshot;
mod step;
mod task;
mod view;

pub use command::{CDB_BYTES, Cdb, Command, TaskAttribute};
pub use lun::{Lun, LunList, MAX_LUN};
pub use missing::begin_missing;
pub use opcodes::command_name;
pub use sense::{FieldPointer, MAX_SENSE_BYTES, Refusal, Sense, SenseFormat, SenseKey};
pub use snapshot::{LuCondition, LuIdentity, LuSnapshot, MAX_SERIAL_BYTES, ModeValues, TargetPort};
pub use step::{
    Done, Io, ReadInto, Resumed, Status, Step, WINDOW_BYTES, WriteFrom, ZERO_PIECE_BYTES,
    fill_pattern,
};
pub use task::{Task, begin, resume};
pub use view::LunView;
