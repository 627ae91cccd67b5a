//! A store without a medium: reads zeros, forgets what is written. For measurements.

use std::sync::Arc;

use block::{Geometry, MapRun, StoreCaps};
use reactor::{Driver, Memory, OpResult, Token};

use crate::api::{Backstore, IoDone, IoPort, IoRequest, LocalStore, Opened, StoreIo};
use crate::change::{ReadOnlyError, ResizeError};
use crate::check::{put_runs, range_of};
use crate::error::{OpenError, OpenProblem};
use crate::identity::{Identity, IdentityHints, IdentityOrigin};
use crate::size::{ReadOnly, Size};

/// A store that keeps nothing.
#[derive(Debug)]
pub struct NullStore {
    name: String,
    size: Size,
    identity: Identity,
    read_only: ReadOnly,
}

impl NullStore {
    /// A store of this geometry.
    #[must_use]
    pub fn new(name: String, geometry: Geometry, identity: Identity) -> Self {
        Self {
            name,
            size: Size::new(geometry),
            identity,
            read_only: ReadOnly::default(),
        }
    }
}

/// A null store of `bytes`, with the serial given or a new identity.
///
/// # Errors
/// A size, block size or serial that cannot be.
pub fn open_null(
    name: &str,
    bytes: u64,
    block_size_bytes: u32,
    hints: &IdentityHints,
) -> Result<Opened, OpenError> {
    let (geometry, identity, origin) =
        of_memory(bytes, block_size_bytes, hints).map_err(|p| OpenError::new(name, p))?;
    let store = Arc::new(NullStore::new(name.to_owned(), geometry, identity));
    Ok(Opened { store, origin })
}

/// What a store without a file is: its geometry, and the serial given or a new identity.
pub(crate) fn of_memory(
    bytes: u64,
    block_size_bytes: u32,
    hints: &IdentityHints,
) -> Result<(Geometry, Identity, IdentityOrigin), OpenProblem> {
    let geometry = Geometry::of_size(block_size_bytes, bytes).map_err(OpenProblem::Geometry)?;
    if !bytes.is_multiple_of(u64::from(block_size_bytes)) {
        return Err(OpenProblem::PartBlock { block_size_bytes });
    }
    let (identity, origin) = given_or_new(hints)?;
    Ok((geometry, identity, origin))
}

/// The serial given, or a new identity, for a store that has no place to keep one.
pub(crate) fn given_or_new(
    hints: &IdentityHints,
) -> Result<(Identity, IdentityOrigin), OpenProblem> {
    Ok(match &hints.serial {
        Some(serial) => {
            let identity = Identity::from_serial(serial).map_err(OpenProblem::Serial)?;
            (identity, IdentityOrigin::Given)
        }
        None => (Identity::random(hints.entropy), IdentityOrigin::New),
    })
}

impl Backstore for NullStore {
    fn name(&self) -> &str {
        &self.name
    }

    fn caps(&self) -> StoreCaps {
        StoreCaps {
            unmap: true,
            unmap_zeroes: true,
            write_zeroes: true,
            volatile: true,
            read_only: self.read_only.is_on(),
            ..StoreCaps::plain(self.size.geometry())
        }
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn attach(self: Arc<Self>, _driver: &mut dyn Driver) -> Box<dyn LocalStore> {
        Box::new(LocalNull { store: self })
    }

    /// There is no cache, and nothing to keep in one.
    fn set_write_cache(&self, _on: bool) {}

    /// There is nothing outside to look at again.
    fn resize(&self, bytes: Option<u64>) -> Result<Geometry, ResizeError> {
        let resizing = self.size.lock();
        let Some(bytes) = bytes else {
            return Ok(resizing.now());
        };
        let wanted = resizing.check(bytes);
        let wanted = wanted.map_err(|problem| ResizeError::new(&*self.name, problem))?;
        Ok(resizing.set(wanted))
    }

    fn set_read_only(&self, on: bool) -> Result<(), ReadOnlyError> {
        self.read_only.set(on);
        Ok(())
    }

    fn reset(&self) {}
}

struct LocalNull {
    store: Arc<NullStore>,
}

impl LocalStore for LocalNull {
    fn submit(&mut self, mut request: IoRequest, port: &mut dyn IoPort) {
        let store = &self.store;
        let result = range_of(&request, store.size.geometry(), store.read_only.is_on()).map(drop);
        if let (Ok(()), StoreIo::Read { .. }) = (&result, request.io)
            && let Some(Memory::Owned(buffer)) = &mut request.memory
        {
            buffer.fill(0);
        }
        if let (Ok(()), StoreIo::Map { blocks, .. }) = (&result, request.io) {
            // Nothing is kept.
            let all = MapRun {
                blocks,
                mapped: false,
            };
            put_runs(&mut request.memory, std::iter::once(all));
        }
        port.complete(IoDone {
            token: request.token,
            result,
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
    use block::{IoErrorKind, Lba};

    use super::*;
    use crate::testing::{Bench, ScriptedDriver};

    #[test]
    fn resize_and_read_only_hold_for_an_attached_worker() {
        let store = open_null("null", 4096, 512, &IdentityHints::default())
            .unwrap()
            .store;
        let local = Arc::clone(&store).attach(&mut ScriptedDriver::default());
        let mut bench = Bench::new(local, 0);
        let mut kind = |lba| {
            let io = StoreIo::Write {
                lba: Lba(lba),
                blocks: 1,
                durable: false,
            };
            let memory = bench.buffer(512, 1);
            let done = bench.call(io, Some(memory));
            done.result.err().map(|error| error.kind)
        };
        assert_eq!(kind(8), Some(IoErrorKind::OutOfRange));
        assert_eq!(store.resize(Some(512)).unwrap_err().code(), "shrink");
        let geometry = store.resize(Some(8192)).unwrap();
        assert_eq!(geometry.capacity_blocks, 16);
        assert_eq!(store.resize(None).unwrap(), geometry);
        assert_eq!(store.caps().geometry, geometry);
        assert_eq!(kind(15), None);
        assert_eq!(kind(16), Some(IoErrorKind::OutOfRange));
        store.set_read_only(true).unwrap();
        assert!(store.caps().read_only);
        assert_eq!(kind(0), Some(IoErrorKind::ReadOnly));
        store.set_read_only(false).unwrap();
        assert_eq!(kind(0), None);
    }
}
