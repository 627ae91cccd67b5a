//! Statuses in the order of StatSN, and data in any order (RFC 7143 §4.2.2.2, §7.8, §7.9).

use std::collections::BTreeMap;
use std::time::Duration;

use iscsi_wire::{
    BHS_BYTES, Bhs, DataIn, Itt, Reject, RejectReason, SerialNumber, SnackRequest, SnackType,
    TargetPdu, opcode,
};

use super::incoming::runs;
use crate::end::End;
use crate::framing::Frame;
use crate::receive::{CHECK_CONDITION, Status, numbers};
use crate::session::{Initiator, Pending};
use crate::{Event, Violation};

/// Statuses that came before their turn.
#[derive(Clone, Debug, Default)]
pub(super) struct Statuses {
    held: BTreeMap<u32, (TargetPdu, Vec<u8>)>,
    /// One past the last StatSN known to be used; before the first, nothing.
    until: Option<SerialNumber>,
    asked: BTreeMap<u32, Duration>,
}

impl Statuses {
    fn known(&mut self, until: SerialNumber) {
        if self.until.is_none_or(|known| known.lt(until)) {
            self.until = Some(until);
        }
    }

    /// Whether the status of a command has come and waits for its data: that which has this SNACK Tag.
    pub(super) fn has_come(&self, itt: Itt, snack_tag: u32) -> bool {
        self.held.values().any(|(pdu, _)| match pdu {
            TargetPdu::DataIn(pdu) => (pdu.itt, 0) == (itt, snack_tag),
            TargetPdu::ScsiResponse(pdu) => (pdu.itt, pdu.snack_tag) == (itt, snack_tag),
            _ => false,
        })
    }

    /// Runs of missing numbers that were not asked for within `patience`.
    pub(super) fn ask(
        &mut self,
        next: SerialNumber,
        now: Duration,
        patience: Duration,
    ) -> Vec<(u32, u32)> {
        let Some(until) = self.until.filter(|until| next.lt(*until)) else {
            self.asked.clear();
            return Vec::new();
        };
        let count = until.distance_from(next).min(MAX_STATUS_GAP);
        let missing: Vec<u32> = (0..count)
            .map(|ahead| next.add(ahead).0)
            .filter(|number| !self.held.contains_key(number))
            .filter(|number| {
                self.asked
                    .get(number)
                    .is_none_or(|at| now >= *at + patience)
            })
            .collect();
        self.asked
            .extend(missing.iter().map(|number| (*number, now)));
        runs(&missing)
    }
}

impl Initiator {
    /// A PDU of the full feature phase where PDUs may have been lost before it.
    pub(crate) fn handle_recovering(
        &mut self,
        pdu: TargetPdu,
        data: &[u8],
        events: &mut Vec<Event>,
    ) {
        let (status, exp_cmd_sn, max_cmd_sn) = numbers(&pdu);
        self.take_late_window(exp_cmd_sn, max_cmd_sn, events);
        self.trim_sent();
        let now = self.now;
        if let Some(recovery) = self.recovery.as_deref_mut() {
            (recovery.heard_at, recovery.heard) = (now, true);
            events.append(&mut recovery.late);
        }
        if let TargetPdu::TextResponse(over) = &pdu
            && over.r#final
        {
            // In its turn it may come behind the very status whose data has to be asked for.
            self.take_declared(over.itt);
        }
        match status {
            Status::None => self.handle_unnumbered(pdu, data, events),
            Status::Next(next) => {
                // RFC 7143 §7.1.4.2: the next StatSN tells of those before it.
                if self.knows_statuses(next, events) {
                    self.handle_unnumbered(pdu, data, events);
                }
            }
            Status::Counts(number) => self.handle_status(number, pdu, data, events),
        }
        self.take_statuses(events);
        self.ask();
    }

    /// RFC 7143 §7.8: a PDU whose data digest is wrong is discarded; what its header says is missing then is asked for.
    pub(crate) fn handle_bad_data(&mut self, frame: &Frame, events: &mut Vec<Event>) {
        self.count(|repairs| repairs.bad_data += 1);
        match TargetPdu::parse(&frame.bhs) {
            Ok(TargetPdu::DataIn(pdu)) => {
                if let Some(Pending::Command(task)) = self.pending.get_mut(&pdu.itt) {
                    // Its replica carries the status too, where it had one.
                    task.expect_data_through(&pdu);
                }
            }
            // RFC 7143 §7.8: of an unsolicited PDU the header is discarded too, and its loss comes out as any other.
            Ok(TargetPdu::AsyncMessage(_) | TargetPdu::Reject(_)) | Err(_) => {}
            Ok(pdu) => {
                if let Status::Counts(number) = numbers(&pdu).0 {
                    self.knows_statuses(number.next(), events);
                }
            }
        }
        self.ask();
    }

