//! The ALUA groups of backstores, as logical units have them.

use std::collections::BTreeSet;
use std::time::Duration;

use iscsi_wire::IscsiName;
use model::{ObjectId, ObjectPath, Plan, Tree};
use scsi::{AccessChange, AccessChangedBy, AccessGroup, AccessState};

/// The target port group of ports where a backstore has no ALUA groups.
const ONLY_GROUP: u16 = 1;

/// The target port group of a port whose LUN names a group that the backstore does not have.
const NO_ACCESS_GROUP: u16 = u16::MAX;

/// Which target port group the port of a portal group is in, for this backstore.
pub(super) fn group_of_ports(
    tree: &Tree,
    backstore: ObjectId,
) -> impl Fn(&IscsiName, u16) -> u16 + '_ {
    let store = tree.backstore_by_id(backstore);
    let groups = store.map(|store| store.access_groups()).unwrap_or_default();
    move |target, tag| {
        if groups.is_empty() {
            return ONLY_GROUP;
        }
        let name = tree.access_group_of(backstore, target, tag);
        let found = groups.iter().find(|group| group.name == name);
        found.map_or(NO_ACCESS_GROUP, |group| group.id)
    }
}

/// The target port groups of a logical unit, as the tree has them.
pub(super) fn access_groups_of(store: &model::Backstore) -> Vec<AccessGroup> {
    let state = |code: u8| AccessState::of_code(code);
    let group = |one: model::AccessGroup| AccessGroup {
        id: one.id,
        state: state(one.state).unwrap_or_default(),
        changed_by: AccessChangedBy::Nothing,
        preferred: one.preferred,
        supported: one
            .supported
            .iter()
            .filter_map(|code| state(*code))
            .fold(0, |bits, state| bits | state.support_bit())
            | match one.transitioning {
                true => AccessState::Transitioning.support_bit(),
                false => 0,
            },
        implicit: one.implicit,
        explicit: one.explicit,
        implicit_transition_seconds: one.implicit_transition_seconds,
        transition: Duration::from_millis(one.transition_ms.into()),
    };
    store.access_groups().into_iter().map(group).collect()
}

/// What a plan changes of a backstore's target port groups: a state only where the tree's own is another than before.
pub(super) fn access_change(plan: &Plan, store: &model::Backstore) -> Option<AccessChange> {
    let of_store = |touched: &&model::Touched| match &touched.path {
        ObjectPath::AluaGroup(kind, name, _) => (*kind, name) == (store.kind, &store.name),
        ObjectPath::Backstore(kind, name) => {
            (*kind, name) == (store.kind, &store.name) && !touched.is_other_object()
        }
        _ => false,
    };
    let touched: Vec<_> = plan.touched.iter().filter(of_store).collect();
    if touched.is_empty() {
        return None;
    }
    let sets_state = |touched: &&&model::Touched| touched.changed().contains("alua_access_state");
    let names: BTreeSet<&str> = touched
        .iter()
        .filter(sets_state)
        .filter_map(|touched| match &touched.path {
            ObjectPath::AluaGroup(_, _, name) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    let of_tree = store.access_groups();
    let set = of_tree
        .iter()
        .filter(|one| names.contains(one.name.as_str()));
    Some(AccessChange {
        states_set: set.map(|one| one.id).collect(),
        groups: access_groups_of(store),
    })
}
