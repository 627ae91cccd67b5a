//! Which blocks a store keeps, as it tells: runs of blocks, one after the other.

/// Blocks that follow each other and are all kept, or all not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapRun {
    /// How many; at most [`MapRun::MAX_BLOCKS`].
    pub blocks: u64,
    /// Whether the store keeps them: SBC-4 "mapped" or unknown. Otherwise they are deallocated.
    pub mapped: bool,
}

impl MapRun {
    /// Bytes of a run as it is handed over in memory.
    pub const BYTES: usize = 8;

    /// More than a geometry can have.
    pub const MAX_BLOCKS: u64 = u64::MAX >> 1;

    /// The run as it is handed over.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        (self.blocks.min(Self::MAX_BLOCKS) << 1 | u64::from(self.mapped)).to_le_bytes()
    }

    /// The run from what was handed over.
    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let word = u64::from_le_bytes(bytes);
        Self {
            blocks: word >> 1,
            mapped: word & 1 != 0,
        }
    }

    /// The runs in memory; what is left behind the last whole one is ignored.
    pub fn all(memory: &[u8]) -> impl Iterator<Item = Self> {
        let (runs, _) = memory.as_chunks::<{ Self::BYTES }>();
        runs.iter().map(|bytes| Self::from_bytes(*bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_handed_over_are_the_runs() {
        let runs = [
            MapRun {
                blocks: 1,
                mapped: true,
            },
            MapRun {
                blocks: MapRun::MAX_BLOCKS,
                mapped: false,
            },
        ];
        let mut memory = runs.map(MapRun::to_bytes).concat();
        memory.push(0xff);
        assert_eq!(MapRun::all(&memory).collect::<Vec<_>>(), runs);
    }
}
