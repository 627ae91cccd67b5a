//! The router: handlers by topic, each annotated for the OpenAPI document; the table of roles stands before all of them.

mod changes;
mod events;
mod looks;
mod records;
mod tree;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::HeaderValue;
use axum::http::header::{ALLOW, CONNECTION};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use control_api::Problem;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::problem_response;
use super::document;
use super::roles::{check_route, methods_of};
use super::{Face, answer};
use crate::control::Caller;

/// What a handler shares with the others.
type Shared = State<Arc<Face>>;

/// Every route that the document tells of.
pub(super) fn router() -> (Router<Arc<Face>>, OpenApi) {
    OpenApiRouter::with_openapi(document::base())
        .routes(routes!(tree::read_root, tree::replace_root, tree::set_root))
        .routes(routes!(tree::read, tree::replace, tree::set, tree::delete))
        .routes(routes!(changes::transact))
        .routes(routes!(changes::apply))
        .routes(routes!(changes::rollback))
        .routes(routes!(records::export))
        .routes(routes!(records::sessions))
        .routes(routes!(records::session, changes::end_session))
        .routes(routes!(records::explain))
        .routes(routes!(records::history))
        .routes(routes!(records::refused))
        .routes(routes!(records::audit))
        .routes(routes!(looks::attributes))
        .routes(routes!(looks::status))
        .routes(routes!(looks::metrics))
        .routes(routes!(looks::healthz))
        .routes(routes!(looks::openapi))
        .routes(routes!(events::events))
        .split_for_parts()
}

/// The router as connections use it.
pub(super) fn service(face: &Arc<Face>) -> Router {
    router()
        .0
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_route)
        .layer(from_fn_with_state(Arc::clone(face), refuse_while_stopping))
        .layer(from_fn(check_caller))
        .with_state(Arc::clone(face))
}

/// The table decides before the router does.
async fn check_caller(request: Request, next: Next) -> Response {
    let role = request
        .extensions()
        .get::<Caller>()
        .map(|caller| caller.role);
    let path = request.uri().path();
    match check_route(role, request.method().as_str(), path) {
        Ok(()) => next.run(request).await,
        Err(problem) => {
            let mut response = problem_response(&problem);
            if problem.status == 405
                && let Ok(methods) = HeaderValue::from_str(&methods_of(path))
            {
                response.headers_mut().insert(ALLOW, methods);
            }
            response
        }
    }
}

/// What comes on a connection that stayed open while the server stops.
async fn refuse_while_stopping(State(face): Shared, request: Request, next: Next) -> Response {
    if !face.is_stopping.load(Ordering::Acquire) {
        return next.run(request).await;
    }
    let mut response = problem_response(&Problem::shutting_down());
    response
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

async fn no_such_route() -> Response {
    problem_response(&Problem::new(
        404,
        "no_such_route",
        "there is nothing at this URL",
    ))
}

/// A number in the path.
fn number(path: Result<Path<u64>, PathRejection>, what: &str) -> Result<u64, answer::Refused> {
    let problem = || {
        Problem::new(
            400,
            "bad_path",
            format!("the URL names no {what}: it is a number"),
        )
    };
    path.map(|Path(number)| number)
        .map_err(|_| problem().into())
}

#[cfg(test)]
mod tests;
