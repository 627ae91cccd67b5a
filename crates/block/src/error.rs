//! What may go wrong below a device server.

use std::fmt;

use crate::Lba;

/// One failed request of a store. `scsi` maps it to sense data in one place; the operator's log prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoError {
    /// What is wrong.
    pub kind: IoErrorKind,
    /// What was being done.
    pub op: IoOpKind,
    /// The first block known to be affected.
    pub lba: Option<Lba>,
    /// The operating system's error number, when one was given.
    pub os: Option<i32>,
}

impl IoError {
    /// An error that names no block and no error number.
    #[must_use]
    pub fn new(kind: IoErrorKind, op: IoOpKind) -> Self {
        Self {
            kind,
            op,
            lba: None,
            os: None,
        }
    }

    /// The same error, at a block.
    #[must_use]
    pub fn at(mut self, lba: Lba) -> Self {
        self.lba = Some(lba);
        self
    }

    /// The same error, with the operating system's error number.
    #[must_use]
    pub fn with_os(mut self, errno: i32) -> Self {
        self.os = Some(errno);
        self
    }
}

impl fmt::Display for IoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed: {}", self.op, self.kind)?;
        if let Some(lba) = self.lba {
            write!(f, ": block {lba}")?;
        }
        if let Some(errno) = self.os {
            write!(f, ": os error {errno}")?;
        }
        Ok(())
    }
}

impl std::error::Error for IoError {}

/// What is wrong, in few kinds that stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IoErrorKind {
    /// The medium did not give or take the blocks (EIO and whatever nobody knows better).
    Medium,
    /// No space, or a quota, for a block that was never written before.
    NoSpace,
    /// The blocks are not there any more: the file or device shrank.
    OutOfRange,
    /// The store cannot be written.
    ReadOnly,
    /// No room for the request now; trying again later may do.
    Busy,
    /// The store is gone: removed, disconnected, or closed.
    Gone,
    /// The store cannot do this.
    Unsupported,
    /// A flush failed, now or earlier: what was acknowledged may be lost. Stays until the operator resets the store.
    FlushFailed,
    /// Ended before its end because somebody asked for that.
    Aborted,
}

impl fmt::Display for IoErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Medium => "medium error",
            Self::NoSpace => "no space left",
            Self::OutOfRange => "beyond the end of the store",
            Self::ReadOnly => "store is read-only",
            Self::Busy => "store is busy",
            Self::Gone => "store is gone",
            Self::Unsupported => "not supported by the store",
            Self::FlushFailed => "an earlier flush failed, the store needs a reset",
            Self::Aborted => "aborted",
        })
    }
}

/// What a store was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IoOpKind {
    /// Reading blocks.
    Read,
    /// Writing blocks.
    Write,
    /// Making acknowledged writes durable.
    Flush,
    /// Giving blocks back.
    Unmap,
    /// Zeroing blocks.
    WriteZeroes,
    /// Telling which blocks it keeps.
    Map,
}

impl fmt::Display for IoOpKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Flush => "flush",
            Self::Unmap => "unmap",
            Self::WriteZeroes => "write of zeroes",
            Self::Map => "map",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_error_display_names_op_kind_block_and_errno() {
        let error = IoError::new(IoErrorKind::Medium, IoOpKind::Read);
        assert_eq!(error.to_string(), "read failed: medium error");
        let error = error.at(Lba(7)).with_os(5);
        assert_eq!(
            error.to_string(),
            "read failed: medium error: block 7: os error 5"
        );
    }
}
