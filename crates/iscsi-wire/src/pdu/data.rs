//! Data-Out, Data-In, Ready To Transfer and SNACK (RFC 7143 §11.7, §11.8, §11.16).

use super::{FINAL_ONE, NO_ONES, no_ahs, pdu, plain, require};
use crate::bhs::{At, Bhs, Bit, Bits, DataSegmentLength, ParseError, opcode};
use crate::{Itt, Lun64, SerialNumber, SnackType, Ttt};

pdu! {
    /// SCSI Data-Out (RFC 7143 §11.7).
    pub struct DataOut(opcode::DATA_OUT) {
        /// The F bit: last PDU of a sequence.
        r#final: bool = Bit(1, 0x80),
        /// Bytes of payload.
        data_segment_length: u32 = DataSegmentLength,
        /// Copied from the R2T, where the data is solicited.
        lun: Lun64 = At(8),
        /// Tag of the command.
        itt: Itt = At(16),
        /// Copied from the R2T; reserved where the data is unsolicited.
        ttt: Ttt = At(20),
        /// Acknowledges all status before it.
        exp_stat_sn: SerialNumber = At(28),
        /// Place of this PDU in its sequence.
        data_sn: u32 = At(36),
        /// Offset of the payload in the command's data, in bytes.
        buffer_offset: u32 = At(40),
    }
    ones: NO_ONES;
    check: |bhs, _| plain(bhs);
}

pdu! {
    /// SCSI Data-In (RFC 7143 §11.7).
    pub struct DataIn(opcode::DATA_IN) {
        /// The F bit: last PDU of a sequence.
        r#final: bool = Bit(1, 0x80),
        /// The A bit: the target asks for a DataACK SNACK.
        acknowledge: bool = Bit(1, 0x40),
        /// The O bit, meaningful with S.
        overflow: bool = Bit(1, 0x04),
        /// The U bit, meaningful with S.
        underflow: bool = Bit(1, 0x02),
        /// The S bit: `status`, `stat_sn` and `residual_count` have meaning, and no SCSI Response follows.
        status_present: bool = Bit(1, 0x01),
        /// SCSI status, with S.
        status: u8 = At(3),
        /// Bytes of payload.
        data_segment_length: u32 = DataSegmentLength,
        /// To be copied into a DataACK, with A.
        lun: Lun64 = At(8),
        /// Tag of the command.
        itt: Itt = At(16),
        /// To be copied into a DataACK, with A; else reserved.
        ttt: Ttt = At(20),
        /// Status sequence number, with S.
        stat_sn: SerialNumber = At(24),
        /// The next CmdSN expected.
        exp_cmd_sn: SerialNumber = At(28),
        /// The largest CmdSN accepted.
        max_cmd_sn: SerialNumber = At(32),
        /// Place of this PDU among the command's Data-In PDUs.
        data_sn: u32 = At(36),
        /// Offset of the payload in the command's data, in bytes.
        buffer_offset: u32 = At(40),
        /// Bytes over or under, with O or U.
        residual_count: u32 = At(44),
    }
    ones: NO_ONES;
    check: check_data_in;
}

pdu! {
    /// Ready To Transfer: the target asks for one Data-Out sequence (RFC 7143 §11.8).
    pub struct ReadyToTransfer(opcode::READY_TO_TRANSFER) {
        /// Bytes of data; a well-formed R2T has none.
        data_segment_length: u32 = DataSegmentLength,
        /// To be copied into the Data-Out PDUs.
        lun: Lun64 = At(8),
        /// Tag of the command.
        itt: Itt = At(16),
        /// To be copied into the Data-Out PDUs.
        ttt: Ttt = At(20),
        /// The next StatSN; an R2T does not advance it.
        stat_sn: SerialNumber = At(24),
        /// The next CmdSN expected.
        exp_cmd_sn: SerialNumber = At(28),
        /// The largest CmdSN accepted.
        max_cmd_sn: SerialNumber = At(32),
        /// Place of this R2T among the command's.
        r2t_sn: u32 = At(36),
        /// Offset of the wanted data, in bytes.
        buffer_offset: u32 = At(40),
        /// Bytes wanted.
        desired_data_transfer_length: u32 = At(44),
    }
    ones: FINAL_ONE;
    check: check_r2t;
}

pdu! {
    /// SNACK Request (RFC 7143 §11.16).
    pub struct SnackRequest(opcode::SNACK_REQUEST) {
        /// What is asked for.
        r#type: SnackType = Bits(1, 0, 0x0f),
        /// Bytes of data; a well-formed request has none.
        data_segment_length: u32 = DataSegmentLength,
        /// Copied from the Data-In, for DataACK.
        lun: Lun64 = At(8),
        /// Tag of the command; reserved for Status and DataACK.
        itt: Itt = At(16),
        /// Copied from the Data-In for DataACK, the SNACK Tag for R-Data, else reserved.
        ttt: Ttt = At(20),
        /// Acknowledges all status before it.
        exp_stat_sn: SerialNumber = At(28),
        /// First number missing, or the next expected.
        beg_run: u32 = At(40),
        /// Count of numbers missing; 0 means all from `beg_run`.
        run_length: u32 = At(44),
    }
    ones: FINAL_ONE;
    check: |bhs, _| no_ahs(bhs);
}

fn check_data_in(bhs: &Bhs, data: &DataIn) -> Result<(), ParseError> {
    plain(bhs)?;
    // RFC 7143 §11.7.3: with S set, F MUST be set too.
    require(!data.status_present || data.r#final, "final", 1)?;
    // RFC 7143 §11.4.1: O and U are mutually exclusive.
    require(
        !(data.status_present && data.overflow && data.underflow),
        "overflow",
        1,
    )
}

fn check_r2t(bhs: &Bhs, r2t: &ReadyToTransfer) -> Result<(), ParseError> {
    plain(bhs)?;
    // RFC 7143 §11.8.5: an R2T carries a tag of the target's, and 0xffffffff is not one.
    require(r2t.ttt != Ttt::RESERVED, "ttt", 20)?;
    // RFC 7143 §11.8.4: the desired data transfer length MUST NOT be 0.
    require(
        r2t.desired_data_transfer_length != 0,
        "desired_data_transfer_length",
        44,
    )
}
