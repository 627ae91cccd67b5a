//! Memory that several workers read and write: a RAM disk's.
//!
//! It is never shown as a slice: another thread, or the kernel, may be writing any byte of it at any time. Access is
//! by copies; two copies of the same bytes at once may mix them, as on a disk that is written and read at once.

use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::written::{PAGE_BYTES, Written};
use super::{Span, checked_range};
use crate::sys::mapping::Mapping;

/// Copies with a visitor go in pieces of this size, which stay in the first-level cache.
const PIECE_BYTES: usize = 16 << 10;

/// A worker does not look for the end of a run for long: 2^18 words.
const MOST_PAGES_LOOKED_AT: usize = (64 << 30) / PAGE_BYTES;

/// Anonymous memory, zero at first, that takes pages as it is written, and can grow while it is used. `Send` and `Sync`.
pub struct SharedMemory {
    first: Segment,
    /// How much may be used: what is mapped behind it waits for [`Self::grow`].
    len_bytes: AtomicU64,
    /// Who grows it, one at a time.
    growing: Mutex<()>,
}

/// One mapping, which stays where it is for as long as the memory lives, and the one behind it.
struct Segment {
    mapping: Mapping,
    written: Written,
    next: OnceLock<Box<Self>>,
}

impl Segment {
    /// Whole pages, so that no page, and no block of a disk, lies in two segments.
    fn new(len: usize) -> io::Result<Self> {
        let len = len
            .checked_next_multiple_of(rustix::param::page_size())
            .ok_or(io::ErrorKind::InvalidInput)?;
        let mapping = Mapping::anonymous(len)?;
        // Blocks are read and written all over it: each would be a miss in the TLB.
        mapping.prefer_huge_pages();
        Ok(Self {
            mapping,
            written: Written::new(len)?,
            next: OnceLock::new(),
        })
    }

