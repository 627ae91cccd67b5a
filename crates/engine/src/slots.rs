//! A slab whose keys carry a generation, so that a late completion finds nobody instead of a stranger.

/// Names an occupied slot: index and the generation it was filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// Values by [`Key`]; a freed slot is used again before the slab grows.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slots<T> {
    pub(crate) fn insert(&mut self, value: T) -> Key {
        let key = self.reserve();
        self.fill(key, value);
        key
    }

    /// A key for a value that needs to know its own; [`Self::fill`] follows.
    pub(crate) fn reserve(&mut self) -> Key {
        if let Some(index) = self.free.pop()
            && let Some(slot) = self.slots.get(index as usize)
        {
            return Key {
                index,
                generation: slot.generation,
            };
        }
        let index = u32::try_from(self.slots.len()).expect("fewer than 2^32 slots fit in memory");
        self.slots.push(Slot {
            generation: 1,
            value: None,
        });
        Key {
            index,
            generation: 1,
        }
    }

    /// Puts the value behind its reserved key.
    pub(crate) fn fill(&mut self, key: Key, value: T) {
        if let Some(slot) = self.slots.get_mut(key.index as usize) {
            slot.value = Some(value);
        }
    }

    /// The present key of a slot.
    pub(crate) fn key_at(&self, index: u32) -> Option<Key> {
        let slot = self.slots.get(index as usize)?;
        slot.value.as_ref()?;
        Some(Key {
            index,
            generation: slot.generation,
        })
    }

    pub(crate) fn find(&self, key: Key) -> Option<&T> {
        let slot = self.slots.get(key.index as usize)?;
        if slot.generation == key.generation {
            slot.value.as_ref()
        } else {
            None
        }
    }

    pub(crate) fn find_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation == key.generation {
            slot.value.as_mut()
        } else {
            None
        }
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        let value = slot.value.take()?;
        // Generation 0 never occurs, so that an all-zero key names nobody.
        slot.generation = slot.generation.wrapping_add(1).max(1);
        self.free.push(key.index);
        Some(value)
    }

    pub(crate) fn keys(&self) -> Vec<Key> {
        let occupied = |(index, slot): (usize, &Slot<T>)| {
            slot.value.as_ref()?;
            Some(Key {
                index: u32::try_from(index).ok()?,
                generation: slot.generation,
            })
        };
        self.slots.iter().enumerate().filter_map(occupied).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn find_after_remove_and_reuse_misses_the_old_key() {
        let mut slots = Slots::default();
        let old = slots.insert('a');
        assert_eq!(slots.remove(old), Some('a'));
        let new = slots.insert('b');
        assert_eq!(new.index, old.index);
        assert_eq!(slots.find(old), None);
        assert_eq!(slots.remove(old), None);
        assert_eq!(slots.find(new), Some(&'b'));
        assert_eq!(slots.len(), 1);
        assert_eq!(slots.keys(), [new]);
    }
}
