//! What the kernel tells about a block device under `/sys`, and who uses it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::mounts;

/// The most that is read of a file that should be a line or two, in bytes.
const SMALL_TEXT_BYTES: u64 = 4096;

/// A small text file; `None` where it cannot be read.
pub(crate) fn small_text(path: &Path) -> Option<String> {
    let mut text = String::new();
    let file = File::open(path).ok()?;
    file.take(SMALL_TEXT_BYTES).read_to_string(&mut text).ok()?;
    Some(text)
}

/// A block device by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockDevice {
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

/// Who holds a block device that could not be opened exclusively.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DeviceUser {
    /// It, or a partition of it, is mounted here.
    Mounted(PathBuf),
    /// A device mapper or RAID device of this name stands on it.
    Holder(String),
    /// It is swap space.
    Swap,
    /// Nobody that can be named: another program.
    Unknown,
}

impl BlockDevice {
    fn directory(self) -> PathBuf {
        PathBuf::from(format!("/sys/dev/block/{}:{}", self.major, self.minor))
    }

    /// The directory of the disk that this is, or is a partition of.
    pub(crate) fn whole_disk(self) -> PathBuf {
        let directory = self.directory();
        match self.partition() {
            // The link has to be followed before `..` means the disk.
            Some(_) => std::fs::canonicalize(&directory)
                .ok()
                .and_then(|directory| directory.parent().map(Path::to_path_buf))
                .unwrap_or(directory),
            None => directory,
        }
    }

    /// The number of the partition, where it is one.
    pub(crate) fn partition(self) -> Option<u32> {
        self.number("partition").and_then(|n| u32::try_from(n).ok())
    }

    fn number(self, attribute: &str) -> Option<u64> {
        small_text(&self.directory().join(attribute))?
            .trim()
            .parse()
            .ok()
    }

    /// An attribute of the disk's request queue.
    pub(crate) fn queue_number(self, attribute: &str) -> Option<u64> {
        small_text(&self.whole_disk().join("queue").join(attribute))?
            .trim()
            .parse()
            .ok()
    }

    /// Names who uses the device, for the message that refuses it.
    pub(crate) fn user(self) -> DeviceUser {
        let parts = self.with_partitions();
        for mount in mounts::current() {
            let device = Self {
                major: mount.major,
                minor: mount.minor,
            };
            // Some file systems (btrfs) have a number of their own, and name the device as their source only.
            let source = || Self::at(Path::new(&mount.source));
            if parts.contains(&device) || source().is_some_and(|source| parts.contains(&source)) {
                return DeviceUser::Mounted(mount.mount_point);
            }
        }
        for part in &parts {
            let mut holders = std::fs::read_dir(part.directory().join("holders"))
                .into_iter()
                .flatten()
                .flatten();
            if let Some(holder) = holders.next() {
                let name = holder.file_name().to_string_lossy().into_owned();
                return DeviceUser::Holder(name);
            }
        }
        if self.is_swap(&parts) {
            return DeviceUser::Swap;
        }
        DeviceUser::Unknown
    }

    fn is_swap(self, parts: &[Self]) -> bool {
        let swaps = small_text(Path::new("/proc/swaps")).unwrap_or_default();
        let paths = swaps
            .lines()
            .skip(1)
            .filter_map(|line| line.split_whitespace().next());
        paths
            .filter_map(|path| Self::at(Path::new(path)))
            .any(|device| device == self || parts.contains(&device))
    }

    /// The block device at a path, if one is there.
    pub(crate) fn at(path: &Path) -> Option<Self> {
        let stat = rustix::fs::stat(path).ok()?;
        (rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::BlockDevice)
            .then(|| Self {
                major: rustix::fs::major(stat.st_rdev),
                minor: rustix::fs::minor(stat.st_rdev),
            })
    }

    /// The device and, for a whole disk, its partitions.
    fn with_partitions(self) -> Vec<Self> {
        let mut found = vec![self];
        let entries = std::fs::read_dir(self.directory()).into_iter().flatten();
        for entry in entries.flatten() {
            if !entry.path().join("partition").exists() {
                continue;
            }
            let Some(number) = small_text(&entry.path().join("dev")) else {
                continue;
            };
            let Some((major, minor)) = number.trim().split_once(':') else {
                continue;
            };
            if let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) {
                found.push(Self { major, minor });
            }
        }
        found
    }
}
