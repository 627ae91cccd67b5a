//! Additional Header Segments (RFC 7143 §11.2.2): the rest of a long CDB, and the read length of a bidirectional
//! command.

use core::fmt;

/// One Additional Header Segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ahs<'a> {
    /// The CDB's bytes after the sixteen in the header (RFC 7143 §11.2.2.3).
    ExtendedCdb(&'a [u8]),
    /// Bytes a bidirectional command is expected to read (RFC 7143 §11.2.2.4).
    BidirectionalReadLength(u32),
    /// A type the RFC reserves or leaves to vendors.
    Other {
        /// AHSType.
        kind: u8,
        /// The AHS-specific byte and what follows it, AHSLength bytes.
        bytes: &'a [u8],
    },
}

/// Why the segments cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AhsError {
    /// A segment ends after the TotalAHSLength bytes do.
    Truncated,
    /// AHSLength does not fit the type: zero, or not 5 for a bidirectional read length.
    IllegalLength,
}

impl fmt::Display for AhsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "additional header segment is cut short",
            Self::IllegalLength => "additional header segment has an illegal length",
        })
    }
}

impl core::error::Error for AhsError {}

/// Walks the segments in the TotalAHSLength bytes after a header. Each step takes at least four bytes, and the first
/// error ends the walk.
#[derive(Clone, Debug)]
pub struct AhsSegments<'a> {
    rest: &'a [u8],
}

impl<'a> AhsSegments<'a> {
    /// The segments in `bytes`, which are [`crate::Bhs::total_ahs_bytes`] long.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn step(&mut self) -> Result<Ahs<'a>, AhsError> {
        let rest = core::mem::take(&mut self.rest);
        let (&[high, low, kind], body) = rest.split_first_chunk().ok_or(AhsError::Truncated)?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let bytes = body.get(..length).ok_or(AhsError::Truncated)?;
        // RFC 7143 §11.2.2.2: AHSLength counts from the AHS-specific byte and leaves out the padding to a word.
        let padded = length + crate::pad(HEAD_BYTES + length);
        self.rest = body.get(padded..).ok_or(AhsError::Truncated)?;
        let (_, specific) = bytes.split_first().ok_or(AhsError::IllegalLength)?;
        Ok(match kind {
            TYPE_EXTENDED_CDB => Ahs::ExtendedCdb(specific),
            TYPE_BIDIRECTIONAL_READ => {
                let length = specific.try_into().map_err(|_| AhsError::IllegalLength)?;
                Ahs::BidirectionalReadLength(u32::from_be_bytes(length))
            }
            kind => Ahs::Other { kind, bytes },
        })
    }
}

impl<'a> Iterator for AhsSegments<'a> {
    type Item = Result<Ahs<'a>, AhsError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let step = self.step();
        if step.is_err() {
            self.rest = &[];
        }
        Some(step)
    }
}

/// Appends an Extended CDB segment for the CDB's bytes after the first sixteen. Longer than a CDB can be (244 bytes,
/// SPC-5 "Variable length CDB formats") is cut.
pub fn push_extended_cdb(out: &mut Vec<u8>, after_the_first_16: &[u8]) {
    let bytes = &after_the_first_16[..after_the_first_16.len().min(MAX_EXTENDED_CDB_BYTES)];
    push_segment(out, TYPE_EXTENDED_CDB, bytes);
}

/// Appends a Bidirectional Read Expected Data Transfer Length segment, in bytes.
pub fn push_bidirectional_read_length(out: &mut Vec<u8>, bytes: u32) {
    push_segment(out, TYPE_BIDIRECTIONAL_READ, &bytes.to_be_bytes());
}

fn push_segment(out: &mut Vec<u8>, kind: u8, specific: &[u8]) {
    // Both callers bound their bytes far below 65,535.
    let length = u16::try_from(specific.len() + 1).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&[kind, 0]);
    out.extend_from_slice(specific);
    out.resize(out.len() + crate::pad(HEAD_BYTES + 1 + specific.len()), 0);
}

const HEAD_BYTES: usize = 3;
const TYPE_EXTENDED_CDB: u8 = 1;
const TYPE_BIDIRECTIONAL_READ: u8 = 2;
const MAX_EXTENDED_CDB_BYTES: usize = 260 - 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn segments_golden_bytes_read_and_write() {
        let mut out = Vec::new();
        push_extended_cdb(&mut out, &[0xaa; 16]);
        push_bidirectional_read_length(&mut out, 0x0102_0304);
        let mut golden = vec![0x00, 0x11, 0x01, 0x00];
        golden.extend([0xaa; 16]);
        golden.extend([0x00, 0x05, 0x02, 0x00, 0x01, 0x02, 0x03, 0x04]);
        assert_eq!(out, golden);
        let read: Result<Vec<_>, _> = AhsSegments::new(&out).collect();
        let expected = vec![
            Ahs::ExtendedCdb(&[0xaa; 16]),
            Ahs::BidirectionalReadLength(0x0102_0304),
        ];
        assert_eq!(read, Ok(expected));
    }

    #[test]
    fn extended_cdb_of_odd_length_is_padded_and_read_without_the_padding() {
        let mut out = Vec::new();
        push_extended_cdb(&mut out, &[7, 8, 9]);
        assert_eq!(out, [0, 4, 1, 0, 7, 8, 9, 0]);
        let read: Vec<_> = AhsSegments::new(&out).collect();
        assert_eq!(read, [Ok(Ahs::ExtendedCdb(&[7, 8, 9]))]);
    }

    #[test]
    fn segments_malformed_end_with_one_error() {
        let table: [(&[u8], AhsError); 6] = [
            (&[0], AhsError::Truncated),
            (&[0, 0, 1, 0], AhsError::IllegalLength),
            (&[0, 17, 1, 0], AhsError::Truncated),
            (&[0, 4, 2, 0, 1, 2, 3, 0], AhsError::IllegalLength),
            (&[0, 2, 9, 0, 1], AhsError::Truncated),
            (&[0xff, 0xff, 1, 0], AhsError::Truncated),
        ];
        for (bytes, error) in table {
            let read: Vec<_> = AhsSegments::new(bytes).collect();
            assert_eq!(read, [Err(error)], "{bytes:?}");
        }
    }

    #[test]
    fn segment_of_unknown_type_is_handed_on() {
        let read: Vec<_> = AhsSegments::new(&[0, 1, 0x3f, 5]).collect();
        assert_eq!(
            read,
            [Ok(Ahs::Other {
                kind: 0x3f,
                bytes: &[5]
            })]
        );
    }

    proptest! {
        #[test]
        fn segments_any_bytes_end_within_a_step_per_word(
            bytes in prop::collection::vec(any::<u8>(), 0..1021),
        ) {
            let steps = AhsSegments::new(&bytes).count();
            prop_assert!(steps <= bytes.len() / 4 + 1);
        }
    }
}
