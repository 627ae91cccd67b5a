//! The one table of commands: dispatch, CDB checks and REPORT SUPPORTED OPERATION CODES all read it.
//!
//! Standards: SPC-5 r22 "Commands for all device types", SBC-4 r22 "Commands for direct access block devices", SPC-2 r20
//! for RESERVE and RELEASE. What a command does is said where its [`Handler`] is carried out.

use crate::command::{CDB_BYTES, Cdb, NACA, VARIABLE_LENGTH};
use crate::command_table::CommandTable;
use crate::copy::ListForm;
use crate::multimedia::Multimedia;
use crate::persistent_reserve::{Access, Report, ServiceAction};
use crate::sense::{Refusal, Sense};
use crate::snapshot::LuSnapshot;

/// What carries a command out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handler {
    Read(Layout),
    Write(Layout),
    WriteAndVerify(Layout),
    Verify(Layout),
    PreFetch(Layout),
    SynchronizeCache(Layout),
    WriteSame(Layout),
    CompareAndWrite,
    OrWrite,
    LbaStatus,
    FormatUnit,
    Sanitize(SanitizeAction),
    Unmap,
    TestUnitReady,
    RequestSense,
    Inquiry,
    LogSelect,
    LogSense,
    ModeSelect(ListSize),
    ModeSense(ListSize),
    Reserve,
    Release,
    PersistentReserveIn(Report),
    PersistentReserveOut(ServiceAction),
    StartStopUnit,
    SendDiagnostic,
    ReceiveDiagnostic,
    ReadBuffer,
    WriteBuffer,
    ReadDefectData10,
    ReadDefectData12,
    PreventAllow,
    ReadCapacity10,
    ReadCapacity16,
    ReportLuns,
    ReportTargetPortGroups,
    ReportOperationCodes,
    ReportTaskManagement,
    ReportTimestamp,
    SetTimestamp,
    ReportIdentifying,
    SetIdentifying,
    SetTargetPortGroups,
    Copy(CopyCommand),
    ReceiveCopy(CopyReport),
    Multimedia(Multimedia),
}

/// What RECEIVE COPY RESULTS, as it was called, tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CopyReport {
    StatusLid1,
    OperatingParameters,
    FailureDetails,
    StatusLid4,
    TokenInformation,
}

/// The service actions of SANITIZE. No store has a key to forget, so there is no CRYPTOGRAPHIC ERASE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SanitizeAction {
    Overwrite,
    BlockErase,
    ExitFailureMode,
}

/// The commands that copy for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CopyCommand {
    Extended(ListForm),
    PopulateToken,
    WriteUsingToken,
}

/// Where a CDB has its address and its number of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// 21 bits at byte 1, 8 bits at byte 4 (0 means 256).
    Six,
    /// 32 bits at byte 2, 16 at byte 7.
    Ten,
    /// 32 bits at byte 2, 32 at byte 6.
    Twelve,
    /// 64 bits at byte 2, 32 at byte 10.
    Sixteen,
    /// 64 bits at byte 12, 32 at byte 28; between them what protection information is held against.
    ThirtyTwo,
    /// READ CD: 32 bits at byte 2, 24 at byte 6.
    Cd,
    /// READ CD MSF: minute, second and frame of the first block at byte 3, and of the first no more read at byte 6.
    CdMsf,
}

/// Which of the two headers a mode parameter list has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListSize {
    Six,
    Ten,
}

/// When a command is let through, and what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Answered whatever is wrong: with a unit attention pending, reserved by another nexus, on a LUN that is not mapped.
    pub(crate) always: bool,
    /// SPC-2 "Commands allowed in the presence of various reservations": not refused for another nexus' reservation.
    pub(crate) while_reserved: bool,
    /// What it is to a persistent reservation that its nexus does not hold.
    pub(crate) access: Access,
    /// SPC-5 "Nonvolatile memory considerations for preserving persistent reservations and registrations": let through while
    /// persistent reservations are lost.
    pub(crate) while_lost: bool,
    /// Needs the medium.
    pub(crate) medium: bool,
    /// Changes the medium: refused when write protected.
    pub(crate) writes: bool,
    /// SPC-5 "Standby state": served through a target port that is in it.
    pub(crate) while_standby: bool,
    /// SPC-5 "Unavailable state": served through a target port that is in it, or offline.
    pub(crate) while_unavailable: bool,
    /// SBC-4 "Completing a sanitize operation": served when one has failed.
    pub(crate) while_sanitize_failed: bool,
}

