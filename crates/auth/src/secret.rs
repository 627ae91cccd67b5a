//! A CHAP secret in memory: wiped when dropped, never printed, compared in constant time.

use core::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Bits below which a CHAP secret is too weak to stand without IPsec (RFC 7143 §9.2.1).
pub const SHORT_SECRET_BITS: usize = 96;

/// A shared secret. Its bytes are zeroed when it goes, `Debug` does not show them, and equality takes the same time
/// wherever two secrets of one length differ.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes over the bytes; the caller keeps no copy.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The length in bits. What it says of strength holds for random secrets only.
    #[must_use]
    pub fn bits(&self) -> usize {
        self.0.len().saturating_mul(8)
    }

    /// Whether the secret is shorter than [`SHORT_SECRET_BITS`]: whoever reads configuration warns of it.
    // RFC 7143 §9.2.1: a CHAP secret under 96 bits may not be used without IPsec. Whether there is IPsec cannot be
    // seen from here, and many set-ups in use have short ones, so this warns and does not refuse.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.bits() < SHORT_SECRET_BITS
    }

    /// The bytes themselves, for whoever has to keep the secret across a restart: the saved state, and an export that was
    /// asked to hold secrets. Nothing else asks.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bits, not shown)", self.bits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_any_secret_shows_only_its_length() {
        let shown = format!("{:?}", Secret::new(b"hunter2hunter2".to_vec()));
        assert_eq!(shown, "Secret(112 bits, not shown)");
    }

    #[test]
    fn is_short_at_96_bits_is_false_and_below_is_true() {
        assert!(Secret::new(vec![1; 11]).is_short());
        assert!(!Secret::new(vec![1; 12]).is_short());
        assert_eq!(Secret::new(Vec::new()).bits(), 0);
    }

    #[test]
    fn eq_secrets_differing_in_one_byte_or_length_are_unequal() {
        let secret = Secret::new(b"abc".to_vec());
        assert_eq!(secret, Secret::new(b"abc".to_vec()));
        assert_ne!(secret, Secret::new(b"abd".to_vec()));
        assert_ne!(secret, Secret::new(b"ab".to_vec()));
    }
}
