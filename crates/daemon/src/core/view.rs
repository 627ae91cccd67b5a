//! The tree as its faces show it: objects with the values in force, facts that cannot be set, and containers in between.

use std::collections::BTreeMap;

use control_api::{AttributeInfo, AttributeMap, Object, Problem};
use iscsi_wire::IscsiName;
use model::attributes::{Attribute, Column, Kind, ObjectKind, Takes, effective};
use model::{BackstoreType, Node, ObjectId, ObjectPath, Tree};
use serde_json::{Value as Json, json};

use super::convert::json_of;

/// What is not in the tree but belongs to its objects.
pub(super) struct Facts {
    /// Sizes of the stores that are open, in bytes.
    pub(super) sizes: BTreeMap<ObjectId, u64>,
    pub(super) degraded: Vec<ObjectId>,
    /// Sessions of each portal group.
    pub(super) sessions: BTreeMap<(IscsiName, u16), usize>,
}

/// A place in the tree: an object, or a container that only holds others.
enum Place {
    Object(ObjectPath),
    Container,
}

/// The object or container at `path`, with what stands below it down to `depth`.
///
/// # Errors
/// There is nothing at that path.
pub(super) fn view(tree: &Tree, facts: &Facts, path: &str, depth: u32) -> Result<Object, Problem> {
    let trimmed = if path.len() > 1 {
        path.trim_end_matches('/')
    } else {
        path
    };
    let segments: Vec<&str> = trimmed.split('/').filter(|s| !s.is_empty()).collect();
    if let Some(children) = container(tree, &segments) {
        let canonical = format!("/{}", segments.join("/"));
        return Ok(show_container(tree, facts, &canonical, children, depth));
    }
    let parsed: ObjectPath = trimmed.parse().map_err(|error: model::PathError| {
        Problem::new(404, "no_such_object", error.reason)
            .with_path(path)
            .with_hint(error.hint)
    })?;
    if tree.find(&parsed).is_none() {
        return Err(Problem::no_such_object(path).with_hint(tree.hint_for_missing(&parsed)));
    }
    Ok(show(tree, facts, &parsed, depth))
}

/// The containers, by their segments: what stands in them. `None`: these segments name none.
fn container(tree: &Tree, segments: &[&str]) -> Option<Vec<(String, Place)>> {
    let name = |text: &str| IscsiName::parse_peer(text).ok();
    let object = |path: ObjectPath| (path.to_string(), Place::Object(path));
    Some(match segments {
        ["backstores"] => BackstoreType::ALL
            .into_iter()
            .map(|kind| (format!("/backstores/{kind}"), Place::Container))
            .collect(),
        ["backstores", kind] => {
            let kind: BackstoreType = kind.parse().ok()?;
            let of_kind = tree.backstores().filter(|store| store.kind == kind);
            let path = |store: &std::sync::Arc<model::Backstore>| {
                object(ObjectPath::Backstore(kind, store.name.clone()))
            };
            of_kind.map(path).collect()
        }
        ["backstores", kind, store, "alua"] => {
            let kind: BackstoreType = kind.parse().ok()?;
            let store = tree.backstore(kind, store)?;
            let path = |group: &String| {
                object(ObjectPath::AluaGroup(
                    kind,
                    store.name.clone(),
                    group.clone(),
                ))
            };
            store.alua.keys().map(path).collect()
        }
        ["targets"] => {
            let path = |target: &std::sync::Arc<model::Target>| {
                object(ObjectPath::Target(target.name.clone()))
            };
            tree.targets().map(path).collect()
        }
        ["targets", target, "tpgs"] => {
            let target = tree.target(&name(target)?)?;
            let path = |tag: &u16| object(ObjectPath::Tpg(target.name.clone(), *tag));
            target.tpgs.keys().map(path).collect()
        }
        ["targets", target, "tpgs", tag, rest @ ..] => {
            in_group(tree, &name(target)?, tag.parse().ok()?, rest)?
        }
        _ => return None,
    })
}

