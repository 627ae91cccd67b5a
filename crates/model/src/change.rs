//! Changes, and what becomes of a tree when a list of them is applied: whole, or not at all. Pure.

mod check;
mod desired;
mod plan;
mod secrets;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

pub use self::plan::{Mistake, Plan, Touched};
use crate::path::ObjectPath;
use crate::value::Raw;

/// Attributes as somebody gives them, by name; `None` sets one back to its default.
pub type Given = BTreeMap<String, Option<Raw>>;

/// One wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Make an object.
    Create { path: ObjectPath, attributes: Given },
    /// Set attributes of an object that exists.
    Set { path: ObjectPath, attributes: Given },
    /// Take an object away, with everything below it; with `cascade` also the LUNs that show a backstore.
    Delete { path: ObjectPath, cascade: bool },
}

impl Change {
    /// A wish to make an object, with attributes.
    #[must_use]
    pub fn create<'a>(
        path: ObjectPath,
        attributes: impl IntoIterator<Item = (&'a str, Raw)>,
    ) -> Self {
        Self::Create {
            path,
            attributes: given(attributes),
        }
    }

    /// A wish to set attributes.
    #[must_use]
    pub fn set<'a>(path: ObjectPath, attributes: impl IntoIterator<Item = (&'a str, Raw)>) -> Self {
        Self::Set {
            path,
            attributes: given(attributes),
        }
    }

    /// The object that it is about.
    #[must_use]
    pub fn path(&self) -> &ObjectPath {
        match self {
            Self::Create { path, .. } | Self::Set { path, .. } | Self::Delete { path, .. } => path,
        }
    }
}

fn given<'a>(attributes: impl IntoIterator<Item = (&'a str, Raw)>) -> Given {
    let entry = |(name, raw): (&str, Raw)| (name.to_owned(), Some(raw));
    attributes.into_iter().map(entry).collect()
}

impl fmt::Display for Change {
    /// For audit and history: the path and the names of what is set, never a value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verb, attributes) = match self {
            Self::Create { attributes, .. } => ("create", Some(attributes)),
            Self::Set { attributes, .. } => ("set", Some(attributes)),
            Self::Delete { .. } => ("delete", None),
        };
        write!(f, "{verb} {}", self.path())?;
        for name in attributes.into_iter().flat_map(BTreeMap::keys) {
            write!(f, " {name}")?;
        }
        Ok(())
    }
}
