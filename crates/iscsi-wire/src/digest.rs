//! The CRC32C digest and the padding it covers (RFC 7143 §11.2.3, §11.1).

use crc_fast::{CrcAlgorithm, Digest};

/// Bytes of a header or data digest on the wire.
pub const DIGEST_BYTES: usize = 4;

/// Bytes of padding that follow a data segment of `len` bytes: 0 to 3, up to the next word (RFC 7143 §11.1).
#[must_use]
pub const fn pad(len: usize) -> usize {
    len.wrapping_neg() % 4
}

/// The CRC32C of `bytes`. See [`Crc32c::finish`] for its order on the wire.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// A CRC32C over bytes that come in pieces. Its whole state is one number, so that a receiver can keep it, compare it
/// and save it like any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Crc32c(u32);

impl Crc32c {
    /// The digest of no bytes yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(INITIAL)
    }

    /// Goes on from what [`Self::state`] gave.
    #[must_use]
    pub const fn from_state(state: u32) -> Self {
        Self(state)
    }

    /// The register, for [`Self::from_state`]. Not the digest.
    #[must_use]
    pub const fn state(self) -> u32 {
        self.0
    }

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        // The one-shot form sets up less, and most updates are the only one of their digest.
        self.0 = if self.0 == INITIAL {
            !crc32c(bytes)
        } else {
            let mut digest =
                Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, u64::from(self.0));
            digest.update(bytes);
            #[expect(clippy::cast_possible_truncation, reason = "a 32-bit CRC in a u64")]
            let crc = digest.finalize() as u32;
            !crc
        };
    }

    /// The CRC of all bytes so far.
    ///
    /// On the wire it stands least significant byte first, `crc.to_le_bytes()`: RFC 7143 §13.1 maps the remainder's
    /// bits to the digest as it maps a message's bytes, bit 0 of each byte being the highest power.
    #[must_use]
    pub const fn finish(self) -> u32 {
        !self.0
    }

    /// The four bytes of the digest as they are sent.
    #[must_use]
    pub const fn wire_bytes(self) -> [u8; DIGEST_BYTES] {
        self.finish().to_le_bytes()
    }
}

impl Default for Crc32c {
    fn default() -> Self {
        Self::new()
    }
}

const INITIAL: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The RFC's definition bit by bit: polynomial 0x11edc6f41 reflected, all ones first, inverted last.
    fn bitwise(bytes: &[u8]) -> u32 {
        let mut crc = u32::MAX;
        for byte in bytes {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
            }
        }
        !crc
    }

    fn ascending() -> Vec<u8> {
        (0..32).collect()
    }

    // RFC 7143 appendix A.4.
    #[test]
    fn crc32c_published_vectors_match_in_wire_order() {
        let read10 = [
            0x01, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 0, 0, 0x04, 0, 0,
            0, 0, 0x14, 0, 0, 0, 0x18, 0x28, 0, 0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0, 0, 0, 0, 0,
        ];
        let descending: Vec<u8> = (0..32).rev().collect();
        let table: [(&[u8], [u8; 4]); 5] = [
            (&[0; 32], [0xaa, 0x36, 0x91, 0x8a]),
            (&[0xff; 32], [0x43, 0xab, 0xa8, 0x62]),
            (&ascending(), [0x4e, 0x79, 0xdd, 0x46]),
            (&descending, [0x5c, 0xdb, 0x3f, 0x11]),
            (&read10, [0x56, 0x3a, 0x96, 0xd9]),
        ];
        for (bytes, wire) in table {
            assert_eq!(crc32c(bytes).to_le_bytes(), wire);
            let mut crc = Crc32c::new();
            crc.update(bytes);
            assert_eq!(crc.wire_bytes(), wire);
        }
    }

    #[test]
    fn crc32c_of_nothing_is_zero() {
        assert_eq!(crc32c(&[]), 0);
        assert_eq!(Crc32c::new().finish(), 0);
    }

    #[test]
    fn pad_every_remainder_reaches_the_next_word() {
        assert_eq!([0, 1, 2, 3, 4, 5].map(pad), [0, 3, 2, 1, 0, 3]);
        assert_eq!(pad(usize::MAX), 1);
    }

    proptest! {
        #[test]
        fn crc32c_in_any_pieces_equals_the_bitwise_definition(
            bytes in prop::collection::vec(any::<u8>(), 0..2048), cut: prop::sample::Index,
        ) {
            let expected = bitwise(&bytes);
            prop_assert_eq!(crc32c(&bytes), expected);
            let (head, tail) = bytes.split_at(cut.index(bytes.len() + 1));
            let mut crc = Crc32c::new();
            crc.update(head);
            let mut crc = Crc32c::from_state(crc.state());
            crc.update(tail);
            prop_assert_eq!(crc.finish(), expected);
        }
    }
}
