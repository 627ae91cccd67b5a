//! A small engine around a session: a flat disk, commands of the tests' own, and the ways a stream may reach it.

use core::time::Duration;
use std::collections::BTreeMap;

use iscsi_wire::{
    Crc32c, LogoutResponseCode, TaskManagementFunction as Function, TaskManagementResponseCode, pad,
};

use crate::session::fixture::C0;
use crate::session::{
    CommandEvent, ConnectionIndex, Event, LogoutHandle, LogoutScope, Outcome, Piece, ReceivePlan,
    Session, TaskId, TmfReference, Transmit,
};

/// Reads `edtl` bytes of the disk at the offset in CDB bytes 2 to 5.
pub(super) const READ: u8 = 0x28;
/// Writes `edtl` bytes to the disk at the offset in CDB bytes 2 to 5.
pub(super) const WRITE: u8 = 0x2a;
/// Does nothing, well.
pub(super) const NOTHING: u8 = 0x00;
/// Is not completed until the test says so.
pub(super) const HANG: u8 = 0xe0;
/// A write that is refused before its data has come.
pub(super) const REFUSE: u8 = 0xe1;
/// A read that is answered window by window.
pub(super) const READ_IN_WINDOWS: u8 = 0xe2;
/// A read that fails after its first kilobyte.
pub(super) const READ_FAILS: u8 = 0xe3;

/// In the place of data that the engine does not keep any more.
pub(super) const GONE: u8 = 0xee;

/// SCSI status CHECK CONDITION.
pub(super) const CHECK_CONDITION: u8 = 2;
pub(super) const SENSE: [u8; 4] = [0x72, 0x05, 0x24, 0x00];

/// How the stream comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// In pieces of at most so many bytes, all through staging.
    Staging(usize),
    /// In pieces of at most so many bytes; large payloads in place.
    InPlace(usize),
}

#[derive(Clone, Debug)]
struct Work {
    command: CommandEvent,
    memory: Vec<u8>,
    begun: bool,
    ended: bool,
    contiguous: u32,
}

/// The engine.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) session: Session,
    pub(super) disk: Vec<u8>,
    pub(super) now: Duration,
    /// Bytes of memory granted beyond the unsolicited data at a time.
    pub(super) grant_bytes: u32,
    pub(super) events: Vec<Event>,
    /// Task management requests and logouts are answered by the test.
    pub(super) withhold: bool,
    /// Functions that end several tasks do.
    pub(super) ends_sets: bool,
    /// At most this much is gathered at once.
    pub(super) budget_bytes: usize,
    pub(super) targets: Vec<u8>,
    work: BTreeMap<TaskId, Work>,
    /// Called after each event: the session and whether it is at rest.
    pub(super) imaged: usize,
}

impl Target {
    pub(super) fn new(session: Session) -> Self {
        let disk = (0..1u32 << 18).map(|n| (n.wrapping_mul(0x9e37_79b1) >> 24).to_le_bytes()[0]);
        Self {
            session,
            disk: disk.collect(),
            now: Duration::ZERO,
            grant_bytes: u32::MAX,
            events: Vec::new(),
            withhold: false,
            ends_sets: false,
            budget_bytes: usize::MAX,
            targets: b"TargetName=iqn.2026-01.org.example:disk\0TargetAddress=127.0.0.1:3260,1\0"
                .to_vec(),
            work: BTreeMap::new(),
            imaged: 0,
        }
    }

    /// Takes bytes of the leading connection's stream this way.
    pub(super) fn receive(&mut self, bytes: &[u8], way: Way) {
        self.receive_on(C0, bytes, way);
    }

