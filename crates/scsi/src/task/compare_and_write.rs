//! COMPARE AND WRITE. SBC-4 r22 "COMPARE AND WRITE command".
//!
//! The home keeps all other I/O off the blocks from before they are read until the task leaves.

use block::Lba;

use super::state::{Ending, Next};
use super::transfer::check_complete;

use crate::lu::HomeAction;
use crate::sense::{Refusal, Sense};
use crate::snapshot::LuSnapshot;
use crate::step::{Io, ReadInto, WriteFrom};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    DataOut,
    Range,
    Read,
    Write,
    End,
}

/// COMPARE AND WRITE.
#[derive(Clone, Copy, Debug)]
pub(super) struct CompareAndWrite {
    lba: Lba,
    blocks: u64,
    /// Bytes of what is compared, and of what is written.
    half_bytes: u32,
    durable: bool,
    phase: Phase,
}

impl CompareAndWrite {
    pub(super) fn new(lba: Lba, blocks: u64, half_bytes: u32, durable: bool) -> Self {
        Self {
            lba,
            blocks,
            half_bytes,
            durable,
            phase: Phase::DataOut,
        }
    }

    fn data_bytes(&self) -> u32 {
        self.half_bytes.saturating_mul(2)
    }

    pub(super) fn next(&self, lu: &LuSnapshot) -> Next {
        let Self { lba, blocks, .. } = *self;
        match self.phase {
            Phase::DataOut => Next::DataOut {
                offset: 0,
                bytes: self.data_bytes(),
            },
            Phase::Range => Next::Home(HomeAction::Range { lba, blocks }),
            Phase::Read => Next::Io(Io::Read {
                lba,
                blocks,
                into: ReadInto::Scratch,
            }),
            Phase::Write => Next::Io(Io::Write {
                lba,
                blocks,
                from: WriteFrom::DataOut {
                    offset: self.half_bytes,
                },
                durable: self.durable || !lu.mode.write_cache,
            }),
            Phase::End => Next::Done(Ending {
                transfer_bytes: u64::from(self.data_bytes()),
                data_in_bytes: 0,
            }),
        }
    }

    pub(super) fn handle_data_out(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        check_complete(bytes, self.data_bytes())?;
        self.phase = Phase::Range;
        Ok(())
    }

    pub(super) fn handle_granted(&mut self) {
        self.phase = Phase::Read;
    }

    pub(super) fn handle_io(&mut self, data_out: &[u8], scratch: &[u8]) -> Result<(), Refusal> {
        if self.phase == Phase::Write {
            self.phase = Phase::End;
            return Ok(());
        }
        check_complete(data_out, self.data_bytes())?;
        check_complete(scratch, self.half_bytes)?;
        // SBC-4: INFORMATION is the offset of the first byte that differs, in the Data-Out.
        let differs = |(sent, stored): (&u8, &u8)| sent != stored;
        if let Some(offset) = data_out.iter().zip(scratch).position(differs) {
            let sense = Sense::MISCOMPARE_DURING_VERIFY.with_information(offset as u64);
            return Err(sense.into());
        }
        self.phase = Phase::Write;
        Ok(())
    }
}
