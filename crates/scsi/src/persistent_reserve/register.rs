//! REGISTER, REGISTER AND IGNORE EXISTING KEY, REGISTER AND MOVE: SPC-5 r22 "Registering", "Registering and moving the
//! reservation", "Unregistering".

use super::outcome::{Decided, Outcome};
use super::registrations::NoRoom;
use super::request::ServiceAction;
use super::{Asking, NexusName, PersistentReservations, PersistentReserveOut};
use crate::lu::UnitAttention;
use crate::sense::{Refusal, Sense};

/// What one nexus' registration comes to. SPC-5 "Register behaviors for a REGISTER service action", "Register behaviors for a
/// REGISTER AND IGNORE EXISTING KEY service action".
enum Behavior {
    Nothing,
    Register,
    Unregister,
    Conflict,
}

/// `expected` is the key that the request has to know a nexus by, `None` where it ignores the existing key.
fn behavior(registered: Option<u64>, expected: Option<u64>, new_key: u64) -> Behavior {
    let knows = match (registered, expected) {
        (_, None) => true,
        (Some(key), Some(expected)) => key == expected,
        (None, Some(expected)) => expected == 0,
    };
    match (registered, new_key) {
        _ if !knows => Behavior::Conflict,
        (None, 0) => Behavior::Nothing,
        (Some(_), 0) => Behavior::Unregister,
        (_, _) => Behavior::Register,
    }
}

pub(super) fn register(asking: &Asking<'_>, request: &PersistentReserveOut) -> Decided {
    let now = asking.now;
    let ignores = request.action == ServiceAction::RegisterAndIgnoreExistingKey;
    let expected = (!ignores).then_some(request.key);
    let of = |name: &NexusName| behavior(now.key_of(name), expected, request.action_key);
    match of(asking.nexus) {
        Behavior::Conflict => return Err(Refusal::RESERVATION_CONFLICT),
        // "Do nothing except return GOOD status."
        Behavior::Nothing if !request.all_target_ports => return Ok(Outcome::new(now.clone())),
        Behavior::Nothing | Behavior::Register | Behavior::Unregister => {}
    }
    let registered = now.key_of(asking.nexus).is_some();
    check_persist(asking, request, Sense::parameter_bit(20, 0))?;
    // SPC-5 "Register behaviors": a registered nexus specifies no others.
    if registered && request.initiators.is_some() {
        return Err(Sense::parameter_bit(20, 3).into());
    }
    let mut next = now.clone();
    let mut gone: Vec<NexusName> = Vec::new();
    for name in names(asking, request)? {
        match of(&name) {
            // Through that port the request would have ended in a conflict.
            Behavior::Nothing | Behavior::Conflict => {}
            Behavior::Register => next
                .register(&name, request.action_key)
                .map_err(|NoRoom| Sense::INSUFFICIENT_REGISTRATION_RESOURCES)?,
            Behavior::Unregister => gone.push(name),
        }
    }
    next.unregister(|one| gone.contains(&one.nexus));
    next.persists = request.persist;
    next.generation = now.generation.wrapping_add(1);
    Ok(released_by_unregistering(now, next, asking.nexus))
}

/// The nexuses that a request is about, that of the command first. SPC-5 "I_T Nexuses being registered".
fn names(asking: &Asking<'_>, request: &PersistentReserveOut) -> Result<Vec<NexusName>, Refusal> {
    let own = asking.nexus;
    let mut names = vec![own.clone()];
    for initiator in request.initiators.iter().flatten() {
        let name = NexusName {
            initiator: initiator.clone(),
            target_port: own.target_port,
        };
        // SPC-5 "Register behaviors": no registered nexus among those specified. That of the command is being registered.
        if asking.now.key_of(&name).is_some() {
            return Err(Sense::parameter_byte(28).into());
        }
        names.push(name);
    }
    if !request.all_target_ports {
        return Ok(names);
    }
    // As if the request had come through each port of the target device.
    let every = |name: &NexusName| -> Vec<NexusName> {
        let other = |target_port: u16| NexusName {
            initiator: name.initiator.clone(),
            target_port,
        };
        let ports = asking.sibling_ports().filter(|id| *id != own.target_port);
        std::iter::once(name.clone())
            .chain(ports.map(other))
            .collect()
    };
    Ok(names.iter().flat_map(every).collect())
}

/// SPC-5 "Unregistering": a registrants only reservation that ends with its holder's registration is told to all others.
fn released_by_unregistering(
    now: &PersistentReservations,
    next: PersistentReservations,
    by: &NexusName,
) -> Outcome {
    let ended = now
        .kind()
        .filter(|kind| kind.admits_registrants() && next.reservation.is_none());
    let told = if ended.is_some() {
        next.others(by)
    } else {
        Vec::new()
    };
    Outcome::new(next).telling(UnitAttention::ReservationsReleased, told)
}

pub(super) fn register_and_move(asking: &Asking<'_>, request: &PersistentReserveOut) -> Decided {
    let now = asking.now;
    let Some(destination) = &request.destination else {
        return Err(Sense::INTERNAL_TARGET_FAILURE.into());
    };
    let Some(held) = &now.reservation else {
        return Err(Sense::cdb_bit(1, 4).into());
    };
    if held.kind.is_all_registrants() || !now.is_holder(asking.nexus) {
        return Err(Refusal::RESERVATION_CONFLICT);
    }
    if request.action_key == 0 {
        return Err(Sense::parameter_byte(8).into());
    }
    check_persist(asking, request, Sense::parameter_bit(17, 0))?;
    if destination.nexus.initiator == asking.nexus.initiator {
        return Err(Sense::parameter_byte(24).into());
    }
    let mut ports = asking.ports.iter();
    if !ports.any(|port| port.relative_id == destination.nexus.target_port) {
        return Err(Sense::parameter_byte(18).into());
    }
    let mut next = now.clone();
    next.register(&destination.nexus, request.action_key)
        .map_err(|NoRoom| Sense::INSUFFICIENT_REGISTRATION_RESOURCES)?;
    next.establish(held.kind, &destination.nexus);
    if destination.unregister {
        next.unregister(|one| one.nexus == *asking.nexus);
    }
    next.persists = request.persist;
    next.generation = now.generation.wrapping_add(1);
    Ok(Outcome::new(next))
}

/// APTPL without a place to keep it is refused, pointing at the bit.
pub(super) fn check_persist(
    asking: &Asking<'_>,
    request: &PersistentReserveOut,
    pointing: Sense,
) -> Result<(), Refusal> {
    if request.persist && !asking.ptpl_capable {
        return Err(pointing.into());
    }
    Ok(())
}
