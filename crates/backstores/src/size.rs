//! How many blocks a store has, as all its workers see it while it grows.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use block::Geometry;

use crate::change::ResizeProblem;

/// A geometry of which the number of blocks may grow. Workers read it at each request; it is written when a store grows.
#[derive(Debug)]
pub(crate) struct Size {
    block_size_bytes: u32,
    capacity_blocks: AtomicU64,
    resizing: Mutex<()>,
}

impl Size {
    pub(crate) fn new(geometry: Geometry) -> Self {
        Self {
            block_size_bytes: geometry.block_size_bytes,
            capacity_blocks: AtomicU64::new(geometry.capacity_blocks),
            resizing: Mutex::new(()),
        }
    }

    pub(crate) fn geometry(&self) -> Geometry {
        Geometry {
            block_size_bytes: self.block_size_bytes,
            capacity_blocks: self.capacity_blocks.load(Ordering::Acquire),
        }
    }

    /// Nobody else resizes while this is held.
    pub(crate) fn lock(&self) -> Resizing<'_> {
        // A panic elsewhere leaves the size as it was, or as it is to be.
        let guard = self.resizing.lock();
        Resizing {
            size: self,
            _guard: guard.unwrap_or_else(PoisonError::into_inner),
        }
    }
}

/// The right to change a [`Size`].
pub(crate) struct Resizing<'a> {
    size: &'a Size,
    _guard: MutexGuard<'a, ()>,
}

impl Resizing<'_> {
    pub(crate) fn now(&self) -> Geometry {
        self.size.geometry()
    }

    /// The geometry of so many bytes, where a store of the present size may get it.
    pub(crate) fn check(&self, bytes: u64) -> Result<Geometry, ResizeProblem> {
        let block_size_bytes = self.size.block_size_bytes;
        let wanted = self.now().resized(bytes).map_err(ResizeProblem::Geometry)?;
        if wanted.size_bytes() != bytes {
            return Err(ResizeProblem::PartBlock { block_size_bytes });
        }
        let from_bytes = self.now().size_bytes();
        if bytes < from_bytes {
            return Err(ResizeProblem::Shrink {
                from_bytes,
                to_bytes: bytes,
            });
        }
        Ok(wanted)
    }

    /// Shows every worker the new number of blocks. What they are made of must be there.
    pub(crate) fn set(self, geometry: Geometry) -> Geometry {
        let blocks = geometry.capacity_blocks;
        self.size.capacity_blocks.store(blocks, Ordering::Release);
        geometry
    }
}

/// Whether a store takes no changes, as all its workers see it.
#[derive(Debug, Default)]
pub(crate) struct ReadOnly(AtomicBool);

impl ReadOnly {
    pub(crate) fn new(on: bool) -> Self {
        Self(AtomicBool::new(on))
    }

    pub(crate) fn is_on(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn set(&self, on: bool) {
        self.0.store(on, Ordering::Release);
    }
}
