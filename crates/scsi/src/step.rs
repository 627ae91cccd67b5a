//! What a task asks of its caller, one step at a time, and what it is told in return.

use block::{IoError, Lba, TUPLE_BYTES};

use crate::copy::PartAsk;
use crate::lu::HomeAction;
use crate::sense::{Refusal, Sense, SenseFormat};

/// The most data one [`Io`] moves, and the most a window of Data-Out holds: longer commands are worked in pieces, which
/// yields to others between them and lets an abort take effect. In bytes.
pub const WINDOW_BYTES: u32 = 1 << 20;

/// The most that a window of a READ, WRITE or VERIFY has where there is protection information, in bytes, with that.
pub(crate) const PROTECTED_WINDOW_BYTES: u32 = 256 << 10;

/// The largest range, in bytes of the medium, one [`Io::Unmap`] names, or one [`Io::WriteZeroes`] of a store that zeroes
/// without writing zeros. No data is moved, but the store is busy with it all the same.
pub const ZERO_PIECE_BYTES: u32 = 16 << 20;

/// Memory for an [`Io::Map`], in bytes.
pub const MAP_BYTES: usize = 4096;

/// What the caller has to do before it resumes the task (or, with [`Step::Done`], instead).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Continue with [`Resumed::DataOut`] when the bytes `[offset, offset + bytes)` of the command's Data-Out are in the
    /// task's window. `bytes` is 1 to [`WINDOW_BYTES`]. Windows are asked for in ascending order, each one when the one
    /// before is no longer needed.
    DataOut {
        /// Of the first byte, in the command's Data-Out.
        offset: u32,
        /// How many.
        bytes: u32,
    },
    /// Submit this and continue with [`Resumed::Io`].
    Io(Io),
    /// Work on a logical unit that may be another than the command's own: do it by a [`Part`](crate::Part) and continue with
    /// [`Resumed::Part`].
    Part(PartAsk),
    /// To be serialised by the LU's home: continue with [`Resumed::Granted`] or [`Resumed::Refused`].
    Home(HomeAction),
    /// A fence holds the command: continue with [`Resumed::Lifted`].
    Held,
    /// The command has ended.
    Done(Done),
}

/// One request of the store. Its range has been checked against the geometry, and has at least one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// Read whole blocks, at most [`WINDOW_BYTES`] of them.
    Read {
        /// The first block.
        lba: Lba,
        /// How many.
        blocks: u64,
        /// Where they go.
        into: ReadInto,
    },
    /// Write whole blocks, at most [`WINDOW_BYTES`] of them.
    Write {
        /// The first block.
        lba: Lba,
        /// How many.
        blocks: u64,
        /// Where they come from.
        from: WriteFrom,
        /// Completes only when the blocks would survive a power cut.
        durable: bool,
    },
    /// Read the protection information of these blocks into memory of the task, shown once in [`Resumed::Io`] as `scratch`:
    /// [`TUPLE_BYTES`](block::TUPLE_BYTES) for each, as the store keeps them. The memory has room for the blocks with them:
    /// an [`Io::Read`] into [`ReadInto::Scratch`] may follow, and [`Io::Deliver`] then.
    ReadTuples {
        /// The first block.
        lba: Lba,
        /// How many.
        blocks: u64,
        /// The blocks are to be delivered: their memory is that of a window of Data-In.
        delivers: bool,
    },
    /// Write [`Task::tuples`](crate::Task::tuples) as the protection information of these blocks.
    WriteTuples {
        /// The first block.
        lba: Lba,
        /// How many.
        blocks: u64,
        /// Completes only when they would survive a power cut.
        durable: bool,
    },
    /// In the Data-Out window last asked for, from `offset` of the command's Data-Out on, each block is followed by its protection
    /// information: move the blocks together. No store is asked.
    Strip {
        /// Of the first byte, in the command's Data-Out.
        offset: u32,
        /// How many.
        blocks: u64,
    },
    /// What the task's last [`Io::Read`] into [`ReadInto::Scratch`] read goes to the initiator, as [`ReadInto::DataIn`] would. No
    /// store is asked.
    Deliver {
        /// Of the first byte, in the command's Data-In.
        offset: u32,
        /// Each block is followed by its part of [`Task::tuples`](crate::Task::tuples).
        with_tuples: bool,
    },
    /// Make all acknowledged writes durable.
    Flush,
    /// Give blocks back, at most [`ZERO_PIECE_BYTES`] of them.
    Unmap {
        /// The first block.
        lba: Lba,
        /// How many.
        blocks: u64,
    },
    /// Zero blocks, at most [`ZERO_PIECE_BYTES`] of them ([`WINDOW_BYTES`] when the store has to write the zeros).
    WriteZeroes {
        /// The first block.
        lba: Lba,
        /// How many.
        blocks: u64,
        /// The blocks may be given back, if they then read as zeros.
        may_unmap: bool,
    },
    /// Tell which blocks the store keeps, from the first on, as [`MapRun`](block::MapRun)s: as many as it has to tell of
    /// and as [`MAP_BYTES`] hold, shown in [`Resumed::Io`] as `scratch`.
    Map {
        /// The first block.
        lba: Lba,
        /// How many.
        blocks: u64,
    },
}

