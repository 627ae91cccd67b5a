//! Files: a try that cannot wait first, by whatever means the driver has, then the file's own threads.
//!
//! Reads and writes are tried with RWF_NOWAIT ([`Fast`]): in the calling thread, by native AIO, or by a ring. What the
//! kernel says would wait, and everything that always may (flushes, holes, zeroes), goes to the file's
//! [`Lane`]. So the worker never waits for a disk, no kernel-wide pool is filled by one stuck file, and a file uses
//! up only its own threads.

mod fast;
mod work;

pub(super) use fast::{Fast, Tried, Try, try_here};

use std::io;
use std::sync::Arc;
use std::time::Duration;

use self::work::{FileWork, InFlight, finish};
use super::slots::{Key, Slots};
use super::stream::os_error;
use super::{Completion, FileId, Op, Token};
use crate::StoreFile;
use crate::Waker;
use crate::file::{Job, JobId, JobResult, Lane, Returns, is_direct_end};
use crate::sys::rw;

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
        let Some((file, work, end)) = FileWork::of(op) else {
            return;
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
