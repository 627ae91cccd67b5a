//! From a CDB that has passed the general checks to the work it asks for.

use block::Geometry;

use super::access_states::AccessStates;
use super::compare_and_write::CompareAndWrite;
use super::copy::Copy;
use super::extent::{
    Extent, check_transfer_length, checked_extent, compare_extent, forces_unit_access,
};
use super::format::Format;
use super::identifying::SetIdentifying;
use super::lba_status::LbaStatus;
use super::list::List;
use super::multimedia;
use super::or_write::OrWrite;
use super::persistent_reserve_out::ReserveOut;
use super::protected::{self, ProtectedPlan};
use super::sanitize::Sanitize;
use super::self_test::SelfTest;
use super::settings::{Flush, ModeSelect, Setting};
use super::state::{Ending, State};
use super::transfer::{Cursor, Read, Verify, VerifyWith, Write, WriteCheck};
use super::zero::WriteSame;
use super::{Task, attention_sense};
use crate::command::{Cdb, Command};
use crate::copy::{CopyRecord, CopyState};
use crate::limits;
use crate::lu::{LuShard, SelfTestCode, UnitAttention};
use crate::opcodes::{CopyReport, Handler, Layout, ListSize, Row};
use crate::persistent_reserve::{ServiceAction, persistent_reserve_in};
use crate::reports::{self, Asked, Reported};
use crate::sense::{Refusal, Sense};
use crate::snapshot::LuSnapshot;
use crate::step::{Done, Status, WINDOW_BYTES};
use crate::view::LunView;

/// What a command comes to.
pub(super) enum Plan {
    /// It has ended already.
    Done(Done),
    /// There is something to do first.
    Work(State),
}

impl Plan {
    /// GOOD, at once.
    pub(super) fn good(transfer_bytes: u64) -> Self {
        Self::Done(Done {
            transfer_bytes,
            ..Done::status(Status::Good)
        })
    }
}

/// The work that a command asks for, or its answer when it can be given at once.
pub(super) fn plan(
    row: &Row,
    task: &Task,
    shard: &mut LuShard,
    view: &LunView<'_>,
    out: &mut Vec<u8>,
) -> Result<Plan, Refusal> {
    let command = &task.command;
    let cdb = &command.cdb;
    let asked = Asked {
        lu: shard.snapshot(),
        view,
        command,
    };
    let done = match row.handler {
        Handler::ReadBuffer => {
            let nexus = shard.nexus(task.nexus);
            let echo = nexus.and_then(|nexus| nexus.echo_buffer.as_deref());
            reports::read_buffer(&asked, echo, out)?
        }
        Handler::ReportLuns => {
            let done = reports::report_luns(command, view.luns, out)?;
            // SPC-5 "REPORT LUNS command": it tells what that unit attention would.
            if let Some(nexus) = shard.nexus_mut(task.nexus) {
                nexus.clear(UnitAttention::ReportedLunsDataChanged);
            }
            done
        }
        Handler::RequestSense => reports::request_sense(command, &polled(task, shard), out)?,
        Handler::PreventAllow => {
            // SPC-5 "PREVENT ALLOW MEDIUM REMOVAL command": the medium is not removable; what is kept has no effect.
            if let Some(nexus) = shard.nexus_mut(task.nexus) {
                nexus.prevents_medium_removal = cdb.bit::<4>(0);
            }
            Done::status(Status::Good)
        }
        Handler::Multimedia(what) => return multimedia::plan(what, task, shard, view, out),
        Handler::ReceiveCopy(what) => return copy_report(what, task, shard, view, out),
        Handler::TestUnitReady => Done::status(Status::Good),
        Handler::PersistentReserveIn(report) => persistent_reserve_in(report, &asked, out)?,
        Handler::PersistentReserveOut(action) => return reserve_out(action, command),
        Handler::SendDiagnostic if cdb.byte::<1>() >> 5 != 0 => {
            return self_test(command, shard.snapshot());
        }
        Handler::SendDiagnostic | Handler::WriteBuffer | Handler::SetTimestamp => {
            return List::plan(row.handler, command).map(list_plan);
        }
        Handler::LogSelect
        | Handler::ModeSelect(_)
        | Handler::Reserve
        | Handler::Release
        | Handler::StartStopUnit => {
            return settings(row.handler, command, shard.snapshot());
        }
        handler => match report(handler, &asked, out) {
            Some(reported) => reported?,
            None => return medium(handler, command, shard.snapshot()),
        },
    };
    Ok(Plan::Done(done))
}

