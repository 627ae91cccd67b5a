//! What the caller decides before the engine starts.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reactor::DriverChoice;

use crate::control::ApplyError;
use crate::credentials::Helpers;
use crate::observe::Observer;

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
    /// How long a login waits for the last I/O of the session it replaces, and a logout for that of what it closes.
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
    /// Who hears of logins and sessions.
    pub observer: Option<Arc<dyn Observer>>,
    /// Directory of the caller's alone for persistent reservations that are to outlast the process (APTPL); made if it is not
    /// there. `None`: none do, and initiators are told so.
    pub reservations: Option<PathBuf>,
    /// How often it is looked how much thin disks use.
    pub usage_interval: Duration,
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
            observer: None,
            reservations: None,
            usage_interval: Duration::from_secs(10),
        }
    }
}

/// Why the engine did not start. Nothing is left behind.
#[derive(Debug)]
pub enum StartError {
    /// Something that the tree names could not be had.
    Apply(ApplyError),
    /// No driver of the kind asked for can be had on this system.
    Driver(io::Error),
    /// There is no place for persistent reservations.
    Reservations {
        /// The directory.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A thread could not be started.
    Thread(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The reason names the file; the path in a tree that nobody wrote says nothing more.
            Self::Apply(ApplyError::Store { problem, .. }) => problem.fmt(f),
            Self::Apply(error) => error.fmt(f),
            Self::Driver(source) => {
                write!(
                    f,
                    "the I/O driver cannot start: {source}; try --driver auto"
                )
            }
            Self::Reservations { directory, source } => write!(
                f,
                "{}: cannot keep persistent reservations here: {source}; see to the directory",
                directory.display()
            ),
            Self::Thread(source) => write!(f, "a worker thread cannot start: {source}"),
        }
    }
}

impl std::error::Error for StartError {}

/// Why nobody can be served at an address, and what to do.
pub(crate) fn portal_problem(address: SocketAddr, source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            format!("{address}: the address is in use; stop its user or choose another port")
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("{address}: this machine has no such address; choose one of its own")
        }
        io::ErrorKind::PermissionDenied => {
            format!("{address}: not allowed to listen here; choose a port above 1023")
        }
        _ => format!("{address}: cannot listen: {source}"),
    }
}
