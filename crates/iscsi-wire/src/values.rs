//! Tags and identifiers that travel in headers, each its own type so that none can stand in for another.

use core::fmt;

/// An Initiator Task Tag (RFC 7143 §11.2.1.8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Itt(pub u32);

impl Itt {
    /// "No task": the value no task may use.
    pub const RESERVED: Self = Self(0xffff_ffff);
}

/// A Target Transfer Tag (RFC 7143 §11.7.4, §11.8.5, §11.10.4, §11.18.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ttt(pub u32);

impl Ttt {
    /// "No tag": unsolicited data, a first text request, a NOP that wants or gives no answer.
    pub const RESERVED: Self = Self(0xffff_ffff);
}

/// A connection ID, chosen by the initiator, unique within its session (RFC 7143 §11.12.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cid(pub u16);

/// A target session identifying handle (RFC 7143 §11.12.6). Zero asks for a new session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tsih(pub u16);

/// The initiator's part of a session identifier (RFC 7143 §11.12.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Isid(pub [u8; 6]);

/// A LUN: the eight bytes of SAM-5 "LUN representation format", read as one big-endian number
/// (RFC 7143 §11.2.1.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lun64(pub u64);

macro_rules! display_hex {
    ($($ty:ident $width:literal),*) => {$(
        impl fmt::Display for $ty {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!("{:#0", $width, "x}"), self.0)
            }
        }
    )*};
}

display_hex!(Itt 10, Ttt 10, Lun64 18);

impl fmt::Display for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Tsih {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Twelve hexadecimal digits after `0x`, as RFC 7143 §4.4.2 has it in a SCSI port name.
impl fmt::Display for Isid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_tags_and_isid_are_fixed_width_hex() {
        assert_eq!(Itt(0x2a).to_string(), "0x0000002a");
        assert_eq!(Ttt::RESERVED.to_string(), "0xffffffff");
        assert_eq!(Lun64(1 << 48).to_string(), "0x0001000000000000");
        assert_eq!(Isid([0x80, 0, 1, 2, 3, 0xff]).to_string(), "0x8000010203ff");
        assert_eq!(
            (Cid(7).to_string(), Tsih(9).to_string()),
            ("7".to_owned(), "9".to_owned())
        );
    }
}
