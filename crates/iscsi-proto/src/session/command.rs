//! SCSI commands: their headers, their immediate data, and the engine's answers to them (RFC 7143 §11.3, §11.4).

use iscsi_wire::{Bhs, RejectReason, ScsiCommand};

use super::ranges::Ranges;
use super::task::{Completion, Decision, R2ts, RequestSlot, Residual, Task, Unsolicited};
use super::window::{Arrival, HeldRequest};
use super::{
    CdbBytes, CommandEvent, ConnectionIndex, DataFault, Event, MAX_SENSE_BYTES, Outcome, Session,
    TaskId, TransportSense,
};
use crate::connection::Purpose;

const CHECK_CONDITION: u8 = 0x02;

impl Session {
    pub(super) fn handle_command(&mut self, c: ConnectionIndex, bhs: &Bhs) -> Option<Event> {
        let command = match ScsiCommand::parse(bhs) {
            Ok(command) => command,
            Err(error) => return self.malformed(c, bhs, error),
        };
        let arrival = self.window.classify(command.cmd_sn);
        let ignored = !command.immediate && arrival == Arrival::Ignored;
        if ignored {
            self.counters.ignored_requests += 1;
            self.skip_segment(c, bhs);
            return None;
        }
        if let Some(known) = self.tasks.find(command.itt) {
            if self.tasks.get(known).and_then(Task::sent_status).is_none() {
                // RFC 7143 §11.2.1.8: a tag is unique among a session's outstanding tasks.
                return self.refuse(c, RejectReason::TaskInProgress, bhs);
            }
            self.acknowledge_by_tag(known);
        }
        let slot = if command.immediate {
            match self.admit(c, bhs, RequestSlot::Immediate, HeldRequest::Nothing) {
                super::input::Admission::Now(slot) => slot,
                super::input::Admission::Later => return None,
                super::input::Admission::Refused(event) => return event,
            }
        } else {
            RequestSlot::Numbered
        };
        let flaw = self.flaw(&command);
        let unproved = flaw.is_none() && self.waits_for_digest(c, bhs);
        let deliver = !unproved && (command.immediate || arrival == Arrival::InOrder);
        let task = self.tasks.insert(self.new_task(c, &command, slot));
        self.watch_recovery();
        if unproved {
            self.hold_unproved(task);
        } else if !command.immediate {
            self.window
                .accept(command.cmd_sn, HeldRequest::Command(task));
        }
        if let Some(flaw) = flaw {
            self.skip_segment(c, bhs);
            self.fail(task, flaw);
            return None;
        }
        if command.data_segment_length > 0 {
            self.begin_segment(c, bhs, Purpose::Immediate(task), 0);
        }
        let mut event = self.command_event(c, task, &command, deliver);
        if command.total_ahs_length > 0
            && let Some(connection) = self.connection_mut(c)
        {
            event.cdb.extend(connection.receive.extended_cdb());
        }
        Some(Event::Command(event))
    }

    fn command_event(
        &self,
        connection: ConnectionIndex,
        task: TaskId,
        command: &ScsiCommand,
        deliver: bool,
    ) -> CommandEvent {
        let unsolicited = self
            .tasks
            .get(task)
            .map(|task| task.unsolicited)
            .unwrap_or_default();
        let unsolicited_follows = if unsolicited.open {
            unsolicited
                .limit
                .saturating_sub(command.data_segment_length)
        } else {
            0
        };
        CommandEvent {
            task,
            connection,
            lun: command.lun,
            cdb: CdbBytes::new(command.cdb),
            attribute: command.attribute,
            read: command.read,
            write: command.write,
            expected_data_transfer_length: command.expected_data_transfer_length,
            immediate: command.immediate,
            cmd_sn: command.cmd_sn,
            itt: command.itt,
            data_follows: command.data_segment_length,
            unsolicited_follows,
            deliver,
        }
    }

