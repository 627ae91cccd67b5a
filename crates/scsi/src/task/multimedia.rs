//! The commands that only a CD or DVD drive has. MMC-6 r02g, the commands of these names.

use block::Geometry;

use super::Task;
use super::extent::{check_transfer_length, checked_extent};
use super::plan::{Plan, read};
use super::settings::Setting;
use super::state::State;
use crate::command::{Cdb, Command};
use crate::lu::LuShard;
use crate::multimedia::{self, Multimedia, TrayAction};
use crate::opcodes::Layout;
use crate::reports::Asked;
use crate::sense::{Refusal, Sense};
use crate::view::LunView;

/// The work that a command asks for, or its answer when it can be given at once.
pub(super) fn plan(
    what: Multimedia,
    task: &Task,
    shard: &mut LuShard,
    view: &LunView<'_>,
    out: &mut Vec<u8>,
) -> Result<Plan, Refusal> {
    let command = &task.command;
    let cdb = &command.cdb;
    let mut told = shard
        .nexus(task.nexus)
        .map_or(0, |nexus| nexus.medium_changes_told);
    let lu = shard.snapshot();
    let asked = Asked { lu, view, command };
    let done = match what {
        Multimedia::ReadToc => multimedia::read_toc(&asked, out)?,
        Multimedia::GetConfiguration => multimedia::configuration_data(&asked, out)?,
        Multimedia::ReadDiscInformation => multimedia::read_disc_information(&asked, out)?,
        Multimedia::ReadTrackInformation => multimedia::read_track_information(&asked, out)?,
        Multimedia::ReadDiscStructure => multimedia::read_disc_structure(&asked, out)?,
        Multimedia::MechanismStatus => multimedia::mechanism_status(&asked, out)?,
        Multimedia::GetEventStatus => {
            let done = multimedia::event_status(&asked, &mut told, out)?;
            if let Some(nexus) = shard.nexus_mut(task.nexus) {
                nexus.medium_changes_told = told;
            }
            done
        }
        Multimedia::Seek => {
            checked_extent(Layout::Ten, cdb, lu.geometry())?;
            return Ok(Plan::good(0));
        }
        Multimedia::ReadCd(layout) => return read_cd(layout, command, lu.geometry()),
        Multimedia::PreventAllow => {
            return Ok(tray(match cdb.bit::<4>(0) {
                true => TrayAction::Prevent,
                false => TrayAction::Allow,
            }));
        }
        Multimedia::StartStopUnit => return start_stop(cdb),
    };
    Ok(Plan::Done(done))
}

fn tray(action: TrayAction) -> Plan {
    Plan::Work(State::Setting(Setting::tray(action)))
}

/// START STOP UNIT. The disc does not turn, and the drive is never in another power condition than active for longer than until
/// the next command.
fn start_stop(cdb: &Cdb) -> Result<Plan, Refusal> {
    let (loads, starts) = (cdb.bit::<4>(1), cdb.bit::<4>(0));
    match (cdb.byte::<4>() >> 4, loads, starts) {
        (0, true, true) => Ok(tray(TrayAction::Close)),
        (0, true, false) => Ok(tray(TrayAction::Open)),
        // MMC-6 "POWER CONDITION field": idle and standby, which LOEJ and START do not go with.
        (0, false, _) | (2 | 3, _, _) => Ok(Plan::good(0)),
        _ => Err(Sense::cdb_bit(4, 7).into()),
    }
}

/// Whether the blocks that a command names are still there.
pub(super) fn check_range(what: Multimedia, cdb: &Cdb, geometry: Geometry) -> Result<(), Refusal> {
    match what {
        Multimedia::ReadCd(layout) => checked_extent(layout, cdb, geometry).map(|_| ()),
        _ => Ok(()),
    }
}

/// READ CD, of mode 1 sectors, their user data only: sync, header and error correction stand nowhere.
fn read_cd(layout: Layout, command: &Command, geometry: Geometry) -> Result<Plan, Refusal> {
    let cdb = &command.cdb;
    // EXPECTED SECTOR TYPE: any, or mode 1; of others there is no track.
    if !matches!(cdb.byte::<1>() >> 2 & 0x07, 0 | 2) {
        return Err(Sense::ILLEGAL_MODE_FOR_TRACK.into());
    }
    if layout == Layout::CdMsf && cdb.be32::<5>() & 0x00ff_ffff < cdb.be32::<2>() & 0x00ff_ffff {
        // MMC-6 "READ CD MSF command": an end before the start is an error.
        return Err(Sense::cdb_byte(6).into());
    }
    let extent = checked_extent(layout, cdb, geometry)?;
    if cdb.byte::<10>() != 0 {
        return Err(Sense::cdb_bit(10, 2).into());
    }
    match cdb.byte::<9>() {
        // Nothing is transferred.
        0 => Ok(Plan::good(0)),
        0x10 => {
            check_transfer_length(layout, extent, geometry)?;
            Ok(read(layout, extent, command, geometry))
        }
        _ => Err(Sense::cdb_byte(9).into()),
    }
}
