//! A store without a medium: reads zeros, forgets what is written. For measurements.

use std::sync::Arc;

use block::{Geometry, StoreCaps};
use reactor::{Driver, Memory, OpResult, Token};

use crate::api::{Backstore, IoDone, IoPort, IoRequest, LocalStore, Opened, StoreIo};
use crate::check::range_of;
use crate::error::{OpenError, OpenProblem};
use crate::identity::{Identity, IdentityHints, IdentityOrigin};

/// A store that keeps nothing.
#[derive(Debug)]
pub struct NullStore {
    name: String,
    geometry: Geometry,
    identity: Identity,
}

impl NullStore {
    /// A store of this geometry.
    #[must_use]
    pub fn new(name: String, geometry: Geometry, identity: Identity) -> Self {
        Self {
            name,
            geometry,
            identity,
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
    Ok(match &hints.serial {
        Some(serial) => {
            let identity = Identity::from_serial(serial).map_err(OpenProblem::Serial)?;
            (geometry, identity, IdentityOrigin::Given)
        }
        None => {
            let identity = Identity::random(hints.entropy);
            (geometry, identity, IdentityOrigin::New)
        }
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
            ..StoreCaps::plain(self.geometry)
        }
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn attach(self: Arc<Self>, _driver: &mut dyn Driver) -> Box<dyn LocalStore> {
        Box::new(LocalNull {
            geometry: self.geometry,
        })
    }

    /// There is no cache, and nothing to keep in one.
    fn set_write_cache(&self, _on: bool) {}

    fn reset(&self) {}
}

struct LocalNull {
    geometry: Geometry,
}

impl LocalStore for LocalNull {
    fn submit(&mut self, mut request: IoRequest, port: &mut dyn IoPort) {
        let result = range_of(&request, self.geometry, false).map(drop);
        if let (Ok(()), StoreIo::Read { .. }) = (&result, request.io)
            && let Some(Memory::Owned(buffer)) = &mut request.memory
        {
            buffer.fill(0);
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