    #[inline(always)]
    fn new_task(&self, c: ConnectionIndex, command: &ScsiCommand, slot: RequestSlot) -> Task {
        let edtl = command.expected_data_transfer_length;
        let limit = edtl.min(self.params.first_burst_length);
        Task {
            itt: command.itt,
            lun: command.lun,
            cmd_sn: command.cmd_sn,
            connection: c,
            slot,
            read: command.read,
            write: command.write,
            expected_data_transfer_length: edtl,
            decision: Decision::Pending,
            unsolicited: Unsolicited {
                // What was not agreed on is not expected.
                open: command.write && !command.r#final && !self.params.initial_r2t,
                limit,
                data_sn: 0,
            },
            received: Ranges::default(),
            granted: 0,
            next_r2t_offset: command.data_segment_length,
            r2ts: R2ts::default(),
            fault: None,
            fault_told: false,
            next_data_sn: 0,
            sent: 0,
            available: 0,
            burst: 0,
            completion: None,
            queued: false,
            internal: false,
            recovery: self.task_recovery(),
        }
    }

    /// What in a command's header ends it before it begins.
    fn flaw(&self, command: &ScsiCommand) -> Option<TransportSense> {
        let unexpected = TransportSense::Data(DataFault::UnexpectedUnsolicitedData);
        let bytes = command.data_segment_length;
        if command.read && command.write {
            return Some(TransportSense::InvalidCommandHeader);
        }
        // RFC 7143 §13.11: no immediate data where ImmediateData is No; nor does a command have any that outputs
        // nothing.
        if bytes > 0 && !(command.write && self.params.immediate_data) {
            return Some(unexpected);
        }
        // RFC 7143 §13.14: FirstBurstLength bounds immediate and unsolicited data together.
        if bytes > self.params.first_burst_length {
            return Some(unexpected);
        }
        if bytes > command.expected_data_transfer_length {
            return Some(TransportSense::Data(DataFault::IncorrectAmountOfData));
        }
        // RFC 7143 §13.10: no unsolicited Data-Out where InitialR2T is Yes.
        (command.write && !command.r#final && self.params.initial_r2t).then_some(unexpected)
    }

    /// Ends a command of which the engine does not know.
    fn fail(&mut self, id: TaskId, sense: TransportSense) {
        if let Some(task) = self.tasks.get_mut(id) {
            task.internal = true;
        }
        let sense = sense.bytes();
        self.complete(
            id,
            &Outcome {
                status: CHECK_CONDITION,
                sense: &sense,
                ..Outcome::default()
            },
        );
    }

    /// Takes the data that a command brings: the engine has memory for it.
    pub fn accept_data(&mut self, task: TaskId) {
        self.decide(task, Decision::Accepted);
    }

    /// Has the data that a command brings dropped as it comes. The command may be completed at any time.
    pub fn discard_data(&mut self, task: TaskId) {
        self.decide(task, Decision::Discarded);
    }

    /// How many bytes of `input`, which follows the command's event in the stream, are the command's immediate data with padding and
    /// digest: where all of it is there, and undamaged. Nothing changes.
    #[must_use]
    pub fn whole_immediate_data(&self, command: &CommandEvent, input: &[u8]) -> Option<usize> {
        let connection = self.connection(command.connection)?;
        let of_command = connection.receive.segment.purpose == Purpose::Immediate(command.task);
        of_command
            .then(|| connection.receive.whole_segment(input))
            .flatten()
    }

    /// Takes a command's immediate data as received: the engine has it from where
    /// [`whole_immediate_data`](Self::whole_immediate_data) said, just now, and hands in what stands behind it next. Instead of
    /// `accept_data`; not in a session that [recovers](Self::recovers).
    pub fn take_immediate_data(&mut self, command: &CommandEvent) {
        self.discard_data(command.task);
        if let Some(task) = self.tasks.get_mut(command.task) {
            task.received = Ranges::from_start(command.data_follows);
        }
        if let Some(connection) = self.connection_mut(command.connection) {
            connection.receive.pass_segment();
        }
    }

    fn decide(&mut self, task: TaskId, decision: Decision) {
        if let Some(task) = self.tasks.get_mut(task)
            && task.decision == Decision::Pending
        {
            task.decision = decision;
        }
    }

    /// The end of a command's immediate data.
    pub(super) fn end_immediate_data(&mut self, id: TaskId, bhs: &Bhs) -> Option<Event> {
        let task = self.tasks.get_mut(id)?;
        // Data that was dropped has its place in the order of data all the same.
        task.received = Ranges::from_start(bhs.data_segment_length());
        if !task.takes_data() {
            return None;
        }
        let sequence_done = !task.unsolicited.open;
        Some(Event::DataArrived {
            task: id,
            contiguous: task.received.contiguous(),
            sequence_done,
        })
    }

    /// Ends a command: its status follows the Data-In that has been queued. What Data-Out still comes for it is dropped.
    ///
    /// The status waits for the end of the sequences that are under way to it (RFC 7143 §11.4.2), and for its command to
    /// be acknowledged, where that came ahead of a gap (§4.2.2.1).
    ///
    /// # Panics
    /// Where the task's last window of Data-In does not follow the one before it: the engine's own mistake.
    pub fn complete(&mut self, task: TaskId, outcome: &Outcome<'_>) {
        if let Some((offset, bytes)) = outcome.data_in {
            self.data_in(task, offset, bytes);
        }
        let Some(record) = self.tasks.get_mut(task) else {
            return;
        };
        if record.completion.is_some() {
            return;
        }
        let c = record.connection;
        let sense = &outcome.sense[..outcome.sense.len().min(MAX_SENSE_BYTES)];
        let residual =
            Residual::between(outcome.transfer_bytes, record.expected_data_transfer_length);
        let sense = (!sense.is_empty()).then(|| Box::from(sense));
        // One that waits for a connection is numbered when it has found one.
        let number = self.connections.get_mut(c).map_or(0, |connection| {
            connection.completions += 1;
            connection.completions
        });
        record.completion = Some(Completion {
            number,
            status: outcome.status,
            residual,
            held: false,
            sense,
        });
        if outcome.fence || !self.fenced.is_empty() {
            self.hold_status(task, outcome.fence);
        }
        self.queue_answer(task);
    }

    /// Whether the status of a command that was completed may leave.
    pub(super) fn may_answer(&self, id: TaskId) -> bool {
        let free = |task: &Task| {
            let held = task.completion.as_ref().is_some_and(|done| done.held);
            task.sequences_closed() && !held && !task.is_unproved()
        };
        let closed = self.tasks.get(id).is_some_and(free);
        // RFC 7143 §11.4.2: a status waits for the F bit of the last sequence that is expected. RFC 7143 §4.2.2.1: it does
        // not leave before its command is acknowledged, which the PDU that has it may do.
        closed && !self.window.holds_ahead(id)
    }

    /// Has the status of a command leave in its turn, where it may.
    pub(super) fn queue_answer(&mut self, id: TaskId) {
        if self.may_answer(id) {
            self.queue(id);
        }
    }

    /// Has a status leave although Data-Out is under way to its command: the initiator has asked for the command's end, or
    /// was told of it, and need not go on with its data.
    pub fn answer_at_once(&mut self, id: TaskId) {
        if self
            .tasks
            .get(id)
            .is_some_and(|task| task.completion.is_some())
        {
            self.await_data(id);
        }
        if let Some(task) = self.tasks.get_mut(id)
            && task.completion.is_some()
        {
            task.unsolicited.open = false;
            task.r2ts.clear();
            self.queue_answer(id);
        }
    }

    /// Forgets an aborted task: no status is sent. Data-Out that is still under way for it is dropped and counted, and
    /// its Target Transfer Tags are not given out again while any may come. The id is free at once.
    pub fn abandon(&mut self, task: TaskId) {
        let Some(record) = self.tasks.get(task) else {
            return;
        };
        let (c, queued) = (record.connection, record.queued);
        self.await_data(task);
        self.count_unproved(task);
        self.remove_task(task);
        if queued && let Some(connection) = self.connection_mut(c) {
            connection.ready.retain(|ready| *ready != task);
        }
    }

    /// Puts a task at the end of its connection's queue of those with something to send, if it is not there.
    pub(super) fn queue(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get_mut(id) else {
            return;
        };
        let Some(connection) = self.connections.get_mut(task.connection) else {
            return;
        };
        if !connection.suspended && !core::mem::replace(&mut task.queued, true) {
            connection.ready.push_back(id);
        }
    }
}
