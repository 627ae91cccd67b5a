//! What a tree must be as a whole, looked at only where a change touched it.

use std::net::SocketAddr;

use iscsi_wire::IscsiName;

use super::plan::{Mistake, Work};
use crate::attributes::{secret_of, text_of};
use crate::error::{ConfigCode, ConfigError};
use crate::path::ObjectPath;
use crate::tree::{Backstore, BackstoreType, Node, PortalGroup, Target, Tree};
use crate::value::{Attributes, Value};

/// Every mistake that shows only when all changes are done.
pub(super) fn check(work: &Work<'_>, base: &Tree, warnings: &mut Vec<String>) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for (path, change) in &work.touched {
        let mut found = Vec::new();
        match (path, work.tree.find(path)) {
            (ObjectPath::Backstore(..), node) => {
                check_gone(work, base, path, node.as_ref(), &mut found);
                if let Some(Node::Backstore(store)) = node {
                    check_backstore(path, &store, base, &mut found);
                }
            }
            (ObjectPath::Tpg(target, tag), Some(Node::Tpg(group))) => {
                check_port_id(path, &work.tree, (target, *tag), &group, &mut found);
                check_credentials(path, &group.attributes, warnings, &mut found);
                check_redirects(path, work.tree.target(target), &mut found);
                warn_of_locked_out(path, (base, &work.tree), &group, warnings);
            }
            (ObjectPath::Target(_), Some(Node::Target(target))) => {
                check_redirects(path, Some(&target), &mut found);
            }
            (ObjectPath::Portal(target, tag, at), Some(Node::Portal(_))) => {
                if let Some(target) = work.tree.target(target) {
                    check_portal(path, target, *tag, *at, &mut found);
                    check_redirects(path, Some(target), &mut found);
                }
            }
            (ObjectPath::Lun(..), Some(Node::Lun(lun)))
                if work.tree.backstore_by_id(lun.backstore).is_none() =>
            {
                found.push(no_such(
                    path,
                    "its backstore does not exist",
                    "create the backstore first",
                ));
            }
            (ObjectPath::MappedLun(target, tag, ..), Some(Node::MappedLun(mapped))) => {
                let group = work.tree.group(target, *tag);
                if group.is_none_or(|group| !group.luns.contains_key(&mapped.lun)) {
                    found.push(no_such(
                        path,
                        "it maps a LUN that the portal group does not have",
                        "map one of the group's LUNs",
                    ));
                }
            }
            (ObjectPath::Acl(target, tag, _), Some(Node::Acl(acl))) => {
                if let Some(group) = work.tree.group(target, *tag) {
                    check_acl(path, (&work.tree, group, &acl), warnings, &mut found);
                }
            }
            (ObjectPath::Daemon, Some(node)) => check_entity(path, node.attributes(), &mut found),
            (ObjectPath::Discovery, Some(node)) => {
                check_credentials(path, node.attributes(), warnings, &mut found);
            }
            _ => {}
        }
        mistakes.extend(found.into_iter().map(|error| Mistake {
            change: Some(*change),
            attribute: None,
            error,
        }));
    }
    mistakes
}

fn check_port_id(
    path: &ObjectPath,
    tree: &Tree,
    (target, tag): (&IscsiName, u16),
    group: &PortalGroup,
    found: &mut Vec<ConfigError>,
) {
    let held = tree.indexes.ports.get(&group.relative_target_port());
    if held.is_none_or(|(holder, its)| holder != target || *its != tag) {
        found.push(conflict(
            path,
            "another portal group has the same relative target port identifier",
            "leave relative_target_port out, and one is found",
        ));
    }
}

