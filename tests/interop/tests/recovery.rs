//! Error recovery (RFC 7143 §7) of the real binary: our initiator behind a proxy that loses, repeats and damages PDUs and cuts
//! connections, at each PDU of short exchanges and by seeds in long runs; all data read back.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use interop::proxy::{Direction, Fault, random};
use interop::recovery::scenario::{Range, Script, faults_of, keys};
use interop::recovery::{Heir, Who, daemon};
use interop::target::TARGET_NAME;
use interop::{Driver, on_each_driver};

on_each_driver! {
    level_1_reads_come_through_a_fault_at_each_pdu,
    level_1_writes_come_through_a_fault_at_each_pdu,
    level_1_requests_that_are_no_commands_come_through_a_fault_at_each_pdu,
    level_1_reads_come_through_a_change_of_segments,
    level_1_long_runs_lose_nothing,
    level_2_tasks_go_on_over_another_connection,
    level_2_tasks_go_on_over_a_connection_with_the_same_cid,
    level_2_tasks_go_on_over_a_connection_with_a_new_cid,
    level_2_long_runs_over_several_connections_lose_nothing,
    level_2_long_runs_over_one_connection_lose_nothing,
}

const READS: [Script; 2] = [Script::SmallRead, Script::LongRead];
const OTHERS: [Script; 3] = [Script::Ping, Script::Text, Script::Manage];

/// Sessions of this level with a daemon of their own.
fn with_range(
    driver: Driver,
    (level, connections): (u8, u16),
    heir: Heir,
    act: impl FnOnce(&mut Range) -> Result<()>,
) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (daemon, portal) = daemon(folder.path(), driver, level, 4)?;
    let who = Who {
        portal,
        target: TARGET_NAME.to_owned(),
        number: 1,
        keys: keys(level, connections),
        connections,
        lun: 0,
        first_lba: 256,
        patience: Duration::from_secs(60),
    };
    let came = act(&mut Range::new(portal, who, heir)?);
    came.with_context(|| daemon.told())
}

/// Each exchange comes through each fault at each of its PDUs, and the target keeps to the RFC meanwhile.
fn sweep(range: &mut Range, faults: &[Fault], scripts: &[Script]) -> Result<()> {
    for script in scripts {
        for fault in faults {
            for direction in [Direction::ToTarget, Direction::ToInitiator] {
                let outcome = range.sweep(*script, *fault, direction)?;
                let broken = |remark: &String| {
                    remark.starts_with("target broke") || remark.starts_with("an answer to nothing")
                };
                let is_right =
                    outcome.recovered == outcome.tried && !outcome.remarks.iter().any(broken);
                ensure!(is_right, "{script:?} {fault:?} {direction:?}: {outcome}");
            }
        }
    }
    Ok(())
}

fn level_1(driver: Driver, scripts: &[Script]) -> Result<()> {
    with_range(driver, (1, 1), Heir::Another, |range| {
        sweep(range, faults_of(1), scripts)
    })
}

fn level_1_reads_come_through_a_fault_at_each_pdu(driver: Driver) -> Result<()> {
    level_1(driver, &READS)
}

fn level_1_writes_come_through_a_fault_at_each_pdu(driver: Driver) -> Result<()> {
    level_1(driver, &[Script::SmallWrite])?;
    // What is dropped is missed by time only, and a long write has many PDUs: not every fault has its turn.
    with_range(driver, (1, 1), Heir::Another, |range| {
        let faults = [Fault::Drop, Fault::Repeat, Fault::CorruptData];
        sweep(range, &faults, &[Script::LongWrite])
    })
}

fn level_1_requests_that_are_no_commands_come_through_a_fault_at_each_pdu(
    driver: Driver,
) -> Result<()> {
    level_1(driver, &OTHERS)
}

/// RFC 7143 §13.12, §11.16: what was lost is asked for by R-Data SNACK, and comes in segments of the new length.
fn level_1_reads_come_through_a_change_of_segments(driver: Driver) -> Result<()> {
    with_range(driver, (1, 1), Heir::Another, |range| {
        let faults = [Fault::Drop, Fault::Repeat, Fault::CorruptData];
        sweep(range, &faults, &[Script::Resegment])?;
        let repairs = range.repairs();
        ensure!(repairs.data_snacks > 10, "{repairs:?}");
        Ok(())
    })
}

fn level_1_long_runs_lose_nothing(driver: Driver) -> Result<()> {
    for connections in [1, 3] {
        with_range(driver, (1, connections), Heir::Another, |range| {
            for seed in 1..=2 {
                let faults = faults_of(1).to_vec();
                range.long_run(12, seed, random(seed, 25, 24, faults))?;
            }
            let repairs = range.repairs();
            // Of which kind they are hangs on what the faults met.
            let asked = repairs.data_snacks + repairs.status_snacks;
            ensure!(asked > 0, "{repairs:?}");
            Ok(())
        })?;
    }
    Ok(())
}

fn level_2(driver: Driver, connections: u16, heir: Heir) -> Result<()> {
    with_range(driver, (2, connections), heir, |range| {
        let scripts = [Script::LongRead, Script::LongWrite];
        sweep(range, &[Fault::Cut], &scripts)?;
        let scripts = [Script::SmallRead, Script::SmallWrite, Script::Ping];
        sweep(range, &[Fault::CutWithin], &scripts)?;
        let repairs = range.repairs();
        ensure!(repairs.reassigned > 20, "{repairs:?}");
        Ok(())
    })
}

fn level_2_tasks_go_on_over_another_connection(driver: Driver) -> Result<()> {
    level_2(driver, 2, Heir::Another)
}

fn level_2_tasks_go_on_over_a_connection_with_the_same_cid(driver: Driver) -> Result<()> {
    level_2(driver, 1, Heir::SameCid)
}

fn level_2_tasks_go_on_over_a_connection_with_a_new_cid(driver: Driver) -> Result<()> {
    level_2(driver, 1, Heir::NewCid)
}

fn level_2_long_runs(driver: Driver, connections: u16, heir: Heir) -> Result<()> {
    with_range(driver, (2, connections), heir, |range| {
        for seed in 1..=2 {
            let faults = faults_of(2).to_vec();
            let injected = range.long_run(12, seed, random(seed, 200, 4, faults))?;
            ensure!(injected > 0);
        }
        let repairs = range.repairs();
        ensure!(repairs.reassigned > 0, "{repairs:?}");
        Ok(())
    })
}

fn level_2_long_runs_over_several_connections_lose_nothing(driver: Driver) -> Result<()> {
    level_2_long_runs(driver, 3, Heir::Another)
}

fn level_2_long_runs_over_one_connection_lose_nothing(driver: Driver) -> Result<()> {
    level_2_long_runs(driver, 1, Heir::SameCid)?;
    level_2_long_runs(driver, 1, Heir::NewCid)
}
