//! `quintain shell` against a real daemon: a user's way from nothing to a disk, one command a call, scripts, what is kept, and the
//! terminal.

mod support;

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use initiator::Config;
use support::host::{Host, discover, with_chap};
use support::{Bench, PATIENCE, ended, refusal};

const TARGET: &str = "iqn.2026-11.org.example:disk";
const HOST: &str = "iqn.2026-11.org.example:host1";
const TPG: &str = "/iscsi/iqn.2026-11.org.example:disk/tpg1";

/// targetcli's way to a disk of one initiator.
const LINES: &[&str] = &[
    "# a comment, and an empty line",
    "",
    "set global auto_add_default_portal=false",
    "/backstores/fileio create disk0 disk0.img 16M",
    "/backstores/ramdisk create name=r size=4M",
    "/iscsi create iqn.2026-11.org.example:disk",
    "cd /iscsi/iqn.2026-11.org.example:disk/tpg1",
    "portals/ create 127.0.0.1 0",
    "luns/ create /backstores/fileio/disk0",
    "acls/ create iqn.2026-11.org.example:host1",
    "luns/ create storage_object=/backstores/ramdisk/r lun=7 add_mapped_luns=false",
    "set attribute authentication=1 default_cmdsn_depth=32",
    "set parameter MaxBurstLength=65536",
    "cd acls/iqn.2026-11.org.example:host1",
    "set auth userid=u password='a secret of several words'",
];

/// The same after lines of targetcli's.
fn with_disk() -> Bench {
    let bench = Bench::new();
    let ended = bench.script(LINES);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    bench
}

#[test]
fn shell_session_from_nothing_leads_to_a_disk_that_discovery_finds() {
    let bench = with_disk();
    let portal = bench.portal();
    assert_eq!(
        discover(portal, HOST),
        [(TARGET.to_owned(), vec![format!("{portal},1")])]
    );
    let config = with_chap(
        Config::normal(HOST, TARGET),
        "u",
        "a secret of several words",
    );
    let mut host = Host::login(portal, config).ok().unwrap();
    host.write_and_read(3);
    let lines = [
        "sessions",
        "sessions detail",
        "get global defaults",
        "/iscsi/iqn.2026-11.org.example:disk/tpg1 get attribute default_cmdsn_depth",
        "/iscsi/iqn.2026-11.org.example:disk/tpg1/acls ls",
        "/backstores/fileio/disk0 resize 32M",
        "history",
        "status",
        "refused",
        "explain initiator=iqn.2026-11.org.example:host1 target=iqn.2026-11.org.example:disk",
    ];
    let told = bench.script(&lines);
    assert_eq!(told.code, Some(0), "{told:?}");
    for part in [
        HOST,
        "MaxBurstLength=65536",
        "defaults=lio",
        "default_cmdsn_depth=32",
        "authenticated by chap",
        "changed /backstores/file/disk0: size",
        "ready: yes",
        "no login was refused",
        "the login works",
    ] {
        assert!(told.stdout.contains(part), "{part}: {}", told.stdout);
    }
    // LUN 7 was not mapped for the initiator, LUN 0 was.
    assert!(
        told.stdout.contains("0                          lun 0") || told.stdout.contains("lun 0")
    );
    assert_eq!(host.blocks(), (32 << 20) / 512);
    bench.ok(&["set", "/", "drain_timeout_s=1"]);
    let id = bench.daemon().client().sessions().unwrap()[0].id;
    let ended = bench.ok(&["shell", "sessions", "end", &id.to_string()]);
    assert_eq!(ended, format!("session {id} has ended\n"));
    assert_eq!(bench.ok(&["shell", "sessions"]), "no sessions\n");
}

