//! Making a file larger while it is used, and noticing that a file or device has grown.

use std::sync::atomic::Ordering;

use block::Geometry;

use super::FileStore;
use super::open::another_description;
use crate::change::ResizeProblem;
use crate::size::Resizing;

impl FileStore {
    /// Makes a regular file larger.
    pub(super) fn grow(&self, bytes: u64) -> Result<Geometry, ResizeProblem> {
        let resizing = self.state.size.lock();
        let wanted = resizing.check(bytes)?;
        let found = self.found(&resizing)?;
        if found == wanted || resizing.now() == wanted {
            return self.take(resizing, wanted);
        }
        if self.is_block_device {
            return Err(ResizeProblem::BlockDevice);
        }
        if self.caps.read_only {
            return Err(ResizeProblem::ReadOnly);
        }
        if found.capacity_blocks > wanted.capacity_blocks {
            // It has grown from outside, further than this: the rest may hold something.
            return Err(ResizeProblem::Shrink {
                from_bytes: found.size_bytes(),
                to_bytes: bytes,
            });
        }
        let resized = self.files[0].resize(bytes);
        resized.map_err(|error| ResizeProblem::of("giving it its new size", &error))?;
        self.take(resizing, wanted)
    }

    /// Takes the size that the file or device has now.
    pub(super) fn look_again(&self) -> Result<Geometry, ResizeProblem> {
        let resizing = self.state.size.lock();
        let found = self.found(&resizing)?;
        self.take(resizing, found)
    }

    /// Shows everybody the new size, which the file or device has.
    fn take(&self, resizing: Resizing<'_>, wanted: Geometry) -> Result<Geometry, ResizeProblem> {
        let grows = wanted != resizing.now();
        if grows && !self.is_block_device && !self.caps.read_only {
            self.sync_size()?;
        }
        Ok(resizing.set(wanted))
    }

    /// The geometry of the file or device as it is, which must not be below that of the disk.
    fn found(&self, resizing: &Resizing<'_>) -> Result<Geometry, ResizeProblem> {
        let looked = self.files[0].size_bytes();
        let found_bytes =
            looked.map_err(|error| ResizeProblem::of("looking at its size", &error))?;
        let from_bytes = resizing.now().size_bytes();
        if found_bytes < from_bytes {
            self.state.shrunk.store(true, Ordering::Release);
            return Err(ResizeProblem::Shrunk {
                from_bytes,
                found_bytes,
            });
        }
        let geometry = self.caps.geometry.resized(found_bytes);
        geometry.map_err(ResizeProblem::Geometry)
    }

    /// The new size has to be durable before anybody builds on it. It is synced through a description of its own: the
    /// kernel tells each description of a failed write-back once, and a worker's must not be used up here.
    fn sync_size(&self) -> Result<(), ResizeProblem> {
        let synced = another_description(&self.files[0], false)
            .and_then(|file| Ok(rustix::fs::fsync(&file)?));
        synced.map_err(|error| ResizeProblem::of("syncing it", &error))
    }
}
