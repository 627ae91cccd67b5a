//! A LUN behind which there is no logical unit. SPC-5 r22 "Incorrect logical unit numbers".

use crate::command::{Command, TaskAttribute};
use crate::lun::LunList;
use crate::opcodes::{DISK, Handler};
use crate::reply::Reply;
use crate::reports::{Features, PeripheralQualifier, report_luns, request_sense, standard_inquiry};
use crate::sense::{Refusal, Sense, SenseFormat};
use crate::snapshot::LuIdentity;
use crate::step::{Done, Status};

/// Answers a command to a LUN that is not mapped for the nexus: INQUIRY with peripheral qualifier and type 7Fh, REPORT
/// LUNS, REQUEST SENSE with LOGICAL UNIT NOT SUPPORTED; all else is refused with that.
pub fn begin_missing(command: &Command, luns: &dyn LunList, out: &mut Vec<u8>) -> Done {
    let start = out.len();
    answer(command, luns, out).unwrap_or_else(|refusal| {
        out.truncate(start);
        refusal.done(SenseFormat::Fixed)
    })
}

fn answer(command: &Command, luns: &dyn LunList, out: &mut Vec<u8>) -> Result<Done, Refusal> {
    let missing = Refusal::Check(Sense::LOGICAL_UNIT_NOT_SUPPORTED);
    if command.attribute == TaskAttribute::Aca {
        return Err(Sense::INVALID_MESSAGE_ERROR.into());
    }
    let row = DISK
        .row_of(&command.cdb)
        .ok()
        .filter(|row| row.rules.always)
        .ok_or(missing)?;
    row.check_reserved(&command.cdb)?;
    match row.handler {
        Handler::ReportLuns => report_luns(command, luns, out),
        Handler::RequestSense => request_sense(command, &Sense::LOGICAL_UNIT_NOT_SUPPORTED, out),
        Handler::Inquiry => inquiry(command, out),
        _ => Err(missing),
    }
}

fn inquiry(command: &Command, out: &mut Vec<u8>) -> Result<Done, Refusal> {
    let cdb = &command.cdb;
    let qualifier = PeripheralQualifier::NotSupported;
    let mut reply = Reply::new(out, u32::from(cdb.be16::<3>()), command.data_in_bytes);
    match (cdb.bit::<1>(0), cdb.byte::<2>()) {
        // No version of a transport is claimed where there is nothing.
        (false, 0) => standard_inquiry(qualifier, &nobody(), Features::default(), &mut reply),
        // Only the list of pages, with itself in it.
        (true, 0) => reply.put(&[qualifier.byte(), 0, 0, 1, 0]),
        _ => return Err(Sense::cdb_byte(2).into()),
    }
    Ok(reply.done())
}

fn nobody() -> LuIdentity {
    LuIdentity {
        vendor: *b"QUINTAIN",
        product: [b' '; 16],
        revision: [b' '; 4],
        serial: String::new(),
        naa: [0; 16],
    }
}

impl Refusal {
    /// The end of a command that is refused.
    pub(crate) fn done(self, format: SenseFormat) -> Done {
        match self {
            Self::Check(sense) => Done::check_condition(sense, format),
            Self::Status(status) => Done::status(status),
        }
    }

    /// RESERVATION CONFLICT.
    pub(crate) const RESERVATION_CONFLICT: Self = Self::Status(Status::ReservationConflict);
}