#[test]
fn one_command_a_call_tells_by_its_exit_code_and_changes_nothing_where_it_fails() {
    let bench = with_disk();
    let before = bench.generation();
    let acl = format!("{TPG}/acls/{HOST}");
    let table: [(&[&str], &str); 14] = [
        (&["lss"], "did you mean ls?"),
        (&["cd", "/nowhere"], "names no object"),
        (
            &["/iscsi", "create", "not-a-name"],
            "starts with none of iqn., eui. and naa.",
        ),
        (
            &["/backstores/fileio", "create", "x", "x.img"],
            "give its size, such as 1G",
        ),
        (
            &["/backstores/fileio", "create", "x"],
            "file_or_dev is missing",
        ),
        (
            &["/backstores/fileio", "create", "disk0", "other.img", "1M"],
            "it exists",
        ),
        (
            &["/backstores/fileio", "delete", "disk1"],
            "did you mean disk0?",
        ),
        (
            &[TPG, "set", "attribute", "generate_node_acl=1"],
            "did you mean generate_node_acls?",
        ),
        (
            &[TPG, "set", "parameter", "MaxBurstLength=5"],
            "use a number from 512 to 16777215",
        ),
        (
            &[TPG, "set", "colour", "a=b"],
            "groups: attribute parameter auth global",
        ),
        (
            &[&acl, "set", "auth", "userid=u", "password=plain"],
            "can be read by every user",
        ),
        (&["clearconfig"], "write confirm=True"),
        (
            &["restoreconfig", "nowhere.json", "clear_existing=true"],
            "nowhere.json",
        ),
        (&["@nowhere", "ls"], "there is no such bookmark"),
    ];
    for (words, said) in table {
        let all = [&["shell"][..], words].concat();
        let lines = bench.refused(&all);
        assert!(
            lines.len() == 1 && lines[0].contains(said),
            "{words:?}: {lines:?}"
        );
        assert!(!lines[0].contains("plain"), "{lines:?}");
    }
    assert_eq!(
        bench.generation(),
        before,
        "something was changed all the same"
    );
    let line = format!("{TPG}/luns ls");
    assert!(bench.ok(&["shell", &line]).contains("ram/r"));
    let acls = bench.ok(&["shell", &acl, "ls"]);
    assert_eq!(acls.matches("lun 0").count(), 1, "{acls}");
    assert!(
        !acls.contains("lun 7"),
        "it was asked not to be mapped: {acls}"
    );
    let given = bench.run_with(
        &["shell", &acl, "set", "auth", "password=-"],
        "sixteen bytes or more\n",
    );
    assert_eq!(given.code, Some(0), "{given:?}");
    let config = with_chap(Config::normal(HOST, TARGET), "u", "sixteen bytes or more");
    assert!(Host::login(bench.portal(), config).is_ok());
}

#[test]
fn saved_file_is_private_and_brings_everything_back_after_clearing() {
    let bench = with_disk();
    let disk = "/backstores/file/disk0";
    let serial = bench.ok(&["get", disk, "serial"]);
    let saved = bench.ok(&["shell", "saveconfig", "save.json"]);
    assert_eq!(saved, format!("saved to {}\n", bench.shown("save.json")));
    let text = std::fs::read_to_string(bench.path("save.json")).unwrap();
    assert!(
        text.contains("a secret of several words"),
        "its own secrets are missing"
    );
    let mode = std::fs::metadata(bench.path("save.json")).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600);

    let lines = bench.refused(&["shell", "restoreconfig", "save.json"]);
    assert!(lines[0].contains("clear_existing=true"), "{lines:?}");
    let same = bench.ok(&["shell", "restoreconfig", "save.json", "clear_existing=true"]);
    assert!(same.starts_with("nothing to change"), "{same}");
    bench.ok(&["shell", "clearconfig", "confirm=True"]);
    let empty = bench.ok(&["ls", "/", "--depth", "3"]);
    assert!(!empty.contains("disk"), "{empty}");
    assert_eq!(
        bench.daemon().client().status().unwrap().portals,
        Vec::<String>::new()
    );
    bench.ok(&["shell", "restoreconfig", "save.json"]);
    assert_eq!(bench.ok(&["get", disk, "serial"]), serial);
    let config = with_chap(
        Config::normal(HOST, TARGET),
        "u",
        "a secret of several words",
    );
    assert!(Host::login(bench.portal(), config).is_ok());

    bench.write(
        "bad.json",
        &text.replace("\"size\": 16777216", "\"size\": \"lots\""),
    );
    let lines = bench.refused(&["shell", "restoreconfig", "bad.json", "clear_existing=true"]);
    let file = bench.shown("bad.json");
    assert!(
        lines[0].starts_with(&format!("{file}:")) && lines[0].contains("lots"),
        "{lines:?}"
    );
}

#[test]
fn script_ends_at_the_first_line_that_fails_unless_it_is_to_go_on() {
    let bench = Bench::new();
    let script = "/backstores/ramdisk create a 1M\nfrobnicate\n/backstores/ramdisk create b 1M\n";
    let stopped = bench.run_with(&["shell"], script);
    assert_eq!(stopped.code, Some(1), "{stopped:?}");
    assert!(stopped.stderr.contains("line 2: frobnicate"), "{stopped:?}");
    assert_eq!(stopped.stdout, "created /backstores/ram/a\n");
    let script = script.replace(" a ", " c ");
    let went_on = bench.run_with(&["shell", "-k"], &script);
    assert_eq!(went_on.code, Some(1), "{went_on:?}");
    assert_eq!(
        went_on.stdout,
        "created /backstores/ram/c\ncreated /backstores/ram/b\n"
    );
    let quit = bench.run_with(&["shell"], "exit\nfrobnicate\n");
    assert_eq!((quit.code, quit.stderr.as_str()), (Some(0), ""));
    let open = bench.run_with(&["shell"], "ls 'open\n");
    let lines = refusal(&open, "an open quote");
    assert!(
        lines[0].starts_with("line 1: a ' is not closed"),
        "{lines:?}"
    );
}

