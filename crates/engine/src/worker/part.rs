//! Parts of a third-party copy: what a command does on a logical unit that may be another than its own.
//!
//! A command that copies asks for one part at a time (`scsi::copy` says what a part is and why it cannot wait for ever). While it has
//! one, everything that comes for the command is for the part: the backstore's answers, and what the shard of the part's unit
//! says. Both units have their shards on the worker of the session.

use iscsi_proto::session::TaskId;
use scsi::lu::TaskKey;
use scsi::{
    Lun, LunList, Part, PartAsk, PartStep, Place, Reached, Refusal, Sense, Step, TaskAttribute,
};

use super::cx::{Cx, Kind, task_key, token};
use super::session::{Luns, SessionLink};
use super::step::{Event, internal_failure};
use super::unit::Units;
use crate::panics::guard;
use crate::shared::UnitIndex;

/// A part that a task has under way.
pub(super) struct TaskPart {
    pub(super) unit: UnitIndex,
    /// Its name in that unit's task set.
    pub(super) key: TaskKey,
    /// It has a name of its own, since the unit is not the command's.
    is_guest: bool,
    write_protected: bool,
    /// The unit has ended it; the backstore has not let go of it yet.
    aborted: bool,
    part: Part,
}

/// Where a part is done.
struct Ground {
    unit: UnitIndex,
    write_protected: bool,
}

impl SessionLink {
    /// Step::Part: the first step of the part.
    pub(super) fn begin_part(
        &mut self,
        id: TaskId,
        ask: PartAsk,
        units: &mut Units,
        cx: &mut Cx,
    ) -> Step {
        let ground = match self.ground_of(id, ask.place, units, cx) {
            Ok(ground) => ground,
            Err(refusal) => return self.resume(id, Event::Part(Err(refusal)), units, cx),
        };
        let nexus = self.nexus();
        self.serial = self.serial.wrapping_add(1);
        let own_name = task_key(self.key, id, self.serial);
        let Some(task) = self.task(id) else {
            return Step::Held;
        };
        let is_guest = ground.unit != task.unit;
        let key = if is_guest { own_name } else { task.key };
        if is_guest {
            let entered = units
                .find(ground.unit)
                .map(|unit| unit.shard.enter(key, nexus, TaskAttribute::Simple));
            if entered != Some(Ok(())) {
                // The nexus is letting go of the unit.
                let gone = Err(Sense::COPY_TARGET_NOT_REACHABLE.into());
                return self.resume(id, Event::Part(gone), units, cx);
            }
        }
        task.part = Some(Box::new(TaskPart {
            unit: ground.unit,
            key,
            is_guest,
            write_protected: ground.write_protected,
            aborted: false,
            part: Part::new(ask, nexus, key),
        }));
        self.drive_part(id, units, cx)
    }

    /// The unit that a part is for, as the nexus sees it now.
    fn ground_of(
        &mut self,
        id: TaskId,
        place: Place,
        units: &mut Units,
        cx: &mut Cx,
    ) -> Result<Ground, Refusal> {
        let not_reachable = || Refusal::from(Sense::COPY_TARGET_NOT_REACHABLE);
        let lun = match place {
            Place::Here => {
                let task = self.task(id).ok_or_else(not_reachable)?;
                return Ok(Ground {
                    unit: task.unit,
                    write_protected: task.write_protected,
                });
            }
            Place::There(lun) => lun,
        };
        let entry = self.entry(lun).ok_or_else(not_reachable)?;
        if self.is_leaving(entry.unit) {
            return Err(not_reachable());
        }
        let unit = units.ensure(entry.unit, cx).ok_or_else(not_reachable)?;
        if unit.backstore != entry.backstore {
            return Err(not_reachable());
        }
        if unit.offline {
            return Err(Sense::INTERNAL_TARGET_FAILURE.into());
        }
        if self.attached.insert(entry.unit.0) {
            self.make_known(&mut unit.shard);
        }
        Ok(Ground {
            unit: entry.unit,
            write_protected: entry.write_protect,
        })
    }

    /// Takes the part on.
    fn drive_part(&mut self, id: TaskId, units: &mut Units, cx: &mut Cx) -> Step {
        let Some(task) = self.tasks.get_mut(id.index()).and_then(Option::as_mut) else {
            return Step::Held;
        };
        let Some(part) = task.part.as_deref_mut() else {
            return Step::Held;
        };
        let index = part.unit;
        let Some(unit) = units.find(index).filter(|unit| !unit.offline) else {
            let failed = Sense::INTERNAL_TARGET_FAILURE.into();
            return self.end_part(id, Err(failed), units, cx);
        };
        let luns = Luns::new(&self.place.luns, &cx.shared);
        let told = (cx.now, self.proto.params().iscsi_protocol_level);
        let view = Self::view(&luns, &self.place, part.write_protected, told);
        let driven = guard(|| part.part.drive(&mut unit.shard, &view));
        let step = match driven {
            Ok(PartStep::Io(io)) => Step::Io(io),
            Ok(PartStep::Held) => Step::Held,
            Ok(PartStep::Refused(refusal)) => return self.end_part(id, Err(refusal), units, cx),
            Err(_) => {
                unit.go_offline(cx);
                let failed = Sense::INTERNAL_TARGET_FAILURE.into();
                return self.end_part(id, Err(failed), units, cx);
            }
        };
        units.settle(index, cx);
        step
    }