    /// Takes bytes of a connection's stream this way.
    pub(super) fn receive_on(&mut self, c: ConnectionIndex, mut bytes: &[u8], way: Way) {
        while !bytes.is_empty() {
            let (Way::Staging(most) | Way::InPlace(most)) = way;
            let plan = self.session.receive_plan(c);
            let taken = match (way, plan) {
                (
                    Way::InPlace(_),
                    ReceivePlan::InPlace {
                        task,
                        offset,
                        bytes: wanted,
                    },
                ) => {
                    let count = bytes.len().min(most).min(wanted as usize);
                    let work = self.work.get_mut(&task).expect("placed data has a task");
                    let at = offset as usize;
                    work.memory[at..at + count].copy_from_slice(&bytes[..count]);
                    self.session.handle_placed(c, self.now, &bytes[..count]);
                    self.turn(c, &[]);
                    count
                }
                _ => {
                    let count = bytes.len().min(most);
                    self.turn(c, &bytes[..count]);
                    count
                }
            };
            bytes = &bytes[taken..];
        }
        self.turn(c, &[]);
    }

    fn turn(&mut self, c: ConnectionIndex, mut input: &[u8]) {
        loop {
            let received = self.session.handle_received(c, self.now, input);
            assert!(received.consumed <= input.len());
            let Some(event) = received.event else {
                assert_eq!(received.consumed, input.len(), "no event, all consumed");
                return self.check_image();
            };
            self.handle(event, input);
            input = &input[received.consumed..];
            self.check_image();
        }
    }

    fn check_image(&mut self) {
        if self.session.is_at_rest() {
            let again = Session::from_image(&self.session.image());
            assert_eq!(again.as_ref(), Ok(&self.session));
            self.imaged += 1;
        }
    }

    fn handle(&mut self, event: Event, input: &[u8]) {
        self.events.push(event.clone());
        match event {
            Event::Command(command) => self.command(command),
            Event::Deliver { task } => self.begin(task),
            Event::Payload {
                task,
                offset,
                input: range,
            } => {
                let bytes = &input[range];
                let at = offset as usize;
                let work = self.work.get_mut(&task).expect("payload has a task");
                work.memory[at..at + bytes.len()].copy_from_slice(bytes);
            }
            Event::DataArrived {
                task, contiguous, ..
            } => self.arrived(task, contiguous),
            Event::DataFault { task, fault } => {
                self.fail(task, &fault.sense());
            }
            Event::Acknowledged { task, through } => {
                // What is sent again after this is seen to be wrong.
                let memory = &mut self.work.get_mut(&task).expect("it is not over").memory;
                let through = memory.len().min(through as usize);
                memory[..through].fill(GONE);
            }
            Event::Released { task } => {
                self.work.remove(&task).expect("released once");
            }
            Event::TaskManagement(tmf) if !self.withhold => {
                let one = matches!(tmf.function, Function::AbortTask | Function::QueryTask);
                if self.ends_sets && !one {
                    let before = |task: &TaskId| self.session.came_before(*task, tmf.cmd_sn);
                    let ended: Vec<TaskId> = self.open().into_iter().filter(before).collect();
                    self.abort_all(ended);
                }
                let response = match tmf.referenced {
                    TmfReference::Task(task) => {
                        self.abort(task);
                        TaskManagementResponseCode::FunctionComplete
                    }
                    TmfReference::NotFound => TaskManagementResponseCode::TaskDoesNotExist,
                    TmfReference::NotYetReceived | TmfReference::None => {
                        TaskManagementResponseCode::FunctionComplete
                    }
                };
                self.session.complete_task_management(tmf.handle, response);
            }
            Event::SendTargets { handle, .. } if !self.withhold => {
                let targets = self.targets.clone();
                self.session.answer_send_targets(handle, &targets);
            }
            Event::Logout {
                handle,
                scope: LogoutScope::Recovery(c),
                carrier,
            } if !self.withhold => self.remove_for_recovery(handle, c, carrier),
            Event::Logout { handle, scope, .. } if !self.withhold => {
                for task in self.open() {
                    let c = self.session.connection_of(task).expect("it is open");
                    if scope.covers(c) {
                        self.abort(task);
                    }
                }
                self.session
                    .complete_logout(handle, LogoutResponseCode::Closed);
            }
            Event::TaskManagement(_)
            | Event::SendTargets { .. }
            | Event::Logout { .. }
            | Event::Reassigned { .. }
            | Event::ConnectionDone { .. } => {}
            Event::TasksExpired { tasks } => self.abort_all(tasks),
        }
    }

