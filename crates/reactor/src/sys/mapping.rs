//! Anonymous mappings.

use std::ffi::c_void;
use std::io;
use std::ptr::NonNull;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// Private anonymous memory, zero at first, unmapped when dropped.
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping belongs to the process, not to a thread, and this type gives out addresses only.
unsafe impl Send for Mapping {}
// SAFETY: as above; its methods do not read or write the memory.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes (not zero) without reserving swap for them.
    pub(crate) fn anonymous(len: usize) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: no address is asked for, so nothing that exists is replaced.
        let base = unsafe { mmap_anonymous(std::ptr::null_mut(), len, protection, flags)? };
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, len })
    }

    /// Asks for huge pages (transparent ones, 2 MiB on x86-64): a page is taken whole when any byte of it is written. Where the system has
    /// none, or does not want to, nothing changes.
    pub(crate) fn prefer_huge_pages(&self) {
        let start = self.base.as_ptr().cast::<c_void>();
        // SAFETY: advice on this mapping alone; what is in it stays.
        let _ = unsafe { madvise(start, self.len, Advice::LinuxHugepage) };
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The address of byte `offset`.
    pub(crate) fn at(&self, offset: usize) -> NonNull<u8> {
        assert!(offset <= self.len, "an address within the mapping");
        // SAFETY: the result lies in the mapping, or one past its end.
        unsafe { self.base.add(offset) }
    }

    /// Gives whole pages back to the kernel: they read as zero afterwards. False if the kernel refused.
    pub(crate) fn discard(&self, offset: usize, len: usize) -> bool {
        assert!(
            offset.checked_add(len).is_some_and(|end| end <= self.len),
            "within the mapping"
        );
        let start = self.at(offset).as_ptr().cast::<c_void>();
        // SAFETY: the range is within this mapping, in memory whose owners know that it may become zero.
        unsafe { madvise(start, len, Advice::LinuxDontNeed) }.is_ok()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nobody holds its addresses any more. It cannot fail for such a range.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
    }
}
