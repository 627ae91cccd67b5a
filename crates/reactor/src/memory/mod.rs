//! Memory that operations work on: a worker's slab, and memory shared between workers.
//!
//! What it does not know: who uses a buffer, and for what. Everything here hands the driver plain addresses
//! (`Span`) that stay valid for as long as the handle that gave them lives, wherever that handle is moved.

mod buffer;
mod frozen;
mod shared;
mod slab;
mod written;

pub use buffer::Buffer;
pub use frozen::Frozen;
pub use shared::{LocalShared, OutOfRange, Pin, SharedMemory};
pub use slab::{MAX_BUFFER_BYTES, MIN_BUFFER_BYTES, Slab};

use std::ops::Range;

/// Memory that a file operation takes its bytes from, or that a request carries.
#[derive(Debug)]
pub enum Memory {
    /// A whole buffer, its `len()` bytes.
    Owned(Buffer),
    /// Part of a buffer that others may read at the same time.
    Frozen {
        /// The buffer.
        buffer: Frozen,
        /// Which of its bytes.
        range: Range<u32>,
    },
    /// Part of a store's own memory.
    Pinned(Pin),
}

impl Memory {
    /// How many bytes it names. A range that lies backwards names none.
    pub fn len(&self) -> usize {
        match self {
            Self::Owned(buffer) => buffer.len(),
            Self::Frozen { range, .. } => range.end.saturating_sub(range.start) as usize,
            Self::Pinned(pin) => pin.len() as usize,
        }
    }

    /// Whether it names no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its bytes, where a slice can be given: not for pinned memory, which others may be writing, and not for a
    /// range that reaches beyond its buffer.
    pub fn as_slice(&self) -> Option<&[u8]> {
        match self {
            Self::Owned(buffer) => Some(buffer),
            Self::Frozen { buffer, range } => buffer.get(range.start as usize..range.end as usize),
            Self::Pinned(_) => None,
        }
    }

    /// The buffer, if it is owned whole.
    pub fn into_buffer(self) -> Option<Buffer> {
        match self {
            Self::Owned(buffer) => Some(buffer),
            Self::Frozen { .. } | Self::Pinned(_) => None,
        }
    }

    /// The addresses of its bytes; `None` for a range beyond its buffer.
    pub(crate) fn span(&self) -> Option<Span> {
        match self {
            Self::Owned(buffer) => Some(buffer.span()),
            Self::Frozen { buffer, range } => buffer.span(range.clone()),
            Self::Pinned(pin) => Some(pin.span()),
        }
    }
}

impl From<Buffer> for Memory {
    fn from(buffer: Buffer) -> Self {
        Self::Owned(buffer)
    }
}

impl From<Frozen> for Memory {
    fn from(buffer: Frozen) -> Self {
        let range = 0..buffer.len_u32();
        Self::Frozen { buffer, range }
    }
}

impl From<Pin> for Memory {
    fn from(pin: Pin) -> Self {
        Self::Pinned(pin)
    }
}

/// A run of addresses inside memory whose owner is kept elsewhere.
///
/// Making one is safe, using one is not: whoever passes it to the kernel keeps the owner alive, and out of
/// everybody's hands, until the kernel is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) ptr: *mut u8,
    pub(crate) len: usize,
}

impl Span {
    /// What is left after the first `bytes` bytes.
    pub(crate) fn skip(self, bytes: usize) -> Self {
        let bytes = bytes.min(self.len);
        Self {
            ptr: self.ptr.wrapping_add(bytes),
            len: self.len - bytes,
        }
    }

    pub(crate) fn iovec(self) -> libc::iovec {
        libc::iovec {
            iov_base: self.ptr.cast(),
            iov_len: self.len,
        }
    }
}

/// How many bytes a `u32` range names, if it lies within `len` bytes.
fn checked_range(range: &Range<u32>, len: usize) -> Option<(usize, usize)> {
    let (start, end) = (range.start as usize, range.end as usize);
    (start <= end && end <= len).then(|| (start, end - start))
}
