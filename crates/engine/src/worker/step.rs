//! What a device server's step asks for is done here: data collected, I/O submitted, answers handed to the protocol.

use block::IoError;
use iscsi_proto::session::{DataFault, Outcome, TaskId};
use scsi::{Done, Refusal, Resumed, Sense, SenseFormat, SenseKey, Status, Step};

use super::cx::Cx;
use super::session::{Luns, SessionLink};
use super::task::{ReadData, ReadWindow, State};
use super::unit::Units;
use crate::directory::count;
use crate::panics::guard;
use crate::shared::UnitIndex;

/// Pieces of a long command that are worked at one go, where the store answers at once; then others have their turn.
const PIECES_AT_ONE_GO: u32 = 8;

/// With what a task goes on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    DataOut { offset: u32, bytes: u32 },
    Io(Result<(), IoError>),
    Part(Result<(), Refusal>),
    Granted,
    Refused(Refusal),
    Lifted,
}

/// Whether a step has been done at once.
pub(super) enum Progress {
    Now(Event),
    Later,
}

impl SessionLink {
    /// Has the device server check a command.
    pub(super) fn begin(&mut self, id: TaskId, units: &mut Units, cx: &mut Cx) -> Step {
        let nexus = self.nexus();
        let Some(task) = self.tasks.get_mut(id.index()).and_then(Option::as_mut) else {
            return Step::Held;
        };
        let Some(unit) = units.find(task.unit) else {
            return Step::Done(internal_failure());
        };
        let luns = Luns::new(&self.place.luns, &cx.shared);
        let told = (cx.now, self.proto.params().iscsi_protocol_level);
        let view = Self::view(&luns, &self.place, task.write_protected, told);
        cx.out.clear();
        let (shard, command, key) = (&mut unit.shard, &task.command, task.key);
        let out = &mut cx.out;
        let begun = guard(|| {
            shard.enter(key, nexus, command.attribute).ok()?;
            Some(scsi::begin(shard, &view, nexus, key, command, out))
        });
        match begun {
            // The nexus is on its way out: whatever is answered goes nowhere.
            Ok(None) => Step::Done(Done::status(Status::Busy)),
            Ok(Some((state, step))) => {
                task.scsi = Some(state);
                step
            }
            Err(_) => {
                unit.go_offline(cx);
                Step::Done(internal_failure())
            }
        }
    }

    pub(super) fn resume(
        &mut self,
        id: TaskId,
        event: Event,
        units: &mut Units,
        cx: &mut Cx,
    ) -> Step {
        let Some(task) = self.tasks.get_mut(id.index()).and_then(Option::as_mut) else {
            return Step::Held;
        };
        if task.part.is_some() {
            return self.resume_part(id, event, units, cx);
        }
        let Some(unit) = units.find(task.unit) else {
            return Step::Done(internal_failure());
        };
        let Some(state) = task.scsi.as_mut() else {
            return Step::Done(internal_failure());
        };
        let luns = Luns::new(&self.place.luns, &cx.shared);
        let told = (cx.now, self.proto.params().iscsi_protocol_level);
        let view = Self::view(&luns, &self.place, task.write_protected, told);
        if let Event::DataOut { offset, bytes } = event {
            task.collected = (offset, bytes);
        }
        let (at, bytes) = task.collected;
        let collected = task.window.slice(at, bytes).unwrap_or_default();
        let resumed = match event {
            Event::DataOut { offset, bytes } => match task.window.slice(offset, bytes) {
                Some(data) => Resumed::DataOut(data),
                None => return Step::Done(internal_failure()),
            },
            Event::Io(result) => Resumed::Io {
                result,
                data_out: collected,
                scratch: task.scratch.as_ref().map_or(&[][..], |b| &b[..]),
            },
            Event::Part(result) => Resumed::Part(result),
            Event::Granted => Resumed::Granted,
            Event::Refused(refusal) => Resumed::Refused(refusal),
            Event::Lifted => Resumed::Lifted,
        };
        cx.out.clear();
        let (shard, out) = (&mut unit.shard, &mut cx.out);
        guard(|| scsi::resume(state, shard, &view, resumed, out)).unwrap_or_else(|_| {
            unit.go_offline(cx);
            Step::Done(internal_failure())
        })
    }

