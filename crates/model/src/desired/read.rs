//! From TOML to changes.

use std::path::{Path, PathBuf};

use iscsi_wire::IscsiName;

use crate::attributes::ObjectKind;
use crate::document::{self, Entry, Item, Place, beside};
use crate::error::ConfigCode;
use crate::file::{Builder, Desired, Draft, FileError, NO_TYPE};
use crate::path::{
    ObjectPath, PathError, backstore_name, group_tag, initiator_name, iscsi_name, lun_number,
    portal_address,
};
use crate::tree::{BackstoreType, LogicalUnitNumber};
use crate::value::Raw;

/// Reads a desired state in TOML. Paths in it are relative to `base`, the directory of the file.
///
/// # Errors
/// Every mistake in it: of syntax; or of names, values and of the whole.
pub fn parse_toml(text: &str, base: &Path) -> Result<Desired, Vec<FileError>> {
    let document = document::parse_toml(text)?;
    let mut reader = Reader {
        builder: Builder::default(),
        base,
    };
    reader.document(&document);
    reader.builder.finish()
}

struct Reader<'a> {
    builder: Builder,
    base: &'a Path,
}

/// Keys of each table that stand for objects, names and the like, and not for an attribute of the same name.
const TOP: &[&str] = &["daemon", "discovery", "backstore", "target"];
const BACKSTORE: &[&str] = &["name", "type", "alua"];
const ALUA: &[&str] = &["name"];
const TARGET: &[&str] = &["name", "tpg"];
const TPG: &[&str] = &["tag", "portals", "luns", "acl"];
const PORTAL: &[&str] = &["address"];
const LUN: &[&str] = &["lun"];
const ACL: &[&str] = &["initiator", "luns"];
const MAPPED_LUN: &[&str] = &["mapped_lun", "lun"];
const CREDENTIALS: &[&str] = &["user", "secret", "secret_file", "secret_hex", "keep"];

