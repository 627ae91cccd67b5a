//! Blocks that are copied in one go, from one place to another: window by window, each read and then written.

use block::Lba;

use super::part::{PartAsk, PartWork, Place};
use crate::step::WINDOW_BYTES;

/// One end of a [`Stretch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) place: Place,
    pub(crate) lba: u64,
    /// 512 or 4096.
    pub(crate) block_size_bytes: u32,
}

impl End {
    /// The part that does `work` on `bytes` bytes, `offset` bytes behind the beginning. Both are whole blocks.
    fn part(&self, work: PartWork, offset: u64, bytes: u64) -> PartAsk {
        let size = u64::from(self.block_size_bytes.max(1));
        PartAsk {
            place: self.place,
            work,
            // A range that would pass 2^64 is in no unit, and the part's check says so.
            lba: Lba(self.lba.saturating_add(offset / size)),
            blocks: bytes / size,
            block_size_bytes: self.block_size_bytes,
        }
    }
}

/// Blocks to be copied, and how far that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    from: End,
    to: End,
    bytes: u64,
    done_bytes: u64,
    /// The destination begins inside the source: the last window goes first, so that no block is overwritten before it is
    /// read.
    backwards: bool,
    work: PartWork,
}

impl Stretch {
    /// `bytes` is a whole number of blocks at both ends.
    pub(crate) fn new(from: End, to: End, bytes: u64) -> Self {
        let length = bytes / u64::from(from.block_size_bytes.max(1));
        let overlaps =
            from.place == to.place && to.lba > from.lba && to.lba < from.lba.saturating_add(length);
        Self {
            from,
            to,
            bytes,
            done_bytes: 0,
            backwards: overlaps,
            work: PartWork::Read,
        }
    }

    /// What comes next; `None` at the end.
    pub(crate) fn next(&self) -> Option<PartAsk> {
        let window = self.window_bytes();
        if window == 0 {
            return None;
        }
        let offset = if self.backwards {
            self.bytes - self.done_bytes - window
        } else {
            self.done_bytes
        };
        let end = match self.work {
            PartWork::Read => &self.from,
            PartWork::Write => &self.to,
        };
        Some(end.part(self.work, offset, window))
    }

    /// Whether what comes next writes.
    pub(crate) fn is_writing(&self) -> bool {
        self.work == PartWork::Write
    }

    /// What was next is done. Returns how many bytes have been copied by it.
    pub(crate) fn handle_done(&mut self) -> u64 {
        match self.work {
            PartWork::Read => {
                self.work = PartWork::Write;
                0
            }
            PartWork::Write => {
                self.work = PartWork::Read;
                let window = self.window_bytes();
                self.done_bytes += window;
                window
            }
        }
    }

    fn window_bytes(&self) -> u64 {
        (self.bytes - self.done_bytes).min(u64::from(WINDOW_BYTES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(place: Place, lba: u64, block_size_bytes: u32) -> End {
        End {
            place,
            lba,
            block_size_bytes,
        }
    }

    fn run(mut stretch: Stretch) -> Vec<(PartWork, u64, u64)> {
        let mut parts = Vec::new();
        while let Some(ask) = stretch.next() {
            parts.push((ask.work, ask.lba.0, ask.blocks));
            stretch.handle_done();
        }
        parts
    }

    #[test]
    fn stretch_between_block_sizes_counts_blocks_of_each() {
        let there = Place::There(crate::Lun::new(1).unwrap());
        let stretch = Stretch::new(end(Place::Here, 8, 512), end(there, 3, 4096), 3 << 19);
        assert_eq!(
            run(stretch),
            [
                (PartWork::Read, 8, 2048),
                (PartWork::Write, 3, 256),
                (PartWork::Read, 2056, 1024),
                (PartWork::Write, 259, 128),
            ]
        );
    }

    #[test]
    fn stretch_into_itself_goes_backwards_only_when_it_has_to() {
        let forwards = Stretch::new(
            end(Place::Here, 100, 512),
            end(Place::Here, 50, 512),
            3 << 19,
        );
        assert_eq!(run(forwards)[0], (PartWork::Read, 100, 2048));
        let backwards = Stretch::new(
            end(Place::Here, 50, 512),
            end(Place::Here, 100, 512),
            3 << 19,
        );
        assert_eq!(
            run(backwards),
            [
                (PartWork::Read, 1074, 2048),
                (PartWork::Write, 1124, 2048),
                (PartWork::Read, 50, 1024),
                (PartWork::Write, 100, 1024),
            ]
        );
        let apart = Stretch::new(
            end(Place::Here, 0, 512),
            end(Place::Here, 3072, 512),
            3 << 19,
        );
        assert_eq!(run(apart)[0], (PartWork::Read, 0, 2048));
    }
}
