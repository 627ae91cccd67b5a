//! Changes of more than one object, and of what is no object.

use std::path::PathBuf;

use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use control_api::{Outcome, Problem, Rollback, Terms, Transaction};
use serde::Deserialize;
use utoipa::IntoParams;

use super::super::answer::{self, Answer};
use super::super::request::{self, Preconditions};
use super::tree::{DryRun, submit, without_marks};
use super::{Shared, number};
use crate::control::Caller;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ApplyQuery {
    /// Change nothing; tell what would be changed.
    #[serde(default)]
    dry_run: bool,
    /// The folder, absolute, that relative paths in the file are relative to.
    #[param(value_type = Option<String>)]
    base: Option<PathBuf>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RollbackQuery {
    /// Change nothing; tell what would be changed.
    #[serde(default)]
    dry_run: bool,
    /// Backstores that have grown since keep the size that they have: none ever shrinks.
    #[serde(default)]
    keep_sizes: bool,
}

/// Make several changes together, or none of them
#[utoipa::path(post, path = "/v1/transactions", params(DryRun), request_body = Transaction, tag = "changes",
    responses((status = 200, body = Outcome)))]
pub(super) async fn transact(
    State(face): Shared,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    dry_run: Result<Query<DryRun>, QueryRejection>,
    body: Body,
) -> Answer {
    let if_match = Preconditions::of_existing(&headers)?;
    let dry_run = request::query(dry_run)?.dry_run;
    let limits = &face.limits;
    let bytes = request::read_body(body, limits.body_bytes, limits.body_timeout).await?;
    let mut transaction: Transaction = request::parse_json(&bytes)?;
    match (if_match, transaction.if_generation) {
        (Some(header), Some(body)) if header != body => {
            let detail = "If-Match and if_generation name different generations";
            return Err(Problem::new(400, "bad_precondition", detail).into());
        }
        (header, body) => transaction.if_generation = header.or(body),
    }
    for change in &mut transaction.changes {
        use control_api::Change::{Create, Delete, Set};
        match change {
            Create { attributes, .. } | Set { attributes, .. } => {
                *attributes = without_marks(std::mem::take(attributes));
            }
            Delete { .. } => {}
        }
    }
    submit(&face, caller, transaction, dry_run).await
}

/// Make the tree what a desired-state file says, TOML or saveconfig.json
#[utoipa::path(post, path = "/v1/apply", params(ApplyQuery), tag = "changes",
    request_body(content = String, content_type = "text/plain"),
    responses((status = 200, body = Outcome)))]
pub(super) async fn apply(
    State(face): Shared,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    query: Result<Query<ApplyQuery>, QueryRejection>,
    body: Body,
) -> Answer {
    let if_generation = Preconditions::of_existing(&headers)?;
    let ApplyQuery { dry_run, base } = request::query(query)?;
    let terms = Terms {
        dry_run,
        if_generation,
    };
    if base.as_ref().is_some_and(|base| !base.is_absolute()) {
        let problem = Problem::new(400, "bad_query", "base is not an absolute path");
        return Err(problem
            .with_hint("the daemon does not know the caller's folder")
            .into());
    }
    let limits = &face.limits;
    let bytes = request::read_body(body, limits.apply_bytes, limits.body_timeout).await?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Problem::new(400, "bad_body", "the file is not UTF-8 text"))?;
    let outcome = face
        .calls
        .change(move |control| control.apply(&caller, &text, base.as_deref(), terms))
        .await??;
    answer::outcome(&outcome, false)
}

/// Make the tree what it was in a generation of the history
#[utoipa::path(post, path = "/v1/rollback/{generation}", tag = "changes",
    params(("generation" = u64, Path), RollbackQuery),
    responses((status = 200, body = Outcome)))]
pub(super) async fn rollback(
    State(face): Shared,
    Extension(caller): Extension<Caller>,
    path: Result<Path<u64>, PathRejection>,
    headers: HeaderMap,
    query: Result<Query<RollbackQuery>, QueryRejection>,
) -> Answer {
    let if_generation = Preconditions::of_existing(&headers)?;
    let RollbackQuery {
        dry_run,
        keep_sizes,
    } = request::query(query)?;
    let back = Rollback {
        generation: number(path, "generation")?,
        keep_sizes,
        terms: Terms {
            dry_run,
            if_generation,
        },
    };
    let outcome = face
        .calls
        .change(move |control| control.rollback(&caller, back))
        .await??;
    answer::outcome(&outcome, false)
}

/// End a session: it is asked to log out, and dropped at the deadline
#[utoipa::path(delete, path = "/v1/sessions/{id}", params(("id" = u64, Path)), tag = "sessions",
    responses((status = 204, description = "it is gone")))]
pub(super) async fn end_session(
    State(face): Shared,
    Extension(caller): Extension<Caller>,
    path: Result<Path<u64>, PathRejection>,
    headers: HeaderMap,
) -> Answer {
    Preconditions::refuse(&headers)?;
    let id = number(path, "session")?;
    face.calls
        .change(move |control| control.end_session(&caller, id))
        .await??;
    Ok(StatusCode::NO_CONTENT.into_response())
}
