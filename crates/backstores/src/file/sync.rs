//! Which successes may be believed yet.
//!
//! The kernel tells a failed write-back once per open file description: to whichever flush or durable write looks first.
//! The others that were under way at that time succeed, though it may be their data that is lost. So the success of such an
//! operation is told only when all of them that were started before it ended have ended too, and none has failed.

use std::collections::VecDeque;

use reactor::{Memory, Token};

use super::local::Task;

/// Operations under way that look at write-back errors, and successes that wait for them.
#[derive(Default)]
pub(super) struct SyncWindow {
    /// Number of the first operation in `ended`.
    first: u64,
    /// From the oldest that is under way on: whether it has ended.
    ended: VecDeque<bool>,
    held: VecDeque<Held>,
}

/// The number of an operation in its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SyncNumber(u64);

/// A request that succeeded, but not yet beyond doubt.
pub(super) struct Held {
    /// Everything before this number has to end first.
    until: u64,
    pub(super) token: Token,
    pub(super) task: Task,
    pub(super) memory: Option<Memory>,
}

impl SyncWindow {
    /// An operation starts.
    pub(super) fn start(&mut self) -> SyncNumber {
        let number = self.next();
        self.ended.push_back(false);
        SyncNumber(number)
    }

    /// It has ended, well or not.
    pub(super) fn end(&mut self, number: SyncNumber) {
        let at = number
            .0
            .checked_sub(self.first)
            .and_then(|at| usize::try_from(at).ok());
        if let Some(ended) = at.and_then(|at| self.ended.get_mut(at)) {
            *ended = true;
        }
        while self.ended.front() == Some(&true) {
            self.ended.pop_front();
            self.first += 1;
        }
    }

    /// Keeps a success until what is under way now has ended.
    pub(super) fn hold(&mut self, token: Token, task: Task, memory: Option<Memory>) {
        let until = self.next();
        self.held.push_back(Held {
            until,
            token,
            task,
            memory,
        });
    }

    /// The next success that waits for nothing any more. They come in the order in which they were held.
    pub(super) fn next_free(&mut self) -> Option<Held> {
        let free = self
            .held
            .front()
            .is_some_and(|held| held.until <= self.first);
        free.then(|| self.held.pop_front()).flatten()
    }

    fn next(&self) -> u64 {
        self.first + self.ended.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use block::IoOpKind;
    use proptest::prelude::*;

    use super::*;

    fn hold(window: &mut SyncWindow, token: u64) {
        window.hold(Token(token), Task::nothing(IoOpKind::Write), None);
    }

    fn freed(window: &mut SyncWindow) -> Vec<u64> {
        std::iter::from_fn(|| window.next_free())
            .map(|held| held.token.0)
            .collect()
    }

    #[test]
    fn success_alone_is_free_at_once() {
        let mut window = SyncWindow::default();
        let number = window.start();
        window.end(number);
        hold(&mut window, 1);
        assert_eq!(freed(&mut window), [1]);
    }

    #[test]
    fn success_waits_for_what_was_under_way_and_not_for_what_came_later() {
        let mut window = SyncWindow::default();
        let (one, two) = (window.start(), window.start());
        window.end(two);
        hold(&mut window, 2);
        assert!(freed(&mut window).is_empty());
        let three = window.start();
        window.end(one);
        hold(&mut window, 1);
        assert_eq!(
            freed(&mut window),
            [2],
            "one ended while three was under way"
        );
        window.end(three);
        assert_eq!(freed(&mut window), [1]);
    }

    proptest! {
        /// Each success is told exactly once, and never while something older than its end is under way.
        #[test]
        fn successes_are_told_once_and_not_too_early(choices in prop::collection::vec(any::<(bool, u8)>(), 1..200)) {
            let mut window = SyncWindow::default();
            let mut under_way: Vec<(u64, SyncNumber)> = Vec::new();
            let mut waits_for: Vec<(u64, Vec<u64>)> = Vec::new();
            let mut told = 0;
            let mut next = 0;
            let steps = choices.iter().copied().chain((0..200).map(|_| (false, 0)));
            for (start, choice) in steps {
                if start {
                    under_way.push((next, window.start()));
                    next += 1;
                } else if !under_way.is_empty() {
                    let (token, number) = under_way.remove(usize::from(choice) % under_way.len());
                    window.end(number);
                    hold(&mut window, token);
                    waits_for.push((token, under_way.iter().map(|(token, _)| *token).collect()));
                }
                for token in freed(&mut window) {
                    let at = waits_for.iter().position(|(waiting, _)| *waiting == token);
                    let (_, others) = waits_for.remove(at.expect("told once"));
                    prop_assert!(under_way.iter().all(|(token, _)| !others.contains(token)));
                    told += 1;
                }
            }
            prop_assert_eq!(told, next);
        }
    }
}