    /// All StatSNs before this one are used. Whether that can be.
    fn knows_statuses(&mut self, until: SerialNumber, events: &mut Vec<Event>) -> bool {
        let next = self.exp_stat_sn;
        // RFC 7143 §4.2.2.2: a large difference is a failed connection.
        let ahead = until.distance_from(next);
        if next.le(until) && ahead > MAX_STATUS_GAP {
            let (expected, found) = (next, until);
            events.push(Event::Violation(Violation::StatSn { expected, found }));
            return false;
        }
        if let Some(recovery) = self.recovery.as_deref_mut() {
            recovery.statuses.known(until);
        }
        true
    }

    /// What has no StatSN of its own.
    fn handle_unnumbered(&mut self, pdu: TargetPdu, data: &[u8], events: &mut Vec<Event>) {
        match pdu {
            TargetPdu::DataIn(pdu) => self.take_numbered_data(&pdu, data, events),
            TargetPdu::ReadyToTransfer(pdu) => {
                let Some(Pending::Command(task)) = self.pending.get_mut(&pdu.itt) else {
                    // RFC 7143 §7.9: a duplicate, for a command that is over.
                    return self.count(|repairs| repairs.duplicates += 1);
                };
                let mut broken = Vec::new();
                let answers = task.take_numbered_r2t(&pdu, &self.params, &mut broken);
                events.extend(broken.into_iter().map(Event::Violation));
                match answers {
                    false => self.count(|repairs| repairs.duplicates += 1),
                    true if self.config.answer_r2ts => self.answer_r2t(&pdu),
                    true => events.push(Event::R2t(pdu)),
                }
            }
            other => self.handle_pdu(other, data, events),
        }
    }

    fn take_numbered_data(&mut self, pdu: &DataIn, data: &[u8], events: &mut Vec<Event>) {
        let Some(Pending::Command(task)) = self.pending.get_mut(&pdu.itt) else {
            return self.count(|repairs| repairs.duplicates += 1);
        };
        let before = task.in_received;
        let mut broken = Vec::new();
        task.take_numbered_data(pdu, data, &mut broken);
        let is_new = task.in_received != before || data.is_empty();
        events.extend(broken.into_iter().map(Event::Violation));
        if !is_new {
            self.count(|repairs| repairs.duplicates += 1);
        }
        self.acknowledge_data(pdu.itt);
    }

    fn handle_status(
        &mut self,
        number: SerialNumber,
        pdu: TargetPdu,
        data: &[u8],
        events: &mut Vec<Event>,
    ) {
        let is_past = number.lt(self.exp_stat_sn);
        let is_held = self
            .recovery
            .as_deref()
            .is_some_and(|recovery| recovery.statuses.held.contains_key(&number.0));
        // RFC 7143 §11.16.3: an R-Data SNACK brings another response with the StatSN of the first.
        let replaces = matches!(&pdu, TargetPdu::ScsiResponse(pdu) if pdu.snack_tag != 0);
        if is_held && let TargetPdu::DataIn(pdu) = &pdu {
            // Its status is there, from a response that was sent again instead; its data may not be.
            self.take_numbered_data(pdu, data, events);
        }
        if is_past || (is_held && !replaces) {
            return self.count(|repairs| repairs.duplicates += 1);
        }
        if !self.knows_statuses(number.next(), events) {
            return;
        }
        match &pdu {
            TargetPdu::DataIn(pdu) => self.take_numbered_data(pdu, data, events),
            // Nothing may wait for what these say: the one ends hopes, the other the connection.
            TargetPdu::Reject(reject) => self.handle_rejection(*reject, data, events),
            TargetPdu::LogoutResponse(response) => self.handle_logout(*response, events),
            _ => {}
        }
        if let Some(recovery) = self.recovery.as_deref_mut() {
            recovery
                .statuses
                .held
                .insert(number.0, (pdu, data.to_vec()));
        }
    }