    /// Takes a task as far as it goes without waiting.
    pub(super) fn run(&mut self, id: TaskId, mut step: Step, units: &mut Units, cx: &mut Cx) {
        let Some(unit) = self.task(id).map(|t| t.unit) else {
            return;
        };
        let mut pieces = 0;
        loop {
            if !matches!(step, Step::Done(_)) && self.is_leaving(unit) {
                step = Step::Done(not_supported());
            }
            let progress = match step {
                Step::Done(done) => {
                    self.end_command(id, &done, units, cx);
                    break;
                }
                Step::Held => {
                    self.set_state(id, State::Waiting);
                    Progress::Later
                }
                Step::Home(action) => {
                    let nexus = self.nexus();
                    if let Some(task) = self.task(id) {
                        task.state = State::Waiting;
                        let key = task.key;
                        if let Some(unit) = units.find(unit) {
                            unit.shard.request(key, nexus, action);
                        }
                    }
                    Progress::Later
                }
                Step::DataOut { offset, bytes } => self.collect(id, offset, bytes, cx),
                Step::Io(_) | Step::Part(_) if pieces == PIECES_AT_ONE_GO => {
                    self.set_state(id, State::Yielded(step));
                    cx.yielded.push_back((self.key, id));
                    Progress::Later
                }
                Step::Io(io) => {
                    pieces += 1;
                    self.start_io(id, io, units, cx)
                }
                Step::Part(ask) => {
                    step = self.begin_part(id, ask, units, cx);
                    continue;
                }
            };
            match progress {
                Progress::Now(event) => step = self.resume(id, event, units, cx),
                Progress::Later => break,
            }
        }
        units.settle(unit, cx);
    }

    /// Resumes a task that waited.
    pub(super) fn go_on(&mut self, id: TaskId, event: Event, units: &mut Units, cx: &mut Cx) {
        let step = self.resume(id, event, units, cx);
        self.run(id, step, units, cx);
    }

    fn set_state(&mut self, id: TaskId, state: State) {
        if let Some(task) = self.task(id) {
            task.state = state;
        }
    }

    /// Step::DataOut: memory first, then R2Ts for what has not come unasked.
    fn collect(&mut self, id: TaskId, offset: u32, bytes: u32, cx: &mut Cx) -> Progress {
        let held = self.held_bytes;
        let Some(task) = self.task(id) else {
            return Progress::Later;
        };
        if bytes > 0 && !task.window.covers(offset, bytes) {
            let old = task.window.buffer().map_or(0, |b| b.capacity());
            // Data that came before its command's turn has memory of its own, which may be too small for the window.
            let comes_along = task.window.start == offset && task.contiguous > offset;
            let lent = cx.lend(bytes as usize, held.saturating_sub(old));
            let Some(mut buffer) = lent else {
                task.state = State::Starving(Step::DataOut { offset, bytes });
                if !comes_along {
                    drop(task.window.take());
                    task.held_bytes = task.held_bytes.saturating_sub(old);
                    self.held_bytes = held.saturating_sub(old);
                }
                cx.starving.push_back((self.key, id));
                self.memory_is_short(cx);
                return Progress::Later;
            };
            let before = task.window.take();
            if let Some(before) = before.filter(|_| comes_along) {
                let bytes = before.len().min(buffer.len());
                buffer[..bytes].copy_from_slice(&before[..bytes]);
            }
            task.held_bytes = task.held_bytes.saturating_sub(old);
            let new = buffer.capacity();
            task.window.start = offset;
            task.window.put_back(buffer);
            task.held_bytes += new;
            self.held_bytes = held.saturating_sub(old) + new;
        }
        let end = offset.saturating_add(bytes);
        let Some(task) = self.task(id) else {
            return Progress::Later;
        };
        if task.contiguous >= end {
            return Progress::Now(Event::DataOut { offset, bytes });
        }
        task.state = State::DataOut { offset, bytes };
        let c = task.connection;
        self.note_progress(c, cx.now);
        self.proto.request_data(id, end);
        self.mark_dirty(cx);
        Progress::Later
    }

    pub(super) fn finish_fault(
        &mut self,
        id: TaskId,
        fault: DataFault,
        units: &mut Units,
        cx: &mut Cx,
    ) {
        if self
            .task(id)
            .is_none_or(|task| matches!(task.state, State::Ending(_)))
        {
            return;
        }
        let (asc, ascq) = fault.additional_sense();
        let sense = Sense::new(SenseKey::AbortedCommand, asc, ascq);
        let done = Done::check_condition(sense, SenseFormat::Fixed);
        self.end_command(id, &done, units, cx);
        if let Some(unit) = self.task(id).map(|task| task.unit) {
            units.settle(unit, cx);
        }
    }

