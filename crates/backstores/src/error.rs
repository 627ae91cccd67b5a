//! Why a backstore could not be opened: for the operator, one line that says what and what to do.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use block::GeometryError;
use rustix::io::Errno;

use crate::identity::SerialError;
use crate::sysfs::DeviceUser;

/// A backstore that was refused. Displays as `path: reason; hint`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenError {
    /// The path, or the name of a store that has none.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: OpenProblem,
}

/// What is wrong with a backstore.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenProblem {
    /// Nothing is there, and no size was given to create it with.
    NotFound,
    /// The folder that the file should be created in is not there.
    NoFolder,
    /// The process may not.
    PermissionDenied,
    /// The file system, file or device cannot be written.
    ReadOnly,
    /// A directory, FIFO, socket or character device.
    NotADisk,
    /// A regular file was asked for as a block device, or the other way round.
    OtherType,
    /// Another process holds the lock on the file.
    Locked,
    /// This process has the same file or device open under this name.
    AlreadyOpen {
        /// The store that has it.
        by: String,
    },
    /// The block device, or a part of it, is mounted.
    Mounted {
        /// Where.
        at: PathBuf,
    },
    /// A device mapper or RAID device stands on the block device.
    Held {
        /// Its name.
        by: String,
    },
    /// The block device is swap space.
    Swap,
    /// Another program has the block device for itself.
    Busy,
    /// The file has no blocks.
    Empty,
    /// A size that is not a whole number of blocks.
    PartBlock {
        /// The block size asked for, in bytes.
        block_size_bytes: u32,
    },
    /// The block size or capacity cannot be served.
    Geometry(GeometryError),
    /// The device's own blocks are larger than the block size asked for.
    DeviceBlocks {
        /// The device's logical block size, in bytes.
        logical_bytes: u32,
    },
    /// O_DIRECT is refused here.
    NoDirect,
    /// The file system takes no file of that size.
    TooLarge,
    /// Memory of that size cannot be reserved.
    NoMemory,
    /// Protection information was asked for where there is no place to keep it.
    NoProtection,
    /// Nothing says who the disk is, and nothing can be kept with it.
    SerialNeeded,
    /// The serial cannot be used.
    Serial(SerialError),
    /// The operating system refused, for a reason that has no name above.
    Os {
        /// What was being done.
        doing: &'static str,
        /// The error number.
        errno: i32,
    },
}

impl OpenError {
    pub(crate) fn new(path: impl Into<PathBuf>, problem: OpenProblem) -> Self {
        Self {
            path: path.into(),
            problem,
        }
    }

