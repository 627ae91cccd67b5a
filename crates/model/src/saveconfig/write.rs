//! From a tree to saveconfig.json, as rtslib dumps it: every attribute that LIO has, sorted, indented by two.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::{DEFAULT_ALIAS, DEFAULT_GROUP, KEPT, plugin};
use crate::attributes::{
    Attribute, Column, LIO_CREDENTIALS, ObjectKind, effective, secret_of, text_of,
};
use crate::tree::{
    Backstore, BackstoreType, Lun, MappedLun, NodeAcl, Portal, PortalGroup, Target, Tree,
};
use crate::value::{Attributes, Value};

/// An object whose keys are sorted, whatever the library does.
type Object = BTreeMap<String, Json>;

/// The tree as LIO's saveconfig.json. Without `with_secrets` a secret is told by a key of its own, that it is kept: such a file is
/// for Quintain, where it leaves secrets as they are; LIO would be without them.
#[must_use]
pub fn write(tree: &Tree, with_secrets: bool) -> String {
    let writer = Writer { tree, with_secrets };
    let mut root = Object::new();
    root.insert("fabric_modules".into(), writer.fabrics());
    let stores = tree.backstores().map(|store| writer.storage_object(store));
    root.insert("storage_objects".into(), stores.collect());
    let targets = tree.targets().map(|target| writer.target(target));
    root.insert("targets".into(), targets.collect());
    // Strings, numbers and maps of them: there is nothing in it that cannot be written.
    let mut text = serde_json::to_string_pretty(&root).unwrap_or_default();
    text.push('\n');
    text
}

struct Writer<'a> {
    tree: &'a Tree,
    with_secrets: bool,
}

