//! SCSI Command and SCSI Response (RFC 7143 §11.3, §11.4).

use super::{FINAL_ONE, NO_ONES, itt_names_a_task, pdu, plain, require};
use crate::bhs::{At, Bhs, Bit, Bits, DataSegmentLength, IMMEDIATE, ParseError, opcode};
use crate::{Itt, Lun64, ResponseCode, SerialNumber, TaskAttribute};

pdu! {
    /// SCSI Command (RFC 7143 §11.3). Its AHS may extend the CDB or name a bidirectional read length.
    pub struct ScsiCommand(opcode::SCSI_COMMAND) {
        /// The I bit.
        immediate: bool = IMMEDIATE,
        /// The F bit: no unsolicited Data-Out PDUs follow.
        r#final: bool = Bit(1, 0x80),
        /// The R bit: the command is expected to input data.
        read: bool = Bit(1, 0x40),
        /// The W bit: the command is expected to output data.
        write: bool = Bit(1, 0x20),
        /// Task attribute.
        attribute: TaskAttribute = Bits(1, 0, 0x07),
        /// Length of all AHS in four-byte words.
        total_ahs_length: u8 = At(4),
        /// Bytes of immediate data.
        data_segment_length: u32 = DataSegmentLength,
        /// Addressed logical unit.
        lun: Lun64 = At(8),
        /// Initiator Task Tag.
        itt: Itt = At(16),
        /// Bytes the initiator expects to move: written if W, else read if R. With both, those written.
        expected_data_transfer_length: u32 = At(20),
        /// Command sequence number.
        cmd_sn: SerialNumber = At(24),
        /// Acknowledges all status before it.
        exp_stat_sn: SerialNumber = At(28),
        /// The first 16 bytes of the CDB.
        cdb: [u8; 16] = At(32),
    }
    ones: NO_ONES;
    check: check_command;
}

pdu! {
    /// SCSI Response (RFC 7143 §11.4).
    pub struct ScsiResponse(opcode::SCSI_RESPONSE) {
        /// The o bit: overflow of a bidirectional command's read.
        bidirectional_overflow: bool = Bit(1, 0x10),
        /// The u bit: underflow of a bidirectional command's read.
        bidirectional_underflow: bool = Bit(1, 0x08),
        /// The O bit: the command had more to move than expected.
        overflow: bool = Bit(1, 0x04),
        /// The U bit: the command moved less than expected.
        underflow: bool = Bit(1, 0x02),
        /// iSCSI service response.
        response: ResponseCode = Bits(2, 0, 0xff),
        /// SCSI status, valid where `response` says the command completed.
        status: u8 = At(3),
        /// Bytes of sense length, sense and response data.
        data_segment_length: u32 = DataSegmentLength,
        /// Initiator Task Tag.
        itt: Itt = At(16),
        /// SNACK Tag, or zero.
        snack_tag: u32 = At(20),
        /// Status sequence number.
        stat_sn: SerialNumber = At(24),
        /// The next CmdSN expected.
        exp_cmd_sn: SerialNumber = At(28),
        /// The largest CmdSN accepted.
        max_cmd_sn: SerialNumber = At(32),
        /// Data-In PDUs sent for the command; R2Ts do not count (RFC 7143 §11.4.8).
        exp_data_sn: u32 = At(36),
        /// Bytes of a bidirectional command's read over or under.
        bidirectional_read_residual_count: u32 = At(40),
        /// Bytes over or under, with O or U.
        residual_count: u32 = At(44),
    }
    ones: FINAL_ONE;
    check: check_response;
}

fn check_command(bhs: &Bhs, command: &ScsiCommand) -> Result<(), ParseError> {
    itt_names_a_task(bhs)?;
    // RFC 7143 §11.3.1: setting both the W and the F bit to 0 is an error.
    require(command.write || command.r#final, "final", 1)?;
    // RFC 7143 §11.3.1: R and W MUST NOT both be 0 when the expected data transfer length is not 0.
    let moves_data = command.read || command.write;
    require(
        moves_data || command.expected_data_transfer_length == 0,
        "read",
        1,
    )
}

fn check_response(bhs: &Bhs, response: &ScsiResponse) -> Result<(), ParseError> {
    plain(bhs)?;
    // RFC 7143 §11.4.1: O and U, and o and u, are mutually exclusive.
    require(!(response.overflow && response.underflow), "overflow", 1)?;
    let both = response.bidirectional_overflow && response.bidirectional_underflow;
    require(!both, "bidirectional_overflow", 1)
}
