//! A logical unit on this worker: its shard, its backstore's local part, and its home where that is here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use backstores::{Backstore, LocalStore};
use model::ObjectId;
use scsi::lu::{FenceId, HomeAction, LuHome, LuShard, ShardAction, ShardId, ToHome, ToShard};
use scsi::{Io, LuIdentity};

use super::cx::{Cx, News};
use super::own::OwnWork;
use crate::drain::Hold;
use crate::panics::guard;
use crate::reservations::HomeName;
use crate::shared::{Message, SessionId, UnitIndex, WorkerId, World};

pub(super) struct Unit {
    pub(super) index: UnitIndex,
    pub(super) shard: LuShard,
    pub(super) store: Box<dyn LocalStore>,
    backing: Arc<dyn Backstore>,
    pub(super) backstore: ObjectId,
    pub(super) home: WorkerId,
    /// A panic went through the shard: every command is answered HARDWARE ERROR from now on.
    pub(super) offline: bool,
}

/// The home of a logical unit. It stays on its worker, whether that has a shard of the unit or not.
pub(super) struct Home {
    pub(super) home: LuHome,
    /// Distinguishes it from an earlier home of another unit in its place.
    epoch: u64,
    /// By which what outlasts the process is kept.
    identity: Arc<LuIdentity>,
    /// What the backstore does for the unit itself.
    pub(super) in_store: Option<Io>,
    pub(super) offline: bool,
    /// Changes of the control plane that are under way.
    changes: BTreeMap<u64, Hold>,
    last_change: u64,
}

/// The logical units that this worker uses, and those whose home it is.
#[derive(Default)]
pub(super) struct Units {
    units: Vec<Option<Unit>>,
    homes: Vec<Option<Home>>,
    /// Distinguishes a shard from an earlier one of the same unit.
    epoch: u64,
    outgoing: Vec<(ShardId, ToShard)>,
    /// When the transition of a home here is over.
    transitions: Vec<(Duration, HomeName, FenceId)>,
    /// Units to be let go of, when their last command has left.
    retiring: Vec<(UnitIndex, Vec<Hold>)>,
    pub(super) own: OwnWork,
}

impl Units {
    pub(super) fn find(&mut self, index: UnitIndex) -> Option<&mut Unit> {
        self.units.get_mut(index.0 as usize)?.as_mut()
    }

    /// The unit, attached to this worker if it was not yet.
    pub(super) fn ensure(&mut self, index: UnitIndex, cx: &mut Cx) -> Option<&mut Unit> {
        let at = index.0 as usize;
        if self.units.get(at).is_none_or(Option::is_none) {
            let world = cx.shared.world.load_full();
            let unit = self.attach(index, &world, cx)?;
            if self.units.len() <= at {
                self.units.resize_with(at + 1, || None);
            }
            if let Some(slot) = self.units.get_mut(at) {
                *slot = Some(unit);
            }
            self.settle(index, cx);
        }
        self.find(index)
    }

    fn attach(&mut self, index: UnitIndex, world: &World, cx: &mut Cx) -> Option<Unit> {
        let seed = world.units.get(&index)?;
        self.epoch += 1;
        let shard = LuShard::new(cx.id.shard(), self.epoch, &seed.snapshot);
        let store = Arc::clone(&seed.store).attach(&mut *cx.driver);
        Some(Unit {
            index,
            shard,
            store,
            backing: Arc::clone(&seed.store),
            backstore: seed.backstore,
            home: seed.home,
            offline: false,
        })
    }

    /// Carries out what the unit's shard wants done.
    pub(super) fn settle(&mut self, index: UnitIndex, cx: &mut Cx) {
        let Some(unit) = self.find(index) else { return };
        if !unit.shard.has_actions() {
            return;
        }
        let mut actions = std::mem::take(&mut cx.actions);
        unit.shard.take_actions(&mut actions);
        let home = unit.home;
        for action in actions.drain(..) {
            carry_out(action, index, home, cx);
        }
        cx.actions = actions;
    }

    /// A message to the home of a unit, which is here.
    pub(super) fn handle_to_home(
        &mut self,
        index: UnitIndex,
        from: ShardId,
        message: ToHome,
        cx: &mut Cx,
    ) {
        self.at_home(index, cx, |home, out| home.home.handle(from, message, out));
    }

