//! PDUs that answer no SCSI command, from the moment they are decided until they are sent.

use iscsi_wire::{Bhs, Itt, SerialNumber, opcode};

use crate::session::TaskId;
use crate::session::task::RequestSlot;

/// A PDU whose sequence numbers are put in as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) bhs: Bhs,
    pub(crate) data: Vec<u8>,
    pub(crate) stat_sn: StatSnUse,
    /// The allowance that is free again with this answer.
    pub(crate) slot: RequestSlot,
    /// Kept back until every task that was completed as this number or before has sent its status; 0 waits for none.
    pub(crate) after_completion: u64,
    /// The task that goes on over this connection as soon as this has been sent.
    pub(crate) reassigns: Option<Reassignment>,
    /// A response fence stands until it is acknowledged.
    pub(crate) fenced: bool,
}

/// A task that is to go on over another connection, and from where (RFC 7143 §11.5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reassignment {
    pub(crate) task: TaskId,
    /// The initiator has what lies before this DataSN or R2TSN; 0 says nothing new.
    pub(crate) exp_data_sn: u32,
}

/// What a PDU does with StatSN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatSnUse {
    /// Carries the next and uses it up.
    Advance,
    /// Carries the next and leaves it: a ping of the target's own.
    Tell,
}

impl Reply {
    /// An answer with a StatSN of its own and no data.
    pub(crate) const fn new(bhs: Bhs, slot: RequestSlot) -> Self {
        let data = Vec::new();
        Self {
            bhs,
            data,
            stat_sn: StatSnUse::Advance,
            slot,
            after_completion: 0,
            reassigns: None,
            fenced: false,
        }
    }

    pub(crate) const fn is_reject(&self) -> bool {
        self.bhs.opcode() == opcode::REJECT
    }

    /// The tag of the task management request, the text request or the logout that it answers.
    pub(crate) fn answered_tag(&self) -> Option<Itt> {
        let answers = matches!(
            self.bhs.opcode(),
            opcode::TASK_MANAGEMENT_RESPONSE | opcode::TEXT_RESPONSE | opcode::LOGOUT_RESPONSE
        );
        let [.., a, b, c, d] = *self.bhs.0.first_chunk::<20>()?;
        answers.then(|| Itt(u32::from_be_bytes([a, b, c, d])))
    }

    /// Puts in the numbers: every PDU that a target sends has the three at the same places (RFC 7143 §11.4 to §11.19).
    pub(crate) fn number(&mut self, stat_sn: SerialNumber, exp: SerialNumber, max: SerialNumber) {
        self.bhs.0[24..28].copy_from_slice(&stat_sn.0.to_be_bytes());
        self.bhs.0[28..32].copy_from_slice(&exp.0.to_be_bytes());
        self.bhs.0[32..36].copy_from_slice(&max.0.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use iscsi_wire::{Itt, LogoutResponse, LogoutResponseCode, NopIn, Ttt};

    use super::*;

    #[test]
    fn number_of_two_pdus_lands_in_their_fields() {
        let numbers = [SerialNumber(0xa1), SerialNumber(0xb2), SerialNumber(0xc3)];
        let nop = NopIn {
            itt: Itt(1),
            ttt: Ttt::RESERVED,
            ..NopIn::default()
        };
        let mut reply = Reply::new(nop.emit(), RequestSlot::None);
        reply.number(numbers[0], numbers[1], numbers[2]);
        let nop = NopIn::parse(&reply.bhs).unwrap();
        assert_eq!([nop.stat_sn, nop.exp_cmd_sn, nop.max_cmd_sn], numbers);
        let logout = LogoutResponse {
            response: LogoutResponseCode::Closed,
            ..Default::default()
        };
        let mut reply = Reply::new(logout.emit(), RequestSlot::None);
        reply.number(numbers[0], numbers[1], numbers[2]);
        let logout = LogoutResponse::parse(&reply.bhs).unwrap();
        assert_eq!(
            [logout.stat_sn, logout.exp_cmd_sn, logout.max_cmd_sn],
            numbers
        );
    }
}
