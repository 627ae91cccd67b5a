//! Data-In that the initiator has not acknowledged, and what it may ask of it (RFC 7143 §11.7.2, §11.16.2, §11.16.3).
//!
//! The initiator is asked for a DataACK once in MaxBurstLength bytes, and not for the last of a command: its status acknowledges
//! that. What has neither been acknowledged nor been given up can be sent again, PDU by PDU as it was, or all of it anew.

use core::time::Duration;
use std::collections::VecDeque;

use iscsi_wire::{DataIn, Ttt};

use super::statuses::Unsendable;
use crate::session::task::{RequestSlot, Task};
use crate::session::{ConnectionIndex, DataFault, Session, TaskId, Transmit, next_tag};

/// Of a task's Data-In, what is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SentData {
    /// DataSN of the first of `pdus`: what is before is acknowledged, or given up.
    first: u32,
    pdus: VecDeque<SentPdu>,
    /// The initiator has all before this DataSN.
    pub(super) acknowledged: u32,
    /// DataACKs that were asked for: the tag, and the DataSN that they will say.
    asked: VecDeque<(Ttt, u32)>,
    /// Bytes sent since one was asked for.
    since_asked: u32,
    /// The engine waits for the memory of what is before this byte.
    wanted: Option<u32>,
}

/// A Data-In PDU as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SentPdu {
    offset: u32,
    bytes: u32,
    r#final: bool,
    /// With the A bit: its tag.
    ttt: Ttt,
}

impl SentData {
    /// Whether the PDU that is sent next, of `bytes`, asks for a DataACK.
    fn asks(&mut self, bytes: u32, max_burst_length: u32, last: bool) -> bool {
        self.since_asked = self.since_asked.saturating_add(bytes);
        // RFC 7143 §11.7.2: not more often than once every MaxBurstLength bytes.
        let asks = self.since_asked >= max_burst_length && !last;
        if asks {
            self.since_asked = 0;
        }
        asks
    }

    /// Takes note of a PDU that is sent for the first time.
    fn keep(&mut self, data_sn: u32, pdu: SentPdu) {
        if pdu.ttt != Ttt::RESERVED {
            self.asked.push_back((pdu.ttt, data_sn.wrapping_add(1)));
        }
        self.pdus.push_back(pdu);
    }

    fn get(&self, data_sn: u32) -> Option<&SentPdu> {
        let at = data_sn.checked_sub(self.first)?;
        self.pdus.get(usize::try_from(at).ok()?)
    }

    /// Whether a DataACK is to come for what is kept.
    pub(super) fn is_asked(&self) -> bool {
        self.asked.iter().any(|(_, sn)| *sn > self.first)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pdus.is_empty()
    }

    /// Forgets PDUs that begin before this byte.
    fn forget_through(&mut self, through: u32) {
        let old = |pdu: &&SentPdu| pdu.offset < through;
        while self.pdus.front().filter(old).is_some() {
            self.pdus.pop_front();
            self.first += 1;
        }
    }
}

impl Task {
    /// Takes note of a Data-In that is sent for the first time, and has it ask for a DataACK where it is time for one. `last` says that the status
    /// comes next.
    pub(in crate::session) fn keep_data_in(
        &mut self,
        pdu: &mut DataIn,
        last: bool,
        max_burst_length: u32,
        now: Duration,
        next_ttt: &mut Ttt,
    ) {
        let last = last || self.sent == self.expected_data_transfer_length;
        let Some(recovery) = &mut self.recovery else {
            return;
        };
        let bytes = pdu.data_segment_length;
        if recovery.data_in.asks(bytes, max_burst_length, last) {
            // RFC 7143 §11.7.4: with A go a tag and the LUN.
            (pdu.acknowledge, pdu.lun, pdu.ttt) = (true, self.lun, next_tag(next_ttt));
        }
        let kept = SentPdu {
            offset: pdu.buffer_offset,
            bytes,
            r#final: pdu.r#final,
            ttt: pdu.ttt,
        };
        recovery.data_in.keep(pdu.data_sn, kept);
        recovery.progress = now;
    }

