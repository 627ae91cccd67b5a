//! Waking a worker from other threads, at the price of a system call only when it sleeps.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};

#[cfg(all(loom, test))]
use loom::sync::atomic::{AtomicU8, Ordering};
#[cfg(not(all(loom, test)))]
use std::sync::atomic::{AtomicU8, Ordering};

/// Makes the driver's [`turn`](crate::Driver::turn) return, now or at its next call. Any thread may hold one.
#[derive(Clone)]
pub struct Waker {
    inner: Arc<Inner>,
}

struct Inner {
    signal: Signal,
    eventfd: OwnedFd,
}

impl Waker {
    pub(crate) fn new() -> io::Result<Self> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            inner: Arc::new(Inner {
                signal: Signal::new(),
                eventfd,
            }),
        })
    }

    /// Wakes the worker. What the caller made visible before is seen by the worker after its turn returns.
    pub fn wake(&self) {
        if self.inner.signal.notify() {
            // Fails only when the counter is full, and then the worker is woken already.
            let _ = rustix::io::write(&self.inner.eventfd, &1_u64.to_ne_bytes());
        }
    }

    /// Before a sleep: false if somebody has called [`Self::wake`] since [`Self::awake`].
    pub(crate) fn prepare_sleep(&self) -> bool {
        self.inner.signal.prepare_sleep()
    }

    /// After a sleep, or instead of one. True if the worker was woken.
    pub(crate) fn awake(&self) -> bool {
        self.inner.signal.awake()
    }

    /// Whether somebody has called [`Self::wake`] since [`Self::awake`].
    pub(crate) fn is_notified(&self) -> bool {
        self.inner.signal.is_notified()
    }

    /// What becomes readable when a sleeping worker is woken.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.eventfd.as_fd()
    }

    /// Makes it unreadable again.
    pub(crate) fn drain(&self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.inner.eventfd, &mut count);
    }
}

impl std::fmt::Debug for Waker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waker")
    }
}

/// The state behind a waker: running, asleep, or notified.
struct Signal {
    state: AtomicU8,
}

const RUNNING: u8 = 0;
const ASLEEP: u8 = 1;
const NOTIFIED: u8 = 2;

impl Signal {
    fn new() -> Self {
        Self {
            state: AtomicU8::new(RUNNING),
        }
    }

    /// True if the sleeper must be rung: exactly one notifier of each sleep is told so.
    fn notify(&self) -> bool {
        self.state.swap(NOTIFIED, Ordering::AcqRel) == ASLEEP
    }

    fn prepare_sleep(&self) -> bool {
        self.state
            .compare_exchange(RUNNING, ASLEEP, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    fn awake(&self) -> bool {
        self.state.swap(RUNNING, Ordering::AcqRel) == NOTIFIED
    }

    fn is_notified(&self) -> bool {
        self.state.load(Ordering::Acquire) == NOTIFIED
    }
}

#[cfg(test)]
#[path = "wake_tests.rs"]
mod tests;
