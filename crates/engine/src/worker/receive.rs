//! From received bytes to commands and their data.

use std::time::Duration;

use iscsi_proto::session::{CommandEvent, ConnectionIndex, DataFault, Event, ReceivePlan, TaskId};
use reactor::{Buffer, Place};
use scsi::lu::NexusId;
use scsi::{Cdb, Command, Done, Lun, Status, Step, TaskAttribute, WINDOW_BYTES};

use super::connection::Connection;
use super::cx::{Cx, task_key};
use super::ending::EndReason;
use super::session::{Luns, SessionLink};
use super::step::internal_failure;
use super::task::{Placing, State, Task, WindowMemory};
use super::unit::Units;
use crate::directory::count;
use crate::panics::guard;
use crate::shared::LunEntry;

impl SessionLink {
    /// Memory of a task for the rest of a large payload, if that is what comes next.
    pub(super) fn next_place(&mut self, c: ConnectionIndex) -> Option<Place> {
        let ReceivePlan::InPlace {
            task: id,
            offset,
            bytes,
        } = self.proto.receive_plan(c)
        else {
            return None;
        };
        let task = self.task(id)?;
        if !task.window.covers(offset, bytes) {
            return None;
        }
        let start = offset - task.window.start;
        let key = task.key;
        let buffer = task.window.take()?;
        self.connections.get_mut(c)?.placing = Some(Placing { task: id, key });
        Some(Place::Buffer {
            buffer,
            range: start..start.saturating_add(bytes),
        })
    }

    /// A receive has completed: `placed` bytes in the place it had, the rest in `staging`.
    pub(super) fn received(
        &mut self,
        c: ConnectionIndex,
        place: Option<Place>,
        placed: usize,
        staging: Option<&Buffer>,
        units: &mut Units,
        cx: &mut Cx,
    ) {
        let Some(connection) = self.connections.get_mut(c) else {
            return;
        };
        connection.receiving = false;
        let placing = connection.placing.take();
        if let Some(Place::Buffer { buffer, range }) = place {
            let start = usize::try_from(range.start).unwrap_or(usize::MAX);
            if let Some(bytes) = buffer.get(start..start.saturating_add(placed))
                && guard(|| self.proto.handle_placed(c, cx.now, bytes)).is_err()
            {
                self.panicked(units, cx);
            }
            // A task that was aborted meanwhile has no use for it: it goes back to the slab.
            if let Some(placing) = placing
                && let Some(task) = self.task(placing.task)
                && task.key == placing.key
            {
                task.window.put_back(buffer);
            }
        }
        // Even an empty input: what was placed may have completed a PDU.
        self.handle_stream(c, staging.map_or(&[][..], |b| &b[..]), units, cx);
    }

    /// What came behind the last Login Request.
    pub(super) fn handle_unread(
        &mut self,
        c: ConnectionIndex,
        bytes: &[u8],
        units: &mut Units,
        cx: &mut Cx,
    ) {
        if !bytes.is_empty() {
            self.handle_stream(c, bytes, units, cx);
        }
    }

    fn handle_stream(&mut self, c: ConnectionIndex, input: &[u8], units: &mut Units, cx: &mut Cx) {
        if self.discovery {
            self.note_progress(c, cx.now);
        }
        let mut rest = input;
        while self.goes_on(c) {
            let Ok(received) = guard(|| self.proto.handle_received(c, cx.now, rest)) else {
                return self.panicked(units, cx);
            };
            let Some(event) = received.event else { break };
            let behind = rest.get(received.consumed..).unwrap_or_default();
            let taken = self.event(event, (rest, behind), units, cx);
            rest = behind.get(taken..).unwrap_or_default();
        }
        // Whatever was parsed may have left an answer: a ping, a Reject, an R2T.
        // An acknowledgement on one connection may let a response go on another.
        let has_output = |one: &Connection| self.proto.has_output(one.c);
        if self.connections.open().any(has_output) {
            self.mark_dirty(cx);
        }
        self.arm_recovery(cx);
    }

    /// `input` is what was handed to the protocol, and `behind` what of it stands behind the event. Returns how many bytes of that
    /// have been taken.
    pub(super) fn event(
        &mut self,
        event: Event,
        (input, behind): (&[u8], &[u8]),
        units: &mut Units,
        cx: &mut Cx,
    ) -> usize {
        match event {
            Event::Command(command) => return self.command(&command, behind, units, cx),
            Event::Deliver { task } => self.deliver(task, units, cx),
            Event::Payload {
                task,
                offset,
                input: range,
            } => {
                self.payload(task, offset, input.get(range).unwrap_or_default());
            }
            Event::DataArrived {
                task, contiguous, ..
            } => {
                self.data_arrived(task, contiguous, units, cx);
            }
            Event::DataFault { task, fault } => self.data_fault(task, fault, units, cx),
            Event::Acknowledged { task, through } => self.acknowledged(task, through, cx),
            Event::Released { task } => self.released(task, units, cx),
            Event::TaskManagement(tmf) => self.task_management(&tmf, units, cx),
            Event::SendTargets { handle, which } => self.send_targets(handle, &which, cx),
            Event::Logout {
                handle,
                scope,
                carrier,
            } => self.logout_asked(handle, (scope, carrier), units, cx),
            Event::Reassigned { task, connection } => self.reassigned(task, connection, cx),
            Event::TasksExpired { tasks } => self.expired(tasks, units, cx),
            Event::ConnectionDone { c, reason, flush } => {
                self.end_connection(c, EndReason::Protocol(reason), flush, units, cx);
            }
        }
        0
    }

