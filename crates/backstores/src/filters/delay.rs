//! A store that takes its time.

use std::sync::Arc;
use std::time::Duration;

use reactor::Driver;

use super::{Concerns, hand_on, hand_on_local, pass_bit};
use crate::api::{Backstore, IoPort, IoRequest, LocalStore};

/// Lets requests wait for a fixed time before they reach the store inside.
///
/// A store with this filter lends no pins: pinned memory is read and written without a request that could wait.
pub struct DelayFilter {
    inner: Arc<dyn Backstore>,
    concerns: Concerns,
    delay: Duration,
}

impl DelayFilter {
    /// Delays the requests that `concerns` names by `delay`.
    #[must_use]
    pub fn new(inner: Arc<dyn Backstore>, concerns: Concerns, delay: Duration) -> Self {
        Self {
            inner,
            concerns,
            delay,
        }
    }
}

impl Backstore for DelayFilter {
    hand_on!(name, caps, control);

    fn attach(self: Arc<Self>, driver: &mut dyn Driver) -> Box<dyn LocalStore> {
        Box::new(LocalDelay {
            inner: Arc::clone(&self.inner).attach(driver),
            bit: pass_bit(self.inner.deferring_filters()),
            filter: self,
        })
    }

    fn deferring_filters(&self) -> u8 {
        self.inner.deferring_filters().saturating_add(1)
    }
}

struct LocalDelay {
    inner: Box<dyn LocalStore>,
    filter: Arc<DelayFilter>,
    bit: u8,
}

impl LocalStore for LocalDelay {
    hand_on_local!(complete, detach);

    fn submit(&mut self, mut request: IoRequest, port: &mut dyn IoPort) {
        let waited = request.passes & self.bit != 0;
        if waited || !self.filter.concerns.includes(request.io.kind()) {
            return self.inner.submit(request, port);
        }
        request.passes |= self.bit;
        port.defer(self.filter.delay, request);
    }
}
