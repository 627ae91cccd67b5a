//! From a command of targetcli's at a path, and the tree as it is, to changes. Pure: what is read is in a [`Snapshot`], what
//! stands outside the tree in a [`Setting`].

mod acls;
mod create;
mod settings;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use control_api::{AttributeMap, Change, Object};
use serde_json::Value;

pub(crate) use acls::{tag, tagged, untag};
pub(crate) use create::create;
pub(crate) use settings::{Group, groups, lio_names, lio_value, set};

use super::commands::Bound;
use super::path::{Place, child, last_name, parent, portal, prefix, resolve};
use super::state::Preferences;

/// What was read of the tree, all of one generation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) objects: Vec<Object>,
}

impl Snapshot {
    /// What stands at a canonical path, if it was read and is there.
    pub(crate) fn find(&self, path: &str) -> Option<&Object> {
        self.objects
            .iter()
            .find_map(|object| find_below(object, path))
    }

    /// What stands below a path.
    fn children(&self, path: &str) -> &[Object] {
        self.find(path).map_or(&[], |object| &object.children)
    }

    /// The numbers that name what stands below a path.
    fn numbers(&self, path: &str) -> Vec<u64> {
        let names = self
            .children(path)
            .iter()
            .map(|object| last_name(&object.path));
        names.filter_map(|name| name.parse().ok()).collect()
    }
}

fn find_below<'a>(object: &'a Object, path: &str) -> Option<&'a Object> {
    if object.path == path {
        return Some(object);
    }
    object
        .children
        .iter()
        .find_map(|child| find_below(child, path))
}

/// The lowest number from `first` on that is not taken.
fn lowest_free(taken: &[u64], first: u64) -> u64 {
    let mut free = first;
    while taken.contains(&free) {
        free += 1;
    }
    free
}

/// What stands outside the tree.
pub(crate) struct Setting<'a> {
    /// What relative file names are relative to.
    pub(crate) folder: &'a Path,
    /// What a file is, if this side can see it.
    pub(crate) probe: &'a dyn Fn(&Path) -> FileFact,
    /// The name of a target that nobody gave one.
    pub(crate) new_target: &'a dyn Fn() -> String,
    pub(crate) preferences: &'a Preferences,
}

/// What is known of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileFact {
    Regular,
    BlockDevice,
    /// Something that is no disk.
    Other,
    Absent,
}

/// What a command asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Wish {
    pub(crate) changes: Vec<Change>,
    /// What the operator should hear, whether or not it can be done.
    pub(crate) notes: Vec<String>,
    /// What was made, to go there.
    pub(crate) made: Option<String>,
}

impl Wish {
    fn of(changes: Vec<Change>) -> Self {
        Self {
            changes,
            ..Self::default()
        }
    }

    /// With another's changes after these, each once.
    pub(crate) fn and(mut self, other: Self) -> Self {
        for change in other.changes {
            if !self.changes.contains(&change) {
                self.changes.push(change);
            }
        }
        for note in other.notes {
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
        self.made = self.made.or(other.made);
        self
    }
}

/// What has to be read, and how deep, before a command at `path` can be translated.
pub(crate) fn needs(command: &str, path: &str) -> Vec<(String, u32)> {
    match (command, Place::of(path)) {
        ("create", Place::Target) => vec![(path.to_owned(), 4)],
        ("create", Place::Tpgs) => vec![(parent(path), 4)],
        ("create", Place::Luns | Place::Acls | Place::Acl | Place::MappedLuns)
        | ("tag" | "untag", Place::Acls) => vec![(prefix(path, 4), 4)],
        _ => Vec::new(),
    }
}

/// What a `delete` by name removes.
///
/// # Errors
/// What was given names nothing there.
pub(crate) fn deleted(path: &str, bound: &Bound) -> Result<String> {
    let at = |container: &str, parameter: &str| -> Result<String> {
        let name = bound.needed(parameter)?;
        let found = resolve(container, name);
        if parent(&found) != container {
            bail!("{name}: no name of what stands at {container}; `ls {container}` lists them");
        }
        Ok(found)
    };
    match Place::of(path) {
        Place::BackstoreType | Place::AluaGroups => at(path, "name"),
        Place::Targets | Place::Acls => at(path, "wwn"),
        Place::Target => at(&child(path, "tpgs"), "tag"),
        Place::Tpgs => at(path, "tag"),
        Place::Luns => at(path, "lun"),
        Place::Acl => at(&child(path, "luns"), "mapped_lun"),
        Place::MappedLuns => at(path, "mapped_lun"),
        Place::Portals => Ok(child(path, &portal_name(bound)?)),
        _ => bail!("{path}: nothing is removed there by name"),
    }
}

/// The address and port of a portal, as the tree names it. Without either, all IPv4 addresses and iSCSI's port.
fn portal_name(bound: &Bound) -> Result<String> {
    let address = bound.value("ip_address").unwrap_or("0.0.0.0");
    let Some(port) = bound.value("ip_port") else {
        return checked_portal(&portal(address));
    };
    let port: u16 = port
        .parse()
        .map_err(|_| anyhow!("{port}: no TCP port; use 1 to 65535, usually 3260"))?;
    let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']'));
    let bare = bare.unwrap_or(address);
    match bare.parse() {
        Ok(address) => Ok(std::net::SocketAddr::new(address, port).to_string()),
        Err(_) => Err(no_address(address)),
    }
}

fn checked_portal(text: &str) -> Result<String> {
    match text.parse::<std::net::SocketAddr>() {
        Ok(at) => Ok(at.to_string()),
        Err(_) => Err(no_address(text)),
    }
}

fn no_address(text: &str) -> anyhow::Error {
    anyhow!("{text}: no IP address; write 192.0.2.1 or 2001:db8::1, and the port behind a blank")
}

/// A file as a path of the daemon's.
fn absolute(folder: &Path, file: &str) -> PathBuf {
    folder.join(file)
}

fn make(path: impl Into<String>, attributes: AttributeMap) -> Change {
    Change::Create {
        path: path.into(),
        attributes,
    }
}

/// Attributes by name.
fn map<const N: usize>(entries: [(&str, Value); N]) -> AttributeMap {
    entries.map(|(name, value)| (name.to_owned(), value)).into()
}

/// The text of an object's attribute.
fn text<'a>(object: &'a Object, name: &str) -> Option<&'a str> {
    object.attributes.get(name).and_then(Value::as_str)
}
