//! What a block device is asked and told by `ioctl`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

const BLKROGET: u32 = 0x125E;
const BLKSSZGET: u32 = 0x1268;
const BLKPBSZGET: u32 = 0x127B;
const BLKDISCARD: u32 = 0x1277;
const BLKZEROOUT: u32 = 0x127F;
/// `_IOR(0x12, 114, size_t)`: the size of the size is part of the number. The generic encoding holds on x86, Arm, RISC-V and
/// s390; the others are not built for.
const BLKGETSIZE64: u32 = if size_of::<usize>() == 8 {
    0x8008_1272
} else {
    0x8004_1272
};

/// Its size.
pub(crate) fn size_bytes(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let mut bytes = 0_u64;
    // SAFETY: BLKGETSIZE64 writes 8 bytes at its argument.
    unsafe { request(fd, BLKGETSIZE64, (&raw mut bytes).cast())? };
    Ok(bytes)
}

/// The unit of its addresses, in bytes.
pub(crate) fn logical_block_bytes(fd: BorrowedFd<'_>) -> io::Result<u32> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: BLKSSZGET writes one int at its argument.
    unsafe { request(fd, BLKSSZGET, (&raw mut bytes).cast())? };
    u32::try_from(bytes).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// The unit that it writes without reading first, in bytes.
pub(crate) fn physical_block_bytes(fd: BorrowedFd<'_>) -> io::Result<u32> {
    let mut bytes: libc::c_uint = 0;
    // SAFETY: BLKPBSZGET writes one unsigned int at its argument.
    unsafe { request(fd, BLKPBSZGET, (&raw mut bytes).cast())? };
    Ok(bytes)
}

/// Whether it refuses writes.
pub(crate) fn is_read_only(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut read_only: libc::c_int = 0;
    // SAFETY: BLKROGET writes one int at its argument.
    unsafe { request(fd, BLKROGET, (&raw mut read_only).cast())? };
    Ok(read_only != 0)
}

/// Tells it that a range is not needed. Waits.
pub(crate) fn discard(fd: BorrowedFd<'_>, offset: u64, bytes: u64) -> io::Result<()> {
    let range = [offset, bytes];
    // SAFETY: BLKDISCARD reads two 64-bit numbers at its argument.
    unsafe { request(fd, BLKDISCARD, range.as_ptr().cast_mut().cast()) }
}

/// Writes zeroes over a range, by the device's own means where it has any. Waits.
pub(crate) fn zero_out(fd: BorrowedFd<'_>, offset: u64, bytes: u64) -> io::Result<()> {
    let range = [offset, bytes];
    // SAFETY: BLKZEROOUT reads two 64-bit numbers at its argument.
    unsafe { request(fd, BLKZEROOUT, range.as_ptr().cast_mut().cast()) }
}

/// # Safety
/// `argument` points to what the request reads or writes.
unsafe fn request(fd: BorrowedFd<'_>, request: u32, argument: *mut libc::c_void) -> io::Result<()> {
    // The request's type differs between C libraries; its bits do not.
    // SAFETY: the caller's.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request as _, argument) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
