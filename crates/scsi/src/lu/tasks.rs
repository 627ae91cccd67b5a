//! One shard's part of the task set.
//!
//! Entering, finding and leaving are O(1), and need no memory once the set has been as large as it gets.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};

use super::fence::Flight;
use super::{NexusId, TaskKey, Ticket};
use crate::command::TaskAttribute;

/// A map by one of this module's names. They are the engine's, not a peer's: nothing can choose them to collide.
pub(super) type NameMap<K, V> = HashMap<K, V, BuildHasherDefault<NameHasher>>;

/// Mixes one `u64`; names are counters, or slot and generation.
#[derive(Default)]
pub(super) struct NameHasher(u64);

impl Hasher for NameHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, name: u64) {
        // Fibonacci hashing; the fold brings the well-mixed upper bits down to where tables look.
        let mixed = (self.0 ^ name).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

/// A command in the task set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task {
    pub(super) nexus: NexusId,
    /// The order in which tasks entered this shard, from 1.
    pub(super) sequence: u64,
    pub(super) attribute: TaskAttribute,
    /// Its I/O in the store; a task has one at a time.
    pub(super) flight: Option<Flight>,
    /// It was told to wait, and has not been woken.
    pub(super) held: bool,
    /// It was told to end; it is in the set until its last I/O has left the store.
    pub(super) aborted: bool,
    /// An ORDERED task's place in the order.
    pub(super) order: Option<Ticket>,
    /// What it asked of the home, and has not been answered or given back.
    pub(super) request: Option<Ticket>,
}

/// The tasks of one shard.
#[derive(Debug, Default)]
pub(super) struct TaskSet {
    tasks: NameMap<TaskKey, Task>,
    /// Room is made for this many.
    room: usize,
    last_sequence: u64,
}

impl TaskSet {
    pub(super) fn len(&self) -> usize {
        self.tasks.len()
    }

    pub(super) fn get(&self, key: TaskKey) -> Option<&Task> {
        self.tasks.get(&key)
    }

    pub(super) fn get_mut(&mut self, key: TaskKey) -> Option<&mut Task> {
        self.tasks.get_mut(&key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (TaskKey, &Task)> {
        self.tasks.iter().map(|(key, task)| (*key, task))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (TaskKey, &mut Task)> {
        self.tasks.iter_mut().map(|(key, task)| (*key, task))
    }

    /// The sequence number of the task that entered last.
    pub(super) fn last_sequence(&self) -> u64 {
        self.last_sequence
    }

    /// Adds a task, with what it has in the store already, and gives it the next sequence number. False, and nothing changes,
    /// where `key` is in the set.
    pub(super) fn insert(
        &mut self,
        key: TaskKey,
        nexus: NexusId,
        attribute: TaskAttribute,
        flight: Option<Flight>,
    ) -> bool {
        if self.tasks.len() == self.room {
            // Twice the room: a table that is at most half full clears its tombstones in place, without allocation.
            self.room = (self.room * 2).max(FIRST_ROOM);
            self.tasks.reserve(self.room * 2);
        }
        let Entry::Vacant(place) = self.tasks.entry(key) else {
            return false;
        };
        self.last_sequence += 1;
        place.insert(Task {
            nexus,
            sequence: self.last_sequence,
            attribute,
            flight,
            held: false,
            aborted: false,
            order: None,
            request: None,
        });
        true
    }

    pub(super) fn remove(&mut self, key: TaskKey) -> Option<Task> {
        self.tasks.remove(&key)
    }

    /// Takes the keys of the tasks that were held, in the order in which they entered.
    pub(super) fn take_held(&mut self, into: &mut Vec<(u64, TaskKey)>) {
        into.clear();
        for (key, task) in &mut self.tasks {
            if std::mem::take(&mut task.held) && !task.aborted {
                into.push((task.sequence, *key));
            }
        }
        into.sort_unstable();
    }
}

/// Tasks for which a shard that has any makes room.
const FIRST_ROOM: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn insert_and_remove_at_a_depth_seen_before_need_no_more_room() {
        const DEPTH: u64 = 100;
        let mut tasks = TaskSet::default();
        let nexus = NexusId(1);
        for key in 0..DEPTH {
            assert!(tasks.insert(TaskKey(key), nexus, TaskAttribute::Simple, None));
        }
        assert!(!tasks.insert(TaskKey(0), nexus, TaskAttribute::Simple, None));
        let room = tasks.room;
        let table = tasks.tasks.capacity();
        for key in DEPTH..100_000 {
            assert!(tasks.remove(TaskKey(key - DEPTH)).is_some());
            tasks.insert(TaskKey(key), nexus, TaskAttribute::Simple, None);
        }
        assert_eq!(tasks.len() as u64, DEPTH);
        assert_eq!(tasks.room, room);
        assert!(tasks.tasks.capacity() <= table, "the table has grown");
        assert_eq!(tasks.last_sequence(), 100_000);
    }

    #[test]
    fn take_held_is_in_order_of_entry_and_leaves_out_the_aborted() {
        let mut tasks = TaskSet::default();
        for key in [9, 4, 7, 2] {
            tasks.insert(TaskKey(key), NexusId(1), TaskAttribute::Simple, None);
            tasks.get_mut(TaskKey(key)).unwrap().held = true;
        }
        tasks.get_mut(TaskKey(4)).unwrap().aborted = true;
        let mut held = Vec::new();
        tasks.take_held(&mut held);
        assert_eq!(held, [(1, TaskKey(9)), (3, TaskKey(7)), (4, TaskKey(2))]);
        tasks.take_held(&mut held);
        assert_eq!(held, []);
    }
}
