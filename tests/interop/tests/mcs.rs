//! Sessions of several connections (RFC 7143 §4.2.2.1, §4.2.3, §6.3) of the real binary: our initiator, behind a proxy that delays.

use std::time::Duration;

use anyhow::{Result, ensure};
use interop::proxy::{Fault, random};
use interop::recovery::scenario::{Range, keys};
use interop::recovery::{Heir, Many, Who, daemon};
use interop::target::TARGET_NAME;
use interop::{Driver, on_each_driver};
use iscsi_wire::Cid;

on_each_driver! {
    four_connections_move_everything_whole,
    commands_that_overtake_each_other_on_other_connections_are_taken_in_order,
    connections_join_and_leave_under_load,
    connection_that_is_cut_is_replaced_and_the_session_stays,
}

fn who(portal: std::net::SocketAddr, connections: u16) -> Who {
    Who {
        portal,
        target: TARGET_NAME.to_owned(),
        number: 1,
        keys: keys(0, connections),
        connections,
        lun: 0,
        first_lba: 256,
        patience: Duration::from_secs(60),
    }
}

fn four_connections_move_everything_whole(driver: Driver) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (_daemon, portal) = daemon(folder.path(), driver, 0, 4)?;
    let mut range = Range::new(portal, who(portal, 4), Heir::Another)?;
    range.long_run(40, 1, Box::new(|_| None))?;
    let remarks = &range.session()?.remarks;
    ensure!(remarks.is_empty(), "{remarks:?}");
    Ok(())
}

fn commands_that_overtake_each_other_on_other_connections_are_taken_in_order(
    driver: Driver,
) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (_daemon, portal) = daemon(folder.path(), driver, 0, 4)?;
    let mut range = Range::new(portal, who(portal, 4), Heir::Another)?;
    for seed in 1..=3 {
        let delays = random(seed, 40, 40, vec![Fault::Delay]);
        let delayed = range.long_run(12, seed, delays)?;
        ensure!(delayed > 5, "only {delayed} PDUs were delayed");
    }
    let remarks = &range.session()?.remarks;
    ensure!(remarks.is_empty(), "{remarks:?}");
    Ok(())
}

fn connections_join_and_leave_under_load(driver: Driver) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (_daemon, portal) = daemon(folder.path(), driver, 0, 3)?;
    let mut many = Many::login(Who {
        keys: keys(0, 3),
        ..who(portal, 2)
    })?;
    let bytes = many.block_bytes * 64;
    for round in 0..20u8 {
        // The third comes while the others have work, and leaves with its own work done.
        let mut queued = Vec::new();
        for number in 0..8 {
            let cid = Cid(number % 2);
            queued.push(many.write(cid, u64::from(number) * 64, vec![round; bytes])?);
        }
        many.join(Cid(2))?;
        let own = many.write(Cid(2), 1024, vec![!round; bytes])?;
        many.wait(own)?;
        many.leave(Cid(2))?;
        for itt in queued {
            many.wait(itt)?;
        }
        for (lba, wanted) in [(64, round), (1024, !round)] {
            let itt = many.read(Cid(1), lba, 64)?;
            ensure!(many.wait(itt)?.data == vec![wanted; bytes], "round {round}");
        }
    }
    ensure!(many.remarks.is_empty(), "{:?}", many.remarks);
    many.logout()
}

fn connection_that_is_cut_is_replaced_and_the_session_stays(driver: Driver) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (_daemon, portal) = daemon(folder.path(), driver, 0, 2)?;
    let mut many = Many::login(who(portal, 2))?;
    let bytes = many.block_bytes;
    for round in 0..10u8 {
        let itt = many.write(Cid(0), 0, vec![round; bytes])?;
        many.wait(itt)?;
        many.cut(Cid(1));
        // The target tells of it, or the login is quicker; both are right (RFC 7143 §7.1.4.3).
        many.join(Cid(1))?;
        let itt = many.read(Cid(1), 0, 1)?;
        ensure!(many.wait(itt)?.data == vec![round; bytes], "round {round}");
    }
    many.idle(Duration::from_millis(100))?;
    many.remarks
        .retain(|remark| remark != "Async: ConnectionDropped");
    ensure!(many.remarks.is_empty(), "{:?}", many.remarks);
    many.logout()
}
