//! Persistent reservations: who is registered with a logical unit, who holds its reservation, and what that means for
//! everybody else's commands.
//!
//! The state of an LU is one value, [`PersistentReservations`], part of its [snapshot](crate::LuSnapshot) and never changed in
//! place. The journey of a PERSISTENT RESERVE OUT:
//!
//! 1. The task collects its parameter list and parses it: a [`PersistentReserveOut`], without a look at the state.
//! 2. The LU's home carries it out on a copy: the service actions are functions from the present state to an outcome (the next
//!    state, who is told what, whose commands are aborted) or a refusal.
//! 3. Where APTPL was in force before or is after, the home hands out the [saved form](PersistentReservations::save) and waits
//!    until it is durable. Nothing is held meanwhile, and a failure leaves everything as it was.
//! 4. Where somebody loses access, the home fences the LU (and has the commands of preempted nexuses aborted), so that what was
//!    submitted on the old state has left the store before the new one counts.
//! 5. The new snapshot is published; each shard looks up what its nexuses are to it (their [`Standing`]), so that a command is
//!    checked by comparing small values. A task that was checked before is checked again when it submits.
//! 6. The command ends in GOOD: from now on no shard submits anything on the old state.
//!
//! A registrant is named by what outlasts its session: the TransportID of its initiator port and the relative identifier of
//! the target port ([`NexusName`]). It does not know sessions, fences or files.
//!
//! Standards: SPC-5 r22 "Reservations", "PERSISTENT RESERVE IN command", "PERSISTENT RESERVE OUT command", "TransportID
//! identifiers"; SBC-4 r22 "Reservations"; SPC-2 r20 "RESERVE(6) command" for the commands that these took the place of.

mod conflict;
mod kind;
mod nexus_name;
mod outcome;
mod preempt;
mod register;
mod registrations;
mod reports;
mod request;
mod reserve;
mod saved;
#[cfg(test)]
mod tests;

pub(crate) use conflict::Access;
pub use conflict::Standing;
pub use kind::ReservationType;
pub use nexus_name::{NexusName, TransportId};
pub(crate) use outcome::{Decided, Outcome};
pub use registrations::{MAX_REGISTRATIONS, PersistentReservations};
pub(crate) use reports::{Report, persistent_reserve_in};
pub use request::PersistentReserveOut;
pub(crate) use request::ServiceAction;
pub use saved::SavedError;

use crate::sense::{Refusal, Sense};
use crate::snapshot::TargetPort;

/// Who asks for a change, and of what.
#[derive(Clone, Copy)]
pub(crate) struct Asking<'a> {
    pub(crate) now: &'a PersistentReservations,
    /// The nexus of the command.
    pub(crate) nexus: &'a NexusName,
    /// The ports the LU can be reached through.
    pub(crate) ports: &'a [TargetPort],
    /// Whether registrations can be made to outlast a loss of power.
    pub(crate) ptpl_capable: bool,
}

/// What a request comes to. SPC-5 r22 "PERSISTENT RESERVE OUT service actions".
pub(crate) fn carry_out(asking: &Asking<'_>, request: &PersistentReserveOut) -> Decided {
    let now = asking.now;
    let action = request.action;
    // SPC-5 "Recoverable loss of persistent reservation information": all but the one way out of it.
    if now.is_lost() && action != ServiceAction::ReplaceLostReservation {
        return Err(Sense::PERSISTENT_RESERVATION_INFORMATION_LOST.into());
    }
    // SPC-5 "Basic PERSISTENT RESERVE OUT parameter list": the key has to be that of the nexus, but where a nexus may be new.
    let known = now.key_of(asking.nexus) == Some(request.key);
    match action {
        ServiceAction::Register | ServiceAction::RegisterAndIgnoreExistingKey => {
            register::register(asking, request)
        }
        ServiceAction::ReplaceLostReservation => reserve::replace_lost(asking, request),
        _ if !known => Err(Refusal::RESERVATION_CONFLICT),
        ServiceAction::Reserve => reserve::reserve(asking, request),
        ServiceAction::Release => reserve::release(asking, request),
        ServiceAction::Clear => reserve::clear(asking),
        ServiceAction::Preempt | ServiceAction::PreemptAndAbort => {
            preempt::preempt(asking, request)
        }
        ServiceAction::RegisterAndMove => register::register_and_move(asking, request),
    }
}

impl Asking<'_> {
    /// The ports of the target device that the nexus uses.
    fn sibling_ports(&self) -> impl Iterator<Item = u16> {
        let own = self.nexus.target_port;
        let device = (self.ports.iter())
            .find(|port| port.relative_id == own)
            .map(|port| &port.device_name);
        let ports = self.ports.iter();
        ports
            .filter(move |port| Some(&port.device_name) == device)
            .map(|port| port.relative_id)
    }
}
