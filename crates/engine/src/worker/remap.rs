//! A session sees other LUNs: those that went drain, and the initiator is told. No connection ends for it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use iscsi_proto::session::TaskId;
use scsi::lu::UnitAttention;

use super::control::Control;
use super::cx::{Cx, control_key};
use super::session::{Ending, LeavingUnit, SessionLink};
use super::step::not_supported;
use super::task::State;
use super::unit::Units;
use crate::drain::{Drain, Leaving};
use crate::shared::{LunEntry, UnitIndex};

impl SessionLink {
    /// Whether the session may not use this unit any more.
    pub(super) fn is_leaving(&self, unit: UnitIndex) -> bool {
        !self.leaving.is_empty() && self.leaving.contains_key(&unit.0)
    }

    /// It sees these LUNs from now on. Commands in units that went and are in the backstore finish; the others end with
    /// LOGICAL UNIT NOT SUPPORTED, and so does whatever comes for them.
    pub(super) fn remap(
        &mut self,
        luns: Arc<[LunEntry]>,
        deadline: Duration,
        drain: &Drain,
        units: &mut Units,
        cx: &mut Cx,
    ) {
        if self.ending.is_some() || self.place.luns == luns {
            return;
        }
        let old = std::mem::replace(&mut self.place.luns, Arc::clone(&luns));
        self.record.luns.store(luns.len(), Ordering::Relaxed);
        let shown: BTreeSet<u32> = luns.iter().map(|entry| entry.unit.0).collect();
        let place = |entry: &LunEntry| (entry.lun, entry.unit);
        let same_places = old.iter().map(place).eq(luns.iter().map(place));
        let other_access: BTreeSet<u32> = luns
            .iter()
            .filter(|entry| {
                old.iter()
                    .any(|was| place(was) == place(entry) && was != *entry)
            })
            .map(|entry| entry.unit.0)
            .collect();
        for index in self.units() {
            if !shown.contains(&index.0) {
                let hold = drain.hold(Leaving::Lun);
                self.leave_unit(index, deadline, hold, units, cx);
                continue;
            }
            // SPC-5 "REPORT LUNS command": the inventory of the nexus has changed.
            let inventory = (!same_places).then_some(UnitAttention::ReportedLunsDataChanged);
            // The WP bit of the mode parameter header is another.
            let access = other_access.contains(&index.0);
            let access = access.then_some(UnitAttention::ModeParametersChanged);
            for attention in inventory.into_iter().chain(access) {
                let nexus = self.nexus();
                let attached = units
                    .find(index)
                    .and_then(|unit| unit.shard.nexus_mut(nexus));
                if attached.is_some_and(|nexus| nexus.establish_and_report(attention)) {
                    self.report(index, attention, cx);
                }
            }
        }
    }

    fn leave_unit(
        &mut self,
        index: UnitIndex,
        deadline: Duration,
        hold: crate::drain::Hold,
        units: &mut Units,
        cx: &mut Cx,
    ) {
        if let Some(already) = self.leaving.get_mut(&index.0) {
            already.holds.push(hold);
            return;
        }
        let leaving = LeavingUnit {
            deadline,
            detaching: false,
            cut_off: false,
            holds: vec![hold],
        };
        self.leaving.insert(index.0, leaving);
        self.want_timer(deadline, cx);
        let waits = |state: &State| {
            matches!(
                state,
                State::DataOut { .. }
                    | State::Starving(_)
                    | State::Yielded(_)
                    | State::Undrained(_)
                    | State::Waiting
                    | State::Ending(_)
            )
        };
        for id in self.tasks_in(index) {
            // Those in the backstore finish there; those whose turn has not come end when it does.
            if self
                .task(id)
                .is_some_and(|task| !task.aborting && waits(&task.state))
            {
                self.finish(id, &not_supported(), units, cx);
            }
        }
        self.end_parts_in(index, units, cx);
        self.look_at_leaving(units, cx);
    }

    fn tasks_in(&self, index: UnitIndex) -> Vec<TaskId> {
        let of_unit = |(at, task): (usize, &Option<super::task::Task>)| {
            let task = task.as_ref().filter(|task| task.unit == index)?;
            let _ = task;
            u32::try_from(at).ok().map(TaskId)
        };
        self.tasks.iter().enumerate().filter_map(of_unit).collect()
    }

    /// Whether a task is in a unit. One whose answer is only kept for its initiator is not.
    fn is_used(&self, index: UnitIndex) -> bool {
        let uses = |task: &super::task::Task| {
            let kept = task.keeps && matches!(task.state, State::Answered);
            task.unit == index && !kept
        };
        self.tasks.iter().flatten().any(uses)
    }

    /// Lets go of units that it may not use any more, once its last task has left them.
    pub(super) fn look_at_leaving(&mut self, units: &mut Units, cx: &mut Cx) {
        if self.leaving.is_empty() || self.ending.is_some() {
            return;
        }
        let waiting: Vec<u32> = self
            .leaving
            .iter()
            .filter(|(_, one)| !one.detaching)
            .map(|(index, _)| *index)
            .collect();
        for index in waiting {
            let unit = UnitIndex(index);
            let pins = || self.connections.iter().flat_map(|one| &one.pins);
            let pinned = pins().any(|(of, _)| *of == unit);
            if pinned || self.is_used(unit) || !self.guests_in(unit).is_empty() {
                continue;
            }
            if let Some(one) = self.leaving.get_mut(&index) {
                one.detaching = true;
            }
            let link = self.key;
            match units.find(unit) {
                Some(found) if !found.offline => {
                    let control = cx.controls.insert(Control::Unmap { link, unit });
                    found.shard.detach_nexus(self.nexus(), control_key(control));
                    units.settle(unit, cx);
                }
                _ => self.unmapped(unit, cx),
            }
        }
    }

    /// A unit has let go of the session.
    pub(super) fn unmapped(&mut self, unit: UnitIndex, cx: &mut Cx) {
        self.leaving.remove(&unit.0);
        self.attached.remove(&unit.0);
        if matches!(self.ending, Some(Ending::Detaching(_))) {
            self.detached(cx);
        }
    }

    /// Aborts what is still in units that should be left by now.
    pub(super) fn cut_off_leaving(&mut self, units: &mut Units, cx: &mut Cx) {
        let now = cx.now;
        let due: Vec<u32> = self
            .leaving
            .iter()
            .filter(|(_, one)| !one.cut_off && one.deadline <= now)
            .map(|(index, _)| *index)
            .collect();
        for index in due {
            if let Some(one) = self.leaving.get_mut(&index) {
                one.cut_off = true;
            }
            for id in self.tasks_in(UnitIndex(index)) {
                self.abort(id, units, cx);
            }
            for id in self.guests_in(UnitIndex(index)) {
                self.abort_part(id, units, cx);
            }
        }
    }
}
