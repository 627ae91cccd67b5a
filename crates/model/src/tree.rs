//! The objects, and the tree of them: one generation is immutable, and a change makes the next, which shares whatever it
//! did not touch.

mod alua;
mod edit;
mod index;
mod near;
mod views;

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use imbl::OrdMap;
use iscsi_wire::IscsiName;

pub use self::alua::AccessGroup;
pub(crate) use self::index::Indexes;
pub(crate) use self::views::is_cdrom;
pub use self::views::{
    Backing, ChapCredential, Credentials, Digests, RecoveryTimes, Requirement, SessionSettings,
    Source,
};
use crate::attributes::{Column, ObjectKind};
use crate::path::{ObjectPath, PathError};
use crate::value::Attributes;

/// Names an object for ever: never reused, also not after a restart, so that a login can tell an object from its successor
/// of the same name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub u64);

/// A logical unit number as the single-level addressing methods can express it: 0 to 16,383 (SAM-5, *Single level LUN
/// structure*).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogicalUnitNumber(pub u16);

impl LogicalUnitNumber {
    /// The largest number that flat space addressing expresses.
    pub const MAX: Self = Self(16_383);
}

/// Commands that one session may have outstanding, unless a portal group says otherwise.
pub const DEFAULT_QUEUE_DEPTH: u16 = 128;

/// The kinds of places where blocks are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BackstoreType {
    /// A regular file.
    File,
    /// A block device.
    Block,
    /// Memory, sparse; the contents end with the process.
    Ram,
    /// Reads zeroes, forgets writes.
    Null,
}

impl BackstoreType {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::File, Self::Block, Self::Ram, Self::Null];

    /// As paths spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Block => "block",
            Self::Ram => "ram",
            Self::Null => "null",
        }
    }
}

impl fmt::Display for BackstoreType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for BackstoreType {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| PathError {
            reason: format!("{text} is no type of backstore"),
            hint: "use file, block, ram or null".to_owned(),
        })
    }
}

/// One generation of the whole configuration.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// Grows by one with each committed change.
    pub generation: u64,
    pub(crate) last_id: u64,
    pub(crate) daemon: Arc<Attributes>,
    pub(crate) discovery: Arc<Attributes>,
    pub(crate) backstores: OrdMap<(BackstoreType, String), Arc<Backstore>>,
    pub(crate) targets: OrdMap<IscsiName, Arc<Target>>,
    pub(crate) indexes: Indexes,
}

/// A place where blocks are kept.
#[derive(Clone, Debug)]
pub struct Backstore {
    pub id: ObjectId,
    pub kind: BackstoreType,
    /// Unique per type.
    pub name: String,
    pub attributes: Attributes,
    /// ALUA groups by name; the default one is not among them until it is set.
    pub alua: OrdMap<String, Arc<AluaGroup>>,
}

/// An ALUA target port group of a backstore.
#[derive(Clone, Debug)]
pub struct AluaGroup {
    pub id: ObjectId,
    pub name: String,
    pub attributes: Attributes,
}

/// An iSCSI target node.
#[derive(Clone, Debug)]
pub struct Target {
    pub id: ObjectId,
    pub name: IscsiName,
    pub attributes: Attributes,
    /// By portal group tag.
    pub tpgs: OrdMap<u16, Arc<PortalGroup>>,
}

/// A target portal group: a SCSI target port.
#[derive(Clone, Debug)]
pub struct PortalGroup {
    pub id: ObjectId,
    /// RFC 7143 §13.9.
    pub tag: u16,
    pub attributes: Attributes,
    pub portals: OrdMap<SocketAddr, Arc<Portal>>,
    pub luns: OrdMap<LogicalUnitNumber, Arc<Lun>>,
    /// By initiator name.
    pub acls: OrdMap<IscsiName, Arc<NodeAcl>>,
    /// Where each LUN is mapped: for which initiators, under which numbers.
    pub(crate) mapped_by: OrdMap<LogicalUnitNumber, imbl::OrdSet<(IscsiName, LogicalUnitNumber)>>,
}

/// An address and port where a portal group is served.
#[derive(Clone, Debug)]
pub struct Portal {
    pub id: ObjectId,
    pub address: SocketAddr,
    pub attributes: Attributes,
}

/// A LUN of a portal group: a number for a backstore.
#[derive(Clone, Debug)]
pub struct Lun {
    pub id: ObjectId,
    pub number: LogicalUnitNumber,
    /// What is behind it; follows the attribute `backstore`.
    pub backstore: ObjectId,
    pub attributes: Attributes,
}

