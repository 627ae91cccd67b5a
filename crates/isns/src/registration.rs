//! What the server is to know of us, and the messages that tell it (RFC 4171 §5.6.5.1, §5.6.5.4, §5.6.5.5).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use iscsi_wire::IscsiName;

use crate::attribute::{Writer, tag};
use crate::inbound::scn;

/// What one message may come to, in bytes, before the next one is begun: servers take messages of one PDU more willingly.
const BATCH_BYTES: usize = 32 * 1024;

/// Node type: target (§6.4.2).
const TARGET: u32 = 1;

/// Entity protocol: iSCSI (§6.2.2).
const ISCSI: u32 = 2;

/// A network entity with its portals and targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The entity's identifier: 1 to [`crate::MAX_ENTITY_BYTES`] bytes, not beginning with `isns:`, which is the servers'.
    pub entity: String,
    /// Seconds after which the server may forget us if it hears nothing; not 0.
    pub period_seconds: u32,
    /// Seconds between entity status inquiries; 0: none.
    pub esi_interval_seconds: u32,
    /// Where targets are reached, and where the server reaches us there.
    pub portals: BTreeMap<SocketAddr, MonitorPorts>,
    /// The targets, by name.
    pub nodes: BTreeMap<IscsiName, Node>,
}

/// TCP ports at a portal's address on which the server may ask of its own accord.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MonitorPorts {
    /// Entity status inquiries.
    pub esi: Option<u16>,
    /// State change notifications.
    pub scn: Option<u16>,
}

/// A target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// What people call it, up to 255 bytes.
    pub alias: Option<String>,
    /// The portals that serve it, each with the tag of its portal group; all of them portals of the registration.
    pub portals: BTreeMap<SocketAddr, u16>,
}

/// The objects of a registration that a message is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Objects {
    pub(crate) portals: Vec<SocketAddr>,
    pub(crate) nodes: Vec<IscsiName>,
}

impl Objects {
    pub(crate) fn is_empty(&self) -> bool {
        self.portals.is_empty() && self.nodes.is_empty()
    }
}

impl Registration {
    /// A node that speaks for all: whoever changes something has to be of the entity (§5.6.1).
    pub(crate) fn source(&self) -> Option<&IscsiName> {
        self.nodes.keys().next()
    }

    pub(crate) fn all(&self) -> Objects {
        Objects {
            portals: self.portals.keys().copied().collect(),
            nodes: self.nodes.keys().cloned().collect(),
        }
    }

    /// What of `before` is not in this one any more.
    pub(crate) fn gone_since(&self, before: &Self) -> Objects {
        let portal = |at: &&SocketAddr| !self.portals.contains_key(at);
        let node = |name: &&IscsiName| !self.nodes.contains_key(*name);
        Objects {
            portals: before.portals.keys().filter(portal).copied().collect(),
            nodes: before.nodes.keys().filter(node).cloned().collect(),
        }
    }

    /// What the server has to be told where it knows `before`.
    pub(crate) fn changed_since(&self, before: &Self) -> Objects {
        // Each node says of each portal whether it is there.
        let same_portals = self.portals.keys().eq(before.portals.keys());
        let node = |(name, node): &(&IscsiName, &Node)| {
            !same_portals || before.nodes.get(*name) != Some(*node)
        };
        let portal = |(at, ports): &(&SocketAddr, &MonitorPorts)| {
            before.portals.get(at) != Some(*ports)
                || before.esi_interval_seconds != self.esi_interval_seconds
        };
        Objects {
            portals: self
                .portals
                .iter()
                .filter(portal)
                .map(|(at, _)| *at)
                .collect(),
            nodes: self
                .nodes
                .iter()
                .filter(node)
                .map(|(name, _)| name.clone())
                .collect(),
        }
    }

    /// Payloads of registrations that tell of `objects`, in order: the first alone may take the place of what there was.
    // RFC 4171 §5.6.4: the entity first, then what belongs to it; the keys of an object before its other attributes, which
    // stand before the next object.
    pub(crate) fn register(&self, objects: &Objects) -> Vec<Vec<u8>> {
        let Some(source) = self.source() else {
            return Vec::new();
        };
        let mut batches = Vec::new();
        let mut writer = self.begin(source);
        let empty_bytes = writer.len();
        let portals = objects.portals.iter().map(|at| self.portal(*at));
        let nodes = objects.nodes.iter().map(|name| self.node(name));
        for object in portals.chain(nodes) {
            let full = writer.len() + object.len() > BATCH_BYTES && writer.len() > empty_bytes;
            if full {
                batches.push(std::mem::replace(&mut writer, self.begin(source)).into_bytes());
            }
            writer.raw(&object);
        }
        batches.push(writer.into_bytes());
        batches
    }

