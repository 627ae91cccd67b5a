//! One object: look, create or replace, set, remove.

use std::collections::BTreeSet;

use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{OriginalUri, Query, State};
use axum::http::{HeaderMap, Uri};
use control_api::path::decode_path;
use control_api::{
    AttributeMap, Attributes, Change, Object, Outcome, Problem, SECRET_MARK, Transaction,
    TreeAnswer,
};
use serde::Deserialize;
use serde_json::Value;
use utoipa::IntoParams;

use super::super::Face;
use super::super::answer::{self, Answer};
use super::super::request::{self, IfMatch, Preconditions};
use super::super::roles::check_changes;
use super::Shared;
use crate::control::{Caller, Control};

/// Where the tree begins in a URL.
const ROOT: &str = "/v1/tree";
/// A replacement is computed on what the object is and made only if it still is: so often it is computed anew where others
/// change the tree at the same time.
const REPLACE_ATTEMPTS: usize = 16;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Depth {
    /// How many levels below the object are told.
    #[serde(default = "one")]
    #[param(default = 1)]
    depth: u32,
}

const fn one() -> u32 {
    1
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DryRun {
    /// Change nothing; tell what would be changed.
    #[serde(default)]
    pub(super) dry_run: bool,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Removal {
    /// Remove with it what stands below it and what refers to it.
    #[serde(default)]
    cascade: bool,
    /// Change nothing; tell what would be changed.
    #[serde(default)]
    dry_run: bool,
}

/// The daemon's own attributes and the top of the tree
#[utoipa::path(get, path = "/v1/tree", params(Depth), tag = "tree",
    responses((status = 200, body = TreeAnswer, headers(("ETag" = String, description = "the generation")))))]
pub(super) async fn read_root(
    State(face): Shared,
    depth: Result<Query<Depth>, QueryRejection>,
) -> Answer {
    read_at(&face, "/".to_owned(), depth).await
}

/// An object and what stands below it
#[utoipa::path(get, path = "/v1/tree/{*path}", tag = "tree",
    params(("path" = String, Path, description = "canonical, segments percent-encoded"), Depth),
    responses((status = 200, body = TreeAnswer, headers(("ETag" = String, description = "the generation")))))]
pub(super) async fn read(
    State(face): Shared,
    OriginalUri(uri): OriginalUri,
    depth: Result<Query<Depth>, QueryRejection>,
) -> Answer {
    read_at(&face, object_path(&uri)?, depth).await
}

async fn read_at(face: &Face, path: String, depth: Result<Query<Depth>, QueryRejection>) -> Answer {
    let depth = request::query(depth)?.depth;
    let answer = face
        .calls
        .look(move |control| control.tree(&path, depth))
        .await??;
    answer::json_of_generation(answer.generation, &answer)
}

/// Replace the daemon's own attributes: those not given go back to their defaults
#[utoipa::path(put, path = "/v1/tree", params(DryRun), request_body = Attributes, tag = "tree",
    responses((status = 200, body = Outcome)))]
pub(super) async fn replace_root(
    State(face): Shared,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    dry_run: Result<Query<DryRun>, QueryRejection>,
    body: Body,
) -> Answer {
    replace_at(&face, caller, "/".to_owned(), &headers, dry_run, body).await
}

/// Create an object, or replace its attributes: those not given go back to their defaults
///
/// `If-None-Match: *` only creates, `If-Match: *` only replaces, `If-Match: "<generation>"` does either in that
/// generation alone. An attribute that is fixed at creation stays when it is not given; a secret given as `***` stays as
/// it is.
#[utoipa::path(put, path = "/v1/tree/{*path}", request_body = Attributes, tag = "tree",
    params(("path" = String, Path, description = "canonical, segments percent-encoded"), DryRun),
    responses((status = 200, body = Outcome, description = "replaced"),
              (status = 201, body = Outcome, description = "created")))]
