//! `quintain` as a process: what it prints, what it refuses and how, and how it ends.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Longer means that it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

fn quintain(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quintain"));
    command
        .current_dir(folder)
        .env_remove("QUINTAIN_LOG")
        .stdin(Stdio::null());
    command
}

/// Runs to the end a command line that does not serve.
fn run(folder: &Path, words: &[&str]) -> Output {
    let mut command = quintain(folder);
    command
        .args(words)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary");
    wait(&mut child, words);
    child.wait_with_output().expect("its output")
}

/// The one line on standard error of a command line that is refused.
fn refusal(folder: &Path, words: &[&str]) -> String {
    let output = run(folder, words);
    let text = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{words:?}: {text}");
    assert_eq!(output.stdout, b"", "{words:?}");
    let line = text
        .strip_suffix('\n')
        .unwrap_or_else(|| panic!("{words:?}: no line: {text:?}"));
    assert!(
        line.starts_with("quintain: ") && !line.contains('\n'),
        "{words:?}: {text}"
    );
    line.to_owned()
}

/// Waits for its end; `what` is told if that does not come.
fn wait(child: &mut Child, what: impl std::fmt::Debug) -> ExitStatus {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().expect("the child") {
            return status;
        }
        if Instant::now() > end {
            child.kill().expect("to kill it");
            child.wait().expect("its end");
            panic!("{what:?} did not end within {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A program that serves. Dropped, it is killed.
struct Serving {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Serving {
    fn start(folder: &Path, words: &[&str]) -> Self {
        let mut command = quintain(folder);
        command.arg("serve").args(words);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary");
        let stdout = BufReader::new(child.stdout.take().expect("its output"));
        Self { child, stdout }
    }

    /// Its next line; none at the end of its output.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("a line");
        line
    }

    /// What `--json` announces.
    fn announced(&mut self) -> Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("it runs");
    }

    /// Its status after this signal, and what it had still to say on both outputs.
    fn end(mut self, signal: Signal) -> (ExitStatus, String, String) {
        self.signal(signal);
        let status = wait(&mut self.child, signal);
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.stdout.read_to_string(&mut stdout).expect("UTF-8");
        let mut errors = self.child.stderr.take().expect("its errors");
        errors.read_to_string(&mut stderr).expect("UTF-8");
        (status, stdout, stderr)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It has ended already where the test went well.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

fn first_portal(announced: &Value) -> SocketAddr {
    let portal = announced["portals"][0].as_str().expect("a portal");
    portal.parse().expect("an address and port")
}

#[test]
fn json_line_is_the_whole_output_and_sigterm_exits_0() {
    let folder = tempfile::tempdir().unwrap();
    let words = [
        "disk.img",
        "--size",
        "8MiB",
        "--ram",
        "4MiB",
        "--listen",
        "127.0.0.1:0",
        "--listen",
        "127.0.0.1:0",
        "--json",
    ];
    let mut serving = Serving::start(folder.path(), &words);
    let announced = serving.announced();
    assert_eq!(announced["portals"].as_array().map(Vec::len), Some(2));
    let portal = first_portal(&announced);
    assert_ne!(portal.port(), 0);
    TcpStream::connect(portal).expect("it listens by now");
    assert_eq!(announced["pid"], serving.child.id());
    assert!(["uring", "epoll", "mixed"].contains(&announced["driver"].as_str().unwrap()));
    assert!(announced["target"].as_str().unwrap().ends_with(":disk"));
    let luns = announced["luns"].as_array().expect("luns");
    let path = folder.path().join("disk.img");
    let expected = [
        (0, 8 << 20, Some(path.to_str().unwrap())),
        (1, 4 << 20, None),
    ];
    assert_eq!(luns.len(), expected.len());
    for (lun, (number, bytes, path)) in luns.iter().zip(expected) {
        assert_eq!(
            (&lun["lun"], &lun["size_bytes"], &lun["block_size"]),
            (&number.into(), &Value::from(bytes), &512.into())
        );
        assert_eq!(
            (lun["path"].as_str(), lun["ram"].as_bool()),
            (path, path.is_none().then_some(true))
        );
        let naa = lun["naa"].as_str().expect("naa");
        assert!(
            naa.len() == 16 && naa.starts_with('3') && naa.bytes().all(|b| b.is_ascii_hexdigit()),
            "{naa}"
        );
        assert!(!lun["serial"].as_str().expect("serial").is_empty());
    }
    let (status, stdout, stderr) = serving.end(Signal::TERM);
    assert_eq!(
        (status.code(), stdout.as_str(), stderr.as_str()),
        (Some(0), "", "")
    );
}

#[test]
fn page_tells_how_to_connect_and_sigint_exits_0() {
    let folder = tempfile::tempdir().unwrap();
    let mut serving = Serving::start(
        folder.path(),
        &[
            "--ram",
            "4MiB",
            "--listen",
            "127.0.0.1:0",
            "--name",
            "iqn.2026-11.org.example:disk",
        ],
    );
    assert_eq!(serving.line(), "serving iqn.2026-11.org.example:disk\n");
    let mut page = String::new();
    while !page.ends_with("Ctrl-C ends it in order.\n") {
        let line = serving.line();
        assert_ne!(line, "", "it ended: {page}");
        page.push_str(&line);
    }
    for part in [
        "iscsiadm -m discovery",
        "--login",
        "qemu-img info iscsi://127.0.0.1:",
    ] {
        assert!(page.contains(part), "no {part}: {page}");
    }
    let (status, stdout, stderr) = serving.end(Signal::INT);
    assert_eq!(
        (status.code(), stdout.as_str(), stderr.as_str()),
        (Some(0), "", "")
    );
}

#[test]
fn size_makes_a_sparse_file_once_and_an_existing_one_keeps_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let serve = |size: &str| {
        let words = [
            "disk.img",
            "--size",
            size,
            "--listen",
            "127.0.0.1:0",
            "--json",
        ];
        let mut serving = Serving::start(folder.path(), &words);
        let bytes = serving.announced()["luns"][0]["size_bytes"].as_u64();
        let (status, _, stderr) = serving.end(Signal::TERM);
        assert_eq!(status.code(), Some(0), "{stderr}");
        (bytes.expect("a size"), stderr)
    };
    assert_eq!(serve("1GiB"), (1 << 30, String::new()));
    let made = fs::metadata(folder.path().join("disk.img")).unwrap();
    assert_eq!(made.len(), 1 << 30);
    assert!(
        made.blocks() * 512 < 1 << 20,
        "not sparse: {} blocks",
        made.blocks()
    );
    let (bytes, stderr) = serve("2GiB");
    assert_eq!(bytes, 1 << 30);
    assert!(
        stderr.starts_with("quintain: note: disk.img: ")
            && stderr.contains("keeps its size of 1 GiB"),
        "{stderr}"
    );
    let left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["disk.img"], "something is left behind");
}

#[test]
fn weak_or_public_secret_is_noted_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("chap.secret"), "short\n").unwrap();
    let words = [
        "--ram",
        "4MiB",
        "--listen",
        "127.0.0.1:0",
        "--chap",
        "alice",
        "--chap-secret-file",
        "chap.secret",
    ];
    let mut serving = Serving::start(folder.path(), &words);
    while !serving.line().starts_with("Ctrl-C") {}
    let (status, stdout, stderr) = serving.end(Signal::TERM);
    assert_eq!(status.code(), Some(0));
    assert!(
        stderr.contains("note: chap.secret: the CHAP secret has less than 12 bytes"),
        "{stderr}"
    );
    assert!(
        !stderr.contains("short") && !stdout.contains("short"),
        "{stderr}"
    );
}

