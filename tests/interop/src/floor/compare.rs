//! The binary and the floor in turn, and the table of it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::target::{Driver, Serve, TARGET_NAME};

/// One row: what `quintain bench` is told.
#[derive(Clone, Copy, Debug)]
pub struct LoadKind {
    /// As the table names it.
    pub name: &'static str,
    arguments: &'static [&'static str],
}

/// The rows. Writes are no longer than what comes unasked in one PDU: the floor asks for nothing.
pub const LOADS: &[LoadKind] = &[
    LoadKind {
        name: "4k-randread-qd32",
        arguments: &["--depth", "32"],
    },
    LoadKind {
        name: "4k-randwrite-qd32",
        arguments: &["--depth", "32", "--read", "0", "--overwrite"],
    },
    LoadKind {
        name: "4k-mix70-qd32",
        arguments: &["--depth", "32", "--read", "70", "--overwrite"],
    },
    LoadKind {
        name: "512-randread-qd64",
        arguments: &["--depth", "64", "--block-size", "512"],
    },
    LoadKind {
        name: "64k-randread-qd16",
        arguments: &["--depth", "16", "--block-size", "64KiB"],
    },
    LoadKind {
        name: "64k-randwrite-qd16",
        arguments: &[
            "--depth",
            "16",
            "--block-size",
            "64KiB",
            "--read",
            "0",
            "--overwrite",
        ],
    },
    LoadKind {
        name: "4k-randread-qd1",
        arguments: &["--depth", "1"],
    },
];

/// What to compare, and how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// The binary under test; it is the client of both, too.
    pub binary: PathBuf,
    /// The program that serves the floor when its one argument is `serve`.
    pub floor: PathBuf,
    /// How often each is measured, in turn.
    pub rounds: u32,
    /// How long each time, in seconds.
    pub seconds: u32,
    /// Which rows; none: all.
    pub rows: Vec<String>,
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
struct Figure {
    per_second: f64,
    /// The target's processor time for one command, in microseconds.
    cpu_us: f64,
}

struct Contender {
    name: &'static str,
    portal: SocketAddr,
    process: u32,
}

/// Measures, and tells one line for each row.
///
/// # Errors
/// A target does not start, or a load on it fails.
pub fn compare(options: &Options, mut tell: impl FnMut(&str)) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server_cpu = ["taskset", "-c", "0"];
    let ours = Serve::new(folder.path(), Driver::Auto)
        .binary(&options.binary)
        .ram("256MiB")
        .argument("--workers")
        .argument("1")
        .through(&server_cpu)
        .start()?;
    let (floor, portal) = Floor::start(&options.floor, &server_cpu)?;
    let contenders = [
        Contender {
            name: "floor",
            portal,
            process: floor.0.id(),
        },
        Contender {
            name: "quintain",
            portal: ours.portal,
            process: ours.process_id(),
        },
    ];
    for one in &contenders {
        fill(&options.binary, one).with_context(|| one.name)?;
    }
    tell("load                   floor/s   share  floor us   ours us   times");
    for load in LOADS {
        if !options.rows.is_empty() && !options.rows.iter().any(|row| row == load.name) {
            continue;
        }
        let mut figures = [Vec::new(), Vec::new()];
        for _ in 0..options.rounds {
            for (one, figures) in contenders.iter().zip(&mut figures) {
                let seconds = options.seconds;
                let figure = measure(&options.binary, one, load, seconds);
                figures.push(figure.with_context(|| format!("{} of {}", load.name, one.name))?);
            }
        }
        let [floor, ours] = figures.map(|figures| Figure {
            per_second: median(figures.iter().map(|one| one.per_second)),
            cpu_us: median(figures.iter().map(|one| one.cpu_us)),
        });
        tell(&format!(
            "{:20} {:9.0}  {:6.2} {:9.2} {:9.2}  {:6.2}",
            load.name,
            floor.per_second,
            ours.per_second / floor.per_second,
            floor.cpu_us,
            ours.cpu_us,
            ours.cpu_us / floor.cpu_us,
        ));
    }
    ensure!(ours.drain()?.success(), "the target ended badly");
    Ok(())
}

/// Writes every block, so that no load waits for pages.
fn fill(binary: &Path, contender: &Contender) -> Result<()> {
    let load = LoadKind {
        name: "fill",
        arguments: &[
            "--pattern",
            "sequential",
            "--block-size",
            "64KiB",
            "--depth",
            "8",
            "--read",
            "0",
            "--overwrite",
        ],
    };
    measure(binary, contender, &load, 1).map(drop)
}

fn measure(binary: &Path, contender: &Contender, load: &LoadKind, seconds: u32) -> Result<Figure> {
    let url = format!("iscsi://{}/{TARGET_NAME}/0", contender.portal);
    let before = processor_ticks(contender.process)?;
    let output = Command::new("taskset")
        .args(["-c", "1"])
        .arg(binary)
        .args([
            "bench",
            &url,
            "--json",
            "--warm-up",
            "0",
            "--time",
            &seconds.to_string(),
        ])
        .args(load.arguments)
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "quintain bench: {}", output.status);
    let after = processor_ticks(contender.process)?;
    let told: Value = serde_json::from_slice(&output.stdout)?;
    let of = |direction: &str, field: &str| told[direction][field].as_f64().unwrap_or(0.0);
    let commands = of("read", "commands") + of("write", "commands");
    ensure!(commands > 0.0, "no command was answered");
    // proc(5): a hundred ticks are a second, on every machine that Linux runs on today.
    #[expect(clippy::cast_precision_loss, reason = "a run has few ticks")]
    let cpu_us = (after - before) as f64 * 1e4;
    Ok(Figure {
        per_second: of("read", "per_second") + of("write", "per_second"),
        cpu_us: cpu_us / commands,
    })
}

/// User and system time of a process so far.
fn processor_ticks(process: u32) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // proc(5): fields 14 and 15; the second is in parentheses and may hold any character.
    let (_, rest) = stat.rsplit_once(')').context("no name")?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut next = || fields.next().context("too few fields");
    Ok(next()?.parse::<u64>()? + next()?.parse::<u64>()?)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// The floor as a process of its own. Dropped, it is killed.
struct Floor(Child);

impl Floor {
    fn start(program: &Path, wrapper: &[&str]) -> Result<(Self, SocketAddr)> {
        use std::io::BufRead;
        let mut child = Command::new(wrapper[0])
            .args(&wrapper[1..])
            .arg(program)
            .arg("serve")
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("no output")?;
        let floor = Self(child);
        let mut line = String::new();
        std::io::BufReader::new(stdout).read_line(&mut line)?;
        let portal = line
            .trim()
            .parse()
            .with_context(|| format!("the floor said {line:?}"))?;
        Ok((floor, portal))
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing more to do then.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_ticks_of_this_process_never_go_back() {
        let own = std::process::id();
        let before = processor_ticks(own).unwrap();
        assert!(processor_ticks(own).unwrap() >= before);
        assert!(processor_ticks(u32::MAX).is_err());
    }

    #[test]
    fn median_is_the_one_in_the_middle() {
        assert!((median([3.0, 1.0, 2.0].into_iter()) - 2.0).abs() < f64::EPSILON);
    }
}