    fn begin(&self, source: &IscsiName) -> Writer {
        let mut writer = Writer::default();
        writer
            .text(tag::ISCSI_NAME, source.as_str())
            .text(tag::ENTITY_IDENTIFIER, &self.entity)
            .empty(tag::DELIMITER)
            .text(tag::ENTITY_IDENTIFIER, &self.entity)
            .number(tag::ENTITY_PROTOCOL, ISCSI)
            .number(tag::REGISTRATION_PERIOD, self.period_seconds);
        writer
    }

    fn portal(&self, at: SocketAddr) -> Vec<u8> {
        let ports = self.portals.get(&at).copied().unwrap_or_default();
        let mut writer = Writer::default();
        writer.portal((tag::PORTAL_ADDRESS, tag::PORTAL_PORT), at);
        // RFC 4171 §6.3.5, §6.3.7: bit 15 clear, the port is TCP.
        if let Some(port) = ports.esi.filter(|_| self.esi_interval_seconds != 0) {
            writer
                .number(tag::ESI_INTERVAL, self.esi_interval_seconds)
                .number(tag::ESI_PORT, port.into());
        }
        if let Some(port) = ports.scn {
            writer.number(tag::SCN_PORT, port.into());
        }
        writer.into_bytes()
    }

    /// A node, and for each portal the tag of the group that serves it there.
    // RFC 4171 §5.6.5.1: a tag is followed by the portals that it holds for. Without one the server would take 1, and the
    // node to be at every portal of the entity; a tag of no length says that it is not there.
    fn node(&self, name: &IscsiName) -> Vec<u8> {
        let Some(node) = self.nodes.get(name) else {
            return Vec::new();
        };
        let mut writer = Writer::default();
        writer
            .text(tag::ISCSI_NAME, name.as_str())
            .number(tag::ISCSI_NODE_TYPE, TARGET);
        if let Some(alias) = &node.alias {
            writer.text(tag::ISCSI_ALIAS, alias);
        }
        let mut by_tag: BTreeMap<Option<u16>, Vec<SocketAddr>> = BTreeMap::new();
        for at in self.portals.keys() {
            by_tag
                .entry(node.portals.get(at).copied())
                .or_default()
                .push(*at);
        }
        for (group, portals) in by_tag {
            match group {
                Some(group) => writer.number(tag::PG_TAG, group.into()),
                None => writer.empty(tag::PG_TAG),
            };
            for at in portals {
                writer.portal((tag::PG_PORTAL_ADDRESS, tag::PG_PORTAL_PORT), at);
            }
        }
        writer.into_bytes()
    }

    /// Payload that takes objects away.
    pub(crate) fn deregister(source: &IscsiName, objects: &Objects) -> Vec<u8> {
        let mut writer = Writer::default();
        writer
            .text(tag::ISCSI_NAME, source.as_str())
            .empty(tag::DELIMITER);
        for at in &objects.portals {
            writer.portal((tag::PORTAL_ADDRESS, tag::PORTAL_PORT), *at);
        }
        for name in &objects.nodes {
            writer.text(tag::ISCSI_NAME, name.as_str());
        }
        writer.into_bytes()
    }

    /// Payload that takes everything away.
    pub(crate) fn deregister_entity(&self) -> Option<Vec<u8>> {
        let mut writer = Writer::default();
        writer
            .text(tag::ISCSI_NAME, self.source()?.as_str())
            .empty(tag::DELIMITER)
            .text(tag::ENTITY_IDENTIFIER, &self.entity);
        Some(writer.into_bytes())
    }

    /// Payload by which a node asks to be told of initiators that it may meet, and of itself.
    // RFC 4171 §5.6.5.5: a node that is no control node asks for regular notifications only.
    pub(crate) fn ask_for_changes(name: &IscsiName) -> Vec<u8> {
        let bitmap = scn::INITIATOR_AND_SELF_ONLY
            | scn::OBJECT_ADDED
            | scn::OBJECT_REMOVED
            | scn::OBJECT_UPDATED;
        let mut writer = Writer::default();
        writer
            .text(tag::ISCSI_NAME, name.as_str())
            .text(tag::ISCSI_NAME, name.as_str())
            .empty(tag::DELIMITER)
            .number(tag::ISCSI_SCN_BITMAP, bitmap);
        writer.into_bytes()
    }

