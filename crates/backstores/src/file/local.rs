//! One worker's part of a file: what each request becomes, step by step.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use block::{IoError, IoErrorKind, IoOpKind, Lba};
use reactor::{Driver, FileId, LocalShared, Memory, Op, OpResult, SharedMemory, StoreFile, Token};
use rustix::io::Errno;

use super::FileStore;
use super::tokens::TokenMap;
use crate::api::{IoDone, IoPort, IoRequest, LocalStore, StoreIo};
use crate::check::{ByteRange, io_error, range_of};

/// Zeros are written in pieces of this size where the file system cannot zero a range.
const ZERO_PIECE_BYTES: u32 = 1 << 20;

/// Plain writes between two looks at the file's size. A write behind the end of a file that somebody cut would grow it
/// again, with zeros in place of what was there: not to be done for long unnoticed.
const WRITES_PER_LOOK: u32 = 32;

pub(super) struct LocalFile {
    store: Arc<FileStore>,
    file: Arc<StoreFile>,
    id: FileId,
    in_flight: TokenMap<Task>,
    flush: Flushing,
    /// Zeros to write from; made when first needed.
    zeros: Option<LocalShared>,
    writes_since_look: u32,
}

/// A request whose operation is in the driver, or that waits for a flush.
#[derive(Clone, Copy)]
struct Task {
    kind: IoOpKind,
    lba: Option<Lba>,
    range: ByteRange,
    step: Step,
}

#[derive(Clone, Copy)]
enum Step {
    Read,
    Write {
        durable: bool,
    },
    /// Giving back, or zeroing by the file system's means.
    Range,
    /// Zeros are being written by hand; up to here (a byte offset) they have been asked for.
    Zeros {
        next: u64,
    },
    /// In a flush, or waiting for one.
    Flush,
}

/// At most one flush is in the driver: flushes that come meanwhile share the next one. A kernel that fails two flushes at
/// once tells only one of them, and the other must not succeed.
#[derive(Default)]
struct Flushing {
    /// Who waits for the flush in the driver; the first one's token names the operation. Empty: none.
    running: Vec<Token>,
    /// Who came since.
    next: Vec<Token>,
}

impl Task {
    fn error(&self, kind: IoErrorKind) -> IoError {
        IoError {
            lba: self.lba,
            ..IoError::new(kind, self.kind)
        }
    }

    fn os_error(&self, error: &io::Error) -> IoError {
        io_error(error, self.kind, self.lba)
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
            // What cannot be written has nothing to make durable.
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
        match (request.io, request.memory) {
            (StoreIo::Read { .. }, Some(Memory::Owned(buffer))) => {
                let op = Op::Read {
                    file: self.id,
                    offset: range.offset,
                    buffer,
                };
                self.push(token, task, Step::Read, op, port);
            }
            (StoreIo::Write { durable, .. }, Some(data)) => {
                let durable = durable || !self.write_cache();
                let op = Op::Write {
                    file: self.id,
                    offset: range.offset,
                    data,
                    durable,
                };
                self.push(token, task, Step::Write { durable }, op, port);
            }
            (StoreIo::Flush, _) => self.join_flush(token, task, port),
            (StoreIo::Unmap { .. }, _) => match self.unmap_op(range) {
                Some(op) => self.push(token, task, Step::Range, op, port),
                None => end(port, token, Ok(()), None),
            },
            (StoreIo::WriteZeroes { may_unmap, .. }, _) => match self.zero_op(range, may_unmap) {
                Some(op) => self.push(token, task, Step::Range, op, port),
                None => self.write_zeros(token, task, range.offset, port),
            },
            // `check` has refused these.
            (StoreIo::Read { .. } | StoreIo::Write { .. }, memory) => {
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
            (Step::Write { durable }, OpResult::Write { result, data }) => {
                let result = self.write_done(&task, durable, result);
                end(port, token, result, Some(data));
            }
            (Step::Range, OpResult::Other(result)) => self.range_done(token, task, result, port),
            (Step::Zeros { next }, OpResult::Write { result, .. }) => {
                match self.write_done(&task, !self.write_cache(), result) {
                    Ok(()) => self.write_zeros(token, task, next, port),
                    Err(error) => end(port, token, Err(error), None),
                }
            }
            (Step::Flush, OpResult::Other(result)) => self.flush_done(token, task, result, port),
            // A driver that answers something else than it was asked cannot be believed about the medium either.
            (_, _) => end(port, token, Err(task.error(IoErrorKind::Medium)), None),
        }
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
            zeros: None,
            writes_since_look: 0,
        }
    }

