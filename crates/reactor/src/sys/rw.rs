//! Positioned reads and writes from plain addresses.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use crate::memory::Span;

/// Which way the bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// What a call may and must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RwFlags(pub(crate) i32);

impl RwFlags {
    pub(crate) const NONE: Self = Self(0);
    /// EAGAIN rather than wait.
    pub(crate) const NOWAIT: Self = Self(libc::RWF_NOWAIT);

    /// With RWF_DSYNC if `durable`.
    pub(crate) fn durable(self, durable: bool) -> Self {
        if durable {
            Self(self.0 | libc::RWF_DSYNC)
        } else {
            self
        }
    }
}

/// Reads into `span`; the number of bytes read.
///
/// # Safety
/// `span` is writable memory that no Rust reference covers during the call.
pub(crate) unsafe fn read_at(
    fd: BorrowedFd<'_>,
    span: Span,
    offset: u64,
    flags: RwFlags,
) -> io::Result<usize> {
    // SAFETY: the caller's.
    unsafe { transfer(Direction::Read, fd, span, offset, flags) }
}

/// Writes from `span`; the number of bytes written.
///
/// # Safety
/// `span` is readable memory for the time of the call.
pub(crate) unsafe fn write_at(
    fd: BorrowedFd<'_>,
    span: Span,
    offset: u64,
    flags: RwFlags,
) -> io::Result<usize> {
    // SAFETY: the caller's.
    unsafe { transfer(Direction::Write, fd, span, offset, flags) }
}

/// # Safety
/// As [`read_at`] and [`write_at`].
unsafe fn transfer(
    direction: Direction,
    fd: BorrowedFd<'_>,
    span: Span,
    offset: u64,
    flags: RwFlags,
) -> io::Result<usize> {
    let offset = i64::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    let (fd, base) = (fd.as_raw_fd(), span.ptr.cast::<libc::c_void>());
    loop {
        // SAFETY: the caller's.
        let result = unsafe {
            match direction {
                // The plain calls exist everywhere, those with flags do not.
                Direction::Read if flags == RwFlags::NONE => {
                    libc::pread(fd, base, span.len, offset) as libc::c_long
                }
                Direction::Write if flags == RwFlags::NONE => {
                    libc::pwrite(fd, base, span.len, offset) as libc::c_long
                }
                Direction::Read => with_flags(libc::SYS_preadv2, fd, span, offset, flags),
                Direction::Write => with_flags(libc::SYS_pwritev2, fd, span, offset, flags),
            }
        };
        if let Ok(bytes) = usize::try_from(result) {
            return Ok(bytes);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// # Safety
/// As [`read_at`] and [`write_at`].
unsafe fn with_flags(
    call: libc::c_long,
    fd: RawFd,
    span: Span,
    offset: i64,
    flags: RwFlags,
) -> libc::c_long {
    let iovec = span.iovec();
    // The low word comes first; on 64-bit machines it carries the whole offset and the high word is ignored.
    let (low, high) = (offset as libc::c_long, (offset >> 32) as libc::c_long);
    // SAFETY: one iovec at the address given; the memory behind it is the caller's promise.
    unsafe { libc::syscall(call, fd, &raw const iovec, 1_usize, low, high, flags.0) }
}

/// Whether an error says that the call's flags are not understood here, rather than that it failed.
pub(crate) fn flags_are_refused(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS))
}

/// Whether RWF_NOWAIT is understood for this file. Found out by a read of its first block, which on a direct file may
/// wait for the disk.
pub(crate) fn supports_nowait_read(fd: BorrowedFd<'_>) -> bool {
    #[repr(align(4096))]
    struct Block([u8; 4096]);
    let mut block = Block([0; 4096]);
    let span = Span {
        ptr: block.0.as_mut_ptr(),
        len: block.0.len(),
    };
    // SAFETY: `block` is ours, and not looked at.
    match unsafe { read_at(fd, span, 0, RwFlags::NOWAIT) } {
        Ok(_) => true,
        Err(error) => error.raw_os_error() == Some(libc::EAGAIN),
    }
}

/// What direct I/O on a regular file must be aligned to, if the kernel tells.
pub(crate) fn direct_alignment_bytes(fd: BorrowedFd<'_>) -> Option<u32> {
    // SAFETY: `statx` is plain numbers, and all zero is a value of it.
    let mut stat: libc::statx = unsafe { std::mem::zeroed() };
    let flags = libc::AT_EMPTY_PATH;
    // SAFETY: the path is an empty C string, the result goes to a place of its type.
    let result = unsafe {
        libc::statx(
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags,
            libc::STATX_DIOALIGN,
            &raw mut stat,
        )
    };
    let told = result == 0 && stat.stx_mask & libc::STATX_DIOALIGN != 0;
    let alignment = stat.stx_dio_offset_align.max(stat.stx_dio_mem_align);
    (told && alignment != 0).then_some(alignment)
}
