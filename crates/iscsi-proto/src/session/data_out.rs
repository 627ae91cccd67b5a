//! Data-Out: what comes unsolicited, what is asked for, and the rules for both (RFC 7143 §11.7, §11.8).
//!
//! First comes the immediate data, then the unsolicited burst, then the answers to R2Ts. With DataSequenceInOrder these
//! come in the order of the R2Ts, with DataPDUInOrder the PDUs of a sequence in that of their bytes (§13.18, §13.19);
//! where the login agreed on No, what has come is kept track of, and no byte is taken for received that has not come.

use iscsi_wire::{Bhs, DataOut, ReadyToTransfer, RejectReason, Ttt};

use super::ranges::Ranges;
use super::task::{Decision, R2t, Task, Unsolicited};
use super::{ConnectionIndex, DataFault, Event, Session, TaskId, Transmit};
use crate::connection::Purpose;

/// What a Data-Out header is to its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Part of a sequence; whether its payload is wanted the task knows.
    Belongs,
    /// Its tag is not one of the task's.
    UnknownTag,
}

impl Session {
    pub(super) fn handle_data_out(&mut self, c: ConnectionIndex, bhs: &Bhs) -> Option<Event> {
        let data = match DataOut::parse(bhs) {
            Ok(data) => data,
            Err(error) => return self.malformed(c, bhs, error),
        };
        let order = Order {
            pdus: self.params.data_pdu_in_order,
            sequences: self.params.data_sequence_in_order,
        };
        let found = self.tasks.find(data.itt);
        let Some((id, task)) = found.and_then(|id| Some((id, self.tasks.get_mut(id)?))) else {
            return self.late(c, &data, bhs);
        };
        if task.completion.is_some() && task.sequences_closed() {
            return self.late(c, &data, bhs);
        }
        // RFC 7143 §4.2.5: the data of a command comes over the connection that brought the command.
        if task.connection != c {
            return self.refuse(c, RejectReason::ProtocolError, bhs);
        }
        // RFC 7143 §4.2.5.3, §11.7.4: with a tag of ours comes the LUN that the R2T had. Without one it is reserved.
        if data.ttt != Ttt::RESERVED && data.lun != task.lun {
            return self.refuse(c, RejectReason::InvalidPduField, bhs);
        }
        if task.write && task.recovery.is_some() {
            return self.recover_data_out(c, id, &data, bhs);
        }
        if !task.write || task.judge(&data, order) == Verdict::UnknownTag {
            return self.refuse(c, RejectReason::InvalidPduField, bhs);
        }
        let purpose = Purpose::DataOut {
            task: id,
            ttt: data.ttt,
            r#final: data.r#final,
        };
        self.begin_segment(c, bhs, purpose, data.buffer_offset);
        None
    }

    /// Data-Out for a task that is over, as it comes after an abort.
    fn late(&mut self, c: ConnectionIndex, data: &DataOut, bhs: &Bhs) -> Option<Event> {
        self.counters.late_data_pdus += 1;
        self.counters.late_data_bytes += u64::from(bhs.data_segment_length());
        self.skip_segment(c, bhs);
        if !self.awaited.is_empty() {
            self.late_data(c, data);
        }
        None
    }

