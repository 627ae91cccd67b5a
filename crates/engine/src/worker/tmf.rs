//! Task management (RFC 7143 §11.5, RFC 7144, SAM-5 "Task management functions"): the response goes out after the last task
//! it concerns has left its backstore.
//!
//! Where TaskReporting is FastAbort, the initiator is told of the tasks that end on other connections than the function's own
//! (RFC 7143 §4.2.3.4 d), also when the function is another initiator's.

use iscsi_proto::negotiate::TaskReporting;
use iscsi_proto::session::{ConnectionIndex, TaskId, TmfEvent, TmfHandle, TmfReference};
use iscsi_wire::{Lun64, TaskManagementFunction, TaskManagementResponseCode as Code};
use scsi::Lun;
use scsi::lu::{Abortion, HomeAction};

use super::control::Control;
use super::cx::{Cx, control_key};
use super::ending::EndReason;
use super::session::{PendingTmf, SessionLink, Terminated, Then};
use super::task::State;
use super::unit::Units;
use crate::shared::{LunEntry, Message, UnitIndex, WorkerId};

impl SessionLink {
    pub(super) fn task_management(&mut self, tmf: &TmfEvent, units: &mut Units, cx: &mut Cx) {
        let entry = Lun::decode(tmf.lun.0).and_then(|lun| self.entry(lun));
        let done = match tmf.function {
            TaskManagementFunction::AbortTask => return self.abort_task(tmf, units, cx),
            TaskManagementFunction::QueryTask => {
                answer_to_query(matches!(tmf.referenced, TmfReference::Task(_)))
            }
            TaskManagementFunction::QueryTaskSet => match entry {
                Some(entry) => answer_to_query(!self.open_tasks_in(Some(entry.unit)).is_empty()),
                None => Code::LunDoesNotExist,
            },
            TaskManagementFunction::QueryAsynchronousEvent => match entry {
                Some(entry) => return self.query_event(tmf.handle, entry, units, cx),
                None => Code::LunDoesNotExist,
            },
            TaskManagementFunction::ItNexusReset => return self.reset_nexus(tmf, units, cx),
            TaskManagementFunction::AbortTaskSet => match entry {
                Some(entry) => {
                    let mut tasks = self.open_tasks_in(Some(entry.unit));
                    // RFC 7143 §11.5.1: those of a lower CmdSN.
                    tasks.retain(|id| self.proto.came_before(*id, tmf.cmd_sn));
                    self.tell_others(tmf.connection, &tasks);
                    return self.wait_for(tmf, tasks, units, cx);
                }
                None => Code::LunDoesNotExist,
            },
            TaskManagementFunction::ClearAca => match entry {
                Some(entry) => {
                    let action = HomeAction::ClearContingent;
                    return self.ask_homes(tmf, &[entry], &action, Then::Nothing, units, cx);
                }
                None => Code::LunDoesNotExist,
            },
            TaskManagementFunction::ClearTaskSet => match entry {
                Some(entry) => {
                    let action = HomeAction::ClearTaskSet;
                    return self.ask_homes(tmf, &[entry], &action, Then::Nothing, units, cx);
                }
                None => Code::LunDoesNotExist,
            },
            TaskManagementFunction::LogicalUnitReset => match entry {
                Some(entry) => {
                    let action = HomeAction::LogicalUnitReset;
                    return self.ask_homes(tmf, &[entry], &action, Then::Nothing, units, cx);
                }
                None => Code::LunDoesNotExist,
            },
            TaskManagementFunction::TargetWarmReset | TaskManagementFunction::TargetColdReset => {
                let cold = tmf.function == TaskManagementFunction::TargetColdReset;
                let then = if cold { Then::EndTarget } else { Then::Nothing };
                let entries = self.place.luns.clone();
                let action = HomeAction::LogicalUnitReset;
                return self.ask_homes(tmf, &entries, &action, then, units, cx);
            }
            _ => Code::FunctionNotSupported,
        };
        self.respond(tmf.handle, done, cx);
    }

    fn respond(&mut self, handle: TmfHandle, code: Code, cx: &mut Cx) {
        self.proto.complete_task_management(handle, code);
        // It may wait for data, and that only for a time.
        self.arm_timer(cx);
        self.mark_dirty(cx);
    }

    fn abort_task(&mut self, tmf: &TmfEvent, units: &mut Units, cx: &mut Cx) {
        let id = match tmf.referenced {
            TmfReference::Task(id) => id,
            // RFC 7143 §11.6.1 b: a command that has not come is aborted by counting it as received.
            TmfReference::NotYetReceived => {
                return self.respond(tmf.handle, Code::FunctionComplete, cx);
            }
            TmfReference::NotFound | TmfReference::None => {
                return self.respond(tmf.handle, Code::TaskDoesNotExist, cx);
            }
        };
        self.wait_for(tmf, vec![id], units, cx);
    }

