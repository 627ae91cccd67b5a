//! What a plan means for groups, logical units and sessions: each told only where the plan touches it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use iscsi_wire::IscsiName;
use model::{Admission, Node, ObjectId, ObjectPath, Plan, Tree};
use scsi::TargetPort;
use scsi::lu::{HomeAction, LuChange};

use super::access::{self, access_change, access_groups_of};
use super::drives::{tray_change, tray_of};
use super::stores::{Acquired, backstore};
use super::{SessionEffect, TouchedSession};
use crate::directory::Record;
use crate::drain::{Drain, Leaving};
use crate::open::{lu_identity, mode_defaults};
use crate::registry::Registry;
use crate::shared::{Group, LunEntry, Message, Shared, UnitSeed, World};

type GroupName = (IscsiName, u16);

/// Makes the runtime side of groups that come, and takes that of groups that go out of the world.
pub(super) fn enter_groups(
    world: &mut World,
    plan: &Plan,
    lingering: &mut BTreeMap<GroupName, Arc<Group>>,
) {
    for touched in plan.touched.iter().filter(|t| t.is_other_object()) {
        let ObjectPath::Tpg(target, tag) = &touched.path else {
            continue;
        };
        let name = (target.clone(), *tag);
        if let Some(Node::Tpg(gone)) = &touched.before
            && let Some(group) = world.groups.remove(&gone.id)
        {
            lingering.insert(name.clone(), group);
        }
        if let Some(Node::Tpg(fresh)) = &touched.after {
            let group = lingering.remove(&name).unwrap_or_else(|| {
                Arc::new(Group {
                    registry: Registry::new(),
                })
            });
            world.groups.insert(fresh.id, group);
        }
    }
}

/// Enters stores that were acquired.
pub(super) fn enter_units(world: &mut World, acquired: &Acquired) {
    for fresh in &acquired.fresh {
        if let Some((index, seed)) = &fresh.place {
            world.units.insert(*index, Arc::clone(seed));
            world.unit_of.insert(fresh.id, *index);
        }
    }
}

/// Enters discs that were put into drives.
pub(super) fn enter_discs(world: &mut World, acquired: &Acquired) {
    for disc in &acquired.discs {
        if let Some((index, seed)) = &disc.place {
            world.units.insert(*index, Arc::clone(seed));
        }
    }
}

/// Takes units that went out of the world, and gives those that changed a seed that says so: a home that is made later begins
/// with it.
pub(super) fn update_seeds(world: &mut World, plan: &Plan) {
    for touched in plan.touched.iter().filter(|t| t.is_other_object()) {
        if let Some(gone) = backstore(touched.before.as_ref())
            && let Some(index) = world.unit_of.remove(&gone.id)
        {
            world.units.remove(&index);
        }
    }
    for id in units_touched(plan) {
        let Some(index) = world.unit_of.get(&id).copied() else {
            continue;
        };
        if let (Some(seed), Some(store)) = (world.units.get(&index), world.tree.backstore_by_id(id))
        {
            let mut snapshot = scsi::LuSnapshot::clone(&seed.snapshot);
            snapshot.target_ports = ports_of(&world.tree, id);
            snapshot.identity = Arc::new(lu_identity(store, seed.store.identity()));
            snapshot.caps.geometry = seed.store.caps().geometry;
            snapshot.third_party_copy = store.third_party_copy();
            snapshot.tray = tray_of(store);
            snapshot.access_groups = access_groups_of(store).into();
            let seed = UnitSeed {
                snapshot: Arc::new(snapshot),
                ..UnitSeed::clone(seed)
            };
            world.units.insert(index, Arc::new(seed));
        }
    }
}

/// Backstores that the plan changes, or shows in another place.
fn units_touched(plan: &Plan) -> BTreeSet<ObjectId> {
    let mut ids = BTreeSet::new();
    for touched in &plan.touched {
        for node in [&touched.before, &touched.after].into_iter().flatten() {
            match node {
                Node::Lun(lun) => {
                    ids.insert(lun.backstore);
                }
                Node::Backstore(store) if !touched.is_other_object() => {
                    ids.insert(store.id);
                }
                Node::AluaGroup(_) => {
                    if let ObjectPath::AluaGroup(kind, name, _) = &touched.path
                        && let Some(store) = plan.tree.backstore(*kind, name)
                    {
                        ids.insert(store.id);
                    }
                }
                _ => {}
            }
        }
    }
    ids
}

/// The ports that a logical unit can be reached through: the portal groups that show it (SAM-5, "SCSI target port").
pub(super) fn ports_of(tree: &Tree, backstore: ObjectId) -> Arc<[TargetPort]> {
    let groups: BTreeSet<(&IscsiName, u16)> = tree
        .luns_of(backstore)
        .map(|(target, tag, _)| (target, *tag))
        .collect();
    let group_of = access::group_of_ports(tree, backstore);
    let mut ports: Vec<TargetPort> = groups
        .into_iter()
        .filter_map(|(target, tag)| {
            let group = tree.group(target, tag)?;
            Some(TargetPort {
                relative_id: group.relative_target_port(),
                group_id: group_of(target, tag),
                // SPC-5 "SCSI name string designator format", RFC 7143 §4.4.4: name, "t", group tag.
                name: format!("{target},t,0x{tag:04x}").into(),
                device_name: target.to_string().into(),
            })
        })
        .collect();
    ports.sort_by_key(|port| port.relative_id);
    ports.into()
}

