//! An open file or block device, and its own share of threads for calls that may block.

mod lane;
mod map;

pub(crate) use lane::{Job, JobId, JobResult, Lane, Returns, Work, is_direct_end};

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FileType, Mode, OFlags, fcntl_getfl, fcntl_setfl, fstat, ftruncate, open};

use crate::sys::{block_device, lock, rw};

/// What an [`Op`](crate::Op) on a file works on: shared by all workers that serve the backstore.
///
/// It owns the descriptor. It also owns the threads that make this file's blocking calls, so that a stuck file uses up
/// nobody else's: at most 8, started on demand and gone when idle, with at most 1,024 operations waiting for them. Dropping the last handle closes the file on the dropping thread, which may wait;
/// drivers therefore let a lane thread drop theirs.
#[derive(Debug)]
pub struct StoreFile {
    fd: OwnedFd,
    is_block_device: bool,
    is_direct: bool,
    /// RWF_NOWAIT works for reads, and for writes; found out by trying.
    nowait_read: AtomicBool,
    nowait_write: AtomicBool,
    lane: Arc<Lane>,
}

/// How to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpenOptions {
    /// For reading and writing; else for reading only.
    pub write: bool,
    /// O_DIRECT: past the page cache. Offsets, lengths and memory must then be whole logical blocks.
    pub direct: bool,
    /// Make the file, which must not exist yet.
    pub create_new: bool,
}

/// How a file is locked against other processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// One holder, who may write.
    Exclusive,
    /// Any number of readers, no writer.
    Shared,
}

impl StoreFile {
    /// Opens a regular file, or a block device: that one exclusively (O_EXCL), so that `ResourceBusy` means that it is
    /// mounted or otherwise claimed. May wait for the disk: not for a worker.
    ///
    /// # Errors
    /// What the kernel answers; `InvalidInput` for what is neither a regular file nor a block device.
    pub fn open(path: impl AsRef<Path>, options: OpenOptions) -> io::Result<Self> {
        let path = path.as_ref();
        let access = if options.write {
            OFlags::RDWR
        } else {
            OFlags::RDONLY
        };
        // Without O_NONBLOCK, opening a FIFO that somebody put there would wait for its other end.
        let mut flags = access | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        if options.direct {
            flags |= OFlags::DIRECT;
        }
        if options.create_new {
            flags |= OFlags::CREATE | OFlags::EXCL;
        } else if rustix::fs::stat(path)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::BlockDevice)
        {
            flags |= OFlags::EXCL;
        }
        let fd = open(path, flags, Mode::from_raw_mode(0o666))?;
        Self::new(fd)
    }

    /// Takes an open descriptor of a regular file or block device.
    ///
    /// # Errors
    /// What the kernel answers; `InvalidInput` for another kind of file.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let is_block_device = match FileType::from_raw_mode(fstat(&fd)?.st_mode) {
            FileType::RegularFile => false,
            FileType::BlockDevice => true,
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        let flags = fcntl_getfl(&fd)?;
        if flags.contains(OFlags::NONBLOCK) {
            fcntl_setfl(&fd, flags - OFlags::NONBLOCK)?;
        }
        let nowait = rw::supports_nowait_read(fd.as_fd());
        Ok(Self {
            is_block_device,
            is_direct: flags.contains(OFlags::DIRECT),
            nowait_read: AtomicBool::new(nowait),
            nowait_write: AtomicBool::new(nowait),
            lane: Arc::default(),
            fd,
        })
    }

    /// Whether it is a block device, not a regular file.
    pub fn is_block_device(&self) -> bool {
        self.is_block_device
    }

    /// Whether it was opened with O_DIRECT.
    pub fn is_direct(&self) -> bool {
        self.is_direct
    }

    /// Its size in bytes, now. May wait for the disk.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn size_bytes(&self) -> io::Result<u64> {
        if self.is_block_device {
            return block_device::size_bytes(self.as_fd());
        }
        Ok(u64::try_from(fstat(&self.fd)?.st_size).unwrap_or(0))
    }

    /// Changes a regular file's size; what is added reads as zero and takes no space. May wait for the disk.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn resize(&self, size_bytes: u64) -> io::Result<()> {
        Ok(ftruncate(&self.fd, size_bytes)?)
    }

    /// The unit that direct I/O must be aligned to, in bytes: a device's logical block; for a regular file what the
    /// kernel tells (STATX_DIOALIGN), or 4,096.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn direct_alignment_bytes(&self) -> io::Result<u32> {
        if self.is_block_device {
            return block_device::logical_block_bytes(self.as_fd());
        }
        Ok(rw::direct_alignment_bytes(self.as_fd()).unwrap_or(4096))
    }

    /// A block device's physical block, in bytes.
    ///
    /// # Errors
    /// What the kernel answers; `InvalidInput` for a regular file.
    pub fn physical_block_bytes(&self) -> io::Result<u32> {
        self.need_block_device()?;
        block_device::physical_block_bytes(self.as_fd())
    }

    /// Whether a block device refuses writes.
    ///
    /// # Errors
    /// What the kernel answers; `InvalidInput` for a regular file.
    pub fn is_read_only_device(&self) -> io::Result<bool> {
        self.need_block_device()?;
        block_device::is_read_only(self.as_fd())
    }

    /// Locks the whole file for this open file description, until it is closed. Does not wait.
    ///
    /// # Errors
    /// `WouldBlock` when another holds a lock that conflicts; else what the kernel answers.
    pub fn lock(&self, mode: LockMode) -> io::Result<()> {
        lock::lock_whole_file(self.as_fd(), mode)
    }

    pub(crate) fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    pub(crate) fn can_read_nowait(&self) -> bool {
        self.nowait_read.load(Ordering::Relaxed)
    }

    pub(crate) fn can_write_nowait(&self) -> bool {
        self.nowait_write.load(Ordering::Relaxed)
    }

    pub(crate) fn forget_nowait_read(&self) {
        self.nowait_read.store(false, Ordering::Relaxed);
    }

    pub(crate) fn forget_nowait_write(&self) {
        self.nowait_write.store(false, Ordering::Relaxed);
    }

    fn need_block_device(&self) -> io::Result<()> {
        self.is_block_device
            .then_some(())
            .ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }
}

impl AsFd for StoreFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
