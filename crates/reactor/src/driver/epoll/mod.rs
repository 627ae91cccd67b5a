//! The loop around epoll. Its file half is native AIO (`epoll`) or a ring (`mixed`).

mod aio;
mod sockets;

pub(super) use aio::{Aio, Outcome};

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};

use self::sockets::Sockets;
use super::files::{Fast, Files, Tried, Try};
use super::pace::Pace;
use super::slots::Key;
use super::staging::Staging;
use super::uring::Ring;
use super::{Completion, Driver, DriverKind, DriverSettings, FileId, Op, SocketId, Token, Wait};
use crate::{Slab, StoreFile, Waker};

/// Turns that may hand out completions without a look at the kernel.
const UNPOLLED_TURNS: u32 = 4;
/// Events taken in one look.
const EVENTS: usize = 256;
/// After this time without an event, memory goes back to the kernel.
pub(super) const IDLE: Duration = Duration::from_millis(100);
/// Waits are cut to this; nobody minds an early return.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// Event data that no socket's key has.
const WAKER: u64 = u64::MAX;
const FAST: u64 = u64::MAX - 1;

/// The driver `epoll`, or `mixed`.
pub(super) struct EpollLoop {
    sockets: Sockets,
    files: Files,
    fast: FastPath,
    waker: Waker,
    slab: Slab,
    staging_slab: Slab,
    pace: Pace,
    ready: Vec<Completion>,
    outcomes: Vec<Outcome>,
    events: Vec<epoll::Event>,
    unpolled_turns: u32,
    drop_grace: Duration,
}

/// How files are tried.
pub(super) enum FastPath {
    Aio(Aio),
    Ring(Box<Ring>),
}

impl EpollLoop {
    pub(super) fn new(fast: FastPath, slab: Slab, settings: &DriverSettings) -> io::Result<Self> {
        let waker = Waker::new()?;
        let staging = Staging::new(settings.staging_bytes)?;
        let staging_slab = staging.slab().clone();
        let sockets = Sockets::new(staging)?;
        let fast_fd = match &fast {
            FastPath::Aio(aio) => Some(aio.eventfd()),
            FastPath::Ring(ring) => ring.eventfd(),
        };
        // An eventfd raises an edge each time it is signalled, read or not.
        let flags = EventFlags::IN | EventFlags::ET;
        if let Some(fd) = fast_fd {
            epoll::add(sockets.epoll(), fd, EventData::new_u64(FAST), flags)?;
        }
        let flags = EventFlags::IN;
        epoll::add(
            sockets.epoll(),
            waker.as_fd(),
            EventData::new_u64(WAKER),
            flags,
        )?;
        Ok(Self {
            sockets,
            files: Files::new(waker.clone()),
            fast,
            waker,
            slab,
            staging_slab,
            pace: Pace::new(settings.spin),
            ready: Vec::new(),
            outcomes: Vec::new(),
            events: Vec::with_capacity(EVENTS),
            unpolled_turns: 0,
            drop_grace: settings.drop_grace,
        })
    }

    /// Hands tries to the kernel, and takes in those that were over at once, until there is nothing new.
    fn submit_files(&mut self) {
        loop {
            self.fast.submit(&mut self.outcomes);
            if self.outcomes.is_empty() {
                return;
            }
            self.handle_outcomes();
        }
    }

    fn handle_outcomes(&mut self) {
        let mut outcomes = std::mem::take(&mut self.outcomes);
        for (key, result) in outcomes.drain(..) {
            self.files
                .handle_tried(key, result, &mut self.fast, &mut self.ready);
        }
        self.outcomes = outcomes;
    }

    /// Looks at the kernel, and waits as told if there is nothing to do.
    fn poll(&mut self, wait: Wait) {
        self.unpolled_turns = 0;
        let longest = match wait {
            Wait::Poll => Duration::ZERO,
            Wait::Until(longest) => longest.min(LONGEST_WAIT),
            Wait::Forever => LONGEST_WAIT,
        };
        let busy = !self.ready.is_empty() || self.sockets.has_runnable();
        if busy || longest.is_zero() || self.waker.is_notified() {
            self.look(Duration::ZERO);
        } else {
            self.wait(longest);
        }
        self.waker.awake();
        self.files.reap_lanes(&mut self.ready);
        self.submit_files();
    }

    /// Spins if that pays, then sleeps.
    fn wait(&mut self, longest: Duration) {
        let start = Instant::now();
        let end = start + longest;
        let spin_end = self
            .pace
            .spin_until(start)
            .map(|spin_end| spin_end.min(end));
        let mut now = start;
        while spin_end.is_some_and(|spin_end| now < spin_end) {
            if self.look(Duration::ZERO) || self.waker.is_notified() {
                return self.pace.learn(start.elapsed(), true);
            }
            std::hint::spin_loop();
            now = Instant::now();
        }
        let left = end.saturating_duration_since(now);
        if left.is_zero() {
            return self.pace.learn(start.elapsed(), false);
        }
        let came = self.sleep(left);
        self.pace.learn(start.elapsed(), came);
    }

