//! What a file or device can do, found out when it is opened.

use block::{StoreCaps, Usage};
use reactor::StoreFile;
use rustix::fs::FallocateFlags;

use crate::sysfs::BlockDevice;

/// The capabilities of a regular file; `unmap` is whether holes are wanted and can be punched.
pub(super) fn file_caps(file: &StoreFile, caps: StoreCaps, unmap: bool) -> StoreCaps {
    let stat = rustix::fs::fstat(file).ok();
    let preferred = stat.as_ref().map_or(0, |stat| stat.st_blksize);
    let preferred = u32::try_from(preferred).unwrap_or(0);
    let underneath = stat.map(|stat| BlockDevice {
        major: rustix::fs::major(stat.st_dev),
        minor: rustix::fs::minor(stat.st_dev),
    });
    let rotational = underneath.and_then(|disk| disk.queue_number("rotational"));
    with_physical_block(
        StoreCaps {
            unmap,
            // A hole reads as zeros.
            unmap_zeroes: unmap,
            unmap_granularity_blocks: blocks_of(preferred, caps),
            rotational: rotational == Some(1),
            ..caps
        },
        // A part of a page costs the kernel a read of the rest.
        4096,
    )
}

/// What a regular file takes up of its file system, and what is left there.
pub(super) fn usage(file: &StoreFile) -> Option<Usage> {
    // `st_blocks` counts in units of 512 bytes, whatever the file system's blocks are.
    let taken = u64::try_from(rustix::fs::fstat(file).ok()?.st_blocks).ok()?;
    let system = rustix::fs::fstatvfs(file).ok();
    Some(Usage {
        used_bytes: taken.saturating_mul(512),
        available_bytes: system.map(|one| one.f_bavail.saturating_mul(one.f_frsize)),
    })
}

/// The capabilities of a block device, from what `/sys` tells of it.
pub(super) fn device_caps(
    device: BlockDevice,
    caps: StoreCaps,
    thin: bool,
    physical: u32,
) -> StoreCaps {
    let queue = |attribute| device.queue_number(attribute).unwrap_or(0);
    let narrow = |bytes: u64| u32::try_from(bytes).unwrap_or(0);
    let optimal = narrow(queue("optimal_io_size"));
    with_physical_block(
        StoreCaps {
            unmap: thin && queue("discard_max_bytes") > 0,
            // What a discarded range reads as is the device's business.
            unmap_zeroes: false,
            unmap_granularity_blocks: blocks_of(narrow(queue("discard_granularity")), caps),
            rotational: queue("rotational") == 1,
            optimal_blocks: optimal / caps.geometry.block_size_bytes,
            ..caps
        },
        physical,
    )
}

fn blocks_of(bytes: u32, caps: StoreCaps) -> u32 {
    (bytes / caps.geometry.block_size_bytes).max(1)
}

fn with_physical_block(caps: StoreCaps, physical_bytes: u32) -> StoreCaps {
    let blocks = blocks_of(physical_bytes, caps);
    if !blocks.is_power_of_two() {
        return caps;
    }
    StoreCaps {
        // SBC-4 r22 "READ CAPACITY (16) parameter data": the exponent has four bits.
        physical_block_exponent: u8::try_from(blocks.trailing_zeros().min(15)).unwrap_or(0),
        optimal_granularity_blocks: u16::try_from(blocks).unwrap_or(0),
        ..caps
    }
}

/// Whether holes can be punched: tried behind the end, where there is nothing to lose.
pub(super) fn can_punch(file: &StoreFile, size_bytes: u64) -> bool {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let behind = size_bytes.next_multiple_of(4096);
    rustix::fs::fallocate(file, flags, behind, 4096).is_ok()
}
