//! A file operation in flight: what it is, how far it has got, and how it ends.

use std::io;
use std::os::fd::AsFd;

use super::Try;
use crate::StoreFile;
use crate::driver::slots::Key;
use crate::driver::stream::os_error;
use crate::driver::{Completion, FileId, Op, OpResult, Token, WriteData};
use crate::file::Work;
use crate::memory::{Buffer, Span};
use crate::sys::rw::{Direction, RwFlags};

pub(super) struct InFlight {
    pub(super) token: Token,
    pub(super) file: Key,
    pub(super) work: FileWork,
    pub(super) in_lane: bool,
}

pub(super) enum FileWork {
    Read {
        buffer: Buffer,
        offset: u64,
        done: usize,
    },
    Write {
        data: WriteData,
        offset: u64,
        done: usize,
        durable: bool,
    },
    Map {
        buffer: Buffer,
        offset: u64,
        bytes: u64,
    },
    Other(Work),
}

impl InFlight {
    /// The next try, if this file and operation can be tried.
    pub(super) fn attempt<'a>(&self, key: Key, file: &'a StoreFile) -> Option<Try<'a>> {
        let (direction, span, offset, durable) = match &self.work {
            FileWork::Read { buffer, offset, .. } => {
                (Direction::Read, buffer.span(), *offset, false)
            }
            FileWork::Write {
                data,
                offset,
                durable,
                ..
            } => (Direction::Write, data.span()?, *offset, *durable),
            FileWork::Map { .. } | FileWork::Other(_) => return None,
        };
        let can = match direction {
            Direction::Read => file.can_read_nowait(),
            // Through the page cache a durable write always waits for the disk.
            Direction::Write => file.can_write_nowait() && (file.is_direct() || !durable),
        };
        let done = self.work.done();
        can.then(|| Try {
            key,
            fd: file.as_fd(),
            direction,
            span: span.skip(done),
            offset: offset.saturating_add(done as u64),
            flags: RwFlags::NOWAIT.durable(durable),
            is_direct: file.is_direct(),
        })
    }
}

impl FileWork {
    /// A file operation, its file, and the end of its range: `None` for one that cannot be. Other operations are
    /// none.
    pub(super) fn of(op: Op) -> Option<(FileId, Self, Option<u64>)> {
        Some(match op {
            Op::Read {
                file,
                offset,
                buffer,
            } => {
                let end = offset.checked_add(buffer.len() as u64);
                (
                    file,
                    Self::Read {
                        buffer,
                        offset,
                        done: 0,
                    },
                    end,
                )
            }
            Op::Write {
                file,
                offset,
                data,
                durable,
            } => {
                // Without addresses there is no end either: a range beyond its buffer.
                let end = data
                    .span()
                    .and_then(|span| offset.checked_add(span.len as u64));
                (
                    file,
                    Self::Write {
                        data,
                        offset,
                        done: 0,
                        durable,
                    },
                    end,
                )
            }
            Op::Map {
                file,
                offset,
                bytes,
                buffer,
            } => {
                let end = offset.checked_add(bytes);
                (
                    file,
                    Self::Map {
                        buffer,
                        offset,
                        bytes,
                    },
                    end,
                )
            }
            Op::Flush { file } => (file, Self::Other(Work::Flush), Some(0)),
            Op::Punch { .. } | Op::Zero { .. } | Op::Discard { .. } => return Self::of_range(&op),
            Op::Accept { .. } | Op::Recv { .. } | Op::Send { .. } => return None,
        })
    }

    /// As [`Self::of`], for operations on a range that move no data.
    fn of_range(op: &Op) -> Option<(FileId, Self, Option<u64>)> {
        let (file, work, offset, bytes) = match *op {
            Op::Punch {
                file,
                offset,
                bytes,
            } => (file, Work::Punch { offset, bytes }, offset, bytes),
            Op::Zero {
                file,
                offset,
                bytes,
            } => (file, Work::Zero { offset, bytes }, offset, bytes),
            Op::Discard {
                file,
                offset,
                bytes,
            } => (file, Work::Discard { offset, bytes }, offset, bytes),
            _ => return None,
        };
        Some((file, Self::Other(work), offset.checked_add(bytes)))
    }

    /// How many bytes a read or write is to move.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Read { buffer, .. } => buffer.len(),
            Self::Write { data, .. } => data.len(),
            Self::Map { .. } | Self::Other(_) => 0,
        }
    }

    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Read { .. } | Self::Write { .. } => self.len() == 0,
            Self::Map { bytes, .. } => *bytes == 0,
            Self::Other(Work::Punch { bytes, .. })
            | Self::Other(Work::Zero { bytes, .. } | Work::Discard { bytes, .. }) => *bytes == 0,
            Self::Other(_) => false,
        }
    }

    pub(super) fn done(&self) -> usize {
        match self {
            Self::Read { done, .. } | Self::Write { done, .. } => *done,
            Self::Map { .. } | Self::Other(_) => 0,
        }
    }

    /// Adds to what is done, and tells the sum.
    pub(super) fn add_done(&mut self, bytes: usize) -> usize {
        match self {
            Self::Read { done, .. } | Self::Write { done, .. } => {
                *done += bytes;
                *done
            }
            Self::Map { .. } | Self::Other(_) => 0,
        }
    }

    /// The rest, as a job.
    pub(super) fn for_lane(&self) -> Work {
        let empty = Span {
            ptr: std::ptr::null_mut(),
            len: 0,
        };
        match self {
            Self::Read {
                buffer,
                offset,
                done,
            } => Work::Read {
                span: buffer.span().skip(*done),
                offset: offset.saturating_add(*done as u64),
            },
            Self::Write {
                data,
                offset,
                done,
                durable,
            } => Work::Write {
                span: data.span().unwrap_or(empty).skip(*done),
                offset: offset.saturating_add(*done as u64),
                durable: *durable,
            },
            Self::Map {
                buffer,
                offset,
                bytes,
            } => Work::Map {
                span: buffer.span(),
                offset: *offset,
                bytes: *bytes,
            },
            Self::Other(work) => *work,
        }
    }
}

/// The end of an operation. `result` counts all bytes that were moved; a write that moved too few has failed.
pub(super) fn finish(token: Token, work: FileWork, result: io::Result<usize>) -> Completion {
    let result = match work {
        FileWork::Read { buffer, .. } | FileWork::Map { buffer, .. } => {
            OpResult::Read { result, buffer }
        }
        FileWork::Write { data, .. } => {
            let all = data.len();
            let result = result.and_then(|bytes| {
                if bytes < all {
                    Err(os_error(libc::EIO))
                } else {
                    Ok(bytes)
                }
            });
            OpResult::Write { result, data }
        }
        FileWork::Other(_) => OpResult::Other(result.map(|_| ())),
    };
    Completion { token, result }
}
