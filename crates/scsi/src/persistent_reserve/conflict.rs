//! Which commands conflict with a persistent reservation: one table.
//!
//! SPC-5 r22 "SPC-5 commands that are allowed in the presence of various reservations", SBC-4 r22 "SBC-4 commands that are
//! allowed in the presence of various reservations". Their rows come down to few kinds, and each command names its kind in
//! the [table of commands](crate::opcodes).

use super::ReservationType;
use crate::command::Cdb;

/// What an I_T nexus is to the reservation of a logical unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// It is not registered.
    #[default]
    NotRegistered,
    /// It is registered and does not hold the reservation.
    Registered,
    /// It holds the reservation, alone or as one of all registrants.
    Holder,
}

/// What a command is to a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Allowed under every reservation.
    Free,
    /// As READ.
    Reading,
    /// As WRITE.
    Writing,
    /// START STOP UNIT: to start is [`Free`](Self::Free), to stop is [`Writing`](Self::Writing).
    StartStop,
    /// PREVENT ALLOW MEDIUM REMOVAL: to allow is [`Free`](Self::Free), to prevent is [`Writing`](Self::Writing).
    Prevent,
    /// RESERVE, RELEASE and the persistent ones: what they come to is decided where they are carried out.
    Reserving,
}

/// One row of the standards' tables, by its columns; true: a conflict.
struct Row {
    access: Access,
    /// Held by another: Write Exclusive, Exclusive Access; from any nexus.
    from_any: [bool; 2],
    /// Held by another, registrants only; from a registered nexus.
    from_registered: bool,
    /// Write Exclusive, Exclusive Access, registrants only or all registrants; from a nexus that is not registered.
    from_not_registered: [bool; 2],
}

const ALLOWED: bool = false;
const CONFLICT: bool = true;

#[rustfmt::skip]
const TABLE: [Row; 3] = [
    Row { access: Access::Free,    from_any: [ALLOWED,  ALLOWED],  from_registered: ALLOWED, from_not_registered: [ALLOWED,  ALLOWED] },
    Row { access: Access::Reading, from_any: [ALLOWED,  CONFLICT], from_registered: ALLOWED, from_not_registered: [ALLOWED,  CONFLICT] },
    Row { access: Access::Writing, from_any: [CONFLICT, CONFLICT], from_registered: ALLOWED, from_not_registered: [CONFLICT, CONFLICT] },
];

impl Access {
    /// For people.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Free => "",
            Self::Reading => "read",
            Self::Writing => "write",
            Self::StartStop => "write, where it stops",
            Self::Prevent => "write, where it prevents",
            Self::Reserving => "reservation",
        }
    }

    /// The kind of this very command: for some it depends on the CDB.
    pub(crate) fn of(self, cdb: &Cdb) -> Self {
        match self {
            // START, POWER CONDITION.
            Self::StartStop if cdb.bit::<4>(0) && cdb.byte::<4>() >> 4 == 0 => Self::Free,
            Self::StartStop => Self::Writing,
            // PREVENT.
            Self::Prevent if cdb.byte::<4>() & 0x03 == 0 => Self::Free,
            Self::Prevent => Self::Writing,
            other => other,
        }
    }

    /// Whether a command of this kind from a nexus of this standing conflicts with a reservation of type `kind`.
    pub(crate) fn conflicts(self, kind: ReservationType, standing: Standing) -> bool {
        let Some(row) = TABLE.iter().find(|row| row.access == self) else {
            return false;
        };
        let column = usize::from(kind.excludes_readers());
        match standing {
            Standing::Holder => false,
            _ if !kind.admits_registrants() => row.from_any[column],
            Standing::Registered => row.from_registered,
            Standing::NotRegistered => row.from_not_registered[column],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conflicts_by_type_standing_and_access_as_the_standards_have_it() {
        use ReservationType::*;
        use Standing::{Holder, NotRegistered, Registered};
        // Type, standing, whether reading and writing conflict.
        let table = [
            (WriteExclusive, NotRegistered, false, true),
            (WriteExclusive, Registered, false, true),
            (WriteExclusive, Holder, false, false),
            (ExclusiveAccess, NotRegistered, true, true),
            (ExclusiveAccess, Registered, true, true),
            (ExclusiveAccess, Holder, false, false),
            (WriteExclusiveRegistrantsOnly, NotRegistered, false, true),
            (WriteExclusiveRegistrantsOnly, Registered, false, false),
            (WriteExclusiveRegistrantsOnly, Holder, false, false),
            (ExclusiveAccessRegistrantsOnly, NotRegistered, true, true),
            (ExclusiveAccessRegistrantsOnly, Registered, false, false),
            (ExclusiveAccessRegistrantsOnly, Holder, false, false),
            (WriteExclusiveAllRegistrants, NotRegistered, false, true),
            (WriteExclusiveAllRegistrants, Holder, false, false),
            (ExclusiveAccessAllRegistrants, NotRegistered, true, true),
            (ExclusiveAccessAllRegistrants, Holder, false, false),
        ];
        for (kind, standing, reading, writing) in table {
            let verdict = |access: Access| access.conflicts(kind, standing);
            assert_eq!(verdict(Access::Reading), reading, "{kind:?} {standing:?}");
            assert_eq!(verdict(Access::Writing), writing, "{kind:?} {standing:?}");
            for access in [Access::Free, Access::Reserving] {
                assert!(!verdict(access), "{kind:?} {standing:?} {access:?}");
            }
        }
    }

    #[test]
    fn access_of_start_stop_and_prevent_is_by_their_bits() {
        for (access, byte_4, expected) in [
            (Access::StartStop, 0x01, Access::Free),
            (Access::StartStop, 0x00, Access::Writing),
            (Access::StartStop, 0x04, Access::Writing),
            (Access::StartStop, 0x11, Access::Writing),
            (Access::Prevent, 0x00, Access::Free),
            (Access::Prevent, 0x01, Access::Writing),
            (Access::Prevent, 0x02, Access::Writing),
            (Access::Reading, 0x01, Access::Reading),
        ] {
            let cdb = Cdb::new(&[0, 0, 0, 0, byte_4]);
            assert_eq!(access.of(&cdb), expected, "{access:?} {byte_4:#x}");
        }
    }
}
