//! The floor: a session with nothing behind it but memory.

use std::io::{IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use iscsi_proto::login::{Login, LoginConfig, LoginEvent, LoginLimits, TargetOffer};
use iscsi_proto::negotiate::OfferedParams;
use iscsi_wire::{
    BHS_BYTES, Bhs, DataIn, LogoutResponse, NopIn, ResponseCode, ScsiCommand, ScsiResponse,
    SerialNumber, Tsih, Ttt, opcode, pad,
};

const BLOCK_BYTES: usize = 512;
/// What is received at one go.
const INPUT_BYTES: usize = 512 << 10;
/// RFC 7143 §4.2.2.1: how far MaxCmdSN is ahead.
const WINDOW: u32 = 256;

/// Serves sessions one after the other, until `listener` is closed by the end of the process. `bytes` is the size of the disk.
///
/// # Errors
/// No connection can be accepted. A session that breaks the rules is dropped.
pub fn serve(listener: &TcpListener, bytes: usize) -> Result<()> {
    // Written in full, so that no load waits for pages.
    let mut disk = vec![0x5a; bytes];
    loop {
        let (stream, _) = listener.accept()?;
        if let Err(error) = session(stream, &mut disk) {
            // The client closes when it has had enough.
            drop(error);
        }
    }
}

struct Session<'a> {
    stream: TcpStream,
    disk: &'a mut [u8],
    stat_sn: SerialNumber,
    exp_cmd_sn: SerialNumber,
    headers: Vec<u8>,
    pieces: Vec<Piece>,
}

enum Piece {
    Header(Range<usize>),
    Disk(Range<usize>),
}

fn session(mut stream: TcpStream, disk: &mut [u8]) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut input = vec![0; INPUT_BYTES];
    let (established, mut filled) = log_in(&mut stream, &mut input)?;
    let mut session = Session {
        stream,
        disk,
        stat_sn: established.stat_sn,
        exp_cmd_sn: established.exp_cmd_sn,
        headers: Vec::new(),
        pieces: Vec::new(),
    };
    loop {
        let taken = session.take_all(&input[..filled])?;
        session.send()?;
        input.copy_within(taken..filled, 0);
        filled -= taken;
        let count = session.stream.read(&mut input[filled..])?;
        ensure!(count > 0, "closed");
        filled += count;
    }
}

/// Logs in whoever comes, with large segments. Returns how many bytes behind the login stand in `input`.
fn log_in(
    stream: &mut TcpStream,
    input: &mut [u8],
) -> Result<(iscsi_proto::login::Established, usize)> {
    let config = LoginConfig {
        portal: stream.local_addr()?,
        peer: stream.peer_addr()?,
        limits: LoginLimits::default(),
        deadline: Duration::from_secs(3600),
    };
    let mut login = Login::new(config, Duration::ZERO, [7; 64]);
    let mut filled = 0;
    loop {
        let count = stream.read(&mut input[filled..])?;
        ensure!(count > 0, "closed in the login");
        filled += count;
        loop {
            let taken = login.handle_received(Duration::ZERO, &input[..filled]);
            input.copy_within(taken..filled, 0);
            filled -= taken;
            match login.poll_event() {
                Some(LoginEvent::Resolve(_)) => login.resolved(Ok(TargetOffer {
                    portal_group_tag: Some(1),
                    target_alias: None,
                    joins: None,
                    params: OfferedParams::default(),
                })),
                Some(LoginEvent::Policy(_)) => login.policy_is(Some(auth::Policy::Open)),
                Some(LoginEvent::Commit(_)) => {
                    let established = login.commit(Tsih(1));
                    stream.write_all(&established.final_response)?;
                    return Ok((established, filled));
                }
                Some(_) => bail!("the login was refused"),
                None => break,
            }
        }
        let mut out = Vec::new();
        login.poll_transmit(&mut out);
        stream.write_all(&out)?;
    }
}

