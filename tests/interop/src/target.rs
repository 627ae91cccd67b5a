//! The binary under test, as a process.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long a start or an orderly end may take before it counts as a hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// The target's name in every test.
pub const TARGET_NAME: &str = "iqn.2026-11.org.example:interop";

/// `--driver`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// Chosen by the program.
    Auto,
    /// No io_uring call at all.
    Epoll,
    /// io_uring for sockets and files.
    Uring,
}

impl Driver {
    pub(crate) fn flag(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Epoll => "epoll",
            Self::Uring => "uring",
        }
    }
}

/// A user and a secret.
#[derive(Clone, Copy, Debug)]
pub struct Credentials {
    /// CHAP_N.
    pub user: &'static str,
    /// The shared secret.
    pub secret: &'static str,
}

/// What to serve: the command line in the making.
#[derive(Clone, Debug)]
pub struct Serve {
    folder: PathBuf,
    driver: Driver,
    arguments: Vec<OsString>,
    wrapper: Vec<OsString>,
    binary: Option<PathBuf>,
}

impl Serve {
    /// Serves nothing yet; files that it needs are made in `folder`.
    #[must_use]
    pub fn new(folder: &Path, driver: Driver) -> Self {
        Self {
            folder: folder.to_owned(),
            driver,
            arguments: Vec::new(),
            wrapper: Vec::new(),
            binary: None,
        }
    }

    /// Another binary than [`binary`].
    #[must_use]
    pub fn binary(mut self, binary: &Path) -> Self {
        self.binary = Some(binary.to_owned());
        self
    }

    /// Any further argument.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// A disk in a file of this name in the folder, made with this size where it does not exist.
    #[must_use]
    pub fn file(self, name: &str, size: &str) -> Self {
        let path = self.folder.join(name);
        self.argument(path).argument("--size").argument(size)
    }

    /// A disk in memory.
    #[must_use]
    pub fn ram(self, size: &str) -> Self {
        self.argument("--ram").argument(size)
    }

    /// Asks the initiator for CHAP.
    ///
    /// # Errors
    /// The secret's file cannot be written.
    pub fn chap(self, credentials: Credentials) -> Result<Self> {
        let file = self.secret_file("chap.secret", credentials)?;
        Ok(self
            .argument("--chap")
            .argument(credentials.user)
            .argument("--chap-secret-file")
            .argument(file))
    }

    /// Proves the target to an initiator that asks.
    ///
    /// # Errors
    /// The secret's file cannot be written.
    pub fn mutual_chap(self, credentials: Credentials) -> Result<Self> {
        let file = self.secret_file("mutual.secret", credentials)?;
        Ok(self
            .argument("--mutual-chap")
            .argument(credentials.user)
            .argument("--mutual-chap-secret-file")
            .argument(file))
    }

    /// Starts the binary through another program (strace and its arguments).
    #[must_use]
    pub fn through(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(Into::into).collect();
        self
    }

    fn secret_file(&self, name: &str, credentials: Credentials) -> Result<PathBuf> {
        use std::os::unix::fs::PermissionsExt;
        let path = self.folder.join(name);
        std::fs::write(&path, credentials.secret)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(path)
    }

    /// The whole command, its output not yet redirected.
    ///
    /// # Errors
    /// There is no binary.
    pub fn command(&self) -> Result<Command> {
        let binary = self
            .binary
            .clone()
            .map_or_else(binary, Ok)?
            .into_os_string();
        let mut words = self.wrapper.iter().chain([&binary]);
        let mut command = Command::new(words.next().context("no program")?);
        command.args(words).arg("serve").args(&self.arguments);
        command.args(["--driver", self.driver.flag(), "--name", TARGET_NAME]);
        Ok(command)
    }

    /// Starts it on a free port of loopback and waits until it says that it listens.
    ///
    /// # Errors
    /// It ends, or says nothing within a minute: with what it wrote to standard error.
    pub fn start(&self) -> Result<Target> {
        self.start_at("127.0.0.1:0")
    }

    /// As [`Serve::start`], at this address and port.
    ///
    /// # Errors
    /// As [`Serve::start`].
    pub fn start_at(&self, listen: &str) -> Result<Target> {
        let mut command = self.command()?;
        command.args(["--json", "--listen", listen]);
        let log = self.folder.join("quintain.log");
        let log_file = File::options().create(true).append(true).open(&log)?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log_file);
        let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
        match ready_line(&mut child) {
            Ok(line) => Target::new(child, &line, log),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                let told = std::fs::read_to_string(&log).unwrap_or_default();
                Err(error.context(format!("{command:?} did not start: {told}")))
            }
        }
    }
}

/// A running target. Dropped, it is killed.
#[derive(Debug)]
pub struct Target {
    child: Child,
    pid: Pid,
    log: PathBuf,
    /// Where it listens.
    pub portal: SocketAddr,
    /// The whole line that it printed.
    pub announced: Value,
}

impl Target {
    fn new(child: Child, line: &str, log: PathBuf) -> Result<Self> {
        let parsed = parse_announcement(line);
        let mut child = child;
        let (portal, pid, announced) = match parsed {
            Ok(parsed) => parsed,
            Err(error) => {
                child.kill()?;
                child.wait()?;
                return Err(error);
            }
        };
        Ok(Self {
            child,
            pid,
            log,
            portal,
            announced,
        })
    }

