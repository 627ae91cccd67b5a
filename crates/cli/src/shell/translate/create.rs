//! What `create` makes at each place, with what targetcli makes along with it.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use control_api::{AttributeMap, Change, Object};
use serde_json::Value;

use super::{
    FileFact, Setting, Snapshot, Wish, absolute, lowest_free, make, map, portal_name, text,
};
use crate::shell::commands::Bound;
use crate::shell::path::{
    ISCSI_PORT, Place, backstore_type, child, last_name, lun_number, numbered, parent, prefix,
    resolve, segments,
};

/// What `create` asks for at a path.
///
/// # Errors
/// What was given cannot be meant.
pub(crate) fn create(
    path: &str,
    bound: &Bound,
    tree: &Snapshot,
    setting: &Setting<'_>,
) -> Result<Wish> {
    let mut wish = match Place::of(path) {
        Place::BackstoreType => backstore(path, bound, setting)?,
        Place::AluaGroups => alua_group(path, bound)?,
        Place::Targets => target(path, bound, setting),
        Place::Target => tpg(path, bound, tree, setting)?,
        Place::Tpgs => tpg(&parent(path), bound, tree, setting)?,
        Place::Portals => made(make(child(path, &portal_name(bound)?), AttributeMap::new())),
        Place::Luns => lun(path, bound, tree, setting)?,
        Place::Acls => acl(path, bound, tree, setting)?,
        Place::Acl => mapped_lun(path, bound, tree, setting)?,
        Place::MappedLuns => mapped_lun(&parent(path), bound, tree, setting)?,
        _ => bail!("{path}: nothing is made there by name; write create PATH with the whole path"),
    };
    add_others(&mut wish, bound);
    Ok(wish)
}

/// What was set besides belongs to the object that was asked for.
fn add_others(wish: &mut Wish, bound: &Bound) {
    for change in &mut wish.changes {
        if let Change::Create { path, attributes } = change
            && Some(&*path) == wish.made.as_ref()
        {
            let other =
                |(name, value): &(String, String)| (name.clone(), Value::from(value.as_str()));
            attributes.extend(bound.others.iter().map(other));
        }
    }
}

fn made(change: Change) -> Wish {
    Wish {
        made: Some(change.path().to_owned()),
        ..Wish::of(vec![change])
    }
}

fn backstore(path: &str, bound: &Bound, setting: &Setting<'_>) -> Result<Wish> {
    let name = bound.needed("name")?;
    let mut attributes = backstore_attributes(name, setting);
    let mut notes = Vec::new();
    let mut place = path.to_owned();
    if let Some(serial) = bound.value("wwn") {
        attributes.insert("serial".to_owned(), serial.into());
    }
    match segments(path).nth(1) {
        Some("file") => {
            let file = absolute(setting.folder, bound.needed("file_or_dev")?);
            let size = file_size(&file, bound, setting, &mut notes)?;
            attributes.extend(size.map(|size| ("size".to_owned(), size)));
            attributes.insert("path".to_owned(), path_value(&file));
            if let Some(write_back) = bound.yes_no("write_back")? {
                attributes.insert("write_cache".to_owned(), write_back.into());
            }
            if bound.yes_no("sparse")? == Some(false) {
                notes.push("sparse=false: the file is made sparse all the same; fill it before, and it is taken as it is".to_owned());
            }
        }
        Some("block") => {
            let device = absolute(setting.folder, bound.needed("dev")?);
            attributes.insert("path".to_owned(), path_value(&device));
            if let Some(read_only) = bound.yes_no("readonly")? {
                attributes.insert("read_only".to_owned(), read_only.into());
            }
            if bound.yes_no("exclusive")? == Some(false) {
                notes.push(
                    "exclusive=false: the device is opened for the daemon alone all the same"
                        .to_owned(),
                );
            }
        }
        _ => {
            attributes.insert("size".to_owned(), bound.needed("size")?.into());
            if bound.yes_no("nullio")? == Some(true) {
                place = "/backstores/null".to_owned();
            }
        }
    }
    Ok(Wish {
        notes,
        ..made(make(child(&place, name), attributes))
    })
}