    /// What a home here wanted durable is, or cannot be.
    pub(super) fn saved(&mut self, name: HomeName, id: FenceId, durable: bool, cx: &mut Cx) {
        self.at_home(name.unit, cx, |home, out| {
            if home.epoch == name.epoch {
                home.home.saved(id, durable, out);
            }
        });
    }

    /// When the next transition of a home here is over.
    pub(super) fn next_transition(&self) -> Option<Duration> {
        self.transitions.iter().map(|(at, ..)| *at).min()
    }

    /// Ends the transitions whose time is over.
    pub(super) fn end_transitions(&mut self, cx: &mut Cx) {
        while let Some(due) = self.transitions.iter().position(|(at, ..)| *at <= cx.now) {
            let (_, name, id) = self.transitions.swap_remove(due);
            self.at_home(name.unit, cx, |home, out| {
                if home.epoch == name.epoch {
                    home.home.transitioned(id, out);
                }
            });
        }
    }

    /// Asks the home of a unit, which is here, for a change that no initiator asked for.
    pub(super) fn change(&mut self, index: UnitIndex, action: HomeAction, hold: Hold, cx: &mut Cx) {
        self.at_home(index, cx, |home, out| {
            home.last_change += 1;
            home.changes.insert(home.last_change, hold);
            home.home.submit(home.last_change, action, out);
        });
    }

    pub(super) fn at_home(
        &mut self,
        index: UnitIndex,
        cx: &mut Cx,
        work: impl FnOnce(&mut Home, &mut Vec<(ShardId, ToShard)>),
    ) {
        let mut outgoing = std::mem::take(&mut self.outgoing);
        let mut begun = Vec::new();
        if let Some(home) = self.home(index, cx)
            && !home.offline
        {
            if guard(|| work(home, &mut outgoing)).is_err() {
                home.offline = true;
                home.changes.clear();
                cx.counters.panics.add(1);
                tracing::error!(
                    unit = index.0,
                    "the home of a logical unit panicked; it is offline until it is reset"
                );
            } else {
                for (id, _) in home.home.take_completed() {
                    home.changes.remove(&id);
                }
                home.save(index, cx);
                let name = HomeName {
                    unit: index,
                    epoch: home.epoch,
                };
                let over = |lasts: Duration| cx.now.saturating_add(lasts);
                let transitions = home.home.take_transitions();
                begun.extend(transitions.map(|one| (over(one.lasts), name, one.id)));
            }
            if home.home.own_io_is_due() && !home.offline {
                self.own.note(index);
            }
        }
        self.transitions.append(&mut begun);
        for (shard, message) in outgoing.drain(..) {
            cx.send(
                WorkerId(shard.0),
                Message::ToShard {
                    unit: index,
                    message,
                },
            );
        }
        self.outgoing = outgoing;
    }

    /// No LUN shows a unit any more: it is let go of as soon as nothing of it is left here.
    pub(super) fn retire(&mut self, index: UnitIndex, holds: Vec<Hold>) {
        if self.find(index).is_some() {
            self.retiring.push((index, holds));
        }
    }

    /// Lets go of units that are to go and rest. Once per turn: nobody waits for it by the microsecond.
    pub(super) fn let_go_of_retired(&mut self, cx: &mut Cx) {
        for (index, holds) in std::mem::take(&mut self.retiring) {
            let Some(unit) = self.find(index) else {
                continue;
            };
            let rests = unit.offline || unit.shard.retire();
            if !rests || self.is_at_own_work(index) {
                self.retiring.push((index, holds));
                continue;
            }
            self.settle(index, cx);
            if let Some(unit) = self.units.get_mut(index.0 as usize).and_then(Option::take) {
                unit.store.detach(&mut *cx.driver);
            }
        }
    }

    /// Whether units wait to be let go of.
    pub(super) fn has_retiring(&self) -> bool {
        !self.retiring.is_empty()
    }

    /// Every worker has let go of the unit.
    pub(super) fn forget_home(&mut self, index: UnitIndex) {
        if let Some(slot) = self.homes.get_mut(index.0 as usize) {
            *slot = None;
        }
    }

    /// Whether a unit is to be let go of.
    pub(super) fn is_retiring(&self, index: UnitIndex) -> bool {
        self.retiring.iter().any(|(one, _)| *one == index)
    }

    /// The home of a unit, where it has been made.
    pub(super) fn found_home(&mut self, index: UnitIndex) -> Option<&mut Home> {
        self.homes.get_mut(index.0 as usize)?.as_mut()
    }

