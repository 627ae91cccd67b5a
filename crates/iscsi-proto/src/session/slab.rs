//! The session's tasks: a slab with dense ids, and the table that finds a task by its Initiator Task Tag.
//!
//! Both grow with use up to what window and allowance let in, and never allocate on the way of a command once warm.

use iscsi_wire::Itt;

use super::TaskId;
use super::task::Task;

/// All tasks without an answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct TaskSlab {
    tasks: Vec<Option<Task>>,
    /// One bit per place, set where it is free.
    free: Vec<u64>,
    len: usize,
    tags: TagTable,
}

impl TaskSlab {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes a task in, at the lowest free place. Its tag is not in use: the caller has looked. Inlined so that a task is made where
    /// it stands, and not moved there.
    #[inline(always)]
    pub(crate) fn insert(&mut self, task: Task) -> TaskId {
        let word = self.free.iter().position(|word| *word != 0);
        let word = word.unwrap_or_else(|| self.grow());
        let slot = word * WORD_BITS + self.free[word].trailing_zeros() as usize;
        self.place(slot, task)
    }

    /// Puts a task at the place it had. False where that is taken or beyond reach.
    pub(crate) fn insert_at(&mut self, id: TaskId, task: Task, places: usize) -> bool {
        let slot = id.index();
        if slot >= places || self.get(id).is_some() || self.find(task.itt).is_some() {
            return false;
        }
        while self.tasks.len() <= slot {
            self.grow();
        }
        self.place(slot, task);
        true
    }

    pub(crate) fn get(&self, id: TaskId) -> Option<&Task> {
        self.tasks.get(id.index())?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: TaskId) -> Option<&mut Task> {
        self.tasks.get_mut(id.index())?.as_mut()
    }

    /// Makes a task one that its tag finds no more, so that the initiator may give the tag to another.
    pub(crate) fn unname(&mut self, id: TaskId) {
        if let Some(task) = self.get(id) {
            let itt = task.itt;
            self.tags.remove(itt, id);
        }
    }

    /// Drops a task where it stands: it is too large to be moved about for nothing. Whether it was there.
    pub(crate) fn remove(&mut self, id: TaskId) -> bool {
        let Some(place) = self.tasks.get_mut(id.index()) else {
            return false;
        };
        let Some(task) = place else { return false };
        let itt = task.itt;
        *place = None;
        self.free[id.index() / WORD_BITS] |= 1 << (id.index() % WORD_BITS);
        self.len -= 1;
        self.tags.remove(itt, id);
        true
    }

    pub(crate) fn find(&self, itt: Itt) -> Option<TaskId> {
        self.tags.find(itt)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (TaskId, &Task)> {
        let numbered = self.tasks.iter().zip(0u32..);
        numbered.filter_map(|(task, slot)| task.as_ref().map(|task| (TaskId(slot), task)))
    }

    /// Gives all memory back where there is no task.
    pub(crate) fn release_idle_memory(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }

    #[inline(always)]
    fn place(&mut self, slot: usize, task: Task) -> TaskId {
        let id = TaskId(u32::try_from(slot).expect("the window bounds the slab far below 2^32"));
        self.tags.insert(task.itt, id);
        self.free[slot / WORD_BITS] &= !(1 << (slot % WORD_BITS));
        self.tasks[slot] = Some(task);
        self.len += 1;
        id
    }

    /// Adds one word of places and says which.
    fn grow(&mut self) -> usize {
        self.free.push(u64::MAX);
        self.tasks.resize_with(self.free.len() * WORD_BITS, || None);
        self.free.len() - 1
    }
}

/// Two slabs are equal where they hold equal tasks at equal places: how much room is around them does not matter.
impl PartialEq for TaskSlab {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for TaskSlab {}

const WORD_BITS: usize = 64;

/// Tag to task: open addressing, linear probing, at most half full, deletion by moving back what follows.
#[derive(Clone, Debug, Default)]
struct TagTable {
    /// Empty, or a power of two of entries.
    entries: Vec<Option<(Itt, TaskId)>>,
    len: usize,
}

impl TagTable {
    fn find(&self, itt: Itt) -> Option<TaskId> {
        let (mut at, mask) = self.home(itt)?;
        while let Some((tag, id)) = self.entries[at] {
            if tag == itt {
                return Some(id);
            }
            at = (at + 1) & mask;
        }
        None
    }