    /// The session's tasks that have no answer yet, of one unit or of all.
    fn open_tasks_in(&self, unit: Option<UnitIndex>) -> Vec<TaskId> {
        let concerned = |(index, task): (usize, &Option<super::task::Task>)| {
            let task = task.as_ref()?;
            let here = unit.is_none_or(|unit| unit == task.unit);
            if here && !matches!(task.state, State::Answered) {
                u32::try_from(index).ok().map(TaskId)
            } else {
                None
            }
        };
        let tasks = self.tasks.iter().enumerate();
        tasks.filter_map(concerned).collect()
    }

    /// SAM-5 "QUERY ASYNCHRONOUS EVENT": whether a unit attention is pending, how many are, and which is reported next.
    fn query_event(&mut self, handle: TmfHandle, entry: LunEntry, units: &mut Units, cx: &mut Cx) {
        let nexus = self.nexus();
        let attached = self.attach(entry.unit, units, cx);
        let unit = attached.and_then(|()| units.find(entry.unit));
        let pending = unit.and_then(|unit| {
            let attentions = unit.shard.nexus(nexus)?.attentions();
            let more = attentions.as_slice().len() > 1;
            Some((attentions.first()?, more))
        });
        let (code, additional) = match pending {
            None => (Code::FunctionComplete, [0; 3]),
            Some((first, more)) => {
                let (asc, ascq) = first.additional_sense();
                let depth = if more { MORE_THAN_ONE } else { ONE };
                let found = [(depth << 4) | UNIT_ATTENTION, asc, ascq];
                (Code::FunctionSucceeded, found)
            }
        };
        self.proto.complete_query(handle, code, additional);
        self.mark_dirty(cx);
    }

    /// SAM-5 "I_T NEXUS RESET": the tasks of the nexus end, what it held is released, and each logical unit says so.
    ///
    /// RFC 7144 §6.3: then all connections of the session are dropped, and it is not kept for one to continue it.
    fn reset_nexus(&mut self, tmf: &TmfEvent, units: &mut Units, cx: &mut Cx) {
        let handle = tmf.handle;
        let entries = self.place.luns.clone();
        let action = HomeAction::NexusLost(self.nexus());
        let tasks = self.open_tasks_in(None);
        self.tmfs.push(PendingTmf {
            handle,
            tasks: tasks.clone(),
            // Not complete before the units have been asked.
            homes: 1,
            response: Code::FunctionComplete,
            then: Then::EndSession,
            connection: tmf.connection,
        });
        self.abort_all(tasks, units, cx);
        let asked = self.request_of_homes(handle, &entries, &action, units, cx);
        if let Some(pending) = self.tmfs.iter_mut().find(|p| p.handle == handle) {
            pending.homes += asked.len();
        }
        for unit in asked {
            units.settle(unit, cx);
        }
        self.home_answered(handle, units, cx);
    }

    /// Aborts these tasks, and answers when all are gone.
    fn wait_for(&mut self, tmf: &TmfEvent, tasks: Vec<TaskId>, units: &mut Units, cx: &mut Cx) {
        self.tmfs.push(PendingTmf {
            handle: tmf.handle,
            connection: tmf.connection,
            tasks: tasks.clone(),
            homes: 0,
            response: Code::FunctionComplete,
            then: Then::Nothing,
        });
        self.abort_all(tasks, units, cx);
        self.look_at_tmfs(units, cx);
    }

    fn abort_all(&mut self, tasks: Vec<TaskId>, units: &mut Units, cx: &mut Cx) {
        for id in tasks {
            self.abort(id, units, cx);
            // A task whose status is on the way is not aborted any more: nobody waits for it.
            if self
                .task(id)
                .is_none_or(|t| matches!(t.state, State::Answered))
            {
                self.task_gone(id, units, cx);
            }
        }
    }

    /// A task is gone: functions that waited for it may be complete.
    pub(super) fn task_gone(&mut self, id: TaskId, units: &mut Units, cx: &mut Cx) {
        for pending in &mut self.tmfs {
            pending.tasks.retain(|waited| *waited != id);
        }
        self.look_at_tmfs(units, cx);
        self.look_at_logouts(cx);
    }

    fn ask_homes(
        &mut self,
        tmf: &TmfEvent,
        entries: &[LunEntry],
        action: &HomeAction,
        then: Then,
        units: &mut Units,
        cx: &mut Cx,
    ) {
        let asked = self.request_of_homes(tmf.handle, entries, action, units, cx);
        self.tmfs.push(PendingTmf {
            handle: tmf.handle,
            connection: tmf.connection,
            tasks: Vec::new(),
            homes: asked.len(),
            response: Code::FunctionComplete,
            then,
        });
        for unit in asked {
            units.settle(unit, cx);
        }
        self.look_at_tmfs(units, cx);
    }

