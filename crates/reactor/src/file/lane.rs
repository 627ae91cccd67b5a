//! A file's own threads, for calls that may block: at most [`MAX_THREADS`], started on demand and gone when idle.
//!
//! One file that is stuck keeps its own threads and its own queue, and nobody else's. The queue is bounded: beyond it the
//! caller hears `EAGAIN`. A job carries addresses; whoever pushed it keeps their owner until the job's result has come
//! back, for ever if need be.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::fs::{FallocateFlags, fallocate, fdatasync};

use super::{StoreFile, map};
use crate::Waker;
use crate::memory::Span;
use crate::sys::block_device;
use crate::sys::rw::{self, RwFlags};

/// Threads of one file, all workers together.
const MAX_THREADS: usize = 8;
/// Jobs of one file that wait for a thread, all workers together.
const MAX_QUEUED: usize = 1024;
/// After this time without work a thread ends.
const IDLE: Duration = Duration::from_secs(2);
/// The threads call the kernel and do nothing else.
const STACK_BYTES: usize = 128 << 10;

/// What to do to a file, and to which memory.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Work {
    Read {
        span: Span,
        offset: u64,
    },
    Write {
        span: Span,
        offset: u64,
        durable: bool,
    },
    Map {
        span: Span,
        offset: u64,
        bytes: u64,
    },
    Flush,
    Punch {
        offset: u64,
        bytes: u64,
    },
    Zero {
        offset: u64,
        bytes: u64,
    },
    Discard {
        offset: u64,
        bytes: u64,
    },
}

/// Names a job to the driver that pushed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct JobId(pub(crate) u64);

/// One blocking call (or several, until all bytes have moved).
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) id: JobId,
    pub(crate) file: Arc<StoreFile>,
    pub(crate) work: Work,
    pub(crate) returns: Arc<Returns>,
}

// SAFETY: the addresses in `work` belong to an operation that its driver keeps, memory and all, until this job's result
// has come back (or for ever), and that nobody touches meanwhile. The mapping they lie in is reachable from any thread.
unsafe impl Send for Job {}

/// What came of a job: for reads and writes, how many bytes moved.
#[derive(Debug)]
pub(crate) struct JobResult {
    pub(crate) id: JobId,
    pub(crate) result: io::Result<usize>,
}

/// Where a driver's results gather.
#[derive(Debug)]
pub(crate) struct Returns {
    results: Mutex<Vec<JobResult>>,
    waker: Waker,
}

impl Returns {
    pub(crate) fn new(waker: Waker) -> Arc<Self> {
        Arc::new(Self {
            results: Mutex::default(),
            waker,
        })
    }

    /// Swaps the results that have come for an empty list.
    pub(crate) fn take(&self, into: &mut Vec<JobResult>) {
        debug_assert!(into.is_empty(), "results are handled before more are taken");
        std::mem::swap(&mut *unpoisoned(&self.results), into);
    }

    fn put(&self, result: JobResult) {
        unpoisoned(&self.results).push(result);
        self.waker.wake();
    }
}

/// A file's queue and threads.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    state: Mutex<State>,
    work: Condvar,
    #[cfg(test)]
    pub(crate) gate: test_gate::Gate,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Entry>,
    threads: usize,
    idle: usize,
}

#[derive(Debug)]
enum Entry {
    Job(Job),
    Close(StoreFile),
}

impl Lane {
    /// Queues a job, and sees to it that a thread comes for it.
    ///
    /// # Errors
    /// The error its operation ends with: `EAGAIN` when the queue is full or no thread can be had.
    pub(crate) fn push(self: &Arc<Self>, job: Job) -> io::Result<()> {
        let mut state = unpoisoned(&self.state);
        if state.queue.len() >= MAX_QUEUED {
            return Err(io::Error::from_raw_os_error(libc::EAGAIN));
        }
        state.queue.push_back(Entry::Job(job));
        if !self.find_thread(&mut state) {
            state.queue.pop_back();
            return Err(io::Error::from_raw_os_error(libc::EAGAIN));
        }
        Ok(())
    }

    /// Takes back a job that no thread has begun. Its result will not come.
    pub(crate) fn withdraw(&self, returns: &Arc<Returns>, id: JobId) -> bool {
        let mut state = unpoisoned(&self.state);
        let found = state.queue.iter().position(|entry| match entry {
            Entry::Job(job) => job.id == id && Arc::ptr_eq(&job.returns, returns),
            Entry::Close(_) => false,
        });
        found.and_then(|at| state.queue.remove(at)).is_some()
    }

    /// Lets go of a file on one of its threads if this was the last handle, since closing may wait.
    pub(crate) fn close(file: Arc<StoreFile>) {
        let lane = Arc::clone(file.lane());
        let Some(file) = Arc::into_inner(file) else {
            return;
        };
        let mut state = unpoisoned(&lane.state);
        state.queue.push_back(Entry::Close(file));
        if !lane.find_thread(&mut state) {
            let last = state.queue.pop_back();
            drop(state);
            drop(last);
        }
    }

    /// Wakes or starts a thread for the newest entry. False if the lane has none and cannot get one.
    fn find_thread(self: &Arc<Self>, state: &mut State) -> bool {
        if state.idle >= state.queue.len() {
            self.work.notify_one();
            return true;
        }
        if state.threads < MAX_THREADS {
            let lane = Arc::clone(self);
            let builder = thread::Builder::new()
                .name("file-lane".into())
                .stack_size(STACK_BYTES);
            if builder.spawn(move || lane.serve()).is_ok() {
                state.threads += 1;
            }
        }
        if state.idle > 0 {
            self.work.notify_one();
        }
        state.threads > 0
    }

