//! Who may log in, see a target or a LUN: one pure function, and the rules that decided.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use iscsi_wire::IscsiName;

use crate::path::ObjectPath;
use crate::tree::{LogicalUnitNumber, NodeAcl, ObjectId, Portal, PortalGroup, Target, Tree};

/// A rule that lets an initiator in, keeps it out, or passes the question on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// No target has this name.
    UnknownTarget,
    /// The target exists.
    Target,
    /// The target has no portal group at the address that the initiator connected to.
    NoPortal,
    /// A portal of the group answers there.
    Portal,
    /// The portal group is disabled.
    GroupDisabled,
    /// The portal group is enabled.
    GroupEnabled,
    /// No node ACL names the initiator, and the group makes none.
    NoAcl,
    /// A node ACL names the initiator.
    NodeAcl,
    /// The group admits any initiator (`generate_node_acls`).
    AnyInitiator,
    /// No node ACL names the initiator: it is let in where the authentication helper names one to serve it by.
    HelperDecides,
}

impl Rule {
    /// A stable name, for logs and scripts.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownTarget => "unknown_target",
            Self::Target => "target",
            Self::NoPortal => "no_portal",
            Self::Portal => "portal",
            Self::GroupDisabled => "group_disabled",
            Self::GroupEnabled => "group_enabled",
            Self::NoAcl => "no_acl",
            Self::NodeAcl => "node_acl",
            Self::AnyInitiator => "any_initiator",
            Self::HelperDecides => "helper_decides",
        }
    }

    /// What it says, for people.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::UnknownTarget => "no target has this name",
            Self::Target => "the target exists",
            Self::NoPortal => "no portal of the target answers at this address",
            Self::Portal => "a portal of the target answers at this address",
            Self::GroupDisabled => "the portal group is disabled",
            Self::GroupEnabled => "the portal group is enabled",
            Self::NoAcl => "no ACL names the initiator, and generate_node_acls is off",
            Self::NodeAcl => "an ACL names the initiator",
            Self::AnyInitiator => "no ACL names the initiator; generate_node_acls lets any in",
            Self::HelperDecides => {
                "no ACL names the initiator; the authentication helper may name one to serve it by"
            }
        }
    }

    /// Whether it keeps the initiator out.
    #[must_use]
    pub fn refuses(self) -> bool {
        matches!(
            self,
            Self::UnknownTarget | Self::NoPortal | Self::GroupDisabled | Self::NoAcl
        )
    }
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal(pub Rule);

/// One rule as it was applied, for whoever explains a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub rule: Rule,
    /// The object that the rule looked at.
    pub path: Option<ObjectPath>,
}

/// The initiator may log in, once it has proved what [`Tree::requirement`] asks for.
#[derive(Clone, Debug)]
pub struct Admission {
    pub rule: Rule,
    pub target: Arc<Target>,
    pub group: Arc<PortalGroup>,
    /// The portal that it came in through.
    pub portal: Arc<Portal>,
    /// `None` where the group admits any initiator.
    pub acl: Option<Arc<NodeAcl>>,
}

/// A LUN as one initiator sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VisibleLun {
    /// The number that it sees.
    pub number: LogicalUnitNumber,
    /// The group's LUN behind it.
    pub lun: LogicalUnitNumber,
    pub backstore: ObjectId,
    pub write_protect: bool,
}

impl Admission {
    /// The same, served by the ACL that the authentication helper named; without a name, by what the tree alone says.
    ///
    /// # Errors
    /// There is no such ACL, or one is needed and none was named.
    pub fn served_by(self, named: Option<&IscsiName>) -> Result<Self, Refusal> {
        match named.map(|name| self.group.acls.get(name).cloned()) {
            Some(Some(acl)) => Ok(Self {
                rule: Rule::NodeAcl,
                acl: Some(acl),
                ..self
            }),
            Some(None) => Err(Refusal(Rule::NoAcl)),
            None if self.rule == Rule::HelperDecides => Err(Refusal(Rule::NoAcl)),
            None => Ok(self),
        }
    }

    /// The LUNs this initiator sees, by the number it sees them under.
    #[must_use]
    pub fn luns(&self) -> Vec<VisibleLun> {
        visible_luns(&self.group, self.acl.as_deref())
    }
}

