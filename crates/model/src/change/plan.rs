//! Applies a list of changes to a copy of the tree, and tells what they touch.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use iscsi_wire::IscsiName;

use super::check;
use super::{Change, Given};
use crate::attributes::{Attribute, Takes, nearest, secret_of, text_of};
use crate::error::{ConfigCode, ConfigError};
use crate::path::ObjectPath;
use crate::tree::{BackstoreType, Node, ObjectId, Tree, is_cdrom};
use crate::value::{Attributes, Raw, Value};

/// What a list of changes makes of a tree. Nothing has been done yet.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The generation that it was made for: it can be committed on that one only.
    pub base: u64,
    /// The tree as it would be.
    pub tree: Tree,
    /// The objects that differ, owners before what they own.
    pub touched: Vec<Touched>,
    /// What the operator should know, although it can be done.
    pub warnings: Vec<String>,
}

impl Plan {
    /// What makes a tree of nothing: all of it is touched. Generation and ids are the tree's own.
    #[must_use]
    pub fn start(tree: Tree) -> Self {
        let touched = |path: ObjectPath| Touched {
            after: tree.find(&path),
            before: None,
            path,
        };
        Self {
            base: 0,
            touched: tree.paths().into_iter().map(touched).collect(),
            tree,
            warnings: Vec::new(),
        }
    }

    /// Whether anything would change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.touched.is_empty()
    }
}

/// An object that a plan touches.
#[derive(Clone, Debug)]
pub struct Touched {
    pub path: ObjectPath,
    /// `None`: it is made.
    pub before: Option<Node>,
    /// `None`: it goes.
    pub after: Option<Node>,
}

impl Touched {
    /// Whether it is another object than before, or there was or is none.
    #[must_use]
    pub fn is_other_object(&self) -> bool {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => before.id() != after.id(),
            _ => true,
        }
    }

    /// Names of the attributes that were set differently.
    #[must_use]
    pub fn changed(&self) -> BTreeSet<&'static str> {
        let none = Attributes::new();
        let before = self.before.as_ref().map_or(&none, Node::attributes);
        let after = self.after.as_ref().map_or(&none, Node::attributes);
        let names = before.keys().chain(after.keys());
        names
            .filter(|name| before.get(*name) != after.get(*name))
            .copied()
            .collect()
    }
}

/// Why a change cannot be made, and which of the list it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Its place in the list; `None`: the list as a whole.
    pub change: Option<usize>,
    /// The attribute, where it is about one.
    pub attribute: Option<String>,
    pub error: ConfigError,
}

impl Tree {
    /// What `changes` would make of this tree.
    ///
    /// # Errors
    /// Every mistake found; then nothing of the list can be done.
    pub fn plan(&self, changes: &[Change]) -> Result<Plan, Vec<Mistake>> {
        let mut work = Work {
            base: self,
            tree: self.clone(),
            touched: BTreeMap::new(),
            mistakes: Vec::new(),
            changes,
            at: 0,
            secret_groups: OnceCell::new(),
        };
        for (at, change) in changes.iter().enumerate() {
            work.at = at;
            work.apply(change);
        }
        work.finish()
    }
}

/// The disc of a drive can be changed, as no disk's place can.
fn is_disc(row: &Attribute, of: &Attributes) -> bool {
    row.name == "path" && is_cdrom(of)
}

/// A plan in the making.
pub(super) struct Work<'a> {
    base: &'a Tree,
    pub(super) tree: Tree,
    /// The last change that touched each object.
    pub(super) touched: BTreeMap<ObjectPath, usize>,
    mistakes: Vec<Mistake>,
    changes: &'a [Change],
    at: usize,
    /// Groups whose credentials, or whose ACLs', the changes name; found when first asked for.
    secret_groups: OnceCell<BTreeSet<(&'a IscsiName, u16)>>,
}

fn secret_groups(changes: &[Change]) -> BTreeSet<(&IscsiName, u16)> {
    let mut groups = BTreeSet::new();
    for change in changes {
        if let Change::Create { path, attributes } | Change::Set { path, attributes } = change
            && matches!(attributes.get("chap.secret"), Some(Some(_)))
        {
            groups.extend(path.group());
        }
    }
    groups
}