/// One command.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) opcode: u8,
    pub(crate) service_action: Option<u16>,
    pub(crate) name: &'static str,
    /// Bytes of the CDB.
    pub(crate) cdb_bytes: u8,
    /// SPC-5 "CDB usage data": ones where the device server looks.
    pub(crate) usage: [u8; CDB_BYTES],
    /// The bits that may be set, of bytes 0 to 15 and of the rest: those of `usage`, of the operation code and of the
    /// service action, and everything behind the CDB, which is the transport's padding.
    allowed: [u128; 2],
    pub(crate) rules: Rules,
    /// Recommended command timeout, in seconds.
    pub(crate) timeout_seconds: u32,
    pub(crate) handler: Handler,
}

pub(crate) const ALWAYS: Rules = Rules {
    always: true,
    while_reserved: true,
    access: Access::Free,
    while_lost: true,
    medium: false,
    writes: false,
    while_standby: true,
    while_unavailable: true,
    while_sanitize_failed: true,
};
/// Changes what the LU is, not its medium.
pub(crate) const SETS: Rules = Rules {
    always: false,
    while_reserved: false,
    access: Access::Writing,
    while_lost: false,
    medium: false,
    writes: false,
    while_standby: false,
    while_unavailable: false,
    while_sanitize_failed: false,
};
pub(crate) const LOOKS: Rules = SETS.with(Access::Reading);
/// Reports that SPC-2 reservations let through.
const SHARED: Rules = Rules {
    while_reserved: true,
    ..LOOKS
};
pub(crate) const READS: Rules = Rules {
    medium: true,
    ..LOOKS
};
pub(crate) const SIZES: Rules = Rules {
    while_reserved: true,
    ..READS.with(Access::Free)
};
const FLUSHES: Rules = READS.with(Access::Writing);
pub(crate) const WRITES: Rules = Rules {
    writes: true,
    ..FLUSHES
};
const SANITIZES: Rules = Rules {
    while_sanitize_failed: true,
    ..WRITES
};

impl Rules {
    /// The same rules, with another kind of access.
    pub(crate) const fn with(self, access: Access) -> Self {
        Self { access, ..self }
    }

    const fn while_standby(self) -> Self {
        Self {
            while_standby: true,
            ..self
        }
    }

    const fn while_unavailable(self) -> Self {
        Self {
            while_unavailable: true,
            ..self.while_standby()
        }
    }

    const fn while_lost(self) -> Self {
        Self {
            while_lost: true,
            ..self
        }
    }
}

/// GROUP NUMBER is taken and has no effect (GROUP_SUP is 0).
const GROUP: u8 = 0x3f;
pub(crate) const F: u8 = 0xff;

