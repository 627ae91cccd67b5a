//! Data-In and status: a task's answer, cut into PDUs (RFC 7143 §11.4, §11.7).

use iscsi_wire::{DataIn, ResponseCode, ScsiResponse, SerialNumber, Ttt};

use super::task::{Completion, RequestSlot, Task};
use super::{Session, TaskId, Transmit};

/// The longest payload of a Data-In PDU, whatever more the initiator takes: a longer one gains nothing and would hold
/// up answers to other commands.
const MAX_DATA_IN_BYTES: u32 = 256 * 1024;

/// Data-In that one task may send in its turn, before others have theirs.
const TURN_BYTES: u32 = 256 * 1024;

const GOOD: u8 = 0;

impl Session {
    /// Queues Data-In: the task's memory holds [offset, offset + bytes) of the command's data. Windows come in order
    /// without gaps; what lies beyond the expected data transfer length is not sent.
    ///
    /// # Panics
    /// Where `offset` is not the end of the window before: the engine's own mistake, which would send wrong bytes.
    pub fn data_in(&mut self, task: TaskId, offset: u32, bytes: u32) {
        let Some(record) = self.tasks.get_mut(task) else {
            return;
        };
        if !record.read || record.completion.is_some() {
            return;
        }
        let expected = record.expected_data_transfer_length;
        assert!(
            offset == record.available || (record.available == expected && offset >= expected),
            "windows of Data-In follow each other"
        );
        record.available = offset
            .saturating_add(bytes)
            .min(expected)
            .max(record.available);
        if record.has_answer() {
            self.queue(task);
        }
    }

    /// Sends what a task has to send, up to its turn's worth and to `end` bytes on the wire. Whether it has more.
    pub(super) fn send_answer(&mut self, id: TaskId, out: &mut Transmit, end: usize) -> bool {
        let mut left = TURN_BYTES;
        loop {
            let Some(task) = self.tasks.get(id) else {
                return false;
            };
            if task.has_data_again() {
                if left == 0 || out.wire_bytes() >= end {
                    return true;
                }
                let sent = self.send_data_again(id, out).unwrap_or(0);
                left = left.saturating_sub(sent);
            } else if task.sent < task.available {
                if left == 0 || out.wire_bytes() >= end {
                    return true;
                }
                let (sent, ended) = self.send_data_in(id, out);
                if ended {
                    return false;
                }
                left = left.saturating_sub(sent);
            } else if task.is_status_due() && self.may_answer(id) {
                self.send_response(id, out);
                return false;
            } else {
                return false;
            }
        }
    }

