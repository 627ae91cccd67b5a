//! Authentication by a program of the operator's: questions and answers as lines of JSON over a Unix socket.
//!
//! [`HelperAuthenticator`] is one more [`auth::Authenticator`]; a login does not know that it asks one. Each helper has one
//! connection and one thread, which alone connects, writes, reads and keeps the deadlines; whoever asks only puts a
//! question into a bounded queue. Whatever goes wrong (no helper, a closed connection, a late, unknown, oversized or
//! malformed answer) is a refusal that the initiator may try again: [`auth::Refusal::Unavailable`].
//!
//! Knows no secret. Names are logged by nobody here, nor are challenges and responses. The protocol is described in
//! `docs/guides/authentication-helper.md`.

mod cache;
mod client;
mod connection;
mod pool;
mod protocol;
mod question;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use auth::{Answer, Authenticator, Policy, PolicyRequest, Refusal, Reply, Verdict, VerifyRequest};

use client::Client;
pub use pool::HelperPool;
pub use protocol::MAX_LINE_BYTES;
use question::{Asked, BuiltIn};

/// How long an answer may take where the operator says nothing.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// How many questions may wait for one helper where nobody says otherwise: more are refused at once.
pub const DEFAULT_MAX_QUESTIONS: usize = 2048;

/// Where a helper is and what is asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelperConfig {
    /// The socket that the helper listens on.
    pub socket: PathBuf,
    /// How long an answer may take, the hello included.
    pub timeout: Duration,
    /// Questions without an answer, waiting or asked, beyond which none is taken.
    pub max_questions: usize,
}

/// Asks a helper. Cheap to clone: clones share the connection, which ends with the last of them. Then its thread has ended
/// and everything asked has its answer.
#[derive(Clone)]
pub struct HelperAuthenticator {
    client: Arc<Client>,
    built_in: BuiltIn,
}

impl HelperConfig {
    /// A helper behind this socket, everything else as it is by default.
    #[must_use]
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
            timeout: DEFAULT_TIMEOUT,
            max_questions: DEFAULT_MAX_QUESTIONS,
        }
    }
}

impl HelperAuthenticator {
    /// Starts the thread, which connects at once and keeps trying: a helper may start after us, and again.
    ///
    /// `built_in` proves the target where the helper declares that it cannot (`"mutual": false`).
    ///
    /// # Errors
    /// No thread, or no descriptors for it.
    pub fn start(
        config: HelperConfig,
        built_in: Option<Arc<dyn Authenticator>>,
    ) -> io::Result<Self> {
        Ok(Self {
            client: Arc::new(Client::start(config)?),
            built_in: BuiltIn(built_in),
        })
    }

    /// The same connection, with another proof of the target.
    #[must_use]
    pub fn with_built_in(&self, built_in: Arc<dyn Authenticator>) -> Self {
        Self {
            client: Arc::clone(&self.client),
            built_in: BuiltIn(Some(built_in)),
        }
    }
}

impl Authenticator for HelperAuthenticator {
    fn policy(&self, request: &PolicyRequest, reply: Reply<Policy>) -> Answer<Policy> {
        if let Some(cached) = self.client.cached(request) {
            return reply.now(self.built_in.complete(cached, request));
        }
        let asked = Asked::Policy {
            request: request.clone(),
            reply,
        };
        match self.client.ask(asked, &self.built_in) {
            Err(Asked::Policy { reply, .. }) => reply.now(Policy::Deny(Refusal::Unavailable)),
            Ok(()) | Err(Asked::Verify { .. }) => Answer::Later,
        }
    }

    fn verify(&self, request: &VerifyRequest, reply: Reply<Verdict>) -> Answer<Verdict> {
        let asked = Asked::Verify {
            request: Box::new(request.clone()),
            reply,
        };
        match self.client.ask(asked, &self.built_in) {
            Err(Asked::Verify { reply, .. }) => reply.now(Verdict::Deny(Refusal::Unavailable)),
            Ok(()) | Err(Asked::Policy { .. }) => Answer::Later,
        }
    }
}

impl fmt::Debug for HelperAuthenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HelperAuthenticator")
            .field("config", self.client.config())
            .finish_non_exhaustive()
    }
}
