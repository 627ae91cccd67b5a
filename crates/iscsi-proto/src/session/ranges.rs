//! Which bytes of a command's data have come, where they may come in any order (RFC 7143 §13.18, §13.19).

/// The most separate runs of bytes that are kept track of for one command: 32 KiB of memory. An initiator that takes its
/// data in larger steps than it sends it in never comes near.
pub(crate) const MAX_RUNS: usize = 4096;

/// Bytes from the first on, and what has come beyond a gap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges {
    /// All before this has come.
    contiguous: u32,
    /// Runs after that, in order; none touches another. Empty, and without memory, where data comes in order.
    ahead: Vec<(u32, u32)>,
}

impl Ranges {
    /// All before `contiguous`, and nothing else.
    pub(crate) const fn from_start(contiguous: u32) -> Self {
        Self {
            contiguous,
            ahead: Vec::new(),
        }
    }

    /// All before this byte has come.
    pub(crate) const fn contiguous(&self) -> u32 {
        self.contiguous
    }

    /// Whether nothing has come beyond a gap.
    pub(crate) fn is_whole(&self) -> bool {
        self.ahead.is_empty()
    }

    /// The runs beyond a gap: first byte, and the byte after the last.
    pub(crate) fn ahead(&self) -> &[(u32, u32)] {
        &self.ahead
    }

    /// Whether a byte of [start, end) has come already.
    pub(crate) fn overlaps(&self, start: u32, end: u32) -> bool {
        let meets = |(from, to): &(u32, u32)| start < *to && *from < end;
        start < end && (start < self.contiguous || self.ahead.iter().any(meets))
    }

    /// Takes note of [start, end), which overlaps nothing. False where that makes too many runs.
    pub(crate) fn add(&mut self, start: u32, end: u32) -> bool {
        if start == self.contiguous {
            self.contiguous = end;
            self.close_gaps();
            return true;
        }
        let at = self.ahead.partition_point(|(from, _)| *from < start);
        let joins_before = at > 0 && self.ahead[at - 1].1 == start;
        let joins_after = self.ahead.get(at).is_some_and(|(from, _)| *from == end);
        match (joins_before, joins_after) {
            (true, true) => self.ahead[at - 1].1 = self.ahead.remove(at).1,
            (true, false) => self.ahead[at - 1].1 = end,
            (false, true) => self.ahead[at].0 = start,
            (false, false) if self.ahead.len() >= MAX_RUNS => return false,
            (false, false) if start < end => self.ahead.insert(at, (start, end)),
            (false, false) => {}
        }
        true
    }

    fn close_gaps(&mut self) {
        while let Some((from, to)) = self.ahead.first().copied()
            && from <= self.contiguous
        {
            self.contiguous = to;
            self.ahead.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn add_beyond_the_most_runs_is_refused_and_joining_is_not() {
        let mut ranges = Ranges::default();
        let most = u32::try_from(MAX_RUNS).unwrap();
        for n in 1..=most {
            assert!(ranges.add(n * 4, n * 4 + 1));
        }
        assert!(!ranges.add(most * 4 + 8, most * 4 + 9));
        assert!(ranges.add(5, 8), "two runs become one");
        assert!(ranges.add(most * 4 + 8, most * 4 + 9));
    }

    proptest! {
        #[test]
        fn ranges_under_any_order_agree_with_a_set(
            pieces in prop::collection::vec((0u32..60, 1u32..9), 0..60),
        ) {
            let mut ranges = Ranges::default();
            let mut set = std::collections::BTreeSet::new();
            for (start, bytes) in pieces {
                let end = start + bytes;
                let meets = (start..end).any(|byte| set.contains(&byte));
                prop_assert_eq!(ranges.overlaps(start, end), meets);
                if !meets {
                    prop_assert!(ranges.add(start, end));
                    set.extend(start..end);
                }
                let contiguous = (0..).find(|byte| !set.contains(byte)).unwrap_or(0);
                prop_assert_eq!(ranges.contiguous(), contiguous);
                prop_assert_eq!(ranges.is_whole(), set.len() == contiguous as usize);
                let ahead: Vec<u32> = ranges.ahead().iter().flat_map(|(a, b)| *a..*b).collect();
                let expected: Vec<u32> = set.iter().copied().filter(|b| *b > contiguous).collect();
                prop_assert_eq!(ahead, expected);
            }
        }
    }
}
