//! Where the kernel refuses io_uring or native AIO (containers, hardened systems), the program serves all the same.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use interop::tool::{run, succeed};
use interop::{Driver, Serve};

/// strace, making these system calls fail; threads are followed.
fn refusing(calls: &str, error: &str) -> [String; 5] {
    [
        "strace".into(),
        "-f".into(),
        "-qqq".into(),
        format!("--trace={calls}"),
        format!("--inject={calls}:error={error}"),
    ]
}

fn serves_with(calls: &str, error: &str, driver: Driver) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let words = refusing(calls, error);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let serve = Serve::new(folder.path(), driver)
        .file("disk.img", "64MiB")
        .through(&words);
    let target = serve.start()?;
    // It is not enough that it listens: data goes through.
    let mut check = Command::new("iscsi-test-cu");
    check.args([
        "--dataloss",
        "--test=SCSI.Write10.Simple",
        "--fail",
        &target.url(0),
    ]);
    let told = succeed(&mut check, Duration::from_secs(120))?;
    ensure!(told.contains("Simple ...passed"), "{told}");
    ensure!(target.drain()?.success(), "it did not exit 0");
    Ok(())
}

#[test]
fn auto_without_io_uring_serves() -> Result<()> {
    serves_with("io_uring_setup", "EPERM", Driver::Auto)?;
    serves_with("io_uring_setup", "ENOSYS", Driver::Auto)
}

#[test]
fn epoll_without_io_uring_and_without_native_aio_serves() -> Result<()> {
    serves_with("io_uring_setup,io_setup", "EPERM", Driver::Epoll)
}

#[test]
fn uring_without_io_uring_says_so_in_one_line_and_exits_1() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let words = refusing("io_uring_setup", "EPERM");
    // strace's own lines go elsewhere.
    let strace_log = folder
        .path()
        .join("strace.log")
        .to_string_lossy()
        .into_owned();
    let mut all: Vec<&str> = words.iter().map(String::as_str).collect();
    all.extend(["-o", &strace_log]);
    let serve = Serve::new(folder.path(), Driver::Uring)
        .ram("64MiB")
        .through(&all);
    let mut command = serve.command()?;
    let outcome = run(
        command.args(["--listen", "127.0.0.1:0"]),
        Duration::from_secs(60),
    )?;
    ensure!(outcome.status.code() == Some(1), "{outcome:?}");
    let lines: Vec<&str> = outcome.text.lines().collect();
    ensure!(
        lines.len() == 1 && lines[0].starts_with("quintain: "),
        "{outcome:?}"
    );
    ensure!(lines[0].contains("uring"), "{outcome:?}");
    Ok(())
}
