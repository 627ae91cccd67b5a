//! ORWRITE. SBC-4 r22 "ORWRITE (16) command".
//!
//! Reading, setting bits and writing are one uninterrupted series: the home keeps all other I/O off the blocks of a
//! window from before they are read until they are written. Data-Out comes before that, so that nobody waits for an
//! initiator that is slow to send; an ORWRITE of several windows is therefore one series for each of them.

use block::Lba;

use super::state::{Ending, Next};
use super::transfer::{Cursor, check_complete};

use crate::lu::HomeAction;
use crate::sense::Refusal;
use crate::snapshot::LuSnapshot;
use crate::step::{Io, ReadInto, WriteFrom};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    DataOut,
    Range,
    Read,
    Write,
}

/// ORWRITE.
#[derive(Clone, Copy, Debug)]
pub(super) struct OrWrite {
    at: Cursor,
    durable: bool,
    phase: Phase,
    transfer_bytes: u64,
}

impl OrWrite {
    pub(super) fn new(at: Cursor, durable: bool, transfer_bytes: u64) -> Self {
        Self {
            at,
            durable,
            phase: Phase::DataOut,
            transfer_bytes,
        }
    }

    pub(super) fn next(&self, lu: &LuSnapshot) -> Next {
        if self.at.is_at_end() {
            return Next::Done(Ending {
                transfer_bytes: self.transfer_bytes,
                data_in_bytes: 0,
            });
        }
        let lba = Lba(self.at.lba);
        let blocks = self.at.piece_blocks();
        let offset = self.at.offset;
        match self.phase {
            Phase::DataOut => Next::DataOut {
                offset,
                bytes: self.at.piece_bytes(),
            },
            Phase::Range => Next::Home(HomeAction::Range { lba, blocks }),
            Phase::Read => Next::Io(self.at.read(ReadInto::Scratch)),
            Phase::Write => Next::Io(Io::Write {
                lba,
                blocks,
                from: WriteFrom::OrScratch { offset },
                durable: self.durable || !lu.mode.write_cache,
            }),
        }
    }

    /// Whether a window has been written, and others may use its blocks again.
    pub(super) fn is_between_windows(&self) -> bool {
        self.phase == Phase::DataOut
    }

    pub(super) fn handle_data_out(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        check_complete(bytes, self.at.piece_bytes())?;
        self.phase = Phase::Range;
        Ok(())
    }

    pub(super) fn handle_granted(&mut self) {
        self.phase = Phase::Read;
    }

    pub(super) fn handle_io(&mut self, data_out: &[u8], scratch: &[u8]) -> Result<(), Refusal> {
        if self.phase == Phase::Write {
            self.at.advance();
            self.phase = Phase::DataOut;
            return Ok(());
        }
        check_complete(data_out, self.at.piece_bytes())?;
        check_complete(scratch, self.at.piece_bytes())?;
        self.phase = Phase::Write;
        Ok(())
    }
}
