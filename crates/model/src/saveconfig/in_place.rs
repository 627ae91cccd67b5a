//! A saveconfig.json for a tree that holds objects it names: what the file says of them, in their own column of defaults.
//!
//! The file has a value for everything that LIO has, and no word for anything else. So an object that was made with our defaults
//! stays one; what the file says is compared with what is in force, whether or not it was set; and what the file cannot say
//! stays as it is.

use std::collections::BTreeMap;

use crate::attributes::{Attribute, Column, ObjectKind, effective};
use crate::change::{Change, Given};
use crate::path::ObjectPath;
use crate::tree::{LogicalUnitNumber, Node, NodeAcl, PortalGroup, Tree};
use crate::value::{Attributes, Raw, Value};

/// Attributes that the file says by other keys than LIO's files.
const SAID: &[(ObjectKind, &[&str])] = &[
    (
        ObjectKind::Backstore,
        &["path", "size", "serial", "write_cache", "aio", "exclusive"],
    ),
    (ObjectKind::Target, &["alias"]),
    (
        ObjectKind::Tpg,
        &["enabled", "authentication", "generate_node_acls"],
    ),
    (ObjectKind::Lun, &["backstore", "alias", "alua_group"]),
    (ObjectKind::Acl, &["tag"]),
    (ObjectKind::MappedLun, &["lun", "alias", "write_protect"]),
    (ObjectKind::Discovery, &["enforce"]),
];

/// The groups of LIO's files that the file has for a kind of objects.
fn groups(kind: ObjectKind) -> &'static [&'static str] {
    match kind {
        ObjectKind::Backstore | ObjectKind::Acl => &["attrib/"],
        ObjectKind::Target => &["param/"],
        ObjectKind::Tpg => &["attrib/", "param/"],
        // Its files stand in no group.
        ObjectKind::AluaGroup => &[""],
        _ => &[],
    }
}

/// What a saveconfig.json asks for, for this tree.
pub(crate) fn in_place(tree: &Tree, desired: &[Change]) -> Vec<Change> {
    let mut wanted: BTreeMap<&ObjectPath, &Given> = BTreeMap::new();
    for change in desired {
        if let Change::Create { path, attributes } = change {
            wanted.insert(path, attributes);
        }
    }
    let mut changes: Vec<Change> = wanted
        .iter()
        .filter(|(path, _)| !is_every_lun_again(tree, path, &wanted))
        .map(|(path, given)| Change::Create {
            path: (*path).clone(),
            attributes: match tree.find(path) {
                Some(node) => for_object(tree, path, &node, given),
                None => for_new(tree, path, given),
            },
        })
        .collect();
    // The format has no word for the daemon itself.
    if let Some(node) = tree.find(&ObjectPath::Daemon) {
        changes.push(Change::Create {
            path: ObjectPath::Daemon,
            attributes: as_given(node.attributes()),
        });
    }
    changes
}

fn as_given(attributes: &Attributes) -> Given {
    let given = |(name, value): (&&'static str, &Value)| {
        ((*name).to_owned(), Some(Raw::from(value.clone())))
    };
    attributes.iter().map(given).collect()
}

/// In a group with our defaults an ACL shows every LUN unless something is mapped; in LIO's it shows what is mapped.
fn for_new(tree: &Tree, path: &ObjectPath, given: &Given) -> Given {
    let mut given = given.clone();
    let of_ours = matches!(path, ObjectPath::Acl(target, tag, _)
        if tree.group(target, *tag).is_some_and(|group| group.column() == Column::Ours));
    if of_ours {
        given.insert("default_luns".to_owned(), Some(Raw::Bool(false)));
    }
    given
}

