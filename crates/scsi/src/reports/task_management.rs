//! REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS. SPC-5 r22, the command of that name.

use super::{Asked, Reported};

/// ATS, ATSS, CACAS, CTSS, LURS, QTS, then QAES, QTSS, ITNRS: what iSCSI carries and the task router carries out. (TARGET RESET is
/// iSCSI's own.)
const FUNCTIONS: [u8; 2] = [0x80 | 0x40 | 0x20 | 0x10 | 0x08 | 0x04, 0x04 | 0x02 | 0x01];

/// REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS, basic and extended.
pub(crate) fn report_task_management(asked: &Asked<'_>, out: &mut Vec<u8>) -> Reported {
    let cdb = &asked.command.cdb;
    let mut reply = asked.reply(cdb.be32::<6>(), out);
    let extended = cdb.bit::<2>(7);
    // REPORT TASK MANAGEMENT FUNCTIONS ADDITIONAL DATA LENGTH.
    reply.put(&[
        FUNCTIONS[0],
        FUNCTIONS[1],
        0,
        if extended { 0x0c } else { 0 },
    ]);
    if extended {
        // TMFTMOV 0: no timeouts are told.
        reply.put(&[0; 12]);
    }
    Ok(reply.done())
}