    fn check(&self, request: &IoRequest) -> Result<ByteRange, IoError> {
        let range = range_of(request, self.store.geometry(), self.store.caps.read_only)?;
        let kind = request.io.kind();
        if kind == IoOpKind::Read {
            return Ok(range);
        }
        let state = &self.store.state;
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

    fn write_cache(&self) -> bool {
        self.store.state.write_cache.load(Ordering::Acquire)
    }

    fn push(&mut self, token: Token, task: Task, step: Step, op: Op, port: &mut dyn IoPort) {
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

    fn write_done(
        &mut self,
        task: &Task,
        durable: bool,
        result: io::Result<usize>,
    ) -> Result<(), IoError> {
        let state = &self.store.state;
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
            if durable && !harmless {
                state.flush_failed.store(true, Ordering::Release);
            }
            error
        })?;
        if matches!(task.step, Step::Write { .. }) && bytes as u64 != task.range.bytes {
            return Err(task.error(IoErrorKind::Medium));
        }
        if durable && state.flush_failed.load(Ordering::Acquire) {
            return Err(task.error(IoErrorKind::FlushFailed));
        }
        self.writes_since_look += 1;
        if durable || self.writes_since_look >= WRITES_PER_LOOK {
            self.writes_since_look = 0;
            if self.store.look_for_shrinking(&self.file) {
                return Err(task.error(IoErrorKind::OutOfRange));
            }
        }
        Ok(())
    }

    /// How to give a range back; `None` where the store cannot, and does not say that it can.
    fn unmap_op(&self, range: ByteRange) -> Option<Op> {
        let ByteRange { offset, bytes } = range;
        let file = self.id;
        if !self.store.caps.unmap {
            return None;
        }
        if self.store.is_block_device {
            return Some(Op::Discard {
                file,
                offset,
                bytes,
            });
        }
        Some(Op::Punch {
            file,
            offset,
            bytes,
        })
    }

    /// How to zero a range without sending zeros; `None` where that is known not to work.
    fn zero_op(&self, range: ByteRange, may_unmap: bool) -> Option<Op> {
        let ByteRange { offset, bytes } = range;
        let file = self.id;
        let state = &self.store.state;
        if may_unmap && self.store.caps.unmap_zeroes && !state.no_punch.load(Ordering::Relaxed) {
            return Some(Op::Punch {
                file,
                offset,
                bytes,
            });
        }
        (!state.no_zero.load(Ordering::Relaxed)).then_some(Op::Zero {
            file,
            offset,
            bytes,
        })
    }

    fn range_done(
        &mut self,
        token: Token,
        task: Task,
        result: io::Result<()>,
        port: &mut dyn IoPort,
    ) {
        let Err(error) = result else {
            if self.write_cache() {
                return end(port, token, Ok(()), None);
            }
            // Without a cache, what completed is durable; the range operations alone do not promise that.
            return self.join_flush(token, task, port);
        };
        let error = task.os_error(&error);
        if error.kind != IoErrorKind::Unsupported {
            return end(port, token, Err(error), None);
        }
        let state = &self.store.state;
        match task.kind {
            // A discard promises nothing, so one that did nothing has kept its promise.
            IoOpKind::Unmap if self.store.is_block_device => end(port, token, Ok(()), None),
            // The others read as zeros afterwards, whatever the file system can do.
            IoOpKind::Unmap => {
                state.no_punch.store(true, Ordering::Relaxed);
                self.write_zeros(token, task, task.range.offset, port);
            }
            _ => {
                state.no_zero.store(true, Ordering::Relaxed);
                self.write_zeros(token, task, task.range.offset, port);
            }
        }
    }

