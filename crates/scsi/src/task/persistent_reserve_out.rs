//! PERSISTENT RESERVE OUT: its parameter list is collected and read here, and the home carries it out.

use super::state::{Ending, Next};
use super::transfer::check_complete;

use crate::lu::HomeAction;
use crate::persistent_reserve::{PersistentReserveOut, ServiceAction};
use crate::sense::Refusal;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    DataOut,
    Change(Box<PersistentReserveOut>),
    End,
}

/// PERSISTENT RESERVE OUT. SPC-5 r22 "PERSISTENT RESERVE OUT command".
#[derive(Clone, Debug)]
pub(super) struct ReserveOut {
    action: ServiceAction,
    scope_and_type: u8,
    list_bytes: u32,
    phase: Phase,
}

impl ReserveOut {
    pub(super) fn new(action: ServiceAction, scope_and_type: u8, list_bytes: u32) -> Self {
        Self {
            action,
            scope_and_type,
            list_bytes,
            phase: Phase::DataOut,
        }
    }

    pub(super) fn next(&self) -> Next {
        match &self.phase {
            Phase::DataOut => Next::DataOut {
                offset: 0,
                bytes: self.list_bytes,
            },
            Phase::Change(request) => Next::Home(HomeAction::PersistentReserve(request.clone())),
            Phase::End => Next::Done(Ending {
                transfer_bytes: u64::from(self.list_bytes),
                data_in_bytes: 0,
            }),
        }
    }

    pub(super) fn handle_data_out(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        check_complete(bytes, self.list_bytes)?;
        let request = PersistentReserveOut::parse(self.action, self.scope_and_type, bytes)?;
        self.phase = Phase::Change(Box::new(request));
        Ok(())
    }

    pub(super) fn handle_granted(&mut self) {
        self.phase = Phase::End;
    }
}
