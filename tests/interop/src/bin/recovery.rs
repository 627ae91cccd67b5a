//! Runs the recovery scenarios against any target and prints what came of each, as a table:
//! `recovery ADDRESS:PORT TARGET [--skip ROWS] [LEVEL...] [ROW...]`, where a row is `"SmallRead Drop ToTarget"` or the beginning
//! of some. `recovery ADDRESS:PORT TARGET --soak SESSIONS ROUNDS SEEDS [LEVEL...]` runs many sessions at once instead, with faults by each
//! seed from 1 on, and ends at the first that loses something. Ends 3 before a row that is not to be had because the target takes no login any more; `--skip` goes on there.
//! docs/internals/second-opinion.md has the outcomes of our target and of LIO.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use interop::proxy::{Direction, Fault, random};
use interop::recovery::scenario::{Range, Script, faults_of, keys};
use interop::recovery::soak::{Endured, Soak};
use interop::recovery::{Heir, Who};

/// What to run, and how far it is.
struct Run {
    portal: SocketAddr,
    target: String,
    skip: usize,
    rows: Vec<String>,
    number: usize,
    printed: usize,
}

fn main() -> Result<ExitCode> {
    let mut words = std::env::args().skip(1);
    let mut run = Run {
        portal: words.next().context("ADDRESS:PORT TARGET")?.parse()?,
        target: words.next().context("no target's name")?,
        skip: 0,
        rows: Vec::new(),
        number: 0,
        printed: 0,
    };
    let mut levels: Vec<u8> = Vec::new();
    let mut soak: Option<(u8, usize, u64)> = None;
    while let Some(word) = words.next() {
        match word.parse() {
            Ok(level) => levels.push(level),
            Err(_) if word == "--skip" => {
                run.skip = words.next().context("how many rows")?.parse()?;
            }
            Err(_) if word == "--soak" => {
                let mut number = || words.next().context("SESSIONS ROUNDS SEEDS");
                soak = Some((number()?.parse()?, number()?.parse()?, number()?.parse()?));
            }
            Err(_) => run.rows.push(word),
        }
    }
    if levels.is_empty() {
        levels = vec![1, 2];
    }
    if let Some(how) = soak {
        return endure(&run, &levels, how);
    }
    for level in levels {
        let ways: &[(u16, Heir)] = match level {
            2 => &[(2, Heir::Another), (1, Heir::SameCid), (1, Heir::NewCid)],
            _ => &[(1, Heir::Another)],
        };
        for (connections, heir) in ways {
            if !run.sweep_all(level, *connections, *heir)? {
                return Ok(ExitCode::from(3));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Soaks of each level, with one connection and with three.
fn endure(
    run: &Run,
    levels: &[u8],
    (sessions, rounds, seeds): (u8, usize, u64),
) -> Result<ExitCode> {
    let mut out = std::io::stdout();
    for level in levels {
        for connections in [1, 3] {
            for seed in 1..=seeds {
                let start = Instant::now();
                let soak = Soak {
                    portal: run.portal,
                    target: run.target.clone(),
                    level: *level,
                    connections,
                    sessions,
                    rounds,
                    seed,
                };
                let Endured { faults, repairs } = soak.run()?;
                let seconds = start.elapsed().as_secs();
                writeln!(
                    out,
                    "level {level}, {sessions} sessions of {connections}, seed {seed}: all, with {faults} faults in {seconds} s; {repairs:?}"
                )?;
                out.flush()?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Run {
    /// All rows of one way to have a session. Whether the target still answers.
    fn sweep_all(&mut self, level: u8, connections: u16, heir: Heir) -> Result<bool> {
        let who = Who {
            portal: self.portal,
            target: self.target.clone(),
            number: level * 16 + u8::try_from(connections)? * 4 + heir as u8,
            keys: keys(level, connections),
            connections,
            lun: 0,
            first_lba: 256,
            patience: Duration::from_secs(15),
        };
        let way = match (connections, heir) {
            (1, Heir::NewCid) => "1, new CID",
            (1, _) => "1",
            _ => "2",
        };
        let mut range = Range::new(self.portal, who, heir)?;
        for script in Script::ALL {
            for fault in faults_of(level) {
                for direction in [Direction::ToTarget, Direction::ToInitiator] {
                    let row = format!("{script:?} {fault:?} {direction:?}");
                    let row = [level.to_string().as_str(), way, &row].join(" | ");
                    let goes_on = self.row(&row, || {
                        let outcome = range.sweep(script, *fault, direction)?;
                        let tells = outcome.tried > 0 || !outcome.failures.is_empty();
                        Ok(tells.then(|| outcome.to_string()))
                    })?;
                    if !goes_on {
                        return Ok(false);
                    }
                }
            }
        }
        for seed in 1..=3 {
            let faults = faults_of(level).to_vec();
            let (one_in, most) = if faults.contains(&Fault::Cut) {
                (400, 6)
            } else {
                (25, 40)
            };
            let row = format!("{level} | {way} | long run, seed {seed}");
            let goes_on = self.row(&row, || {
                range.session()?;
                let plan = random(seed, one_in, most, faults.clone());
                Ok(Some(match range.long_run(30, seed, plan) {
                    Ok(faults) => format!("all, with {faults} faults"),
                    Err(error) => format!("{error:#}"),
                }))
            })?;
            if !goes_on {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Prints a row, where it is wanted and has something to tell. Whether the target still answers.
    fn row(&mut self, row: &str, run: impl FnOnce() -> Result<Option<String>>) -> Result<bool> {
        self.number += 1;
        let name = row.rsplit(" | ").next().unwrap_or_default();
        let is_wanted =
            self.rows.is_empty() || self.rows.iter().any(|start| name.starts_with(start));
        if self.number <= self.skip || !is_wanted {
            return Ok(true);
        }
        let start = Instant::now();
        let outcome = match run() {
            Ok(None) => "-".to_owned(),
            Ok(Some(outcome)) => outcome,
            // At the first row of a run there is nothing to begin again for.
            Err(_) if self.printed > 0 => return Ok(false),
            Err(error) => format!("no session: {error:#}"),
        };
        self.printed += 1;
        let mut out = std::io::stdout();
        let (number, seconds) = (self.number, start.elapsed().as_secs());
        writeln!(out, "| {number} | {row} | {outcome} | {seconds} |")?;
        out.flush()?;
        Ok(true)
    }
}
