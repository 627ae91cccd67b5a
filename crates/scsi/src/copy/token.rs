//! ROD tokens: blocks of a logical unit, as something that one initiator can hand to another.
//!
//! SPC-5 r22 "ROD tokens", SBC-4 r22 "POPULATE TOKEN command": a token stands for the data that the blocks hold at the time it is
//! used (ROD type *access upon reference*), for as long as it was asked to, from when it was made.
//!
//! The device server remembers no token. A token says itself which unit and blocks it is of and until when, and a keyed
//! digest over all of it says that it was made here: nobody can make one up or change one without the key, which is
//! drawn at random by the caller and never leaves the process. So tokens cost no memory, and a token of before a restart is
//! unknown after it. What a token stands for is read with the rights of the nexus that uses it: a token is no right by itself.

use std::time::Duration;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::sense::{Refusal, Sense};
use crate::snapshot::LuSnapshot;

/// SPC-5 "ROD token": bytes of a token, all of them.
pub(crate) const TOKEN_BYTES: usize = 512;

/// The most ranges of blocks a token is of: as many as fit.
pub(crate) const MAX_TOKEN_RANGES: u16 = 24;

/// MAXIMUM INACTIVITY TIMEOUT, in seconds.
pub(crate) const MAX_TOKEN_SECONDS: u32 = 3600;

/// DEFAULT INACTIVITY TIMEOUT, in seconds.
pub(crate) const DEFAULT_TOKEN_SECONDS: u32 = 60;

/// SPC-5 "ROD types": access upon reference.
pub(crate) const ACCESS_UPON_REFERENCE: u32 = 0x0001_0000;

/// SBC-4 "Block device zero ROD token".
pub(crate) const BLOCK_DEVICE_ZERO: u32 = 0xffff_0001;

/// ROD TOKEN LENGTH: what stands behind that field.
const LENGTH: u16 = 0x01f8;

/// Where what this device server keeps in a token begins: behind all fields that the standards name.
const OWN_AT: usize = 160;
const DIGEST_AT: usize = TOKEN_BYTES - 32;

/// What tokens are sealed with.
#[derive(Clone)]
pub struct TokenKey([u8; 32]);

impl TokenKey {
    /// A key of random bytes.
    #[must_use]
    pub fn new(random: [u8; 32]) -> Self {
        Self(random)
    }

    /// HMAC (RFC 2104) with SHA-256.
    fn digest(&self, content: &[u8]) -> [u8; 32] {
        let pad = |value: u8| {
            let mut block = [value; 64];
            for (byte, key) in block.iter_mut().zip(&self.0) {
                *byte ^= key;
            }
            block
        };
        let inner = Sha256::new().chain_update(pad(0x36)).chain_update(content);
        let outer = Sha256::new()
            .chain_update(pad(0x5c))
            .chain_update(inner.finalize());
        outer.finalize().into()
    }
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey")
    }
}

/// A range of blocks: the first, and how many.
pub(crate) type BlockRange = (u64, u32);

/// What a token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// Zeros without end.
    Zeroes,
    /// Blocks of a logical unit.
    Blocks(TokenBlocks),
}

/// Blocks of a logical unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenBlocks {
    naa: Vec<u8>,
    pub(crate) block_size_bytes: u32,
    pub(crate) ranges: Vec<BlockRange>,
}

impl TokenBlocks {
    /// Blocks of this unit. At most [`MAX_TOKEN_RANGES`] ranges.
    pub(crate) fn new(lu: &LuSnapshot, ranges: Vec<BlockRange>) -> Self {
        Self {
            naa: lu.identity.naa_designator().to_vec(),
            block_size_bytes: lu.geometry().block_size_bytes,
            ranges,
        }
    }

    /// The NAA designator of the unit.
    pub(crate) fn naa(&self) -> &[u8] {
        &self.naa
    }

    /// How many blocks.
    pub(crate) fn blocks(&self) -> u64 {
        self.ranges
            .iter()
            .map(|(_, blocks)| u64::from(*blocks))
            .sum()
    }

    /// The token, good until `until`. `number` tells it from others.
    pub(crate) fn seal(
        &self,
        number: u64,
        until: Duration,
        key: &TokenKey,
    ) -> Box<[u8; TOKEN_BYTES]> {
        let mut token = Box::new([0; TOKEN_BYTES]);
        let mut at = |place: usize, bytes: &[u8]| {
            token[place..place + bytes.len()].copy_from_slice(bytes);
        };
        // ROD TOKEN TYPE, ROD TOKEN LENGTH, COPY MANAGER ROD TOKEN IDENTIFIER.
        at(0, &ACCESS_UPON_REFERENCE.to_be_bytes());
        at(6, &LENGTH.to_be_bytes());
        at(8, &number.to_be_bytes());
        // CREATOR LOGICAL UNIT DESCRIPTOR: an identification descriptor.
        let length = u8::try_from(self.naa.len()).unwrap_or(u8::MAX);
        at(
            16,
            &[super::list::IDENTIFICATION, 0, 0, 0, 0x01, 0x03, 0, length],
        );
        at(24, &self.naa);
        at(44, &self.block_size_bytes.to_be_bytes());
        // NUMBER OF BYTES REPRESENTED: 128 bits.
        let bytes = u128::from(self.blocks()) * u128::from(self.block_size_bytes);
        at(48, &bytes.to_be_bytes());
        // SBC-4 "ROD token device type specific data": as READ CAPACITY(16) tells it.
        at(96, &self.block_size_bytes.to_be_bytes());
        let until_ms = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
        at(OWN_AT, &until_ms.to_be_bytes());
        let count = u16::try_from(self.ranges.len()).unwrap_or(u16::MAX);
        at(OWN_AT + 8, &count.to_be_bytes());
        for (index, (lba, blocks)) in self.ranges.iter().enumerate() {
            at(OWN_AT + 10 + index * 12, &lba.to_be_bytes());
            at(OWN_AT + 18 + index * 12, &blocks.to_be_bytes());
        }
        let digest = key.digest(&token[..DIGEST_AT]);
        token[DIGEST_AT..].copy_from_slice(&digest);
        token
    }
}

