//! SANITIZE. SBC-4 r22 "SANITIZE command". The operation is the logical unit's, see [`crate::sanitize`]; this is the command that asks for it.

use std::sync::Arc;

use super::state::{Ending, Next};
use super::transfer::check_complete;

use crate::command::Command;
use crate::lu::{HomeAction, SanitizeRequest};
use crate::opcodes::SanitizeAction;
use crate::sanitize::{SanitizeMethod, SanitizeOrder};
use crate::sense::{Refusal, Sense};
use crate::snapshot::LuSnapshot;

/// Bytes of the OVERWRITE parameter list before the pattern.
const HEADER_BYTES: u32 = 4;

/// SANITIZE.
#[derive(Clone, Debug)]
pub(super) struct Sanitize {
    list_bytes: u32,
    immediate: bool,
    unrestricted: bool,
    phase: Phase,
}

#[derive(Clone, Debug)]
enum Phase {
    List,
    Ask(HomeAction),
    End,
}

impl Sanitize {
    pub(super) fn plan(
        action: SanitizeAction,
        command: &Command,
        lu: &LuSnapshot,
    ) -> Result<Self, Refusal> {
        let cdb = &command.cdb;
        let mut sanitize = Self {
            list_bytes: 0,
            immediate: cdb.bit::<1>(7),
            unrestricted: cdb.bit::<1>(5),
            phase: Phase::List,
        };
        match action {
            SanitizeAction::Overwrite => {
                let length = u32::from(cdb.be16::<7>());
                let longest = lu.geometry().block_size_bytes.saturating_add(HEADER_BYTES);
                // SBC-4 "SANITIZE command": more than 4, less than the logical block length and 5.
                if length <= HEADER_BYTES || length > longest {
                    return Err(Sense::cdb_byte(7).into());
                }
                if command.data_out_bytes < length {
                    let sense = Sense::PARAMETER_LIST_LENGTH_ERROR;
                    return Err(sense.pointing(true, 7, None).into());
                }
                sanitize.list_bytes = length;
            }
            SanitizeAction::BlockErase => sanitize.ask(SanitizeMethod::BlockErase),
            SanitizeAction::ExitFailureMode => {
                sanitize.phase = Phase::Ask(HomeAction::ExitSanitizeFailure);
            }
        }
        Ok(sanitize)
    }

    fn ask(&mut self, method: SanitizeMethod) {
        let order = SanitizeOrder {
            method,
            unrestricted: self.unrestricted,
        };
        self.phase = Phase::Ask(HomeAction::Sanitize(Box::new(SanitizeRequest {
            order: Arc::new(order),
            immediate: self.immediate,
        })));
    }

    pub(super) fn next(&self) -> Next {
        match &self.phase {
            Phase::List => Next::DataOut {
                offset: 0,
                bytes: self.list_bytes,
            },
            Phase::Ask(action) => Next::Home(action.clone()),
            Phase::End => Next::Done(Ending {
                transfer_bytes: u64::from(self.list_bytes),
                data_in_bytes: 0,
            }),
        }
    }

    pub(super) fn handle_data_out(&mut self, list: &[u8], lu: &LuSnapshot) -> Result<(), Refusal> {
        check_complete(list, self.list_bytes)?;
        self.ask(overwrite(list, lu)?);
        Ok(())
    }

    pub(super) fn handle_granted(&mut self) {
        self.phase = Phase::End;
    }
}

/// SBC-4 "OVERWRITE service action parameter list".
fn overwrite(list: &[u8], lu: &LuSnapshot) -> Result<SanitizeMethod, Refusal> {
    let &[first, reserved, high, low, ref pattern @ ..] = list else {
        return Err(Sense::PARAMETER_LIST_LENGTH_ERROR.into());
    };
    // TEST: whatever is not 00b is the vendor's.
    if first & 0x60 != 0 {
        return Err(Sense::parameter_bit(0, 6).into());
    }
    let passes = first & 0x1f;
    if passes == 0 {
        return Err(Sense::parameter_bit(0, 4).into());
    }
    if reserved != 0 {
        return Err(Sense::parameter_byte(1).into());
    }
    let length = u16::from_be_bytes([high, low]);
    if length == 0 || u32::from(length) > lu.geometry().block_size_bytes {
        return Err(Sense::parameter_byte(2).into());
    }
    let pattern = pattern
        .get(..usize::from(length))
        .ok_or_else(|| Sense::parameter_byte(2))?;
    Ok(SanitizeMethod::Overwrite {
        passes,
        invert: first & 0x80 != 0,
        pattern: pattern.into(),
    })
}
