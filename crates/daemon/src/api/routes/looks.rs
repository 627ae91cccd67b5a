//! The daemon itself: its status, its counters, its attributes and its API.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use control_api::{AttributeInfo, Problem, Status};
use serde::Deserialize;
use utoipa::IntoParams;

use super::super::answer::{self, Answer};
use super::super::{openapi_json, request};
use super::Shared;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct KindQuery {
    /// Only of this kind of object: `tpg`, `backstore`.
    kind: Option<String>,
}

/// What attributes there are
#[utoipa::path(get, path = "/v1/attributes", params(KindQuery), tag = "daemon",
    responses((status = 200, body = Vec<AttributeInfo>)))]
pub(super) async fn attributes(
    State(face): Shared,
    query: Result<Query<KindQuery>, QueryRejection>,
) -> Answer {
    let kind = request::query(query)?.kind;
    answer::json(
        &face
            .calls
            .look(move |control| control.attributes(kind.as_deref()))
            .await?,
    )
}

/// How the daemon is
#[utoipa::path(get, path = "/v1/status", tag = "daemon",
    responses((status = 200, body = Status)))]
pub(super) async fn status(State(face): Shared) -> Answer {
    let status = face.calls.look(|control| control.status()).await?;
    answer::json_of_generation(status.generation, &status)
}

/// Counters and gauges, OpenMetrics
#[utoipa::path(get, path = "/metrics", tag = "daemon",
    responses((status = 200, body = String, content_type = "application/openmetrics-text")))]
pub(super) async fn metrics(State(face): Shared) -> Answer {
    let text = face.calls.look(|control| control.metrics()).await?;
    answer::text(answer::OPEN_METRICS, text)
}

/// 200 where every portal serves, 503 where not
#[utoipa::path(get, path = "/healthz", tag = "daemon",
    responses((status = 200, body = String, content_type = "text/plain")))]
pub(super) async fn healthz(State(face): Shared) -> Answer {
    if face.calls.look(|control| control.status()).await?.ready {
        return answer::text(answer::TEXT, "ready\n".to_owned());
    }
    Err(Problem::new(503, "not_ready", "not every portal serves yet").into())
}

/// This API, OpenAPI 3.1
#[utoipa::path(get, path = "/openapi.json", tag = "daemon",
    responses((status = 200, body = serde_json::Value)))]
pub(super) async fn openapi() -> Answer {
    answer::text(answer::JSON, openapi_json())
}
