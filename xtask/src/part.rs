//! The parts of CI, one row each, and how a run of several is told.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::command::{answers, output_of, run, run_watched};
use crate::count::Count;
use crate::{conformance, say, setup, tidy};

/// One part of CI.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// Whether `cargo xtask test` runs it too.
    pub(crate) is_test: bool,
    run: fn() -> Result<Report>,
}

/// What a part that ended well has to tell.
#[derive(Default)]
struct Report {
    count: Count,
    /// What it left out, and why: one line each.
    left_out: Vec<String>,
}

/// Every part, cheapest first.
pub(crate) static PARTS: &[Part] = &[
    Part {
        name: "fmt",
        about: "rustfmt finds nothing to change",
        is_test: false,
        run: fmt,
    },
    Part {
        name: "tidy",
        about: "arrows, sizes and bans of the house",
        is_test: false,
        run: run_tidy,
    },
    Part {
        name: "conformance",
        about: "docs/conformance.md names places and tests that exist",
        is_test: false,
        run: run_conformance,
    },
    Part {
        name: "lint",
        about: "clippy, warnings are errors",
        is_test: false,
        run: lint,
    },
    Part {
        name: "test",
        about: "unit, table, property and pair tests",
        is_test: true,
        run: test,
    },
    Part {
        name: "doc",
        about: "documentation builds, its examples run",
        is_test: true,
        run: doc,
    },
    Part {
        name: "loom",
        about: "every interleaving of the registry and the waker",
        is_test: true,
        run: loom,
    },
    Part {
        name: "interop",
        about: "the binary against libiscsi, QEMU, our own initiator, and kill -9",
        is_test: true,
        run: interop,
    },
    Part {
        name: "bench",
        about: "instructions per command keep their budget (callgrind)",
        is_test: true,
        run: || bench(&[]),
    },
    Part {
        name: "guest",
        about: "the binary against the Linux kernel's initiator",
        is_test: true,
        run: guest,
    },
];

