//! One worker's part of a file: what each request becomes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use block::{IoError, IoErrorKind, IoOpKind, Lba};
use reactor::{Driver, FileId, LocalShared, Memory, Op, OpResult, StoreFile, Token};

use super::FileStore;
use super::flush::Flushing;
use super::sync::{SyncNumber, SyncWindow};
use super::tokens::TokenMap;
use crate::api::{IoDone, IoPort, IoRequest, LocalStore, StoreIo};
use crate::check::{ByteRange, io_error, range_of};

/// Plain writes between two looks at the file's size. A write behind the end of a file that somebody cut would grow it
/// again, with zeros in place of what was there: not to be done for long unnoticed.
const WRITES_PER_LOOK: u32 = 32;

pub(super) struct LocalFile {
    pub(super) store: Arc<FileStore>,
    pub(super) file: Arc<StoreFile>,
    pub(super) id: FileId,
    pub(super) in_flight: TokenMap<Task>,
    pub(super) flush: Flushing,
    pub(super) sync: SyncWindow,
    /// Zeros to write from; made when first needed.
    pub(super) zeros: Option<LocalShared>,
    writes_since_look: u32,
}

/// A request whose operation is in the driver, or that waits for others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task {
    pub(super) kind: IoOpKind,
    pub(super) lba: Option<Lba>,
    pub(super) range: ByteRange,
    pub(super) step: Step,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Read,
    /// Numbered if durable.
    Write {
        durable: Option<SyncNumber>,
    },
    /// Giving back, or zeroing by the file system's means.
    Range,
    /// Zeros are being written by hand; up to here (a byte offset) they have been asked for.
    Zeros {
        next: u64,
        durable: Option<SyncNumber>,
    },
    /// The file tells what it keeps.
    Map,
    /// In a flush, or waiting for one.
    Flush,
}

impl Task {
    pub(super) fn error(&self, kind: IoErrorKind) -> IoError {
        IoError {
            lba: self.lba,
            ..IoError::new(kind, self.kind)
        }
    }

    pub(super) fn os_error(&self, error: &io::Error) -> IoError {
        io_error(error, self.kind, self.lba)
    }

    #[cfg(test)]
    pub(super) fn nothing(kind: IoOpKind) -> Self {
        Self {
            kind,
            lba: None,
            range: ByteRange {
                offset: 0,
                bytes: 0,
            },
            step: Step::Flush,
        }
    }
}

impl LocalStore for LocalFile {
    fn submit(&mut self, request: IoRequest, port: &mut dyn IoPort) {
        let token = request.token;
        let range = match self.check(&request) {
            Ok(range) => range,
            Err(error) => return end(port, token, Err(error), request.memory),
        };
        let nothing_to_do = match request.io {
            // What could never be written has nothing to make durable.
            StoreIo::Flush => self.store.caps.read_only,
            _ => range.bytes == 0,
        };
        if nothing_to_do {
            return end(port, token, Ok(()), request.memory);
        }
        let task = Task {
            kind: request.io.kind(),
            lba: request.io.range().map(|(lba, _)| lba),
            range,
            step: Step::Range,
        };
        let (file, offset) = (self.id, range.offset);
        match (request.io, request.memory) {
            (StoreIo::Read { .. }, Some(Memory::Owned(buffer))) => {
                let op = Op::Read {
                    file,
                    offset,
                    buffer,
                };
                self.push(token, task, Step::Read, op, port);
            }
            (StoreIo::Write { durable, .. }, Some(data)) => {
                let durable = durable || !self.write_cache();
                let op = Op::Write {
                    file,
                    offset,
                    data,
                    durable,
                };
                let durable = durable.then(|| self.sync.start());
                self.push(token, task, Step::Write { durable }, op, port);
            }
            (StoreIo::Map { .. }, Some(Memory::Owned(buffer))) => {
                self.start_map(token, task, buffer, port);
            }
            (StoreIo::Flush, _) => self.join_flush(token, task, port),
            (StoreIo::Unmap { .. }, _) => self.start_unmap(token, task, port),
            (StoreIo::WriteZeroes { may_unmap, .. }, _) => {
                self.start_zeroes(token, task, may_unmap, port);
            }
            // `check` has refused these.
            (
                StoreIo::Read { .. }
                | StoreIo::Write { .. }
                | StoreIo::ReadTuples { .. }
                | StoreIo::WriteTuples { .. }
                | StoreIo::Map { .. },
                memory,
            ) => {
                end(
                    port,
                    token,
                    Err(task.error(IoErrorKind::Unsupported)),
                    memory,
                );
            }
        }
    }

