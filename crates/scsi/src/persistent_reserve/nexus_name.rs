//! The name of an I_T nexus that outlasts its sessions.
//!
//! SPC-5 r22 "TransportID identifiers", "TransportID for initiator ports using SCSI over iSCSI". Only the initiator port
//! format (01b) is taken: a format that names a device, and with it ports that nobody has seen, may be rejected.

use std::fmt;
use std::sync::Arc;

use crate::sense::Sense;

/// PROTOCOL IDENTIFIER: Internet SCSI.
const ISCSI: u8 = 0x05;
/// FORMAT CODE 01b: an initiator port.
const INITIATOR_PORT: u8 = 0x40;
/// FORMAT CODE, PROTOCOL IDENTIFIER and ADDITIONAL LENGTH.
const HEADER_BYTES: usize = 4;
/// ADDITIONAL LENGTH is at least this.
const LEAST_ADDITIONAL_BYTES: usize = 20;
const SEPARATOR: &[u8] = b",i,0x";
const ISID_BYTES: usize = 6;
/// RFC 7143 §4.2.7.1: the longest iSCSI name, in bytes.
const MAX_NAME_BYTES: usize = 223;

/// An initiator port: its TransportID, in the one spelling that stands for it here.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransportId(Arc<[u8]>);

/// An I_T nexus by the names of its ports: the same whenever the initiator port logs in to the target port again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NexusName {
    /// The initiator port.
    pub initiator: TransportId,
    /// Relative target port identifier.
    pub target_port: u16,
}

impl TransportId {
    /// The port of an iSCSI initiator: its node name and the ISID of its session.
    #[must_use]
    pub fn iscsi(name: &str, isid: [u8; ISID_BYTES]) -> Self {
        let mut bytes = vec![INITIATOR_PORT | ISCSI, 0, 0, 0];
        bytes.extend(name.bytes().map(|byte| byte.to_ascii_lowercase()));
        bytes.extend_from_slice(SEPARATOR);
        for byte in isid {
            bytes.extend_from_slice(format!("{byte:02x}").as_bytes());
        }
        // Null-terminated, then padded.
        let least = (bytes.len() + 1).max(HEADER_BYTES + LEAST_ADDITIONAL_BYTES);
        bytes.resize(least.next_multiple_of(4), 0);
        let additional = u16::try_from(bytes.len() - HEADER_BYTES).unwrap_or(u16::MAX);
        bytes[2..4].copy_from_slice(&additional.to_be_bytes());
        Self(bytes.into())
    }

    /// The TransportID as SPC-5 lays it out.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Takes the TransportID at the start of `bytes`, which stand at `at` of the parameter list. Also returns how many bytes it
    /// has there, in its own spelling.
    ///
    /// # Errors
    /// INVALID FIELD IN PARAMETER LIST for another transport protocol or format, for one that is cut off, and for what is no
    /// name of an initiator port.
    pub(crate) fn parse(bytes: &[u8], at: usize) -> Result<(Self, usize), Sense> {
        let at = u16::try_from(at).unwrap_or(u16::MAX);
        let after = |bytes: u16| at.saturating_add(bytes);
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Err(Sense::parameter_byte(at));
        };
        if header[0] & 0x0f != ISCSI {
            return Err(Sense::parameter_bit(at, 3));
        }
        if header[0] & 0xc0 != INITIATOR_PORT {
            return Err(Sense::parameter_bit(at, 7));
        }
        if header[0] & 0x30 != 0 {
            return Err(Sense::parameter_bit(at, 5));
        }
        if header[1] != 0 {
            return Err(Sense::parameter_byte(after(1)));
        }
        let additional = usize::from(u16::from_be_bytes([header[2], header[3]]));
        // SPC-5 "TransportID for initiator ports using SCSI over iSCSI": at least 20, and a multiple of four.
        let whole = additional >= LEAST_ADDITIONAL_BYTES && additional.is_multiple_of(4);
        let Some(text) = rest.get(..additional).filter(|_| whole) else {
            return Err(Sense::parameter_byte(after(2)));
        };
        let port = Self::of_text(text).ok_or_else(|| Sense::parameter_byte(after(4)))?;
        Ok((port, HEADER_BYTES + additional))
    }

    /// The port of `name,i,0xISID`, null-terminated.
    fn of_text(text: &[u8]) -> Option<Self> {
        let end = text.iter().position(|byte| *byte == 0)?;
        let text = std::str::from_utf8(&text[..end]).ok()?;
        let (name, digits) = text.rsplit_once(",i,0x")?;
        let is_name = (1..=MAX_NAME_BYTES).contains(&name.len())
            && !name.contains(|c: char| c.is_control() || c.is_whitespace());
        let is_isid = (1..=2 * ISID_BYTES).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_name || !is_isid {
            return None;
        }
        let number = u64::from_str_radix(digits, 16).ok()?;
        let [_, _, isid @ ..] = number.to_be_bytes();
        Some(Self::iscsi(name, isid))
    }
}

