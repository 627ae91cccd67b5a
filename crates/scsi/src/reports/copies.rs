//! RECEIVE COPY STATUS (LID1 and LID4), RECEIVE COPY FAILURE DETAILS, RECEIVE COPY OPERATING PARAMETERS.
//!
//! SPC-5 r22, the commands of these names; SPC-4 "RECEIVE COPY RESULTS" for those with a list identifier of one byte.

use super::third_party_copy::granularity_exponent;
use super::{Asked, Reported};
use crate::copy::{
    CopyRecord, CopyState, DESCRIPTOR_TYPES, MAX_CSCDS, MAX_DESCRIPTOR_LIST_BYTES, MAX_RECORDS,
    MAX_SEGMENT_BYTES, MAX_SEGMENTS,
};
use crate::sense::{Sense, SenseFormat};
use crate::step::Status;

/// RECEIVE COPY OPERATING PARAMETERS. No inline data, no held data, no stream devices: their limits are 0.
pub(crate) fn copy_operating_parameters(asked: &Asked<'_>, out: &mut Vec<u8>) -> Reported {
    let mut data = [0; 44 + DESCRIPTOR_TYPES.len()];
    let available = u32::try_from(data.len() - 4).unwrap_or(u32::MAX);
    data[0..4].copy_from_slice(&available.to_be_bytes());
    // SNLID: a copy may be without a list identifier.
    data[4] = 0x01;
    data[8..10].copy_from_slice(&MAX_CSCDS.to_be_bytes());
    data[10..12].copy_from_slice(&MAX_SEGMENTS.to_be_bytes());
    data[12..16].copy_from_slice(&MAX_DESCRIPTOR_LIST_BYTES.to_be_bytes());
    data[16..20].copy_from_slice(&MAX_SEGMENT_BYTES.to_be_bytes());
    data[34..36].copy_from_slice(&u16::from(MAX_RECORDS).to_be_bytes());
    data[36] = MAX_RECORDS;
    data[37] = granularity_exponent(asked.lu);
    data[43] = u8::try_from(DESCRIPTOR_TYPES.len()).unwrap_or(u8::MAX);
    data[44..].copy_from_slice(&DESCRIPTOR_TYPES);
    let mut reply = asked.reply(asked.command.cdb.be32::<10>(), out);
    reply.put(&data);
    Ok(reply.done())
}

/// RECEIVE COPY STATUS(LID1).
pub(crate) fn copy_status_lid1(
    record: Option<&CopyRecord>,
    asked: &Asked<'_>,
    out: &mut Vec<u8>,
) -> Reported {
    let record = record.ok_or(Sense::cdb_byte(2))?;
    // HDD: there never are held data. SPC-4 "COPY MANAGER STATUS field".
    let status = match record.state {
        CopyState::InProgress => 0x00,
        CopyState::Completed | CopyState::CompletedShort => 0x01,
        CopyState::Failed(_) | CopyState::Aborted => 0x02,
    };
    let (units, count) = transfer_count(record.bytes);
    let mut reply = asked.reply(asked.command.cdb.be32::<10>(), out);
    reply.put(&[0, 0, 0, 8, status]);
    reply.put(&record.segments.to_be_bytes());
    reply.put(&[units]);
    reply.put(&count.to_be_bytes());
    Ok(reply.done())
}

/// RECEIVE COPY FAILURE DETAILS(LID1): of a copy that has failed.
pub(crate) fn copy_failure_details(
    record: Option<&CopyRecord>,
    asked: &Asked<'_>,
    out: &mut Vec<u8>,
) -> Reported {
    let failed =
        |record: &&CopyRecord| matches!(record.state, CopyState::Failed(_) | CopyState::Aborted);
    let record = record.filter(failed).ok_or(Sense::cdb_byte(2))?;
    let (status, sense) = outcome(record);
    let length = u16::try_from(sense.len()).unwrap_or(u16::MAX);
    let mut reply = asked.reply(asked.command.cdb.be32::<10>(), out);
    reply.put(&(56 + u32::from(length)).to_be_bytes());
    reply.put(&[0; 52]);
    reply.put(&[status, 0]);
    reply.put(&length.to_be_bytes());
    reply.put(&sense);
    Ok(reply.done())
}

