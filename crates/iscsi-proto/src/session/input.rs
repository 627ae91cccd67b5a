//! Input: the stream of one connection, PDU by PDU, up to the next thing the engine must act on.

use core::time::Duration;

use iscsi_wire::{Bhs, RejectReason, SerialNumber, opcode};

use super::task::{Decision, RequestSlot};
use super::window::{Arrival, HeldRequest};
use super::{
    ConnectionIndex, DropReason, Event, ReceivePlan, Received, Session, SessionType, TaskId,
};
use crate::connection::{Connection, Ending, HeaderStep, Purpose, Segment, Stage};

/// How a request goes on after its I bit and CmdSN have been judged.
pub(super) enum Admission {
    /// In its turn, counted against this allowance.
    Now(RequestSlot),
    /// It has a place in the window, and waits for the requests before it.
    Later,
    /// It is ignored or rejected; an event where that ends the connection.
    Refused(Option<Event>),
}

impl Session {
    /// Where the next bytes of the stream should be received.
    #[must_use]
    pub fn receive_plan(&self, c: ConnectionIndex) -> ReceivePlan {
        let Some(connection) = self.connection(c) else {
            return ReceivePlan::Staging;
        };
        let Segment {
            purpose,
            missing,
            offset,
            ..
        } = connection.receive.segment;
        let large = connection.receive.stage == Stage::Payload
            && missing > self.limits.in_place_threshold
            && !connection.is_deaf();
        match purpose.task() {
            Some(task)
                if large
                    && self
                        .tasks
                        .get(task)
                        .is_some_and(super::task::Task::takes_data) =>
            {
                ReceivePlan::InPlace {
                    task,
                    offset,
                    bytes: missing,
                }
            }
            _ => ReceivePlan::Staging,
        }
    }

    /// Bytes of an in-place plan have landed in the task's memory; they are passed for the data digest only, all at
    /// once or in parts, and never more than the plan named. `handle_received` is to be called after it, with what came
    /// to staging, also if that is nothing.
    ///
    /// The task may be over since the plan was made: the bytes count all the same, and mean nothing.
    pub fn handle_placed(&mut self, c: ConnectionIndex, now: Duration, bytes: &[u8]) {
        let Some(connection) = self.connection_mut(c) else {
            return;
        };
        if !bytes.is_empty() {
            connection.last_heard = now;
        }
        if connection.receive.stage == Stage::Payload && !connection.is_deaf() {
            connection.receive.take_payload(bytes);
        }
    }

    /// Takes bytes of the stream, up to the first thing the engine must act on. All are consumed where there is no
    /// event.
    pub fn handle_received(&mut self, c: ConnectionIndex, now: Duration, input: &[u8]) -> Received {
        let nothing = Received {
            consumed: input.len(),
            event: None,
        };
        self.note_time(now);
        let Some(connection) = self.connection_mut(c) else {
            return nothing;
        };
        if !input.is_empty() {
            connection.last_heard = now;
        }
        let mut at = 0;
        loop {
            if let Some(event) = self.poll_event() {
                return Received {
                    consumed: at,
                    event: Some(event),
                };
            }
            // The peer logged out, or broke the stream: nothing it sends has a meaning any more.
            if self.connection(c).is_none_or(Connection::is_deaf) {
                return nothing;
            }
            let (taken, turn) = self.take_some(c, &input[at..], at);
            at += taken;
            match turn {
                Turn::Event(event) => {
                    return Received {
                        consumed: at,
                        event: Some(event),
                    };
                }
                Turn::More => {
                    return Received {
                        consumed: at,
                        event: None,
                    };
                }
                Turn::Next => {}
            }
        }
    }

    /// What needs no input: commands whose turn has come, whichever connection brought them, and ends of connections. To
    /// be called until `None` after answers, where no call of `handle_received` follows.
    pub fn poll_event(&mut self) -> Option<Event> {
        if self.recovery.is_some()
            && let Some(event) = self.poll_recovery()
        {
            return Some(event);
        }
        if let Some(event) = self.poll_adopted() {
            return Some(event);
        }
        while let Some(request) = self.window.take_due() {
            let event = match request {
                HeldRequest::Nothing => None,
                // One that ended before its turn is not delivered any more.
                HeldRequest::Command(task) if self.is_completed(task) => {
                    self.queue_answer(task);
                    None
                }
                HeldRequest::Command(task) => Some(Event::Deliver { task }),
                HeldRequest::Management(c, request) => {
                    self.manage(c, &request, RequestSlot::Numbered)
                }
                HeldRequest::Logout(c, logout) => self.log_out(c, logout, RequestSlot::Numbered),
            };
            if event.is_some() {
                return event;
            }
        }
        if !self.management.is_empty()
            && let Some(event) = self.take_waiting_management()
        {
            return Some(event);
        }
        if self.untold_ends {
            for (c, connection) in self.connections.iter_mut() {
                if let Some(ending) = connection.ending.as_mut().filter(|ending| !ending.told) {
                    ending.told = true;
                    let Ending { reason, flush, .. } = *ending;
                    return Some(Event::ConnectionDone { c, reason, flush });
                }
            }
            self.untold_ends = false;
        }
        None
    }

