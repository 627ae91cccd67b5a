//! READ BUFFER: the echo buffer. SPC-5 r22 "READ BUFFER (10) command".

use super::{Asked, Reported};
use crate::limits::ECHO_BUFFER_BYTES;
use crate::sense::Sense;

/// READ BUFFER. `echo` is what this nexus has written to its echo buffer.
pub(crate) fn read_buffer(asked: &Asked<'_>, echo: Option<&[u8]>, out: &mut Vec<u8>) -> Reported {
    let cdb = &asked.command.cdb;
    // The three bytes of ALLOCATION LENGTH stand behind the last of BUFFER OFFSET.
    let allocation = cdb.be32::<5>() & 0x00ff_ffff;
    match cdb.byte::<1>() & 0x1f {
        // Descriptor: there is no buffer 0 to read data from, and none with another number (all zeros).
        0x03 => {
            let mut reply = asked.reply(allocation, out);
            reply.put(&[0; 4]);
            Ok(reply.done())
        }
        // Read data from the echo buffer.
        0x0a => {
            // SPC-5 "Read data from echo buffer": there is nothing before the nexus has written.
            let echo = echo.ok_or(Sense::COMMAND_SEQUENCE_ERROR)?;
            let mut reply = asked.reply(allocation, out);
            reply.put(echo);
            Ok(reply.done())
        }
        // Echo buffer descriptor. EBOS: each nexus has one of its own.
        0x0b => {
            let mut reply = asked.reply(allocation, out);
            let [high, low] = ECHO_BUFFER_BYTES.to_be_bytes();
            reply.put(&[0x01, 0, high, low]);
            Ok(reply.done())
        }
        _ => Err(Sense::cdb_bit(1, 4).into()),
    }
}
