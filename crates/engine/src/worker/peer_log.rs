//! How much a worker logs about what peers do: anybody who can connect could fill a disk with it otherwise.

use std::cell::Cell;
use std::time::Duration;

/// Lines in one interval. What an operator looks for stands among the first.
const LINES: u32 = 20;
const INTERVAL: Duration = Duration::from_secs(10);

/// Lines about peers that may still be logged.
#[derive(Debug, Default)]
pub(super) struct PeerLog {
    since: Cell<Duration>,
    used: Cell<u32>,
    left_out: Cell<u64>,
}

impl PeerLog {
    /// Whether a line may be logged now. The first one after some that might not be tells how many they were.
    pub(super) fn may_log(&self, now: Duration) -> bool {
        if now.saturating_sub(self.since.get()) >= INTERVAL {
            self.since.set(now);
            self.used.set(0);
            let count = self.left_out.take();
            if count > 0 {
                tracing::warn!(count, "lines about peers were left out of the log");
            }
        }
        let may = self.used.get() < LINES;
        if may {
            self.used.set(self.used.get() + 1);
        } else {
            self.left_out.set(self.left_out.get().saturating_add(1));
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn may_log_beyond_the_lines_of_an_interval_is_left_out_until_the_next() {
        let log = PeerLog::default();
        let start = Duration::from_secs(3);
        let logged = |now| (0..100).filter(|_| log.may_log(now)).count();
        assert_eq!(logged(start), LINES as usize);
        assert_eq!(log.left_out.get(), 80);
        assert_eq!(logged(start + Duration::from_secs(6)), 0);
        assert_eq!(logged(start + INTERVAL), LINES as usize);
        assert_eq!(log.left_out.get(), 80, "those before have been told");
    }
}