/// What every backstore gets that is made as targetcli makes it.
fn backstore_attributes(name: &str, setting: &Setting<'_>) -> AttributeMap {
    let mut attributes = AttributeMap::new();
    if setting.preferences.lio_defaults() {
        attributes.extend(map([("defaults", "lio".into())]));
    }
    // INQUIRY's product is printable ASCII (SPC-5).
    if setting.preferences.is("export_backstore_name_as_model") && name.is_ascii() {
        attributes.extend(map([("attrib.emulate_model_alias", true.into())]));
    }
    attributes
}

fn path_value(file: &Path) -> Value {
    model::text_of_path(file).into()
}

/// As targetcli has it: a file or device that exists keeps its size, a new file needs one.
fn file_size(
    file: &Path,
    bound: &Bound,
    setting: &Setting<'_>,
    notes: &mut Vec<String>,
) -> Result<Option<Value>> {
    let shown = file.display();
    match (bound.value("size"), (setting.probe)(file)) {
        (Some(_), FileFact::Regular | FileFact::BlockDevice) => {
            notes.push(format!("{shown} exists and keeps its size"));
            Ok(None)
        }
        (None, FileFact::Regular | FileFact::BlockDevice) => Ok(None),
        (_, FileFact::Other) => {
            bail!("{shown}: neither a file nor a block device; name one of these")
        }
        (Some(size), FileFact::Absent) => Ok(Some(size.into())),
        (None, FileFact::Absent) => {
            bail!("{shown}: there is no such file; give its size, such as 1G, to make it")
        }
    }
}

fn alua_group(path: &str, bound: &Bound) -> Result<Wish> {
    let tag = bound.needed("tag")?;
    let group = make(
        child(path, bound.needed("name")?),
        map([("tg_pt_gp_id", tag.into())]),
    );
    Ok(made(group))
}

fn target(path: &str, bound: &Bound, setting: &Setting<'_>) -> Wish {
    let name = bound
        .value("wwn")
        .map_or_else(setting.new_target, ToOwned::to_owned);
    let target = resolve(path, &name);
    let mut wish = made(make(target.clone(), AttributeMap::new()));
    wish.changes
        .push(make(group_path(&target, 1), group_attributes(setting)));
    if setting.preferences.is("auto_add_default_portal") {
        wish.changes.push(default_portal(&target, 1));
    }
    wish
}

fn tpg(target: &str, bound: &Bound, tree: &Snapshot, setting: &Setting<'_>) -> Result<Wish> {
    let groups = child(target, "tpgs");
    let tag = match bound.value("tag") {
        None => lowest_free(&tree.numbers(&groups), 1),
        Some(tag) => numbered(tag, "tpg")
            .or_else(|| numbered(tag, ""))
            .and_then(|tag| tag.parse().ok())
            .with_context(|| format!("{tag}: no portal group tag; use 1 to 65535"))?,
    };
    let mut wish = made(make(group_path(target, tag), group_attributes(setting)));
    if !setting.preferences.is("auto_add_default_portal") {
        return Ok(wish);
    }
    // Two groups of a target cannot be reached at one address, so a wildcard leaves no room beside another group's.
    if tree
        .children(&groups)
        .iter()
        .any(|group| uses_default_port(tree, group))
    {
        wish.notes.push("no default portal is made: another portal group of the target uses its port; create one of its own".to_owned());
    } else {
        wish.changes.push(default_portal(target, tag));
    }
    Ok(wish)
}

fn uses_default_port(tree: &Snapshot, group: &Object) -> bool {
    let portals = tree.children(&child(&group.path, "portals")).iter();
    let mut addresses =
        portals.filter_map(|portal| last_name(&portal.path).parse::<SocketAddr>().ok());
    addresses.any(|at| at.port() == ISCSI_PORT)
}

