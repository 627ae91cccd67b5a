//! What the tests of this folder share.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test program uses what it needs"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A loop device on a file of the test's own; `None`, with a line, where this machine has none to give.
pub struct LoopDevice {
    pub path: PathBuf,
    folder: tempfile::TempDir,
}

impl LoopDevice {
    pub fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("left out: loop devices need root");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("disk.img");
        fs::write(&file, vec![0; 8 << 20]).unwrap();
        let output = run("losetup", &["-f", "--show"], &file)?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            eprintln!("left out: no loop device: {}", why.trim());
            return None;
        }
        let path = String::from_utf8(output.stdout).unwrap();
        Some(Self {
            path: PathBuf::from(path.trim()),
            folder,
        })
    }

    /// Makes the file larger, and then the device.
    pub fn grow(&self, bytes: u64) {
        let file = self.folder.path().join("disk.img");
        let file = fs::File::options().write(true).open(file).unwrap();
        file.set_len(bytes).unwrap();
        let output = run("losetup", &["-c"], &self.path).unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        run("losetup", &["-d"], &self.path);
    }
}

/// Runs a program of the system; `None`, with a line, where there is none.
pub fn run(program: &str, arguments: &[&str], path: &Path) -> Option<Output> {
    match Command::new(program).args(arguments).arg(path).output() {
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("left out: {program}: {error}");
            None
        }
    }
}
