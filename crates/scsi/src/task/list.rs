//! Commands with a short parameter list that concerns the nexus or the LU, not the medium: SEND DIAGNOSTIC, WRITE BUFFER,
//! SET TIMESTAMP. SPC-5 r22, the commands of these names.

use super::state::{Ending, Next};
use super::transfer::check_complete;

use crate::command::Command;
use crate::limits::ECHO_BUFFER_BYTES;
use crate::lu::{HomeAction, NexusLu};
use crate::opcodes::Handler;
use crate::reports::SUPPORTED_PAGES;
use crate::sense::{Refusal, Sense};
use crate::view::LunView;

/// What the list is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Diagnostic,
    EchoBuffer,
    /// SET TIMESTAMP, and what it comes to: milliseconds to add to the time of day.
    Timestamp(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    DataOut,
    Change,
    End,
}

/// A command whose work is to take a parameter list.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    what: What,
    bytes: u32,
    phase: Phase,
}

/// A diagnostic page without parameters.
const DIAGNOSTIC_PAGE_BYTES: u32 = 4;

/// SPC-5 "SET TIMESTAMP parameter data".
const TIMESTAMP_BYTES: u32 = 12;

/// WRITE BUFFER, MODE: write data to the echo buffer.
const ECHO_BUFFER: u8 = 0x0a;

impl List {
    /// The list that a command brings; `None` when it brings none, and that is no error.
    pub(super) fn plan(handler: Handler, command: &Command) -> Result<Option<Self>, Refusal> {
        let cdb = &command.cdb;
        let (what, bytes, length_at) = match handler {
            Handler::SendDiagnostic => {
                let bytes = u32::from(cdb.be16::<3>());
                // SPC-5 "SEND DIAGNOSTIC command": the default self-test has no parameter list; it finds nothing wrong.
                if bytes > 0 && (cdb.bit::<1>(2) || !cdb.bit::<1>(4)) {
                    return Err(Sense::cdb_bit(1, 4).into());
                }
                if bytes > DIAGNOSTIC_PAGE_BYTES {
                    return Err(Sense::PARAMETER_LIST_LENGTH_ERROR
                        .pointing(true, 3, None)
                        .into());
                }
                (What::Diagnostic, bytes, 3)
            }
            Handler::WriteBuffer => {
                let bytes = echo_buffer_bytes(command)?;
                (What::EchoBuffer, bytes, 6)
            }
            Handler::SetTimestamp => (What::Timestamp(0), cdb.be32::<6>(), 6),
            _ => return Err(Sense::INTERNAL_TARGET_FAILURE.into()),
        };
        let least = match what {
            What::Diagnostic => DIAGNOSTIC_PAGE_BYTES,
            What::EchoBuffer => 1,
            What::Timestamp(_) => TIMESTAMP_BYTES,
        };
        if bytes == 0 {
            return Ok(None);
        }
        if bytes < least || command.data_out_bytes < bytes {
            return Err(Sense::PARAMETER_LIST_LENGTH_ERROR
                .pointing(true, length_at, None)
                .into());
        }
        Ok(Some(Self {
            what,
            // Of a longer list only the fields that are known count.
            bytes: bytes.min(least.max(u32::from(ECHO_BUFFER_BYTES))),
            phase: Phase::DataOut,
        }))
    }

    pub(super) fn next(&self) -> Next {
        match (self.phase, self.what) {
            (Phase::DataOut, _) => Next::DataOut {
                offset: 0,
                bytes: self.bytes,
            },
            (Phase::Change, What::Timestamp(offset_ms)) => {
                Next::Home(HomeAction::SetTimestamp(offset_ms))
            }
            (Phase::Change | Phase::End, _) => Next::Done(Ending {
                transfer_bytes: u64::from(self.bytes),
                data_in_bytes: 0,
            }),
        }
    }

    pub(super) fn handle_data_out(
        &mut self,
        bytes: &[u8],
        nexus: Option<&mut NexusLu>,
        view: &LunView<'_>,
    ) -> Result<(), Refusal> {
        check_complete(bytes, self.bytes)?;
        self.phase = Phase::End;
        match &mut self.what {
            What::Diagnostic => check_diagnostic_page(bytes)?,
            What::EchoBuffer => {
                if let Some(nexus) = nexus {
                    nexus.echo_buffer = Some(bytes.into());
                }
            }
            What::Timestamp(offset_ms) => {
                *offset_ms = timestamp(bytes)?.saturating_sub(now_ms(view));
                self.phase = Phase::Change;
            }
        }
        Ok(())
    }

    pub(super) fn handle_granted(&mut self) {
        self.phase = Phase::End;
    }
}

/// SPC-5 "WRITE BUFFER command": the echo buffer is the only one, it has no number and no offset.
fn echo_buffer_bytes(command: &Command) -> Result<u32, Refusal> {
    let cdb = &command.cdb;
    if cdb.byte::<1>() & 0x1f != ECHO_BUFFER {
        return Err(Sense::cdb_bit(1, 4).into());
    }
    // The three bytes of PARAMETER LIST LENGTH stand behind the last of BUFFER OFFSET.
    match cdb.be32::<5>() & 0x00ff_ffff {
        bytes if bytes > u32::from(ECHO_BUFFER_BYTES) => Err(Sense::cdb_byte(6).into()),
        bytes => Ok(bytes),
    }
}

/// SPC-5 "Supported Diagnostic Pages diagnostic page": the one page there is, without parameters.
fn check_diagnostic_page(page: &[u8]) -> Result<(), Refusal> {
    match *page {
        [code, ..] if !SUPPORTED_PAGES.contains(&code) => Err(Sense::parameter_byte(0).into()),
        [_, reserved, ..] if reserved != 0 => Err(Sense::parameter_byte(1).into()),
        [_, _, 0, 0, ..] => Ok(()),
        _ => Err(Sense::parameter_byte(2).into()),
    }
}

/// Milliseconds since 1970-01-01: 48 bits at byte 4.
fn timestamp(list: &[u8]) -> Result<i64, Refusal> {
    let field = list.get(4..10).ok_or(Sense::PARAMETER_LIST_LENGTH_ERROR)?;
    Ok(field
        .iter()
        .fold(0, |sum, byte| sum << 8 | i64::from(*byte)))
}

fn now_ms(view: &LunView<'_>) -> i64 {
    i64::try_from(view.clock.unix_ms()).unwrap_or(i64::MAX)
}
