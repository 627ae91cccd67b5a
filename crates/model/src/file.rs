//! What an operator's file asks for: the objects that are to be, where each stands in the file, and what is wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use auth::Secret;

use crate::attributes::{Attribute, ObjectKind, nearest};
use crate::change::{Change, Given, Mistake, Plan};
use crate::document::{Entry, Item, Place};
use crate::error::{ConfigCode, ConfigError};
use crate::path::ObjectPath;
use crate::saveconfig::in_place;
use crate::tree::{BackstoreType, Tree};
use crate::value::Raw;

/// One mistake in a file. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// From 1; `None`: no line stands for it.
    pub line: Option<u32>,
    /// In characters, from 1.
    pub column: Option<u32>,
    /// The object that it is about, where it is about one.
    pub path: Option<String>,
    pub code: ConfigCode,
    pub reason: String,
    pub hint: String,
}

impl FileError {
    pub(crate) fn new(
        at: Option<Place>,
        code: ConfigCode,
        reason: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            line: at.map(|at| at.line),
            column: at.map(|at| at.column),
            path: None,
            code,
            reason: reason.into(),
            hint: hint.into(),
        }
    }
}

impl fmt::Display for FileError {
    /// Without line and column: whoever shows it puts the file's name before them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "{path}: ")?;
        }
        write!(f, "{}; {}", self.reason, self.hint)
    }
}

impl std::error::Error for FileError {}

impl From<FileError> for ConfigError {
    fn from(error: FileError) -> Self {
        Self {
            path: error.path.unwrap_or_else(|| "/".to_owned()),
            code: error.code,
            reason: error.reason.into(),
            hint: error.hint.into(),
            line: error.line,
        }
    }
}

/// A secret that stands in a file of its own. To be read, and given to [`Desired::fill`]: this crate reads no files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFile {
    pub path: PathBuf,
    /// Its change's place in [`Desired::changes`].
    pub change: usize,
    /// Which of the change's attributes it is.
    pub attribute: &'static str,
    /// Of the file that names it, from 1.
    pub line: u32,
}

/// What a file asks for.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    /// All of them [`Change::Create`], owners before what they own: what [`Tree::changes_to`] takes.
    pub changes: Vec<Change>,
    /// Secrets that are still to be read. A change whose secret is not filled in cannot be planned.
    pub secrets: Vec<SecretFile>,
    /// What the operator should know, although the file is taken.
    pub warnings: Vec<String>,
    places: Vec<Places>,
    format: Format,
}

/// What a file is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// Ours: it can say everything, and what it leaves out has its default.
    #[default]
    Toml,
    /// LIO's: it says what LIO has, each with a value.
    Saveconfig,
}

/// Where a change stands in its file.
#[derive(Clone, Debug, Default)]
struct Places {
    object: Place,
    attributes: BTreeMap<String, Place>,
}

impl Desired {
    /// Puts the secret that was read from the file at `index` of [`Self::secrets`] in its place.
    pub fn fill(&mut self, index: usize, secret: Secret) {
        if let Some(file) = self.secrets.get(index)
            && let Some(Change::Create { attributes, .. }) = self.changes.get_mut(file.change)
        {
            attributes.insert(file.attribute.to_owned(), Some(Raw::Secret(secret)));
        }
    }

    /// Mistakes of a plan that was made for these changes, at their places in the file; without those that merely follow from
    /// another one.
    #[must_use]
    pub fn locate(&self, mistakes: Vec<Mistake>) -> Vec<FileError> {
        sorted(self.located(mistakes, &BTreeSet::new(), BTreeSet::new()))
    }

    /// The line of an object, from 1, by its canonical path.
    #[must_use]
    pub fn line_of(&self, path: &str) -> Option<u32> {
        let mut changes = self.changes.iter().zip(&self.places);
        let (_, places) = changes.find(|(change, _)| change.path().to_string() == path)?;
        Some(places.object.line)
    }

    /// The changes that make of a tree what the file says.
    #[must_use]
    pub fn changes_for(&self, tree: &Tree) -> Vec<Change> {
        match self.format {
            Format::Toml => tree.changes_to(&self.changes),
            Format::Saveconfig => tree.changes_to(&in_place(tree, &self.changes)),
        }
    }

    /// What the file would make of nothing: whether all of it can be, and what the operator should know, without a daemon.
    /// Secrets that are not filled in, or to be kept as they are, are taken as good; the plan's tree has something else in their place.
    ///
    /// # Errors
    /// Every mistake, at its place.
    pub fn rehearse(&self) -> Result<Plan, Vec<FileError>> {
        let plan = Tree::default().plan(&with_stand_ins(&self.changes));
        plan.map_err(|mistakes| self.locate(mistakes))
    }

