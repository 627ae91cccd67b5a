//! Waiting for what a removal still has to see off: each thing on its way out holds a [`Hold`], and whoever waits looks at
//! what is left. A hold is given back when it is dropped, wherever that happens, so that nothing can be forgotten.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// A session that is asked to log out.
    Session,
    /// A logical unit that a session may not use any more, with commands in it.
    Lun,
    /// A worker's part of a backstore.
    Backstore,
    /// A change of a logical unit, or of what a session sees, that its workers have yet to take.
    Change,
    /// A listener that takes its last connections.
    Listener,
}

/// How many of each kind have not left yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Sessions asked to log out.
    pub sessions: usize,
    /// LUNs of sessions with commands still in them.
    pub luns: usize,
    /// Workers' parts of backstores.
    pub backstores: usize,
    /// Changes of logical units, and of what sessions see, that are under way.
    pub changes: usize,
    /// Listeners that take their last connections.
    pub listeners: usize,
}

impl Left {
    /// Whether all have left.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    fn of(&mut self, leaving: Leaving) -> &mut usize {
        match leaving {
            Leaving::Session => &mut self.sessions,
            Leaving::Lun => &mut self.luns,
            Leaving::Backstore => &mut self.backstores,
            Leaving::Change => &mut self.changes,
            Leaving::Listener => &mut self.listeners,
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    left: Mutex<Left>,
    fewer: Condvar,
}

impl Inner {
    fn count(&self, leaving: Leaving, change: impl FnOnce(&mut usize)) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        change(left.of(leaving));
        drop(left);
        self.fewer.notify_all();
    }
}

/// The waiting side.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drain(Arc<Inner>);

impl Drain {
    /// One more that has to leave.
    pub(crate) fn hold(&self, leaving: Leaving) -> Hold {
        self.0.count(leaving, |n| *n += 1);
        Hold {
            inner: Arc::clone(&self.0),
            leaving,
        }
    }

    /// What has not left yet.
    pub(crate) fn left(&self) -> Left {
        *self.0.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nothing is left, at most so long; returns what is left then.
    pub(crate) fn wait(&self, within: Duration) -> Left {
        let end = Instant::now() + within;
        let mut left = self.0.left.lock().unwrap_or_else(PoisonError::into_inner);
        while !left.is_nothing() {
            let Some(rest) = end.checked_duration_since(Instant::now()) else {
                break;
            };
            let waited = self.0.fewer.wait_timeout(left, rest);
            left = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *left
    }
}

/// Held by what is on its way out, until it is gone.
#[derive(Debug)]
pub(crate) struct Hold {
    inner: Arc<Inner>,
    leaving: Leaving,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.inner.count(self.leaving, |n| *n = n.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_ends_when_the_last_hold_is_dropped_on_another_thread() {
        let drain = Drain::default();
        let holds = [drain.hold(Leaving::Session), drain.hold(Leaving::Lun)];
        assert_eq!(drain.left().sessions + drain.left().luns, 2);
        std::thread::scope(|scope| {
            scope.spawn(move || drop(holds));
            assert!(drain.wait(Duration::from_secs(30)).is_nothing());
        });
    }

    #[test]
    fn wait_with_something_left_tells_it_at_its_end() {
        let drain = Drain::default();
        let _hold = drain.hold(Leaving::Backstore);
        assert_eq!(drain.wait(Duration::ZERO).backstores, 1);
    }
}
