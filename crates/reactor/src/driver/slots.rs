//! Slots with generations: a key that is late finds nobody.

/// Names a slot as it is used now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl Key {
    /// Both numbers in one.
    pub(super) fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// The inverse of [`Self::to_bits`].
    #[expect(
        clippy::cast_possible_truncation,
        reason = "each half is taken on purpose"
    )]
    pub(super) fn from_bits(bits: u64) -> Self {
        Self {
            index: bits as u32,
            generation: (bits >> 32) as u32,
        }
    }
}

/// Values in reused slots.
#[derive(Debug)]
pub(super) struct Slots<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
        }
    }
}

/// Generations stay below this, so that a key fits into 56 bits beside a tag.
const GENERATIONS: u32 = 1 << 24;

impl<T> Slots<T> {
    /// # Panics
    /// At four billion values.
    pub(super) fn insert(&mut self, value: T) -> Key {
        if let Some(index) = self.free.pop() {
            let entry = &mut self.entries[index as usize];
            entry.value = Some(value);
            return Key {
                index,
                generation: entry.generation,
            };
        }
        let index = u32::try_from(self.entries.len()).expect("fewer than four billion slots");
        self.entries.push(Entry {
            generation: 0,
            value: Some(value),
        });
        Key {
            index,
            generation: 0,
        }
    }

    pub(super) fn find(&mut self, key: Key) -> Option<&mut T> {
        let entry = self.entries.get_mut(key.index as usize)?;
        if entry.generation != key.generation {
            return None;
        }
        entry.value.as_mut()
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        let entry = self.entries.get_mut(key.index as usize)?;
        if entry.generation != key.generation {
            return None;
        }
        let value = entry.value.take()?;
        entry.generation = (entry.generation + 1) % GENERATIONS;
        self.free.push(key.index);
        Some(value)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut T)> {
        self.entries
            .iter_mut()
            .zip(0_u32..)
            .filter_map(|(entry, index)| {
                let generation = entry.generation;
                entry
                    .value
                    .as_mut()
                    .map(|value| (Key { index, generation }, value))
            })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.free.len() == self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::{Key, Slots};

    #[test]
    fn remove_makes_the_old_key_find_nothing_when_the_slot_is_used_again() {
        let mut slots = Slots::default();
        let first = slots.insert('a');
        assert_eq!(slots.remove(first), Some('a'));
        assert!(slots.is_empty());
        let second = slots.insert('b');
        assert_eq!(first.index, second.index);
        assert_eq!(slots.find(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.find(second), Some(&mut 'b'));
        assert_eq!(
            slots.iter_mut().map(|(key, _)| key).collect::<Vec<_>>(),
            [second]
        );
    }

    #[test]
    fn key_survives_its_bits() {
        let key = Key {
            index: 0xFFFF_FFFE,
            generation: 0x00AB_CDEF,
        };
        assert_eq!(Key::from_bits(key.to_bits()), key);
    }
}
