//! A control plane in memory: the model's tree, planned and changed as the daemon does it, without engine, disk or socket.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use control_api::{
    AttributeInfo, AttributeMap, Change, ClientError, Effect, EffectAction, ExplainQuery,
    Explanation, ExportFormat, HistoryEntry, Object, Outcome, Problem, ProblemItem, Refusal,
    Rollback, SECRET_MARK, Session, Status, Terms, Transaction, TreeAnswer,
};
use model::attributes::{Attribute, Column, Kind, ObjectKind, Takes, effective};
use model::{Given, Mistake, ObjectPath, Raw, Tree};
use serde_json::Value as Json;

use super::plane::{Answer, Plane};
use crate::shell::path::{parent, segments};

/// The tree, and what was asked of it.
#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) tree: RefCell<Tree>,
    /// Everything that was committed, in order.
    pub(crate) committed: RefCell<Vec<Vec<Change>>>,
    /// How many of the next transactions another change overtakes.
    pub(crate) overtaken: Cell<u32>,
    /// Files that were applied: text, folder, dry run.
    pub(crate) applied: RefCell<Vec<(String, Option<PathBuf>, bool)>>,
    pub(crate) sessions: Vec<Session>,
    pub(crate) ended: RefCell<Vec<u64>>,
    /// Every call is refused with this.
    pub(crate) broken: Option<Problem>,
}

impl Fake {
    /// The value of an attribute, secrets included.
    pub(crate) fn value(&self, path: &str, name: &str) -> Option<String> {
        let tree = self.tree.borrow();
        let node = tree.find(&path.parse().ok()?)?;
        Some(match node.attributes().get(name)? {
            model::Value::Secret(secret) => String::from_utf8_lossy(secret.expose()).into_owned(),
            model::Value::Bool(yes) => yes.to_string(),
            model::Value::Integer(number) => number.to_string(),
            model::Value::Text(text) => text.as_ref().to_owned(),
        })
    }

    /// Every object's path.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.tree
            .borrow()
            .paths()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    fn check(&self) -> Answer<()> {
        match &self.broken {
            Some(problem) => Err(ClientError::Problem(problem.clone())),
            None => Ok(()),
        }
    }
}

impl Fake {
    fn check_terms(&self, terms: Terms) -> Answer<()> {
        let current = self.tree.borrow().generation;
        match terms.if_generation {
            Some(asked) if asked != current => Err(ClientError::Problem(
                Problem::stale_generation(asked, current),
            )),
            _ => Ok(()),
        }
    }
}

impl Plane for Fake {
    fn status(&self) -> Answer<Status> {
        self.check()?;
        Ok(Status {
            version: "1.2.3".to_owned(),
            generation: self.tree.borrow().generation,
            ready: true,
            driver: "epoll".to_owned(),
            workers: 2,
            ..Status::default()
        })
    }

    fn tree(&self, path: &str, depth: u32) -> Answer<TreeAnswer> {
        self.check()?;
        let tree = self.tree.borrow();
        let known = known(&tree);
        if !known.contains(&order(path)) {
            return Err(ClientError::Problem(Problem::no_such_object(path)));
        }
        Ok(TreeAnswer {
            generation: tree.generation,
            object: object(&tree, &known, path, depth),
        })
    }

    fn transact(&self, transaction: &Transaction, dry_run: bool) -> Answer<Outcome> {
        self.check()?;
        let mut tree = self.tree.borrow_mut();
        if let Some(left) = self.overtaken.get().checked_sub(1) {
            self.overtaken.set(left);
            tree.generation += 1;
        }
        if let Some(asked) = transaction
            .if_generation
            .filter(|asked| *asked != tree.generation)
        {
            return Err(ClientError::Problem(Problem::stale_generation(
                asked,
                tree.generation,
            )));
        }
        let changes: Vec<model::Change> = transaction
            .changes
            .iter()
            .map(change)
            .collect::<Result<_, _>>()
            .map_err(ClientError::Problem)?;
        let plan = tree.plan(&changes).map_err(|mistakes| {
            ClientError::Problem(Problem::invalid(mistakes.into_iter().map(item).collect()))
        })?;
        let effect = |touched: &model::Touched| Effect {
            path: touched.path.to_string(),
            action: match (&touched.before, &touched.after) {
                (None, _) => EffectAction::Create,
                (_, None) => EffectAction::Delete,
                _ => EffectAction::Modify,
            },
            attributes: touched
                .changed()
                .into_iter()
                .map(ToOwned::to_owned)
                .collect(),
        };
        let outcome = Outcome {
            effects: plan.touched.iter().map(effect).collect(),
            warnings: plan.warnings.clone(),
            generation: if dry_run {
                tree.generation
            } else {
                plan.tree.generation
            },
            dry_run,
            ..Outcome::default()
        };
        if !dry_run {
            *tree = plan.tree;
            self.committed
                .borrow_mut()
                .push(transaction.changes.clone());
        }
        Ok(outcome)
    }