/// All commands of a direct access block device, by operation code and service action.
///
/// SBC-4 "Type 2 protection": READ, WRITE, VERIFY, WRITE AND VERIFY and WRITE SAME (32) are processed only where it is enabled.
#[rustfmt::skip]
static ROWS: &[Row] = &[
    row("TEST UNIT READY", &[0x00, 0, 0, 0, 0, 0], READS.with(Access::Free), Handler::TestUnitReady),
    row("REQUEST SENSE", &[0x03, 0x01, 0, 0, F, 0], ALWAYS, Handler::RequestSense),
    slow(row("FORMAT UNIT", &[0x04, 0x3f, 0, 0, 0x03, 0], WRITES, Handler::FormatUnit)),
    row("READ(6)", &[0x08, 0x1f, F, F, F, 0], READS, Handler::Read(Layout::Six)),
    row("WRITE(6)", &[0x0a, 0x1f, F, F, F, 0], WRITES, Handler::Write(Layout::Six)),
    row("INQUIRY", &[0x12, 0x01, F, F, F, 0], ALWAYS, Handler::Inquiry),
    row("MODE SELECT(6)", &[0x15, 0x11, 0, 0, F, 0], SETS.while_standby(), Handler::ModeSelect(ListSize::Six)),
    row("RESERVE(6)", &[0x16, 0, 0, 0, 0, 0], SETS.with(Access::Reserving), Handler::Reserve),
    row("RELEASE(6)", &[0x17, 0, 0, 0, 0, 0], SHARED.with(Access::Reserving), Handler::Release),
    row("MODE SENSE(6)", &[0x1a, 0x08, F, F, F, 0], LOOKS.while_standby(), Handler::ModeSense(ListSize::Six)),
    row("START STOP UNIT", &[0x1b, 0x01, 0, 0, 0x05, 0], SETS.with(Access::StartStop), Handler::StartStopUnit),
    row("RECEIVE DIAGNOSTIC RESULTS", &[0x1c, 0x01, F, F, F, 0], LOOKS.while_standby(), Handler::ReceiveDiagnostic),
    slow(row("SEND DIAGNOSTIC", &[0x1d, 0xf4, 0, F, F, 0], SETS.while_standby(), Handler::SendDiagnostic)),
    row("PREVENT ALLOW MEDIUM REMOVAL", &[0x1e, 0, 0, 0, 0x01, 0], SETS.with(Access::Prevent), Handler::PreventAllow),
    row("READ CAPACITY(10)", &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], SIZES.while_standby(), Handler::ReadCapacity10),
    row("READ(10)", &blocks10(0x28, 0x1a), READS, Handler::Read(Layout::Ten)),
    row("WRITE(10)", &blocks10(0x2a, 0x1a), WRITES, Handler::Write(Layout::Ten)),
    row("WRITE AND VERIFY(10)", &blocks10(0x2e, 0x12), WRITES, Handler::WriteAndVerify(Layout::Ten)),
    row("VERIFY(10)", &blocks10(0x2f, 0x16), READS, Handler::Verify(Layout::Ten)),
    row("PRE-FETCH(10)", &blocks10(0x34, 0x02), READS, Handler::PreFetch(Layout::Ten)),
    row("SYNCHRONIZE CACHE(10)", &blocks10(0x35, 0x02), FLUSHES, Handler::SynchronizeCache(Layout::Ten)),
    row("READ DEFECT DATA(10)", &[0x37, 0, 0x1f, 0, 0, 0, 0, F, F, 0], READS, Handler::ReadDefectData10),
    row("WRITE BUFFER", &[0x3b, 0x1f, F, F, F, F, F, F, F, 0], SETS.while_lost().while_unavailable(), Handler::WriteBuffer),
    row("READ BUFFER(10)", &[0x3c, 0x1f, F, F, F, F, F, F, F, 0], LOOKS.while_lost().while_unavailable(), Handler::ReadBuffer),
    row("WRITE SAME(10)", &blocks10(0x41, 0x08), WRITES, Handler::WriteSame(Layout::Ten)),
    row("UNMAP", &[0x42, 0, 0, 0, 0, 0, GROUP, F, F, 0], WRITES, Handler::Unmap),
    slow(action(0x01, "SANITIZE (OVERWRITE)", &[0x48, 0xa1, 0, 0, 0, 0, 0, F, F, 0], SANITIZES, Handler::Sanitize(SanitizeAction::Overwrite))),
    slow(action(0x02, "SANITIZE (BLOCK ERASE)", &[0x48, 0xa2, 0, 0, 0, 0, 0, 0, 0, 0], SANITIZES, Handler::Sanitize(SanitizeAction::BlockErase))),
    action(0x1f, "SANITIZE (EXIT FAILURE MODE)", &[0x48, 0xbf, 0, 0, 0, 0, 0, 0, 0, 0], SANITIZES, Handler::Sanitize(SanitizeAction::ExitFailureMode)),
    row("LOG SELECT", &[0x4c, 0x02, 0xc0, 0, 0, 0, 0, F, F, 0], SETS.while_standby(), Handler::LogSelect),
    row("LOG SENSE", &[0x4d, 0, F, F, 0, F, F, F, F, 0], LOOKS.with(Access::Free).while_lost().while_standby(), Handler::LogSense),
    row("MODE SELECT(10)", &[0x55, 0x11, 0, 0, 0, 0, 0, F, F, 0], SETS.while_standby(), Handler::ModeSelect(ListSize::Ten)),
    row("RESERVE(10)", &[0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0], SETS.with(Access::Reserving), Handler::Reserve),
    row("RELEASE(10)", &[0x57, 0, 0, 0, 0, 0, 0, 0, 0, 0], SHARED.with(Access::Reserving), Handler::Release),
    row("MODE SENSE(10)", &[0x5a, 0x18, F, F, 0, 0, 0, F, F, 0], LOOKS.while_standby(), Handler::ModeSense(ListSize::Ten)),
    reserve_in(0x00, "PERSISTENT RESERVE IN (READ KEYS)", Report::Keys),
    reserve_in(0x01, "PERSISTENT RESERVE IN (READ RESERVATION)", Report::Reservation),
    reserve_in(0x02, "PERSISTENT RESERVE IN (REPORT CAPABILITIES)", Report::Capabilities),
    reserve_in(0x03, "PERSISTENT RESERVE IN (READ FULL STATUS)", Report::FullStatus),
    reserve_out("PERSISTENT RESERVE OUT (REGISTER)", ServiceAction::Register),
    reserve_out("PERSISTENT RESERVE OUT (RESERVE)", ServiceAction::Reserve),
    reserve_out("PERSISTENT RESERVE OUT (RELEASE)", ServiceAction::Release),
    reserve_out("PERSISTENT RESERVE OUT (CLEAR)", ServiceAction::Clear),
    reserve_out("PERSISTENT RESERVE OUT (PREEMPT)", ServiceAction::Preempt),
    reserve_out("PERSISTENT RESERVE OUT (PREEMPT AND ABORT)", ServiceAction::PreemptAndAbort),
    reserve_out("PERSISTENT RESERVE OUT (REGISTER AND IGNORE EXISTING KEY)", ServiceAction::RegisterAndIgnoreExistingKey),
    reserve_out("PERSISTENT RESERVE OUT (REGISTER AND MOVE)", ServiceAction::RegisterAndMove),
    reserve_out("PERSISTENT RESERVE OUT (REPLACE LOST RESERVATION)", ServiceAction::ReplaceLostReservation),
    action(0x09, "READ(32)", &blocks32(0x09, 0xfa), READS, Handler::Read(Layout::ThirtyTwo)),
    action(0x0a, "VERIFY(32)", &blocks32(0x0a, 0xf6), READS, Handler::Verify(Layout::ThirtyTwo)),
    action(0x0b, "WRITE(32)", &blocks32(0x0b, 0xfa), WRITES, Handler::Write(Layout::ThirtyTwo)),
    action(0x0c, "WRITE AND VERIFY(32)", &blocks32(0x0c, 0xf2), WRITES, Handler::WriteAndVerify(Layout::ThirtyTwo)),
    action(0x0d, "WRITE SAME(32)", &blocks32(0x0d, 0xe9), WRITES, Handler::WriteSame(Layout::ThirtyTwo)),
    action(0x00, "EXTENDED COPY(LID1)", &copies(0x83, 0x00, [0, 0, 0, 0]), FLUSHES, Handler::Copy(CopyCommand::Extended(ListForm::Lid1))),
    action(0x01, "EXTENDED COPY(LID4)", &copies(0x83, 0x01, [0, 0, 0, 0]), FLUSHES, Handler::Copy(CopyCommand::Extended(ListForm::Lid4))),
    action(0x10, "POPULATE TOKEN", &tokens(0x10), READS, Handler::Copy(CopyCommand::PopulateToken)),
    action(0x11, "WRITE USING TOKEN", &tokens(0x11), WRITES, Handler::Copy(CopyCommand::WriteUsingToken)),
    action(0x00, "RECEIVE COPY STATUS(LID1)", &copies(0x84, 0x00, [F, 0, 0, 0]), SETS, Handler::ReceiveCopy(CopyReport::StatusLid1)),
    action(0x03, "RECEIVE COPY OPERATING PARAMETERS", &copies(0x84, 0x03, [0, 0, 0, 0]), SETS, Handler::ReceiveCopy(CopyReport::OperatingParameters)),
    action(0x04, "RECEIVE COPY FAILURE DETAILS(LID1)", &copies(0x84, 0x04, [F, 0, 0, 0]), SETS, Handler::ReceiveCopy(CopyReport::FailureDetails)),
    action(0x05, "RECEIVE COPY STATUS(LID4)", &copies(0x84, 0x05, [F, F, F, F]), SETS, Handler::ReceiveCopy(CopyReport::StatusLid4)),
    action(0x07, "RECEIVE ROD TOKEN INFORMATION", &copies(0x84, 0x07, [F, F, F, F]), SETS, Handler::ReceiveCopy(CopyReport::TokenInformation)),
    row("READ(16)", &blocks16(0x88, 0x1a), READS, Handler::Read(Layout::Sixteen)),
    row("COMPARE AND WRITE", &[0x89, 0x18, F, F, F, F, F, F, F, F, 0, 0, 0, F, GROUP, 0], WRITES, Handler::CompareAndWrite),
    row("WRITE(16)", &blocks16(0x8a, 0x1a), WRITES, Handler::Write(Layout::Sixteen)),
    row("ORWRITE(16)", &blocks16(0x8b, 0x18), WRITES, Handler::OrWrite),
    row("WRITE AND VERIFY(16)", &blocks16(0x8e, 0x12), WRITES, Handler::WriteAndVerify(Layout::Sixteen)),
    row("VERIFY(16)", &blocks16(0x8f, 0x16), READS, Handler::Verify(Layout::Sixteen)),
    row("PRE-FETCH(16)", &blocks16(0x90, 0x02), READS, Handler::PreFetch(Layout::Sixteen)),
    row("SYNCHRONIZE CACHE(16)", &blocks16(0x91, 0x02), FLUSHES, Handler::SynchronizeCache(Layout::Sixteen)),
    row("WRITE SAME(16)", &blocks16(0x93, 0x09), WRITES, Handler::WriteSame(Layout::Sixteen)),
    action(0x10, "READ CAPACITY(16)", &[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, F, F, F, F, 0, 0], SIZES.while_standby(), Handler::ReadCapacity16),
    action(0x12, "GET LBA STATUS(16)", &[0x9e, 0x12, F, F, F, F, F, F, F, F, F, F, F, F, 0, 0], READS, Handler::LbaStatus),
    row("REPORT LUNS", &[0xa0, 0, F, 0, 0, 0, F, F, F, F, 0, 0], ALWAYS, Handler::ReportLuns),
    action(0x05, "REPORT IDENTIFYING INFORMATION", &[0xa3, 0x05, 0, 0, 0, 0, F, F, F, F, 0xfe, 0], SHARED.with(Access::Free), Handler::ReportIdentifying),
    action(0x0a, "REPORT TARGET PORT GROUPS", &[0xa3, 0xea, 0, 0, 0, 0, F, F, F, F, 0, 0], SHARED.with(Access::Free).while_lost().while_unavailable(), Handler::ReportTargetPortGroups),
    action(0x0c, "REPORT SUPPORTED OPERATION CODES", &[0xa3, 0x0c, 0x87, F, F, F, F, F, F, F, 0, 0], SHARED.while_standby(), Handler::ReportOperationCodes),
    action(0x0d, "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", &[0xa3, 0x0d, 0x80, 0, 0, 0, F, F, F, F, 0, 0], SHARED.while_standby(), Handler::ReportTaskManagement),
    action(0x0f, "REPORT TIMESTAMP", &[0xa3, 0x0f, 0, 0, 0, 0, F, F, F, F, 0, 0], SHARED.with(Access::Free), Handler::ReportTimestamp),
    action(0x06, "SET IDENTIFYING INFORMATION", &[0xa4, 0x06, 0, 0, 0, 0, F, F, F, F, 0xfe, 0], SETS, Handler::SetIdentifying),
    action(0x0a, "SET TARGET PORT GROUPS", &[0xa4, 0x0a, 0, 0, 0, 0, F, F, F, F, 0, 0], SETS.while_unavailable(), Handler::SetTargetPortGroups),
    action(0x0f, "SET TIMESTAMP", &[0xa4, 0x0f, 0, 0, 0, 0, F, F, F, F, 0, 0], SETS, Handler::SetTimestamp),
    row("READ(12)", &blocks12(0xa8, 0x1a), READS, Handler::Read(Layout::Twelve)),
    row("WRITE(12)", &blocks12(0xaa, 0x1a), WRITES, Handler::Write(Layout::Twelve)),
    row("WRITE AND VERIFY(12)", &blocks12(0xae, 0x12), WRITES, Handler::WriteAndVerify(Layout::Twelve)),
    row("VERIFY(12)", &blocks12(0xaf, 0x16), READS, Handler::Verify(Layout::Twelve)),
    row("READ DEFECT DATA(12)", &[0xb7, 0x1f, F, F, F, F, F, F, F, F, 0, 0], READS, Handler::ReadDefectData12),
];

