//! The Basic Header Segment: the 48 bytes every PDU starts with, and where fields stand in them (RFC 7143 §11.2.1).
//!
//! Knows places and sizes, not meanings: those are the PDU types'.

use core::fmt;

use crate::{Cid, Isid, Itt, LoginStatus, Lun64, SerialNumber, Tsih, Ttt};

/// Bytes of a Basic Header Segment (RFC 7143 §11.2.1).
pub const BHS_BYTES: usize = 48;

/// The largest DataSegmentLength 24 bits hold, in bytes (RFC 7143 §11.2.1.6).
pub const MAX_DATA_SEGMENT_BYTES: u32 = 0x00ff_ffff;

/// Opcodes (RFC 7143 §11.2.1.2).
pub mod opcode {
    /// NOP-Out.
    pub const NOP_OUT: u8 = 0x00;
    /// SCSI Command.
    pub const SCSI_COMMAND: u8 = 0x01;
    /// SCSI Task Management Function Request.
    pub const TASK_MANAGEMENT_REQUEST: u8 = 0x02;
    /// Login Request.
    pub const LOGIN_REQUEST: u8 = 0x03;
    /// Text Request.
    pub const TEXT_REQUEST: u8 = 0x04;
    /// SCSI Data-Out.
    pub const DATA_OUT: u8 = 0x05;
    /// Logout Request.
    pub const LOGOUT_REQUEST: u8 = 0x06;
    /// SNACK Request.
    pub const SNACK_REQUEST: u8 = 0x10;
    /// NOP-In.
    pub const NOP_IN: u8 = 0x20;
    /// SCSI Response.
    pub const SCSI_RESPONSE: u8 = 0x21;
    /// SCSI Task Management Function Response.
    pub const TASK_MANAGEMENT_RESPONSE: u8 = 0x22;
    /// Login Response.
    pub const LOGIN_RESPONSE: u8 = 0x23;
    /// Text Response.
    pub const TEXT_RESPONSE: u8 = 0x24;
    /// SCSI Data-In.
    pub const DATA_IN: u8 = 0x25;
    /// Logout Response.
    pub const LOGOUT_RESPONSE: u8 = 0x26;
    /// Ready To Transfer (R2T).
    pub const READY_TO_TRANSFER: u8 = 0x31;
    /// Asynchronous Message.
    pub const ASYNC_MESSAGE: u8 = 0x32;
    /// Reject.
    pub const REJECT: u8 = 0x3f;
}

/// A Basic Header Segment as it stands on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bhs(pub [u8; BHS_BYTES]);

impl Bhs {
    /// A header of zeroes, to be filled.
    #[must_use]
    pub const fn zeroed() -> Self {
        Self([0; BHS_BYTES])
    }

    /// The opcode: the low six bits of byte 0 (RFC 7143 §11.2.1.2).
    #[must_use]
    pub const fn opcode(&self) -> u8 {
        self.0[0] & OPCODE_MASK
    }

    /// The I bit: immediate delivery. Meaningful in requests only (RFC 7143 §11.2.1.1).
    #[must_use]
    pub const fn immediate(&self) -> bool {
        self.0[0] & IMMEDIATE_BIT != 0
    }

    /// Bytes of all Additional Header Segments with their padding: TotalAHSLength counts four-byte words
    /// (RFC 7143 §11.2.1.5). At most 1020.
    #[must_use]
    pub const fn total_ahs_bytes(&self) -> u16 {
        self.0[4] as u16 * 4
    }

    /// Bytes of the data segment without padding, at most [`MAX_DATA_SEGMENT_BYTES`] (RFC 7143 §11.2.1.6).
    #[must_use]
    pub const fn data_segment_length(&self) -> u32 {
        u32::from_be_bytes([0, self.0[5], self.0[6], self.0[7]])
    }

    /// The Initiator Task Tag (RFC 7143 §11.2.1.8). Every opcode has it at the same place.
    #[must_use]
    pub const fn itt(&self) -> Itt {
        Itt(u32::from_be_bytes([
            self.0[16], self.0[17], self.0[18], self.0[19],
        ]))
    }

    fn bytes_at<const N: usize>(&self, at: usize) -> [u8; N] {
        core::array::from_fn(|i| self.0[at + i])
    }

    fn put_bytes<const N: usize>(&mut self, at: usize, bytes: [u8; N]) {
        self.0[at..at + N].copy_from_slice(&bytes);
    }
}

impl fmt::Debug for Bhs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bhs(")?;
        for (at, byte) in self.0.iter().enumerate() {
            let gap = if at > 0 && at % 4 == 0 { " " } else { "" };
            write!(f, "{gap}{byte:02x}")?;
        }
        f.write_str(")")
    }
}

/// Why a header is not the PDU it claims to be (RFC 7143 §7.7, "Format Errors").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// No PDU of this direction has this opcode.
    UnknownOpcode(u8),
    /// The header was handed to the parser of another PDU.
    UnexpectedOpcode {
        /// The opcode of the parser that was asked.
        expected: u8,
        /// The opcode in the header.
        found: u8,
    },
    /// A field's content is illegal, or contradicts another field.
    InvalidField {
        /// The field, as the PDU type spells it.
        field: &'static str,
        /// The first byte of the field in the header.
        byte: u8,
    },
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownOpcode(opcode) => write!(f, "unknown opcode: {opcode:#04x}"),
            Self::UnexpectedOpcode { expected, found } => {
                write!(f, "opcode is not {expected:#04x}: {found:#04x}")
            }
            Self::InvalidField { field, byte } => {
                write!(f, "invalid content in header byte {byte}: {field}")
            }
        }
    }
}

