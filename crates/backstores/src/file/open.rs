//! Opening a path: find out what is there, claim it, lock it, and say what it can do.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use block::{Geometry, ProtectionType, StoreCaps};
use reactor::{LockMode, OpenOptions, StoreFile};
use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::beside::Beside;
use super::caps::{can_punch, device_caps, file_caps};
use super::{FileStore, State};
use crate::api::{Backstore, Opened};
use crate::claim::{Claim, DiskKey};
use crate::error::{OpenError, OpenProblem};
use crate::identity::{
    Identity, IdentityHints, IdentityOrigin, SerialNeeded, of_block_device, of_file,
};
use crate::protected::{ProtectedStore, remove_others, tuple_file};
use crate::sysfs::BlockDevice;

/// How a path is opened as a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathOptions {
    /// The store's name, for messages; `None`: the path.
    pub name: Option<String>,
    /// What has to be there.
    pub expect: Expect,
    /// The size, in bytes, that a missing file is created with, sparse. What exists keeps its size.
    pub create_bytes: Option<u64>,
    /// 512 or 4096.
    pub block_size_bytes: u32,
    /// O_DIRECT: past the page cache.
    pub direct: bool,
    /// Never write.
    pub read_only: bool,
    /// Acknowledged writes may stand in the page cache until flushed; see
    /// [`Backstore::set_write_cache`](crate::Backstore::set_write_cache).
    pub write_cache: bool,
    /// Give space back when asked to, where the store can.
    pub thin: bool,
    /// Keep protection information of this type, in a file beside it: see [`tuple_file`](crate::tuple_file).
    pub protection: Option<ProtectionType>,
    /// How many workers will use it: each gets an open file description of its own.
    pub workers: usize,
}

/// What has to be at a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expect {
    /// A regular file or a block device.
    #[default]
    Either,
    /// A regular file.
    File,
    /// A block device.
    BlockDevice,
}

impl Default for PathOptions {
    /// A writable, thin, buffered disk of 512-byte blocks.
    fn default() -> Self {
        Self {
            name: None,
            expect: Expect::Either,
            create_bytes: None,
            block_size_bytes: 512,
            direct: false,
            read_only: false,
            write_cache: true,
            thin: true,
            protection: None,
            workers: 1,
        }
    }
}

/// More open file descriptions than this are not worth their descriptors; workers beyond share.
const MOST_DESCRIPTIONS: usize = 64;

/// Opens a regular file or a block device as a disk. May wait for the disk: never called by a worker.
///
/// # Errors
/// [`OpenError`] says what is wrong and what to do. Nothing is left open, locked or created then.
pub fn open_path(
    path: &Path,
    options: &PathOptions,
    hints: &IdentityHints,
) -> Result<Opened, OpenError> {
    let opening = Opening {
        path,
        options,
        hints,
        name: match &options.name {
            Some(name) => name.clone(),
            None => path.display().to_string(),
        },
    };
    opening
        .run()
        .map_err(|problem| OpenError::new(path, problem))
}

struct Opening<'a> {
    path: &'a Path,
    options: &'a PathOptions,
    hints: &'a IdentityHints,
    name: String,
}

