//! Our own initiator against `quintain serve`: several sessions at once, every way to move data, all of it read back.

use std::net::SocketAddr;

use anyhow::{Result, anyhow, ensure};
use interop::{Client, Driver, Load, Serve, on_each_driver};

on_each_driver! {
    random_writes_of_several_sessions_read_back,
    large_writes_and_reads_move_whole,
    disk_of_4096_byte_blocks_reads_back,
}

/// Ways to negotiate how data moves, one session each.
const WAYS: [&[(&str, &str)]; 5] = [
    &[],
    &[
        ("InitialR2T", "Yes"),
        ("ImmediateData", "No"),
        ("MaxBurstLength", "16384"),
        ("FirstBurstLength", "8192"),
    ],
    &[("HeaderDigest", "CRC32C"), ("DataDigest", "CRC32C")],
    &[
        ("InitialR2T", "No"),
        ("ImmediateData", "No"),
        ("DataDigest", "CRC32C"),
        ("MaxOutstandingR2T", "4"),
    ],
    &[
        ("MaxRecvDataSegmentLength", "4096"),
        ("InitialR2T", "Yes"),
        ("ImmediateData", "Yes"),
        ("HeaderDigest", "CRC32C"),
    ],
];

/// Slots of each session.
const SLOTS: usize = 64;

/// Each session writes its own part, in slots of another size than its neighbour's.
fn load_of(session: usize, blocks_per_part: u64) -> Load {
    let slot_blocks = [1, 8, 40, 129, 256][session % 5];
    Load::new(
        session as u64 * blocks_per_part,
        slot_blocks,
        SLOTS,
        0x5EED + session as u64,
    )
}

fn write_part(
    portal: SocketAddr,
    session: usize,
    blocks_per_part: u64,
    writes: u64,
) -> Result<Load> {
    let mut client = Client::login(portal, u8::try_from(session)?, WAYS[session % WAYS.len()])?;
    let mut load = load_of(session, blocks_per_part);
    load.run(&mut client, 16, |load, _| load.acknowledged >= writes)?;
    client.flush_now()?;
    // Read back by the session that wrote, then by another.
    load.verify(&mut client)?;
    client.logout()?;
    Ok(load)
}

fn sessions_read_back(serve: &Serve, blocks_per_part: u64, writes: u64) -> Result<()> {
    let target = serve.start()?;
    let portal = target.portal;
    let threads: Vec<_> = (0..WAYS.len())
        .map(|session| {
            std::thread::spawn(move || write_part(portal, session, blocks_per_part, writes))
        })
        .collect();
    let mut loads = Vec::new();
    for thread in threads {
        loads.push(
            thread
                .join()
                .map_err(|_| anyhow!("a session's thread panicked"))??,
        );
    }
    let mut other = Client::login(portal, 100, &[])?;
    for load in &loads {
        load.verify(&mut other)?;
    }
    other.logout()?;
    ensure!(target.drain()?.success(), "it did not exit 0");
    // And once more from the file, by a new process.
    let target = serve.start()?;
    let mut client = Client::login(target.portal, 101, &[])?;
    loads.iter().try_for_each(|load| load.verify(&mut client))
}

fn random_writes_of_several_sessions_read_back(driver: Driver) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let serve = Serve::new(folder.path(), driver).file("disk.img", "64MiB");
    sessions_read_back(&serve, 256 * SLOTS as u64, 500)
}

fn disk_of_4096_byte_blocks_reads_back(driver: Driver) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let serve = Serve::new(folder.path(), driver).file("disk.img", "512MiB");
    let serve = serve
        .argument("--block-size")
        .argument("4096")
        .argument("--workers")
        .argument("2");
    sessions_read_back(&serve, 256 * SLOTS as u64, 150)
}

/// Commands of 1 MiB and more: several bursts, several R2Ts, pieces inside the target.
fn large_writes_and_reads_move_whole(driver: Driver) -> Result<()> {
    for keys in WAYS {
        let folder = tempfile::tempdir()?;
        let target = Serve::new(folder.path(), driver).ram("64MiB").start()?;
        let mut client = Client::login(target.portal, 1, keys)?;
        let mut load = Load::new(3, 4096, 8, 7);
        load.run(&mut client, 4, |load, _| load.acknowledged >= 24)?;
        load.verify(&mut client)?;
        client.logout()?;
    }
    Ok(())
}
