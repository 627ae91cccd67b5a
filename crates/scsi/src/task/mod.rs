//! A command from its CDB to its status: [`begin`] checks it, [`resume`] takes it on, step by step.
//!
//! A task is a small value: which command, how far it is, and on which version of the LU it was checked. It owns no
//! payload and holds no reference; READ and WRITE allocate nothing.
//!
//! What it does not know: which session it belongs to, who else is at work (the shard says when to wait), what memory is.
//!
//! Standards: SAM-5 r21 "Command processing considerations"; the commands are cited where they are carried out.

mod access_states;
mod compare_and_write;
mod copy;
mod extended_copy;
mod extent;
mod format;
mod gate;
mod identifying;
mod lba_status;
mod list;
mod multimedia;
mod or_write;
mod persistent_reserve_out;
mod plan;
mod protected;
mod sanitize;
mod self_test;
mod settings;
mod state;
mod token;
mod transfer;
mod zero;

use std::time::Duration;

use block::Lba;

use crate::command::{Command, TaskAttribute, VARIABLE_LENGTH};
use crate::copy::CopyState;
use crate::io_error::refusal_of;
use crate::lu::{Admit, IoKind, LuShard, NexusId, TaskKey, UnitAttention};
use crate::opcodes::{Handler, Row};
use crate::persistent_reserve::ServiceAction;
use crate::sense::{Refusal, Sense, SenseFormat, SenseKey};
use crate::snapshot::{Interlock, LuSnapshot};
use crate::step::{Done, Io, Resumed, Status, Step};
use crate::view::LunView;

pub(crate) use gate::Gate;
use plan::Plan;
use state::{Ending, Next, State};

/// A command under way, between [`begin`] and [`Step::Done`].
#[derive(Debug)]
pub struct Task {
    key: TaskKey,
    nexus: NexusId,
    command: Command,
    /// The version of the LU the checks were made on.
    version: u64,
    /// Bytes of Data-Out that have been taken, for a command that fails on its way.
    data_out_bytes: u64,
    waits_for: WaitsFor,
    /// When it began, as [`LunView::now`] says.
    began: Duration,
    state: State,
}

/// What the step last returned is about: nothing else may resume the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WaitsFor {
    /// To be let begin.
    Turn,
    /// A fence to be lifted, before an I/O.
    Fence,
    DataOut,
    Io,
    /// As [`WaitsFor::Io`], where the I/O goes on with another, or is none.
    Within,
    Part,
    Home,
    Nothing,
}

/// Begins a command of `nexus`. `key` has [entered](LuShard::enter) the task set, and is there until the engine has it
/// [leave](LuShard::leave): after [`Step::Done`], or after an abort, when the last I/O has left the store.
///
/// Whatever the task makes the shard do is in [`LuShard::take_actions`]. For [`Step::Home`] the caller calls
/// [`LuShard::request`]. Parameter data are appended to `out`, never more than the initiator expects.
pub fn begin(
    shard: &mut LuShard,
    view: &LunView<'_>,
    nexus: NexusId,
    key: TaskKey,
    command: &Command,
    out: &mut Vec<u8>,
) -> (Task, Step) {
    let mut task = Task {
        key,
        nexus,
        command: *command,
        version: shard.version(),
        data_out_bytes: 0,
        waits_for: WaitsFor::Turn,
        began: view.now,
        state: State::New,
    };
    let step = task.start(shard, view, out);
    (task, step)
}