    /// The segment that has the byte at `offset`, and where in it; the last segment for a byte behind the end.
    fn find(&self, offset: usize) -> (&Self, usize) {
        let (mut segment, mut at) = (self, offset);
        while at >= segment.mapping.len()
            && let Some(next) = segment.next.get()
        {
            at -= segment.mapping.len();
            segment = next;
        }
        (segment, at)
    }
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
    /// Reserves `len_bytes`; pages come when written, huge ones where the system gives them.
    ///
    /// # Errors
    /// What `mmap` answers; `InvalidInput` for a length that is zero or does not fit the address space.
    pub fn new(len_bytes: u64) -> io::Result<Self> {
        let len = usize::try_from(len_bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
        if len == 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(Self {
            first: Segment::new(len)?,
            len_bytes: AtomicU64::new(len_bytes),
            growing: Mutex::new(()),
        })
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.len_bytes.load(Ordering::Acquire)
    }

    /// Makes it `len_bytes` long; what is added is zero. Nothing that is there moves, so pins stay good. Without effect
    /// where it is that long already.
    ///
    /// The new bytes may lie apart from the old ones: no [`Pin`] reaches across such a place, and there are at most as many
    /// as the length has been doubled (more where the system counts reserved memory and refuses to reserve on).
    ///
    /// # Errors
    /// What `mmap` answers; `InvalidInput` for a length that does not fit the address space. Nothing has changed then.
    pub fn grow(&self, len_bytes: u64) -> io::Result<()> {
        let wanted = usize::try_from(len_bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
        // A panic elsewhere leaves nothing half done: each change below is one step.
        let growing = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, at) = self.first.find(wanted.saturating_sub(1));
        if let Some(missing) = (at + 1).checked_sub(last.mapping.len())
            && missing > 0
        {
            let mapped = wanted - missing;
            // As much again, so that many small steps do not make many segments.
            let segment = Segment::new(missing.max(mapped)).or_else(|_| Segment::new(missing))?;
            let _ = last.next.set(Box::new(segment));
        }
        self.len_bytes.fetch_max(len_bytes, Ordering::Release);
        drop(growing);
        Ok(())
    }

    /// Never: memory of no bytes cannot be made.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Copies `into.len()` bytes from `offset` out.
    ///
    /// # Errors
    /// [`OutOfRange`]; nothing is copied then.
    pub fn copy_out(&self, offset: u64, mut into: &mut [u8]) -> Result<(), OutOfRange> {
        self.each_span(offset, into.len() as u64, |span| {
            let (piece, rest) = std::mem::take(&mut into).split_at_mut(span.len);
            into = rest;
            // SAFETY: `span` lies in this live mapping, `piece` is a Rust slice and so elsewhere. Other threads may write
            // the source meanwhile; no reference to it exists, and the bytes mean nothing to this program.
            unsafe {
                std::ptr::copy_nonoverlapping(span.ptr.cast_const(), piece.as_mut_ptr(), span.len);
            }
        })
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
        self.check(offset, into.len() as u64)?;
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
    pub fn copy_in(&self, offset: u64, mut from: &[u8]) -> Result<(), OutOfRange> {
        self.each_piece(offset, from.len() as u64, |segment, start, len| {
            let span = segment.span(start, len);
            let (piece, rest) = from.split_at(span.len);
            from = rest;
            // SAFETY: as in `copy_out`, the other way round.
            unsafe { std::ptr::copy_nonoverlapping(piece.as_ptr(), span.ptr, span.len) };
            segment.written.mark(start, len);
        })
    }

    /// Sets `len_bytes` bytes from `offset` to `byte`.
    ///
    /// # Errors
    /// [`OutOfRange`]; nothing is written then.
    pub fn fill(&self, offset: u64, len_bytes: u64, byte: u8) -> Result<(), OutOfRange> {
        self.each_piece(offset, len_bytes, |segment, start, len| {
            let span = segment.span(start, len);
            // SAFETY: `span` lies in this live mapping; no reference to it exists.
            unsafe { std::ptr::write_bytes(span.ptr, byte, span.len) };
            segment.written.mark(start, len);
        })
    }

    /// Makes the range read as zero, and gives its whole pages back to the kernel.
    ///
    /// # Errors
    /// [`OutOfRange`]; nothing is changed then.
    pub fn release(&self, offset: u64, len_bytes: u64) -> Result<(), OutOfRange> {
        self.each_piece(offset, len_bytes, |segment, start, len| {
            segment.release(start, len);
        })
    }

    /// Whether the page that has the byte at `offset` has been written since it was last given back, and for how many
    /// bytes from there on it is the same. Looks at no more than 64 GiB, rounded to whole pages, at a time.
    ///
    /// # Errors
    /// [`OutOfRange`] for a byte that is not there.
    pub fn run(&self, offset: u64) -> Result<(bool, u64), OutOfRange> {
        let (start, _) = self.check(offset, 1)?;
        let (segment, at) = self.first.find(start);
        let pages = segment.mapping.len().div_ceil(PAGE_BYTES);
        let first = at / PAGE_BYTES;
        let (written, count) = segment
            .written
            .run(first, (pages - first).min(MOST_PAGES_LOOKED_AT));
        let end = offset + ((first + count) * PAGE_BYTES - at) as u64;
        Ok((written, end.min(self.len()) - offset))
    }

    /// The kernel has been told to receive into the range, or has.
    fn mark_written(&self, offset: u64, len_bytes: u64) {
        // A range that is not there is not received into.
        let _ = self.each_piece(offset, len_bytes, |segment, start, len| {
            segment.written.mark(start, len);
        });
    }

    /// The range as it lies in memory, piece by piece.
    fn each_span(
        &self,
        offset: u64,
        len_bytes: u64,
        mut each: impl FnMut(Span),
    ) -> Result<(), OutOfRange> {
        self.each_piece(offset, len_bytes, |segment, start, len| {
            each(segment.span(start, len));
        })
    }

    fn each_piece(
        &self,
        offset: u64,
        len_bytes: u64,
        mut each: impl FnMut(&Segment, usize, usize),
    ) -> Result<(), OutOfRange> {
        let (start, len) = self.check(offset, len_bytes)?;
        let (mut segment, mut at) = self.first.find(start);
        let mut left = len;
        while left > 0 {
            let here = left.min(segment.mapping.len() - at);
            each(segment, at, here);
            left -= here;
            (segment, at) = segment.find(at + here);
        }
        Ok(())
    }

    /// The range as one run of addresses; also out of range where it lies in two.
    fn span(&self, offset: u64, len_bytes: u64) -> Result<Span, OutOfRange> {
        let (start, len) = self.check(offset, len_bytes)?;
        let (segment, at) = self.first.find(start);
        if at + len > segment.mapping.len() {
            return Err(OutOfRange);
        }
        Ok(segment.span(at, len))
    }

    /// The range as offset and length, where all of it may be used: both then are within what is mapped.
    fn check(&self, offset: u64, len_bytes: u64) -> Result<(usize, usize), OutOfRange> {
        let end = offset.checked_add(len_bytes).ok_or(OutOfRange)?;
        if end > self.len() {
            return Err(OutOfRange);
        }
        let start = usize::try_from(offset).map_err(|_| OutOfRange)?;
        let len = usize::try_from(len_bytes).map_err(|_| OutOfRange)?;
        Ok((start, len))
    }
}

impl Segment {
    fn span(&self, start: usize, len: usize) -> Span {
        Span {
            ptr: self.mapping.at(start).as_ptr(),
            len,
        }
    }

    fn fill_zero(&self, start: usize, end: usize) {
        let span = self.span(start, end - start);
        // SAFETY: `span` lies in this live mapping; no reference to it exists.
        unsafe { std::ptr::write_bytes(span.ptr, 0, span.len) };
    }

    fn release(&self, start: usize, len: usize) {
        let end = start + len;
        let page = rustix::param::page_size();
        let (first, last) = (start.next_multiple_of(page).min(end), end / page * page);
        if first >= last {
            return self.fill_zero(start, end);
        }
        self.fill_zero(start, first);
        self.fill_zero(last, end);
        self.written.clear(first, last - first);
        if !self.mapping.discard(first, last - first) {
            self.fill_zero(first, last);
        }
    }
}

impl Drop for SharedMemory {
    /// One segment after the other, however many there are: nested drops would need a stack as deep.
    fn drop(&mut self) {
        let mut next = self.first.next.take();
        while let Some(mut segment) = next {
            next = segment.next.take();
        }
    }
}

impl std::fmt::Debug for SharedMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SharedMemory({} bytes)", self.len())
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

    /// The right to send from, or receive into, a range. `None` beyond the end, and where the memory has grown in the midst
    /// of the range and does not lie in one piece there.
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

    /// The addresses, to be received into.
    pub(crate) fn span_to_write(&self) -> Span {
        self.memory
            .memory()
            .mark_written(self.offset, u64::from(self.len));
        self.span()
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