    fn is_completed(&self, task: TaskId) -> bool {
        let task = self.tasks.get(task);
        task.is_some_and(|task| task.completion.is_some())
    }

    /// Takes one step: a header, a run of payload, or the end of a segment.
    fn take_some(&mut self, c: ConnectionIndex, input: &[u8], base: usize) -> (usize, Turn) {
        let Some(connection) = self.connection_mut(c) else {
            return (input.len(), Turn::More);
        };
        match connection.receive.stage {
            Stage::Header | Stage::Ahs(_) | Stage::HeaderDigest => {
                let digest = connection.header_digest;
                let (taken, step) = connection.receive.take_header(input, digest);
                let turn = match step {
                    HeaderStep::More => Turn::More,
                    HeaderStep::Header(bhs) => {
                        connection.receive.doubtful = false;
                        Turn::from(self.handle_header(c, &bhs))
                    }
                    HeaderStep::DigestMismatch(bhs) => {
                        self.counters.header_digest_errors += 1;
                        Turn::from(self.damaged_header(c, &bhs))
                    }
                };
                (taken, turn)
            }
            Stage::Payload if input.is_empty() => (0, Turn::More),
            Stage::Payload => self.take_payload(c, input, base),
            Stage::Tail => {
                let (taken, end) = connection.receive.take_tail(input);
                let turn = end.map_or(Turn::More, |matches| {
                    Turn::from(self.end_segment(c, matches))
                });
                (taken, turn)
            }
        }
    }

    fn take_payload(&mut self, c: ConnectionIndex, input: &[u8], base: usize) -> (usize, Turn) {
        let Some(connection) = self.connections.get_mut(c) else {
            return (input.len(), Turn::More);
        };
        let Segment {
            purpose,
            missing,
            offset,
            ..
        } = connection.receive.segment;
        let count = input.len().min(missing as usize);
        let bytes = &input[..count];
        connection.receive.take_payload(bytes);
        match purpose {
            Purpose::Ignore => {}
            // The limits were checked when the segment began.
            Purpose::Ping { .. } | Purpose::Text { .. } => {
                connection.collected.extend_from_slice(bytes)
            }
            Purpose::Immediate(task) | Purpose::DataOut { task, .. } => {
                if let Some(record) = self.tasks.get_mut(task) {
                    if record.decision == Decision::Pending {
                        record.decision = Decision::Discarded;
                    }
                    if record.takes_data() {
                        let input = base..base + count;
                        return (
                            count,
                            Turn::Event(Event::Payload {
                                task,
                                offset,
                                input,
                            }),
                        );
                    }
                }
            }
        }
        (count, Turn::Next)
    }

    fn handle_header(&mut self, c: ConnectionIndex, bhs: &Bhs) -> Option<Event> {
        let exp_stat_sn = u32::from_be_bytes([bhs.0[28], bhs.0[29], bhs.0[30], bhs.0[31]]);
        let of = self.acknowledged_by(c, bhs);
        let news = self.connection_mut(of)?;
        if news.acknowledge(SerialNumber(exp_stat_sn)) && self.recovery.is_some() {
            self.settle_acknowledged(of);
        }
        if !self.fenced.is_empty() {
            self.look_at_fences();
        }
        let connection = self.connection_mut(c)?;
        // RFC 7143 §13.12: no data segment is longer than the receiver declared; one that is has inconsistent fields
        // (§7.7).
        if bhs.data_segment_length() > connection.max_recv_data_segment_length {
            return self.format_error(c, bhs);
        }
        let discovery = self.kind == SessionType::Discovery;
        match bhs.opcode() {
            opcode::SCSI_COMMAND if !discovery => self.handle_command(c, bhs),
            opcode::DATA_OUT if !discovery => self.handle_data_out(c, bhs),
            opcode::NOP_OUT => self.handle_nop_out(c, bhs),
            opcode::TEXT_REQUEST => self.handle_text_request(c, bhs),
            opcode::LOGOUT_REQUEST => self.handle_logout_request(c, bhs),
            opcode::TASK_MANAGEMENT_REQUEST if !discovery => self.handle_management_request(c, bhs),
            // RFC 7143 §4.3: a discovery session takes Text Requests with SendTargets and Logout Requests; all other
            // requests MUST be rejected.
            opcode::SCSI_COMMAND | opcode::DATA_OUT | opcode::TASK_MANAGEMENT_REQUEST => {
                self.refuse(c, RejectReason::ProtocolError, bhs)
            }
            opcode::SNACK_REQUEST => self.handle_snack(c, bhs),
            // RFC 7143 §6.3: no Login Request in the full feature phase.
            opcode::LOGIN_REQUEST => self.refuse(c, RejectReason::ProtocolError, bhs),
            _ => self.refuse(c, RejectReason::CommandNotSupported, bhs),
        }
    }

