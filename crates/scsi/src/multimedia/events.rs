//! GET EVENT STATUS NOTIFICATION, polled. MMC-6 r02g "GET EVENT STATUS NOTIFICATION command".

use super::Disc;
use crate::reports::{Asked, Reported};
use crate::sense::Sense;

/// Notification classes, by their bit in NOTIFICATION CLASS REQUEST. A lower one is told before a higher one.
const OPERATIONAL_CHANGE: u8 = 1;
const POWER_MANAGEMENT: u8 = 2;
const MEDIA: u8 = 4;
const DEVICE_BUSY: u8 = 6;

const CLASSES: [u8; 4] = [OPERATIONAL_CHANGE, POWER_MANAGEMENT, MEDIA, DEVICE_BUSY];

/// GET EVENT STATUS NOTIFICATION. `told` is up to which change of the medium the nexus knows; it grows when one is told.
pub(crate) fn event_status(asked: &Asked<'_>, told: &mut u32, out: &mut Vec<u8>) -> Reported {
    let cdb = &asked.command.cdb;
    // MMC-6: a drive that tells no events by itself refuses what is not polled.
    if !cdb.bit::<1>(0) {
        return Err(Sense::cdb_bit(1, 0).into());
    }
    let supported = CLASSES.iter().fold(0, |bits, class| bits | 1 << class);
    let has_changed = asked.lu.tray.changes() != *told;
    let requested = |class: &u8| cdb.byte::<4>() & 1 << class != 0;
    // Only the medium has events: they are told first, else how the lowest class stands.
    let class = Some(MEDIA)
        .filter(|class| has_changed && requested(class))
        .or_else(|| CLASSES.into_iter().find(requested));
    let allocation = cdb.be16::<7>();
    let mut reply = asked.reply(u32::from(allocation), out);
    let Some(class) = class else {
        // NEA: no class that is asked for is there.
        reply.put(&[0, 2, 0x80, supported]);
        return Ok(reply.done());
    };
    reply.put(&[0, 6, class, supported]);
    reply.put(&match class {
        MEDIA => {
            let event = media_event(asked, has_changed);
            // MMC-6: with four bytes only the header is asked for, and the event stays.
            if allocation > 4 {
                *told = asked.lu.tray.changes();
            }
            event
        }
        // POWER STATUS: active.
        POWER_MANAGEMENT => [0, 1, 0, 0],
        // Nothing has changed; not busy.
        _ => [0; 4],
    });
    Ok(reply.done())
}

/// MMC-6 "Media class events": NoChg, NewMedia or MediaRemoval, and how the door and the medium are.
fn media_event(asked: &Asked<'_>, has_changed: bool) -> [u8; 4] {
    let is_present = Disc::of(asked.lu).is_some();
    let event = match (has_changed, is_present) {
        (false, _) => 0,
        (true, true) => 2,
        (true, false) => 3,
    };
    let status = u8::from(is_present) << 1 | u8::from(asked.lu.tray.is_open());
    [event, status, 0, 0]
}
