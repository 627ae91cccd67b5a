//! The HTTP face: HTTP/1.1 and JSON on a Unix socket, in front of [`Control`].
//!
//! It settles who asks (SO_PEERCRED) and what that role may do, reads and writes the documents of `control-api`, and
//! carries calls, which block, off its runtime's one thread. It knows nothing of what an attribute means. Everything a
//! caller can make it hold (connections, heads, bodies, calls, events that wait) has a bound.

mod answer;
mod calls;
mod document;
mod request;
mod roles;
mod routes;
mod server;
mod stream;

use std::io;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::sync::Semaphore;

pub use roles::{GroupError, ROUTES, RoleRules, Route};
pub use server::{ApiServer, Stopped};

use crate::control::Control;
use calls::Calls;

/// Bounds of the HTTP face. The defaults are right for a daemon; tests make them small.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once. One more gets 503 and is closed.
    pub connections: usize,
    /// Questions that only look, worked on at once. More wait.
    pub looks: usize,
    /// Changes worked on at once, drains included: they never keep a look waiting.
    pub changes: usize,
    /// Streams of events at once.
    pub watchers: usize,
    /// Events that wait for one slow reader before its stream ends.
    pub waiting_events: usize,
    /// A body, other than of an apply, in bytes.
    pub body_bytes: usize,
    /// The body of an apply, in bytes.
    pub apply_bytes: usize,
    /// How long a request's head, and between requests the next one, may take to come.
    pub head_timeout: Duration,
    /// How long a body may take to come.
    pub body_timeout: Duration,
    /// How long a peer may leave an answer untaken.
    pub write_timeout: Duration,
    /// How long a call waits for its turn.
    pub turn_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            looks: 8,
            changes: 8,
            watchers: 32,
            waiting_events: 256,
            body_bytes: 1 << 20,
            apply_bytes: 16 << 20,
            head_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            turn_timeout: Duration::from_secs(60),
        }
    }
}

/// What every request's handler shares.
struct Face {
    calls: Calls,
    limits: Limits,
    watchers: Arc<Semaphore>,
    /// Requests that come from now on are refused, and streams of events end.
    is_stopping: Arc<AtomicBool>,
}

impl Face {
    fn new(control: Arc<dyn Control>, limits: Limits) -> Self {
        Self {
            calls: Calls::new(control, &limits),
            watchers: Arc::new(Semaphore::new(limits.watchers)),
            is_stopping: Arc::default(),
            limits,
        }
    }
}

impl ApiServer {
    /// Serves on a thread of its own until [`ApiServer::stop`].
    ///
    /// # Errors
    /// The runtime, the thread or the listener cannot be set up.
    pub fn start(
        listener: UnixListener,
        control: Arc<dyn Control>,
        roles: RoleRules,
    ) -> io::Result<Self> {
        Self::start_with(listener, control, roles, Limits::default())
    }
}

/// The OpenAPI 3.1 document of the API, as `/openapi.json` has it.
#[must_use]
pub fn openapi_json() -> String {
    document::of(routes::router().1)
}