/// SPC-5 "REQUEST SENSE command": a pending unit attention is returned, and is cleared; without one, what is wrong with the LU.
fn polled(task: &Task, shard: &mut LuShard) -> Sense {
    match task.take_unit_attention(shard) {
        Some(attention) => attention_sense(attention),
        None => shard.snapshot().standing_sense(),
    }
}

/// What is known of a third-party copy. A status that has been told is forgotten, when the copy has ended.
fn copy_report(
    what: CopyReport,
    task: &Task,
    shard: &mut LuShard,
    view: &LunView<'_>,
    out: &mut Vec<u8>,
) -> Result<Plan, Refusal> {
    let command = &task.command;
    let cdb = &command.cdb;
    let identifier = match what {
        CopyReport::StatusLid4 | CopyReport::TokenInformation => cdb.be32::<2>(),
        _ => u32::from(cdb.byte::<2>()),
    };
    let record = shard.copy(task.nexus, identifier);
    let asked = Asked {
        lu: shard.snapshot(),
        view,
        command,
    };
    let found = record.as_ref();
    let done = match what {
        CopyReport::StatusLid1 => reports::copy_status_lid1(found, &asked, out),
        CopyReport::StatusLid4 => reports::copy_status_lid4(found, &asked, out),
        CopyReport::TokenInformation => reports::rod_token_information(found, &asked, out),
        CopyReport::FailureDetails => reports::copy_failure_details(found, &asked, out),
        CopyReport::OperatingParameters => reports::copy_operating_parameters(&asked, out),
    }?;
    // SPC-5 "RECEIVE COPY STATUS(LID4) command": of a copy that has ended it is told once, but for its failure, which is told
    // in two parts.
    let ended_well = |record: CopyRecord| {
        matches!(
            record.state,
            CopyState::Completed | CopyState::CompletedShort
        )
    };
    if record.is_some_and(ended_well)
        && what != CopyReport::OperatingParameters
        && let Some(nexus) = shard.nexus_mut(task.nexus)
    {
        nexus.copies.told(identifier);
    }
    Ok(Plan::Done(done))
}

/// The answer of a command that only tells what is.
fn report(handler: Handler, asked: &Asked<'_>, out: &mut Vec<u8>) -> Option<Reported> {
    Some(match handler {
        Handler::Inquiry => reports::inquiry(asked, out),
        Handler::ModeSense(size) => reports::mode_sense(size, asked, out),
        Handler::ReadCapacity10 => reports::read_capacity_10(asked, out),
        Handler::ReadCapacity16 => reports::read_capacity_16(asked, out),
        Handler::ReportTargetPortGroups => reports::report_target_port_groups(asked, out),
        Handler::ReportOperationCodes => reports::report_operation_codes(asked, out),
        Handler::ReportTaskManagement => reports::report_task_management(asked, out),
        Handler::LogSense => reports::log_sense(asked, out),
        Handler::ReportTimestamp => reports::report_timestamp(asked, out),
        Handler::ReportIdentifying => reports::report_identifying_information(asked, out),
        Handler::ReceiveDiagnostic => reports::receive_diagnostic_results(asked, out),
        Handler::ReadDefectData10 => reports::read_defect_data_10(asked, out),
        Handler::ReadDefectData12 => reports::read_defect_data_12(asked, out),
        _ => return None,
    })
}

