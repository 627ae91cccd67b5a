//! The registrations and the reservation of one logical unit.
//!
//! A value: what changes it makes a new one. Registrations are sorted by the name of their nexus, so that to look one up costs
//! the same for a handful as for [`MAX_REGISTRATIONS`].

use super::{NexusName, ReservationType, Standing};

/// The most registrations that a logical unit keeps.
pub const MAX_REGISTRATIONS: usize = 4096;

/// One registered I_T nexus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Registration {
    pub(crate) nexus: NexusName,
    /// Its reservation key, never 0.
    pub(crate) key: u64,
}

/// The reservation. Its scope is always the logical unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PersistentReservation {
    pub(crate) kind: ReservationType,
    /// The nexus that holds it, a registered one; `None` for an all registrants type, where all of them do.
    pub(crate) holder: Option<NexusName>,
}

/// The persistent reservations of a logical unit: SPC-5 r22 "Persistent reservations overview".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PersistentReservations {
    /// PRgeneration: since the start, whatever is restored.
    pub(super) generation: u32,
    /// The persist through power loss capability is activated.
    pub(super) persists: bool,
    /// What was saved cannot be read: nobody knows who is to be kept out.
    pub(super) lost: bool,
    pub(super) registrations: Vec<Registration>,
    pub(super) reservation: Option<PersistentReservation>,
}

/// There is no room for another registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoRoom;

impl PersistentReservations {
    /// SPC-5 "Recoverable loss of persistent reservation information": what was saved is not to be had. Until REPLACE LOST
    /// RESERVATION nobody reads or writes.
    #[must_use]
    pub fn lost() -> Self {
        Self {
            persists: true,
            lost: true,
            ..Self::default()
        }
    }

    /// Whether reservations are [lost](Self::lost).
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// Whether the persist through power loss capability is activated (PTPL_A).
    #[must_use]
    pub fn persists(&self) -> bool {
        self.persists
    }

    /// The type of the reservation, if there is one.
    #[must_use]
    pub fn kind(&self) -> Option<ReservationType> {
        self.reservation.as_ref().map(|held| held.kind)
    }

    /// How many nexuses are registered.
    #[must_use]
    pub fn registrants(&self) -> usize {
        self.registrations.len()
    }

    /// What a nexus is to the reservation.
    #[must_use]
    pub fn standing(&self, nexus: &NexusName) -> Standing {
        if self.key_of(nexus).is_none() {
            Standing::NotRegistered
        } else if self.is_holder(nexus) {
            Standing::Holder
        } else {
            Standing::Registered
        }
    }

    /// The reservation key of a nexus, if it is registered.
    #[must_use]
    pub fn key_of(&self, nexus: &NexusName) -> Option<u64> {
        let at = self.position(nexus).ok()?;
        self.registrations.get(at).map(|one| one.key)
    }

    /// Whether a registered nexus holds the reservation.
    pub(super) fn is_holder(&self, nexus: &NexusName) -> bool {
        let Some(held) = &self.reservation else {
            return false;
        };
        held.holder.as_ref().is_none_or(|holder| holder == nexus)
    }

    /// The key that PREEMPT names the reservation by; `None` where there is none, or all registrants hold it.
    pub(super) fn holder_key(&self) -> Option<u64> {
        let holder = self.reservation.as_ref()?.holder.as_ref()?;
        self.key_of(holder)
    }

    /// Registers a nexus, or changes its key.
    pub(super) fn register(&mut self, nexus: &NexusName, key: u64) -> Result<(), NoRoom> {
        match self.position(nexus) {
            Ok(at) => {
                if let Some(one) = self.registrations.get_mut(at) {
                    one.key = key;
                }
            }
            Err(_) if self.registrations.len() >= MAX_REGISTRATIONS => return Err(NoRoom),
            Err(at) => {
                let nexus = nexus.clone();
                self.registrations.insert(at, Registration { nexus, key });
            }
        }
        Ok(())
    }

    /// Removes registrations, and with its holder's the reservation. Returns the names of those that are gone, sorted.
    ///
    /// SPC-5 "Processing for a released or preempted persistent reservation": a reservation goes with the registration of its
    /// holder, one of all registrants with the last.
    pub(super) fn unregister(&mut self, gone: impl Fn(&Registration) -> bool) -> Vec<NexusName> {
        let (removed, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.registrations)
            .into_iter()
            .partition(gone);
        self.registrations = kept;
        let is_held = |held: &PersistentReservation| match &held.holder {
            Some(holder) => self.position(holder).is_ok(),
            None => !self.registrations.is_empty(),
        };
        if !self.reservation.as_ref().is_some_and(is_held) {
            self.reservation = None;
        }
        removed.into_iter().map(|one| one.nexus).collect()
    }

    /// Establishes a reservation for a nexus, in place of whatever there is.
    pub(super) fn establish(&mut self, kind: ReservationType, nexus: &NexusName) {
        let holder = (!kind.is_all_registrants()).then(|| nexus.clone());
        self.reservation = Some(PersistentReservation { kind, holder });
    }

    /// The names of those registered, without one, sorted.
    pub(super) fn others(&self, but: &NexusName) -> Vec<NexusName> {
        let names = self.registrations.iter().map(|one| &one.nexus);
        names.filter(|name| *name != but).cloned().collect()
    }

    fn position(&self, nexus: &NexusName) -> Result<usize, usize> {
        self.registrations
            .binary_search_by(|one| one.nexus.cmp(nexus))
    }
}
