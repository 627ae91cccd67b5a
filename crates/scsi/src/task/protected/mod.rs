//! Commands on blocks with protection information: READ, WRITE, WRITE AND VERIFY, VERIFY, WRITE SAME, COMPARE AND WRITE and ORWRITE.
//! `crate::protection` says how it goes.
//!
//! A window is small here ([`PROTECTED_WINDOW_BYTES`](crate::step::PROTECTED_WINDOW_BYTES)): its tuples are kept by the
//! task, and others wait for its blocks while they are written.

mod plan;

pub(super) use plan::{ProtectedPlan, plan};

use block::{Lba, ProtectionType};

use super::state::{Ending, Next};
use super::transfer::{VerifyWith, WriteCheck, check_complete};

use crate::lu::{HomeAction, Traffic};
use crate::protection::{BYTES, Expected, Origin, Protect, Tuple, guard_of};
use crate::sense::{Refusal, Sense};
use crate::snapshot::LuSnapshot;
use crate::step::{Io, ReadInto, WriteFrom};

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Job {
    Read,
    Write(WriteCheck),
    Verify(VerifyWith),
    Same(Same),
    Compare,
    Or,
}

/// What WRITE SAME writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Same {
    /// Not known before the Data-Out is here.
    Unknown { may_unmap: bool },
    /// NDOB: SBC-4 "WRITE SAME (16) command" has that mean zeros, and tuples of all ones, which is what a store has where
    /// nothing was written.
    Nothing { may_unmap: bool },
    /// Zeros that may be given back.
    Unmapped,
    /// The block of Data-Out, for each block.
    Pattern,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Flush,
    DataOut,
    /// The blocks of the Data-Out are moved together.
    Strip,
    /// The blocks are had alone.
    Range,
    ReadTuples,
    ReadData,
    Deliver,
    Write,
    WriteTuples,
    Zero,
    /// What was zeroed is to be durable, where there is no write cache.
    FlushZeroes,
    End,
}

/// How far it is.
#[derive(Clone, Copy, Debug)]
struct Pieces {
    lba: u64,
    /// Blocks that are left.
    left: u64,
    /// Blocks that are done.
    index: u64,
    /// Of the next block, in the command's data.
    offset: u32,
    /// Blocks of a window at most, and of a piece that is zeroed.
    most: u64,
    zero_most: u64,
    block_bytes: u32,
    /// Bytes of a block on the wire.
    wire_bytes: u32,
}

impl Pieces {
    fn block(&self) -> usize {
        self.block_bytes as usize
    }

    fn wire(&self) -> usize {
        self.wire_bytes as usize
    }
}

/// A command on blocks with protection information.
#[derive(Debug)]
pub(super) struct Protected {
    job: Job,
    at: Pieces,
    protect: Protect,
    expected: Expected,
    durable: bool,
    ending: Ending,
    phase: Phase,
    /// Of the Data-Out window: as they were sent, or generated.
    sent: Vec<Tuple>,
    /// Of the blocks of the window, as they stand on the medium.
    medium: Vec<Tuple>,
    /// What goes to the store, or to the initiator, as bytes.
    bytes: Vec<u8>,
}

impl Protected {
    fn new(
        job: Job,
        at: Pieces,
        protect: Protect,
        expected: Expected,
        (durable, ending): (bool, Ending),
    ) -> Self {
        let phase = match job {
            Job::Read if durable => Phase::Flush,
            Job::Read | Job::Verify(VerifyWith::Nothing) => Phase::ReadTuples,
            Job::Same(Same::Nothing { .. }) => Phase::Range,
            _ => Phase::DataOut,
        };
        Self {
            job,
            at,
            protect,
            expected,
            durable,
            ending,
            phase,
            sent: Vec::new(),
            medium: Vec::new(),
            bytes: Vec::new(),
        }
    }

    /// What goes with [`Io::WriteTuples`] and [`Io::Deliver`].
    pub(super) fn tuples(&self) -> &[u8] {
        &self.bytes
    }

    /// How it counts in the log pages.
    pub(super) fn traffic(&self) -> Traffic {
        match self.job {
            Job::Read => Traffic::Read,
            Job::Verify(_) => Traffic::Verify,
            _ => Traffic::Write,
        }
    }

    /// Bytes of Data-In that have been delivered.
    pub(super) fn moved_bytes(&self) -> u32 {
        match self.job {
            Job::Read => self.at.offset.min(self.ending.data_in_bytes),
            _ => 0,
        }
    }

    /// Whether a window has been written, and others may use its blocks again.
    pub(super) fn is_between_windows(&self) -> bool {
        self.phase == Phase::DataOut
    }