impl Token {
    /// What a token stands for, `now`. Without a key nobody has made one here.
    pub(crate) fn open(
        token: &[u8; TOKEN_BYTES],
        key: Option<&TokenKey>,
        now: Duration,
    ) -> Result<Self, Refusal> {
        let be32 = |at: usize| u32::from_be_bytes(field(token, at));
        // SPC-5 "INVALID TOKEN LENGTH", "UNSUPPORTED TOKEN TYPE".
        if u16::from_be_bytes(field(token, 6)) != LENGTH {
            return Err(Sense::INVALID_TOKEN_LENGTH.into());
        }
        match be32(0) {
            BLOCK_DEVICE_ZERO => return Ok(Self::Zeroes),
            ACCESS_UPON_REFERENCE => {}
            _ => return Err(Sense::UNSUPPORTED_TOKEN_TYPE.into()),
        }
        let unknown = || Refusal::from(Sense::TOKEN_UNKNOWN);
        let digest = key.ok_or_else(unknown)?.digest(&token[..DIGEST_AT]);
        if !bool::from(digest.ct_eq(&token[DIGEST_AT..])) {
            return Err(unknown());
        }
        let until = Duration::from_millis(u64::from_be_bytes(field(token, OWN_AT)));
        if now >= until {
            return Err(Sense::TOKEN_EXPIRED.into());
        }
        // What follows was written here.
        let naa = token
            .get(24..24 + usize::from(token[23]))
            .unwrap_or_default();
        let count = u16::from_be_bytes(field(token, OWN_AT + 8)).min(MAX_TOKEN_RANGES);
        let range = |index: u16| {
            let at = OWN_AT + 10 + usize::from(index) * 12;
            (u64::from_be_bytes(field(token, at)), be32(at + 8))
        };
        Ok(Self::Blocks(TokenBlocks {
            naa: naa.to_vec(),
            block_size_bytes: be32(44),
            ranges: (0..count).map(range).collect(),
        }))
    }
}

fn field<const N: usize>(token: &[u8], at: usize) -> [u8; N] {
    let field = token.get(at..).and_then(<[u8]>::first_chunk);
    field.copied().unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);
    const UNTIL: Duration = Duration::from_secs(160);

    fn blocks() -> TokenBlocks {
        TokenBlocks {
            naa: vec![0x61; 16],
            block_size_bytes: 512,
            ranges: (0..u64::from(MAX_TOKEN_RANGES))
                .map(|n| (n << 40, 7))
                .collect(),
        }
    }

    #[test]
    fn token_of_the_most_ranges_opens_to_what_it_was_made_of_until_it_expires() {
        let key = TokenKey::new([7; 32]);
        let token = blocks().seal(1, UNTIL, &key);
        let opened = Token::open(&token, Some(&key), NOW);
        assert_eq!(opened, Ok(Token::Blocks(blocks())));
        let expired = Token::open(&token, Some(&key), UNTIL);
        assert_eq!(expired, Err(Sense::TOKEN_EXPIRED.into()));
    }

    #[test]
    fn token_with_any_bit_changed_or_of_another_key_is_unknown() {
        let key = TokenKey::new([7; 32]);
        let token = blocks().seal(1, UNTIL, &key);
        for bit in 64..TOKEN_BYTES * 8 {
            let mut other = token.clone();
            other[bit / 8] ^= 0x80 >> (bit % 8);
            let opened = Token::open(&other, Some(&key), NOW);
            assert_eq!(opened, Err(Sense::TOKEN_UNKNOWN.into()), "bit {bit}");
        }
        for key in [None, Some(&TokenKey::new([8; 32]))] {
            let opened = Token::open(&token, key, NOW);
            assert_eq!(opened, Err(Sense::TOKEN_UNKNOWN.into()));
        }
    }

    #[test]
    fn token_of_another_type_or_length_says_so() {
        let mut token = [0; TOKEN_BYTES];
        assert_eq!(
            Token::open(&token, None, NOW),
            Err(Sense::INVALID_TOKEN_LENGTH.into())
        );
        token[6..8].copy_from_slice(&LENGTH.to_be_bytes());
        assert_eq!(
            Token::open(&token, None, NOW),
            Err(Sense::UNSUPPORTED_TOKEN_TYPE.into())
        );
        token[..4].copy_from_slice(&BLOCK_DEVICE_ZERO.to_be_bytes());
        assert_eq!(Token::open(&token, None, NOW), Ok(Token::Zeroes));
    }

    /// RFC 4231 §4.3, test case 2, whose key is shorter than the digest's block.
    #[test]
    fn digest_is_hmac_with_sha_256() {
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let digest = TokenKey::new(key).digest(b"what do ya want for nothing?");
        assert_eq!(digest[..4], [0x5b, 0xdc, 0xc1, 0x46]);
        assert_eq!(digest[28..], [0x64, 0xec, 0x38, 0x43]);
    }
}
