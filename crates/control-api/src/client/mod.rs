//! A blocking client for the control socket, on `std` alone: one call, one connection. It knows no retry and no cache;
//! a call either gets its answer within its time or fails.

mod call;
mod error;
mod events;
mod http;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use call::{
    generation_matches, json_request, plain, refused, tree_change, tree_url, with_precondition,
};
pub use error::{ClientError, ProtocolFault};
pub use events::Events;
use http::{Patience, Request};

use crate::attribute::AttributeInfo;
use crate::change::{Attributes, Outcome, Rollback, Terms, Transaction};
use crate::explain::{ExplainQuery, Explanation};
use crate::path::encode_query;
use crate::record::{AuditEntry, ExportFormat, HistoryEntry, Refusal};
use crate::session::Session;
use crate::status::Status;
use crate::tree::{AttributeMap, TreeAnswer};

/// How long a look may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a change may take: longer than a drain, which is part of it.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(900);
/// How long the stream of events may be silent; the daemon sends a comment every 15 s.
const EVENTS_TIMEOUT: Duration = Duration::from_secs(60);

/// The daemon behind a control socket. Cheap to make; each call opens a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    look_timeout: Duration,
    change_timeout: Duration,
}

/// What must be so for a change to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing.
    #[default]
    None,
    /// The object does not exist yet.
    Absent,
    /// This generation is in force.
    Generation(u64),
}

