//! WRITE SAME and UNMAP: ranges without a payload of their own length, piece by piece.

use block::{BlockCount, Geometry, Lba};

use super::state::{Ending, Next};
use super::transfer::check_complete;

use crate::limits;
use crate::lu::HomeAction;
use crate::sense::{Refusal, Sense};
use crate::snapshot::LuSnapshot;
use crate::step::{Io, WINDOW_BYTES, WriteFrom, ZERO_PIECE_BYTES};

/// What WRITE SAME writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// Not known before the Data-Out is here.
    Unknown,
    /// Zeros: nothing is sent to the store.
    Zeroes,
    /// The block of Data-Out, for each block.
    Pattern,
}

/// WRITE SAME.
#[derive(Clone, Copy, Debug)]
pub(super) struct WriteSame {
    lba: u64,
    left_blocks: u64,
    block_bytes: u32,
    source: Source,
    /// UNMAP: blocks that are to be zero may be given back.
    may_unmap: bool,
    /// How many bytes of the medium are zeroed at a time.
    zero_piece_bytes: u32,
    flushed: bool,
    transfer_bytes: u64,
}

impl WriteSame {
    /// Without Data-Out (NDOB): zeros.
    pub(super) fn zeroes(lba: Lba, blocks: u64, unmap: bool, lu: &LuSnapshot) -> Self {
        let mut same = Self::pattern(lba, blocks, unmap, lu);
        same.source = Source::Zeroes;
        same.transfer_bytes = 0;
        same
    }

    /// With one block of Data-Out.
    pub(super) fn pattern(lba: Lba, blocks: u64, unmap: bool, lu: &LuSnapshot) -> Self {
        let block_bytes = lu.geometry().block_size_bytes.max(1);
        let cheap = lu.caps.write_zeroes || (unmap && lu.caps.unmap_zeroes);
        Self {
            lba: lba.0,
            left_blocks: blocks,
            block_bytes,
            source: Source::Unknown,
            may_unmap: unmap,
            zero_piece_bytes: if cheap {
                ZERO_PIECE_BYTES
            } else {
                WINDOW_BYTES
            },
            flushed: false,
            transfer_bytes: u64::from(block_bytes),
        }
    }

    fn piece_blocks(&self) -> u64 {
        let most_bytes = match self.source {
            Source::Zeroes => self.zero_piece_bytes,
            Source::Unknown | Source::Pattern => WINDOW_BYTES,
        };
        self.left_blocks
            .min(u64::from(most_bytes / self.block_bytes))
    }

    pub(super) fn next(&self, lu: &LuSnapshot) -> Next {
        let lba = Lba(self.lba);
        let blocks = self.piece_blocks();
        let durable = !lu.mode.write_cache;
        match self.source {
            Source::Unknown => Next::DataOut {
                offset: 0,
                bytes: self.block_bytes,
            },
            Source::Zeroes if blocks > 0 => Next::Io(Io::WriteZeroes {
                lba,
                blocks,
                may_unmap: self.may_unmap,
            }),
            Source::Pattern if blocks > 0 => Next::Io(Io::Write {
                lba,
                blocks,
                from: WriteFrom::Pattern {
                    bytes: self.block_bytes,
                },
                durable,
            }),
            Source::Zeroes if durable && !self.flushed => Next::Io(Io::Flush),
            Source::Zeroes | Source::Pattern => Next::Done(Ending {
                transfer_bytes: self.transfer_bytes,
                data_in_bytes: 0,
            }),
        }
    }

    pub(super) fn handle_data_out(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        check_complete(bytes, self.block_bytes)?;
        // SBC-4 "WRITE SAME (10) command": blocks are unmapped only if they then read as the block that was sent.
        let zero = bytes.iter().all(|byte| *byte == 0);
        self.source = if zero {
            Source::Zeroes
        } else {
            Source::Pattern
        };
        Ok(())
    }

    /// The blocks that are left to be written.
    pub(super) fn left(&self) -> (u64, u64) {
        (self.lba, self.left_blocks)
    }

    pub(super) fn handle_io(&mut self) {
        if self.left_blocks == 0 {
            self.flushed = true;
            return;
        }
        let blocks = self.piece_blocks();
        self.lba = self.lba.saturating_add(blocks);
        self.left_blocks -= blocks;
    }
}

const HEADER_BYTES: usize = 8;
const DESCRIPTOR_BYTES: usize = 16;

