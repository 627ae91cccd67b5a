//! Which blocks a CDB names, and whether they are there.

use block::{BlockCount, Geometry, Lba};

use crate::command::Cdb;
use crate::limits;
use crate::multimedia::lba_of_msf;
use crate::opcodes::Layout;
use crate::sense::{Refusal, Sense};

/// The address and the number of blocks of a CDB.
#[derive(Clone, Copy)]
pub(super) struct Extent {
    pub(super) lba: Lba,
    pub(super) blocks: u64,
}

impl Layout {
    fn extent(self, cdb: &Cdb) -> Extent {
        let (lba, blocks) = match self {
            Self::Six => {
                let lba = cdb.be32::<0>() & 0x001f_ffff;
                // SBC-4 "READ (6) command": 0 means 256.
                let blocks = match cdb.byte::<4>() {
                    0 => 256,
                    blocks => u32::from(blocks),
                };
                (u64::from(lba), blocks)
            }
            Self::Ten => (u64::from(cdb.be32::<2>()), u32::from(cdb.be16::<7>())),
            Self::Twelve => (u64::from(cdb.be32::<2>()), cdb.be32::<6>()),
            Self::Sixteen => (cdb.be64::<2>(), cdb.be32::<10>()),
            Self::Cd => (u64::from(cdb.be32::<2>()), cdb.be32::<5>() & 0x00ff_ffff),
            Self::CdMsf => {
                let start = lba_of_msf(cdb.be32::<2>());
                let end = lba_of_msf(cdb.be32::<5>());
                (start, u32::try_from(end.saturating_sub(start)).unwrap_or(0))
            }
            Self::ThirtyTwo => (cdb.be64::<12>(), cdb.be32::<28>()),
        };
        Extent {
            lba: Lba(lba),
            blocks: u64::from(blocks),
        }
    }

    /// The byte where the address starts, and the byte where the number of blocks does.
    pub(super) fn fields(self) -> (u8, u8) {
        match self {
            Self::Six => (1, 4),
            Self::Ten => (2, 7),
            Self::Twelve => (2, 6),
            Self::Sixteen => (2, 10),
            Self::Cd => (2, 6),
            Self::CdMsf => (3, 6),
            Self::ThirtyTwo => (12, 28),
        }
    }
}

/// The blocks a command names, checked against the capacity.
pub(super) fn checked_extent(
    layout: Layout,
    cdb: &Cdb,
    geometry: Geometry,
) -> Result<Extent, Refusal> {
    let extent = layout.extent(cdb);
    if geometry.contains(extent.lba, BlockCount(extent.blocks)) {
        return Ok(extent);
    }
    // READ(6) has the address in the low five bits of its first byte.
    let bit = if layout == Layout::Six { Some(4) } else { None };
    Err(out_of_range(layout.fields().0, bit).into())
}

fn out_of_range(byte: u8, bit: Option<u8>) -> Sense {
    Sense::LBA_OUT_OF_RANGE.pointing(true, u16::from(byte), bit)
}

/// SBC-4 "MAXIMUM TRANSFER LENGTH field": more is an invalid field.
pub(super) fn check_transfer_length(
    layout: Layout,
    extent: Extent,
    geometry: Geometry,
) -> Result<(), Refusal> {
    if extent.blocks > u64::from(limits::max_transfer_blocks(geometry)) {
        return Err(Sense::cdb_byte(layout.fields().1).into());
    }
    Ok(())
}

/// As [`checked_extent`], for COMPARE AND WRITE, which has eight bits for the number of blocks.
pub(super) fn compare_extent(cdb: &Cdb, geometry: Geometry) -> Result<Extent, Refusal> {
    let extent = Extent {
        lba: Lba(cdb.be64::<2>()),
        blocks: u64::from(cdb.byte::<13>()),
    };
    if !geometry.contains(extent.lba, BlockCount(extent.blocks)) {
        return Err(out_of_range(2, None).into());
    }
    Ok(extent)
}

/// SBC-4 "FUA bit"; the obsolete FUA_NV asks for a non-volatile cache, of which there is none but the medium.
pub(super) fn forces_unit_access(layout: Layout, cdb: &Cdb) -> bool {
    let has_fua = !matches!(layout, Layout::Six | Layout::Cd | Layout::CdMsf);
    has_fua && cdb.byte::<1>() & 0x0a != 0
}