impl Client {
    /// A client of the daemon that listens at this socket.
    #[must_use]
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
            look_timeout: LOOK_TIMEOUT,
            change_timeout: CHANGE_TIMEOUT,
        }
    }

    /// With other deadlines: for a look, and for a change.
    #[must_use]
    pub fn with_timeouts(self, look: Duration, change: Duration) -> Self {
        Self {
            look_timeout: look,
            change_timeout: change,
            ..self
        }
    }

    /// Where the daemon listens.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// How the daemon is.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub fn status(&self) -> Result<Status, ClientError> {
        self.look("/v1/status".to_owned())
    }

    /// An object and what stands below it, `depth` levels deep.
    ///
    /// # Errors
    /// 404 where there is no such object; else as every call.
    pub fn tree(&self, path: &str, depth: u32) -> Result<TreeAnswer, ClientError> {
        self.look(format!("{}?depth={depth}", tree_url(path)))
    }

    /// Creates an object or replaces its attributes: those not given go back to their defaults.
    ///
    /// # Errors
    /// 409 or 412 where the precondition does not hold, 422 for an invalid change; else as every call.
    pub fn put(
        &self,
        path: &str,
        attributes: &AttributeMap,
        precondition: Precondition,
        dry_run: bool,
    ) -> Result<Outcome, ClientError> {
        let body = Attributes {
            attributes: attributes.clone(),
        };
        let request = Request {
            method: "PUT",
            ..json_request(tree_change(path, dry_run), &body)?
        };
        self.change(with_precondition(request, precondition))
    }

    /// Sets some attributes of an object; `null` goes back to the default.
    ///
    /// # Errors
    /// 404 where there is no such object, 409 for another generation, 422 for an invalid change; else as every call.
    pub fn patch(
        &self,
        path: &str,
        attributes: &AttributeMap,
        if_generation: Option<u64>,
        dry_run: bool,
    ) -> Result<Outcome, ClientError> {
        let body = Attributes {
            attributes: attributes.clone(),
        };
        let request = Request {
            method: "PATCH",
            ..json_request(tree_change(path, dry_run), &body)?
        };
        self.change(with_precondition(
            request,
            generation_matches(if_generation),
        ))
    }

    /// Removes an object; with `cascade`, what stands below it and what refers to it too.
    ///
    /// # Errors
    /// 404 where there is no such object, 409 for another generation, 422 where something is in the way; else as every
    /// call.
    pub fn delete(
        &self,
        path: &str,
        cascade: bool,
        if_generation: Option<u64>,
        dry_run: bool,
    ) -> Result<Outcome, ClientError> {
        let target = format!("{}?cascade={cascade}&dry_run={dry_run}", tree_url(path));
        self.change(with_precondition(
            plain("DELETE", target),
            generation_matches(if_generation),
        ))
    }

    /// Makes several changes together, or none of them.
    ///
    /// # Errors
    /// 409 for another generation, 422 with every mistake; else as every call.
    pub fn transact(
        &self,
        transaction: &Transaction,
        dry_run: bool,
    ) -> Result<Outcome, ClientError> {
        self.change(json_request(
            format!("/v1/transactions?dry_run={dry_run}"),
            transaction,
        )?)
    }

    /// Makes the tree what a desired-state file (TOML or saveconfig.json) says. Relative paths in it are relative to
    /// `base`, which is absolute.
    ///
    /// # Errors
    /// 409 for another generation, 422 with every mistake at its line; else as every call.
    pub fn apply(
        &self,
        text: &str,
        base: Option<&Path>,
        terms: Terms,
    ) -> Result<Outcome, ClientError> {
        let dry_run = terms.dry_run;
        let base = base.map(|base| format!("&base={}", encode_query(&base.to_string_lossy())));
        let target = format!("/v1/apply?dry_run={dry_run}{}", base.unwrap_or_default());
        let body = text.as_bytes().to_vec();
        let request = Request {
            content_type: Some("text/plain; charset=utf-8"),
            body,
            ..plain("POST", target)
        };
        self.change(with_precondition(
            request,
            generation_matches(terms.if_generation),
        ))
    }

    /// The running tree as a file's text.
    ///
    /// # Errors
    /// 403 for secrets asked for by another role than admin; else as every call.
    pub fn export(&self, format: ExportFormat, with_secrets: bool) -> Result<String, ClientError> {
        let format = format.as_str();
        self.text(format!(
            "/v1/export?format={format}&with_secrets={with_secrets}"
        ))
    }

    /// Who is logged in.
    ///
    /// # Errors
    /// As every call.
    pub fn sessions(&self) -> Result<Vec<Session>, ClientError> {
        self.look("/v1/sessions".to_owned())
    }

    /// One session.
    ///
    /// # Errors
    /// 404 where it is gone; else as every call.
    pub fn session(&self, id: u64) -> Result<Session, ClientError> {
        self.look(format!("/v1/sessions/{id}"))
    }

    /// Ends a session: it is asked to log out, and dropped at the deadline.
    ///
    /// # Errors
    /// 404 where it is gone; else as every call.
    pub fn end_session(&self, id: u64) -> Result<(), ClientError> {
        let request = plain("DELETE", format!("/v1/sessions/{id}"));
        self.ask(&request, self.change_timeout)?
            .read_all()
            .map(drop)
    }

    /// Would this login work, and which rules decide it.
    ///
    /// # Errors
    /// 422 for a name or portal that is none; else as every call.
    pub fn explain(&self, query: &ExplainQuery) -> Result<Explanation, ClientError> {
        let mut target = format!(
            "/v1/explain?initiator={}&target={}",
            encode_query(&query.initiator),
            encode_query(&query.target)
        );
        if let Some(portal) = &query.portal {
            target.push_str(&format!("&portal={}", encode_query(portal)));
        }
        self.look(target)
    }

    /// The last generations, oldest first.
    ///
    /// # Errors
    /// As every call.
    pub fn history(&self) -> Result<Vec<HistoryEntry>, ClientError> {
        self.look("/v1/history".to_owned())
    }

    /// Makes the tree what it was in a generation of the history.
    ///
    /// # Errors
    /// 404 where the history does not reach back to it, 409 for another generation than the terms name, 422 where it cannot be
    /// made so; else as every call.
    pub fn rollback(&self, back: Rollback) -> Result<Outcome, ClientError> {
        let Rollback {
            generation,
            keep_sizes,
            terms,
        } = back;
        let target = format!(
            "/v1/rollback/{generation}?dry_run={}&keep_sizes={keep_sizes}",
            terms.dry_run
        );
        self.change(with_precondition(
            plain("POST", target),
            generation_matches(terms.if_generation),
        ))
    }

    /// The last refused logins, newest last.
    ///
    /// # Errors
    /// As every call.
    pub fn refused(&self) -> Result<Vec<Refusal>, ClientError> {
        self.look("/v1/refused".to_owned())
    }

    /// What attributes there are, of one kind of object or of all.
    ///
    /// # Errors
    /// As every call.
    pub fn attributes(&self, kind: Option<&str>) -> Result<Vec<AttributeInfo>, ClientError> {
        let query = kind.map(|kind| format!("?kind={}", encode_query(kind)));
        self.look(format!("/v1/attributes{}", query.unwrap_or_default()))
    }

    /// The last lines of the audit log, newest last.
    ///
    /// # Errors
    /// As every call.
    pub fn audit(&self) -> Result<Vec<AuditEntry>, ClientError> {
        self.look("/v1/audit".to_owned())
    }

    /// Counters and gauges as OpenMetrics text.
    ///
    /// # Errors
    /// As every call.
    pub fn metrics(&self) -> Result<String, ClientError> {
        self.text("/metrics".to_owned())
    }

    /// Whether every portal serves.
    ///
    /// # Errors
    /// As every call; that the daemon is not ready is an answer, not an error.
    pub fn is_ready(&self) -> Result<bool, ClientError> {
        match self.text("/healthz".to_owned()) {
            Ok(_) => Ok(true),
            Err(ClientError::Problem(problem)) if problem.is("not_ready") => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The OpenAPI document.
    ///
    /// # Errors
    /// As every call.
    pub fn openapi(&self) -> Result<Value, ClientError> {
        self.look("/openapi.json".to_owned())
    }

    /// What happens from now on: every event after this call returned is told.
    ///
    /// # Errors
    /// 503 where too many watch; else as every call.
    pub fn events(&self) -> Result<Events, ClientError> {
        let request = plain("GET", "/v1/events".to_owned());
        let answer = http::exchange(self.connect()?, &request, Patience::Idle(EVENTS_TIMEOUT))?;
        refused(answer).map(Events::new)
    }
}

#[cfg(test)]
mod tests;
