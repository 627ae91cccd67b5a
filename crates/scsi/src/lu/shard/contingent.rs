//! What CHECK CONDITION does to other commands, as far as it is done here: ACA conditions hold them back, and statuses leave
//! unit attentions behind.
//!
//! Standards: SAM-5 r21 "Auto contingent allegiance"; SPC-5 r22 "Control mode page" (QERR, TST, UA_INTLCK_CTRL).
//!
//! A command is *blocked* by a condition that is established while it is in the task set: it does not begin, submits no
//! more I/O, and does not end, until the condition is cleared. What comes later is refused by its checks.

use super::super::message::HomeAction;
use super::super::tasks::Task;
use super::super::{NexusId, TaskKey, UnitAttention};
use super::{LuShard, TaskAttribute};
use crate::command::Cdb;
use crate::snapshot::{Interlock, ModeValues, QueueError};
use crate::step::Status;

/// The answer to a command that has its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdmitEnd {
    /// It may be told.
    Go,
    /// An ACA condition blocks it: ask again after [`super::ShardAction::Wake`].
    Held,
    /// First [request](LuShard::request) this. When it is done, the status may be told; when it is refused, ask again.
    Ask(HomeAction),
}

/// An ACA condition, here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marked {
    /// The faulted nexus.
    nexus: NexusId,
    /// Tasks up to this sequence number were here before.
    mark: u64,
}

/// Up to which sequence number an ACA condition blocks the commands of a nexus.
pub(super) fn mark_for(conditions: &[Marked], mode: ModeValues, nexus: NexusId) -> Option<u64> {
    let mut all = conditions.iter();
    let concerns = |one: &&Marked| one.nexus == nexus || !mode.task_set_per_nexus;
    all.find(concerns).map(|one| one.mark)
}

/// Whether an ACA condition blocks a command.
pub(super) fn is_blocked(conditions: &[Marked], mode: ModeValues, task: &Task) -> bool {
    !conditions.is_empty()
        && mark_for(conditions, mode, task.nexus).is_some_and(|mark| task.sequence <= mark)
}

impl LuShard {
    /// Whether a command may end, with this status. A command that is not in the set may.
    #[inline]
    pub fn admit_end(&mut self, key: TaskKey, status: Status, cdb: &Cdb) -> AdmitEnd {
        if status == Status::Good && self.contingent.is_empty() {
            return AdmitEnd::Go;
        }
        self.judge_end(key, status, self.snapshot.naca(cdb))
    }

    fn judge_end(&mut self, key: TaskKey, status: Status, naca: bool) -> AdmitEnd {
        let Some(task) = self.tasks.get(key) else {
            return AdmitEnd::Go;
        };
        let (nexus, is_aca) = (task.nexus, task.attribute == TaskAttribute::Aca);
        let mode = self.snapshot.mode;
        if is_blocked(&self.contingent, mode, task) {
            self.release(key);
            self.hold(key);
            return AdmitEnd::Held;
        }
        if status != Status::CheckCondition {
            self.note_status(nexus, status);
            return AdmitEnd::Go;
        }
        let stands = mark_for(&self.contingent, mode, nexus).is_some();
        let ends = is_aca && stands;
        // What a condition of another nexus lets in changes nothing of it.
        if stands && !ends {
            return AdmitEnd::Go;
        }
        if naca || ends || mode.queue_error != QueueError::Continues {
            return AdmitEnd::Ask(HomeAction::Fault {
                establishes: naca,
                ends,
            });
        }
        AdmitEnd::Go
    }

    /// A command of the nexus ends with this status, without having been in the task set perhaps.
    ///
    /// SPC-5 "Control mode page", UA_INTLCK_CTRL: where that is 11b, three statuses establish unit attentions.
    pub fn note_status(&mut self, nexus: NexusId, status: Status) {
        if self.snapshot.mode.interlock != Interlock::KeptAndEstablished {
            return;
        }
        let attention = match status {
            Status::Busy => UnitAttention::PreviousBusy,
            Status::TaskSetFull => UnitAttention::PreviousTaskSetFull,
            Status::ReservationConflict => UnitAttention::PreviousReservationConflict,
            _ => return,
        };
        if let Some(nexus) = self.nexuses.get_mut(&nexus) {
            nexus.establish(attention);
        }
    }

    /// Whether another command of the nexus with the ACA attribute is in the task set.
    pub(crate) fn has_other_aca_task(&self, key: TaskKey, nexus: NexusId) -> bool {
        let mut tasks = self.tasks.iter();
        tasks.any(|(other, task)| {
            other != key && task.nexus == nexus && task.attribute == TaskAttribute::Aca
        })
    }

    /// The conditions were in effect before anything here came.
    pub(super) fn mark_all_as_older(&mut self) {
        self.contingent.iter_mut().for_each(|one| one.mark = 0);
    }

    /// Takes note of the snapshot's ACA conditions. One that was there keeps its mark.
    pub(super) fn mark_contingent(&mut self) {
        if self.snapshot.contingent.is_empty() && self.contingent.is_empty() {
            return;
        }
        let last = self.tasks.last_sequence();
        let before = std::mem::take(&mut self.contingent);
        let marked = |nexus: NexusId| {
            let was = before.iter().find(|one| one.nexus == nexus).copied();
            was.unwrap_or(Marked { nexus, mark: last })
        };
        let now = self.snapshot.contingent.iter();
        self.contingent = now.map(|one| marked(one.nexus)).collect();
    }
}
