//! The logical unit's shared state: its home, its shards, fences and unit attentions.

use block::Lba;

use crate::ModeValues;

/// An I_T nexus, unique in the daemon; given by the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NexusId(pub u64);

/// What a task asks of its LU's home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HomeAction {
    /// Sole use of a range, until the task ends.
    Range {
        /// The first block.
        lba: Lba,
        /// How many.
        blocks: u64,
    },
    /// SPC-2 RESERVE.
    Reserve,
    /// SPC-2 RELEASE.
    Release,
    /// MODE SELECT.
    ModeSelect(ModeValues),
}