    /// Writes the next piece of zeros from `next` on, or ends the request when there is none.
    fn write_zeros(&mut self, token: Token, task: Task, next: u64, port: &mut dyn IoPort) {
        let end_offset = task.range.offset.saturating_add(task.range.bytes);
        let left = end_offset.saturating_sub(next);
        if left == 0 {
            return end(port, token, Ok(()), None);
        }
        let bytes = u32::try_from(left)
            .unwrap_or(ZERO_PIECE_BYTES)
            .min(ZERO_PIECE_BYTES);
        let Some(zeros) = self.zeros(bytes) else {
            return end(port, token, Err(task.error(IoErrorKind::Busy)), None);
        };
        let op = Op::Write {
            file: self.id,
            offset: next,
            data: zeros,
            durable: !self.write_cache(),
        };
        let next = next.saturating_add(u64::from(bytes));
        self.push(token, task, Step::Zeros { next }, op, port);
    }

    fn zeros(&mut self, bytes: u32) -> Option<Memory> {
        if self.zeros.is_none() {
            // Never written, so it takes no memory: every page is the kernel's one page of zeros.
            let memory = SharedMemory::new(u64::from(ZERO_PIECE_BYTES)).ok()?;
            self.zeros = Some(LocalShared::new(Arc::new(memory)));
        }
        let pin = self.zeros.as_ref()?.pin(0, bytes)?;
        Some(Memory::Pinned(pin))
    }

    fn join_flush(&mut self, token: Token, task: Task, port: &mut dyn IoPort) {
        let step = Step::Flush;
        self.in_flight.insert(token, Task { step, ..task });
        // One that runs already may have begun before the writes that this one must cover.
        self.flush.next.push(token);
        self.start_flush(port);
    }

    fn start_flush(&mut self, port: &mut dyn IoPort) {
        if !self.flush.running.is_empty() {
            return;
        }
        std::mem::swap(&mut self.flush.running, &mut self.flush.next);
        if let Some(first) = self.flush.running.first() {
            port.push(Op::Flush { file: self.id }, *first);
        }
    }

    fn flush_done(
        &mut self,
        token: Token,
        task: Task,
        result: io::Result<()>,
        port: &mut dyn IoPort,
    ) {
        if let Err(error) = &result
            && io_error(error, IoOpKind::Flush, None).kind == IoErrorKind::Aborted
        {
            // Somebody gave up the request that named the operation. The others still want their flush.
            self.flush.running.retain(|member| *member != token);
            end(port, token, Err(task.os_error(error)), None);
            match self.flush.running.first() {
                Some(first) => port.push(Op::Flush { file: self.id }, *first),
                None => self.start_flush(port),
            }
            return;
        }
        let verdict = self.flush_verdict(result);
        let mut members = std::mem::take(&mut self.flush.running);
        for member in members.drain(..) {
            let task = match self.in_flight.remove(&member) {
                Some(task) => task,
                None if member == token => task,
                None => continue,
            };
            let result = verdict.map_err(|(kind, os)| IoError {
                os,
                ..task.error(kind)
            });
            end(port, member, result, None);
        }
        // The room is kept for the next one.
        self.flush.running = members;
        self.start_flush(port);
    }

    /// What a flush that ran to its end means for everybody who waited for it.
    fn flush_verdict(&self, result: io::Result<()>) -> Result<(), (IoErrorKind, Option<i32>)> {
        let state = &self.store.state;
        match result {
            // No thread was free to flush with: nothing has been tried, and nothing is lost.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::AGAIN) => {
                Err((IoErrorKind::Busy, error.raw_os_error()))
            }
            Err(error) => {
                // The kernel may have dropped the dirty pages and would call the next flush a success.
                state.flush_failed.store(true, Ordering::Release);
                Err((IoErrorKind::FlushFailed, error.raw_os_error()))
            }
            Ok(()) if state.flush_failed.load(Ordering::Acquire) => {
                Err((IoErrorKind::FlushFailed, None))
            }
            Ok(()) if self.store.look_for_shrinking(&self.file) => {
                Err((IoErrorKind::OutOfRange, None))
            }
            Ok(()) => Ok(()),
        }
    }
}

fn end(port: &mut dyn IoPort, token: Token, result: Result<(), IoError>, memory: Option<Memory>) {
    port.complete(IoDone {
        token,
        result,
        memory,
    });
}