fn group_path(target: &str, tag: u64) -> String {
    format!("{target}/tpgs/{tag}")
}

/// targetcli enables a new group and asks nobody to prove themselves.
fn group_attributes(setting: &Setting<'_>) -> AttributeMap {
    let mut attributes = map([("enabled", setting.preferences.is("auto_enable_tpgt").into())]);
    if setting.preferences.lio_defaults() {
        attributes.extend(map([
            ("defaults", "lio".into()),
            ("authentication", "none".into()),
        ]));
    }
    attributes
}

fn default_portal(target: &str, tag: u64) -> Change {
    let path = format!("{}/portals/0.0.0.0:{ISCSI_PORT}", group_path(target, tag));
    make(path, AttributeMap::new())
}

fn lun(path: &str, bound: &Bound, tree: &Snapshot, setting: &Setting<'_>) -> Result<Wish> {
    let group = parent(path);
    let (backstore, mut wish) =
        backstore_reference(bound.needed("storage_object")?, path, setting)?;
    if let Some(lun) = lun_of(tree, path, &backstore) {
        bail!(
            "{backstore}: LUN {} of the portal group shows it already",
            last_name(&lun.path)
        );
    }
    let given = bound
        .value("lun")
        .map(|lun| number(lun, "LUN"))
        .transpose()?;
    let lun = given.unwrap_or_else(|| lowest_free(&tree.numbers(path), 0));
    let made = child(path, &lun.to_string());
    wish.changes
        .push(make(made.clone(), map([("backstore", backstore.into())])));
    wish.made = Some(made);
    if add_mapped_luns(bound, setting)? {
        for acl in tree.children(&child(&group, "acls")) {
            let mapped = child(&acl.path, "luns");
            let taken = tree.numbers(&mapped);
            // Such an initiator sees every LUN of the group; mapping one for it would end that.
            if taken.is_empty() && is(acl, "default_luns") {
                continue;
            }
            let first = given.unwrap_or(0);
            let at = if taken.contains(&first) {
                lowest_free(&taken, 0)
            } else {
                first
            };
            wish.changes.push(mapping(&acl.path, at, lun));
        }
    }
    Ok(wish)
}

fn acl(path: &str, bound: &Bound, tree: &Snapshot, setting: &Setting<'_>) -> Result<Wish> {
    let acl = resolve(path, bound.needed("wwn")?);
    if Place::of(&acl) != Place::Acl {
        bail!(
            "{}: no initiator name; write one such as iqn.2026-11.org.example:host1",
            bound.needed("wwn")?
        );
    }
    let group = parent(path);
    let add = add_mapped_luns(bound, setting)?;
    let lio = tree
        .find(&group)
        .is_some_and(|group| text(group, "defaults") == Some("lio"));
    let mut wish = match (lio, add) {
        // There an ACL without LUNs of its own shows all of them, those to come too.
        (false, true) | (true, _) => made(make(acl.clone(), AttributeMap::new())),
        (false, false) => made(make(acl.clone(), map([("default_luns", false.into())]))),
    };
    if lio && add {
        let luns = tree.numbers(&child(&group, "luns"));
        wish.changes
            .extend(luns.into_iter().map(|lun| mapping(&acl, lun, lun)));
    }
    Ok(wish)
}

