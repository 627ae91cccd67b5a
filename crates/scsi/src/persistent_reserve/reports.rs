//! PERSISTENT RESERVE IN: SPC-5 r22 "PERSISTENT RESERVE IN command".

use super::{NexusName, PersistentReservations, ReservationType};
use crate::reply::Reply;
use crate::reports::{Asked, Reported};
use crate::sense::{Refusal, Sense};
use crate::snapshot::Reserved;

/// The service actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    Keys,
    Reservation,
    Capabilities,
    FullStatus,
}

/// SPC-5 "ALLOW COMMANDS field", 011b: what may be allowed under a reservation is, but for RECEIVE COPY RESULTS.
const ALLOW_COMMANDS: u8 = 0b011;
/// CRH, SIP_C, ATP_C and RLR_C; PTPL_C comes with a place to save to.
const CAPABLE: u8 = 0x80 | 0x10 | 0x08 | 0x04;
const PTPL_C: u8 = 0x01;
const TMV: u8 = 0x80;

/// Answers one of the service actions.
pub(crate) fn persistent_reserve_in(
    report: Report,
    asked: &Asked<'_>,
    out: &mut Vec<u8>,
) -> Reported {
    let now = &asked.lu.persistent;
    match asked.lu.reserved {
        // SPC-2 "Reservations overview": a RESERVE makes every command of the persistent kind a conflict, whoever sends it.
        Reserved::For(_) => return Err(Refusal::RESERVATION_CONFLICT),
        Reserved::Lost => return Err(Sense::PERSISTENT_RESERVATION_INFORMATION_LOST.into()),
        Reserved::No | Reserved::Persistently(_) => {}
    }
    let mut reply = asked.reply(u32::from(asked.command.cdb.be16::<7>()), out);
    match report {
        Report::Keys => keys(now, &mut reply),
        Report::Reservation => reservation(now, &mut reply),
        Report::Capabilities => capabilities(now, asked.lu.ptpl_capable, &mut reply),
        Report::FullStatus => full_status(now, &mut reply),
    }
    Ok(reply.done())
}

/// PRGENERATION and ADDITIONAL LENGTH.
fn header(now: &PersistentReservations, additional: usize, reply: &mut Reply<'_>) {
    reply.put(&now.generation.to_be_bytes());
    reply.put(&u32::try_from(additional).unwrap_or(u32::MAX).to_be_bytes());
}

fn keys(now: &PersistentReservations, reply: &mut Reply<'_>) {
    header(now, 8 * now.registrations.len(), reply);
    for one in &now.registrations {
        reply.put(&one.key.to_be_bytes());
    }
}

fn reservation(now: &PersistentReservations, reply: &mut Reply<'_>) {
    let Some(kind) = now.kind() else {
        return header(now, 0, reply);
    };
    header(now, 16, reply);
    // SPC-5 "Reporting the persistent reservation": of all registrants no key is reported.
    reply.put(&now.holder_key().unwrap_or(0).to_be_bytes());
    reply.put(&[0, 0, 0, 0, 0, scope_and_type(kind), 0, 0]);
}

fn capabilities(now: &PersistentReservations, ptpl_capable: bool, reply: &mut Reply<'_>) {
    let capable = CAPABLE | if ptpl_capable { PTPL_C } else { 0 };
    // SPC-5 "Persistent Reservation Type Mask format": bit N of the first byte is type N; type 8 is bit 0 of the second.
    let mask = ReservationType::ALL
        .iter()
        .fold([0_u8; 2], |[low, high], kind| match kind.code() {
            code @ 0..=7 => [low | 1 << code, high],
            code => [low, high | 1 << (code - 8)],
        });
    let activated = TMV | ALLOW_COMMANDS << 4 | u8::from(now.persists);
    reply.put(&[0, 8, capable, activated, mask[0], mask[1], 0, 0]);
}

fn full_status(now: &PersistentReservations, reply: &mut Reply<'_>) {
    let bytes = |name: &NexusName| 24 + name.initiator.as_bytes().len();
    let all = now.registrations.iter().map(|one| bytes(&one.nexus)).sum();
    header(now, all, reply);
    for one in &now.registrations {
        let held = now.kind().filter(|_| now.is_holder(&one.nexus));
        let id = one.nexus.initiator.as_bytes();
        let mut descriptor = [0; 24];
        descriptor[..8].copy_from_slice(&one.key.to_be_bytes());
        // R_HOLDER. ALL_TG_PT is 0: each registration names its port.
        descriptor[12] = u8::from(held.is_some());
        descriptor[13] = held.map_or(0, scope_and_type);
        descriptor[18..20].copy_from_slice(&one.nexus.target_port.to_be_bytes());
        let length = u32::try_from(id.len()).unwrap_or(u32::MAX);
        descriptor[20..].copy_from_slice(&length.to_be_bytes());
        reply.put(&descriptor);
        reply.put(id);
    }
}

/// SCOPE (the logical unit's is 0) and TYPE.
fn scope_and_type(kind: ReservationType) -> u8 {
    kind.code()
}