    /// A stable name for the problem, for scripts.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match &self.problem {
            OpenProblem::NotFound => "not_found",
            OpenProblem::NoFolder => "no_folder",
            OpenProblem::PermissionDenied => "permission_denied",
            OpenProblem::ReadOnly => "read_only",
            OpenProblem::NotADisk => "not_a_disk",
            OpenProblem::OtherType => "other_type",
            OpenProblem::Locked => "locked",
            OpenProblem::AlreadyOpen { .. } => "already_open",
            OpenProblem::Mounted { .. } => "mounted",
            OpenProblem::Held { .. } => "held",
            OpenProblem::Swap => "swap",
            OpenProblem::Busy => "busy",
            OpenProblem::Empty => "empty",
            OpenProblem::PartBlock { .. } => "part_block",
            OpenProblem::Geometry(_) => "geometry",
            OpenProblem::DeviceBlocks { .. } => "device_blocks",
            OpenProblem::NoDirect => "no_direct",
            OpenProblem::TooLarge => "too_large",
            OpenProblem::NoMemory => "no_memory",
            OpenProblem::NoProtection => "no_protection",
            OpenProblem::SerialNeeded => "serial_needed",
            OpenProblem::Serial(_) => "bad_serial",
            OpenProblem::Os { .. } => "os",
        }
    }

    /// What is wrong, in words.
    #[must_use]
    pub fn reason(&self) -> Cow<'static, str> {
        match &self.problem {
            OpenProblem::NotFound => "there is no such file".into(),
            OpenProblem::NoFolder => "the folder of this file does not exist".into(),
            OpenProblem::PermissionDenied => "permission denied".into(),
            OpenProblem::ReadOnly => "it cannot be written".into(),
            OpenProblem::NotADisk => "it is neither a regular file nor a block device".into(),
            OpenProblem::OtherType => "it is not of the type that was asked for".into(),
            OpenProblem::Locked => "another process has this file open as a disk".into(),
            OpenProblem::AlreadyOpen { by } => format!("it is the same disk as {by}").into(),
            OpenProblem::Mounted { at } => format!("it is mounted on {}", at.display()).into(),
            OpenProblem::Held { by } => format!("{by} stands on it").into(),
            OpenProblem::Swap => "it is swap space".into(),
            OpenProblem::Busy => "another program has this device for itself".into(),
            OpenProblem::Empty => "it is empty".into(),
            OpenProblem::PartBlock { block_size_bytes } => {
                format!("the size is not a multiple of {block_size_bytes} bytes").into()
            }
            OpenProblem::Geometry(error) => error.to_string().into(),
            OpenProblem::DeviceBlocks { logical_bytes } => {
                format!("its own blocks have {logical_bytes} bytes").into()
            }
            OpenProblem::NoDirect => "the file system takes no direct I/O".into(),
            OpenProblem::TooLarge => "the file system takes no file of that size".into(),
            OpenProblem::NoMemory => "there is not so much memory".into(),
            OpenProblem::NoProtection => {
                "protection information can be kept beside a file or in memory, not here".into()
            }
            OpenProblem::SerialNeeded => {
                "nothing here gives this disk an identity that stays".into()
            }
            OpenProblem::Serial(error) => error.to_string().into(),
            OpenProblem::Os { doing, errno } => {
                let error = std::io::Error::from_raw_os_error(*errno);
                format!("{doing} failed: {error}").into()
            }
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match &self.problem {
            OpenProblem::NotFound => "give it a size, such as 10GiB, and it is created",
            OpenProblem::NoFolder => "create the folder first",
            OpenProblem::PermissionDenied => "change its owner or mode, or serve it read-only",
            OpenProblem::ReadOnly => "serve it read-only",
            OpenProblem::NotADisk | OpenProblem::OtherType => {
                "give the path of a disk image or a block device"
            }
            OpenProblem::Locked => "stop that process, or serve another file",
            OpenProblem::AlreadyOpen { .. } => "give each disk once",
            OpenProblem::Mounted { .. } => "unmount it first",
            OpenProblem::Held { .. } => "serve that one, or take it down first",
            OpenProblem::Swap => "swapoff it first",
            OpenProblem::Busy => "stop that program first",
            OpenProblem::Empty => "remove it and give a size, or grow it with truncate -s",
            OpenProblem::PartBlock { .. } => "give a size such as 10GiB",
            OpenProblem::Geometry(GeometryError::BlockSize(_)) => "use 512 or 4096",
            OpenProblem::Geometry(_) => "give it a size of at least one block and below 8 EiB",
            OpenProblem::DeviceBlocks { .. } => "use a block size of 4096",
            OpenProblem::NoDirect => "serve it without direct I/O",
            OpenProblem::TooLarge => "give a smaller size, or use another file system",
            OpenProblem::NoMemory => "give a smaller size",
            OpenProblem::NoProtection => "leave attrib.pi_prot_type at 0, or make it of a file",
            OpenProblem::SerialNeeded => "give it a serial, the same at every start",
            OpenProblem::Serial(_) => "use 1 to 64 letters, digits and signs",
            OpenProblem::Os { .. } => "see that the path names a healthy file or device",
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}; {}",
            self.path.display(),
            self.reason(),
            self.hint()
        )
    }
}

impl std::error::Error for OpenError {}

impl OpenProblem {
    /// What an error number means where a store is opened.
    pub(crate) fn of_errno(doing: &'static str, errno: Errno) -> Self {
        match errno {
            Errno::NOENT => Self::NotFound,
            Errno::ACCESS | Errno::PERM => Self::PermissionDenied,
            Errno::ROFS => Self::ReadOnly,
            Errno::ISDIR => Self::NotADisk,
            Errno::FBIG => Self::TooLarge,
            errno => Self::Os {
                doing,
                errno: errno.raw_os_error(),
            },
        }
    }
}

impl From<DeviceUser> for OpenProblem {
    fn from(user: DeviceUser) -> Self {
        match user {
            DeviceUser::Mounted(at) => Self::Mounted { at },
            DeviceUser::Holder(by) => Self::Held { by },
            DeviceUser::Swap => Self::Swap,
            DeviceUser::Unknown => Self::Busy,
        }
    }
}
