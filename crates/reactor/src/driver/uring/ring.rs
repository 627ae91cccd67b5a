//! A ring: submission, waiting, completions.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode, squeue};
use rustix::event::{EventfdFlags, eventfd};

use crate::driver::epoll::Outcome;
use crate::driver::files::{Fast, Tried, Try, try_here};
use crate::driver::slots::Key;
use crate::driver::stream::os_error;
use crate::sys::rw::Direction;

/// Submissions that fit before the kernel must be called.
const ENTRIES: u32 = 256;
/// Completions that fit before the kernel keeps them on a list of its own.
const COMPLETIONS: u32 = 1024;

/// What a completion is about, in the top byte of its user data; the rest is a [`Key`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::driver) enum Tag {
    /// Nobody asks for it: the answer to a cancel.
    Unheard = 0,
    /// A file's read or write.
    File = 1,
    /// A socket has become readable.
    Readable = 2,
    /// A receive.
    Receive = 3,
    /// A send.
    Send = 4,
    /// The waker rang.
    Wake = 5,
}

/// One completion.
#[derive(Debug, Clone, Copy)]
pub(in crate::driver) struct Done {
    pub(in crate::driver) tag: Tag,
    pub(in crate::driver) key: Key,
    /// As the kernel gives it: a negative one is an error number.
    pub(in crate::driver) result: i32,
    pub(in crate::driver) flags: u32,
}

impl Done {
    pub(in crate::driver) fn result(&self) -> io::Result<usize> {
        usize::try_from(self.result).map_err(|_| os_error(self.result.saturating_neg()))
    }
}

/// A ring of one thread.
pub(in crate::driver) struct Ring {
    ring: IoUring,
    /// What did not fit into the submission queue.
    backlog: VecDeque<squeue::Entry>,
    /// Signalled at each completion, for somebody who waits elsewhere.
    eventfd: Option<OwnedFd>,
}

impl Ring {
    /// A ring with as many of the newer kernels' savings as this one has.
    ///
    /// # Errors
    /// What `io_uring_setup` answers; `ENOSYS` where waiting with a timeout is missing (before Linux 5.11).
    pub(in crate::driver) fn new() -> io::Result<Self> {
        let mut builder = IoUring::builder();
        builder.setup_clamp().setup_cqsize(COMPLETIONS).dontfork();
        let plain = builder.clone();
        builder.setup_coop_taskrun().setup_taskrun_flag();
        let cooperative = builder.clone();
        builder.setup_single_issuer().setup_defer_taskrun();
        let ring = build(&builder)
            .or_else(|_| build(&cooperative))
            .or_else(|_| build(&plain))?;
        let parameters = ring.params();
        if !parameters.is_feature_ext_arg() || !parameters.is_feature_nodrop() {
            return Err(os_error(libc::ENOSYS));
        }
        Ok(Self {
            ring,
            backlog: VecDeque::new(),
            eventfd: None,
        })
    }

    /// A ring and a descriptor that raises an edge when something has completed, or has work put off.
    ///
    /// The ring's own descriptor will not do: where work is put off until it is asked for, nobody is woken by it.
    ///
    /// # Errors
    /// As [`Self::new`], and where no eventfd can be had.
    pub(in crate::driver) fn with_eventfd() -> io::Result<Self> {
        let mut ring = Self::new()?;
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        ring.ring
            .submitter()
            .register_eventfd(eventfd.as_raw_fd())?;
        ring.eventfd = Some(eventfd);
        Ok(ring)
    }

