//! Sense data: named constants, field pointers, and both formats on the wire.
//!
//! SPC-5 r22 "Sense data". Deferred errors are never reported: a failed write that was acknowledged already becomes the
//! error of the next flush, because the store keeps it.

use crate::step::Status;

/// No [`Sense::emit`] writes more than this.
pub const MAX_SENSE_BYTES: usize = 8 + 12 + 12 + 8;

/// The format of sense data (D_SENSE of the Control mode page, DESC of REQUEST SENSE).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SenseFormat {
    /// Response code 70h.
    #[default]
    Fixed,
    /// Response code 72h.
    Descriptor,
}

impl SenseFormat {
    /// Descriptor format when the bit is set.
    #[must_use]
    pub fn of_bit(descriptor: bool) -> Self {
        if descriptor {
            Self::Descriptor
        } else {
            Self::Fixed
        }
    }
}

/// SPC-5 "Sense key and additional sense code definitions": the keys in use here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SenseKey {
    /// Nothing to report.
    NoSense = 0x0,
    /// The LU cannot be accessed.
    NotReady = 0x2,
    /// The medium did not give or take blocks.
    MediumError = 0x3,
    /// Something else is broken.
    HardwareError = 0x4,
    /// The CDB or the parameter data are at fault.
    IllegalRequest = 0x5,
    /// Something has happened that the initiator should know.
    UnitAttention = 0x6,
    /// The medium is write protected.
    DataProtect = 0x7,
    /// A third-party copy was ended by something about a place that it copies from or to.
    CopyAborted = 0xa,
    /// The command was ended by the target.
    AbortedCommand = 0xb,
    /// What was read is not what was sent.
    Miscompare = 0xe,
}

/// Which byte, and bit, of the CDB or of the parameter data is at fault. SPC-5 "Field pointer sense key specific
/// information".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FieldPointer {
    /// In the CDB (C/D is 1); otherwise in the Data-Out parameter list.
    pub in_cdb: bool,
    /// The byte, from 0.
    pub byte: u16,
    /// The highest bit of the field, when it does not fill its byte.
    pub bit: Option<u8>,
}

/// Sense data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sense {
    /// Sense key.
    pub key: SenseKey,
    /// Additional sense code.
    pub asc: u8,
    /// Additional sense code qualifier.
    pub ascq: u8,
    /// The INFORMATION field: a block address, or a byte offset.
    pub information: Option<u64>,
    /// Where the fault stands, for ILLEGAL REQUEST.
    pub field: Option<FieldPointer>,
    /// How much of what makes the LU not ready is done, in parts of 65,536. No condition has this and a field.
    pub progress: Option<u16>,
    /// The segment descriptor of an EXTENDED COPY that was being processed, from 0: the COMMAND-SPECIFIC INFORMATION field.
    pub segment: Option<u16>,
}

