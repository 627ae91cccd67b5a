//! Protection information: the types of it, and how a store keeps it.
//!
//! Standards: SBC-4 r22 "Protection information model".

/// The type of protection that a logical unit is formatted with. SBC-4 "Protection types".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ProtectionType {
    /// The reference tag of a block is the low half of its address.
    Type1 = 1,
    /// The reference tag of the first block is said by the command.
    Type2 = 2,
    /// The reference tag is the initiator's own.
    Type3 = 3,
}

impl ProtectionType {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Type1, Self::Type2, Self::Type3];

    /// The type of this number.
    #[must_use]
    pub fn of_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.number() == number)
    }

    /// 1 to 3.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }
}

/// Bytes of the protection information of one block.
///
/// A store keeps them complemented, so that what was never written, or has been given back, reads as all ones: SBC-4 "Protection
/// information format" has that mean that nothing is checked.
pub const TUPLE_BYTES: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protection_types_have_their_numbers_and_no_others() {
        let numbers: Vec<u8> = (0..=u8::MAX)
            .filter(|number| ProtectionType::of_number(*number).is_some())
            .collect();
        assert_eq!(numbers, [1, 2, 3]);
        assert_eq!(ProtectionType::of_number(2), Some(ProtectionType::Type2));
    }
}