/// The LUNs that an initiator with this ACL, or with none, sees in a group, by the number it sees them under.
#[must_use]
pub fn visible_luns(group: &PortalGroup, acl: Option<&NodeAcl>) -> Vec<VisibleLun> {
    let protect = match acl {
        Some(_) => group.prod_mode_write_protect(),
        None => group.demo_mode_write_protect(),
    };
    match acl {
        Some(acl) if !group.shows_every_lun(acl) => {
            let mapped = acl.luns.values().filter_map(|mapped| {
                let lun = group.luns.get(&mapped.lun)?;
                Some(VisibleLun {
                    number: mapped.number,
                    lun: mapped.lun,
                    backstore: lun.backstore,
                    write_protect: mapped.write_protect() || lun.write_protect(),
                })
            });
            mapped.collect()
        }
        _ => {
            let every = group.luns.values().map(|lun| VisibleLun {
                number: lun.number,
                lun: lun.number,
                backstore: lun.backstore,
                write_protect: lun.write_protect() || protect,
            });
            every.collect()
        }
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
    admit_with(tree, initiator, target, local, |_, _| {})
}

/// As [`admit`], with each rule as it was applied: what decides a login explains it.
pub fn explain(
    tree: &Tree,
    initiator: &IscsiName,
    target: &IscsiName,
    local: SocketAddr,
) -> (Result<Admission, Refusal>, Vec<Step>) {
    let mut steps = Vec::new();
    let note = |rule, path: &dyn Fn() -> ObjectPath| {
        steps.push(Step {
            rule,
            path: Some(path()),
        });
    };
    let result = admit_with(tree, initiator, target, local, note);
    (result, steps)
}

fn admit_with(
    tree: &Tree,
    initiator: &IscsiName,
    name: &IscsiName,
    local: SocketAddr,
    mut note: impl FnMut(Rule, &dyn Fn() -> ObjectPath),
) -> Result<Admission, Refusal> {
    let mut refuse = |rule, path: &dyn Fn() -> ObjectPath| {
        note(rule, path);
        if rule.refuses() {
            Err(Refusal(rule))
        } else {
            Ok(rule)
        }
    };
    let at_target = || ObjectPath::Target(name.clone());
    let Some(target) = tree.target(name) else {
        refuse(Rule::UnknownTarget, &at_target)?;
        return Err(Refusal(Rule::UnknownTarget));
    };
    refuse(Rule::Target, &at_target)?;
    let Some((group, portal)) = serving_group(target, local) else {
        refuse(Rule::NoPortal, &at_target)?;
        return Err(Refusal(Rule::NoPortal));
    };
    let at_group = || ObjectPath::Tpg(name.clone(), group.tag);
    let at_portal = || ObjectPath::Portal(name.clone(), group.tag, portal.address);
    refuse(Rule::Portal, &at_portal)?;
    let enabled = match group.enabled() {
        true => Rule::GroupEnabled,
        false => Rule::GroupDisabled,
    };
    refuse(enabled, &at_group)?;
    let acl = group.acls.get(initiator);
    let rule = match acl {
        Some(_) => Rule::NodeAcl,
        None if group.generate_node_acls() => Rule::AnyInitiator,
        None if tree.requirement(group, None).helper.is_some() => Rule::HelperDecides,
        None => Rule::NoAcl,
    };
    let at_acl = || match acl {
        Some(acl) => ObjectPath::Acl(name.clone(), group.tag, acl.initiator.clone()),
        None => at_group(),
    };
    Ok(Admission {
        rule: refuse(rule, &at_acl)?,
        target: Arc::clone(target),
        group: Arc::clone(group),
        portal: Arc::clone(portal),
        acl: acl.cloned(),
    })
}

/// A target as SendTargets tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VisibleTarget {
    pub name: IscsiName,
    /// `host:port,tag` values (RFC 7143 §13.8).
    pub addresses: Vec<String>,
}

/// Who asks by SendTargets.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    pub initiator: &'a IscsiName,
    /// Our end of its connection.
    pub local: SocketAddr,
    /// The portal group that it is logged in to: it has been admitted there, whoever decided that. `None` in a discovery
    /// session.
    pub group: Option<ObjectId>,
}

/// What the asker may be told by SendTargets: targets it may log in to, at addresses it can use. `only` narrows the answer to
/// one target. Looks at no target that the initiator has nothing to do with.
pub fn visible_targets(
    tree: &Tree,
    asker: Asker<'_>,
    only: Option<&IscsiName>,
) -> Vec<VisibleTarget> {
    let initiator = asker.initiator;
    let mut names: BTreeSet<&IscsiName> = BTreeSet::new();
    match only {
        Some(name) => {
            names.insert(name);
        }
        None => {
            names.extend(tree.indexes.open.iter().map(|(name, _)| name));
            let named = tree.indexes.named.get(initiator).into_iter().flatten();
            names.extend(named.map(|(name, _)| name));
        }
    }
    let targets = names.into_iter().filter_map(|name| tree.target(name));
    targets
        .filter_map(|target| visible_target(target, asker))
        .collect()
}

fn visible_target(target: &Target, asker: Asker<'_>) -> Option<VisibleTarget> {
    let may_see = |group: &&Arc<PortalGroup>| {
        let admitted = asker.group == Some(group.id)
            || group.is_told_to_anybody()
            || group.acls.contains_key(asker.initiator);
        group.enabled() && admitted
    };
    let addresses: Vec<String> = target
        .tpgs
        .values()
        .filter(may_see)
        .flat_map(|group| {
            let told = |portal: &Arc<Portal>| told_address(portal, asker.local);
            group
                .portals
                .values()
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
    if let Some(advertise) = portal.advertise() {
        return Some(advertise.to_owned());
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

fn serving_group<'a>(
    target: &'a Target,
    local: SocketAddr,
) -> Option<(&'a Arc<PortalGroup>, &'a Arc<Portal>)> {
    let find = |key: SocketAddr| {
        let found = |group: &'a Arc<PortalGroup>| Some((group, group.portals.get(&key)?));
        target.tpgs.values().find_map(found)
    };
    let (specific, wildcard) = candidates(local);
    find(specific).or_else(|| find(wildcard))
}

/// The portal of `group` that serves the local address `local`, specific before wildcard.
#[must_use]
pub fn serving_portal(group: &PortalGroup, local: SocketAddr) -> Option<&Arc<Portal>> {
    let (specific, wildcard) = candidates(local);
    group
        .portals
        .get(&specific)
        .or_else(|| group.portals.get(&wildcard))
}

/// The portal addresses that can serve a local one: itself, and its family's wildcard.
fn candidates(local: SocketAddr) -> (SocketAddr, SocketAddr) {
    let ip = unmapped(local.ip());
    let any: IpAddr = match ip {
        IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    (
        SocketAddr::new(ip, local.port()),
        SocketAddr::new(any, local.port()),
    )
}

/// An IPv4 address that reached us over an IPv6 socket is an IPv4 address.
fn unmapped(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

#[cfg(test)]
mod tests;
