//! The SCSI device server, sans-I/O: SAM-5, SPC-5, SBC-4. CDB in, [`Step`]s out.
//!
//! It knows nothing of iSCSI, sockets, files or memory: payload is named by offset and length, and bytes are seen only
//! as slices for one call. Pinned revisions: SAM-5 r21, SPC-5 r22, SBC-4 r22, SPC-2 r20 (RESERVE and RELEASE), MMC-6 r02g (CD and DVD).
//!
//! A command's way: [`Lun::decode`] finds the logical unit ([`begin_missing`] answers when there is none), the command
//! [enters](lu::LuShard::enter) the task set, [`begin`] checks it and returns a [`Step`], [`resume`] takes each answer
//! and returns the next, until [`Step::Done`]. Nothing waits inside, and no step moves more than [`WINDOW_BYTES`].
//!
//! Choices within the standards, all of them told to initiators where there is a field for it:
//! - SIMPLE, ORDERED and HEAD OF QUEUE are served (ORDERED alone in the task set), ACA is refused (NORMACA 0); TAS and
//!   QERR are 0.
//! - Every type and service action of persistent reservations. TransportIDs name initiator ports, not devices, and ALL_TG_PT makes a
//!   registration for each target port. A reservation also counts for commands that were under way when it was made.
//! - No power conditions: START STOP UNIT flushes a disk, which stays ready for its other initiators.
//! - A CD or DVD drive (MMC-6) has one data track, and a tray of which [`Tray`] says whose it is.
//! - Protection information of types 1 to 3, where the store keeps it; application tags that a plain write has no say in are all
//!   ones (ATO 1), and there is no Application Tag mode page.
//! - An ORWRITE longer than a window is one uninterrupted series for each window of it, so that others never wait for an
//!   initiator that is slow to send.
//! - A self-test goes on beside other commands, which are served and not told SELF-TEST IN PROGRESS; a FORMAT UNIT has
//!   them wait, and they are not told FORMAT IN PROGRESS.
//! - A third-party copy reaches the logical units that are mapped for the nexus, and no other; a segment is a whole number of
//!   blocks at both ends, since nothing is held or padded.
//! - IMMED is taken and not used: the status comes when the work is done. Only SANITIZE, whose work is the logical unit's,
//!   has its status at once. It is processed with the task attribute it came with, not as HEAD OF QUEUE.
//! - Of a READ or WRITE whose expected data transfer length is below that of the CDB, what the initiator takes is read,
//!   and whole blocks of what it sends are written; the residual count tells the rest. Commands for which half of
//!   the data makes no sense (WRITE SAME, COMPARE AND WRITE, parameter lists) are refused.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod lu;

mod access;
mod command;
mod command_table;
mod copy;
mod device;
mod identifying;
mod io_error;
mod limits;
mod lun;
mod missing;
mod multimedia;
mod opcodes;
mod persistent_reserve;
mod protection;
mod reference;
mod reply;
mod reports;
mod sanitize;
mod saved;
mod sense;
mod snapshot;
mod step;
mod task;
mod view;

pub use access::{AccessChange, AccessChangedBy, AccessGroup, AccessState};
pub use command::{CDB_BYTES, Cdb, Command, TaskAttribute};
pub use command_table::command_name;
pub use copy::{Part, PartAsk, PartStep, PartWork, Place, TokenKey};
pub use device::DeviceType;
pub use identifying::{Identifying, InformationType};
pub use limits::{ECHO_BUFFER_BYTES, THRESHOLD_SET_BYTES};
pub use lun::{Lun, LunList, MAX_LUN, Reached};
pub use missing::begin_missing;
pub use multimedia::{MULTIMEDIA_BLOCK_BYTES, Tray, TrayAction};
pub use persistent_reserve::{
    MAX_REGISTRATIONS, NexusName, PersistentReservations, PersistentReserveOut, ReservationType,
    SavedError, Standing, TransportId,
};
pub use reference::reference;
pub use sanitize::{OwnIo, Sanitize, SanitizeMethod, SanitizeOrder};
pub use sense::{FieldPointer, MAX_SENSE_BYTES, Refusal, Sense, SenseFormat, SenseKey};
pub use snapshot::{
    Contingent, Interlock, LuCondition, LuIdentity, LuSnapshot, MAX_SERIAL_BYTES, ModeValues,
    QueueError, Reserved, TargetPort,
};
pub use step::{
    Done, Io, MAP_BYTES, ReadInto, Resumed, Status, Step, WINDOW_BYTES, WriteFrom,
    ZERO_PIECE_BYTES, fill_pattern, insert_tuples, strip_tuples,
};
pub use task::{Task, begin, resume};
pub use view::{LunView, WallClock};
