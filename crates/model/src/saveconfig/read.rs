//! From saveconfig.json to changes. As lenient as rtslib: numbers may be text, what is missing has its default.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use iscsi_wire::IscsiName;

use super::{CDROM, CDROM_DEVICE, DEFAULT_ALIAS, DEFAULT_GROUP, KEPT};
use crate::attributes::{Attribute, Column, LIO_CREDENTIALS, ObjectKind, Takes};
use crate::document::{Content, Entry, Item, parse_json};
use crate::error::ConfigCode;
use crate::file::{Builder, Desired, Draft, FileError, Format};
use crate::path::{
    ObjectPath, PathError, backstore_name, group_tag, initiator_name, iscsi_name, lun_number,
};
use crate::tree::BackstoreType;
use crate::value::Raw;

/// Reads LIO's saveconfig.json.
///
/// # Errors
/// The first mistake of syntax; or every mistake of names, values and of the whole.
pub fn parse(text: &str) -> Result<Desired, Vec<FileError>> {
    let document = parse_json(text.trim_start_matches('\u{feff}'))?;
    let mut reader = Reader {
        builder: Builder::of_format(Format::Saveconfig),
        stores: BTreeMap::new(),
    };
    reader.document(&document);
    reader.builder.finish()
}

struct Reader {
    builder: Builder,
    /// Storage objects by plugin and name: what LUNs are to name. `None`: it was left out.
    stores: BTreeMap<(String, String), Option<String>>,
}

const STORAGE_OBJECT: &[&str] = &[
    "name",
    "plugin",
    "dev",
    "size",
    "write_back",
    "buffered_mode",
    "exists",
    "aio",
    "wwn",
    "readonly",
    "exclusive",
    "ejected",
    "nullio",
    "attributes",
    "alua_tpgs",
];
const TPG: &[&str] = &[
    "tag",
    "enable",
    "attributes",
    "parameters",
    "luns",
    "portals",
    "node_acls",
];
const ACL: &[&str] = &["node_wwn", "attributes", "mapped_luns", "tag"];
const LUN: &[&str] = &["index", "storage_object", "alias", "alua_tg_pt_gp_name"];
const MAPPED_LUN: &[&str] = &["index", "tpg_lun", "write_protect", "alias"];

impl Reader {
    fn document(&mut self, document: &Item) {
        if document.entries().is_none() {
            return self.builder.not(
                document,
                "the file",
                "an object with storage_objects and targets",
            );
        }
        for fabric in self.list(document, "fabric_modules") {
            self.fabric(fabric);
        }
        for store in self.list(document, "storage_objects") {
            self.storage_object(store);
        }
        for target in self.list(document, "targets") {
            self.target(target);
        }
        self.rest(
            document,
            &["fabric_modules", "storage_objects", "targets"],
            "the file",
        );
    }

