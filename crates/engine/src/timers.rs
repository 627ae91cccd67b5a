//! One lazily moved entry for each thing that can time out.
//!
//! An owner whose deadline moves later leaves its entry where it is: when the entry comes up, the owner is asked again and
//! re-inserted. So a busy connection costs the heap nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::slots::Key;

/// Deadlines by owner.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Duration, u32, u32)>>,
}

impl Timers {
    /// Has `owner` come up at `at`, a time since the process's start. Call it only where no earlier entry of the owner
    /// stands, or where `at` is earlier than that.
    pub(crate) fn insert(&mut self, at: Duration, owner: Key) {
        self.heap.push(Reverse((at, owner.index, owner.generation)));
    }

    /// The next owner whose entry has come up.
    pub(crate) fn pop_due(&mut self, now: Duration) -> Option<Key> {
        let Reverse((at, index, generation)) = *self.heap.peek()?;
        if at > now {
            return None;
        }
        self.heap.pop();
        Some(Key { index, generation })
    }

    /// When the first entry comes up.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.heap.peek().map(|Reverse((at, _, _))| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pop_due_in_order_of_time_and_not_before() {
        let (a, b) = (
            Key {
                index: 1,
                generation: 1,
            },
            Key {
                index: 2,
                generation: 1,
            },
        );
        let mut timers = Timers::default();
        timers.insert(Duration::from_secs(5), a);
        timers.insert(Duration::from_secs(3), b);
        assert_eq!(timers.next(), Some(Duration::from_secs(3)));
        assert_eq!(timers.pop_due(Duration::from_secs(2)), None);
        assert_eq!(timers.pop_due(Duration::from_secs(9)), Some(b));
        assert_eq!(timers.pop_due(Duration::from_secs(9)), Some(a));
        assert_eq!(timers.pop_due(Duration::from_secs(9)), None);
    }
}