    fn apply(&self, text: &str, base: Option<&Path>, terms: Terms) -> Answer<Outcome> {
        self.check()?;
        self.check_terms(terms)?;
        let dry_run = terms.dry_run;
        let call = (text.to_owned(), base.map(Path::to_owned), dry_run);
        self.applied.borrow_mut().push(call);
        Ok(Outcome {
            generation: self.tree.borrow().generation,
            dry_run,
            effects: vec![Effect {
                path: "/discovery".to_owned(),
                action: EffectAction::Modify,
                attributes: vec!["enforce".to_owned()],
            }],
            ..Outcome::default()
        })
    }

    fn export(&self, format: ExportFormat, with_secrets: bool) -> Answer<String> {
        self.check()?;
        Ok(format!("{} {with_secrets}\n", format.as_str()))
    }

    fn sessions(&self) -> Answer<Vec<Session>> {
        self.check()?;
        Ok(self.sessions.clone())
    }

    fn end_session(&self, id: u64) -> Answer<()> {
        self.check()?;
        self.ended.borrow_mut().push(id);
        Ok(())
    }

    fn explain(&self, query: &ExplainQuery) -> Answer<Explanation> {
        self.check()?;
        Ok(Explanation {
            admitted: false,
            login_status: Some(format!(
                "0203h {} {} {:?}",
                query.initiator, query.target, query.portal
            )),
            steps: Vec::new(),
            luns: Vec::new(),
        })
    }

    fn history(&self) -> Answer<Vec<HistoryEntry>> {
        self.check()?;
        let entry = |(at, changes): (usize, &Vec<Change>)| HistoryEntry {
            generation: u64::try_from(at).unwrap_or(0) + 1,
            unix_time_ms: 0,
            who: "uid 0 (pid 1)".to_owned(),
            what: changes
                .iter()
                .map(|change| change.path().to_owned())
                .collect(),
        };
        Ok(self
            .committed
            .borrow()
            .iter()
            .enumerate()
            .map(entry)
            .collect())
    }

    fn rollback(&self, back: Rollback) -> Answer<Outcome> {
        let Rollback {
            generation, terms, ..
        } = back;
        self.check()?;
        self.check_terms(terms)?;
        let dry_run = terms.dry_run;
        Ok(Outcome {
            generation: generation + 100,
            dry_run,
            ..Outcome::default()
        })
    }

    fn refused(&self) -> Answer<Vec<Refusal>> {
        self.check()?;
        Ok(Vec::new())
    }

    fn attributes(&self, kind: Option<&str>) -> Answer<Vec<AttributeInfo>> {
        self.check()?;
        let asked = ObjectKind::ALL
            .into_iter()
            .filter(|one| kind.is_none_or(|kind| one.as_str() == kind));
        let of_kind = |kind: ObjectKind| kind.attributes().iter().map(move |row| info(kind, row));
        Ok(asked.flat_map(of_kind).collect())
    }
}

/// A path by its names, so that `/a/b` stands before `/a-b`.
fn order(path: &str) -> Vec<String> {
    segments(path).map(ToOwned::to_owned).collect()
}

/// The paths of objects and of the containers between them.
fn known(tree: &Tree) -> BTreeSet<Vec<String>> {
    let mut known = BTreeSet::new();
    let mut add = |path: String| known.insert(order(&path));
    for kind in ["file", "block", "ram", "null"] {
        add(format!("/backstores/{kind}"));
    }
    for path in ["/backstores", "/targets"] {
        add(path.to_owned());
    }
    for path in tree.paths() {
        let containers: &[&str] = match path.kind() {
            ObjectKind::Backstore => &["alua"],
            ObjectKind::Target => &["tpgs"],
            ObjectKind::Tpg => &["portals", "luns", "acls"],
            ObjectKind::Acl => &["luns"],
            _ => &[],
        };
        for name in containers {
            add(format!("{path}/{name}"));
        }
        add(path.to_string());
    }
    known
}

