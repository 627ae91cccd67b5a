//! Whether to spin before sleeping.
//!
//! A worker that sleeps costs its next command a wake-up; one that spins costs a core. So it spins only while traffic has
//! lately been arriving within the time that it may spin, and never at idle.

use std::time::{Duration, Instant};

/// A running estimate of how long a wait lasts before something comes.
#[derive(Debug)]
pub(super) struct Pace {
    longest: Duration,
    expected: Duration,
}

/// Estimates stop here: a longer wait is no less idle.
const IDLE: Duration = Duration::from_millis(1);

impl Pace {
    pub(super) fn new(longest: Duration) -> Self {
        Self {
            longest,
            expected: IDLE,
        }
    }

    pub(super) fn set_longest(&mut self, longest: Duration) {
        self.longest = longest;
    }

    /// Until when to spin, if at all, in a wait that starts at `now`.
    pub(super) fn spin_until(&self, now: Instant) -> Option<Instant> {
        (self.expected < self.longest).then(|| now + self.longest)
    }

    /// Learns how long a wait lasted. One that ended with nothing counts as idle.
    pub(super) fn learn(&mut self, waited: Duration, something_came: bool) {
        let sample = if something_came {
            waited.min(IDLE)
        } else {
            IDLE
        };
        self.expected = self.expected - self.expected / 4 + sample / 4;
    }
}

#[cfg(test)]
mod tests {
    use super::Pace;
    use std::time::{Duration, Instant};

    const LONGEST: Duration = Duration::from_micros(50);

    #[test]
    fn pace_spins_after_a_run_of_short_waits_and_stops_after_idle_ones() {
        let mut pace = Pace::new(LONGEST);
        let now = Instant::now();
        assert_eq!(pace.spin_until(now), None, "an idle worker sleeps");
        for _ in 0..20 {
            pace.learn(Duration::from_micros(5), true);
        }
        assert_eq!(pace.spin_until(now), Some(now + LONGEST));
        pace.learn(Duration::from_micros(50), false);
        assert_eq!(pace.spin_until(now), None, "one wait in vain ends it");
    }

    #[test]
    fn pace_of_zero_never_spins() {
        let mut pace = Pace::new(LONGEST);
        pace.set_longest(Duration::ZERO);
        for _ in 0..100 {
            pace.learn(Duration::ZERO, true);
        }
        assert_eq!(pace.spin_until(Instant::now()), None);
    }
}