/// A third-party copy command: a list identifier at byte 2, where there is one, and a length at byte 10.
const fn copies(opcode: u8, action: u8, identifier: [u8; 4]) -> [u8; 16] {
    let [a, b, c, d] = identifier;
    [opcode, action, a, b, c, d, 0, 0, 0, 0, F, F, F, F, 0, 0]
}

/// A command that makes or uses a token: a list identifier at byte 6, a length at byte 10.
const fn tokens(action: u8) -> [u8; 16] {
    [0x83, action, 0, 0, 0, 0, F, F, F, F, F, F, F, F, GROUP, 0]
}

const fn blocks10(opcode: u8, flags: u8) -> [u8; 10] {
    [opcode, flags, F, F, F, F, GROUP, F, F, 0]
}

const fn blocks12(opcode: u8, flags: u8) -> [u8; 12] {
    [opcode, flags, F, F, F, F, F, F, F, F, GROUP, 0]
}

const fn blocks16(opcode: u8, flags: u8) -> [u8; 16] {
    [opcode, flags, F, F, F, F, F, F, F, F, F, F, F, F, GROUP, 0]
}

/// A CDB of 32 bytes: flags at byte 10, then address, expected reference and application tags, and number of blocks.
const fn blocks32(action: u8, flags: u8) -> [u8; 32] {
    let mut usage = [F; 32];
    let mut at = 1;
    while at < 12 {
        usage[at] = 0;
        at += 1;
    }
    usage[0] = VARIABLE_LENGTH;
    usage[6] = GROUP;
    usage[7] = ADDITIONAL_BYTES;
    usage[9] = action;
    usage[10] = flags;
    usage
}