/// What one initiator may do in a portal group.
#[derive(Clone, Debug)]
pub struct NodeAcl {
    pub id: ObjectId,
    pub initiator: IscsiName,
    pub attributes: Attributes,
    /// By the number that the initiator sees.
    pub luns: OrdMap<LogicalUnitNumber, Arc<MappedLun>>,
}

/// A LUN of the group as one initiator sees it.
#[derive(Clone, Debug)]
pub struct MappedLun {
    pub id: ObjectId,
    pub number: LogicalUnitNumber,
    /// The group's LUN behind it; follows the attribute `lun`.
    pub lun: LogicalUnitNumber,
    pub attributes: Attributes,
}

/// An object, whichever it is.
#[derive(Clone, Debug)]
pub enum Node {
    Daemon(Arc<Attributes>),
    Discovery(Arc<Attributes>),
    Backstore(Arc<Backstore>),
    AluaGroup(Arc<AluaGroup>),
    Target(Arc<Target>),
    Tpg(Arc<PortalGroup>),
    Portal(Arc<Portal>),
    Lun(Arc<Lun>),
    Acl(Arc<NodeAcl>),
    MappedLun(Arc<MappedLun>),
}

impl Node {
    /// The attributes that were set.
    #[must_use]
    pub fn attributes(&self) -> &Attributes {
        match self {
            Self::Daemon(attributes) | Self::Discovery(attributes) => attributes,
            Self::Backstore(one) => &one.attributes,
            Self::AluaGroup(one) => &one.attributes,
            Self::Target(one) => &one.attributes,
            Self::Tpg(one) => &one.attributes,
            Self::Portal(one) => &one.attributes,
            Self::Lun(one) => &one.attributes,
            Self::Acl(one) => &one.attributes,
            Self::MappedLun(one) => &one.attributes,
        }
    }

    /// Its id; the daemon and discovery have none.
    #[must_use]
    pub fn id(&self) -> Option<ObjectId> {
        match self {
            Self::Daemon(_) | Self::Discovery(_) => None,
            Self::Backstore(one) => Some(one.id),
            Self::AluaGroup(one) => Some(one.id),
            Self::Target(one) => Some(one.id),
            Self::Tpg(one) => Some(one.id),
            Self::Portal(one) => Some(one.id),
            Self::Lun(one) => Some(one.id),
            Self::Acl(one) => Some(one.id),
            Self::MappedLun(one) => Some(one.id),
        }
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> ObjectKind {
        match self {
            Self::Daemon(_) => ObjectKind::Daemon,
            Self::Discovery(_) => ObjectKind::Discovery,
            Self::Backstore(_) => ObjectKind::Backstore,
            Self::AluaGroup(_) => ObjectKind::AluaGroup,
            Self::Target(_) => ObjectKind::Target,
            Self::Tpg(_) => ObjectKind::Tpg,
            Self::Portal(_) => ObjectKind::Portal,
            Self::Lun(_) => ObjectKind::Lun,
            Self::Acl(_) => ObjectKind::Acl,
            Self::MappedLun(_) => ObjectKind::MappedLun,
        }
    }
}

impl Tree {
    /// The object at a path.
    #[must_use]
    pub fn find(&self, path: &ObjectPath) -> Option<Node> {
        match path {
            ObjectPath::Daemon => Some(Node::Daemon(Arc::clone(&self.daemon))),
            ObjectPath::Discovery => Some(Node::Discovery(Arc::clone(&self.discovery))),
            ObjectPath::Backstore(kind, name) => {
                self.backstore(*kind, name).cloned().map(Node::Backstore)
            }
            ObjectPath::AluaGroup(kind, name, group) => self
                .backstore(*kind, name)
                .and_then(|store| store.alua.get(group))
                .cloned()
                .map(Node::AluaGroup),
            ObjectPath::Target(name) => self.target(name).cloned().map(Node::Target),
            ObjectPath::Tpg(name, tag) => self.group(name, *tag).cloned().map(Node::Tpg),
            ObjectPath::Portal(name, tag, at) => self
                .group(name, *tag)
                .and_then(|group| group.portals.get(at))
                .cloned()
                .map(Node::Portal),
            ObjectPath::Lun(name, tag, number) => self
                .group(name, *tag)
                .and_then(|group| group.luns.get(number))
                .cloned()
                .map(Node::Lun),
            ObjectPath::Acl(name, tag, initiator) => {
                self.acl(name, *tag, initiator).cloned().map(Node::Acl)
            }
            ObjectPath::MappedLun(name, tag, initiator, number) => self
                .acl(name, *tag, initiator)
                .and_then(|acl| acl.luns.get(number))
                .cloned()
                .map(Node::MappedLun),
        }
    }

    /// Backstores, by type and name.
    pub fn backstores(&self) -> impl Iterator<Item = &Arc<Backstore>> {
        self.backstores.values()
    }