/// As [`container`], of what stands in a portal group.
fn in_group(
    tree: &Tree,
    target: &IscsiName,
    tag: u16,
    rest: &[&str],
) -> Option<Vec<(String, Place)>> {
    let object = |path: ObjectPath| (path.to_string(), Place::Object(path));
    let group = tree.group(target, tag)?;
    let paths: Vec<ObjectPath> = match rest {
        ["portals"] => group
            .portals
            .keys()
            .map(|at| ObjectPath::Portal(target.clone(), tag, *at))
            .collect(),
        ["luns"] => group
            .luns
            .keys()
            .map(|lun| ObjectPath::Lun(target.clone(), tag, *lun))
            .collect(),
        ["acls"] => group
            .acls
            .keys()
            .map(|acl| ObjectPath::Acl(target.clone(), tag, acl.clone()))
            .collect(),
        ["acls", acl, "luns"] => {
            let acl = IscsiName::parse_peer(acl).ok()?;
            let found = tree.acl(target, tag, &acl)?;
            let path = |lun: &model::LogicalUnitNumber| {
                ObjectPath::MappedLun(target.clone(), tag, acl.clone(), *lun)
            };
            found.luns.keys().map(path).collect()
        }
        _ => return None,
    };
    Some(paths.into_iter().map(object).collect())
}

/// The containers that stand directly below an object.
fn containers_of(path: &ObjectPath) -> &'static [&'static str] {
    match path.kind() {
        ObjectKind::Daemon => &["backstores", "targets"],
        ObjectKind::Backstore => &["alua"],
        ObjectKind::Target => &["tpgs"],
        ObjectKind::Tpg => &["portals", "luns", "acls"],
        ObjectKind::Acl => &["luns"],
        _ => &[],
    }
}

fn show_container(
    tree: &Tree,
    facts: &Facts,
    path: &str,
    places: Vec<(String, Place)>,
    depth: u32,
) -> Object {
    let count = places.len();
    let children = if depth == 0 {
        Vec::new()
    } else {
        let child = |(path, place): (String, Place)| match place {
            Place::Object(object) => show(tree, facts, &object, depth - 1),
            Place::Container => below(tree, facts, &path, depth - 1),
        };
        places.into_iter().map(child).collect()
    };
    Object {
        path: path.to_owned(),
        kind: "container".to_owned(),
        id: None,
        attributes: AttributeMap::new(),
        set: Vec::new(),
        state: AttributeMap::new(),
        children,
        child_count: count,
    }
}

fn below(tree: &Tree, facts: &Facts, path: &str, depth: u32) -> Object {
    let segments: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
    let places = container(tree, &segments).unwrap_or_default();
    show_container(tree, facts, path, places, depth)
}

fn show(tree: &Tree, facts: &Facts, path: &ObjectPath, depth: u32) -> Object {
    let node = tree.find(path);
    let mut names: Vec<String> = containers_of(path)
        .iter()
        .map(|name| {
            let base = path.to_string();
            format!("{}/{name}", base.trim_end_matches('/'))
        })
        .collect();
    let discovery = *path == ObjectPath::Daemon;
    let count = names.len() + usize::from(discovery);
    let mut children = Vec::new();
    if depth > 0 {
        if discovery {
            children.push(show(tree, facts, &ObjectPath::Discovery, depth - 1));
        }
        children.extend(
            names
                .drain(..)
                .map(|name| below(tree, facts, &name, depth - 1)),
        );
    }
    Object {
        path: path.to_string(),
        kind: path.kind().as_str().to_owned(),
        id: node.as_ref().and_then(Node::id).map(|id| id.0),
        attributes: attributes(tree, path, node.as_ref()),
        set: node
            .iter()
            .flat_map(|node| node.attributes().keys())
            .map(|name| (*name).to_owned())
            .collect(),
        state: state(tree, facts, path, node.as_ref()),
        children,
        child_count: count,
    }
}