/// A row from its CDB usage data, which say its operation code and length, too.
pub(crate) const fn row(name: &'static str, usage: &[u8], rules: Rules, handler: Handler) -> Row {
    full_row(None, name, usage, rules, handler)
}

/// The row of a command that may be at work on all of the medium.
const fn slow(row: Row) -> Row {
    Row {
        timeout_seconds: 3600,
        ..row
    }
}

/// A row of an operation code that has service actions.
const fn action(
    service_action: u16,
    name: &'static str,
    usage: &[u8],
    rules: Rules,
    handler: Handler,
) -> Row {
    full_row(Some(service_action), name, usage, rules, handler)
}

const fn full_row(
    service_action: Option<u16>,
    name: &'static str,
    usage: &[u8],
    rules: Rules,
    handler: Handler,
) -> Row {
    let mut bytes = [0; CDB_BYTES];
    // Padding is nobody's business.
    let mut allowed = [u8::MAX; CDB_BYTES];
    let mut at = 0;
    while at < usage.len() {
        bytes[at] = usage[at];
        allowed[at] = usage[at];
        at += 1;
    }
    // SAM-5 "CONTROL byte": NACA is every command's.
    let control = if usage[0] == VARIABLE_LENGTH {
        1
    } else {
        usage.len() - 1
    };
    bytes[control] |= NACA;
    allowed[control] |= NACA;
    allowed[0] = u8::MAX;
    match service_action {
        Some(_) if usage[0] == VARIABLE_LENGTH => {
            // Checked to be what it has to be, see `Row::of`.
            allowed[7] = u8::MAX;
            allowed[8] = u8::MAX;
            allowed[9] = u8::MAX;
        }
        Some(_) => allowed[1] |= SERVICE_ACTION_MASK,
        None => {}
    }
    let cdb_bytes = match usage.len() {
        6 => 6,
        10 => 10,
        12 => 12,
        16 => 16,
        _ => 32,
    };
    Row {
        opcode: usage[0],
        service_action,
        name,
        cdb_bytes,
        usage: bytes,
        allowed: halves(&allowed),
        rules,
        timeout_seconds: if rules.medium { 60 } else { 30 },
        handler,
    }
}