    /// Whether what comes on a connection still has a meaning.
    fn goes_on(&self, c: ConnectionIndex) -> bool {
        let connection = self.connections.get(c);
        self.ending.is_none() && connection.is_some_and(|one| one.ending.is_none())
    }

    pub(super) fn note_progress(&mut self, c: ConnectionIndex, now: Duration) {
        if let Some(connection) = self.connections.get_mut(c) {
            connection.progress = now;
        }
    }

    fn command(
        &mut self,
        event: &CommandEvent,
        behind: &[u8],
        units: &mut Units,
        cx: &mut Cx,
    ) -> usize {
        cx.counters.commands.add(1);
        count(&self.record.counters.commands, 1);
        self.watch_window(cx);
        let bytes = event.expected_data_transfer_length;
        let command = Command {
            cdb: Cdb::new(event.cdb.as_slice()),
            attribute: attribute(event.attribute),
            data_out_bytes: if event.write { bytes } else { 0 },
            data_in_bytes: if event.read { bytes } else { 0 },
        };
        let Some(entry) = self.reach_unit(event, &command, units, cx) else {
            return 0;
        };
        if let Some(taken) = self.do_plain(event, (&command, entry), behind, units, cx) {
            return taken;
        }
        self.place_command(event, (command, entry), units, cx);
        0
    }

    /// The logical unit of a command, which the session uses from now on; `None` where the command has been answered, because there is
    /// none or it takes no commands now.
    fn reach_unit(
        &mut self,
        event: &CommandEvent,
        command: &Command,
        units: &mut Units,
        cx: &mut Cx,
    ) -> Option<LunEntry> {
        let entry = Lun::decode(event.lun.0).and_then(|lun| self.entry(lun));
        let attached = entry.and_then(|e| units.ensure(e.unit, cx).map(|unit| (e, unit)));
        let Some((entry, unit)) = attached else {
            self.missing_unit(event, command, cx);
            return None;
        };
        let leaving = self.leaving.contains_key(&entry.unit.0);
        let refused = if leaving {
            // It was taken away and given back, and its last commands of before are still under way.
            Some(Status::Busy)
        } else if self.depth.holds_back(entry.unit) {
            cx.counters.task_set_full.add(1);
            Some(Status::TaskSetFull)
        } else {
            None
        };
        if refused.is_some() || unit.offline {
            if event.brings_data() {
                self.proto.discard_data(event.task);
            }
            let done = match refused {
                Some(status) => {
                    unit.shard.note_status(NexusId(self.id.0), status);
                    Done::status(status)
                }
                None => internal_failure(),
            };
            self.answer(event.task, &done, None, cx);
            return None;
        }
        if !self.attached.contains(&entry.unit.0) {
            if unit.backstore != entry.backstore {
                self.missing_unit(event, command, cx);
                return None;
            }
            self.attached.insert(entry.unit.0);
            self.make_known(&mut unit.shard);
        }
        Some(entry)
    }

    /// Gives a command its place, and begins it where its turn has come.
    fn place_command(
        &mut self,
        event: &CommandEvent,
        (command, entry): (Command, LunEntry),
        units: &mut Units,
        cx: &mut Cx,
    ) {
        self.serial = self.serial.wrapping_add(1);
        let key = task_key(self.key, event.task, self.serial);
        let connection = event.connection;
        let keeps = self.proto.recovers();
        let digest = self.connections.get(connection);
        let copies = keeps || digest.is_some_and(|one| one.data_digest);
        let (unit, write_protect) = (entry.unit, entry.write_protect);
        self.put_task(event.task, || Task {
            connection,
            copies,
            keeps,
            ..Task::new(key, unit, write_protect, command)
        });
        let step = event.deliver.then(|| self.begin(event.task, units, cx));
        if event.brings_data() && !self.take_unsolicited(event, step.as_ref(), units, cx) {
            return;
        }
        if let Some(step) = step {
            self.run(event.task, step, units, cx);
        }
    }