/// Where the blocks of an [`Io::Read`] go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadInto {
    /// To the initiator, from `offset` of the command's Data-In on. Offsets ascend without gaps. When the initiator
    /// takes fewer bytes than the blocks have, [`Done::data_in_bytes`] says where to cut.
    DataIn {
        /// Of the first byte, in the command's Data-In.
        offset: u32,
    },
    /// To memory of the task, shown once in [`Resumed::Io`] as `scratch`, not sent to anybody.
    Scratch,
}

/// Where the blocks of an [`Io::Write`] come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteFrom {
    /// The bytes that the task's last [`Io::Read`] into [`ReadInto::Scratch`] read, each with the bits of the Data-Out
    /// window last asked for set in it.
    OrScratch {
        /// Of the first byte, in the command's Data-Out.
        offset: u32,
    },
    /// The bytes that the task's last [`Io::Read`] into [`ReadInto::Scratch`] read, all of them.
    Scratch,
    /// From the Data-Out window last asked for.
    DataOut {
        /// Of the first byte, in the command's Data-Out (not in the window).
        offset: u32,
    },
    /// The first block of the command's Data-Out (still in the window), repeated for each block written. See
    /// [`fill_pattern`].
    Pattern {
        /// Bytes of the pattern: one logical block.
        bytes: u32,
    },
}

/// Moves blocks together between which protection information stands, at the start of `memory`.
pub fn strip_tuples(memory: &mut [u8], block_bytes: usize) {
    let whole = memory.len() / (block_bytes + TUPLE).max(1);
    for block in 1..whole {
        let from = block * (block_bytes + TUPLE);
        memory.copy_within(from..from + block_bytes, block * block_bytes);
    }
}

/// Puts protection information behind each of the blocks that stand at the start of `memory`, which has room for both.
pub fn insert_tuples(memory: &mut [u8], block_bytes: usize, tuples: &[u8]) {
    let (tuples, _) = tuples.as_chunks::<TUPLE>();
    for (block, tuple) in tuples.iter().enumerate().rev() {
        let from = block * block_bytes;
        let to = block * (block_bytes + TUPLE);
        memory.copy_within(from..from + block_bytes, to);
        memory[to + block_bytes..to + block_bytes + TUPLE].copy_from_slice(tuple);
    }
}

const TUPLE: usize = TUPLE_BYTES as usize;

/// Fills `memory` with `pattern`, repeated from its start; the last repetition may be cut. An empty pattern fills with
/// zeros.
pub fn fill_pattern(pattern: &[u8], memory: &mut [u8]) {
    if pattern.is_empty() {
        memory.fill(0);
        return;
    }
    for piece in memory.chunks_mut(pattern.len()) {
        let bytes = piece.len();
        piece.copy_from_slice(&pattern[..bytes]);
    }
}

