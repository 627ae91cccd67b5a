//! Our own sans-I/O initiator on a TCP stream, blocking: one session with the target.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use initiator::{CommandDone, Config, Delivery, Event, Initiator};
use iscsi_wire::{Isid, Itt, LoginStatus, LogoutReason, Lun64};

use crate::target::TARGET_NAME;

/// An answer that takes longer counts as none.
const PATIENCE: Duration = Duration::from_secs(60);

const GOOD: u8 = 0;
const CHECK_CONDITION: u8 = 2;

/// How a login ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginEnd {
    /// In full feature phase.
    LoggedIn,
    /// With this status.
    Refused(LoginStatus),
    /// The target closed the connection without an answer.
    Dropped,
}

/// Tries a login as configured and tells how it ended.
///
/// # Errors
/// The target cannot be reached, does not answer, or breaks the protocol.
pub fn try_login(portal: SocketAddr, config: Config) -> Result<LoginEnd> {
    let mut stream = TcpStream::connect(portal).with_context(|| portal.to_string())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut initiator = Initiator::new(config);
    initiator.start_login();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        stream.write_all(&initiator.take_output())?;
        let count = match stream.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => 0,
            Err(error) => return Err(error).context("no answer to a login"),
        };
        if count == 0 {
            return Ok(LoginEnd::Dropped);
        }
        let first = initiator.handle_bytes(&buffer[..count]).into_iter().next();
        return match first {
            None => continue,
            Some(Event::LoggedIn) => Ok(LoginEnd::LoggedIn),
            Some(Event::LoginFailed { status, .. }) => Ok(LoginEnd::Refused(status)),
            Some(Event::Violation(violation)) => Err(violation.into()),
            Some(other) => bail!("unexpected: {other:?}"),
        };
    }
}

/// Sense key, additional sense code and qualifier of sense data in fixed or descriptor format (SPC-5 "Sense data").
#[must_use]
pub fn sense_code(sense: &[u8]) -> Option<(u8, u8, u8)> {
    match sense.first()? & 0x7f {
        0x70 => Some((sense.get(2)? & 0x0f, *sense.get(12)?, *sense.get(13)?)),
        0x72 => Some((sense.get(1)? & 0x0f, *sense.get(2)?, *sense.get(3)?)),
        _ => None,
    }
}

/// The address form of LUN 0 to 255, peripheral device addressing.
#[must_use]
pub fn lun64(lun: u8) -> Lun64 {
    Lun64(u64::from(lun) << 48)
}

/// A session in full feature phase.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    initiator: Initiator,
    /// What the peer sends, read by a thread: a client that only wrote while the target waits for it to read would hang both.
    received: mpsc::Receiver<Vec<u8>>,
    done: VecDeque<CommandDone>,
    lun: Lun64,
    /// Bytes of a block of the LUN.
    pub block_bytes: usize,
    /// Whether the target has sent an Asynchronous Message; the only one it sends to a well-behaved session asks for logout.
    pub asked_to_leave: bool,
}

impl Client {
    /// Logs in as initiator number `index`, with these operational keys in place of the usual ones, and takes the unit
    /// attentions of the new nexus.
    ///
    /// # Errors
    /// The login is refused, or the target breaks the protocol.
    pub fn login(portal: SocketAddr, index: u8, keys: &[(&str, &str)]) -> Result<Self> {
        let mut config =
            Config::normal(&format!("iqn.2026-11.org.example:host{index}"), TARGET_NAME);
        config.isid = Isid([0x80, 0, 0, 0, 0, index]);
        for (key, value) in keys {
            config = config.with_key(key, value);
        }
        let stream = TcpStream::connect(portal).with_context(|| portal.to_string())?;
        stream.set_nodelay(true)?;
        let mut client = Self {
            received: read_all(stream.try_clone()?),
            stream,
            initiator: Initiator::new(config),
            done: VecDeque::new(),
            lun: lun64(0),
            block_bytes: 0,
            asked_to_leave: false,
        };
        client.initiator.start_login();
        while !client.turn()? {}
        client.become_ready()?;
        Ok(client)
    }

    /// What was negotiated.
    #[must_use]
    pub fn params(&self) -> &initiator::Params {
        self.initiator.params()
    }

    /// From here on commands go to this LUN, of the same block size.
    pub fn select(&mut self, lun: u8) {
        self.lun = lun64(lun);
    }

