//! Paths as people type them, made canonical: relative ones, and targetcli's spellings (`/iscsi/<iqn>/tpg1/luns/lun0`).
//!
//! It knows where in the tree a name may stand; it does not know which objects there are.

use std::net::{IpAddr, SocketAddr};

use iscsi_wire::IscsiName;
use model::attributes::ObjectKind;

/// What stands at a canonical path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Root,
    Discovery,
    Backstores,
    BackstoreType,
    Backstore,
    AluaGroups,
    AluaGroup,
    Targets,
    Target,
    Tpgs,
    Tpg,
    Portals,
    Portal,
    Luns,
    Lun,
    Acls,
    Acl,
    MappedLuns,
    MappedLun,
    /// Nothing can stand here.
    Nowhere,
}

/// In whose spelling paths are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Spelling {
    #[default]
    Canonical,
    Targetcli,
}

impl Place {
    pub(crate) fn of(path: &str) -> Self {
        let segments: Vec<&str> = segments(path).collect();
        match segments.as_slice() {
            [] => Self::Root,
            ["discovery"] => Self::Discovery,
            ["backstores", below @ ..] => match below {
                [] => Self::Backstores,
                [_] => Self::BackstoreType,
                [_, _] => Self::Backstore,
                [_, _, "alua"] => Self::AluaGroups,
                [_, _, "alua", _] => Self::AluaGroup,
                _ => Self::Nowhere,
            },
            ["targets"] => Self::Targets,
            ["targets", _] => Self::Target,
            ["targets", _, "tpgs"] => Self::Tpgs,
            ["targets", _, "tpgs", _, below @ ..] => match below {
                [] => Self::Tpg,
                ["portals"] => Self::Portals,
                ["portals", _] => Self::Portal,
                ["luns"] => Self::Luns,
                ["luns", _] => Self::Lun,
                ["acls"] => Self::Acls,
                ["acls", _] => Self::Acl,
                ["acls", _, "luns"] => Self::MappedLuns,
                ["acls", _, "luns", _] => Self::MappedLun,
                _ => Self::Nowhere,
            },
            _ => Self::Nowhere,
        }
    }

    /// The kind of object in the table of attributes; containers and the impossible have none.
    pub(crate) fn kind(self) -> Option<&'static str> {
        let kind = match self {
            Self::Root => ObjectKind::Daemon,
            Self::Discovery => ObjectKind::Discovery,
            Self::Backstore => ObjectKind::Backstore,
            Self::AluaGroup => ObjectKind::AluaGroup,
            Self::Target => ObjectKind::Target,
            Self::Tpg => ObjectKind::Tpg,
            Self::Portal => ObjectKind::Portal,
            Self::Lun => ObjectKind::Lun,
            Self::Acl => ObjectKind::Acl,
            Self::MappedLun => ObjectKind::MappedLun,
            _ => return None,
        };
        Some(kind.as_str())
    }
}

/// The names between the slashes.
pub(crate) fn segments(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

/// The last name of a path; empty for the root.
pub(crate) fn last_name(path: &str) -> &str {
    segments(path).next_back().unwrap_or("")
}

/// The path above; the root is above itself.
pub(crate) fn parent(path: &str) -> String {
    let mut names: Vec<&str> = segments(path).collect();
    names.pop();
    join(&names)
}

/// The path of a child.
pub(crate) fn child(path: &str, name: &str) -> String {
    format!("{}/{name}", path.trim_end_matches('/'))
}

/// The first `count` names of a path, as a path.
pub(crate) fn prefix(path: &str, count: usize) -> String {
    let names: Vec<&str> = segments(path).take(count).collect();
    join(&names)
}

fn join<T: AsRef<str>>(names: &[T]) -> String {
    let mut path = String::new();
    for name in names {
        path.push('/');
        path.push_str(name.as_ref());
    }
    if path.is_empty() {
        "/".to_owned()
    } else {
        path
    }
}

/// The canonical path of what was typed while `current` (canonical) was the current one.
pub(crate) fn resolve(current: &str, typed: &str) -> String {
    let mut names: Vec<String> = if typed.starts_with('/') {
        Vec::new()
    } else {
        segments(current).map(ToOwned::to_owned).collect()
    };
    for name in segments(typed) {
        match name {
            "." => {}
            ".." => drop(names.pop()),
            name => push(&mut names, name),
        }
    }
    join(&names)
}

/// An iSCSI name in its normal form (RFC 3722). What is none stays as it is, for the daemon to refuse.
fn iscsi_name(name: &str) -> String {
    IscsiName::parse_peer(name).map_or_else(|_| name.to_owned(), |name| name.to_string())
}

/// Adds a name as it is spelled canonically where it stands.
fn push(names: &mut Vec<String>, name: &str) {
    match Place::of(&join(names)) {
        Place::Root if name == "iscsi" => names.push("targets".to_owned()),
        Place::Backstores => names.push(backstore_type(name).to_owned()),
        Place::Targets | Place::Acls => names.push(iscsi_name(name)),
        Place::Target => match numbered(name, "tpg") {
            Some(tag) => names.extend(["tpgs".to_owned(), tag]),
            None => names.push(name.to_owned()),
        },
        Place::Tpgs => names.push(numbered(name, "tpg").unwrap_or_else(|| name.to_owned())),
        Place::Acl => match numbered(name, "mapped_lun") {
            Some(lun) => names.extend(["luns".to_owned(), lun]),
            None => names.push(name.to_owned()),
        },
        Place::Luns | Place::MappedLuns => names.push(lun_number(name)),
        Place::Portals => names.push(portal(name)),
        _ => names.push(name.to_owned()),
    }
}

/// `lun3`, `mapped_lun3` and `3` are 3. What is no number stays as it is.
pub(crate) fn lun_number(name: &str) -> String {
    numbered(name, "mapped_lun")
        .or_else(|| numbered(name, "lun"))
        .or_else(|| numbered(name, ""))
        .unwrap_or_else(|| name.to_owned())
}

/// The number behind a word (in any case of letters), without leading zeros.
pub(crate) fn numbered(name: &str, word: &str) -> Option<String> {
    let (head, digits) = name.split_at_checked(word.len())?;
    let fine = head.eq_ignore_ascii_case(word)
        && !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit());
    fine.then(|| {
        let shorter = digits.trim_start_matches('0');
        if shorter.is_empty() { "0" } else { shorter }.to_owned()
    })
}