/// Whether the blocks the command names are still there.
pub(super) fn check_range(row: &Row, cdb: &Cdb, geometry: Geometry) -> Result<(), Refusal> {
    match row.handler {
        Handler::Read(layout)
        | Handler::Write(layout)
        | Handler::WriteAndVerify(layout)
        | Handler::Verify(layout)
        | Handler::PreFetch(layout)
        | Handler::SynchronizeCache(layout)
        | Handler::WriteSame(layout) => checked_extent(layout, cdb, geometry).map(|_| ()),
        Handler::Multimedia(what) => multimedia::check_range(what, cdb, geometry),
        Handler::OrWrite => checked_extent(Layout::Sixteen, cdb, geometry).map(|_| ()),
        Handler::CompareAndWrite => compare_extent(cdb, geometry).map(|_| ()),
        Handler::LbaStatus => LbaStatus::plan(cdb, geometry).map(|_| ()),
        _ => Ok(()),
    }
}

/// The work of a command on blocks.
fn medium(handler: Handler, command: &Command, lu: &LuSnapshot) -> Result<Plan, Refusal> {
    let geometry = lu.geometry();
    let cdb = &command.cdb;
    if let Some(kind) = lu.caps.protection {
        match protected::plan(handler, command, lu, kind)? {
            ProtectedPlan::Work(state) => return Ok(Plan::Work(state)),
            ProtectedPlan::Nothing(transfer_bytes) => return Ok(Plan::good(transfer_bytes)),
            ProtectedPlan::Elsewhere => {}
        }
    }
    match handler {
        Handler::Read(layout) => {
            let extent = checked_extent(layout, cdb, geometry)?;
            check_transfer_length(layout, extent, geometry)?;
            Ok(read(layout, extent, command, geometry))
        }
        Handler::Write(layout) => {
            let extent = checked_extent(layout, cdb, geometry)?;
            check_transfer_length(layout, extent, geometry)?;
            let fua = forces_unit_access(layout, cdb);
            Ok(write(extent, command, geometry, fua, WriteCheck::None))
        }
        Handler::WriteAndVerify(layout) => {
            let extent = checked_extent(layout, cdb, geometry)?;
            check_transfer_length(layout, extent, geometry)?;
            let check = if cdb.bit::<1>(1) {
                WriteCheck::Compare
            } else {
                WriteCheck::Read
            };
            Ok(write(extent, command, geometry, true, check))
        }
        Handler::Verify(layout) => {
            let extent = checked_extent(layout, cdb, geometry)?;
            check_transfer_length(layout, extent, geometry)?;
            verify(extent, command, geometry)
        }
        Handler::PreFetch(layout) => {
            // SBC-4 "PRE-FETCH (10) command": GOOD says that the cache took not all of the blocks; it may be any number.
            checked_extent(layout, cdb, geometry)?;
            Ok(Plan::good(0))
        }
        Handler::SynchronizeCache(layout) => {
            // SBC-4 "SYNCHRONIZE CACHE (10) command": a range is the least to be synchronised; all is. IMMED allows an
            // early status, it does not ask for one: a later status tells of errors.
            checked_extent(layout, cdb, geometry)?;
            Ok(Plan::Work(State::Flush(Flush::new())))
        }
        Handler::WriteSame(layout) => write_same(layout, command, lu),
        Handler::CompareAndWrite => compare_and_write(command, lu),
        Handler::FormatUnit => {
            Format::plan(command, lu).map(|format| Plan::Work(State::Format(format)))
        }
        Handler::Sanitize(action) => Sanitize::plan(action, command, lu)
            .map(|sanitize| Plan::Work(State::Sanitize(Box::new(sanitize)))),
        Handler::OrWrite => or_write(command, geometry),
        Handler::LbaStatus => {
            LbaStatus::plan(cdb, geometry).map(|status| Plan::Work(State::LbaStatus(status)))
        }
        Handler::Unmap => unmap(command),
        _ => list_work(handler, command),
    }
}

