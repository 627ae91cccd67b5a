//! The daemon's inside: one tree, one engine that runs it, one place where changes are made, saved, told and remembered.

mod boot;
mod bus;
mod commit;
mod convert;
mod explain;
mod faces;
mod metrics;
mod saved;
mod sessions;
mod view;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::{Engine, EngineConfig, Helpers};
use model::{ObjectId, Tree};

pub use self::bus::Bus;
use self::saved::Saved;
pub use self::saved::{BootError, ConfigFile};
use crate::helper::HelperPool;
use crate::isns::IsnsClient;

/// How the daemon runs; nothing of it is in the tree.
#[derive(Debug)]
pub struct CoreConfig {
    /// Workers, driver and limits.
    pub engine: EngineConfig,
    /// Where generations are kept; `None`: nowhere, and the file is the truth at each start.
    pub state_dir: Option<PathBuf>,
    /// The desired-state file.
    pub config: Option<PathBuf>,
    /// Go on with what is before a damage of the saved state.
    pub recover: bool,
}

/// The running daemon behind its faces.
pub struct Core {
    engine: Engine,
    /// Held while a change is made: one at a time.
    saved: Mutex<Saved>,
    sizes: Mutex<BTreeMap<ObjectId, u64>>,
    bus: Arc<Bus>,
    helpers: Arc<HelperPool>,
    isns: IsnsClient,
    config: Option<PathBuf>,
    driver: String,
    workers: usize,
}

/// The pool as the engine asks for it.
struct Pool(Arc<HelperPool>);

impl Helpers for Pool {
    fn helper(
        &self,
        socket: &str,
        built_in: Arc<dyn auth::Authenticator>,
    ) -> Option<Arc<dyn auth::Authenticator>> {
        self.0.helper(socket, built_in)
    }
}

impl Core {
    /// The tree in force.
    pub(crate) fn tree(&self) -> Tree {
        self.engine.tree()
    }

    /// Tries to open what is degraded. Returns how many are degraded still.
    pub fn retry_degraded(&self) -> usize {
        let tree = self.tree();
        for id in &self.engine.degraded() {
            let path = tree.backstore_by_id(*id).map(|store| {
                model::ObjectPath::Backstore(store.kind, store.name.clone()).to_string()
            });
            if let (Ok(Some(report)), Some(path)) = (self.engine.reopen(*id), path) {
                lock(&self.sizes).insert(*id, report.size_bytes);
                tracing::info!(%path, "the device is back; its LUNs are ready");
                self.bus.tell(control_api::Event::Restored { path });
            }
        }
        self.engine.degraded().len()
    }

    /// Begins to drain everything: no new login, sessions are asked to log out, and what is left after `within` is cut off.
    /// Called again, an earlier deadline counts.
    pub fn start_drain(&self, within: Duration) {
        self.isns.end();
        self.engine.start_drain(within);
    }

    /// Whether the drain has ended.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.engine.is_drained()
    }

    /// How long a removal may take, as the tree says.
    #[must_use]
    pub fn drain_timeout(&self) -> Duration {
        let seconds = self.tree().daemon_setting("drain_timeout_s");
        let seconds = seconds.and_then(|value| value.as_integer()).unwrap_or(10);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(10))
    }
}

/// A panic elsewhere leaves what these mutexes guard whole: it is changed in steps that cannot fail.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Milliseconds since 1970.
fn unix_time_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