/// Runs the parts, all of them also when one fails. Returns whether none did.
pub(crate) fn run_all(parts: &[&Part]) -> bool {
    let mut total = Count::default();
    let mut left_out = Vec::new();
    let mut lines = Vec::new();
    let mut all_well = true;
    for part in parts {
        say(&format!("== {}: {}", part.name, part.about));
        let began = Instant::now();
        let told = match (part.run)() {
            Ok(report) => {
                total.add(report.count);
                left_out.extend(report.left_out.into_iter().map(|line| (part.name, line)));
                "ok".to_owned()
            }
            Err(error) => {
                all_well = false;
                total.failed += u64::from(part.is_test);
                format!("FAILED: {error:#}")
            }
        };
        lines.push(format!(
            "{:11} {:4} s  {told}",
            part.name,
            began.elapsed().as_secs()
        ));
    }
    say("== summary");
    lines.iter().for_each(|line| say(line));
    left_out
        .iter()
        .for_each(|(name, line)| say(&format!("left out of {name}: {line}")));
    if parts.iter().any(|part| part.is_test) {
        say(&format!(
            "{} passed, {} failed, {} skipped",
            total.passed, total.failed, total.skipped
        ));
    }
    all_well
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn fmt() -> Result<Report> {
    run(cargo().args(["fmt", "--all", "--check"]))?;
    Ok(Report::default())
}

fn run_tidy() -> Result<Report> {
    tidy::run(Path::new("."))?;
    Ok(Report::default())
}

fn run_conformance() -> Result<Report> {
    conformance::run(Path::new("."), conformance::Mode::Check)?;
    Ok(Report::default())
}

fn lint() -> Result<Report> {
    run(cargo()
        .args(["clippy", "--workspace", "--all-targets", "--locked", "--"])
        .args(["-D", "warnings"]))?;
    Ok(Report::default())
}

fn test() -> Result<Report> {
    counted(
        &mut runner(&["--workspace", "--exclude", "interop"]),
        Report::default(),
    )
}

fn doc() -> Result<Report> {
    let mut build = cargo();
    build.args([
        "doc",
        "--workspace",
        "--no-deps",
        "--locked",
        "--quiet",
        "--keep-going",
    ]);
    run(build.env("RUSTDOCFLAGS", "-D warnings"))?;
    counted(
        cargo().args(["test", "--doc", "--workspace", "--locked"]),
        Report::default(),
    )
}

/// Crates with models of their concurrency, and the modules these stand in.
const MODELS: [(&str, &str); 2] = [("engine", "loom_tests"), ("reactor", "wake::tests::model")];

/// In a target folder of its own: another `--cfg` would otherwise rebuild everything, and again at the next part.
fn loom() -> Result<Report> {
    let target = target_folder()?.join("loom");
    let mut report = Report::default();
    for (package, module) in MODELS {
        let mut command = runner(&["--package", package, "--lib", module]);
        command
            .env("RUSTFLAGS", "--cfg loom")
            .env("CARGO_TARGET_DIR", &target);
        report = counted(&mut command, report)?;
    }
    Ok(report)
}

fn interop() -> Result<Report> {
    let tools = setup::interop_tools(&target_folder()?)?;
    let binary = release_binary()?;
    let mut command = runner(&["--package", "interop", "--lib"]);
    for test in &tools.tests {
        command.args(["--test", test]);
    }
    command.env("QUINTAIN_BIN", binary).envs(tools.environment);
    counted(
        &mut command,
        Report {
            left_out: tools.left_out,
            ..Report::default()
        },
    )
}

/// Status for "it cannot run here", of the guest's scripts and of the meter, told by them in one line.
const CANNOT_RUN: i32 = 77;

/// `cargo xtask bench`: counts instructions per command.
pub(crate) fn run_bench(arguments: &[String]) -> Result<()> {
    if let Some((first, rest)) = arguments.split_first()
        && first == "--floor"
    {
        return compare_with_floor(rest);
    }
    let report = bench(arguments)?;
    match report.left_out.first() {
        Some(line) => bail!("{line}"),
        None => Ok(()),
    }
}

/// The release binary beside the floor of loopback TCP, both built for speed.
fn compare_with_floor(arguments: &[String]) -> Result<()> {
    let binary = release_binary()?;
    let mut command = cargo();
    command
        .args(["run", "--quiet", "--locked", "--release"])
        .args(["--package", "interop", "--bin", "floor", "--"])
        .args(arguments)
        .env("QUINTAIN_BIN", binary);
    run(&mut command)
}

fn bench(arguments: &[String]) -> Result<Report> {
    setup::install_valgrind()?;
    let binary = release_binary()?;
    let mut command = cargo();
    command
        .args(["run", "--quiet", "--locked", "--package", "interop"])
        .args(["--bin", "instructions", "--"])
        .args(arguments)
        .env("QUINTAIN_BIN", binary);
    let mut report = Report::default();
    let result = run_watched(&mut command, |line| {
        if let Some(seen) = Count::from_line(line) {
            report.count.add(seen);
        }
        if line.starts_with("instructions: cannot") {
            report.left_out.push(line.to_owned());
        }
    });
    match result {
        Err(_) if !report.left_out.is_empty() => Ok(report),
        result => result.map(|()| report),
    }
}

fn guest() -> Result<Report> {
    let binary = release_binary()?;
    let mut report = Report::default();
    for driver in ["epoll", "uring"] {
        let mut command = Command::new("tests/guest/run.sh");
        command
            .args(["--driver", driver])
            .env("QUINTAIN_BIN", &binary);
        let mut last = String::new();
        let mut count = Count::default();
        let result = run_watched(&mut command, |line| {
            if let Some(seen) = Count::from_line(line) {
                count = seen;
            }
            if line.starts_with("guest: cannot") {
                line.clone_into(&mut last);
            }
        });
        report.count.add(count);
        match result {
            Ok(()) if count.passed == 0 => bail!("driver {driver}: the guest checked nothing"),
            Ok(()) => {}
            Err(error)
                if error
                    .to_string()
                    .ends_with(&format!("exit status: {CANNOT_RUN}")) =>
            {
                report.left_out.push(last);
                break;
            }
            Err(error) => return Err(error.context(format!("driver {driver}"))),
        }
    }
    Ok(report)
}

fn has_nextest() -> bool {
    answers("cargo", &["nextest", "--version"])
}

/// The test runner with these arguments: nextest, or `cargo test` where it is not installed.
fn runner(arguments: &[&str]) -> Command {
    let mut command = cargo();
    if has_nextest() {
        command.args(["nextest", "run", "--no-fail-fast", "--locked"]);
    } else {
        say(
            "cargo-nextest is not installed (cargo install cargo-nextest --locked): using cargo test",
        );
        command.args(["test", "--no-fail-fast", "--locked"]);
        // The documentation's examples are a part of their own.
        if !arguments.contains(&"--lib") {
            command.args(["--lib", "--bins", "--tests"]);
        }
    }
    command.args(arguments);
    command
}

fn counted(command: &mut Command, mut report: Report) -> Result<Report> {
    let mut count = Count::default();
    let result = run_watched(command, |line| {
        if let Some(seen) = Count::from_line(line) {
            count.add(seen);
        }
    });
    result.with_context(|| format!("{} passed, {} failed", count.passed, count.failed))?;
    if count.passed == 0 {
        bail!("no test ran");
    }
    report.count.add(count);
    Ok(report)
}

/// Builds the binary as a user gets it, and says where it is.
fn release_binary() -> Result<PathBuf> {
    // The RADIUS helper stands beside it, where its test looks for it.
    let packages = ["--package", "cli", "--package", "auth-radius"];
    run(cargo()
        .args(["build", "--release", "--locked"])
        .args(packages))?;
    Ok(target_folder()?.join("release/quintain"))
}

/// Where cargo builds.
pub(crate) fn target_folder() -> Result<PathBuf> {
    let metadata = output_of(cargo().args(["metadata", "--format-version", "1", "--no-deps"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    Ok(PathBuf::from(
        metadata["target_directory"]
            .as_str()
            .context("cargo metadata: no target_directory")?,
    ))
}
