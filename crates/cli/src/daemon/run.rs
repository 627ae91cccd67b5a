//! `quintain daemon`: the daemon in the foreground, its signals, its end.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Result, anyhow};
use daemon::core::{Core, CoreConfig};
use daemon::run::{Daemon, DaemonConfig, notify};
use engine::EngineConfig;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::signals;

use super::places::{default_config, default_socket, default_state_dir};

/// Serve a tree of targets that can be changed at any time.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The desired-state file (TOML, or LIO's saveconfig.json), applied when nothing is saved yet or the file has changed since it was
    /// applied last
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the state is saved; `none` saves nothing, and the file is the truth at each start
    #[arg(long, value_name = "DIR|none")]
    state_dir: Option<PathBuf>,
    /// The control socket [default: $QUINTAIN_SOCKET; else /run/quintain/control.sock for root, $XDG_RUNTIME_DIR/quintain/control.sock
    /// for others]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Members of this group may end sessions, enable, disable and resize
    #[arg(long, value_name = "GROUP")]
    operator_group: Option<String>,
    /// Members of this group may look
    #[arg(long, value_name = "GROUP")]
    viewer_group: Option<String>,
    /// Start with what can be read of a damaged state, and set the rest aside
    #[arg(long)]
    recover: bool,
    /// How I/O is done: auto, uring, epoll or mixed
    #[arg(long, value_name = "DRIVER", default_value = "auto")]
    driver: String,
    /// Worker threads; one per core by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
}

/// How often a device that is not there is looked for.
const RETRY: Duration = Duration::from_secs(3);

/// Runs until SIGINT or SIGTERM, and drains.
///
/// # Errors
/// It cannot start, or a disk has not given back its I/O.
pub(crate) fn run(args: &Args) -> Result<()> {
    let signals = signals::listen(&[SIGINT, SIGTERM, SIGHUP])?;
    let config = config(args)?;
    let mut daemon = Daemon::start(config).map_err(|error| anyhow!("{error}"))?;
    notify("READY=1");
    ready();
    let core = Arc::clone(daemon.core());
    serve(&core, &signals);
    notify("STOPPING=1");
    let end = drain(&core, &signals);
    daemon.stop_api();
    end
}

/// For whoever waits on standard output: every portal serves.
#[expect(clippy::print_stdout, reason = "the line is the interface")]
fn ready() {
    println!("ready");
}

fn config(args: &Args) -> Result<DaemonConfig> {
    let state_dir = args.state_dir.clone().unwrap_or_else(default_state_dir);
    let driver = args
        .driver
        .parse()
        .map_err(|error| anyhow!("--driver: {error}"))?;
    let given = args.config.clone();
    Ok(DaemonConfig {
        core: CoreConfig {
            engine: EngineConfig {
                workers: args.workers.map(usize::from),
                driver,
                ..EngineConfig::default()
            },
            state_dir: (state_dir.as_os_str() != "none").then_some(state_dir),
            // The default file need not be there; one that was named must be.
            config: given.or_else(|| Some(default_config()).filter(|path| path.exists())),
            recover: args.recover,
        },
        socket: args.socket.clone().unwrap_or_else(default_socket),
        operators: args.operator_group.clone(),
        viewers: args.viewer_group.clone(),
    })
}

/// Until a signal that ends it: SIGHUP reads the file again, and devices that are not there are looked for.
fn serve(core: &Core, signals: &Receiver<i32>) {
    loop {
        match signals.recv_timeout(RETRY) {
            Ok(SIGHUP) => {
                notify("RELOADING=1");
                core.reload();
                notify("READY=1");
            }
            Ok(_) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                core.retry_degraded();
            }
        }
    }
}

/// Drains everything. A second signal cuts it short.
fn drain(core: &Core, signals: &Receiver<i32>) -> Result<()> {
    let within = core.drain_timeout();
    core.start_drain(within);
    let start = |within| core.start_drain(within);
    signals::see_off(within, signals, start, || core.is_drained())
}
