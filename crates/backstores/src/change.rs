//! Why a store that is open could not be changed: for the operator, one line that says what and what to do.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use block::GeometryError;
use rustix::io::Errno;

/// A store that did not become larger. Displays as `path: reason; hint`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResizeError {
    /// The store's name: its path, or what the operator called it.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: ResizeProblem,
}

/// What is wrong with a new size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResizeProblem {
    /// It is smaller than what there is.
    Shrink {
        /// The present size, in bytes.
        from_bytes: u64,
        /// The size asked for, in bytes.
        to_bytes: u64,
    },
    /// The file or device was made smaller from outside than the disk that it is.
    Shrunk {
        /// The disk's size, in bytes.
        from_bytes: u64,
        /// What was found, in bytes.
        found_bytes: u64,
    },
    /// Not a whole number of blocks.
    PartBlock {
        /// The block size, in bytes.
        block_size_bytes: u32,
    },
    /// The capacity cannot be served.
    Geometry(GeometryError),
    /// The file was opened for reading only.
    ReadOnly,
    /// A block device is as large as it is.
    BlockDevice,
    /// The file system takes no file of that size.
    TooLarge,
    /// No space, or a quota.
    NoSpace,
    /// Memory of that size cannot be reserved.
    NoMemory,
    /// The disk is not there.
    Missing,
    /// The operating system refused, for a reason that has no name above.
    Os {
        /// What was being done.
        doing: &'static str,
        /// The error number.
        errno: i32,
    },
}

impl ResizeError {
    pub(crate) fn new(path: impl Into<PathBuf>, problem: ResizeProblem) -> Self {
        Self {
            path: path.into(),
            problem,
        }
    }

    /// A stable name for the problem, for scripts.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match &self.problem {
            ResizeProblem::Shrink { .. } => "shrink",
            ResizeProblem::Shrunk { .. } => "shrunk",
            ResizeProblem::PartBlock { .. } => "part_block",
            ResizeProblem::Geometry(_) => "geometry",
            ResizeProblem::ReadOnly => "read_only",
            ResizeProblem::BlockDevice => "block_device",
            ResizeProblem::TooLarge => "too_large",
            ResizeProblem::NoSpace => "no_space",
            ResizeProblem::NoMemory => "no_memory",
            ResizeProblem::Missing => "missing",
            ResizeProblem::Os { .. } => "os",
        }
    }

    /// What is wrong, in words.
    #[must_use]
    pub fn reason(&self) -> Cow<'static, str> {
        match &self.problem {
            ResizeProblem::Shrink {
                from_bytes,
                to_bytes,
            } => format!("{to_bytes} bytes are fewer than the {from_bytes} it has").into(),
            ResizeProblem::Shrunk {
                from_bytes,
                found_bytes,
            } => format!("it has been cut to {found_bytes} of its {from_bytes} bytes").into(),
            ResizeProblem::PartBlock { block_size_bytes } => {
                format!("the size is not a multiple of {block_size_bytes} bytes").into()
            }
            ResizeProblem::Geometry(error) => error.to_string().into(),
            ResizeProblem::ReadOnly => "it is open for reading only".into(),
            ResizeProblem::BlockDevice => "a block device has the size it has".into(),
            ResizeProblem::TooLarge => "the file system takes no file of that size".into(),
            ResizeProblem::NoSpace => "the file system is full".into(),
            ResizeProblem::NoMemory => "there is not so much memory".into(),
            ResizeProblem::Missing => "the disk is not there".into(),
            ResizeProblem::Os { doing, errno } => {
                let error = std::io::Error::from_raw_os_error(*errno);
                format!("{doing} failed: {error}").into()
            }
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match &self.problem {
            ResizeProblem::Shrink { .. } => {
                "a disk is never made smaller: move its data to a new one"
            }
            ResizeProblem::Shrunk { .. } => {
                "give it its size back, restore what was lost, and reset it"
            }
            ResizeProblem::PartBlock { .. } => "give a size such as 10GiB",
            ResizeProblem::Geometry(_) => "give a size of at least one block and below 8 EiB",
            ResizeProblem::ReadOnly => "open it for writing, or grow it from outside",
            ResizeProblem::BlockDevice => "grow the device itself, then look again without a size",
            ResizeProblem::TooLarge => "give a smaller size, or use another file system",
            ResizeProblem::NoSpace => "make room there first",
            ResizeProblem::NoMemory => "give a smaller size",
            ResizeProblem::Missing => "bring it back first",
            ResizeProblem::Os { .. } => "see that it is a healthy file or device",
        }
    }
}

impl fmt::Display for ResizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        write!(f, "{path}: {}; {}", self.reason(), self.hint())
    }
}

impl std::error::Error for ResizeError {}

impl ResizeProblem {
    /// What an error number means where a store grows.
    pub(crate) fn of(doing: &'static str, error: &std::io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(Errno::FBIG | Errno::OVERFLOW) => Self::TooLarge,
            Some(Errno::NOSPC | Errno::DQUOT) => Self::NoSpace,
            Some(Errno::BADF | Errno::ROFS) => Self::ReadOnly,
            errno => Self::Os {
                doing,
                errno: errno.unwrap_or(Errno::IO).raw_os_error(),
            },
        }
    }
}

/// A store that was opened for reading only cannot be written. Displays as `path: reason; hint`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadOnlyError {
    /// The store's name: its path, or what the operator called it.
    pub path: PathBuf,
}

impl ReadOnlyError {
    /// What is wrong, in words.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        "it is open for reading only"
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        "it has to be closed, and opened for writing"
    }
}

impl fmt::Display for ReadOnlyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        write!(f, "{path}: {}; {}", self.reason(), self.hint())
    }
}

impl std::error::Error for ReadOnlyError {}
