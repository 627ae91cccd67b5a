//! What is looked up the other way round: kept with the tree, derived from it, so that no question walks all of it.

use std::net::SocketAddr;

use imbl::{OrdMap, OrdSet};
use iscsi_wire::IscsiName;

use super::{BackstoreType, LogicalUnitNumber, ObjectId, PortalGroup};

/// A portal group, by its names.
pub(crate) type GroupName = (IscsiName, u16);

/// Indexes over one tree.
#[derive(Clone, Debug, Default)]
pub(crate) struct Indexes {
    /// Where each backstore stands.
    pub(crate) backstores: OrdMap<ObjectId, (BackstoreType, String)>,
    /// Groups served at each address.
    pub(crate) portals: OrdMap<SocketAddr, OrdSet<GroupName>>,
    /// LUNs that show each backstore.
    pub(crate) luns: OrdMap<ObjectId, OrdSet<(IscsiName, u16, LogicalUnitNumber)>>,
    /// Relative target port identifiers in use.
    pub(crate) ports: OrdMap<u16, GroupName>,
    /// Groups with an ACL for each initiator.
    pub(crate) named: OrdMap<IscsiName, OrdSet<GroupName>>,
    /// Groups that discovery may show to anybody.
    pub(crate) open: OrdSet<GroupName>,
}

/// Enters `value` into the set at `key`.
pub(crate) fn enter<K: Ord + Clone, V: Ord + Clone>(
    map: &mut OrdMap<K, OrdSet<V>>,
    key: K,
    value: V,
) {
    map.entry(key).or_default().insert(value);
}

/// Takes `value` out of the set at `key`; an empty set goes.
pub(crate) fn remove<K: Ord + Clone, V: Ord + Clone>(
    map: &mut OrdMap<K, OrdSet<V>>,
    key: &K,
    value: &V,
) {
    let Some(set) = map.get_mut(key) else { return };
    set.remove(value);
    if set.is_empty() {
        map.remove(key);
    }
}

impl Indexes {
    /// Follows what a group's own attributes say.
    pub(crate) fn follow_group(&mut self, name: &GroupName, group: &PortalGroup) {
        if group.is_told_to_anybody() {
            self.open.insert(name.clone());
        } else {
            self.open.remove(name);
        }
        self.ports
            .insert(group.relative_target_port(), name.clone());
    }

    /// Forgets a group that has nothing below it any more.
    pub(crate) fn forget_group(&mut self, name: &GroupName, group: &PortalGroup) {
        self.open.remove(name);
        self.ports.remove(&group.relative_target_port());
    }

    /// A relative target port identifier that no group has: after the last used, so that one is not used again soon.
    pub(crate) fn free_port(&self, hint: u64) -> Option<u16> {
        let start = u16::try_from(hint % 65_535).unwrap_or(0);
        (0..u16::MAX)
            .map(|step| (u32::from(start) + u32::from(step)) % 65_535 + 1)
            .filter_map(|port| u16::try_from(port).ok())
            .find(|port| !self.ports.contains_key(port))
    }
}
