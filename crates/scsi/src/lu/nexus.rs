//! What a logical unit keeps for one nexus that uses it.

use super::{NexusId, UnitAttention, UnitAttentions};
use crate::copy::CopyRecords;
use crate::persistent_reserve::{NexusName, PersistentReservations, Standing};

/// One I_T nexus, as one LU sees it on the worker where its session lives.
#[derive(Clone, Debug)]
pub struct NexusLu {
    id: NexusId,
    name: NexusName,
    /// In the shard's present snapshot.
    standing: Standing,
    attentions: UnitAttentions,
    pub(super) tasks: u32,
    pub(super) detaching: Option<super::TaskKey>,
    /// SPC-5 "PREVENT ALLOW MEDIUM REMOVAL command": this nexus prevents removal.
    pub prevents_medium_removal: bool,
    /// The [changes](crate::Tray::changes) of the medium that it has been told of as events.
    pub(crate) medium_changes_told: u32,
    /// Its unit attentions are reported at once too: [`ShardAction::Attention`](super::ShardAction::Attention).
    pub reports: bool,
    /// SPC-5 "WRITE BUFFER command", echo mode: what this nexus has written, at most
    /// [`ECHO_BUFFER_BYTES`](crate::ECHO_BUFFER_BYTES).
    pub(crate) echo_buffer: Option<Box<[u8]>>,
    /// Its third-party copies.
    pub(crate) copies: CopyRecords,
}

impl NexusLu {
    pub(super) fn new(id: NexusId, name: NexusName, attentions: &[UnitAttention]) -> Self {
        let mut nexus = Self {
            id,
            name,
            standing: Standing::NotRegistered,
            attentions: UnitAttentions::default(),
            tasks: 0,
            detaching: None,
            prevents_medium_removal: false,
            medium_changes_told: 0,
            reports: false,
            echo_buffer: None,
            copies: CopyRecords::default(),
        };
        for attention in attentions {
            nexus.establish(*attention);
        }
        nexus
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> NexusId {
        self.id
    }

    /// The name by which it is registered, in this session and in the next.
    #[must_use]
    pub fn name(&self) -> &NexusName {
        &self.name
    }

    /// What it is to the LU's persistent reservation.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing
    }

    pub(super) fn look_up(&mut self, reservations: &PersistentReservations) {
        self.standing = reservations.standing(&self.name);
    }

    /// How many of its tasks are in the task set.
    #[must_use]
    pub fn tasks(&self) -> u32 {
        self.tasks
    }

    /// Whether a unit attention is pending.
    #[must_use]
    pub fn has_unit_attention(&self) -> bool {
        !self.attentions.is_empty()
    }

    /// The pending unit attentions.
    #[must_use]
    pub fn attentions(&self) -> &UnitAttentions {
        &self.attentions
    }

    /// Takes the unit attention to report next: reporting it clears it.
    pub fn take_unit_attention(&mut self) -> Option<UnitAttention> {
        self.attentions.take()
    }

    /// Establishes a unit attention.
    pub fn establish(&mut self, attention: UnitAttention) {
        self.attentions.establish(attention);
    }

    /// Establishes a unit attention. Whether that is to be reported: it was not pending before, and is now.
    pub fn establish_and_report(&mut self, attention: UnitAttention) -> bool {
        let is_pending = |nexus: &Self| nexus.attentions.as_slice().contains(&attention);
        let before = self.reports && is_pending(self);
        self.establish(attention);
        self.reports && !before && is_pending(self)
    }

    /// Clears a unit attention that was told in another way (REPORT LUNS, for REPORTED LUNS DATA HAS CHANGED).
    pub fn clear(&mut self, attention: UnitAttention) {
        self.attentions.clear(attention);
    }
}