    fn located(
        &self,
        mistakes: Vec<Mistake>,
        told: &BTreeSet<Place>,
        mut broken: BTreeSet<String>,
    ) -> Vec<FileError> {
        let paths = self.changes.iter().map(|change| change.path().to_string());
        let by_path: BTreeMap<String, usize> = paths.zip(0..).collect();
        let mut errors = Vec::new();
        for mistake in mistakes {
            let path = &mistake.error.path;
            // Of two with one path it is the one that the plan names; a plan of other changes names none of these.
            let named = mistake.change.filter(|index| {
                let change = self.changes.get(*index);
                change.is_some_and(|change| change.path().to_string() == *path)
            });
            let index = named.or_else(|| by_path.get(path).copied());
            let found = index.and_then(|index| self.changes.get(index).zip(self.places.get(index)));
            let Some((change, places)) = found else {
                errors.push(at_place(mistake, None));
                continue;
            };
            let follows = mistake.error.code == ConfigCode::NoSuchObject
                && needs(change).iter().any(|path| broken.contains(path));
            broken.insert(path.clone());
            let attribute = mistake.attribute.as_deref();
            let at = attribute.and_then(|name| places.attributes.get(name));
            if !follows && at.is_none_or(|at| !told.contains(at)) {
                errors.push(at_place(mistake, Some(places)));
            }
        }
        errors
    }
}

fn at_place(mistake: Mistake, places: Option<&Places>) -> FileError {
    let of_attribute = |places: &Places| {
        let name = mistake.attribute.as_deref()?;
        places.attributes.get(name).copied()
    };
    let at = places.map(|places| of_attribute(places).unwrap_or(places.object));
    let ConfigError {
        path,
        code,
        reason,
        hint,
        ..
    } = mistake.error;
    FileError {
        path: Some(path),
        ..FileError::new(at, code, reason, hint)
    }
}

fn sorted(mut errors: Vec<FileError>) -> Vec<FileError> {
    errors.sort_by_key(|error| (error.line, error.column));
    errors
}

/// A [`Desired`] in the making, and every mistake on the way.
#[derive(Default)]
pub(crate) struct Builder {
    desired: Desired,
    errors: Vec<FileError>,
    /// Paths of objects that cannot be, for reasons that were told.
    broken: BTreeSet<String>,
}

/// An object in the making.
pub(crate) struct Draft {
    path: ObjectPath,
    given: Given,
    places: Places,
    secret_files: Vec<(PathBuf, &'static str, Place)>,
}

impl Draft {
    pub(crate) fn new(path: ObjectPath, at: Place) -> Self {
        Self {
            path,
            given: Given::new(),
            places: Places {
                object: at,
                attributes: BTreeMap::new(),
            },
            secret_files: Vec::new(),
        }
    }

    pub(crate) fn path(&self) -> &ObjectPath {
        &self.path
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Raw> {
        self.given.get(name)?.as_ref()
    }

    /// Sets an attribute to what is known to be legal.
    pub(crate) fn set(&mut self, name: &str, raw: impl Into<Raw>, at: Place) {
        self.given.insert(name.to_owned(), Some(raw.into()));
        self.places.attributes.insert(name.to_owned(), at);
    }

    pub(crate) fn unset(&mut self, name: &str) {
        self.given.remove(name);
    }

    /// Sets a secret that is still to be read.
    pub(crate) fn set_file(&mut self, name: &'static str, path: PathBuf, at: Place) {
        // No secret is a yes or no: until it is filled in, no plan takes it.
        self.set(name, Raw::Bool(false), at);
        self.secret_files.push((path, name, at));
    }
}

impl Builder {
    pub(crate) fn of_format(format: Format) -> Self {
        let mut builder = Self::default();
        builder.desired.format = format;
        builder
    }

    pub(crate) fn error(
        &mut self,
        at: Place,
        code: ConfigCode,
        reason: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.errors
            .push(FileError::new(Some(at), code, reason, hint));
    }

    pub(crate) fn warn(&mut self, at: Place, text: impl fmt::Display) {
        self.desired
            .warnings
            .push(format!("line {}: {text}", at.line));
    }

    /// Something is of another kind than it has to be.
    pub(crate) fn not(&mut self, item: &Item, what: &str, wanted: &str) {
        let reason = format!("{what} is {}", item.kind());
        let hint = format!("write {wanted}");
        self.error(item.at, ConfigCode::BadValue, reason, hint);
    }

    /// Sets an attribute of a draft to what the file has for it, if that is legal.
    pub(crate) fn set(&mut self, draft: &mut Draft, row: &'static Attribute, entry: &Entry) {
        let Some(raw) = entry.item.raw() else {
            return self.not(&entry.item, row.name, &row.legal());
        };
        self.set_raw(draft, row, raw, entry.item.at);
    }

