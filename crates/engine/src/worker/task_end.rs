//! How a command comes to its status: what that does to other commands comes first, and an ACA condition may hold it back
//! (SAM-5 "Auto contingent allegiance", SPC-5 "Control mode page").

use iscsi_proto::negotiate::TaskReporting;
use iscsi_proto::session::TaskId;
use scsi::lu::{Abortion, ActionResult, AdmitEnd, UnitAttention};
use scsi::{DeviceType, Done, SenseKey, Status};

use super::cx::{Cx, News};
use super::session::SessionLink;
use super::task::State;
use super::unit::Units;
use crate::shared::UnitIndex;

impl SessionLink {
    /// A command has its status: it is told now, or when it may be.
    pub(super) fn end_command(&mut self, id: TaskId, done: &Done, units: &mut Units, cx: &mut Cx) {
        let Some(unit) = self.task(id).map(|task| task.unit) else {
            return;
        };
        if self.may_end(id, unit, done, units) {
            return self.finish(id, done, units, cx);
        }
        let out = if done.data_in_bytes > 0 {
            std::mem::take(&mut cx.out)
        } else {
            Vec::new()
        };
        if let Some(task) = self.task(id) {
            task.state = State::Ending(Box::new((*done, out)));
        }
    }

    fn may_end(&mut self, id: TaskId, unit: UnitIndex, done: &Done, units: &mut Units) -> bool {
        let nexus = self.nexus();
        let Some(found) = units.find(unit).filter(|found| !found.offline) else {
            return true;
        };
        let leaving = self.leaving.contains_key(&unit.0);
        let Some(task) = self.task(id).filter(|_| !leaving) else {
            return true;
        };
        let key = task.key;
        match found.shard.admit_end(key, done.status, &task.command.cdb) {
            AdmitEnd::Go => return true,
            AdmitEnd::Held => {}
            AdmitEnd::Ask(action) => found.shard.request(key, nexus, action),
        }
        false
    }

    /// Whether a command has its status and may not tell it yet.
    pub(super) fn is_at_its_end(&mut self, id: TaskId) -> bool {
        self.task(id)
            .is_some_and(|task| matches!(task.state, State::Ending(_)))
    }

    /// There are news for a command that has its status.
    pub(super) fn go_on_ending(&mut self, id: TaskId, news: &News, units: &mut Units, cx: &mut Cx) {
        let Some(task) = self.task(id) else { return };
        let unit = task.unit;
        let state = std::mem::replace(&mut task.state, State::Waiting);
        let State::Ending(ending) = state else {
            task.state = state;
            return;
        };
        let (done, out) = *ending;
        cx.out = out;
        match news {
            News::Completed(ActionResult::Done) => self.finish(id, &done, units, cx),
            // What was refused, and what was held, is asked for again.
            _ => self.end_command(id, &done, units, cx),
        }
        units.settle(unit, cx);
    }

    /// Aborts a task for somebody else's sake.
    pub(super) fn abort_for_another(
        &mut self,
        id: TaskId,
        how: Abortion,
        units: &mut Units,
        cx: &mut Cx,
    ) {
        self.tell_termination(id, how);
        self.abort_telling(id, how.status, units, cx);
    }

    /// RFC 7143 §4.2.2.3.4, §4.2.3.3 e: whether a status has to be fenced.
    pub(super) fn needs_fence(&mut self, id: TaskId, done: &Done) -> bool {
        let Some(task) = self.task(id) else {
            return false;
        };
        let cdb = &task.command.cdb;
        match (done.status, &done.sense) {
            // a: the unit attention after a function that ended several tasks; c: an ACA condition is established.
            (_, Some(sense)) => {
                let cleared = UnitAttention::CommandsCleared.additional_sense();
                let reset = UnitAttention::BusDeviceReset.additional_sense();
                let told = (sense.asc, sense.ascq);
                DeviceType::ALL.iter().any(|device| cdb.naca(*device))
                    || (sense.key == SenseKey::UnitAttention && [cleared, reset].contains(&told))
            }
            // d.
            (Status::AcaActive, None) => true,
            // f: PERSISTENT RESERVE OUT, PREEMPT AND ABORT.
            (Status::Good, None) => {
                let [opcode, action, ..] = *cdb.bytes();
                opcode == 0x5f && action & 0x1f == 0x05
            }
            _ => false,
        }
    }

    /// SPC-5 "Control mode page", TAS: an aborted task that is out of the task set ends with TASK ABORTED.
    pub(super) fn tell_abort(&mut self, id: TaskId, cx: &mut Cx) {
        let moved = self.task(id).map_or(0, |task| task.announced);
        self.give_back_emergency(id, cx);
        let done = Done {
            transfer_bytes: moved.into(),
            ..Done::status(Status::TaskAborted)
        };
        self.answer(id, &done, None, cx);
        // RFC 7143 §11.9.1, event 5: the initiator stops its Data-Out.
        if self.proto.params().task_reporting == TaskReporting::FastAbort {
            self.proto.answer_at_once(id);
        }
    }
}
