//! Logout Request and Response (RFC 7143 §11.14, §11.15).

use super::{FINAL_ONE, pdu, plain};
use crate::bhs::{At, Bits, DataSegmentLength, IMMEDIATE, opcode};
use crate::{Cid, Itt, LogoutReason, LogoutResponseCode, SerialNumber};

pdu! {
    /// Logout Request (RFC 7143 §11.14).
    pub struct LogoutRequest(opcode::LOGOUT_REQUEST) {
        /// The I bit.
        immediate: bool = IMMEDIATE,
        /// What is to be closed, and why.
        reason: LogoutReason = Bits(1, 0, 0x7f),
        /// Bytes of data; a well-formed request has none.
        data_segment_length: u32 = DataSegmentLength,
        /// Initiator Task Tag.
        itt: Itt = At(16),
        /// The connection to close; without meaning where the session is.
        cid: Cid = At(20),
        /// Command sequence number.
        cmd_sn: SerialNumber = At(24),
        /// Acknowledges all status before it.
        exp_stat_sn: SerialNumber = At(28),
    }
    ones: FINAL_ONE;
    check: |bhs, _| plain(bhs);
}

pdu! {
    /// Logout Response (RFC 7143 §11.15).
    pub struct LogoutResponse(opcode::LOGOUT_RESPONSE) {
        /// The outcome.
        response: LogoutResponseCode = Bits(2, 0, 0xff),
        /// Bytes of data; a well-formed response has none.
        data_segment_length: u32 = DataSegmentLength,
        /// Tag of the request.
        itt: Itt = At(16),
        /// Status sequence number.
        stat_sn: SerialNumber = At(24),
        /// The next CmdSN expected.
        exp_cmd_sn: SerialNumber = At(28),
        /// The largest CmdSN accepted.
        max_cmd_sn: SerialNumber = At(32),
        /// Seconds to wait before reconnecting or reassigning.
        time2wait: u16 = At(40),
        /// Seconds after `time2wait` for which tasks are kept.
        time2retain: u16 = At(42),
    }
    ones: FINAL_ONE;
    check: |bhs, _| plain(bhs);
}