/// The named conditions: constant, key, additional sense code and qualifier, as SPC-5 "ASC and ASCQ assignments" has
/// them.
macro_rules! conditions {
    ($($(#[$doc:meta])* $name:ident: $key:ident, $asc:literal, $ascq:literal;)*) => {
        impl Sense {
            $($(#[$doc])* pub const $name: Self = Self::new(SenseKey::$key, $asc, $ascq);)*
        }
        #[cfg(test)]
        const CONDITIONS: &[(&str, Sense)] = &[$((stringify!($name), Sense::$name),)*];
    };
}

conditions! {
    /// NO ADDITIONAL SENSE INFORMATION.
    NO_SENSE: NoSense, 0x00, 0x00;
    /// LOGICAL UNIT NOT READY, CAUSE NOT REPORTABLE.
    NOT_READY: NotReady, 0x04, 0x00;
    /// LOGICAL UNIT NOT ACCESSIBLE, ASYMMETRIC ACCESS STATE TRANSITION.
    TARGET_PORT_IN_TRANSITION: NotReady, 0x04, 0x0a;
    /// LOGICAL UNIT NOT ACCESSIBLE, TARGET PORT IN STANDBY STATE.
    TARGET_PORT_IN_STANDBY: NotReady, 0x04, 0x0b;
    /// LOGICAL UNIT NOT ACCESSIBLE, TARGET PORT IN UNAVAILABLE STATE.
    TARGET_PORT_UNAVAILABLE: NotReady, 0x04, 0x0c;
    /// LOGICAL UNIT NOT READY, SANITIZE IN PROGRESS.
    SANITIZE_IN_PROGRESS: NotReady, 0x04, 0x1b;
    /// LOGICAL UNIT NOT READY, OFFLINE.
    LOGICAL_UNIT_OFFLINE: NotReady, 0x04, 0x12;
    /// UNRECOVERED READ ERROR.
    UNRECOVERED_READ_ERROR: MediumError, 0x11, 0x00;
    /// WRITE ERROR.
    WRITE_ERROR: MediumError, 0x0c, 0x00;
    /// SANITIZE COMMAND FAILED.
    SANITIZE_COMMAND_FAILED: MediumError, 0x31, 0x03;
    /// INTERNAL TARGET FAILURE.
    INTERNAL_TARGET_FAILURE: HardwareError, 0x44, 0x00;
    /// PERSISTENT RESERVATION INFORMATION LOST.
    PERSISTENT_RESERVATION_INFORMATION_LOST: DataProtect, 0x44, 0x01;
    /// LOGICAL UNIT FAILED SELF-TEST.
    LOGICAL_UNIT_FAILED_SELF_TEST: HardwareError, 0x3e, 0x03;
    /// PARAMETER LIST LENGTH ERROR.
    PARAMETER_LIST_LENGTH_ERROR: IllegalRequest, 0x1a, 0x00;
    /// INVALID COMMAND OPERATION CODE.
    INVALID_COMMAND_OPERATION_CODE: IllegalRequest, 0x20, 0x00;
    /// COMMAND SEQUENCE ERROR.
    COMMAND_SEQUENCE_ERROR: IllegalRequest, 0x2c, 0x00;
    /// LOGICAL BLOCK ADDRESS OUT OF RANGE.
    LBA_OUT_OF_RANGE: IllegalRequest, 0x21, 0x00;
    /// INVALID TOKEN OPERATION, CAUSE NOT REPORTABLE.
    INVALID_TOKEN_OPERATION: IllegalRequest, 0x23, 0x00;
    /// INVALID TOKEN OPERATION, UNSUPPORTED TOKEN TYPE.
    UNSUPPORTED_TOKEN_TYPE: IllegalRequest, 0x23, 0x01;
    /// INVALID TOKEN OPERATION, TOKEN UNKNOWN.
    TOKEN_UNKNOWN: IllegalRequest, 0x23, 0x04;
    /// INVALID TOKEN OPERATION, TOKEN EXPIRED.
    TOKEN_EXPIRED: IllegalRequest, 0x23, 0x07;
    /// INVALID TOKEN OPERATION, INVALID TOKEN LENGTH.
    INVALID_TOKEN_LENGTH: IllegalRequest, 0x23, 0x0a;
    /// INVALID FIELD IN CDB.
    INVALID_FIELD_IN_CDB: IllegalRequest, 0x24, 0x00;
    /// LOGICAL UNIT NOT SUPPORTED.
    LOGICAL_UNIT_NOT_SUPPORTED: IllegalRequest, 0x25, 0x00;
    /// INVALID FIELD IN PARAMETER LIST.
    INVALID_FIELD_IN_PARAMETER_LIST: IllegalRequest, 0x26, 0x00;
    /// TOO MANY TARGET DESCRIPTORS.
    TOO_MANY_TARGET_DESCRIPTORS: IllegalRequest, 0x26, 0x06;
    /// UNSUPPORTED TARGET DESCRIPTOR TYPE CODE.
    UNSUPPORTED_TARGET_DESCRIPTOR: IllegalRequest, 0x26, 0x07;
    /// TOO MANY SEGMENT DESCRIPTORS.
    TOO_MANY_SEGMENT_DESCRIPTORS: IllegalRequest, 0x26, 0x08;
    /// UNSUPPORTED SEGMENT DESCRIPTOR TYPE CODE.
    UNSUPPORTED_SEGMENT_DESCRIPTOR: IllegalRequest, 0x26, 0x09;
    /// INLINE DATA LENGTH EXCEEDED.
    INLINE_DATA_LENGTH_EXCEEDED: IllegalRequest, 0x26, 0x0b;
    /// OPERATION IN PROGRESS.
    OPERATION_IN_PROGRESS: IllegalRequest, 0x00, 0x16;
    /// INSUFFICIENT RESOURCES.
    INSUFFICIENT_RESOURCES: IllegalRequest, 0x55, 0x03;
    /// NO ADDITIONAL SENSE INFORMATION, with COPY ABORTED: the blocks to be copied, or to be copied to, are not there.
    COPY_OUT_OF_RANGE: CopyAborted, 0x00, 0x00;
    /// UNREACHABLE COPY TARGET: a segment names no descriptor of the list.
    UNREACHABLE_COPY_TARGET: CopyAborted, 0x08, 0x04;
    /// THIRD PARTY DEVICE FAILURE.
    THIRD_PARTY_DEVICE_FAILURE: CopyAborted, 0x0d, 0x01;
    /// COPY TARGET DEVICE NOT REACHABLE.
    COPY_TARGET_NOT_REACHABLE: CopyAborted, 0x0d, 0x02;
    /// INCORRECT COPY TARGET DEVICE TYPE.
    INCORRECT_COPY_TARGET_TYPE: CopyAborted, 0x0d, 0x03;
    /// INVALID FIELD IN PARAMETER LIST, found while a segment was being processed.
    COPY_INVALID_FIELD: CopyAborted, 0x26, 0x00;
    /// UNEXPECTED INEXACT SEGMENT.
    UNEXPECTED_INEXACT_SEGMENT: CopyAborted, 0x26, 0x0a;
    /// INVALID RELEASE OF PERSISTENT RESERVATION.
    INVALID_RELEASE_OF_PERSISTENT_RESERVATION: IllegalRequest, 0x26, 0x04;
    /// SAVING PARAMETERS NOT SUPPORTED.
    SAVING_PARAMETERS_NOT_SUPPORTED: IllegalRequest, 0x39, 0x00;
    /// INSUFFICIENT REGISTRATION RESOURCES.
    INSUFFICIENT_REGISTRATION_RESOURCES: IllegalRequest, 0x55, 0x04;
    /// MEDIUM NOT PRESENT.
    MEDIUM_NOT_PRESENT: NotReady, 0x3a, 0x00;
    /// MEDIUM NOT PRESENT - TRAY CLOSED.
    MEDIUM_NOT_PRESENT_TRAY_CLOSED: NotReady, 0x3a, 0x01;
    /// MEDIUM NOT PRESENT - TRAY OPEN.
    MEDIUM_NOT_PRESENT_TRAY_OPEN: NotReady, 0x3a, 0x02;
    /// MEDIUM REMOVAL PREVENTED.
    MEDIUM_REMOVAL_PREVENTED: IllegalRequest, 0x53, 0x02;
    /// CANNOT READ MEDIUM - INCOMPATIBLE FORMAT.
    INCOMPATIBLE_FORMAT: IllegalRequest, 0x30, 0x02;
    /// ILLEGAL MODE FOR THIS TRACK.
    ILLEGAL_MODE_FOR_TRACK: IllegalRequest, 0x64, 0x00;
    /// INVALID MESSAGE ERROR.
    INVALID_MESSAGE_ERROR: IllegalRequest, 0x49, 0x00;
    /// WRITE PROTECTED.
    WRITE_PROTECTED: DataProtect, 0x27, 0x00;
    /// SPACE ALLOCATION FAILED WRITE PROTECT.
    SPACE_ALLOCATION_FAILED: DataProtect, 0x27, 0x07;
    /// NO ADDITIONAL SENSE INFORMATION, with ABORTED COMMAND.
    ABORTED_COMMAND: AbortedCommand, 0x00, 0x00;
    /// DATA PHASE ERROR: fewer bytes came than the command needs.
    DATA_PHASE_ERROR: AbortedCommand, 0x4b, 0x00;
    /// LOGICAL BLOCK GUARD CHECK FAILED.
    LOGICAL_BLOCK_GUARD_CHECK_FAILED: AbortedCommand, 0x10, 0x01;
    /// LOGICAL BLOCK APPLICATION TAG CHECK FAILED.
    LOGICAL_BLOCK_APPLICATION_TAG_CHECK_FAILED: AbortedCommand, 0x10, 0x02;
    /// LOGICAL BLOCK REFERENCE TAG CHECK FAILED.
    LOGICAL_BLOCK_REFERENCE_TAG_CHECK_FAILED: AbortedCommand, 0x10, 0x03;
    /// MISCOMPARE DURING VERIFY OPERATION.
    MISCOMPARE_DURING_VERIFY: Miscompare, 0x1d, 0x00;
    /// LOGICAL BLOCK GUARD CHECK FAILED, of a VERIFY that compares.
    MISCOMPARE_OF_GUARD: Miscompare, 0x10, 0x01;
    /// LOGICAL BLOCK APPLICATION TAG CHECK FAILED, of a VERIFY that compares.
    MISCOMPARE_OF_APPLICATION_TAG: Miscompare, 0x10, 0x02;
    /// LOGICAL BLOCK REFERENCE TAG CHECK FAILED, of a VERIFY that compares.
    MISCOMPARE_OF_REFERENCE_TAG: Miscompare, 0x10, 0x03;
}

impl Sense {
    /// Sense data of a condition, with no field pointer and no information.
    #[must_use]
    pub const fn new(key: SenseKey, asc: u8, ascq: u8) -> Self {
        Self {
            key,
            asc,
            ascq,
            information: None,
            field: None,
            progress: None,
            segment: None,
        }
    }

    /// UNIT ATTENTION with this code.
    #[must_use]
    pub const fn unit_attention(asc: u8, ascq: u8) -> Self {
        Self::new(SenseKey::UnitAttention, asc, ascq)
    }

    /// INVALID FIELD IN CDB, the field that fills `byte` or starts there.
    #[must_use]
    pub const fn cdb_byte(byte: u8) -> Self {
        Self::INVALID_FIELD_IN_CDB.pointing(true, byte as u16, None)
    }

    /// INVALID FIELD IN CDB, the field whose highest bit is `bit` of `byte`.
    #[must_use]
    pub const fn cdb_bit(byte: u8, bit: u8) -> Self {
        Self::INVALID_FIELD_IN_CDB.pointing(true, byte as u16, Some(bit))
    }

    /// INVALID FIELD IN PARAMETER LIST, the field that fills `byte` or starts there.
    #[must_use]
    pub const fn parameter_byte(byte: u16) -> Self {
        Self::INVALID_FIELD_IN_PARAMETER_LIST.pointing(false, byte, None)
    }

    /// INVALID FIELD IN PARAMETER LIST, the field whose highest bit is `bit` of `byte`.
    #[must_use]
    pub const fn parameter_bit(byte: u16, bit: u8) -> Self {
        Self::INVALID_FIELD_IN_PARAMETER_LIST.pointing(false, byte, Some(bit))
    }

    /// The same condition with a field pointer.
    #[must_use]
    pub const fn pointing(self, in_cdb: bool, byte: u16, bit: Option<u8>) -> Self {
        Self {
            field: Some(FieldPointer { in_cdb, byte, bit }),
            ..self
        }
    }

    /// The same condition, with this much done of what makes the LU not ready, in parts of 65,536.
    #[must_use]
    pub const fn with_progress(self, progress: u16) -> Self {
        Self {
            progress: Some(progress),
            ..self
        }
    }

    /// The same condition, met at this segment descriptor of an EXTENDED COPY.
    #[must_use]
    pub const fn at_segment(self, segment: u16) -> Self {
        Self {
            segment: Some(segment),
            ..self
        }
    }

    /// The same condition with an INFORMATION field.
    #[must_use]
    pub const fn with_information(self, information: u64) -> Self {
        Self {
            information: Some(information),
            ..self
        }
    }

    /// Appends the sense data, at most [`MAX_SENSE_BYTES`].
    pub fn emit(&self, format: SenseFormat, out: &mut Vec<u8>) {
        match format {
            SenseFormat::Fixed => out.extend_from_slice(&self.fixed()),
            SenseFormat::Descriptor => self.emit_descriptors(out),
        }
    }

    /// SPC-5 "Fixed format sense data": 18 bytes, ADDITIONAL SENSE LENGTH 10.
    fn fixed(&self) -> [u8; 18] {
        let mut bytes = [0; 18];
        bytes[0] = 0x70;
        // The INFORMATION field has four bytes here: what does not fit leaves VALID at 0.
        if let Some(Ok(information)) = self.information.map(u32::try_from) {
            bytes[0] |= 0x80;
            bytes[3..7].copy_from_slice(&information.to_be_bytes());
        }
        bytes[2] = self.key as u8;
        bytes[7] = 10;
        if let Some(segment) = self.segment {
            bytes[8..12].copy_from_slice(&segment_information(segment));
        }
        bytes[12] = self.asc;
        bytes[13] = self.ascq;
        bytes[15..18].copy_from_slice(&self.sense_key_specific());
        bytes
    }

    /// SPC-5 "Descriptor format sense data", with the descriptors Information (00h), Command specific (01h) and Sense key
    /// specific (02h).
    fn emit_descriptors(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0x72, self.key as u8, self.asc, self.ascq, 0, 0, 0, 0]);
        if let Some(information) = self.information {
            out.extend_from_slice(&[0x00, 0x0a, 0x80, 0x00]);
            out.extend_from_slice(&information.to_be_bytes());
        }
        if let Some(segment) = self.segment {
            out.extend_from_slice(&[0x01, 0x0a, 0x00, 0x00]);
            out.extend_from_slice(&segment_information(segment));
            out.extend_from_slice(&[0; 4]);
        }
        if self.field.is_some() || self.progress.is_some() {
            out.extend_from_slice(&[0x02, 0x06, 0x00, 0x00]);
            out.extend_from_slice(&self.sense_key_specific());
            out.push(0);
        }
        let additional = out.len() - start - 8;
        // At most MAX_SENSE_BYTES - 8, which a byte holds.
        out[start + 7] = u8::try_from(additional).unwrap_or(u8::MAX);
    }

    /// The three bytes that say where the fault stands, or how much is done; zero (SKSV is 0) where that is not known.
    fn sense_key_specific(&self) -> [u8; 3] {
        let Some(field) = self.field else {
            // SPC-5 "Progress indication sense key specific data".
            let Some(progress) = self.progress else {
                return [0; 3];
            };
            let [high, low] = progress.to_be_bytes();
            return [0x80, high, low];
        };
        let mut first = 0x80;
        if field.in_cdb {
            first |= 0x40;
        }
        if let Some(bit) = field.bit {
            first |= 0x08 | (bit & 0x07);
        }
        let [high, low] = field.byte.to_be_bytes();
        [first, high, low]
    }
}

/// SPC-5 "Errors detected during processing of segment descriptors": the segment's number stands in the third and fourth byte of the
/// COMMAND-SPECIFIC INFORMATION field; the first two say that no sense data of the places copied from and to follow.
fn segment_information(segment: u16) -> [u8; 4] {
    let [high, low] = segment.to_be_bytes();
    [0, 0, high, low]
}

/// Why a command ends early: its status, and sense data with CHECK CONDITION.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// CHECK CONDITION with this.
    Check(Sense),
    /// Another status, without sense data.
    Status(Status),
}

impl From<Sense> for Refusal {
    fn from(sense: Sense) -> Self {
        Self::Check(sense)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(sense: Sense, format: SenseFormat) -> Vec<u8> {
        let mut out = vec![0xee];
        sense.emit(format, &mut out);
        assert!(out.len() - 1 <= MAX_SENSE_BYTES);
        out.split_off(1)
    }

    #[test]
    fn sense_fixed_with_cdb_bit_is_golden() {
        assert_eq!(
            bytes(Sense::cdb_bit(1, 4), SenseFormat::Fixed),
            [
                0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x24, 0, 0, 0xcc, 0, 1
            ]
        );
        assert_eq!(
            bytes(Sense::parameter_byte(0x102), SenseFormat::Fixed),
            [
                0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x26, 0, 0, 0x80, 1, 2
            ]
        );
    }

    #[test]
    fn sense_fixed_with_information_is_valid_only_if_it_fits() {
        let sense = Sense::MISCOMPARE_DURING_VERIFY.with_information(0x0102_0304);
        assert_eq!(
            bytes(sense, SenseFormat::Fixed),
            [
                0xf0, 0, 0xe, 1, 2, 3, 4, 10, 0, 0, 0, 0, 0x1d, 0, 0, 0, 0, 0
            ]
        );
        let sense = Sense::UNRECOVERED_READ_ERROR.with_information(1 << 32);
        assert_eq!(
            bytes(sense, SenseFormat::Fixed),
            [0x70, 0, 3, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x11, 0, 0, 0, 0, 0]
        );
    }

    #[test]
    fn sense_with_progress_is_golden() {
        let sense = Sense::SANITIZE_IN_PROGRESS.with_progress(0x8001);
        assert_eq!(
            bytes(sense, SenseFormat::Fixed),
            [
                0x70, 0, 2, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x04, 0x1b, 0, 0x80, 0x80, 1
            ]
        );
        assert_eq!(
            bytes(sense, SenseFormat::Descriptor),
            [
                0x72, 2, 0x04, 0x1b, 0, 0, 0, 8, 2, 6, 0, 0, 0x80, 0x80, 1, 0
            ]
        );
    }

    #[test]
    fn sense_descriptor_with_all_is_golden() {
        let sense = Sense::cdb_byte(2).with_information(0x0102_0304_0506_0708);
        assert_eq!(
            bytes(sense, SenseFormat::Descriptor),
            [
                0x72, 5, 0x24, 0, 0, 0, 0, 20, // header
                0, 10, 0x80, 0, 1, 2, 3, 4, 5, 6, 7, 8, // information
                2, 6, 0, 0, 0xc0, 0, 2, 0, // sense key specific
            ]
        );
        let sense = Sense::COPY_TARGET_NOT_REACHABLE.at_segment(0x0102);
        assert_eq!(
            bytes(sense, SenseFormat::Descriptor),
            [
                0x72, 0xa, 0x0d, 2, 0, 0, 0, 12, // header
                1, 10, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, // command specific
            ]
        );
        assert_eq!(
            bytes(sense, SenseFormat::Fixed),
            [
                0x70, 0, 0xa, 0, 0, 0, 0, 10, 0, 0, 1, 2, 0x0d, 2, 0, 0, 0, 0
            ]
        );
        assert_eq!(
            bytes(Sense::NO_SENSE, SenseFormat::Descriptor),
            [0x72, 0, 0, 0, 0, 0, 0, 0]
        );
    }

    #[test]
    fn sense_conditions_are_distinct() {
        for (at, (name, sense)) in CONDITIONS.iter().enumerate() {
            for (other, same) in &CONDITIONS[..at] {
                assert_ne!(sense, same, "{name} and {other}");
            }
        }
    }
}
