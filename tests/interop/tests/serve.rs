//! `quintain serve` as a process: what it announces, what it keeps, what it refuses, how it ends.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use interop::tool::run;
use interop::{Client, Driver, Serve, on_each_driver};

const LIMIT: Duration = Duration::from_secs(60);

on_each_driver! {
    second_process_on_one_file_is_refused_by_name,
    identity_is_the_same_at_every_start,
    sigterm_while_idle_exits_0,
    address_in_use_is_one_line_and_exit_1,
    first_run_of_the_readme_serves,
}

/// Ends with status 1 and one line that begins as every error of the program does and holds each of the words.
fn refuses(serve: &Serve, listen: &str, words: &[&str]) -> Result<()> {
    let outcome = run(serve.command()?.args(["--listen", listen]), LIMIT)?;
    ensure!(outcome.status.code() == Some(1), "{outcome:?}");
    let lines: Vec<&str> = outcome.text.lines().collect();
    ensure!(
        lines.len() == 1 && lines[0].starts_with("quintain: "),
        "{outcome:?}"
    );
    for word in words {
        ensure!(lines[0].contains(word), "no {word}: {outcome:?}");
    }
    Ok(())
}

fn second_process_on_one_file_is_refused_by_name(driver: Driver) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let serve = Serve::new(folder.path(), driver).file("disk.img", "64MiB");
    let mut first = serve.start()?;
    refuses(&serve, "127.0.0.1:0", &["disk.img"])?;
    ensure!(
        first.is_running()?,
        "the first was disturbed: {}",
        first.log_text()
    );
    // The lock goes with its process, also when that is killed.
    first.kill9()?;
    serve.start()?;
    Ok(())
}

fn identity_is_the_same_at_every_start(driver: Driver) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let serve = Serve::new(folder.path(), driver).file("disk.img", "64MiB");
    let identity = || -> Result<(String, String)> {
        let target = serve.start()?;
        let lun = &target.announced["luns"][0];
        let text = |key: &str| {
            lun[key]
                .as_str()
                .map(str::to_owned)
                .with_context(|| format!("no {key}: {lun}"))
        };
        let found = (text("serial")?, text("naa")?);
        ensure!(target.drain()?.success(), "it did not exit 0");
        Ok(found)
    };
    let (first, second) = (identity()?, identity()?);
    ensure!(first == second, "{first:?} and then {second:?}");
    Ok(())
}

fn sigterm_while_idle_exits_0(driver: Driver) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let status = Serve::new(folder.path(), driver)
        .ram("64MiB")
        .start()?
        .drain()?;
    ensure!(status.code() == Some(0), "{status}");
    Ok(())
}

fn address_in_use_is_one_line_and_exit_1(driver: Driver) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let serve = Serve::new(folder.path(), driver).ram("64MiB");
    let first = serve.start()?;
    let listen = first.portal.to_string();
    refuses(&serve, &listen, &[&listen])
}

/// The README's first command, as it stands there, but for a port that is surely free.
fn first_run_of_the_readme_serves(driver: Driver) -> Result<()> {
    const README: &str = include_str!("../../../README.md");
    const COMMAND: &str = "    cargo run --release -- serve ";
    let arguments = README.lines().find_map(|line| line.strip_prefix(COMMAND));
    let arguments = arguments.context("the README has no first run")?;
    let folder = tempfile::tempdir()?;
    let mut serve = Serve::new(folder.path(), driver);
    for argument in arguments.split_whitespace() {
        // The disk is named without a folder there.
        serve = if argument.contains('.') {
            serve.argument(folder.path().join(argument))
        } else {
            serve.argument(argument)
        };
    }
    let target = serve.start()?;
    let mut client = Client::login(target.portal, 1, &[])?;
    client.flush_now()
}
