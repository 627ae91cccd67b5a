//! Data that tells where it was written and when: each block holds its address, a generation and a pattern made from both.

/// A small generator of reproducible numbers (xorshift64*): tests name their seed, so a failure can be run again.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator; equal seeds give equal sequences.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64() % bound
    }
}

/// Fills `block` with the data of this address and generation. The length is a multiple of 8.
pub fn fill(block: &mut [u8], lba: u64, generation: u64) {
    let mut random =
        Random::new(lba.rotate_left(32) ^ generation.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    for (index, word) in block.chunks_exact_mut(8).enumerate() {
        let value = match index {
            0 => lba,
            1 => generation,
            _ => random.next_u64(),
        };
        word.copy_from_slice(&value.to_le_bytes());
    }
}

/// The generation of a block that holds what [`fill`] wrote at this address: `Some(0)` for zeroes (never written), none for
/// a block that is torn or holds another's data.
#[must_use]
pub fn generation(block: &[u8], lba: u64) -> Option<u64> {
    if block.iter().all(|byte| *byte == 0) {
        return Some(0);
    }
    let found = u64::from_le_bytes(block.get(8..16)?.try_into().ok()?);
    let mut wanted = vec![0; block.len()];
    fill(&mut wanted, lba, found);
    (wanted == block).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_of_a_filled_block_is_found() {
        let mut block = [0; 512];
        assert_eq!(generation(&block, 7), Some(0));
        fill(&mut block, 7, 42);
        assert_eq!(generation(&block, 7), Some(42));
    }

    #[test]
    fn generation_of_a_torn_or_misplaced_block_is_none() {
        let (mut old, mut new) = ([0; 512], [0; 512]);
        fill(&mut old, 7, 1);
        fill(&mut new, 7, 2);
        assert_eq!(generation(&new, 8), None);
        new[256..].copy_from_slice(&old[256..]);
        assert_eq!(generation(&new, 7), None);
    }
}