    /// Blocks of the present piece.
    fn blocks(&self) -> u64 {
        match self.job {
            Job::Same(Same::Nothing { .. } | Same::Unmapped) => self.at.left.min(self.at.zero_most),
            _ => self.at.left.min(self.at.most),
        }
    }

    /// Blocks of Data-Out in the present window.
    fn data_out_blocks(&self) -> u64 {
        match self.job {
            Job::Compare => self.at.left.saturating_mul(2),
            Job::Same(_) | Job::Verify(VerifyWith::OneBlock) => 1,
            _ => self.blocks(),
        }
    }

    /// Where that window starts, and its bytes.
    fn data_out(&self) -> (u32, u32) {
        // A window has at most WINDOW_BYTES.
        let bytes = self.data_out_blocks() * u64::from(self.at.wire_bytes);
        let offset = match self.job {
            Job::Verify(VerifyWith::OneBlock) => 0,
            _ => self.at.offset,
        };
        (offset, u32::try_from(bytes).unwrap_or(u32::MAX))
    }

    pub(super) fn next(&self, lu: &LuSnapshot) -> Next {
        let (lba, blocks) = (Lba(self.at.lba), self.blocks());
        let offset = self.at.offset;
        // SBC-4 "WCE bit": without a write cache a write completes when it is on the medium.
        let durable = self.durable || !lu.mode.write_cache;
        match self.phase {
            Phase::Flush => Next::Io(Io::Flush),
            Phase::FlushZeroes if durable => Next::Io(Io::Flush),
            Phase::DataOut => {
                let (offset, bytes) = self.data_out();
                Next::DataOut { offset, bytes }
            }
            Phase::Strip => Next::Within(Io::Strip {
                offset,
                blocks: self.data_out_blocks(),
            }),
            Phase::Range => Next::Home(HomeAction::Range {
                lba,
                blocks: match self.job {
                    Job::Same(_) => self.at.left,
                    _ => blocks,
                },
            }),
            Phase::ReadTuples => Next::First(Io::ReadTuples {
                lba,
                blocks,
                delivers: self.job == Job::Read,
            }),
            Phase::ReadData => Next::Last(Io::Read {
                lba,
                blocks,
                into: ReadInto::Scratch,
            }),
            Phase::Deliver => Next::Within(Io::Deliver {
                offset,
                with_tuples: self.protect.is_sent(),
            }),
            Phase::Write => Next::Io(Io::Write {
                lba,
                blocks,
                from: self.source(),
                durable,
            }),
            Phase::WriteTuples => Next::Io(Io::WriteTuples {
                lba,
                blocks,
                durable,
            }),
            Phase::Zero => Next::Io(Io::WriteZeroes {
                lba,
                blocks,
                may_unmap: self.job != Job::Same(Same::Nothing { may_unmap: false }),
            }),
            Phase::FlushZeroes | Phase::End => Next::Done(self.ending),
        }
    }

    /// Where the blocks that are written come from. What came with tuples has been moved together.
    fn source(&self) -> WriteFrom {
        let offset = self.at.offset;
        match self.job {
            Job::Same(_) => WriteFrom::Pattern {
                bytes: self.at.block_bytes,
            },
            Job::Compare => {
                let half = self.at.left * u64::from(self.at.block_bytes);
                let half = u32::try_from(half).unwrap_or(u32::MAX);
                WriteFrom::DataOut { offset: half }
            }
            Job::Or => WriteFrom::OrScratch { offset },
            _ => WriteFrom::DataOut { offset },
        }
    }

    pub(super) fn handle_data_out(&mut self, window: &[u8]) -> Result<(), Refusal> {
        check_complete(window, self.data_out().1)?;
        let block = self.at.block();
        let expected = self.expected;
        // Both halves of COMPARE AND WRITE are of the same blocks.
        let blocks = self.blocks();
        self.sent.clear();
        for (number, sent) in (0..).zip(window.chunks_exact(self.at.wire())) {
            let index = self.at.index + number % blocks.max(1);
            let (data, tuple) = sent.split_at(block);
            let tuple = match tuple.first_chunk() {
                Some(tuple) => {
                    let tuple = Tuple::from_bytes(*tuple);
                    let checks = self.protect.of_data_out();
                    expected.check(checks, Origin::DataOut, (data, tuple, index))?;
                    tuple
                }
                None => expected.generate(guard_of(data), index),
            };
            self.sent.push(tuple);
        }
        self.phase = match self.job {
            Job::Verify(_) => Phase::ReadTuples,
            Job::Same(Same::Unknown { may_unmap }) => {
                self.job = Job::Same(self.same(window, may_unmap));
                Phase::Range
            }
            _ if self.protect.is_sent() => Phase::Strip,
            _ => Phase::Range,
        };
        Ok(())
    }