    /// Payload that asks whether a node is registered: also what keeps a registration from ending (§6.2.6).
    pub(crate) fn ask_for(name: &IscsiName) -> Vec<u8> {
        let mut writer = Writer::default();
        writer
            .text(tag::ISCSI_NAME, name.as_str())
            .text(tag::ISCSI_NAME, name.as_str())
            .empty(tag::DELIMITER)
            .empty(tag::ISCSI_NAME);
        writer.into_bytes()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::attribute::Attributes;

    pub(crate) fn name(text: &str) -> IscsiName {
        IscsiName::parse(&format!("iqn.2026-11.org.example:{text}")).expect("a name")
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    pub(crate) fn registration(nodes: &[(&str, &[(&str, u16)])]) -> Registration {
        let node = |(text, portals): &(&str, &[(&str, u16)])| {
            let portals = portals.iter().map(|(portal, tag)| (at(portal), *tag));
            let node = Node {
                alias: None,
                portals: portals.collect(),
            };
            (name(text), node)
        };
        let nodes: BTreeMap<IscsiName, Node> = nodes.iter().map(node).collect();
        let portals = nodes.values().flat_map(|node| node.portals.keys());
        Registration {
            entity: "san.example.org".to_owned(),
            period_seconds: 60,
            esi_interval_seconds: 0,
            portals: portals.map(|at| (*at, MonitorPorts::default())).collect(),
            nodes,
        }
    }

    fn tags(payload: &[u8]) -> Vec<(u32, usize)> {
        Attributes::new(payload)
            .map(|attribute| attribute.expect("well formed"))
            .map(|attribute| (attribute.tag, attribute.value.len()))
            .collect()
    }

    #[test]
    fn register_lists_entity_portals_and_nodes_with_a_tag_for_each_pair() {
        let one = "192.0.2.1:3260";
        let two = "[2001:db8::1]:3260";
        let mut wanted = registration(&[("a", &[(one, 1)]), ("b", &[(one, 1), (two, 7)])]);
        wanted.esi_interval_seconds = 30;
        wanted.portals.insert(
            at(one),
            MonitorPorts {
                esi: Some(4000),
                scn: Some(4001),
            },
        );
        let batches = wanted.register(&wanted.all());
        assert_eq!(batches.len(), 1);
        let name = (32, 28);
        let (address, port) = (16, 4);
        let pair = [(49, address), (50, port)];
        let mut expected = vec![name, (1, 16), (0, 0), (1, 16), (2, 4), (6, 4)];
        expected.extend([(16, address), (17, port), (19, 4), (20, 4), (23, 4)]);
        expected.extend([(16, address), (17, port)]);
        // Of the first node: no group at the second portal, and group 1 at the first.
        expected.extend([
            name,
            (33, 4),
            (51, 0),
            pair[0],
            pair[1],
            (51, 4),
            pair[0],
            pair[1],
        ]);
        expected.extend([
            name,
            (33, 4),
            (51, 4),
            pair[0],
            pair[1],
            (51, 4),
            pair[0],
            pair[1],
        ]);
        assert_eq!(tags(&batches[0]), expected);
    }

    #[test]
    fn register_of_many_nodes_is_split_between_nodes() {
        let names: Vec<String> = (0..2000).map(|n| format!("disk{n}")).collect();
        let portals: &[(&str, u16)] = &[("192.0.2.1:3260", 1)];
        let nodes: Vec<_> = names.iter().map(|name| (name.as_str(), portals)).collect();
        let wanted = registration(&nodes);
        let batches = wanted.register(&wanted.all());
        assert!(batches.len() > 1);
        let mut told = 0;
        for batch in &batches {
            assert!(batch.len() <= BATCH_BYTES);
            let found = tags(batch);
            assert_eq!(
                found[2],
                (0, 0),
                "each begins with source, key and delimiter"
            );
            told += found.iter().filter(|(tag, _)| *tag == 33).count();
        }
        assert_eq!(told, 2000);
    }

    #[test]
    fn differences_name_what_went_and_what_is_new() {
        let one: &[(&str, u16)] = &[("192.0.2.1:3260", 1)];
        let other: &[(&str, u16)] = &[("192.0.2.1:3260", 2)];
        let two: &[(&str, u16)] = &[("192.0.2.2:3260", 1)];
        let before = registration(&[("a", one), ("b", one), ("c", one)]);
        let now = registration(&[("a", one), ("b", other), ("d", one)]);
        assert_eq!(now.gone_since(&before).nodes, [name("c")]);
        assert_eq!(now.gone_since(&before).portals, []);
        assert_eq!(now.changed_since(&before).nodes, [name("b"), name("d")]);
        assert!(now.changed_since(&now).is_empty());
        // Another portal: every node says whether it is there.
        let moved = registration(&[("a", one), ("b", two)]);
        let changed = moved.changed_since(&registration(&[("a", one)]));
        assert_eq!(changed.nodes, [name("a"), name("b")]);
        assert_eq!(changed.portals, [at("192.0.2.2:3260")]);
    }
}
