//! FORMAT UNIT. SBC-4 r22 "FORMAT UNIT command".
//!
//! What a thin store keeps is given back; blocks of one that keeps all stay as they are, since how far a format alters the
//! medium is its own affair where no initialization pattern is asked for. Meanwhile the home keeps all other I/O off the
//! medium: other commands wait for the end instead of being told FORMAT IN PROGRESS.

use block::{Lba, ProtectionType};

use super::state::{Ending, Next};
use super::transfer::check_complete;

use crate::command::Command;
use crate::lu::HomeAction;
use crate::sense::{Refusal, Sense};
use crate::snapshot::LuSnapshot;
use crate::step::{Io, ZERO_PIECE_BYTES};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    List,
    Range,
    Unmap,
    Flush,
    End,
}

/// FORMAT UNIT.
#[derive(Clone, Copy, Debug)]
pub(super) struct Format {
    /// Bytes of the parameter list's header; 0 where there is no list.
    list_bytes: u32,
    lba: u64,
    left_blocks: u64,
    piece_blocks: u64,
    phase: Phase,
}

const SHORT_HEADER_BYTES: u32 = 4;
const LONG_HEADER_BYTES: u32 = 8;

impl Format {
    pub(super) fn plan(command: &Command, lu: &LuSnapshot) -> Result<Self, Refusal> {
        let cdb = &command.cdb;
        let fast = match cdb.byte::<4>() & 0x03 {
            0b00 => false,
            // FFMT 01b: without writing to the medium.
            0b01 => true,
            _ => return Err(Sense::cdb_bit(4, 1).into()),
        };
        // FMTDATA, LONGLIST.
        let list_bytes = match (cdb.bit::<1>(4), cdb.bit::<1>(5)) {
            (false, _) => 0,
            (true, false) => SHORT_HEADER_BYTES,
            (true, true) => LONG_HEADER_BYTES,
        };
        if command.data_out_bytes < list_bytes {
            return Err(Sense::PARAMETER_LIST_LENGTH_ERROR.into());
        }
        let (information, usage) = protection_fields(lu);
        // SBC-4 "FMTPINFO field": it is formatted to the type of protection that it has, SPT says of no other. Without a list
        // PROTECTION FIELD USAGE is 0.
        if cdb.byte::<1>() >> 6 != information || (list_bytes == 0 && usage != 0) {
            return Err(Sense::cdb_bit(1, 7).into());
        }
        let geometry = lu.geometry();
        // Where blocks are kept, their protection information is given back all the same.
        let gives_back = (lu.caps.unmap || lu.caps.protection.is_some()) && !fast;
        Ok(Self {
            list_bytes,
            lba: 0,
            left_blocks: if gives_back {
                geometry.capacity_blocks
            } else {
                0
            },
            piece_blocks: u64::from(ZERO_PIECE_BYTES / geometry.block_size_bytes.max(1)),
            phase: if list_bytes > 0 {
                Phase::List
            } else {
                Phase::Range
            },
        })
    }

    fn piece(&self) -> u64 {
        self.left_blocks.min(self.piece_blocks)
    }

    pub(super) fn next(&self, lu: &LuSnapshot) -> Next {
        match self.phase {
            Phase::List => Next::DataOut {
                offset: 0,
                bytes: self.list_bytes,
            },
            Phase::Range => Next::Home(HomeAction::Range {
                lba: Lba(0),
                blocks: lu.geometry().capacity_blocks,
            }),
            Phase::Unmap if self.left_blocks > 0 => Next::Io(Io::Unmap {
                lba: Lba(self.lba),
                blocks: self.piece(),
            }),
            Phase::Unmap | Phase::Flush => Next::Io(Io::Flush),
            Phase::End => Next::Done(Ending {
                transfer_bytes: u64::from(self.list_bytes),
                data_in_bytes: 0,
            }),
        }
    }

    pub(super) fn handle_data_out(&mut self, bytes: &[u8], lu: &LuSnapshot) -> Result<(), Refusal> {
        check_complete(bytes, self.list_bytes)?;
        check_header(bytes, protection_fields(lu).1)?;
        self.phase = Phase::Range;
        Ok(())
    }

    pub(super) fn handle_granted(&mut self) {
        self.phase = Phase::Unmap;
    }

    pub(super) fn handle_io(&mut self) {
        if self.phase == Phase::Unmap && self.left_blocks > 0 {
            let blocks = self.piece();
            self.lba = self.lba.saturating_add(blocks);
            self.left_blocks -= blocks;
            if self.left_blocks == 0 {
                self.phase = Phase::Flush;
            }
        } else {
            self.phase = Phase::End;
        }
    }
}

/// FMTPINFO and PROTECTION FIELD USAGE of the type of protection that the LU has. SBC-4 "FMTPINFO field and PROTECTION FIELD USAGE
/// field".
fn protection_fields(lu: &LuSnapshot) -> (u8, u8) {
    match lu.caps.protection {
        None => (0b00, 0b000),
        Some(ProtectionType::Type1) => (0b10, 0b000),
        Some(ProtectionType::Type2) => (0b11, 0b000),
        Some(ProtectionType::Type3) => (0b11, 0b001),
    }
}

/// SBC-4 "Short parameter list header", "Long parameter list header".
fn check_header(header: &[u8], usage: u8) -> Result<(), Refusal> {
    // PROTECTION FIELD USAGE, and what is reserved beside it.
    let first = header.first().copied().unwrap_or(0);
    let wrong = first ^ usage;
    if wrong != 0 {
        let bit = u8::try_from(wrong.ilog2()).unwrap_or(7);
        return Err(Sense::parameter_bit(0, bit).into());
    }
    let flags = header.get(1).copied().unwrap_or(0);
    // FOV 0: the device server decides, and what it would decide for is not to be named (DPRY, DCRT, STPF, IP).
    let fov = flags & 0x80 != 0;
    let named = flags & 0x70;
    if !fov && named != 0 {
        let bit = u8::try_from(named.ilog2()).unwrap_or(7);
        return Err(Sense::parameter_bit(1, bit).into());
    }
    // IP: no initialization pattern is written. The rest is obsolete or vendor specific; IMMED is taken.
    let refused = flags & 0x0d;
    if refused != 0 {
        let bit = u8::try_from(refused.ilog2()).unwrap_or(7);
        return Err(Sense::parameter_bit(1, bit).into());
    }
    // What is reserved, P_I_INFORMATION, and DEFECT LIST LENGTH: there is nothing to reassign.
    match header.iter().skip(2).position(|byte| *byte != 0) {
        Some(at) => {
            let length_at = header.len() - if header.len() == 4 { 2 } else { 4 };
            let at = if at + 2 >= length_at {
                length_at
            } else {
                at + 2
            };
            Err(Sense::parameter_byte(u16::try_from(at).unwrap_or(u16::MAX)).into())
        }
        None => Ok(()),
    }
}