    /// Takes the statuses whose turn it is. RFC 7143 §7.9: one whose data is not all there waits, and is not acknowledged.
    fn take_statuses(&mut self, events: &mut Vec<Event>) {
        loop {
            let next = self.exp_stat_sn;
            let recovery = self.recovery.as_deref();
            let Some((pdu, _)) = recovery.and_then(|of| of.statuses.held.get(&next.0)) else {
                return;
            };
            let pdu = *pdu;
            if self.waits_for_data(&pdu) {
                return;
            }
            let recovery = self.recovery.as_deref_mut();
            let Some((pdu, data)) = recovery.and_then(|of| of.statuses.held.remove(&next.0)) else {
                return;
            };
            self.exp_stat_sn = next.next();
            match pdu {
                TargetPdu::Reject(_) | TargetPdu::LogoutResponse(_) => {}
                TargetPdu::DataIn(pdu) => self.finish_by_data_in(&pdu, events),
                TargetPdu::NopIn(pdu) if self.take_probed(pdu.itt, &data) => {}
                other => self.handle_pdu(other, &data, events),
            }
        }
    }

    fn waits_for_data(&mut self, pdu: &TargetPdu) -> bool {
        let (itt, tag) = match pdu {
            TargetPdu::DataIn(pdu) => (pdu.itt, 0),
            TargetPdu::ScsiResponse(pdu) => (pdu.itt, pdu.snack_tag),
            _ => return false,
        };
        let Some(Pending::Command(task)) = self.pending.get_mut(&itt) else {
            return false;
        };
        match pdu {
            TargetPdu::DataIn(pdu) => task.expect_data_through(pdu),
            // RFC 7143 §11.4.4: without the tag of the last R-Data SNACK it is not the status.
            TargetPdu::ScsiResponse(pdu) if task.snack_tag() == tag => task.expect_data_of(pdu),
            _ => {}
        }
        let is_lost = task.incoming.as_deref().is_some_and(|of| of.lost);
        !is_lost && (task.snack_tag() != tag || !task.has_all_data())
    }

    fn finish_by_data_in(&mut self, pdu: &DataIn, events: &mut Vec<Event>) {
        let Some(task) = self.take_task(pdu.itt) else {
            return events.push(Event::Unmatched(TargetPdu::DataIn(*pdu), Vec::new()));
        };
        let mut broken = Vec::new();
        let done = task.finish(pdu.itt, End::of_data_in(pdu), &self.params, &mut broken);
        if pdu.status == CHECK_CONDITION {
            let rule = "CHECK CONDITION in a Data-In";
            broken.push(Violation::Data { itt: pdu.itt, rule });
        }
        events.extend(broken.into_iter().map(Event::Violation));
        events.push(Event::CommandDone(done));
    }

    /// RFC 7143 §7.3, §7.8: what a Reject says about recovery.
    fn handle_rejection(&mut self, reject: Reject, data: &[u8], events: &mut Vec<Event>) {
        let header = data.first_chunk::<BHS_BYTES>().map(|bytes| Bhs(*bytes));
        let Some(bhs) = header else {
            return self.handle_reject(reject, data, events);
        };
        match bhs.opcode() {
            opcode::SNACK_REQUEST => {
                self.give_up_data_of(&bhs);
                events.push(Event::Rejected { reject, header });
            }
            opcode::DATA_OUT => events.push(Event::Rejected { reject, header }),
            _ if reject.reason == RejectReason::DataDigestError && self.plug(bhs.itt()) => {
                events.push(Event::Rejected { reject, header });
            }
            _ if reject.reason == RejectReason::ImmediateCommandReject
                && self.hold_reassignment(bhs.itt()) =>
            {
                events.push(Event::Rejected { reject, header });
            }
            _ => self.handle_reject(reject, data, events),
        }
    }

    /// Data that the target does not send again is lost, where some is missing; its status will come, or has.
    fn give_up_data_of(&mut self, bhs: &Bhs) {
        let Ok(snack) = SnackRequest::parse(bhs) else {
            return;
        };
        let is_data = matches!(snack.r#type, SnackType::DataOrR2t | SnackType::RData);
        if let Some(Pending::Command(task)) = self.pending.get_mut(&snack.itt)
            && is_data
            && !task.has_all_data()
            && let Some(incoming) = task.incoming.as_deref_mut()
        {
            incoming.lost = true;
        }
    }

    /// RFC 7143 §4.2.2.1: numbers that are not greater than those known are passed over; only what contradicts itself is wrong.
    fn take_late_window(
        &mut self,
        exp_cmd_sn: SerialNumber,
        max_cmd_sn: SerialNumber,
        events: &mut Vec<Event>,
    ) {
        let told = self.told;
        let is_late = |new: SerialNumber, known: SerialNumber| new.lt(known);
        if is_late(exp_cmd_sn, told.0) || is_late(max_cmd_sn, told.1) {
            return;
        }
        self.take_window(exp_cmd_sn, max_cmd_sn, events);
    }
}

/// Statuses that may be missing before the connection counts as failed.
const MAX_STATUS_GAP: u32 = 4096;
