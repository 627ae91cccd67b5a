//! A store that fails where a test wants it to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use block::{IoError, IoErrorKind};
use reactor::Driver;

use super::{Concerns, hand_on, hand_on_local};
use crate::api::{Backstore, IoDone, IoPort, IoRequest, LocalStore};

/// Which requests fail, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Requests of these kinds are counted.
    pub concerns: Concerns,
    /// The first request to fail, counted from 1.
    pub nth: u64,
    /// How many fail from there on; `u64::MAX` for all.
    pub count: u64,
    /// How.
    pub kind: IoErrorKind,
}

/// Fails requests by count, before they reach the store inside. Counting is over all workers.
///
/// A store with this filter lends no pins.
pub struct ErrorFilter {
    inner: Arc<dyn Backstore>,
    fault: Mutex<Option<Fault>>,
    seen: AtomicU64,
}

impl ErrorFilter {
    /// A filter that fails nothing yet.
    #[must_use]
    pub fn new(inner: Arc<dyn Backstore>) -> Self {
        Self {
            inner,
            fault: Mutex::new(None),
            seen: AtomicU64::new(0),
        }
    }

    /// Sets the fault, or takes it away, and counts from 1 again.
    pub fn set_fault(&self, fault: Option<Fault>) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
        self.seen.store(0, Ordering::Release);
    }

    /// How many requests that the fault concerns have come since it was set.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen.load(Ordering::Acquire)
    }

    /// The error for this request, if it is one that fails.
    fn strike(&self, request: &IoRequest) -> Option<IoError> {
        let fault = *self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = fault.filter(|fault| fault.concerns.includes(request.io.kind()))?;
        let number = self.seen.fetch_add(1, Ordering::AcqRel).saturating_add(1);
        let since = number.checked_sub(fault.nth)?;
        (since < fault.count).then(|| IoError {
            lba: request.io.range().map(|(lba, _)| lba),
            ..IoError::new(fault.kind, request.io.kind())
        })
    }
}

impl Backstore for ErrorFilter {
    hand_on!(name, caps, control, deferring);

    fn attach(self: Arc<Self>, driver: &mut dyn Driver) -> Box<dyn LocalStore> {
        Box::new(LocalError {
            inner: Arc::clone(&self.inner).attach(driver),
            filter: self,
        })
    }
}

struct LocalError {
    inner: Box<dyn LocalStore>,
    filter: Arc<ErrorFilter>,
}

impl LocalStore for LocalError {
    hand_on_local!(complete, detach);

    fn submit(&mut self, request: IoRequest, port: &mut dyn IoPort) {
        match self.filter.strike(&request) {
            None => self.inner.submit(request, port),
            Some(error) => port.complete(IoDone {
                token: request.token,
                result: Err(error),
                memory: request.memory,
            }),
        }
    }
}
