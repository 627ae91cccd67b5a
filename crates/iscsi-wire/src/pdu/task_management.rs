//! Task Management Function Request and Response (RFC 7143 §11.5, §11.6).

use super::{FINAL_ONE, pdu, plain};
use crate::bhs::{At, Bits, DataSegmentLength, IMMEDIATE, opcode};
use crate::{Itt, Lun64, SerialNumber, TaskManagementFunction, TaskManagementResponseCode};

pdu! {
    /// Task Management Function Request (RFC 7143 §11.5).
    pub struct TaskManagementRequest(opcode::TASK_MANAGEMENT_REQUEST) {
        /// The I bit.
        immediate: bool = IMMEDIATE,
        /// What to do.
        function: TaskManagementFunction = Bits(1, 0, 0x7f),
        /// Bytes of data; a well-formed request has none.
        data_segment_length: u32 = DataSegmentLength,
        /// The logical unit, for functions that address one.
        lun: Lun64 = At(8),
        /// This request's own tag.
        itt: Itt = At(16),
        /// The task to abort, query or reassign, else reserved.
        referenced_task_tag: Itt = At(20),
        /// Command sequence number.
        cmd_sn: SerialNumber = At(24),
        /// Acknowledges all status before it.
        exp_stat_sn: SerialNumber = At(28),
        /// CmdSN of the task to abort.
        ref_cmd_sn: SerialNumber = At(32),
        /// For TASK REASSIGN: the next DataSN or R2TSN expected.
        exp_data_sn: u32 = At(36),
    }
    ones: FINAL_ONE;
    check: |bhs, _| plain(bhs);
}

pdu! {
    /// Task Management Function Response (RFC 7143 §11.6).
    pub struct TaskManagementResponse(opcode::TASK_MANAGEMENT_RESPONSE) {
        /// The outcome.
        response: TaskManagementResponseCode = Bits(2, 0, 0xff),
        /// Bytes of data; a well-formed response has none.
        data_segment_length: u32 = DataSegmentLength,
        /// What QUERY ASYNCHRONOUS EVENT found (RFC 7144, Additional Response Information; its contents are SAM-5's).
        additional_response_information: [u8; 3] = At(8),
        /// Tag of the request.
        itt: Itt = At(16),
        /// Status sequence number.
        stat_sn: SerialNumber = At(24),
        /// The next CmdSN expected.
        exp_cmd_sn: SerialNumber = At(28),
        /// The largest CmdSN accepted.
        max_cmd_sn: SerialNumber = At(32),
    }
    ones: FINAL_ONE;
    check: |bhs, _| plain(bhs);
}
