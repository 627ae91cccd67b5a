//! What is and was: exports, sessions, history, refusals.

use axum::Extension;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use control_api::{
    AuditEntry, ExplainQuery, Explanation, ExportFormat, HistoryEntry, Problem, Refusal, Session,
};
use serde::Deserialize;
use utoipa::IntoParams;

use super::super::answer::{self, Answer};
use super::super::request;
use super::super::roles::check_secrets;
use super::{Shared, number};
use crate::control::Caller;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ExportQuery {
    /// `toml` or `saveconfig`.
    #[serde(default)]
    #[param(inline, default = "toml")]
    format: ExportFormat,
    /// With CHAP secrets; admins only.
    #[serde(default)]
    with_secrets: bool,
}

/// A login to think through.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LoginQuery {
    /// The initiator's name.
    initiator: String,
    /// The target's name.
    target: String,
    /// The portal, `address:port`.
    portal: Option<String>,
}

/// The running tree as a file
#[utoipa::path(get, path = "/v1/export", params(ExportQuery), tag = "records",
    responses((status = 200, content((String = "text/plain"), (String = "application/json")))))]
pub(super) async fn export(
    State(face): Shared,
    Extension(caller): Extension<Caller>,
    query: Result<Query<ExportQuery>, QueryRejection>,
) -> Answer {
    let ExportQuery {
        format,
        with_secrets,
    } = request::query(query)?;
    if with_secrets {
        check_secrets(caller.role)?;
    }
    let text = face
        .calls
        .look(move |control| control.export(&caller, format, with_secrets))
        .await??;
    let content_type = match format {
        ExportFormat::Toml => answer::TEXT,
        ExportFormat::Saveconfig => answer::JSON,
    };
    answer::text(content_type, text)
}

/// Who is logged in
#[utoipa::path(get, path = "/v1/sessions", tag = "sessions",
    responses((status = 200, body = Vec<Session>)))]
pub(super) async fn sessions(State(face): Shared) -> Answer {
    answer::json(&face.calls.look(|control| control.sessions()).await?)
}

/// One session
#[utoipa::path(get, path = "/v1/sessions/{id}", params(("id" = u64, Path)), tag = "sessions",
    responses((status = 200, body = Session)))]
pub(super) async fn session(State(face): Shared, path: Result<Path<u64>, PathRejection>) -> Answer {
    let id = number(path, "session")?;
    let mut sessions = face
        .calls
        .look(|control| control.sessions())
        .await?
        .into_iter();
    let session = sessions.find(|session| session.id == id).ok_or_else(|| {
        Problem::new(404, "no_such_session", format!("there is no session {id}"))
            .with_hint("it may have ended: a number is never used again")
    })?;
    answer::json(&session)
}

/// Would this login work, and which rules decide it
#[utoipa::path(get, path = "/v1/explain", params(LoginQuery), tag = "records",
    responses((status = 200, body = Explanation)))]
pub(super) async fn explain(
    State(face): Shared,
    query: Result<Query<LoginQuery>, QueryRejection>,
) -> Answer {
    let LoginQuery {
        initiator,
        target,
        portal,
    } = request::query(query)?;
    let query = ExplainQuery {
        initiator,
        target,
        portal,
    };
    answer::json(
        &face
            .calls
            .look(move |control| control.explain(&query))
            .await??,
    )
}

/// The last generations, oldest first
#[utoipa::path(get, path = "/v1/history", tag = "records",
    responses((status = 200, body = Vec<HistoryEntry>)))]
pub(super) async fn history(State(face): Shared) -> Answer {
    answer::json(&face.calls.look(|control| control.history()).await?)
}

/// The last refused logins, newest last
#[utoipa::path(get, path = "/v1/refused", tag = "records",
    responses((status = 200, body = Vec<Refusal>)))]
pub(super) async fn refused(State(face): Shared) -> Answer {
    answer::json(&face.calls.look(|control| control.refused()).await?)
}

/// The last lines of the audit log, newest last
#[utoipa::path(get, path = "/v1/audit", tag = "records",
    responses((status = 200, body = Vec<AuditEntry>)))]
pub(super) async fn audit(State(face): Shared) -> Answer {
    answer::json(&face.calls.look(|control| control.audit()).await?)
}
