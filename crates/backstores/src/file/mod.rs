//! Regular files and block devices.
//!
//! What holds for both: reads, writes and flushes of one open file; an exclusive lock; a failed flush that stays failed
//! until the operator resets the store; a size that is looked at again before anything is promised to be durable.
//!
//! Each worker has an open file description of its own where it can be had. The kernel tells a write-back error once per
//! description ([`sync`]); with one for all, the worker that heard of it could tell the others only after they had promised.

mod beside;
mod caps;
mod flush;
mod local;
mod map;
mod open;
mod ranges;
mod resize;
mod sync;
mod tokens;

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use block::{Geometry, StoreCaps, Usage};
use reactor::{Driver, StoreFile};
use rustix::fs::{AtFlags, StatxFlags};

use crate::api::{Backstore, LocalStore};
use crate::change::{ReadOnlyError, ResizeError};
use crate::claim::Claim;
use crate::identity::Identity;
use crate::size::{ReadOnly, Size};

pub use open::{Expect, PathOptions, open_path};

/// A regular file or a block device as a disk.
#[derive(Debug)]
pub struct FileStore {
    name: String,
    identity: Identity,
    /// What was found when it was opened; what has changed since is in `state`. `read_only`: the file cannot be written.
    caps: StoreCaps,
    is_block_device: bool,
    state: State,
    /// One open file description per worker, as far as they go; never empty.
    files: Vec<Arc<StoreFile>>,
    next_file: AtomicUsize,
    _claim: Claim,
}

/// What changes while the store runs; all workers look at it.
#[derive(Debug)]
struct State {
    size: Size,
    read_only: ReadOnly,
    write_cache: AtomicBool,
    /// A flush failed: what was acknowledged may be lost, and no later flush can promise that it is not.
    flush_failed: AtomicBool,
    /// The file was seen to be shorter than the disk.
    shrunk: AtomicBool,
    /// The file system knows no zeroing, or no hole punching, of a range.
    no_zero: AtomicBool,
    no_punch: AtomicBool,
}

impl State {
    fn new(caps: &StoreCaps) -> Self {
        Self {
            size: Size::new(caps.geometry),
            read_only: ReadOnly::new(caps.read_only),
            write_cache: AtomicBool::new(caps.write_cache),
            flush_failed: AtomicBool::new(false),
            shrunk: AtomicBool::new(false),
            no_zero: AtomicBool::new(false),
            no_punch: AtomicBool::new(false),
        }
    }
}

impl FileStore {
    fn geometry(&self) -> Geometry {
        self.state.size.geometry()
    }

    /// Whether the file ends before the disk does; remembered until the store is reset.
    ///
    /// `STATX_DONT_SYNC` takes what the kernel knows without asking a server, so a worker may call this.
    fn look_for_shrinking(&self, file: &StoreFile) -> bool {
        if self.is_block_device {
            return false;
        }
        // Before the look: a disk that grows meanwhile must not be measured by its new size.
        let size_bytes = self.geometry().size_bytes();
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let stat = rustix::fs::statx(file.as_fd(), c"", flags, StatxFlags::SIZE);
        let shrunk = stat.is_ok_and(|stat| stat.stx_size < size_bytes);
        if shrunk {
            self.state.shrunk.store(true, Ordering::Release);
        }
        shrunk
    }
}

impl Backstore for FileStore {
    fn name(&self) -> &str {
        &self.name
    }

    fn caps(&self) -> StoreCaps {
        let on = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        StoreCaps {
            geometry: self.geometry(),
            read_only: self.state.read_only.is_on(),
            write_cache: on(&self.state.write_cache),
            write_zeroes: self.caps.write_zeroes && !on(&self.state.no_zero),
            ..self.caps
        }
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn attach(self: Arc<Self>, driver: &mut dyn Driver) -> Box<dyn LocalStore> {
        let turn = self.next_file.fetch_add(1, Ordering::Relaxed);
        let file = Arc::clone(&self.files[turn % self.files.len()]);
        Box::new(local::LocalFile::new(self, file, driver))
    }

    fn set_write_cache(&self, on: bool) {
        self.state.write_cache.store(on, Ordering::Release);
    }

    fn resize(&self, bytes: Option<u64>) -> Result<Geometry, ResizeError> {
        let resized = match bytes {
            Some(bytes) => self.grow(bytes),
            None => self.look_again(),
        };
        resized.map_err(|problem| ResizeError::new(&*self.name, problem))
    }

    fn set_read_only(&self, on: bool) -> Result<(), ReadOnlyError> {
        if self.caps.read_only && !on {
            let path = self.name.clone().into();
            return Err(ReadOnlyError { path });
        }
        self.state.read_only.set(on);
        Ok(())
    }

    fn usage(&self) -> Option<Usage> {
        caps::usage(
            self.files
                .first()
                .filter(|_| self.caps.unmap && !self.is_block_device)?,
        )
    }

    fn reset(&self) {
        self.state.flush_failed.store(false, Ordering::Release);
        self.state.shrunk.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
