//! Third-party copies: EXTENDED COPY (LID1, LID4), copies by token (POPULATE TOKEN, WRITE USING TOKEN), and what an initiator hears of them afterwards.
//!
//! **How a command works on two logical units.** The task of an EXTENDED COPY is a command of the logical unit that it was
//! sent to, the *copy manager*. It never touches a store itself. For each window of data it asks its caller for two *parts*
//! ([`Step::Part`](crate::Step::Part)): one that reads blocks into the task's scratch memory, and one that writes them from
//! there. A part names its logical unit: the command's own, or the one behind a LUN of the same I_T nexus. The caller
//! finds the LUN in the present LUN map of the nexus, makes a [`Part`] with that unit's shard of the same worker, and resumes the
//! command with how it ended.
//!
//! A part passes the checks of the unit it is for, as a READ or a WRITE of that nexus and through that LUN would: ready,
//! reservations, write protection, range, and each fence. It is an I/O and no command: it clears no unit attention, and
//! neither waits for an ORDERED command of the other unit nor has it wait for more than this one I/O. So two copies, each
//! alone in its own task set, cannot wait for each other. On its own unit it has the command's name in the task set; on
//! another it [enters](crate::lu::LuShard::enter) that one's task set for as long as it takes, so that whatever aborts the
//! commands of the nexus there ends it, and the copy with it.
//!
//! What is not mapped for the nexus does not exist for a copy. A copy moves one window at a time, holds memory for no
//! more, and yields to others between windows as any long command does. An abort of the command ends it where it is.
//!
//! What it does not know: where units live, what memory is.
//!
//! Standards: SPC-5 r22 "Third-party copies", "EXTENDED COPY(LID4) command", "RECEIVE COPY STATUS(LID4) command"; SPC-4 for
//! the forms with a list identifier of one byte.

mod list;
mod part;
mod records;
mod stretch;
mod token;

pub(crate) use list::{CopyList, Cscd, ListForm, Segment};
pub(crate) use records::{CopyRecord, CopyRecords, CopyState};
pub(crate) use stretch::{End, Stretch};
pub(crate) use token::{
    ACCESS_UPON_REFERENCE, BLOCK_DEVICE_ZERO, BlockRange, DEFAULT_TOKEN_SECONDS, MAX_TOKEN_RANGES,
    MAX_TOKEN_SECONDS, TOKEN_BYTES, Token, TokenBlocks,
};

pub use part::{Part, PartAsk, PartStep, PartWork, Place};
pub use token::TokenKey;

/// MAXIMUM CSCD DESCRIPTOR COUNT.
pub(crate) const MAX_CSCDS: u16 = 16;

/// MAXIMUM SEGMENT DESCRIPTOR COUNT.
pub(crate) const MAX_SEGMENTS: u16 = 64;

/// MAXIMUM DESCRIPTOR LIST LENGTH, in bytes: as many as there may be of the longest.
pub(crate) const MAX_DESCRIPTOR_LIST_BYTES: u32 = 16 * 32 + 64 * 32;

/// MAXIMUM SEGMENT LENGTH, in bytes: more than a segment that counts blocks can ask for.
pub(crate) const MAX_SEGMENT_BYTES: u32 = 256 << 20;

/// MAXIMUM IDENTIFIED CONCURRENT COPIES of a nexus; as many are remembered of those that have ended.
pub(crate) const MAX_RECORDS: u8 = 32;

/// The descriptor type codes that are known: segments, then copy sources and destinations.
pub(crate) const DESCRIPTOR_TYPES: [u8; 3] = [
    list::BLOCK_TO_BLOCK,
    list::BLOCK_TO_BLOCK_WITH_OFFSET,
    list::IDENTIFICATION,
];