    /// SBC-4 "WRITE SAME (10) command": blocks are unmapped only if they then read as the block that was sent, with its
    /// protection information, if that was sent.
    fn same(&self, window: &[u8], may_unmap: bool) -> Same {
        let (data, tuple) = window.split_at(self.at.block().min(window.len()));
        let is_hole = data.iter().all(|byte| *byte == 0) && tuple.iter().all(|byte| *byte == 0xff);
        if may_unmap && is_hole {
            Same::Unmapped
        } else {
            Same::Pattern
        }
    }

    pub(super) fn handle_granted(&mut self) {
        self.phase = match self.job {
            Job::Same(Same::Nothing { .. } | Same::Unmapped) => Phase::Zero,
            Job::Compare | Job::Or => Phase::ReadTuples,
            _ => {
                self.keep_sent();
                Phase::Write
            }
        };
    }

    /// Makes what the store is to keep of what was sent for the present piece.
    fn keep_sent(&mut self) {
        let blocks = usize::try_from(self.blocks()).unwrap_or(usize::MAX);
        self.bytes.clear();
        match self.job {
            Job::Same(_) => {
                let first = self.sent.first().copied();
                for index in (self.at.index..).take(blocks) {
                    let tuple = first.map(|tuple| self.repeated(tuple, index));
                    let stored = tuple.map_or([0; BYTES], Tuple::to_stored);
                    self.bytes.extend_from_slice(&stored);
                }
            }
            _ => {
                let skipped = self.sent.len().saturating_sub(blocks);
                for tuple in &self.sent[skipped..] {
                    self.bytes.extend_from_slice(&tuple.to_stored());
                }
            }
        }
    }

    /// The tuple of the block with this number, where one block is sent for all: SBC-4 "WRITE SAME (10) command" has reference tags
    /// of type 1 and 2 count up from what was sent.
    fn repeated(&self, tuple: Tuple, index: u64) -> Tuple {
        let counting = Expected {
            reference: Some(tuple.reference),
            ..self.expected
        };
        let reference = match (self.protect.is_sent(), self.expected.kind) {
            (false, _) => Some(self.expected.generate(tuple.guard, index).reference),
            (true, ProtectionType::Type3) => None,
            (true, ProtectionType::Type1 | ProtectionType::Type2) => counting.reference_of(index),
        };
        Tuple {
            reference: reference.unwrap_or(tuple.reference),
            ..tuple
        }
    }

    /// The I/O asked for has succeeded.
    pub(super) fn handle_io(&mut self, data_out: &[u8], scratch: &[u8]) -> Result<(), Refusal> {
        self.phase = match self.phase {
            Phase::Flush => Phase::ReadTuples,
            Phase::Strip => Phase::Range,
            Phase::ReadTuples => {
                self.take_medium(scratch)?;
                Phase::ReadData
            }
            Phase::ReadData => return self.handle_read(data_out, scratch),
            Phase::Write => Phase::WriteTuples,
            Phase::WriteTuples => match self.job {
                Job::Write(WriteCheck::Read | WriteCheck::Compare) => Phase::ReadTuples,
                _ => return self.advance(),
            },
            Phase::Deliver | Phase::Zero => return self.advance(),
            Phase::FlushZeroes => Phase::End,
            Phase::DataOut | Phase::Range | Phase::End => {
                return Err(Sense::INTERNAL_TARGET_FAILURE.into());
            }
        };
        Ok(())
    }

    fn take_medium(&mut self, scratch: &[u8]) -> Result<(), Refusal> {
        let bytes = self.blocks().saturating_mul(BYTES as u64);
        check_complete(scratch, u32::try_from(bytes).unwrap_or(u32::MAX))?;
        let (tuples, _) = scratch.as_chunks::<BYTES>();
        self.medium.clear();
        let taken = tuples.iter().map(|bytes| Tuple::from_stored(*bytes));
        self.medium.extend(taken);
        Ok(())
    }

    /// The blocks of the window have been read, their tuples before.
    fn handle_read(&mut self, data_out: &[u8], scratch: &[u8]) -> Result<(), Refusal> {
        let bytes = self.blocks() * u64::from(self.at.block_bytes);
        check_complete(scratch, u32::try_from(bytes).unwrap_or(u32::MAX))?;
        let checks = match self.job {
            Job::Verify(VerifyWith::Blocks | VerifyWith::OneBlock)
            | Job::Write(WriteCheck::Compare) => self.protect.of_compared_medium(),
            _ => self.protect.of_medium(),
        };
        for (index, (data, tuple)) in (self.at.index..).zip(self.blocks_of(scratch)) {
            let found = (data, tuple, index);
            self.expected.check(checks, Origin::Medium, found)?;
        }
        match self.job {
            Job::Read => {
                self.bytes.clear();
                for tuple in &self.medium {
                    self.bytes.extend_from_slice(&tuple.to_bytes());
                }
                self.phase = Phase::Deliver;
                Ok(())
            }
            Job::Verify(with) => {
                self.verify(with, data_out, scratch)?;
                self.advance()
            }
            Job::Write(check) => {
                let sent = data_out.get(..scratch.len());
                if check == WriteCheck::Compare && sent != Some(scratch) {
                    return Err(Sense::MISCOMPARE_DURING_VERIFY.into());
                }
                self.advance()
            }
            Job::Compare => self.compare(data_out, scratch),
            Job::Or => {
                self.or(data_out, scratch);
                self.phase = Phase::Write;
                Ok(())
            }
            Job::Same(_) => Err(Sense::INTERNAL_TARGET_FAILURE.into()),
        }
    }

