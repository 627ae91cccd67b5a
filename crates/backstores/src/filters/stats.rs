//! A store that counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use block::{IoOpKind, Lba};
use reactor::{Driver, Op, OpResult, Pin, Token};

use super::hand_on;
use crate::api::{Backstore, IoDone, IoPort, IoRequest, LocalStore};

/// Counts requests and failures by kind. Each worker has counters of its own; a reader adds them up.
pub struct StatsFilter {
    inner: Arc<dyn Backstore>,
    workers: Mutex<Vec<Arc<Counters>>>,
}

/// Sums over all workers since the filter was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Read requests submitted.
    pub reads: u64,
    /// Write requests submitted.
    pub writes: u64,
    /// Flush requests submitted.
    pub flushes: u64,
    /// Unmap requests submitted.
    pub unmaps: u64,
    /// Requests for zeros submitted.
    pub zeroes: u64,
    /// Maps asked for.
    pub maps: u64,
    /// Blocks asked for by reads.
    pub read_blocks: u64,
    /// Blocks given by writes.
    pub written_blocks: u64,
    /// Requests ended, well or not.
    pub completed: u64,
    /// Requests ended with an error.
    pub failed: u64,
    /// Pins lent; what goes through them is counted nowhere else.
    pub pins: u64,
}

/// One worker's counters. Only it writes them, so a load and a store do for an addition.
#[derive(Default)]
struct Counters {
    submitted: [AtomicU64; KINDS],
    read_blocks: AtomicU64,
    written_blocks: AtomicU64,
    completed: AtomicU64,
    failed: AtomicU64,
    pins: AtomicU64,
}

const KINDS: usize = 6;

fn slot(kind: IoOpKind) -> usize {
    match kind {
        IoOpKind::Read => 0,
        IoOpKind::Write => 1,
        IoOpKind::Flush => 2,
        IoOpKind::Unmap => 3,
        IoOpKind::WriteZeroes => 4,
        IoOpKind::Map => 5,
    }
}

fn add(counter: &AtomicU64, more: u64) {
    let sum = counter.load(Ordering::Relaxed).wrapping_add(more);
    counter.store(sum, Ordering::Relaxed);
}

impl StatsFilter {
    /// Counts what reaches the store inside.
    #[must_use]
    pub fn new(inner: Arc<dyn Backstore>) -> Self {
        Self {
            inner,
            workers: Mutex::new(Vec::new()),
        }
    }

    /// The sums now.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        let mut sum = StoreStats::default();
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        for worker in workers.iter() {
            let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            let submitted = |kind| load(&worker.submitted[slot(kind)]);
            sum.reads += submitted(IoOpKind::Read);
            sum.writes += submitted(IoOpKind::Write);
            sum.flushes += submitted(IoOpKind::Flush);
            sum.unmaps += submitted(IoOpKind::Unmap);
            sum.zeroes += submitted(IoOpKind::WriteZeroes);
            sum.maps += submitted(IoOpKind::Map);
            sum.read_blocks += load(&worker.read_blocks);
            sum.written_blocks += load(&worker.written_blocks);
            sum.completed += load(&worker.completed);
            sum.failed += load(&worker.failed);
            sum.pins += load(&worker.pins);
        }
        sum
    }
}

impl Backstore for StatsFilter {
    hand_on!(name, caps, control, deferring);

    fn attach(self: Arc<Self>, driver: &mut dyn Driver) -> Box<dyn LocalStore> {
        let counters = Arc::new(Counters::default());
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.push(Arc::clone(&counters));
        drop(workers);
        Box::new(LocalStats {
            inner: Arc::clone(&self.inner).attach(driver),
            counters,
        })
    }
}

struct LocalStats {
    inner: Box<dyn LocalStore>,
    counters: Arc<Counters>,
}

impl LocalStore for LocalStats {
    fn submit(&mut self, request: IoRequest, port: &mut dyn IoPort) {
        let counters = &self.counters;
        let kind = request.io.kind();
        add(&counters.submitted[slot(kind)], 1);
        match (kind, request.io.range()) {
            (IoOpKind::Read, Some((_, blocks))) => add(&counters.read_blocks, blocks),
            (IoOpKind::Write, Some((_, blocks))) => add(&counters.written_blocks, blocks),
            _ => {}
        }
        let mut port = CountingPort { port, counters };
        self.inner.submit(request, &mut port);
    }

    fn complete(&mut self, token: Token, result: OpResult, port: &mut dyn IoPort) {
        let counters = &self.counters;
        let mut port = CountingPort { port, counters };
        self.inner.complete(token, result, &mut port);
    }

    fn pin(&mut self, lba: Lba, blocks: u64) -> Option<Pin> {
        let pin = self.inner.pin(lba, blocks)?;
        add(&self.counters.pins, 1);
        Some(pin)
    }

    fn detach(self: Box<Self>, driver: &mut dyn Driver) {
        self.inner.detach(driver);
    }
}

/// Sees completions on their way out.
struct CountingPort<'a> {
    port: &'a mut dyn IoPort,
    counters: &'a Counters,
}

impl IoPort for CountingPort<'_> {
    fn push(&mut self, op: Op, token: Token) {
        self.port.push(op, token);
    }

    fn complete(&mut self, done: IoDone) {
        add(&self.counters.completed, 1);
        if done.result.is_err() {
            add(&self.counters.failed, 1);
        }
        self.port.complete(done);
    }

    fn defer(&mut self, delay: Duration, request: IoRequest) {
        self.port.defer(delay, request);
    }
}
