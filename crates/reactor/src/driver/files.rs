//! Files: a try that cannot wait first, by whatever means the driver has, then the file's own threads.
//!
//! Reads and writes are tried with RWF_NOWAIT ([`Fast`]): in the calling thread, by native AIO, or by a ring. What the
//! kernel says would wait, and everything that always may (flushes, holes, zeroes), goes to the file's
//! [`Lane`]. So the worker never waits for a disk, no kernel-wide pool is filled by one stuck file, and a file uses
//! up only its own threads.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use super::slots::{Key, Slots};
use super::stream::os_error;
use super::{Completion, FileId, Op, OpResult, Token, WriteData};
use crate::Waker;
use crate::file::{Job, JobId, JobResult, Lane, Returns, StoreFile, Work, is_direct_end};
use crate::memory::{Buffer, Span};
use crate::sys::rw::{self, Direction, RwFlags};

/// A read or write that must not wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Try<'a> {
    /// Comes back with its result.
    pub(super) key: Key,
    pub(super) fd: BorrowedFd<'a>,
    pub(super) direction: Direction,
    pub(super) span: Span,
    pub(super) offset: u64,
    /// Has RWF_NOWAIT.
    pub(super) flags: RwFlags,
    pub(super) is_direct: bool,
}

/// What became of a try at once.
pub(super) enum Tried {
    /// It is over.
    Now(io::Result<usize>),
    /// [`Files::handle_tried`] will be told.
    Later,
}

