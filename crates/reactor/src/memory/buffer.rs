//! A buffer with one owner.

use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};

use super::slab::Chunk;
use super::{Frozen, Slab, Span};

/// One contiguous run of a worker's slab, uniquely owned. Goes back to the slab when dropped.
pub struct Buffer {
    slab: Slab,
    chunk: Chunk,
    len: u32,
}

impl Buffer {
    pub(super) fn from_chunk(slab: Slab, chunk: Chunk, len: u32) -> Self {
        debug_assert!(len as usize <= chunk.capacity_bytes());
        Self { slab, chunk, len }
    }

    /// Bytes it can hold: the size of its class, a power of two.
    pub fn capacity(&self) -> usize {
        self.chunk.capacity_bytes()
    }

    /// Changes how many bytes it shows. Bytes that become visible hold whatever was there before.
    ///
    /// # Panics
    /// When `len_bytes` is more than [`Self::capacity`].
    pub fn set_len(&mut self, len_bytes: usize) {
        assert!(
            len_bytes <= self.capacity(),
            "a buffer does not grow past its class"
        );
        self.len = u32::try_from(len_bytes).unwrap_or(u32::MAX);
    }

    /// Makes it readable by several holders at once, and writable by none.
    pub fn freeze(self) -> Frozen {
        let this = ManuallyDrop::new(self);
        // SAFETY: `this` is never dropped, so the slab handle is moved out exactly once.
        let slab = unsafe { std::ptr::read(&raw const this.slab) };
        Frozen::start(slab, this.chunk, this.len)
    }

    pub(crate) fn span(&self) -> Span {
        Span {
            ptr: self.chunk.ptr.as_ptr(),
            len: self.len as usize,
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.slab.free(self.chunk);
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the chunk is mapped and initialised (zero pages at first) for its capacity, `len` is at most that,
        // the slab handle keeps the mapping, and nobody else holds this chunk while the buffer lives.
        unsafe { std::slice::from_raw_parts(self.chunk.ptr.as_ptr(), self.len as usize) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; `&mut self` makes this the only access.
        unsafe { std::slice::from_raw_parts_mut(self.chunk.ptr.as_ptr(), self.len as usize) }
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} of {} bytes)", self.len, self.capacity())
    }
}