    /// The end of a data segment, its digest judged.
    fn end_segment(&mut self, c: ConnectionIndex, matches: bool) -> Option<Event> {
        let segment = self.connection_mut(c)?.receive.take_segment();
        if !matches {
            self.counters.data_digest_errors += 1;
        }
        match segment.purpose {
            Purpose::DataOut { task, ttt, r#final } => {
                self.end_data_out(c, task, (ttt, r#final), &segment.bhs, matches)
            }
            Purpose::Ignore => None,
            _ if !matches && self.recovers() => self.discard_damaged(c, &segment),
            _ if !matches => self.data_digest_error(c, &segment.bhs),
            Purpose::Immediate(task) => {
                let event = self.end_immediate_data(task, &segment.bhs);
                self.prove_command(task);
                event
            }
            Purpose::Ping { itt, slot } => {
                self.echo(c, itt, slot, &segment.bhs);
                None
            }
            Purpose::Text { slot } => self.end_text_request(c, slot, &segment.bhs),
        }
    }

    /// RFC 7143 §7.8: after a header digest error the length of the PDU is not to be trusted. The connection is closed; or, in a session that
    /// recovers, the PDU is discarded by the length that it says, and what the next header says shows whether that was right.
    fn damaged_header(&mut self, c: ConnectionIndex, bhs: &Bhs) -> Option<Event> {
        let recovers = self.recovers();
        let connection = self.connection_mut(c)?;
        let doubtful = core::mem::replace(&mut connection.receive.doubtful, true);
        let plausible = bhs.data_segment_length() <= connection.max_recv_data_segment_length;
        if !recovers || doubtful || !plausible {
            return self.end_connection(c, DropReason::HeaderDigest, true);
        }
        self.skip_segment(c, bhs);
        None
    }

    /// Judges a request by its I bit and CmdSN, and counts it as received unless it is refused. `held` is what is to be
    /// done in its turn where that has not come.
    pub(super) fn admit(
        &mut self,
        c: ConnectionIndex,
        bhs: &Bhs,
        class: RequestSlot,
        held: HeldRequest,
    ) -> Admission {
        if bhs.immediate() {
            return self.admit_immediate(c, bhs, class);
        }
        let cmd_sn = SerialNumber(u32::from_be_bytes([
            bhs.0[24], bhs.0[25], bhs.0[26], bhs.0[27],
        ]));
        match self.window.classify(cmd_sn) {
            Arrival::Ignored => {
                self.counters.ignored_requests += 1;
                self.skip_segment(c, bhs);
                Admission::Refused(None)
            }
            Arrival::InOrder => {
                self.window.accept(cmd_sn, held);
                Admission::Now(RequestSlot::Numbered)
            }
            Arrival::Ahead => {
                self.window.accept(cmd_sn, held);
                self.watch_recovery();
                Admission::Later
            }
        }
    }

    /// Immediate requests have an allowance of their own: each of the two classes may fill all places but one.
    fn admit_immediate(&mut self, c: ConnectionIndex, bhs: &Bhs, class: RequestSlot) -> Admission {
        let allowance = self.limits.immediate_allowance;
        let Some(connection) = self.connection_mut(c) else {
            return Admission::Refused(None);
        };
        let both = connection
            .immediate
            .saturating_add(connection.immediate_management);
        let own = match class {
            RequestSlot::ImmediateManagement => &mut connection.immediate_management,
            _ => &mut connection.immediate,
        };
        if *own >= allowance - 1 || both >= allowance {
            // RFC 7143 §4.2.2.1: more immediate requests than a target can take are rejected, reason 06h.
            return Admission::Refused(self.refuse(c, RejectReason::ImmediateCommandReject, bhs));
        }
        *own += 1;
        Admission::Now(class)
    }

    /// Drops the data of a PDU.
    pub(super) fn skip_segment(&mut self, c: ConnectionIndex, bhs: &Bhs) {
        self.begin_segment(c, bhs, Purpose::Ignore, 0);
    }

    /// Begins a PDU's data segment, if it has one.
    pub(super) fn begin_segment(
        &mut self,
        c: ConnectionIndex,
        bhs: &Bhs,
        purpose: Purpose,
        offset: u32,
    ) {
        if let Some(connection) = self.connection_mut(c)
            && (bhs.data_segment_length() > 0 || purpose != Purpose::Ignore)
        {
            let digest = connection.data_digest;
            connection
                .receive
                .begin_segment(bhs, purpose, offset, digest);
        }
    }
}

/// How a step ended.
enum Turn {
    /// All input is taken.
    More,
    /// Go on.
    Next,
    /// Tell the engine.
    Event(Event),
}

impl From<Option<Event>> for Turn {
    fn from(event: Option<Event>) -> Self {
        event.map_or(Self::Next, Self::Event)
    }
}