    /// Whether Data-In waits to be sent again.
    pub(in crate::session) fn has_data_again(&self) -> bool {
        let recovery = self.recovery.as_ref().filter(|_| !self.write);
        recovery.is_some_and(|one| one.is_asked_again())
    }

    /// Where the Data-In that is kept begins.
    fn kept_from(&self) -> u32 {
        let kept = self
            .recovery
            .as_ref()
            .and_then(|one| one.data_in.pdus.front());
        kept.map_or(self.sent, |pdu| pdu.offset)
    }

    /// The run of DataSNs that a SNACK names: what it asks for, if it can be had. RFC 7143 §11.16.6, §11.16.7: 0 and 0 stand for all that is
    /// unacknowledged, a RunLength of 0 for all from BegRun on.
    fn data_run(&self, begin: u32, count: u32) -> Result<(u32, u32), Unsendable> {
        let Some(recovery) = &self.recovery else {
            return Err(Unsendable::OutOfRange);
        };
        let (acknowledged, next) = (recovery.data_in.acknowledged, self.next_data_sn);
        if begin == 0 && count == 0 {
            let first = recovery.data_in.first;
            return if first > acknowledged {
                Err(Unsendable::Gone)
            } else {
                Ok((acknowledged, next))
            };
        }
        let end = if count == 0 {
            next
        } else {
            begin.saturating_add(count)
        };
        // RFC 7143 §11.16: what was acknowledged, or not sent, is not sent again.
        if begin < acknowledged || begin >= end || end > next {
            return Err(Unsendable::OutOfRange);
        }
        if begin < recovery.data_in.first {
            return Err(Unsendable::Gone);
        }
        Ok((begin, end))
    }
}

impl Session {
    /// Has a task's Data-In PDUs from DataSN `begin` on sent again, `count` of them, or all where that is 0.
    pub(in crate::session) fn resend_data(
        &mut self,
        id: TaskId,
        begin: u32,
        count: u32,
    ) -> Result<(), Unsendable> {
        let Some(task) = self.tasks.get_mut(id) else {
            return Err(Unsendable::OutOfRange);
        };
        let (begin, end) = task.data_run(begin, count)?;
        let Some(connection) = self.connections.get(task.connection) else {
            return Err(Unsendable::OutOfRange);
        };
        let Some(recovery) = &mut task.recovery else {
            return Err(Unsendable::OutOfRange);
        };
        // RFC 7143 §11.16.3: where the initiator takes less than before, it asks by R-Data SNACK.
        let longest = connection.max_send_data_segment_length;
        let too_long = |sn| {
            recovery
                .data_in
                .get(sn)
                .is_none_or(|pdu| pdu.bytes > longest)
        };
        if (begin..end).any(too_long) {
            return Err(Unsendable::Gone);
        }
        if begin < end {
            recovery.ask_again(begin, end);
            self.queue(id);
        }
        Ok(())
    }

    /// A read goes on over another connection, cut as that one takes it: the initiator has what lies before this DataSN, or no more than it has
    /// acknowledged where that is 0 (RFC 7143 §7.2.2, §11.5.6).
    pub(in crate::session) fn resume_data_in(&mut self, id: TaskId, exp_data_sn: u32) {
        let Some(task) = self
            .tasks
            .get(id)
            .filter(|task| !task.write && task.recovery.is_some())
        else {
            return;
        };
        if task.next_data_sn > 0 {
            self.acknowledge_data(id, exp_data_sn);
            if self.resend_anew(id, 0).is_err() {
                self.give_up(id, DataFault::SnackRejected);
            }
        }
    }

