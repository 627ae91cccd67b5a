//! From the CDB of a command on blocks with protection information to the work it asks for.

use block::ProtectionType;

use super::super::extent::{Extent, check_transfer_length, checked_extent, compare_extent};
use super::super::state::{Ending, State};
use super::super::transfer::{VerifyWith, WriteCheck};
use super::{Job, Pieces, Protected, Same};

use crate::command::{Cdb, Command};
use crate::limits;
use crate::opcodes::{Handler, Layout};
use crate::protection::{Expected, Protect};
use crate::sense::{Refusal, Sense};
use crate::snapshot::LuSnapshot;
use crate::step::{PROTECTED_WINDOW_BYTES, WINDOW_BYTES, ZERO_PIECE_BYTES};

/// What a command comes to here.
pub(in crate::task) enum ProtectedPlan {
    Work(State),
    /// GOOD at once: it names no blocks, or none of them comes or is taken. Bytes of what it would move.
    Nothing(u64),
    /// Not a command that protection information is anything to.
    Elsewhere,
}

/// The work of a command to an LU that has protection information of type `kind`.
pub(in crate::task) fn plan(
    handler: Handler,
    command: &Command,
    lu: &LuSnapshot,
    kind: ProtectionType,
) -> Result<ProtectedPlan, Refusal> {
    let layout = match handler {
        Handler::Read(layout)
        | Handler::Write(layout)
        | Handler::WriteAndVerify(layout)
        | Handler::Verify(layout)
        | Handler::WriteSame(layout) => layout,
        Handler::CompareAndWrite | Handler::OrWrite => Layout::Sixteen,
        _ => return Ok(ProtectedPlan::Elsewhere),
    };
    let asked = Asked::new(layout, command, lu, kind)?;
    match handler {
        Handler::Read(_) => asked.read(),
        Handler::Write(_) => asked.write(WriteCheck::None),
        Handler::WriteAndVerify(_) if asked.flag(1) => asked.write(WriteCheck::Compare),
        Handler::WriteAndVerify(_) => asked.write(WriteCheck::Read),
        Handler::Verify(_) => asked.verify(),
        Handler::WriteSame(_) => asked.write_same(),
        Handler::CompareAndWrite => asked.compare_and_write(),
        _ => asked.or_write(),
    }
}

/// A command, with what all of them have.
struct Asked<'a> {
    layout: Layout,
    command: &'a Command,
    lu: &'a LuSnapshot,
    kind: ProtectionType,
    protect: Protect,
    /// Bytes of a block on the wire.
    wire_bytes: u32,
}

impl<'a> Asked<'a> {
    fn new(
        layout: Layout,
        command: &'a Command,
        lu: &'a LuSnapshot,
        kind: ProtectionType,
    ) -> Result<Self, Refusal> {
        let code = match layout {
            Layout::Six => 0,
            _ => flags_of(layout, &command.cdb) >> 5,
        };
        // SBC-4 "Type 2 protection": what has no place for the expected reference tag is invalid with such a field.
        if code != 0 && kind == ProtectionType::Type2 && layout != Layout::ThirtyTwo {
            return Err(Sense::INVALID_COMMAND_OPERATION_CODE.into());
        }
        let protect = Protect::new(code, flags_at(layout))?;
        let tuple_bytes = if protect.is_sent() {
            block::TUPLE_BYTES
        } else {
            0
        };
        Ok(Self {
            layout,
            command,
            lu,
            kind,
            protect,
            wire_bytes: lu.geometry().block_size_bytes.max(1) + tuple_bytes,
        })
    }

    fn cdb(&self) -> &Cdb {
        &self.command.cdb
    }

    /// A bit of the CDB's flags.
    fn flag(&self, bit: u8) -> bool {
        flags_of(self.layout, self.cdb()) & (1 << bit) != 0
    }

    /// SBC-4 "FUA bit"; the obsolete FUA_NV too.
    fn forces_unit_access(&self) -> bool {
        self.layout != Layout::Six && (self.flag(3) || self.flag(1))
    }

    fn extent(&self) -> Result<Extent, Refusal> {
        let geometry = self.lu.geometry();
        let extent = checked_extent(self.layout, self.cdb(), geometry)?;
        check_transfer_length(self.layout, extent, geometry)?;
        Ok(extent)
    }