const fn halves(bytes: &[u8; CDB_BYTES]) -> [u128; 2] {
    let mut halves = [0; 2];
    let mut at = 0;
    while at < CDB_BYTES {
        halves[at / 16] = halves[at / 16] << 8 | bytes[at] as u128;
        at += 1;
    }
    halves
}

/// SPC-5 "Variable length CDB formats": ADDITIONAL CDB LENGTH of the CDBs of 32 bytes.
pub(crate) const ADDITIONAL_BYTES: u8 = 0x18;
/// PERSISTENT RESERVE IN.
const fn reserve_in(service_action: u8, name: &'static str, report: Report) -> Row {
    let usage = [0x5e, service_action, 0, 0, 0, 0, 0, F, F, 0];
    let rules = SETS.with(Access::Reserving).while_standby();
    let handler = Handler::PersistentReserveIn(report);
    action(service_action as u16, name, &usage, rules, handler)
}

/// PERSISTENT RESERVE OUT. SCOPE and TYPE are ignored where they mean nothing.
const fn reserve_out(name: &'static str, service_action: ServiceAction) -> Row {
    let code = service_action as u8;
    let usage = [0x5f, code, F, 0, 0, F, F, F, F, 0];
    // Without its store an LU is only stood in for, and what is registered there would be gone with it.
    let rules = Rules {
        medium: true,
        ..SETS.with(Access::Reserving).while_standby()
    };
    action(
        code as u16,
        name,
        &usage,
        rules,
        Handler::PersistentReserveOut(service_action),
    )
}

/// The service action of a CDB: byte 1, bits 4 to 0.
pub(crate) const SERVICE_ACTION_MASK: u8 = 0x1f;

/// The commands of a direct access block device.
pub(crate) static DISK: CommandTable = CommandTable::new(ROWS);

