//! Task management (RFC 7143 §11.5, SAM-5 "Task management functions"): the response goes out after the last task it concerns has
//! left its backstore.

use iscsi_proto::session::{TaskId, TmfEvent, TmfHandle, TmfReference};
use iscsi_wire::{TaskManagementFunction, TaskManagementResponseCode as Code};
use scsi::Lun;
use scsi::lu::{HomeAction, UnitAttention};

use super::control::Control;
use super::cx::{Cx, control_key};
use super::session::{PendingTmf, SessionLink};
use super::task::State;
use super::unit::Units;
use crate::shared::{LunEntry, Message, UnitIndex, WorkerId};

impl SessionLink {
    pub(super) fn task_management(&mut self, tmf: &TmfEvent, units: &mut Units, cx: &mut Cx) {
        let entry = Lun::decode(tmf.lun.0).and_then(|lun| self.entry(lun));
        let done = match tmf.function {
            TaskManagementFunction::AbortTask => return self.abort_task(tmf, units, cx),
            TaskManagementFunction::QueryTask => query_task(tmf.referenced),
            TaskManagementFunction::AbortTaskSet => match entry {
                Some(entry) => return self.abort_task_set(tmf.handle, entry, units, cx),
                None => Code::LunDoesNotExist,
            },
            TaskManagementFunction::ClearTaskSet => match entry {
                Some(entry) => {
                    let action = HomeAction::ClearTaskSet;
                    return self.ask_homes(tmf.handle, &[entry], &action, false, units, cx);
                }
                None => Code::LunDoesNotExist,
            },
            TaskManagementFunction::LogicalUnitReset => match entry {
                Some(entry) => {
                    let action = HomeAction::LogicalUnitReset;
                    return self.ask_homes(tmf.handle, &[entry], &action, false, units, cx);
                }
                None => Code::LunDoesNotExist,
            },
            TaskManagementFunction::TargetWarmReset | TaskManagementFunction::TargetColdReset => {
                let cold = tmf.function == TaskManagementFunction::TargetColdReset;
                let entries = self.place.luns.clone();
                let action = HomeAction::LogicalUnitReset;
                return self.ask_homes(tmf.handle, &entries, &action, cold, units, cx);
            }
            _ => Code::FunctionNotSupported,
        };
        self.respond(tmf.handle, done, cx);
    }

    fn respond(&mut self, handle: TmfHandle, code: Code, cx: &mut Cx) {
        self.proto.complete_task_management(handle, code);
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
        self.wait_for(tmf.handle, vec![id], units, cx);
    }

    fn abort_task_set(
        &mut self,
        handle: TmfHandle,
        entry: LunEntry,
        units: &mut Units,
        cx: &mut Cx,
    ) {
        let concerned = |(index, task): (usize, &Option<super::task::Task>)| {
            let task = task.as_ref()?;
            let open = task.unit == entry.unit && !matches!(task.state, State::Answered);
            if open {
                u32::try_from(index).ok().map(TaskId)
            } else {
                None
            }
        };
        let tasks = self
            .tasks
            .iter()
            .enumerate()
            .filter_map(concerned)
            .collect();
        self.wait_for(handle, tasks, units, cx);
    }

    /// Aborts these tasks, and answers when all are gone.
    fn wait_for(&mut self, handle: TmfHandle, tasks: Vec<TaskId>, units: &mut Units, cx: &mut Cx) {
        self.tmfs.push(PendingTmf {
            handle,
            tasks: tasks.clone(),
            homes: 0,
            response: Code::FunctionComplete,
            then_end_group: false,
        });
        for id in tasks {
            self.abort(id, units, cx);
            // A task whose status is on the way is not aborted any more: nobody waits for it.
            if self
                .task(id)
                .is_none_or(|t| matches!(t.state, State::Answered))
            {
                self.task_gone(id, cx);
            }
        }
        self.look_at_tmfs(cx);
    }

    /// A task is gone: functions that waited for it may be complete.
    pub(super) fn task_gone(&mut self, id: TaskId, cx: &mut Cx) {
        for pending in &mut self.tmfs {
            pending.tasks.retain(|waited| *waited != id);
        }
        self.look_at_tmfs(cx);
        self.look_at_logouts(cx);
    }

    fn ask_homes(
        &mut self,
        handle: TmfHandle,
        entries: &[LunEntry],
        action: &HomeAction,
        then_end_group: bool,
        units: &mut Units,
        cx: &mut Cx,
    ) {
        let nexus = self.nexus();
        let mut asked: Vec<UnitIndex> = Vec::new();
        for entry in entries {
            if asked.contains(&entry.unit) {
                continue;
            }
            let Some(unit) = units.ensure(entry.unit, cx) else {
                continue;
            };
            if unit.offline {
                continue;
            }
            if self.attached.insert(entry.unit.0) {
                unit.shard.attach_nexus(nexus, &[UnitAttention::PowerOn]);
            }
            let control = cx.controls.insert(Control::Tmf {
                link: self.key,
                handle,
            });
            unit.shard
                .request(control_key(control), nexus, action.clone());
            asked.push(entry.unit);
        }
        self.tmfs.push(PendingTmf {
            handle,
            tasks: Vec::new(),
            homes: asked.len(),
            response: Code::FunctionComplete,
            then_end_group,
        });
        for unit in asked {
            units.settle(unit, cx);
        }
        self.look_at_tmfs(cx);
    }

    /// A home has done what a function asked for.
    pub(super) fn home_answered(&mut self, handle: TmfHandle, cx: &mut Cx) {
        if let Some(pending) = self.tmfs.iter_mut().find(|p| p.handle == handle) {
            pending.homes = pending.homes.saturating_sub(1);
        }
        self.look_at_tmfs(cx);
    }

    fn look_at_tmfs(&mut self, cx: &mut Cx) {
        let ready = |p: &PendingTmf| p.tasks.is_empty() && p.homes == 0;
        while let Some(at) = self.tmfs.iter().position(ready) {
            let pending = self.tmfs.remove(at);
            self.respond(pending.handle, pending.response, cx);
            if pending.then_end_group
                && let Some(group) = self.group()
            {
                let group = group.identity();
                for worker in 0..cx.shared.mailboxes.len() {
                    let to = WorkerId(u16::try_from(worker).unwrap_or(u16::MAX));
                    cx.send(to, Message::EndSessionsOf(group));
                }
            }
        }
    }
}

/// RFC 7143 §11.6.1: QUERY TASK's answer says whether the task is in the task set.
fn query_task(referenced: TmfReference) -> Code {
    match referenced {
        TmfReference::Task(_) => Code::FunctionSucceeded,
        _ => Code::FunctionComplete,
    }
}
