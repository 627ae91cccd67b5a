//! One call: a connection, a request, its answer.

use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{ClientError, ProtocolFault};
use super::http::{self, Answer, Patience, Request};
use super::{Client, Precondition};
use crate::change::Outcome;
use crate::path::encode_path;

impl Client {
    pub(super) fn look<T: DeserializeOwned>(&self, target: String) -> Result<T, ClientError> {
        let body = self
            .ask(&plain("GET", target), self.look_timeout)?
            .read_all()?;
        parse(&body)
    }

    pub(super) fn text(&self, target: String) -> Result<String, ClientError> {
        let body = self
            .ask(&plain("GET", target), self.look_timeout)?
            .read_all()?;
        String::from_utf8(body).map_err(|_| ProtocolFault::Body.into())
    }

    pub(super) fn change(&self, request: Request) -> Result<Outcome, ClientError> {
        let body = self.ask(&request, self.change_timeout)?.read_all()?;
        parse(&body)
    }

    pub(super) fn ask(&self, request: &Request, timeout: Duration) -> Result<Answer, ClientError> {
        let deadline = Instant::now() + timeout;
        let answer = http::exchange(self.connect()?, request, Patience::Until(deadline))?;
        refused(answer)
    }

    pub(super) fn connect(&self) -> Result<UnixStream, ClientError> {
        UnixStream::connect(&self.socket).map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => ClientError::NotRunning {
                socket: self.socket.clone(),
            },
            ErrorKind::PermissionDenied => ClientError::NoAccess {
                socket: self.socket.clone(),
            },
            _ => ClientError::Io(error),
        })
    }
}

/// A refusal as an error.
pub(super) fn refused(mut answer: Answer) -> Result<Answer, ClientError> {
    if (200..300).contains(&answer.status) {
        return Ok(answer);
    }
    if answer.content_type != "application/problem+json" {
        return Err(ProtocolFault::Status(answer.status).into());
    }
    let problem = parse(&answer.read_all()?)?;
    Err(ClientError::Problem(problem))
}

pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(body).map_err(|_| ProtocolFault::Body.into())
}

pub(super) fn plain(method: &'static str, target: String) -> Request {
    Request {
        method,
        target,
        headers: Vec::new(),
        content_type: None,
        body: Vec::new(),
    }
}

pub(super) fn json_request<T: Serialize>(target: String, body: &T) -> Result<Request, ClientError> {
    let body = serde_json::to_vec(body).map_err(|_| ProtocolFault::Body)?;
    Ok(Request {
        content_type: Some("application/json"),
        body,
        ..plain("POST", target)
    })
}

pub(super) fn tree_url(path: &str) -> String {
    format!("/v1/tree{}", encode_path(path))
}

pub(super) fn tree_change(path: &str, dry_run: bool) -> String {
    format!("{}?dry_run={dry_run}", tree_url(path))
}

pub(super) fn generation_matches(generation: Option<u64>) -> Precondition {
    generation.map_or(Precondition::None, Precondition::Generation)
}

pub(super) fn with_precondition(mut request: Request, precondition: Precondition) -> Request {
    match precondition {
        Precondition::None => {}
        Precondition::Absent => request.headers.push(("If-None-Match", "*".to_owned())),
        Precondition::Generation(generation) => request
            .headers
            .push(("If-Match", format!("\"{generation}\""))),
    }
    request
}
