//! What must not wait, and who tries it.

use std::io;
use std::os::fd::BorrowedFd;

use crate::driver::slots::Key;
use crate::memory::Span;
use crate::sys::rw::{self, Direction, RwFlags};

/// A read or write that must not wait.
#[derive(Debug, Clone, Copy)]
pub(in crate::driver) struct Try<'a> {
    /// Comes back with its result.
    pub(in crate::driver) key: Key,
    pub(in crate::driver) fd: BorrowedFd<'a>,
    pub(in crate::driver) direction: Direction,
    pub(in crate::driver) span: Span,
    pub(in crate::driver) offset: u64,
    /// Has RWF_NOWAIT.
    pub(in crate::driver) flags: RwFlags,
    pub(in crate::driver) is_direct: bool,
}

/// What became of a try at once.
pub(in crate::driver) enum Tried {
    /// It is over.
    Now(io::Result<usize>),
    /// `Files::handle_tried` will be told.
    Later,
}

/// The driver's means to read and write without waiting.
pub(in crate::driver) trait Fast {
    /// Starts a try.
    ///
    /// # Safety
    /// The span's memory is left alone until the result is there.
    unsafe fn start(&mut self, attempt: Try<'_>) -> Tried;

    /// Asks for a try to end early.
    fn cancel(&mut self, key: Key);
}

/// Tries in the calling thread.
///
/// # Safety
/// As [`Fast::start`].
pub(in crate::driver) unsafe fn try_here(attempt: Try<'_>) -> Tried {
    let Try {
        fd,
        span,
        offset,
        flags,
        ..
    } = attempt;
    Tried::Now(match attempt.direction {
        // SAFETY: the caller's.
        Direction::Read => unsafe { rw::read_at(fd, span, offset, flags) },
        // SAFETY: the caller's.
        Direction::Write => unsafe { rw::write_at(fd, span, offset, flags) },
    })
}
