//! Memory that several workers read and write: a RAM disk's.
//!
//! It is never shown as a slice: another thread, or the kernel, may be writing any byte of it at any time. Access is
//! by copies; two copies of the same bytes at once may mix them, as on a disk that is written and read at once.

use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use super::{Span, checked_range};
use crate::sys::mapping::Mapping;

/// Copies with a visitor go in pieces of this size, which stay in the first-level cache.
const PIECE_BYTES: usize = 16 << 10;

/// Anonymous memory, zero at first, that takes pages as it is written. `Send` and `Sync`.
pub struct SharedMemory {
    mapping: Mapping,
    len_bytes: usize,
}

/// A range reached beyond the end of the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfRange;

impl std::fmt::Display for OutOfRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("range beyond the end of the memory")
    }
}

impl std::error::Error for OutOfRange {}

impl From<OutOfRange> for io::Error {
    fn from(error: OutOfRange) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

impl SharedMemory {
    /// Reserves `len_bytes`; pages come when written.
    ///
    /// # Errors
    /// What `mmap` answers; `InvalidInput` for a length that is zero or does not fit the address space.
    pub fn new(len_bytes: u64) -> io::Result<Self> {
        let len = usize::try_from(len_bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
        if len == 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(Self {
            mapping: Mapping::anonymous(len)?,
            len_bytes: len,
        })
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.len_bytes as u64
    }

    /// Never: memory of no bytes cannot be made.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Copies `into.len()` bytes from `offset` out.
    ///
    /// # Errors
    /// [`OutOfRange`]; nothing is copied then.
    pub fn copy_out(&self, offset: u64, into: &mut [u8]) -> Result<(), OutOfRange> {
        let span = self.span(offset, into.len() as u64)?;
        // SAFETY: `span` lies in this live mapping, `into` is a Rust slice and so elsewhere. Other threads may write
        // the source meanwhile; no reference to it exists, and the bytes mean nothing to this program.
        unsafe {
            std::ptr::copy_nonoverlapping(span.ptr.cast_const(), into.as_mut_ptr(), span.len)
        };
        Ok(())
    }

    /// Copies out as [`Self::copy_out`] does, and shows each piece of the copy while it is in the cache: for a
    /// digest, which must be of the very bytes that were copied.
    ///
    /// # Errors
    /// [`OutOfRange`]; nothing is copied then.
    pub fn copy_out_each(
        &self,
        offset: u64,
        into: &mut [u8],
        mut each: impl FnMut(&[u8]),
    ) -> Result<(), OutOfRange> {
        self.span(offset, into.len() as u64)?;
        let mut at = offset;
        for piece in into.chunks_mut(PIECE_BYTES) {
            self.copy_out(at, piece)?;
            at += piece.len() as u64;
            each(piece);
        }
        Ok(())
    }

    /// Copies `from` in at `offset`.
    ///
    /// # Errors
    /// [`OutOfRange`]; nothing is copied then.
    pub fn copy_in(&self, offset: u64, from: &[u8]) -> Result<(), OutOfRange> {
        let span = self.span(offset, from.len() as u64)?;
        // SAFETY: as in `copy_out`, the other way round.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), span.ptr, span.len) };
        Ok(())
    }

    /// Sets `len_bytes` bytes from `offset` to `byte`.
    ///
    /// # Errors
    /// [`OutOfRange`]; nothing is written then.
    pub fn fill(&self, offset: u64, len_bytes: u64, byte: u8) -> Result<(), OutOfRange> {
        let span = self.span(offset, len_bytes)?;
        // SAFETY: `span` lies in this live mapping; no reference to it exists.
        unsafe { std::ptr::write_bytes(span.ptr, byte, span.len) };
        Ok(())
    }

    /// Makes the range read as zero, and gives its whole pages back to the kernel.
    ///
    /// # Errors
    /// [`OutOfRange`]; nothing is changed then.
    pub fn release(&self, offset: u64, len_bytes: u64) -> Result<(), OutOfRange> {
        let span = self.span(offset, len_bytes)?;
        let start = usize::try_from(offset).map_err(|_| OutOfRange)?;
        let end = start + span.len;
        let page = rustix::param::page_size();
        let (first, last) = (start.next_multiple_of(page).min(end), end / page * page);
        if first >= last {
            return self.fill(offset, len_bytes, 0);
        }
        self.fill(offset, (first - start) as u64, 0)?;
        self.fill(last as u64, (end - last) as u64, 0)?;
        if !self.mapping.discard(first, last - first) {
            self.fill(first as u64, (last - first) as u64, 0)?;
        }
        Ok(())
    }

    fn span(&self, offset: u64, len_bytes: u64) -> Result<Span, OutOfRange> {
        let end = offset.checked_add(len_bytes).ok_or(OutOfRange)?;
        if end > self.len() {
            return Err(OutOfRange);
        }
        let start = usize::try_from(offset).map_err(|_| OutOfRange)?;
        let len = usize::try_from(len_bytes).map_err(|_| OutOfRange)?;
        Ok(Span {
            ptr: self.mapping.at(start).as_ptr(),
            len,
        })
    }
}

impl std::fmt::Debug for SharedMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SharedMemory({} bytes)", self.len_bytes)
    }
}

