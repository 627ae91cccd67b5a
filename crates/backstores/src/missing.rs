//! A disk that is not there: what stands for a backstore whose file or device is absent, until it comes.

use std::sync::Arc;

use block::{Geometry, IoError, IoErrorKind, StoreCaps};
use reactor::{Driver, OpResult, Token};

use crate::api::{Backstore, IoDone, IoPort, IoRequest, LocalStore, Opened};
use crate::change::{ReadOnlyError, ResizeError, ResizeProblem};
use crate::error::OpenError;
use crate::identity::{Identity, IdentityHints};
use crate::null::given_or_new;

/// A store of which every request ends with [`IoErrorKind::Gone`], which initiators hear as NOT READY.
#[derive(Debug)]
pub struct MissingStore {
    name: String,
    geometry: Geometry,
    identity: Identity,
}

/// A store for a disk that is absent, with the geometry it is known to have had, or no blocks at all.
///
/// Its identity is the serial given. Without one it gets a new identity that holds for the life of this store only, and an
/// initiator that asks takes it for another disk: a caller that knows the disk's serial gives it.
///
/// # Errors
/// A serial that cannot be.
pub fn open_missing(
    name: &str,
    geometry: Option<Geometry>,
    hints: &IdentityHints,
) -> Result<Opened, OpenError> {
    let named = given_or_new(hints).map_err(|problem| OpenError::new(name, problem));
    let (identity, origin) = named?;
    let store = Arc::new(MissingStore {
        name: name.to_owned(),
        geometry: geometry.unwrap_or(NO_BLOCKS),
        identity,
    });
    Ok(Opened { store, origin })
}

const NO_BLOCKS: Geometry = Geometry {
    block_size_bytes: 512,
    capacity_blocks: 0,
};

impl Backstore for MissingStore {
    fn name(&self) -> &str {
        &self.name
    }

    fn caps(&self) -> StoreCaps {
        StoreCaps::plain(self.geometry)
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn attach(self: Arc<Self>, _driver: &mut dyn Driver) -> Box<dyn LocalStore> {
        Box::new(LocalMissing)
    }

    /// There is nothing that could be cached.
    fn set_write_cache(&self, _on: bool) {}

    /// Always an error: the disk comes by being opened.
    fn resize(&self, _bytes: Option<u64>) -> Result<Geometry, ResizeError> {
        Err(ResizeError::new(&*self.name, ResizeProblem::Missing))
    }

    /// Nothing can be written, either way.
    fn set_read_only(&self, _on: bool) -> Result<(), ReadOnlyError> {
        Ok(())
    }

    fn reset(&self) {}
}

struct LocalMissing;

impl LocalStore for LocalMissing {
    fn submit(&mut self, request: IoRequest, port: &mut dyn IoPort) {
        let error = IoError {
            lba: request.io.range().map(|(lba, _)| lba),
            ..IoError::new(IoErrorKind::Gone, request.io.kind())
        };
        port.complete(IoDone {
            token: request.token,
            result: Err(error),
            memory: request.memory,
        });
    }

    fn complete(&mut self, _token: Token, _result: OpResult, _port: &mut dyn IoPort) {
        // Nothing is ever pushed, so nothing comes back.
    }

    fn detach(self: Box<Self>, _driver: &mut dyn Driver) {}
}

#[cfg(test)]
mod tests {
    use block::{IoOpKind, Lba};

    use super::*;
    use crate::api::StoreIo;
    use crate::identity::IdentityOrigin;
    use crate::testing::{Bench, ScriptedDriver};

    fn hints(serial: &str) -> IdentityHints {
        IdentityHints {
            serial: Some(serial.to_owned()),
            ..IdentityHints::default()
        }
    }

    #[test]
    fn every_request_is_gone_and_comes_back_with_its_memory() {
        let store = open_missing("lost", None, &hints("kept")).unwrap().store;
        let mut bench = Bench::new(store.attach(&mut ScriptedDriver::default()), 0);
        let (lba, blocks) = (Lba(3), 1);
        let write = StoreIo::Write {
            lba,
            blocks,
            durable: true,
        };
        for (io, kind) in [
            (StoreIo::Read { lba, blocks }, IoOpKind::Read),
            (write, IoOpKind::Write),
            (StoreIo::Unmap { lba, blocks }, IoOpKind::Unmap),
            (StoreIo::Flush, IoOpKind::Flush),
        ] {
            let done = bench.call(io, Some(bench.buffer(512, 1)));
            let wanted = IoError::new(IoErrorKind::Gone, kind);
            let lba = io.range().map(|(lba, _)| lba);
            assert_eq!(done.result, Err(IoError { lba, ..wanted }));
            assert!(done.memory.is_some());
        }
        assert!(bench.store.pin(lba, 1).is_none());
    }

    #[test]
    fn missing_store_is_who_and_as_large_as_it_was_told() {
        let geometry = Geometry::new(4096, 10).unwrap();
        let opened = open_missing("lost", Some(geometry), &hints("kept")).unwrap();
        assert_eq!(opened.origin, IdentityOrigin::Given);
        let store = opened.store;
        assert_eq!((store.name(), store.identity().serial()), ("lost", "kept"));
        assert_eq!(store.caps().geometry, geometry);
        for bytes in [None, Some(1 << 20)] {
            assert_eq!(store.resize(bytes).unwrap_err().code(), "missing");
        }
        let opened = open_missing("lost", None, &IdentityHints::default()).unwrap();
        assert_eq!(opened.origin, IdentityOrigin::New);
        assert_eq!(opened.store.caps().geometry.capacity_blocks, 0);
        let refused = open_missing("lost", None, &hints(" "));
        assert_eq!(refused.unwrap_err().code(), "bad_serial");
    }
}
