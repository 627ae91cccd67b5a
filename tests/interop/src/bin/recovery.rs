//! Runs the recovery scenarios against any target and prints what came of each: `recovery ADDRESS:PORT TARGET [LEVEL...]
//! [ROW...]`, where a row is one of the table's, as in `"SmallRead Drop ToTarget"`, or the beginning of some.
//! docs/internals/second-opinion.md has the outcomes of our target and of LIO.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, Result};
use interop::proxy::{Direction, Fault, random};
use interop::recovery::scenario::{Range, Script, faults_of, keys};
use interop::recovery::{Heir, Who};

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let portal: SocketAddr = words.next().context("ADDRESS:PORT TARGET")?.parse()?;
    let target = words.next().context("no target's name")?;
    let (levels, rows): (Vec<_>, Vec<_>) = words.partition(|word| word.parse::<u8>().is_ok());
    let mut levels: Vec<u8> = levels.iter().flat_map(|word| word.parse()).collect();
    if levels.is_empty() {
        levels = vec![1, 2];
    }
    let who = |number, level, connections| Who {
        portal,
        target: target.clone(),
        number,
        keys: keys(level, connections),
        connections,
        lun: 0,
    };
    for level in levels {
        let ways: &[(u16, Heir)] = match level {
            2 => &[(2, Heir::Another), (1, Heir::SameCid), (1, Heir::NewCid)],
            _ => &[(1, Heir::Another), (2, Heir::Another)],
        };
        for (number, (connections, heir)) in (1..).zip(ways) {
            let who = who(level * 10 + number, level, *connections);
            say(&format!(
                "\n## ErrorRecoveryLevel {level}, {connections} connection(s), taken over by {heir:?}\n"
            ))?;
            if let Err(error) = sweep_all(portal, &who, *heir, level, &rows) {
                say(&format!("not run: {error:#}"))?;
            }
        }
    }
    Ok(())
}

fn sweep_all(portal: SocketAddr, who: &Who, heir: Heir, level: u8, rows: &[String]) -> Result<()> {
    let wanted = |row: &str| rows.is_empty() || rows.iter().any(|start| row.starts_with(start));
    let mut range = Range::new(portal, who.clone(), heir)?;
    range.session()?;
    say("| exchange | fault | direction | came through | s |\n|---|---|---|---|---|")?;
    for script in Script::ALL {
        for fault in faults_of(level) {
            for direction in [Direction::ToTarget, Direction::ToInitiator] {
                let start = Instant::now();
                if !wanted(&format!("{script:?} {fault:?} {direction:?}")) {
                    continue;
                }
                let outcome = match range.sweep(script, *fault, direction) {
                    Ok(outcome) if outcome.tried == 0 => continue,
                    Ok(outcome) => outcome.to_string(),
                    Err(error) => format!("without a fault: {error:#}"),
                };
                let seconds = start.elapsed().as_secs();
                say(&format!(
                    "| {script:?} | {fault:?} | {direction:?} | {outcome} | {seconds} |"
                ))?;
            }
        }
    }
    for seed in 1..=3 {
        let faults = faults_of(level).to_vec();
        let most = if level == 2 { 6 } else { 40 };
        let one_in = if faults.contains(&Fault::Cut) {
            400
        } else {
            25
        };
        let start = Instant::now();
        if !wanted("long run") {
            continue;
        }
        let outcome = match range.long_run(30, seed, random(seed, one_in, most, faults)) {
            Ok(injected) => format!("all, {injected} faults"),
            Err(error) => format!("{error:#}"),
        };
        let seconds = start.elapsed().as_secs();
        say(&format!(
            "| long run | by seed {seed} | both | {outcome} | {seconds} |"
        ))?;
    }
    say(&format!("\n{:?}", range.repairs()))
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
