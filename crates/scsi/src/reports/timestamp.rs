//! REPORT TIMESTAMP. SPC-5 r22 "REPORT TIMESTAMP command", "Device clocks".

use super::{Asked, Reported};

/// TIMESTAMP ORIGIN: set by SET TIMESTAMP.
const SET: u8 = 0x02;
/// TIMESTAMP ORIGIN: set by other means; here the machine's clock.
const OTHER_MEANS: u8 = 0x03;

/// REPORT TIMESTAMP.
pub(crate) fn report_timestamp(asked: &Asked<'_>, out: &mut Vec<u8>) -> Reported {
    let now = i64::try_from(asked.view.clock.unix_ms()).unwrap_or(i64::MAX);
    let (origin, time_ms) = match asked.lu.timestamp_offset_ms {
        Some(offset_ms) => (SET, now.saturating_add(offset_ms)),
        None => (OTHER_MEANS, now),
    };
    // The field has 48 bits.
    let [_, _, time @ ..] = time_ms.max(0).to_be_bytes();
    let mut reply = asked.reply(asked.command.cdb.be32::<6>(), out);
    reply.put(&[0, 10, origin, 0]);
    reply.put(&time);
    reply.put(&[0, 0]);
    Ok(reply.done())
}
