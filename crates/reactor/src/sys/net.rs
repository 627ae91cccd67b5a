//! Vectored receive and send on stream sockets, and the filter of a listening one. None ever waits.

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

/// Has the kernel run a classic BPF program on each segment before the socket sees it: 0 drops the segment.
pub(crate) fn attach_filter(
    fd: BorrowedFd<'_>,
    program: &mut [libc::sock_filter],
) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let filter = program.as_mut_ptr();
    let program = libc::sock_fprog { len, filter };
    // SAFETY: the value is a whole `sock_fprog` that names `len` instructions; the kernel copies them during the call.
    unsafe { set_option(fd, libc::SO_ATTACH_FILTER, &program) }
}

/// Takes the filter away; whether there was one.
pub(crate) fn detach_filter(fd: BorrowedFd<'_>) -> io::Result<bool> {
    // SAFETY: the kernel ignores the value, which is a plain number.
    match unsafe { set_option(fd, libc::SO_DETACH_FILTER, &0_i32) } {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        result => result.map(|()| true),
    }
}

/// # Safety
/// `value` is what the kernel takes for the option, and the addresses in it are good for the time of the call.
unsafe fn set_option<T>(fd: BorrowedFd<'_>, option: libc::c_int, value: &T) -> io::Result<()> {
    let (fd, level) = (fd.as_raw_fd(), libc::SOL_SOCKET);
    let bytes =
        libc::socklen_t::try_from(size_of::<T>()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the value is as long as is told; what it means is the caller's promise.
    match unsafe { libc::setsockopt(fd, level, option, (&raw const *value).cast(), bytes) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
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