fn object(tree: &Tree, known: &BTreeSet<Vec<String>>, path: &str, depth: u32) -> Object {
    let text = |names: &Vec<String>| format!("/{}", names.join("/"));
    let below = known
        .iter()
        .filter(|names| !names.is_empty() && parent(&text(names)) == path);
    let children: Vec<String> = below.map(text).collect();
    let parsed: Option<ObjectPath> = path.parse().ok();
    let node = parsed.as_ref().and_then(|path| tree.find(path));
    let mut found = Object {
        path: path.to_owned(),
        kind: "container".to_owned(),
        child_count: children.len(),
        ..Object::default()
    };
    if depth > 0 {
        let child = |path: &String| object(tree, known, path, depth - 1);
        found.children = children.iter().map(child).collect();
    }
    if let (Some(parsed), Some(node)) = (parsed, node) {
        let kind = parsed.kind();
        kind.as_str().clone_into(&mut found.kind);
        let column = tree.column_of(&parsed);
        let value = |row: &Attribute| {
            let value = effective(kind, node.attributes(), row.name, column)?;
            Some((row.name.to_owned(), json(&value)))
        };
        found.attributes = kind.attributes().iter().filter_map(value).collect();
        found.set = node
            .attributes()
            .keys()
            .map(|name| (*name).to_owned())
            .collect();
    }
    found
}

fn json(value: &model::Value) -> Json {
    match value {
        model::Value::Bool(yes) => Json::Bool(*yes),
        model::Value::Integer(number) => Json::from(*number),
        model::Value::Text(text) => Json::from(text.as_ref()),
        model::Value::Secret(_) => Json::from(SECRET_MARK),
    }
}

fn change(change: &Change) -> Result<model::Change, Problem> {
    let path = change.path().parse().map_err(|error: model::PathError| {
        Problem::new(422, "invalid_change", error.reason).with_hint(error.hint)
    })?;
    Ok(match change {
        Change::Create { attributes, .. } => model::Change::Create {
            path,
            attributes: given(attributes),
        },
        Change::Set { attributes, .. } => model::Change::Set {
            path,
            attributes: given(attributes),
        },
        Change::Delete { cascade, .. } => model::Change::Delete {
            path,
            cascade: *cascade,
        },
    })
}

fn given(attributes: &AttributeMap) -> Given {
    let raw = |value: &Json| match value {
        Json::Bool(yes) => Some(Raw::Bool(*yes)),
        Json::Number(number) => number.as_i64().map(Raw::Integer),
        Json::String(text) => Some(Raw::Text(text.clone())),
        _ => None,
    };
    attributes
        .iter()
        .map(|(name, value)| (name.clone(), raw(value)))
        .collect()
}

fn item(mistake: Mistake) -> ProblemItem {
    ProblemItem {
        path: mistake.error.path,
        code: mistake.error.code.as_str().to_owned(),
        reason: mistake.error.reason.into_owned(),
        hint: mistake.error.hint.into_owned(),
        line: None,
        file: None,
    }
}

fn info(kind: ObjectKind, row: &Attribute) -> AttributeInfo {
    let (value_type, choices): (&str, &[&str]) = match row.kind {
        Kind::Bool => ("bool", &[]),
        Kind::Integer { .. } => ("integer", &[]),
        Kind::Size { .. } => ("size", &[]),
        Kind::Text { .. } | Kind::Secret { .. } | Kind::Address { .. } => ("string", &[]),
        Kind::Choice(choices) => ("choice", choices),
    };
    let default = |column| {
        row.default_in(column)
            .map_or(Json::Null, |value| json(&value))
    };
    AttributeInfo {
        kind: kind.as_str().to_owned(),
        name: row.name.to_owned(),
        value_type: value_type.to_owned(),
        range: None,
        choices: choices.iter().map(|one| (*one).to_owned()).collect(),
        default: default(Column::Ours),
        lio_default: Some(default(Column::Lio)),
        help: row.help.to_owned(),
        origin: row.origin.to_owned(),
        secret: row.is_secret(),
        create_only: row.takes == Takes::Creation,
        effective: row.takes != Takes::Stored,
    }
}