/// RECEIVE COPY STATUS(LID4).
pub(crate) fn copy_status_lid4(
    record: Option<&CopyRecord>,
    asked: &Asked<'_>,
    out: &mut Vec<u8>,
) -> Reported {
    let record = record.ok_or(Sense::cdb_byte(2))?;
    let status = status_lid4(record, (0x00, record.bytes));
    let mut reply = asked.reply(asked.command.cdb.be32::<10>(), out);
    reply.put(&available(status.len()));
    reply.put(&status);
    Ok(reply.done())
}

/// RECEIVE ROD TOKEN INFORMATION: as RECEIVE COPY STATUS(LID4), with the token behind it.
pub(crate) fn rod_token_information(
    record: Option<&CopyRecord>,
    asked: &Asked<'_>,
    out: &mut Vec<u8>,
) -> Reported {
    let record = record.ok_or(Sense::cdb_byte(2))?;
    let size = u64::from(asked.lu.geometry().block_size_bytes.max(1));
    let mut data = status_lid4(record, (LOGICAL_BLOCKS, record.bytes / size));
    // SPC-5 "ROD token descriptor": an identifier of 0, and the token.
    match record.token.as_deref() {
        Some(token) => {
            let length = u32::try_from(2 + token.len()).unwrap_or(u32::MAX);
            data.extend_from_slice(&length.to_be_bytes());
            data.extend_from_slice(&[0; 2]);
            data.extend_from_slice(token);
        }
        None => data.extend_from_slice(&[0; 4]),
    }
    let mut reply = asked.reply(asked.command.cdb.be32::<10>(), out);
    reply.put(&available(data.len()));
    reply.put(&data);
    Ok(reply.done())
}

/// SPC-5 "TRANSFER COUNT UNITS field": logical blocks.
const LOGICAL_BLOCKS: u8 = 0xf1;

/// SPC-5 "RECEIVE COPY STATUS(LID4) parameter data", behind AVAILABLE DATA.
fn status_lid4(record: &CopyRecord, (units, count): (u8, u64)) -> Vec<u8> {
    let (status, sense) = outcome(record);
    let length = u8::try_from(sense.len()).unwrap_or(u8::MAX);
    // SPC-5 "COPY OPERATION STATUS field".
    let state = match record.state {
        CopyState::InProgress => 0x11,
        CopyState::Completed => 0x01,
        CopyState::CompletedShort => 0x04,
        CopyState::Failed(_) => 0x02,
        CopyState::Aborted => 0x60,
    };
    // OPERATION COUNTER is 0; ESTIMATED STATUS UPDATE DELAY: nobody knows.
    let mut data = vec![record.service_action, state, 0, 0, 0xff, 0xff, 0xff, 0xff];
    data.extend_from_slice(&[status, length, length, units]);
    data.extend_from_slice(&count.to_be_bytes());
    data.extend_from_slice(&record.segments.to_be_bytes());
    data.extend_from_slice(&[0; 6]);
    data.extend_from_slice(&sense);
    data
}

/// AVAILABLE DATA.
fn available(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes()
}

/// The status of the command that made the copy, and its sense data.
fn outcome(record: &CopyRecord) -> (u8, Vec<u8>) {
    let mut sense = Vec::new();
    let status = match record.state {
        CopyState::Failed(Some(failed)) => {
            failed.emit(SenseFormat::Descriptor, &mut sense);
            Status::CheckCondition
        }
        CopyState::Failed(None) => Status::Busy,
        CopyState::Aborted => Status::TaskAborted,
        CopyState::InProgress | CopyState::Completed | CopyState::CompletedShort => Status::Good,
    };
    (status.code(), sense)
}

/// SPC-4 "TRANSFER COUNT UNITS field": bytes, as long as four bytes express them, then KiB, MiB and so on.
fn transfer_count(bytes: u64) -> (u8, u32) {
    let mut units = 0;
    let mut count = bytes;
    while count > u64::from(u32::MAX) {
        count >>= 10;
        units += 1;
    }
    (units, u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transfer_count_takes_the_smallest_unit_that_expresses_it() {
        assert_eq!(transfer_count(0), (0, 0));
        assert_eq!(transfer_count(0xffff_ffff), (0, 0xffff_ffff));
        assert_eq!(transfer_count(1 << 32), (1, 1 << 22));
        assert_eq!(transfer_count(1 << 42), (2, 1 << 22));
        assert_eq!(transfer_count(u64::MAX), (4, 0x00ff_ffff));
    }
}