pub(super) async fn replace(
    State(face): Shared,
    Extension(caller): Extension<Caller>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    dry_run: Result<Query<DryRun>, QueryRejection>,
    body: Body,
) -> Answer {
    replace_at(&face, caller, object_path(&uri)?, &headers, dry_run, body).await
}

async fn replace_at(
    face: &Face,
    caller: Caller,
    path: String,
    headers: &HeaderMap,
    dry_run: Result<Query<DryRun>, QueryRejection>,
    body: Body,
) -> Answer {
    let conditions = Preconditions::of(headers)?;
    let dry_run = request::query(dry_run)?.dry_run;
    let attributes = read_attributes(face, body).await?;
    let replacement = Replacement {
        caller,
        path,
        attributes,
        conditions,
        dry_run,
    };
    let (outcome, created) = face
        .calls
        .change(move |control| replacement.make(control))
        .await??;
    answer::outcome(&outcome, created)
}

/// Set some of the daemon's own attributes
#[utoipa::path(patch, path = "/v1/tree", params(DryRun), request_body = Attributes, tag = "tree",
    responses((status = 200, body = Outcome)))]
pub(super) async fn set_root(
    State(face): Shared,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    dry_run: Result<Query<DryRun>, QueryRejection>,
    body: Body,
) -> Answer {
    set_at(&face, caller, "/".to_owned(), &headers, dry_run, body).await
}

/// Set some attributes of an object; null goes back to the default
#[utoipa::path(patch, path = "/v1/tree/{*path}", request_body = Attributes, tag = "tree",
    params(("path" = String, Path, description = "canonical, segments percent-encoded"), DryRun),
    responses((status = 200, body = Outcome)))]
pub(super) async fn set(
    State(face): Shared,
    Extension(caller): Extension<Caller>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    dry_run: Result<Query<DryRun>, QueryRejection>,
    body: Body,
) -> Answer {
    set_at(&face, caller, object_path(&uri)?, &headers, dry_run, body).await
}

async fn set_at(
    face: &Face,
    caller: Caller,
    path: String,
    headers: &HeaderMap,
    dry_run: Result<Query<DryRun>, QueryRejection>,
    body: Body,
) -> Answer {
    let if_generation = Preconditions::of_existing(headers)?;
    let dry_run = request::query(dry_run)?.dry_run;
    let attributes = without_marks(read_attributes(face, body).await?);
    let changes = vec![Change::Set { path, attributes }];
    submit(
        face,
        caller,
        Transaction {
            changes,
            if_generation,
        },
        dry_run,
    )
    .await
}

/// Remove an object
#[utoipa::path(delete, path = "/v1/tree/{*path}", tag = "tree",
    params(("path" = String, Path, description = "canonical, segments percent-encoded"), Removal),
    responses((status = 200, body = Outcome)))]
pub(super) async fn delete(
    State(face): Shared,
    Extension(caller): Extension<Caller>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    removal: Result<Query<Removal>, QueryRejection>,
) -> Answer {
    let if_generation = Preconditions::of_existing(&headers)?;
    let Removal { cascade, dry_run } = request::query(removal)?;
    let changes = vec![Change::Delete {
        path: object_path(&uri)?,
        cascade,
    }];
    submit(
        &face,
        caller,
        Transaction {
            changes,
            if_generation,
        },
        dry_run,
    )
    .await
}

/// Changes as the caller's role allows them.
pub(super) async fn submit(
    face: &Face,
    caller: Caller,
    transaction: Transaction,
    dry_run: bool,
) -> Answer {
    check_changes(caller.role, &transaction.changes)?;
    let change = move |control: &dyn Control| control.transact(&caller, &transaction, dry_run);
    let outcome = face.calls.change(change).await??;
    answer::outcome(&outcome, false)
}

/// The object that a URL names.
fn object_path(uri: &Uri) -> Result<String, Problem> {
    let path = uri.path().strip_prefix(ROOT).unwrap_or_default();
    decode_path(path)
        .map_err(|error| Problem::new(400, "bad_path", format!("the URL names no object: {error}")))
}