impl Work<'_> {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Create { path, attributes } => self.create(path, attributes),
            Change::Set { path, attributes } => self.set(path, attributes),
            Change::Delete { path, cascade } => self.delete(path, *cascade),
        }
    }

    fn create(&mut self, path: &ObjectPath, given: &Given) {
        if matches!(path, ObjectPath::Daemon | ObjectPath::Discovery) {
            return self.set(path, given);
        }
        if self.tree.find(path).is_some() {
            return self.mistake(
                path,
                ConfigCode::Exists,
                "it exists",
                "set its attributes, or choose another name",
            );
        }
        if let Some(owner) = path.owner()
            && self.tree.find(&owner).is_none()
        {
            let reason = format!("{owner} does not exist");
            return self.mistake(path, ConfigCode::NoSuchObject, reason, "create that first");
        }
        let Some(mut attributes) = self.parse(path, &Attributes::new(), given, true) else {
            return;
        };
        if !self.complete(path, &mut attributes) {
            return;
        }
        let id = ObjectId(self.tree.last_id + 1);
        self.touch(path);
        self.tree.put(path, id, attributes);
        if let ObjectPath::MappedLun(target, tag, initiator, _) = path {
            self.end_default_luns(target, *tag, initiator);
        }
    }

    fn set(&mut self, path: &ObjectPath, given: &Given) {
        let Some(node) = self.tree.find(path) else {
            return self.missing(path);
        };
        let Some(attributes) = self.parse(path, node.attributes(), given, false) else {
            return;
        };
        let attributes = match path {
            ObjectPath::Lun(..) => match self.resolved(path, attributes) {
                Some(attributes) => attributes,
                None => return,
            },
            ObjectPath::Discovery => with_enforce(attributes, given),
            _ => attributes,
        };
        self.touch(path);
        self.tree
            .put(path, node.id().unwrap_or_default(), attributes);
    }

    fn delete(&mut self, path: &ObjectPath, cascade: bool) {
        let Some(node) = self.tree.find(path) else {
            return self.missing(path);
        };
        if let (true, Node::Backstore(store)) = (cascade, &node) {
            let luns: Vec<_> = self.tree.luns_of(store.id).cloned().collect();
            for (target, tag, number) in luns {
                self.delete(&ObjectPath::Lun(target, tag, number), true);
            }
        }
        match (path, &node) {
            // What shows a LUN to one initiator goes with it, as targetcli has it.
            (ObjectPath::Lun(target, tag, number), _) => {
                self.delete_mappings(target, *tag, *number)
            }
            (ObjectPath::Target(name), Node::Target(target)) => {
                for group in target.tpgs.values() {
                    self.touch(&ObjectPath::Tpg(name.clone(), group.tag));
                    self.touch_all(group.paths_below(name));
                }
            }
            (ObjectPath::Tpg(name, _), Node::Tpg(group)) => self.touch_all(group.paths_below(name)),
            (ObjectPath::Acl(name, tag, initiator), Node::Acl(acl)) => {
                let mapped = acl.luns.keys().map(|number| {
                    ObjectPath::MappedLun(name.clone(), *tag, initiator.clone(), *number)
                });
                self.touch_all(mapped.collect());
            }
            (ObjectPath::Backstore(kind, name), Node::Backstore(store)) => {
                let groups = store.alua.keys();
                let groups =
                    groups.map(|one| ObjectPath::AluaGroup(*kind, name.clone(), one.clone()));
                self.touch_all(groups.collect());
            }
            _ => {}
        }
        self.touch(path);
        self.tree.remove(path);
    }

    fn delete_mappings(&mut self, target: &IscsiName, tag: u16, lun: crate::LogicalUnitNumber) {
        let Some(group) = self.tree.group(target, tag) else {
            return;
        };
        let places = group.mapped_by.get(&lun).into_iter().flatten();
        let path = |(initiator, number): &(IscsiName, crate::LogicalUnitNumber)| {
            ObjectPath::MappedLun(target.clone(), tag, initiator.clone(), *number)
        };
        let paths: Vec<ObjectPath> = places.map(path).collect();
        for path in paths {
            self.touch(&path);
            self.tree.remove(&path);
        }
    }

    /// The attributes of an object once `given` is set; `None` after a mistake.
    fn parse(
        &mut self,
        path: &ObjectPath,
        now: &Attributes,
        given: &Given,
        fresh: bool,
    ) -> Option<Attributes> {
        let mut attributes = now.clone();
        let before = self.mistakes.len();
        for (name, raw) in given {
            let Some(row) = path.kind().attribute(name) else {
                self.unknown_attribute(path, name);
                continue;
            };
            match raw {
                None => {
                    if !fresh && row.takes == Takes::Creation && now.contains_key(row.name) {
                        self.fixed(path, row);
                    } else {
                        attributes.remove(row.name);
                    }
                }
                Some(Raw::Kept) => {
                    if !now.contains_key(row.name) {
                        let reason = format!("{} is to stay as it is, and is not set", row.name);
                        let what = (reason, "give its value".to_owned());
                        self.mistake_of(path, row.name, ConfigCode::Missing, what);
                    }
                }
                Some(raw) => match row.parse(raw) {
                    Ok(value) => {
                        let same = now.get(row.name) == Some(&value);
                        if !fresh && !same && row.takes == Takes::Creation && !is_disc(row, now) {
                            self.fixed(path, row);
                        } else {
                            attributes.insert(row.name, value);
                        }
                    }
                    Err(error) => {
                        self.mistake_of(path, row.name, error.code, (error.reason, error.hint))
                    }
                },
            }
        }
        (self.mistakes.len() == before).then_some(attributes)
    }

    /// Finds what an object cannot do without, when it is made.
    fn complete(&mut self, path: &ObjectPath, attributes: &mut Attributes) -> bool {
        match path {
            ObjectPath::Backstore(kind, _) => {
                let needed = match kind {
                    BackstoreType::File | BackstoreType::Block => "path",
                    BackstoreType::Ram | BackstoreType::Null => "size",
                };
                if !attributes.contains_key(needed) {
                    let reason = format!("a {kind} backstore needs its {needed}");
                    let what = (reason, format!("give {needed}="));
                    self.mistake_of(path, needed, ConfigCode::Missing, what);
                    return false;
                }
            }
            ObjectPath::Tpg(name, tag) => self.complete_group(name, *tag, attributes),
            ObjectPath::Lun(..) => match self.resolved(path, std::mem::take(attributes)) {
                Some(resolved) => *attributes = resolved,
                None => return false,
            },
            ObjectPath::MappedLun(_, _, _, number) => {
                let number = Value::Integer(i64::from(number.0));
                attributes.entry("lun").or_insert(number);
            }
            _ => {}
        }
        true
    }

    fn complete_group(&self, name: &IscsiName, tag: u16, attributes: &mut Attributes) {
        if !attributes.contains_key("relative_target_port")
            && let Some(port) = self.tree.indexes.free_port(self.tree.last_id)
        {
            attributes.insert("relative_target_port", Value::Integer(i64::from(port)));
        }
        // Found once and kept, so that taking a secret away later never opens the group. LIO's own default is to ask.
        let lio = attributes.get("defaults").and_then(Value::as_text) == Some("lio");
        if !attributes.contains_key("authentication") {
            let names_secret = || {
                let groups = self
                    .secret_groups
                    .get_or_init(|| secret_groups(self.changes));
                groups.contains(&(name, tag))
            };
            let chap = lio || names_secret();
            let value = if chap { "chap" } else { "none" };
            attributes.insert("authentication", Value::text(value));
        }
    }

    /// A LUN's attributes with its backstore's name in full.
    fn resolved(&mut self, path: &ObjectPath, mut attributes: Attributes) -> Option<Attributes> {
        let Some(reference) = text_of(&attributes, "backstore") else {
            let what = (
                "a LUN needs its backstore".to_owned(),
                "give backstore=<type>/<name>".to_owned(),
            );
            self.mistake_of(path, "backstore", ConfigCode::Missing, what);
            return None;
        };
        let Some(store) = self.tree.resolve(reference) else {
            let names: Vec<String> = self.tree.backstores().map(|b| b.reference()).collect();
            let near = nearest(reference, names.iter().map(String::as_str));
            let hint = near.map_or_else(
                || "create the backstore first, or name it <type>/<name>".to_owned(),
                |near| format!("did you mean {near}?"),
            );
            let reason = format!("there is no one backstore {reference}");
            self.mistake_of(path, "backstore", ConfigCode::NoSuchObject, (reason, hint));
            return None;
        };
        let reference = Value::text(&store.reference());
        attributes.insert("backstore", reference);
        Some(attributes)
    }

    /// An initiator that a LUN is mapped for sees what is mapped for it, and nothing else.
    fn end_default_luns(&mut self, target: &IscsiName, tag: u16, initiator: &IscsiName) {
        let Some(acl) = self.tree.acl(target, tag, initiator) else {
            return;
        };
        let group = self.tree.group(target, tag);
        if group.is_some_and(|group| group.shows_every_lun(acl)) {
            let (id, mut attributes) = (acl.id, acl.attributes.clone());
            attributes.insert("default_luns", Value::Bool(false));
            let path = ObjectPath::Acl(target.clone(), tag, initiator.clone());
            self.touch(&path);
            self.tree.put(&path, id, attributes);
        }
    }

    fn touch(&mut self, path: &ObjectPath) {
        self.touched.insert(path.clone(), self.at);
    }

    fn touch_all(&mut self, paths: Vec<ObjectPath>) {
        for path in paths {
            self.touch(&path);
        }
    }

    fn missing(&mut self, path: &ObjectPath) {
        let hint = self.tree.hint_for_missing(path);
        self.mistake(path, ConfigCode::NoSuchObject, "it does not exist", hint);
    }

    fn unknown_attribute(&mut self, path: &ObjectPath, name: &str) {
        let kind = path.kind();
        let hint = match kind.meant(name) {
            Some(near) => format!("did you mean {near}?"),
            None => {
                let known: Vec<&str> = kind.attributes().iter().map(|row| row.name).collect();
                format!("it has {}", known.join(", "))
            }
        };
        let kind = kind.as_str();
        let article = if kind.starts_with('a') { "an" } else { "a" };
        let reason = format!("{article} {kind} has no attribute {name}");
        self.mistake_of(path, name, ConfigCode::UnknownAttribute, (reason, hint));
    }

    fn fixed(&mut self, path: &ObjectPath, row: &Attribute) {
        let reason = format!("{} is fixed when the object is made", row.name);
        let hint = "delete the object, and create it anew".to_owned();
        self.mistake_of(path, row.name, ConfigCode::Fixed, (reason, hint));
    }

    fn mistake(
        &mut self,
        path: &ObjectPath,
        code: ConfigCode,
        reason: impl Into<std::borrow::Cow<'static, str>>,
        hint: impl Into<std::borrow::Cow<'static, str>>,
    ) {
        self.mistakes.push(Mistake {
            change: Some(self.at),
            attribute: None,
            error: ConfigError::new(path, code, reason, hint),
        });
    }

    fn mistake_of(
        &mut self,
        path: &ObjectPath,
        attribute: &str,
        code: ConfigCode,
        (reason, hint): (String, String),
    ) {
        self.mistakes.push(Mistake {
            change: Some(self.at),
            attribute: Some(attribute.to_owned()),
            error: ConfigError::new(path, code, reason, hint),
        });
    }

    fn finish(mut self) -> Result<Plan, Vec<Mistake>> {
        let mut warnings = Vec::new();
        let found = check::check(&self, self.base, &mut warnings);
        self.mistakes.extend(found);
        if !self.mistakes.is_empty() {
            return Err(self.mistakes);
        }
        super::secrets::warn_of_shared(&self, self.base, &mut warnings);
        let Work {
            base,
            mut tree,
            touched,
            ..
        } = self;
        let touched: Vec<Touched> = touched
            .into_keys()
            .map(|path| Touched {
                before: base.find(&path),
                after: tree.find(&path),
                path,
            })
            .filter(|touched| {
                let there = touched.before.is_some() || touched.after.is_some();
                there && (touched.is_other_object() || !touched.changed().is_empty())
                    || matches!(touched.path, ObjectPath::Daemon | ObjectPath::Discovery)
                        && !touched.changed().is_empty()
            })
            .collect();
        if touched.is_empty() {
            tree = base.clone();
        } else {
            tree.generation = base.generation + 1;
        }
        Ok(Plan {
            base: base.generation,
            tree,
            touched,
            warnings,
        })
    }
}

