//! REPORT SUPPORTED OPERATION CODES. SPC-5 r22, the command of that name.

use super::{Asked, Reported};
use crate::command::VARIABLE_LENGTH;
use crate::opcodes::{Handler, Row};
use crate::reply::Reply;
use crate::sense::Sense;
use crate::snapshot::LuSnapshot;

const TIMEOUTS_BYTES: u16 = 12;

/// REPORT SUPPORTED OPERATION CODES, in all its forms.
pub(crate) fn report_operation_codes(asked: &Asked<'_>, out: &mut Vec<u8>) -> Reported {
    let cdb = &asked.command.cdb;
    let opcode = cdb.byte::<3>();
    let action = cdb.be16::<4>();
    let timeouts = cdb.bit::<2>(7);
    let commands = asked.lu.device.tables().commands;
    // The CDBs of 32 bytes are those of one type of protection: without it their operation code means nothing.
    let known = match opcode {
        VARIABLE_LENGTH => asked.lu.has_long_commands(),
        _ => commands.rows_of(opcode).next().is_some(),
    };
    let has_actions = known
        && commands
            .rows_of(opcode)
            .any(|row| row.service_action.is_some());
    let by_action = || {
        commands
            .rows_of(opcode)
            .find(|row| row.service_action == Some(action))
    };
    let found = match cdb.byte::<2>() & 0x07 {
        // All commands.
        0b000 => {
            let mut reply = asked.reply(cdb.be32::<6>(), out);
            all(asked.lu, timeouts, &mut reply);
            return Ok(reply.done());
        }
        // One, by its operation code, which has no service actions.
        0b001 if has_actions => return Err(Sense::cdb_bit(2, 2).into()),
        0b001 => commands.rows_of(opcode).next(),
        // One, by operation code and service action.
        0b010 if known && !has_actions => return Err(Sense::cdb_bit(2, 2).into()),
        0b010 => by_action(),
        // One, by both; a command without service actions has number 0.
        0b011 if has_actions => by_action(),
        0b011 => commands.rows_of(opcode).next().filter(|_| action == 0),
        _ => return Err(Sense::cdb_bit(2, 2).into()),
    };
    let mut reply = asked.reply(cdb.be32::<6>(), out);
    one(
        found.filter(|row| row.is_supported(asked.lu)),
        asked.lu,
        timeouts,
        &mut reply,
    );
    Ok(reply.done())
}

/// SPC-5 "All_commands parameter data".
fn all(lu: &LuSnapshot, timeouts: bool, reply: &mut Reply<'_>) {
    let rows = || {
        lu.device
            .tables()
            .commands
            .rows
            .iter()
            .filter(|row| row.is_supported(lu))
    };
    let each = 8 + if timeouts {
        usize::from(TIMEOUTS_BYTES)
    } else {
        0
    };
    let length = u32::try_from(rows().count() * each).unwrap_or(u32::MAX);
    reply.put(&length.to_be_bytes());
    for row in rows() {
        let action = row.service_action.unwrap_or(0).to_be_bytes();
        // CTDP, SERVACTV.
        let flags = u8::from(timeouts) << 1 | u8::from(row.service_action.is_some());
        reply.put(&[
            row.opcode,
            0,
            action[0],
            action[1],
            0,
            flags,
            0,
            row.cdb_bytes,
        ]);
        if timeouts {
            put_timeouts(row, reply);
        }
    }
}

/// SPC-5 "One_command parameter data".
fn one(row: Option<&Row>, lu: &LuSnapshot, timeouts: bool, reply: &mut Reply<'_>) {
    let Some(row) = row else {
        // SUPPORT 001b: not supported. No CDB usage data, no timeouts.
        reply.put(&[0, 0x01, 0, 0]);
        return;
    };
    // CTDP; SUPPORT 011b: as the standard has it.
    reply.put(&[0, u8::from(timeouts) << 7 | 0x03, 0, row.cdb_bytes]);
    let mut usage = row.usage;
    // SBC-4 "Type 2 protection": commands that are shorter have no such field there.
    if !lu.has_long_commands() || row.handler == Handler::FormatUnit {
        usage[1] |= row.protect_bits(lu);
    }
    reply.put(&usage[..usize::from(row.cdb_bytes)]);
    if timeouts {
        put_timeouts(row, reply);
    }
}

/// SPC-5 "Command timeouts descriptor": no nominal time is told.
fn put_timeouts(row: &Row, reply: &mut Reply<'_>) {
    reply.put(&(TIMEOUTS_BYTES - 2).to_be_bytes());
    reply.put(&[0; 6]);
    reply.put(&row.timeout_seconds.to_be_bytes());
}
