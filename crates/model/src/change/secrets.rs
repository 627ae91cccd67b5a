//! CHAP secrets that stand at several names (RFC 7143 §9.2.1: one of several initiators or targets should not be): warned of where a
//! change sets such a one, not refused, since clusters are set up so.

use std::collections::BTreeMap;

use super::plan::Work;
use crate::attributes::{secret_of, text_of};
use crate::path::ObjectPath;
use crate::tree::Tree;
use crate::value::Attributes;

/// Both directions: what proves an initiator, and what proves the target to it.
const PAIRS: [(&str, &str); 2] = [
    ("chap.user", "chap.secret"),
    ("mutual_chap.user", "mutual_chap.secret"),
];

/// Where a secret stands.
struct Holder {
    path: ObjectPath,
    secret: &'static str,
    user: String,
}

/// Warnings of secrets that these changes set and that stand elsewhere too.
pub(super) fn warn_of_shared(work: &Work<'_>, base: &Tree, warnings: &mut Vec<String>) {
    let mut fresh: BTreeMap<Vec<u8>, Vec<Holder>> = BTreeMap::new();
    for path in work.touched.keys() {
        let (before, after) = (base.find(path), work.tree.find(path));
        let Some(after) = after else { continue };
        for (_, name) in PAIRS {
            let old = before
                .as_ref()
                .and_then(|node| secret_of(node.attributes(), name));
            let new = secret_of(after.attributes(), name);
            if let Some(new) = new.filter(|_| new != old) {
                fresh.insert(new.expose().to_vec(), Vec::new());
            }
        }
    }
    if fresh.is_empty() {
        // The whole tree is looked through for nothing less.
        return;
    }
    let tree = &work.tree;
    if let Some(node) = tree.find(&ObjectPath::Discovery) {
        note(&mut fresh, &ObjectPath::Discovery, node.attributes());
    }
    for (target, group) in tree.groups() {
        let path = ObjectPath::Tpg(target.name.clone(), group.tag);
        note(&mut fresh, &path, &group.attributes);
        for acl in group.acls.values() {
            let path = ObjectPath::Acl(target.name.clone(), group.tag, acl.initiator.clone());
            note(&mut fresh, &path, &acl.attributes);
        }
    }
    for holders in fresh.values() {
        if let [first, others @ ..] = &holders[..]
            && let Some(other) = others.iter().find(|other| is_another(first, other))
        {
            let more = match others.iter().filter(|one| is_another(first, one)).count() {
                1 => String::new(),
                many => format!(" and of {} more", many - 1),
            };
            warnings.push(format!(
                "{}: {} is also the {} of {}{more}: give each a secret of its own (RFC 7143 §9.2.1)",
                first.path, first.secret, other.secret, other.path
            ));
        }
    }
}

fn note(found: &mut BTreeMap<Vec<u8>, Vec<Holder>>, path: &ObjectPath, attributes: &Attributes) {
    for (user, secret) in PAIRS {
        let holders = secret_of(attributes, secret).and_then(|one| found.get_mut(one.expose()));
        if let Some(holders) = holders {
            holders.push(Holder {
                path: path.clone(),
                secret,
                user: text_of(attributes, user).unwrap_or_default().to_owned(),
            });
        }
    }
}

/// Whether two places are of different initiators or targets: other names, the other direction, or the ACLs of two initiators.
fn is_another(one: &Holder, other: &Holder) -> bool {
    let initiators = match (&one.path, &other.path) {
        (ObjectPath::Acl(_, _, a), ObjectPath::Acl(_, _, b)) => a != b,
        _ => false,
    };
    let proves_initiators = one.secret == PAIRS[0].1;
    one.user != other.user || one.secret != other.secret || (proves_initiators && initiators)
}