/// targetcli's name of a type, as ours.
pub(crate) fn backstore_type(name: &str) -> &str {
    match name {
        "fileio" => "file",
        "iblock" => "block",
        "ramdisk" | "rd_mcp" => "ram",
        name => name,
    }
}

/// An address and port as the tree spells it: `[::0]:3260` is `[::]:3260`, and a bare address has iSCSI's port.
pub(crate) fn portal(text: &str) -> String {
    if let Ok(at) = text.parse::<SocketAddr>() {
        return at.to_string();
    }
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    match bare.unwrap_or(text).parse::<IpAddr>() {
        Ok(address) => SocketAddr::new(address, ISCSI_PORT).to_string(),
        Err(_) => text.to_owned(),
    }
}

/// RFC 7143 §4.2.7.3 (IANA: iscsi-target).
pub(crate) const ISCSI_PORT: u16 = 3260;

/// Whether a typed path uses a name that only targetcli has.
pub(crate) fn spelling_of(typed: &str) -> Spelling {
    let theirs = |name: &str| {
        matches!(name, "iscsi" | "fileio" | "ramdisk")
            || numbered(name, "tpg").is_some()
            || numbered(name, "lun").is_some()
            || numbered(name, "mapped_lun").is_some()
    };
    if segments(typed).any(theirs) {
        Spelling::Targetcli
    } else {
        Spelling::Canonical
    }
}

/// Where the children are that a spelling shows below a canonical path: targetcli has no `tpgs` and no `luns` of an ACL.
pub(crate) fn shown_container(path: &str, spelling: Spelling) -> String {
    match (spelling, Place::of(path)) {
        (Spelling::Targetcli, Place::Target) => child(path, "tpgs"),
        (Spelling::Targetcli, Place::Acl) => child(path, "luns"),
        _ => path.to_owned(),
    }
}

