//! Sense data for what goes wrong between SCSI and TCP, before or beside the device server (RFC 7143 §11.4.7.2, SPC-5
//! "Sense data").
//!
//! Fixed format always: whether a logical unit is set to descriptor format is the device server's knowledge.

use super::DataFault;

/// Why the session itself ends a command with CHECK CONDITION.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportSense {
    /// The command's data broke the rules of its transfer.
    Data(DataFault),
    /// The command's header asks for what no command here has: data both ways. ILLEGAL REQUEST, INVALID FIELD IN
    /// COMMAND INFORMATION UNIT.
    InvalidCommandHeader,
}

/// Bytes of the sense data made here.
pub const TRANSPORT_SENSE_BYTES: usize = 18;

impl TransportSense {
    /// The sense data, fixed format.
    #[must_use]
    pub const fn bytes(self) -> [u8; TRANSPORT_SENSE_BYTES] {
        let (key, (asc, ascq)) = match self {
            Self::Data(fault) => (ABORTED_COMMAND, fault.additional_sense()),
            Self::InvalidCommandHeader => (ILLEGAL_REQUEST, (0x0e, 0x03)),
        };
        let mut sense = [0; TRANSPORT_SENSE_BYTES];
        sense[0] = CURRENT_FIXED;
        sense[2] = key;
        sense[7] = ADDITIONAL_BYTES;
        sense[12] = asc;
        sense[13] = ascq;
        sense
    }
}

impl DataFault {
    /// The sense data of the CHECK CONDITION that ends the command, fixed format.
    #[must_use]
    pub const fn sense(self) -> [u8; TRANSPORT_SENSE_BYTES] {
        TransportSense::Data(self).bytes()
    }

    /// ASC and ASCQ of these sense data; their key is ABORTED COMMAND.
    #[must_use]
    pub const fn additional_sense(self) -> (u8, u8) {
        match self {
            // RFC 7143 §11.4.7.2, table of iSCSI conditions.
            Self::UnexpectedUnsolicitedData => (0x0c, 0x0c),
            Self::IncorrectAmountOfData => (0x0c, 0x0d),
            Self::ProtocolServiceCrcError => (0x47, 0x05),
            Self::SnackRejected => (0x11, 0x13),
            // SPC-5 "ASC and ASCQ assignments": DATA OFFSET ERROR.
            Self::DataOffset => (0x4b, 0x05),
        }
    }
}

const CURRENT_FIXED: u8 = 0x70;
const ADDITIONAL_BYTES: u8 = 10;
const ILLEGAL_REQUEST: u8 = 0x05;
const ABORTED_COMMAND: u8 = 0x0b;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sense_of_each_fault_has_the_key_and_code_of_its_table() {
        let table = [
            (
                TransportSense::Data(DataFault::UnexpectedUnsolicitedData),
                (0x0b, 0x0c, 0x0c),
            ),
            (
                TransportSense::Data(DataFault::IncorrectAmountOfData),
                (0x0b, 0x0c, 0x0d),
            ),
            (
                TransportSense::Data(DataFault::ProtocolServiceCrcError),
                (0x0b, 0x47, 0x05),
            ),
            (
                TransportSense::Data(DataFault::DataOffset),
                (0x0b, 0x4b, 0x05),
            ),
            (
                TransportSense::Data(DataFault::SnackRejected),
                (0x0b, 0x11, 0x13),
            ),
            (TransportSense::InvalidCommandHeader, (0x05, 0x0e, 0x03)),
        ];
        for (sense, codes) in table {
            let bytes = sense.bytes();
            assert_eq!((bytes[2], bytes[12], bytes[13]), codes, "{sense:?}");
            assert_eq!((bytes[0], usize::from(bytes[7])), (0x70, bytes.len() - 8));
        }
    }
}