impl Opening<'_> {
    fn run(self) -> Result<Opened, OpenProblem> {
        if let Some(serial) = &self.hints.serial {
            Identity::from_serial(serial).map_err(OpenProblem::Serial)?;
        }
        // The block size is checked before anything is created.
        Geometry::new(self.options.block_size_bytes, 1).map_err(OpenProblem::Geometry)?;
        match rustix::fs::stat(self.path) {
            Ok(stat) => self.existing(&stat),
            Err(Errno::NOENT) => self.create(),
            Err(errno) => Err(OpenProblem::of_errno("looking for it", errno)),
        }
    }

    fn existing(self, stat: &Stat) -> Result<Opened, OpenProblem> {
        let key = self.key_of(stat)?;
        let claim = Claim::of(key, &self.name).map_err(|by| OpenProblem::AlreadyOpen { by })?;
        let file = StoreFile::open(self.path, self.open_options(false))
            .map_err(|error| self.open_problem(&error, key))?;
        // Whatever stood at the path when it was claimed has to be what was opened.
        let opened = rustix::fs::fstat(&file)
            .map_err(|errno| OpenProblem::of_errno("looking at it", errno))?;
        if self.key_of(&opened)? != key {
            return Err(OpenProblem::Locked);
        }
        self.finish(file, key, claim)
    }

    fn create(self) -> Result<Opened, OpenProblem> {
        let bytes = match self.options.create_bytes {
            Some(bytes) if !self.options.read_only => bytes,
            _ => return Err(OpenProblem::NotFound),
        };
        if self.options.expect == Expect::BlockDevice {
            return Err(OpenProblem::NotFound);
        }
        let block_size_bytes = self.options.block_size_bytes;
        Geometry::of_size(block_size_bytes, bytes).map_err(OpenProblem::Geometry)?;
        if !bytes.is_multiple_of(u64::from(block_size_bytes)) {
            return Err(OpenProblem::PartBlock { block_size_bytes });
        }
        let doing = "creating it";
        let file = match StoreFile::open(self.path, self.open_options(true)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(OpenProblem::NoFolder);
            }
            Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => {
                // A file system that takes no O_DIRECT has made the file all the same.
                let _ = std::fs::remove_file(self.path);
                return Err(self.os_problem(doing, &error));
            }
            Err(error) => return Err(self.os_problem(doing, &error)),
        };
        let path = self.path.to_path_buf();
        let opened = self.fill_new(file, bytes);
        if opened.is_err() {
            // It was made a moment ago by us and holds nothing.
            let _ = std::fs::remove_file(path);
        }
        opened
    }

    fn fill_new(self, file: StoreFile, bytes: u64) -> Result<Opened, OpenProblem> {
        let stat = rustix::fs::fstat(&file)
            .map_err(|errno| OpenProblem::of_errno("looking at it", errno))?;
        let key = self.key_of(&stat)?;
        let claim = Claim::of(key, &self.name).map_err(|by| OpenProblem::AlreadyOpen { by })?;
        let failed = |error: &io::Error| self.os_problem("giving it its size", error);
        file.resize(bytes).map_err(|error| failed(&error))?;
        // What is acknowledged as durable must be found again: the file's size and its name have to be durable first.
        rustix::fs::fsync(&file).map_err(|errno| OpenProblem::of_errno("syncing it", errno))?;
        sync_folder(self.path).map_err(|errno| OpenProblem::of_errno("syncing it", errno))?;
        self.finish(file, key, claim)
    }

    fn finish(self, file: StoreFile, key: DiskKey, claim: Claim) -> Result<Opened, OpenProblem> {
        let block = match key {
            DiskKey::File { .. } => None,
            DiskKey::Block {
                device: (major, minor),
            } => Some(BlockDevice { major, minor }),
        };
        match block {
            None => self.lock(&file)?,
            // O_EXCL holds a device.
            Some(_) => {
                let read_only = file
                    .is_read_only_device()
                    .map_err(|error| self.os_problem("looking at it", &error))?;
                if read_only && !self.options.read_only {
                    return Err(OpenProblem::ReadOnly);
                }
            }
        }
        let caps = self.caps(&file, block)?;
        let found = match block {
            None => of_file(&file, self.hints),
            Some(device) => of_block_device(&device, self.path, self.hints),
        };
        let geometry = caps.geometry;
        let (identity, origin) = found.map_err(|SerialNeeded| OpenProblem::SerialNeeded)?;
        let store = FileStore {
            name: self.name.clone(),
            identity,
            state: State::new(&caps),
            caps,
            is_block_device: block.is_some(),
            files: descriptions(file, self.options.workers, self.options.read_only),
            next_file: AtomicUsize::new(0),
            _claim: claim,
        };
        let identity = store.identity.clone();
        let store: Arc<dyn Backstore> = match (self.options.protection, block) {
            (Some(_), Some(_)) => return Err(OpenProblem::NoProtection),
            (Some(kind), None) => {
                let beside = Beside {
                    path: tuple_file(self.path, kind),
                    options: self.options,
                    geometry: geometry.tuples(),
                    identity,
                };
                let tuples = beside.open()?;
                Arc::new(ProtectedStore::new(Arc::new(store), tuples, kind))
            }
            (None, _) => Arc::new(store),
        };
        if block.is_none() && !self.options.read_only {
            remove_others(self.path, self.options.protection)
                .map_err(|error| self.os_problem("removing old protection information", &error))?;
        }
        Ok(Opened { store, origin })
    }

    fn open_options(&self, create_new: bool) -> OpenOptions {
        OpenOptions {
            write: !self.options.read_only,
            direct: self.options.direct,
            create_new,
        }
    }

    fn key_of(&self, stat: &Stat) -> Result<DiskKey, OpenProblem> {
        let number = |device| (rustix::fs::major(device), rustix::fs::minor(device));
        let (key, expected) = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                let device = number(stat.st_dev);
                let inode = stat.st_ino;
                (DiskKey::File { device, inode }, Expect::File)
            }
            FileType::BlockDevice => {
                let device = number(stat.st_rdev);
                (DiskKey::Block { device }, Expect::BlockDevice)
            }
            _ => return Err(OpenProblem::NotADisk),
        };
        if self.options.expect != Expect::Either && self.options.expect != expected {
            return Err(OpenProblem::OtherType);
        }
        Ok(key)
    }

    fn lock(&self, file: &StoreFile) -> Result<(), OpenProblem> {
        let mode = if self.options.read_only {
            LockMode::Shared
        } else {
            LockMode::Exclusive
        };
        file.lock(mode).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => OpenProblem::Locked,
            _ => self.os_problem("locking it", &error),
        })
    }

    fn open_problem(&self, error: &io::Error, key: DiskKey) -> OpenProblem {
        match (Errno::from_io_error(error), key) {
            (
                Some(Errno::BUSY),
                DiskKey::Block {
                    device: (major, minor),
                },
            ) => BlockDevice { major, minor }.user().into(),
            _ => self.os_problem("opening it", error),
        }
    }

    fn os_problem(&self, doing: &'static str, error: &io::Error) -> OpenProblem {
        match Errno::from_io_error(error) {
            Some(Errno::INVAL) if self.options.direct => OpenProblem::NoDirect,
            Some(errno) => OpenProblem::of_errno(doing, errno),
            // What has no number was refused for not being a disk.
            None => OpenProblem::NotADisk,
        }
    }

    fn caps(&self, file: &StoreFile, block: Option<BlockDevice>) -> Result<StoreCaps, OpenProblem> {
        let block_size = self.options.block_size_bytes;
        let looked = |error: io::Error| self.os_problem("looking at it", &error);
        let size_bytes = file.size_bytes().map_err(looked)?;
        if size_bytes == 0 {
            return Err(OpenProblem::Empty);
        }
        let geometry = Geometry::of_size(block_size, size_bytes).map_err(OpenProblem::Geometry)?;
        if self.options.direct {
            let logical_bytes = file.direct_alignment_bytes().map_err(looked)?;
            if logical_bytes > block_size {
                return Err(OpenProblem::DeviceBlocks { logical_bytes });
            }
        }
        let caps = StoreCaps {
            read_only: self.options.read_only,
            write_cache: self.options.write_cache,
            write_zeroes: true,
            ..StoreCaps::plain(geometry)
        };
        let thin = self.options.thin && !self.options.read_only;
        Ok(match block {
            None => file_caps(file, caps, thin && can_punch(file, size_bytes)),
            Some(device) => {
                let physical = file.physical_block_bytes().map_err(looked)?;
                device_caps(device, caps, thin, physical)
            }
        })
    }
}