impl Row {
    /// Whether the LU has the command.
    pub(crate) fn is_supported(&self, lu: &LuSnapshot) -> bool {
        match self.handler {
            Handler::Unmap => lu.caps.unmap,
            // SBC-4 "SANITIZE command": erased blocks are unmapped.
            Handler::Sanitize(SanitizeAction::BlockErase) => lu.may_sanitize() && lu.caps.unmap,
            Handler::Sanitize(_) => lu.may_sanitize(),
            Handler::ReportIdentifying | Handler::SetIdentifying => lu.can_save(),
            Handler::Copy(_) | Handler::ReceiveCopy(_) => lu.copies_for_others(),
            Handler::Read(Layout::ThirtyTwo)
            | Handler::Write(Layout::ThirtyTwo)
            | Handler::WriteAndVerify(Layout::ThirtyTwo)
            | Handler::Verify(Layout::ThirtyTwo)
            | Handler::WriteSame(Layout::ThirtyTwo) => lu.has_long_commands(),
            Handler::SetTargetPortGroups => lu.access_groups.iter().any(|group| group.explicit),
            _ => true,
        }
    }

    /// What a command ends in that the LU has not.
    pub(crate) fn not_supported(&self, lu: &LuSnapshot) -> Sense {
        // SPC-5 "Service action": one that is not supported, of an operation code that is, is an invalid field.
        let mut of_code = lu.device.tables().commands.rows_of(self.opcode);
        if self.service_action.is_some() && of_code.any(|row| row.is_supported(lu)) {
            Sense::cdb_bit(1, 4)
        } else {
            Sense::INVALID_COMMAND_OPERATION_CODE
        }
    }

    /// SPC-5 "Reserved fields in the CDB": a bit that means nothing here is refused, the first one is pointed at. Bytes
    /// behind the CDB are the transport's padding.
    pub(crate) fn check_reserved(&self, cdb: &Cdb) -> Result<(), Refusal> {
        let [low, high] = cdb.halves();
        let unexpected = [low & !self.allowed[0], high & !self.allowed[1]];
        let bit = match unexpected {
            [0, 0] => return Ok(()),
            [0, high] => 128 + high.leading_zeros(),
            [low, _] => low.leading_zeros(),
        };
        let at = u8::try_from(bit).unwrap_or(0);
        Err(self.field_at(at / 8, 7 - at % 8).into())
    }

    /// The same for a command to this LU: with protection information there are fields for it.
    pub(crate) fn check_reserved_for(&self, cdb: &Cdb, lu: &LuSnapshot) -> Result<(), Refusal> {
        self.check_reserved(cdb)
            .or_else(|_| self.check_reserved(&cdb.without(self.protect_bits(lu))))
    }

    /// The bits of byte 1 that are RDPROTECT, WRPROTECT, VRPROTECT, ORPROTECT or FMTPINFO, where the LU has protection information.
    pub(crate) fn protect_bits(&self, lu: &LuSnapshot) -> u8 {
        match self.handler {
            _ if lu.caps.protection.is_none() => 0,
            Handler::Read(Layout::Six | Layout::ThirtyTwo)
            | Handler::Write(Layout::Six | Layout::ThirtyTwo)
            | Handler::WriteAndVerify(Layout::ThirtyTwo)
            | Handler::Verify(Layout::ThirtyTwo)
            | Handler::WriteSame(Layout::ThirtyTwo) => 0,
            Handler::Read(_)
            | Handler::Write(_)
            | Handler::WriteAndVerify(_)
            | Handler::Verify(_)
            | Handler::WriteSame(_)
            | Handler::CompareAndWrite
            | Handler::OrWrite => 0xe0,
            Handler::FormatUnit => 0xc0,
            _ => 0,
        }
    }