    fn sleep(&mut self, longest: Duration) -> bool {
        let may_trim = self.slab.has_idle_pages() || self.staging_slab.has_idle_pages();
        if !self.waker.prepare_sleep() {
            self.look(Duration::ZERO);
            return true;
        }
        let came = self.look(if may_trim { longest.min(IDLE) } else { longest });
        if !came && may_trim {
            self.slab.trim();
            self.staging_slab.trim();
        }
        came
    }

    /// Waits for events at most so long, and handles them. True if there were any.
    fn look(&mut self, longest: Duration) -> bool {
        let timeout = Timespec {
            tv_sec: i64::try_from(longest.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: longest.subsec_nanos().into(),
        };
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        let room = rustix::buffer::spare_capacity(&mut events);
        // An interrupted wait is an early return; nothing else can go wrong with our own descriptors.
        let _ = epoll::wait(self.sockets.epoll(), room, Some(&timeout));
        for event in &events {
            match event.data.u64() {
                WAKER => self.waker.drain(),
                FAST => {
                    self.fast.reap(&mut self.outcomes);
                    self.handle_outcomes();
                }
                key => {
                    let flags = event.flags;
                    self.sockets
                        .handle_event(Key::from_bits(key), flags, &mut self.ready);
                }
            }
        }
        let came = !events.is_empty();
        self.events = events;
        came
    }
}

impl Driver for EpollLoop {
    fn add_listener(&mut self, listener: OwnedFd) -> io::Result<SocketId> {
        self.sockets.add_listener(listener)
    }

    fn add_socket(&mut self, socket: OwnedFd) -> io::Result<SocketId> {
        self.sockets.add_stream(socket)
    }

    fn take_socket(&mut self, id: SocketId) -> Option<OwnedFd> {
        self.sockets.take(id)
    }

    fn close_socket(&mut self, id: SocketId) {
        self.sockets.close(id, &mut self.ready);
    }

    fn add_file(&mut self, file: Arc<StoreFile>) -> FileId {
        self.files.add(file)
    }

    fn remove_file(&mut self, id: FileId) {
        self.files.remove(id);
    }

    fn push(&mut self, op: Op, token: Token) {
        let out = &mut self.ready;
        match op {
            Op::Accept { listener } => self.sockets.accept(listener, token, out),
            Op::Recv { socket, into } => self.sockets.receive(socket, into, token, out),
            Op::Send { socket, list } => self.sockets.send(socket, list, token, out),
            op => self.files.push(op, token, &mut self.fast, out),
        }
    }

    fn cancel(&mut self, token: Token) {
        self.files.cancel(token, &mut self.fast, &mut self.ready);
        self.sockets.cancel(token, &mut self.ready);
    }

    fn submit(&mut self) {
        self.submit_files();
    }

    fn turn(&mut self, wait: Wait, out: &mut Vec<Completion>) {
        self.submit_files();
        self.sockets.run(&mut self.ready);
        if self.ready.is_empty() || self.unpolled_turns >= UNPOLLED_TURNS {
            self.poll(wait);
            self.sockets.run(&mut self.ready);
        } else {
            self.unpolled_turns += 1;
        }
        out.append(&mut self.ready);
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn kind(&self) -> DriverKind {
        match self.fast {
            FastPath::Aio(_) => DriverKind::Epoll,
            FastPath::Ring(_) => DriverKind::Mixed,
        }
    }

    fn set_spin(&mut self, longest: Duration) {
        self.pace.set_longest(longest);
    }
}

impl FastPath {
    /// Hands tries to the kernel; those that are over at once go to `out`.
    fn submit(&mut self, out: &mut Vec<Outcome>) {
        match self {
            Self::Aio(aio) => aio.submit(out),
            Self::Ring(ring) => {
                ring.submit();
                ring.reap_files(out);
            }
        }
    }

    fn reap(&mut self, out: &mut Vec<Outcome>) {
        match self {
            Self::Aio(aio) => aio.reap(out),
            Self::Ring(ring) => {
                ring.run_deferred();
                ring.reap_files(out);
            }
        }
    }
}

impl Fast for FastPath {
    unsafe fn start(&mut self, attempt: Try<'_>) -> Tried {
        match self {
            // SAFETY: the caller's.
            Self::Aio(aio) => unsafe { aio.start(attempt) },
            // SAFETY: the caller's.
            Self::Ring(ring) => unsafe { ring.start(attempt) },
        }
    }

    fn cancel(&mut self, key: Key) {
        match self {
            Self::Aio(aio) => aio.cancel(key),
            Self::Ring(ring) => ring.cancel(key),
        }
    }
}

impl Drop for EpollLoop {
    /// Waits a little for what is in flight; what stays keeps its memory for ever (see `Files`).
    fn drop(&mut self) {
        self.files.withdraw_all();
        let end = Instant::now() + self.drop_grace;
        while self.files.in_tries() > 0 && Instant::now() < end {
            self.submit_files();
            self.look(Duration::from_millis(1));
        }
        self.files.withdraw_all();
        self.files
            .settle_lanes(end.saturating_duration_since(Instant::now()));
    }
}