fn for_object(tree: &Tree, path: &ObjectPath, node: &Node, given: &Given) -> Given {
    let column = match path {
        // These have no column of their own, and are written in LIO's.
        ObjectPath::Target(_) | ObjectPath::AluaGroup(..) => Column::Lio,
        path => tree.column_of(path),
    };
    let mut merged = Given::new();
    for row in path.kind().attributes() {
        let set = node.attributes().get(row.name);
        let said = given.get(row.name).and_then(Option::as_ref);
        let raw = match said {
            _ if !is_said(path, row) => set.cloned().map(Raw::from),
            said if column == Column::Lio => said.cloned(),
            said => {
                let now = effective(path.kind(), node.attributes(), row.name, column);
                if says(row, said) == now {
                    set.cloned().map(Raw::from)
                } else {
                    said.cloned().or_else(|| left_out(row))
                }
            }
        };
        if let Some(raw) = raw {
            merged.insert(row.name.to_owned(), Some(raw));
        }
    }
    merged
}

/// Whether the file can say anything of an attribute.
fn is_said(path: &ObjectPath, row: &Attribute) -> bool {
    let kind = path.kind();
    let by_key = SAID
        .iter()
        .any(|(of, names)| *of == kind && names.contains(&row.name));
    let by_file = || {
        let file = row.lio_path()?;
        let mut groups = groups(kind).iter();
        groups.find(|group| file.starts_with(**group))
    };
    let is_credential = matches!(
        kind,
        ObjectKind::Discovery | ObjectKind::Tpg | ObjectKind::Acl
    ) && row.name.contains("chap.");
    // Of a file it has no word for this.
    let read_only = row.name == "read_only"
        && matches!(path, ObjectPath::Backstore(crate::BackstoreType::Block, _));
    row.name != "defaults" && (by_key || is_credential || read_only || by_file().is_some())
}

/// What the file means: without a word, LIO's default.
fn says(row: &Attribute, said: Option<&Raw>) -> Option<Value> {
    match said {
        Some(raw) => row.parse(raw).ok(),
        None => row.default_in(Column::Lio),
    }
}

/// What an object with our defaults gets where the file has LIO's. Nobody meant LIO's slow keys: ours hold.
fn left_out(row: &Attribute) -> Option<Raw> {
    let default = row.default_in(Column::Lio).map(Raw::from);
    default.filter(|_| !row.name.starts_with("param."))
}

/// Whether a mapped LUN is one of those that the file has for an ACL which shows every LUN of its group, and shows just those.
fn is_every_lun_again(
    tree: &Tree,
    path: &ObjectPath,
    wanted: &BTreeMap<&ObjectPath, &Given>,
) -> bool {
    let ObjectPath::MappedLun(target, tag, initiator, _) = path else {
        return false;
    };
    let (Some(group), Some(acl)) = (tree.group(target, *tag), tree.acl(target, *tag, initiator))
    else {
        return false;
    };
    group.shows_every_lun(acl) && maps_every_lun(group, acl, path, wanted)
}

fn maps_every_lun(
    group: &PortalGroup,
    acl: &NodeAcl,
    path: &ObjectPath,
    wanted: &BTreeMap<&ObjectPath, &Given>,
) -> bool {
    let Some((target, tag)) = path.group() else {
        return false;
    };
    let of_group = |path: &ObjectPath| path.group() == Some((target, tag));
    let mut luns: Vec<LogicalUnitNumber> = Vec::new();
    let mut mapped: Vec<LogicalUnitNumber> = Vec::new();
    for (path, given) in wanted.iter().filter(|(path, _)| of_group(path)) {
        match path {
            ObjectPath::Lun(_, _, number) => luns.push(*number),
            ObjectPath::MappedLun(_, _, initiator, number) if *initiator == acl.initiator => {
                let lun = group.luns.get(number);
                let protect =
                    group.prod_mode_write_protect() || lun.is_some_and(|lun| lun.write_protect());
                let shown = Raw::Integer(i64::from(number.0));
                let same = given.get("lun").and_then(Option::as_ref) == Some(&shown)
                    && is_protected(given) == protect
                    && !given.contains_key("alias");
                if !same {
                    return false;
                }
                mapped.push(*number);
            }
            _ => {}
        }
    }
    luns == mapped
}

fn is_protected(given: &Given) -> bool {
    let raw = given.get("write_protect").and_then(Option::as_ref);
    let row = ObjectKind::MappedLun.attribute("write_protect");
    row.and_then(|row| says(row, raw))
        .and_then(|value| value.as_bool())
        .unwrap_or(false)
}
