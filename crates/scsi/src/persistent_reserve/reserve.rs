//! RESERVE, RELEASE, CLEAR, REPLACE LOST RESERVATION: SPC-5 r22 "Reserving", "Releasing", "Clearing", "Replacing lost
//! reservations".

use super::outcome::{Decided, Outcome};
use super::register::check_persist;
use super::registrations::NoRoom;
use super::{Asking, PersistentReservations, PersistentReserveOut};
use crate::lu::UnitAttention;
use crate::sense::{Refusal, Sense};

pub(super) fn reserve(asking: &Asking<'_>, request: &PersistentReserveOut) -> Decided {
    let now = asking.now;
    let mut next = now.clone();
    match &now.reservation {
        None => next.establish(request.kind()?, asking.nexus),
        // SPC-5 "Reserving": of the holder, the same once more is no error, and anything else a conflict.
        Some(held) if now.is_holder(asking.nexus) && request.kind() == Ok(held.kind) => {}
        Some(_) => return Err(Refusal::RESERVATION_CONFLICT),
    }
    Ok(Outcome::new(next))
}

pub(super) fn release(asking: &Asking<'_>, request: &PersistentReserveOut) -> Decided {
    let now = asking.now;
    let mut next = now.clone();
    let Some(held) = &now.reservation else {
        return Ok(Outcome::new(next));
    };
    // Of another's reservation nothing is released, and that is no error.
    if !now.is_holder(asking.nexus) {
        return Ok(Outcome::new(next));
    }
    if request.kind() != Ok(held.kind) {
        return Err(Sense::INVALID_RELEASE_OF_PERSISTENT_RESERVATION.into());
    }
    next.reservation = None;
    let told = if held.kind.admits_registrants() {
        next.others(asking.nexus)
    } else {
        Vec::new()
    };
    Ok(Outcome::new(next).telling(UnitAttention::ReservationsReleased, told))
}

pub(super) fn clear(asking: &Asking<'_>) -> Decided {
    let now = asking.now;
    let mut next = now.clone();
    next.unregister(|_| true);
    next.generation = now.generation.wrapping_add(1);
    let told = now.others(asking.nexus);
    Ok(Outcome::new(next).telling(UnitAttention::ReservationsPreempted, told))
}

pub(super) fn replace_lost(asking: &Asking<'_>, request: &PersistentReserveOut) -> Decided {
    if !asking.now.lost {
        return Err(Sense::INVALID_RELEASE_OF_PERSISTENT_RESERVATION.into());
    }
    // SPC-5 "Basic PERSISTENT RESERVE OUT parameter list": RESERVATION KEY shall contain zero; ALL_TG_PT is invalid.
    if request.key != 0 {
        return Err(Sense::parameter_byte(0).into());
    }
    if request.action_key == 0 {
        return Err(Sense::parameter_byte(8).into());
    }
    if request.all_target_ports {
        return Err(Sense::parameter_bit(20, 2).into());
    }
    check_persist(asking, request, Sense::parameter_bit(20, 0))?;
    let kind = request.kind()?;
    // PRgeneration is set to zero, and nobody is told.
    let mut next = PersistentReservations::default();
    next.register(asking.nexus, request.action_key)
        .map_err(|NoRoom| Sense::INSUFFICIENT_REGISTRATION_RESOURCES)?;
    next.establish(kind, asking.nexus);
    next.persists = request.persist;
    Ok(Outcome::new(next))
}