    /// Lends memory for immediate and unsolicited data, or has it discarded. Returns whether the command goes on.
    fn take_unsolicited(
        &mut self,
        event: &CommandEvent,
        step: Option<&Step>,
        units: &mut Units,
        cx: &mut Cx,
    ) -> bool {
        let wanted = match step {
            Some(Step::Done(_)) => {
                self.proto.discard_data(event.task);
                return true;
            }
            Some(Step::DataOut { offset: 0, bytes }) => *bytes,
            _ => 0,
        };
        let coming = event.data_follows.saturating_add(event.unsolicited_follows);
        let coming = coming.min(event.expected_data_transfer_length).max(wanted);
        let bytes = coming.clamp(1, WINDOW_BYTES) as usize;
        if let Some(buffer) = cx.lend(bytes, self.held_bytes) {
            self.lent(event.task, buffer);
            self.proto.accept_data(event.task);
            return true;
        }
        self.proto.discard_data(event.task);
        cx.counters.task_set_full.add(1);
        self.memory_is_short(cx);
        self.end_command(event.task, &Done::status(Status::TaskSetFull), units, cx);
        false
    }

    fn lent(&mut self, id: TaskId, buffer: Buffer) {
        let bytes = buffer.capacity();
        if let Some(task) = self.task(id) {
            task.held_bytes += bytes;
            task.window.memory = WindowMemory::Here(buffer);
            self.held_bytes += bytes;
        }
    }

    fn missing_unit(&mut self, event: &CommandEvent, command: &Command, cx: &mut Cx) {
        if event.brings_data() {
            self.proto.discard_data(event.task);
        }
        cx.out.clear();
        let luns = Luns::new(&self.place.luns, &cx.shared);
        let out = &mut cx.out;
        let done = guard(|| scsi::begin_missing(command, &luns, out))
            .unwrap_or_else(|_| internal_failure());
        self.answer(event.task, &done, None, cx);
    }

    fn deliver(&mut self, id: TaskId, units: &mut Units, cx: &mut Cx) {
        if self.task(id).is_none() {
            return;
        }
        let step = self.begin(id, units, cx);
        self.run(id, step, units, cx);
    }

    fn payload(&mut self, id: TaskId, offset: u32, bytes: &[u8]) {
        let Some(task) = self.task(id) else { return };
        let Some(at) = offset.checked_sub(task.window.start) else {
            return;
        };
        let at = at as usize;
        if let Some(to) = task
            .window
            .buffer_mut()
            .and_then(|b| b.get_mut(at..at + bytes.len()))
        {
            to.copy_from_slice(bytes);
        }
    }

    fn data_arrived(&mut self, id: TaskId, contiguous: u32, units: &mut Units, cx: &mut Cx) {
        let Some(task) = self.task(id) else { return };
        task.contiguous = contiguous;
        let c = task.connection;
        if let State::DataOut { offset, bytes } = task.state
            && contiguous >= offset.saturating_add(bytes)
        {
            self.note_progress(c, cx.now);
            return self.run(id, Step::DataOut { offset, bytes }, units, cx);
        }
        self.note_progress(c, cx.now);
    }

    /// RFC 7143 §11.4.7.2: data that broke the rules ends its command with CHECK CONDITION.
    fn data_fault(&mut self, id: TaskId, fault: DataFault, units: &mut Units, cx: &mut Cx) {
        let Some(task) = self.task(id) else { return };
        if task.op.is_some() {
            task.fault = Some(fault);
        } else {
            self.finish_fault(id, fault, units, cx);
        }
    }

    /// Answers SendTargets from the tree as it is now.
    fn send_targets(
        &mut self,
        handle: iscsi_proto::session::TextHandle,
        which: &iscsi_proto::session::SendTargets,
        cx: &mut Cx,
    ) {
        use iscsi_proto::session::SendTargets;
        let world = cx.shared.world.load();
        let only = match which {
            SendTargets::All => None,
            SendTargets::Named(name) => Some(name.clone()),
            SendTargets::This => self.target_name.clone(),
        };
        // RFC 7143 appendix C: in a normal session only the target of the session may be asked for.
        let denied = !self.discovery && only != self.target_name;
        let mut text = Vec::new();
        if !denied {
            let asker = model::Asker {
                initiator: &self.initiator_name,
                local: self.place.local,
                group: self.place.admitted.as_ref().map(|admitted| admitted.group),
            };
            let found = model::visible_targets(&world.tree, asker, only.as_ref());
            let mut writer = iscsi_wire::text::TextWriter::new(&mut text);
            for target in found {
                writer.push("TargetName", target.name.as_ref());
                for address in &target.addresses {
                    writer.push("TargetAddress", address);
                }
            }
        }
        self.proto.answer_send_targets(handle, &text);
        self.mark_dirty(cx);
    }
}

fn attribute(wire: iscsi_wire::TaskAttribute) -> TaskAttribute {
    match wire {
        iscsi_wire::TaskAttribute::Simple => TaskAttribute::Simple,
        iscsi_wire::TaskAttribute::Ordered => TaskAttribute::Ordered,
        iscsi_wire::TaskAttribute::HeadOfQueue => TaskAttribute::HeadOfQueue,
        iscsi_wire::TaskAttribute::Aca => TaskAttribute::Aca,
        _ => TaskAttribute::Untagged,
    }
}