impl Session<'_> {
    /// Takes every PDU that is there whole; how many bytes that is.
    fn take_all(&mut self, input: &[u8]) -> Result<usize> {
        let mut at = 0;
        while let Some((header, rest)) = input[at..].split_first_chunk::<BHS_BYTES>() {
            let bhs = Bhs(*header);
            let bytes = bhs.data_segment_length() as usize;
            ensure!(bhs.total_ahs_bytes() == 0, "additional headers");
            let whole = bytes + pad(bytes);
            ensure!(BHS_BYTES + whole <= INPUT_BYTES, "a PDU that is too long");
            if rest.len() < whole {
                break;
            }
            self.take(&bhs, &rest[..bytes])?;
            at += BHS_BYTES + whole;
        }
        Ok(at)
    }

    fn take(&mut self, bhs: &Bhs, data: &[u8]) -> Result<()> {
        if !bhs.immediate() {
            self.exp_cmd_sn = self.exp_cmd_sn.next();
        }
        match bhs.opcode() {
            opcode::SCSI_COMMAND => self.command(&ScsiCommand::parse(bhs)?, data),
            opcode::NOP_OUT => {
                let nop = NopIn {
                    itt: bhs.itt(),
                    ttt: Ttt::RESERVED,
                    stat_sn: self.take_stat_sn(),
                    exp_cmd_sn: self.exp_cmd_sn,
                    max_cmd_sn: self.max_cmd_sn(),
                    ..NopIn::default()
                };
                self.push_header(&nop.emit().0);
                Ok(())
            }
            opcode::LOGOUT_REQUEST => {
                let response = LogoutResponse {
                    itt: bhs.itt(),
                    stat_sn: self.take_stat_sn(),
                    exp_cmd_sn: self.exp_cmd_sn,
                    max_cmd_sn: self.max_cmd_sn(),
                    ..LogoutResponse::default()
                };
                self.push_header(&response.emit().0);
                self.send()?;
                bail!("logged out")
            }
            other => bail!("a PDU of opcode {other:#x}"),
        }
    }

    fn command(&mut self, command: &ScsiCommand, data: &[u8]) -> Result<()> {
        let cdb = &command.cdb;
        let lba = u32::from_be_bytes([cdb[2], cdb[3], cdb[4], cdb[5]]) as usize;
        let blocks = usize::from(u16::from_be_bytes([cdb[7], cdb[8]]));
        let range = lba * BLOCK_BYTES..(lba + blocks) * BLOCK_BYTES;
        match cdb[0] {
            0x28 => {
                ensure!(range.end <= self.disk.len(), "a READ beyond the end");
                self.data_in(command, range.len());
                self.pieces.push(Piece::Disk(range));
            }
            0x2a => {
                let place = self.disk.get_mut(range).context("a WRITE beyond the end")?;
                ensure!(place.len() == data.len(), "a WRITE without all of its data");
                place.copy_from_slice(data);
                self.good(command);
            }
            // READ CAPACITY (16).
            0x9e => {
                let last = (self.disk.len() / BLOCK_BYTES - 1) as u64;
                let mut answer = [0; 32];
                answer[..8].copy_from_slice(&last.to_be_bytes());
                answer[8..12].copy_from_slice(&512u32.to_be_bytes());
                self.data_in(command, answer.len());
                self.push_header(&answer);
            }
            _ => self.good(command),
        }
        Ok(())
    }

    fn data_in(&mut self, command: &ScsiCommand, bytes: usize) {
        let pdu = DataIn {
            r#final: true,
            status_present: true,
            data_segment_length: u32::try_from(bytes).unwrap_or(u32::MAX),
            itt: command.itt,
            ttt: Ttt::RESERVED,
            stat_sn: self.take_stat_sn(),
            exp_cmd_sn: self.exp_cmd_sn,
            max_cmd_sn: self.max_cmd_sn(),
            ..DataIn::default()
        };
        self.push_header(&pdu.emit().0);
    }

    fn good(&mut self, command: &ScsiCommand) {
        let response = ScsiResponse {
            response: ResponseCode::CommandCompleted,
            itt: command.itt,
            stat_sn: self.take_stat_sn(),
            exp_cmd_sn: self.exp_cmd_sn,
            max_cmd_sn: self.max_cmd_sn(),
            ..ScsiResponse::default()
        };
        self.push_header(&response.emit().0);
    }

    fn take_stat_sn(&mut self) -> SerialNumber {
        let taken = self.stat_sn;
        self.stat_sn = taken.next();
        taken
    }

    fn max_cmd_sn(&self) -> SerialNumber {
        self.exp_cmd_sn.add(WINDOW)
    }

    fn push_header(&mut self, bytes: &[u8]) {
        let start = self.headers.len();
        self.headers.extend_from_slice(bytes);
        match self.pieces.last_mut() {
            Some(Piece::Header(range)) => range.end = self.headers.len(),
            _ => self.pieces.push(Piece::Header(start..self.headers.len())),
        }
    }

    fn send(&mut self) -> Result<()> {
        let bytes = |piece: &Piece| match piece {
            Piece::Header(range) => IoSlice::new(&self.headers[range.clone()]),
            Piece::Disk(range) => IoSlice::new(&self.disk[range.clone()]),
        };
        let mut slices: Vec<IoSlice<'_>> = self.pieces.iter().map(bytes).collect();
        let mut rest = &mut slices[..];
        while !rest.is_empty() {
            let sent = self.stream.write_vectored(rest)?;
            IoSlice::advance_slices(&mut rest, sent);
        }
        self.pieces.clear();
        self.headers.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use initiator::{Config, Event, Initiator};

    /// Sends what the initiator has to say and takes answers until one command is done.
    fn run(stream: &mut TcpStream, initiator: &mut Initiator) -> Result<initiator::CommandDone> {
        let mut buffer = vec![0; 1 << 20];
        loop {
            stream.write_all(&initiator.take_output())?;
            let count = stream.read(&mut buffer)?;
            ensure!(count > 0, "closed");
            for event in initiator.handle_bytes(&buffer[..count]) {
                match event {
                    Event::CommandDone(done) => return Ok(done),
                    Event::Violation(violation) => return Err(violation.into()),
                    _ => {}
                }
            }
            if initiator.is_full_feature() && initiator.take_output().is_empty() {
                initiator.command(crate::client::lun64(0), &[0; 6], Vec::new(), 0);
            }
        }
    }

    #[test]
    fn floor_gives_a_strict_initiator_back_what_it_wrote() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let portal = listener.local_addr().unwrap();
        std::thread::spawn(move || serve(&listener, 1 << 20));
        let mut stream = TcpStream::connect(portal).unwrap();
        let name = crate::target::TARGET_NAME;
        let mut initiator = Initiator::new(Config::normal("iqn.2026-11.org.example:floor", name));
        initiator.start_login();
        assert_eq!(run(&mut stream, &mut initiator).unwrap().status, 0);
        let lun = crate::client::lun64(0);
        let data: Vec<u8> = (0..4096u32).map(|n| n.to_le_bytes()[0]).collect();
        let cdb = |opcode| [opcode, 0, 0, 0, 0, 9, 0, 0, 8, 0];
        initiator.command(lun, &cdb(0x2a), data.clone(), 0);
        assert_eq!(run(&mut stream, &mut initiator).unwrap().status, 0);
        initiator.command(lun, &cdb(0x28), Vec::new(), 4096);
        assert_eq!(run(&mut stream, &mut initiator).unwrap().data, data);
    }
}
