//! Our own initiator against `quintain serve`: several sessions at once, every way to move data, all of it read back.

use std::net::SocketAddr;

use anyhow::{Context, Result, anyhow, ensure};
use interop::client::sense_code;
use interop::{Client, Driver, Load, Serve, on_each_driver};

on_each_driver! {
    random_writes_of_several_sessions_read_back,
    large_writes_and_reads_move_whole,
    disk_of_4096_byte_blocks_reads_back,
    read_only_disk_serves_reads_and_refuses_writes,
    read_past_the_end_of_a_shrunken_file_is_a_medium_error,
    read_past_the_last_block_is_out_of_range,
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

/// The sense of the next command, which must end in CHECK CONDITION.
fn refusal(client: &mut Client) -> Result<(u8, u8, u8)> {
    let ended = client.next_ended()?;
    ensure!(ended.status == 2, "{ended:?}");
    sense_code(&ended.sense).with_context(|| format!("{ended:?}"))
}

fn read_only_disk_serves_reads_and_refuses_writes(driver: Driver) -> Result<()> {
    const WRITE_PROTECTED: (u8, u8, u8) = (7, 0x27, 0);
    let folder = tempfile::tempdir()?;
    let serve = Serve::new(folder.path(), driver).file("disk.img", "16MiB");
    let target = serve.start()?;
    let mut client = Client::login(target.portal, 1, &[])?;
    let mut load = Load::new(0, 8, 64, 5);
    load.run(&mut client, 8, |load, _| load.acknowledged >= 200)?;
    client.logout()?;
    ensure!(target.drain()?.success(), "it did not exit 0");
    let target = serve.argument("--read-only").start()?;
    let mut client = Client::login(target.portal, 1, &[])?;
    client.write(0, vec![0; client.block_bytes]);
    ensure!(refusal(&mut client)? == WRITE_PROTECTED);
    load.verify(&mut client)
}

fn read_past_the_end_of_a_shrunken_file_is_a_medium_error(driver: Driver) -> Result<()> {
    const UNRECOVERED_READ_ERROR: (u8, u8, u8) = (3, 0x11, 0);
    let folder = tempfile::tempdir()?;
    let target = Serve::new(folder.path(), driver)
        .file("disk.img", "16MiB")
        .start()?;
    let mut client = Client::login(target.portal, 1, &[])?;
    let mut load = Load::new(0, 8, 64, 5);
    load.run(&mut client, 8, |load, _| load.acknowledged >= 200)?;
    let file = std::fs::File::options()
        .write(true)
        .open(folder.path().join("disk.img"))?;
    file.set_len(1 << 20)?;
    client.read(4096, 8)?;
    ensure!(refusal(&mut client)? == UNRECOVERED_READ_ERROR);
    // A read that begins inside and ends outside.
    client.read(2044, 8)?;
    ensure!(refusal(&mut client)? == UNRECOVERED_READ_ERROR);
    load.verify(&mut client)?;
    client.logout()?;
    ensure!(target.drain()?.success(), "it did not exit 0");
    Ok(())
}

fn read_past_the_last_block_is_out_of_range(driver: Driver) -> Result<()> {
    const LBA_OUT_OF_RANGE: (u8, u8, u8) = (5, 0x21, 0);
    let folder = tempfile::tempdir()?;
    let target = Serve::new(folder.path(), driver).ram("16MiB").start()?;
    let mut client = Client::login(target.portal, 1, &[])?;
    let last = (16 << 20) / client.block_bytes as u64 - 1;
    ensure!(client.read_now(last, 1)?.iter().all(|byte| *byte == 0));
    for (lba, blocks) in [(last, 2), (last + 1, 1), (u64::MAX, 1), (u64::MAX - 1, 8)] {
        client.read(lba, blocks)?;
        ensure!(
            refusal(&mut client)? == LBA_OUT_OF_RANGE,
            "{lba}, {blocks} blocks"
        );
    }
    client.logout()
}