    /// A command's end: it leaves the task set, and its answer goes to the protocol.
    pub(super) fn finish(&mut self, id: TaskId, done: &Done, units: &mut Units, cx: &mut Cx) {
        self.leave(id, units, cx);
        let Some(task) = self.task(id) else { return };
        if std::mem::take(&mut task.emergency) {
            cx.emergency = false;
        }
        let last = task
            .reads
            .iter()
            .flatten()
            .filter(|w| w.offset >= task.announced);
        let last = last.map(|w| (w.offset, w.bytes)).min();
        let moved = done.transfer_bytes;
        let (wrote, read) = (
            task.command.data_out_bytes > 0,
            task.command.data_in_bytes > 0,
        );
        if done.status == Status::Good && wrote {
            cx.counters.written_bytes.add(moved);
            count(&self.record.counters.written_bytes, moved);
        } else if done.status == Status::Good && read {
            cx.counters.read_bytes.add(moved);
            count(&self.record.counters.read_bytes, moved);
        }
        self.answer(id, done, last, cx);
    }

    /// Out of the task set: what the task held back goes on.
    fn leave(&mut self, id: TaskId, units: &mut Units, cx: &mut Cx) {
        self.leave_part(id, units, cx);
        let Some(task) = self.task(id) else { return };
        let (key, index) = (task.key, task.unit);
        if let Some(unit) = units.find(index)
            && !unit.offline
        {
            unit.shard.leave(key);
        }
        units.settle(index, cx);
    }

    /// Hands an answer to the protocol. Parameter data stands in `cx.out`.
    pub(super) fn answer(
        &mut self,
        id: TaskId,
        done: &Done,
        last_window: Option<(u32, u32)>,
        cx: &mut Cx,
    ) {
        let mut data_in = last_window.filter(|_| done.status == Status::Good);
        if data_in.is_none() && done.data_in_bytes > 0 && !cx.out.is_empty() {
            let bytes = done
                .data_in_bytes
                .min(u32::try_from(cx.out.len()).unwrap_or(u32::MAX));
            let data = ReadData::Small(std::mem::take(&mut cx.out));
            self.keep_small(
                id,
                ReadWindow {
                    offset: 0,
                    bytes,
                    data,
                    held_bytes: 0,
                    pin: None,
                },
            );
            data_in = Some((0, bytes));
        }
        let mut sense = Vec::new();
        if done.sense.is_some() {
            done.write_sense(&mut sense);
        }
        // RFC 7143 §4.2.2.3.3 a: with one connection nothing is fenced.
        let fence = self.proto.params().max_connections > 1 && self.needs_fence(id, done);
        let outcome = Outcome {
            status: done.status.code(),
            sense: &sense,
            data_in,
            transfer_bytes: done.transfer_bytes,
            fence,
        };
        self.complete(id, &outcome, cx);
    }

    fn complete(&mut self, id: TaskId, outcome: &Outcome<'_>, cx: &mut Cx) {
        if let Some(task) = self.task(id) {
            task.state = State::Answered;
            task.window = super::task::Window::default();
            task.scratch = None;
            // What was read counts until it is sent: a peer that reads no answers gets no more than its share.
            let waits = task.reads.iter().flatten().map(|w| w.held_bytes).sum();
            let given_back = task.held_bytes.saturating_sub(waits);
            task.held_bytes = waits;
            self.held_bytes = self.held_bytes.saturating_sub(given_back);
        }
        if guard(|| self.proto.complete(id, outcome)).is_err() {
            self.poisoned = true;
        }
        self.mark_dirty(cx);
    }

    /// Parameter data of a command, kept until it is gathered. A command for a LUN that is not there has no task of the
    /// engine's yet: it gets one for this.
    fn keep_small(&mut self, id: TaskId, window: ReadWindow) {
        if self.task(id).is_none() {
            let command = scsi::Command {
                cdb: scsi::Cdb::new(&[]),
                attribute: scsi::TaskAttribute::Untagged,
                data_out_bytes: 0,
                data_in_bytes: 0,
            };
            let key = scsi::lu::TaskKey(0);
            let unit = UnitIndex(u32::MAX);
            let connection = self.proto.connection_of(id).unwrap_or_default();
            self.put_task(id, || super::task::Task {
                connection,
                ..super::task::Task::new(key, unit, false, command)
            });
        }
        if let Some(task) = self.task(id) {
            task.reads = [Some(window), None];
        }
    }
}

/// The LUN went while the command was under way.
pub(super) fn not_supported() -> Done {
    Done::check_condition(Sense::LOGICAL_UNIT_NOT_SUPPORTED, SenseFormat::Fixed)
}

/// HARDWARE ERROR, INTERNAL TARGET FAILURE: the unit is not fit to work on.
pub(super) fn internal_failure() -> Done {
    Done::check_condition(Sense::INTERNAL_TARGET_FAILURE, SenseFormat::Fixed)
}
