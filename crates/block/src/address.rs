//! Logical block addresses, counts of blocks, and the geometry that turns them into bytes.

use std::fmt;

use crate::TUPLE_BYTES;

/// The logical block sizes a store may have, in bytes: a disk's, and a disc's (2048).
pub const SUPPORTED_BLOCK_SIZES_BYTES: [u32; 3] = [512, 2048, 4096];

/// A logical block address: the number of a block, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lba(pub u64);

impl Lba {
    /// The address `blocks` further on, or `None` beyond 2^64.
    #[must_use]
    pub fn checked_add(self, blocks: BlockCount) -> Option<Self> {
        self.0.checked_add(blocks.0).map(Self)
    }
}

impl fmt::Display for Lba {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A number of logical blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockCount(pub u64);

impl BlockCount {
    /// No blocks.
    pub const ZERO: Self = Self(0);
}

impl From<u64> for BlockCount {
    fn from(blocks: u64) -> Self {
        Self(blocks)
    }
}

impl From<u32> for BlockCount {
    fn from(blocks: u32) -> Self {
        Self(u64::from(blocks))
    }
}

impl fmt::Display for BlockCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many blocks a store has, and how large each is.
///
/// A value made by [`Geometry::new`] has a supported block size, at least one block, and a size in bytes that an `i64`
/// holds (the kernel's file offsets do not go further).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Geometry {
    /// Size of one logical block, in bytes: 512, 2048 or 4096, and [`TUPLE_BYTES`] where protection information is kept.
    pub block_size_bytes: u32,
    /// Number of logical blocks.
    pub capacity_blocks: u64,
}

impl Geometry {
    /// A geometry of `capacity_blocks` blocks of `block_size_bytes` each.
    ///
    /// # Errors
    /// Refuses an unsupported block size, a capacity of nothing, and one beyond 2^63 - 1 bytes.
    pub fn new(block_size_bytes: u32, capacity_blocks: u64) -> Result<Self, GeometryError> {
        if !SUPPORTED_BLOCK_SIZES_BYTES.contains(&block_size_bytes) {
            return Err(GeometryError::BlockSize(block_size_bytes));
        }
        if capacity_blocks == 0 {
            return Err(GeometryError::Empty);
        }
        let bytes = capacity_blocks.checked_mul(u64::from(block_size_bytes));
        match bytes.and_then(|bytes| i64::try_from(bytes).ok()) {
            Some(_) => Ok(Self {
                block_size_bytes,
                capacity_blocks,
            }),
            None => Err(GeometryError::TooLarge(capacity_blocks)),
        }
    }

    /// The geometry of a store of `size_bytes`; what is left after the last whole block is not used.
    ///
    /// # Errors
    /// As [`Geometry::new`].
    pub fn of_size(block_size_bytes: u32, size_bytes: u64) -> Result<Self, GeometryError> {
        if !SUPPORTED_BLOCK_SIZES_BYTES.contains(&block_size_bytes) {
            return Err(GeometryError::BlockSize(block_size_bytes));
        }
        Self::new(block_size_bytes, size_bytes / u64::from(block_size_bytes))
    }

    /// As many blocks of the same size as stand in `size_bytes`; what is left after the last whole one is not used.
    ///
    /// # Errors
    /// A capacity of nothing, and one beyond 2^63 - 1 bytes.
    pub fn resized(self, size_bytes: u64) -> Result<Self, GeometryError> {
        let capacity_blocks = size_bytes / u64::from(self.block_size_bytes.max(1));
        match i64::try_from(size_bytes) {
            _ if capacity_blocks == 0 => Err(GeometryError::Empty),
            Ok(_) => Ok(Self {
                capacity_blocks,
                ..self
            }),
            Err(_) => Err(GeometryError::TooLarge(capacity_blocks)),
        }
    }

    /// What the protection information of the blocks takes: as many blocks of [`TUPLE_BYTES`].
    #[must_use]
    pub fn tuples(self) -> Self {
        Self {
            block_size_bytes: TUPLE_BYTES,
            ..self
        }
    }

    /// The size of all blocks, in bytes.
    #[must_use]
    pub fn size_bytes(self) -> u64 {
        self.capacity_blocks
            .saturating_mul(u64::from(self.block_size_bytes))
    }

    /// The address of the last block.
    #[must_use]
    pub fn last_lba(self) -> Lba {
        Lba(self.capacity_blocks.saturating_sub(1))
    }

