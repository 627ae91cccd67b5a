//! Filters: a store around a store, which changes one thing. They stack, in any order.
//!
//! They exist for tests and for finding out how an initiator takes a slow or broken disk. Those that let a request wait
//! use [`IoPort::defer`](crate::IoPort::defer), so nothing here knows a clock or a thread.

mod delay;
mod error;
mod hold;
mod read_only;
mod stats;

pub use delay::DelayFilter;
pub use error::{ErrorFilter, Fault};
pub use hold::HoldFilter;
pub use read_only::ReadOnlyFilter;
pub use stats::{StatsFilter, StoreStats};

use block::IoOpKind;

/// Which requests a filter concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concerns {
    /// Every request.
    All,
    /// Requests of one kind.
    Only(IoOpKind),
}

impl Concerns {
    fn includes(self, kind: IoOpKind) -> bool {
        match self {
            Self::All => true,
            Self::Only(only) => only == kind,
        }
    }
}

/// The bit of [`IoRequest::passes`](crate::IoRequest::passes) that belongs to a deferring filter with so many deferring
/// filters inside. A ninth filter in one stack shares the last bit: it lets pass what the eighth has deferred.
fn pass_bit(inside: u8) -> u8 {
    1 << inside.min(7)
}

/// The parts of [`Backstore`](crate::Backstore) that a filter hands on unchanged.
macro_rules! hand_on {
    ($($part:ident),*) => { $( hand_on!(@ $part); )* };
    (@ name) => {
        fn name(&self) -> &str {
            self.inner.name()
        }
    };
    (@ caps) => {
        fn caps(&self) -> block::StoreCaps {
            self.inner.caps()
        }
    };
    (@ control) => {
        fn identity(&self) -> &$crate::Identity {
            self.inner.identity()
        }

        fn set_write_cache(&self, on: bool) {
            self.inner.set_write_cache(on);
        }

        fn resize(&self, bytes: Option<u64>) -> Result<block::Geometry, $crate::ResizeError> {
            self.inner.resize(bytes)
        }

        fn set_read_only(&self, on: bool) -> Result<(), $crate::ReadOnlyError> {
            self.inner.set_read_only(on)
        }

        fn usage(&self) -> Option<block::Usage> {
            self.inner.usage()
        }

        fn reset(&self) {
            self.inner.reset();
        }
    };
    (@ deferring) => {
        fn deferring_filters(&self) -> u8 {
            self.inner.deferring_filters()
        }
    };
}
use hand_on;

/// The parts of [`LocalStore`](crate::LocalStore) that a filter hands on unchanged.
macro_rules! hand_on_local {
    ($($part:ident),*) => { $( hand_on_local!(@ $part); )* };
    (@ complete) => {
        fn complete(
            &mut self,
            token: reactor::Token,
            result: reactor::OpResult,
            port: &mut dyn $crate::IoPort,
        ) {
            self.inner.complete(token, result, port);
        }
    };
    (@ detach) => {
        fn detach(self: Box<Self>, driver: &mut dyn reactor::Driver) {
            self.inner.detach(driver);
        }
    };
}
use hand_on_local;

#[cfg(test)]
mod tests;
