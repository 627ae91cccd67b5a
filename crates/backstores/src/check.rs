//! Checks that every store makes of a request before it does anything, and what an error number means.

use block::{BlockCount, Geometry, IoError, IoErrorKind, IoOpKind, Lba, MapRun};
use reactor::Memory;
use rustix::io::Errno;

use crate::api::{IoRequest, StoreIo};

/// The bytes that a request concerns. Empty for a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ByteRange {
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// Where a checked request goes.
///
/// Requests come from the device server, which has made these checks already on its own snapshot; here they keep a stale
/// snapshot, or a mistake, from reaching the medium.
pub(crate) fn range_of(
    request: &IoRequest,
    geometry: Geometry,
    read_only: bool,
) -> Result<ByteRange, IoError> {
    let io = &request.io;
    let error = |kind| IoError::new(kind, io.kind());
    let Some((lba, blocks)) = io.range() else {
        return Ok(ByteRange {
            offset: 0,
            bytes: 0,
        });
    };
    let (offset, bytes) = geometry
        .byte_range(lba, BlockCount(blocks))
        .ok_or_else(|| error(IoErrorKind::OutOfRange).at(lba))?;
    if read_only && !matches!(io.kind(), IoOpKind::Read | IoOpKind::Map) {
        return Err(error(IoErrorKind::ReadOnly).at(lba));
    }
    let fits = match io {
        StoreIo::Read { .. } => {
            matches!(&request.memory, Some(Memory::Owned(buffer)) if buffer.len() as u64 == bytes)
        }
        StoreIo::Write { .. } => {
            matches!(&request.memory, Some(memory) if memory.len() as u64 == bytes)
        }
        StoreIo::Map { .. } => {
            matches!(&request.memory, Some(Memory::Owned(buffer)) if buffer.len() >= MapRun::BYTES)
        }
        StoreIo::Flush | StoreIo::Unmap { .. } | StoreIo::WriteZeroes { .. } => true,
        // A store by itself keeps none.
        StoreIo::ReadTuples { .. } | StoreIo::WriteTuples { .. } => false,
    };
    if !fits {
        return Err(error(IoErrorKind::Unsupported).at(lba));
    }
    Ok(ByteRange { offset, bytes })
}

/// Puts runs into the memory of a [`StoreIo::Map`], as many as fit, and makes it as long as they are.
pub(crate) fn put_runs(memory: &mut Option<Memory>, runs: impl Iterator<Item = MapRun>) {
    if let Some(Memory::Owned(buffer)) = memory {
        let mut filled = 0;
        for (place, run) in buffer.chunks_exact_mut(MapRun::BYTES).zip(runs) {
            place.copy_from_slice(&run.to_bytes());
            filled += MapRun::BYTES;
        }
        buffer.set_len(filled);
    }
}

/// The error for what the operating system answered to an operation on blocks from `lba` on.
pub(crate) fn io_error(error: &std::io::Error, op: IoOpKind, lba: Option<Lba>) -> IoError {
    let errno = Errno::from_io_error(error);
    IoError {
        kind: errno.map_or(IoErrorKind::Medium, |errno| kind_of(errno, op)),
        op,
        lba,
        os: error.raw_os_error(),
    }
}

fn kind_of(errno: Errno, op: IoOpKind) -> IoErrorKind {
    match errno {
        Errno::NOSPC | Errno::DQUOT => IoErrorKind::NoSpace,
        // EBADF: the descriptor was not opened for writing.
        Errno::ROFS | Errno::PERM | Errno::BADF => IoErrorKind::ReadOnly,
        Errno::AGAIN | Errno::BUSY | Errno::NOMEM => IoErrorKind::Busy,
        Errno::NODEV | Errno::NXIO | Errno::SHUTDOWN | Errno::NOTCONN => IoErrorKind::Gone,
        Errno::CANCELED | Errno::INTR => IoErrorKind::Aborted,
        Errno::FBIG => IoErrorKind::OutOfRange,
        Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOTTY | Errno::INVAL => match op {
            IoOpKind::Unmap | IoOpKind::WriteZeroes => IoErrorKind::Unsupported,
            // A plain read, write or flush that a disk answers so is a disk that does not work.
            IoOpKind::Read | IoOpKind::Write | IoOpKind::Flush | IoOpKind::Map => {
                IoErrorKind::Medium
            }
        },
        _ => IoErrorKind::Medium,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_error_of_each_errno_has_the_kind_an_initiator_understands() {
        for (errno, op, kind) in [
            (Errno::IO, IoOpKind::Read, IoErrorKind::Medium),
            (Errno::NOSPC, IoOpKind::Write, IoErrorKind::NoSpace),
            (Errno::DQUOT, IoOpKind::Write, IoErrorKind::NoSpace),
            (Errno::AGAIN, IoOpKind::Read, IoErrorKind::Busy),
            (Errno::BUSY, IoOpKind::Flush, IoErrorKind::Busy),
            (Errno::NODEV, IoOpKind::Read, IoErrorKind::Gone),
            (Errno::BADF, IoOpKind::Write, IoErrorKind::ReadOnly),
            (Errno::CANCELED, IoOpKind::Read, IoErrorKind::Aborted),
            (Errno::OPNOTSUPP, IoOpKind::Unmap, IoErrorKind::Unsupported),
            (Errno::INVAL, IoOpKind::Write, IoErrorKind::Medium),
        ] {
            let os = std::io::Error::from(errno);
            let error = io_error(&os, op, Some(Lba(3)));
            assert_eq!((error.kind, error.op), (kind, op), "{errno:?}");
            assert_eq!(error.os, Some(errno.raw_os_error()));
            assert_eq!(error.lba, Some(Lba(3)));
        }
        let nameless = std::io::Error::other("odd");
        let error = io_error(&nameless, IoOpKind::Read, None);
        assert_eq!((error.kind, error.os), (IoErrorKind::Medium, None));
    }

    #[test]
    fn range_of_bad_requests_is_refused_by_kind() {
        let geometry = Geometry::new(512, 8).unwrap();
        let request = |io| IoRequest {
            token: reactor::Token(1),
            io,
            memory: None,
            passes: 0,
        };
        let unmap = |lba, blocks| {
            request(StoreIo::Unmap {
                lba: Lba(lba),
                blocks,
            })
        };
        let kind = |request: IoRequest, read_only| {
            range_of(&request, geometry, read_only).unwrap_err().kind
        };
        assert_eq!(kind(unmap(8, 1), false), IoErrorKind::OutOfRange);
        assert_eq!(kind(unmap(1, u64::MAX), false), IoErrorKind::OutOfRange);
        assert_eq!(kind(unmap(0, 1), true), IoErrorKind::ReadOnly);
        let read = StoreIo::Read {
            lba: Lba(0),
            blocks: 1,
        };
        assert_eq!(kind(request(read), false), IoErrorKind::Unsupported);
        let flush = range_of(&request(StoreIo::Flush), geometry, true).unwrap();
        assert_eq!(
            flush,
            ByteRange {
                offset: 0,
                bytes: 0
            }
        );
        let range = range_of(&unmap(2, 3), geometry, false).unwrap();
        assert_eq!(
            range,
            ByteRange {
                offset: 1024,
                bytes: 1536
            }
        );
    }
}
