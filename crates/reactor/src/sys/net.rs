//! Vectored receive and send on stream sockets. Neither ever waits.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The most iovecs one call takes (UIO_MAXIOV).
pub(crate) const MAX_IOVECS: usize = 1024;

/// Receives into the iovecs in order; 0 is the end of the stream.
///
/// # Safety
/// Each iovec is writable memory that no Rust reference covers during the call.
pub(crate) unsafe fn receive(fd: BorrowedFd<'_>, into: &mut [libc::iovec]) -> io::Result<usize> {
    let (fd, flags) = (fd.as_raw_fd(), libc::MSG_DONTWAIT);
    if let [single] = into {
        // SAFETY: the caller's.
        return retry(|| unsafe { libc::recv(fd, single.iov_base, single.iov_len, flags) });
    }
    let mut message = message(into);
    // SAFETY: `message` has the iovecs and nothing else; their memory is the caller's promise.
    retry(|| unsafe { libc::recvmsg(fd, &raw mut message, flags) })
}

/// Sends the iovecs in order; the number of bytes taken.
///
/// # Safety
/// Each iovec is readable memory for the time of the call.
pub(crate) unsafe fn send(fd: BorrowedFd<'_>, from: &mut [libc::iovec]) -> io::Result<usize> {
    let message = message(from);
    let (fd, flags) = (fd.as_raw_fd(), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
    // SAFETY: `message` has the iovecs and nothing else; their memory is the caller's promise.
    retry(|| unsafe { libc::sendmsg(fd, &raw const message, flags) })
}

/// A message of these iovecs, without address and control data.
pub(crate) fn message(iovecs: &mut [libc::iovec]) -> libc::msghdr {
    // SAFETY: `msghdr` is plain numbers and addresses, and all zero is a value of it.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = iovecs.as_mut_ptr();
    message.msg_iovlen = iovecs.len() as _;
    message
}

fn retry(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        if let Ok(bytes) = usize::try_from(call()) {
            return Ok(bytes);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