/// Credentials for discovery mean that it is to be proved, unless that is said otherwise.
fn with_enforce(mut attributes: Attributes, given: &Given) -> Attributes {
    let names = given.contains_key("chap.secret") && !given.contains_key("enforce");
    if names && secret_of(&attributes, "chap.secret").is_some() {
        attributes.entry("enforce").or_insert(Value::Bool(true));
    }
    attributes
}

impl Tree {
    /// The tree with a value that was found when an object was opened: a serial, a port that the system chose. Not a change: the
    /// object stays the same one.
    #[must_use]
    pub fn with_found(&self, path: &ObjectPath, name: &str, raw: &Raw) -> Self {
        let mut tree = self.clone();
        if let (Some(node), Some(row)) = (tree.find(path), path.kind().attribute(name))
            && let Ok(value) = row.parse(raw)
        {
            let mut attributes = node.attributes().clone();
            attributes.insert(row.name, value);
            tree.put(path, node.id().unwrap_or_default(), attributes);
        }
        tree
    }

    /// The tree with a portal's port, where it was 0, as the system chose it.
    #[must_use]
    pub fn with_port(&self, path: &ObjectPath, port: u16) -> Self {
        let mut tree = self.clone();
        if let (ObjectPath::Portal(target, tag, at), Some(Node::Portal(portal))) =
            (path, self.find(path))
        {
            let mut real = *at;
            real.set_port(port);
            tree.remove(path);
            tree.put(
                &ObjectPath::Portal(target.clone(), *tag, real),
                portal.id,
                portal.attributes.clone(),
            );
        }
        tree
    }
}