/// Tells logical units what is different about them.
pub(super) fn changes_of_units(
    shared: &Shared,
    world: &World,
    plan: &Plan,
    acquired: &Acquired,
    drain: &Drain,
) {
    let tell = |id: ObjectId, action: HomeAction| {
        let Some(index) = world.unit_of.get(&id) else {
            return;
        };
        let Some(seed) = world.units.get(index) else {
            return;
        };
        if let Some(home) = shared.mailboxes.get(usize::from(seed.home.0)) {
            let hold = drain.hold(Leaving::Change);
            let _gone = home.send(Message::Change {
                unit: *index,
                action,
                hold,
            });
        }
    };
    for id in units_touched(plan) {
        let Some(seed) = world.unit_of.get(&id).and_then(|at| world.units.get(at)) else {
            continue;
        };
        let mut change = LuChange {
            identity: Some(Arc::clone(&seed.snapshot.identity)),
            target_ports: Some(Arc::clone(&seed.snapshot.target_ports)),
            third_party_copy: Some(seed.snapshot.third_party_copy),
            ..LuChange::default()
        };
        let touched = plan
            .touched
            .iter()
            .find(|touched| backstore(touched.after.as_ref()).is_some_and(|store| store.id == id));
        let changed = touched.map(model::Touched::changed).unwrap_or_default();
        if let Some(store) = world.tree.backstore_by_id(id) {
            change.access = access_change(plan, store);
            if let Some(action) = touched.and_then(|touched| tray_change(store, touched, seed)) {
                tell(id, action);
            }
            if changed.contains("read_only") {
                change.read_only = Some(store.read_only());
                // The unit refuses writes from then on; the store has to take them before the unit does.
                if !store.read_only()
                    && let Err(error) = seed.store.set_read_only(false)
                {
                    tracing::warn!(backstore = %store.name, %error, "the store stays as it was opened");
                }
            }
            if changed.contains("write_cache") {
                tell(id, HomeAction::WriteCache(store.write_cache()));
            }
            let of_mode = ["attrib.emulate_tas", "attrib.emulate_ua_intlck_ctrl"];
            if of_mode.iter().any(|name| changed.contains(*name)) {
                tell(id, HomeAction::ModeDefaults(mode_defaults(store)));
            }
        }
        tell(id, HomeAction::Configure(Box::new(change)));
    }
    for (id, geometry) in &acquired.resized {
        tell(*id, HomeAction::Resize(*geometry));
    }
}

/// Groups that are gone or disabled take no login any more; those that are enabled again do.
pub(super) fn close_groups(before: &World, now: &World, plan: &Plan) {
    for touched in &plan.touched {
        if let Some(Node::Tpg(old)) = &touched.before {
            let open =
                matches!(&touched.after, Some(Node::Tpg(new)) if new.id == old.id && new.enabled());
            if let (false, Some(group)) = (open, before.groups.get(&old.id)) {
                // Claims that wait are told; the sessions are found in the directory.
                let _sessions = group.registry.close_all();
            }
        }
        if let Some(Node::Tpg(new)) = &touched.after
            && let (true, Some(group)) = (new.enabled(), now.groups.get(&new.id))
        {
            group.registry.reopen();
        }
    }
}

/// The sessions of these groups.
fn sessions_of(shared: &Shared, names: &BTreeSet<GroupName>) -> Vec<Arc<Record>> {
    if names.is_empty() {
        return Vec::new();
    }
    let mut records = shared.directory.all();
    records.retain(|record| {
        let target = record.target.as_ref();
        target.is_some_and(|target| names.contains(&(target.clone(), record.tag)))
    });
    records
}

/// Sessions that a plan touches, each as it is admitted afterwards; `None`: it ends.
fn touched(
    shared: &Shared,
    (before, after): (&Tree, &Tree),
    plan: &Plan,
) -> Vec<(Arc<Record>, Option<Admission>)> {
    let groups = plan
        .touched
        .iter()
        .filter_map(|touched| touched.path.group());
    let names = groups.map(|(target, tag)| (target.clone(), tag)).collect();
    let judge = |record: Arc<Record>| {
        let now = admission(after, &record);
        let same = now.as_ref().is_some_and(|now| {
            admission(before, &record).is_some_and(|then| then.luns() == now.luns())
        });
        (!same).then_some((record, now))
    };
    let records = sessions_of(shared, &names);
    records.into_iter().filter_map(judge).collect()
}

/// Which sessions a plan would touch.
pub(super) fn foresee(shared: &Shared, before: &Tree, plan: &Plan) -> Vec<TouchedSession> {
    let touched = touched(shared, (before, &plan.tree), plan);
    let told = |(record, now): &(Arc<Record>, Option<Admission>)| told(record, now.as_ref());
    touched.iter().filter_map(told).collect()
}