impl fmt::Debug for TransportId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.get(HEADER_BYTES..).unwrap_or_default();
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        f.write_str(&String::from_utf8_lossy(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISID: [u8; 6] = [0x00, 0x02, 0x3d, 0x00, 0x00, 0x1f];

    fn raw(first: u8, text: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first, 0, 0, u8::try_from(text.len()).unwrap()];
        bytes.extend_from_slice(text);
        bytes
    }

    #[test]
    fn iscsi_port_has_the_bytes_of_the_standard() {
        let port = TransportId::iscsi("iqn.2026-11.org.example:a", ISID);
        let mut expected = vec![0x45, 0, 0, 44];
        expected.extend_from_slice(b"iqn.2026-11.org.example:a,i,0x00023d00001f\0\0");
        assert_eq!(port.as_bytes(), expected);
        assert_eq!(
            format!("{port:?}"),
            "iqn.2026-11.org.example:a,i,0x00023d00001f"
        );
        // At least 20 bytes follow.
        assert_eq!(TransportId::iscsi("a", [0; 6]).as_bytes().len(), 24);
    }

    #[test]
    fn parse_of_what_was_emitted_is_the_same_port() {
        for name in [
            "iqn.2026-11.org.example:a",
            "eui.02004567a425678d",
            &"x".repeat(223),
        ] {
            let port = TransportId::iscsi(name, ISID);
            let mut bytes = port.as_bytes().to_vec();
            let length = bytes.len();
            bytes.extend_from_slice(b"more");
            assert_eq!(TransportId::parse(&bytes, 24), Ok((port, length)));
        }
    }

    #[test]
    fn parse_takes_other_spellings_of_the_same_port() {
        let port = TransportId::iscsi("iqn.2026-11.org.example:a", ISID);
        for text in [
            &b"IQN.2026-11.org.Example:A,i,0x00023D00001F\0\0"[..],
            b"iqn.2026-11.org.example:a,i,0x23d00001f\0\0\0\0\0",
            b"iqn.2026-11.org.example:a,i,0x00023d00001f\0\0\0\0\0\0",
        ] {
            let (parsed, bytes) = TransportId::parse(&raw(0x45, text), 24).unwrap();
            assert_eq!((parsed, bytes), (port.clone(), 4 + text.len()));
        }
    }

    #[test]
    fn parse_of_anything_else_points_at_what_is_wrong() {
        let good = b"iqn.2026-11.org.example:a,i,0x00023d00001f\0\0";
        let cases: Vec<(Vec<u8>, Sense)> = vec![
            (vec![0x45, 0, 0], Sense::parameter_byte(24)),
            (raw(0x46, good), Sense::parameter_bit(24, 3)),
            (raw(0x05, good), Sense::parameter_bit(24, 7)),
            (raw(0x55, good), Sense::parameter_bit(24, 5)),
            (raw(0x45, &good[..16]), Sense::parameter_byte(26)),
            (raw(0x45, &good[..42]), Sense::parameter_byte(26)),
            (raw(0x45, good)[..40].to_vec(), Sense::parameter_byte(26)),
            // No terminator, no separator, no digits, too many digits, no name.
            (raw(0x45, &good[..40]), Sense::parameter_byte(28)),
            (
                raw(0x45, b"iqn.2026-11.org.example\0"),
                Sense::parameter_byte(28),
            ),
            (
                raw(0x45, b"iqn.2026-11.org.x,i,0x\0\0"),
                Sense::parameter_byte(28),
            ),
            (
                raw(0x45, b"iqn.2026-1,i,0x0123456789abc\0\0\0\0"),
                Sense::parameter_byte(28),
            ),
            (
                raw(0x45, b",i,0x0123456789ab\0\0\0"),
                Sense::parameter_byte(28),
            ),
            (
                raw(0x45, b"iqn.2026 11,i,0x0123456\0"),
                Sense::parameter_byte(28),
            ),
        ];
        for (bytes, sense) in cases {
            assert_eq!(TransportId::parse(&bytes, 24), Err(sense), "{bytes:?}");
        }
        let mut reserved = raw(0x45, good);
        reserved[1] = 1;
        assert_eq!(
            TransportId::parse(&reserved, 24),
            Err(Sense::parameter_byte(25))
        );
    }
}