    /// Bytes of so many blocks on the wire.
    fn bytes(&self, blocks: u64) -> u64 {
        blocks.saturating_mul(u64::from(self.wire_bytes))
    }

    /// Whole blocks that the initiator sends.
    fn sent_blocks(&self) -> u64 {
        u64::from(self.command.data_out_bytes / self.wire_bytes)
    }

    /// What the device server knows of the tags. SBC-4 "Content of the first LOGICAL BLOCK REFERENCE TAG field".
    fn expected(&self, lba: u64) -> Expected {
        let [_, _, _, _, low @ ..] = lba.to_be_bytes();
        let (reference, application) = match (self.kind, self.layout) {
            (ProtectionType::Type1, _) => (Some(u32::from_be_bytes(low)), None),
            (ProtectionType::Type2, Layout::ThirtyTwo) => {
                let cdb = self.cdb();
                let tag = (cdb.be16::<24>(), cdb.be16::<26>());
                (Some(cdb.be32::<20>()), Some(tag))
            }
            (ProtectionType::Type2 | ProtectionType::Type3, _) => (None, None),
        };
        Expected {
            kind: self.kind,
            first_lba: lba,
            reference,
            application,
        }
    }

    /// The work on the first `blocks` blocks of the command.
    fn work(&self, job: Job, extent: Extent, blocks: u64, ending: Ending) -> ProtectedPlan {
        let block_bytes = self.lu.geometry().block_size_bytes.max(1);
        let with_tuple = block_bytes + block::TUPLE_BYTES;
        let most = match job {
            Job::Compare => u64::MAX,
            _ => u64::from(PROTECTED_WINDOW_BYTES / with_tuple),
        };
        let pieces = Pieces {
            lba: extent.lba.0,
            left: blocks,
            index: 0,
            offset: 0,
            most,
            zero_most: u64::from(self.zero_piece_bytes() / block_bytes),
            block_bytes,
            wire_bytes: self.wire_bytes,
        };
        // What is verified is verified on the medium.
        let durable = match job {
            Job::Write(check) if check != WriteCheck::None => true,
            _ => self.forces_unit_access(),
        };
        let expected = self.expected(extent.lba.0);
        let work = Protected::new(job, pieces, self.protect, expected, (durable, ending));
        ProtectedPlan::Work(State::Protected(Box::new(work)))
    }

    /// How many bytes of the medium are zeroed at a time.
    fn zero_piece_bytes(&self) -> u32 {
        let caps = &self.lu.caps;
        match caps.write_zeroes || (self.flag(3) && caps.unmap_zeroes) {
            true => ZERO_PIECE_BYTES,
            false => WINDOW_BYTES,
        }
    }

    /// SBC-4 "READ (10) command". Of a read that the initiator takes only part of, that part is read.
    fn read(&self) -> Result<ProtectedPlan, Refusal> {
        let extent = self.extent()?;
        let transfer_bytes = self.bytes(extent.blocks);
        let wanted = transfer_bytes.min(u64::from(self.command.data_in_bytes));
        let blocks = wanted.div_ceil(u64::from(self.wire_bytes));
        if blocks == 0 {
            return Ok(ProtectedPlan::Nothing(transfer_bytes));
        }
        let ending = Ending {
            transfer_bytes,
            // Not above what the initiator expects, a u32.
            data_in_bytes: u32::try_from(wanted).unwrap_or(u32::MAX),
        };
        Ok(self.work(Job::Read, extent, blocks, ending))
    }

    /// SBC-4 "WRITE (10) command", "WRITE AND VERIFY (10) command". Of a write that the initiator sends only part of, the whole
    /// blocks that come are written.
    fn write(&self, check: WriteCheck) -> Result<ProtectedPlan, Refusal> {
        let extent = self.extent()?;
        let blocks = extent.blocks.min(self.sent_blocks());
        Ok(self.whole(Job::Write(check), extent, blocks))
    }

    /// SBC-4 "ORWRITE (16) command".
    fn or_write(&self) -> Result<ProtectedPlan, Refusal> {
        let extent = self.extent()?;
        let blocks = extent.blocks.min(self.sent_blocks());
        Ok(self.whole(Job::Or, extent, blocks))
    }

    /// A command that moves all of its blocks.
    fn whole(&self, job: Job, extent: Extent, blocks: u64) -> ProtectedPlan {
        let transfer_bytes = self.bytes(extent.blocks);
        if blocks == 0 {
            return ProtectedPlan::Nothing(transfer_bytes);
        }
        self.work(job, extent, blocks, Ending::of_data_out(transfer_bytes))
    }

