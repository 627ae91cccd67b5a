//! Linux native AIO: `io_setup`, `io_submit`, `io_getevents`, for direct I/O.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr;

use super::rw::{Direction, RwFlags};
use crate::memory::Span;

/// One request, as the kernel reads it at submission.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Iocb {
    data: u64,
    #[cfg(target_endian = "little")]
    key: u32,
    rw_flags: i32,
    #[cfg(target_endian = "big")]
    key: u32,
    opcode: u16,
    priority: i16,
    fd: u32,
    address: u64,
    bytes: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    eventfd: u32,
}

const _: () = assert!(size_of::<Iocb>() == 64);

/// One completion.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Event {
    data: u64,
    request: u64,
    result: i64,
    result2: i64,
}

/// The most requests that one call starts.
const BATCH: usize = 64;
const IOCB_CMD_PREAD: u16 = 0;
const IOCB_CMD_PWRITE: u16 = 1;
const IOCB_FLAG_RESFD: u32 = 1;

impl Iocb {
    /// A read or write that tells `eventfd` when it is done.
    pub(crate) fn new(
        key: u64,
        fd: RawFd,
        eventfd: BorrowedFd<'_>,
        direction: Direction,
        (span, offset, flags): (Span, i64, RwFlags),
    ) -> Self {
        Self {
            data: key,
            key: 0,
            rw_flags: flags.0,
            opcode: match direction {
                Direction::Read => IOCB_CMD_PREAD,
                Direction::Write => IOCB_CMD_PWRITE,
            },
            priority: 0,
            fd: fd.cast_unsigned(),
            address: span.ptr.expose_provenance() as u64,
            bytes: span.len as u64,
            offset,
            reserved: 0,
            flags: IOCB_FLAG_RESFD,
            eventfd: eventfd.as_raw_fd().cast_unsigned(),
        }
    }

    /// The key it was made with.
    pub(crate) fn key(&self) -> u64 {
        self.data
    }
}

impl Event {
    /// The key of the request that ended.
    pub(crate) fn key(&self) -> u64 {
        self.data
    }

    /// What came of it.
    pub(crate) fn result(&self) -> io::Result<usize> {
        usize::try_from(self.result).map_err(|_| {
            let number = self
                .result
                .checked_neg()
                .and_then(|number| i32::try_from(number).ok());
            io::Error::from_raw_os_error(number.unwrap_or(libc::EIO))
        })
    }
}

/// An AIO context. It is not destroyed when dropped, since that may wait for a disk for ever: see [`Self::destroy`].
#[derive(Debug)]
pub(crate) struct Context {
    id: usize,
}

impl Context {
    /// A context for `requests` at once.
    pub(crate) fn new(requests: u32) -> io::Result<Self> {
        let mut id = 0_usize;
        // SAFETY: the second argument is a place for one context id, which must be zero before.
        let result = unsafe { libc::syscall(libc::SYS_io_setup, requests, &raw mut id) };
        if result == 0 {
            Ok(Self { id })
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Starts requests; how many, from the front, [`BATCH`] at most. An error is about the first.
    ///
    /// # Safety
    /// The memory of each request is left alone, by everybody, until its event has come.
    pub(crate) unsafe fn submit(&self, requests: &[Iocb]) -> io::Result<usize> {
        let mut pointers = [ptr::null::<Iocb>(); BATCH];
        let batch = requests.len().min(BATCH);
        for (pointer, request) in pointers.iter_mut().zip(requests) {
            *pointer = request;
        }
        // SAFETY: an array of that many pointers to requests, which the kernel reads now; the caller's for the rest.
        let result =
            unsafe { libc::syscall(libc::SYS_io_submit, self.id, batch, pointers.as_ptr()) };
        usize::try_from(result).map_err(|_| io::Error::last_os_error())
    }

    /// Events that have come, without waiting; how many were put into `events`.
    pub(crate) fn reap(&self, events: &mut [Event]) -> usize {
        let zero = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: room for that many events; a timeout of zero.
        let result = unsafe {
            libc::syscall(
                libc::SYS_io_getevents,
                self.id,
                0_usize,
                events.len(),
                events.as_mut_ptr(),
                &raw const zero,
            )
        };
        usize::try_from(result).unwrap_or(0)
    }

    /// Ends the context. Waits for what is in flight: call it when nothing is.
    pub(crate) fn destroy(self) {
        // SAFETY: the id is a context's, and is not used again.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.id) };
    }
}
