//! Login and Text, requests and responses (RFC 7143 §11.10 to §11.13).
//!
//! Contradictions within a login or text header (C with T or F, a reserved stage) parse: the RFC answers them with a
//! Login status or a Reject, which is the receiver's part.

use super::{IMMEDIATE_ONE, NO_ONES, no_ahs, pdu, plain};
use crate::bhs::{At, Bit, Bits, DataSegmentLength, IMMEDIATE, opcode};
use crate::{Cid, Isid, Itt, LoginStatus, Lun64, SerialNumber, Stage, Tsih, Ttt};

pdu! {
    /// Login Request (RFC 7143 §11.12). Always immediate.
    pub struct LoginRequest(opcode::LOGIN_REQUEST) {
        /// The T bit: ready to go to the next stage.
        transit: bool = Bit(1, 0x80),
        /// The C bit: the text goes on in the next request.
        r#continue: bool = Bit(1, 0x40),
        /// CSG: the current stage.
        current_stage: Stage = Bits(1, 2, 0x03),
        /// NSG: the next stage, meaningful with T.
        next_stage: Stage = Bits(1, 0, 0x03),
        /// Highest version supported.
        version_max: u8 = At(2),
        /// Lowest version supported.
        version_min: u8 = At(3),
        /// Bytes of text.
        data_segment_length: u32 = DataSegmentLength,
        /// The initiator's part of the session ID.
        isid: Isid = At(8),
        /// The target's part, zero for a new session.
        tsih: Tsih = At(14),
        /// The same in all requests of one login.
        itt: Itt = At(16),
        /// Connection ID.
        cid: Cid = At(20),
        /// Initial command sequence number.
        cmd_sn: SerialNumber = At(24),
        /// The next StatSN expected.
        exp_stat_sn: SerialNumber = At(28),
    }
    ones: IMMEDIATE_ONE;
    check: |bhs, _| plain(bhs);
}

pdu! {
    /// Login Response (RFC 7143 §11.13).
    pub struct LoginResponse(opcode::LOGIN_RESPONSE) {
        /// The T bit: the target agrees to go to the next stage.
        transit: bool = Bit(1, 0x80),
        /// The C bit: the text goes on in the next response.
        r#continue: bool = Bit(1, 0x40),
        /// CSG: the current stage.
        current_stage: Stage = Bits(1, 2, 0x03),
        /// NSG: the next stage, meaningful with T.
        next_stage: Stage = Bits(1, 0, 0x03),
        /// Highest version supported.
        version_max: u8 = At(2),
        /// The version in use.
        version_active: u8 = At(3),
        /// Bytes of text.
        data_segment_length: u32 = DataSegmentLength,
        /// As in the request.
        isid: Isid = At(8),
        /// The new session's handle in the last response of a leading login, else as in the request.
        tsih: Tsih = At(14),
        /// As in the request.
        itt: Itt = At(16),
        /// Status sequence number.
        stat_sn: SerialNumber = At(24),
        /// The next CmdSN expected.
        exp_cmd_sn: SerialNumber = At(28),
        /// The largest CmdSN accepted.
        max_cmd_sn: SerialNumber = At(32),
        /// Status class and detail.
        status: LoginStatus = At(36),
    }
    ones: NO_ONES;
    check: |bhs, _| no_ahs(bhs);
}

pdu! {
    /// Text Request (RFC 7143 §11.10).
    pub struct TextRequest(opcode::TEXT_REQUEST) {
        /// The I bit.
        immediate: bool = IMMEDIATE,
        /// The F bit: the initiator has no more to ask.
        r#final: bool = Bit(1, 0x80),
        /// The C bit: the text goes on in the next request.
        r#continue: bool = Bit(1, 0x40),
        /// Bytes of text.
        data_segment_length: u32 = DataSegmentLength,
        /// Copied from the response that this follows, with `ttt`.
        lun: Lun64 = At(8),
        /// The same in all requests of one exchange.
        itt: Itt = At(16),
        /// Reserved in the first request of an exchange, else as in the last response.
        ttt: Ttt = At(20),
        /// Command sequence number.
        cmd_sn: SerialNumber = At(24),
        /// Acknowledges all status before it.
        exp_stat_sn: SerialNumber = At(28),
    }
    ones: NO_ONES;
    check: |bhs, _| plain(bhs);
}

pdu! {
    /// Text Response (RFC 7143 §11.11).
    pub struct TextResponse(opcode::TEXT_RESPONSE) {
        /// The F bit: the exchange is over.
        r#final: bool = Bit(1, 0x80),
        /// The C bit: the text goes on in the next response.
        r#continue: bool = Bit(1, 0x40),
        /// Bytes of text.
        data_segment_length: u32 = DataSegmentLength,
        /// To be copied into the next request, with `ttt`.
        lun: Lun64 = At(8),
        /// As in the request.
        itt: Itt = At(16),
        /// Reserved in the last response of an exchange.
        ttt: Ttt = At(20),
        /// Status sequence number.
        stat_sn: SerialNumber = At(24),
        /// The next CmdSN expected.
        exp_cmd_sn: SerialNumber = At(28),
        /// The largest CmdSN accepted.
        max_cmd_sn: SerialNumber = At(32),
    }
    ones: NO_ONES;
    check: |bhs, _| plain(bhs);
}
