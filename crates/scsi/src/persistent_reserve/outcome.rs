//! What a service action comes to.

use std::sync::Arc;

use super::{NexusName, PersistentReservations};
use crate::lu::UnitAttention;
use crate::sense::Refusal;

/// The state that a PERSISTENT RESERVE OUT leads to, and who is told what.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) next: Arc<PersistentReservations>,
    /// Unit attentions, each with the sorted names of the nexuses that it is established for.
    pub(crate) told: Vec<(UnitAttention, Arc<[NexusName]>)>,
    /// Nexuses whose commands are aborted, sorted: those that PREEMPT AND ABORT preempts.
    pub(crate) aborted: Option<Arc<[NexusName]>>,
}

/// Or why it comes to nothing.
pub(crate) type Decided = Result<Outcome, Refusal>;

impl Outcome {
    pub(super) fn new(next: PersistentReservations) -> Self {
        Self {
            next: Arc::new(next),
            told: Vec::new(),
            aborted: None,
        }
    }

    /// It also tells these.
    pub(super) fn telling(mut self, attention: UnitAttention, names: Vec<NexusName>) -> Self {
        if !names.is_empty() {
            self.told.push((attention, names.into()));
        }
        self
    }

    /// Whether it takes access from anybody, compared with how it was: then what was submitted before has to be gone first.
    pub(crate) fn restricts(&self, now: &PersistentReservations) -> bool {
        let next = &self.next;
        let keeps_all = || {
            let mut before = now.registrations.iter();
            before.all(|one| next.key_of(&one.nexus).is_some())
        };
        next.reservation.is_some() && !(next.reservation == now.reservation && keeps_all())
    }
}