/// The work of a command that is all in its parameter list, and that without one is none.
fn list_work(handler: Handler, command: &Command) -> Result<Plan, Refusal> {
    let work = match handler {
        Handler::Copy(which) => Copy::plan(which, command)?.map(|copy| State::Copy(Box::new(copy))),
        Handler::SetIdentifying => Some(State::Identifying(SetIdentifying::plan(command)?)),
        Handler::SetTargetPortGroups => AccessStates::plan(command)?.map(State::AccessStates),
        _ => return Err(Sense::INTERNAL_TARGET_FAILURE.into()),
    };
    Ok(work.map_or_else(|| Plan::good(0), Plan::Work))
}

fn transfer_bytes(blocks: u64, geometry: Geometry) -> u64 {
    blocks.saturating_mul(u64::from(geometry.block_size_bytes))
}

/// SBC-4 "READ (10) command". Of a read that the initiator takes only part of, that part is read.
pub(super) fn read(layout: Layout, extent: Extent, command: &Command, geometry: Geometry) -> Plan {
    let bytes = transfer_bytes(extent.blocks, geometry);
    // Not above what the initiator expects, a u32.
    let wanted = bytes.min(u64::from(command.data_in_bytes));
    let blocks = wanted.div_ceil(u64::from(geometry.block_size_bytes));
    if blocks == 0 {
        return Plan::good(bytes);
    }
    let ending = Ending {
        transfer_bytes: bytes,
        data_in_bytes: u32::try_from(wanted).unwrap_or(u32::MAX),
    };
    let fua = forces_unit_access(layout, &command.cdb);
    let at = Cursor::new(extent.lba, blocks, geometry);
    Plan::Work(State::Read(Read::new(at, fua, ending)))
}

/// SBC-4 "WRITE (10) command", "WRITE AND VERIFY (10) command". Of a write that the initiator sends only part of, the
/// whole blocks that come are written.
fn write(
    extent: Extent,
    command: &Command,
    geometry: Geometry,
    durable: bool,
    check: WriteCheck,
) -> Plan {
    let bytes = transfer_bytes(extent.blocks, geometry);
    let sent = u64::from(command.data_out_bytes / geometry.block_size_bytes.max(1));
    let blocks = extent.blocks.min(sent);
    if blocks == 0 {
        return Plan::good(bytes);
    }
    let at = Cursor::new(extent.lba, blocks, geometry);
    Plan::Work(State::Write(Write::new(at, durable, check, bytes)))
}

/// SBC-4 "VERIFY (10) command".
fn verify(extent: Extent, command: &Command, geometry: Geometry) -> Result<Plan, Refusal> {
    let size = geometry.block_size_bytes;
    let bytes = transfer_bytes(extent.blocks, geometry);
    let sent = u64::from(command.data_out_bytes / size.max(1));
    let (with, blocks, transfer) = match command.cdb.byte::<1>() >> 1 & 0x03 {
        0b00 => (VerifyWith::Nothing, extent.blocks, 0),
        0b01 => (VerifyWith::Blocks, extent.blocks.min(sent), bytes),
        0b11 if extent.blocks == 0 => (VerifyWith::OneBlock, 0, 0),
        // One block is compared with each: there is nothing to do with less, or with more.
        0b11 if command.data_out_bytes != size => return Err(Sense::INVALID_FIELD_IN_CDB.into()),
        0b11 => (VerifyWith::OneBlock, extent.blocks, u64::from(size)),
        // BYTCHK 10b is reserved.
        _ => return Err(Sense::cdb_bit(1, 2).into()),
    };
    if blocks == 0 {
        return Ok(Plan::good(transfer));
    }
    let at = Cursor::new(extent.lba, blocks, geometry);
    Ok(Plan::Work(State::Verify(Verify::new(at, with, transfer))))
}