/// UNMAP, its parameter list read.
#[derive(Debug)]
pub(super) struct Unmap {
    /// What is left, the next range last. At most [`limits::MAX_UNMAP_DESCRIPTORS`], none of them empty.
    ranges: Vec<(u64, u64)>,
    piece_blocks: u64,
    flushed: bool,
    transfer_bytes: u64,
    /// First the blocks from the first range to the last have to be had alone: nobody may see those that are given back with
    /// protection information of before.
    alone: Option<(u64, u64)>,
}

impl Unmap {
    /// SBC-4 "UNMAP parameter list". All of it is checked before any of it is done.
    pub(super) fn parse(list: &[u8], lu: &LuSnapshot) -> Result<Self, Refusal> {
        let &[_, _, high, low, ..] = list else {
            return Err(Sense::PARAMETER_LIST_LENGTH_ERROR.into());
        };
        let descriptor_bytes = usize::from(u16::from_be_bytes([high, low]));
        let Some(data) = list.get(HEADER_BYTES..HEADER_BYTES + descriptor_bytes) else {
            return Err(Sense::PARAMETER_LIST_LENGTH_ERROR.into());
        };
        // A descriptor that is not whole is ignored.
        let descriptors = data.chunks_exact(DESCRIPTOR_BYTES);
        if descriptors.len() > usize::from(limits::MAX_UNMAP_DESCRIPTORS) {
            return Err(Sense::parameter_byte(2).into());
        }
        let mut ranges = Vec::with_capacity(descriptors.len());
        let mut total = 0;
        for (index, descriptor) in descriptors.enumerate() {
            let (lba, blocks) = parse_descriptor(descriptor);
            total += blocks;
            // At most 256 descriptors of 16 bytes.
            let at = u16::try_from(HEADER_BYTES + index * DESCRIPTOR_BYTES).unwrap_or(u16::MAX);
            // SBC-4 "MAXIMUM UNMAP LBA COUNT field": of all descriptors together.
            if total > u64::from(limits::MAX_UNMAP_BLOCKS) {
                return Err(Sense::parameter_byte(at.saturating_add(8)).into());
            }
            if !lu.geometry().contains(Lba(lba), BlockCount(blocks)) {
                return Err(Sense::LBA_OUT_OF_RANGE.pointing(false, at, None).into());
            }
            if blocks > 0 {
                ranges.push((lba, blocks));
            }
        }
        ranges.reverse();
        let first = ranges.iter().map(|(lba, _)| *lba).min();
        let end = ranges.iter().map(|(lba, blocks)| lba + blocks).max();
        let alone = first.zip(end).map(|(first, end)| (first, end - first));
        let alone = alone.filter(|_| lu.caps.protection.is_some());
        let piece_blocks = ZERO_PIECE_BYTES / lu.geometry().block_size_bytes.max(1);
        Ok(Self {
            // Nothing to do, nothing to flush.
            flushed: ranges.is_empty(),
            ranges,
            piece_blocks: u64::from(piece_blocks),
            transfer_bytes: list.len() as u64,
            alone,
        })
    }

    /// Whether what is left is still there.
    pub(super) fn check_ranges(&self, geometry: Geometry) -> Result<(), Refusal> {
        let inside = |(lba, blocks): &(u64, u64)| geometry.contains(Lba(*lba), BlockCount(*blocks));
        if self.ranges.iter().all(inside) {
            Ok(())
        } else {
            Err(Sense::LBA_OUT_OF_RANGE.into())
        }
    }

    pub(super) fn handle_granted(&mut self) {
        self.alone = None;
    }

    pub(super) fn next(&self, lu: &LuSnapshot) -> Next {
        if let Some((lba, blocks)) = self.alone {
            let lba = Lba(lba);
            return Next::Home(HomeAction::Range { lba, blocks });
        }
        match self.ranges.last() {
            Some((lba, blocks)) => Next::Io(Io::Unmap {
                lba: Lba(*lba),
                blocks: (*blocks).min(self.piece_blocks),
            }),
            None if !lu.mode.write_cache && !self.flushed => Next::Io(Io::Flush),
            None => Next::Done(Ending {
                transfer_bytes: self.transfer_bytes,
                data_in_bytes: 0,
            }),
        }
    }

    pub(super) fn handle_io(&mut self) {
        let Some((lba, blocks)) = self.ranges.last_mut() else {
            self.flushed = true;
            return;
        };
        let done = (*blocks).min(self.piece_blocks);
        *lba = lba.saturating_add(done);
        *blocks -= done;
        if *blocks == 0 {
            self.ranges.pop();
        }
    }
}

/// SBC-4 "UNMAP block descriptor": address and number of blocks.
fn parse_descriptor(bytes: &[u8]) -> (u64, u64) {
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    };
    (number(&bytes[..8]), number(&bytes[8..12]))
}
