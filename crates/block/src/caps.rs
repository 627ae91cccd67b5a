//! What a store can do, as the device server tells it to initiators.

use crate::{Geometry, ProtectionType};

/// What a store is and can do. Facts, not wishes: the device server reports and promises exactly this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreCaps {
    /// Blocks and their size.
    pub geometry: Geometry,
    /// Nothing can be written: the LU is write protected.
    pub read_only: bool,
    /// Blocks can be given back (UNMAP); the LU is thin provisioned (LBPME).
    pub unmap: bool,
    /// Blocks given back are known to read as zeros (LBPRZ).
    pub unmap_zeroes: bool,
    /// A range can be zeroed without sending its zeros; without it the store writes them itself.
    pub write_zeroes: bool,
    /// Best granularity for giving back, in blocks, at least 1.
    pub unmap_granularity_blocks: u32,
    /// The medium turns (MEDIUM ROTATION RATE is then not reported; otherwise it is "non-rotating").
    pub rotational: bool,
    /// Logical blocks per physical block, as an exponent of 2 (0 to 15).
    pub physical_block_exponent: u8,
    /// Best granularity of a transfer, in blocks; 0: not reported.
    pub optimal_granularity_blocks: u16,
    /// Best length of a transfer, in blocks; 0: not reported.
    pub optimal_blocks: u32,
    /// The blocks do not outlast the process.
    pub volatile: bool,
    /// Acknowledged writes stand in a volatile cache until flushed (WCE as the store now runs).
    pub write_cache: bool,
    /// Protection information of this type is kept beside the blocks.
    pub protection: Option<ProtectionType>,
}

impl StoreCaps {
    /// A writable, fully provisioned, write-through store that has only its blocks; for callers to add to.
    #[must_use]
    pub fn plain(geometry: Geometry) -> Self {
        Self {
            geometry,
            read_only: false,
            unmap: false,
            unmap_zeroes: false,
            write_zeroes: false,
            unmap_granularity_blocks: 1,
            rotational: false,
            physical_block_exponent: 0,
            optimal_granularity_blocks: 0,
            optimal_blocks: 0,
            volatile: false,
            write_cache: false,
            protection: None,
        }
    }
}