fn mapped_lun(acl: &str, bound: &Bound, tree: &Snapshot, setting: &Setting<'_>) -> Result<Wish> {
    let at = number(bound.needed("mapped_lun")?, "mapped LUN")?;
    let given = bound.needed("tpg_lun_or_backstore")?;
    let luns = child(&prefix(acl, 4), "luns");
    let known = lun_number(given);
    let (lun, mut wish) = if let Ok(lun) = known.parse() {
        (lun, Wish::default())
    } else {
        let (backstore, mut wish) = backstore_reference(given, acl, setting)?;
        let shown = lun_of(tree, &luns, &backstore);
        match shown.and_then(|lun| last_name(&lun.path).parse().ok()) {
            Some(lun) => (lun, Wish::default()),
            None => {
                let lun = lowest_free(&tree.numbers(&luns), 0);
                let path = child(&luns, &lun.to_string());
                wish.changes
                    .push(make(path, map([("backstore", backstore.into())])));
                (lun, wish)
            }
        }
    };
    let mapped = tree.children(&child(acl, "luns")).iter();
    let mut shown = mapped.filter(|mapped| mapped.attributes.get("lun") == Some(&lun.into()));
    if let Some(other) = shown.next() {
        wish.notes.push(format!(
            "LUN {lun} is mapped for this initiator already, as {}",
            last_name(&other.path)
        ));
    }
    let mut change = mapping(acl, at, lun);
    if let (Some(yes), Change::Create { attributes, .. }) =
        (bound.yes_no("write_protect")?, &mut change)
    {
        attributes.insert("write_protect".to_owned(), yes.into());
    }
    wish.made = Some(change.path().to_owned());
    wish.changes.push(change);
    Ok(wish)
}

fn mapping(acl: &str, at: u64, lun: u64) -> Change {
    make(format!("{acl}/luns/{at}"), map([("lun", lun.into())]))
}

fn number(text: &str, what: &str) -> Result<u64> {
    let number = lun_number(text).parse();
    number.map_err(|_| anyhow!("{text}: no {what}; use 0 to 16383"))
}

fn add_mapped_luns(bound: &Bound, setting: &Setting<'_>) -> Result<bool> {
    let given = bound.yes_no("add_mapped_luns")?;
    Ok(given.unwrap_or_else(|| setting.preferences.is("auto_add_mapped_luns")))
}

fn is(object: &Object, name: &str) -> bool {
    object.attributes.get(name) == Some(&Value::Bool(true))
}

/// The LUN that shows a backstore.
fn lun_of<'a>(tree: &'a Snapshot, luns: &str, backstore: &str) -> Option<&'a Object> {
    let same = |shown: &str| {
        shown == backstore
            || shown
                .split_once('/')
                .is_some_and(|(_, name)| name == backstore)
    };
    let mut luns = tree.children(luns).iter();
    luns.find(|lun| text(lun, "backstore").is_some_and(same))
}

/// The backstore that somebody means, as a LUN names it: by its path in either spelling, as `type/name`, by its name, or by a
/// file or device, for which one is made.
fn backstore_reference(
    typed: &str,
    current: &str,
    setting: &Setting<'_>,
) -> Result<(String, Wish)> {
    let of_path = |path: &str| {
        let name = path.strip_prefix("/backstores/").map(ToOwned::to_owned);
        name.filter(|_| Place::of(path) == Place::Backstore)
    };
    let from = if typed.starts_with("backstores/") {
        "/"
    } else {
        current
    };
    if let Some(reference) = of_path(&resolve(from, typed)) {
        return Ok((reference, Wish::default()));
    }
    match segments(typed).collect::<Vec<_>>().as_slice() {
        [name] if !typed.contains('/') => return Ok(((*name).to_owned(), Wish::default())),
        [kind, name] if !typed.starts_with(['/', '.']) && is_type(kind) => {
            return Ok((format!("{}/{name}", backstore_type(kind)), Wish::default()));
        }
        _ => {}
    }
    let file = absolute(setting.folder, typed);
    let (kind, name) = match (setting.probe)(&file) {
        FileFact::Regular => ("file", last_name(typed)),
        FileFact::BlockDevice => ("block", last_name(typed)),
        FileFact::Other | FileFact::Absent => bail!(
            "{typed}: neither a backstore nor a file nor a device; write a path such as /backstores/file/disk0"
        ),
    };
    let mut attributes = backstore_attributes(name, setting);
    attributes.insert("path".to_owned(), path_value(&file));
    let change = make(format!("/backstores/{kind}/{name}"), attributes);
    Ok((format!("{kind}/{name}"), Wish::of(vec![change])))
}

fn is_type(name: &str) -> bool {
    matches!(backstore_type(name), "file" | "block" | "ram" | "null")
}