/// SBC-4 "WRITE SAME (10) command", "WRITE SAME (16) command".
fn write_same(layout: Layout, command: &Command, lu: &LuSnapshot) -> Result<Plan, Refusal> {
    let geometry = lu.geometry();
    let cdb = &command.cdb;
    let unmap = cdb.bit::<1>(3);
    if unmap && !lu.caps.unmap {
        return Err(Sense::cdb_bit(1, 3).into());
    }
    let extent = checked_extent(layout, cdb, geometry)?;
    let most = u64::from(limits::max_write_same_blocks(geometry));
    // SBC-4 "Block Limits VPD page": WSNZ 1, so that no blocks does not mean all of them.
    if extent.blocks == 0 || extent.blocks > most {
        return Err(Sense::cdb_byte(layout.fields().1).into());
    }
    let no_data = layout == Layout::Sixteen && cdb.bit::<1>(0);
    if no_data {
        return Ok(Plan::Work(State::WriteSame(WriteSame::zeroes(
            extent.lba,
            extent.blocks,
            unmap,
            lu,
        ))));
    }
    // The Data-Out is one block: with less or more the initiator means another block size.
    if command.data_out_bytes != geometry.block_size_bytes {
        return Err(Sense::INVALID_FIELD_IN_CDB.into());
    }
    Ok(Plan::Work(State::WriteSame(WriteSame::pattern(
        extent.lba,
        extent.blocks,
        unmap,
        lu,
    ))))
}

/// SBC-4 "COMPARE AND WRITE command".
fn compare_and_write(command: &Command, lu: &LuSnapshot) -> Result<Plan, Refusal> {
    let geometry = lu.geometry();
    let cdb = &command.cdb;
    let extent = compare_extent(cdb, geometry)?;
    if extent.blocks > u64::from(limits::max_compare_and_write_blocks(&lu.caps)) {
        return Err(Sense::cdb_byte(13).into());
    }
    if extent.blocks == 0 && command.data_out_bytes == 0 {
        return Ok(Plan::good(0));
    }
    // At most 128 blocks of 4096 bytes.
    let half = u32::try_from(transfer_bytes(extent.blocks, geometry)).unwrap_or(u32::MAX);
    if command.data_out_bytes != half.saturating_mul(2) {
        return Err(Sense::cdb_byte(13).into());
    }
    let durable = cdb.bit::<1>(3);
    let state = CompareAndWrite::new(extent.lba, extent.blocks, half, durable);
    Ok(Plan::Work(State::CompareAndWrite(state)))
}

/// SBC-4 "ORWRITE (16) command". Of an ORWRITE that the initiator sends only part of, the whole blocks that come are
/// taken.
fn or_write(command: &Command, geometry: Geometry) -> Result<Plan, Refusal> {
    let layout = Layout::Sixteen;
    let extent = checked_extent(layout, &command.cdb, geometry)?;
    check_transfer_length(layout, extent, geometry)?;
    let bytes = transfer_bytes(extent.blocks, geometry);
    let sent = u64::from(command.data_out_bytes / geometry.block_size_bytes.max(1));
    let blocks = extent.blocks.min(sent);
    if blocks == 0 {
        return Ok(Plan::good(bytes));
    }
    let at = Cursor::new(extent.lba, blocks, geometry);
    let durable = forces_unit_access(layout, &command.cdb);
    Ok(Plan::Work(State::OrWrite(OrWrite::new(at, durable, bytes))))
}

/// SPC-5 "SEND DIAGNOSTIC command", SELF-TEST CODE: those in the background, and their abort, are not there.
fn self_test(command: &Command, lu: &LuSnapshot) -> Result<Plan, Refusal> {
    let cdb = &command.cdb;
    let code = match cdb.byte::<1>() >> 5 {
        0b101 => SelfTestCode::ForegroundShort,
        0b110 => SelfTestCode::ForegroundExtended,
        _ => return Err(Sense::cdb_bit(1, 7).into()),
    };
    // The default self-test is another, and none has a parameter list.
    if cdb.bit::<1>(2) {
        return Err(Sense::cdb_bit(1, 2).into());
    }
    if cdb.be16::<3>() != 0 {
        return Err(Sense::cdb_byte(3).into());
    }
    Ok(Plan::Work(State::SelfTest(SelfTest::new(code, lu))))
}