    /// As [`Self::set`], of a value that was made of what the file has.
    pub(crate) fn set_raw(&mut self, draft: &mut Draft, row: &Attribute, raw: Raw, at: Place) {
        match row.parse(&raw) {
            Ok(value) => draft.set(row.name, value, at),
            Err(wrong) => {
                let mut error = FileError::new(Some(at), wrong.code, wrong.reason, wrong.hint);
                error.path = Some(draft.path.to_string());
                self.errors.push(error);
                // What is missing now is missing for this reason: nothing more is to be said of it.
                draft.places.attributes.insert(row.name.to_owned(), at);
            }
        }
    }

    /// A key that does not belong where it stands, with the nearest one that does.
    pub(crate) fn unknown(
        &mut self,
        entry: &Entry,
        kind: Option<ObjectKind>,
        known: &[&'static str],
    ) {
        let rows = kind.map_or(&[][..], ObjectKind::attributes);
        let last = |name: &'static str| name.rsplit_once('.').map_or(name, |(_, last)| last);
        let elsewhere = rows
            .iter()
            .find(|row| last(row.name).eq_ignore_ascii_case(&entry.key));
        let hint = match elsewhere {
            Some(row) => format!("did you mean {}?", row.name),
            None => match nearest(&entry.key, known.iter().copied()) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("known are {}", known.join(", ")),
            },
        };
        let reason = format!("{} is no key here", entry.key);
        self.error(entry.at, ConfigCode::UnknownAttribute, reason, hint);
    }

    /// Enters a finished object.
    pub(crate) fn push(&mut self, draft: Draft) {
        let change = self.desired.changes.len();
        let file = |(path, attribute, at): (PathBuf, &'static str, Place)| SecretFile {
            path,
            change,
            attribute,
            line: at.line,
        };
        let files = draft.secret_files.into_iter().map(file);
        self.desired.secrets.extend(files);
        self.desired.changes.push(Change::Create {
            path: draft.path,
            attributes: draft.given,
        });
        self.desired.places.push(draft.places);
    }

    /// What the file asks for, if all of it can be: also as a whole.
    pub(crate) fn finish(mut self) -> Result<Desired, Vec<FileError>> {
        let changes = with_stand_ins(&self.desired.changes);
        // The plan's warnings are for whoever plans with the secrets: here they are not known.
        if let Err(mistakes) = Tree::default().plan(&changes) {
            let place = |error: &FileError| {
                Some(Place {
                    line: error.line?,
                    column: error.column?,
                })
            };
            let told = self.errors.iter().filter_map(place).collect();
            let broken = std::mem::take(&mut self.broken);
            let found = self.desired.located(mistakes, &told, broken);
            self.errors.extend(found);
        }
        if self.errors.is_empty() {
            Ok(self.desired)
        } else {
            Err(sorted(self.errors))
        }
    }

    /// What refers to this object fails for a reason that was told.
    pub(crate) fn broken(&mut self, path: String) {
        self.broken.insert(path);
    }
}

/// The type in the path of a backstore whose type the file does not tell.
pub(crate) const NO_TYPE: &str = "?";

/// The paths of what a change cannot do without.
fn needs(change: &Change) -> Vec<String> {
    let path = change.path();
    let mut needs: Vec<String> = path.owner().iter().map(ToString::to_string).collect();
    let Change::Create { attributes, .. } = change else {
        return needs;
    };
    match (path, attributes.get("backstore"), attributes.get("lun")) {
        (ObjectPath::Lun(..), Some(Some(Raw::Text(reference))), _) => {
            let name = reference.rsplit('/').next().unwrap_or_default();
            let kinds = BackstoreType::ALL.map(BackstoreType::as_str);
            let kinds = kinds.into_iter().chain([NO_TYPE]);
            needs.extend(kinds.map(|kind| format!("/backstores/{kind}/{name}")));
        }
        (ObjectPath::MappedLun(target, tag, ..), _, Some(Some(Raw::Integer(lun)))) => {
            needs.push(format!("/targets/{target}/tpgs/{tag}/luns/{lun}"));
        }
        _ => {}
    }
    needs
}

/// The changes with something in the place of secrets that are not known here, each another one.
fn with_stand_ins(changes: &[Change]) -> Vec<Change> {
    let mut changes = changes.to_vec();
    let mut count = 0_u64;
    for change in &mut changes {
        let kind = change.path().kind();
        let Change::Create { attributes, .. } = change else {
            continue;
        };
        for (name, raw) in attributes {
            let secret = kind.attribute(name).is_some_and(Attribute::is_secret);
            if secret && matches!(raw, Some(Raw::Kept | Raw::Bool(_))) {
                count += 1;
                let stand_in = format!("not read yet: {count:020}");
                *raw = Some(Raw::Secret(Secret::new(stand_in.into_bytes())));
            }
        }
    }
    changes
}
