//! From a tree to TOML that [`parse_toml`](super::parse_toml) reads back into the same tree.

use std::fmt::Write as _;

use crate::attributes::Column;
use crate::saved::hex;
use crate::tree::{NodeAcl, Portal, PortalGroup, Target, Tree};
use crate::value::{Attributes, Value};

/// The tree as a desired-state file. Without `with_secrets` a secret is a comment and `keep = true`, which leaves the one that
/// the object has as it is: applied to the daemon that it came from, such a file changes nothing, and applied to one that has no
/// such secret it is refused.
#[must_use]
pub fn to_toml(tree: &Tree, with_secrets: bool) -> String {
    let mut writer = Writer {
        text: String::new(),
        with_secrets,
    };
    writer.tree(tree);
    writer.text
}

struct Writer {
    text: String,
    with_secrets: bool,
}

impl Writer {
    fn tree(&mut self, tree: &Tree) {
        for (header, attributes) in [("daemon", &tree.daemon), ("discovery", &tree.discovery)] {
            if !attributes.is_empty() {
                self.header(&format!("[{header}]"));
                self.attributes(attributes, &[]);
            }
        }
        for store in tree.backstores() {
            self.header("[[backstore]]");
            self.pair("name", &quoted(&store.name));
            self.pair("type", &quoted(store.kind.as_str()));
            self.attributes(&store.attributes, &["path", "size", "block_size"]);
            for group in store.alua.values() {
                self.header("[[backstore.alua]]");
                self.pair("name", &quoted(&group.name));
                self.attributes(&group.attributes, &["tg_pt_gp_id"]);
            }
        }
        for target in tree.targets() {
            self.target(target);
        }
    }

    fn target(&mut self, target: &Target) {
        self.header("[[target]]");
        self.pair("name", &quoted(target.name.as_str()));
        self.attributes(&target.attributes, &["alias"]);
        for group in target.tpgs.values() {
            self.header("[[target.tpg]]");
            self.pair("tag", &group.tag.to_string());
            let first = ["defaults", "enabled", "authentication"];
            self.attributes(&group.attributes, &first);
            let portals = group.portals.values().map(|portal| as_portal(portal));
            self.list("portals", portals.collect());
            let luns = group.luns.values().map(|lun| {
                let number = [("lun".to_owned(), lun.number.0.to_string())];
                inline(
                    number
                        .into_iter()
                        .chain(pairs(&lun.attributes, &["backstore"])),
                )
            });
            self.list("luns", luns.collect());
            for acl in group.acls.values() {
                self.acl(group, acl);
            }
        }
    }

    fn acl(&mut self, group: &PortalGroup, acl: &NodeAcl) {
        self.header("[[target.tpg.acl]]");
        self.pair("initiator", &quoted(acl.initiator.as_str()));
        let mut attributes = acl.attributes.clone();
        // What the list of LUNs says by being there or not is not said again.
        let every = attributes.remove("default_luns").and_then(|v| v.as_bool());
        let list = match (group.column(), every) {
            _ if !acl.luns.is_empty() => true,
            (Column::Ours, every) => every == Some(false),
            (Column::Lio, every) => every.is_none(),
        };
        let implied = match (group.column(), list) {
            (Column::Ours, true) => Some(false),
            (Column::Ours, false) | (Column::Lio, true) => None,
            (Column::Lio, false) => Some(true),
        };
        if let (true, Some(every)) = (every != implied, every) {
            attributes.insert("default_luns", Value::Bool(every));
        }
        self.attributes(&attributes, &["tag"]);
        let mapped = acl.luns.values().map(|mapped| {
            let number = [("mapped_lun".to_owned(), mapped.number.0.to_string())];
            inline(
                number
                    .into_iter()
                    .chain(pairs(&mapped.attributes, &["lun"])),
            )
        });
        let mapped: Vec<String> = mapped.collect();
        if mapped.is_empty() && list {
            self.pair("luns", "[]");
        }
        self.list("luns", mapped);
    }

    fn header(&mut self, header: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.line(header);
    }

