//! What a logical unit has done, for the log pages.
//!
//! Each shard counts for itself, on cache lines that nobody else writes; who wants to know adds up. The lock is taken when
//! a shard comes and when somebody wants to know, not by a command.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use block::{Lba, Usage};

use crate::sense::Sense;

/// SPC-5 "SELF-TEST CODE field": the self-tests there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SelfTestCode {
    /// Foreground short self-test.
    ForegroundShort = 0b101,
    /// Foreground extended self-test.
    ForegroundExtended = 0b110,
}

/// How a self-test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelfTestResult {
    /// Which it was.
    pub code: SelfTestCode,
    /// When, as [`LunView::now`](crate::LunView::now) says.
    pub at: Duration,
    /// The block at which it failed, and how.
    pub failure: Option<(Lba, Sense)>,
}

/// How many results of self-tests are kept: as many as the Self-Test Results log page has.
pub(crate) const SELF_TESTS: usize = 20;

/// What kind of work a command was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// It read blocks for the initiator.
    Read,
    /// It changed blocks.
    Write,
    /// It read blocks to look at them.
    Verify,
}

/// Sums for one kind of work, since the daemon's start or the last reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrafficTotals {
    /// Commands that ended in GOOD.
    pub commands: u64,
    /// Bytes that these moved.
    pub bytes: u64,
    /// Time that these took, from their begin to their status, in microseconds.
    pub busy_us: u64,
    /// Commands that ended in MEDIUM ERROR.
    pub uncorrected_errors: u64,
}

/// All sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LuTotals {
    /// Reads.
    pub read: TrafficTotals,
    /// Writes.
    pub write: TrafficTotals,
    /// Verifications.
    pub verify: TrafficTotals,
}

/// The statistics of one logical unit, shared by its home and its shards.
#[derive(Debug, Default)]
pub struct LuStatistics {
    state: Mutex<State>,
    /// Of a sanitize operation that is under way.
    sanitize_progress: AtomicU16,
    /// Somebody wants to be told how much is used.
    has_threshold: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    shards: Vec<Arc<ShardStatistics>>,
    /// Sums of shards that are gone.
    gone: LuTotals,
    /// Sums at the last reset.
    base: LuTotals,
    /// The last self-tests, the most recent first.
    self_tests: VecDeque<SelfTestResult>,
    usage: Option<Usage>,
}

/// One shard's counters: one writer, so a load and a store do.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct ShardStatistics {
    read: TrafficCounters,
    write: TrafficCounters,
    verify: TrafficCounters,
}

#[derive(Debug, Default)]
struct TrafficCounters {
    commands: AtomicU64,
    bytes: AtomicU64,
    busy_us: AtomicU64,
    uncorrected_errors: AtomicU64,
}

impl PartialEq for LuStatistics {
    /// What a logical unit has done is no part of what it is: snapshots that differ in this alone are equal.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for LuStatistics {}

impl LuStatistics {
    /// The sums now.
    #[must_use]
    pub fn totals(&self) -> LuTotals {
        let state = self.state();
        state.all().since(&state.base)
    }

    /// Begins all sums anew.
    pub fn reset(&self) {
        let mut state = self.state();
        state.base = state.all();
    }

    /// The results of the last self-tests, the most recent first; at most 20.
    #[must_use]
    pub fn self_tests(&self) -> Vec<SelfTestResult> {
        self.state().self_tests.iter().copied().collect()
    }

    /// How much of its store the LU uses, as it was looked at last; `None`: it cannot be known, or has not been looked at.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.state().usage
    }

    /// Notes how much of its store the LU uses.
    pub fn note_usage(&self, usage: Usage) {
        self.state().usage = Some(usage);
    }

    /// Whether a threshold is enabled: then the home is to be told ([`HomeAction::Used`](super::HomeAction::Used)).
    #[must_use]
    pub fn has_threshold(&self) -> bool {
        self.has_threshold.load(Ordering::Relaxed)
    }

    pub(crate) fn note_threshold(&self, enabled: bool) {
        self.has_threshold.store(enabled, Ordering::Relaxed);
    }

    /// How much of a sanitize operation is done, in parts of 65,536.
    pub(crate) fn sanitize_progress(&self) -> u16 {
        self.sanitize_progress.load(Ordering::Relaxed)
    }

    pub(crate) fn note_sanitize_progress(&self, progress: u16) {
        self.sanitize_progress.store(progress, Ordering::Relaxed);
    }

