//! REPORT LUNS. SPC-5 r22 "REPORT LUNS command".

use super::Reported;
use crate::command::Command;
use crate::lun::LunList;
use crate::reply::Reply;
use crate::sense::Sense;

/// REPORT LUNS. Only what the nexus has is told; there are no well known logical units.
pub(crate) fn report_luns(command: &Command, luns: &dyn LunList, out: &mut Vec<u8>) -> Reported {
    let cdb = &command.cdb;
    let count = match cdb.byte::<2>() {
        // SELECT REPORT: logical units; all logical units.
        0x00 | 0x02 => luns.count(),
        // Only well known logical units.
        0x01 => 0,
        _ => return Err(Sense::cdb_byte(2).into()),
    };
    let length = u32::try_from(count.saturating_mul(8)).unwrap_or(u32::MAX);
    let mut reply = Reply::new(out, cdb.be32::<6>(), command.data_in_bytes);
    reply.put(&length.to_be_bytes());
    reply.put(&[0; 4]);
    for lun in (0..count).filter_map(|index| luns.lun_at(index)) {
        reply.put(&lun.encode().to_be_bytes());
    }
    Ok(reply.done())
}