impl Reader<'_> {
    fn document(&mut self, document: &Item) {
        for entry in document.entries().unwrap_or_default() {
            match entry.key.as_str() {
                "daemon" => self.single(entry, ObjectPath::Daemon),
                "discovery" => self.single(entry, ObjectPath::Discovery),
                _ => {}
            }
        }
        // Backstores first, wherever they stand in the file: LUNs refer to them.
        for store in self.list(document, "backstore") {
            self.backstore(store);
        }
        for target in self.list(document, "target") {
            self.target(target);
        }
        for entry in document.entries().unwrap_or_default() {
            if !TOP.contains(&entry.key.as_str()) {
                self.builder.unknown(entry, None, TOP);
            }
        }
    }

    /// The tables of a list, `[[key]]`.
    fn list<'i>(&mut self, of: &'i Item, key: &str) -> Vec<&'i Item> {
        let Some(list) = of.get(key) else {
            return Vec::new();
        };
        let Some(items) = list.items() else {
            self.builder.not(list, key, "a list of tables: [[...]]");
            return Vec::new();
        };
        let mut tables = Vec::new();
        for item in items {
            if item.entries().is_some() {
                tables.push(item);
            } else {
                self.builder.not(item, key, "a table");
            }
        }
        tables
    }

    fn single(&mut self, entry: &Entry, path: ObjectPath) {
        if entry.item.entries().is_none() {
            return self.builder.not(&entry.item, &entry.key, "a table");
        }
        let mut draft = Draft::new(path, entry.at);
        self.attributes(&mut draft, &entry.item, &[]);
        self.builder.push(draft);
    }

    fn backstore(&mut self, item: &Item) {
        let name = self.named(item, "name", "a backstore", backstore_name);
        let kind = self.named(item, "type", "a backstore", |text| text.parse());
        let known = name.clone().zip(kind);
        if let (None, Some(text)) = (&known, item.get("name").and_then(Item::text)) {
            self.builder.broken(format!("/backstores/{NO_TYPE}/{text}"));
        }
        // What else is wrong with it is told all the same.
        let stand_in = (format!("line-{}", item.at.line), BackstoreType::Null);
        let (name, kind) = known.clone().unwrap_or(stand_in);
        let mut draft = Draft::new(ObjectPath::Backstore(kind, name.clone()), item.at);
        self.attributes(&mut draft, item, BACKSTORE);
        if known.is_none() {
            return;
        }
        if let Some(path) = draft.get("path")
            && let Raw::Text(path) = path.clone()
            && let Some(at) = item.get("path").map(|path| path.at)
        {
            draft.set("path", beside(self.base, &path), at);
        }
        self.builder.push(draft);
        for group in self.list(item, "alua") {
            if let Some(alua) = self.named(group, "name", "an ALUA group", backstore_name) {
                let path = ObjectPath::AluaGroup(kind, name.clone(), alua);
                let mut draft = Draft::new(path, group.at);
                self.attributes(&mut draft, group, ALUA);
                self.builder.push(draft);
            }
        }
    }

    fn target(&mut self, item: &Item) {
        let name = self.named(item, "name", "a target", iscsi_name);
        let Some(name) = name.or_else(|| stand_in(item.at)) else {
            return;
        };
        let mut draft = Draft::new(ObjectPath::Target(name.clone()), item.at);
        self.attributes(&mut draft, item, TARGET);
        self.builder.push(draft);
        for group in self.list(item, "tpg") {
            self.group(&name, group);
        }
    }

    fn group(&mut self, target: &IscsiName, item: &Item) {
        let tag = match item.get("tag") {
            None => 1,
            Some(tag) => match self.number(tag, "tag", group_tag) {
                Some(tag) => tag,
                None => return,
            },
        };
        let mut draft = Draft::new(ObjectPath::Tpg(target.clone(), tag), item.at);
        self.attributes(&mut draft, item, TPG);
        let lio = draft.get("defaults") == Some(&Raw::from("lio"));
        self.builder.push(draft);
        if let Some(portals) = item.get("portals") {
            self.portals(target, tag, portals);
        }
        for lun in self.list(item, "luns") {
            self.lun(target, tag, lun);
        }
        for acl in self.list(item, "acl") {
            self.acl((target, tag), acl, lio);
        }
    }

    fn portals(&mut self, target: &IscsiName, tag: u16, portals: &Item) {
        let Some(items) = portals.items() else {
            let wanted = "a list such as [\"192.0.2.1:3260\"]";
            return self.builder.not(portals, "portals", wanted);
        };
        for item in items {
            let address = match (item.text(), item.entries()) {
                (Some(text), _) => self.legal(item, portal_address(text)),
                (None, Some(_)) => self.named(item, "address", "a portal", portal_address),
                (None, None) => {
                    self.builder
                        .not(item, "a portal", "\"address:port\" or a table");
                    None
                }
            };
            let Some(address) = address else { continue };
            let path = ObjectPath::Portal(target.clone(), tag, address);
            let mut draft = Draft::new(path, item.at);
            self.attributes(&mut draft, item, PORTAL);
            self.builder.push(draft);
        }
    }

    fn lun(&mut self, target: &IscsiName, tag: u16, item: &Item) {
        let Some(number) = item.get("lun") else {
            return self.missing(item, "a LUN", "lun");
        };
        if let Some(number) = self.number(number, "lun", lun_number) {
            let path = ObjectPath::Lun(target.clone(), tag, number);
            let mut draft = Draft::new(path, item.at);
            self.attributes(&mut draft, item, LUN);
            self.builder.push(draft);
        }
    }

    fn acl(&mut self, (target, tag): (&IscsiName, u16), item: &Item, lio: bool) {
        let initiator = self.named(item, "initiator", "an ACL", initiator_name);
        let Some(initiator) = initiator.or_else(|| stand_in(item.at)) else {
            return;
        };
        let path = ObjectPath::Acl(target.clone(), tag, initiator.clone());
        let mut draft = Draft::new(path, item.at);
        self.attributes(&mut draft, item, ACL);
        // Where LUNs are mapped they are all there is, else every LUN of the group; in both columns of defaults.
        let luns = item.get("luns");
        if !draft.has("default_luns") && luns.is_some() != lio {
            let at = luns.map_or(item.at, |luns| luns.at);
            draft.set("default_luns", luns.is_none(), at);
        }
        self.builder.push(draft);
        for mapped in self.list(item, "luns") {
            self.mapped_lun((target, tag, &initiator), mapped);
        }
    }

    fn mapped_lun(&mut self, (target, tag, initiator): (&IscsiName, u16, &IscsiName), item: &Item) {
        let (shown, behind) = (item.get("mapped_lun"), item.get("lun"));
        // Either stands for both.
        let Some(shown) = shown.or(behind) else {
            return self.missing(item, "a mapped LUN", "mapped_lun and lun");
        };
        let behind = behind.unwrap_or(shown);
        let numbers = (
            self.number(shown, "mapped_lun", lun_number),
            self.number(behind, "lun", lun_number),
        );
        if let (Some(shown), Some(LogicalUnitNumber(lun))) = numbers {
            let path = ObjectPath::MappedLun(target.clone(), tag, initiator.clone(), shown);
            let mut draft = Draft::new(path, item.at);
            draft.set("lun", i64::from(lun), behind.at);
            self.attributes(&mut draft, item, MAPPED_LUN);
            self.builder.push(draft);
        }
    }

    /// Reads every key of a table that is not of its `structure` into attributes.
    fn attributes(&mut self, draft: &mut Draft, item: &Item, structure: &[&'static str]) {
        let kind = draft.path().kind();
        for entry in item.entries().unwrap_or_default() {
            let key = entry.key.as_str();
            if structure.contains(&key) {
                continue;
            }
            if let Some(row) = kind.attribute(key) {
                self.builder.set(draft, row, entry);
            } else if groups(kind).contains(&key) {
                self.attribute_group(draft, entry);
            } else {
                let plain = kind.attributes().iter().map(|row| row.name);
                let plain = plain.filter(|name| !name.contains('.'));
                let known: Vec<&'static str> = structure
                    .iter()
                    .copied()
                    .chain(plain)
                    .chain(groups(kind))
                    .collect();
                self.builder.unknown(entry, Some(kind), &known);
            }
        }
    }

    /// Reads a table such as `param = { ... }`.
    fn attribute_group(&mut self, draft: &mut Draft, entry: &Entry) {
        let (kind, group) = (draft.path().kind(), entry.key.as_str());
        let Some(entries) = entry.item.entries() else {
            return self.builder.not(&entry.item, group, "a table");
        };
        let secret = format!("{group}.secret");
        let credentials = kind.attribute(&secret).map(|row| row.name);
        for inner in entries {
            let row = kind.attribute(&format!("{group}.{}", inner.key));
            match (row, credentials) {
                (Some(row), _) => self.builder.set(draft, row, inner),
                (None, Some(name)) if CREDENTIALS.contains(&inner.key.as_str()) => {
                    self.secret(draft, name, inner);
                }
                (None, Some(_)) => self.builder.unknown(inner, None, CREDENTIALS),
                (None, None) => {
                    let names = kind.attributes().iter().map(|row| row.name);
                    let within =
                        names.filter_map(|name| name.strip_prefix(group)?.strip_prefix('.'));
                    let known: Vec<&'static str> = within.collect();
                    self.builder.unknown(inner, None, &known);
                }
            }
        }
        let given = |key: &&&str| entry.item.get(key).is_some();
        let ways = ["secret", "secret_file", "secret_hex", "keep"];
        if credentials.is_some() && ways.iter().filter(given).count() > 1 {
            let reason = format!("{group} has its secret more than once");
            let hint = "write one of secret, secret_file, secret_hex and keep";
            self.builder
                .error(entry.at, ConfigCode::Conflict, reason, hint);
        }
    }

    /// The ways of a secret that is not written out.
    fn secret(&mut self, draft: &mut Draft, name: &'static str, entry: &Entry) {
        let (item, at) = (&entry.item, entry.item.at);
        match (entry.key.as_str(), &item.value) {
            ("secret_file", document::Content::Text(path)) => {
                draft.set_file(name, PathBuf::from(beside(self.base, path)), at);
            }
            ("secret_file", _) => self.builder.not(item, "secret_file", "the file's path"),
            ("secret_hex", document::Content::Text(text)) => match crate::saved::unhex(text) {
                Some(bytes) => draft.set(name, Raw::Secret(auth::Secret::new(bytes)), at),
                None => {
                    let hint = "write two for each byte";
                    let reason = "secret_hex is not hexadecimal digits";
                    self.builder.error(at, ConfigCode::BadValue, reason, hint);
                }
            },
            ("secret_hex", _) => self.builder.not(item, "secret_hex", "hexadecimal digits"),
            (_, document::Content::Bool(true)) => draft.set(name, Raw::Kept, at),
            (_, document::Content::Bool(false)) => {}
            _ => self.builder.not(item, "keep", "true"),
        }
    }

    /// The text at a key that the table needs, as a name.
    fn named<T>(
        &mut self,
        item: &Item,
        key: &str,
        what: &str,
        parse: impl FnOnce(&str) -> Result<T, PathError>,
    ) -> Option<T> {
        let Some(value) = item.get(key) else {
            self.missing(item, what, key);
            return None;
        };
        let Some(text) = value.text() else {
            self.builder.not(value, key, "text");
            return None;
        };
        self.legal(value, parse(text))
    }

    /// A number that is part of a path.
    fn number<T>(
        &mut self,
        item: &Item,
        what: &str,
        parse: impl FnOnce(&str) -> Result<T, PathError>,
    ) -> Option<T> {
        match item.raw() {
            Some(Raw::Integer(number)) => self.legal(item, parse(&number.to_string())),
            _ => {
                self.builder.not(item, what, "a number");
                None
            }
        }
    }

    fn legal<T>(&mut self, item: &Item, parsed: Result<T, PathError>) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(PathError { reason, hint }) => {
                self.builder
                    .error(item.at, ConfigCode::BadPath, reason, hint);
                None
            }
        }
    }

    fn missing(&mut self, item: &Item, what: &str, key: &str) {
        let reason = format!("{what} needs its {key}");
        let hint = format!("write {key} = ...");
        self.builder
            .error(item.at, ConfigCode::Missing, reason, hint);
    }
}

/// The tables that hold attributes of a kind of objects: what stands before the dot of their names.
fn groups(kind: ObjectKind) -> Vec<&'static str> {
    let group = |row: &'static crate::attributes::Attribute| Some(row.name.split_once('.')?.0);
    let mut groups: Vec<&'static str> = kind.attributes().iter().filter_map(group).collect();
    groups.dedup();
    groups
}

/// A name in the place of one that cannot be: what stands below is looked at all the same.
fn stand_in(at: Place) -> Option<IscsiName> {
    IscsiName::parse_peer(&format!("iqn.1970-01.invalid.file:line-{}", at.line)).ok()
}
