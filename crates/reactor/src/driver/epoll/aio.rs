//! Native AIO for direct I/O; everything else is tried in the calling thread.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

use crate::driver::files::{Fast, Tried, Try, try_here};
use crate::driver::slots::Key;
use crate::driver::stream::os_error;
use crate::sys::aio::{Context, Event, Iocb};

/// Requests in the kernel at once; more wait here.
const DEPTH: u32 = 256;

pub(in crate::driver) struct Aio {
    /// `None` where the kernel refused one.
    context: Option<Context>,
    eventfd: OwnedFd,
    pending: Vec<Iocb>,
    in_kernel: usize,
}

/// The result of a try.
pub(in crate::driver) type Outcome = (Key, io::Result<usize>);

impl Aio {
    /// A context if it can be had, and the kernel's reason if it cannot.
    pub(in crate::driver) fn new() -> io::Result<(Self, Option<io::Error>)> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let (context, refusal) = match Context::new(DEPTH) {
            Ok(context) => (Some(context), None),
            Err(error) => (None, Some(error)),
        };
        Ok((
            Self {
                context,
                eventfd,
                pending: Vec::new(),
                in_kernel: 0,
            },
            refusal,
        ))
    }

    /// Raises an edge when a request has ended.
    pub(in crate::driver) fn eventfd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }

    /// Hands waiting requests to the kernel. Those it refuses go to `out`.
    pub(in crate::driver) fn submit(&mut self, out: &mut Vec<Outcome>) {
        let Some(context) = &self.context else { return };
        let mut taken = 0;
        while taken < self.pending.len() {
            let room = (DEPTH as usize).saturating_sub(self.in_kernel);
            let batch = &self.pending[taken..];
            let batch = &batch[..room.min(batch.len())];
            if batch.is_empty() {
                break;
            }
            // SAFETY: each request was made in `start`, whose caller leaves its memory alone until the result is there.
            match unsafe { context.submit(batch) } {
                Ok(count) if count > 0 => {
                    self.in_kernel += count;
                    taken += count;
                }
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                // No room in the kernel: when some comes back, so does this.
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) && self.in_kernel > 0 => {
                    break;
                }
                result => {
                    let error = result.err().unwrap_or_else(|| os_error(libc::EAGAIN));
                    out.push((Key::from_bits(self.pending[taken].key()), Err(error)));
                    taken += 1;
                }
            }
        }
        self.pending.drain(..taken);
    }

    /// What the kernel has ended since.
    pub(in crate::driver) fn reap(&mut self, out: &mut Vec<Outcome>) {
        let Some(context) = &self.context else { return };
        let mut events = [Event::default(); 64];
        while self.in_kernel > 0 {
            let count = context.reap(&mut events);
            for event in events.iter().take(count) {
                out.push((Key::from_bits(event.key()), event.result()));
            }
            self.in_kernel = self.in_kernel.saturating_sub(count);
            if count < events.len() {
                break;
            }
        }
    }
}

impl Fast for Aio {
    unsafe fn start(&mut self, attempt: Try<'_>) -> Tried {
        if !attempt.is_direct {
            // SAFETY: the caller's.
            return unsafe { try_here(attempt) };
        }
        let Ok(offset) = i64::try_from(attempt.offset) else {
            return Tried::Now(Err(os_error(libc::EINVAL)));
        };
        if self.context.is_none() {
            // A direct try in this thread would wait for the disk even so.
            return Tried::Now(Err(os_error(libc::EAGAIN)));
        }
        let memory = (attempt.span, offset, attempt.flags);
        let (key, fd) = (attempt.key.to_bits(), attempt.fd.as_raw_fd());
        let iocb = Iocb::new(key, fd, self.eventfd.as_fd(), attempt.direction, memory);
        self.pending.push(iocb);
        Tried::Later
    }

    /// The kernel cannot cancel a disk request; one that it has not been given yet ends here only with its submission.
    fn cancel(&mut self, _key: Key) {}
}

impl Drop for Aio {
    /// Ending a context waits for its requests: one whose requests are stuck is left to the end of the process.
    fn drop(&mut self) {
        if self.in_kernel == 0
            && let Some(context) = self.context.take()
        {
            context.destroy();
        }
    }
}
