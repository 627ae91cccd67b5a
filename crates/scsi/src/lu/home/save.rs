//! What a home has made durable before anybody sees it: persistent reservations that are to outlast a loss of power.
//!
//! SPC-5 r22 "Preserving persistent reservations and registrations through power loss".

use std::mem;

use super::LuHome;
use super::lane::{LaneKind, Phase};
use crate::lu::FenceId;
use crate::lu::message::Outgoing;
use crate::persistent_reserve::Outcome;

/// Persistent reservations to be made durable before anybody sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Save {
    /// To be named in [`LuHome::saved`].
    pub id: FenceId,
    /// What is to be found after a loss of power; `None`: nothing.
    pub content: Option<Vec<u8>>,
}

impl LuHome {
    /// Takes what is to be made durable; [`saved`](Self::saved) is called for each when that has ended. There is one at a time.
    pub fn take_saves(&mut self) -> impl Iterator<Item = Save> {
        mem::take(&mut self.saves).into_iter()
    }

    /// What was to be made durable is, or cannot be: then everything stays as it was, and the command is refused.
    pub fn saved(&mut self, id: FenceId, durable: bool, out: &mut Vec<Outgoing>) {
        if let Some(running) = &mut self.reserve.current
            && running.id == id
            && matches!(running.phase, Phase::Saving)
        {
            running.phase = Phase::Saved(durable);
            self.advance(LaneKind::Reserve, out);
        }
    }

    /// What is to be made durable before an outcome counts, if anything is: also that there is nothing to be kept any more.
    pub(super) fn to_save(&self, outcome: &Outcome) -> Option<Option<Vec<u8>>> {
        let persists = outcome.next.persists() || self.snapshot.persistent.persists();
        persists.then(|| outcome.next.save())
    }
}
