//! A peer that need not behave: any bytes at any time over a plain TCP stream, and what comes back for them.
//!
//! What the target answers is read by our own strict initiator all the same: a target that breaks RFC 7143 in what it says to
//! a hostile peer fails the test.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use initiator::{CommandDone, Config, Delivery, Event, Initiator};
use iscsi_wire::{
    BHS_BYTES, Bhs, Isid, Itt, LoginResponse, LoginStatus, Lun64, RejectReason, ScsiCommand,
    TargetPdu, TaskAttribute,
};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

use crate::client::cdb16;
use crate::target::TARGET_NAME;

/// Neither an answer nor the end of the connection within this counts as a hang. Longer than the timer of a login.
const PATIENCE: Duration = Duration::from_secs(60);

/// TEST UNIT READY.
pub const TEST_UNIT_READY: [u8; 16] = [0; 16];

/// What a peer gets to hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Something the target said.
    Event(Box<Event>),
    /// It has closed the connection.
    Closed,
}

/// How the target ended a login that nobody should take part in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginFate {
    /// Closed without an answer.
    Dropped,
    /// A Login Response with this status, then closed.
    Refused(LoginStatus),
    /// It became a session.
    Accepted,
}

/// A connection with an initiator that keeps count for it.
#[derive(Debug)]
pub struct Peer {
    stream: TcpStream,
    /// For numbers and tags, and for the requests that are right.
    pub initiator: Initiator,
    heard: VecDeque<Event>,
}

impl Peer {
    /// What a peer of this number logs in with.
    #[must_use]
    pub fn config(index: u8) -> Config {
        let name = format!("iqn.2026-11.org.example:peer{index}");
        let mut config = Config::normal(&name, TARGET_NAME);
        config.isid = Isid([0x80, 0, 0, 1, 0, index]);
        config
    }

    /// Connects and says nothing.
    ///
    /// # Errors
    /// The target cannot be reached.
    pub fn connect(portal: SocketAddr, config: Config) -> Result<Self> {
        let stream = TcpStream::connect(portal).with_context(|| portal.to_string())?;
        Self::on(stream, config)
    }

    /// As [`Peer::connect`], from this address of the same machine.
    ///
    /// # Errors
    /// As [`Peer::connect`].
    pub fn connect_from(source: IpAddr, portal: SocketAddr, config: Config) -> Result<Self> {
        let family = match source {
            IpAddr::V4(_) => AddressFamily::INET,
            IpAddr::V6(_) => AddressFamily::INET6,
        };
        let socket = socket(family, SocketType::STREAM, None)?;
        bind(&socket, &SocketAddr::new(source, 0))?;
        connect(&socket, &portal).with_context(|| portal.to_string())?;
        Self::on(socket.into(), config)
    }