    pub(in crate::driver) fn eventfd(&self) -> Option<BorrowedFd<'_>> {
        self.eventfd.as_ref().map(AsFd::as_fd)
    }

    /// Queues a submission.
    ///
    /// # Safety
    /// The addresses in it stay valid, and their memory untouched, until its completion has come.
    pub(in crate::driver) unsafe fn push(&mut self, entry: squeue::Entry, tag: Tag, key: Key) {
        self.backlog
            .push_back(entry.user_data((tag as u64) << 56 | key.to_bits()));
        self.fill();
    }

    /// Asks for a submission to end early.
    pub(in crate::driver) fn cancel_tagged(&mut self, tag: Tag, key: Key) {
        let entry = opcode::AsyncCancel::new((tag as u64) << 56 | key.to_bits()).build();
        // SAFETY: no address in it.
        unsafe { self.push(entry, Tag::Unheard, key) };
    }

    /// Hands everything queued to the kernel, as far as it takes it.
    pub(in crate::driver) fn submit(&mut self) {
        loop {
            self.fill();
            let queued = self.ring.submission().len();
            // An error leaves the queue as it is, for the next turn.
            if queued == 0 || self.ring.submit().is_err() || self.backlog.is_empty() {
                return;
            }
        }
    }

    /// Submits, and waits at most so long for a completion. True if one is there.
    pub(in crate::driver) fn submit_and_wait(&mut self, longest: Duration) -> bool {
        self.fill();
        let timeout = Timespec::from(longest);
        let arguments = SubmitArgs::new().timespec(&timeout);
        // A timeout, an interruption and a full completion queue are all reasons to look.
        let _ = self.ring.submitter().submit_with_args(1, &arguments);
        !self.ring.completion().is_empty()
    }

    /// Runs work that the kernel has put off until it is asked, if there is any.
    pub(in crate::driver) fn run_deferred(&mut self) {
        let queue = self.ring.submission();
        let is_due = queue.taskrun() || queue.cq_overflow();
        drop(queue);
        if is_due {
            // It is the call that counts; what it says is seen in the completions.
            let _ = self.ring.submit();
        }
    }

    /// Whether something waits to be submitted.
    pub(in crate::driver) fn has_queued(&mut self) -> bool {
        !self.backlog.is_empty() || !self.ring.submission().is_empty()
    }

    /// Whether a completion is there.
    pub(in crate::driver) fn has_done(&mut self) -> bool {
        !self.ring.completion().is_empty()
    }

    /// The next completion.
    pub(in crate::driver) fn next_done(&mut self) -> Option<Done> {
        let entry = self.ring.completion().next()?;
        let tag = match entry.user_data() >> 56 {
            1 => Tag::File,
            2 => Tag::Readable,
            3 => Tag::Receive,
            4 => Tag::Send,
            5 => Tag::Wake,
            _ => Tag::Unheard,
        };
        let key = Key::from_bits(entry.user_data() & ((1 << 56) - 1));
        Some(Done {
            tag,
            key,
            result: entry.result(),
            flags: entry.flags(),
        })
    }

    /// Completions of a ring that has only files on it.
    pub(in crate::driver) fn reap_files(&mut self, out: &mut Vec<Outcome>) {
        while let Some(done) = self.next_done() {
            if done.tag == Tag::File {
                out.push((done.key, done.result()));
            }
        }
    }

    fn fill(&mut self) {
        let mut queue = self.ring.submission();
        while let Some(entry) = self.backlog.front() {
            // SAFETY: whoever queued the entry keeps its addresses valid until it completes.
            if unsafe { queue.push(entry) }.is_err() {
                return;
            }
            self.backlog.pop_front();
        }
    }
}

impl Fast for Ring {
    unsafe fn start(&mut self, attempt: Try<'_>) -> Tried {
        if !attempt.is_direct && attempt.direction == Direction::Write {
            // It is a copy into the page cache or a refusal; the ring would hand refusals to a pool of its own.
            // SAFETY: the caller's.
            return unsafe { try_here(attempt) };
        }
        let fd = Fd(attempt.fd.as_raw_fd());
        let Ok(len) = u32::try_from(attempt.span.len) else {
            return Tried::Now(Err(os_error(libc::EINVAL)));
        };
        let (ptr, offset, flags) = (attempt.span.ptr, attempt.offset, attempt.flags.0);
        let entry = match attempt.direction {
            Direction::Read => opcode::Read::new(fd, ptr, len)
                .offset(offset)
                .rw_flags(flags)
                .build(),
            Direction::Write => opcode::Write::new(fd, ptr, len)
                .offset(offset)
                .rw_flags(flags)
                .build(),
        };
        // SAFETY: the caller's.
        unsafe { self.push(entry, Tag::File, attempt.key) };
        Tried::Later
    }

    fn cancel(&mut self, key: Key) {
        self.cancel_tagged(Tag::File, key);
    }
}

fn build(builder: &io_uring::Builder) -> io::Result<IoUring> {
    builder.build(ENTRIES)
}