/// An empty body is no attributes.
async fn read_attributes(face: &Face, body: Body) -> Result<AttributeMap, Problem> {
    let limits = &face.limits;
    let bytes = request::read_body(body, limits.body_bytes, limits.body_timeout).await?;
    if bytes.is_empty() {
        return Ok(AttributeMap::new());
    }
    request::parse_json::<Attributes>(&bytes).map(|body| body.attributes)
}

/// Answers have a mark in place of a secret: sent back, it changes nothing.
pub(super) fn without_marks(mut attributes: AttributeMap) -> AttributeMap {
    attributes.retain(|_, value| !is_mark(value));
    attributes
}

fn is_mark(value: &Value) -> bool {
    value.as_str() == Some(SECRET_MARK)
}

/// A PUT.
struct Replacement {
    caller: Caller,
    path: String,
    attributes: AttributeMap,
    conditions: Preconditions,
    dry_run: bool,
}

impl Replacement {
    /// Makes it, and says whether the object is new.
    fn make(&self, control: &dyn Control) -> Result<(Outcome, bool), Problem> {
        let mut attempts = REPLACE_ATTEMPTS;
        loop {
            attempts -= 1;
            let found = match control.tree(&self.path, 0) {
                Ok(found) => Some(found),
                Err(problem) if problem.status == 404 => None,
                Err(problem) => return Err(problem),
            };
            self.check(found.as_ref())?;
            let is_new = found.is_none();
            let transaction = self.transaction(control, found);
            match control.transact(&self.caller, &transaction, self.dry_run) {
                Ok(outcome) => return Ok((outcome, is_new)),
                Err(problem) if attempts > 0 && self.is_worth_another_look(&problem, is_new) => {}
                Err(problem) => return Err(problem),
            }
        }
    }

    fn check(&self, found: Option<&TreeAnswer>) -> Result<(), Problem> {
        let failed = |detail: String| {
            Err(Problem::new(412, "precondition_failed", detail).with_path(&self.path))
        };
        match found {
            Some(_) if self.conditions.must_be_absent => failed(format!("{} exists", self.path)),
            None if self.conditions.if_match == Some(IfMatch::Exists) => {
                failed(format!("there is no object {}", self.path))
            }
            _ => Ok(()),
        }
    }

    fn transaction(&self, control: &dyn Control, found: Option<TreeAnswer>) -> Transaction {
        let path = self.path.clone();
        let asked = self.conditions.generation();
        match found {
            None => {
                let attributes = without_marks(self.attributes.clone());
                Transaction {
                    changes: vec![Change::Create { path, attributes }],
                    if_generation: asked,
                }
            }
            Some(found) => {
                let attributes = self.replaced(control, &found.object);
                let changes = vec![Change::Set { path, attributes }];
                Transaction {
                    changes,
                    if_generation: asked.or(Some(found.generation)),
                }
            }
        }
    }

    /// What was given, and the default for what was set and is not given.
    fn replaced(&self, control: &dyn Control, object: &Object) -> AttributeMap {
        let table = control.attributes(Some(&object.kind));
        let fixed = table
            .iter()
            .filter(|info| info.create_only)
            .map(|info| info.name.as_str());
        let fixed: BTreeSet<&str> = fixed.collect();
        let is_reset =
            |name: &&String| !self.attributes.contains_key(*name) && !fixed.contains(name.as_str());
        let mut attributes = without_marks(self.attributes.clone());
        attributes.extend(
            object
                .set
                .iter()
                .filter(is_reset)
                .map(|name| (name.clone(), Value::Null)),
        );
        attributes
    }

    /// Somebody else changed the tree in between, and the caller named no generation.
    fn is_worth_another_look(&self, problem: &Problem, was_new: bool) -> bool {
        self.conditions.generation().is_none()
            && !was_new
            && problem.status == 409
            && problem.generation.is_some()
    }
}
