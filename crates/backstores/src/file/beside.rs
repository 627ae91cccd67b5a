//! The file beside a disk's that has its protection information.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use block::{Geometry, StoreCaps};
use reactor::{LockMode, OpenOptions, StoreFile};
use rustix::io::Errno;

use super::caps::can_punch;
use super::open::{PathOptions, descriptions, sync_folder};
use super::{FileStore, State};
use crate::api::Backstore;
use crate::claim::{Claim, DiskKey};
use crate::error::OpenProblem;
use crate::identity::Identity;
use crate::ram::RamStore;

/// What is to be opened: as the disk is, but through the page cache, since a tuple is no whole block of any medium.
pub(super) struct Beside<'a> {
    pub(super) path: PathBuf,
    pub(super) options: &'a PathOptions,
    /// Of the tuples.
    pub(super) geometry: Geometry,
    pub(super) identity: Identity,
}

impl Beside<'_> {
    /// Opens the file, or makes it; makes it larger, if the disk has grown.
    pub(super) fn open(self) -> Result<Arc<dyn Backstore>, OpenProblem> {
        let read_only = self.options.read_only;
        let file = match self.file(false) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && read_only => {
                // Holes are what a new file would have.
                return self.nothing();
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.file(true),
            other => other,
        };
        let file = file.map_err(|error| problem(&error))?;
        let stat = rustix::fs::fstat(&file).map_err(Self::of_errno)?;
        let device = (
            rustix::fs::major(stat.st_dev),
            rustix::fs::minor(stat.st_dev),
        );
        let key = DiskKey::File {
            device,
            inode: stat.st_ino,
        };
        let name = self.path.display().to_string();
        let claim = Claim::of(key, &name).map_err(|by| OpenProblem::AlreadyOpen { by })?;
        let mode = match read_only {
            true => LockMode::Shared,
            false => LockMode::Exclusive,
        };
        file.lock(mode).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => OpenProblem::Locked,
            _ => problem(&error),
        })?;
        let bytes = self.geometry.size_bytes();
        if file.size_bytes().map_err(|error| problem(&error))? < bytes {
            if read_only {
                return self.nothing();
            }
            file.resize(bytes).map_err(|error| problem(&error))?;
            rustix::fs::fsync(&file).map_err(Self::of_errno)?;
            sync_folder(&self.path).map_err(Self::of_errno)?;
        }
        let punches = !read_only && can_punch(&file, bytes);
        let caps = StoreCaps {
            read_only,
            write_cache: self.options.write_cache,
            write_zeroes: true,
            unmap: punches,
            unmap_zeroes: punches,
            ..StoreCaps::plain(self.geometry)
        };
        Ok(Arc::new(FileStore {
            name,
            identity: self.identity,
            state: State::new(&caps),
            caps,
            is_block_device: false,
            files: descriptions(file, self.options.workers, read_only),
            next_file: AtomicUsize::new(0),
            _claim: claim,
        }))
    }

    fn file(&self, create_new: bool) -> io::Result<StoreFile> {
        let options = OpenOptions {
            write: !self.options.read_only,
            direct: false,
            create_new,
        };
        StoreFile::open(&self.path, options)
    }

    fn nothing(self) -> Result<Arc<dyn Backstore>, OpenProblem> {
        let name = self.path.display().to_string();
        let store = RamStore::new(name, self.geometry, self.identity);
        let store = store.map_err(|_| OpenProblem::NoMemory)?;
        store
            .set_read_only(true)
            .map_err(|_| OpenProblem::ReadOnly)?;
        Ok(Arc::new(store))
    }

    fn of_errno(errno: Errno) -> OpenProblem {
        OpenProblem::of_errno(DOING, errno)
    }
}

const DOING: &str = "opening its protection information";

fn problem(error: &io::Error) -> OpenProblem {
    match Errno::from_io_error(error) {
        Some(errno) => OpenProblem::of_errno(DOING, errno),
        None => OpenProblem::NotADisk,
    }
}