    /// Something has come for a task that has a part under way.
    pub(super) fn resume_part(
        &mut self,
        id: TaskId,
        event: Event,
        units: &mut Units,
        cx: &mut Cx,
    ) -> Step {
        let Event::Io(result) = event else {
            return self.drive_part(id, units, cx);
        };
        let Some(part) = self.task(id).and_then(|task| task.part.as_deref_mut()) else {
            return Step::Done(internal_failure());
        };
        let (aborted, index) = (part.aborted, part.unit);
        let mut ended = Err(Sense::INTERNAL_TARGET_FAILURE.into());
        if let Some(unit) = units.find(index).filter(|unit| !unit.offline) {
            ended = part.part.handle_io(&mut unit.shard, result);
        }
        if aborted {
            ended = Err(Sense::ABORTED_COMMAND.into());
        }
        self.end_part(id, ended, units, cx)
    }

    /// The part is over: the command goes on.
    fn end_part(
        &mut self,
        id: TaskId,
        ended: Result<(), Refusal>,
        units: &mut Units,
        cx: &mut Cx,
    ) -> Step {
        self.leave_part(id, units, cx);
        self.resume(id, Event::Part(ended), units, cx)
    }

    /// Takes a task's part, if it has one, out of the task set of its unit.
    pub(super) fn leave_part(&mut self, id: TaskId, units: &mut Units, cx: &mut Cx) {
        let Some(part) = self.task(id).and_then(|task| task.part.take()) else {
            return;
        };
        if part.is_guest
            && let Some(unit) = units.find(part.unit)
            && !unit.offline
        {
            unit.shard.leave(part.key);
        }
        units.settle(part.unit, cx);
    }

    /// The unit of a task's part, which is not the command's, ends what the nexus does there.
    pub(super) fn abort_part(&mut self, id: TaskId, units: &mut Units, cx: &mut Cx) {
        let Some(task) = self.task(id).filter(|task| !task.aborting) else {
            return;
        };
        let Some(part) = task.part.as_deref_mut() else {
            return;
        };
        part.aborted = true;
        if let Some(op) = task.op {
            return cx.driver.cancel(token(Kind::Store, op));
        }
        let step = self.end_part(id, Err(Sense::ABORTED_COMMAND.into()), units, cx);
        self.run(id, step, units, cx);
    }

    /// Ends the parts that tasks of other units have in a unit that goes; those that the backstore works on finish there.
    pub(super) fn end_parts_in(&mut self, index: UnitIndex, units: &mut Units, cx: &mut Cx) {
        for id in self.guests_in(index) {
            if self.task(id).is_some_and(|task| task.op.is_none()) {
                self.abort_part(id, units, cx);
            }
        }
    }

    /// Tasks of other units with a part in this one.
    pub(super) fn guests_in(&self, index: UnitIndex) -> Vec<TaskId> {
        let is_guest = |task: &super::task::Task| {
            let part = task.part.as_deref();
            part.is_some_and(|part| part.is_guest && part.unit == index)
        };
        let tasks = self.tasks.iter().enumerate();
        tasks
            .filter(|(_, task)| task.as_ref().is_some_and(is_guest))
            .filter_map(|(at, _)| u32::try_from(at).ok().map(TaskId))
            .collect()
    }
}

impl LunList for Luns<'_> {
    fn count(&self) -> usize {
        self.entries.len()
    }

    fn lun_at(&self, index: usize) -> Option<Lun> {
        self.entries
            .get(index)
            .and_then(|entry| Lun::new(entry.lun.0))
    }

    fn find(&self, naa: &[u8]) -> Option<Reached> {
        let world = self.shared.world.load();
        self.entries.iter().find_map(|entry| {
            let seed = world.units.get(&entry.unit)?;
            let is_it =
                seed.backstore == entry.backstore && seed.snapshot.identity.naa_designator() == naa;
            is_it.then_some(Reached {
                lun: Lun::new(entry.lun.0)?,
                block_size_bytes: seed.snapshot.geometry().block_size_bytes,
            })
        })
    }
}
