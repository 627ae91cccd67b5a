//! Sanitize operations: what one does to the medium, step by step. SBC-4 r22 "Sanitize operations", "SANITIZE command".
//!
//! An operation belongs to the logical unit, not to the command that asked for it: the home works it
//! ([`LuHome::own_io`](crate::lu::LuHome::own_io)), whatever becomes of the command, its session, or the process. Meanwhile the LU serves INQUIRY,
//! REPORT LUNS and REQUEST SENSE. What has been begun is remembered before anything is erased: an LU that was being sanitized
//! when its process ended begins the operation anew.
//!
//! It knows what a store can be asked for; what a file system or a disk below keeps of blocks that were erased it does not.

use std::sync::Arc;

use block::Lba;

use crate::sense::Sense;
use crate::snapshot::{LuCondition, LuSnapshot};
use crate::step::{Io, WINDOW_BYTES, WriteFrom, ZERO_PIECE_BYTES};

/// A sanitize operation that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SanitizeOrder {
    /// How.
    pub method: SanitizeMethod,
    /// AUSE: should it fail, EXIT FAILURE MODE ends that.
    pub unrestricted: bool,
}

/// How the medium is sanitized.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SanitizeMethod {
    /// BLOCK ERASE: all blocks are zeroed and given back.
    BlockErase,
    /// OVERWRITE: all blocks are written.
    Overwrite {
        /// How often, from 1.
        passes: u8,
        /// INVERT: each pass writes what the pass before did, inverted. The last writes the pattern as it is.
        invert: bool,
        /// What each block begins with, and goes on with.
        pattern: Arc<[u8]>,
    },
}

/// A sanitize operation that a logical unit is not done with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sanitize {
    /// It is under way.
    Running(Arc<SanitizeOrder>),
    /// It has failed.
    Failed {
        /// AUSE of the operation.
        unrestricted: bool,
    },
}

impl Sanitize {
    /// What the LU is to commands.
    pub(crate) fn condition(&self) -> LuCondition {
        match self {
            Self::Running(_) => LuCondition::Sanitizing,
            Self::Failed { .. } => LuCondition::SanitizeFailed,
        }
    }
}

impl LuSnapshot {
    /// Whether the LU can be sanitized: an operation that the end of the process interrupts has to be known of afterwards, or
    /// the blocks have to be gone with it.
    pub(crate) fn may_sanitize(&self) -> bool {
        self.can_save() || self.caps.volatile
    }

    /// What commands are told while the LU is being sanitized.
    pub(crate) fn sanitize_in_progress(&self) -> Sense {
        Sense::SANITIZE_IN_PROGRESS.with_progress(self.statistics.sanitize_progress())
    }
}

/// How far a sanitize operation is.
#[derive(Clone, Debug)]
pub(crate) struct SanitizeWork {
    order: Arc<SanitizeOrder>,
    pass: u8,
    at: u64,
    /// All of the pass is written; it is to be made durable.
    flush: bool,
    /// One block as this pass writes it.
    block: Option<Arc<[u8]>>,
}

/// What is to be done next for a logical unit that nobody asks for at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnIo {
    /// The I/O.
    pub io: Io,
    /// What an [`Io::Write`] writes, over and over.
    pub pattern: Option<Arc<[u8]>>,
}

impl SanitizeWork {
    pub(crate) fn new(order: Arc<SanitizeOrder>) -> Self {
        Self {
            order,
            pass: 0,
            at: 0,
            flush: false,
            block: None,
        }
    }

    pub(crate) fn order(&self) -> &Arc<SanitizeOrder> {
        &self.order
    }

    fn passes(&self, lu: &LuSnapshot) -> u8 {
        match &self.order.method {
            // A store whose blocks read as anything when they are given back is zeroed first.
            SanitizeMethod::BlockErase if lu.caps.unmap_zeroes => 1,
            SanitizeMethod::BlockErase => 2,
            SanitizeMethod::Overwrite { passes, .. } => (*passes).max(1) + self.erasing_passes(lu),
        }
    }

    /// SBC-4 "SANITIZE command", OVERWRITE: protection information becomes FFh in all its bytes, as that of blocks that are given
    /// back does. That comes first.
    fn erasing_passes(&self, lu: &LuSnapshot) -> u8 {
        let overwrites = matches!(self.order.method, SanitizeMethod::Overwrite { .. });
        u8::from(overwrites && lu.caps.protection.is_some())
    }