fn told(record: &Record, now: Option<&Admission>) -> Option<TouchedSession> {
    Some(TouchedSession {
        id: record.id,
        initiator: record.initiator.clone(),
        target: record.target.clone()?,
        tag: record.tag,
        effect: match now {
            None => SessionEffect::Ends,
            Some(_) => SessionEffect::SeesOtherLuns,
        },
    })
}

/// The admission of a session by a tree, if that tree still admits it as it logged in: to the same group, by the same ACL.
fn admission(tree: &Tree, record: &Record) -> Option<Admission> {
    let target = record.target.as_ref()?;
    let admission = model::admit(tree, &record.initiator, target, record.local)
        .and_then(|admission| admission.served_by(record.named.as_ref()))
        .ok()?;
    let acl = admission.acl.as_ref().map(|acl| acl.id);
    // An initiator that was let in without an ACL, and has one now, stays.
    let same_acl = record.acl.is_none() || acl == record.acl;
    (Some(admission.group.id) == record.group && same_acl).then_some(admission)
}

/// Tells sessions what becomes of them.
pub(super) fn release_sessions(
    shared: &Shared,
    (before, world): (&World, &World),
    plan: &Plan,
    deadline: Duration,
    drain: &Drain,
) -> Vec<TouchedSession> {
    let mut lists = Lists::new();
    let touched = touched(shared, (&before.tree, &world.tree), plan);
    let release = |(record, now): (Arc<Record>, Option<Admission>)| {
        tell(
            shared,
            world,
            &record,
            now.as_ref(),
            deadline,
            drain,
            &mut lists,
        );
        told(&record, now.as_ref())
    };
    touched.into_iter().filter_map(release).collect()
}

/// Sessions that see the same share one list.
type Lists = BTreeMap<(ObjectId, Option<ObjectId>), Arc<[LunEntry]>>;

fn tell(
    shared: &Shared,
    world: &World,
    record: &Record,
    now: Option<&Admission>,
    deadline: Duration,
    drain: &Drain,
    lists: &mut Lists,
) {
    let session = record.id;
    let message = match now {
        None => {
            record.draining.store(true, Ordering::Relaxed);
            Message::DrainSession {
                session,
                deadline,
                hold: drain.hold(Leaving::Session),
            }
        }
        Some(now) => {
            let key = (now.group.id, now.acl.as_ref().map(|acl| acl.id));
            let luns = lists
                .entry(key)
                .or_insert_with(|| world.luns(&now.group, now.acl.as_deref()));
            Message::Remap {
                session,
                luns: Arc::clone(luns),
                deadline,
                drain: drain.clone(),
                hold: drain.hold(Leaving::Change),
            }
        }
    };
    if let Some(worker) = shared.mailboxes.get(usize::from(record.worker.0)) {
        let _gone = worker.send(message);
    }
}

/// Asks the sessions of groups whose MaxRecvDataSegmentLength is another to negotiate, where their group says so: it is what may
/// be told in the full feature phase (RFC 7143 §13.12).
pub(super) fn renegotiate(
    shared: &Shared,
    (before, after): (&Tree, &Tree),
    plan: &Plan,
    drain: &Drain,
) {
    const KEY: &str = "param.MaxRecvDataSegmentLength";
    let of_key = plan
        .touched
        .iter()
        .filter(|touched| !touched.is_other_object() && touched.changed().contains(KEY));
    let groups = of_key.filter_map(|touched| touched.path.group());
    let names = groups.map(|(target, tag)| (target.clone(), tag)).collect();
    let length = |tree: &Tree, record: &Record| {
        let admission = admission(tree, record)?;
        let (group, acl) = (&admission.group, admission.acl.as_deref());
        let length = group.settings(acl).max_recv_data_segment_length;
        Some((length, group.asks_to_negotiate()))
    };
    for record in sessions_of(shared, &names) {
        let (Some((then, _)), Some((now, asks))) =
            (length(before, &record), length(after, &record))
        else {
            continue;
        };
        if then == now || !asks {
            continue;
        }
        if let Some(worker) = shared.mailboxes.get(usize::from(record.worker.0)) {
            let _gone = worker.send(Message::Renegotiate {
                session: record.id,
                max_recv_bytes: now,
                hold: drain.hold(Leaving::Change),
            });
        }
    }
}

/// Has every session that sees a backstore see it behind its new unit.
pub(super) fn remap_users(
    shared: &Shared,
    world: &World,
    backstore: ObjectId,
    deadline: Duration,
    drain: &Drain,
) {
    let users = world.tree.luns_of(backstore);
    let names = users
        .map(|(target, tag, _)| (target.clone(), *tag))
        .collect();
    let mut lists = Lists::new();
    for record in sessions_of(shared, &names) {
        let now = admission(&world.tree, &record);
        tell(
            shared,
            world,
            &record,
            now.as_ref(),
            deadline,
            drain,
            &mut lists,
        );
    }
}