    /// Sends any bytes at all, as a broken or hostile initiator would. What comes back is not looked at.
    ///
    /// # Errors
    /// The target has closed the connection.
    pub fn send_raw(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Pings and waits for the answer.
    ///
    /// # Errors
    /// None comes.
    pub fn ping_now(&mut self) -> Result<()> {
        self.initiator.ping(b"ping", Delivery::Immediate);
        while !self.turn()? {}
        Ok(())
    }

    /// Queues a WRITE(16) of whole blocks.
    pub fn write(&mut self, lba: u64, data: Vec<u8>) -> Itt {
        let blocks = data.len() / self.block_bytes;
        self.initiator
            .command(self.lun, &cdb16(0x8a, lba, blocks), data, 0)
    }

    /// Queues a READ(16).
    ///
    /// # Errors
    /// More bytes than a command can move.
    pub fn read(&mut self, lba: u64, blocks: usize) -> Result<Itt> {
        let bytes = u32::try_from(blocks * self.block_bytes)?;
        Ok(self
            .initiator
            .command(self.lun, &cdb16(0x88, lba, blocks), Vec::new(), bytes))
    }

    /// Reads now.
    ///
    /// # Errors
    /// The command fails, or the target breaks the protocol.
    pub fn read_now(&mut self, lba: u64, blocks: usize) -> Result<Vec<u8>> {
        let itt = self.read(lba, blocks)?;
        let done = self.wait(itt)?;
        ensure!(
            done.data.len() == blocks * self.block_bytes,
            "short read: {}",
            done.data.len()
        );
        Ok(done.data)
    }

    /// Queues a SYNCHRONIZE CACHE(10) of everything.
    pub fn flush(&mut self) -> Itt {
        let cdb = [0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        self.initiator.command(self.lun, &cdb, Vec::new(), 0)
    }

    /// SYNCHRONIZE CACHE(10) of everything, now.
    ///
    /// # Errors
    /// The command fails, or the target breaks the protocol.
    pub fn flush_now(&mut self) -> Result<()> {
        let itt = self.flush();
        self.wait(itt).map(drop)
    }

    /// Any command, to its end, with whatever status.
    ///
    /// # Errors
    /// A breach of the protocol, or the connection's end.
    pub fn command(&mut self, cdb: &[u8], data_out: Vec<u8>, data_in: u32) -> Result<CommandDone> {
        let itt = self.initiator.command(self.lun, cdb, data_out, data_in);
        let done = self.next_ended()?;
        ensure!(done.itt == itt, "another command ended");
        Ok(done)
    }

    /// The next command that ends, whichever it is; one that ends with another status than GOOD is an error.
    ///
    /// # Errors
    /// Such a status, a breach of the protocol, or the connection's end.
    pub fn next_done(&mut self) -> Result<CommandDone> {
        let done = self.next_ended()?;
        ensure!(
            done.response == 0 && done.status == GOOD,
            "status {:#x}, sense {:02x?}",
            done.status,
            done.sense
        );
        Ok(done)
    }

    /// Logs out in order.
    ///
    /// # Errors
    /// The target does not answer it.
    pub fn logout(mut self) -> Result<()> {
        self.initiator
            .logout(LogoutReason::CloseSession, Delivery::Immediate);
        while !self.turn()? {}
        Ok(())
    }

    fn wait(&mut self, itt: Itt) -> Result<CommandDone> {
        let done = self.next_done()?;
        ensure!(done.itt == itt, "another command ended");
        Ok(done)
    }

    /// The next command that ends, with whatever status.
    ///
    /// # Errors
    /// A breach of the protocol, or the connection's end.
    pub fn next_ended(&mut self) -> Result<CommandDone> {
        loop {
            if let Some(done) = self.done.pop_front() {
                return Ok(done);
            }
            self.turn()?;
        }
    }

    /// TEST UNIT READY until it is, then the capacity. A new nexus begins with a unit attention or two, at each LUN.
    ///
    /// # Errors
    /// The unit does not get ready.
    pub fn become_ready(&mut self) -> Result<()> {
        for _ in 0..8 {
            self.initiator.command(self.lun, &[0; 6], Vec::new(), 0);
            let done = self.next_ended()?;
            match done.status {
                GOOD => {
                    let mut cdb = [0; 16];
                    (cdb[0], cdb[1], cdb[13]) = (0x9e, 0x10, 32);
                    self.initiator.command(self.lun, &cdb, Vec::new(), 32);
                    let capacity = self.next_done()?.data;
                    let field = capacity.get(8..12).context("short capacity data")?;
                    self.block_bytes = u32::from_be_bytes(field.try_into()?).try_into()?;
                    ensure!(self.block_bytes != 0, "blocks of no bytes");
                    return Ok(());
                }
                CHECK_CONDITION => {}
                status => bail!("TEST UNIT READY: status {status:#x}"),
            }
        }
        bail!("the unit does not get ready")
    }

    /// Sends what is queued and takes what has come. Returns whether a login, ping or logout is over.
    fn turn(&mut self) -> Result<bool> {
        self.stream
            .write_all(&self.initiator.take_output())
            .context("the connection is gone")?;
        let bytes = self
            .received
            .recv_timeout(PATIENCE)
            .context("no answer, or the connection is gone")?;
        let mut is_over = false;
        for event in self.initiator.handle_bytes(&bytes) {
            match event {
                Event::CommandDone(done) => self.done.push_back(done),
                Event::LoggedIn | Event::LoggedOut(_) => is_over = true,
                Event::Async { .. } => self.asked_to_leave = true,
                Event::Ponged { .. } => is_over = true,
                Event::Pinged { .. } => {}
                Event::Violation(violation) => return Err(violation.into()),
                other => bail!("unexpected: {other:?}"),
            }
        }
        Ok(is_over)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Ends the reading thread too. The peer may have closed it already.
        let _closed = self.stream.shutdown(Shutdown::Both);
    }
}

/// Reads until the end of the stream; then the channel closes.
fn read_all(mut stream: TcpStream) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 256 * 1024];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            if sender.send(buffer[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}

/// READ(16) and WRITE(16) of SBC-4: address in bytes 2 to 9, length in 10 to 13.
#[must_use]
pub fn cdb16(opcode: u8, lba: u64, blocks: usize) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = opcode;
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    let blocks = u32::try_from(blocks).unwrap_or(u32::MAX);
    cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    cdb
}