    /// The blocks that were read, each with its tuple.
    fn blocks_of<'a>(&'a self, scratch: &'a [u8]) -> impl Iterator<Item = (&'a [u8], Tuple)> {
        let tuples = self.medium.iter().copied();
        scratch.chunks_exact(self.at.block()).zip(tuples)
    }

    /// SBC-4 "VERIFY (10) command": the medium against the Data-Out.
    fn verify(&self, with: VerifyWith, data_out: &[u8], scratch: &[u8]) -> Result<(), Refusal> {
        if with == VerifyWith::Nothing {
            return Ok(());
        }
        check_complete(data_out, self.data_out().1)?;
        let block = self.at.block();
        let fields = self.protect.of_comparison();
        let mut sent = data_out.chunks_exact(self.at.wire()).cycle();
        for (index, (data, medium)) in (self.at.index..).zip(self.blocks_of(scratch)) {
            let (same, tuple) = match sent.next() {
                Some(sent) => sent.split_at(block),
                None => return Err(Sense::DATA_PHASE_ERROR.into()),
            };
            if same != data {
                return Err(Sense::MISCOMPARE_DURING_VERIFY.into());
            }
            let Some(tuple) = tuple.first_chunk() else {
                continue;
            };
            let mut tuple = Tuple::from_bytes(*tuple);
            if with == VerifyWith::OneBlock {
                tuple = self.repeated(tuple, index);
            }
            self.expected.compare(fields, tuple, medium, index)?;
        }
        Ok(())
    }

    /// SBC-4 "COMPARE AND WRITE command": INFORMATION is the offset of the first byte that differs, in the Data-Out.
    fn compare(&mut self, data_out: &[u8], scratch: &[u8]) -> Result<(), Refusal> {
        let differs = |(sent, stored): (&u8, &u8)| sent != stored;
        if let Some(at) = data_out.iter().zip(scratch).position(differs) {
            let offset = at / self.at.block() * self.at.wire() + at % self.at.block();
            let sense = Sense::MISCOMPARE_DURING_VERIFY.with_information(offset as u64);
            return Err(sense.into());
        }
        self.keep_sent();
        self.phase = Phase::Write;
        Ok(())
    }

    /// What the blocks have when the bits of the Data-Out are set in them: a guard of their own, and the tags that were sent.
    fn or(&mut self, data_out: &[u8], scratch: &[u8]) {
        let block = self.at.block();
        let mut both = Vec::with_capacity(block);
        self.bytes.clear();
        let blocks = data_out
            .chunks_exact(block)
            .zip(scratch.chunks_exact(block));
        for ((sent, read), tuple) in blocks.zip(&self.sent) {
            both.clear();
            both.extend(sent.iter().zip(read).map(|(sent, read)| sent | read));
            let tuple = Tuple {
                guard: guard_of(&both),
                ..*tuple
            };
            self.bytes.extend_from_slice(&tuple.to_stored());
        }
    }

    /// The present piece is done.
    fn advance(&mut self) -> Result<(), Refusal> {
        let blocks = self.blocks();
        let bytes = blocks.saturating_mul(u64::from(self.at.wire_bytes));
        self.at.lba = self.at.lba.saturating_add(blocks);
        self.at.index += blocks;
        self.at.left -= blocks;
        if !matches!(self.job, Job::Same(_)) {
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            self.at.offset = self.at.offset.saturating_add(bytes);
        }
        self.phase = match self.job {
            Job::Same(Same::Nothing { .. } | Same::Unmapped) if self.at.left == 0 => {
                Phase::FlushZeroes
            }
            _ if self.at.left == 0 => Phase::End,
            Job::Same(Same::Nothing { .. } | Same::Unmapped) => Phase::Zero,
            Job::Same(_) => {
                self.keep_sent();
                Phase::Write
            }
            Job::Read | Job::Verify(VerifyWith::Nothing | VerifyWith::OneBlock) => {
                Phase::ReadTuples
            }
            _ => Phase::DataOut,
        };
        Ok(())
    }
}
