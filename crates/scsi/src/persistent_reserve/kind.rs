//! The types of persistent reservations. SPC-5 r22 "PERSISTENT RESERVE IN command", "TYPE field".

/// What a persistent reservation keeps from whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ReservationType {
    /// Only the holder writes.
    WriteExclusive = 0x1,
    /// Only the holder reads and writes.
    ExclusiveAccess = 0x3,
    /// Only registered nexuses write; one holds the reservation.
    WriteExclusiveRegistrantsOnly = 0x5,
    /// Only registered nexuses read and write; one holds the reservation.
    ExclusiveAccessRegistrantsOnly = 0x6,
    /// Only registered nexuses write, and all of them hold the reservation.
    WriteExclusiveAllRegistrants = 0x7,
    /// Only registered nexuses read and write, and all of them hold the reservation.
    ExclusiveAccessAllRegistrants = 0x8,
}

impl ReservationType {
    /// All there are, by code.
    pub const ALL: [Self; 6] = [
        Self::WriteExclusive,
        Self::ExclusiveAccess,
        Self::WriteExclusiveRegistrantsOnly,
        Self::ExclusiveAccessRegistrantsOnly,
        Self::WriteExclusiveAllRegistrants,
        Self::ExclusiveAccessAllRegistrants,
    ];

    /// The type of a TYPE field; `None`: reserved or obsolete.
    #[must_use]
    pub fn of_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// The TYPE field.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// Whether reading is kept from some, too.
    #[must_use]
    pub fn excludes_readers(self) -> bool {
        matches!(
            self,
            Self::ExclusiveAccess
                | Self::ExclusiveAccessRegistrantsOnly
                | Self::ExclusiveAccessAllRegistrants
        )
    }

    /// Whether every registered nexus holds it.
    #[must_use]
    pub fn is_all_registrants(self) -> bool {
        matches!(
            self,
            Self::WriteExclusiveAllRegistrants | Self::ExclusiveAccessAllRegistrants
        )
    }

    /// Whether it lets every registered nexus in, whoever holds it: the *registrants only* and the *all registrants* types.
    #[must_use]
    pub fn admits_registrants(self) -> bool {
        !matches!(self, Self::WriteExclusive | Self::ExclusiveAccess)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_code_knows_the_six_types_and_no_other() {
        let known: Vec<u8> = (0..=u8::MAX)
            .filter(|code| ReservationType::of_code(*code).is_some())
            .collect();
        assert_eq!(known, [1, 3, 5, 6, 7, 8]);
        for kind in ReservationType::ALL {
            assert_eq!(ReservationType::of_code(kind.code()), Some(kind));
        }
    }
}
