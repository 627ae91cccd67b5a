//! Why a saved state cannot be opened or written, in words for the operator. No error holds a payload.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::format::{FORMAT_VERSION, MAX_FILE_BYTES};

/// What went wrong with the state directory.
#[derive(Debug)]
pub enum StateError {
    /// The file system refused.
    Io {
        /// What was being done, e.g. `write`.
        operation: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// Another process uses the directory.
    Locked {
        path: PathBuf,
        /// As the lock file tells it; none while the holder is just starting.
        pid: Option<u32>,
    },
    /// Bytes that once were durable are not what was written, and cutting them would lose committed generations.
    Damaged {
        path: PathBuf,
        /// Where the first wrong byte may be: start of the record or of the file.
        offset: u64,
        damage: Damage,
    },
    /// A file that the state cannot do without is not there, or ends too early.
    Missing {
        path: PathBuf,
        /// The first generation that is lost with it.
        generation: u64,
    },
    /// The file is whole, but of a version of the format that this program does not know.
    Version { path: PathBuf, version: u32 },
    /// The caller's generation does not follow the last one.
    OutOfOrder { expected: u64, found: u64 },
    /// Larger than what is kept in one record, checkpoint or file.
    TooLarge { bytes: u64, most_bytes: u64 },
}

/// What is wrong with bytes that were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The header of a journal segment fails its checksum, or names another segment.
    SegmentHeader,
    /// A record fails its checksum though later ones follow it.
    Record,
    /// A whole record of a generation that cannot stand here.
    Sequence,
    /// A checkpoint fails its checksum, or is not of the generation in its name.
    Checkpoint,
    /// The file is larger than any that this program writes.
    Size,
}

impl StateError {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Io { .. } => {
                "see that the file system has room, is not read-only, and is this user's"
            }
            Self::Locked { .. } => {
                "stop the other process, or give this one a state directory of its own"
            }
            Self::Damaged { .. } | Self::Missing { .. } => {
                "copy the directory, then bring the file back from a backup, or start once with recovery of the state: \
                 that keeps all generations before the damage and what it cannot keep in files named damaged-*; where \
                 nothing is left to keep, only a new state directory helps"
            }
            Self::Version { .. } => "use the version that wrote it, or a newer one",
            Self::OutOfOrder { .. } | Self::TooLarge { .. } => {
                "nothing was saved; the state is as before"
            }
        }
    }

    pub(super) fn io(operation: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io {
            operation,
            path: path.into(),
            source,
        }
    }

    /// True when the file's own content is at fault, so that recovery may do without it.
    pub(super) fn is_content(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Missing { .. })
    }
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io {
                operation, path, ..
            } => write!(f, "saved state: cannot {operation} {}", path.display()),
            Self::Locked {
                path,
                pid: Some(pid),
            } => {
                write!(
                    f,
                    "saved state: in use by process {pid}: {}",
                    path.display()
                )
            }
            Self::Locked { path, pid: None } => {
                write!(
                    f,
                    "saved state: in use by another process: {}",
                    path.display()
                )
            }
            Self::Damaged {
                path,
                offset,
                damage,
            } => write!(
                f,
                "saved state: damaged at byte {offset}, {damage}: {}",
                path.display()
            ),
            Self::Missing { path, generation } => write!(
                f,
                "saved state: generation {generation} is missing; it stood in: {}",
                path.display()
            ),
            Self::Version { path, version } => write!(
                f,
                "saved state: format version {version}, this program knows {FORMAT_VERSION}: {}",
                path.display()
            ),
            Self::OutOfOrder { expected, found } => {
                write!(
                    f,
                    "saved state: generation {expected} comes next, not: {found}"
                )
            }
            Self::TooLarge { bytes, most_bytes } => {
                write!(f, "saved state: at most {most_bytes} bytes, not: {bytes}")
            }
        }
    }
}

impl std::error::Error for StateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SegmentHeader => f.write_str("the journal's header fails its checksum"),
            Self::Record => f.write_str("a record fails its checksum and later ones follow it"),
            Self::Sequence => f.write_str("a record's generation does not follow the one before"),
            Self::Checkpoint => f.write_str("the checkpoint fails its checksum"),
            Self::Size => write!(f, "the file has more than {MAX_FILE_BYTES} bytes"),
        }
    }
}
