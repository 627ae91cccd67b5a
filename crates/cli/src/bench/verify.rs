//! What a slot holds: which write was the last, and every byte that follows from it.
//!
//! A slot has one command at a time here, so that what a read has to bring is known.

use super::workload::{Random, Region};

/// A piece that can be told apart by itself: what lies in a wrong place or is old is seen in each.
const STAMPED_BYTES: usize = 512;

/// The most slots that are remembered: four bytes each.
pub(super) const MOST_SLOTS: u64 = 1 << 24;

/// The writes of a run, and where a command is under way.
#[derive(Debug)]
pub(super) struct Ledger {
    seed: u64,
    /// The last write of each slot that has its status; 0 where there was none.
    versions: Vec<u32>,
    busy: Vec<bool>,
    busy_count: usize,
}

/// A difference between what was read and what had been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// First byte that differs, in the slot.
    pub(super) offset: usize,
    pub(super) expected: u8,
    pub(super) found: u8,
}

impl Ledger {
    /// A ledger of slots that nothing is known of; at most [`MOST_SLOTS`].
    pub(super) fn new(region: &Region, seed: u64) -> Self {
        let slots = usize::try_from(region.slots.min(MOST_SLOTS)).unwrap_or(0);
        Self {
            seed,
            versions: vec![0; slots],
            busy: vec![false; slots],
            busy_count: 0,
        }
    }

    /// Takes the first slot from `slot` on that has no command; `None` where all have one.
    pub(super) fn take(&mut self, slot: u64) -> Option<u64> {
        if self.busy_count == self.busy.len() {
            return None;
        }
        let mut at = usize::try_from(slot).ok()? % self.busy.len();
        while self.busy[at] {
            at = (at + 1) % self.busy.len();
        }
        self.busy[at] = true;
        self.busy_count += 1;
        Some(at as u64)
    }

    /// The data of the next write of a slot that was taken.
    pub(super) fn fill(&self, slot: u64, data: &mut [u8]) {
        let version = self.version(slot).wrapping_add(1).max(1);
        self.write_pattern(slot, version, data);
    }

    /// The command of a slot has ended; `wrote`: it was a write, and its status was GOOD.
    pub(super) fn give_back(&mut self, slot: u64, wrote: bool) {
        let Some(at) = self.index(slot) else { return };
        if wrote {
            self.versions[at] = self.versions[at].wrapping_add(1).max(1);
        }
        if std::mem::take(&mut self.busy[at]) {
            self.busy_count -= 1;
        }
    }

    /// Compares what was read with the last write. A slot that was never written holds anything.
    pub(super) fn check(&self, slot: u64, data: &[u8]) -> Result<(), Difference> {
        let version = self.version(slot);
        if version == 0 {
            return Ok(());
        }
        let mut expected = vec![0; data.len()];
        self.write_pattern(slot, version, &mut expected);
        match expected.iter().zip(data).position(|(a, b)| a != b) {
            None => Ok(()),
            Some(offset) => Err(Difference {
                offset,
                expected: expected[offset],
                found: data[offset],
            }),
        }
    }

    /// Slots that were written, in order.
    pub(super) fn written(&self) -> impl Iterator<Item = u64> {
        let numbered = self.versions.iter().zip(0u64..);
        numbered.filter_map(|(version, slot)| (*version > 0).then_some(slot))
    }

    fn version(&self, slot: u64) -> u32 {
        self.index(slot).map_or(0, |at| self.versions[at])
    }

    fn index(&self, slot: u64) -> Option<usize> {
        usize::try_from(slot)
            .ok()
            .filter(|at| *at < self.versions.len())
    }

    fn write_pattern(&self, slot: u64, version: u32, data: &mut [u8]) {
        for (piece, index) in data.chunks_mut(STAMPED_BYTES).zip(0u64..) {
            let place = slot.wrapping_mul(0x0001_0000_0001).wrapping_add(index);
            let seed = self.seed ^ place.rotate_left(32) ^ u64::from(version);
            let mut random = Random::new(seed);
            for word in piece.chunks_mut(8) {
                let bytes = random.next().to_le_bytes();
                word.copy_from_slice(&bytes[..word.len()]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGION: Region = Region {
        slot_bytes: 1024,
        block_bytes: 512,
        slots: 4,
    };

    fn written(ledger: &mut Ledger, slot: u64) -> Vec<u8> {
        assert_eq!(ledger.take(slot), Some(slot));
        let mut data = vec![0; 1024];
        ledger.fill(slot, &mut data);
        ledger.give_back(slot, true);
        data
    }

    #[test]
    fn check_of_the_last_write_is_well_and_of_the_one_before_is_not() {
        let mut ledger = Ledger::new(&REGION, 5);
        let first = written(&mut ledger, 2);
        assert_eq!(ledger.check(2, &first), Ok(()));
        let second = written(&mut ledger, 2);
        assert_eq!(ledger.check(2, &second), Ok(()));
        let old = ledger.check(2, &first).unwrap_err();
        assert_eq!(old.offset, 0);
        assert_eq!((old.expected, old.found), (second[0], first[0]));
    }

    #[test]
    fn check_of_another_slots_data_or_of_one_wrong_byte_tells_where() {
        let mut ledger = Ledger::new(&REGION, 5);
        let (one, two) = (written(&mut ledger, 1), written(&mut ledger, 2));
        assert!(ledger.check(1, &two).is_err());
        assert_ne!(one[..512], one[512..], "each piece has its own bytes");
        let mut damaged = one;
        damaged[700] ^= 1;
        assert_eq!(ledger.check(1, &damaged).unwrap_err().offset, 700);
    }

    #[test]
    fn check_of_a_slot_that_was_never_written_takes_anything() {
        let mut ledger = Ledger::new(&REGION, 5);
        assert_eq!(ledger.check(0, &[9; 1024]), Ok(()));
        assert_eq!(ledger.take(0), Some(0));
        ledger.give_back(0, false);
        assert_eq!(ledger.check(0, &[9; 1024]), Ok(()), "a write that failed");
        assert_eq!(ledger.written().count(), 0);
    }

    #[test]
    fn take_gives_each_slot_once_until_it_is_given_back() {
        let mut ledger = Ledger::new(&REGION, 5);
        let taken: Vec<_> = (0..5).map(|_| ledger.take(3)).collect();
        assert_eq!(taken, [Some(3), Some(0), Some(1), Some(2), None]);
        ledger.give_back(1, true);
        assert_eq!(ledger.take(3), Some(1));
        assert_eq!(ledger.written().collect::<Vec<_>>(), [1]);
    }
}