    fn home(&mut self, index: UnitIndex, cx: &Cx) -> Option<&mut Home> {
        let at = index.0 as usize;
        if self.homes.len() <= at {
            self.homes.resize_with(at + 1, || None);
        }
        let slot = self.homes.get_mut(at)?;
        if slot.is_none() {
            self.epoch += 1;
            let world = cx.shared.world.load();
            let snapshot = Arc::clone(&world.units.get(&index)?.snapshot);
            *slot = Some(Home {
                epoch: self.epoch,
                identity: Arc::clone(&snapshot.identity),
                in_store: None,
                home: LuHome::new(snapshot),
                offline: false,
                changes: BTreeMap::new(),
                last_change: 0,
            });
        }
        slot.as_mut()
    }

    /// A message to the shard of a unit, here.
    pub(super) fn handle_to_shard(&mut self, index: UnitIndex, message: ToShard, cx: &mut Cx) {
        let Some(unit) = self.find(index) else { return };
        let mut actions = std::mem::take(&mut cx.actions);
        let home = unit.home;
        // WCE is the store's to obey: it is told before any command runs under the new snapshot.
        if let ToShard::Publish(publication) = &message {
            unit.sync_write_cache(&publication.snapshot);
            unit.sync_medium(&publication.snapshot, cx);
        }
        if !unit.offline && guard(|| unit.shard.handle(message, &mut actions)).is_err() {
            unit.go_offline(cx);
        }
        for action in actions.drain(..) {
            carry_out(action, index, home, cx);
        }
        cx.actions = actions;
    }

    /// Lets go of every backstore. Only when no task is left.
    pub(super) fn detach_all(&mut self, cx: &mut Cx) {
        for unit in self.units.drain(..).flatten() {
            unit.store.detach(&mut *cx.driver);
        }
    }
}

impl Home {
    /// Has what is to outlast the process made durable; the answer is [`Message::Saved`].
    fn save(&mut self, unit: UnitIndex, cx: &Cx) {
        let place = cx.shared.reservations.as_ref();
        let reply = cx.shared.mailboxes.get(usize::from(cx.id.0));
        // A unit without a place to save to wants nothing durable.
        let (Some(place), Some(reply)) = (place, reply) else {
            return;
        };
        let epoch = self.epoch;
        for save in self.home.take_saves() {
            let home = HomeName { unit, epoch };
            place.save(&self.identity, save, home, reply.clone());
        }
    }
}

impl Unit {
    pub(super) fn go_offline(&mut self, cx: &Cx) {
        self.offline = true;
        cx.counters.panics.add(1);
        tracing::error!(
            unit = self.index.0,
            "a logical unit panicked; it is offline until it is reset"
        );
    }

    /// Another disc has been put into a drive: its store stands behind the unit from now on. No I/O is under way, on any worker.
    fn sync_medium(&mut self, snapshot: &scsi::LuSnapshot, cx: &mut Cx) {
        if snapshot.tray.media() == self.shard.snapshot().tray.media() {
            return;
        }
        let world = cx.shared.world.load();
        let Some(seed) = world.units.get(&self.index) else {
            return;
        };
        if !Arc::ptr_eq(&seed.store, &self.backing) {
            let store = Arc::clone(&seed.store).attach(&mut *cx.driver);
            std::mem::replace(&mut self.store, store).detach(&mut *cx.driver);
            self.backing = Arc::clone(&seed.store);
        }
    }

    fn sync_write_cache(&self, snapshot: &scsi::LuSnapshot) {
        if snapshot.mode.write_cache != self.shard.snapshot().mode.write_cache {
            self.backing.set_write_cache(snapshot.mode.write_cache);
        }
    }
}

fn carry_out(action: ShardAction, unit: UnitIndex, home: WorkerId, cx: &mut Cx) {
    match action {
        ShardAction::ToHome(message) => {
            let from = cx.id.shard();
            cx.send(
                home,
                Message::ToHome {
                    unit,
                    from,
                    message,
                },
            );
        }
        ShardAction::Abort(key, how) => cx.news.push_back((key, News::Abort(how))),
        ShardAction::Wake(key) => cx.news.push_back((key, News::Wake)),
        ShardAction::Granted(key) => cx.news.push_back((key, News::Granted)),
        ShardAction::Completed { key, result } => {
            cx.news.push_back((key, News::Completed(result)));
        }
        ShardAction::Attention(nexus, attention) => cx.local.push_back(Message::Attention {
            session: SessionId(nexus.0),
            unit,
            attention,
        }),
    }
}