    fn pair(&mut self, key: &str, value: &str) {
        self.line(&format!("{key} = {value}"));
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn list(&mut self, key: &str, items: Vec<String>) {
        match items.as_slice() {
            [] => {}
            [one] => self.pair(key, &format!("[{one}]")),
            _ => {
                self.line(&format!("{key} = ["));
                for item in items {
                    self.line(&format!("    {item},"));
                }
                self.line("]");
            }
        }
    }

    /// Attributes without a dot one by one, `first` before the others; then a table for each group of the others.
    fn attributes(&mut self, attributes: &Attributes, first: &[&str]) {
        let (plain, grouped): (Attributes, Attributes) = attributes
            .clone()
            .into_iter()
            .partition(|(name, _)| !name.contains('.'));
        for (name, value) in pairs(&plain, first) {
            self.pair(&name, &value);
        }
        let groups = grouped.keys().filter_map(|name| name.split_once('.'));
        let mut groups: Vec<&str> = groups.map(|(group, _)| group).collect();
        groups.dedup();
        for group in groups {
            let within = grouped.iter().filter_map(|(name, value)| {
                let name = name.strip_prefix(group)?.strip_prefix('.')?;
                Some((name, value))
            });
            self.group(group, within.collect());
        }
    }

    fn group(&mut self, group: &str, within: Vec<(&str, &Value)>) {
        let mut entries = Vec::new();
        for (name, value) in within {
            let entry = match value {
                Value::Secret(_) if !self.with_secrets => {
                    self.line(&format!(
                        "# {group}.{name} is set and not shown; keep leaves it as it is"
                    ));
                    ("keep".to_owned(), "true".to_owned())
                }
                Value::Secret(secret) => match std::str::from_utf8(secret.expose()) {
                    Ok(text) => (name.to_owned(), quoted(text)),
                    Err(_) => (format!("{name}_hex"), quoted(&hex(secret.expose()))),
                },
                value => (name.to_owned(), toml_value(name, value)),
            };
            entries.push(entry);
        }
        // The user before the secret.
        if group.ends_with("chap") {
            entries.reverse();
        }
        let table = inline(entries.into_iter());
        self.pair(group, &table);
    }
}

fn as_portal(portal: &Portal) -> String {
    let address = quoted(&portal.address.to_string());
    if portal.attributes.is_empty() {
        return address;
    }
    let address = [("address".to_owned(), address)];
    inline(address.into_iter().chain(pairs(&portal.attributes, &[])))
}

/// Attributes as keys and values; `first` before the others.
fn pairs(attributes: &Attributes, first: &[&str]) -> Vec<(String, String)> {
    let rank = |name: &str| first.iter().position(|one| *one == name);
    let mut sorted: Vec<_> = attributes.iter().collect();
    sorted.sort_by_key(|(name, _)| rank(name).unwrap_or(first.len()));
    let pair =
        |(name, value): (&&'static str, &Value)| ((*name).to_owned(), toml_value(name, value));
    sorted.into_iter().map(pair).collect()
}

fn inline(pairs: impl Iterator<Item = (String, String)>) -> String {
    let pairs: Vec<String> = pairs
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    format!("{{ {} }}", pairs.join(", "))
}

fn toml_value(name: &str, value: &Value) -> String {
    match value {
        Value::Bool(yes) => yes.to_string(),
        Value::Integer(bytes) if name == "size" => size(*bytes),
        Value::Integer(number) => number.to_string(),
        Value::Text(text) => quoted(text),
        // Only in groups, which know whether to show it.
        Value::Secret(_) => quoted("***"),
    }
}

/// A size in the largest unit that it is a whole number of.
fn size(bytes: i64) -> String {
    let units = [
        (50, "PiB"),
        (40, "TiB"),
        (30, "GiB"),
        (20, "MiB"),
        (10, "KiB"),
    ];
    let fits = |(power, _): &&(u32, &str)| bytes > 0 && bytes.trailing_zeros() >= *power;
    match units.iter().find(fits) {
        Some((power, unit)) => format!("\"{}{unit}\"", bytes >> power),
        None => bytes.to_string(),
    }
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if c.is_control() => {
                // Writing to a string does not fail.
                let _written = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
