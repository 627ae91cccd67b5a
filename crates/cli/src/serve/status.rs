//! The calm line on a terminal: how many sessions, and what they move.

use std::time::{Duration, Instant};

use engine::Counters;

/// How often it changes.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

/// What was counted when the line was last written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Status {
    at: Instant,
    counters: Counters,
}

impl Status {
    pub(crate) fn new(at: Instant, counters: Counters) -> Self {
        Self { at, counters }
    }

    /// The line for the time since the last call.
    pub(crate) fn line(&mut self, at: Instant, counters: Counters) -> String {
        let before = std::mem::replace(self, Self::new(at, counters));
        let elapsed = at.saturating_duration_since(before.at);
        let rate = |now: u64, before: u64| per_second(now.wrapping_sub(before), elapsed);
        format!(
            "{}, read {}, write {}, {} IOPS",
            sessions(counters.sessions),
            megabytes(rate(counters.read_bytes, before.counters.read_bytes)),
            megabytes(rate(counters.written_bytes, before.counters.written_bytes)),
            rate(counters.commands, before.counters.commands),
        )
    }
}

fn sessions(count: u64) -> String {
    match count {
        0 => "no session".to_owned(),
        1 => "1 session".to_owned(),
        n => format!("{n} sessions"),
    }
}

/// In tenths, as MB/s.
fn megabytes(bytes_per_second: u64) -> String {
    let tenths = bytes_per_second / 100_000;
    format!("{}.{} MB/s", tenths / 10, tenths % 10)
}

/// Rounded down; of no time at all, nothing.
fn per_second(count: u64, elapsed: Duration) -> u64 {
    let per_second = u128::from(count) * 1_000_000 / elapsed.as_micros().max(1);
    if elapsed.is_zero() {
        0
    } else {
        u64::try_from(per_second).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(sessions: u64, commands: u64, read_bytes: u64, written_bytes: u64) -> Counters {
        Counters {
            sessions,
            commands,
            read_bytes,
            written_bytes,
            ..Counters::default()
        }
    }

    #[test]
    fn line_tells_rates_since_the_last_line() {
        let start = Instant::now();
        let mut status = Status::new(start, counted(0, 10, 1000, 0));
        let second = start + Duration::from_secs(2);
        let line = status.line(second, counted(1, 2010, 1000 + 3_000_000, 250_000_000));
        assert_eq!(
            line,
            "1 session, read 1.5 MB/s, write 125.0 MB/s, 1000 IOPS"
        );
        let line = status.line(second + INTERVAL, counted(2, 2010, 3_001_000, 250_000_000));
        assert_eq!(line, "2 sessions, read 0.0 MB/s, write 0.0 MB/s, 0 IOPS");
    }

    #[test]
    fn line_of_no_time_or_counters_that_went_round_is_no_panic() {
        let start = Instant::now();
        let mut status = Status::new(start, counted(0, u64::MAX, 0, 0));
        let line = status.line(start, counted(0, 9, 1 << 40, 0));
        assert_eq!(line, "no session, read 0.0 MB/s, write 0.0 MB/s, 0 IOPS");
        let mut status = Status::new(start, counted(0, u64::MAX, 0, 0));
        let line = status.line(start + INTERVAL, counted(0, 9, 0, u64::MAX));
        assert!(line.ends_with(" 10 IOPS"), "{line}");
    }
}
