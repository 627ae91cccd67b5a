//! Who may log in, see a target or a LUN: one pure function, and the rule that decided.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use iscsi_wire::IscsiName;

use crate::tree::{LogicalUnitNumber, MappedLun, NodeAcl, Portal, PortalGroup, Target, Tree};

/// Which rule let an initiator in, or kept it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// No target has this name.
    UnknownTarget,
    /// The target has no portal group at the address that the initiator connected to.
    NoPortal,
    /// The portal group is disabled.
    GroupDisabled,
    /// No node ACL names the initiator, and the group makes none.
    NoAcl,
    /// A node ACL names the initiator.
    NodeAcl,
    /// The group admits any initiator (`generate_node_acls`).
    AnyInitiator,
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal(pub Rule);

/// The initiator may log in, once it has proved what `group.authentication` asks for.
#[derive(Clone, Debug)]
pub struct Admission {
    pub rule: Rule,
    pub target: Arc<Target>,
    pub group: Arc<PortalGroup>,
    /// `None` where the group admits any initiator.
    pub acl: Option<Arc<NodeAcl>>,
}

impl Admission {
    /// The LUNs this initiator sees, by the number it sees them under.
    #[must_use]
    pub fn lun_map(&self) -> BTreeMap<LogicalUnitNumber, MappedLun> {
        let every = || {
            let identity = |(number, lun): (&LogicalUnitNumber, &crate::Lun)| {
                (
                    *number,
                    MappedLun {
                        lun: *number,
                        write_protect: lun.write_protect,
                    },
                )
            };
            self.group.luns.iter().map(identity).collect()
        };
        let Some(mapped) = self.acl.as_ref().and_then(|acl| acl.mapped_luns.as_ref()) else {
            return every();
        };
        let protect = |m: &MappedLun| {
            let group_lun = self.group.luns.get(&m.lun)?;
            let write_protect = m.write_protect || group_lun.write_protect;
            Some(MappedLun {
                lun: m.lun,
                write_protect,
            })
        };
        mapped
            .iter()
            .filter_map(|(n, m)| protect(m).map(|m| (*n, m)))
            .collect()
    }
}

/// Whether `initiator` may log in to `target` at the local address `local`.
///
/// # Errors
/// The rule that refuses, for the Login status and the log.
pub fn admit(
    tree: &Tree,
    initiator: &IscsiName,
    target: &IscsiName,
    local: SocketAddr,
) -> Result<Admission, Refusal> {
    let target = tree
        .targets
        .get(target)
        .ok_or(Refusal(Rule::UnknownTarget))?;
    let group = serving_group(target, local).ok_or(Refusal(Rule::NoPortal))?;
    if !group.enabled {
        return Err(Refusal(Rule::GroupDisabled));
    }
    let (rule, acl) = match group.acls.get(initiator) {
        Some(acl) => (Rule::NodeAcl, Some(Arc::clone(acl))),
        None if group.generate_node_acls => (Rule::AnyInitiator, None),
        None => return Err(Refusal(Rule::NoAcl)),
    };
    Ok(Admission {
        rule,
        target: Arc::clone(target),
        group: Arc::clone(group),
        acl,
    })
}

/// A target as SendTargets tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VisibleTarget {
    pub name: IscsiName,
    /// `host:port,tag` values (RFC 7143 §13.8).
    pub addresses: Vec<String>,
}

/// What `initiator`, connected to `local`, may be told by SendTargets: targets it may log in to, at addresses it can use.
/// `only` narrows the answer to one target.
pub fn visible_targets(
    tree: &Tree,
    initiator: &IscsiName,
    local: SocketAddr,
    only: Option<&IscsiName>,
) -> Vec<VisibleTarget> {
    let wanted = |name: &IscsiName| only.is_none_or(|only| only == name);
    let targets = tree.targets.values().filter(|t| wanted(&t.name));
    targets
        .filter_map(|target| visible_target(target, initiator, local))
        .collect()
}

fn visible_target(
    target: &Target,
    initiator: &IscsiName,
    local: SocketAddr,
) -> Option<VisibleTarget> {
    let may_see = |g: &&Arc<PortalGroup>| {
        g.enabled && (g.generate_node_acls || g.acls.contains_key(initiator))
    };
    let addresses: Vec<String> = target
        .tpgs
        .values()
        .filter(may_see)
        .flat_map(|group| {
            let told = |portal| told_address(portal, local);
            group
                .portals
                .iter()
                .filter_map(told)
                .map(|a| format!("{a},{}", group.tag))
        })
        .collect();
    (!addresses.is_empty()).then(|| VisibleTarget {
        name: target.name.clone(),
        addresses,
    })
}