#[test]
fn bookmarks_and_preferences_are_kept_for_the_user_alone() {
    let bench = with_disk();
    bench.ok(&["shell", TPG, "bookmarks", "add", "tpg"]);
    bench.ok(&["shell", "set", "global", "tree_max_depth=1"]);
    assert!(bench.ok(&["shell", "@tpg", "ls"]).starts_with("1 "));
    assert_eq!(
        bench.ok(&["shell", "bookmarks", "show"]),
        format!("@tpg  /targets/{TARGET}/tpgs/1\n")
    );
    assert_eq!(
        bench.ok(&["shell", "get", "global", "tree_max_depth"]),
        "tree_max_depth=1\n"
    );
    bench.ok(&["shell", "bookmarks", "del", "tpg"]);
    bench.refused(&["shell", "@tpg", "ls"]);
    let folder = bench.path("home/quintain/shell");
    assert_eq!(std::fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
    for file in std::fs::read_dir(&folder).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600, "{file:?}");
    }
}

/// A shell at a terminal, which `script(1)` gives it.
struct Terminal {
    child: std::process::Child,
    keys: ChildStdin,
    shown: Receiver<Vec<u8>>,
    /// Everything that it has shown.
    screen: String,
    /// Up to where it has been looked at.
    seen: usize,
}

impl Terminal {
    fn open(bench: &Bench, environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new("script");
        bench.surround(&mut command);
        let shell = format!("{} shell", env!("CARGO_BIN_EXE_quintain"));
        let mut child = command
            .args(["--quiet", "--return", "--command", &shell, "/dev/null"])
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script(1) of util-linux runs");
        let mut stdout = child.stdout.take().expect("it is piped");
        let (tell, shown) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut bytes) {
                if tell.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        let keys = child.stdin.take().expect("it is piped");
        let mut terminal = Self {
            child,
            keys,
            shown,
            screen: String::new(),
            seen: 0,
        };
        terminal.wait_for("> ");
        terminal
    }

    /// Until this is shown, behind what was waited for before.
    fn wait_for(&mut self, text: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.screen[self.seen..].find(text) {
                self.seen += at + text.len();
                return;
            }
            let left = end.saturating_duration_since(Instant::now());
            match self.shown.recv_timeout(left) {
                Ok(bytes) => self.screen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("{text:?} is not shown: {:?}", &self.screen[self.seen..]),
            }
        }
    }

    /// Types, and waits for what that shows.
    fn type_for(&mut self, keys: &str, text: &str) {
        self.keys.write_all(keys.as_bytes()).expect("it reads");
        self.keys.flush().expect("it reads");
        self.wait_for(text);
    }

    /// Leaves the shell, and returns the screen.
    fn close(mut self) -> String {
        self.keys.write_all(b"exit\r").expect("it reads");
        let status = self.child.wait().expect("a child");
        assert!(status.success(), "{status}: {}", self.screen);
        while let Ok(bytes) = self.shown.recv() {
            self.screen.push_str(&String::from_utf8_lossy(&bytes));
        }
        std::mem::take(&mut self.screen)
    }
}

#[test]
fn terminal_has_completion_colours_and_a_history_without_secrets() {
    let bench = with_disk();
    let mut terminal = Terminal::open(&bench, &[]);
    terminal.type_for("cd /backst\t", "ores/");
    terminal.type_for("\r", "\x1b[1;34m/backstores\x1b[0m> ");
    terminal.type_for("cd /iscsi/iqn\t", ":disk/");
    terminal.type_for("tpg1\r", "/tpgs/1\x1b[0m> ");
    terminal.type_for("set parameter MaxB\t", "urstLength=");
    terminal.type_for("131072\r", ": param.MaxBurstLength\r\n");
    terminal.type_for("set auth password=hush-hush-hush\r", ": chap.secret\r\n");
    terminal.type_for(
        "frobnicate\r",
        "\x1b[31mfrobnicate: there is no such command",
    );
    terminal.close();
    let history = std::fs::read_to_string(bench.path("home/quintain/shell/history")).unwrap();
    assert!(
        history.contains("frobnicate") && history.contains("MaxBurstLength"),
        "{history}"
    );
    assert!(!history.contains("hush"), "{history}");
    assert_eq!(
        std::fs::metadata(bench.path("home/quintain/shell/history"))
            .unwrap()
            .mode()
            & 0o777,
        0o600
    );

    let mut terminal = Terminal::open(&bench, &[("NO_COLOR", "1")]);
    // The line before is had back with the arrow, from the other shell's history.
    terminal.type_for("\x1b[A\x1b[A\r", "frobnicate: there is no such command");
    let shown = terminal.close();
    assert!(
        !shown.contains("\x1b[31m") && !shown.contains("\x1b[1;34m"),
        "{shown:?}"
    );
}