    /// Asks the home of each unit that these entries show; which were asked.
    fn request_of_homes(
        &mut self,
        handle: TmfHandle,
        entries: &[LunEntry],
        action: &HomeAction,
        units: &mut Units,
        cx: &mut Cx,
    ) -> Vec<UnitIndex> {
        let nexus = self.nexus();
        let mut asked: Vec<UnitIndex> = Vec::new();
        for entry in entries {
            if asked.contains(&entry.unit) || self.attach(entry.unit, units, cx).is_none() {
                continue;
            }
            let control = cx.controls.insert(Control::Tmf {
                link: self.key,
                handle,
            });
            if let Some(unit) = units.find(entry.unit) {
                unit.shard
                    .request(control_key(control), nexus, action.clone());
                asked.push(entry.unit);
            }
        }
        asked
    }

    /// Has a unit know the nexus, as its first command would. `None` where the unit is not there.
    fn attach(&mut self, index: UnitIndex, units: &mut Units, cx: &mut Cx) -> Option<()> {
        let unit = units.ensure(index, cx).filter(|unit| !unit.offline)?;
        if self.attached.insert(index.0) {
            self.make_known(&mut unit.shard);
        }
        Some(())
    }

    /// A home has done what a function asked for.
    pub(super) fn home_answered(&mut self, handle: TmfHandle, units: &mut Units, cx: &mut Cx) {
        if let Some(pending) = self.tmfs.iter_mut().find(|p| p.handle == handle) {
            pending.homes = pending.homes.saturating_sub(1);
        }
        self.look_at_tmfs(units, cx);
    }

    fn look_at_tmfs(&mut self, units: &mut Units, cx: &mut Cx) {
        let ready = |p: &PendingTmf| p.tasks.is_empty() && p.homes == 0;
        while let Some(at) = self.tmfs.iter().position(ready) {
            let pending = self.tmfs.remove(at);
            self.respond(pending.handle, pending.response, cx);
            if pending.then == Then::EndSession {
                return self.end(EndReason::Reset, true, units, cx);
            }
            if pending.then == Then::EndTarget
                && let Some(admitted) = &self.place.admitted
            {
                // RFC 7143 §11.5.1, §11.6.1: it is as a power on; all connections of all initiators to the target end,
                // through whichever portal group they came. Their next sessions begin with the unit attention of a power on.
                let target = admitted.target;
                for worker in 0..cx.shared.mailboxes.len() {
                    let to = WorkerId(u16::try_from(worker).unwrap_or(u16::MAX));
                    cx.send(to, Message::EndSessionsOf(target));
                }
            }
        }
    }

    /// RFC 7143 §4.2.3.4 d: each connection but the function's own that has tasks which it ends is told.
    fn tell_others(&mut self, own: ConnectionIndex, tasks: &[TaskId]) {
        let mut told: Vec<(ConnectionIndex, Lun64)> = Vec::new();
        for id in tasks {
            let Some(c) = self.task(*id).map(|task| task.connection) else {
                continue;
            };
            let Some(lun) = self.proto.lun_of(*id).filter(|_| c != own) else {
                continue;
            };
            if !told.contains(&(c, lun)) {
                told.push((c, lun));
                self.proto.notify_termination(c, lun);
            }
        }
    }

    /// The same for a task that a function ends which the home of its logical unit works: this session's, or another's.
    pub(super) fn tell_termination(&mut self, id: TaskId, how: Abortion) {
        let (Some(function), TaskReporting::FastAbort) =
            (how.function, self.proto.params().task_reporting)
        else {
            return;
        };
        let Some((unit, connection)) = self.task(id).map(|task| (task.unit, task.connection))
        else {
            return;
        };
        let own = how.by == Some(self.nexus());
        let issued = self.tmfs.iter().any(|tmf| tmf.connection == connection);
        let Some(lun) = self.proto.lun_of(id).filter(|_| !(own && issued)) else {
            return;
        };
        let news = Terminated {
            unit,
            function,
            connection,
            lun,
        };
        // Functions on one unit come one after the other.
        self.terminated
            .retain(|told| told.unit != unit || told.function == function);
        if !self.terminated.contains(&news) {
            self.terminated.push(news);
            self.proto.notify_termination(connection, lun);
        }
    }
}

/// RFC 7144: the answer to QUERY TASK and QUERY TASK SET says whether there is such a task in the task set.
fn answer_to_query(there: bool) -> Code {
    if there {
        Code::FunctionSucceeded
    } else {
        Code::FunctionComplete
    }
}

/// SAM-5 "QUERY ASYNCHRONOUS EVENT", UADE DEPTH: one unit attention is pending.
const ONE: u8 = 0b01;
/// SAM-5 "QUERY ASYNCHRONOUS EVENT", UADE DEPTH: more than one is.
const MORE_THAN_ONE: u8 = 0b10;
/// SPC-5 "Sense key and additional sense code definitions".
const UNIT_ATTENTION: u8 = 6;
