//! Where initiators that log in are sent to instead (RFC 7143 §11.13.5): what a target or a portal group says of itself.
//!
//! Knows nothing of what an authentication helper says: that is between it and the login.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use iscsi_wire::{Host, PortalAddress, Redirection};

use crate::admit::Admission;
use crate::attributes::{Column, ObjectKind, effective_bool, text_of};
use crate::path::ObjectPath;
use crate::tree::{PortalGroup, Target};
use crate::value::Attributes;

/// A redirection as the tree has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    pub redirection: Redirection,
    /// Only an initiator that has proved itself is told; `false`: any that is admitted.
    pub after_authentication: bool,
    /// The object that says so.
    pub path: ObjectPath,
}

impl Target {
    /// Where logins to this portal group of it are sent to: what the group says, else what the target says.
    #[must_use]
    pub fn redirect(&self, group: &PortalGroup) -> Option<Redirect> {
        let of_group = || ObjectPath::Tpg(self.name.clone(), group.tag);
        let of_target = || ObjectPath::Target(self.name.clone());
        read(ObjectKind::Tpg, &group.attributes, of_group)
            .or_else(|| read(ObjectKind::Target, &self.attributes, of_target))
    }

    /// Whether any login to it ends nowhere, sent in a circle by its own portal groups. What other machines do is not
    /// known here.
    pub(crate) fn redirects_in_a_circle(&self) -> bool {
        let mut lead_out = BTreeSet::new();
        self.tpgs.values().any(|first| {
            let (mut on_the_way, mut at) = (BTreeSet::new(), &**first);
            while !lead_out.contains(&at.tag) {
                if !on_the_way.insert(at.tag) {
                    return true;
                }
                let redirect = self.redirect(at);
                match redirect.and_then(|redirect| self.group_at(&redirect.redirection.to)) {
                    Some(next) => at = next,
                    None => break,
                }
            }
            lead_out.append(&mut on_the_way);
            false
        })
    }

    /// The portal group that initiators reach at an address, as far as that can be told from the tree.
    fn group_at(&self, address: &PortalAddress) -> Option<&PortalGroup> {
        let socket = match &address.host {
            Host::Ip(ip) => Some(SocketAddr::new(*ip, address.port)),
            Host::Dns(_) => None,
        };
        let text = address.to_string();
        let leads_here = |group: &&std::sync::Arc<PortalGroup>| {
            group
                .portals
                .values()
                .any(|portal| match portal.advertise() {
                    Some(advertise) => advertise == text,
                    None => Some(portal.address) == socket,
                })
        };
        self.tpgs.values().find(leads_here).map(|group| &**group)
    }
}

impl Admission {
    /// Where this login is sent to.
    #[must_use]
    pub fn redirect(&self) -> Option<Redirect> {
        self.target.redirect(&self.group)
    }
}

fn read(kind: ObjectKind, of: &Attributes, path: impl FnOnce() -> ObjectPath) -> Option<Redirect> {
    let to = PortalAddress::parse(text_of(of, "redirect.address")?).ok()?;
    let flag = |name| effective_bool(kind, of, name, Column::Ours);
    Some(Redirect {
        redirection: Redirection {
            to,
            permanent: flag("redirect.permanent"),
        },
        after_authentication: flag("redirect.after_authentication"),
        path: path(),
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::{at, change, name, plan, tree_of};
    use crate::tree::Tree;

    const T: &str = "/targets/iqn.2026-11.org.example:t";

    fn tree() -> Tree {
        let mut lines = vec![format!("create {T}")];
        for tag in 1..=2 {
            lines.push(format!("create {T}/tpgs/{tag} generate_node_acls=true"));
            lines.push(format!("create {T}/tpgs/{tag}/portals/192.0.2.{tag}:3260"));
        }
        tree_of(&lines)
    }

    fn told(tree: &Tree, tag: u8) -> Option<String> {
        let (initiator, target) = (name("iqn.2026-11.org.example:i"), name(&T[9..]));
        let local = at(&format!("192.0.2.{tag}:3260"));
        let admission = crate::admit(tree, &initiator, &target, local).expect("admitted");
        let redirect = admission.redirect()?;
        let when = if redirect.after_authentication {
            " after"
        } else {
            ""
        };
        Some(format!(
            "{}{when} by {}",
            redirect.redirection, redirect.path
        ))
    }

    #[test]
    fn redirect_of_the_group_wins_over_the_targets() {
        let tree = tree();
        assert_eq!(told(&tree, 1), None);
        let moved = change(
            &tree,
            &[
                format!("set {T} redirect.address=san.example.org redirect.permanent=yes"),
                format!("set {T}/tpgs/2 redirect.address=[2001:db8::1]:3261"),
                format!("set {T}/tpgs/2 redirect.after_authentication=yes"),
            ],
        );
        let by_target = format!("moved permanently to san.example.org:3260 by {T}");
        assert_eq!(told(&moved, 1), Some(by_target));
        let by_group = format!("moved temporarily to [2001:db8::1]:3261 after by {T}/tpgs/2");
        assert_eq!(told(&moved, 2), Some(by_group));
    }

    #[test]
    fn plan_a_circle_of_redirections_is_refused_and_a_way_through_taken() {
        let tree = tree();
        let first = format!("set {T}/tpgs/1 redirect.address=192.0.2.2");
        let one_way = change(&tree, std::slice::from_ref(&first));
        for circle in [
            vec![format!("set {T}/tpgs/2 redirect.address=192.0.2.1:3260")],
            vec![format!("set {T} redirect.address=192.0.2.2")],
            vec![
                format!("set {T} redirect.address=san.example.org"),
                format!("create {T}/tpgs/2/portals/192.0.2.9:3260 advertise=san.example.org:3260"),
            ],
        ] {
            let mistakes = plan(&one_way, &circle).expect_err("a circle");
            assert!(mistakes[0].error.reason.contains("circle"), "{mistakes:?}");
        }
        let onwards = format!("set {T}/tpgs/2 redirect.address=192.0.2.3");
        assert!(told(&change(&one_way, &[onwards]), 2).is_some());
    }
}
