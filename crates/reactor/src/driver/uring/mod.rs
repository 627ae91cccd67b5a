//! io_uring: for files in `mixed`, for everything in `uring`.

mod ring;
mod sockets;

pub(super) use ring::{Done, Ring, Tag};

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use io_uring::opcode;
use io_uring::types::Fd;

use self::sockets::Sockets;
use super::epoll::{IDLE, LONGEST_WAIT};
use super::files::Files;
use super::pace::Pace;
use super::slots::Key;
use super::staging::Staging;
use super::{Completion, Driver, DriverKind, DriverSettings, FileId, Op, SocketId, Token, Wait};
use crate::{Slab, StoreFile, Waker};

/// The key of the poll on the waker, which has no slot.
const WAKER: Key = Key {
    index: 0,
    generation: 0,
};

/// The driver `uring`.
pub(super) struct UringLoop {
    ring: Ring,
    sockets: Sockets,
    files: Files,
    waker: Waker,
    /// A poll on the waker is in the ring.
    waker_is_watched: bool,
    slab: Slab,
    staging_slab: Slab,
    pace: Pace,
    ready: Vec<Completion>,
    drop_grace: Duration,
}

impl UringLoop {
    pub(super) fn new(ring: Ring, slab: Slab, settings: &DriverSettings) -> io::Result<Self> {
        let waker = Waker::new()?;
        let staging = Staging::new(settings.staging_bytes)?;
        let staging_slab = staging.slab().clone();
        Ok(Self {
            ring,
            sockets: Sockets::new(staging),
            files: Files::new(waker.clone()),
            waker,
            waker_is_watched: false,
            slab,
            staging_slab,
            pace: Pace::new(settings.spin),
            ready: Vec::new(),
            drop_grace: settings.drop_grace,
        })
    }

    /// Submits and handles completions until neither leaves anything to do now.
    fn progress(&mut self) {
        loop {
            self.sockets.run(&mut self.ring);
            if self.ring.has_queued() {
                self.ring.submit();
            } else {
                self.ring.run_deferred();
            }
            let mut handled = false;
            while let Some(done) = self.ring.next_done() {
                handled = true;
                self.handle(done);
            }
            if !handled {
                return;
            }
        }
    }

    fn handle(&mut self, done: Done) {
        let (ring, out) = (&mut self.ring, &mut self.ready);
        match done.tag {
            Tag::Unheard => {}
            Tag::File => self.files.handle_tried(done.key, done.result(), ring, out),
            Tag::Readable | Tag::Receive | Tag::Send => self.sockets.handle(done, ring, out),
            Tag::Wake => {
                self.waker_is_watched = false;
                self.waker.drain();
            }
        }
    }

    fn watch_waker(&mut self) {
        if !self.waker_is_watched {
            self.waker_is_watched = true;
            let fd = Fd(self.waker.as_fd().as_raw_fd());
            let entry = opcode::PollAdd::new(fd, poll_mask(libc::POLLIN)).build();
            // SAFETY: no address in it.
            unsafe { self.ring.push(entry, Tag::Wake, WAKER) };
        }
    }

    /// Waits as told, since there is nothing to do. True if something came.
    fn wait(&mut self, longest: Duration) -> bool {
        let start = Instant::now();
        let end = start + longest;
        let spin_end = self
            .pace
            .spin_until(start)
            .map(|spin_end| spin_end.min(end));
        let mut now = start;
        while spin_end.is_some_and(|spin_end| now < spin_end) {
            self.ring.run_deferred();
            if self.ring.has_done() || self.waker.is_notified() {
                self.pace.learn(start.elapsed(), true);
                return true;
            }
            std::hint::spin_loop();
            now = Instant::now();
        }
        let left = end.saturating_duration_since(now);
        let came = !left.is_zero() && self.sleep(left);
        self.pace.learn(start.elapsed(), came);
        came
    }

    fn sleep(&mut self, longest: Duration) -> bool {
        self.watch_waker();
        if !self.waker.prepare_sleep() {
            return true;
        }
        let may_trim = self.slab.has_idle_pages() || self.staging_slab.has_idle_pages();
        let came = self
            .ring
            .submit_and_wait(if may_trim { longest.min(IDLE) } else { longest });
        if !came && may_trim {
            self.slab.trim();
            self.staging_slab.trim();
        }
        came
    }
}

impl Driver for UringLoop {
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
        self.sockets.close(id, &mut self.ring, &mut self.ready);
    }

    fn add_file(&mut self, file: Arc<StoreFile>) -> FileId {
        self.files.add(file)
    }

    fn remove_file(&mut self, id: FileId) {
        self.files.remove(id);
    }

    fn push(&mut self, op: Op, token: Token) {
        let (ring, out) = (&mut self.ring, &mut self.ready);
        match op {
            Op::Accept { listener } => self.sockets.accept(listener, token, ring, out),
            Op::Recv { socket, into } => self.sockets.receive(socket, into, token, ring, out),
            Op::Send { socket, list } => self.sockets.send(socket, list, token, ring, out),
            op => self.files.push(op, token, ring, out),
        }
    }

    fn cancel(&mut self, token: Token) {
        self.files.cancel(token, &mut self.ring, &mut self.ready);
        self.sockets.cancel(token, &mut self.ring, &mut self.ready);
    }

    fn submit(&mut self) {
        if self.ring.has_queued() {
            self.ring.submit();
        }
    }

    fn turn(&mut self, wait: Wait, out: &mut Vec<Completion>) {
        self.progress();
        self.files.reap_lanes(&mut self.ready);
        let longest = match wait {
            Wait::Poll => Duration::ZERO,
            Wait::Until(longest) => longest.min(LONGEST_WAIT),
            Wait::Forever => LONGEST_WAIT,
        };
        if self.ready.is_empty() && !longest.is_zero() && !self.waker.is_notified() {
            self.wait(longest);
            self.progress();
        }
        self.waker.awake();
        self.files.reap_lanes(&mut self.ready);
        out.append(&mut self.ready);
        // What the lanes' results led to.
        self.submit();
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn kind(&self) -> DriverKind {
        DriverKind::Uring
    }

    fn set_spin(&mut self, longest: Duration) {
        self.pace.set_longest(longest);
    }
}

impl Drop for UringLoop {
    /// Ends what can be ended, waits a little for the rest; what stays keeps its memory for ever.
    fn drop(&mut self) {
        self.sockets.close_all(&mut self.ring, &mut self.ready);
        self.files.withdraw_all();
        let end = Instant::now() + self.drop_grace;
        loop {
            self.progress();
            let in_kernel = self.sockets.in_kernel() + self.files.in_tries();
            if in_kernel == 0 || Instant::now() >= end {
                break;
            }
            self.ring.submit_and_wait(Duration::from_millis(1));
        }
        self.files.withdraw_all();
        self.files
            .settle_lanes(end.saturating_duration_since(Instant::now()));
    }
}

/// Poll events as the ring wants them.
fn poll_mask(events: libc::c_short) -> u32 {
    u32::from(events.cast_unsigned())
}