/// The address under which an initiator connected to `local` reaches `portal`, if it can.
fn told_address(portal: &Portal, local: SocketAddr) -> Option<String> {
    if let Some(advertise) = &portal.advertise {
        return Some(advertise.clone());
    }
    let (address, asked) = (portal.address.ip(), unmapped(local.ip()));
    if address.is_unspecified() {
        // A wildcard has no address of its own: the one that the asker used works for it.
        let usable = address.is_ipv4() == asked.is_ipv4();
        return usable.then(|| SocketAddr::new(asked, portal.address.port()).to_string());
    }
    // Loopback means the asker's own machine: tell it only to an asker on this one.
    (!address.is_loopback() || asked.is_loopback()).then(|| portal.address.to_string())
}

fn serving_group(target: &Target, local: SocketAddr) -> Option<&Arc<PortalGroup>> {
    let find = |specific: bool| {
        target.tpgs.values().find(|group| {
            let serves =
                |p: &Portal| p.address.ip().is_unspecified() != specific && matches(p, local);
            group.portals.iter().any(serves)
        })
    };
    find(true).or_else(|| find(false))
}

/// The portal of `group` that serves the local address `local`, specific before wildcard.
#[must_use]
pub fn serving_portal(group: &PortalGroup, local: SocketAddr) -> Option<&Portal> {
    let of = |specific: bool| {
        let serves = |p: &&Portal| p.address.ip().is_unspecified() != specific && matches(p, local);
        group.portals.iter().find(serves)
    };
    of(true).or_else(|| of(false))
}

fn matches(portal: &Portal, local: SocketAddr) -> bool {
    let (ours, asked) = (portal.address.ip(), unmapped(local.ip()));
    portal.address.port() == local.port()
        && ours.is_ipv4() == asked.is_ipv4()
        && (ours == asked || ours.is_unspecified())
}

