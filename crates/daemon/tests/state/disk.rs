//! The same on the operating system's files: modes, the lock, and how the work of opening grows.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use daemon::state::{DiskFs, Loaded, OpenOptions, StateDir, StateError};

use crate::machine::{Machine, open, record};
use crate::sim::Sim;

fn on_disk(path: &Path, recover: bool) -> Result<(StateDir, Loaded), StateError> {
    let options = OpenOptions {
        recover,
        ..OpenOptions::default()
    };
    StateDir::open(path, options, Arc::new(DiskFs))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn directory_on_disk_is_made_private_and_keeps_what_was_saved() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("lib/quintain");
    let (mut dir, loaded) = on_disk(&path, false).unwrap();
    assert_eq!((loaded.checkpoint, loaded.records.len()), (None, 0));
    dir.append(&record(1, b"one")).unwrap();
    dir.append(&record(2, b"two")).unwrap();
    dir.checkpoint(2, b"all of it").unwrap();
    dir.append(&record(3, b"three")).unwrap();
    drop(dir);
    assert_eq!(mode(&path), 0o700);
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(&path).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(mode(&entry.path()), 0o600, "{entry:?}");
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    let wanted = [
        "checkpoint-00000000000000000002",
        "journal-00000000000000000001",
        "journal-00000000000000000003",
        "lock",
    ];
    assert_eq!(names, wanted);
    let (dir, loaded) = on_disk(&path, false).unwrap();
    assert_eq!(loaded.checkpoint, Some((2, b"all of it".to_vec())));
    assert_eq!(loaded.records, [record(3, b"three")]);
    assert_eq!(dir.history().unwrap().len(), 3);
    assert_eq!(dir.read(1).unwrap(), Some(record(1, b"one")));
}

#[test]
fn torn_tail_and_damage_on_disk_are_handled_as_elsewhere() {
    let parent = tempfile::tempdir().unwrap();
    let (mut dir, _) = on_disk(parent.path(), false).unwrap();
    for generation in 1..=4 {
        dir.append(&record(generation, b"payload")).unwrap();
    }
    drop(dir);
    let journal = parent.path().join("journal-00000000000000000001");
    let mut content = fs::read(&journal).unwrap();
    content.pop();
    fs::write(&journal, &content).unwrap();
    let (dir, loaded) = on_disk(parent.path(), false).unwrap();
    assert_eq!((loaded.records.len(), loaded.cut_bytes), (3, 42));
    drop(dir);

    let mut content = fs::read(&journal).unwrap();
    assert_eq!(content.len(), 36 + 3 * 43);
    content[36 + 43] ^= 1;
    fs::write(&journal, &content).unwrap();
    let error = on_disk(parent.path(), false).map(drop).unwrap_err();
    assert!(
        matches!(&error, StateError::Damaged { path, offset: 79, .. } if *path == journal),
        "{error:?}"
    );
    let (_dir, loaded) = on_disk(parent.path(), true).unwrap();
    assert_eq!(loaded.records, [record(1, b"payload")]);
    assert_eq!(fs::read(&loaded.set_aside[0]).unwrap(), content[79..]);
    assert_eq!(mode(&loaded.set_aside[0]), 0o600);
}

#[test]
fn directory_that_another_process_holds_is_refused_with_its_id() {
    let parent = tempfile::tempdir().unwrap();
    let lock = parent.path().join("lock");
    let mut holder = Command::new("flock")
        .arg(&lock)
        .args(["sh", "-c", r#"echo $$ > "$1"; echo held; read line"#, "sh"])
        .arg(&lock)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(holder.stdout.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert_eq!(line, "held\n");
    let pid: u32 = fs::read_to_string(&lock).unwrap().trim().parse().unwrap();
    let error = on_disk(parent.path(), false).map(drop).unwrap_err();
    assert!(
        matches!(&error, StateError::Locked { path, pid: Some(told) } if *path == lock && *told == pid),
        "{error:?}"
    );
    drop(holder.stdin.take());
    holder.wait().unwrap();

    let (_dir, _) = on_disk(parent.path(), false).unwrap();
    assert_eq!(
        fs::read_to_string(&lock).unwrap(),
        format!("{}\n", std::process::id())
    );
    let other = Command::new("flock")
        .arg("--nonblock")
        .arg(&lock)
        .arg("true")
        .status()
        .unwrap();
    assert_eq!(
        other.code(),
        Some(1),
        "another process gets no lock while we hold it"
    );
}

#[test]
fn directory_that_cannot_be_made_is_told_by_its_path() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("file");
    fs::write(&file, b"").unwrap();
    let error = on_disk(&file, false).map(drop).unwrap_err();
    assert!(
        matches!(&error, StateError::Io { path, .. } if *path == file),
        "{error:?}"
    );
    assert!(
        error.to_string().contains("cannot create the directory"),
        "{error}"
    );
}

/// What opening a journal of this many records costs: calls, and bytes read.
fn cost_of_open(sim: &Sim, records: usize) -> (u64, u64) {
    let options = OpenOptions::default();
    let (calls, bytes) = (sim.calls(), sim.read_bytes());
    let (_dir, loaded) = open(sim, options).unwrap();
    assert_eq!(loaded.records.len(), records);
    (sim.calls() - calls, sim.read_bytes() - bytes)
}

#[test]
fn open_of_100_000_records_takes_the_calls_of_one_and_reads_each_byte_twice() {
    const RECORDS: usize = 100_000;
    let small = Machine::new(128).after("a");
    drop(small.dir);
    let (calls_of_one, _) = cost_of_open(&small.sim, 1);

    let mut large = Machine::new(128);
    for generation in 1..=RECORDS as u64 {
        large
            .dir
            .append(&record(generation, b"sixteen bytes..."))
            .unwrap();
    }
    drop(large.dir);
    let journal_bytes = 36 + RECORDS as u64 * (36 + 16);
    let (calls, bytes) = cost_of_open(&large.sim, RECORDS);
    assert_eq!(calls, calls_of_one);
    // Once for what is in it, once for the fresh copy.
    assert_eq!(bytes, 2 * journal_bytes);

    // A torn tail, and a damaged first record with all others behind it, are looked through once.
    let name = "journal-00000000000000000001";
    let mut torn = large.sim.content(name);
    torn.extend_from_slice(&b"\xFFQR1".repeat(100_000));
    large.sim.put(name, &torn);
    let (calls, _) = cost_of_open(&large.sim, RECORDS);
    assert_eq!(calls, calls_of_one);
}
