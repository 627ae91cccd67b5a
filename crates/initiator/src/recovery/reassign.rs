//! What a lost connection leaves, and how another takes it over: ErrorRecoveryLevel 2 (RFC 7143 §7.1.4.3, §7.2.2, §11.5.6).
//!
//! Before anything is taken over, the lost connection is logged out for recovery, by a Logout on another connection or by a
//! login with its CID. Then a command that the target has acknowledged goes on by TASK REASSIGN; a request that it has not
//! is sent again with its CmdSN, since it was discarded with the connection (§11.14); and what cannot be continued is
//! [`Event::Lost`]: immediate requests, text, task management.

use std::collections::{BTreeMap, VecDeque};

use iscsi_wire::{
    Cid, InitiatorPdu, Itt, Lun64, SerialNumber, TaskManagementFunction, TaskManagementRequest,
    TaskManagementResponse, TaskManagementResponseCode,
};

use super::{Recovery, Sent};
use crate::Event;
use crate::session::{Initiator, Pending};
use crate::task::Task;
use crate::transmit::Outgoing;

/// What was outstanding on a connection that is lost.
#[derive(Clone, Debug)]
pub(crate) struct Orphans {
    pub(crate) cid: Cid,
    /// What was expected there last.
    pub(crate) exp_stat_sn: SerialNumber,
    pending: BTreeMap<Itt, Pending>,
    sent: VecDeque<Sent>,
    held: VecDeque<Outgoing>,
}

impl Initiator {
    /// What is outstanding, for another connection to take over.
    pub(crate) fn into_orphans(self) -> Orphans {
        Orphans {
            cid: self.config.cid,
            exp_stat_sn: self.exp_stat_sn,
            pending: self.pending,
            sent: self
                .recovery
                .map(|recovery| recovery.sent)
                .unwrap_or_default(),
            held: self.held,
        }
    }

    /// Takes over what a connection has left that was logged out. `continues`: its tasks wait for a new allegiance.
    pub(crate) fn adopt(&mut self, orphans: Orphans, continues: bool) {
        let Orphans {
            mut pending,
            sent,
            held,
            ..
        } = orphans;
        let expected = self.numbers.exp_cmd_sn;
        let now = self.now;
        let unacknowledged = sent.into_iter().filter(|sent| !sent.cmd_sn.lt(expected));
        for Sent {
            cmd_sn, outgoing, ..
        } in unacknowledged
        {
            let itt = outgoing.pdu.emit().itt();
            let Some(request) = pending.remove(&itt) else {
                continue;
            };
            self.pending.insert(itt, request);
            self.send_again(outgoing.clone());
            if let Some(Recovery { sent, .. }) = self.recovery.as_deref_mut() {
                let at = sent.partition_point(|other| other.cmd_sn.lt(cmd_sn));

                sent.insert(
                    at,
                    Sent {
                        cmd_sn,
                        at: now,
                        outgoing,
                    },
                );
            }
        }
        for outgoing in held {
            let itt = outgoing.pdu.emit().itt();
            if let Some(request) = pending.remove(&itt) {
                self.pending.insert(itt, request);
                self.held.push_back(outgoing);
            }
        }
        for (itt, request) in pending {
            match request {
                Pending::Command(task) | Pending::Reassign { task, .. } if !continues => {
                    drop(task);
                    self.tell_late(Event::Lost { itt });
                }
                Pending::Command(task) if task.is_immediate => {
                    self.tell_late(Event::Lost { itt });
                }
                Pending::Command(task) => self.reassign(itt, task),
                Pending::Reassign { itt, task, .. } => self.reassign(itt, task),
                Pending::Probe => {}
                _ => self.tell_late(Event::Lost { itt }),
            }
        }
        self.send_held();
    }

    /// A ping has been answered, and everything before that: what was asked before it and has no answer has not arrived. An
    /// immediate request is missed by nobody else (RFC 7143 §4.2.2.1).
    pub(crate) fn reassign_again(&mut self, probe: Itt) {
        let before = |itt: &Itt| SerialNumber(itt.0).lt(SerialNumber(probe.0));
        let unanswered: Vec<Itt> = self
            .pending
            .iter()
            .filter(|(itt, request)| matches!(request, Pending::Reassign { .. }) && before(itt))
            .map(|(itt, _)| *itt)
            .collect();
        for itt in unanswered {
            if let Some(Pending::Reassign { itt, task, .. }) = self.pending.remove(&itt) {
                self.reassign(itt, task);
            }
        }
    }

    /// RFC 7143 §11.17.1: too many immediate requests at a time, of which this is to be sent again: when one of the others is answered,
    /// or at once where all of them have been. Whether it is one.
    pub(crate) fn hold_reassignment(&mut self, request: Itt) -> bool {
        let Some(Pending::Reassign { refused, .. }) = self.pending.get_mut(&request) else {
            return false;
        };
        *refused = true;
        let waits =
            |request: &Pending| matches!(request, Pending::Reassign { refused, .. } if !*refused);
        if !self.pending.values().any(waits) {
            self.reassign_refused();
        }
        true
    }

    /// One has been answered: there is room for another.
    fn reassign_refused(&mut self) {
        let is_refused =
            |request: &Pending| matches!(request, Pending::Reassign { refused, .. } if *refused);
        let mut all = self.pending.iter();
        let first = all.find(|(_, request)| is_refused(request));
        let Some(request) = first.map(|(itt, _)| *itt) else {
            return;
        };
        if let Some(Pending::Reassign { itt, task, .. }) = self.pending.remove(&request) {
            self.reassign(itt, task);
        }
    }

    /// RFC 7143 §11.5.1: TASK REASSIGN is immediate.
    fn reassign(&mut self, of: Itt, mut task: Box<Task>) {
        let exp_data_sn = task.prepare_reassignment();
        let itt = self.allocate_itt();
        let request = TaskManagementRequest {
            immediate: true,
            function: TaskManagementFunction::TaskReassign,
            lun: Lun64(0),
            itt,
            referenced_task_tag: of,
            exp_data_sn,
            ..TaskManagementRequest::default()
        };
        self.pending.insert(
            itt,
            Pending::Reassign {
                itt: of,
                task,
                refused: false,
            },
        );
        self.send_now(InitiatorPdu::TaskManagementRequest(request), Vec::new());
        self.count(|repairs| repairs.reassigned += 1);
    }

    /// Takes the answer to a reassignment: whether it was one.
    pub(crate) fn take_reassigned(
        &mut self,
        pdu: &TaskManagementResponse,
        events: &mut Vec<Event>,
    ) -> bool {
        let request = self.pending.remove(&pdu.itt);
        let (itt, task) = match request {
            Some(Pending::Reassign { itt, task, .. }) => (itt, task),
            other => {
                self.pending.extend(other.map(|other| (pdu.itt, other)));
                return false;
            }
        };
        // RFC 7143 §11.5.1: the response comes before the reassignment has an effect.
        if pdu.response == TaskManagementResponseCode::FunctionComplete {
            self.pending.insert(itt, Pending::Command(task));
        }
        events.push(Event::Reassigned {
            itt,
            response: pdu.response,
        });
        self.reassign_refused();
        true
    }

    fn tell_late(&mut self, event: Event) {
        if let Some(recovery) = self.recovery.as_deref_mut() {
            recovery.late.push(event);
        }
    }
}
