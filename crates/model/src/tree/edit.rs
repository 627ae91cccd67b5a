//! The two steps that every change is made of: putting an object in its place, and taking one away. Both copy one path of the
//! tree and keep the indexes; neither judges.

use std::net::SocketAddr;
use std::sync::Arc;

use imbl::OrdMap;
use iscsi_wire::IscsiName;

use super::index::{GroupName, enter, remove};
use super::{
    AluaGroup, Backstore, BackstoreType, LogicalUnitNumber, Lun, MappedLun, NodeAcl, ObjectId,
    Portal, PortalGroup, Target, Tree,
};
use crate::attributes::text_of;
use crate::path::ObjectPath;
use crate::value::{Attributes, Value};

impl Tree {
    /// Puts an object in its place, or gives the one that stands there these attributes; what stands below it stays. False:
    /// it has no owner.
    pub(crate) fn put(&mut self, path: &ObjectPath, id: ObjectId, attributes: Attributes) -> bool {
        self.last_id = self.last_id.max(id.0);
        match path {
            ObjectPath::Daemon => self.daemon = Arc::new(attributes),
            ObjectPath::Discovery => self.discovery = Arc::new(attributes),
            ObjectPath::Backstore(kind, name) => self.put_backstore(*kind, name, id, attributes),
            ObjectPath::AluaGroup(kind, name, group) => {
                let Some(store) = self.backstores.get_mut(&(*kind, name.clone())) else {
                    return false;
                };
                let one = AluaGroup {
                    id,
                    name: group.clone(),
                    attributes,
                };
                Arc::make_mut(store)
                    .alua
                    .insert(group.clone(), Arc::new(one));
            }
            ObjectPath::Target(name) => self.put_target(name, id, attributes),
            ObjectPath::Tpg(name, tag) => return self.put_group(name, *tag, id, attributes),
            ObjectPath::Portal(name, tag, at) => {
                return self.put_portal((name.clone(), *tag), *at, id, attributes);
            }
            ObjectPath::Lun(name, tag, number) => {
                return self.put_lun((name.clone(), *tag), *number, id, attributes);
            }
            ObjectPath::Acl(name, tag, initiator) => {
                return self.put_acl((name.clone(), *tag), initiator, id, attributes);
            }
            ObjectPath::MappedLun(name, tag, initiator, number) => {
                return self.put_mapped(&(name.clone(), *tag), initiator, *number, id, attributes);
            }
        }
        true
    }

    fn put_backstore(
        &mut self,
        kind: BackstoreType,
        name: &str,
        id: ObjectId,
        attributes: Attributes,
    ) {
        let key = (kind, name.to_owned());
        let (alua, old) = match self.backstores.get(&key) {
            Some(old) => (old.alua.clone(), Some(old.id)),
            None => (OrdMap::new(), None),
        };
        if let Some(old) = old {
            self.indexes.backstores.remove(&old);
        }
        self.indexes.backstores.insert(id, key.clone());
        let store = Backstore {
            id,
            kind,
            name: name.to_owned(),
            attributes,
            alua,
        };
        self.backstores.insert(key, Arc::new(store));
    }

    fn put_target(&mut self, name: &IscsiName, id: ObjectId, attributes: Attributes) {
        let tpgs = self.targets.get(name).map(|old| old.tpgs.clone());
        let target = Target {
            id,
            name: name.clone(),
            attributes,
            tpgs: tpgs.unwrap_or_default(),
        };
        self.targets.insert(name.clone(), Arc::new(target));
    }

    fn put_group(
        &mut self,
        name: &IscsiName,
        tag: u16,
        id: ObjectId,
        attributes: Attributes,
    ) -> bool {
        let Some(target) = self.targets.get_mut(name) else {
            return false;
        };
        let target = Arc::make_mut(target);
        let key = (name.clone(), tag);
        let group = match target.tpgs.get(&tag) {
            Some(old) => {
                self.indexes.forget_group(&key, old);
                PortalGroup {
                    id,
                    attributes,
                    ..PortalGroup::clone(old)
                }
            }
            None => PortalGroup {
                id,
                tag,
                attributes,
                portals: OrdMap::new(),
                luns: OrdMap::new(),
                acls: OrdMap::new(),
                mapped_by: OrdMap::new(),
            },
        };
        self.indexes.follow_group(&key, &group);
        target.tpgs.insert(tag, Arc::new(group));
        true
    }

    fn put_portal(
        &mut self,
        group: GroupName,
        address: SocketAddr,
        id: ObjectId,
        attributes: Attributes,
    ) -> bool {
        let Some(at) = self.group_mut(&group) else {
            return false;
        };
        let portal = Portal {
            id,
            address,
            attributes,
        };
        at.portals.insert(address, Arc::new(portal));
        enter(&mut self.indexes.portals, address, group);
        true
    }

    fn put_lun(
        &mut self,
        group: GroupName,
        number: LogicalUnitNumber,
        id: ObjectId,
        attributes: Attributes,
    ) -> bool {
        let backstore = text_of(&attributes, "backstore")
            .and_then(|reference| self.resolve(reference))
            .map_or(ObjectId(0), |store| store.id);
        let Some(at) = self.group_mut(&group) else {
            return false;
        };
        let lun = Lun {
            id,
            number,
            backstore,
            attributes,
        };
        let old = at.luns.insert(number, Arc::new(lun));
        let place = (group.0, group.1, number);
        if let Some(old) = old {
            remove(&mut self.indexes.luns, &old.backstore, &place);
        }
        enter(&mut self.indexes.luns, backstore, place);
        true
    }

