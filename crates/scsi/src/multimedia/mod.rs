//! The CD and DVD drive: its tables, its disc and its tray. MMC-6 r02g.
//!
//! A disc is one session of one data track, which is all of the store; what it is, a CD or a DVD, its size says. It knows no
//! I/O: reports are made from the snapshot, and blocks are read as a disk's are.

mod commands;
mod configuration;
mod disc;
mod events;
mod toc;
mod tray;

pub(crate) use commands::{COMMANDS, Multimedia};
pub(crate) use configuration::configuration_data;
pub(crate) use disc::{
    mechanism_status, read_disc_information, read_disc_structure, read_track_information,
};
pub(crate) use events::event_status;
pub(crate) use toc::{lba_of_msf, read_toc};
pub use tray::{Tray, TrayAction};

use crate::command_table::CommandTable;
use crate::device::Tables;
use crate::reports::{LogPageRow, ModePageRow, VPD_PAGES_OF_ALL, VpdRow, plain_page};
use crate::snapshot::{LuCondition, LuSnapshot};

/// Bytes of a logical block of every disc.
pub const MULTIMEDIA_BLOCK_BYTES: u32 = 2048;

pub(crate) static TABLES: Tables = Tables {
    name: "The CD and DVD drive",
    commands: &COMMAND_TABLE,
    mode_pages: MODE_PAGES,
    log_pages: LOG_PAGES,
    vpd_pages: VPD_PAGES,
    // SAM-5, SPC-4, MMC-6.
    versions: [0x00a0, 0x0460, 0x04e0],
    is_removable: true,
};

static COMMAND_TABLE: CommandTable = CommandTable::new(COMMANDS);

const LOG_PAGES: &[LogPageRow] = &[];

const VPD_PAGES: &[VpdRow] = VPD_PAGES_OF_ALL;

/// MMC-6 "Mode pages". Nothing can be set.
const MODE_PAGES: &[ModePageRow] = &[
    plain_page("Read/Write Error Recovery", 0x01, 12, &[]),
    plain_page("Power Condition", 0x1a, 12, &[]),
    plain_page("Informational Exceptions Control", 0x1c, 12, &[]),
    plain_page("Timeout and Protect", 0x1d, 12, &[]),
    plain_page(
        "MM Capabilities and Mechanical Status",
        CAPABILITIES,
        22,
        &[
            // DVD-ROM, CD-RW and CD-R discs are read.
            (2, 0x0b),
            // LOADING MECHANISM TYPE: tray; EJECT; LOCK.
            (LOCK_BYTE, 0x29),
            // BUFFER SIZE SUPPORTED: 2,048 KiB.
            (12, 0x08),
        ],
    ),
];

/// The page of MMC-3 that old initiators ask for what GET CONFIGURATION tells.
const CAPABILITIES: u8 = 0x2a;
const LOCK_BYTE: usize = 6;

/// What of a mode page says how things are now: a byte, and the bits to be set in it. LOCK STATE: the medium cannot be taken out.
pub(crate) fn locked_bits(page: u8, lu: &LuSnapshot) -> Option<(usize, u8)> {
    (page == CAPABILITIES && lu.tray.is_locked()).then_some((LOCK_BYTE, 0x02))
}

/// What a disc is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disc {
    Cd,
    Dvd,
}

/// More blocks than a CD of 80 minutes has are a DVD.
const MAX_CD_BLOCKS: u64 = 80 * 60 * 75;

impl Disc {
    /// The disc that is in, if one is.
    pub(crate) fn of(lu: &LuSnapshot) -> Option<Self> {
        let is_in = !lu.tray.is_out() && lu.condition == LuCondition::Ready;
        let disc = match lu.geometry().capacity_blocks {
            0..=MAX_CD_BLOCKS => Self::Cd,
            _ => Self::Dvd,
        };
        is_in.then_some(disc)
    }
}