/// An IPv4 address that reached us over an IPv6 socket is an IPv4 address.
fn unmapped(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{Authentication, Lun, ObjectId, SessionSettings};

    pub(crate) fn name(text: &str) -> IscsiName {
        IscsiName::parse(text).expect("a test's name is well formed")
    }

    pub(crate) fn group(tag: u16, portal: &str) -> PortalGroup {
        PortalGroup {
            id: ObjectId(u64::from(tag) + 100),
            tag,
            relative_target_port: 1,
            enabled: true,
            portals: vec![Portal {
                address: portal.parse().expect("a test's address is well formed"),
                advertise: None,
            }],
            luns: BTreeMap::new(),
            acls: BTreeMap::new(),
            generate_node_acls: false,
            authentication: Authentication::default(),
            settings: SessionSettings::default(),
        }
    }

    pub(crate) fn tree_of(groups: Vec<PortalGroup>) -> Tree {
        let name = name("iqn.2026-11.org.example:t");
        let tpgs = groups.into_iter().map(|g| (g.tag, Arc::new(g))).collect();
        let target = Target {
            id: ObjectId(1),
            name: name.clone(),
            alias: None,
            tpgs,
        };
        Tree {
            targets: BTreeMap::from([(name, Arc::new(target))]),
            ..Tree::default()
        }
    }

    fn initiator() -> IscsiName {
        name("iqn.2026-11.org.example:host1")
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("a test's address is well formed")
    }

    fn rule_of(tree: &Tree, local: &str) -> Rule {
        let target = name("iqn.2026-11.org.example:t");
        match admit(tree, &initiator(), &target, at(local)) {
            Ok(admission) => admission.rule,
            Err(Refusal(rule)) => rule,
        }
    }

    #[test]
    fn admit_each_rule_decides_alone() {
        let closed = tree_of(vec![group(1, "127.0.0.1:3260")]);
        assert_eq!(rule_of(&closed, "127.0.0.1:3260"), Rule::NoAcl);
        assert_eq!(rule_of(&closed, "127.0.0.2:3260"), Rule::NoPortal);
        assert_eq!(rule_of(&closed, "127.0.0.1:3261"), Rule::NoPortal);
        assert_eq!(
            rule_of(&Tree::default(), "127.0.0.1:3260"),
            Rule::UnknownTarget
        );

        let open = PortalGroup {
            generate_node_acls: true,
            ..group(1, "0.0.0.0:3260")
        };
        assert_eq!(
            rule_of(&tree_of(vec![open.clone()]), "10.0.0.1:3260"),
            Rule::AnyInitiator
        );
        assert_eq!(
            rule_of(&tree_of(vec![open.clone()]), "[::1]:3260"),
            Rule::NoPortal
        );
        assert_eq!(
            rule_of(&tree_of(vec![open.clone()]), "[::ffff:10.0.0.1]:3260"),
            Rule::AnyInitiator
        );

        let disabled = PortalGroup {
            enabled: false,
            ..open
        };
        assert_eq!(
            rule_of(&tree_of(vec![disabled]), "10.0.0.1:3260"),
            Rule::GroupDisabled
        );
    }

    #[test]
    fn admit_specific_portal_wins_over_wildcard() {
        let mut specific = group(2, "10.0.0.1:3260");
        specific.generate_node_acls = true;
        let wildcard = group(1, "0.0.0.0:3260");
        let tree = tree_of(vec![wildcard, specific]);
        assert_eq!(rule_of(&tree, "10.0.0.1:3260"), Rule::AnyInitiator);
        assert_eq!(rule_of(&tree, "10.0.0.2:3260"), Rule::NoAcl);
    }

    #[test]
    fn lun_map_of_an_acl_keeps_the_groups_write_protect() {
        let lun = |wp| Lun {
            id: ObjectId(5),
            backstore: ObjectId(6),
            write_protect: wp,
        };
        let mut g = group(1, "127.0.0.1:3260");
        g.luns.insert(LogicalUnitNumber(0), lun(true));
        g.luns.insert(LogicalUnitNumber(1), lun(false));
        let mapped = |n| MappedLun {
            lun: LogicalUnitNumber(n),
            write_protect: false,
        };
        let acl = NodeAcl {
            id: ObjectId(7),
            initiator: initiator(),
            mapped_luns: Some(BTreeMap::from([
                (LogicalUnitNumber(7), mapped(0)),
                (LogicalUnitNumber(8), mapped(1)),
                (LogicalUnitNumber(9), mapped(44)),
            ])),
            credentials: None,
        };
        g.acls.insert(initiator(), Arc::new(acl));
        let tree = tree_of(vec![g]);
        let target = name("iqn.2026-11.org.example:t");
        let admission =
            admit(&tree, &initiator(), &target, at("127.0.0.1:3260")).expect("admitted");
        let map = admission.lun_map();
        assert_eq!(
            map.len(),
            2,
            "a mapping of a LUN that is gone shows nothing"
        );
        assert!(map[&LogicalUnitNumber(7)].write_protect);
        assert!(!map[&LogicalUnitNumber(8)].write_protect);
    }

    fn told(portal: &str, advertise: Option<&str>, local: &str) -> Vec<String> {
        let mut g = group(3, portal);
        g.generate_node_acls = true;
        g.portals[0].advertise = advertise.map(str::to_owned);
        let found = visible_targets(&tree_of(vec![g]), &initiator(), at(local), None);
        found.into_iter().flat_map(|t| t.addresses).collect()
    }

    #[test]
    fn visible_targets_tell_only_addresses_the_asker_can_use() {
        assert_eq!(
            told("0.0.0.0:3260", None, "10.1.2.3:3260"),
            ["10.1.2.3:3260,3"]
        );
        assert_eq!(
            told("[::]:3260", None, "[fe80::1]:3260"),
            ["[fe80::1]:3260,3"]
        );
        assert!(told("[::]:3260", None, "10.1.2.3:3260").is_empty());
        assert!(told("127.0.0.1:3260", None, "10.1.2.3:3261").is_empty());
        assert_eq!(
            told("127.0.0.1:3260", None, "127.0.0.1:3261"),
            ["127.0.0.1:3260,3"]
        );
        assert_eq!(
            told("10.1.2.3:3260", None, "10.9.9.9:3260"),
            ["10.1.2.3:3260,3"]
        );
        assert_eq!(
            told(
                "0.0.0.0:3260",
                Some("san.example.org:3260"),
                "10.1.2.3:3260"
            ),
            ["san.example.org:3260,3"]
        );
    }

    #[test]
    fn visible_targets_hide_what_the_initiator_may_not_use() {
        let tree = tree_of(vec![group(1, "127.0.0.1:3260")]);
        assert!(visible_targets(&tree, &initiator(), at("127.0.0.1:3260"), None).is_empty());
    }

    #[test]
    fn debug_of_a_credential_hides_the_secret() {
        let c = crate::ChapCredential {
            user: "u".into(),
            secret: b"verysecret12".to_vec(),
        };
        assert!(!format!("{c:?}").contains("verysecret"));
    }
}
