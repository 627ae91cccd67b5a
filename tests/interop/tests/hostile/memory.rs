//! Peers that want memory: who reads no answers, and who sends no data. Payload memory is a fixed budget of each worker, 256 MiB;
//! one session gets at most a quarter of it.

use std::net::SocketAddr;

use anyhow::{Result, bail, ensure};
use initiator::Delivery;
use interop::client::{cdb16, lun64};
use interop::{Driver, Peer, Siege, on_each_driver};

use crate::ATTACK_LBA;

on_each_driver! {
    peers_that_read_no_answers_hold_a_bounded_share,
    peers_that_send_no_data_hold_a_bounded_share,
    peers_that_neither_read_nor_send_are_dropped_in_time,
    spent_memory_is_task_set_full_and_never_a_hang,
}

const MIB: u64 = 1 << 20;
const BUDGET_BYTES: u64 = 256 * MIB;
const SESSION_BYTES: u64 = BUDGET_BYTES / 4;
const BLOCKS: usize = 2048;
const BYTES: usize = BLOCKS * 512;
const TASK_SET_FULL: u8 = 0x28;

/// Asks for all that the window allows, in writes of 1 MiB.
fn hoard(portal: SocketAddr, index: u8) -> Result<Peer> {
    let mut config = Peer::config(index);
    config.answer_r2ts = false;
    config.use_immediate_data = false;
    config.use_unsolicited_data = false;
    let mut peer = Peer::login(portal, config)?;
    while peer.initiator.held_back() == 0 {
        let cdb = cdb16(0x8a, ATTACK_LBA, BLOCKS);
        peer.initiator.command(lun64(0), &cdb, vec![0; BYTES], 0);
    }
    peer.flush();
    peer.goes_on_with_r2ts()?;
    Ok(peer)
}

/// Asks for all that the window allows, in reads of 1 MiB, and reads none of it.
fn deaf(portal: SocketAddr, index: u8) -> Result<Peer> {
    let mut peer = Peer::login(portal, Peer::config(index))?;
    while peer.initiator.held_back() == 0 {
        let cdb = cdb16(0x88, 0, BLOCKS);
        peer.initiator
            .command(lun64(0), &cdb, Vec::new(), u32::try_from(BYTES)?);
    }
    // Pings too, with data that is to be echoed; fewer than are rejected for their number.
    for _ in 0..4 {
        peer.initiator.ping(&[0x11; 8192], Delivery::Immediate);
    }
    peer.flush();
    Ok(peer)
}

fn peers_that_read_no_answers_hold_a_bounded_share(driver: Driver) -> Result<()> {
    const COUNT: u8 = 4;
    let siege = Siege::begin(driver, 2)?;
    let mut peers = Vec::new();
    for index in 0..COUNT {
        peers.push(deaf(siege.portal(), 10 + index)?);
    }
    siege.witness_goes_on(1000)?;
    siege.has_grown_at_most(u64::from(COUNT) * SESSION_BYTES + 32 * MIB)?;
    drop(peers);
    siege.lift()
}

fn peers_that_send_no_data_hold_a_bounded_share(driver: Driver) -> Result<()> {
    const COUNT: u8 = 3;
    let siege = Siege::begin(driver, 2)?;
    let mut peers = Vec::new();
    for index in 0..COUNT {
        peers.push(hoard(siege.portal(), 10 + index)?);
    }
    siege.witness_goes_on(1000)?;
    siege.has_grown_at_most(u64::from(COUNT) * SESSION_BYTES + 32 * MIB)?;
    for peer in &mut peers {
        peer.goes_on_with_r2ts()?;
    }
    drop(peers);
    siege.lift()
}

/// On one worker, with more hoarders than it has quarters. Here the witness would be told TASK SET FULL by right, so there is
/// none beside them but the new session.
fn spent_memory_is_task_set_full_and_never_a_hang(driver: Driver) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let target = interop::Serve::new(folder.path(), driver)
        .file("disk.img", "64MiB")
        .argument("--workers")
        .argument("1")
        .start()?;
    let mut first = Peer::login(target.portal, Peer::config(1))?;
    let before = target.resident_bytes()?;
    let mut hoarders = Vec::new();
    for index in 0..8 {
        hoarders.push(hoard(target.portal, 10 + index)?);
    }
    let mut full = 0;
    for index in 0..200 {
        let cdb = cdb16(0x8a, ATTACK_LBA + index * 16, 16);
        let itt = first.initiator.command(lun64(0), &cdb, vec![0x42; 8192], 0);
        first.flush();
        let done = first.end_of(itt)?;
        ensure!([0, TASK_SET_FULL].contains(&done.status), "{done:?}");
        full += u32::from(done.status == TASK_SET_FULL);
    }
    ensure!(full > 0, "the memory was not spent: the test shows nothing");
    first.goes_on()?;
    let grown = target.resident_bytes()?.saturating_sub(before);
    ensure!(grown <= BUDGET_BYTES + 32 * MIB, "grew by {grown} bytes");
    Peer::login(target.portal, Peer::config(2))?.goes_on()?;
    drop(hoarders);
    // It comes back as the sessions end; a TASK SET FULL until then is what the initiator retries.
    loop {
        let cdb = cdb16(0x8a, ATTACK_LBA, 16);
        let itt = first.initiator.command(lun64(0), &cdb, vec![0x42; 8192], 0);
        first.flush();
        let done = first.end_of(itt)?;
        match done.status {
            0 => break,
            TASK_SET_FULL => {}
            _ => bail!("{done:?}"),
        }
    }
    drop(first);
    let log = target.log_text();
    ensure!(!log.contains("panic"), "{log}");
    ensure!(target.drain()?.success(), "it did not exit 0");
    Ok(())
}

/// A peer that is sent answers and takes none, or is asked for data and sends none, is dropped within a minute or so, though it
/// never closes its connection.
fn peers_that_neither_read_nor_send_are_dropped_in_time(driver: Driver) -> Result<()> {
    let siege = Siege::begin(driver, 2)?;
    let deaf = [deaf(siege.portal(), 10)?, deaf(siege.portal(), 11)?];
    let hoarder = hoard(siege.portal(), 12)?;
    let connected = siege.target().descriptors()?;
    siege.descriptors_are_back()?;
    ensure!(
        connected > siege.target().descriptors()?,
        "they never held a descriptor"
    );
    drop((deaf, hoarder));
    siege.lift()
}
