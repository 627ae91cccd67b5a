//! What a home has made durable before anybody sees it: persistent reservations that are to outlast a loss of power, and
//! settings.
//!
//! SPC-5 r22 "Preserving persistent reservations and registrations through power loss".

use std::mem;

use super::LuHome;
use super::lane::{LaneKind, Phase, Request};
use super::plan;
use crate::lu::FenceId;
use crate::lu::message::Outgoing;
use crate::persistent_reserve::Outcome;

/// What a [`Save`] is of. Each has a place of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveKind {
    /// Persistent reservations.
    Reservations,
    /// [`LuSnapshot::save_settings`](crate::LuSnapshot::save_settings).
    Settings,
}

/// Something to be made durable before anybody sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Save {
    /// To be named in [`LuHome::saved`].
    pub id: FenceId,
    /// Of what.
    pub kind: SaveKind,
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

    /// The settings that are to be made durable before an action counts, if it changes what is kept of them.
    pub(super) fn settings_to_save(&self, request: &Request) -> Option<Option<Vec<u8>>> {
        let now = self.snapshot.save_settings();
        let after = plan::change(&self.snapshot, request)
            .snapshot?
            .save_settings();
        (self.snapshot.can_save() && after != now).then_some(after)
    }

    /// What is to be made durable before an outcome counts, if anything is: also that there is nothing to be kept any more.
    pub(super) fn to_save(&self, outcome: &Outcome) -> Option<Option<Vec<u8>>> {
        let persists = outcome.next.persists() || self.snapshot.persistent.persists();
        persists.then(|| outcome.next.save())
    }
}
