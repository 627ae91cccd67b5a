//! The helpers of a daemon, by the path of their socket: each is started when it is first asked.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use auth::Authenticator;

use super::{DEFAULT_TIMEOUT, HelperAuthenticator, HelperConfig};

/// All helpers of one daemon.
pub struct HelperPool(Mutex<Helpers>);

struct Helpers {
    timeout: Duration,
    by_socket: BTreeMap<String, HelperAuthenticator>,
}

impl Default for HelperPool {
    fn default() -> Self {
        Self(Mutex::new(Helpers {
            timeout: DEFAULT_TIMEOUT,
            by_socket: BTreeMap::new(),
        }))
    }
}

impl HelperPool {
    /// A new configuration is in force: those of these sockets stay, the others end. With another timeout than before all
    /// of them start anew. What a helper that ends still has to answer is refused, and its initiator tries again.
    pub fn configure<'a>(&self, sockets: impl IntoIterator<Item = &'a str>, timeout: Duration) {
        let ended = {
            let mut helpers = self.helpers();
            let mut before = std::mem::take(&mut helpers.by_socket);
            if helpers.timeout == timeout {
                for socket in sockets {
                    if let Some(helper) = before.remove(socket) {
                        helpers.by_socket.insert(socket.to_owned(), helper);
                    }
                }
            }
            helpers.timeout = timeout;
            before
        };
        // Outside of the lock: their threads may be delivering answers.
        drop(ended);
    }

    /// The helper behind this socket, with `built_in` as the target's own proof where the helper has none. `None`: it cannot
    /// be started.
    #[must_use]
    pub fn helper(
        &self,
        socket: &str,
        built_in: Arc<dyn Authenticator>,
    ) -> Option<Arc<dyn Authenticator>> {
        let mut helpers = self.helpers();
        if let Some(helper) = helpers.by_socket.get(socket) {
            return Some(Arc::new(helper.with_built_in(built_in)));
        }
        let config = HelperConfig {
            timeout: helpers.timeout,
            ..HelperConfig::new(socket)
        };
        match HelperAuthenticator::start(config, None) {
            Ok(helper) => {
                let asked = helper.with_built_in(built_in);
                helpers.by_socket.insert(socket.to_owned(), helper);
                Some(Arc::new(asked))
            }
            Err(error) => {
                tracing::error!(helper = socket, %error, "authentication helper: no thread for it");
                None
            }
        }
    }

    fn helpers(&self) -> MutexGuard<'_, Helpers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl engine::Helpers for HelperPool {
    fn helper(
        &self,
        socket: &str,
        built_in: Arc<dyn Authenticator>,
    ) -> Option<Arc<dyn Authenticator>> {
        self.helper(socket, built_in)
    }
}

impl fmt::Debug for HelperPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.helpers().by_socket.keys())
            .finish()
    }
}