    /// Has all of a task's unacknowledged Data-In sent anew, cut as the initiator takes it now, and then its status with this SNACK Tag (RFC
    /// 7143 §11.16.3).
    pub(in crate::session) fn resend_anew(
        &mut self,
        id: TaskId,
        snack_tag: u32,
    ) -> Result<(), Unsendable> {
        let Some(task) = self.tasks.get_mut(id) else {
            return Err(Unsendable::OutOfRange);
        };
        let from = task.kept_from();
        let Some(recovery) = &mut task.recovery else {
            return Err(Unsendable::OutOfRange);
        };
        let data = &mut recovery.data_in;
        if data.first > data.acknowledged {
            return Err(Unsendable::Gone);
        }
        // RFC 7143 §11.16.3: DataSN goes on from the last DataACK.
        task.next_data_sn = data.acknowledged;
        data.pdus.clear();
        data.asked.clear();
        data.since_asked = 0;
        task.sent = from;
        task.burst = 0;
        recovery.again.clear();
        recovery.snack_tag = snack_tag;
        // The status that was sent, if it was, has another tag: it is sent anew, under its StatSN.
        recovery.answered = false;
        if task.has_answer() {
            self.queue(id);
        }
        Ok(())
    }

    /// The task that was asked for a DataACK with this tag.
    pub(super) fn task_asked(&self, c: ConnectionIndex, ttt: Ttt) -> Option<TaskId> {
        let asked = |task: &Task| {
            let live = task.recovery.as_ref().filter(|one| !one.over);
            let data = live.map(|one| &one.data_in);
            data.is_some_and(|data| data.asked.iter().any(|(tag, _)| *tag == ttt))
        };
        let mut tasks = self.tasks.iter();
        tasks
            .find(|(_, task)| task.connection == c && asked(task))
            .map(|(id, _)| id)
    }

    /// A DataACK: the initiator has all before this DataSN. False where it cannot.
    pub(super) fn acknowledge_data(&mut self, id: TaskId, before: u32) -> bool {
        let Some(task) = self.tasks.get_mut(id) else {
            return false;
        };
        let next = task.next_data_sn;
        let Some(recovery) = &mut task.recovery else {
            return false;
        };
        let data = &mut recovery.data_in;
        if before > next || before < data.acknowledged {
            return false;
        }
        data.acknowledged = before;
        if let Some(session) = &mut self.recovery {
            session.unheard = false;
            recovery.progress = session.now;
        }
        data.asked.retain(|(_, sn)| *sn > before);
        while data.first < before && data.pdus.pop_front().is_some() {
            data.first += 1;
        }
        // What was acknowledged is not sent again.
        recovery.again.retain_mut(|run| {
            run.0 = run.0.max(before);
            run.0 < run.1
        });
        let through = task.kept_from();
        self.tell_acknowledged(id, through);
        self.make_room(id);
        true
    }

    /// The engine waits for the memory of a task's Data-In before byte `through`. It comes back with [`Event::Acknowledged`], as soon as
    /// that has been sent, and acknowledged where the initiator was asked to. Nothing in a session that does not recover.
    ///
    /// [`Event::Acknowledged`]: super::Event::Acknowledged
    pub fn want_room(&mut self, task: TaskId, through: u32) {
        let recovery = self
            .tasks
            .get_mut(task)
            .and_then(|one| one.recovery.as_mut());
        if let Some(recovery) = recovery {
            recovery.data_in.wanted = Some(through);
            self.make_room(task);
        }
    }

    /// Gives up what the engine needs the memory of, if it has been sent and no DataACK is to come.
    pub(in crate::session) fn make_room(&mut self, id: TaskId) {
        let unheard = self.recovery.as_ref().is_some_and(|one| one.unheard);
        // What cannot be acknowledged now is kept for the connection that its task will have.
        if !self
            .tasks
            .get(id)
            .is_some_and(|task| self.is_reachable(task))
        {
            return;
        }
        let Some(task) = self.tasks.get_mut(id) else {
            return;
        };
        let (all_sent, kept_from) = (task.sent == task.available, task.kept_from());
        let Some(recovery) = &mut task.recovery else {
            return;
        };
        let data = &mut recovery.data_in;
        let Some(through) = data.wanted else { return };
        if kept_from >= through {
            data.wanted = None;
            self.tell_acknowledged(id, through);
        } else if all_sent && (unheard || !data.is_asked()) && !recovery.is_asked_again() {
            // Of what was still to be sent, a PDU would have asked for it, where it was time for that.
            // RFC 7143 §7.8: what is not kept is not sent again, and the SNACK for it is rejected.
            recovery.data_in.wanted = None;
            self.give_up_data(id, through);
        }
    }

