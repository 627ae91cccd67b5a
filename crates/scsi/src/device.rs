//! The types of devices that a logical unit can be, and what each is made of: everything that only one of them has stands in
//! its tables, and the rest of the device server is the same for all.
//!
//! SPC-5 r22 "PERIPHERAL DEVICE TYPE field". A type is a row of [`DeviceType::tables`] and the handlers that its commands name.

use crate::command_table::CommandTable;
use crate::multimedia;
use crate::opcodes;
use crate::reports::{self, LogPageRow, ModePageRow, VpdRow};

/// SPC-5 "PERIPHERAL DEVICE TYPE field": its value is the code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DeviceType {
    /// A direct access block device (SBC-4): a disk.
    #[default]
    Disk = 0x00,
    /// A CD or DVD drive (MMC-6), its disc read-only.
    Multimedia = 0x05,
}

/// What a type of device is made of.
#[derive(Debug)]
pub(crate) struct Tables {
    /// As a heading of the reference page.
    pub(crate) name: &'static str,
    pub(crate) commands: &'static CommandTable,
    pub(crate) mode_pages: &'static [ModePageRow],
    pub(crate) log_pages: &'static [LogPageRow],
    pub(crate) vpd_pages: &'static [VpdRow],
    /// SPC-5 "Version descriptor": what it claims beside the transport, no version claimed of any.
    pub(crate) versions: [u16; 3],
    /// RMB: the medium can be taken out.
    pub(crate) is_removable: bool,
}

static DISK: Tables = Tables {
    name: "The SCSI disk",
    commands: &opcodes::DISK,
    mode_pages: reports::MODE_PAGES,
    log_pages: reports::LOG_PAGES,
    vpd_pages: reports::VPD_PAGES,
    // SAM-5, SPC-4, SBC-3.
    versions: [0x00a0, 0x0460, 0x04c0],
    is_removable: false,
};

impl DeviceType {
    /// All that there are.
    pub const ALL: [Self; 2] = [Self::Disk, Self::Multimedia];

    pub(crate) fn tables(self) -> &'static Tables {
        match self {
            Self::Disk => &DISK,
            Self::Multimedia => &multimedia::TABLES,
        }
    }

    /// The code of the type.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }
}