impl Writer<'_> {
    fn fabrics(&self) -> Json {
        let attributes = &self.tree.discovery;
        let enforce = attributes.get("enforce").and_then(Value::as_bool);
        let enforce = enforce.unwrap_or(false);
        if attributes.is_empty() {
            return json!([]);
        }
        let mut fabric = object([
            ("name", json!("iscsi")),
            ("discovery_enable_auth", json!(enforce)),
        ]);
        self.credentials(&mut fabric, attributes, "discovery_");
        json!([fabric])
    }

    fn storage_object(&self, store: &Backstore) -> Json {
        let of = &store.attributes;
        let value = |name: &str| effective(ObjectKind::Backstore, of, name, store.column());
        let flag = |name: &str| value(name).and_then(|v| v.as_bool()).unwrap_or(false);
        let mut one = object([
            ("plugin", json!(plugin(store))),
            ("name", json!(self.name_of(store))),
        ]);
        if store.is_ejected() {
            one.insert("ejected".into(), json!(true));
        }
        if let Some(serial) = store.serial() {
            one.insert("wwn".into(), json!(serial));
        }
        let path = json!(text_of(of, "path").unwrap_or_default());
        match store.kind {
            BackstoreType::File => {
                one.insert("dev".into(), path);
                one.insert("aio".into(), json!(flag("aio")));
                one.insert("write_back".into(), json!(store.write_cache()));
            }
            BackstoreType::Block => {
                one.insert("dev".into(), path);
                one.insert("readonly".into(), json!(store.read_only()));
                one.insert("write_back".into(), json!(false));
                // Older versions of rtslib refuse the whole object for this key.
                if !flag("exclusive") {
                    one.insert("exclusive".into(), json!(false));
                }
            }
            BackstoreType::Ram => {}
            BackstoreType::Null => {
                one.insert("nullio".into(), json!(true));
            }
        }
        if store.kind != BackstoreType::Block
            && let Some(bytes) = store.size_bytes()
        {
            one.insert("size".into(), json!(bytes));
        }
        let mut files = files(ObjectKind::Backstore, of, store.column(), "attrib");
        if store.kind == BackstoreType::Block {
            // LIO takes no other value for a device.
            files.insert("emulate_write_cache".into(), json!(0));
        }
        one.insert("attributes".into(), json!(files));
        one.insert("alua_tpgs".into(), alua_groups(store));
        json!(one)
    }

    /// LIO has one space of names for both of our kinds without a path.
    fn name_of(&self, store: &Backstore) -> String {
        let clash = self.tree.backstore(BackstoreType::Ram, &store.name);
        if store.kind == BackstoreType::Null && clash.is_some() {
            format!("{}-null", store.name)
        } else {
            store.name.clone()
        }
    }

    fn target(&self, target: &Target) -> Json {
        let parameters = files(ObjectKind::Target, &target.attributes, Column::Lio, "param");
        let groups = target.tpgs.values().map(|group| self.group(target, group));
        let groups: Vec<Json> = groups.collect();
        json!(object([
            ("fabric", json!("iscsi")),
            ("wwn", json!(target.name.as_str())),
            ("parameters", json!(as_text(parameters))),
            ("tpgs", json!(groups)),
        ]))
    }

    fn group(&self, target: &Target, group: &PortalGroup) -> Json {
        let (of, column) = (&group.attributes, group.column());
        let chap = group.effective("authentication") == Some(Value::text("chap"));
        let mut parameters = as_text(files(ObjectKind::Tpg, of, column, "param"));
        let method = if chap { "CHAP" } else { "CHAP,None" };
        parameters.insert("AuthMethod".into(), json!(method));
        let alias = target.alias().unwrap_or(DEFAULT_ALIAS);
        parameters.insert("TargetAlias".into(), json!(alias));
        let luns: Vec<Json> = group.luns.values().map(|lun| self.lun(lun)).collect();
        let acls: Vec<Json> = group
            .acls
            .values()
            .map(|acl| self.acl(group, acl))
            .collect();
        let portals: Vec<Json> = group
            .portals
            .values()
            .map(|portal| as_portal(portal))
            .collect();
        let mut one = object([
            ("tag", json!(group.tag)),
            ("enable", json!(group.enabled())),
            (
                "attributes",
                json!(files(ObjectKind::Tpg, of, column, "attrib")),
            ),
            ("parameters", json!(parameters)),
            ("luns", json!(luns)),
            ("node_acls", json!(acls)),
            ("portals", json!(portals)),
        ]);
        self.credentials(&mut one, of, "chap_");
        json!(one)
    }

    fn lun(&self, lun: &Lun) -> Json {
        let store = self.tree.backstore_by_id(lun.backstore);
        let object_path =
            store.map(|store| format!("/backstores/{}/{}", plugin(store), self.name_of(store)));
        let group = text_of(&lun.attributes, "alua_group").unwrap_or(DEFAULT_GROUP);
        let mut one = object([
            ("index", json!(lun.number.0)),
            ("storage_object", json!(object_path)),
            ("alua_tg_pt_gp_name", json!(group)),
        ]);
        add_alias(&mut one, &lun.attributes);
        json!(one)
    }

    fn acl(&self, group: &PortalGroup, acl: &NodeAcl) -> Json {
        let attributes = files(ObjectKind::Acl, &acl.attributes, group.column(), "attrib");
        let mapped: Vec<Json> = if group.shows_every_lun(acl) {
            let protect = group.prod_mode_write_protect();
            let every = group.luns.values().map(|lun| {
                json!(object([
                    ("index", json!(lun.number.0)),
                    ("tpg_lun", json!(lun.number.0)),
                    ("write_protect", json!(protect || lun.write_protect())),
                ]))
            });
            every.collect()
        } else {
            acl.luns.values().map(|mapped| mapped_lun(mapped)).collect()
        };
        let mut one = object([
            ("node_wwn", json!(acl.initiator.as_str())),
            ("attributes", json!(attributes)),
            ("mapped_luns", json!(mapped)),
        ]);
        if let Some(tag) = text_of(&acl.attributes, "tag") {
            one.insert("tag".into(), json!(tag));
        }
        self.credentials(&mut one, &acl.attributes, "chap_");
        json!(one)
    }

    fn credentials(&self, one: &mut Object, of: &Attributes, prefix: &str) {
        for (key, name) in LIO_CREDENTIALS {
            let key = format!("{prefix}{key}");
            if let Some(text) = text_of(of, name) {
                one.insert(key, json!(text));
            } else if let Some(secret) = secret_of(of, name) {
                // The format has text only.
                if self.with_secrets {
                    one.insert(key, json!(String::from_utf8_lossy(secret.expose())));
                } else {
                    one.insert(format!("{key}{KEPT}"), json!(true));
                }
            }
        }
    }
}