    fn remove_for_recovery(
        &mut self,
        handle: LogoutHandle,
        c: ConnectionIndex,
        carrier: ConnectionIndex,
    ) {
        if c == carrier {
            let ended = self.session.suspend_tasks(c);
            self.abort_all(ended);
        } else if !self.session.is_lost(c) {
            self.lose(c);
        }
        self.session.end_allegiance(c, self.now);
        self.session
            .complete_logout(handle, LogoutResponseCode::Closed);
    }

    fn abort_all(&mut self, tasks: Vec<TaskId>) {
        for task in tasks {
            self.abort(task);
        }
    }

    /// A connection is lost: tasks that outlive it are kept.
    pub(super) fn lose(&mut self, c: ConnectionIndex) {
        let ended = self.session.lose_connection(c, self.now);
        self.abort_all(ended);
        self.session.release_connection(c);
        self.check_image();
    }

    /// Lets time act, up to what `now` is.
    pub(super) fn time_out(&mut self) {
        while let Some(event) = self.session.handle_timeout(self.now) {
            self.handle(event, &[]);
        }
    }

    /// What needs no input.
    pub(super) fn poll(&mut self) {
        while let Some(event) = self.session.poll_event() {
            self.handle(event, &[]);
        }
    }

    /// What has not ended.
    pub(super) fn tasks(&self) -> usize {
        self.work.len()
    }

    /// Tasks without a status.
    pub(super) fn open(&self) -> Vec<TaskId> {
        self.work
            .iter()
            .filter(|(_, work)| !work.ended)
            .map(|(task, _)| *task)
            .collect()
    }

    pub(super) fn abort(&mut self, task: TaskId) {
        self.work.remove(&task);
        self.session.abandon(task);
    }

    fn command(&mut self, command: CommandEvent) {
        let task = command.task;
        let memory = vec![0; command.expected_data_transfer_length as usize];
        let begun = command.deliver;
        self.work.insert(
            task,
            Work {
                command,
                memory,
                begun: false,
                ended: false,
                contiguous: 0,
            },
        );
        if command.brings_data() {
            if command.cdb.as_slice()[0] == REFUSE {
                self.session.discard_data(task);
            } else {
                self.session.accept_data(task);
            }
        }
        if begun {
            self.begin(task);
        }
    }

    fn begin(&mut self, task: TaskId) {
        let work = self.work.get_mut(&task).expect("a command begins once");
        assert!(!core::mem::replace(&mut work.begun, true));
        let command = work.command;
        let bytes = command.expected_data_transfer_length;
        let start = start_of(&command);
        match command.cdb.as_slice()[0] {
            READ | READ_IN_WINDOWS | READ_FAILS => {
                let end = start + bytes as usize;
                work.memory.copy_from_slice(&self.disk[start..end]);
                self.answer_read(task, command.cdb.as_slice()[0], bytes);
            }
            WRITE if bytes > 0 => {
                let through = self.grant_bytes.min(bytes);
                self.session.request_data(task, through);
                self.arrived(task, 0);
            }
            REFUSE => self.fail(task, &SENSE),
            HANG => {}
            _ => self.good(task, None, u64::from(bytes)),
        }
    }

    fn answer_read(&mut self, task: TaskId, opcode: u8, bytes: u32) {
        match opcode {
            READ => self.good(task, Some((0, bytes)), u64::from(bytes)),
            READ_IN_WINDOWS => {
                let window = 1500;
                let last = bytes - bytes.min(window);
                let mut at = 0;
                while at < last {
                    let count = window.min(last - at);
                    self.session.data_in(task, at, count);
                    at += count;
                }
                self.good(task, Some((last, bytes - last)), u64::from(bytes));
            }
            _ => {
                self.session.data_in(task, 0, bytes.min(1024));
                self.fail(task, &SENSE);
            }
        }
    }

