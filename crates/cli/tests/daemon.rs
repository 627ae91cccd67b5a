//! `quintain daemon` as a process: what it serves after it was killed, which of file and saved state wins, how it ends.

mod support;

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use control_api::{Change, Client, Rollback, Terms, Transaction};
use serde_json::json;
use support::{Daemon, PATIENCE};

fn create(path: &str, attributes: serde_json::Value) -> Change {
    let attributes = attributes.as_object().expect("a map").clone();
    Change::Create {
        path: path.to_owned(),
        attributes: attributes.into_iter().collect(),
    }
}

fn one(change: Change) -> Transaction {
    Transaction {
        changes: vec![change],
        if_generation: None,
    }
}

/// The names of the backstores that are there.
fn names(client: &Client) -> Vec<String> {
    let answer = client.tree("/backstores/null", 1).expect("the tree");
    let path = |object: &control_api::Object| object.path.rsplit('/').next().map(str::to_owned);
    answer.object.children.iter().filter_map(path).collect()
}

#[test]
fn daemon_killed_at_any_moment_restarts_into_the_last_committed_generation() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0_u64..24 {
        let daemon = Daemon::start(folder.path(), &["--state-dir", "state"]);
        let client = daemon.client();
        let generation = client.status().expect("it answers").generation;
        // One change may have been saved whose answer was never sent.
        assert!(
            generation == acknowledged || generation == acknowledged + 1,
            "round {round}: {acknowledged} was acknowledged, and {generation} is in force"
        );
        // Each generation made one backstore, named by the number it was meant to have.
        let found = names(&client);
        assert_eq!(found.len() as u64, generation, "round {round}: {found:?}");
        let last = AtomicU64::new(generation);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in generation + 1.. {
                    let path = format!("/backstores/null/n{number:06}");
                    let change = create(&path, json!({"size": 1 << 20}));
                    match client.transact(&one(change), false) {
                        Ok(outcome) => last.store(outcome.generation, Ordering::SeqCst),
                        // Killed in the middle of it.
                        Err(_) => return,
                    }
                }
            });
            std::thread::sleep(Duration::from_millis(7 + (round * 37) % 150));
            drop(daemon);
        });
        acknowledged = last.load(Ordering::SeqCst);
    }
    assert!(
        acknowledged > 24,
        "too few changes to show anything: {acknowledged}"
    );
    let daemon = Daemon::start(folder.path(), &["--state-dir", "state"]);
    assert_eq!(daemon.end(), Some(0));
}

const FILE: &str = r#"
[[backstore]]
name = "a"
type = "null"
size = "1MiB"
"#;

#[test]
fn saved_state_wins_over_a_file_that_was_applied_before_and_a_changed_file_over_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("q.toml");
    std::fs::write(&file, FILE).unwrap();
    let words = ["--config", "q.toml", "--state-dir", "state"];
    let daemon = Daemon::start(folder.path(), &words);
    assert_eq!(names(&daemon.client()), ["a"]);
    let live = create("/backstores/null/live", json!({"size": "1MiB"}));
    daemon.client().transact(&one(live), false).expect("legal");
    assert_eq!(daemon.end(), Some(0));

    let daemon = Daemon::start(folder.path(), &words);
    assert_eq!(
        names(&daemon.client()),
        ["a", "live"],
        "the file is not news"
    );
    assert_eq!(daemon.end(), Some(0));

    std::fs::write(&file, FILE.replace("\"a\"", "\"b\"")).unwrap();
    let daemon = Daemon::start(folder.path(), &words);
    assert_eq!(names(&daemon.client()), ["b"], "the file has changed");
    assert_eq!(daemon.end(), Some(0));

    let nothing = ["--config", "q.toml", "--state-dir", "none"];
    let daemon = Daemon::start(folder.path(), &nothing);
    assert_eq!(names(&daemon.client()), ["b"]);
    assert_eq!(daemon.client().status().unwrap().generation, 1);
    assert_eq!(daemon.end(), Some(0));
}

#[test]
fn absent_device_at_boot_is_degraded_and_comes_back_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("disk.img");
    std::fs::File::create(&image)
        .unwrap()
        .set_len(1 << 20)
        .unwrap();
    let path = image.to_str().unwrap();
    let words = ["--state-dir", "state"];
    let daemon = Daemon::start(folder.path(), &words);
    let disk = create("/backstores/file/disk", json!({"path": path}));
    daemon.client().transact(&one(disk), false).expect("legal");
    assert_eq!(daemon.end(), Some(0));

    let away = folder.path().join("away.img");
    std::fs::rename(&image, &away).unwrap();
    let daemon = Daemon::start(folder.path(), &words);
    let degraded = daemon.client().status().unwrap().degraded;
    assert_eq!(degraded, ["/backstores/file/disk"]);
    assert!(
        !image.exists(),
        "an empty disk was put in the absent one's place"
    );
    std::fs::rename(&away, &image).unwrap();
    let start = Instant::now();
    while !daemon.client().status().unwrap().degraded.is_empty() {
        assert!(start.elapsed() < PATIENCE, "it is not found again");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(daemon.end(), Some(0));
}

#[test]
fn rollback_leads_to_the_generation_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), &["--state-dir", "state"]);
    let client = daemon.client();
    for name in ["a", "b", "c"] {
        let change = create(&format!("/backstores/null/{name}"), json!({"size": "1MiB"}));
        client.transact(&one(change), false).expect("legal");
    }
    let foreseen = Rollback {
        terms: Terms::DRY_RUN,
        ..Rollback::to(1)
    };
    let foreseen = client.rollback(foreseen).expect("remembered");
    assert!(foreseen.dry_run && foreseen.effects.len() == 2);
    assert_eq!(names(&client), ["a", "b", "c"]);
    let outcome = client.rollback(Rollback::to(1)).expect("remembered");
    assert_eq!(outcome.generation, 4);
    assert_eq!(names(&client), ["a"]);
    let history = client.history().expect("it is kept");
    assert_eq!(history.len(), 4);
    drop(daemon);
    // Also what only the saved state remembers.
    let daemon = Daemon::start(folder.path(), &["--state-dir", "state"]);
    daemon
        .client()
        .rollback(Rollback::to(3))
        .expect("remembered");
    assert_eq!(names(&daemon.client()), ["a", "b", "c"]);
}

#[test]
fn second_daemon_on_one_state_or_socket_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let _first = Daemon::start(folder.path(), &["--state-dir", "state"]);
    for (socket, expected) in [("control.sock", "control.sock"), ("other.sock", "lock")] {
        let output = Command::new(env!("CARGO_BIN_EXE_quintain"))
            .args(["daemon", "--state-dir", "state", "--socket", socket])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn export_without_secrets_applies_to_what_it_came_from_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), &["--state-dir", "none"]);
    let client = daemon.client();
    let target = "/targets/iqn.2026-11.org.example:t";
    let acl = format!("{target}/tpgs/1/acls/iqn.2026-11.org.example:h");
    let changes = vec![
        create(target, json!({})),
        create(&format!("{target}/tpgs/1"), json!({})),
        create(
            &acl,
            json!({"chap.user": "u", "chap.secret": "twelve-bytes-or-more"}),
        ),
    ];
    let transaction = Transaction {
        changes,
        if_generation: None,
    };
    client.transact(&transaction, false).expect("legal");
    let toml = control_api::ExportFormat::Toml;
    let text = client.export(toml, false).expect("it is told");
    assert!(!text.contains("twelve-bytes"), "a secret is shown");
    let plan = client.apply(&text, Some(folder.path()), Terms::DRY_RUN);
    assert_eq!(plan.expect("it can be applied").effects, []);
}
