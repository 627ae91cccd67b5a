//! One session of the load: our own initiator on a TCP stream that does not block.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use initiator::{CommandDone, Config, Delivery, Event, Initiator, Params};
use iscsi_wire::{Itt, LogoutReason, Lun64};

use super::url::Url;
use super::workload::{Direction, Region};

/// Answers of a login that take longer count as none.
const PATIENCE: Duration = Duration::from_secs(15);
/// Unit attentions that a new nexus may begin with.
const MOST_ATTENTIONS: u32 = 8;

// SAM-5 r21 "Status codes".
const GOOD: u8 = 0x00;
const CHECK_CONDITION: u8 = 0x02;
const BUSY: u8 = 0x08;
const TASK_SET_FULL: u8 = 0x28;
/// SPC-5 r22 "Sense key and sense code definitions".
const UNIT_ATTENTION: u8 = 0x06;

/// A disk's size, as READ CAPACITY (16) tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Capacity {
    pub(super) block_bytes: u32,
    pub(super) blocks: u64,
}

/// A session in full feature phase.
#[derive(Debug)]
pub(super) struct Session {
    stream: TcpStream,
    initiator: Initiator,
    lun: Lun64,
    output: Vec<u8>,
    sent: usize,
    in_flight: HashMap<Itt, Flight>,
}

/// A command under way.
#[derive(Clone, Copy, Debug)]
struct Flight {
    direction: Direction,
    slot: u64,
    started: Instant,
}

/// A command that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) direction: Direction,
    pub(super) slot: u64,
    pub(super) started: Instant,
    pub(super) end: End,
}

/// How.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// GOOD, with what was read.
    Good(Vec<u8>),
    /// The target asks to be asked again: BUSY, TASK SET FULL, a unit attention.
    Again,
}

