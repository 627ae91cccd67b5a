//! NOP-Out and NOP-In (RFC 7143 §11.18, §11.19).

use super::{FINAL_ONE, no_ahs, pdu, require};
use crate::bhs::{At, Bhs, DataSegmentLength, IMMEDIATE, ParseError, opcode};
use crate::{Itt, Lun64, SerialNumber, Ttt};

pdu! {
    /// NOP-Out: an initiator's ping, its answer to a ping, or news of ExpStatSN (RFC 7143 §11.18).
    pub struct NopOut(opcode::NOP_OUT) {
        /// The I bit.
        immediate: bool = IMMEDIATE,
        /// Bytes of ping data.
        data_segment_length: u32 = DataSegmentLength,
        /// Copied from the NOP-In that this answers.
        lun: Lun64 = At(8),
        /// Reserved where no answer is wanted.
        itt: Itt = At(16),
        /// Copied from the NOP-In that this answers, else reserved.
        ttt: Ttt = At(20),
        /// Command sequence number.
        cmd_sn: SerialNumber = At(24),
        /// Acknowledges all status before it.
        exp_stat_sn: SerialNumber = At(28),
    }
    ones: FINAL_ONE;
    check: check_nop_out;
}

pdu! {
    /// NOP-In: a target's ping, its answer to a ping, or news of the command window (RFC 7143 §11.19).
    pub struct NopIn(opcode::NOP_IN) {
        /// Bytes of ping data.
        data_segment_length: u32 = DataSegmentLength,
        /// Meaningful where `ttt` is not reserved.
        lun: Lun64 = At(8),
        /// Copied from the NOP-Out that this answers, else reserved.
        itt: Itt = At(16),
        /// Reserved where no answer is wanted.
        ttt: Ttt = At(20),
        /// Status sequence number; not advanced by a NOP-In that answers nothing.
        stat_sn: SerialNumber = At(24),
        /// The next CmdSN expected.
        exp_cmd_sn: SerialNumber = At(28),
        /// The largest CmdSN accepted.
        max_cmd_sn: SerialNumber = At(32),
    }
    ones: FINAL_ONE;
    check: |bhs, _| no_ahs(bhs);
}

fn check_nop_out(bhs: &Bhs, nop: &NopOut) -> Result<(), ParseError> {
    no_ahs(bhs)?;
    // RFC 7143 §11.18.1: a NOP-Out with a reserved Initiator Task Tag MUST be immediate, so that it takes no CmdSN.
    require(nop.itt != Itt::RESERVED || nop.immediate, "immediate", 0)
}