    fn on(stream: TcpStream, config: Config) -> Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            initiator: Initiator::new(config),
            heard: VecDeque::new(),
        })
    }

    /// Logs in as is right, and takes the unit attention of the new nexus at LUN 0.
    ///
    /// # Errors
    /// The login fails.
    pub fn login(portal: SocketAddr, config: Config) -> Result<Self> {
        let mut peer = Self::connect(portal, config)?;
        peer.log_in()?;
        peer.become_ready(Lun64(0))?;
        Ok(peer)
    }

    /// Logs in as is right.
    ///
    /// # Errors
    /// The login fails.
    pub fn log_in(&mut self) -> Result<()> {
        self.initiator.start_login();
        self.flush();
        match self.listen()? {
            Heard::Event(event) if *event == Event::LoggedIn => Ok(()),
            other => bail!("no login: {other:?}"),
        }
    }

    /// TEST UNIT READY until it is.
    ///
    /// # Errors
    /// It does not get ready.
    pub fn become_ready(&mut self, lun: Lun64) -> Result<()> {
        for _ in 0..4 {
            let itt = self.initiator.command(lun, &[0; 6], Vec::new(), 0);
            self.flush();
            if self.end_of(itt)?.status == 0 {
                return Ok(());
            }
        }
        bail!("the unit does not get ready")
    }

    /// Sends what is queued. That the target has closed the connection is heard by listening.
    pub fn flush(&mut self) {
        let bytes = self.initiator.take_output();
        let _sent = self.stream.write_all(&bytes);
    }

    /// Sends this header and data, with the digests in use.
    pub fn send(&mut self, bhs: &Bhs, data: &[u8]) {
        self.initiator.push_raw(bhs, data);
        self.flush();
    }

    /// Sends any bytes at all.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.initiator.push_bytes(bytes);
        self.flush();
    }

    /// Sends a PDU of which one bit on the wire is turned over, counted from the end of its last byte.
    pub fn send_damaged(&mut self, bhs: &Bhs, data: &[u8], bytes_from_end: usize) {
        self.flush();
        self.initiator.push_raw(bhs, data);
        let mut bytes = self.initiator.take_output();
        let at = bytes.len().saturating_sub(bytes_from_end + 1);
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 0x10;
        }
        self.send_bytes(&bytes);
    }

    /// A SCSI Command with the next CmdSN, which it takes. It outputs nothing and inputs nothing.
    pub fn command(&mut self, cdb: [u8; 16]) -> ScsiCommand {
        let cmd_sn = self.initiator.cmd_sn();
        self.initiator.set_cmd_sn(cmd_sn.next());
        ScsiCommand {
            r#final: true,
            attribute: TaskAttribute::Simple,
            itt: self.initiator.allocate_itt(),
            cmd_sn,
            exp_stat_sn: self.initiator.exp_stat_sn(),
            cdb,
            ..ScsiCommand::default()
        }
    }

    /// A WRITE(16) of this many bytes with the next CmdSN, which it takes.
    ///
    /// # Errors
    /// More bytes than a command can move.
    pub fn write_command(&mut self, lba: u64, bytes: usize) -> Result<ScsiCommand> {
        Ok(ScsiCommand {
            write: true,
            expected_data_transfer_length: u32::try_from(bytes)?,
            ..self.command(cdb16(0x8a, lba, bytes / 512))
        })
    }

    /// What the target says next.
    ///
    /// # Errors
    /// It says nothing and does not close the connection, or breaks RFC 7143.
    pub fn listen(&mut self) -> Result<Heard> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match self.heard.pop_front() {
                Some(Event::Violation(violation)) => return Err(violation.into()),
                Some(event) => return Ok(Heard::Event(Box::new(event))),
                None => {}
            }
            let count = read_or_end(&mut self.stream, &mut buffer)?;
            if count == 0 {
                return Ok(Heard::Closed);
            }
            self.heard
                .extend(self.initiator.handle_bytes(&buffer[..count]));
            // R2Ts and pings that the initiator answers by itself.
            self.flush();
        }
    }

    /// Reads once and tells what that led to, if anything; what the initiator then has to send is the caller's to take.
    ///
    /// # Errors
    /// The target says nothing, closes the connection, or breaks RFC 7143.
    pub fn initiator_turn(&mut self) -> Result<Option<Event>> {
        let mut buffer = vec![0; 64 * 1024];
        let count = read_or_end(&mut self.stream, &mut buffer)?;
        ensure!(count > 0, "the target closed the connection");
        let events = self.initiator.handle_bytes(&buffer[..count]);
        self.heard.extend(events);
        match self.heard.pop_front() {
            Some(Event::Violation(violation)) => Err(violation.into()),
            other => Ok(other),
        }
    }

    /// What the target says next; its end is an error.
    ///
    /// # Errors
    /// It says nothing more.
    pub fn event(&mut self) -> Result<Event> {
        match self.listen()? {
            Heard::Event(event) => Ok(*event),
            Heard::Closed => bail!("the target closed the connection"),
        }
    }

    /// The end of a command that the initiator sent.
    ///
    /// # Errors
    /// Something else comes.
    pub fn end_of(&mut self, itt: Itt) -> Result<CommandDone> {
        match self.event()? {
            Event::CommandDone(done) if done.itt == itt => Ok(done),
            other => bail!("not the end of the command: {other:?}"),
        }
    }

    /// Status and sense data of a command that was sent raw.
    ///
    /// # Errors
    /// Something else comes.
    pub fn raw_end_of(&mut self, itt: Itt) -> Result<(u8, Vec<u8>)> {
        match self.event()? {
            Event::Unmatched(TargetPdu::ScsiResponse(response), data) if response.itt == itt => {
                // RFC 7143 §11.4.7: two bytes of SenseLength come first.
                Ok((response.status, data.get(2..).unwrap_or_default().to_vec()))
            }
            other => bail!("not the end of the command: {other:?}"),
        }
    }

    /// A Reject with this reason and the header of what was rejected comes next.
    ///
    /// # Errors
    /// Something else comes.
    pub fn hear_reject(&mut self, reason: RejectReason, of: &Bhs) -> Result<()> {
        match self.event()? {
            Event::Rejected { reject, header } => {
                ensure!(reject.reason == reason, "{reject:?}");
                ensure!(header == Some(*of), "the header of another: {header:?}");
                Ok(())
            }
            other => bail!("no Reject with {reason:?}: {other:?}"),
        }
    }

    /// The target closes the connection and says nothing before.
    ///
    /// # Errors
    /// It does not.
    pub fn hear_end(&mut self) -> Result<()> {
        let heard = self.listen()?;
        ensure!(heard == Heard::Closed, "not the end: {heard:?}");
        Ok(())
    }

    /// The connection goes on: a ping comes back, and nothing before it.
    ///
    /// # Errors
    /// It does not.
    pub fn goes_on(&mut self) -> Result<()> {
        let itt = self.initiator.ping(b"are you there", Delivery::Immediate);
        self.flush();
        match self.event()? {
            Event::Ponged { itt: answered, .. } if answered == itt => Ok(()),
            other => bail!("no answer to a ping: {other:?}"),
        }
    }

    /// As [`Peer::goes_on`], but R2Ts may come before.
    ///
    /// # Errors
    /// As [`Peer::goes_on`].
    pub fn goes_on_with_r2ts(&mut self) -> Result<()> {
        let itt = self.initiator.ping(b"are you there", Delivery::Immediate);
        self.flush();
        loop {
            match self.event()? {
                Event::R2t(_) => {}
                Event::Ponged { itt: answered, .. } if answered == itt => return Ok(()),
                other => bail!("no answer to a ping: {other:?}"),
            }
        }
    }

    /// The stream, for a peer that wants to be slow.
    #[must_use]
    pub const fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

