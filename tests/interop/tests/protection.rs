//! Protection information through the binary as a user gets it: made by a desired state, kept over `kill -9`, and damage told.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use interop::client::{cdb16, sense_code};
use interop::process::{Process, daemon_on};
use interop::target::TARGET_NAME;
use interop::{Client, Driver, on_each_driver};

on_each_driver! {
    blocks_and_tuples_acknowledged_before_kill_9_are_there_after_it,
    damage_done_to_a_disk_between_two_runs_is_told_with_its_place,
}

/// A daemon with a disk of type 1 and one of type 2, each in a file.
fn start(folder: &Path, driver: Driver) -> Result<(Process, SocketAddr)> {
    let portal = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let disk = |kind: u8| {
        let path = folder.join(format!("disk{kind}"));
        format!(
            r#"
[[backstore]]
name = "disk{kind}"
type = "file"
path = "{}"
size = "8MiB"
attrib = {{ pi_prot_type = {kind} }}
"#,
            path.display()
        )
    };
    let desired = format!(
        r#"{}{}
[[target]]
name = "{TARGET_NAME}"

[[target.tpg]]
portals = ["{portal}"]
generate_node_acls = true
luns = [{{ lun = 0, backstore = "disk1" }}, {{ lun = 1, backstore = "disk2" }}]
"#,
        disk(1),
        disk(2)
    );
    Ok((daemon_on(folder, &desired, driver)?, portal))
}

fn guard(data: &[u8]) -> u16 {
    data.iter().fold(0, |crc, byte| {
        let crc = crc ^ u16::from(*byte) << 8;
        (0..8).fold(crc, |crc, _| match crc >> 15 {
            0 => crc << 1,
            _ => crc << 1 ^ 0x8bb7,
        })
    })
}

/// Some blocks with protection information, whose reference tags count up from `reference`.
fn sent(blocks: u32, seed: u32, reference: u32) -> Vec<u8> {
    let mut wire = Vec::new();
    for block in 0..blocks {
        let mut state = seed.wrapping_mul(0x9e37_79b9) ^ block.wrapping_mul(0x85eb_ca6b) | 1;
        let mut data = Vec::with_capacity(512);
        while data.len() < 512 {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            data.extend(state.to_be_bytes());
        }
        wire.extend_from_slice(&data);
        wire.extend(guard(&data).to_be_bytes());
        wire.extend(0x5a5a_u16.to_be_bytes());
        wire.extend((reference + block).to_be_bytes());
    }
    wire
}

/// READ or WRITE of 16 bytes, its protect field 001b, with FUA.
fn short(opcode: u8, lba: u32, blocks: u32) -> Result<Vec<u8>> {
    let mut cdb = cdb16(opcode, lba.into(), usize::try_from(blocks)?);
    cdb[1] = 0x28;
    Ok(cdb.to_vec())
}

/// The same of 32 bytes, with the reference tag of the first block.
fn long(action: u8, lba: u32, blocks: u32, reference: u32) -> Vec<u8> {
    let mut cdb = vec![0; 32];
    (cdb[0], cdb[7], cdb[9], cdb[10]) = (0x7f, 0x18, action, 0x28);
    cdb[16..20].copy_from_slice(&lba.to_be_bytes());
    cdb[20..24].copy_from_slice(&reference.to_be_bytes());
    cdb[28..].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

/// A session to which both disks are ready.
fn login(portal: SocketAddr, index: u8, keys: &[(&str, &str)]) -> Result<Client> {
    let mut client = Client::login(portal, index, keys)?;
    client.select(1);
    client.become_ready()?;
    Ok(client)
}

/// Where blocks go, and how many.
const PLACES: [(u32, u32); 4] = [(0, 1), (9, 17), (100, 600), (4000, 2048)];

fn write_all(client: &mut Client) -> Result<()> {
    for (lba, blocks) in PLACES {
        client.select(0);
        let done = client.command(&short(0x8a, lba, blocks)?, sent(blocks, 1, lba), 0)?;
        ensure!(done.status == 0, "type 1: sense {:02x?}", done.sense);
        client.select(1);
        let cdb = long(0x0b, lba, blocks, lba + 7);
        let done = client.command(&cdb, sent(blocks, 2, lba + 7), 0)?;
        ensure!(done.status == 0, "type 2: sense {:02x?}", done.sense);
    }
    Ok(())
}

fn blocks_and_tuples_acknowledged_before_kill_9_are_there_after_it(driver: Driver) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (mut process, portal) = start(folder.path(), driver)?;
    write_all(&mut login(portal, 1, &[])?)?;
    process.child.kill()?;
    process.child.wait()?;
    let (_process, portal) = start(folder.path(), driver)?;
    let mut client = login(portal, 2, &[("DataDigest", "CRC32C")])?;
    for (lba, blocks) in PLACES {
        client.select(0);
        let done = client.command(&short(0x88, lba, blocks)?, Vec::new(), blocks * 520)?;
        ensure!(
            done.data == sent(blocks, 1, lba),
            "type 1: {:02x?}",
            done.sense
        );
        client.select(1);
        let cdb = long(0x09, lba, blocks, lba + 7);
        let done = client.command(&cdb, Vec::new(), blocks * 520)?;
        ensure!(
            done.data == sent(blocks, 2, lba + 7),
            "type 2: {:02x?}",
            done.sense
        );
    }
    // An initiator that knows nothing of it.
    client.select(0);
    let (plain, with) = (client.read_now(100, 600)?, sent(600, 1, 100));
    let stripped = with.chunks(520).flat_map(|block| &block[..512]);
    ensure!(plain.iter().eq(stripped));
    client.logout()
}

fn damage_done_to_a_disk_between_two_runs_is_told_with_its_place(driver: Driver) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (process, portal) = start(folder.path(), driver)?;
    write_all(&mut login(portal, 1, &[])?)?;
    drop(process);
    for kind in 1..=2 {
        let disk = folder.path().join(format!("disk{kind}"));
        let disk = std::fs::File::options().read(true).write(true).open(disk)?;
        let mut byte = [0];
        disk.read_exact_at(&mut byte, 333 * 512 + 40)?;
        disk.write_all_at(&[byte[0] ^ 1], 333 * 512 + 40)?;
    }
    let (_process, portal) = start(folder.path(), driver)?;
    let mut client = login(portal, 2, &[])?;
    for lun in 0..2 {
        client.select(lun);
        let plain = cdb16(0x88, 300, 100).to_vec();
        let done = client.command(&plain, Vec::new(), 100 * 512)?;
        let told = sense_code(&done.sense).context("no sense")?;
        ensure!(told == (0x0b, 0x10, 0x01), "{told:02x?}");
        ensure!(
            done.sense[3..7] == 333_u32.to_be_bytes(),
            "{:02x?}",
            done.sense
        );
    }
    client.logout()
}
