//! READ, WRITE, WRITE AND VERIFY and VERIFY: a range of blocks, window by window.

use block::{Geometry, Lba};

use super::state::{Ending, Next};
use crate::sense::{Refusal, Sense};
use crate::snapshot::LuSnapshot;
use crate::step::{Io, ReadInto, WINDOW_BYTES, WriteFrom};

/// How far a transfer is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor {
    pub(super) lba: u64,
    left_blocks: u64,
    /// Of the next block, in the command's data.
    pub(super) offset: u32,
    block_bytes: u32,
}

impl Cursor {
    /// At the beginning of a range that has been checked; its bytes fit 32 bits (MAXIMUM TRANSFER LENGTH).
    pub(super) fn new(lba: Lba, blocks: u64, geometry: Geometry) -> Self {
        let block_bytes = geometry.block_size_bytes.max(1);
        Self {
            lba: lba.0,
            left_blocks: blocks,
            offset: 0,
            block_bytes,
        }
    }

    /// Begins at another range, which has been checked.
    pub(super) fn restart(&mut self, lba: Lba, blocks: u64) {
        self.lba = lba.0;
        self.left_blocks = blocks;
        self.offset = 0;
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.left_blocks == 0
    }

    /// Blocks of the next window.
    pub(super) fn piece_blocks(&self) -> u64 {
        self.left_blocks
            .min(u64::from(WINDOW_BYTES / self.block_bytes))
    }

    /// Bytes of the next window.
    pub(super) fn piece_bytes(&self) -> u32 {
        // At most WINDOW_BYTES.
        let blocks = u32::try_from(self.piece_blocks()).unwrap_or(u32::MAX);
        blocks.saturating_mul(self.block_bytes)
    }

    pub(super) fn advance(&mut self) {
        let blocks = self.piece_blocks();
        self.offset = self.offset.saturating_add(self.piece_bytes());
        self.lba = self.lba.saturating_add(blocks);
        self.left_blocks -= blocks;
    }

    pub(super) fn read(&self, into: ReadInto) -> Io {
        Io::Read {
            lba: Lba(self.lba),
            blocks: self.piece_blocks(),
            into,
        }
    }
}

/// The transfer must have brought what was asked for.
pub(super) fn check_complete(bytes: &[u8], wanted: u32) -> Result<(), Refusal> {
    // A caller's usize is at least 32 bits wide.
    if u32::try_from(bytes.len()) != Ok(wanted) {
        return Err(Sense::DATA_PHASE_ERROR.into());
    }
    Ok(())
}

/// READ.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    at: Cursor,
    /// SBC-4 "FUA bit": the blocks come from the medium, so what the cache has of them goes there first.
    flush_first: bool,
    ending: Ending,
}

impl Read {
    pub(super) fn new(at: Cursor, fua: bool, ending: Ending) -> Self {
        Self {
            at,
            flush_first: fua,
            ending,
        }
    }

    pub(super) fn next(&self) -> Next {
        if self.flush_first {
            Next::Io(Io::Flush)
        } else if self.at.is_at_end() {
            Next::Done(self.ending)
        } else {
            Next::Io(self.at.read(ReadInto::DataIn {
                offset: self.at.offset,
            }))
        }
    }

    pub(super) fn handle_io(&mut self) {
        if !std::mem::take(&mut self.flush_first) {
            self.at.advance();
        }
    }

    /// Bytes of Data-In that have been read.
    pub(super) fn moved_bytes(&self) -> u32 {
        self.at.offset.min(self.ending.data_in_bytes)
    }
}

/// What is done to written blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteCheck {
    /// Nothing.
    None,
    /// WRITE AND VERIFY with BYTCHK 0: they are read.
    Read,
    /// WRITE AND VERIFY with BYTCHK 1: they are read and compared with what was sent.
    Compare,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WritePhase {
    DataOut,
    Write,
    Check,
}

/// WRITE, WRITE AND VERIFY.
#[derive(Clone, Copy, Debug)]
pub(super) struct Write {
    at: Cursor,
    durable: bool,
    check: WriteCheck,
    phase: WritePhase,
    transfer_bytes: u64,
}