fn attributes(tree: &Tree, path: &ObjectPath, node: Option<&Node>) -> AttributeMap {
    let Some(node) = node else {
        return AttributeMap::new();
    };
    let group = path
        .group()
        .and_then(|(target, tag)| tree.group(target, tag));
    let column = group.map_or(Column::Ours, |group| group.column());
    let kind = path.kind();
    let value = |row: &Attribute| {
        let value = effective(kind, node.attributes(), row.name, column)?;
        Some((row.name.to_owned(), json_of(&value)))
    };
    kind.attributes().iter().filter_map(value).collect()
}

fn state(tree: &Tree, facts: &Facts, path: &ObjectPath, node: Option<&Node>) -> AttributeMap {
    let mut state = AttributeMap::new();
    let mut tell = |name: &str, value: Json| {
        state.insert(name.to_owned(), value);
    };
    match (path, node) {
        (_, Some(Node::Backstore(store))) => {
            let degraded = facts.degraded.contains(&store.id);
            tell("status", json!(if degraded { "degraded" } else { "ready" }));
            if let Some(size) = facts.sizes.get(&store.id) {
                tell("size_bytes", json!(size));
            }
            tell("luns", json!(tree.luns_of(store.id).count()));
        }
        (ObjectPath::Target(name), _) => {
            let of_target = facts
                .sessions
                .iter()
                .filter(|((target, _), _)| target == name);
            tell("sessions", json!(of_target.map(|(_, n)| n).sum::<usize>()));
        }
        (ObjectPath::Tpg(name, tag), _) => {
            let sessions = facts.sessions.get(&(name.clone(), *tag)).copied();
            tell("sessions", json!(sessions.unwrap_or(0)));
        }
        _ => {}
    }
    state
}

/// The attribute table, for tools that complete, check and document.
pub(super) fn attribute_infos(kind: Option<ObjectKind>) -> Vec<AttributeInfo> {
    let kinds = ObjectKind::ALL.into_iter();
    kinds
        .filter(|one| kind.is_none_or(|wanted| wanted == *one))
        .flat_map(|kind| kind.attributes().iter().map(move |row| info(kind, row)))
        .collect()
}

fn info(kind: ObjectKind, row: &Attribute) -> AttributeInfo {
    let (value_type, choices): (&str, &[&str]) = match row.kind {
        Kind::Bool => ("bool", &[]),
        Kind::Integer { .. } => ("integer", &[]),
        Kind::Size { .. } => ("size", &[]),
        Kind::Text { .. } | Kind::Secret { .. } | Kind::Address { .. } => ("string", &[]),
        Kind::Choice(choices) => ("choice", choices),
    };
    let range = match row.kind {
        Kind::Integer { min, max } | Kind::Size { min, max } => Some(format!("{min}..={max}")),
        Kind::Text { max_bytes } | Kind::Secret { max_bytes } => {
            Some(format!("at most {max_bytes} bytes"))
        }
        Kind::Address { .. } => Some("host:port".to_owned()),
        _ => None,
    };
    let default = |column| row.default_in(column).map(|value| json_of(&value));
    let (ours, lio) = (default(Column::Ours), default(Column::Lio));
    AttributeInfo {
        kind: kind.as_str().to_owned(),
        name: row.name.to_owned(),
        value_type: value_type.to_owned(),
        range,
        choices: choices.iter().map(|one| (*one).to_owned()).collect(),
        lio_default: lio.filter(|lio| ours.as_ref() != Some(lio)),
        default: ours.unwrap_or(Json::Null),
        help: row.help.to_owned(),
        origin: row.origin.to_owned(),
        secret: row.is_secret(),
        create_only: row.takes == Takes::Creation,
        effective: row.takes != Takes::Stored,
    }
}