    /// INVALID FIELD IN CDB for the field that a bit is in. SPC-5 "Field pointer sense key specific information": a field
    /// of several bits is named by its first.
    fn field_at(&self, byte: u8, bit: u8) -> Sense {
        match (self.handler, byte, bit) {
            // RDPROTECT, WRPROTECT, VRPROTECT.
            (
                Handler::Read(_)
                | Handler::Write(_)
                | Handler::WriteAndVerify(_)
                | Handler::Verify(_)
                | Handler::WriteSame(_)
                | Handler::CompareAndWrite
                | Handler::OrWrite,
                1,
                5..=7,
            ) => Sense::cdb_bit(1, 7),
            // PARAMETER LIST LENGTH.
            (Handler::Sanitize(_), 7 | 8, _) => Sense::cdb_byte(7),
            // FMTPINFO.
            (Handler::FormatUnit, 1, 6 | 7) => Sense::cdb_bit(1, 7),
            // POWER CONDITION.
            (Handler::StartStopUnit, 4, 4..=7) => Sense::cdb_bit(4, 7),
            _ => Sense::cdb_bit(byte, bit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceType;

    /// Each row there is, with the table that it is in.
    fn rows() -> impl Iterator<Item = (&'static CommandTable, &'static Row)> {
        let tables = DeviceType::ALL
            .into_iter()
            .map(|device| device.tables().commands);
        tables.flat_map(|table| table.rows.iter().map(move |row| (table, row)))
    }

    #[test]
    fn table_is_sorted_and_each_row_is_found_by_its_own_cdb() {
        for device in DeviceType::ALL {
            let rows = device.tables().commands.rows;
            assert!(rows.len() < usize::from(u8::MAX));
            for pair in rows.windows(2) {
                let key = |row: &Row| (row.opcode, row.service_action);
                assert!(key(&pair[0]) < key(&pair[1]), "{}", pair[1].name);
            }
        }
        for (table, row) in rows() {
            let cdb = plain_cdb(row);
            let found = table.row_of(&Cdb::new(&cdb)).unwrap();
            assert!(std::ptr::eq(found, row), "{}", row.name);
            assert_eq!(row.check_reserved(&Cdb::new(&cdb)), Ok(()), "{}", row.name);
            // Padding behind the CDB is nobody's business.
            let mut padded = cdb;
            padded[usize::from(row.cdb_bytes)..].fill(0xff);
            let padded = Cdb::new(&padded);
            assert_eq!(row.check_reserved(&padded), Ok(()), "{}", row.name);
        }
    }

    /// A CDB of the command in which nothing is set that need not be.
    fn plain_cdb(row: &Row) -> [u8; CDB_BYTES] {
        let mut cdb = [0; CDB_BYTES];
        cdb[0] = row.opcode;
        match row.service_action {
            Some(action) if row.opcode == VARIABLE_LENGTH => {
                cdb[7] = ADDITIONAL_BYTES;
                cdb[8..10].copy_from_slice(&action.to_be_bytes());
            }
            Some(action) => cdb[1] = action.to_be_bytes()[1],
            None => {}
        }
        cdb
    }

    #[test]
    fn cdb_length_is_that_of_the_operation_code_group() {
        // SPC-5 "Operation code": the group code says the length of the CDB.
        for (_, row) in rows() {
            let bytes = match row.opcode >> 5 {
                3 if row.opcode == VARIABLE_LENGTH => 32,
                0 => 6,
                1 | 2 => 10,
                4 => 16,
                5 => 12,
                group => panic!("{}: group {group}", row.name),
            };
            assert_eq!(row.cdb_bytes, bytes, "{}", row.name);
        }
    }

    #[test]
    fn each_reserved_bit_is_refused_with_its_place() {
        for (_, row) in rows() {
            for at in 8..u16::from(row.cdb_bytes) * 8 {
                let byte = u8::try_from(at / 8).unwrap();
                let in_byte = u8::try_from(7 - at % 8).unwrap();
                let half = row.allowed[usize::from(at / 128)];
                if half & (1 << (127 - at % 128)) != 0 {
                    continue;
                }
                let mut cdb = plain_cdb(row);
                cdb[usize::from(byte)] |= 1 << in_byte;
                let cdb = Cdb::new(&cdb);
                let Err(Refusal::Check(sense)) = row.check_reserved(&cdb) else {
                    panic!("{}: byte {byte} bit {in_byte} is accepted", row.name);
                };
                assert_eq!((sense.asc, sense.ascq), (0x24, 0x00));
                let field = sense.field.unwrap();
                // The bit itself, or the first of the field it is in.
                let place = (field.byte, field.bit.map_or(7, |bit| bit));
                assert!(field.in_cdb && place.0 <= u16::from(byte), "{}", row.name);
                assert!(
                    place.0 < u16::from(byte) || place.1 >= in_byte,
                    "{}",
                    row.name
                );
            }
        }
    }

    #[test]
    fn unknown_operation_code_and_service_action_are_told_apart() {
        assert_eq!(
            DISK.row_of(&Cdb::new(&[0x6f])).unwrap_err(),
            Refusal::Check(Sense::INVALID_COMMAND_OPERATION_CODE)
        );
        assert_eq!(
            DISK.row_of(&Cdb::new(&[0x9e, 0x13])).unwrap_err(),
            Refusal::Check(Sense::cdb_bit(1, 4))
        );
    }
}
