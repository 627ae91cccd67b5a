//! A store that cannot be written.

use std::sync::Arc;

use block::{IoError, IoErrorKind, IoOpKind, StoreCaps};
use reactor::{Driver, Pin};

use super::{hand_on, hand_on_local};
use crate::api::{Backstore, IoDone, IoPort, IoRequest, LocalStore};

/// Refuses whatever would change the store inside; flushes pass.
///
/// It lends no pins: nothing would keep one from being written.
pub struct ReadOnlyFilter {
    inner: Arc<dyn Backstore>,
}

impl ReadOnlyFilter {
    /// The store inside, for reading.
    #[must_use]
    pub fn new(inner: Arc<dyn Backstore>) -> Self {
        Self { inner }
    }
}

impl Backstore for ReadOnlyFilter {
    hand_on!(name, control, deferring);

    fn caps(&self) -> StoreCaps {
        StoreCaps {
            read_only: true,
            unmap: false,
            ..self.inner.caps()
        }
    }

    fn attach(self: Arc<Self>, driver: &mut dyn Driver) -> Box<dyn LocalStore> {
        let inner = Arc::clone(&self.inner).attach(driver);
        Box::new(LocalReadOnly { inner })
    }
}

struct LocalReadOnly {
    inner: Box<dyn LocalStore>,
}

impl LocalStore for LocalReadOnly {
    hand_on_local!(complete, detach);

    fn submit(&mut self, request: IoRequest, port: &mut dyn IoPort) {
        let kind = request.io.kind();
        if matches!(kind, IoOpKind::Read | IoOpKind::Map | IoOpKind::Flush) {
            return self.inner.submit(request, port);
        }
        let lba = request.io.range().map(|(lba, _)| lba);
        let error = IoError {
            lba,
            ..IoError::new(IoErrorKind::ReadOnly, kind)
        };
        port.complete(IoDone {
            token: request.token,
            result: Err(error),
            memory: request.memory,
        });
    }

    fn pin(&mut self, _lba: block::Lba, _blocks: u64) -> Option<Pin> {
        None
    }
}