/// Why a task goes on.
#[derive(Clone, Copy, Debug)]
pub enum Resumed<'a> {
    /// The window asked for: exactly the bytes of [`Step::DataOut`]. Fewer, when the initiator sent fewer.
    DataOut(&'a [u8]),
    /// The store has answered.
    Io {
        /// How it ended.
        result: Result<(), IoError>,
        /// The present Data-Out window, empty when there is none.
        data_out: &'a [u8],
        /// What an [`Io::Read`] into [`ReadInto::Scratch`] read, or an [`Io::Map`] told; otherwise empty.
        scratch: &'a [u8],
    },
    /// The part has ended so.
    Part(Result<(), Refusal>),
    /// The home has done, or allowed, the [`HomeAction`].
    Granted,
    /// The home refuses the [`HomeAction`], with the status or the sense that the command ends in.
    Refused(Refusal),
    /// The fence that held the command is gone. Also right when it was not.
    Lifted,
    /// The task is aborted: the answer is [`Step::Done`] with TASK ABORTED, which may or may not be sent.
    Aborted,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// The status.
    pub status: Status,
    /// The sense data that go with CHECK CONDITION.
    pub sense: Option<Sense>,
    /// The format the initiator wants sense data in (D_SENSE of the Control mode page).
    pub sense_format: SenseFormat,
    /// What the command itself moves, whatever the initiator expected: the residual count is the difference.
    pub transfer_bytes: u64,
    /// Bytes of Data-In to send in all: they stand in `out`, or were named by [`ReadInto::DataIn`]. Never more than the
    /// initiator expects.
    pub data_in_bytes: u32,
}

impl Done {
    /// A status without data and sense.
    #[must_use]
    pub fn status(status: Status) -> Self {
        Self {
            status,
            sense: None,
            sense_format: SenseFormat::Fixed,
            transfer_bytes: 0,
            data_in_bytes: 0,
        }
    }

    /// CHECK CONDITION with `sense`, no data.
    #[must_use]
    pub fn check_condition(sense: Sense, sense_format: SenseFormat) -> Self {
        Self {
            sense: Some(sense),
            sense_format,
            ..Self::status(Status::CheckCondition)
        }
    }

    /// Appends the sense data, if there are any, in the format wanted. At most
    /// [`MAX_SENSE_BYTES`](crate::sense::MAX_SENSE_BYTES).
    pub fn write_sense(&self, out: &mut Vec<u8>) {
        if let Some(sense) = &self.sense {
            sense.emit(self.sense_format, out);
        }
    }
}

/// SAM-5 "Status codes".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// GOOD.
    Good = 0x00,
    /// CHECK CONDITION.
    CheckCondition = 0x02,
    /// CONDITION MET.
    ConditionMet = 0x04,
    /// BUSY.
    Busy = 0x08,
    /// RESERVATION CONFLICT.
    ReservationConflict = 0x18,
    /// TASK SET FULL.
    TaskSetFull = 0x28,
    /// ACA ACTIVE.
    AcaActive = 0x30,
    /// TASK ABORTED.
    TaskAborted = 0x40,
}

impl Status {
    /// The status code on the wire.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tuples_that_are_inserted_are_stripped_again() {
        let blocks: Vec<u8> = (0..12).collect();
        let tuples: Vec<u8> = (100..124).collect();
        let mut memory = blocks.clone();
        memory.resize(36, 0);
        insert_tuples(&mut memory, 4, &tuples);
        let expected: Vec<u8> = (0..3)
            .flat_map(|at| [&blocks[at * 4..][..4], &tuples[at * 8..][..8]].concat())
            .collect();
        assert_eq!(memory, expected);
        strip_tuples(&mut memory, 4);
        assert_eq!(memory[..12], blocks);
    }

    #[test]
    fn fill_pattern_repeats_and_cuts_at_the_end() {
        let mut memory = [9; 7];
        fill_pattern(&[1, 2, 3], &mut memory);
        assert_eq!(memory, [1, 2, 3, 1, 2, 3, 1]);
        fill_pattern(&[], &mut memory);
        assert_eq!(memory, [0; 7]);
    }
}