/// Sends these bytes to a fresh connection and tells how the target ends it. Nothing may be sent after a refusal.
///
/// # Errors
/// It does neither answer nor close.
pub fn login_fate(portal: SocketAddr, bytes: &[u8]) -> Result<LoginFate> {
    let mut stream = TcpStream::connect(portal).with_context(|| portal.to_string())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // The target may have closed it before the last byte.
    let _sent = stream.write_all(bytes);
    loop {
        let Some((response, _)) = login_response(&mut stream)? else {
            return Ok(LoginFate::Dropped);
        };
        if !response.status.is_success() {
            let rest = read_or_end(&mut stream, &mut [0])?;
            ensure!(rest == 0, "it goes on after {}", response.status);
            return Ok(LoginFate::Refused(response.status));
        }
        if response.transit && response.next_stage == iscsi_wire::Stage::FullFeature {
            return Ok(LoginFate::Accepted);
        }
    }
}

/// The next Login Response with its text; `None` at the end of the stream.
///
/// # Errors
/// Something else comes, or nothing.
pub fn login_response(stream: &mut TcpStream) -> Result<Option<(LoginResponse, Vec<u8>)>> {
    let mut bhs = Bhs([0; BHS_BYTES]);
    if !fill(stream, &mut bhs.0)? {
        return Ok(None);
    }
    let response = LoginResponse::parse(&bhs)?;
    let bytes = usize::try_from(response.data_segment_length)?;
    let mut text = vec![0; bytes.next_multiple_of(4)];
    ensure!(fill(stream, &mut text)?, "cut off in the text");
    text.truncate(bytes);
    Ok(Some((response, text)))
}

/// Reads all of `place`; false where the stream ends before its first byte.
fn fill(stream: &mut TcpStream, place: &mut [u8]) -> Result<bool> {
    let mut filled = 0;
    while filled < place.len() {
        match read_or_end(stream, &mut place[filled..])? {
            0 if filled == 0 => return Ok(false),
            0 => bail!("cut off"),
            count => filled += count,
        }
    }
    Ok(true)
}

/// A connection that was reset has ended too: the target closed it while bytes of ours were under way.
fn read_or_end(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<usize> {
    match stream.read(buffer) {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(0),
        other => other.context("neither an answer nor the end of the connection"),
    }
}
