//! One look or one change at a path: `ls`, `get`, `set`, `create`, `delete`, `enable`, `disable`, `resize`.

use std::path::Path;

use anyhow::{Result, bail};
use control_api::{AttributeMap, Change, Object, Transaction};
use model::attributes::{ObjectKind, nearest};
use serde_json::Value;

use super::plane::Plane;
use super::refused::Refused;
use super::show::value_text;
use crate::shell::path::{Place, child, resolve};

/// A path of a command line, canonical: either spelling, the leading slash not needed.
pub(crate) fn object_path(typed: &str) -> String {
    resolve("/", typed)
}

/// A transaction of these changes, on whatever generation is in force.
pub(crate) fn transaction(changes: Vec<Change>) -> Transaction {
    Transaction {
        changes,
        if_generation: None,
    }
}

/// What makes an object. A relative file is where the caller is, not where the daemon is.
pub(crate) fn create(path: String, mut attributes: AttributeMap, folder: &Path) -> Change {
    if Place::of(&path) == Place::Backstore
        && let Some(Value::String(file)) = attributes.get_mut("path")
        && !file.is_empty()
    {
        *file = model::text_of_path(&folder.join(&*file));
    }
    Change::Create { path, attributes }
}

/// What lets initiators into a portal group, or keeps them out; of a target, into all its groups.
///
/// # Errors
/// The path is of neither, or the target cannot be looked at.
pub(crate) fn switch(plane: &dyn Plane, path: &str, enabled: bool) -> Result<Vec<Change>> {
    let set = |path: String| Change::Set {
        path,
        attributes: AttributeMap::from([("enabled".to_owned(), Value::Bool(enabled))]),
    };
    match Place::of(path) {
        Place::Tpg => Ok(vec![set(path.to_owned())]),
        Place::Target | Place::Tpgs => {
            let groups = match Place::of(path) {
                Place::Target => child(path, "tpgs"),
                _ => path.to_owned(),
            };
            let answer = plane.tree(&groups, 1).map_err(Refused::from)?;
            if answer.object.children.is_empty() {
                bail!("{path}: it has no portal group; create one at {groups}/1");
            }
            Ok(answer
                .object
                .children
                .into_iter()
                .map(|group| set(group.path))
                .collect())
        }
        _ => bail!(
            "{path}: only targets and portal groups are enabled and disabled; name one, such as /targets/IQN/tpgs/1"
        ),
    }
}

/// What gives a backstore another size.
///
/// # Errors
/// The path is of no backstore.
pub(crate) fn resize(path: &str, size: &str) -> Result<Change> {
    if Place::of(path) != Place::Backstore {
        bail!("{path}: only backstores have a size; name one, such as /backstores/file/disk0");
    }
    Ok(Change::Set {
        path: path.to_owned(),
        attributes: AttributeMap::from([("size".to_owned(), Value::from(size))]),
    })
}

/// The value of an attribute or fact of an object. One that has neither a value nor a default is empty.
///
/// # Errors
/// Objects of its kind have no such attribute.
pub(crate) fn value_of(plane: &dyn Plane, object: &Object, name: &str) -> Result<Value> {
    let known = object
        .attributes
        .get(name)
        .or_else(|| object.state.get(name));
    if let Some(value) = known {
        return Ok(value.clone());
    }
    let infos = plane
        .attributes(Some(&object.kind))
        .map_err(Refused::from)?;
    if infos.iter().any(|info| info.name == name) {
        return Ok(Value::Null);
    }
    let facts = object.state.keys().map(String::as_str);
    let kind = ObjectKind::ALL
        .into_iter()
        .find(|kind| kind.as_str() == object.kind);
    let meant = kind.and_then(|kind| kind.meant(name));
    match meant.or_else(|| nearest(name, facts)) {
        Some(near) => bail!(
            "{name}: {} has no such attribute; did you mean {near}?",
            object.path
        ),
        None => bail!(
            "{name}: {} has no such attribute; `quintain attributes {}` lists them",
            object.path,
            object.kind
        ),
    }
}

/// The answer to `get`: the bare value of one name, else a line for each.
pub(crate) fn values_text(plane: &dyn Plane, object: &Object, names: &[String]) -> Result<String> {
    let [name] = names else {
        let mut text = String::new();
        for name in names {
            let value = value_of(plane, object, name)?;
            text.push_str(&format!("{name}={}\n", value_text(&value)));
        }
        return Ok(text);
    };
    Ok(value_text(&value_of(plane, object, name)?) + "\n")
}