/// One line of an example, what it prints, and where the shell stands afterwards.
#[derive(Debug, Default)]
struct Example {
    prompt: String,
    line: String,
    output: String,
    errors: Vec<String>,
}

/// The examples of the guide, block by block.
fn examples(guide: &str) -> Vec<Vec<Example>> {
    let mut blocks: Vec<Vec<Example>> = vec![Vec::new()];
    for line in guide.lines() {
        let Some(code) = line.strip_prefix("    ") else {
            blocks.push(Vec::new());
            continue;
        };
        let block = blocks.last_mut().expect("one was pushed");
        let command = code
            .split_once("> ")
            .filter(|(prompt, _)| prompt.starts_with('/') && !prompt.contains(' '));
        if let Some(typed) = code.strip_prefix("$ ") {
            block.push(Example {
                prompt: "$".to_owned(),
                line: typed.to_owned(),
                ..Example::default()
            });
        } else if let Some((prompt, typed)) = command {
            block.push(Example {
                prompt: prompt.to_owned(),
                line: typed.to_owned(),
                ..Example::default()
            });
        } else if let Some(last) = block.last_mut() {
            match code.strip_prefix("quintain: ") {
                Some(error) => last.errors.push(error.to_owned()),
                None => last.output.push_str(&format!("{code}\n")),
            }
        }
    }
    blocks.retain(|block| !block.is_empty());
    blocks
}

/// Runs the lines of a block that were typed into one shell.
fn run_typed(bench: &Bench, block: &[&Example]) {
    let mut script = format!("cd {}\n", block[0].prompt);
    let mut expected = String::new();
    for (at, example) in block.iter().enumerate() {
        let _ = writeln!(script, "{}", example.line);
        expected.push_str(&example.output);
        // The next prompt tells where this line led to.
        if let Some(next) = block.get(at + 1) {
            script.push_str("pwd\n");
            let _ = writeln!(expected, "{}", next.prompt);
        }
    }
    let ended = bench.run_with(&["shell", "-k"], &script);
    assert_eq!(ended.stdout, expected, "{script}\n{}", ended.stderr);
    let errors: Vec<&str> = block
        .iter()
        .flat_map(|one| &one.errors)
        .map(String::as_str)
        .collect();
    let told = ended.stderr.lines().map(|line| {
        let line = line.strip_prefix("quintain: ").unwrap_or(line);
        let numbered = line
            .strip_prefix("line ")
            .and_then(|rest| rest.split_once(": "));
        numbered.map_or(line, |(_, error)| error)
    });
    assert_eq!(told.collect::<Vec<_>>(), errors, "{script}");
}

#[test]
fn examples_of_the_guide_do_what_it_says() {
    let bench = Bench::new();
    bench.write_secret("host1.secret", "seventeen-bytes-or\n");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port().to_string();
    drop(free);
    let guide = include_str!("../../../docs/guides/shell.md")
        .replace("3260", &port)
        .replace("/srv/", &bench.shown(""));
    let path = format!(
        "{}:{}",
        std::path::Path::new(env!("CARGO_BIN_EXE_quintain"))
            .parent()
            .unwrap()
            .display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let mut count = 0;
    for block in examples(&guide) {
        count += block.len();
        let (calls, typed): (Vec<&Example>, Vec<&Example>) =
            block.iter().partition(|example| example.prompt == "$");
        for call in calls.iter().filter(|call| call.line != "quintain shell") {
            let mut command = Command::new("sh");
            bench.surround(&mut command);
            command.args(["-c", &call.line]).env("PATH", &path);
            let ended = ended(command, "");
            assert_eq!(
                (ended.code, &ended.stdout),
                (Some(0), &call.output),
                "{call:?}: {}",
                ended.stderr
            );
        }
        if !typed.is_empty() {
            run_typed(&bench, &typed);
        }
    }
    assert!(count > 25, "only {count} examples were found");
    let portal = format!("127.0.0.1:{port}").parse().unwrap();
    assert_eq!(discover(portal, HOST).len(), 1);
}