/// Takes a task on. `event` is what the last [`Step`] asked for; [`Resumed::Aborted`] is right at any time.
/// [`Resumed::Io`] also tells the shard that the I/O has left the store; a task that is aborted while its I/O is in the
/// store must not be resumed for it.
pub fn resume(
    task: &mut Task,
    shard: &mut LuShard,
    view: &LunView<'_>,
    event: Resumed<'_>,
    out: &mut Vec<u8>,
) -> Step {
    let waited_for = std::mem::replace(&mut task.waits_for, WaitsFor::Nothing);
    match (event, waited_for) {
        (Resumed::Aborted, _) => {
            task.state = State::Ended;
            Step::Done(Done::status(Status::TaskAborted))
        }
        (Resumed::Lifted, WaitsFor::Turn) => task.start(shard, view, out),
        (Resumed::Lifted, WaitsFor::Fence) => task.drive(shard, view),
        (Resumed::DataOut(bytes), WaitsFor::DataOut) => {
            let taken = task.handle_data_out(bytes, shard, view);
            task.go_on(taken, shard, view)
        }
        (
            Resumed::Io {
                result,
                data_out,
                scratch,
            },
            WaitsFor::Io,
        ) => {
            shard.io_done(task.key);
            if let (Ok(()), State::LbaStatus(status)) = (&result, &task.state) {
                let done = status.report(scratch, &task.command, out);
                task.state = State::Ended;
                return Step::Done(done);
            }
            let taken = match result {
                Ok(()) => match &mut task.state {
                    State::Copy(copy) => copy.handle_io(shard.snapshot()),
                    state => state.handle_io(data_out, scratch),
                },
                Err(error) => Err(match &task.state {
                    State::SelfTest(test) => test.fail(&error, shard.snapshot(), view.now),
                    _ => refusal_of(&error),
                }),
            };
            if task.state.is_between_windows() {
                shard.release(task.key);
            }
            task.go_on(taken, shard, view)
        }
        (event @ Resumed::Io { .. }, WaitsFor::Within) => {
            let taken = task.handle_within(event);
            task.go_on(taken, shard, view)
        }
        (Resumed::Part(result), WaitsFor::Part) => {
            let taken = task.handle_part(result, shard, view);
            task.go_on(taken, shard, view)
        }
        (Resumed::Granted, WaitsFor::Home) => {
            let taken = task.state.handle_granted();
            task.go_on(taken, shard, view)
        }
        (Resumed::Refused(refusal), WaitsFor::Home) => task.refuse(refusal, shard),
        // Not what was asked for: the caller is at fault, the initiator hears of it, nothing is submitted.
        _ => task.refuse(Sense::INTERNAL_TARGET_FAILURE.into(), shard),
    }
}

impl Task {
    /// The task's name in the shard's task set.
    #[must_use]
    pub fn key(&self) -> TaskKey {
        self.key
    }

    /// The I_T nexus whose command it is.
    #[must_use]
    pub fn nexus(&self) -> NexusId {
        self.nexus
    }

    /// What goes with [`Io::WriteTuples`], as a store keeps it, and with [`Io::Deliver`], as it is sent.
    #[must_use]
    pub fn tuples(&self) -> &[u8] {
        match &self.state {
            State::Protected(work) => work.tuples(),
            _ => &[],
        }
    }

    /// The command.
    #[must_use]
    pub fn command(&self) -> &Command {
        &self.command
    }

    /// The Data-Out asked for is here.
    #[inline]
    fn handle_data_out(
        &mut self,
        bytes: &[u8],
        shard: &mut LuShard,
        view: &LunView<'_>,
    ) -> Result<(), Refusal> {
        self.data_out_bytes += bytes.len() as u64;
        match &mut self.state {
            State::List(list) => list.handle_data_out(bytes, shard.nexus_mut(self.nexus), view),
            State::Copy(copy) => copy.handle_data_out(bytes, (self.nexus, self.key), shard, view),
            state => state.handle_data_out(bytes, shard.snapshot()),
        }
    }

    /// An I/O has ended that goes on with another, or what the store was not asked.
    fn handle_within(&mut self, event: Resumed<'_>) -> Result<(), Refusal> {
        let Resumed::Io {
            result,
            data_out,
            scratch,
        } = event
        else {
            return Err(Sense::INTERNAL_TARGET_FAILURE.into());
        };
        result.map_err(|error| refusal_of(&error))?;
        self.state.handle_io(data_out, scratch)
    }

