//! The commands of one type of device, and which of them a CDB asks for.

use crate::command::{Cdb, VARIABLE_LENGTH};
use crate::device::DeviceType;
use crate::opcodes::{ADDITIONAL_BYTES, Row, SERVICE_ACTION_MASK};
use crate::sense::{Refusal, Sense};

/// The commands of one type of device.
#[derive(Debug)]
pub(crate) struct CommandTable {
    /// By operation code and service action.
    pub(crate) rows: &'static [Row],
    /// The first row of each operation code.
    first: [u8; 256],
}

const NO_ROW: u8 = u8::MAX;

impl CommandTable {
    pub(crate) const fn new(rows: &'static [Row]) -> Self {
        let mut first = [NO_ROW; 256];
        let mut at = rows.len();
        while at > 0 {
            at -= 1;
            #[expect(
                clippy::cast_possible_truncation,
                reason = "fewer rows than 255, see the test"
            )]
            let index = at as u8;
            first[rows[at].opcode as usize] = index;
        }
        Self { rows, first }
    }

    /// The rows of an operation code.
    pub(crate) fn rows_of(&self, opcode: u8) -> impl Iterator<Item = &'static Row> + use<> {
        let first = usize::from(self.first[usize::from(opcode)]);
        let rows = self.rows.get(first..).unwrap_or_default();
        rows.iter().take_while(move |row| row.opcode == opcode)
    }

    /// The row of a CDB.
    ///
    /// # Errors
    /// INVALID COMMAND OPERATION CODE, or, for a service action that is not there, INVALID FIELD IN CDB.
    pub(crate) fn row_of(&self, cdb: &Cdb) -> Result<&'static Row, Refusal> {
        let first = usize::from(self.first[usize::from(cdb.opcode())]);
        let Some(first) = self.rows.get(first) else {
            return Err(Sense::INVALID_COMMAND_OPERATION_CODE.into());
        };
        if first.service_action.is_none() {
            return Ok(first);
        }
        let (asked, at) = if cdb.opcode() == VARIABLE_LENGTH {
            // SPC-5 "Variable length CDB formats": a length that no such CDB has, or that the transport did not bring.
            if cdb.byte::<7>() != ADDITIONAL_BYTES || !cdb.has(8 + ADDITIONAL_BYTES) {
                return Err(Sense::cdb_byte(7).into());
            }
            (cdb.be16::<8>(), Sense::cdb_byte(8))
        } else {
            let action = cdb.byte::<1>() & SERVICE_ACTION_MASK;
            (u16::from(action), Sense::cdb_bit(1, 4))
        };
        // SPC-5 "Service action": one that is not supported is an invalid field.
        self.rows_of(cdb.opcode())
            .find(|row| row.service_action == Some(asked))
            .ok_or(Refusal::Check(at))
    }
}

/// The name of the command that a CDB asks for, if there is one here for any type of device; for logs and counters.
#[must_use]
pub fn command_name(cdb: &Cdb) -> Option<&'static str> {
    let tables = DeviceType::ALL.into_iter().map(DeviceType::tables);
    let mut rows = tables.filter_map(|tables| tables.commands.row_of(cdb).ok());
    rows.next().map(|row| row.name)
}