#[test]
fn mistake_is_one_line_with_what_to_do_and_exit_1() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("empty.img"), "").unwrap();
    fs::write(folder.path().join("part.img"), vec![0; 100]).unwrap();
    fs::write(folder.path().join("disk.img"), vec![0; 1 << 20]).unwrap();
    fs::write(folder.path().join("empty.secret"), "\n").unwrap();
    let table: [(&[&str], &[&str]); 16] = [
        (&["absent.img"], &["absent.img", "--size"]),
        (
            &["absent/disk.img", "--size", "1MiB"],
            &["absent/disk.img", "folder"],
        ),
        (&["."], &[".: "]),
        (&["empty.img"], &["empty.img", "empty"]),
        (&["part.img"], &["part.img", "at least one block"]),
        (&["disk.img", "disk.img"], &["disk.img", "same disk"]),
        (&["absent.img", "--size", "1000"], &["absent.img", "512"]),
        (
            &["absent.img", "--size", "ten"],
            &["--size", "ten", "10GiB"],
        ),
        (
            &["disk.img", "--name", "disk"],
            &["--name disk", "iqn.2026-11.org.example:disk"],
        ),
        (
            &["disk.img", "--initiator", "no name"],
            &["--initiator no name"],
        ),
        (
            &["disk.img", "--listen", "nowhere"],
            &["--listen nowhere", "127.0.0.1:3260"],
        ),
        (
            &["disk.img", "--listen", "192.0.2.77:0"],
            &["192.0.2.77:0", "no such address"],
        ),
        (&["disk.img", "--serial", "tab\t"], &["disk.img", "serial"]),
        (
            &[
                "disk.img",
                "--chap",
                "a",
                "--chap-secret-file",
                "absent.secret",
            ],
            &["absent.secret", "no such file"],
        ),
        (
            &[
                "disk.img",
                "--chap",
                "a",
                "--chap-secret-file",
                "empty.secret",
            ],
            &["empty.secret", "12 bytes"],
        ),
        (&["new\nline.img"], &["new; line.img"]),
    ];
    for (words, expected) in table {
        // A free port by default: 3260 may be somebody's.
        let listen: &[&str] = if words.contains(&"--listen") {
            &[]
        } else {
            &["--listen", "127.0.0.1:0"]
        };
        let words = [&["serve"], words, listen].concat();
        let line = refusal(folder.path(), &words);
        for part in expected {
            assert!(line.contains(part), "no {part}: {line}");
        }
    }
    assert!(
        !folder.path().join("absent.img").exists(),
        "a refused start made a file"
    );
}

