//! The limits of commands, as the Block Limits VPD page tells them and the device server enforces them.

use block::{Geometry, StoreCaps, TUPLE_BYTES};

use crate::step::WINDOW_BYTES;

/// MAXIMUM TRANSFER LENGTH, in bytes: longer than any READ (10) can ask for, and worked window by window, so that its length
/// costs no memory.
const MAX_TRANSFER_BYTES: u32 = 32 << 20;

/// OPTIMAL TRANSFER LENGTH when the store names none, in bytes.
pub(crate) const OPTIMAL_TRANSFER_BYTES: u32 = 1 << 20;

/// MAXIMUM WRITE SAME LENGTH, in bytes of the medium.
const MAX_WRITE_SAME_BYTES: u32 = 32 << 20;

/// MAXIMUM UNMAP LBA COUNT, in blocks.
pub(crate) const MAX_UNMAP_BLOCKS: u32 = 1 << 20;

/// MAXIMUM UNMAP BLOCK DESCRIPTOR COUNT.
pub(crate) const MAX_UNMAP_DESCRIPTORS: u16 = 256;

/// SBC-4 "Logical Block Provisioning VPD page", THRESHOLD EXPONENT: the blocks of a threshold set, as an exponent of 2. A set has
/// 1 MiB.
pub(crate) fn threshold_exponent(geometry: Geometry) -> u8 {
    let blocks = THRESHOLD_SET_BYTES / u64::from(geometry.block_size_bytes.max(1));
    u8::try_from(blocks.max(1).ilog2()).unwrap_or(0)
}

/// What thresholds count in, in bytes.
pub const THRESHOLD_SET_BYTES: u64 = 1 << 20;

/// Capacity of the echo buffer that each nexus has of each logical unit, in bytes: allocated when it is written to.
pub const ECHO_BUFFER_BYTES: u16 = 256;

/// MAXIMUM TRANSFER LENGTH, in blocks.
pub(crate) fn max_transfer_blocks(geometry: Geometry) -> u32 {
    MAX_TRANSFER_BYTES / geometry.block_size_bytes.max(1)
}

/// MAXIMUM WRITE SAME LENGTH, in blocks.
pub(crate) fn max_write_same_blocks(geometry: Geometry) -> u32 {
    MAX_WRITE_SAME_BYTES / geometry.block_size_bytes.max(1)
}

/// MAXIMUM COMPARE AND WRITE LENGTH, in blocks: the field has eight bits, and both halves of the Data-Out stand in one
/// window, with protection information if there is any.
pub(crate) fn max_compare_and_write_blocks(caps: &StoreCaps) -> u8 {
    let tuple_bytes = if caps.protection.is_some() {
        TUPLE_BYTES
    } else {
        0
    };
    let block_bytes = caps.geometry.block_size_bytes.max(1) + tuple_bytes;
    u8::try_from(WINDOW_BYTES / 2 / block_bytes).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_by_block_size() {
        for (size, transfer, same, caw) in [(512, 65_536, 65_536, 255), (4096, 8192, 8192, 128)] {
            let geometry = Geometry::new(size, 1).unwrap();
            assert_eq!(max_transfer_blocks(geometry), transfer);
            assert_eq!(max_write_same_blocks(geometry), same);
            let mut caps = StoreCaps::plain(geometry);
            assert_eq!(max_compare_and_write_blocks(&caps), caw);
            caps.protection = Some(block::ProtectionType::Type1);
            let fit = if size == 512 { caw } else { caw - 1 };
            assert_eq!(max_compare_and_write_blocks(&caps), fit);
        }
    }
}
