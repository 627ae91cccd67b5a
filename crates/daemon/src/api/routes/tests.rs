//! Every row of the table of roles against the router itself, for callers that a test cannot be.

use std::path::Path as FilePath;
use std::sync::mpsc::{Receiver, sync_channel};

use axum::body::Body;
use axum::http::StatusCode;
use control_api::{
    AttributeInfo, AuditEntry, Event, ExplainQuery, Explanation, ExportFormat, HistoryEntry,
    Outcome, Refusal, Rollback, Session, Status, Terms, Transaction, TreeAnswer,
};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;

use super::super::{Limits, ROUTES};
use super::*;
use crate::control::{Control, Role};

/// Agrees to everything.
struct Agreeable;

impl Control for Agreeable {
    fn status(&self) -> Status {
        Status {
            ready: true,
            ..Status::default()
        }
    }

    fn tree(&self, _: &str, _: u32) -> Result<TreeAnswer, Problem> {
        Ok(TreeAnswer {
            generation: 1,
            object: control_api::Object::default(),
        })
    }

    fn transact(&self, _: &Caller, _: &Transaction, _: bool) -> Result<Outcome, Problem> {
        Ok(Outcome::default())
    }

    fn apply(
        &self,
        _: &Caller,
        _: &str,
        _: Option<&FilePath>,
        _: Terms,
    ) -> Result<Outcome, Problem> {
        Ok(Outcome::default())
    }

    fn export(&self, _: &Caller, _: ExportFormat, _: bool) -> Result<String, Problem> {
        Ok(String::new())
    }

    fn sessions(&self) -> Vec<Session> {
        Vec::new()
    }

    fn end_session(&self, _: &Caller, _: u64) -> Result<(), Problem> {
        Ok(())
    }

    fn explain(&self, _: &ExplainQuery) -> Result<Explanation, Problem> {
        Err(Problem::no_such_object("/"))
    }

    fn history(&self) -> Vec<HistoryEntry> {
        Vec::new()
    }

    fn rollback(&self, _: &Caller, _: Rollback) -> Result<Outcome, Problem> {
        Ok(Outcome::default())
    }

    fn refused(&self) -> Vec<Refusal> {
        Vec::new()
    }

    fn attributes(&self, _: Option<&str>) -> Vec<AttributeInfo> {
        Vec::new()
    }

    fn audit(&self) -> Vec<AuditEntry> {
        Vec::new()
    }

    fn metrics(&self) -> String {
        String::new()
    }

    fn subscribe(&self) -> Receiver<Event> {
        sync_channel(1).1
    }
}

/// What the router answers a caller of this role, or of none.
fn ask(role: Option<Role>, method: &str, target: &str, body: &'static str) -> StatusCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let face = Arc::new(Face::new(Arc::new(Agreeable), Limits::default()));
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .body(Body::from(body))
            .unwrap();
        if let Some(role) = role {
            request.extensions_mut().insert(Caller {
                uid: 1000,
                gid: 1000,
                pid: 1,
                role,
            });
        }
        TowerToHyperService::new(service(&face))
            .call(request)
            .await
            .unwrap()
            .status()
    })
}

#[test]
fn router_holds_every_role_to_its_routes() {
    for route in ROUTES {
        let target = route
            .path
            .replace("{path}", "a")
            .replace("{id}", "1")
            .replace("{generation}", "1");
        let body = if target.ends_with("transactions") {
            r#"{"changes":[]}"#
        } else {
            ""
        };
        for role in [
            None,
            Some(Role::Viewer),
            Some(Role::Operator),
            Some(Role::Admin),
        ] {
            let is_refused = ask(role, route.method, &target, body) == StatusCode::FORBIDDEN;
            assert_eq!(is_refused, role < Some(route.role), "{role:?} at {route:?}");
        }
    }
}

#[test]
fn router_refuses_operators_what_only_admins_may() {
    let enabled = r#"{"attributes":{"enabled":true}}"#;
    let alias = r#"{"attributes":{"alias":"x"}}"#;
    let create = r#"{"changes":[{"op":"create","path":"/x"}]}"#;
    let resize = r#"{"changes":[{"op":"set","path":"/x","attributes":{"size":1}}]}"#;
    let table = [
        ("PATCH", "/v1/tree/a", enabled, true),
        ("PATCH", "/v1/tree/a?dry_run=true", alias, false),
        ("PATCH", "/v1/tree", alias, false),
        ("POST", "/v1/transactions", resize, true),
        ("POST", "/v1/transactions?dry_run=true", create, false),
        ("GET", "/v1/export?with_secrets=false", "", true),
        ("GET", "/v1/export?with_secrets=true", "", false),
    ];
    for (method, target, body, allowed) in table {
        let wanted = if allowed {
            StatusCode::OK
        } else {
            StatusCode::FORBIDDEN
        };
        assert_eq!(
            ask(Some(Role::Operator), method, target, body),
            wanted,
            "{method} {target} {body}"
        );
        assert_eq!(
            ask(Some(Role::Admin), method, target, body),
            StatusCode::OK,
            "{target} {body}"
        );
    }
}

#[test]
fn requests_while_the_server_stops_are_refused() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let face = Arc::new(Face::new(Arc::new(Agreeable), Limits::default()));
        face.is_stopping.store(true, Ordering::Release);
        let mut request = Request::builder()
            .uri("/v1/status")
            .body(Body::empty())
            .unwrap();
        request.extensions_mut().insert(Caller::daemon(0, 0, 1));
        let response = TowerToHyperService::new(service(&face))
            .call(request)
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[CONNECTION], "close");
    });
}
