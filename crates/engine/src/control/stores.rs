//! The stores behind logical units: opened before a change is in force, let go when the last command has left.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use backstores::MachineId;
use block::Geometry;
use model::{Backing, Backstore, Node, ObjectId, ObjectPath, Plan, Raw, Touched};
use scsi::{LuCondition, LuSnapshot};

use super::access::access_groups_of;
use super::drives::{device_of, tray_of};
use super::effects::ports_of;
use super::open::{open_all, within};
use super::{ApplyError, Missing, Remnant};
use crate::drain::{Drain, Leaving};
use crate::engine::UnitReport;
use crate::open::{Create, OpenedUnit, StoreProblem, hints, mode_defaults, unit};
use crate::reservations::{Reservations, restored};
use crate::shared::{Message, Shared, UnitIndex, UnitSeed, WorkerId, World};

/// How long the file of a backstore that is just leaving is waited for, where another is to be made of it.
const SUCCESSOR_WAITS: Duration = Duration::from_secs(2);

/// The stores there are, and those on their way out.
pub(super) struct Stores {
    workers: usize,
    units: BTreeMap<ObjectId, Unit>,
    /// Two disks of one identity look like two paths to one disk, and multipath would write one's data to the other.
    serials: BTreeMap<String, ObjectId>,
    free: Vec<UnitIndex>,
    next: u32,
    leaving: Vec<Going>,
    /// Degraded units that a store has taken the place of.
    replaced: Vec<Unit>,
}

struct Unit {
    index: UnitIndex,
    home: WorkerId,
    path: String,
    file: Option<PathBuf>,
    serial: String,
    degraded: bool,
    seed: Arc<UnitSeed>,
}

struct Going {
    index: UnitIndex,
    home: WorkerId,
    path: String,
    file: Option<PathBuf>,
    workers: Drain,
}

/// What is ready for a commit.
#[derive(Default)]
pub(super) struct Acquired {
    pub(super) fresh: Vec<Fresh>,
    pub(super) resized: Vec<(ObjectId, Geometry)>,
    pub(super) discs: Vec<Disc>,
}

/// Another disc for a drive that there is.
pub(super) struct Disc {
    pub(super) id: ObjectId,
    file: Option<PathBuf>,
    store: Arc<dyn backstores::Backstore>,
    /// Given when it is entered.
    pub(super) place: Option<(UnitIndex, Arc<UnitSeed>)>,
}

/// A store that was opened, or that stands in for one that could not be.
pub(super) struct Fresh {
    pub(super) id: ObjectId,
    path: String,
    file: Option<PathBuf>,
    pub(super) opened: OpenedUnit,
    pub(super) problem: Option<String>,
    /// Given when it is entered.
    pub(super) place: Option<(UnitIndex, Arc<UnitSeed>)>,
}

impl Acquired {
    pub(super) fn reports(&self) -> Vec<UnitReport> {
        let ready = self.fresh.iter().filter(|one| one.problem.is_none());
        let mut reports: Vec<UnitReport> = ready.map(|one| one.opened.report.clone()).collect();
        // In the order they were made.
        reports.sort_by_key(|report| report.backstore);
        reports
    }

    /// Has units go on with what they had begun to do by themselves when the process ended. They are among those that
    /// workers find.
    pub(super) fn wake(&self, shared: &Shared) {
        for (index, seed) in self.fresh.iter().filter_map(|one| one.place.as_ref()) {
            if seed.snapshot.sanitize.is_some()
                && let Some(home) = shared.mailboxes.get(usize::from(seed.home.0))
            {
                let _gone = home.send(Message::WakeHome(*index));
            }
        }
    }

    pub(super) fn degraded(&self) -> Vec<(String, String)> {
        let told = |one: &Fresh| Some((one.path.clone(), one.problem.clone()?));
        self.fresh.iter().filter_map(told).collect()
    }
}

