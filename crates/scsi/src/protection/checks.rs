//! What the three bits of RDPROTECT, WRPROTECT, VRPROTECT and ORPROTECT ask for. SBC-4 r22, the tables of that name at READ (10),
//! WRITE (10), VERIFY (10) and ORWRITE (16); DPICZ and RWWP of the Control mode page are 0.

use crate::sense::{Refusal, Sense};

/// Which fields of protection information are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checks {
    pub(crate) guard: bool,
    pub(crate) application: bool,
    pub(crate) reference: bool,
}

impl Checks {
    pub(crate) const NONE: Self = Self {
        guard: false,
        application: false,
        reference: false,
    };
    pub(crate) const ALL: Self = Self {
        guard: true,
        application: true,
        reference: true,
    };
    const GUARD: Self = Self {
        guard: true,
        ..Self::NONE
    };
    const TAGS: Self = Self {
        guard: false,
        ..Self::ALL
    };
}

/// The field of a CDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Protect {
    code: u8,
}

impl Protect {
    /// The field's value, which stands at `byte` of the CDB.
    ///
    /// # Errors
    /// Two values are reserved.
    pub(crate) fn new(code: u8, byte: u8) -> Result<Self, Refusal> {
        match code & 0b111 {
            0b110 | 0b111 => Err(Sense::cdb_bit(byte, 7).into()),
            code => Ok(Self { code }),
        }
    }

    /// Whether protection information goes over the wire, behind each block.
    pub(crate) fn is_sent(self) -> bool {
        self.code != 0
    }

    /// What is checked of what is read from the medium. RDPROTECT, ORPROTECT, and VRPROTECT with BYTCHK 00b.
    pub(crate) fn of_medium(self) -> Checks {
        match self.code {
            0b010 => Checks::TAGS,
            0b011 => Checks::NONE,
            0b100 => Checks::GUARD,
            _ => Checks::ALL,
        }
    }

    /// The same for VRPROTECT with BYTCHK 01b and 11b: what the Data-Out has is compared, so the medium's is checked only where
    /// that has none.
    pub(crate) fn of_compared_medium(self) -> Checks {
        match self.code {
            0b000 => Checks::ALL,
            _ => Checks::NONE,
        }
    }

    /// What is checked of what the Data-Out has. WRPROTECT, ORPROTECT, VRPROTECT.
    pub(crate) fn of_data_out(self) -> Checks {
        match self.code {
            0b000 => Checks::NONE,
            _ => self.of_medium(),
        }
    }

    /// What of the Data-Out's is compared with the medium's. VRPROTECT, "byte-by-byte comparison requirements".
    pub(crate) fn of_comparison(self) -> Checks {
        match self.code {
            0b000 => Checks::NONE,
            0b010 => Checks::TAGS,
            _ => Checks::ALL,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields, as letters.
    fn letters(checks: Checks) -> String {
        let field = |on, letter| if on { letter } else { '-' };
        [
            field(checks.guard, 'g'),
            field(checks.application, 'a'),
            field(checks.reference, 'r'),
        ]
        .iter()
        .collect()
    }

    #[test]
    fn protect_fields_ask_for_what_the_tables_say() {
        // Code, medium, medium where compared, Data-Out, comparison.
        for (code, medium, compared, data_out, comparison) in [
            (0b000, "gar", "gar", "---", "---"),
            (0b001, "gar", "---", "gar", "gar"),
            (0b010, "-ar", "---", "-ar", "-ar"),
            (0b011, "---", "---", "---", "gar"),
            (0b100, "g--", "---", "g--", "gar"),
            (0b101, "gar", "---", "gar", "gar"),
        ] {
            let protect = Protect::new(code, 1).unwrap();
            assert_eq!(letters(protect.of_medium()), medium, "{code:03b}");
            assert_eq!(
                letters(protect.of_compared_medium()),
                compared,
                "{code:03b}"
            );
            assert_eq!(letters(protect.of_data_out()), data_out, "{code:03b}");
            assert_eq!(letters(protect.of_comparison()), comparison, "{code:03b}");
            assert_eq!(protect.is_sent(), code != 0);
        }
        for code in [0b110, 0b111] {
            let refused = Protect::new(code, 10);
            assert_eq!(refused, Err(Sense::cdb_bit(10, 7).into()));
        }
    }
}
