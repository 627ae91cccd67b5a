//! What the caller decides before the engine starts.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reactor::DriverChoice;

use crate::credentials::Helpers;

/// How the engine runs. `Default` suits every machine; nothing here is part of the object tree.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Worker threads; `None`: one per available core.
    pub workers: Option<usize>,
    pub driver: DriverChoice,
    /// Payload memory of each worker, in bytes. Taken from the system only as it is used.
    pub memory_budget_bytes: usize,
    /// The whole of a login must fit in this.
    pub login_timeout: Duration,
    /// Connections that may be logging in at once, and of one source address.
    pub max_logins: usize,
    pub max_logins_per_source: usize,
    /// How long a login waits for the last I/O of the session it replaces.
    pub reinstatement_timeout: Duration,
    /// How often an idle initiator is pinged, and how long it may take to answer.
    pub ping_interval: Duration,
    pub ping_timeout: Duration,
    /// How long a connection may take to carry one Data-Out sequence, or one batch of answers.
    pub transfer_timeout: Duration,
    /// `TCP_CONGESTION` of accepted connections; `None`: the system's.
    pub tcp_congestion: Option<String>,
    /// Where authentication helpers are found; `None`: a portal group that names one lets nobody in.
    pub helpers: Option<Arc<dyn Helpers>>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            workers: None,
            driver: DriverChoice::Auto,
            memory_budget_bytes: 256 << 20,
            login_timeout: Duration::from_secs(15),
            max_logins: 4096,
            max_logins_per_source: 1024,
            reinstatement_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(15),
            ping_timeout: Duration::from_secs(30),
            transfer_timeout: Duration::from_secs(60),
            tcp_congestion: None,
            helpers: None,
        }
    }
}

/// Why the engine did not start. Nothing is left behind.
#[derive(Debug)]
pub enum StartError {
    /// A backstore could not be opened.
    Backstore(backstores::OpenError),
    /// A portal could not be bound.
    Portal {
        address: SocketAddr,
        source: io::Error,
    },
    /// No driver of the kind asked for can be had on this system.
    Driver(io::Error),
    /// The tree contradicts itself.
    Tree(Vec<model::ConfigError>),
    /// A thread could not be started.
    Thread(io::Error),
    /// A file could not be created.
    Create { path: PathBuf, source: io::Error },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backstore(error) => error.fmt(f),
            Self::Portal { address, source } => match source.kind() {
                io::ErrorKind::AddrInUse => {
                    write!(
                        f,
                        "{address}: the address is in use; stop its user or choose another port"
                    )
                }
                io::ErrorKind::AddrNotAvailable => {
                    write!(
                        f,
                        "{address}: this machine has no such address; choose one of its own"
                    )
                }
                io::ErrorKind::PermissionDenied => {
                    write!(
                        f,
                        "{address}: not allowed to listen here; choose a port above 1023"
                    )
                }
                _ => write!(f, "{address}: cannot listen: {source}"),
            },
            Self::Driver(source) => {
                write!(
                    f,
                    "the I/O driver cannot start: {source}; try --driver auto"
                )
            }
            Self::Tree(errors) => {
                let text: Vec<String> = errors.iter().map(ToString::to_string).collect();
                f.write_str(&text.join("\n"))
            }
            Self::Thread(source) => write!(f, "a worker thread cannot start: {source}"),
            Self::Create { path, source } => {
                write!(f, "{}: cannot create: {source}", path.display())
            }
        }
    }
}

impl std::error::Error for StartError {}
