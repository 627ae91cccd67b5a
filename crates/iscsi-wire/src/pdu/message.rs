//! Asynchronous Message and Reject: what a target says unasked (RFC 7143 §11.9, §11.17).

use super::{FINAL_ONE, no_ahs, pdu};
use crate::bhs::{At, Bits, DataSegmentLength, opcode};
use crate::{AsyncEvent, Itt, Lun64, RejectReason, SerialNumber};

pdu! {
    /// Asynchronous Message (RFC 7143 §11.9). `itt` is reserved in every one.
    pub struct AsyncMessage(opcode::ASYNC_MESSAGE) {
        /// Bytes of sense and event data.
        data_segment_length: u32 = DataSegmentLength,
        /// The logical unit, for events of one.
        lun: Lun64 = At(8),
        /// [`Itt::RESERVED`].
        itt: Itt = At(16),
        /// Status sequence number.
        stat_sn: SerialNumber = At(24),
        /// The next CmdSN expected.
        exp_cmd_sn: SerialNumber = At(28),
        /// The largest CmdSN accepted.
        max_cmd_sn: SerialNumber = At(32),
        /// What happened.
        async_event: AsyncEvent = Bits(36, 0, 0xff),
        /// Vendor's code, with a vendor's event.
        async_v_code: u8 = At(37),
        /// CID of a dropped connection.
        parameter1: u16 = At(38),
        /// Seconds: Time2Wait of a dropped connection.
        parameter2: u16 = At(40),
        /// Seconds: Time2Retain of a dropped connection, or the time within which to act on a request.
        parameter3: u16 = At(42),
    }
    ones: FINAL_ONE;
    check: |bhs, _| no_ahs(bhs);
}

pdu! {
    /// Reject (RFC 7143 §11.17). Its data segment is the rejected header. `itt` is reserved in every one.
    pub struct Reject(opcode::REJECT) {
        /// Why.
        reason: RejectReason = Bits(2, 0, 0xff),
        /// Bytes of data: the rejected header, and a vendor's explanation.
        data_segment_length: u32 = DataSegmentLength,
        /// [`Itt::RESERVED`].
        itt: Itt = At(16),
        /// Status sequence number.
        stat_sn: SerialNumber = At(24),
        /// The next CmdSN expected.
        exp_cmd_sn: SerialNumber = At(28),
        /// The largest CmdSN accepted.
        max_cmd_sn: SerialNumber = At(32),
        /// Next DataSN or R2TSN, for a rejected Data or R2T SNACK.
        data_sn: u32 = At(36),
    }
    ones: FINAL_ONE;
    check: |bhs, _| no_ahs(bhs);
}
