//! targetcli's groups of settings (`attribute`, `parameter`, `auth`, ...) as attributes of ours. Which is which the one table
//! of attributes knows.

use anyhow::{Result, bail};
use control_api::{AttributeInfo, AttributeMap, Change, Object};
use model::Raw;
use model::attributes::{Attribute, LIO_CREDENTIALS, ObjectKind};
use serde_json::Value;

use crate::shell::path::{Place, prefix};

/// A group of settings at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    Attribute,
    Parameter,
    Auth,
    Alua,
    DiscoveryAuth,
    /// The shell's own preferences.
    Global,
}

impl Group {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Attribute => "attribute",
            Self::Parameter => "parameter",
            Self::Auth => "auth",
            Self::Alua => "alua",
            Self::DiscoveryAuth => "discovery_auth",
            Self::Global => "global",
        }
    }

    /// The object that it sets at a path.
    pub(crate) fn object(self, path: &str) -> String {
        match self {
            Self::DiscoveryAuth => "/discovery".to_owned(),
            _ => path.to_owned(),
        }
    }

    /// The folder of LIO's files for it.
    fn folder(self) -> &'static str {
        match self {
            Self::Attribute => "attrib/",
            Self::Parameter => "param/",
            Self::Auth => "auth/",
            Self::DiscoveryAuth => "discovery_auth/",
            Self::Alua | Self::Global => "",
        }
    }
}

/// The groups that can be set at a path.
pub(crate) fn groups(path: &str) -> Vec<Group> {
    let mut groups = match Place::of(path) {
        Place::Tpg | Place::Acl => vec![Group::Attribute, Group::Parameter, Group::Auth],
        Place::Backstore => vec![Group::Attribute],
        Place::AluaGroup | Place::Lun => vec![Group::Alua],
        Place::Targets | Place::Discovery => vec![Group::DiscoveryAuth],
        _ => Vec::new(),
    };
    groups.push(Group::Global);
    groups
}

/// What setting names of a group at a path changes. An empty value goes back to the default.
///
/// # Errors
/// There is no such name in the group.
pub(crate) fn set(path: &str, group: Group, named: &[(String, String)]) -> Result<Vec<Change>> {
    let object = group.object(path);
    let kind = kind_of(&object);
    let mut attributes = AttributeMap::new();
    let mut changes = Vec::new();
    for (name, value) in named {
        if group == Group::Parameter && name == "TargetAlias" && Place::of(path) == Place::Tpg {
            changes.push(Change::Set {
                path: prefix(path, 2),
                attributes: [("alias".to_owned(), Value::from(value.as_str()))].into(),
            });
            continue;
        }
        let (name, value) = match row(kind, group, name) {
            Some(row) => (row.name.to_owned(), given(row, value)),
            None => (unknown(group, name)?, Value::from(value.as_str())),
        };
        attributes.insert(name, value);
    }
    if !attributes.is_empty() {
        changes.push(Change::Set {
            path: object,
            attributes,
        });
    }
    Ok(changes)
}

fn given(row: &Attribute, text: &str) -> Value {
    if text.is_empty() {
        return Value::Null;
    }
    match row.from_lio(Raw::from(text)) {
        Raw::Bool(yes) => yes.into(),
        Raw::Integer(number) => number.into(),
        Raw::Text(text) => text.into(),
        Raw::Secret(_) | Raw::Kept => text.into(),
    }
}

/// What the table does not know is for the daemon to refuse, with the nearest name; but a group of fixed names is here.
fn unknown(group: Group, name: &str) -> Result<String> {
    match group {
        Group::Attribute => Ok(format!("attrib.{name}")),
        Group::Parameter => Ok(format!("param.{name}")),
        Group::Auth => bail!(
            "{name}: not in group auth; it has userid, password, mutual_userid and mutual_password"
        ),
        Group::DiscoveryAuth => bail!(
            "{name}: not in group discovery_auth; it has enable, userid, password, mutual_userid and mutual_password"
        ),
        Group::Alua | Group::Global => Ok(name.to_owned()),
    }
}

fn kind_of(path: &str) -> Option<ObjectKind> {
    let name = Place::of(path).kind()?;
    ObjectKind::ALL
        .into_iter()
        .find(|kind| kind.as_str() == name)
}

/// The row that a name of a group is for.
fn row(kind: Option<ObjectKind>, group: Group, name: &str) -> Option<&'static Attribute> {
    let kind = kind?;
    let file = match (group, name) {
        (Group::Auth | Group::DiscoveryAuth, name) => return kind.attribute(auth_name(name)?),
        (Group::Alua, "alua_tg_pt_gp_name") => "alua_tg_pt_gp".to_owned(),
        (group, name) => format!("{}{name}", group.folder()),
    };
    kind.attribute_of_lio(&file)
}

/// Names of the auth groups, and the attributes that they are.
fn auth_names() -> impl Iterator<Item = (&'static str, &'static str)> {
    [("enable", "enforce")].into_iter().chain(LIO_CREDENTIALS)
}

fn auth_name(name: &str) -> Option<&'static str> {
    auth_names()
        .find(|(theirs, _)| *theirs == name)
        .map(|(_, ours)| ours)
}

/// The names of a group at a path, of the attributes that the daemon has: targetcli's name, and the attribute.
pub(crate) fn lio_names<'a>(
    path: &str,
    group: Group,
    infos: &'a [AttributeInfo],
) -> Vec<(String, &'a AttributeInfo)> {
    let Some(kind) = kind_of(&group.object(path)) else {
        return Vec::new();
    };
    let name = |info: &'a AttributeInfo| -> Option<(String, &'a AttributeInfo)> {
        match group {
            Group::Auth | Group::DiscoveryAuth => {
                let (theirs, _) = auth_names().find(|(_, ours)| *ours == info.name)?;
                Some((theirs.to_owned(), info))
            }
            Group::Alua if info.name == "alua_group" => {
                Some(("alua_tg_pt_gp_name".to_owned(), info))
            }
            Group::Alua => Some((kind.attribute(&info.name)?.lio_path()?, info)),
            _ => {
                let file = kind.attribute(&info.name)?.lio_path()?;
                Some((file.strip_prefix(group.folder())?.to_owned(), info))
            }
        }
    };
    infos.iter().filter_map(name).collect()
}

/// The value of an attribute as targetcli shows it.
pub(crate) fn lio_value(object: &Object, info: &AttributeInfo) -> String {
    match object.attributes.get(&info.name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::Bool(yes)) => u8::from(*yes).to_string(),
        Some(Value::String(text)) if info.name == "authentication" => {
            u8::from(text == "chap").to_string()
        }
        Some(value) => crate::client::show::value_text(value),
    }
}
