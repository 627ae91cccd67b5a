//! SET TARGET PORT GROUPS. SPC-5 r22 "SET TARGET PORT GROUPS command".

use super::state::{Ending, Next};
use super::transfer::check_complete;

use crate::access::AccessState;
use crate::command::Command;
use crate::lu::HomeAction;
use crate::sense::{Refusal, Sense};
use crate::snapshot::LuSnapshot;

/// Reserved bytes in front of the descriptors, and bytes of one.
const HEADER_BYTES: u32 = 4;
const DESCRIPTOR_BYTES: usize = 4;

/// As many descriptors as there can be groups worth naming.
const MAX_LIST_BYTES: u32 = HEADER_BYTES + 4 * 1024;

/// SET TARGET PORT GROUPS.
#[derive(Clone, Debug)]
pub(super) struct AccessStates {
    list_bytes: u32,
    phase: Phase,
}

#[derive(Clone, Debug)]
enum Phase {
    DataOut,
    Change(Vec<(u16, AccessState)>),
    End,
}

impl AccessStates {
    /// The work of a command; `None`: it has no parameter list, and that is no error.
    pub(super) fn plan(command: &Command) -> Result<Option<Self>, Refusal> {
        let list_bytes = command.cdb.be32::<6>();
        if list_bytes == 0 {
            return Ok(None);
        }
        let whole = (HEADER_BYTES..=MAX_LIST_BYTES).contains(&list_bytes)
            && list_bytes.is_multiple_of(HEADER_BYTES);
        if !whole || command.data_out_bytes < list_bytes {
            let sense = Sense::PARAMETER_LIST_LENGTH_ERROR;
            return Err(sense.pointing(true, 6, None).into());
        }
        Ok(Some(Self {
            list_bytes,
            phase: Phase::DataOut,
        }))
    }

    pub(super) fn next(&self) -> Next {
        match &self.phase {
            Phase::DataOut => Next::DataOut {
                offset: 0,
                bytes: self.list_bytes,
            },
            Phase::Change(states) => Next::Home(HomeAction::SetAccessStates(states.clone())),
            Phase::End => Next::Done(Ending {
                transfer_bytes: u64::from(self.list_bytes),
                data_in_bytes: 0,
            }),
        }
    }

    /// All of the list is checked before any of it counts.
    pub(super) fn handle_data_out(&mut self, list: &[u8], lu: &LuSnapshot) -> Result<(), Refusal> {
        check_complete(list, self.list_bytes)?;
        let mut states = Vec::new();
        let descriptors = list.chunks_exact(DESCRIPTOR_BYTES).enumerate().skip(1);
        for (index, descriptor) in descriptors {
            // A list has at most MAX_LIST_BYTES.
            let at = u16::try_from(index * DESCRIPTOR_BYTES).unwrap_or(u16::MAX);
            let &[state, _, high, low] = descriptor else {
                return Err(Sense::PARAMETER_LIST_LENGTH_ERROR.into());
            };
            let id = u16::from_be_bytes([high, low]);
            let group = lu
                .access_groups
                .iter()
                .find(|group| group.id == id && group.explicit)
                .ok_or_else(|| Sense::parameter_byte(at + 2))?;
            let state = AccessState::of_code(state & 0x0f)
                .filter(|state| group.supported & state.support_bit() != 0)
                .ok_or_else(|| Sense::parameter_bit(at, 3))?;
            states.push((id, state));
        }
        self.phase = if states.is_empty() {
            Phase::End
        } else {
            Phase::Change(states)
        };
        Ok(())
    }

    pub(super) fn handle_granted(&mut self) {
        self.phase = Phase::End;
    }
}