impl Write {
    pub(super) fn new(at: Cursor, durable: bool, check: WriteCheck, transfer_bytes: u64) -> Self {
        Self {
            at,
            durable,
            check,
            phase: WritePhase::DataOut,
            transfer_bytes,
        }
    }

    pub(super) fn next(&self, lu: &LuSnapshot) -> Next {
        if self.at.is_at_end() {
            return Next::Done(Ending {
                transfer_bytes: self.transfer_bytes,
                data_in_bytes: 0,
            });
        }
        match self.phase {
            WritePhase::DataOut => Next::DataOut {
                offset: self.at.offset,
                bytes: self.at.piece_bytes(),
            },
            WritePhase::Write => Next::Io(Io::Write {
                lba: Lba(self.at.lba),
                blocks: self.at.piece_blocks(),
                from: WriteFrom::DataOut {
                    offset: self.at.offset,
                },
                // SBC-4 "WCE bit": without a write cache a write completes when it is on the medium.
                durable: self.durable || !lu.mode.write_cache,
            }),
            WritePhase::Check => Next::Io(self.at.read(ReadInto::Scratch)),
        }
    }

    pub(super) fn handle_data_out(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        check_complete(bytes, self.at.piece_bytes())?;
        self.phase = WritePhase::Write;
        Ok(())
    }

    pub(super) fn handle_io(&mut self, data_out: &[u8], scratch: &[u8]) -> Result<(), Refusal> {
        if self.phase == WritePhase::Write && self.check != WriteCheck::None {
            self.phase = WritePhase::Check;
            return Ok(());
        }
        if self.phase == WritePhase::Check && self.check == WriteCheck::Compare {
            check_complete(scratch, self.at.piece_bytes())?;
            if data_out != scratch {
                return Err(Sense::MISCOMPARE_DURING_VERIFY.into());
            }
        }
        self.at.advance();
        self.phase = WritePhase::DataOut;
        Ok(())
    }
}

/// What VERIFY compares the medium with: BYTCHK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VerifyWith {
    /// 00b: the blocks are read.
    Nothing,
    /// 01b: with as many blocks of Data-Out.
    Blocks,
    /// 11b: each with the one block of Data-Out.
    OneBlock,
}

/// VERIFY.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verify {
    at: Cursor,
    with: VerifyWith,
    has_data: bool,
    transfer_bytes: u64,
}

impl Verify {
    pub(super) fn new(at: Cursor, with: VerifyWith, transfer_bytes: u64) -> Self {
        Self {
            at,
            with,
            has_data: with == VerifyWith::Nothing,
            transfer_bytes,
        }
    }

    pub(super) fn next(&self) -> Next {
        if self.at.is_at_end() {
            Next::Done(Ending {
                transfer_bytes: self.transfer_bytes,
                data_in_bytes: 0,
            })
        } else if self.has_data {
            Next::Io(self.at.read(ReadInto::Scratch))
        } else {
            let offset = if self.with == VerifyWith::Blocks {
                self.at.offset
            } else {
                0
            };
            Next::DataOut {
                offset,
                bytes: self.data_bytes(),
            }
        }
    }

    fn data_bytes(&self) -> u32 {
        match self.with {
            VerifyWith::Blocks => self.at.piece_bytes(),
            VerifyWith::Nothing | VerifyWith::OneBlock => self.at.block_bytes,
        }
    }

    pub(super) fn handle_data_out(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        check_complete(bytes, self.data_bytes())?;
        self.has_data = true;
        Ok(())
    }

    pub(super) fn handle_io(&mut self, data_out: &[u8], scratch: &[u8]) -> Result<(), Refusal> {
        let equal = match self.with {
            VerifyWith::Nothing => true,
            VerifyWith::Blocks => {
                check_complete(scratch, self.at.piece_bytes())?;
                data_out == scratch
            }
            VerifyWith::OneBlock => {
                check_complete(scratch, self.at.piece_bytes())?;
                check_complete(data_out, self.at.block_bytes)?;
                scratch
                    .chunks(data_out.len().max(1))
                    .all(|block| block == data_out)
            }
        };
        if !equal {
            return Err(Sense::MISCOMPARE_DURING_VERIFY.into());
        }
        self.at.advance();
        self.has_data = self.with != VerifyWith::Blocks;
        Ok(())
    }
}