    /// The objects of a list; a missing one is empty.
    fn list<'i>(&mut self, of: &'i Item, key: &str) -> Vec<&'i Item> {
        let Some(list) = of.get(key).filter(|item| !is_nothing(item)) else {
            return Vec::new();
        };
        let Some(items) = list.items() else {
            self.builder.not(list, key, "a list");
            return Vec::new();
        };
        let mut found = Vec::new();
        for item in items {
            if item.entries().is_some() {
                found.push(item);
            } else {
                self.builder.not(item, key, "an object");
            }
        }
        found
    }

    /// Warns of keys that nothing here reads.
    fn rest(&mut self, item: &Item, known: &[&str], what: &str) {
        for entry in item.entries().unwrap_or_default() {
            if !known.contains(&entry.key.as_str()) {
                let text = format!("{what}: {} is not known here, and left out", entry.key);
                self.builder.warn(entry.at, text);
            }
        }
    }

    fn fabric(&mut self, item: &Item) {
        if item.get("name").and_then(Item::text) != Some("iscsi") {
            return self.builder.warn(
                item.at,
                "only the fabric iscsi is served; another is left out",
            );
        }
        let mut draft = Draft::new(ObjectPath::Discovery, item.at);
        self.credentials(&mut draft, item, "discovery_");
        if let Some(entry) = entry(item, "discovery_enable_auth") {
            self.set(&mut draft, "enforce", entry);
        }
        self.builder.push(draft);
        let known = known_credentials("discovery_");
        let mut known: Vec<&str> = known.iter().map(String::as_str).collect();
        known.extend(["name", "discovery_enable_auth"]);
        self.rest(item, &known, "fabric_modules");
    }

    fn storage_object(&mut self, item: &Item) {
        let Some(name) = self.named(item, "name", backstore_name) else {
            return;
        };
        let plugin_name = item.get("plugin").and_then(Item::text).unwrap_or_default();
        let key = (plugin_name.to_owned(), name.clone());
        let nullio = item.get("nullio").is_some_and(is_true);
        let kind = match plugin_name {
            "fileio" | CDROM => BackstoreType::File,
            "block" | CDROM_DEVICE => BackstoreType::Block,
            "ramdisk" if nullio => BackstoreType::Null,
            "ramdisk" => BackstoreType::Ram,
            _ => {
                let text = format!(
                    "storage object {name}: the plugin {plugin_name} has no counterpart here; it is left out, and so are its LUNs"
                );
                self.builder.warn(item.at, text);
                self.stores.insert(key, None);
                return;
            }
        };
        self.stores.insert(key, Some(format!("{kind}/{name}")));
        let mut draft = Draft::new(ObjectPath::Backstore(kind, name.clone()), item.at);
        draft.set("defaults", "lio", item.at);
        let is_cdrom = [CDROM, CDROM_DEVICE].contains(&plugin_name);
        if is_cdrom {
            draft.set("device_type", "cdrom", item.at);
        }
        for (key, row) in [
            ("dev", "path"),
            ("wwn", "serial"),
            ("readonly", "read_only"),
            ("aio", "aio"),
            ("exclusive", "exclusive"),
            ("ejected", "ejected"),
        ] {
            if let Some(entry) = entry(item, key) {
                self.set(&mut draft, row, entry);
            }
        }
        self.storage_attributes(&mut draft, item, kind);
        self.size(&mut draft, item);
        self.builder.push(draft);
        for group in self.list(item, "alua_tpgs") {
            self.alua_group(kind, &name, group);
        }
        self.rest(item, STORAGE_OBJECT, &format!("storage object {name}"));
    }

    fn storage_attributes(&mut self, draft: &mut Draft, item: &Item, kind: BackstoreType) {
        // The attribute is written last when LIO restores a file; before that stands how the object is made.
        let ways = ["buffered_mode", "write_back"];
        if let Some(entry) = ways.iter().find_map(|key| entry(item, key)) {
            self.set(draft, "write_cache", entry);
        }
        self.files(draft, item.get("attributes"), "attrib");
        if kind == BackstoreType::Block {
            // LIO has no cache of its own above a device, and passes flushes on: that is what ours calls one.
            draft.set("write_cache", true, item.at);
        }
    }

    /// LIO serves as many whole blocks as there are in the size.
    fn size(&mut self, draft: &mut Draft, item: &Item) {
        let Some(entry) = entry(item, "size") else {
            return;
        };
        self.set(draft, "size", entry);
        let block = match draft.get("block_size") {
            Some(Raw::Integer(block)) => (*block).max(1),
            _ => 512,
        };
        if let Some(Raw::Integer(bytes)) = draft.get("size")
            && bytes % block != 0
        {
            let whole = bytes - bytes % block;
            let text = format!("the size is not a whole number of blocks: {whole} are served");
            self.builder.warn(entry.item.at, text);
            draft.set("size", whole, entry.item.at);
        }
    }

    fn alua_group(&mut self, kind: BackstoreType, store: &str, item: &Item) {
        let Some(name) = self.named(item, "name", backstore_name) else {
            return;
        };
        let path = ObjectPath::AluaGroup(kind, store.to_owned(), name.clone());
        let mut draft = Draft::new(path, item.at);
        let what = format!("ALUA group {name}");
        for entry in item.entries().unwrap_or_default() {
            if entry.key != "name" {
                let row = ObjectKind::AluaGroup.attribute_of_lio(&entry.key);
                self.file(&mut draft, row, entry, &what);
            }
        }
        // The default group is there without being told.
        if name != DEFAULT_GROUP || !draft.is_empty() {
            self.builder.push(draft);
        }
    }

    fn target(&mut self, item: &Item) {
        let fabric = item.get("fabric").and_then(Item::text);
        if fabric != Some("iscsi") {
            let text = format!(
                "a target of the fabric {} is left out: only iscsi is served",
                fabric.unwrap_or("nobody knows")
            );
            return self.builder.warn(item.at, text);
        }
        let Some(name) = self.named(item, "wwn", iscsi_name) else {
            return;
        };
        let mut draft = Draft::new(ObjectPath::Target(name.clone()), item.at);
        self.files(&mut draft, item.get("parameters"), "param");
        let groups = self.list(item, "tpgs");
        self.alias(&mut draft, &groups);
        self.builder.push(draft);
        for group in groups {
            self.group(&name, group);
        }
        let known = ["fabric", "wwn", "parameters", "tpgs"];
        self.rest(item, &known, &format!("target {name}"));
    }

    /// LIO has one alias for each portal group; here the target has it.
    fn alias(&mut self, draft: &mut Draft, groups: &[&Item]) {
        for group in groups {
            let Some(entry) = group
                .get("parameters")
                .and_then(|parameters| entry(parameters, "TargetAlias"))
            else {
                continue;
            };
            let Some(alias) = entry.item.text().filter(|alias| *alias != DEFAULT_ALIAS) else {
                continue;
            };
            if draft
                .get("alias")
                .is_some_and(|first| *first != Raw::from(alias))
            {
                let text = "a target has one alias: that of its first portal group holds";
                self.builder.warn(entry.at, text);
            } else {
                self.set(draft, "alias", entry);
            }
        }
    }

    fn group(&mut self, target: &IscsiName, item: &Item) {
        let tag = match item.get("tag") {
            None => 1,
            Some(_) => match self.numbered(item, "tag", group_tag) {
                Some(tag) => tag,
                None => return,
            },
        };
        let path = ObjectPath::Tpg(target.clone(), tag);
        let what = format!("portal group {tag} of {target}");
        let mut draft = Draft::new(path, item.at);
        draft.set("defaults", "lio", item.at);
        // rtslib enables what does not say otherwise.
        draft.set("enabled", true, item.at);
        if let Some(entry) = entry(item, "enable") {
            self.set(&mut draft, "enabled", entry);
        }
        let parameters = item.get("parameters");
        if let Some(method) = parameters.and_then(|of| entry(of, "AuthMethod")) {
            let any = method.item.text().is_some_and(|text| text.contains("None"));
            draft.set(
                "authentication",
                if any { "none" } else { "chap" },
                method.at,
            );
        }
        self.files(&mut draft, parameters, "param");
        self.files(&mut draft, item.get("attributes"), "attrib");
        self.credentials(&mut draft, item, "chap_");
        self.builder.push(draft);
        for portal in self.list(item, "portals") {
            self.portal(target, tag, portal);
        }
        let left_out = self.luns(target, tag, item);
        for acl in self.list(item, "node_acls") {
            self.acl((target, tag), acl, &left_out);
        }
        let mut known: Vec<&str> = TPG.to_vec();
        let credentials = known_credentials("chap_");
        known.extend(credentials.iter().map(String::as_str));
        self.rest(item, &known, &what);
    }

    fn portal(&mut self, target: &IscsiName, tag: u16, item: &Item) {
        let address = self.named(item, "ip_address", |text| {
            let plain = text.trim_start_matches('[').trim_end_matches(']');
            plain.parse().map_err(|_| PathError {
                reason: format!("{text} is no address"),
                hint: "write 192.0.2.1 or [2001:db8::1]".to_owned(),
            })
        });
        let port = match item.get("port") {
            None => Some(3260),
            Some(_) => self.numbered(item, "port", |text| {
                text.parse().map_err(|_| PathError {
                    reason: format!("{text} is no port"),
                    hint: "use 1 to 65535".to_owned(),
                })
            }),
        };
        for key in ["iser", "offload"] {
            if item.get(key).is_some_and(is_true) {
                let text = format!("{key} is not offered: the portal is served over TCP");
                self.builder.warn(item.at, text);
            }
        }
        if let (Some(ip), Some(port)) = (address, port) {
            let path = ObjectPath::Portal(target.clone(), tag, SocketAddr::new(ip, port));
            self.builder.push(Draft::new(path, item.at));
        }
        self.rest(item, &["ip_address", "port", "iser", "offload"], "a portal");
    }

    /// Numbers of the LUNs that are left out, because their storage objects are.
    fn luns(&mut self, target: &IscsiName, tag: u16, group: &Item) -> BTreeSet<u16> {
        let mut left_out = BTreeSet::new();
        for item in self.list(group, "luns") {
            let Some(number) = self.numbered(item, "index", lun_number) else {
                continue;
            };
            let Some(object) = item.get("storage_object") else {
                let hint = "write \"storage_object\": \"/backstores/fileio/NAME\"";
                let reason = "a LUN needs its storage_object";
                self.builder
                    .error(item.at, ConfigCode::Missing, reason, hint);
                continue;
            };
            let mut draft = Draft::new(ObjectPath::Lun(target.clone(), tag, number), item.at);
            let (at, text) = (object.at, object.text().unwrap_or_default());
            match self.stores.get(&plugin_and_name(text)) {
                Some(Some(reference)) => draft.set("backstore", reference.as_str(), at),
                Some(None) => {
                    let text = format!(
                        "LUN {} of {target} is left out with its storage object",
                        number.0
                    );
                    self.builder.warn(item.at, text);
                    left_out.insert(number.0);
                    continue;
                }
                None => {
                    let reason = format!("there is no storage object {text}");
                    let hint = "name one of storage_objects, as /backstores/fileio/NAME";
                    self.builder
                        .error(at, ConfigCode::NoSuchObject, reason, hint);
                    self.builder.broken(draft.path().to_string());
                    continue;
                }
            }
            for (key, row) in [("alias", "alias"), ("alua_tg_pt_gp_name", "alua_group")] {
                if let Some(entry) = entry(item, key) {
                    self.set(&mut draft, row, entry);
                }
            }
            self.builder.push(draft);
            self.rest(item, LUN, "a LUN");
        }
        left_out
    }

    fn acl(&mut self, (target, tag): (&IscsiName, u16), item: &Item, left_out: &BTreeSet<u16>) {
        let Some(initiator) = self.named(item, "node_wwn", initiator_name) else {
            return;
        };
        let path = ObjectPath::Acl(target.clone(), tag, initiator.clone());
        let mut draft = Draft::new(path, item.at);
        self.files(&mut draft, item.get("attributes"), "attrib");
        self.credentials(&mut draft, item, "chap_");
        if let Some(entry) = entry(item, "tag") {
            self.set(&mut draft, "tag", entry);
        }
        self.builder.push(draft);
        for mapped in self.list(item, "mapped_luns") {
            let numbers = (
                self.numbered(mapped, "index", lun_number),
                self.numbered(mapped, "tpg_lun", lun_number),
            );
            let (Some(number), Some(lun)) = numbers else {
                continue;
            };
            if left_out.contains(&lun.0) {
                continue;
            }
            let path = ObjectPath::MappedLun(target.clone(), tag, initiator.clone(), number);
            let mut draft = Draft::new(path, mapped.at);
            draft.set("lun", i64::from(lun.0), mapped.at);
            for key in ["write_protect", "alias"] {
                if let Some(entry) = entry(mapped, key) {
                    self.set(&mut draft, key, entry);
                }
            }
            self.builder.push(draft);
            self.rest(mapped, MAPPED_LUN, "a mapped LUN");
        }
        let mut known: Vec<&str> = ACL.to_vec();
        let credentials = known_credentials("chap_");
        known.extend(credentials.iter().map(String::as_str));
        self.rest(item, &known, &format!("ACL {initiator}"));
    }

    /// `attributes` or `parameters`: LIO's files of a group of them.
    fn files(&mut self, draft: &mut Draft, item: Option<&Item>, group: &str) {
        let Some(item) = item.filter(|item| !is_nothing(item)) else {
            return;
        };
        let Some(entries) = item.entries() else {
            return self.builder.not(item, group, "an object");
        };
        let (kind, what) = (draft.path().kind(), draft.path().to_string());
        for entry in entries {
            // Read elsewhere, because they are another object's, or another attribute's.
            if matches!(
                (group, entry.key.as_str()),
                ("param", "AuthMethod" | "TargetAlias")
            ) {
                continue;
            }
            let row = kind.attribute_of_lio(&format!("{group}/{}", entry.key));
            self.file(draft, row, entry, &what);
        }
    }

    fn file(
        &mut self,
        draft: &mut Draft,
        row: Option<&'static Attribute>,
        entry: &Entry,
        what: &str,
    ) {
        match row {
            Some(row) => self.set(draft, row.name, entry),
            None => {
                let text = format!("{what}: {} is not known here, and left out", entry.key);
                self.builder.warn(entry.at, text);
            }
        }
    }

    /// Sets an attribute; what LIO has anyway is left unset. One that has no effect and cannot be kept is left out.
    fn set(&mut self, draft: &mut Draft, name: &str, entry: &Entry) {
        let Some(row) = draft.path().kind().attribute(name) else {
            return;
        };
        if is_nothing(&entry.item) {
            return;
        }
        let Some(raw) = entry.item.raw().map(|raw| row.from_lio(raw)) else {
            return self.builder.not(&entry.item, &entry.key, &row.legal());
        };
        match row.parse(&raw) {
            Ok(value) if row.default_in(Column::Lio).as_ref() == Some(&value) => {
                draft.unset(row.name);
            }
            Err(wrong) if row.takes == Takes::Stored => {
                let text = format!("{}: {wrong}; it is left out", draft.path());
                self.builder.warn(entry.item.at, text);
            }
            _ => self.builder.set_raw(draft, row, raw, entry.item.at),
        }
    }

    fn credentials(&mut self, draft: &mut Draft, item: &Item, prefix: &str) {
        for (key, row) in LIO_CREDENTIALS {
            let key = format!("{prefix}{key}");
            let kept = item
                .get(&format!("{key}{KEPT}"))
                .filter(|kept| is_true(kept));
            if let Some(kept) = kept {
                draft.set(row, Raw::Kept, kept.at);
            } else if let Some(entry) = entry(item, &key)
                && !matches!(entry.item.text(), Some("" | "NULL"))
            {
                self.set(draft, row, entry);
            }
        }
    }

    fn named<T>(
        &mut self,
        item: &Item,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, PathError>,
    ) -> Option<T> {
        match item.get(key).map(|value| (value, value.text())) {
            Some((value, Some(text))) => self.legal(value, parse(text)),
            Some((value, None)) => {
                self.builder.not(value, key, "text");
                None
            }
            None => {
                self.missing(item, key);
                None
            }
        }
    }

    fn numbered<T>(
        &mut self,
        item: &Item,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, PathError>,
    ) -> Option<T> {
        let Some(value) = item.get(key) else {
            self.missing(item, key);
            return None;
        };
        match value.raw() {
            Some(Raw::Integer(number)) => self.legal(value, parse(&number.to_string())),
            Some(Raw::Text(text)) => self.legal(value, parse(text.trim())),
            _ => {
                self.builder.not(value, key, "a number");
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

    fn missing(&mut self, item: &Item, key: &str) {
        let reason = format!("{key} is missing");
        let hint = format!("write \"{key}\": ...");
        self.builder
            .error(item.at, ConfigCode::Missing, reason, hint);
    }
}

/// `/backstores/fileio/NAME`, apart.
fn plugin_and_name(text: &str) -> (String, String) {
    let mut parts = text.trim_start_matches('/').splitn(3, '/');
    let (_, plugin, name) = (parts.next(), parts.next(), parts.next());
    let own = |part: Option<&str>| part.unwrap_or_default().to_owned();
    (own(plugin), own(name))
}

fn entry<'i>(item: &'i Item, key: &str) -> Option<&'i Entry> {
    item.entries()?.iter().find(|entry| entry.key == key)
}

fn is_nothing(item: &Item) -> bool {
    matches!(item.value, Content::Nothing)
}

fn is_true(item: &Item) -> bool {
    match &item.value {
        Content::Bool(yes) => *yes,
        Content::Integer(number) => *number != 0,
        Content::Text(text) => matches!(text.as_str(), "1" | "true" | "True"),
        _ => false,
    }
}

fn known_credentials(prefix: &str) -> Vec<String> {
    let keys = LIO_CREDENTIALS
        .iter()
        .map(|(key, _)| format!("{prefix}{key}"));
    keys.flat_map(|key| [format!("{key}{KEPT}"), key]).collect()
}
