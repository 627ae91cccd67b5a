//! What is read and written next: places, order, mix. No I/O and no clock.

use super::args::Pattern;

/// A part of the disk in slots of one command each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Region {
    /// Bytes of a slot.
    pub(super) slot_bytes: u32,
    /// Bytes of a logical block.
    pub(super) block_bytes: u32,
    /// How many slots there are, from LBA 0 on.
    pub(super) slots: u64,
}

impl Region {
    /// Logical blocks of a slot.
    pub(super) fn slot_blocks(&self) -> u32 {
        self.slot_bytes / self.block_bytes
    }

    /// The first logical block of a slot.
    pub(super) fn lba(&self, slot: u64) -> u64 {
        slot * u64::from(self.slot_blocks())
    }
}

/// READ or WRITE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Read,
    Write,
}

/// One session's choice of commands.
#[derive(Clone, Debug)]
pub(super) struct Workload {
    pattern: Pattern,
    read_percent: u8,
    slots: u64,
    next: u64,
    random: Random,
}

impl Workload {
    /// That of session `index` of `sessions`: sequential ones begin at even distances.
    pub(super) fn new(
        (pattern, read_percent): (Pattern, u8),
        slots: u64,
        (index, sessions): (u32, u32),
        seed: u64,
    ) -> Self {
        let part = slots / u64::from(sessions.max(1));
        Self {
            pattern,
            read_percent,
            slots,
            next: part * u64::from(index),
            random: Random::new(seed.wrapping_add(u64::from(index))),
        }
    }

    /// The next command.
    pub(super) fn next(&mut self) -> (Direction, u64) {
        let direction = if self.random.below(100) < u64::from(self.read_percent) {
            Direction::Read
        } else {
            Direction::Write
        };
        let slot = match self.pattern {
            Pattern::Random => self.random.below(self.slots),
            Pattern::Sequential => {
                let slot = self.next;
                self.next = (slot + 1) % self.slots;
                slot
            }
        };
        (direction, slot)
    }
}

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators").
#[derive(Clone, Debug)]
pub(super) struct Random {
    state: u64,
}

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Even over [0, end), as far as a multiplication of 64 bits is.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        let wide = u128::from(self.next()) * u128::from(end);
        u64::try_from(wide >> 64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(mut workload: Workload, count: usize) -> Vec<(Direction, u64)> {
        (0..count).map(|_| workload.next()).collect()
    }

    #[test]
    fn sequential_sessions_begin_at_even_distances_and_go_round() {
        let of = |index| Workload::new((Pattern::Sequential, 100), 10, (index, 2), 1);
        let slots = |index| {
            let taken = taken(of(index), 7);
            taken.into_iter().map(|(_, slot)| slot).collect::<Vec<_>>()
        };
        assert_eq!(slots(0), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(slots(1), [5, 6, 7, 8, 9, 0, 1]);
    }

    #[test]
    fn random_slots_stay_in_the_region_and_reach_all_of_it() {
        let workload = Workload::new((Pattern::Random, 50), 16, (0, 1), 7);
        let mut seen = [0u32; 16];
        for (_, slot) in taken(workload, 1600) {
            seen[usize::try_from(slot).unwrap()] += 1;
        }
        assert!(
            seen.iter().all(|count| (50..200).contains(count)),
            "{seen:?}"
        );
    }

    #[test]
    fn mix_has_the_share_that_was_asked_for_and_its_ends_are_pure() {
        for (percent, range) in [(0, 0..=0), (70, 6800..=7200), (100, 10_000..=10_000)] {
            let workload = Workload::new((Pattern::Random, percent), 4, (0, 1), 3);
            let reads = taken(workload, 10_000)
                .iter()
                .filter(|(direction, _)| *direction == Direction::Read)
                .count();
            assert!(range.contains(&reads), "{percent} %: {reads}");
        }
    }

    #[test]
    fn region_of_larger_blocks_counts_in_them() {
        let region = Region {
            slot_bytes: 64 << 10,
            block_bytes: 4096,
            slots: 3,
        };
        assert_eq!((region.slot_blocks(), region.lba(2)), (16, 32));
    }
}
