//! A buffer with several readers.

use std::mem::ManuallyDrop;
use std::ops::{Deref, Range};

use super::slab::Chunk;
use super::{Buffer, Slab, Span, checked_range};

/// A buffer that several holders on its worker read. Cloning counts in the slab's own table: no allocation, no
/// atomic operation. Goes back to the slab with its last holder.
pub struct Frozen {
    slab: Slab,
    chunk: Chunk,
    len: u32,
}

impl Frozen {
    pub(super) fn start(slab: Slab, chunk: Chunk, len: u32) -> Self {
        slab.start_count(chunk);
        Self { slab, chunk, len }
    }

    /// The buffer, writable again, if there is no other holder.
    ///
    /// # Errors
    /// Itself, while others hold it.
    pub fn try_unfreeze(self) -> Result<Buffer, Self> {
        if !self.slab.is_sole(self.chunk) {
            return Err(self);
        }
        let this = ManuallyDrop::new(self);
        // SAFETY: `this` is never dropped, so the slab handle is moved out exactly once.
        let slab = unsafe { std::ptr::read(&raw const this.slab) };
        Ok(Buffer::from_chunk(slab, this.chunk, this.len))
    }

    /// Its length in bytes, as ranges of it are written.
    pub fn len_u32(&self) -> u32 {
        self.len
    }

    pub(crate) fn span(&self, range: Range<u32>) -> Option<Span> {
        let (start, len) = checked_range(&range, self.len as usize)?;
        Some(Span {
            ptr: self.chunk.ptr.as_ptr().wrapping_add(start),
            len,
        })
    }
}

impl Clone for Frozen {
    /// # Panics
    /// At the 4,294,967,295th holder of one buffer.
    fn clone(&self) -> Self {
        assert!(
            self.slab.retain(self.chunk),
            "a frozen buffer has too many holders"
        );
        Self {
            slab: self.slab.clone(),
            chunk: self.chunk,
            len: self.len,
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.slab.release(self.chunk);
    }
}

impl Deref for Frozen {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the chunk is mapped and initialised for its capacity, which `len` does not exceed; the slab handle
        // keeps the mapping; while it is frozen nobody writes it.
        unsafe { std::slice::from_raw_parts(self.chunk.ptr.as_ptr(), self.len as usize) }
    }
}

impl std::fmt::Debug for Frozen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frozen({} bytes)", self.len)
    }
}
