//! Answers: JSON with the generation as its ETag, and every refusal as a problem document (RFC 9457).

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, ETAG};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use control_api::{Outcome, Problem};
use serde::Serialize;

pub(super) const JSON: &str = "application/json";
pub(super) const TEXT: &str = "text/plain; charset=utf-8";
/// OpenMetrics 1.0, "Overall structure".
pub(super) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
pub(super) const EVENT_STREAM: &str = "text/event-stream";
/// RFC 9457 §3.
pub(super) const PROBLEM: &str = "application/problem+json";

/// What a handler returns.
pub(super) type Answer = Result<Response, Refused>;

/// A problem on its way out.
#[derive(Debug)]
pub(super) struct Refused(Problem);

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        problem_response(&self.0)
    }
}

pub(super) fn problem_response(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    // A problem is strings and numbers: writing it cannot fail.
    let body = serde_json::to_vec(problem).unwrap_or_default();
    response(status, PROBLEM, body)
}

pub(super) fn response(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Body>,
) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // Never kept by a cache between the daemon and a browser on somebody's forwarded socket.
    const CACHE_CONTROL: HeaderName = axum::http::header::CACHE_CONTROL;
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub(super) fn text(content_type: &'static str, body: String) -> Answer {
    Ok(response(StatusCode::OK, content_type, body))
}

pub(super) fn json<T: Serialize>(value: &T) -> Answer {
    json_status(StatusCode::OK, value)
}

/// JSON that was read from, or made, this generation.
pub(super) fn json_of_generation<T: Serialize>(generation: u64, value: &T) -> Answer {
    with_generation(generation, json(value)?)
}

/// What a change did. 201 where it made the object that the URL names.
pub(super) fn outcome(outcome: &Outcome, created: bool) -> Answer {
    let status = if created && !outcome.dry_run {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    with_generation(outcome.generation, json_status(status, outcome)?)
}

fn json_status<T: Serialize>(status: StatusCode, value: &T) -> Answer {
    let body = serde_json::to_vec(value)
        .map_err(|error| Problem::internal(format!("the answer is not JSON: {error}")))?;
    Ok(response(status, JSON, body))
}

fn with_generation(generation: u64, mut response: Response) -> Answer {
    // Digits and quotes are legal in a header.
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{generation}\"")) {
        response.headers_mut().insert(ETAG, tag);
    }
    Ok(response)
}