fn check_backstore(
    path: &ObjectPath,
    store: &Backstore,
    base: &Tree,
    found: &mut Vec<ConfigError>,
) {
    check_cdrom(path, store, found);
    let block = u64::from(store.block_size_bytes());
    if !store.is_cdrom() && !matches!(block, 512 | 4096) {
        found.push(ConfigError::new(
            path,
            ConfigCode::OutOfRange,
            "the block size is neither 512 nor 4096",
            "use one of the two",
        ));
    } else if store.size_bytes().is_some_and(|bytes| bytes % block != 0) {
        found.push(ConfigError::new(
            path,
            ConfigCode::OutOfRange,
            "the size is not a whole number of blocks",
            format!("use a multiple of {block} bytes"),
        ));
    }
    let before = match base.find(path) {
        Some(Node::Backstore(before)) if before.id == store.id => before.size_bytes(),
        _ => None,
    };
    if let (Some(before), Some(now)) = (before, store.size_bytes())
        && now < before
    {
        found.push(ConfigError::new(
            path,
            ConfigCode::WouldShrink,
            format!("it would shrink from {before} to {now} bytes, and lose what is behind"),
            "make it larger, or delete it and create it anew",
        ));
    }
    if let Some(naa) = text_of(&store.attributes, "naa")
        && (naa.len() != 16 || u64::from_str_radix(naa, 16).is_err())
    {
        found.push(ConfigError::new(
            path,
            ConfigCode::BadValue,
            "naa is not 16 hexadecimal digits",
            "leave it out, and one is found",
        ));
    }
}

/// A disc is what stands in a file or on a device.
fn check_cdrom(path: &ObjectPath, store: &Backstore, found: &mut Vec<ConfigError>) {
    let has_disc = matches!(store.kind, BackstoreType::File | BackstoreType::Block);
    if store.is_cdrom() && !has_disc {
        found.push(conflict(
            path,
            "a cdrom shows a file or a device",
            "create it as one of these",
        ));
    }
    if store.is_cdrom() && has_disc && store.attributes.contains_key("size") {
        found.push(conflict(
            path,
            "the size of a disc is that of its file",
            "leave size out",
        ));
    }
    if !store.is_cdrom() && store.attributes.get("ejected") == Some(&Value::Bool(true)) {
        found.push(conflict(
            path,
            "only the disc of a cdrom can be ejected",
            "leave ejected out",
        ));
    }
}

/// A backstore that went, perhaps for another of its name: nothing may show it.
fn check_gone(
    work: &Work<'_>,
    base: &Tree,
    path: &ObjectPath,
    now: Option<&Node>,
    found: &mut Vec<ConfigError>,
) {
    let Some(Node::Backstore(gone)) = base.find(path) else {
        return;
    };
    if now.and_then(Node::id) == Some(gone.id) {
        return;
    }
    if let Some((target, tag, number)) = work.tree.luns_of(gone.id).next() {
        let user = ObjectPath::Lun(target.clone(), *tag, *number);
        found.push(ConfigError::new(
            path,
            ConfigCode::InUse,
            format!("{user} shows it"),
            "delete that LUN first, or delete with cascade",
        ));
    }
}

/// Within a target, the group is found from the local address alone: two groups whose portals can match one address would
/// leave it to chance.
fn check_portal(
    path: &ObjectPath,
    target: &Target,
    tag: u16,
    at: SocketAddr,
    found: &mut Vec<ConfigError>,
) {
    let others = target.tpgs.values().filter(|group| group.tag != tag);
    let clash = others
        .flat_map(|group| group.portals.keys())
        .any(|other| at.port() != 0 && addresses_overlap(*other, at));
    if clash {
        found.push(conflict(
            path,
            "another portal group of the target answers at the same local address",
            "use another address or port",
        ));
    }
}

/// An initiator follows a redirection, and one that comes back to where it was it follows without end.
fn check_redirects(
    path: &ObjectPath,
    target: Option<&std::sync::Arc<Target>>,
    found: &mut Vec<ConfigError>,
) {
    if target.is_some_and(|target| target.redirects_in_a_circle()) {
        found.push(conflict(
            path,
            "the target's redirections lead initiators in a circle",
            "set redirect.address to a portal that is not redirected itself",
        ));
    }
}

fn addresses_overlap(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port()
        && a.is_ipv4() == b.is_ipv4()
        && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}