    /// Notes how a self-test ended.
    pub(crate) fn record_self_test(&self, result: SelfTestResult) {
        let mut state = self.state();
        state.self_tests.truncate(SELF_TESTS - 1);
        state.self_tests.push_front(result);
    }

    /// Counters for one more shard.
    pub(crate) fn enter(&self) -> Arc<ShardStatistics> {
        let mut state = self.state();
        // Those that only this list still holds are of shards that are gone.
        let mut gone = state.gone;
        state.shards.retain(|shard| {
            let stays = Arc::strong_count(shard) > 1;
            if !stays {
                gone = gone.and(&shard.totals());
            }
            stays
        });
        state.gone = gone;
        let shard = Arc::new(ShardStatistics::default());
        state.shards.push(Arc::clone(&shard));
        shard
    }

    /// A panic elsewhere leaves nothing half done: each change is one step.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn all(&self) -> LuTotals {
        let add = |sum: LuTotals, shard: &Arc<ShardStatistics>| sum.and(&shard.totals());
        self.shards.iter().fold(self.gone, add)
    }
}

impl ShardStatistics {
    /// A command has ended in GOOD.
    pub(crate) fn count(&self, traffic: Traffic, bytes: u64, took: Duration) {
        let counters = self.of(traffic);
        add(&counters.commands, 1);
        add(&counters.bytes, bytes);
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        add(&counters.busy_us, took_us);
    }

    /// A command has ended in MEDIUM ERROR.
    pub(crate) fn count_error(&self, traffic: Traffic) {
        add(&self.of(traffic).uncorrected_errors, 1);
    }

    fn of(&self, traffic: Traffic) -> &TrafficCounters {
        match traffic {
            Traffic::Read => &self.read,
            Traffic::Write => &self.write,
            Traffic::Verify => &self.verify,
        }
    }

    fn totals(&self) -> LuTotals {
        LuTotals {
            read: self.read.totals(),
            write: self.write.totals(),
            verify: self.verify.totals(),
        }
    }
}

impl TrafficCounters {
    fn totals(&self) -> TrafficTotals {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TrafficTotals {
            commands: load(&self.commands),
            bytes: load(&self.bytes),
            busy_us: load(&self.busy_us),
            uncorrected_errors: load(&self.uncorrected_errors),
        }
    }
}

fn add(counter: &AtomicU64, more: u64) {
    let sum = counter.load(Ordering::Relaxed).wrapping_add(more);
    counter.store(sum, Ordering::Relaxed);
}

impl LuTotals {
    fn and(&self, other: &Self) -> Self {
        self.each(other, u64::wrapping_add)
    }

    fn since(&self, base: &Self) -> Self {
        self.each(base, u64::wrapping_sub)
    }

    fn each(&self, other: &Self, of: fn(u64, u64) -> u64) -> Self {
        let pair = |one: &TrafficTotals, two: &TrafficTotals| TrafficTotals {
            commands: of(one.commands, two.commands),
            bytes: of(one.bytes, two.bytes),
            busy_us: of(one.busy_us, two.busy_us),
            uncorrected_errors: of(one.uncorrected_errors, two.uncorrected_errors),
        };
        Self {
            read: pair(&self.read, &other.read),
            write: pair(&self.write, &other.write),
            verify: pair(&self.verify, &other.verify),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOK: Duration = Duration::from_micros(5);

    #[test]
    fn totals_add_up_all_shards_those_that_are_gone_too() {
        let statistics = LuStatistics::default();
        let one = statistics.enter();
        let two = statistics.enter();
        one.count(Traffic::Read, 512, TOOK);
        two.count(Traffic::Read, 1024, TOOK);
        two.count(Traffic::Write, 512, TOOK);
        two.count_error(Traffic::Verify);
        drop(two);
        for _ in 0..10 {
            drop(statistics.enter());
        }
        assert!(statistics.state().shards.len() <= 2);
        let totals = statistics.totals();
        let read = TrafficTotals {
            commands: 2,
            bytes: 1536,
            busy_us: 10,
            uncorrected_errors: 0,
        };
        assert_eq!(totals.read, read);
        assert_eq!(totals.write.commands, 1);
        assert_eq!(totals.verify.uncorrected_errors, 1);
    }

    #[test]
    fn totals_after_a_reset_begin_at_nothing() {
        let statistics = LuStatistics::default();
        let one = statistics.enter();
        one.count(Traffic::Write, 512, TOOK);
        statistics.reset();
        assert_eq!(statistics.totals(), LuTotals::default());
        one.count(Traffic::Write, 512, TOOK);
        assert_eq!(statistics.totals().write.commands, 1);
    }
}