    /// SBC-4 "VERIFY (10) command".
    fn verify(&self) -> Result<ProtectedPlan, Refusal> {
        let extent = self.extent()?;
        let bytes = self.bytes(extent.blocks);
        let one = self.wire_bytes;
        let (with, blocks, transfer) = match flags_of(self.layout, self.cdb()) >> 1 & 0x03 {
            0b00 => (VerifyWith::Nothing, extent.blocks, 0),
            0b01 => {
                let blocks = extent.blocks.min(self.sent_blocks());
                (VerifyWith::Blocks, blocks, bytes)
            }
            0b11 if extent.blocks == 0 => (VerifyWith::OneBlock, 0, 0),
            // One block is compared with each: there is nothing to do with less, or with more.
            0b11 if self.command.data_out_bytes != one => {
                return Err(Sense::INVALID_FIELD_IN_CDB.into());
            }
            0b11 => (VerifyWith::OneBlock, extent.blocks, u64::from(one)),
            // BYTCHK 10b is reserved.
            _ => return Err(Sense::cdb_bit(flags_at(self.layout), 2).into()),
        };
        if blocks == 0 {
            return Ok(ProtectedPlan::Nothing(transfer));
        }
        let ending = Ending::of_data_out(transfer);
        Ok(self.work(Job::Verify(with), extent, blocks, ending))
    }

    /// SBC-4 "WRITE SAME (10) command", "WRITE SAME (16) command".
    fn write_same(&self) -> Result<ProtectedPlan, Refusal> {
        let geometry = self.lu.geometry();
        let may_unmap = self.flag(3);
        if may_unmap && !self.lu.caps.unmap {
            return Err(Sense::cdb_bit(flags_at(self.layout), 3).into());
        }
        let extent = checked_extent(self.layout, self.cdb(), geometry)?;
        let most = u64::from(limits::max_write_same_blocks(geometry));
        // SBC-4 "Block Limits VPD page": WSNZ 1, so that no blocks does not mean all of them.
        if extent.blocks == 0 || extent.blocks > most {
            return Err(Sense::cdb_byte(self.layout.fields().1).into());
        }
        let no_data = self.layout != Layout::Ten && self.flag(0);
        let (source, transfer) = match no_data {
            true => (Same::Nothing { may_unmap }, 0),
            false => (Same::Unknown { may_unmap }, self.wire_bytes),
        };
        // The Data-Out is one block: with less or more the initiator means another block size.
        if !no_data && self.command.data_out_bytes != self.wire_bytes {
            return Err(Sense::INVALID_FIELD_IN_CDB.into());
        }
        let ending = Ending::of_data_out(u64::from(transfer));
        let blocks = extent.blocks;
        let mut plan = self.work(Job::Same(source), extent, blocks, ending);
        if let ProtectedPlan::Work(State::Protected(work)) = &mut plan {
            // What stands in the place of FUA says something else here.
            work.durable = false;
        }
        Ok(plan)
    }

    /// SBC-4 "COMPARE AND WRITE command".
    fn compare_and_write(&self) -> Result<ProtectedPlan, Refusal> {
        let extent = compare_extent(self.cdb(), self.lu.geometry())?;
        let most = limits::max_compare_and_write_blocks(&self.lu.caps);
        if extent.blocks > u64::from(most) {
            return Err(Sense::cdb_byte(13).into());
        }
        let sent = u64::from(self.command.data_out_bytes);
        if extent.blocks == 0 && sent == 0 {
            return Ok(ProtectedPlan::Nothing(0));
        }
        let bytes = self.bytes(extent.blocks.saturating_mul(2));
        if extent.blocks == 0 || sent != bytes {
            return Err(Sense::cdb_byte(13).into());
        }
        let ending = Ending::of_data_out(bytes);
        Ok(self.work(Job::Compare, extent, extent.blocks, ending))
    }
}

/// The byte of the CDB that has its flags.
fn flags_at(layout: Layout) -> u8 {
    match layout {
        Layout::ThirtyTwo => 10,
        _ => 1,
    }
}

fn flags_of(layout: Layout, cdb: &Cdb) -> u8 {
    match layout {
        Layout::ThirtyTwo => cdb.byte::<10>(),
        _ => cdb.byte::<1>(),
    }
}