    /// Sends one Data-In: its bytes, and whether the status was in it.
    fn send_data_in(&mut self, id: TaskId, out: &mut Transmit) -> (u32, bool) {
        let Some(task) = self.tasks.get_mut(id) else {
            return (0, true);
        };
        let Some(connection) = self.connections.get_mut(task.connection) else {
            return (0, true);
        };
        let max_burst = self.params.max_burst_length;
        // RFC 7143 §11.7.7: whole words, unless F is set.
        let longest = connection
            .max_send_data_segment_length
            .min(MAX_DATA_IN_BYTES)
            & !3;
        let bytes = (task.available - task.sent)
            .min(longest)
            .min(max_burst - task.burst);
        let offset = task.sent;
        task.sent += bytes;
        task.burst += bytes;
        let drained = task.sent == task.available;
        // RFC 7143 §11.7.1: F ends a sequence, which MaxBurstLength bounds. A sequence also ends where nothing more is
        // at hand, since what comes next may be a status of its own.
        let r#final = drained || task.burst == max_burst;
        if r#final {
            task.burst = 0;
        }
        let data_sn = task.next_data_sn;
        task.next_data_sn = data_sn.wrapping_add(1);
        let mut pdu = DataIn {
            r#final,
            data_segment_length: bytes,
            itt: task.itt,
            ttt: Ttt::RESERVED,
            data_sn,
            buffer_offset: offset,
            ..DataIn::default()
        };
        let internal = task.internal;
        let ended = task.ride(&mut pdu, drained, &mut connection.stat_sn);
        if let (Some(_), Some(session)) = (&task.recovery, &self.recovery) {
            let last = drained && task.completion.is_some();
            task.keep_data_in(&mut pdu, last, max_burst, session.now, &mut self.next_ttt);
        }
        let (header_digest, data_digest) = (connection.header_digest, connection.data_digest);
        if ended {
            self.remove_task(id);
        }
        pdu.exp_cmd_sn = self.window.exp_cmd_sn();
        pdu.max_cmd_sn = self.window.max_cmd_sn();
        out.push_header(&pdu.emit(), header_digest);
        out.push_task_data(id, offset, bytes, data_digest);
        if ended && !internal {
            out.push_release(id);
        }
        if drained && self.recovery.is_some() {
            self.make_room(id);
        }
        (bytes, ended)
    }

    /// Sends a SCSI Response. It ends the task, unless the session recovers.
    fn send_response(&mut self, id: TaskId, out: &mut Transmit) {
        let Some(task) = self.tasks.get(id) else {
            return;
        };
        let (c, internal) = (task.connection, task.internal);
        if self.recovery.is_some() {
            return self.send_kept_response(id, out);
        }
        let Some(connection) = self.connections.get_mut(c) else {
            return self.remove_task(id);
        };
        let stat_sn = take_stat_sn(&mut connection.stat_sn);
        let slot = task.slot;
        // The answer tells of the place that it makes.
        self.free_slot(c, slot);
        self.push_response(id, stat_sn, out);
        if let Some(task) = self.tasks.get_mut(id) {
            task.slot = RequestSlot::None;
        }
        self.remove_task(id);
        if !internal {
            out.push_release(id);
        }
    }

    /// Writes a task's SCSI Response as it is now.
    pub(super) fn push_response(&self, id: TaskId, stat_sn: SerialNumber, out: &mut Transmit) {
        let Some(task) = self.tasks.get(id) else {
            return;
        };
        let (Some(done), Some(connection)) =
            (&task.completion, self.connections.get(task.connection))
        else {
            return;
        };
        let residual = done.residual;
        let sense = done.sense.as_deref().unwrap_or_default();
        // RFC 7143 §11.4.7: two bytes of SenseLength, then the sense data, as far as the initiator's segments reach.
        let room = connection.max_send_data_segment_length.saturating_sub(2) as usize;
        let sense = &sense[..sense.len().min(room)];
        let length = u16::try_from(sense.len()).unwrap_or(0);
        let response = ScsiResponse {
            overflow: residual.overflow,
            underflow: residual.underflow,
            response: ResponseCode::CommandCompleted,
            status: done.status,
            data_segment_length: if length > 0 { u32::from(length) + 2 } else { 0 },
            itt: task.itt,
            // RFC 7143 §11.4.4: that of the last R-Data SNACK, or 0.
            snack_tag: task.recovery.as_ref().map_or(0, |one| one.snack_tag),
            stat_sn,
            exp_cmd_sn: self.window.exp_cmd_sn(),
            max_cmd_sn: self.window.max_cmd_sn(),
            // RFC 7143 §11.4.8: how many Data-In PDUs were sent for the command; R2Ts do not count.
            exp_data_sn: if task.read { task.next_data_sn } else { 0 },
            residual_count: residual.count,
            ..ScsiResponse::default()
        };
        out.push_header(&response.emit(), connection.header_digest);
        if length > 0 {
            let mut data = Vec::with_capacity(sense.len() + 2);
            data.extend(length.to_be_bytes());
            data.extend_from_slice(sense);
            out.push_data(&data, connection.data_digest);
        }
    }
}

impl Task {
    /// RFC 7143 §11.7.3: the last Data-In may carry the status of a command that needs no sense data. Whether it does. Not where the task is
    /// kept until that is acknowledged.
    fn ride(&self, pdu: &mut DataIn, drained: bool, stat_sn: &mut SerialNumber) -> bool {
        let status = self
            .completion
            .as_ref()
            .filter(|done| drained && done.rides() && self.recovery.is_none());
        let Some(Completion {
            status, residual, ..
        }) = status
        else {
            return false;
        };
        pdu.status_present = true;
        pdu.status = *status;
        pdu.overflow = residual.overflow;
        pdu.underflow = residual.underflow;
        pdu.residual_count = residual.count;
        pdu.stat_sn = take_stat_sn(stat_sn);
        true
    }
}

impl Completion {
    /// Whether the status may stand in a Data-In.
    fn rides(&self) -> bool {
        self.status == GOOD && self.sense.is_none() && !self.held
    }
}

fn take_stat_sn(stat_sn: &mut SerialNumber) -> SerialNumber {
    let taken = *stat_sn;
    *stat_sn = taken.next();
    taken
}
