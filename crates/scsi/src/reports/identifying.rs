//! REPORT IDENTIFYING INFORMATION. SPC-5 r22 "REPORT IDENTIFYING INFORMATION command".

use super::{Asked, Reported};
use crate::identifying::InformationType;
use crate::sense::Sense;

/// INFORMATION TYPE: which of them are supported.
const SUPPORTED: u8 = 0x7f;

/// REPORT IDENTIFYING INFORMATION.
pub(crate) fn report_identifying_information(asked: &Asked<'_>, out: &mut Vec<u8>) -> Reported {
    let cdb = &asked.command.cdb;
    let code = cdb.byte::<10>() >> 1;
    let information = match InformationType::of_code(code) {
        Some(of_type) => asked.lu.identifying.of(of_type).to_vec(),
        None if code == SUPPORTED => {
            let descriptor = |one: &InformationType| {
                let [high, low] = one.max_bytes().to_be_bytes();
                [one.code() << 1, 0, high, low]
            };
            InformationType::ALL.iter().flat_map(descriptor).collect()
        }
        None => return Err(Sense::cdb_bit(10, 7).into()),
    };
    let mut reply = asked.reply(cdb.be32::<6>(), out);
    // At most 512 bytes.
    let length = u16::try_from(information.len()).unwrap_or(u16::MAX);
    reply.put(&[0, 0]);
    reply.put(&length.to_be_bytes());
    reply.put(&information);
    Ok(reply.done())
}
