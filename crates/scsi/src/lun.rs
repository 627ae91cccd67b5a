//! Logical unit numbers as they stand in eight bytes on the wire. SAM-5 "Logical unit numbers".

/// A logical unit number of a target: 0 to [`MAX_LUN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lun(u16);

/// The largest logical unit number that flat space addressing expresses.
pub const MAX_LUN: u16 = 0x3fff;

impl Lun {
    /// The logical unit number `number`, or `None` above [`MAX_LUN`].
    #[must_use]
    pub fn new(number: u16) -> Option<Self> {
        (number <= MAX_LUN).then_some(Self(number))
    }

    /// The number.
    #[must_use]
    pub fn number(self) -> u16 {
        self.0
    }

    /// The logical unit that eight bytes on the wire address, or `None` when they address none that can exist here: a
    /// well known logical unit, an extended address, a bus other than 0, or a second level.
    ///
    /// Both forms are taken for all that they can express: LUN 3 is found as `00 03` and as `40 03`.
    #[must_use]
    pub fn decode(wire: u64) -> Option<Self> {
        // SAM-5 "Single level LUN structure": all levels but the first are zero.
        if wire << 16 != 0 {
            return None;
        }
        let [first, second, ..] = wire.to_be_bytes();
        match first >> 6 {
            // SAM-5 "Peripheral device addressing": BUS IDENTIFIER 0 is this level.
            0b00 if first == 0 => Some(Self(u16::from(second))),
            // SAM-5 "Flat space addressing".
            0b01 => Some(Self(u16::from_be_bytes([first & 0x3f, second]))),
            _ => None,
        }
    }

    /// The eight bytes that address it: by peripheral device addressing up to 255, by flat space addressing above.
    #[must_use]
    pub fn encode(self) -> u64 {
        let address = if self.0 < 256 {
            self.0
        } else {
            0x4000 | self.0
        };
        u64::from(address) << 48
    }
}

/// A logical unit that a third-party copy may reach, since a LUN of the nexus shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// By this LUN.
    pub lun: Lun,
    /// Of its blocks.
    pub block_size_bytes: u32,
}

/// The LUNs one I_T nexus has.
pub trait LunList {
    /// How many.
    fn count(&self) -> usize;
    /// The one at `index`, ascending.
    fn lun_at(&self, index: usize) -> Option<Lun>;
    /// The one that shows the logical unit with this NAA designator, if any does.
    fn find(&self, _naa: &[u8]) -> Option<Reached> {
        None
    }
}

impl LunList for [u16] {
    fn count(&self) -> usize {
        self.len()
    }

    fn lun_at(&self, index: usize) -> Option<Lun> {
        self.get(index).copied().and_then(Lun::new)
    }
}

impl LunList for Vec<u16> {
    fn count(&self) -> usize {
        self.len()
    }

    fn lun_at(&self, index: usize) -> Option<Lun> {
        self.as_slice().lun_at(index)
    }
}

impl<const N: usize> LunList for [u16; N] {
    fn count(&self) -> usize {
        N
    }

    fn lun_at(&self, index: usize) -> Option<Lun> {
        self.as_slice().lun_at(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lun_up_to_255_is_peripheral_above_flat() {
        assert_eq!(Lun::new(0).unwrap().encode(), 0);
        assert_eq!(Lun::new(255).unwrap().encode(), 0x00ff_0000_0000_0000);
        assert_eq!(Lun::new(256).unwrap().encode(), 0x4100_0000_0000_0000);
        assert_eq!(Lun::new(MAX_LUN).unwrap().encode(), 0x7fff_0000_0000_0000);
        assert_eq!(Lun::new(MAX_LUN + 1), None);
    }

    #[test]
    fn lun_each_encoded_decodes_to_itself() {
        for number in 0..=MAX_LUN {
            let lun = Lun::new(number).unwrap();
            assert_eq!(Lun::decode(lun.encode()), Some(lun));
        }
    }

    #[test]
    fn lun_small_in_flat_form_is_accepted() {
        assert_eq!(Lun::decode(0x4003_0000_0000_0000), Lun::new(3));
        assert_eq!(Lun::decode(0x4000_0000_0000_0000), Lun::new(0));
    }

    #[test]
    fn lun_of_other_methods_buses_or_levels_is_none() {
        for wire in [
            0x0103_0000_0000_0000, // bus 1
            0x8003_0000_0000_0000, // logical unit addressing
            0xc101_0000_0000_0000, // REPORT LUNS well known logical unit
            0x0000_0001_0000_0000, // second level
            0x0000_0000_0000_0001, // fourth level
        ] {
            assert_eq!(Lun::decode(wire), None, "{wire:016x}");
        }
    }
}