/// The work of a parameter list, where there is one.
fn list_plan(list: Option<List>) -> Plan {
    match list {
        Some(list) => Plan::Work(State::List(list)),
        None => Plan::good(0),
    }
}

/// SBC-4 "UNMAP command".
fn unmap(command: &Command) -> Result<Plan, Refusal> {
    match command.cdb.be16::<7>() {
        // No parameter list is no error.
        0 => Ok(Plan::good(0)),
        // The header would not be whole, or not all of the list would come.
        length if length < 8 || command.data_out_bytes < u32::from(length) => {
            let sense = Sense::PARAMETER_LIST_LENGTH_ERROR;
            Err(sense.pointing(true, 7, None).into())
        }
        length => Ok(Plan::Work(State::UnmapList {
            bytes: u32::from(length),
        })),
    }
}

/// SPC-5 "PERSISTENT RESERVE OUT command".
fn reserve_out(action: ServiceAction, command: &Command) -> Result<Plan, Refusal> {
    let length = command.cdb.be32::<5>();
    // The shorter of the two formats has 24 bytes; no list of as many TransportIDs as there is room for needs a window.
    if !(24..=WINDOW_BYTES).contains(&length) || command.data_out_bytes < length {
        let sense = Sense::PARAMETER_LIST_LENGTH_ERROR;
        return Err(sense.pointing(true, 5, None).into());
    }
    let state = ReserveOut::new(action, command.cdb.byte::<2>(), length);
    Ok(Plan::Work(State::ReserveOut(state)))
}

/// Commands that change the LU, but not its medium.
fn settings(handler: Handler, command: &Command, lu: &LuSnapshot) -> Result<Plan, Refusal> {
    let cdb = &command.cdb;
    let work = match handler {
        Handler::ModeSelect(size) => {
            let (length, length_at) = match size {
                ListSize::Six => (u32::from(cdb.byte::<4>()), 4),
                ListSize::Ten => (u32::from(cdb.be16::<7>()), 7),
            };
            // SPC-5 "MODE SELECT (6) command": PF 0 is the vendor specific format of old devices.
            if length != 0 && !cdb.bit::<1>(4) {
                return Err(Sense::cdb_bit(1, 4).into());
            }
            // SPC-5 "MODE SELECT (6) command": SP is refused where nothing can be saved.
            let save = cdb.bit::<1>(0);
            if save && !lu.can_save() {
                return Err(Sense::cdb_bit(1, 0).into());
            }
            if length == 0 && !save {
                return Ok(Plan::good(0));
            }
            if command.data_out_bytes < length {
                return Err(Sense::PARAMETER_LIST_LENGTH_ERROR
                    .pointing(true, length_at, None)
                    .into());
            }
            State::ModeSelect(ModeSelect::new(size, length, save))
        }
        Handler::LogSelect => {
            // SPC-5 "LOG SELECT command": no parameter can be set, but all of them can be set to where they began.
            if cdb.be16::<7>() != 0 {
                return Err(Sense::cdb_byte(7).into());
            }
            let to_defaults = cdb.bit::<1>(1) || cdb.byte::<2>() >> 6 == 0b11;
            if !to_defaults {
                return Ok(Plan::good(0));
            }
            State::Setting(Setting::log())
        }
        Handler::Reserve => State::Setting(Setting::reserve()),
        Handler::Release => State::Setting(Setting::release()),
        // SBC-4 "START STOP UNIT command": to stop is to flush first, unless NO_FLUSH. The LU serves other initiators and
        // stays ready. LOEJ and power conditions are not there (the table refuses them).
        Handler::StartStopUnit if !cdb.bit::<4>(0) && !cdb.bit::<4>(2) => {
            State::Flush(Flush::new())
        }
        Handler::StartStopUnit => return Ok(Plan::good(0)),
        _ => return Err(Sense::INTERNAL_TARGET_FAILURE.into()),
    };
    Ok(Plan::Work(work))
}
