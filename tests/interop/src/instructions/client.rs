//! The lock-step client.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use initiator::{CommandDone, Config, Event, Initiator};

use super::{Direction, Workload};
use crate::client::lun64;
use crate::target::TARGET_NAME;

/// An answer of a target under callgrind takes its time, but not so much.
const PATIENCE: Duration = Duration::from_secs(60);
/// The target sleeps when every thread of its does at two looks this far apart.
const LOOK: Duration = Duration::from_micros(300);

const BLOCK_BYTES: u32 = 512;
/// Commands wander over the first 16 MiB of the disk.
const SPAN_BYTES: u32 = 16 << 20;

pub(super) struct Client {
    stream: TcpStream,
    initiator: Initiator,
    done: Vec<CommandDone>,
    buffer: Vec<u8>,
    next_byte: u32,
}

impl Client {
    pub(super) fn login(portal: SocketAddr, digests: bool) -> Result<Self> {
        let digest = if digests { "CRC32C" } else { "None" };
        let config = Config::normal("iqn.2026-11.org.example:meter", TARGET_NAME)
            .with_key("HeaderDigest", digest)
            .with_key("DataDigest", digest)
            .with_key("MaxBurstLength", "1048576")
            .with_key("FirstBurstLength", "262144");
        let stream = TcpStream::connect(portal).with_context(|| portal.to_string())?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut client = Self {
            stream,
            initiator: Initiator::new(config),
            done: Vec::new(),
            buffer: vec![0; 1 << 20],
            next_byte: 0,
        };
        client.initiator.start_login();
        client.flush()?;
        while !client.initiator.is_full_feature() {
            client.turn()?;
        }
        // A new nexus begins with a unit attention.
        for _ in 0..8 {
            client.initiator.command(lun64(0), &[0; 6], Vec::new(), 0);
            client.collect(1)?;
            if client.done.drain(..).all(|done| done.status == 0) {
                return Ok(client);
            }
        }
        bail!("the unit does not get ready")
    }

    /// Sends a round in one piece and waits for all of its answers.
    pub(super) fn round(&mut self, workload: &Workload) -> Result<()> {
        let bytes = workload.command_bytes;
        for _ in 0..workload.depth {
            let lba = (self.next_byte / BLOCK_BYTES).to_be_bytes();
            self.next_byte = (self.next_byte + bytes) % SPAN_BYTES;
            let blocks = u16::try_from(bytes / BLOCK_BYTES)?.to_be_bytes();
            let (opcode, data_out, data_in) = match workload.direction {
                Direction::Read => (0x28, Vec::new(), bytes),
                Direction::Write => (0x2a, vec![0xa5; bytes as usize], 0),
            };
            let cdb = [
                opcode, 0, lba[0], lba[1], lba[2], lba[3], 0, blocks[0], blocks[1], 0,
            ];
            self.initiator.command(lun64(0), &cdb, data_out, data_in);
        }
        self.collect(workload.depth as usize)?;
        let good = self.done.drain(..).all(|done| done.status == 0);
        ensure!(good, "a command of {} failed", workload.name);
        Ok(())
    }

    fn collect(&mut self, commands: usize) -> Result<()> {
        self.flush()?;
        while self.done.len() < commands {
            self.turn()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let output = self.initiator.take_output();
        if output.is_empty() {
            return Ok(());
        }
        self.stream
            .write_all(&output)
            .context("the connection is gone")
    }

    /// Takes what has come, and answers what asks for it.
    fn turn(&mut self) -> Result<()> {
        let count = self.stream.read(&mut self.buffer).context("no answer")?;
        ensure!(count > 0, "the target closed the connection");
        for event in self.initiator.handle_bytes(&self.buffer[..count]) {
            match event {
                Event::CommandDone(done) => self.done.push(done),
                Event::LoggedIn => {}
                Event::Violation(violation) => return Err(violation.into()),
                other => bail!("unexpected: {other:?}"),
            }
        }
        self.flush()
    }
}

/// Waits until every thread of a process sleeps: a round that comes before would be worked with the one before it.
pub(super) fn wait_until_asleep(pid: u32) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    let mut asleep = 0;
    while Instant::now() < end {
        sleep(LOOK);
        asleep = if all_asleep(pid)? { asleep + 1 } else { 0 };
        if asleep == 2 {
            return Ok(());
        }
    }
    bail!("process {pid} does not come to rest")
}

fn all_asleep(pid: u32) -> Result<bool> {
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let stat = std::fs::read_to_string(thread?.path().join("stat"))?;
        // proc(5): the state follows the name, which is in parentheses and may hold any character.
        let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
        if !state.is_some_and(|state| state.starts_with('S')) {
            return Ok(false);
        }
    }
    Ok(true)
}
