//! Locks that belong to an open file description: they survive `dup`, and end with the last close.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::LockMode;

/// Locks the whole file, however long it grows. `WouldBlock` when another lock conflicts.
pub(crate) fn lock_whole_file(fd: BorrowedFd<'_>, mode: LockMode) -> io::Result<()> {
    let kind = match mode {
        LockMode::Exclusive => libc::F_WRLCK,
        LockMode::Shared => libc::F_RDLCK,
    };
    // SAFETY: `flock` is plain numbers, and all zero is a value of it. OFD locks want `l_pid` zero.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    // SAFETY: F_OFD_SETLK reads one `flock` at its argument.
    let result = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    if result == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::EACCES) => {
            Err(io::Error::from_raw_os_error(libc::EAGAIN))
        }
        error => Err(error),
    }
}
