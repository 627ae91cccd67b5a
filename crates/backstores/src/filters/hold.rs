//! A store that stops answering, until told otherwise.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use reactor::Driver;

use super::{Concerns, hand_on, hand_on_local, pass_bit};
use crate::api::{Backstore, IoPort, IoRequest, LocalStore};

/// How long a held request waits before it looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Holds requests while it is told to; lets everything pass otherwise, and what it held when it is released.
///
/// A store with this filter lends no pins.
pub struct HoldFilter {
    inner: Arc<dyn Backstore>,
    concerns: Concerns,
    holding: AtomicBool,
    held: AtomicU64,
}

impl HoldFilter {
    /// A filter that holds nothing yet.
    #[must_use]
    pub fn new(inner: Arc<dyn Backstore>, concerns: Concerns) -> Self {
        Self {
            inner,
            concerns,
            holding: AtomicBool::new(false),
            held: AtomicU64::new(0),
        }
    }

    /// Holds the requests it concerns from now on.
    pub fn hold(&self) {
        self.holding.store(true, Ordering::Release);
    }

    /// Lets go of what is held, and of what comes.
    pub fn release(&self) {
        self.holding.store(false, Ordering::Release);
    }

    /// How many requests have been held so far, each counted once.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Acquire)
    }
}

impl Backstore for HoldFilter {
    hand_on!(name, caps, control);

    fn attach(self: Arc<Self>, driver: &mut dyn Driver) -> Box<dyn LocalStore> {
        Box::new(LocalHold {
            inner: Arc::clone(&self.inner).attach(driver),
            bit: pass_bit(self.inner.deferring_filters()),
            filter: self,
        })
    }

    fn deferring_filters(&self) -> u8 {
        self.inner.deferring_filters().saturating_add(1)
    }
}

struct LocalHold {
    inner: Box<dyn LocalStore>,
    filter: Arc<HoldFilter>,
    bit: u8,
}

impl LocalStore for LocalHold {
    hand_on_local!(complete, detach);

    fn submit(&mut self, mut request: IoRequest, port: &mut dyn IoPort) {
        let concerned = self.filter.concerns.includes(request.io.kind());
        // A request with the bit set and bits of filters further in has been let go once, and is not held again.
        let inside = self.bit - 1;
        let let_go = request.passes & inside != 0;
        if !concerned || let_go || !self.filter.holding.load(Ordering::Acquire) {
            return self.inner.submit(request, port);
        }
        if request.passes & self.bit == 0 {
            request.passes |= self.bit;
            self.filter.held.fetch_add(1, Ordering::AcqRel);
        }
        port.defer(LOOK_AGAIN, request);
    }
}