    /// The end of a Data-Out PDU.
    pub(super) fn end_data_out(
        &mut self,
        c: ConnectionIndex,
        id: TaskId,
        (ttt, r#final): (Ttt, bool),
        bhs: &Bhs,
        digest_matches: bool,
    ) -> Option<Event> {
        if self.recovery.is_some() {
            return self.end_recovered_data_out(c, id, (ttt, r#final), bhs, digest_matches);
        }
        let rejected = if digest_matches {
            None
        } else {
            self.reject(c, RejectReason::DataDigestError, bhs)
        };
        if rejected.is_some() {
            return rejected;
        }
        let first_burst = self.params.first_burst_length;
        let task = self.tasks.get_mut(id)?;
        if !digest_matches {
            // RFC 7143 §7.8: Reject, and at ErrorRecoveryLevel 0 the task ends with "Protocol Service CRC error" once
            // all its data has come.
            task.fault.get_or_insert(DataFault::ProtocolServiceCrcError);
        }
        if task.fault.is_none() {
            let start = offset_of(bhs);
            let end = start.saturating_add(bhs.data_segment_length());
            if !task.received.add(start, end) {
                task.fault = Some(DataFault::DataOffset);
            }
        }
        if r#final {
            task.close_sequence(ttt, first_burst);
        }
        if task.completion.is_some() {
            self.counters.late_data_pdus += 1;
            self.counters.late_data_bytes += u64::from(bhs.data_segment_length());
        }
        self.tell_data(id, r#final)
    }

    /// A data PDU of a task has been taken in, and ended its sequence or not: what that makes possible.
    pub(super) fn tell_data(&mut self, id: TaskId, sequence_done: bool) -> Option<Event> {
        let most = self.params.max_outstanding_r2t;
        let task = self.tasks.get_mut(id)?;
        if task.completion.is_some() {
            // RFC 7143 §11.4.2: its status may have waited for this.
            self.queue_answer(id);
            return None;
        }
        if let Some(fault) = task.fault {
            // RFC 7143 §7.8: the status waits for all that is under way.
            if !task.sequences_closed() || core::mem::replace(&mut task.fault_told, true) {
                return None;
            }
            self.counters.data_faults += 1;
            return Some(Event::DataFault { task: id, fault });
        }
        let contiguous = task.received.contiguous();
        let told = task.decision == Decision::Accepted;
        if task.may_ask(most) {
            self.queue(id);
        }
        told.then_some(Event::DataArrived {
            task: id,
            contiguous,
            sequence_done,
        })
    }

    /// Memory is granted for the command's data up to this byte: what of it has not come by itself is asked for.
    pub fn request_data(&mut self, task: TaskId, through: u32) {
        let Some(record) = self.tasks.get_mut(task) else {
            return;
        };
        let through = through.min(record.expected_data_transfer_length);
        record.granted = record.granted.max(through);
        if record.decision == Decision::Pending {
            record.decision = Decision::Accepted;
        }
        if record.decision == Decision::Accepted && record.may_ask(self.params.max_outstanding_r2t)
        {
            self.queue(task);
        }
    }

    /// Sends the R2Ts that a task may have outstanding.
    pub(super) fn send_r2ts(&mut self, id: TaskId, out: &mut Transmit) {
        if self.recovery.is_some() {
            self.send_r2ts_again(id, out);
            // RFC 7143 §13.19: what was lost is asked for before what follows it.
            self.send_recovery_r2ts(id, out);
        }
        while let Some(task) = self.tasks.get(id)
            && task.may_ask(self.params.max_outstanding_r2t)
            && task.next_r2t_offset < task.granted
        {
            let offset = task.next_r2t_offset;
            // RFC 7143 §11.8.4: at most MaxBurstLength.
            let bytes = (task.granted - offset).min(self.params.max_burst_length);
            self.send_r2t(id, offset, bytes, out);
        }
    }

    /// Sends one R2T.
    pub(super) fn send_r2t(&mut self, id: TaskId, offset: u32, bytes: u32, out: &mut Transmit) {
        let ttt = self.take_ttt();
        let Some(task) = self.tasks.get_mut(id) else {
            return;
        };
        let r2t = R2t {
            ttt,
            offset,
            bytes,
            got: 0,
            data_sn: 0,
        };
        task.r2ts.push(r2t);
        task.next_r2t_offset = task.next_r2t_offset.max(offset + bytes);
        let r2t_sn = task.next_data_sn;
        task.next_data_sn = r2t_sn.wrapping_add(1);
        if self.recovery.is_some() {
            self.keep_r2t(id, r2t, r2t_sn);
        }
        self.push_r2t(id, r2t, r2t_sn, out);
    }

    /// Writes an R2T.
    pub(super) fn push_r2t(&self, id: TaskId, r2t: R2t, r2t_sn: u32, out: &mut Transmit) {
        let Some(task) = self.tasks.get(id) else {
            return;
        };
        let Some(connection) = self.connections.get(task.connection) else {
            return;
        };
        let pdu = ReadyToTransfer {
            data_segment_length: 0,
            lun: task.lun,
            itt: task.itt,
            ttt: r2t.ttt,
            stat_sn: connection.stat_sn,
            exp_cmd_sn: self.window.exp_cmd_sn(),
            max_cmd_sn: self.window.max_cmd_sn(),
            r2t_sn,
            buffer_offset: r2t.offset,
            desired_data_transfer_length: r2t.bytes,
        };
        out.push_header(&pdu.emit(), connection.header_digest);
    }
}

/// What has to be in order.
#[derive(Clone, Copy, Debug)]
struct Order {
    /// DataPDUInOrder.
    pdus: bool,
    /// DataSequenceInOrder.
    sequences: bool,
}

impl Task {
    /// Checks a header and counts its DataSN. What is wrong with it becomes the task's fault.
    fn judge(&mut self, data: &DataOut, order: Order) -> Verdict {
        if data.ttt == Ttt::RESERVED {
            self.judge_unsolicited(data, order);
            return Verdict::Belongs;
        }
        let Some(at) = self.r2ts.position(data.ttt) else {
            return Verdict::UnknownTag;
        };
        if at > 0 && order.sequences {
            // RFC 7143 §13.19: sequences come in the order they were asked for.
            self.fault.get_or_insert(DataFault::DataOffset);
            return Verdict::Belongs;
        }
        let Some(r2t) = self.r2ts.at_mut(at) else {
            return Verdict::UnknownTag;
        };
        let sequence = Sequence {
            data_sn: r2t.data_sn,
            start: r2t.offset,
            end: r2t.offset.saturating_add(r2t.bytes),
            next: order.pdus.then_some(r2t.offset.saturating_add(r2t.got)),
        };
        r2t.data_sn = r2t.data_sn.wrapping_add(1);
        r2t.got = r2t.got.saturating_add(data.data_segment_length);
        // RFC 7143 §11.4.7.2: "Incorrect amount of data", when what came does not match what was asked for.
        let short = data.r#final && r2t.got < r2t.bytes;
        let short = short.then_some(DataFault::IncorrectAmountOfData);
        let fault = sequence.fault(data, &self.received);
        self.fault = self.fault.or(fault).or(short);
        Verdict::Belongs
    }

    fn judge_unsolicited(&mut self, data: &DataOut, order: Order) {
        let Unsolicited {
            open,
            limit,
            data_sn,
        } = self.unsolicited;
        let start = self.received.contiguous();
        let sequence = Sequence {
            data_sn,
            start,
            end: limit,
            next: order.pdus.then_some(start),
        };
        let fault = if open {
            sequence.fault(data, &self.received)
        } else {
            // RFC 7143 §11.4.7.2: "Unexpected unsolicited data".
            Some(DataFault::UnexpectedUnsolicitedData)
        };
        self.unsolicited.data_sn = data_sn.wrapping_add(1);
        self.fault = self.fault.or(fault);
    }

    /// The F bit of a sequence has come.
    fn close_sequence(&mut self, ttt: Ttt, first_burst: u32) {
        if ttt != Ttt::RESERVED {
            return self.r2ts.remove(ttt);
        }
        if !core::mem::replace(&mut self.unsolicited.open, false) || self.fault.is_some() {
            return;
        }
        let received = self.received.contiguous();
        // RFC 7143 §11.4.7.2: "Incorrect amount of data", when a transfer longer than FirstBurstLength begins with an
        // unsolicited burst of another length than that, or one has a gap.
        let short = self.expected_data_transfer_length > first_burst && received != first_burst;
        if short || !self.received.is_whole() {
            self.fault = Some(DataFault::IncorrectAmountOfData);
        }
        self.next_r2t_offset = received;
    }
}

/// Where a sequence stands, before its next PDU.
#[derive(Clone, Copy, Debug)]
struct Sequence {
    data_sn: u32,
    start: u32,
    end: u32,
    /// Where that PDU has to begin; `None`: anywhere that has not come.
    next: Option<u32>,
}

impl Sequence {
    /// What is wrong with a PDU.
    fn fault(self, data: &DataOut, received: &Ranges) -> Option<DataFault> {
        // RFC 7143 §7.9: a gap in DataSN means that a PDU was lost to a digest error.
        if data.data_sn != self.data_sn {
            return Some(DataFault::ProtocolServiceCrcError);
        }
        let offset = data.buffer_offset;
        let end = offset.saturating_add(data.data_segment_length);
        // RFC 7143 §13.18: with DataPDUInOrder the offsets follow each other without gap or overlap.
        let in_place = match self.next {
            Some(next) => offset == next,
            None => self.start <= offset && !received.overlaps(offset, end),
        };
        if !in_place {
            return Some(DataFault::DataOffset);
        }
        let fits = data.data_segment_length <= self.end.saturating_sub(offset);
        (!fits).then_some(DataFault::IncorrectAmountOfData)
    }
}

/// The BufferOffset of a Data-Out.
fn offset_of(bhs: &Bhs) -> u32 {
    DataOut::parse(bhs).map_or(0, |data| data.buffer_offset)
}