pub(super) fn sync_folder(path: &Path) -> Result<(), Errno> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = match rustix::fs::open(folder, flags, Mode::empty()) {
        Ok(folder) => folder,
        // A folder that may be written but not listed cannot be synced; the file system's own order has to do.
        Err(Errno::ACCESS) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    match rustix::fs::fsync(folder) {
        Ok(()) | Err(Errno::INVAL) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// The file, and further open file descriptions of it, as far as the system gives them.
pub(super) fn descriptions(
    first: StoreFile,
    workers: usize,
    read_only: bool,
) -> Vec<Arc<StoreFile>> {
    let mut files = vec![Arc::new(first)];
    while files.len() < workers.min(MOST_DESCRIPTIONS) {
        match another_description(&files[0], read_only) {
            Ok(file) => files.push(Arc::new(file)),
            Err(_) => break,
        }
    }
    files
}

/// A further open file description of the same file.
pub(super) fn another_description(file: &StoreFile, read_only: bool) -> io::Result<StoreFile> {
    let again = PathBuf::from(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()));
    let access = if read_only {
        OFlags::RDONLY
    } else {
        OFlags::RDWR
    };
    let direct = if file.is_direct() {
        OFlags::DIRECT
    } else {
        OFlags::empty()
    };
    let flags = access | direct | OFlags::CLOEXEC | OFlags::NONBLOCK;
    StoreFile::new(rustix::fs::open(&again, flags, Mode::empty())?)
}

impl Opened {
    /// The serial of the disk that this file is a copy of, where it was given another for that.
    #[must_use]
    pub fn copy_of(&self) -> Option<&str> {
        match &self.origin {
            IdentityOrigin::Copy { of } => Some(of),
            _ => None,
        }
    }
}