    /// Keeps nothing of a task's Data-In before `through`, which has been sent.
    pub(super) fn give_up_data(&mut self, id: TaskId, through: u32) {
        let recovery = self.tasks.get_mut(id).and_then(|one| one.recovery.as_mut());
        if let Some(recovery) = recovery {
            recovery.data_in.forget_through(through);
            let first = recovery.data_in.first;
            recovery.again.retain_mut(|run| {
                run.0 = run.0.max(first);
                run.0 < run.1
            });
            let kept_from = self.tasks.get(id).map_or(through, Task::kept_from);
            self.tell_acknowledged(id, kept_from);
        }
    }

    /// Sends the SCSI Response of a task, which is kept until it is acknowledged.
    pub(in crate::session) fn send_kept_response(&mut self, id: TaskId, out: &mut Transmit) {
        let Some(task) = self.tasks.get(id) else {
            return;
        };
        let (c, slot, sent) = (task.connection, task.slot, task.sent_status());
        if sent.is_none() && self.is_overfull(c) {
            return self.block(c, id);
        }
        let Some(connection) = self.connections.get_mut(c) else {
            return;
        };
        // RFC 7143 §11.4.9: what is sent again has the StatSN that it had.
        let stat_sn = sent.unwrap_or_else(|| {
            let next = connection.stat_sn;
            connection.stat_sn = next.next();
            next
        });
        self.free_slot(c, slot);
        let now = self
            .recovery
            .as_ref()
            .map_or_else(Default::default, |one| one.now);
        if let Some(task) = self.tasks.get_mut(id) {
            task.slot = RequestSlot::None;
            if let Some(recovery) = &mut task.recovery {
                recovery.sent_status = Some(stat_sn);
                recovery.answered = true;
                recovery.progress = now;
            }
        }
        if sent.is_none() {
            self.keep_status(c, stat_sn, id);
            if !self.fenced.is_empty() {
                self.sent_fenced(c, Some(id));
            }
        }
        self.push_response(id, stat_sn, out);
    }

    /// Sends the next Data-In of a task that was asked for again: its bytes.
    pub(in crate::session) fn send_data_again(
        &mut self,
        id: TaskId,
        out: &mut Transmit,
    ) -> Option<u32> {
        let task = self.tasks.get_mut(id)?;
        let recovery = task.recovery.as_mut()?;
        let data_sn = recovery.next_again()?;
        let SentPdu {
            offset,
            bytes,
            r#final,
            ttt,
        } = *recovery.data_in.get(data_sn)?;
        recovery.progress = self.recovery.as_ref()?.now;
        let connection = self.connections.get(task.connection)?;
        // RFC 7143 §11.16: an exact replica but for ExpCmdSN and MaxCmdSN.
        let mut pdu = DataIn {
            r#final,
            data_segment_length: bytes,
            itt: task.itt,
            ttt: Ttt::RESERVED,
            exp_cmd_sn: self.window.exp_cmd_sn(),
            max_cmd_sn: self.window.max_cmd_sn(),
            data_sn,
            buffer_offset: offset,
            ..DataIn::default()
        };
        if ttt != Ttt::RESERVED {
            (pdu.acknowledge, pdu.ttt, pdu.lun) = (true, ttt, task.lun);
        }
        out.push_header(&pdu.emit(), connection.header_digest);
        out.push_task_data(id, offset, bytes, connection.data_digest);
        Some(bytes)
    }
}