    /// Whether the blocks `[lba, lba + blocks)` all exist. A range of no blocks may start just behind the last one.
    #[must_use]
    pub fn contains(self, lba: Lba, blocks: BlockCount) -> bool {
        matches!(lba.checked_add(blocks), Some(end) if end.0 <= self.capacity_blocks)
    }

    /// The place of the blocks `[lba, lba + blocks)` as (offset, length) in bytes, or `None` when not all of them exist.
    #[must_use]
    pub fn byte_range(self, lba: Lba, blocks: BlockCount) -> Option<(u64, u64)> {
        if !self.contains(lba, blocks) {
            return None;
        }
        let size = u64::from(self.block_size_bytes);
        Some((lba.0.checked_mul(size)?, blocks.0.checked_mul(size)?))
    }
}

/// Why a geometry was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeometryError {
    /// Not one of [`SUPPORTED_BLOCK_SIZES_BYTES`].
    BlockSize(u32),
    /// Not even one block.
    Empty,
    /// More blocks than 2^63 - 1 bytes hold.
    TooLarge(u64),
}

impl fmt::Display for GeometryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BlockSize(bytes) => {
                write!(f, "block size is neither 512 nor 4096 bytes: {bytes}")
            }
            Self::Empty => f.write_str("size is below one block"),
            Self::TooLarge(blocks) => write!(f, "size is beyond 2^63 bytes: {blocks} blocks"),
        }
    }
}

impl std::error::Error for GeometryError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_range_inside_is_offset_and_length() {
        let geometry = Geometry::new(512, 100).unwrap();
        assert_eq!(
            geometry.byte_range(Lba(3), BlockCount(2)),
            Some((1536, 1024))
        );
        assert_eq!(
            geometry.byte_range(Lba(0), BlockCount(100)),
            Some((0, 51_200))
        );
        assert_eq!(
            geometry.byte_range(Lba(100), BlockCount::ZERO),
            Some((51_200, 0))
        );
    }

    #[test]
    fn byte_range_beyond_or_overflowing_is_none() {
        let geometry = Geometry::new(4096, 100).unwrap();
        assert_eq!(geometry.byte_range(Lba(99), BlockCount(2)), None);
        assert_eq!(geometry.byte_range(Lba(101), BlockCount::ZERO), None);
        assert_eq!(geometry.byte_range(Lba(u64::MAX), BlockCount(1)), None);
        assert_eq!(geometry.byte_range(Lba(1), BlockCount(u64::MAX)), None);
    }

    #[test]
    fn geometry_of_odd_block_size_or_capacity_is_refused() {
        assert_eq!(Geometry::new(520, 1), Err(GeometryError::BlockSize(520)));
        assert_eq!(Geometry::new(0, 1), Err(GeometryError::BlockSize(0)));
        assert_eq!(Geometry::of_size(0, 512), Err(GeometryError::BlockSize(0)));
        assert_eq!(Geometry::new(512, 0), Err(GeometryError::Empty));
        let most = i64::MAX.unsigned_abs() / 512;
        assert_eq!(Geometry::new(512, most).unwrap().size_bytes(), most * 512);
        assert_eq!(
            Geometry::new(512, most + 1),
            Err(GeometryError::TooLarge(most + 1))
        );
        assert_eq!(
            Geometry::new(4096, u64::MAX),
            Err(GeometryError::TooLarge(u64::MAX))
        );
    }

    #[test]
    fn geometry_resized_keeps_its_block_size() {
        let geometry = Geometry::new(512, 100).unwrap();
        let tuples = geometry.tuples();
        assert_eq!(tuples.size_bytes(), 800);
        assert_eq!(tuples.resized(1607).unwrap().capacity_blocks, 200);
        assert_eq!(geometry.resized(511), Err(GeometryError::Empty));
        let beyond = geometry.resized(1 << 63);
        assert_eq!(beyond, Err(GeometryError::TooLarge(1 << 54)));
    }

    #[test]
    fn geometry_of_size_leaves_the_odd_tail_unused() {
        let geometry = Geometry::of_size(4096, 3 * 4096 + 4095).unwrap();
        assert_eq!(geometry.capacity_blocks, 3);
        assert_eq!(geometry.last_lba(), Lba(2));
        assert_eq!(Geometry::of_size(4096, 4095), Err(GeometryError::Empty));
    }
}
