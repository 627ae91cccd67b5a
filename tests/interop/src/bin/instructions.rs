//! Counts instructions per command, and holds them to `instructions.budget`.
//!
//! ```text
//! instructions                          every row with a budget; ends with 1 where one has left its budget
//! instructions --record                 the same, and writes the budget anew
//! instructions --runs 5                 each row five times, with its spread
//! instructions --rows read-4k,read-1m   these rows, the further ones too
//! instructions --binary PATH            another binary than QUINTAIN_BIN
//! instructions --keep FOLDER            callgrind's files stay there, for callgrind_annotate
//! ```

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use interop::instructions::{
    Budget, DRIVERS, FURTHER_WORKLOADS, Meter, TOLERANCE_PERCENT, Verdict, WORKLOADS, Workload,
    has_valgrind,
};

/// Status for "it cannot run here", told in one line.
const CANNOT_RUN: u8 = 77;

const COMMENT: &str = "\
Instructions of the worker for one command, in lock step: tests/interop/src/instructions.
Written by `cargo xtask bench --record`, held within 3 % by `cargo xtask bench`. Another compiler: record anew.";

struct Options {
    rows: Vec<Workload>,
    runs: u32,
    record: bool,
    binary: PathBuf,
    keep: Option<PathBuf>,
}

fn main() -> ExitCode {
    if !has_valgrind() {
        say("instructions: cannot count: there is no valgrind (apt-get install valgrind)");
        return ExitCode::from(CANNOT_RUN);
    }
    match Options::parse().and_then(|options| run(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("instructions: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

impl Options {
    fn parse() -> Result<Self> {
        let mut options = Self {
            rows: WORKLOADS.to_vec(),
            runs: 1,
            record: false,
            binary: PathBuf::new(),
            keep: None,
        };
        let mut binary = None;
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .with_context(|| format!("{word} needs a value"))
            };
            match word.as_str() {
                "--record" => options.record = true,
                "--runs" => options.runs = value()?.parse::<u32>()?.max(1),
                "--rows" => options.rows = rows(&value()?)?,
                "--binary" => binary = Some(PathBuf::from(value()?)),
                "--keep" => options.keep = Some(value()?.into()),
                _ => bail!("unknown argument: {word}"),
            }
        }
        options.binary = binary.map_or_else(interop::target::binary, Ok)?;
        Ok(options)
    }
}

fn rows(names: &str) -> Result<Vec<Workload>> {
    let known = || WORKLOADS.iter().chain(FURTHER_WORKLOADS);
    let found = names.split(',').map(|name| {
        let row = known().find(|row| row.name == name).copied();
        let all: Vec<&str> = known().map(|row| row.name).collect();
        row.with_context(|| format!("no row {name}: {}", all.join(", ")))
    });
    found.collect()
}

/// Measures every row. Returns whether all have kept their budget.
fn run(options: &Options) -> Result<bool> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.budget");
    let mut budget = Budget::parse(&std::fs::read_to_string(&file).unwrap_or_default())
        .with_context(|| file.display().to_string())?;
    let scratch = tempfile::tempdir()?;
    let folder = options.keep.as_deref().unwrap_or_else(|| scratch.path());
    std::fs::create_dir_all(folder)?;
    let meter = Meter::new(&options.binary, folder);
    let (mut kept, mut left) = (0, 0);
    for (driver, name) in &DRIVERS {
        for row in &options.rows {
            let mut counts = Vec::new();
            for _ in 0..options.runs {
                counts.push(meter.instructions_per_command(*driver, row)?);
            }
            counts.sort_by(f64::total_cmp);
            let (low, median) = (counts[0], counts[counts.len() / 2]);
            let spread = (counts[counts.len() - 1] - low) / median * 100.0;
            let verdict = budget.judge(name, row.name, median);
            let told = match verdict {
                Verdict::Kept(recorded) => format!("{:+.2} %", (median / recorded - 1.0) * 100.0),
                Verdict::Dearer(recorded) => format!("DEARER than {recorded:.1}"),
                Verdict::Cheaper(recorded) => {
                    format!("cheaper than {recorded:.1}: record it (cargo xtask bench --record)")
                }
                Verdict::Unknown => "no budget".to_owned(),
            };
            match verdict {
                Verdict::Kept(_) => kept += 1,
                Verdict::Dearer(_) | Verdict::Cheaper(_) => left += 1,
                Verdict::Unknown => {}
            }
            let spread = if options.runs > 1 {
                format!("  spread {spread:.2} % of {} runs", options.runs)
            } else {
                String::new()
            };
            say(&format!(
                "{name:5} {:22} {median:9.1} instructions per command{spread}  {told}",
                row.name
            ));
            budget.record(name, row.name, median);
        }
    }
    if options.record {
        std::fs::write(&file, budget.to_text(COMMENT))
            .with_context(|| file.display().to_string())?;
        say(&format!("recorded in {}", file.display()));
        return Ok(true);
    }
    say(&format!("rows within {TOLERANCE_PERCENT} % of the budget:"));
    say(&format!("{kept} passed, {left} failed"));
    Ok(left == 0)
}

fn say(line: &str) {
    // Nobody is left to tell where standard output is closed.
    let _closed = writeln!(std::io::stdout(), "{line}");
}