    fn complete(&mut self, token: Token, result: OpResult, port: &mut dyn IoPort) {
        // An operation that nobody pushed here: only its memory is let go.
        let Some(task) = self.in_flight.remove(&token) else {
            return;
        };
        match (task.step, result) {
            (Step::Read, OpResult::Read { result, buffer }) => {
                let result = self.read_done(&task, result);
                end(port, token, result, Some(Memory::Owned(buffer)));
            }
            (Step::Map, OpResult::Read { result, buffer }) => {
                self.map_done(token, &task, result, buffer, port);
            }
            (Step::Write { durable }, OpResult::Write { result, data }) => {
                match (self.write_done(&task, durable, result), durable) {
                    (Ok(()), Some(_)) => self.sync.hold(token, task, Some(data)),
                    (result, _) => end(port, token, result, Some(data)),
                }
            }
            (Step::Range, OpResult::Other(result)) => self.range_done(token, task, result, port),
            (Step::Zeros { next, durable }, OpResult::Write { result, .. }) => {
                match self.write_done(&task, durable, result) {
                    Ok(()) => self.write_zeros(token, task, next, port),
                    Err(error) => end(port, token, Err(error), None),
                }
            }
            (Step::Flush, OpResult::Other(result)) => self.flush_done(token, task, result, port),
            // A driver that answers something else than it was asked cannot be believed about the medium either.
            (_, _) => end(port, token, Err(task.error(IoErrorKind::Medium)), None),
        }
        self.tell_successes(port);
    }

    fn detach(self: Box<Self>, driver: &mut dyn Driver) {
        driver.remove_file(self.id);
    }
}

impl LocalFile {
    pub(super) fn new(
        store: Arc<FileStore>,
        file: Arc<StoreFile>,
        driver: &mut dyn Driver,
    ) -> Self {
        Self {
            id: driver.add_file(Arc::clone(&file)),
            store,
            file,
            in_flight: TokenMap::default(),
            flush: Flushing::default(),
            sync: SyncWindow::default(),
            zeros: None,
            writes_since_look: 0,
        }
    }

    fn check(&self, request: &IoRequest) -> Result<ByteRange, IoError> {
        let state = &self.store.state;
        let range = range_of(request, state.size.geometry(), state.read_only.is_on())?;
        let kind = request.io.kind();
        if matches!(kind, IoOpKind::Read | IoOpKind::Map) {
            return Ok(range);
        }
        let refusal = if state.flush_failed.load(Ordering::Acquire) {
            IoErrorKind::FlushFailed
        } else if state.shrunk.load(Ordering::Acquire) {
            IoErrorKind::OutOfRange
        } else {
            return Ok(range);
        };
        Err(IoError {
            lba: request.io.range().map(|(lba, _)| lba),
            ..IoError::new(refusal, kind)
        })
    }

    pub(super) fn write_cache(&self) -> bool {
        self.store.state.write_cache.load(Ordering::Acquire)
    }

    pub(super) fn push(
        &mut self,
        token: Token,
        task: Task,
        step: Step,
        op: Op,
        port: &mut dyn IoPort,
    ) {
        self.in_flight.insert(token, Task { step, ..task });
        port.push(op, token);
    }

    fn read_done(&self, task: &Task, result: io::Result<usize>) -> Result<(), IoError> {
        let bytes = result.map_err(|error| task.os_error(&error))? as u64;
        if bytes == task.range.bytes {
            return Ok(());
        }
        // The file ends before the disk does: somebody cut it.
        self.store.state.shrunk.store(true, Ordering::Release);
        let blocks = bytes / u64::from(self.store.geometry().block_size_bytes);
        let error = task.error(IoErrorKind::OutOfRange);
        Err(match task.lba {
            Some(lba) => error.at(Lba(lba.0.saturating_add(blocks))),
            None => error,
        })
    }

    /// What a write that ended means. The success of a durable one is not to be told before [`Self::tell_successes`] does.
    fn write_done(
        &mut self,
        task: &Task,
        durable: Option<SyncNumber>,
        result: io::Result<usize>,
    ) -> Result<(), IoError> {
        if let Some(number) = durable {
            self.sync.end(number);
        }
        let bytes = result.map_err(|error| {
            let error = task.os_error(&error);
            // A write through to the medium that fails has told, and so used up, whatever earlier write-back failed.
            let harmless = matches!(
                error.kind,
                IoErrorKind::NoSpace
                    | IoErrorKind::Busy
                    | IoErrorKind::ReadOnly
                    | IoErrorKind::OutOfRange
                    | IoErrorKind::Aborted
            );
            if durable.is_some() && !harmless {
                self.store.state.flush_failed.store(true, Ordering::Release);
            }
            error
        })?;
        if matches!(task.step, Step::Write { .. }) && bytes as u64 != task.range.bytes {
            return Err(task.error(IoErrorKind::Medium));
        }
        self.writes_since_look += 1;
        if durable.is_none() && self.writes_since_look >= WRITES_PER_LOOK {
            self.writes_since_look = 0;
            if self.store.look_for_shrinking(&self.file) {
                return Err(task.error(IoErrorKind::OutOfRange));
            }
        }
        Ok(())
    }

    /// Ends the requests whose durability is beyond doubt now, or known to be in doubt for ever.
    fn tell_successes(&mut self, port: &mut dyn IoPort) {
        let mut shrunk = None;
        while let Some(held) = self.sync.next_free() {
            let result = if self.store.state.flush_failed.load(Ordering::Acquire) {
                Err(held.task.error(IoErrorKind::FlushFailed))
            } else if *shrunk.get_or_insert_with(|| self.store.look_for_shrinking(&self.file)) {
                Err(held.task.error(IoErrorKind::OutOfRange))
            } else {
                Ok(())
            };
            end(port, held.token, result, held.memory);
        }
    }
}

pub(super) fn end(
    port: &mut dyn IoPort,
    token: Token,
    result: Result<(), IoError>,
    memory: Option<Memory>,
) {
    port.complete(IoDone {
        token,
        result,
        memory,
    });
}
