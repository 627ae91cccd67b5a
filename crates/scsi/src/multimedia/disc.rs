//! What is told of the disc and the drive. MMC-6 r02g "READ DISC INFORMATION command", "READ TRACK INFORMATION command", "READ
//! DISC STRUCTURE command", "MECHANISM STATUS command".

use super::Disc;
use crate::reports::{Asked, Reported};
use crate::sense::Sense;
use crate::snapshot::LuSnapshot;

/// The blocks of the disc; addresses have 32 bits.
pub(super) fn blocks(lu: &LuSnapshot) -> u32 {
    u32::try_from(lu.geometry().capacity_blocks).unwrap_or(u32::MAX)
}

/// READ DISC INFORMATION: a disc that is complete.
pub(crate) fn read_disc_information(asked: &Asked<'_>, out: &mut Vec<u8>) -> Reported {
    let cdb = &asked.command.cdb;
    // DATA TYPE: standard disc information.
    if cdb.byte::<1>() & 0x07 != 0 {
        return Err(Sense::cdb_bit(1, 2).into());
    }
    let mut data = [0; 34];
    data[1] = 32;
    // STATE OF LAST SESSION and DISC STATUS: complete.
    data[2] = 0x0e;
    // The first track of the disc; the sessions; the first and the last track of the last of them.
    data[3..7].fill(1);
    // URU: the disc may be used by anybody. DISC TYPE is 00h, CD-ROM or none.
    data[7] = 0x20;
    // No more sessions: neither a lead-in nor a lead-out of the next.
    data[16..24].fill(0xff);
    let mut reply = asked.reply(u32::from(cdb.be16::<7>()), out);
    reply.put(&data);
    Ok(reply.done())
}

/// READ TRACK INFORMATION, of the one track.
pub(crate) fn read_track_information(asked: &Asked<'_>, out: &mut Vec<u8>) -> Reported {
    let cdb = &asked.command.cdb;
    let end = blocks(asked.lu);
    let asked_for = cdb.be32::<2>();
    let is_there = match cdb.byte::<1>() & 0x03 {
        // A logical block address; a track; a session.
        0b00 => asked_for < end,
        0b01 | 0b10 => asked_for == 1,
        _ => return Err(Sense::cdb_bit(1, 1).into()),
    };
    if !is_there {
        return Err(Sense::cdb_byte(2).into());
    }
    let mut data = [0; 36];
    data[1] = 34;
    // The track; its session.
    data[2..4].fill(1);
    // TRACK MODE: data. DATA MODE: mode 1.
    data[5] = 0x04;
    data[6] = 0x01;
    data[24..28].copy_from_slice(&end.to_be_bytes());
    let mut reply = asked.reply(u32::from(cdb.be16::<7>()), out);
    reply.put(&data);
    Ok(reply.done())
}

/// Where the data area of a DVD begins, as a physical sector number.
const DVD_FIRST_SECTOR: u32 = 0x03_0000;

/// Bytes of what a disc structure is, its header of four bytes included: physical format, copyright.
const PHYSICAL_BYTES: u16 = 2052;
const COPYRIGHT_BYTES: u16 = 8;

/// READ DISC STRUCTURE, of a DVD: formats 00h, 01h and FFh.
pub(crate) fn read_disc_structure(asked: &Asked<'_>, out: &mut Vec<u8>) -> Reported {
    let cdb = &asked.command.cdb;
    // MEDIA TYPE: DVD.
    if cdb.byte::<1>() & 0x0f != 0 {
        return Err(Sense::cdb_bit(1, 3).into());
    }
    // MMC-6: the structures of another kind of disc cannot be read.
    if Disc::of(asked.lu) != Some(Disc::Dvd) {
        return Err(Sense::INCOMPATIBLE_FORMAT.into());
    }
    let data: Vec<u8> = match cdb.byte::<7>() {
        0x00 => physical(blocks(asked.lu)),
        // No copyright protection, and no region.
        0x01 => vec![0; usize::from(COPYRIGHT_BYTES) - 4],
        0xff => {
            let entry = |format: u8, bytes: u16| {
                let [high, low] = bytes.to_be_bytes();
                // RDS: it can be read.
                [format, 0x40, high, low]
            };
            [entry(0x00, PHYSICAL_BYTES), entry(0x01, COPYRIGHT_BYTES)].concat()
        }
        _ => return Err(Sense::cdb_byte(7).into()),
    };
    if cdb.byte::<6>() != 0 {
        // LAYER NUMBER: there is one.
        return Err(Sense::cdb_byte(6).into());
    }
    let length = u16::try_from(data.len() + 2).unwrap_or(u16::MAX);
    let mut reply = asked.reply(u32::from(cdb.be16::<8>()), out);
    reply.put(&length.to_be_bytes());
    reply.put(&[0, 0]);
    reply.put(&data);
    Ok(reply.done())
}

/// MMC-6 "Physical Format Information": a DVD-ROM of 120 mm with one layer. Sectors beyond what three bytes hold are not told.
fn physical(blocks: u32) -> Vec<u8> {
    let mut data = vec![0; usize::from(PHYSICAL_BYTES) - 4];
    // BOOK TYPE: DVD-ROM; PART VERSION.
    data[0] = 0x01;
    // DISC SIZE: 120 mm; MAXIMUM RATE: not specified.
    data[1] = 0x0f;
    // One layer, embossed.
    data[2] = 0x01;
    let last = DVD_FIRST_SECTOR.saturating_add(blocks.saturating_sub(1));
    data[4..8].copy_from_slice(&DVD_FIRST_SECTOR.to_be_bytes());
    data[8..12].copy_from_slice(&last.min(0x00ff_ffff).to_be_bytes());
    data
}

/// MECHANISM STATUS: no changer, and nothing is going on.
pub(crate) fn mechanism_status(asked: &Asked<'_>, out: &mut Vec<u8>) -> Reported {
    let cdb = &asked.command.cdb;
    // DOOR OPEN. No slots, and no table of them.
    let door = u8::from(asked.lu.tray.is_open()) << 4;
    let mut reply = asked.reply(u32::from(cdb.be16::<8>()), out);
    reply.put(&[0, door, 0, 0, 0, 0, 0, 0]);
    Ok(reply.done())
}