    /// The next I/O; `None`: all is done.
    pub(crate) fn next(&mut self, lu: &LuSnapshot) -> Option<OwnIo> {
        let without_pattern = |io| Some(OwnIo { io, pattern: None });
        if self.flush {
            return without_pattern(Io::Flush);
        }
        if self.pass >= self.passes(lu) {
            return None;
        }
        let geometry = lu.geometry();
        let left = geometry.capacity_blocks.saturating_sub(self.at);
        let piece = |bytes: u32| left.min(u64::from(bytes / geometry.block_size_bytes.max(1)));
        let lba = Lba(self.at);
        let erased = self.erasing_passes(lu);
        let gives_back = match &self.order.method {
            SanitizeMethod::BlockErase => self.pass == 1,
            SanitizeMethod::Overwrite { .. } => self.pass < erased,
        };
        if gives_back {
            let blocks = piece(ZERO_PIECE_BYTES);
            return without_pattern(Io::Unmap { lba, blocks });
        }
        match &self.order.method {
            SanitizeMethod::BlockErase => {
                let cheap = lu.caps.write_zeroes || lu.caps.unmap_zeroes;
                without_pattern(Io::WriteZeroes {
                    lba,
                    blocks: piece(if cheap {
                        ZERO_PIECE_BYTES
                    } else {
                        WINDOW_BYTES
                    }),
                    may_unmap: true,
                })
            }
            SanitizeMethod::Overwrite { .. } => {
                let block_bytes = geometry.block_size_bytes;
                let block = self.block_of_pass(self.pass - erased, block_bytes);
                Some(OwnIo {
                    io: Io::Write {
                        lba,
                        blocks: piece(WINDOW_BYTES),
                        from: WriteFrom::Pattern { bytes: block_bytes },
                        durable: false,
                    },
                    pattern: Some(block),
                })
            }
        }
    }

    /// The I/O last told is done, and well.
    pub(crate) fn done(&mut self, io: &Io, lu: &LuSnapshot) {
        match *io {
            Io::Write { blocks, .. }
            | Io::WriteZeroes { blocks, .. }
            | Io::Unmap { blocks, .. } => {
                self.at = self.at.saturating_add(blocks);
                self.flush = self.at >= lu.geometry().capacity_blocks;
            }
            _ => {
                self.flush = false;
                self.pass = self.pass.saturating_add(1);
                self.at = 0;
                self.block = None;
            }
        }
    }

    /// How much is done, in parts of 65,536: SPC-5 "Progress indication sense key specific data".
    pub(crate) fn progress(&self, lu: &LuSnapshot) -> u16 {
        let capacity = u128::from(lu.geometry().capacity_blocks.max(1));
        let done = capacity * u128::from(self.pass) + u128::from(self.at);
        let all = capacity * u128::from(self.passes(lu));
        u16::try_from(done * 65_536 / all).unwrap_or(u16::MAX)
    }

    /// SBC-4 "SANITIZE command", OVERWRITE: the pattern begins anew with each block. Where each pass inverts, the last one
    /// writes it as it is.
    fn block_of_pass(&mut self, pass: u8, block_bytes: u32) -> Arc<[u8]> {
        if let Some(block) = &self.block {
            return Arc::clone(block);
        }
        let bytes = usize::try_from(block_bytes).unwrap_or(usize::MAX);
        let mut block = Vec::with_capacity(bytes);
        if let SanitizeMethod::Overwrite {
            passes,
            invert,
            pattern,
        } = &self.order.method
        {
            let inverted = *invert && passes.saturating_sub(pass).is_multiple_of(2);
            let flip = if inverted { 0xff } else { 0x00 };
            let repeated = pattern.iter().cycle().take(bytes);
            block.extend(repeated.map(|byte| byte ^ flip));
        }
        let block: Arc<[u8]> = block.into();
        self.block = Some(Arc::clone(&block));
        block
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overwrite_with_invert_ends_with_the_pattern_as_it_is() {
        for (passes, wanted) in [
            (1, vec![0x5a]),
            (2, vec![0xa5, 0x5a]),
            (3, vec![0x5a, 0xa5, 0x5a]),
        ] {
            let order = SanitizeOrder {
                method: SanitizeMethod::Overwrite {
                    passes,
                    invert: true,
                    pattern: [0x5a].as_slice().into(),
                },
                unrestricted: false,
            };
            let mut work = SanitizeWork::new(Arc::new(order));
            let written: Vec<u8> = (0..passes)
                .map(|pass| {
                    work.block = None;
                    work.block_of_pass(pass, 512)[0]
                })
                .collect();
            assert_eq!(written, wanted, "{passes}");
        }
    }
}
