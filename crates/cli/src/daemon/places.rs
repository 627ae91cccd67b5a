//! Where the daemon's things stand unless it is told otherwise: with root where the system keeps such things, else where XDG
//! has them.

use std::env::var_os;
use std::path::PathBuf;

/// The control socket: what the environment says, else its usual place.
pub(crate) fn default_socket() -> PathBuf {
    if let Some(socket) = var_os("QUINTAIN_SOCKET").filter(|socket| !socket.is_empty()) {
        return socket.into();
    }
    if is_root() {
        return "/run/quintain/control.sock".into();
    }
    let runtime = var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let folder = runtime.unwrap_or_else(|| state_home().join("run"));
    folder.join("quintain/control.sock")
}

/// The saved state.
pub(crate) fn default_state_dir() -> PathBuf {
    if is_root() {
        "/var/lib/quintain".into()
    } else {
        state_home().join("quintain")
    }
}

/// The desired-state file.
pub(crate) fn default_config() -> PathBuf {
    if is_root() {
        return "/etc/quintain/quintain.toml".into();
    }
    let home = var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    home.unwrap_or_else(|| of_home(".config"))
        .join("quintain/quintain.toml")
}

fn state_home() -> PathBuf {
    let home = var_os("XDG_STATE_HOME").map(PathBuf::from);
    home.unwrap_or_else(|| of_home(".local/state"))
}

fn of_home(below: &str) -> PathBuf {
    PathBuf::from(var_os("HOME").unwrap_or_else(|| "/".into())).join(below)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
