//! The CHAP computation: a digest over identifier, secret and challenge (RFC 1994 §4.1, RFC 7143 §12.1.3).

use core::fmt;

use subtle::ConstantTimeEq;

use crate::Secret;

/// A CHAP digest algorithm, by its number in the IANA registry "PPP Authentication Algorithms" (RFC 7143 §12.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum ChapAlgorithm {
    /// MD5, the one every initiator has (RFC 7143 §12.1.3 makes it mandatory).
    Md5 = 5,
    /// SHA-1.
    Sha1 = 6,
    /// SHA-256.
    Sha256 = 7,
    /// SHA3-256.
    Sha3_256 = 8,
}

impl ChapAlgorithm {
    /// All of them, the strongest first: the order of preference where an operator gives none.
    pub const ALL: [Self; 4] = [Self::Sha3_256, Self::Sha256, Self::Sha1, Self::Md5];

    /// The number that stands in CHAP_A.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The algorithm of a number in CHAP_A, where it is one we have.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| u64::from(algorithm.number()) == number)
    }

    /// Bytes of a digest, and so of a CHAP_R.
    #[must_use]
    pub const fn digest_bytes(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 | Self::Sha3_256 => 32,
        }
    }
}

impl fmt::Display for ChapAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Md5 => "MD5",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA-256",
            Self::Sha3_256 => "SHA3-256",
        })
    }
}

/// The response to a challenge: [`ChapAlgorithm::digest_bytes`] bytes (RFC 1994 §4.1).
#[must_use]
pub fn response(
    algorithm: ChapAlgorithm,
    identifier: u8,
    secret: &Secret,
    challenge: &[u8],
) -> Vec<u8> {
    match algorithm {
        ChapAlgorithm::Md5 => digest::<md5::Md5>(identifier, secret, challenge),
        ChapAlgorithm::Sha1 => digest::<sha1::Sha1>(identifier, secret, challenge),
        ChapAlgorithm::Sha256 => digest::<sha2::Sha256>(identifier, secret, challenge),
        ChapAlgorithm::Sha3_256 => digest::<sha3::Sha3_256>(identifier, secret, challenge),
    }
}

/// Whether `given` is the response to a challenge. Takes the same time wherever two responses of the right length
/// differ; a wrong length, which the sender knows anyway, is wrong at once.
#[must_use]
pub fn verify(
    algorithm: ChapAlgorithm,
    identifier: u8,
    secret: &Secret,
    challenge: &[u8],
    given: &[u8],
) -> bool {
    response(algorithm, identifier, secret, challenge)
        .ct_eq(given)
        .into()
}

fn digest<D: md5::Digest>(identifier: u8, secret: &Secret, challenge: &[u8]) -> Vec<u8> {
    D::new()
        .chain_update([identifier])
        .chain_update(secret.bytes())
        .chain_update(challenge)
        .finalize()
        .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"abcdefghijklmnop";

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Expected values from `printf '\x01abcdefghijklmnop0123456789' | openssl dgst -<algorithm>`.
    #[test]
    fn response_each_algorithm_is_its_digest_of_identifier_secret_challenge() {
        let table = [
            (ChapAlgorithm::Md5, "6de91779341f0696aa7a5e50d1472e5d"),
            (
                ChapAlgorithm::Sha1,
                "3bb2d722dcbba8f71e5f2bb550fe424dae2efff9",
            ),
            (
                ChapAlgorithm::Sha256,
                "70a61277092660eba2b9da738f5b7ba3463fb0d4ecb5d9e82867f2d349693396",
            ),
            (
                ChapAlgorithm::Sha3_256,
                "a3e085b7036ee16ac0bc21d2a7dfde8202b306db635cef9863fdb5082631e3a9",
            ),
        ];
        let secret = Secret::new(SECRET.to_vec());
        for (algorithm, expected) in table {
            let computed = response(algorithm, 1, &secret, b"0123456789");
            assert_eq!(hex(&computed), expected, "{algorithm}");
            assert_eq!(computed.len(), algorithm.digest_bytes(), "{algorithm}");
        }
    }

    #[test]
    fn verify_any_changed_input_is_wrong() {
        let secret = Secret::new(SECRET.to_vec());
        for algorithm in ChapAlgorithm::ALL {
            let right = response(algorithm, 9, &secret, b"challenge");
            assert!(verify(algorithm, 9, &secret, b"challenge", &right));
            assert!(!verify(algorithm, 8, &secret, b"challenge", &right));
            assert!(!verify(algorithm, 9, &secret, b"challengf", &right));
            assert!(!verify(
                algorithm,
                9,
                &Secret::new(b"other".to_vec()),
                b"challenge",
                &right
            ));
            assert!(!verify(algorithm, 9, &secret, b"challenge", &right[1..]));
            assert!(!verify(algorithm, 9, &secret, b"challenge", &[]));
            for bit in 0..right.len() * 8 {
                let mut wrong = right.clone();
                wrong[bit / 8] ^= 1 << (bit % 8);
                assert!(
                    !verify(algorithm, 9, &secret, b"challenge", &wrong),
                    "bit {bit}"
                );
            }
        }
    }

    #[test]
    fn from_number_known_numbers_only() {
        for number in 0..300 {
            let found = ChapAlgorithm::from_number(number);
            assert_eq!(found.is_some(), (5..=8).contains(&number), "{number}");
            assert!(found.is_none_or(|found| u64::from(found.number()) == number));
        }
    }
}