    /// A part of a third-party copy has ended.
    fn handle_part(
        &mut self,
        result: Result<(), Refusal>,
        shard: &mut LuShard,
        view: &LunView<'_>,
    ) -> Result<(), Refusal> {
        match &mut self.state {
            State::Copy(copy) => copy.handle_part(result, (self.nexus, self.key), shard, view),
            _ => Err(Sense::INTERNAL_TARGET_FAILURE.into()),
        }
    }

    /// Begins, when the task set lets it.
    fn start(&mut self, shard: &mut LuShard, view: &LunView<'_>, out: &mut Vec<u8>) -> Step {
        // ORDERED is the shard's business; there are no versions before the first check.
        if shard.admit_command(self.key) == Admit::Held {
            self.waits_for = WaitsFor::Turn;
            return Step::Held;
        }
        self.version = shard.version();
        let start = out.len();
        match self.check(shard, view, out) {
            Ok(Plan::Done(done)) => {
                self.state = State::Ended;
                Step::Done(done)
            }
            Ok(Plan::Work(state)) => {
                self.state = state;
                self.drive(shard, view)
            }
            Err(refusal) => {
                out.truncate(start);
                self.refuse(refusal, shard)
            }
        }
    }

    /// All checks of a command that begins, and its plan; a report is made here and now.
    fn check(
        &self,
        shard: &mut LuShard,
        view: &LunView<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Plan, Refusal> {
        let commands = shard.snapshot().device.tables().commands;
        let row = commands.row_of(&self.command.cdb);
        self.check_contingent(row, shard)?;
        let always = matches!(row, Ok(row) if row.rules.always);
        // SAM-5 "Unit attention conditions": told before anything else, to a command that does not go round it.
        if !always && let Some(attention) = self.report_unit_attention(shard) {
            return Err(attention_sense(attention).into());
        }
        let row = row.map_err(|refusal| self.unknown(refusal, shard.snapshot()))?;
        if !row.is_supported(shard.snapshot()) {
            return Err(row.not_supported(shard.snapshot()).into());
        }
        let gate = Gate {
            nexus: self.nexus,
            view,
        };
        gate.check_access(row.rules, &self.command.cdb, shard)?;
        row.check_reserved_for(&self.command.cdb, shard.snapshot())?;
        gate.check_write(row.rules, shard.snapshot())?;
        plan::plan(row, self, shard, view, out)
    }

    /// A command without a row: where the LU has none of the CDBs of 32 bytes, it does not know their operation code.
    fn unknown(&self, refusal: Refusal, lu: &LuSnapshot) -> Refusal {
        match self.command.cdb.opcode() {
            VARIABLE_LENGTH if !lu.has_long_commands() => {
                Sense::INVALID_COMMAND_OPERATION_CODE.into()
            }
            _ => refusal,
        }
    }

    /// SAM-5 "ACA condition": what a command that comes while one is in effect ends in.
    fn check_contingent(
        &self,
        row: Result<&'static Row, Refusal>,
        shard: &LuShard,
    ) -> Result<(), Refusal> {
        let is_aca = self.command.attribute == TaskAttribute::Aca;
        let Some(condition) = shard.snapshot().contingent_for(self.nexus) else {
            // SAM-5 "ACA task attribute": without an ACA condition it is an error.
            return match is_aca {
                true => Err(Sense::INVALID_MESSAGE_ERROR.into()),
                false => Ok(()),
            };
        };
        if condition.nexus == self.nexus {
            // One at a time.
            return match is_aca && !shard.has_other_aca_task(self.key, self.nexus) {
                true => Ok(()),
                false => Err(Refusal::Status(Status::AcaActive)),
            };
        }
        let preempts = Handler::PersistentReserveOut(ServiceAction::PreemptAndAbort);
        match row {
            Ok(row) if row.handler == preempts => Ok(()),
            _ if shard.snapshot().naca(&self.command.cdb) => {
                Err(Refusal::Status(Status::AcaActive))
            }
            _ => Err(Refusal::Status(Status::Busy)),
        }
    }

    /// The unit attention that CHECK CONDITION reports. SPC-5 "Control mode page", UA_INTLCK_CTRL: that clears it, or not.
    fn report_unit_attention(&self, shard: &mut LuShard) -> Option<UnitAttention> {
        let interlock = shard.snapshot().mode.interlock;
        let nexus = shard.nexus_mut(self.nexus)?;
        match interlock {
            Interlock::Cleared => nexus.take_unit_attention(),
            Interlock::Kept | Interlock::KeptAndEstablished => nexus.attentions().first(),
        }
    }

    fn take_unit_attention(&self, shard: &mut LuShard) -> Option<UnitAttention> {
        shard.nexus_mut(self.nexus)?.take_unit_attention()
    }

    fn go_on(
        &mut self,
        taken: Result<(), Refusal>,
        shard: &mut LuShard,
        view: &LunView<'_>,
    ) -> Step {
        match taken {
            Ok(()) => self.drive(shard, view),
            Err(refusal) => self.refuse(refusal, shard),
        }
    }

    /// Returns the next step; an I/O only when the shard admits it on the checks that were made.
    fn drive(&mut self, shard: &mut LuShard, view: &LunView<'_>) -> Step {
        loop {
            match self.state.next(shard.snapshot()) {
                Next::DataOut { offset, bytes } => {
                    self.waits_for = WaitsFor::DataOut;
                    return Step::DataOut { offset, bytes };
                }
                Next::Part(ask) => {
                    self.waits_for = WaitsFor::Part;
                    return Step::Part(ask);
                }
                Next::Home(action) => {
                    self.waits_for = WaitsFor::Home;
                    return Step::Home(action);
                }
                Next::Done(ending) => return self.finish(ending, shard, view.now),
                Next::Last(io) => {
                    self.waits_for = WaitsFor::Io;
                    return Step::Io(io);
                }
                Next::Within(io) => {
                    self.waits_for = WaitsFor::Within;
                    return Step::Io(io);
                }
                Next::First(io) => {
                    if let Some(step) = self.begin_pair(io, shard, view) {
                        return step;
                    }
                }
                Next::Io(io) => {
                    let (range, kind) = extent(&io);
                    match shard.admit_io(self.key, range, kind, self.version) {
                        Admit::Go => {
                            self.waits_for = WaitsFor::Io;
                            return Step::Io(io);
                        }
                        Admit::Held => {
                            self.waits_for = WaitsFor::Fence;
                            return Step::Held;
                        }
                        Admit::Recheck => {
                            if let Err(refusal) = self.recheck(shard, view) {
                                return self.refuse(refusal, shard);
                            }
                            self.version = shard.version();
                        }
                    }
                }
            }
        }
    }

    /// The first of two I/Os that are one to others. `None`: the checks were made again, and it is to be asked for anew.
    fn begin_pair(&mut self, io: Io, shard: &mut LuShard, view: &LunView<'_>) -> Option<Step> {
        let (range, kind) = extent(&io);
        match shard.admit_io(self.key, range, kind, self.version) {
            Admit::Go => {
                self.waits_for = WaitsFor::Within;
                Some(Step::Io(io))
            }
            Admit::Held => {
                self.waits_for = WaitsFor::Fence;
                Some(Step::Held)
            }
            Admit::Recheck => {
                if let Err(refusal) = self.recheck(shard, view) {
                    return Some(self.refuse(refusal, shard));
                }
                self.version = shard.version();
                None
            }
        }
    }

    /// Makes the checks again that depend on the LU, for what is still to be done.
    fn recheck(&self, shard: &LuShard, view: &LunView<'_>) -> Result<(), Refusal> {
        // The change was this command's own; what is left is to make older writes durable.
        if let State::ModeSelect(_) = self.state {
            return Ok(());
        }
        let lu = shard.snapshot();
        let row = lu.device.tables().commands.row_of(&self.command.cdb)?;
        let gate = Gate {
            nexus: self.nexus,
            view,
        };
        gate.check_access(row.rules, &self.command.cdb, shard)?;
        gate.check_write(row.rules, lu)?;
        match &self.state {
            State::Unmap(unmap) => unmap.check_ranges(lu.geometry()),
            State::Copy(copy) => copy.check_ranges(lu.geometry()),
            _ => plan::check_range(row, &self.command.cdb, lu.geometry()),
        }
    }

    fn finish(&mut self, ending: Ending, shard: &mut LuShard, now: Duration) -> Step {
        if let State::Copy(copy) = &self.state {
            shard.end_copy(self.nexus, self.key, copy.end_state());
        }
        if let State::SelfTest(test) = &self.state {
            test.record(None, shard.snapshot(), now);
        }
        if let Some(traffic) = self.state.traffic() {
            let took = now.saturating_sub(self.began);
            shard
                .statistics()
                .count(traffic, ending.transfer_bytes, took);
        }
        self.state = State::Ended;
        Step::Done(Done {
            transfer_bytes: ending.transfer_bytes,
            data_in_bytes: ending.data_in_bytes,
            sense_format: sense_format(shard.snapshot()),
            ..Done::status(Status::Good)
        })
    }

    /// Ends the task with what it has moved so far.
    fn refuse(&mut self, refusal: Refusal, shard: &mut LuShard) -> Step {
        if let State::Copy(_) = self.state {
            let sense = match refusal {
                Refusal::Check(sense) => Some(sense),
                Refusal::Status(_) => None,
            };
            shard.end_copy(self.nexus, self.key, CopyState::Failed(sense));
        }
        let mut done = refusal.done(sense_format(shard.snapshot()));
        done.transfer_bytes = self.data_out_bytes;
        if let (Some(traffic), Refusal::Check(sense)) = (self.state.traffic(), refusal)
            && sense.key == SenseKey::MediumError
        {
            shard.statistics().count_error(traffic);
        }
        let moved_bytes = match &self.state {
            State::Read(read) => read.moved_bytes(),
            State::Protected(work) => work.moved_bytes(),
            _ => 0,
        };
        if moved_bytes > 0 {
            done.data_in_bytes = moved_bytes;
            done.transfer_bytes = u64::from(moved_bytes);
        }
        self.state = State::Ended;
        Step::Done(done)
    }
}

fn attention_sense(attention: UnitAttention) -> Sense {
    let (asc, ascq) = attention.additional_sense();
    Sense::unit_attention(asc, ascq)
}

fn sense_format(lu: &LuSnapshot) -> SenseFormat {
    SenseFormat::of_bit(lu.mode.descriptor_sense)
}

/// Where an I/O goes, and of what kind it is to a fence.
pub(crate) fn extent(io: &Io) -> (Option<(Lba, u64)>, IoKind) {
    match *io {
        Io::Read { lba, blocks, .. }
        | Io::Map { lba, blocks }
        | Io::ReadTuples { lba, blocks, .. } => (Some((lba, blocks)), IoKind::Read),
        Io::Write { lba, blocks, .. }
        | Io::WriteTuples { lba, blocks, .. }
        | Io::Unmap { lba, blocks }
        | Io::WriteZeroes { lba, blocks, .. } => (Some((lba, blocks)), IoKind::Write),
        // The last two are asked of no store, and are never admitted.
        Io::Flush | Io::Strip { .. } | Io::Deliver { .. } => (None, IoKind::Flush),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn task_and_step_stay_small_enough_to_be_moved_about() {
        assert!(size_of::<Task>() <= 192, "{}", size_of::<Task>());
        assert!(size_of::<Step>() <= 72, "{}", size_of::<Step>());
    }
}
