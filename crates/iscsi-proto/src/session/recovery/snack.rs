//! SNACK requests: what the initiator asks for again, and what it acknowledges (RFC 7143 §11.16).
//!
//! One that names what was not sent, or was acknowledged, is rejected with "Protocol error"; one that asks for what is not kept any more
//! with "SNACK reject", and its command ends if it has not; a field that cannot be with "Invalid PDU field"; a DataACK that nobody asked for
//! with "Invalid data ack".

use iscsi_wire::{Bhs, Itt, RejectReason, SerialNumber, SnackRequest, SnackType, Ttt};

use super::statuses::Unsendable;
use crate::session::{ConnectionIndex, DataFault, Event, Session, TaskId};

/// What becomes of a request.
type Answer = Result<(), Refusal>;

/// Why a request is not met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refusal {
    reason: RejectReason,
    /// RFC 7143 §11.17.2: the DataSN or R2TSN that comes next.
    next_data_sn: u32,
}

impl Session {
    pub(in crate::session) fn handle_snack(
        &mut self,
        c: ConnectionIndex,
        bhs: &Bhs,
    ) -> Option<Event> {
        let snack = match SnackRequest::parse(bhs) {
            Ok(snack) => snack,
            Err(error) => return self.malformed(c, bhs, error),
        };
        if !self.recovers() {
            // RFC 7143 §11.16: SNACK is for ErrorRecoveryLevel 1 and above.
            return self.refuse(c, RejectReason::SnackReject, bhs);
        }
        let answer = match snack.r#type {
            SnackType::Status => self.status_snack(c, &snack),
            SnackType::DataAck => self.data_ack(c, &snack),
            SnackType::DataOrR2t => self.data_snack(c, &snack),
            SnackType::RData => self.r_data_snack(c, &snack),
            // RFC 7143 §11.16.1: all other values are reserved.
            SnackType::Other(_) => Err(RejectReason::InvalidPduField.into()),
        };
        match answer {
            Ok(()) => {
                self.skip_segment(c, bhs);
                None
            }
            Err(Refusal {
                reason,
                next_data_sn,
            }) => {
                self.skip_segment(c, bhs);
                self.reject_with(c, reason, bhs, next_data_sn)
            }
        }
    }

    fn status_snack(&mut self, c: ConnectionIndex, snack: &SnackRequest) -> Answer {
        // RFC 7143 §11.16.4, §11.16.5.
        require(snack.itt == Itt::RESERVED && snack.ttt == Ttt::RESERVED)?;
        if snack.beg_run == 0 && snack.run_length == 0 {
            self.resend_all_statuses(c);
            return Ok(());
        }
        let count = Some(snack.run_length).filter(|count| *count > 0);
        self.resend_statuses(c, SerialNumber(snack.beg_run), count)
            .map_err(|why| Refusal::from(reason_of(why)))
    }

    fn data_ack(&mut self, c: ConnectionIndex, snack: &SnackRequest) -> Answer {
        let invalid = Refusal::from(RejectReason::InvalidDataAck);
        // RFC 7143 §11.16.4, §11.16.5, §11.16.7: it names the tag and the LUN of the Data-In that asked for it, and no run.
        require(snack.itt == Itt::RESERVED)?;
        let id = self.task_asked(c, snack.ttt).ok_or(invalid)?;
        let lun = self.tasks.get(id).map(|task| task.lun);
        if snack.run_length != 0 || lun != Some(snack.lun) {
            return Err(invalid);
        }
        self.acknowledge_data(id, snack.beg_run)
            .then_some(())
            .ok_or(invalid)
    }

    fn data_snack(&mut self, c: ConnectionIndex, snack: &SnackRequest) -> Answer {
        // RFC 7143 §11.16.5.
        require(snack.ttt == Ttt::RESERVED)?;
        let id = self.task_of_snack(c, snack)?;
        let (begin, count) = (snack.beg_run, snack.run_length);
        let (sent, next_data_sn) = match self.tasks.get(id) {
            Some(task) if task.write => {
                let next = task.next_data_sn;
                (self.resend_r2ts(id, begin, count), next)
            }
            task => {
                let next = task.map_or(0, |task| task.next_data_sn);
                (self.resend_data(id, begin, count), next)
            }
        };
        sent.map_err(|why| self.unsendable(id, why, next_data_sn))
    }

    fn r_data_snack(&mut self, c: ConnectionIndex, snack: &SnackRequest) -> Answer {
        // RFC 7143 §11.16.5 to §11.16.7.
        let tagged = snack.ttt != Ttt::RESERVED && snack.ttt.0 != 0;
        require(tagged && snack.beg_run == 0 && snack.run_length == 0)?;
        let id = self.task_of_snack(c, snack)?;
        require(self.tasks.get(id).is_some_and(|task| !task.write))?;
        self.resend_anew(id, snack.ttt.0)
            .map_err(|why| self.unsendable(id, why, 0))
    }

    /// The task of a SNACK that names one. RFC 7143 §4.2.5.1: it comes over the connection of the task.
    fn task_of_snack(&self, c: ConnectionIndex, snack: &SnackRequest) -> Result<TaskId, Refusal> {
        let found = self.tasks.find(snack.itt);
        // RFC 7143 §11.16.1: a SNACK for a command precedes the acknowledgement of its status.
        found
            .filter(|id| self.connection_of(*id) == Some(c))
            .ok_or_else(|| RejectReason::ProtocolError.into())
    }

    fn unsendable(&mut self, id: TaskId, why: Unsendable, next_data_sn: u32) -> Refusal {
        if why == Unsendable::Gone {
            // RFC 7143 §7.8: where the status has not been sent, it says that the SNACK was rejected.
            self.give_up(id, DataFault::SnackRejected);
            self.queue_if_due(id);
        }
        let reason = reason_of(why);
        let numbered = reason == RejectReason::ProtocolError;
        Refusal {
            reason,
            next_data_sn: if numbered { next_data_sn } else { 0 },
        }
    }

    fn queue_if_due(&mut self, id: TaskId) {
        if self.tasks.get(id).is_some_and(|task| task.has_answer()) {
            self.queue(id);
        }
    }
}

impl From<RejectReason> for Refusal {
    fn from(reason: RejectReason) -> Self {
        Self {
            reason,
            next_data_sn: 0,
        }
    }
}

fn require(legal: bool) -> Answer {
    if legal {
        Ok(())
    } else {
        Err(RejectReason::InvalidPduField.into())
    }
}

fn reason_of(why: Unsendable) -> RejectReason {
    match why {
        Unsendable::OutOfRange => RejectReason::ProtocolError,
        Unsendable::Gone => RejectReason::SnackReject,
    }
}
