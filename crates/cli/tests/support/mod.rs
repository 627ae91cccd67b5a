//! A daemon of the test's own, the program's commands against it, and an initiator that blocks.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

pub mod host;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use control_api::Client;
use tempfile::TempDir;

/// How long anything may take before a test fails instead of hanging.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon of the test's own, which ends with it.
pub struct Daemon {
    child: Child,
    socket: PathBuf,
}

impl Daemon {
    /// One worker, its socket in `folder`; returns when every portal serves.
    pub fn start(folder: &Path, words: &[&str]) -> Self {
        let socket = folder.join("control.sock");
        let mut child = Command::new(env!("CARGO_BIN_EXE_quintain"))
            .arg("daemon")
            .args(["--workers", "1"])
            .arg("--socket")
            .arg(&socket)
            .args(words)
            .current_dir(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("a line comes");
        let daemon = Self { child, socket };
        if line != "ready\n" {
            panic!("not ready: {}", daemon.told());
        }
        daemon
    }

    pub fn client(&self) -> Client {
        Client::new(&self.socket)
    }

    /// Ends it at once, and tells what it said.
    pub fn told(mut self) -> String {
        let _ended = self.child.kill();
        let stderr = self.child.stderr.take();
        let _ended = self.child.wait();
        stderr.map_or_else(String::new, |stderr| {
            std::io::read_to_string(stderr).unwrap_or_default()
        })
    }

    /// SIGTERM, and its exit code.
    pub fn end(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            assert!(start.elapsed() < PATIENCE, "the daemon does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// What a command came to.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A folder, a daemon that keeps its state there, and the program's commands run in that folder.
pub struct Bench {
    pub folder: TempDir,
    daemon: Option<Daemon>,
}

impl Bench {
    pub fn new() -> Self {
        Self::with(&[])
    }

    /// With further words for the daemon.
    pub fn with(words: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut all = vec!["--state-dir", "state"];
        all.extend(words);
        let daemon = Some(Daemon::start(folder.path(), &all));
        Self { folder, daemon }
    }

    pub fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().expect("it has not ended")
    }

    /// Ends the daemon, and tells what it said on its way.
    pub fn daemon_told(&mut self) -> String {
        self.daemon.take().expect("it has not ended").told()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A path of the folder, as text.
    pub fn shown(&self, name: &str) -> String {
        self.path(name).to_str().expect("UTF-8").to_owned()
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("to write a file");
    }

    /// A file that its user alone may read.
    pub fn write_secret(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        self.write(name, text);
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(self.path(name), private).expect("to make it private");
    }

    /// The program, told where this daemon is and where its user's home is.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quintain"));
        self.surround(&mut command);
        command
    }

    /// The folder and the environment of whatever is run here.
    pub fn surround(&self, command: &mut Command) {
        command
            .current_dir(self.folder.path())
            .env("QUINTAIN_SOCKET", self.path("control.sock"))
            .env("XDG_STATE_HOME", self.path("home"))
            .env_remove("QUINTAIN_LOG");
    }

    pub fn run(&self, words: &[&str]) -> Ended {
        self.run_with(words, "")
    }

    /// With something on its standard input.
    pub fn run_with(&self, words: &[&str], input: &str) -> Ended {
        let mut command = self.command();
        command.args(words);
        ended(command, input)
    }

    /// What a command prints that has to work.
    pub fn ok(&self, words: &[&str]) -> String {
        self.ok_with(words, "")
    }

    pub fn ok_with(&self, words: &[&str], input: &str) -> String {
        let ended = self.run_with(words, input);
        assert_eq!(ended.code, Some(0), "{words:?}: {ended:?}");
        ended.stdout
    }

    /// The lines on standard error of a command that has to be refused. It prints nothing else.
    pub fn refused(&self, words: &[&str]) -> Vec<String> {
        refusal(&self.run(words), words)
    }

    /// Lines for the shell, as a script.
    pub fn script(&self, lines: &[&str]) -> Ended {
        let mut text = lines.join("\n");
        text.push('\n');
        self.run_with(&["shell"], &text)
    }

    pub fn generation(&self) -> u64 {
        self.daemon()
            .client()
            .status()
            .expect("it answers")
            .generation
    }

    /// The address of the only portal that is served.
    pub fn portal(&self) -> std::net::SocketAddr {
        let portals = self.daemon().client().status().expect("it answers").portals;
        assert_eq!(portals.len(), 1, "{portals:?}");
        portals[0].parse().expect("an address and port")
    }
}

/// The lines of a refusal, each with the program's name taken off.
pub fn refusal(ended: &Ended, what: impl std::fmt::Debug) -> Vec<String> {
    assert_eq!(ended.code, Some(1), "{what:?}: {ended:?}");
    assert_eq!(ended.stdout, "", "{what:?}");
    let line = |line: &str| {
        line.strip_prefix("quintain: ")
            .unwrap_or_else(|| panic!("{what:?}: {line}"))
            .to_owned()
    };
    let lines: Vec<String> = ended.stderr.lines().map(line).collect();
    assert!(!lines.is_empty(), "{what:?}: refused without a word");
    lines
}

/// Runs a command to its end.
pub fn ended(mut command: Command, input: &str) -> Ended {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut stdin = child.stdin.take().expect("it is piped");
    let input = input.to_owned();
    // A command that reads nothing closes it.
    let written = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let stdout = read_all(child.stdout.take().expect("it is piped"));
    let stderr = read_all(child.stderr.take().expect("it is piped"));
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        if start.elapsed() > PATIENCE {
            let _killed = child.kill();
            let _ended = child.wait();
            panic!("{command:?} does not end");
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    written.join().expect("its input is written");
    Ended {
        code: status.code(),
        stdout: stdout.join().expect("it is read"),
        stderr: stderr.join().expect("it is read"),
    }
}

fn read_all(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).expect("to read");
        String::from_utf8(bytes).expect("UTF-8")
    })
}