/// The driver's means to read and write without waiting.
pub(super) trait Fast {
    /// Starts a try.
    ///
    /// # Safety
    /// The span's memory is left alone until the result is there.
    unsafe fn start(&mut self, attempt: Try<'_>) -> Tried;

    /// Asks for a try to end early.
    fn cancel(&mut self, key: Key);
}

/// Tries in the calling thread.
///
/// # Safety
/// As [`Fast::start`].
pub(super) unsafe fn try_here(attempt: Try<'_>) -> Tried {
    let Try {
        fd,
        span,
        offset,
        flags,
        ..
    } = attempt;
    Tried::Now(match attempt.direction {
        // SAFETY: the caller's.
        Direction::Read => unsafe { rw::read_at(fd, span, offset, flags) },
        // SAFETY: the caller's.
        Direction::Write => unsafe { rw::write_at(fd, span, offset, flags) },
    })
}

/// A driver's files and what is in flight on them.
pub(super) struct Files {
    files: Slots<Entry>,
    ops: Slots<InFlight>,
    returns: Arc<Returns>,
    /// Jobs whose results have not come.
    in_lanes: usize,
    /// Tries whose results have not come.
    in_tries: usize,
    results: Vec<JobResult>,
}

struct Entry {
    /// Taken by the last operation of a file that was removed.
    file: Arc<StoreFile>,
    in_flight: usize,
    removed: bool,
}

struct InFlight {
    token: Token,
    file: Key,
    work: FileWork,
    in_lane: bool,
}

enum FileWork {
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
    Other(Work),
}

impl Files {
    pub(super) fn new(waker: Waker) -> Self {
        Self {
            files: Slots::default(),
            ops: Slots::default(),
            returns: Returns::new(waker),
            in_lanes: 0,
            in_tries: 0,
            results: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, file: Arc<StoreFile>) -> FileId {
        let key = self.files.insert(Entry {
            file,
            in_flight: 0,
            removed: false,
        });
        FileId {
            index: key.index,
            generation: key.generation,
        }
    }

    pub(super) fn remove(&mut self, id: FileId) {
        let key = Key {
            index: id.index,
            generation: id.generation,
        };
        if let Some(entry) = self.files.find(key) {
            entry.removed = true;
            self.let_go(key);
        }
    }

    /// Tries whose results have not come.
    pub(super) fn in_tries(&self) -> usize {
        self.in_tries
    }

    /// Takes a file operation. Others are not this half's.
    pub(super) fn push(
        &mut self,
        op: Op,
        token: Token,
        fast: &mut impl Fast,
        out: &mut Vec<Completion>,
    ) {
        let (file, work, end) = match op {
            Op::Read {
                file,
                offset,
                buffer,
            } => {
                let end = offset.checked_add(buffer.len() as u64);
                (
                    file,
                    FileWork::Read {
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
                    FileWork::Write {
                        data,
                        offset,
                        done: 0,
                        durable,
                    },
                    end,
                )
            }
            Op::Flush { file } => (file, FileWork::Other(Work::Flush), Some(1)),
            Op::Punch {
                file,
                offset,
                bytes,
            } => (
                file,
                FileWork::Other(Work::Punch { offset, bytes }),
                offset.checked_add(bytes),
            ),
            Op::Zero {
                file,
                offset,
                bytes,
            } => (
                file,
                FileWork::Other(Work::Zero { offset, bytes }),
                offset.checked_add(bytes),
            ),
            Op::Discard {
                file,
                offset,
                bytes,
            } => (
                file,
                FileWork::Other(Work::Discard { offset, bytes }),
                offset.checked_add(bytes),
            ),
            Op::Accept { .. } | Op::Recv { .. } | Op::Send { .. } => return,
        };
        let file = Key {
            index: file.index,
            generation: file.generation,
        };
        let error = match self.files.find(file) {
            Some(entry) if !entry.removed => {
                let fits = end.is_some_and(|end| i64::try_from(end).is_ok());
                (!fits).then_some(libc::EINVAL)
            }
            _ => Some(libc::EBADF),
        };
        if let Some(error) = error {
            return out.push(finish(token, work, Err(os_error(error))));
        }
        if work.is_empty() {
            return out.push(finish(token, work, Ok(0)));
        }
        if let Some(entry) = self.files.find(file) {
            entry.in_flight += 1;
        }
        let key = self.ops.insert(InFlight {
            token,
            file,
            work,
            in_lane: false,
        });
        self.advance(key, fast, out);
    }

    pub(super) fn cancel(&mut self, token: Token, fast: &mut impl Fast, out: &mut Vec<Completion>) {
        let found = self.ops.iter_mut().filter(|(_, op)| op.token == token);
        let found = found
            .map(|(key, op)| (key, op.file, op.in_lane))
            .collect::<Vec<_>>();
        for (key, file, in_lane) in found {
            if !in_lane {
                fast.cancel(key);
            } else if let Some(entry) = self.files.find(file)
                && entry
                    .file
                    .lane()
                    .withdraw(&self.returns, JobId(key.to_bits()))
            {
                self.in_lanes -= 1;
                self.complete(key, Err(os_error(libc::ECANCELED)), out);
            }
        }
    }

    /// The result of a try that was not over at once.
    pub(super) fn handle_tried(
        &mut self,
        key: Key,
        result: io::Result<usize>,
        fast: &mut impl Fast,
        out: &mut Vec<Completion>,
    ) {
        self.in_tries = self.in_tries.saturating_sub(1);
        if self.note(key, result, out) {
            self.advance(key, fast, out);
        }
    }

    /// Takes in what the lanes have done.
    pub(super) fn reap_lanes(&mut self, out: &mut Vec<Completion>) {
        if self.in_lanes == 0 {
            return;
        }
        let mut results = std::mem::take(&mut self.results);
        self.returns.take(&mut results);
        for JobResult { id, result } in results.drain(..) {
            self.in_lanes -= 1;
            let key = Key::from_bits(id.0);
            let total =
                result.map(|bytes| self.ops.find(key).map_or(0, |op| op.work.done()) + bytes);
            self.complete(key, total, out);
        }
        self.results = results;
    }

    /// Tries on until the operation is over, waits for a result, or is in its lane.
    fn advance(&mut self, key: Key, fast: &mut impl Fast, out: &mut Vec<Completion>) {
        loop {
            let Some(op) = self.ops.find(key) else { return };
            let Some(entry) = self.files.find(op.file) else {
                return;
            };
            let Some(attempt) = op.attempt(key, &entry.file) else {
                return self.send_to_lane(key, out);
            };
            // SAFETY: the memory is the operation's, which stays in `ops` until the result is there, also when this
            // value is dropped; nobody else can reach it.
            match unsafe { fast.start(attempt) } {
                Tried::Later => {
                    self.in_tries += 1;
                    return;
                }
                Tried::Now(result) => {
                    if !self.note(key, result, out) {
                        return;
                    }
                }
            }
        }
    }

    /// Takes in the result of one try. True if the next one should be made.
    fn note(&mut self, key: Key, result: io::Result<usize>, out: &mut Vec<Completion>) -> bool {
        let Some(op) = self.ops.find(key) else {
            return false;
        };
        let Some(entry) = self.files.find(op.file) else {
            return false;
        };
        match result {
            Ok(bytes) => {
                let done = op.work.add_done(bytes);
                let is_over = bytes == 0 || done >= op.work.len();
                if is_over || is_direct_end(&entry.file, done) {
                    self.complete(key, Ok(done), out);
                    return false;
                }
                true
            }
            Err(error) => {
                let is_read = matches!(op.work, FileWork::Read { .. });
                match error.raw_os_error() {
                    Some(libc::EAGAIN) => {}
                    _ if rw::flags_are_refused(&error) && is_read => {
                        entry.file.forget_nowait_read()
                    }
                    _ if rw::flags_are_refused(&error) => entry.file.forget_nowait_write(),
                    Some(libc::EINTR) => return true,
                    _ => {
                        self.complete(key, Err(error), out);
                        return false;
                    }
                }
                self.send_to_lane(key, out);
                false
            }
        }
    }

    fn send_to_lane(&mut self, key: Key, out: &mut Vec<Completion>) {
        let Some(op) = self.ops.find(key) else { return };
        let Some(entry) = self.files.find(op.file) else {
            return;
        };
        let file = Arc::clone(&entry.file);
        let lane = Arc::clone(file.lane());
        let returns = Arc::clone(&self.returns);
        let job = Job {
            id: JobId(key.to_bits()),
            file,
            work: op.work.for_lane(),
            returns,
        };
        match lane.push(job) {
            Ok(()) => {
                op.in_lane = true;
                self.in_lanes += 1;
            }
            Err(error) => self.complete(key, Err(error), out),
        }
    }

    fn complete(&mut self, key: Key, result: io::Result<usize>, out: &mut Vec<Completion>) {
        let Some(op) = self.ops.remove(key) else {
            return;
        };
        out.push(finish(op.token, op.work, result));
        if let Some(entry) = self.files.find(op.file) {
            entry.in_flight -= 1;
            if entry.removed {
                self.let_go(op.file);
            }
        }
    }

    fn let_go(&mut self, key: Key) {
        if self
            .files
            .find(key)
            .is_some_and(|entry| entry.in_flight == 0)
            && let Some(entry) = self.files.remove(key)
        {
            Lane::close(entry.file);
        }
    }

    /// Ends what can be ended before the driver goes: jobs that no thread has begun.
    pub(super) fn withdraw_all(&mut self) {
        let keys = self
            .ops
            .iter_mut()
            .map(|(key, op)| (key, op.file))
            .collect::<Vec<_>>();
        let mut unheard = Vec::new();
        for (key, file) in keys {
            if let Some(entry) = self.files.find(file)
                && entry
                    .file
                    .lane()
                    .withdraw(&self.returns, JobId(key.to_bits()))
            {
                self.in_lanes -= 1;
                self.complete(key, Err(os_error(libc::ECANCELED)), &mut unheard);
            }
        }
    }

    /// Waits a little for the jobs that threads are at. True if none is left.
    pub(super) fn settle_lanes(&mut self, grace: Duration) -> bool {
        let step = Duration::from_millis(1);
        let mut left = grace;
        let mut unheard = Vec::new();
        loop {
            self.reap_lanes(&mut unheard);
            if self.in_lanes == 0 || left.is_zero() {
                return self.in_lanes == 0;
            }
            std::thread::sleep(step.min(left));
            left = left.saturating_sub(step);
        }
    }

    /// Lets go of every file that nothing is in flight on.
    pub(super) fn close_all(&mut self) {
        let keys = self
            .files
            .iter_mut()
            .map(|(key, _)| key)
            .collect::<Vec<_>>();
        for key in keys {
            self.let_go(key);
        }
    }

    /// Whether anything is in flight.
    pub(super) fn is_at_rest(&self) -> bool {
        self.ops.is_empty()
    }
}

impl Drop for Files {
    /// What is still in flight keeps its memory and its file for ever: the kernel or a thread may yet write to it.
    fn drop(&mut self) {
        self.close_all();
        if !self.is_at_rest() {
            std::mem::forget(std::mem::take(&mut self.ops));
            std::mem::forget(std::mem::take(&mut self.files));
        }
    }
}

impl InFlight {
    /// The next try, if this file and operation can be tried.
    fn attempt<'a>(&self, key: Key, file: &'a StoreFile) -> Option<Try<'a>> {
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
            FileWork::Other(_) => return None,
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
    /// How many bytes a read or write is to move.
    fn len(&self) -> usize {
        match self {
            Self::Read { buffer, .. } => buffer.len(),
            Self::Write { data, .. } => data.len(),
            Self::Other(_) => 0,
        }
    }

    /// Whether there is nothing to do.
    fn is_empty(&self) -> bool {
        match self {
            Self::Read { .. } | Self::Write { .. } => self.len() == 0,
            Self::Other(Work::Punch { bytes, .. })
            | Self::Other(Work::Zero { bytes, .. } | Work::Discard { bytes, .. }) => *bytes == 0,
            Self::Other(_) => false,
        }
    }

    fn done(&self) -> usize {
        match self {
            Self::Read { done, .. } | Self::Write { done, .. } => *done,
            Self::Other(_) => 0,
        }
    }

    /// Adds to what is done, and tells the sum.
    fn add_done(&mut self, bytes: usize) -> usize {
        match self {
            Self::Read { done, .. } | Self::Write { done, .. } => {
                *done += bytes;
                *done
            }
            Self::Other(_) => 0,
        }
    }

    /// The rest, as a job.
    fn for_lane(&self) -> Work {
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
            Self::Other(work) => *work,
        }
    }
}

/// The end of an operation. `result` counts all bytes that were moved; a write that moved too few has failed.
fn finish(token: Token, work: FileWork, result: io::Result<usize>) -> Completion {
    let result = match work {
        FileWork::Read { buffer, .. } => OpResult::Read { result, buffer },
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
