//! The file operations that a saved state needs, and how the operating system does them.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// File operations. An operation that fails may have been done in part or wholly; nothing but [`sync_dir`](Self::sync_dir) makes a
/// name, and nothing but [`StateFile::sync`] content, durable.
pub trait StateFs: Send + Sync {
    /// Makes the directory (mode 0700) with its missing parents, and its name durable. One that exists is left as it is.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Takes the exclusive lock that this file stands for, and leaves this process's id in it. The lock ends with the process, or
    /// when the answer is dropped.
    fn lock(&self, path: &Path) -> io::Result<Lock>;
    /// Names of the directory's entries.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;
    /// The whole file, or its first `limit + 1` bytes when it has more than `limit`.
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>>;
    /// A new empty file, mode 0600; an old one of this name is emptied.
    fn create(&self, path: &Path) -> io::Result<Box<dyn StateFile>>;
    /// A file that exists, for writing.
    fn open(&self, path: &Path) -> io::Result<Box<dyn StateFile>>;
    /// Gives the file another name of the same directory; a file that had it is gone.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names of the directory's entries durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// A number that has not been drawn before.
    fn random(&self) -> io::Result<u64>;
}

/// A file that is open for writing.
pub trait StateFile: Send + Sync {
    /// Writes all bytes from this place on.
    fn write_at(&self, bytes: &[u8], offset_bytes: u64) -> io::Result<()>;
    /// Cuts the file.
    fn set_len(&self, length_bytes: u64) -> io::Result<()>;
    /// Makes content and length durable (fdatasync).
    fn sync(&self) -> io::Result<()>;
}

/// Answer of [`StateFs::lock`].
pub enum Lock {
    /// Held until this is dropped.
    Held(Box<dyn Send + Sync>),
    /// Another holds it; its process id, where it has told it.
    Busy(Option<u32>),
}

/// The operating system's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskFs;

impl StateFs for DiskFs {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let existed = path.is_dir();
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let path = path.canonicalize()?;
        if std::fs::metadata(&path)?.mode() & 0o022 != 0 {
            tracing::warn!(path = %path.display(), "the state directory can be changed by other users: chmod 700 it");
        }
        // `DirBuilder` does not tell which parents it made; the one above may not be durable after an earlier crash.
        let parents = if existed { 1 } else { usize::MAX };
        (path.ancestors().skip(1).take(parents)).try_for_each(|parent| {
            match self.sync_dir(parent) {
                // A parent that this user may pass but not read was not made here.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
                other => other,
            }
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        let mut file = (OpenOptions::new().read(true).write(true).create(true))
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let read = file.take(32).read_to_string(&mut text);
                return Ok(Lock::Busy(read.ok().and_then(|_| text.trim().parse().ok())));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // The lock is what counts: a full disk keeps nobody from it.
        if file.set_len(0).is_ok() {
            let _ = writeln!(file, "{}", std::process::id());
        }
        Ok(Lock::Held(Box::new(file)))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            // A name that is not UTF-8 is none of ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let file = File::open(path)?;
        let expected = usize::try_from(file.metadata()?.len().min(limit)).unwrap_or(0);
        let mut bytes = Vec::with_capacity(expected);
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn StateFile>> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        Ok(Box::new(options.open(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn StateFile>> {
        Ok(Box::new(OpenOptions::new().write(true).open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn random(&self) -> io::Result<u64> {
        getrandom::u64().map_err(|_| io::Error::other("no random numbers"))
    }
}

impl StateFile for File {
    fn write_at(&self, bytes: &[u8], offset_bytes: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset_bytes)
    }

    fn set_len(&self, length_bytes: u64) -> io::Result<()> {
        Self::set_len(self, length_bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