    /// `iscsi://ADDRESS/TARGET/LUN`.
    #[must_use]
    pub fn url(&self, lun: u64) -> String {
        format!("iscsi://{}/{TARGET_NAME}/{lun}", self.portal)
    }

    /// The same with CHAP, and mutual CHAP where the target's own credentials are given.
    #[must_use]
    pub fn url_with_chap(&self, lun: u64, own: Credentials, target: Option<Credentials>) -> String {
        let mut url = format!(
            "iscsi://{}%{}@{}/{TARGET_NAME}/{lun}",
            own.user, own.secret, self.portal
        );
        if let Some(target) = target {
            url.push_str(&format!(
                "?target_user={}&target_password={}",
                target.user, target.secret
            ));
        }
        url
    }

    /// The number of its process.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Sends a signal to the program itself, also when it was started through another.
    ///
    /// # Errors
    /// It is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(self.pid, signal)?)
    }

    /// Kills it at once, as a crash would, and waits for its end. It may have been killed already.
    ///
    /// # Errors
    /// The system does not let us.
    pub fn kill9(mut self) -> Result<()> {
        match kill_process(self.pid, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
        self.child.wait()?;
        Ok(())
    }

    /// Asks for an orderly end by SIGTERM and waits for it.
    ///
    /// # Errors
    /// It does not end within a minute.
    pub fn drain(self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It does not end within a minute.
    pub fn wait(mut self) -> Result<ExitStatus> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("it did not end within {PATIENCE:?}: {}", self.log_text())
    }

    /// Its resident memory in bytes.
    ///
    /// # Errors
    /// It is gone.
    pub fn resident_bytes(&self) -> Result<u64> {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid.as_raw_nonzero()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line
            .and_then(|line| line.split_whitespace().next())
            .context("no VmRSS")?;
        Ok(kibibytes.parse::<u64>()? * 1024)
    }

    /// How many descriptors it has open.
    ///
    /// # Errors
    /// It is gone.
    pub fn descriptors(&self) -> Result<usize> {
        let folder = format!("/proc/{}/fd", self.pid.as_raw_nonzero());
        Ok(std::fs::read_dir(folder)?.count())
    }

    /// Whether its main thread has ended. A process is not gone before a call of its that hangs in the kernel returns; then
    /// this is all that can be seen of its end.
    ///
    /// # Errors
    /// It is gone, and has been waited for.
    pub fn has_ended(&self) -> Result<bool> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid.as_raw_nonzero()))?;
        // proc(5): the state follows the name, which is in parentheses and may hold any character.
        let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
        Ok(state.is_some_and(|state| state.starts_with(['Z', 'X'])))
    }

    /// What it has written to standard error, in all starts of this folder.
    #[must_use]
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// The system does not say.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Its own process first: a wrapper that is killed would leave it behind.
            let _gone = kill_process(self.pid, Signal::KILL);
            let _gone = self.child.kill();
            let _gone = self.child.wait();
        }
    }
}

/// The binary: `QUINTAIN_BIN`, else the one in the folder where this test was built.
///
/// # Errors
/// There is none.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("QUINTAIN_BIN") {
        return Ok(path.into());
    }
    let own = std::env::current_exe()?;
    let beside = own.ancestors().nth(2).map(|folder| folder.join("quintain"));
    match beside {
        Some(path) if path.exists() => Ok(path),
        _ => bail!("no quintain binary: cargo build --package cli, or cargo xtask ci interop"),
    }
}

/// The first line of its standard output.
fn ready_line(child: &mut Child) -> Result<String> {
    let stdout = child.stdout.take().context("no standard output")?;
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stdout);
        let mut line = String::new();
        let read = reader.read_line(&mut line);
        // Nobody listens any more after the patience has ended.
        let _late = sender.send(read.map(|_| line));
        // Whatever follows is read, so that the program never waits for us.
        let _end = std::io::copy(&mut reader, &mut std::io::sink());
    });
    let line = receiver
        .recv_timeout(PATIENCE)
        .context("it says nothing")??;
    if line.trim().is_empty() {
        bail!("it ended without a line");
    }
    Ok(line)
}

fn parse_announcement(line: &str) -> Result<(SocketAddr, Pid, Value)> {
    let announced: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
    let portal = announced["portals"][0]
        .as_str()
        .with_context(|| format!("no portals: {line}"))?;
    let portal = portal.parse().with_context(|| portal.to_owned())?;
    let pid = announced["pid"]
        .as_i64()
        .and_then(|pid| i32::try_from(pid).ok())
        .and_then(Pid::from_raw);
    Ok((
        portal,
        pid.with_context(|| format!("no pid: {line}"))?,
        announced,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcement_names_portal_and_pid() {
        let line = r#"{"portals":["127.0.0.1:40123"],"target":"iqn.x","pid":42,"driver":"epoll","luns":[]}"#;
        let (portal, pid, announced) = parse_announcement(line).unwrap();
        assert_eq!(portal, "127.0.0.1:40123".parse().unwrap());
        assert_eq!(pid.as_raw_nonzero().get(), 42);
        assert_eq!(announced["driver"], "epoll");
    }

    #[test]
    fn announcement_without_portal_or_pid_is_refused_with_the_line() {
        for line in [
            r#"{"pid":42}"#,
            r#"{"portals":["127.0.0.1:1"]}"#,
            "listening",
        ] {
            let error = format!("{:#}", parse_announcement(line).unwrap_err());
            assert!(error.contains(line), "{error}");
        }
    }
}
