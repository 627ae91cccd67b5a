//! ACLs with one tag: a group for targetcli, whose members are set and mapped together.

use anyhow::{Result, bail};
use control_api::{AttributeMap, Change, Object};
use serde_json::Value;

use super::{Snapshot, Wish, make, map, text};
use crate::shell::path::{child, last_name};

/// The ACLs below `acls` that a name or a tag names.
pub(crate) fn tagged<'a>(tree: &'a Snapshot, acls: &str, name: &str) -> Vec<&'a Object> {
    let is = |acl: &&Object| {
        last_name(&acl.path).eq_ignore_ascii_case(name) || text(acl, "tag") == Some(name)
    };
    tree.children(acls).iter().filter(is).collect()
}

/// Gives a tag to ACLs. If it has members already, the new ones take over what those have.
///
/// # Errors
/// Nothing is named so, or the tag cannot be told from a name.
pub(crate) fn tag(acls: &str, name: &str, new_tag: &str, tree: &Snapshot) -> Result<Wish> {
    // Every initiator name has a dot.
    if new_tag.is_empty() || new_tag.contains(['.', '/']) {
        bail!("{new_tag:?}: no tag; use a word without dots and slashes");
    }
    let joining = tagged(tree, acls, name);
    if joining.is_empty() {
        bail!("{name}: no ACL has this name or tag; `ls {acls}` lists them");
    }
    let is_joining = |acl: &Object| joining.iter().any(|one| one.path == acl.path);
    let members = tagged(tree, acls, new_tag);
    let model = members.into_iter().find(|acl| !is_joining(acl));
    let mut wish = Wish::default();
    for acl in joining {
        let mut attributes = map([("tag", new_tag.into())]);
        if let Some(model) = model {
            adopt(tree, acl, model, &mut attributes, &mut wish);
        }
        wish.changes.push(Change::Set {
            path: acl.path.clone(),
            attributes,
        });
    }
    Ok(wish)
}

/// The settings and LUNs of another ACL, but for its CHAP name and secrets: nobody is told those.
fn adopt(
    tree: &Snapshot,
    acl: &Object,
    model: &Object,
    attributes: &mut AttributeMap,
    wish: &mut Wish,
) {
    let copied = |name: &&String| !name.contains("chap.") && *name != "tag";
    for name in acl.set.iter().filter(copied) {
        attributes.insert(name.clone(), Value::Null);
    }
    for name in model.set.iter().filter(copied) {
        if let Some(value) = model.attributes.get(name) {
            attributes.insert(name.clone(), value.clone());
        }
    }
    if model.set.iter().any(|name| name.contains("chap.")) {
        wish.notes.push(format!(
            "{} keeps its own CHAP names and secrets: those of {} are not readable; set them with `set auth`",
            last_name(&acl.path),
            last_name(&model.path)
        ));
    }
    for mapped in tree.children(&child(&acl.path, "luns")) {
        wish.changes.push(Change::Delete {
            path: mapped.path.clone(),
            cascade: true,
        });
    }
    for mapped in tree.children(&child(&model.path, "luns")) {
        let at = child(&child(&acl.path, "luns"), last_name(&mapped.path));
        wish.changes.push(make(at, mapped.attributes.clone()));
    }
}

/// Takes the tag from ACLs.
///
/// # Errors
/// Nothing is named so.
pub(crate) fn untag(acls: &str, name: &str, tree: &Snapshot) -> Result<Wish> {
    let named = tagged(tree, acls, name);
    if named.is_empty() {
        bail!("{name}: no ACL has this name or tag; `ls {acls}` lists them");
    }
    let untag = |acl: &Object| Change::Set {
        path: acl.path.clone(),
        attributes: map([("tag", Value::Null)]),
    };
    Ok(Wish::of(named.into_iter().map(untag).collect()))
}