    fn serve(&self) {
        let mut state = unpoisoned(&self.state);
        loop {
            if let Some(entry) = state.queue.pop_front() {
                drop(state);
                let was_close = matches!(entry, Entry::Close(_));
                self.run(entry);
                state = unpoisoned(&self.state);
                if was_close {
                    // No job comes any more: each would have held the file.
                    state.threads -= 1;
                    return;
                }
                continue;
            }
            state.idle += 1;
            let (guard, timeout) = self
                .work
                .wait_timeout(state, IDLE)
                .unwrap_or_else(PoisonError::into_inner);
            state = guard;
            state.idle -= 1;
            if timeout.timed_out() && state.queue.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }

    fn run(&self, entry: Entry) {
        match entry {
            Entry::Job(job) => {
                #[cfg(test)]
                self.gate.pass();
                let Job {
                    id,
                    file,
                    work,
                    returns,
                } = job;
                // SAFETY: see `Job`'s `Send`: the memory is the operation's until the result is put.
                let result = unsafe { perform(&file, work) };
                Self::close(file);
                returns.put(JobResult { id, result });
            }
            Entry::Close(file) => drop(file),
        }
    }
}

/// Does the work, however long it takes.
///
/// # Safety
/// The work's memory is nobody else's meanwhile.
unsafe fn perform(file: &StoreFile, work: Work) -> io::Result<usize> {
    // SAFETY: the caller's.
    match unsafe { perform_once(file, work) } {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            // SAFETY: the caller's.
            unsafe { perform(file, work) }
        }
        result => result,
    }
}

/// # Safety
/// As [`perform`].
unsafe fn perform_once(file: &StoreFile, work: Work) -> io::Result<usize> {
    let fd = file.as_fd();
    let keep_size = FallocateFlags::KEEP_SIZE;
    match work {
        Work::Read { span, offset } => {
            // SAFETY: the caller's.
            let step = |span, at| unsafe { rw::read_at(fd, span, at, RwFlags::NONE) };
            transfer(file, span, offset, step)
        }
        Work::Write {
            span,
            offset,
            durable,
        } => {
            let flags = RwFlags::NONE.durable(durable);
            // SAFETY: the caller's.
            match transfer(file, span, offset, |span, at| unsafe {
                rw::write_at(fd, span, at, flags)
            }) {
                Err(error) if durable && rw::flags_are_refused(&error) => {
                    // SAFETY: the caller's.
                    let done = transfer(file, span, offset, |span, at| unsafe {
                        rw::write_at(fd, span, at, RwFlags::NONE)
                    })?;
                    fdatasync(fd)?;
                    Ok(done)
                }
                result => result,
            }
        }
        Work::Map {
            span,
            offset,
            bytes,
        } => {
            let words = span.len / size_of::<u64>();
            let mut filled = 0;
            map::runs(file, offset, bytes, words, |word: u64| {
                let bytes = word.to_le_bytes();
                // SAFETY: `filled` stays below the span's length, of which `words` runs take no more, and the memory is the
                // operation's (the caller's promise).
                unsafe {
                    std::ptr::copy_nonoverlapping(
                        bytes.as_ptr(),
                        span.ptr.add(filled),
                        bytes.len(),
                    );
                }
                filled += bytes.len();
            })?;
            Ok(filled)
        }
        Work::Flush => fdatasync(fd).map(|()| 0).map_err(io::Error::from),
        Work::Discard { offset, bytes } if file.is_block_device() => {
            block_device::discard(fd, offset, bytes).map(|()| 0)
        }
        Work::Zero { offset, bytes } if file.is_block_device() => {
            block_device::zero_out(fd, offset, bytes).map(|()| 0)
        }
        Work::Punch { offset, bytes } | Work::Discard { offset, bytes } => {
            fallocate(fd, FallocateFlags::PUNCH_HOLE | keep_size, offset, bytes)?;
            Ok(0)
        }
        Work::Zero { offset, bytes } => {
            fallocate(fd, FallocateFlags::ZERO_RANGE | keep_size, offset, bytes)?;
            Ok(0)
        }
    }
}

/// Moves all bytes, or as many as come before the end of the file.
fn transfer(
    file: &StoreFile,
    span: Span,
    offset: u64,
    mut step: impl FnMut(Span, u64) -> io::Result<usize>,
) -> io::Result<usize> {
    let mut done = 0;
    while done < span.len {
        match step(span.skip(done), offset.saturating_add(done as u64))? {
            0 => break,
            moved => done += moved,
        }
        if is_direct_end(file, done) {
            break;
        }
    }
    Ok(done)
}

/// Direct I/O that stops within a block has met the end of the file: asking on from there would be misaligned.
pub(crate) fn is_direct_end(file: &StoreFile, done: usize) -> bool {
    file.is_direct() && !done.is_multiple_of(512)
}

fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(crate) mod test_gate {
    use std::sync::{Condvar, Mutex};

    /// Holds a lane's threads before each job, as a disk that does not answer would.
    #[derive(Debug, Default)]
    pub(crate) struct Gate {
        state: Mutex<State>,
        moved: Condvar,
    }

    #[derive(Debug, Default)]
    struct State {
        shut: bool,
        /// Threads that stand before it.
        waiting: usize,
    }

    impl Gate {
        pub(crate) fn set_shut(&self, shut: bool) {
            self.state.lock().unwrap().shut = shut;
            self.moved.notify_all();
        }

        /// How many threads have begun a job and are held.
        pub(crate) fn waiting(&self) -> usize {
            self.state.lock().unwrap().waiting
        }

        pub(super) fn pass(&self) {
            let mut state = self.state.lock().unwrap();
            state.waiting += 1;
            let mut state = self.moved.wait_while(state, |state| state.shut).unwrap();
            state.waiting -= 1;
        }
    }
}
