//! SET IDENTIFYING INFORMATION. SPC-5 r22 "SET IDENTIFYING INFORMATION command".

use super::state::{Ending, Next};
use super::transfer::check_complete;

use crate::command::Command;
use crate::identifying::InformationType;
use crate::lu::HomeAction;
use crate::sense::{Refusal, Sense};

/// SET IDENTIFYING INFORMATION.
#[derive(Clone, Debug)]
pub(super) struct SetIdentifying {
    of_type: InformationType,
    list_bytes: u32,
    phase: Phase,
}

#[derive(Clone, Debug)]
enum Phase {
    DataOut,
    Change(Box<[u8]>),
    End,
}

impl SetIdentifying {
    pub(super) fn plan(command: &Command) -> Result<Self, Refusal> {
        let cdb = &command.cdb;
        let of_type =
            InformationType::of_code(cdb.byte::<10>() >> 1).ok_or_else(|| Sense::cdb_bit(10, 7))?;
        let list_bytes = cdb.be32::<6>();
        if list_bytes > u32::from(of_type.max_bytes()) {
            return Err(Sense::cdb_byte(6).into());
        }
        if command.data_out_bytes < list_bytes {
            let sense = Sense::PARAMETER_LIST_LENGTH_ERROR;
            return Err(sense.pointing(true, 6, None).into());
        }
        Ok(Self {
            of_type,
            list_bytes,
            // Nothing is what is to be kept.
            phase: if list_bytes == 0 {
                Phase::Change([].into())
            } else {
                Phase::DataOut
            },
        })
    }

    pub(super) fn next(&self) -> Next {
        match &self.phase {
            Phase::DataOut => Next::DataOut {
                offset: 0,
                bytes: self.list_bytes,
            },
            Phase::Change(information) => Next::Home(HomeAction::SetIdentifying {
                of_type: self.of_type,
                information: information.clone(),
            }),
            Phase::End => Next::Done(Ending {
                transfer_bytes: u64::from(self.list_bytes),
                data_in_bytes: 0,
            }),
        }
    }

    pub(super) fn handle_data_out(&mut self, list: &[u8]) -> Result<(), Refusal> {
        check_complete(list, self.list_bytes)?;
        if self.of_type == InformationType::Text
            && let Err(error) = std::str::from_utf8(list)
        {
            let at = u16::try_from(error.valid_up_to()).unwrap_or(u16::MAX);
            return Err(Sense::parameter_byte(at).into());
        }
        self.phase = Phase::Change(list.into());
        Ok(())
    }

    pub(super) fn handle_granted(&mut self) {
        self.phase = Phase::End;
    }
}