impl Session {
    /// Connects, logs in, and waits until the unit is ready.
    ///
    /// # Errors
    /// The target cannot be reached, refuses, or breaks the protocol.
    pub(super) fn login(url: &Url, config: Config) -> Result<(Self, Capacity)> {
        let portal = (url.host.as_str(), url.port);
        let stream = connect(portal).with_context(|| format!("{}:{}", url.host, url.port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut session = Self {
            stream,
            initiator: Initiator::new(config),
            lun: url.lun64(),
            output: Vec::new(),
            sent: 0,
            in_flight: HashMap::new(),
        };
        session.initiator.start_login();
        while !session.initiator.is_full_feature() {
            session.wait()?;
        }
        session.become_ready()?;
        let capacity = session.capacity()?;
        session.stream.set_nonblocking(true)?;
        Ok((session, capacity))
    }

    pub(super) fn params(&self) -> &Params {
        self.initiator.params()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether bytes wait for the socket to take them.
    pub(super) fn has_output(&self) -> bool {
        self.sent < self.output.len()
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Queues a command; [`Self::flush`] sends it.
    pub(super) fn submit(
        &mut self,
        (direction, slot): (Direction, u64),
        region: &Region,
        data_out: Vec<u8>,
        now: Instant,
    ) {
        // SBC-4 r22 "READ (16) command", "WRITE (16) command".
        let (opcode, data_in) = match direction {
            Direction::Read => (0x88, region.slot_bytes),
            Direction::Write => (0x8a, 0),
        };
        let mut cdb = [0; 16];
        cdb[0] = opcode;
        cdb[2..10].copy_from_slice(&region.lba(slot).to_be_bytes());
        cdb[10..14].copy_from_slice(&region.slot_blocks().to_be_bytes());
        let itt = self.initiator.command(self.lun, &cdb, data_out, data_in);
        let flight = Flight {
            direction,
            slot,
            started: now,
        };
        self.in_flight.insert(itt, flight);
    }

    /// Sends what the socket takes.
    ///
    /// # Errors
    /// The connection is gone.
    pub(super) fn flush(&mut self) -> Result<()> {
        if !self.has_output() {
            self.output = self.initiator.take_output();
            self.sent = 0;
        }
        while self.has_output() {
            match self.stream.write(&self.output[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("the connection is gone"),
            }
        }
        Ok(())
    }

    /// Takes one reading of the socket, and tells which commands it ended.
    ///
    /// # Errors
    /// The connection's end, a breach of the protocol, or a command that failed.
    pub(super) fn receive(&mut self, buffer: &mut [u8], ended: &mut Vec<Ended>) -> Result<()> {
        let count = match self.stream.read(buffer) {
            Ok(0) => bail!("the target closed the connection"),
            Ok(count) => count,
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::Interrupted => return Ok(()),
                _ => return Err(error).context("the connection is gone"),
            },
        };
        for event in self.initiator.handle_bytes(&buffer[..count]) {
            let Some(done) = command_of(event)? else {
                continue;
            };
            let flight = self.in_flight.remove(&done.itt);
            let flight = flight.context("an answer to a command that was not asked")?;
            ended.push(flight.end(done)?);
        }
        Ok(())
    }

    /// Logs out, without waiting for the answer.
    pub(super) fn leave(mut self) {
        self.initiator
            .logout(LogoutReason::CloseSession, Delivery::Immediate);
        // The measurement is over: a target that is gone by now changes nothing.
        let _gone = self.flush();
    }

    /// Blocks for the next bytes, and gives a command that they end.
    fn wait(&mut self) -> Result<Option<CommandDone>> {
        self.flush()?;
        let mut buffer = [0; 4096];
        let count = self.stream.read(&mut buffer).context("no answer")?;
        ensure!(count > 0, "the target closed the connection");
        let mut last = None;
        for event in self.initiator.handle_bytes(&buffer[..count]) {
            last = command_of(event)?.or(last);
        }
        Ok(last)
    }

    fn run(&mut self, cdb: &[u8], data_in_bytes: u32) -> Result<CommandDone> {
        self.initiator
            .command(self.lun, cdb, Vec::new(), data_in_bytes);
        loop {
            if let Some(done) = self.wait()? {
                return Ok(done);
            }
        }
    }

    fn become_ready(&mut self) -> Result<()> {
        let mut told = String::new();
        for _ in 0..MOST_ATTENTIONS {
            let done = self.run(&[0; 6], 0)?;
            if done.status == GOOD {
                return Ok(());
            }
            told = failure(&done);
        }
        bail!("the unit does not get ready: {told}")
    }

    /// SBC-4 r22 "READ CAPACITY (16) command".
    fn capacity(&mut self) -> Result<Capacity> {
        let mut cdb = [0; 16];
        (cdb[0], cdb[1], cdb[13]) = (0x9e, 0x10, 32);
        let done = self.run(&cdb, 32)?;
        ensure!(done.status == GOOD, "READ CAPACITY: {}", failure(&done));
        let field = |range: std::ops::Range<usize>| done.data.get(range).context("short answer");
        let last = u64::from_be_bytes(field(0..8)?.try_into()?);
        let block_bytes = u32::from_be_bytes(field(8..12)?.try_into()?);
        ensure!(block_bytes > 0, "READ CAPACITY: blocks of no bytes");
        let blocks = last.saturating_add(1);
        Ok(Capacity {
            block_bytes,
            blocks,
        })
    }
}

impl Flight {
    fn end(self, done: CommandDone) -> Result<Ended> {
        let Self {
            direction,
            slot,
            started,
        } = self;
        let attention = done.status == CHECK_CONDITION && sense_key(&done) == Some(UNIT_ATTENTION);
        let end = match done.status {
            GOOD if done.response == 0 => End::Good(done.data),
            BUSY | TASK_SET_FULL => End::Again,
            _ if attention => End::Again,
            _ => bail!("{direction:?} of slot {slot}: {}", failure(&done)),
        };
        Ok(Ended {
            direction,
            slot,
            started,
            end,
        })
    }
}

fn connect(portal: (&str, u16)) -> Result<TcpStream> {
    let mut last = None;
    for address in portal.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) => Err(error.into()),
        None => bail!("no address has this name"),
    }
}

/// The command that an event ends, if it ends one.
fn command_of(event: Event) -> Result<Option<CommandDone>> {
    match event {
        Event::CommandDone(done) => Ok(Some(done)),
        Event::LoginFailed { status, .. } => bail!("the login is refused: {status:?}"),
        Event::Violation(violation) => Err(violation.into()),
        Event::Rejected { reject, .. } => bail!("the target rejected a PDU: {reject:?}"),
        Event::Async { .. } => bail!("the target asks for logout"),
        Event::Unmatched(pdu, _) => bail!("an answer to nothing: {pdu:?}"),
        Event::LoggedIn
        | Event::LoggedOut(_)
        | Event::Received(_)
        | Event::R2t(_)
        | Event::TaskManaged { .. }
        | Event::TextDone { .. }
        | Event::Ponged { .. }
        | Event::Pinged { .. }
        // Both are of ErrorRecoveryLevel 2, which is not asked for.
        | Event::Reassigned { .. }
        | Event::Lost { .. } => Ok(None),
    }
}

/// SPC-5 r22 "Sense data": fixed format has the key in byte 2, descriptor format in byte 1.
fn sense_key(done: &CommandDone) -> Option<u8> {
    let byte = match done.sense.first()? & 0x7f {
        0x70 | 0x71 => done.sense.get(2)?,
        _ => done.sense.get(1)?,
    };
    Some(byte & 0x0f)
}

fn failure(done: &CommandDone) -> String {
    let (response, status, sense) = (done.response, done.status, &done.sense);
    format!("response {response:#x}, status {status:#04x}, sense {sense:02x?}")
}
