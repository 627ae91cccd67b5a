//! `quintain bench` against `quintain serve`, both as processes.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

const TARGET: &str = "iqn.2026-11.org.example:bench";

/// A RAM disk of 8 MiB under `quintain serve`. Dropped, it is killed.
struct Serving {
    child: Child,
    url: String,
}

impl Serving {
    fn start(folder: &Path, further: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_quintain"))
            .args(["serve", "--ram", "8MiB", "--workers", "1", "--json"])
            .args(["--listen", "127.0.0.1:0", "--name", TARGET])
            .args(further)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary");
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("its output"));
        stdout.read_line(&mut line).expect("a line");
        let announced: Value = serde_json::from_str(&line).expect("one line of JSON");
        let portal = announced["portals"][0].as_str().expect("a portal");
        let url = format!("iscsi://{portal}/{TARGET}/0");
        Self { child, url }
    }

    fn bench(&self, folder: &Path, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_quintain"))
            .args(["bench", &self.url, "--time", "1", "--warm-up", "0"])
            .args(words)
            .current_dir(folder)
            .output()
            .expect("the binary")
    }

    /// The line of JSON of a run that goes well.
    fn measured(&self, folder: &Path, words: &[&str]) -> Value {
        let output = self.bench(folder, &[words, &["--json"]].concat());
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {told}");
        assert_eq!(told, "", "{words:?}");
        serde_json::from_slice(&output.stdout).expect("one line of JSON")
    }

    /// The one line of a run that is refused.
    fn refusal(&self, folder: &Path, words: &[&str]) -> String {
        let output = self.bench(folder, words);
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        assert_eq!(output.stdout, b"", "{words:?}");
        let told = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(
            told.starts_with("quintain: ") && told.lines().count() == 1,
            "{told}"
        );
        told
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value}: no number"))
}

#[test]
fn bench_of_reads_tells_rates_that_fit_their_counts() {
    let folder = tempfile::tempdir().expect("a folder");
    let serving = Serving::start(folder.path(), &[]);
    let told = serving.measured(folder.path(), &["--depth", "8", "--sessions", "2"]);
    let read = &told["read"];
    let commands = number(&read["commands"]);
    assert!(commands > 0.0, "{told}");
    let seconds = number(&told["seconds"]);
    assert!(seconds >= 1.0, "{told}");
    let rate = number(&read["per_second"]);
    assert!((rate - commands / seconds).abs() <= rate / 1000.0, "{told}");
    let bytes = number(&read["bytes_per_second"]);
    assert!((bytes - rate * 4096.0).abs() <= bytes / 1000.0, "{told}");
    let latency = |name: &str| number(&read["latency_ns"][name]);
    assert!(
        latency("p50") > 0.0 && latency("p50") <= latency("p99"),
        "{told}"
    );
    assert!(latency("p99.9") <= latency("max"), "{told}");
    let histogram = read["histogram_below_ns"].as_array().expect("pairs");
    let counted: f64 = histogram.iter().map(|pair| number(&pair[1])).sum();
    assert_eq!(counted, commands);
    assert_eq!(told["write"], Value::Null, "nothing was written: {told}");
    assert_eq!(told["negotiated"]["DataDigest"], false);
}

#[test]
fn bench_with_verify_compares_what_it_writes_in_each_order_and_size() {
    let folder = tempfile::tempdir().expect("a folder");
    let serving = Serving::start(folder.path(), &[]);
    for words in [
        &["--block-size", "4KiB", "--sessions", "3"][..],
        &[
            "--block-size",
            "512",
            "--pattern",
            "sequential",
            "--digests",
        ],
        &["--block-size", "1MiB", "--depth", "4", "--span", "4MiB"],
        // More commands than places: they wait for each other.
        &["--block-size", "64KiB", "--span", "256KiB", "--depth", "32"],
    ] {
        let mix = [words, &["--read", "50", "--overwrite", "--verify"]].concat();
        let told = serving.measured(folder.path(), &mix);
        assert!(number(&told["verified_reads"]) > 0.0, "{words:?}: {told}");
        assert!(
            number(&told["write"]["commands"]) > 0.0,
            "{words:?}: {told}"
        );
        let digests = words.contains(&"--digests");
        assert_eq!(told["negotiated"]["HeaderDigest"], digests, "{words:?}");
    }
}

#[test]
fn bench_for_people_ends_with_a_table() {
    let folder = tempfile::tempdir().expect("a folder");
    let serving = Serving::start(folder.path(), &[]);
    let output = serving.bench(folder.path(), &["--read", "0", "--overwrite"]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success(), "{text}");
    for part in [
        serving.url.as_str(),
        "IOPS",
        "\nwrite ",
        "write latency",
        "client: ",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("\nread "), "{text}");
}

#[test]
fn bench_of_what_cannot_be_is_refused_in_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let serving = Serving::start(folder.path(), &[]);
    for (words, part) in [
        (&["--read", "99"][..], "--overwrite"),
        (&["--block-size", "1000"], "blocks of 512 bytes"),
        (&["--block-size", "16MiB"], "8388608 bytes"),
        (&["--span", "1GiB"], "8388608 bytes"),
        (&["--initiator", "me"], "--initiator me"),
        (
            &["--chap", "u", "--chap-secret-file", "none"],
            "none: there is no such file",
        ),
    ] {
        let told = serving.refusal(folder.path(), words);
        assert!(told.contains(part), "{words:?}: {told}");
    }
}

#[test]
fn bench_of_a_target_that_asks_for_chap_needs_the_secret() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, secret) in [("right", "0123456789abcdef"), ("wrong", "fedcba9876543210")] {
        use std::os::unix::fs::PermissionsExt;
        let path = folder.path().join(name);
        std::fs::write(&path, secret).expect("a file");
        let only_ours = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, only_ours).expect("its owner");
    }
    let chap = |file| ["--chap", "alice", "--chap-secret-file", file];
    let serving = Serving::start(folder.path(), &chap("right"));
    let told = serving.measured(folder.path(), &chap("right"));
    assert!(number(&told["read"]["commands"]) > 0.0, "{told}");
    for words in [&chap("wrong")[..], &[]] {
        let told = serving.refusal(folder.path(), words);
        assert!(told.contains("the login is refused"), "{told}");
    }
}
