//! The protection information of one block, and what it is held against. SBC-4 r22 "Protection information format".

use block::{ProtectionType, TUPLE_BYTES};

use super::checks::Checks;
use super::guard::guard_of;
use crate::sense::Sense;

/// Bytes of a tuple.
pub(crate) const BYTES: usize = TUPLE_BYTES as usize;

/// An application tag that disables checks.
const ESCAPE: u16 = 0xffff;

/// The protection information of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tuple {
    pub(crate) guard: u16,
    pub(crate) application: u16,
    pub(crate) reference: u32,
}

impl Tuple {
    /// From the bytes on the wire.
    pub(crate) fn from_bytes(bytes: [u8; BYTES]) -> Self {
        let [g, h, a, b, r @ ..] = bytes;
        Self {
            guard: u16::from_be_bytes([g, h]),
            application: u16::from_be_bytes([a, b]),
            reference: u32::from_be_bytes(r),
        }
    }

    /// The bytes on the wire.
    pub(crate) fn to_bytes(self) -> [u8; BYTES] {
        let [g, h] = self.guard.to_be_bytes();
        let [a, b] = self.application.to_be_bytes();
        let [r, s, t, u] = self.reference.to_be_bytes();
        [g, h, a, b, r, s, t, u]
    }

    /// What a store keeps.
    pub(crate) fn to_stored(self) -> [u8; BYTES] {
        self.to_bytes().map(|byte| !byte)
    }

    /// From what a store has kept.
    pub(crate) fn from_stored(bytes: [u8; BYTES]) -> Self {
        Self::from_bytes(bytes.map(|byte| !byte))
    }

    /// Whether nothing of it is checked when it is read from the medium.
    fn is_escaped(self, kind: ProtectionType) -> bool {
        let reference = kind != ProtectionType::Type3 || self.reference == u32::MAX;
        self.application == ESCAPE && reference
    }
}

/// What the device server knows of the tags of a command's blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) kind: ProtectionType,
    /// The address of the first block.
    pub(crate) first_lba: u64,
    /// Of the first block; `None`: it is not known.
    pub(crate) reference: Option<u32>,
    /// The value, and the bits of it that count; `None`: it is not known.
    pub(crate) application: Option<(u16, u16)>,
}

/// Where a tuple comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Medium,
    /// Here an application tag of all ones has no effect: NO_PI_CHK of the Extended INQUIRY Data VPD page is 0.
    DataOut,
}

impl Expected {
    /// The tuple that goes with data that came without: its guard, and tags that nothing is checked against. SBC-4
    /// "WRPROTECT field": the footnotes at 000b; ATO is 1.
    pub(crate) fn generate(&self, guard: u16, index: u64) -> Tuple {
        Tuple {
            guard,
            application: ESCAPE,
            reference: match self.kind {
                ProtectionType::Type1 => self.reference_of(index).unwrap_or(u32::MAX),
                ProtectionType::Type2 | ProtectionType::Type3 => u32::MAX,
            },
        }
    }

    /// The reference tag of the block with this number, from 0. SBC-4 "Content of subsequent LOGICAL BLOCK REFERENCE TAG fields".
    pub(crate) fn reference_of(&self, index: u64) -> Option<u32> {
        let [_, _, _, _, low @ ..] = index.to_be_bytes();
        let first = self.reference?;
        Some(first.wrapping_add(u32::from_be_bytes(low)))
    }

    /// Holds the tuple of the block with this number, from 0, against the block and what is known.
    pub(crate) fn check(
        &self,
        checks: Checks,
        origin: Origin,
        (data, tuple, index): (&[u8], Tuple, u64),
    ) -> Result<(), Sense> {
        if origin == Origin::Medium && tuple.is_escaped(self.kind) {
            return Ok(());
        }
        let failed = if checks.guard && guard_of(data) != tuple.guard {
            Sense::LOGICAL_BLOCK_GUARD_CHECK_FAILED
        } else if checks.application && !self.application_fits(tuple) {
            Sense::LOGICAL_BLOCK_APPLICATION_TAG_CHECK_FAILED
        } else if checks.reference && !self.reference_fits(tuple, index) {
            Sense::LOGICAL_BLOCK_REFERENCE_TAG_CHECK_FAILED
        } else {
            return Ok(());
        };
        Err(self.at(failed, index))
    }

    /// Compares the tuple that was sent for a block with the medium's, for VERIFY.
    pub(crate) fn compare(
        &self,
        fields: Checks,
        sent: Tuple,
        medium: Tuple,
        index: u64,
    ) -> Result<(), Sense> {
        // SBC-4: the reference tag of type 3 is the initiator's own where ATO is 1.
        let references = fields.reference && self.kind != ProtectionType::Type3;
        let failed = if fields.guard && sent.guard != medium.guard {
            Sense::MISCOMPARE_OF_GUARD
        } else if fields.application && sent.application != medium.application {
            Sense::MISCOMPARE_OF_APPLICATION_TAG
        } else if references && sent.reference != medium.reference {
            Sense::MISCOMPARE_OF_REFERENCE_TAG
        } else {
            return Ok(());
        };
        Err(self.at(failed, index))
    }

    fn at(&self, sense: Sense, index: u64) -> Sense {
        sense.with_information(self.first_lba.saturating_add(index))
    }

    fn application_fits(&self, tuple: Tuple) -> bool {
        let fits = |(value, mask)| (tuple.application ^ value) & mask == 0;
        self.application.is_none_or(fits)
    }

    fn reference_fits(&self, tuple: Tuple, index: u64) -> bool {
        self.reference_of(index)
            .is_none_or(|reference| reference == tuple.reference)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tuple_from_its_bytes_is_the_tuple_and_nothing_stored_is_all_ones() {
        let tuple = Tuple {
            guard: 0x0102,
            application: 0x0304,
            reference: 0x0506_0708,
        };
        assert_eq!(tuple.to_bytes(), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(Tuple::from_bytes(tuple.to_bytes()), tuple);
        assert_eq!(Tuple::from_stored(tuple.to_stored()), tuple);
        assert_eq!(Tuple::from_stored([0; BYTES]).to_bytes(), [0xff; BYTES]);
    }

    #[test]
    fn escaped_tuples_are_not_checked_on_the_medium_but_in_data_out() {
        for (kind, reference, passes) in [
            (ProtectionType::Type1, 0, true),
            (ProtectionType::Type2, 0, true),
            (ProtectionType::Type3, 0, false),
            (ProtectionType::Type3, u32::MAX, true),
        ] {
            let expected = Expected {
                kind,
                first_lba: 7,
                reference: None,
                application: None,
            };
            let tuple = Tuple {
                guard: 1,
                application: ESCAPE,
                reference,
            };
            let of = |origin| expected.check(Checks::ALL, origin, (&[0; 512], tuple, 2));
            assert_eq!(of(Origin::Medium).is_ok(), passes, "{kind:?} {reference}");
            let guard = Sense::LOGICAL_BLOCK_GUARD_CHECK_FAILED.with_information(9);
            assert_eq!(of(Origin::DataOut), Err(guard));
        }
    }

    #[test]
    fn reference_tags_count_up_and_wrap() {
        let expected = Expected {
            kind: ProtectionType::Type2,
            first_lba: 0,
            reference: Some(u32::MAX),
            application: None,
        };
        assert_eq!(expected.reference_of(0), Some(u32::MAX));
        assert_eq!(expected.reference_of(1), Some(0));
        assert_eq!(expected.reference_of(1 << 32 | 3), Some(2));
    }
}