#[test]
fn disk_is_told_by_its_path_and_by_no_other_name() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.img", "b.img"] {
        fs::write(folder.path().join(name), vec![0; 1 << 20]).unwrap();
    }
    let listen = ["--listen", "127.0.0.1:0"];
    let line = refusal(
        folder.path(),
        &[&["serve", "b.img", "a.img", "./a.img"], &listen[..]].concat(),
    );
    // They are opened side by side, and either may be the first.
    let either = line.contains(" a.img: it is the same disk as ./a.img;")
        || line.contains(" ./a.img: it is the same disk as a.img;");
    assert!(either, "{line}");
    let line = refusal(
        folder.path(),
        &[&["serve", "a.img", "--ram", "8191PiB"], &listen[..]].concat(),
    );
    assert!(line.starts_with("quintain: RAM disk at LUN 1: "), "{line}");
    let line = refusal(
        folder.path(),
        &[
            &[
                "serve", "a.img", "b.img", "--serial", "S", "--serial", "tab\t",
            ],
            &listen[..],
        ]
        .concat(),
    );
    assert!(line.starts_with("quintain: b.img: serial"), "{line}");
}

#[test]
fn address_in_use_is_refused_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let line = refusal(
        folder.path(),
        &["serve", "--ram", "4MiB", "--listen", &listen],
    );
    assert!(line.contains(&listen) && line.contains("in use"), "{line}");
}

#[test]
fn second_process_on_a_file_is_refused_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let words = [
        "disk.img",
        "--size",
        "4MiB",
        "--listen",
        "127.0.0.1:0",
        "--json",
    ];
    let mut first = Serving::start(folder.path(), &words);
    let portal = first_portal(&first.announced());
    let line = refusal(folder.path(), &[&["serve"], words.as_slice()].concat());
    assert!(
        line.contains("disk.img") && line.contains("another process"),
        "{line}"
    );
    TcpStream::connect(portal).expect("the first serves on");
    let (status, _, stderr) = first.end(Signal::TERM);
    assert_eq!(status.code(), Some(0), "{stderr}");
}

#[test]
fn log_filter_that_cannot_be_read_is_one_line_and_exit_1() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = quintain(folder.path());
    command.args(["serve", "--ram", "4MiB", "--listen", "127.0.0.1:0"]);
    let output = command
        .env("QUINTAIN_LOG", "engine=loudly")
        .output()
        .expect("the binary");
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text.starts_with("quintain: QUINTAIN_LOG: ") && text.lines().count() == 1,
        "{text}"
    );
}

#[test]
fn usage_exits_2_and_help_and_version_exit_0() {
    let folder = tempfile::tempdir().unwrap();
    let usage: [&[&str]; 7] = [
        &[],
        &["serve"],
        &["serve", "--ram"],
        &["serve", "--no-such-flag"],
        &["serve", "--ram", "1M", "--chap", "alice"],
        &["serve", "--ram", "1M", "--driver", "aio"],
        &["no-such-command"],
    ];
    for words in usage {
        let output = run(folder.path(), words);
        assert_eq!(
            (output.status.code(), output.stdout.as_slice()),
            (Some(2), b"".as_slice()),
            "{words:?}"
        );
        assert!(!output.stderr.is_empty(), "{words:?}");
    }
    let version = run(folder.path(), &["--version"]);
    let text = String::from_utf8(version.stdout).unwrap();
    assert_eq!(
        (version.status.code(), text),
        (Some(0), format!("quintain {}\n", env!("CARGO_PKG_VERSION")))
    );
    let help = run(folder.path(), &["serve", "--help"]);
    let text = String::from_utf8(help.stdout).unwrap();
    assert_eq!(help.status.code(), Some(0));
    let flags = [
        "--size",
        "--ram",
        "--listen",
        "--name",
        "--read-only",
        "--serial",
        "--block-size",
        "--driver",
        "--workers",
        "--chap",
        "--chap-secret-file",
        "--mutual-chap",
        "--mutual-chap-secret-file",
        "--initiator",
        "--json",
    ];
    for flag in flags {
        assert!(
            text.contains(&format!("\n      {flag}")),
            "no {flag}: {text}"
        );
    }
}
