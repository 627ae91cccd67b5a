//! What a store remembers of each request in flight.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use reactor::Token;

/// A map by token. Tokens are chosen by this process, never by a peer, so a cheap hash does.
pub(super) type TokenMap<T> = HashMap<Token, T, BuildHasherDefault<TokenHasher>>;

#[derive(Default)]
pub(super) struct TokenHasher(u64);

/// 2^64 divided by the golden ratio: spreads numbers that count up over the upper bits.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for TokenHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(SPREAD);
    }

    fn finish(&self) -> u64 {
        // The map takes its place from the low bits and its tag from the high ones.
        self.0 ^ (self.0 >> 32)
    }
}