fn check_credentials(
    path: &ObjectPath,
    attributes: &Attributes,
    warnings: &mut Vec<String>,
    found: &mut Vec<ConfigError>,
) {
    for (user, secret) in [
        ("chap.user", "chap.secret"),
        ("mutual_chap.user", "mutual_chap.secret"),
    ] {
        match (text_of(attributes, user), secret_of(attributes, secret)) {
            (Some(_), None) => {
                warnings.push(format!("{path}: {user} has no {secret}: nobody can use it"))
            }
            (None, Some(_)) => {
                warnings.push(format!("{path}: {secret} has no {user}: nobody can use it"))
            }
            // RFC 7143 §9.2.1: shorter secrets are for use with IPsec only.
            (Some(_), Some(one)) if one.is_short() => {
                warnings.push(format!(
                    "{path}: {secret} is shorter than 12 bytes, and easily guessed"
                ));
            }
            _ => {}
        }
    }
    let (ours, theirs) = (
        secret_of(attributes, "chap.secret"),
        secret_of(attributes, "mutual_chap.secret"),
    );
    if ours.is_some() && ours == theirs {
        found.push(conflict(
            path,
            "one secret serves both directions",
            "give the target a secret of its own (RFC 7143 §9.2.1)",
        ));
    }
}

/// RFC 4171 §6.2.1: an entity identifier has 3 bytes at least, is normalised (so only what needs no normalising is taken), and
/// does not begin as those that servers give out.
fn check_entity(path: &ObjectPath, attributes: &Attributes, found: &mut Vec<ConfigError>) {
    let Some(entity) = text_of(attributes, "isns.entity") else {
        return;
    };
    let legal = |c: char| c.is_ascii_graphic() && !c.is_ascii_uppercase();
    if entity.len() < 3 || !entity.chars().all(legal) || entity.starts_with("isns:") {
        found.push(ConfigError::new(
            path,
            ConfigCode::BadValue,
            "isns.entity is no identifier that an iSNS server takes from a client",
            "use the machine's DNS name in lower case, such as san1.example.org",
        ));
    }
}

fn check_acl(
    path: &ObjectPath,
    (tree, group, acl): (&Tree, &PortalGroup, &crate::NodeAcl),
    warnings: &mut Vec<String>,
    found: &mut Vec<ConfigError>,
) {
    check_credentials(path, &acl.attributes, warnings, found);
    if !acl.luns.is_empty() && group.shows_every_lun(acl) {
        found.push(conflict(
            path,
            "default_luns shows every LUN of the group, and LUNs are mapped",
            "delete the mapped LUNs, or leave default_luns false",
        ));
    }
    let requirement = tree.requirement(group, Some(acl));
    if requirement.required && requirement.credentials.is_none() && requirement.helper.is_none() {
        warnings.push(format!(
            "{path}: CHAP is required, and it has no credentials: this initiator cannot log in"
        ));
    } else if !requirement.required && requirement.credentials.is_some() {
        warnings.push(format!(
            "{path}: it has credentials, and CHAP is not required: set authentication=chap on the portal group"
        ));
    }
}

/// A group that begins to ask for CHAP locks out whom it has no credentials of.
fn warn_of_locked_out(
    path: &ObjectPath,
    (base, tree): (&Tree, &Tree),
    group: &PortalGroup,
    warnings: &mut Vec<String>,
) {
    let asks = |group: &PortalGroup| {
        let value = group.effective("authentication");
        value.is_some_and(|value| value.as_text() == Some("chap"))
    };
    let Some(Node::Tpg(before)) = base.find(path) else {
        return;
    };
    if asks(&before) || !asks(group) {
        return;
    }
    let is_locked_out = |acl: &&std::sync::Arc<crate::NodeAcl>| {
        let requirement = tree.requirement(group, Some(acl));
        requirement.required && requirement.credentials.is_none() && requirement.helper.is_none()
    };
    let mut locked_out = group.acls.values().filter(is_locked_out);
    if let Some(first) = locked_out.next() {
        let others = match locked_out.count() {
            0 => String::new(),
            count => format!(" and {count} others"),
        };
        warnings.push(format!(
            "{path}: CHAP is required now, and its ACL for {}{others} has no credentials: who has none cannot log in",
            first.initiator
        ));
    }
}

fn conflict(path: &ObjectPath, reason: &'static str, hint: &'static str) -> ConfigError {
    ConfigError::new(path, ConfigCode::Conflict, reason, hint)
}

fn no_such(path: &ObjectPath, reason: &'static str, hint: &'static str) -> ConfigError {
    ConfigError::new(path, ConfigCode::NoSuchObject, reason, hint)
}