    fn put_acl(
        &mut self,
        group: GroupName,
        initiator: &IscsiName,
        id: ObjectId,
        attributes: Attributes,
    ) -> bool {
        let Some(at) = self.group_mut(&group) else {
            return false;
        };
        let luns = at.acls.get(initiator).map(|old| old.luns.clone());
        let acl = NodeAcl {
            id,
            initiator: initiator.clone(),
            attributes,
            luns: luns.unwrap_or_default(),
        };
        at.acls.insert(initiator.clone(), Arc::new(acl));
        enter(&mut self.indexes.named, initiator.clone(), group);
        true
    }

    fn put_mapped(
        &mut self,
        group: &GroupName,
        initiator: &IscsiName,
        number: LogicalUnitNumber,
        id: ObjectId,
        attributes: Attributes,
    ) -> bool {
        let lun = attributes.get("lun").and_then(Value::as_integer);
        let lun = lun
            .and_then(|lun| u16::try_from(lun).ok())
            .map_or(number, LogicalUnitNumber);
        let Some(at) = self.group_mut(group) else {
            return false;
        };
        let Some(acl) = at.acls.get_mut(initiator) else {
            return false;
        };
        let mapped = MappedLun {
            id,
            number,
            lun,
            attributes,
        };
        let old = Arc::make_mut(acl).luns.insert(number, Arc::new(mapped));
        let place = (initiator.clone(), number);
        if let Some(old) = old {
            remove(&mut at.mapped_by, &old.lun, &place);
        }
        enter(&mut at.mapped_by, lun, place);
        true
    }

    /// Takes an object away, with everything below it. One that is not there changes nothing.
    pub(crate) fn remove(&mut self, path: &ObjectPath) {
        match path {
            ObjectPath::Daemon => self.daemon = Arc::default(),
            ObjectPath::Discovery => self.discovery = Arc::default(),
            ObjectPath::Backstore(kind, name) => {
                if let Some(store) = self.backstores.remove(&(*kind, name.clone())) {
                    self.indexes.backstores.remove(&store.id);
                }
            }
            ObjectPath::AluaGroup(kind, name, group) => {
                if let Some(store) = self.backstores.get_mut(&(*kind, name.clone())) {
                    Arc::make_mut(store).alua.remove(group);
                }
            }
            ObjectPath::Target(name) => {
                if let Some(target) = self.targets.remove(name) {
                    for group in target.tpgs.values() {
                        self.forget(&(name.clone(), group.tag), group);
                    }
                }
            }
            ObjectPath::Tpg(name, tag) => {
                let target = self.targets.get_mut(name).map(Arc::make_mut);
                if let Some(group) = target.and_then(|target| target.tpgs.remove(tag)) {
                    self.forget(&(name.clone(), *tag), &group);
                }
            }
            ObjectPath::Portal(name, tag, at) => {
                let key = (name.clone(), *tag);
                if let Some(group) = self.group_mut(&key) {
                    group.portals.remove(at);
                    remove(&mut self.indexes.portals, at, &key);
                }
            }
            ObjectPath::Lun(name, tag, number) => {
                let group = self.group_mut(&(name.clone(), *tag));
                if let Some(lun) = group.and_then(|group| group.luns.remove(number)) {
                    let place = (name.clone(), *tag, *number);
                    remove(&mut self.indexes.luns, &lun.backstore, &place);
                }
            }
            ObjectPath::Acl(name, tag, initiator) => {
                self.remove_acl(&(name.clone(), *tag), initiator);
            }
            ObjectPath::MappedLun(name, tag, initiator, number) => {
                self.remove_mapped(&(name.clone(), *tag), initiator, *number);
            }
        }
    }

    fn remove_acl(&mut self, key: &GroupName, initiator: &IscsiName) {
        let Some(group) = self.group_mut(key) else {
            return;
        };
        if let Some(acl) = group.acls.remove(initiator) {
            for mapped in acl.luns.values() {
                let place = (initiator.clone(), mapped.number);
                remove(&mut group.mapped_by, &mapped.lun, &place);
            }
            remove(&mut self.indexes.named, initiator, key);
        }
    }

    fn remove_mapped(&mut self, key: &GroupName, initiator: &IscsiName, number: LogicalUnitNumber) {
        let Some(group) = self.group_mut(key) else {
            return;
        };
        let Some(acl) = group.acls.get_mut(initiator) else {
            return;
        };
        if let Some(mapped) = Arc::make_mut(acl).luns.remove(&number) {
            let place = (initiator.clone(), number);
            remove(&mut group.mapped_by, &mapped.lun, &place);
        }
    }

    /// Takes a group that is gone out of every index.
    fn forget(&mut self, key: &GroupName, group: &PortalGroup) {
        self.indexes.forget_group(key, group);
        for at in group.portals.keys() {
            remove(&mut self.indexes.portals, at, key);
        }
        for lun in group.luns.values() {
            let place = (key.0.clone(), key.1, lun.number);
            remove(&mut self.indexes.luns, &lun.backstore, &place);
        }
        for initiator in group.acls.keys() {
            remove(&mut self.indexes.named, initiator, key);
        }
    }

    fn group_mut(&mut self, (name, tag): &GroupName) -> Option<&mut PortalGroup> {
        let target = Arc::make_mut(self.targets.get_mut(name)?);
        target.tpgs.get_mut(tag).map(Arc::make_mut)
    }

    /// The backstore that `<type>/<name>` names, or a name that only one type has.
    #[must_use]
    pub fn resolve(&self, reference: &str) -> Option<&Arc<Backstore>> {
        if let Some((kind, name)) = reference.split_once('/') {
            return self.backstore(kind.parse().ok()?, name);
        }
        let mut found = BackstoreType::ALL
            .into_iter()
            .filter_map(|kind| self.backstore(kind, reference));
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }
}