    fn insert(&mut self, itt: Itt, id: TaskId) {
        if (self.len + 1) * 2 > self.entries.len() {
            let wider = (self.entries.len() * 2).max(16);
            let old = core::mem::replace(&mut self.entries, vec![None; wider]);
            self.len = 0;
            for (tag, id) in old.into_iter().flatten() {
                self.insert(tag, id);
            }
        }
        if let Some((mut at, mask)) = self.home(itt) {
            while self.entries[at].is_some() {
                at = (at + 1) & mask;
            }
            self.entries[at] = Some((itt, id));
            self.len += 1;
        }
    }

    /// Forgets a tag, where it stands for this task.
    fn remove(&mut self, itt: Itt, id: TaskId) {
        let Some((mut at, mask)) = self.home(itt) else {
            return;
        };
        loop {
            match self.entries[at] {
                None => return,
                Some((tag, of)) if tag == itt && of == id => break,
                Some(_) => at = (at + 1) & mask,
            }
        }
        self.len -= 1;
        self.entries[at] = None;
        let mut next = (at + 1) & mask;
        while let Some((tag, id)) = self.entries[next] {
            let home = self.home(tag).map_or(next, |(home, _)| home);
            // The entry may move to the hole if the hole is not before its home, going round.
            if next.wrapping_sub(home) & mask >= next.wrapping_sub(at) & mask {
                self.entries[at] = Some((tag, id));
                self.entries[next] = None;
                at = next;
            }
            next = (next + 1) & mask;
        }
    }

    /// Where a tag's search starts, and the mask of indices.
    fn home(&self, itt: Itt) -> Option<(usize, usize)> {
        let mask = self.entries.len().checked_sub(1)?;
        // Initiators count their tags up, or put an index in the low and an age in the high bits: Fibonacci hashing
        // spreads both.
        let hash = itt.0.wrapping_mul(0x9e37_79b1) >> 12;
        Some((hash as usize & mask, mask))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::session::fixture::plain_task;

    #[test]
    fn insert_after_remove_takes_the_lowest_free_place() {
        let mut slab = TaskSlab::default();
        let ids: Vec<u32> = (0..70)
            .map(|tag| slab.insert(plain_task(Itt(tag))).0)
            .collect();
        assert_eq!(ids, (0..70).collect::<Vec<u32>>());
        for tag in [66, 3, 40] {
            assert_eq!(slab.get(TaskId(tag)).unwrap().itt, Itt(tag));
            assert!(slab.remove(TaskId(tag)));
            assert!(!slab.remove(TaskId(tag)));
        }
        assert_eq!(slab.insert(plain_task(Itt(100))), TaskId(3));
        assert_eq!(slab.insert(plain_task(Itt(101))), TaskId(40));
        assert_eq!(
            (slab.len(), slab.find(Itt(66)), slab.find(Itt(100))),
            (69, None, Some(TaskId(3)))
        );
    }

    #[test]
    fn unname_leaves_the_task_and_its_tag_goes_to_another() {
        let mut slab = TaskSlab::default();
        let old = slab.insert(plain_task(Itt(5)));
        slab.unname(old);
        assert_eq!(slab.find(Itt(5)), None);
        let new = slab.insert(plain_task(Itt(5)));
        assert!(new != old && slab.remove(old));
        assert_eq!((slab.find(Itt(5)), slab.len()), (Some(new), 1));
    }

    #[test]
    fn release_idle_memory_with_a_task_keeps_it_and_without_frees_all() {
        let mut slab = TaskSlab::default();
        let id = slab.insert(plain_task(Itt(9)));
        slab.release_idle_memory();
        assert_eq!(slab.find(Itt(9)), Some(id));
        slab.remove(id);
        slab.release_idle_memory();
        assert_eq!(
            (slab.tasks.capacity(), slab.tags.entries.capacity()),
            (0, 0)
        );
    }

    proptest! {
        #[test]
        fn tag_table_under_any_operations_agrees_with_a_map(
            operations in prop::collection::vec((0u32..40, any::<bool>(), any::<bool>()), 0..400),
        ) {
            let mut table = TagTable::default();
            let mut map = HashMap::new();
            for (small, spread, add) in operations {
                let itt = Itt(if spread { small.wrapping_mul(0x0100_0001) } else { small });
                if add {
                    map.entry(itt).or_insert_with(|| {
                        table.insert(itt, TaskId(small));
                        TaskId(small)
                    });
                } else {
                    table.remove(itt, TaskId(u32::MAX));
                    if let Some(id) = map.remove(&itt) {
                        table.remove(itt, id);
                    }
                }
                for probe in (0..40).flat_map(|n: u32| [Itt(n), Itt(n.wrapping_mul(0x0100_0001))]) {
                    prop_assert_eq!(table.find(probe), map.get(&probe).copied());
                }
            }
        }
    }
}
