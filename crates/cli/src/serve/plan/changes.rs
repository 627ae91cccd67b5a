//! The tree that a command line asks for, as changes of an empty one.

use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use iscsi_wire::IscsiName;
use model::{BackstoreType, Change, LogicalUnitNumber, ObjectPath, Raw, Tree};

use super::super::args::Args;
use super::super::words::{backstore_name, of_mistake};
use super::{Disk, Pair};

/// The tag of the first portal group.
pub(super) const GROUP_TAG: u16 = 1;

/// What a command line asks for.
pub(super) struct Wanted<'a> {
    pub(super) args: &'a Args,
    pub(super) target: &'a IscsiName,
    pub(super) listen: &'a [SocketAddr],
    pub(super) disks: &'a [Disk],
    pub(super) create_bytes: Option<u64>,
    /// Who may log in; none: any initiator.
    pub(super) initiators: &'a [IscsiName],
    pub(super) credentials: Option<&'a Pair>,
}

impl Wanted<'_> {
    /// The tree.
    ///
    /// # Errors
    /// The first mistake, in the words of the command line.
    pub(super) fn tree(&self) -> Result<Tree> {
        let changes = self.changes()?;
        match Tree::default().plan(&changes) {
            // Its warnings are of short secrets, which the plan's notes tell with their files.
            Ok(plan) => Ok(plan.tree),
            // Those behind the first are for the most part what follows from it.
            Err(mistakes) => bail!(of_mistake(self.disks, &changes, mistakes.first())),
        }
    }

    fn changes(&self) -> Result<Vec<Change>> {
        let mut changes = vec![Change::create(ObjectPath::Target(self.target.clone()), [])];
        let mut shown = Vec::new();
        // First of all, and in the order of their LUNs: the engine reports units in the order they were made.
        for (index, disk) in self.disks.iter().enumerate() {
            let (kind, attributes) = self.backstore(index, disk)?;
            let name = backstore_name(index);
            shown.push((lun_number(index)?, format!("{kind}/{name}")));
            changes.push(Change::create(
                ObjectPath::Backstore(kind, name),
                attributes,
            ));
        }
        for (index, portals) in groups(self.listen).iter().enumerate() {
            let tag = group_tag(index)?;
            changes.extend(self.group(tag, portals, &shown));
        }
        if self.args.discovery_chap {
            let mut attributes = proof(self.credentials);
            attributes.push(("enforce", true.into()));
            changes.push(Change::set(ObjectPath::Discovery, attributes));
        }
        Ok(changes)
    }

    /// A portal group that shows every LUN, at these addresses.
    fn group(
        &self,
        tag: u16,
        portals: &[SocketAddr],
        shown: &[(LogicalUnitNumber, String)],
    ) -> Vec<Change> {
        let any_initiator = self.initiators.is_empty();
        let chap = self.credentials.map_or("none", |_| "chap");
        let mut attributes = vec![
            ("authentication", Raw::from(chap)),
            ("generate_node_acls", Raw::from(any_initiator)),
        ];
        // An initiator with an ACL is asked for the ACL's own credentials, any other for the group's.
        if any_initiator {
            attributes.extend(proof(self.credentials));
        }
        let target = || self.target.clone();
        let mut changes = vec![Change::create(ObjectPath::Tpg(target(), tag), attributes)];
        for address in portals {
            let path = ObjectPath::Portal(target(), tag, *address);
            changes.push(Change::create(path, []));
        }
        for (number, backstore) in shown {
            let attributes = [
                ("backstore", Raw::from(backstore.as_str())),
                ("write_protect", Raw::from(self.args.read_only)),
            ];
            let path = ObjectPath::Lun(target(), tag, *number);
            changes.push(Change::create(path, attributes));
        }
        for initiator in self.initiators {
            let path = ObjectPath::Acl(target(), tag, initiator.clone());
            changes.push(Change::create(path, proof(self.credentials)));
        }
        changes
    }

    fn backstore(
        &self,
        index: usize,
        disk: &Disk,
    ) -> Result<(BackstoreType, Vec<(&'static str, Raw)>)> {
        let block_size: i64 = self.args.block_size.parse().context("--block-size")?;
        let mut attributes = match disk {
            Disk::Cdrom(_) => vec![("device_type", Raw::from("cdrom"))],
            Disk::Path(_) | Disk::Ram { .. } => vec![
                ("block_size", Raw::from(block_size)),
                ("read_only", Raw::from(self.args.read_only)),
            ],
        };
        let (kind, size_bytes) = match disk {
            Disk::Ram { bytes } => (BackstoreType::Ram, Some(*bytes)),
            Disk::Path(path) => {
                attributes.push(("path", Raw::from(model::text_of_path(path))));
                self.kind_and_size(path)?
            }
            Disk::Cdrom(path) => {
                attributes.push(("path", Raw::from(model::text_of_path(path))));
                (self.kind_and_size(path)?.0, None)
            }
        };
        if let Some(bytes) = size_bytes {
            let bytes = i64::try_from(bytes).map_err(|_| {
                anyhow!(
                    "{}: no disk is so large; give a size below 8192 PiB",
                    disk.label(index)
                )
            })?;
            attributes.push(("size", Raw::from(bytes)));
        }
        if let Some(serial) = self.args.serial.get(index) {
            attributes.push(("serial", Raw::from(serial.as_str())));
        }
        Ok((kind, attributes))
    }

    /// What a path names, and the size to make it with: a block device is one only if it is there, a missing path is a file
    /// to be created, and what is there keeps its size.
    fn kind_and_size(&self, path: &Path) -> Result<(BackstoreType, Option<u64>)> {
        match std::fs::metadata(path) {
            Ok(found) if found.file_type().is_block_device() => Ok((BackstoreType::Block, None)),
            Ok(_) => Ok((BackstoreType::File, None)),
            // A regular file in /dev, made by a slip of the pen, would fill the machine's memory.
            Err(_) if path.starts_with("/dev") && !path.starts_with("/dev/shm") => {
                bail!(
                    "{}: there is no such device; lsblk lists those of this machine",
                    path.display()
                )
            }
            // What else is wrong with it comes out when it is opened.
            Err(_) => Ok((BackstoreType::File, self.create_bytes)),
        }
    }
}