    fn arrived(&mut self, task: TaskId, contiguous: u32) {
        let Some(work) = self.work.get_mut(&task) else {
            return;
        };
        work.contiguous = work.contiguous.max(contiguous);
        let contiguous = work.contiguous;
        let bytes = work.command.expected_data_transfer_length;
        if work.command.cdb.as_slice()[0] != WRITE || work.ended {
            return;
        }
        if contiguous == bytes {
            if work.begun {
                let start = start_of(&work.command);
                self.disk[start..start + bytes as usize].copy_from_slice(&work.memory);
                self.good(task, None, u64::from(bytes));
            }
        } else if work.begun {
            let through = contiguous.saturating_add(self.grant_bytes);
            self.session.request_data(task, through);
        }
    }

    pub(super) fn good(&mut self, task: TaskId, data_in: Option<(u32, u32)>, transfer_bytes: u64) {
        let outcome = Outcome {
            status: 0,
            sense: &[],
            data_in,
            transfer_bytes,
            fence: false,
        };
        self.complete(task, &outcome);
    }

    pub(super) fn fail(&mut self, task: TaskId, sense: &[u8]) {
        let status = CHECK_CONDITION;
        self.complete(
            task,
            &Outcome {
                status,
                sense,
                ..Outcome::default()
            },
        );
    }

    pub(super) fn complete(&mut self, task: TaskId, outcome: &Outcome<'_>) {
        if let Some(work) = self.work.get_mut(&task) {
            work.ended = true;
        }
        self.session.complete(task, outcome);
    }

    /// A connection is closed: its tasks end with it.
    pub(super) fn close(&mut self, c: ConnectionIndex) {
        self.session.disconnect(c);
        let open: Vec<TaskId> = self.work.keys().copied().collect();
        for task in open {
            if self.session.connection_of(task) == Some(c) {
                self.abort(task);
            }
        }
        self.session.forget_connection(c);
        self.check_image();
    }

    /// Everything that is ready on the leading connection, as it goes over the wire.
    pub(super) fn send(&mut self) -> Vec<u8> {
        self.send_on(C0)
    }

    /// Everything that is ready on a connection, as it goes over the wire.
    pub(super) fn send_on(&mut self, c: ConnectionIndex) -> Vec<u8> {
        let mut wire = Vec::new();
        let mut out = Transmit::default();
        loop {
            out.clear();
            let more = self
                .session
                .poll_transmit(c, self.now, &mut out, self.budget_bytes);
            let before = wire.len();
            self.gather(&mut out, &mut wire);
            assert_eq!(wire.len() - before, out.wire_bytes());
            self.check_image();
            assert_eq!(more, self.session.has_output(c));
            assert!(
                !more || wire.len() > before,
                "more is ready, and nothing came"
            );
            if self.session.recovers() {
                self.poll();
            }
            if !self.session.has_output(c) {
                return wire;
            }
        }
    }

    fn gather(&mut self, out: &mut Transmit, wire: &mut Vec<u8>) {
        for at in 0..out.pieces.len() {
            match out.pieces[at].clone() {
                Piece::Arena(range) => {
                    wire.extend(&out.arena[range.start as usize..range.end as usize]);
                }
                Piece::TaskData {
                    task,
                    offset,
                    bytes,
                    digest_at,
                } => {
                    let memory = &self.work[&task].memory;
                    let data = &memory[offset as usize..(offset + bytes) as usize];
                    wire.extend(data);
                    if let Some(at) = digest_at {
                        let at = at as usize;
                        let mut crc = Crc32c::new();
                        crc.update(data);
                        crc.update(&out.arena[at - pad(bytes as usize)..at]);
                        out.arena[at..at + 4].copy_from_slice(&crc.wire_bytes());
                    }
                }
                Piece::Release { task } => {
                    let work = self.work.remove(&task).expect("released once");
                    assert!(work.ended);
                }
            }
        }
    }
}

fn start_of(command: &CommandEvent) -> usize {
    u32::from_be_bytes([
        command.cdb.as_slice()[2],
        command.cdb.as_slice()[3],
        command.cdb.as_slice()[4],
        command.cdb.as_slice()[5],
    ]) as usize
}
