//! Serial numbers and their circular order: CmdSN, StatSN and their expected and largest values.

use core::fmt;

/// A 32-bit serial number (RFC 7143 §4.2.2, arithmetic of RFC 1982).
///
/// There is no `Ord`: serial numbers have no total order. Two numbers exactly 2^31 apart compare as neither less nor
/// greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SerialNumber(pub u32);

impl SerialNumber {
    /// Whether `self` comes before `other` (RFC 1982 §3.2).
    #[must_use]
    pub const fn lt(self, other: Self) -> bool {
        let ahead = other.0.wrapping_sub(self.0);
        ahead != 0 && ahead < HALF
    }

    /// Whether `self` comes before `other` or is the same.
    #[must_use]
    pub const fn le(self, other: Self) -> bool {
        self.0 == other.0 || self.lt(other)
    }

    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        self.add(1)
    }

    /// The number `count` after this one. RFC 1982 §3.1 gives a meaning to sums up to 2^31 - 1; above that the result
    /// no longer compares as later.
    #[must_use]
    pub const fn add(self, count: u32) -> Self {
        Self(self.0.wrapping_add(count))
    }

    /// How many steps lead from `earlier` forward to `self`, round the circle where needed.
    #[must_use]
    pub const fn distance_from(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }
}

impl fmt::Display for SerialNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

const HALF: u32 = 1 << 31;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lt_around_the_wrap_follows_rfc_1982() {
        let table = [
            (0, 0, false, true),
            (0, 1, true, true),
            (1, 0, false, false),
            (0xffff_ffff, 0, true, true),
            (0, 0xffff_ffff, false, false),
            (0, 0x7fff_ffff, true, true),
            (0, 0x8000_0000, false, false),
            (0x8000_0000, 0, false, false),
            (0x8000_0001, 0, true, true),
        ];
        for (a, b, lt, le) in table {
            let (a, b) = (SerialNumber(a), SerialNumber(b));
            assert_eq!((a.lt(b), a.le(b)), (lt, le), "{a} {b}");
        }
    }

    proptest! {
        #[test]
        fn add_within_half_the_circle_is_later_and_distance_undoes_it(
            start: u32, count in 1u32..0x8000_0000,
        ) {
            let start = SerialNumber(start);
            let later = start.add(count);
            prop_assert!(start.lt(later));
            prop_assert!(!later.lt(start));
            prop_assert_eq!(later.distance_from(start), count);
            prop_assert_eq!(start.next(), start.add(1));
        }
    }
}