    /// Targets, by name.
    pub fn targets(&self) -> impl Iterator<Item = &Arc<Target>> {
        self.targets.values()
    }

    /// How many targets there are.
    #[must_use]
    pub fn target_count(&self) -> usize {
        self.targets.len()
    }

    /// All portal groups with their targets.
    pub fn groups(&self) -> impl Iterator<Item = (&Arc<Target>, &Arc<PortalGroup>)> {
        self.targets
            .values()
            .flat_map(|target| target.tpgs.values().map(move |group| (target, group)))
    }

    /// A backstore by its name.
    #[must_use]
    pub fn backstore(&self, kind: BackstoreType, name: &str) -> Option<&Arc<Backstore>> {
        self.backstores.get(&(kind, name.to_owned()))
    }

    /// A backstore by its id.
    #[must_use]
    pub fn backstore_by_id(&self, id: ObjectId) -> Option<&Arc<Backstore>> {
        self.backstores.get(self.indexes.backstores.get(&id)?)
    }

    /// A target by its name.
    #[must_use]
    pub fn target(&self, name: &IscsiName) -> Option<&Arc<Target>> {
        self.targets.get(name)
    }

    /// A portal group by its target's name and its tag.
    #[must_use]
    pub fn group(&self, target: &IscsiName, tag: u16) -> Option<&Arc<PortalGroup>> {
        self.targets.get(target)?.tpgs.get(&tag)
    }

    /// A node ACL.
    #[must_use]
    pub fn acl(
        &self,
        target: &IscsiName,
        tag: u16,
        initiator: &IscsiName,
    ) -> Option<&Arc<NodeAcl>> {
        self.group(target, tag)?.acls.get(initiator)
    }

    /// Addresses where at least one portal group is served, each once, in order.
    pub fn portal_addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.indexes.portals.keys().copied()
    }

    /// Whether any portal group is served at this address.
    #[must_use]
    pub fn has_portal(&self, address: &SocketAddr) -> bool {
        self.indexes.portals.contains_key(address)
    }

    /// LUNs that show a backstore: target, tag and number of each.
    pub fn luns_of(
        &self,
        backstore: ObjectId,
    ) -> impl Iterator<Item = &(IscsiName, u16, LogicalUnitNumber)> {
        self.indexes.luns.get(&backstore).into_iter().flatten()
    }

    /// Which column of defaults holds for an object: what its portal group or backstore says.
    #[must_use]
    pub fn column_of(&self, path: &ObjectPath) -> Column {
        let column = match path {
            ObjectPath::Backstore(kind, name) | ObjectPath::AluaGroup(kind, name, _) => {
                self.backstore(*kind, name).map(|store| store.column())
            }
            _ => path
                .group()
                .and_then(|(target, tag)| self.group(target, tag))
                .map(|group| group.column()),
        };
        column.unwrap_or_default()
    }

    /// Every object's path, owners before what they own.
    #[must_use]
    pub fn paths(&self) -> Vec<ObjectPath> {
        let mut paths = vec![ObjectPath::Daemon, ObjectPath::Discovery];
        for store in self.backstores() {
            paths.push(ObjectPath::Backstore(store.kind, store.name.clone()));
            let group =
                |name: &String| ObjectPath::AluaGroup(store.kind, store.name.clone(), name.clone());
            paths.extend(store.alua.keys().map(group));
        }
        for target in self.targets() {
            paths.push(ObjectPath::Target(target.name.clone()));
            for group in target.tpgs.values() {
                paths.push(ObjectPath::Tpg(target.name.clone(), group.tag));
                paths.extend(group.paths_below(&target.name));
            }
        }
        paths
    }
}

impl PortalGroup {
    /// The paths of what stands below it.
    pub(crate) fn paths_below(&self, target: &IscsiName) -> Vec<ObjectPath> {
        let (tag, mut paths) = (self.tag, Vec::new());
        let portal = |at: &SocketAddr| ObjectPath::Portal(target.clone(), tag, *at);
        paths.extend(self.portals.keys().map(portal));
        let lun = |number: &LogicalUnitNumber| ObjectPath::Lun(target.clone(), tag, *number);
        paths.extend(self.luns.keys().map(lun));
        for acl in self.acls.values() {
            paths.push(ObjectPath::Acl(target.clone(), tag, acl.initiator.clone()));
            let mapped = |number: &LogicalUnitNumber| {
                ObjectPath::MappedLun(target.clone(), tag, acl.initiator.clone(), *number)
            };
            paths.extend(acl.luns.keys().map(mapped));
        }
        paths
    }

    /// Which column of defaults holds.
    #[must_use]
    pub fn column(&self) -> Column {
        Column::of(&self.attributes)
    }
}
