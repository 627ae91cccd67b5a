//! Locks that belong to an open file description: they survive `dup`, and end with the last close.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::LockMode;

// The C library has these as `int`, and the structure they go into as `short`.
const READ_LOCK: libc::c_short = 0;
const WRITE_LOCK: libc::c_short = 1;
const WHOLE_FROM_START: libc::c_short = 0;
const _: () = assert!(libc::F_RDLCK == 0 && libc::F_WRLCK == 1 && libc::SEEK_SET == 0);

/// Locks the whole file, however long it grows. `WouldBlock` when another lock conflicts.
pub(crate) fn lock_whole_file(fd: BorrowedFd<'_>, mode: LockMode) -> io::Result<()> {
    let kind = match mode {
        LockMode::Exclusive => WRITE_LOCK,
        LockMode::Shared => READ_LOCK,
    };
    // SAFETY: `flock` is plain numbers, and all zero is a value of it. OFD locks want `l_pid` zero.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind;
    lock.l_whence = WHOLE_FROM_START;
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
