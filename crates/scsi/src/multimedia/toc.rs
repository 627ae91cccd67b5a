//! READ TOC/PMA/ATIP. MMC-6 r02g "READ TOC/PMA/ATIP command": one session, one data track, and the lead-out.

use super::disc;
use crate::reports::{Asked, Reported};
use crate::sense::Sense;

/// CONTROL 4h: a data track; ADR 1h: its position.
const DATA_TRACK: u8 = 0x14;
const LEAD_OUT: u8 = 0xaa;

/// READ TOC/PMA/ATIP, formats 0000b, 0001b and 0010b.
pub(crate) fn read_toc(asked: &Asked<'_>, out: &mut Vec<u8>) -> Reported {
    let cdb = &asked.command.cdb;
    let track = cdb.byte::<6>();
    let in_msf = cdb.bit::<1>(1);
    let address = |lba: u32| if in_msf { msf(lba) } else { lba }.to_be_bytes();
    let end = disc::blocks(asked.lu);
    // SFF-8020i had FORMAT in the two highest bits of the last byte; Linux still asks so.
    let format = match (cdb.byte::<2>() & 0x0f, cdb.byte::<9>() >> 6) {
        (0, old) => old,
        (format, _) => format,
    };
    let mut body = Vec::with_capacity(64);
    match format {
        // Formatted TOC, from this track on.
        0 => {
            if track > 1 && track != LEAD_OUT {
                return Err(Sense::cdb_byte(6).into());
            }
            body.extend_from_slice(&[1, 1]);
            let tracks = [(1, 0), (LEAD_OUT, end)];
            for (number, start) in tracks.into_iter().filter(|(number, _)| *number >= track) {
                body.extend_from_slice(&[0, DATA_TRACK, number, 0]);
                body.extend_from_slice(&address(start));
            }
        }
        // Multi-session information: the first track of the last session.
        1 => {
            body.extend_from_slice(&[1, 1, 0, DATA_TRACK, 1, 0]);
            body.extend_from_slice(&address(0));
        }
        // Raw TOC, of this session and the later ones; always as times.
        2 => {
            if track > 1 {
                return Err(Sense::cdb_byte(6).into());
            }
            body.extend_from_slice(&[1, 1]);
            // The first track and the type of the disc; the last track; the lead-out; the track.
            let time = |lba: u32| {
                let [_, minute, second, frame] = msf(lba).to_be_bytes();
                [minute, second, frame]
            };
            let points = [
                (0xa0, [1, 0, 0]),
                (0xa1, [1, 0, 0]),
                (0xa2, time(end)),
                (0x01, time(0)),
            ];
            for (point, position) in points {
                body.extend_from_slice(&[1, DATA_TRACK, 0, point, 0, 0, 0, 0]);
                body.extend_from_slice(&position);
            }
        }
        _ => return Err(Sense::cdb_bit(2, 3).into()),
    }
    let mut reply = asked.reply(u32::from(cdb.be16::<7>()), out);
    // At most 46 bytes.
    reply.put(&u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes());
    reply.put(&body);
    Ok(reply.done())
}

/// Blocks of a second, and those before the first.
const FRAMES: u32 = 75;
const LEAD_IN_FRAMES: u32 = 150;

/// MMC-6 "MSF addressing": 0, minute, second and frame of a block, as a number. Minutes beyond the 255th are not told.
fn msf(lba: u32) -> u32 {
    let frames = lba.saturating_add(LEAD_IN_FRAMES);
    let (seconds, frame) = (frames / FRAMES, frames % FRAMES);
    let minute = (seconds / 60).min(255);
    minute << 16 | (seconds % 60) << 8 | frame
}

/// The block at the minute, second and frame in the three low bytes; one that no disc has, where these name none.
pub(crate) fn lba_of_msf(msf: u32) -> u64 {
    let [_, minute, second, frame] = msf.to_be_bytes().map(u32::from);
    let frames = (minute * 60 + second) * FRAMES + frame;
    let is_time = second < 60 && frame < FRAMES;
    let lba = frames.checked_sub(LEAD_IN_FRAMES).filter(|_| is_time);
    lba.map_or(u64::MAX, u64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn msf_of_block_and_back_is_the_block() {
        assert_eq!(msf(0), 0x00_02_00);
        assert_eq!(msf(75 * 60 * 80 - 150), 0x50_00_00);
        for lba in [0, 1, 74, 75, 4350, 359_999] {
            assert_eq!(lba_of_msf(msf(lba)), u64::from(lba));
        }
        for none in [0x00_01_4a, 0x00_3c_00, 0x00_02_4b] {
            assert_eq!(lba_of_msf(none), u64::MAX);
        }
        assert_eq!(msf(u32::MAX) >> 16, 255);
    }
}
