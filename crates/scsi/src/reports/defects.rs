//! READ DEFECT DATA: the lists are empty, since nothing is reassigned here; the backstore does that below. SBC-4 r22
//! "READ DEFECT DATA (10) command", "READ DEFECT DATA (12) command".

use super::{Asked, Reported};
use crate::sense::Sense;

/// READ DEFECT DATA(10).
pub(crate) fn read_defect_data_10(asked: &Asked<'_>, out: &mut Vec<u8>) -> Reported {
    let cdb = &asked.command.cdb;
    let mut reply = asked.reply(u32::from(cdb.be16::<7>()), out);
    // PLISTV, GLISTV and DEFECT LIST FORMAT as asked for: an empty list has every format. DEFECT LIST LENGTH 0.
    reply.put(&[0, cdb.byte::<2>() & 0x1f, 0, 0]);
    Ok(reply.done())
}

/// READ DEFECT DATA(12).
pub(crate) fn read_defect_data_12(asked: &Asked<'_>, out: &mut Vec<u8>) -> Reported {
    let cdb = &asked.command.cdb;
    // ADDRESS DESCRIPTOR INDEX: beyond the last descriptor.
    if cdb.be32::<2>() > 0 {
        return Err(Sense::cdb_byte(2).into());
    }
    let mut reply = asked.reply(cdb.be32::<6>(), out);
    // GENERATION CODE 0: not reported.
    reply.put(&[0, cdb.byte::<1>() & 0x1f, 0, 0, 0, 0, 0, 0]);
    Ok(reply.done())
}
