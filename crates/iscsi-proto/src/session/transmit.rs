//! What goes out: header bytes in an arena, payload by name.

use core::ops::Range;

use iscsi_wire::{Bhs, Crc32c, DIGEST_BYTES, crc32c, pad};

use super::TaskId;

/// PDUs ready to be sent, in order. The engine keeps one per connection and clears it after use; its capacity stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transmit {
    /// Bytes the core made: headers, digests, padding, small data.
    pub arena: Vec<u8>,
    /// What to send, in order.
    pub pieces: Vec<Piece>,
    /// Bytes in all pieces.
    bytes: usize,
    /// The last piece that is sent, so that arena bytes grow it over a `Release` between.
    last: usize,
}

/// One part of the outgoing stream, or news about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// These bytes of the arena.
    Arena(Range<u32>),
    /// Bytes of a task's memory.
    TaskData {
        /// The task.
        task: TaskId,
        /// First byte, in the command's data.
        offset: u32,
        /// How many.
        bytes: u32,
        /// The arena has a hole of four bytes here for the CRC32C, least significant byte first, over the payload and
        /// its padding (`pad(bytes)` bytes, in the arena just before the hole).
        digest_at: Option<u32>,
    },
    /// Status of this task is in the batch: its id is free, and the engine may forget the task once the list of memory
    /// to be sent is built.
    Release {
        /// The task.
        task: TaskId,
    },
}

impl Transmit {
    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.pieces.clear();
        self.bytes = 0;
        self.last = 0;
    }

    /// Bytes on the wire in all pieces.
    #[must_use]
    pub const fn wire_bytes(&self) -> usize {
        self.bytes
    }

    /// A header, with its digest where one is wanted.
    pub(crate) fn push_header(&mut self, bhs: &Bhs, digest: bool) {
        let start = self.arena.len();
        self.arena.extend_from_slice(&bhs.0);
        if digest {
            self.arena.extend_from_slice(&crc32c(&bhs.0).to_le_bytes());
        }
        self.cover(start);
    }

    /// A data segment of the core's own: padded, with its digest where one is wanted.
    pub(crate) fn push_data(&mut self, data: &[u8], digest: bool) {
        if data.is_empty() {
            return;
        }
        let start = self.arena.len();
        self.arena.extend_from_slice(data);
        self.push_padding(data.len());
        if digest {
            let mut crc = Crc32c::new();
            crc.update(&self.arena[start..]);
            self.arena.extend_from_slice(&crc.wire_bytes());
        }
        self.cover(start);
    }

    /// A data segment from a task's memory: padded, with a hole for its digest where one is wanted.
    pub(crate) fn push_task_data(&mut self, task: TaskId, offset: u32, bytes: u32, digest: bool) {
        let start = self.arena.len();
        self.push_padding(bytes as usize);
        let digest_at = digest.then(|| {
            let at = self.arena.len();
            self.arena.extend_from_slice(&[0; DIGEST_BYTES]);
            arena_index(at)
        });
        self.last = self.pieces.len();
        self.pieces.push(Piece::TaskData {
            task,
            offset,
            bytes,
            digest_at,
        });
        self.bytes += bytes as usize;
        if self.arena.len() > start {
            self.cover(start);
        }
    }

    /// The task's status is in the pieces before this one.
    pub(crate) fn push_release(&mut self, task: TaskId) {
        self.pieces.push(Piece::Release { task });
    }

    fn push_padding(&mut self, data_bytes: usize) {
        self.arena.extend_from_slice(&[0; 3][..pad(data_bytes)]);
    }

    /// Makes the arena from `start` on part of the stream, growing the last piece where that is one range.
    fn cover(&mut self, start: usize) {
        self.bytes += self.arena.len() - start;
        let (start, end) = (arena_index(start), arena_index(self.arena.len()));
        match self.pieces.get_mut(self.last) {
            Some(Piece::Arena(range)) if range.end == start => range.end = end,
            _ => {
                self.last = self.pieces.len();
                self.pieces.push(Piece::Arena(start..end));
            }
        }
    }
}

/// The arena holds headers and small data of one batch: bounded by the caller's budget, and far from 4 GiB.
fn arena_index(at: usize) -> u32 {
    u32::try_from(at).expect("a batch's arena is under 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn push_data_of_five_bytes_pads_and_merges_into_one_piece() {
        let mut out = Transmit::default();
        out.push_header(&Bhs::zeroed(), true);
        out.push_data(b"abcde", true);
        assert_eq!(out.pieces, [Piece::Arena(0..64)]);
        assert_eq!(&out.arena[52..60], b"abcde\0\0\0");
        assert_eq!(out.arena[60..64], crc32c(b"abcde\0\0\0").to_le_bytes());
        assert_eq!(out.arena[48..52], crc32c(&[0; 48]).to_le_bytes());
        assert_eq!(out.wire_bytes(), 64);
    }

    #[test]
    fn push_task_data_with_digest_leaves_a_hole_after_the_padding() {
        let mut out = Transmit::default();
        out.push_header(&Bhs::zeroed(), false);
        out.push_task_data(TaskId(3), 512, 6, true);
        out.push_header(&Bhs::zeroed(), false);
        let data = Piece::TaskData {
            task: TaskId(3),
            offset: 512,
            bytes: 6,
            digest_at: Some(50),
        };
        assert_eq!(
            out.pieces,
            [Piece::Arena(0..48), data, Piece::Arena(48..102)]
        );
        assert_eq!(out.wire_bytes(), 48 + 6 + 2 + 4 + 48);
    }

    #[test]
    fn push_header_after_release_grows_the_arena_piece_before_it() {
        let mut out = Transmit::default();
        out.push_header(&Bhs::zeroed(), false);
        out.push_release(TaskId(1));
        out.push_header(&Bhs::zeroed(), false);
        assert_eq!(
            out.pieces,
            [Piece::Arena(0..96), Piece::Release { task: TaskId(1) }]
        );
        out.clear();
        assert_eq!(
            (out.wire_bytes(), out.pieces.len(), out.arena.len()),
            (0, 0, 0)
        );
    }
}
