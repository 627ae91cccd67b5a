//! The commands of a CD or DVD drive, for reading. MMC-6 r02g "Command descriptions for Multi-Media devices".

use crate::opcodes::{ALWAYS, F, Handler, LOOKS, Layout, ListSize, READS, Row, SETS, SIZES, row};
use crate::persistent_reserve::Access;

/// What carries out a command that no other type of device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Multimedia {
    StartStopUnit,
    PreventAllow,
    Seek,
    ReadToc,
    GetConfiguration,
    GetEventStatus,
    ReadDiscInformation,
    ReadTrackInformation,
    ReadDiscStructure,
    MechanismStatus,
    /// READ CD and READ CD MSF.
    ReadCd(Layout),
}

/// By operation code. A3h and A4h are SEND KEY and REPORT KEY here, so that no drive has the commands of a disk with these codes.
///
/// MMC-6 "Unit attention": INQUIRY, REQUEST SENSE, GET CONFIGURATION and GET EVENT STATUS NOTIFICATION are carried out with one
/// pending, and leave it.
#[rustfmt::skip]
pub(crate) static COMMANDS: &[Row] = &[
    row("TEST UNIT READY", &[0x00, 0, 0, 0, 0, 0], READS.with(Access::Free), Handler::TestUnitReady),
    row("REQUEST SENSE", &[0x03, 0x01, 0, 0, F, 0], ALWAYS, Handler::RequestSense),
    row("INQUIRY", &[0x12, 0x01, F, F, F, 0], ALWAYS, Handler::Inquiry),
    row("MODE SELECT(6)", &[0x15, 0x10, 0, 0, F, 0], SETS, Handler::ModeSelect(ListSize::Six)),
    row("MODE SENSE(6)", &[0x1a, 0x08, F, F, F, 0], LOOKS, Handler::ModeSense(ListSize::Six)),
    row("START STOP UNIT", &[0x1b, 0x01, 0, 0, 0xf3, 0], SETS.with(Access::StartStop), of(Multimedia::StartStopUnit)),
    row("PREVENT ALLOW MEDIUM REMOVAL", &[0x1e, 0, 0, 0, 0x01, 0], SETS.with(Access::Prevent), of(Multimedia::PreventAllow)),
    row("READ CAPACITY(10)", &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], SIZES, Handler::ReadCapacity10),
    row("READ(10)", &[0x28, 0x18, F, F, F, F, 0, F, F, 0], READS, Handler::Read(Layout::Ten)),
    row("SEEK(10)", &[0x2b, 0, F, F, F, F, 0, 0, 0, 0], READS, of(Multimedia::Seek)),
    row("VERIFY(10)", &[0x2f, 0x10, F, F, F, F, 0, F, F, 0], READS, Handler::Verify(Layout::Ten)),
    // Linux asks for the sessions with the format in the last byte, as drives before MMC had it.
    row("READ TOC/PMA/ATIP", &[0x43, 0x02, 0x0f, 0, 0, 0, F, F, F, 0xc0], READS, of(Multimedia::ReadToc)),
    row("GET CONFIGURATION", &[0x46, 0x03, F, F, 0, 0, 0, F, F, 0], ALWAYS, of(Multimedia::GetConfiguration)),
    row("GET EVENT STATUS NOTIFICATION", &[0x4a, 0x01, 0, 0, F, 0, 0, F, F, 0], ALWAYS, of(Multimedia::GetEventStatus)),
    row("READ DISC INFORMATION", &[0x51, 0x07, 0, 0, 0, 0, 0, F, F, 0], READS, of(Multimedia::ReadDiscInformation)),
    row("READ TRACK INFORMATION", &[0x52, 0x03, F, F, F, F, 0, F, F, 0], READS, of(Multimedia::ReadTrackInformation)),
    row("MODE SELECT(10)", &[0x55, 0x10, 0, 0, 0, 0, 0, F, F, 0], SETS, Handler::ModeSelect(ListSize::Ten)),
    row("MODE SENSE(10)", &[0x5a, 0x08, F, F, 0, 0, 0, F, F, 0], LOOKS, Handler::ModeSense(ListSize::Ten)),
    row("REPORT LUNS", &[0xa0, 0, F, 0, 0, 0, F, F, F, F, 0, 0], ALWAYS, Handler::ReportLuns),
    row("READ(12)", &[0xa8, 0x18, F, F, F, F, F, F, F, F, 0, 0], READS, Handler::Read(Layout::Twelve)),
    row("READ DISC STRUCTURE", &[0xad, 0x0f, F, F, F, F, F, F, F, F, 0xc0, 0], READS, of(Multimedia::ReadDiscStructure)),
    row("READ CD MSF", &[0xb9, 0x1c, 0, F, F, F, F, F, F, 0xf8, 0x07, 0], READS, of(Multimedia::ReadCd(Layout::CdMsf))),
    row("MECHANISM STATUS", &[0xbd, 0, 0, 0, 0, 0, 0, 0, F, F, 0, 0], LOOKS.with(Access::Free), of(Multimedia::MechanismStatus)),
    row("READ CD", &[0xbe, 0x1c, F, F, F, F, F, F, F, 0xf8, 0x07, 0], READS, of(Multimedia::ReadCd(Layout::Cd))),
];

const fn of(what: Multimedia) -> Handler {
    Handler::Multimedia(what)
}
