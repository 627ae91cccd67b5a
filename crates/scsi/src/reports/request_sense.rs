//! REQUEST SENSE. SPC-5 r22 "REQUEST SENSE command".

use super::Reported;
use crate::command::Command;
use crate::reply::Reply;
use crate::sense::{MAX_SENSE_BYTES, Sense, SenseFormat};

/// REQUEST SENSE: `sense` as parameter data, in the format that DESC asks for.
pub(crate) fn request_sense(command: &Command, sense: &Sense, out: &mut Vec<u8>) -> Reported {
    let cdb = &command.cdb;
    let mut bytes = Vec::with_capacity(MAX_SENSE_BYTES);
    sense.emit(SenseFormat::of_bit(cdb.bit::<1>(0)), &mut bytes);
    let mut reply = Reply::new(out, u32::from(cdb.byte::<4>()), command.data_in_bytes);
    reply.put(&bytes);
    Ok(reply.done())
}
