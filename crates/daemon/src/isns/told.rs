//! What the tree tells an iSNS server of itself. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use iscsi_wire::{Host, PortalAddress};
use isns::{DEFAULT_PORT, MonitorPorts, Node, Registration};
use model::{Portal, Target, Tree, Value};

/// The daemon's attributes that are about iSNS, where they name a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) server: PortalAddress,
    entity: Option<String>,
    period_seconds: u32,
    esi_interval_seconds: u32,
}

impl Settings {
    pub(super) fn of(tree: &Tree) -> Option<Self> {
        let text = |name| {
            let value = tree.daemon_setting(name)?;
            value
                .as_text()
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        let seconds = |name| {
            let value = tree
                .daemon_setting(name)
                .as_ref()
                .and_then(Value::as_integer);
            value
                .and_then(|seconds| u32::try_from(seconds).ok())
                .unwrap_or(0)
        };
        Some(Self {
            server: PortalAddress::parse_with_default(&text("isns.server")?, DEFAULT_PORT).ok()?,
            entity: text("isns.entity"),
            period_seconds: seconds("isns.period_s").max(1),
            esi_interval_seconds: seconds("isns.esi_interval_s"),
        })
    }

    /// What the server is to know. `local` is our end of the connection to it, where there is one: what a portal at every
    /// address is told as, and whether loopback means the same machine to both. Without one everything is told that might be.
    pub(super) fn registration(
        &self,
        tree: &Tree,
        local: Option<IpAddr>,
        host_name: &str,
    ) -> Registration {
        let mut nodes = BTreeMap::new();
        for target in tree.targets().filter(|target| target.is_told_by_isns()) {
            let node = Node {
                alias: target.alias().map(str::to_owned),
                portals: portals_of(target, local),
            };
            if !node.portals.is_empty() {
                nodes.insert(target.name.clone(), node);
            }
        }
        let portals = nodes.values().flat_map(|node: &Node| node.portals.keys());
        Registration {
            entity: self.entity.clone().unwrap_or_else(|| entity_of(host_name)),
            period_seconds: self.period_seconds,
            esi_interval_seconds: self.esi_interval_seconds,
            portals: portals.map(|at| (*at, MonitorPorts::default())).collect(),
            nodes,
        }
    }
}

/// Where a target is reached, each with the tag of the group that serves it there.
fn portals_of(target: &Target, local: Option<IpAddr>) -> BTreeMap<SocketAddr, u16> {
    let groups = target.tpgs.values().filter(|group| group.enabled());
    groups
        .flat_map(|group| {
            let told = group
                .portals
                .values()
                .filter_map(move |one| told(one, local));
            told.map(|at| (at, group.tag))
        })
        .collect()
}

/// The address that a portal is told as, if it is of use to anybody who hears of it.
// iSNS has addresses only (RFC 4171 §6.3.1): a portal that is advertised by a DNS name is told by its own.
fn told(portal: &Portal, local: Option<IpAddr>) -> Option<SocketAddr> {
    let advertised = portal
        .advertise()
        .and_then(|text| PortalAddress::parse(text).ok());
    let at = match advertised {
        Some(PortalAddress {
            host: Host::Ip(ip),
            port,
        }) => SocketAddr::new(ip, port),
        _ => portal.address,
    };
    let Some(local) = local.map(|ip| ip.to_canonical()) else {
        return (at.port() != 0).then_some(at);
    };
    let at = match at.ip() {
        ip if ip.is_unspecified() && ip.is_ipv4() != local.is_ipv4() => return None,
        ip if ip.is_unspecified() => SocketAddr::new(local, at.port()),
        ip if ip.is_loopback() && !local.is_loopback() => return None,
        _ => at,
    };
    (at.port() != 0).then_some(at)
}

/// An entity identifier of the machine's name: in lower case (RFC 4171 §6.2.1 has it normalised), three bytes or more, and
/// not one of those that servers give out.
fn entity_of(host_name: &str) -> String {
    let legal = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    let name: String = host_name.trim().chars().filter(legal).take(200).collect();
    let name = name.to_ascii_lowercase();
    if name.len() < 3 {
        format!("quintain-{name}")
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use model::{Change, Raw};

    use super::*;

    fn tree(lines: &[&str]) -> Tree {
        let change = |line: &&str| {
            let mut words = line.split_whitespace();
            let path = words.next().expect("a path").parse().expect("a legal path");
            let given: Vec<(&str, Raw)> = words
                .map(|word| word.split_once('=').expect("name=value"))
                .map(|(name, value)| (name, Raw::from(value)))
                .collect();
            match path {
                model::ObjectPath::Daemon => Change::set(path, given),
                path => Change::create(path, given),
            }
        };
        let changes: Vec<Change> = lines.iter().map(change).collect();
        Tree::default().plan(&changes).expect("legal").tree
    }

    const T: &str = "/targets/iqn.2026-11.org.example:";

    fn told_portals(lines: &[&str], local: Option<&str>) -> Vec<String> {
        let mut all = vec!["/ isns.server=192.0.2.5".to_owned()];
        all.extend([format!("{T}t"), format!("{T}t/tpgs/3")]);
        all.extend(
            lines
                .iter()
                .map(|line| format!("{T}t/tpgs/3/portals/{line}")),
        );
        let lines: Vec<&str> = all.iter().map(String::as_str).collect();
        let tree = tree(&lines);
        let settings = Settings::of(&tree).expect("a server");
        let local = local.map(|text| text.parse().expect("an address"));
        let told = settings.registration(&tree, local, "host");
        let nodes = told.nodes.values().flat_map(|node| &node.portals);
        nodes.map(|(at, tag)| format!("{at},{tag}")).collect()
    }

    #[test]
    fn registration_tells_addresses_that_are_of_use_to_whoever_hears_of_them() {
        for (portal, local, expected) in [
            (
                "192.0.2.1:3260",
                Some("192.0.2.9"),
                &["192.0.2.1:3260,3"][..],
            ),
            ("0.0.0.0:3260", Some("192.0.2.9"), &["192.0.2.9:3260,3"]),
            (
                "0.0.0.0:3260",
                Some("::ffff:192.0.2.9"),
                &["192.0.2.9:3260,3"],
            ),
            ("0.0.0.0:3260", Some("2001:db8::9"), &[]),
            ("[::]:3260", Some("2001:db8::9"), &["[2001:db8::9]:3260,3"]),
            ("127.0.0.1:3260", Some("192.0.2.9"), &[]),
            ("127.0.0.1:3260", Some("127.0.0.1"), &["127.0.0.1:3260,3"]),
            ("127.0.0.1:3260", None, &["127.0.0.1:3260,3"]),
            (
                "10.0.0.1:3260 advertise=198.51.100.1:3261",
                Some("192.0.2.9"),
                &["198.51.100.1:3261,3"],
            ),
            (
                "10.0.0.1:3260 advertise=san.example.org:3261",
                Some("192.0.2.9"),
                &["10.0.0.1:3260,3"],
            ),
        ] {
            assert_eq!(
                told_portals(&[portal], local),
                expected,
                "{portal} {local:?}"
            );
        }
    }

    #[test]
    fn registration_leaves_out_what_is_disabled_and_what_is_not_to_be_told() {
        let tree = tree(&[
            "/ isns.server=isns.example.org isns.period_s=90 isns.esi_interval_s=0",
            &format!("{T}a alias=disks"),
            &format!("{T}a/tpgs/1"),
            &format!("{T}a/tpgs/1/portals/192.0.2.1:3260"),
            &format!("{T}a/tpgs/2 enabled=no"),
            &format!("{T}a/tpgs/2/portals/192.0.2.2:3260"),
            &format!("{T}b isns=no"),
            &format!("{T}b/tpgs/1"),
            &format!("{T}b/tpgs/1/portals/192.0.2.1:3260"),
            &format!("{T}c"),
        ]);
        let settings = Settings::of(&tree).expect("a server");
        assert_eq!(settings.server.to_string(), "isns.example.org:3205");
        let told = settings.registration(&tree, None, " SAN-1.Example.org\n");
        assert_eq!(told.entity, "san-1.example.org");
        assert_eq!((told.period_seconds, told.esi_interval_seconds), (90, 0));
        let names: Vec<&str> = told.nodes.keys().map(|name| name.as_str()).collect();
        assert_eq!(names, ["iqn.2026-11.org.example:a"]);
        assert_eq!(told.portals.len(), 1);
        let node = told.nodes.values().next().expect("a node");
        assert_eq!(node.alias.as_deref(), Some("disks"));
        assert_eq!(settings.registration(&tree, None, "x").entity, "quintain-x");
    }
}
