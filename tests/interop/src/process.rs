//! Processes that a test starts and that end with it, and the daemon among them.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::target::{Driver, binary};

/// What takes longer counts as a hang.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A process of the test's own, which ends with it.
pub struct Process {
    pub child: Child,
    /// Where what it tells stands.
    pub log: PathBuf,
}

impl Process {
    /// Starts it, with its standard error in `folder`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(command: &mut Command, folder: &Path, log: &str) -> Result<Self> {
        let log = folder.join(log);
        let file = File::options().create(true).append(true).open(&log)?;
        command.stdin(Stdio::null()).stderr(file);
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().with_context(|| {
            format!("{name} cannot be started (cargo xtask ci interop makes it)")
        })?;
        Ok(Self { child, log })
    }

    /// What it has told so far.
    #[must_use]
    pub fn told(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until something is so.
    ///
    /// # Errors
    /// It does not come, or the process ends before.
    pub fn until(&mut self, what: &str, mut is_so: impl FnMut(&Self) -> bool) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while !is_so(self) {
            if let Some(status) = self.child.try_wait()? {
                bail!("{what}: it ended with {status}: {}", self.told());
            }
            ensure!(Instant::now() < end, "{what}: {}", self.told());
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// A daemon without a saved state that serves a desired state in TOML, once it is ready. Its control socket is
/// `control.sock` in `folder`, its log `daemon.log`.
///
/// # Errors
/// It does not become ready.
pub fn daemon(folder: &Path, desired: &str) -> Result<Process> {
    daemon_on(folder, desired, Driver::Auto)
}

/// The same on this driver.
///
/// # Errors
/// It does not become ready.
pub fn daemon_on(folder: &Path, desired: &str, driver: Driver) -> Result<Process> {
    let file = folder.join("desired.toml");
    std::fs::write(&file, desired)?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))?;
    let mut command = Command::new(binary()?);
    command
        .args(["daemon", "--state-dir", "none", "--workers", "1"])
        .args(["--driver", driver.flag()])
        .arg("--config")
        .arg(&file)
        .arg("--socket")
        .arg(folder.join("control.sock"))
        .stdout(Stdio::piped());
    let mut process = Process::start(&mut command, folder, "daemon.log")?;
    let stdout = process.child.stdout.take().context("no standard output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    ensure!(line == "ready\n", "{line}{}", process.told());
    Ok(process)
}

/// A client command to the daemon of `folder`.
///
/// # Errors
/// There is no binary.
pub fn client(folder: &Path, words: &[&str]) -> Result<Command> {
    let mut command = Command::new(binary()?);
    command
        .args(words)
        .arg("--socket")
        .arg(folder.join("control.sock"));
    Ok(command)
}
