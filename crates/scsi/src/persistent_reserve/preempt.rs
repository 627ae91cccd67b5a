//! PREEMPT and PREEMPT AND ABORT: SPC-5 r22 "Preempting", "Removing registrations", "Preempting and aborting".

use super::outcome::{Decided, Outcome};
use super::registrations::Registration;
use super::request::ServiceAction;
use super::{Asking, PersistentReserveOut};
use crate::lu::UnitAttention;
use crate::sense::{Refusal, Sense};

/// What the SERVICE ACTION RESERVATION KEY means. SPC-5 "Preempting actions".
enum Preempts {
    /// The reservation, with the registrations of its holder's key.
    Reservation,
    /// The reservation of all registrants, with every registration but that of the command.
    AllRegistrants,
    /// Registrations.
    Registrations,
}

pub(super) fn preempt(asking: &Asking<'_>, request: &PersistentReserveOut) -> Decided {
    let now = asking.now;
    let key = request.action_key;
    let all_registrants = now.kind().is_some_and(|kind| kind.is_all_registrants());
    let preempts = match key {
        0 if all_registrants => Preempts::AllRegistrants,
        0 => return Err(Sense::parameter_byte(8).into()),
        _ if now.holder_key() == Some(key) => Preempts::Reservation,
        // SPC-5 "Removing registrations": a key that nobody is registered with.
        _ if now.registrations.iter().all(|one| one.key != key) => {
            return Err(Refusal::RESERVATION_CONFLICT);
        }
        _ => Preempts::Registrations,
    };
    let mut next = now.clone();
    next.generation = now.generation.wrapping_add(1);
    let own = asking.nexus;
    let is_meant =
        |one: &Registration| one.key == key || matches!(preempts, Preempts::AllRegistrants);
    let removed = match preempts {
        Preempts::Registrations => next.unregister(is_meant),
        Preempts::Reservation | Preempts::AllRegistrants => {
            let kind = request.kind()?;
            let removed = next.unregister(|one| is_meant(one) && one.nexus != *own);
            next.establish(kind, own);
            removed
        }
    };
    // The nexus of the command is told nothing, even where its own registration goes.
    let others = removed.iter().filter(|name| *name != own);
    let preempted = others.cloned().collect();
    // Those that stay are told where the reservation is another than before.
    let changed = next.kind().is_some() && next.kind() != now.kind();
    let stayed = if changed {
        next.others(own)
    } else {
        Vec::new()
    };
    // SPC-5 "Preempting and aborting": those of every nexus that is meant, but for this very command.
    let aborted = (request.action == ServiceAction::PreemptAndAbort).then(|| {
        let meant = now.registrations.iter().filter(|one| is_meant(one));
        meant.map(|one| one.nexus.clone()).collect()
    });
    Ok(Outcome {
        aborted,
        ..Outcome::new(next)
            .telling(UnitAttention::RegistrationsPreempted, preempted)
            .telling(UnitAttention::ReservationsReleased, stayed)
    })
}
