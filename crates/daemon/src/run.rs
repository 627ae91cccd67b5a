//! A running daemon: the core, its control socket, and whoever waits to hear that it is ready.

use std::fmt;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::api::{ApiServer, RoleRules};
use crate::control::Control;
use crate::core::{BootError, Core, CoreConfig};

/// How long calls that are under way may take when the daemon stops.
const CALLS_END: Duration = Duration::from_secs(5);

/// What the daemon is started with.
#[derive(Debug)]
pub struct DaemonConfig {
    /// The core's part.
    pub core: CoreConfig,
    /// Where the control socket stands.
    pub socket: PathBuf,
    /// Members of this group may operate.
    pub operators: Option<String>,
    /// Members of this group may look.
    pub viewers: Option<String>,
}

/// Why it does not start.
#[derive(Debug)]
pub enum DaemonError {
    /// The core does not start.
    Boot(BootError),
    /// The control socket cannot be had.
    Socket(PathBuf, String),
}

impl fmt::Display for DaemonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boot(error) => error.fmt(f),
            Self::Socket(path, reason) => write!(f, "{}: {reason}", path.display()),
        }
    }
}

impl std::error::Error for DaemonError {}

/// A daemon that serves.
pub struct Daemon {
    core: Arc<Core>,
    api: Option<ApiServer>,
    socket: PathBuf,
}

impl Daemon {
    /// Starts everything. When it returns, every portal serves and the control socket answers.
    ///
    /// # Errors
    /// See [`DaemonError`]; nothing is left running.
    pub fn start(config: DaemonConfig) -> Result<Self, DaemonError> {
        let DaemonConfig {
            core,
            socket,
            operators,
            viewers,
        } = config;
        let refuse = |reason: String| DaemonError::Socket(socket.clone(), reason);
        let roles = roles(operators.as_deref(), viewers.as_deref()).map_err(&refuse)?;
        let others = operators.is_some() || viewers.is_some();
        let listener = listen(&socket, others).map_err(&refuse)?;
        let core = Arc::new(
            Core::start(core)
                .map_err(DaemonError::Boot)
                .inspect_err(|_| {
                    // The name would lead nowhere.
                    let _gone = std::fs::remove_file(&socket);
                })?,
        );
        let control: Arc<dyn Control> = Arc::clone(&core) as Arc<dyn Control>;
        let api = ApiServer::start(listener, control, roles)
            .map_err(|error| refuse(format!("it cannot be served: {error}")))?;
        Ok(Self {
            core,
            api: Some(api),
            socket,
        })
    }

    /// The core.
    #[must_use]
    pub fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Takes no more calls; those under way end.
    pub fn stop_api(&mut self) {
        if let Some(api) = self.api.take() {
            let _stopped = api.stop(CALLS_END);
            let _gone = std::fs::remove_file(&self.socket);
        }
    }
}

fn roles(operators: Option<&str>, viewers: Option<&str>) -> Result<RoleRules, String> {
    let mut rules = RoleRules::new(rustix::process::geteuid().as_raw());
    if let Some(group) = operators {
        rules = rules.with_operators(group).map_err(|e| e.to_string())?;
    }
    if let Some(group) = viewers {
        rules = rules.with_viewers(group).map_err(|e| e.to_string())?;
    }
    Ok(rules)
}

/// The control socket, mode 0600 in a folder of mode 0700; with `others`, whose role their uid decides, anybody may connect.
/// What a daemon that was killed left behind is taken away; one that answers is another daemon's.
fn listen(path: &Path, others: bool) -> Result<UnixListener, String> {
    let (of_folder, of_socket) = if others {
        (0o755, 0o666)
    } else {
        (0o700, 0o600)
    };
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        let made = std::fs::DirBuilder::new()
            .recursive(true)
            .mode(of_folder)
            .create(folder);
        made.map_err(|error| {
            format!("its folder cannot be made: {error}; choose another --socket")
        })?;
    }
    match UnixStream::connect(path) {
        Ok(_) => {
            return Err(
                "a daemon answers there already; stop it, or choose another --socket".to_owned(),
            );
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            let _gone = std::fs::remove_file(path);
        }
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)
        .map_err(|error| format!("cannot listen there: {error}; choose another --socket"))?;
    let mode = std::fs::Permissions::from_mode(of_socket);
    std::fs::set_permissions(path, mode)
        .map_err(|error| format!("its mode cannot be set: {error}"))?;
    Ok(listener)
}

/// Tells whoever started the process how it is, as systemd's sd_notify(3) has it. Without a NOTIFY_SOCKET nobody wants to
/// know.
pub fn notify(state: &str) {
    use std::os::linux::net::SocketAddrExt;
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let sent = UnixDatagram::unbound().and_then(|socket| {
        let text = name.to_string_lossy();
        let address = match text.strip_prefix('@') {
            Some(name) => std::os::unix::net::SocketAddr::from_abstract_name(name)?,
            None => std::os::unix::net::SocketAddr::from_pathname(&name)?,
        };
        socket.send_to_addr(state.as_bytes(), &address)
    });
    if let Err(error) = sent {
        tracing::debug!(%error, "the supervisor could not be told");
    }
}