/// The name of a child of `container` (canonical) in a spelling.
pub(crate) fn shown_name(container: &str, name: &str, spelling: Spelling) -> String {
    if spelling == Spelling::Canonical {
        return name.to_owned();
    }
    match (Place::of(container), name) {
        (Place::Root, "targets") => "iscsi".to_owned(),
        (Place::Backstores, "file") => "fileio".to_owned(),
        (Place::Backstores, "ram") => "ramdisk".to_owned(),
        (Place::Tpgs, tag) => format!("tpg{tag}"),
        (Place::Luns, lun) => format!("lun{lun}"),
        (Place::MappedLuns, lun) => format!("mapped_lun{lun}"),
        (_, name) => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const IQN: &str = "iqn.2026-11.org.example:t";

    #[test]
    fn resolve_of_either_spelling_is_the_canonical_path() {
        let tpg = format!("/targets/{IQN}/tpgs/1");
        let table = [
            ("/", "", "/".to_owned()),
            ("/", "/", "/".to_owned()),
            ("/targets", "/", "/".to_owned()),
            ("/", "iscsi", "/targets".to_owned()),
            ("/", "/iscsi/", "/targets".to_owned()),
            ("/", "/backstores/fileio", "/backstores/file".to_owned()),
            ("/", "backstores/ramdisk/r", "/backstores/ram/r".to_owned()),
            (
                "/backstores",
                "fileio/fileio",
                "/backstores/file/fileio".to_owned(),
            ),
            (
                "/backstores/file",
                "../block/sdb",
                "/backstores/block/sdb".to_owned(),
            ),
            ("/", "/iscsi/iqn.2026-11.org.EXAMPLE:t/tpg1", tpg.clone()),
            (
                "/targets",
                "iqn.2026-11.org.example:t/tpgs/tpg01",
                tpg.clone(),
            ),
            (&tpg, ".", tpg.clone()),
            (
                &tpg,
                "../tpg2/luns/lun0",
                format!("/targets/{IQN}/tpgs/2/luns/0"),
            ),
            (&tpg, "luns/007", format!("{tpg}/luns/7")),
            (
                &tpg,
                "portals/[::0]:3260",
                format!("{tpg}/portals/[::]:3260"),
            ),
            (
                &tpg,
                "portals/10.0.0.1",
                format!("{tpg}/portals/10.0.0.1:3260"),
            ),
            (
                &tpg,
                "portals/somewhere",
                format!("{tpg}/portals/somewhere"),
            ),
            (
                &tpg,
                "acls/iqn.A/mapped_lun3",
                format!("{tpg}/acls/iqn.a/luns/3"),
            ),
            (
                &tpg,
                "acls/iqn.a/luns/mapped_lun3",
                format!("{tpg}/acls/iqn.a/luns/3"),
            ),
            (
                &tpg,
                "acls/iqn.a/luns/3",
                format!("{tpg}/acls/iqn.a/luns/3"),
            ),
            // Names in their normal form.
            (
                "/targets",
                "IQN.2026-11.Org.Example:A",
                "/targets/iqn.2026-11.org.example:a".to_owned(),
            ),
            (
                &tpg,
                "acls/iqn.2026-11.org.example:U\u{308}BER_1",
                format!("{tpg}/acls/iqn.2026-11.org.example:über_1"),
            ),
            ("/", "../../..", "/".to_owned()),
            ("/", "//backstores///file//", "/backstores/file".to_owned()),
        ];
        for (current, typed, canonical) in table {
            assert_eq!(resolve(current, typed), canonical, "{current} {typed}");
        }
    }

    #[test]
    fn place_of_each_level_is_its_kind() {
        let table = [
            ("/", Place::Root, Some("daemon")),
            ("/discovery", Place::Discovery, Some("discovery")),
            ("/discovery/x", Place::Nowhere, None),
            ("/backstores", Place::Backstores, None),
            ("/backstores/file", Place::BackstoreType, None),
            ("/backstores/file/a", Place::Backstore, Some("backstore")),
            ("/backstores/file/a/alua", Place::AluaGroups, None),
            (
                "/backstores/file/a/alua/g",
                Place::AluaGroup,
                Some("alua_group"),
            ),
            ("/backstores/file/a/b", Place::Nowhere, None),
            ("/targets", Place::Targets, None),
            ("/targets/t", Place::Target, Some("target")),
            ("/targets/t/tpgs", Place::Tpgs, None),
            ("/targets/t/tpgs/1", Place::Tpg, Some("tpg")),
            ("/targets/t/tpgs/1/portals", Place::Portals, None),
            (
                "/targets/t/tpgs/1/portals/a:1",
                Place::Portal,
                Some("portal"),
            ),
            ("/targets/t/tpgs/1/luns", Place::Luns, None),
            ("/targets/t/tpgs/1/luns/0", Place::Lun, Some("lun")),
            ("/targets/t/tpgs/1/acls", Place::Acls, None),
            ("/targets/t/tpgs/1/acls/i", Place::Acl, Some("acl")),
            ("/targets/t/tpgs/1/acls/i/luns", Place::MappedLuns, None),
            (
                "/targets/t/tpgs/1/acls/i/luns/0",
                Place::MappedLun,
                Some("mapped_lun"),
            ),
            ("/loopback", Place::Nowhere, None),
        ];
        for (path, place, kind) in table {
            assert_eq!(Place::of(path), place, "{path}");
            assert_eq!(place.kind(), kind, "{path}");
        }
    }

    #[test]
    fn shown_names_in_targetcli_spelling_resolve_to_the_same_object() {
        let table = [
            ("/", "targets", "iscsi"),
            ("/backstores", "file", "fileio"),
            ("/backstores", "block", "block"),
            ("/backstores", "ram", "ramdisk"),
            ("/targets/t/tpgs", "2", "tpg2"),
            ("/targets/t/tpgs/1/luns", "5", "lun5"),
            ("/targets/t/tpgs/1/acls/i/luns", "5", "mapped_lun5"),
        ];
        for (container, name, shown) in table {
            assert_eq!(shown_name(container, name, Spelling::Targetcli), shown);
            assert_eq!(shown_name(container, name, Spelling::Canonical), name);
            assert_eq!(resolve(container, shown), child(container, name));
        }
        assert_eq!(spelling_of("/iscsi/x"), Spelling::Targetcli);
        assert_eq!(spelling_of("tpg1/luns"), Spelling::Targetcli);
        assert_eq!(spelling_of("/targets/x/tpgs/1"), Spelling::Canonical);
        assert_eq!(
            shown_container("/targets/t", Spelling::Targetcli),
            "/targets/t/tpgs"
        );
    }

    proptest! {
        #[test]
        fn resolve_of_anything_is_canonical_already(typed in "[a-z0-9./:@é]{0,40}") {
            let once = resolve("/", &typed);
            prop_assert_eq!(resolve("/", &once), once);
        }
    }
}