fn alua_groups(store: &Backstore) -> Json {
    let none = Attributes::new();
    let group = |name: &str, attributes: &Attributes| {
        let mut one = object([("name", json!(name))]);
        for row in ObjectKind::AluaGroup.attributes() {
            // rtslib does not save this one.
            let unsaved = row.name == "alua_support_lba_dependent";
            let value = effective(ObjectKind::AluaGroup, attributes, row.name, Column::Lio);
            if let Some(value) = value.filter(|_| !unsaved || attributes.contains_key(row.name)) {
                one.insert(row.name.into(), as_number(&row.to_lio(&value)));
            }
        }
        json!(one)
    };
    let default = store.alua.get(DEFAULT_GROUP);
    let mut groups = vec![group(
        DEFAULT_GROUP,
        default.map_or(&none, |one| &one.attributes),
    )];
    let others = store.alua.values().filter(|one| one.name != DEFAULT_GROUP);
    groups.extend(others.map(|one| group(&one.name, &one.attributes)));
    json!(groups)
}

fn as_portal(portal: &Portal) -> Json {
    let address = match portal.address {
        // As targetcli spells it.
        at if at.is_ipv6() && at.ip().is_unspecified() => "[::0]".to_owned(),
        at if at.is_ipv6() => format!("[{}]", at.ip()),
        at => at.ip().to_string(),
    };
    json!(object([
        ("ip_address", json!(address)),
        ("port", json!(portal.address.port())),
        ("iser", json!(false)),
        ("offload", json!(false)),
    ]))
}

fn mapped_lun(mapped: &MappedLun) -> Json {
    let mut one = object([
        ("index", json!(mapped.number.0)),
        ("tpg_lun", json!(mapped.lun.0)),
        ("write_protect", json!(mapped.write_protect())),
    ]);
    add_alias(&mut one, &mapped.attributes);
    json!(one)
}

fn add_alias(one: &mut Object, attributes: &Attributes) {
    // rtslib finds one where there is none.
    if let Some(alias) = text_of(attributes, "alias") {
        one.insert("alias".into(), json!(alias));
    }
}

fn object<const N: usize>(entries: [(&str, Json); N]) -> Object {
    let own = |(key, value): (&str, Json)| (key.to_owned(), value);
    entries.into_iter().map(own).collect()
}

/// LIO's files of a group of attributes, each with the value in force; those without any are left out.
fn files(kind: ObjectKind, of: &Attributes, column: Column, group: &str) -> Object {
    let file = |row: &'static Attribute| {
        let path = row.lio_path()?;
        let name = path.strip_prefix(group)?.strip_prefix('/')?;
        let value = effective(kind, of, row.name, column)?;
        Some((name.to_owned(), as_number(&row.to_lio(&value))))
    };
    kind.attributes().iter().filter_map(file).collect()
}

/// rtslib saves attributes as numbers where they are some.
fn as_number(text: &str) -> Json {
    text.parse::<i64>()
        .map_or_else(|_| json!(text), |number| json!(number))
}

/// rtslib saves parameters as text.
fn as_text(files: Object) -> Object {
    let text = |(name, value): (String, Json)| match value {
        Json::Number(number) => (name, json!(number.to_string())),
        other => (name, other),
    };
    files.into_iter().map(text).collect()
}