/// What an initiator proves, and what the target does, as attributes.
fn proof(credentials: Option<&Pair>) -> Vec<(&'static str, Raw)> {
    let mut attributes = Vec::new();
    if let Some(Pair { chap, mutual }) = credentials {
        attributes.push(("chap.user", Raw::from(chap.user.as_str())));
        attributes.push(("chap.secret", Raw::Secret(chap.secret.clone())));
        if let Some(mutual) = mutual {
            attributes.push(("mutual_chap.user", Raw::from(mutual.user.as_str())));
            attributes.push(("mutual_chap.secret", Raw::Secret(mutual.secret.clone())));
        }
    }
    attributes
}

/// The portals of each group. One group is enough but where port 0 is asked for several times at one address: a group knows its
/// portals by their addresses, and has each once.
fn groups(listen: &[SocketAddr]) -> Vec<Vec<SocketAddr>> {
    let mut groups: Vec<Vec<SocketAddr>> = Vec::new();
    for address in listen {
        match groups.iter_mut().find(|group| !group.contains(address)) {
            Some(group) => group.push(*address),
            None => groups.push(vec![*address]),
        }
    }
    groups
}

fn group_tag(index: usize) -> Result<u16> {
    u16::try_from(index)
        .ok()
        .and_then(|index| GROUP_TAG.checked_add(index))
        .ok_or_else(|| anyhow!("--listen: port 0 of one address more than 65535 times"))
}

fn lun_number(index: usize) -> Result<LogicalUnitNumber> {
    u16::try_from(index)
        .ok()
        .map(LogicalUnitNumber)
        .filter(|number| *number <= LogicalUnitNumber::MAX)
        .ok_or_else(|| anyhow!("more than 16384 disks; a target has LUNs 0 to 16383"))
}