impl core::error::Error for ParseError {}

/// A value with a fixed size and big-endian byte order in a header.
pub(crate) trait Field: Copy {
    fn read(bhs: &Bhs, at: usize) -> Self;
    fn write(self, bhs: &mut Bhs, at: usize);
}

/// A place in a header which holds a `T`. The places below say which bits it takes.
pub(crate) trait Place<T> {
    fn read(&self, bhs: &Bhs) -> T;
    fn write(&self, bhs: &mut Bhs, value: T);
}

/// Whole bytes, starting at this one.
pub(crate) struct At(pub(crate) usize);

/// One flag: byte, mask.
pub(crate) struct Bit(pub(crate) usize, pub(crate) u8);

/// A code in some bits of one byte: byte, shift, mask after the shift.
pub(crate) struct Bits(pub(crate) usize, pub(crate) u32, pub(crate) u8);

/// The I bit of byte 0.
pub(crate) const IMMEDIATE: Bit = Bit(0, IMMEDIATE_BIT);

/// The 24 bits of DataSegmentLength.
pub(crate) struct DataSegmentLength;

impl<T: Field> Place<T> for At {
    fn read(&self, bhs: &Bhs) -> T {
        T::read(bhs, self.0)
    }

    fn write(&self, bhs: &mut Bhs, value: T) {
        value.write(bhs, self.0);
    }
}

impl Place<bool> for Bit {
    fn read(&self, bhs: &Bhs) -> bool {
        bhs.0[self.0] & self.1 != 0
    }

    fn write(&self, bhs: &mut Bhs, value: bool) {
        if value {
            bhs.0[self.0] |= self.1;
        }
    }
}

impl<T: From<u8> + Into<u8>> Place<T> for Bits {
    fn read(&self, bhs: &Bhs) -> T {
        T::from((bhs.0[self.0] >> self.1) & self.2)
    }

    fn write(&self, bhs: &mut Bhs, value: T) {
        bhs.0[self.0] |= (value.into() & self.2) << self.1;
    }
}

impl Place<u32> for DataSegmentLength {
    fn read(&self, bhs: &Bhs) -> u32 {
        bhs.data_segment_length()
    }

    fn write(&self, bhs: &mut Bhs, value: u32) {
        // A segment this long cannot be sent at all; the header says the most it can rather than a small wrong number.
        let [_, high, middle, low] = value.min(MAX_DATA_SEGMENT_BYTES).to_be_bytes();
        bhs.put_bytes(5, [high, middle, low]);
    }
}

macro_rules! integer_field {
    ($($ty:ty),*) => {$(
        impl Field for $ty {
            fn read(bhs: &Bhs, at: usize) -> Self {
                Self::from_be_bytes(bhs.bytes_at(at))
            }

            fn write(self, bhs: &mut Bhs, at: usize) {
                bhs.put_bytes(at, self.to_be_bytes());
            }
        }
    )*};
}

macro_rules! wrapped_field {
    ($($ty:ident),*) => {$(
        impl Field for $ty {
            fn read(bhs: &Bhs, at: usize) -> Self {
                Self(Field::read(bhs, at))
            }

            fn write(self, bhs: &mut Bhs, at: usize) {
                self.0.write(bhs, at);
            }
        }
    )*};
}

integer_field!(u8, u16, u32, u64);
wrapped_field!(Itt, Ttt, Cid, Tsih, Isid, Lun64, SerialNumber);

impl<const N: usize> Field for [u8; N] {
    fn read(bhs: &Bhs, at: usize) -> Self {
        bhs.bytes_at(at)
    }

    fn write(self, bhs: &mut Bhs, at: usize) {
        bhs.put_bytes(at, self);
    }
}

/// Status-Class, then Status-Detail (RFC 7143 §11.13.5).
impl Field for LoginStatus {
    fn read(bhs: &Bhs, at: usize) -> Self {
        let [class, detail] = bhs.bytes_at(at);
        Self { class, detail }
    }

    fn write(self, bhs: &mut Bhs, at: usize) {
        bhs.put_bytes(at, [self.class, self.detail]);
    }
}

const OPCODE_MASK: u8 = 0x3f;
const IMMEDIATE_BIT: u8 = 0x40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accessors_golden_header_reads_each_place() {
        let mut bhs = Bhs::zeroed();
        bhs.0[0] = 0xc3;
        bhs.0[4..8].copy_from_slice(&[0xff, 0x01, 0x02, 0x03]);
        bhs.0[16..20].copy_from_slice(&[0xde, 0xad, 0xbe, 0xef]);
        assert_eq!(bhs.opcode(), opcode::LOGIN_REQUEST);
        assert!(bhs.immediate());
        assert_eq!(bhs.total_ahs_bytes(), 1020);
        assert_eq!(bhs.data_segment_length(), 0x01_0203);
        assert_eq!(bhs.itt(), Itt(0xdead_beef));
    }

    #[test]
    fn data_segment_length_above_24_bits_is_written_as_the_largest() {
        let mut bhs = Bhs::zeroed();
        DataSegmentLength.write(&mut bhs, 0x0100_0000);
        assert_eq!(bhs.data_segment_length(), MAX_DATA_SEGMENT_BYTES);
        assert_eq!(bhs.total_ahs_bytes(), 0);
    }

    #[test]
    fn debug_header_prints_words_in_hex() {
        let text = format!("{:?}", Bhs::zeroed());
        assert!(text.starts_with("Bhs(00000000 00000000"), "{text}");
    }
}