impl Stores {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            workers,
            units: BTreeMap::new(),
            serials: BTreeMap::new(),
            free: Vec::new(),
            next: 0,
            leaving: Vec::new(),
            replaced: Vec::new(),
        }
    }

    /// Opens what the plan adds, and grows what it makes larger. Serials that are found are noted in the plan's tree.
    pub(super) fn prepare(
        &mut self,
        plan: &mut Plan,
        missing: Missing,
    ) -> Result<Acquired, ApplyError> {
        let added: Vec<(ObjectPath, Arc<Backstore>)> = plan
            .touched
            .iter()
            .filter(|touched| touched.is_other_object())
            .filter_map(|touched| Some((touched.path.clone(), backstore(touched.after.as_ref())?)))
            .collect();
        self.wait_for_predecessors(&added)?;
        let stores: Vec<Arc<Backstore>> =
            added.iter().map(|(_, store)| Arc::clone(store)).collect();
        let create = match missing {
            Missing::Refuse => Create::IfMissing,
            Missing::Degrade => Create::Never,
        };
        let results = open_all(&stores, self.workers, create);
        let mut acquired = Acquired::default();
        for ((path, store), result) in added.into_iter().zip(results) {
            let fresh = self.judge(&path, &store, result, missing)?;
            let serial = &fresh.opened.report.serial;
            let same = |one: &Fresh| one.opened.report.serial == *serial;
            let twice = acquired
                .fresh
                .iter()
                .find(|one| same(one))
                .map(|one| one.path.clone());
            let held = self.serials.get(serial).and_then(|id| self.units.get(id));
            if let Some(other) = twice.or_else(|| held.map(|unit| unit.path.clone())) {
                let serial = serial.clone();
                return Err(refused(&path, StoreProblem::SameSerial { serial, other }));
            }
            if store.serial().is_none() {
                plan.tree = plan
                    .tree
                    .with_found(&path, "serial", &Raw::from(serial.as_str()));
            }
            acquired.fresh.push(fresh);
        }
        acquired.resized = self.resize(plan)?;
        acquired.discs = self.open_discs(plan)?;
        Ok(acquired)
    }

    fn judge(
        &self,
        path: &ObjectPath,
        store: &Backstore,
        result: Result<OpenedUnit, StoreProblem>,
        missing: Missing,
    ) -> Result<Fresh, ApplyError> {
        let fresh = |opened, problem| Fresh {
            id: store.id,
            path: path.to_string(),
            file: file_of(store),
            opened,
            problem,
            place: None,
        };
        match result {
            Ok(opened) => Ok(fresh(opened, None)),
            Err(failure) if missing == Missing::Degrade => {
                let stand_in = stand_in(store).map_err(|problem| refused(path, problem))?;
                Ok(fresh(stand_in, Some(failure.to_string())))
            }
            Err(failure) => Err(refused(path, failure)),
        }
    }

    /// A file whose former backstore is just leaving is there in a moment; one whose backstore is stuck is not.
    fn wait_for_predecessors(
        &mut self,
        added: &[(ObjectPath, Arc<Backstore>)],
    ) -> Result<(), ApplyError> {
        for (path, store) in added {
            let Some(file) = file_of(store) else { continue };
            for going in self
                .leaving
                .iter()
                .filter(|g| g.file.as_ref() == Some(&file))
            {
                if !going.workers.wait(SUCCESSOR_WAITS).is_nothing() {
                    let by = going.path.clone();
                    return Err(refused(path, StoreProblem::StillInUse { file, by }));
                }
            }
        }
        Ok(())
    }

    /// Opens the discs that the plan puts into drives. A drive that is degraded finds its disc when it is tried again.
    fn open_discs(&self, plan: &Plan) -> Result<Vec<Disc>, ApplyError> {
        let mut discs = Vec::new();
        for touched in plan.touched.iter().filter(|t| has_other_disc(t)) {
            let Some(store) = backstore(touched.after.as_ref()) else {
                continue;
            };
            if self.units.get(&store.id).is_none_or(|unit| unit.degraded) {
                continue;
            }
            let opened = match open_all(&[Arc::clone(&store)], self.workers, Create::Never).pop() {
                Some(Ok(opened)) => opened,
                Some(Err(problem)) => return Err(refused(&touched.path, problem)),
                None => continue,
            };
            discs.push(Disc {
                id: store.id,
                file: file_of(&store),
                store: opened.store,
                place: None,
            });
        }
        Ok(discs)
    }

    /// Another disc stands behind the unit of a drive. The drive itself, with its names, stays.
    fn enter_disc(&mut self, disc: &mut Disc) {
        let Some(unit) = self.units.get_mut(&disc.id) else {
            return;
        };
        let mut snapshot = LuSnapshot::clone(&unit.seed.snapshot);
        snapshot.caps = disc.store.caps();
        unit.file.clone_from(&disc.file);
        unit.seed = Arc::new(UnitSeed {
            store: Arc::clone(&disc.store),
            snapshot: Arc::new(snapshot),
            ..UnitSeed::clone(&unit.seed)
        });
        disc.place = Some((unit.index, Arc::clone(&unit.seed)));
    }

    fn resize(&self, plan: &Plan) -> Result<Vec<(ObjectId, Geometry)>, ApplyError> {
        let mut resized = Vec::new();
        for touched in plan.touched.iter().filter(|t| grows(t)) {
            let Some(store) = backstore(touched.after.as_ref()) else {
                continue;
            };
            let Some(unit) = self.units.get(&store.id).filter(|unit| !unit.degraded) else {
                continue;
            };
            let (open, bytes) = (Arc::clone(&unit.seed.store), store.size_bytes());
            match within(move || open.resize(bytes)) {
                Some(Ok(geometry)) => resized.push((store.id, geometry)),
                Some(Err(error)) => {
                    return Err(refused(&touched.path, StoreProblem::Resize(error)));
                }
                None => return Err(refused(&touched.path, StoreProblem::NoAnswer)),
            }
        }
        Ok(resized)
    }

    /// Gives what was acquired its place among the units. The change is in force.
    pub(super) fn enter(
        &mut self,
        acquired: &mut Acquired,
        tree: &model::Tree,
        reservations: Option<&Reservations>,
    ) {
        for disc in &mut acquired.discs {
            self.enter_disc(disc);
        }
        for fresh in &mut acquired.fresh {
            let index = self.free.pop().unwrap_or_else(|| {
                self.next += 1;
                UnitIndex(self.next - 1)
            });
            let home = WorkerId(u16::try_from(index.0 as usize % self.workers).unwrap_or(0));
            let opened = &fresh.opened;
            let mut snapshot = LuSnapshot::new(
                opened.store.caps(),
                Arc::clone(&opened.identity),
                ports_of(tree, fresh.id),
            );
            if let Some(store) = tree.backstore_by_id(fresh.id) {
                let change = mode_defaults(store);
                snapshot.mode = change.apply(snapshot.mode);
                snapshot.mode_defaults = change.apply(snapshot.mode_defaults);
                snapshot.third_party_copy = store.third_party_copy();
                (snapshot.device, snapshot.tray) = (device_of(store), tray_of(store));
                snapshot.access_groups = access_groups_of(store).into();
            }
            if fresh.problem.is_some() {
                // What it has reserved counts when it is there.
                snapshot.condition = LuCondition::NotReady;
            } else {
                snapshot = restored(snapshot, reservations);
                // WCE as it was saved is the store's to obey.
                if snapshot.mode.write_cache != snapshot.caps.write_cache {
                    opened.store.set_write_cache(snapshot.mode.write_cache);
                }
            }
            let seed = Arc::new(UnitSeed {
                backstore: fresh.id,
                store: Arc::clone(&opened.store),
                home,
                snapshot: Arc::new(snapshot),
            });
            fresh.place = Some((index, Arc::clone(&seed)));
            let serial = opened.report.serial.clone();
            self.serials.insert(serial.clone(), fresh.id);
            let unit = Unit {
                index,
                home,
                path: fresh.path.clone(),
                file: fresh.file.clone(),
                serial,
                degraded: fresh.problem.is_some(),
                seed,
            };
            if let Some(old) = self.units.insert(fresh.id, unit) {
                self.replaced.push(old);
            }
        }
    }

    /// Has every worker let go of the stores that the plan removed.
    pub(super) fn retire(&mut self, shared: &Shared, plan: &Plan, drain: &Drain) {
        for touched in plan.touched.iter().filter(|t| t.is_other_object()) {
            let Some(gone) = backstore(touched.before.as_ref()) else {
                continue;
            };
            if let Some(unit) = self.units.remove(&gone.id) {
                if self.serials.get(&unit.serial) == Some(&gone.id) {
                    self.serials.remove(&unit.serial);
                }
                self.let_go(unit, shared, drain);
            }
        }
    }

    /// As [`Self::retire`], of degraded units that stores have taken the place of.
    pub(super) fn retire_replaced(&mut self, shared: &Shared, drain: &Drain) {
        for unit in std::mem::take(&mut self.replaced) {
            self.let_go(unit, shared, drain);
        }
    }

    fn let_go(&mut self, unit: Unit, shared: &Shared, drain: &Drain) {
        let workers = Drain::default();
        for mailbox in &shared.mailboxes {
            let holds = vec![
                workers.hold(Leaving::Backstore),
                drain.hold(Leaving::Backstore),
            ];
            let _gone = mailbox.send(Message::RetireUnit {
                unit: unit.index,
                holds,
            });
        }
        self.leaving.push(Going {
            index: unit.index,
            home: unit.home,
            path: unit.path,
            file: unit.file,
            workers,
        });
    }

    /// Forgets stores that every worker has let go of: their homes go, and their places may be used again.
    pub(super) fn reap(&mut self, shared: &Shared) {
        let (gone, leaving): (Vec<Going>, Vec<Going>) = std::mem::take(&mut self.leaving)
            .into_iter()
            .partition(|going| going.workers.left().is_nothing());
        self.leaving = leaving;
        for going in gone {
            let home = shared.mailboxes.get(usize::from(going.home.0));
            if home.is_some_and(|home| home.send(Message::ForgetHome(going.index)).is_ok()) {
                self.free.push(going.index);
            }
        }
    }

    pub(super) fn remnants(&self) -> Vec<Remnant> {
        let told = |going: &Going| Remnant {
            path: going.path.clone(),
            file: going.file.clone(),
        };
        self.leaving.iter().map(told).collect()
    }

    pub(super) fn degraded(&self) -> Vec<ObjectId> {
        let degraded = self.units.iter().filter(|(_, unit)| unit.degraded);
        degraded.map(|(id, _)| *id).collect()
    }

    /// Opens a degraded store, if it can be had now.
    pub(super) fn reopen(
        &mut self,
        world: &World,
        id: ObjectId,
        reservations: Option<&Reservations>,
    ) -> Result<Option<Acquired>, ApplyError> {
        let Some(unit) = self.units.get(&id).filter(|unit| unit.degraded) else {
            return Ok(None);
        };
        let Some(store) = world.tree.backstore_by_id(id).cloned() else {
            return Ok(None);
        };
        let path = ObjectPath::Backstore(store.kind, store.name.clone());
        let mut results = open_all(&[Arc::clone(&store)], self.workers, Create::Never);
        let opened = match results.pop() {
            Some(Ok(opened)) => opened,
            Some(Err(failure)) => return Err(refused(&path, failure)),
            None => return Ok(None),
        };
        let serial = &opened.report.serial;
        let holder = self.serials.get(serial).filter(|holder| **holder != id);
        if let Some(holder) = holder.and_then(|holder| self.units.get(holder)) {
            let (serial, other) = (serial.clone(), holder.path.clone());
            return Err(refused(&path, StoreProblem::SameSerial { serial, other }));
        }
        self.serials.remove(&unit.serial.clone());
        let mut acquired = Acquired::default();
        acquired.fresh.push(Fresh {
            id,
            path: path.to_string(),
            file: file_of(&store),
            opened,
            problem: None,
            place: None,
        });
        self.enter(&mut acquired, &world.tree, reservations);
        Ok(Some(acquired))
    }
}

