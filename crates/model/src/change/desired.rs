//! From a wanted state to the changes that lead there: what a file names and what runs may differ; what they agree in is not
//! touched.

use std::collections::BTreeMap;

use super::{Change, Given};
use crate::attributes::ObjectKind;
use crate::path::ObjectPath;
use crate::tree::{Node, Tree};
use crate::value::{Attributes, Raw, Value};

/// Attributes that are found when the object is made and kept: a file that does not name one leaves it as it is.
const FOUND: &[(ObjectKind, &str)] = &[
    (ObjectKind::Backstore, "naa"),
    (ObjectKind::Backstore, "serial"),
    (ObjectKind::Tpg, "authentication"),
    (ObjectKind::Tpg, "relative_target_port"),
];

impl Tree {
    /// The changes that make of this tree what `desired` says: a list of [`Change::Create`], one for each object there is to be. What
    /// it does not name goes.
    #[must_use]
    pub fn changes_to(&self, desired: &[Change]) -> Vec<Change> {
        let wanted: BTreeMap<&ObjectPath, &Given> = desired
            .iter()
            .filter_map(|change| match change {
                Change::Create { path, attributes } => Some((path, attributes)),
                _ => None,
            })
            .collect();
        let mut changes = self.deletions(&wanted);
        let nothing = Given::new();
        for path in [ObjectPath::Daemon, ObjectPath::Discovery] {
            if !wanted.contains_key(&path) {
                changes.extend(self.adjust(&path, &nothing));
            }
        }
        // Owners come before what they own, in the order of paths; the list's own order is kept within that.
        let mut creations = Vec::new();
        for (path, attributes) in wanted {
            match self.find(path) {
                Some(_) => changes.extend(self.adjust(path, attributes)),
                None => creations.push(Change::Create {
                    path: path.clone(),
                    attributes: attributes.clone(),
                }),
            }
        }
        // What exists may be changed to refer to something new: that is made first.
        let at = changes
            .iter()
            .position(|change| matches!(change, Change::Set { .. }))
            .unwrap_or(changes.len());
        changes.splice(at..at, creations);
        changes
    }

    /// This tree as a list of [`Change::Create`]: everything that was set, secrets too.
    #[must_use]
    pub fn as_desired(&self) -> Vec<Change> {
        let create = |path: ObjectPath| {
            let node = self.find(&path)?;
            let given = |(name, value): (&&'static str, &Value)| {
                ((*name).to_owned(), Some(Raw::from(value.clone())))
            };
            let attributes = node.attributes().iter().map(given).collect();
            Some(Change::Create { path, attributes })
        };
        self.paths().into_iter().filter_map(create).collect()
    }

    /// Gives backstores that are larger in this tree than in `desired` the size that they have. Returns their paths.
    pub fn keep_sizes(&self, desired: &mut [Change]) -> Vec<ObjectPath> {
        let mut kept = Vec::new();
        for change in desired {
            let Change::Create { path, attributes } = change else {
                continue;
            };
            let Some(Node::Backstore(store)) = self.find(path) else {
                continue;
            };
            let wanted = match attributes.get("size") {
                Some(Some(raw)) => path.kind().attribute("size").map(|row| row.parse(raw)),
                _ => None,
            };
            if let (Some(Ok(Value::Integer(wanted))), Some(now)) = (wanted, store.size_bytes())
                && u64::try_from(wanted).is_ok_and(|wanted| wanted < now)
                && let Some(size) = store.attributes.get("size")
            {
                attributes.insert("size".to_owned(), Some(Raw::from(size.clone())));
                kept.push(path.clone());
            }
        }
        kept
    }

    fn deletions(&self, wanted: &BTreeMap<&ObjectPath, &Given>) -> Vec<Change> {
        let mut deletions = Vec::new();
        for path in self.paths() {
            let single = matches!(path, ObjectPath::Daemon | ObjectPath::Discovery);
            if single || wanted.contains_key(&path) {
                continue;
            }
            // What goes with its owner needs no word of its own; neither does a mapping whose LUN goes.
            let owner_goes = path
                .owner()
                .is_some_and(|owner| owner != ObjectPath::Daemon && !wanted.contains_key(&owner));
            if !owner_goes && !self.goes_with_lun(&path, wanted) {
                deletions.push(Change::Delete {
                    path,
                    cascade: false,
                });
            }
        }
        deletions
    }

    fn goes_with_lun(&self, path: &ObjectPath, wanted: &BTreeMap<&ObjectPath, &Given>) -> bool {
        let ObjectPath::MappedLun(target, tag, initiator, number) = path else {
            return false;
        };
        let acl = self.acl(target, *tag, initiator);
        acl.and_then(|acl| acl.luns.get(number))
            .is_some_and(|mapped| {
                let lun = ObjectPath::Lun(target.clone(), *tag, mapped.lun);
                !wanted.contains_key(&lun)
            })
    }

    /// The change that gives an object just these attributes, if it has others.
    fn adjust(&self, path: &ObjectPath, wanted: &Given) -> Option<Change> {
        let node = self.find(path)?;
        let mut attributes = Given::new();
        for (name, raw) in wanted {
            if !self.is_so(path, node.attributes(), name, raw.as_ref()) {
                attributes.insert(name.clone(), raw.clone());
            }
        }
        for name in node.attributes().keys() {
            let kept = FOUND.contains(&(path.kind(), name));
            if !kept && !wanted.contains_key(*name) {
                attributes.insert((*name).to_owned(), None);
            }
        }
        (!attributes.is_empty()).then(|| Change::Set {
            path: path.clone(),
            attributes,
        })
    }

    fn is_so(&self, path: &ObjectPath, now: &Attributes, name: &str, wanted: Option<&Raw>) -> bool {
        let Some(row) = path.kind().attribute(name) else {
            return false;
        };
        let Some(raw) = wanted else {
            return !now.contains_key(name);
        };
        if *raw == Raw::Kept {
            return now.contains_key(name);
        }
        let Ok(value) = row.parse(raw) else {
            return false;
        };
        if name == "backstore"
            && let (Some(given), Some(have)) = (value.as_text(), now.get(name))
        {
            let full = self.resolve(given).map(|store| store.reference());
            return full.as_deref() == have.as_text();
        }
        now.get(name) == Some(&value)
    }
}
