//! Data-Out that is lost, and is asked for again (RFC 7143 §7.8, §7.9, §11.8).
//!
//! A PDU whose digest is wrong, or that a gap in DataSN says was lost, leaves a gap in what has come of the command's data. When its sequence
//! is over (its F bit has come, or a PDU of the next sequence, or nothing for a while) a recovery R2T asks for each gap: it has the next R2TSN, and
//! a tag of its own. Nothing is taken twice: what has come is not written over by what comes again.

use iscsi_wire::{Bhs, DataOut, RejectReason, Ttt};

use super::judge::Verdict;
use super::statuses::Unsendable;
use super::task::SentR2t;
use crate::connection::Purpose;
use crate::session::task::R2t;
use crate::session::{ConnectionIndex, DataFault, Event, Session, TaskId, Transmit};

impl Session {
    /// A Data-Out for a task that has no status yet, in a session that recovers.
    pub(in crate::session) fn recover_data_out(
        &mut self,
        c: ConnectionIndex,
        id: TaskId,
        data: &DataOut,
        bhs: &Bhs,
    ) -> Option<Event> {
        let (in_order, sequences_in_order) = (
            self.params.data_pdu_in_order,
            self.params.data_sequence_in_order,
        );
        let (next_ttt, now) = (self.next_ttt, self.recovery.as_ref()?.now);
        let task = self.tasks.get_mut(id)?;
        let before = task.r2ts.len();
        task.note_progress(now);
        let verdict = task.judge_again(data, in_order, sequences_in_order, next_ttt);
        if task.r2ts.len() < before && task.may_ask(self.params.max_outstanding_r2t) {
            self.queue(id);
        }
        let purpose = Purpose::DataOut {
            task: id,
            ttt: data.ttt,
            r#final: data.r#final,
        };
        match verdict {
            Verdict::Belongs => {
                self.begin_segment(c, bhs, purpose, data.buffer_offset);
                None
            }
            Verdict::Repeats => {
                self.skip_segment(c, bhs);
                if data.r#final {
                    self.end_sequence(id, data.ttt)
                } else {
                    self.tell_data(id, false)
                }
            }
            Verdict::Late => {
                self.counters.late_data_pdus += 1;
                self.counters.late_data_bytes += u64::from(data.data_segment_length);
                self.skip_segment(c, bhs);
                None
            }
            Verdict::UnknownTag => self.refuse(c, RejectReason::InvalidPduField, bhs),
        }
    }

    /// The end of a Data-Out PDU.
    pub(in crate::session) fn end_recovered_data_out(
        &mut self,
        c: ConnectionIndex,
        id: TaskId,
        (ttt, r#final): (Ttt, bool),
        bhs: &Bhs,
        digest_matches: bool,
    ) -> Option<Event> {
        if !digest_matches {
            // RFC 7143 §7.8: Reject, and a recovery R2T once the sequence is over.
            let full = self.reject(c, RejectReason::DataDigestError, bhs);
            if full.is_some() {
                return full;
            }
        }
        let task = self.tasks.get_mut(id)?;
        if digest_matches && task.fault.is_none() {
            let start = DataOut::parse(bhs).map_or(0, |data| data.buffer_offset);
            let end = start.saturating_add(bhs.data_segment_length());
            if !task.received.add(start, end) {
                task.fault = Some(DataFault::DataOffset);
            }
            if let Some(recovery) = &mut task.recovery {
                recovery.fruitless = 0;
            }
        }
        if r#final {
            return self.end_sequence(id, ttt);
        }
        self.tell_data(id, false)
    }

    /// A sequence is over: what is missing of it is asked for.
    fn end_sequence(&mut self, id: TaskId, ttt: Ttt) -> Option<Event> {
        let task = self.tasks.get_mut(id)?;
        task.close_lost(ttt);
        if let Some(recovery) = &mut task.recovery {
            recovery.forget_r2t(ttt);
        }
        self.tell_data(id, true)
    }

    /// Nothing has come of a task's Data-Out for too long: what was asked for is not waited for any more.
    pub(super) fn give_up_sequences(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get_mut(id) else {
            return;
        };
        for r2t in task.r2ts.as_slice().to_vec() {
            task.close_lost(r2t.ttt);
        }
        if task.unsolicited.open {
            task.close_lost(Ttt::RESERVED);
        }
        if let Some(event) = self.tell_data(id, true) {
            self.tell_engine(event);
        }
    }

    /// Sends a recovery R2T for each gap, as far as there may be R2Ts (RFC 7143 §11.8).
    pub(in crate::session) fn send_recovery_r2ts(&mut self, id: TaskId, out: &mut Transmit) {
        let (most, max_burst) = (
            self.params.max_outstanding_r2t,
            self.params.max_burst_length,
        );
        while let Some(task) = self.tasks.get_mut(id)
            && task.recovery.is_some()
            && task.may_ask(most)
            && let Some((offset, end)) = task.lost_data()
        {
            let tries = task.recovery.as_mut().is_some_and(|one| one.try_again());
            if !tries {
                self.give_up(id, DataFault::ProtocolServiceCrcError);
                return;
            }
            self.counters.recovery_r2ts += 1;
            let bytes = (end - offset).min(max_burst);
            self.send_r2t(id, offset, bytes, out);
        }
    }

    /// An R2T is sent for the first time.
    pub(in crate::session) fn keep_r2t(&mut self, id: TaskId, r2t: R2t, r2t_sn: u32) {
        let (Some(task), Some(session)) = (self.tasks.get_mut(id), &mut self.recovery) else {
            return;
        };
        if let Some(recovery) = &mut task.recovery {
            recovery.keep_r2t(SentR2t {
                r2t_sn,
                ttt: r2t.ttt,
                offset: r2t.offset,
                bytes: r2t.bytes,
            });
            recovery.progress = session.now;
            session.watch();
        }
    }

    /// Has a task's R2Ts from R2TSN `begin` on sent again, `count` of them or all where that is 0. One that was answered was received, and is
    /// not.
    pub(in crate::session) fn resend_r2ts(
        &mut self,
        id: TaskId,
        begin: u32,
        count: u32,
    ) -> Result<(), Unsendable> {
        let Some(task) = self.tasks.get_mut(id) else {
            return Err(Unsendable::OutOfRange);
        };
        let next = task.next_data_sn;
        let Some(recovery) = &mut task.recovery else {
            return Err(Unsendable::OutOfRange);
        };
        let all = begin == 0 && count == 0;
        let end = if count == 0 {
            next
        } else {
            begin.saturating_add(count)
        };
        let kept = recovery.r2ts.iter().map(|r2t| r2t.r2t_sn);
        let wanted: Vec<u32> = kept.filter(|sn| begin <= *sn && *sn < end).collect();
        // RFC 7143 §11.16: what was not sent, or was acknowledged by its data, is not sent again.
        if !all && (end > next || wanted.is_empty()) {
            return Err(Unsendable::OutOfRange);
        }
        for sn in wanted {
            recovery.ask_again(sn, sn + 1);
        }
        if recovery.is_asked_again() {
            self.queue(id);
        }
        Ok(())
    }

    /// Sends the R2Ts of a task that were asked for again: replicas, but for StatSN, ExpCmdSN and MaxCmdSN (RFC 7143 §11.16).
    pub(in crate::session) fn send_r2ts_again(&mut self, id: TaskId, out: &mut Transmit) {
        while let Some(task) = self.tasks.get_mut(id)
            && task.write
            && let Some(recovery) = &mut task.recovery
            && let Some(r2t_sn) = recovery.next_again()
        {
            let kept = recovery.r2ts.iter().find(|r2t| r2t.r2t_sn == r2t_sn);
            let r2t = kept.map(|kept| R2t {
                ttt: kept.ttt,
                offset: kept.offset,
                bytes: kept.bytes,
                ..R2t::default()
            });
            if let Some(r2t) = r2t {
                self.push_r2t(id, r2t, r2t_sn, out);
            }
        }
    }
}