/// One worker's handle on [`SharedMemory`]: its clones, and the pins made from it, count without atomics.
#[derive(Debug, Clone)]
pub struct LocalShared {
    #[expect(
        clippy::redundant_allocation,
        reason = "the outer count is this worker's own"
    )]
    memory: Rc<Arc<SharedMemory>>,
}

impl LocalShared {
    /// A handle for this worker.
    pub fn new(memory: Arc<SharedMemory>) -> Self {
        Self {
            memory: Rc::new(memory),
        }
    }

    /// The memory itself.
    pub fn memory(&self) -> &SharedMemory {
        &self.memory
    }

    /// The right to send from, or receive into, a range. `None` beyond the end.
    pub fn pin(&self, offset: u64, len_bytes: u32) -> Option<Pin> {
        self.memory.span(offset, u64::from(len_bytes)).ok()?;
        Some(Pin {
            memory: self.clone(),
            offset,
            len: len_bytes,
        })
    }
}

/// A range of [`SharedMemory`], kept alive; what an operation may read or write without a copy.
#[derive(Debug, Clone)]
pub struct Pin {
    memory: LocalShared,
    offset: u64,
    len: u32,
}

impl Pin {
    /// Its length in bytes.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where it starts in its memory, in bytes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Part of it; `None` beyond its end.
    pub fn slice(&self, range: Range<u32>) -> Option<Self> {
        let (start, len) = checked_range(&range, self.len as usize)?;
        let len = u32::try_from(len).ok()?;
        Some(Self {
            memory: self.memory.clone(),
            offset: self.offset + start as u64,
            len,
        })
    }

    /// Copies `into.len()` bytes out from `at` within the pin.
    ///
    /// # Errors
    /// [`OutOfRange`] beyond the pin's end.
    pub fn copy_out(&self, at: u32, into: &mut [u8]) -> Result<(), OutOfRange> {
        self.check(at, into.len())?;
        self.memory
            .memory()
            .copy_out(self.offset + u64::from(at), into)
    }

    /// As [`SharedMemory::copy_out_each`], within the pin.
    ///
    /// # Errors
    /// [`OutOfRange`] beyond the pin's end.
    pub fn copy_out_each(
        &self,
        at: u32,
        into: &mut [u8],
        each: impl FnMut(&[u8]),
    ) -> Result<(), OutOfRange> {
        self.check(at, into.len())?;
        self.memory
            .memory()
            .copy_out_each(self.offset + u64::from(at), into, each)
    }

    /// Copies `from` in at `at` within the pin.
    ///
    /// # Errors
    /// [`OutOfRange`] beyond the pin's end.
    pub fn copy_in(&self, at: u32, from: &[u8]) -> Result<(), OutOfRange> {
        self.check(at, from.len())?;
        self.memory
            .memory()
            .copy_in(self.offset + u64::from(at), from)
    }

    pub(crate) fn span(&self) -> Span {
        let empty = Span {
            ptr: std::ptr::null_mut(),
            len: 0,
        };
        self.memory
            .memory
            .span(self.offset, u64::from(self.len))
            .unwrap_or(empty)
    }

    fn check(&self, at: u32, len: usize) -> Result<(), OutOfRange> {
        let end = (at as usize).checked_add(len).ok_or(OutOfRange)?;
        (end <= self.len as usize).then_some(()).ok_or(OutOfRange)
    }
}

#[cfg(test)]
#[path = "shared_tests.rs"]
mod tests;
