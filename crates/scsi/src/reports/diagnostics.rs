//! RECEIVE DIAGNOSTIC RESULTS. SPC-5 r22 "RECEIVE DIAGNOSTIC RESULTS command", "Supported Diagnostic Pages diagnostic
//! page".

use super::{Asked, Reported};
use crate::sense::Sense;

/// The diagnostic pages there are: the list of them.
pub(crate) const SUPPORTED_PAGES: [u8; 1] = [0x00];

/// RECEIVE DIAGNOSTIC RESULTS, of the page named, or of the last that was sent, which can only be the same.
pub(crate) fn receive_diagnostic_results(asked: &Asked<'_>, out: &mut Vec<u8>) -> Reported {
    let cdb = &asked.command.cdb;
    let names_page = cdb.bit::<1>(0);
    // SPC-5 "PCV bit": without it PAGE CODE is reserved.
    if cdb.byte::<2>() != 0 {
        let known = names_page && SUPPORTED_PAGES.contains(&cdb.byte::<2>());
        if !known {
            return Err(Sense::cdb_byte(2).into());
        }
    }
    let mut reply = asked.reply(u32::from(cdb.be16::<3>()), out);
    reply.put(&[0x00, 0, 0, 1]);
    reply.put(&SUPPORTED_PAGES);
    Ok(reply.done())
}