/// What stands in for a store that is not there: it has its name and serial, and nothing in it.
fn stand_in(store: &Backstore) -> Result<OpenedUnit, StoreProblem> {
    let hints = hints(store, MachineId::read()).map_err(StoreProblem::Open)?;
    let block = store.block_size_bytes();
    let geometry = store
        .size_bytes()
        .and_then(|bytes| Geometry::new(block, bytes / u64::from(block)).ok());
    let opened =
        backstores::open_missing(&store.name, geometry, &hints).map_err(StoreProblem::Open)?;
    Ok(unit(store, &opened))
}

/// Whether the drive stays, and its disc does not.
pub(super) fn has_other_disc(touched: &Touched) -> bool {
    !touched.is_other_object() && touched.changed().contains("path")
}

fn grows(touched: &Touched) -> bool {
    !touched.is_other_object() && touched.changed().contains("size")
}

pub(super) fn backstore(node: Option<&Node>) -> Option<Arc<Backstore>> {
    match node {
        Some(Node::Backstore(store)) => Some(Arc::clone(store)),
        _ => None,
    }
}

fn file_of(store: &Backstore) -> Option<PathBuf> {
    match store.backing() {
        Backing::File { path, .. } | Backing::Block { path, .. } => {
            // The same file by another way is found by the store itself.
            Some(Path::new(&path).to_owned())
        }
        Backing::Ram { .. } | Backing::Null { .. } => None,
    }
}

fn refused(path: &ObjectPath, problem: StoreProblem) -> ApplyError {
    ApplyError::Store {
        path: path.clone(),
        problem,
    }
}
