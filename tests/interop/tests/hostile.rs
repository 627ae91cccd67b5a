//! Peers that send rubbish, half of something, or nothing: no other session notices, and nothing grows with what they send.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use anyhow::{Result, anyhow, ensure};
use initiator::{Config, Initiator};
use interop::pattern::Random;
use interop::target::TARGET_NAME;
use interop::{Client, Driver, Load, Serve, on_each_driver};

on_each_driver! {
    rubbish_before_login_disturbs_nobody,
    rubbish_after_login_disturbs_nobody,
    silent_connections_cost_a_bounded_slot,
}

const PEERS: u64 = 100;

/// What the target may grow by under all this, in bytes: its budget has long been touched by the load that runs beside.
const GROWTH_BYTES: u64 = 96 << 20;

/// Lines in the log for one hostile peer, at most.
const LINES_EACH: usize = 4;

/// Runs `attack` for each peer beside a session under load, and checks what the module says.
fn attacked(driver: Driver, attack: impl Fn(SocketAddr, Random) -> Result<()>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let target = Serve::new(folder.path(), driver).ram("64MiB").start()?;
    let portal = target.portal;
    let mut bystander = Client::login(portal, 1, &[("DataDigest", "CRC32C")])?;
    let mut load = Load::new(0, 64, 128, 1);
    load.run(&mut bystander, 16, |load, _| load.acknowledged >= 500)?;
    let before = target.resident_bytes()?;
    let worker = std::thread::spawn(move || -> Result<()> {
        load.run(&mut bystander, 8, |load, _| load.acknowledged >= 3000)?;
        load.verify(&mut bystander)?;
        bystander.logout()
    });
    for seed in 0..PEERS {
        attack(portal, Random::new(seed * 7919 + 13))?;
    }
    worker
        .join()
        .map_err(|_| anyhow!("the bystander panicked"))??;
    let after = target.resident_bytes()?;
    ensure!(
        after <= before + GROWTH_BYTES,
        "grew from {before} to {after} bytes"
    );
    let lines = target.log_text().lines().count();
    ensure!(
        lines <= LINES_EACH * usize::try_from(PEERS)?,
        "{lines} lines in the log"
    );
    Client::login(portal, 2, &[])?.logout()?;
    ensure!(target.drain()?.success(), "it did not exit 0");
    Ok(())
}

fn random_bytes(random: &mut Random, count: u64) -> Vec<u8> {
    (0..count)
        .map(|_| random.next_u64().to_le_bytes()[3])
        .collect()
}

/// A first login request, as a good initiator sends it.
fn login_request() -> Vec<u8> {
    let mut initiator = Initiator::new(Config::normal(
        "iqn.2026-11.org.example:rubbish",
        TARGET_NAME,
    ));
    initiator.start_login();
    initiator.take_output()
}

fn rubbish_before_login_disturbs_nobody(driver: Driver) -> Result<()> {
    attacked(driver, |portal, mut random| {
        let mut stream = TcpStream::connect(portal)?;
        let bytes = match random.below(4) {
            0 => {
                let count = random.below(100_000);
                random_bytes(&mut random, count)
            }
            // One byte of a good request changed, its length among them.
            1 => {
                let mut bytes = login_request();
                let at = usize::try_from(random.below(bytes.len() as u64))?;
                bytes[at] ^= random.next_u64().to_le_bytes()[5] | 1;
                bytes
            }
            // Cut off.
            2 => {
                let bytes = login_request();
                let end = usize::try_from(random.below(bytes.len() as u64))?;
                bytes[..end].to_vec()
            }
            // Text without end: the C bit is set in each request.
            _ => {
                let mut request = login_request();
                request[1] = (request[1] & 0x0c) | 0x40;
                request.repeat(usize::try_from(random.below(400))? + 1)
            }
        };
        // The target may have closed it before the last byte.
        let _sent = stream.write_all(&bytes);
        Ok(())
    })
}

fn rubbish_after_login_disturbs_nobody(driver: Driver) -> Result<()> {
    /// Opcodes of an initiator, and one that no one has.
    const OPCODES: [u8; 9] = [0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x10, 0x1f];
    attacked(driver, |portal, mut random| {
        let mut client = Client::login(portal, 3, &[])?;
        let count = random.below(20) + 1;
        for _ in 0..count {
            let mut header = random_bytes(&mut random, 48);
            let opcode = OPCODES[usize::try_from(random.below(OPCODES.len() as u64))?];
            header[0] = opcode | (header[0] & 0x40);
            if opcode == 0x02 {
                // ABORT TASK: a reset of the target would disturb the others by right.
                header[1] = 0x81;
            }
            let length = random.below(2048);
            // TotalAHSLength and DataSegmentLength that the bytes keep, most of the time.
            header[4] = 0;
            header[5] = if random.below(16) == 0 { 0xff } else { 0 };
            header[6..8].copy_from_slice(&u16::try_from(length)?.to_be_bytes());
            let data = random_bytes(&mut random, length.next_multiple_of(4));
            if client
                .send_raw(&header)
                .and_then(|()| client.send_raw(&data))
                .is_err()
            {
                break;
            }
        }
        Ok(())
    })
}

fn silent_connections_cost_a_bounded_slot(driver: Driver) -> Result<()> {
    let held = std::cell::RefCell::new(Vec::new());
    attacked(driver, |portal, mut random| {
        let mut stream = TcpStream::connect(portal)?;
        // Half a request from every second one.
        if random.below(2) == 0 {
            let _sent = stream.write_all(&login_request()[..60]);
        }
        held.borrow_mut().push(stream);
        Ok(())
    })
}
