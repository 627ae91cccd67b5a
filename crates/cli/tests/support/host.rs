//! An initiator that blocks: discovery, logins and small I/O.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use auth::{ChapAlgorithm, Secret, chap};
use initiator::{Chap, Config, Event, Initiator};
use iscsi_wire::{LoginStatus, Lun64};

use super::PATIENCE;

/// A session in full feature phase.
pub struct Host {
    stream: TcpStream,
    initiator: Initiator,
}

impl Host {
    /// Logs in.
    ///
    /// # Errors
    /// The status of the refusal; `None` where the target closed the connection without one.
    pub fn login(portal: SocketAddr, config: Config) -> Result<Self, Option<LoginStatus>> {
        let stream = TcpStream::connect(portal).expect("the portal listens");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a socket option");
        let mut initiator = Initiator::new(config);
        initiator.start_login();
        let mut host = Self { stream, initiator };
        match host.next() {
            Some(Event::LoggedIn) => Ok(host),
            Some(Event::LoginFailed { status, .. }) => Err(Some(status)),
            None => Err(None),
            Some(other) => panic!("{other:?}"),
        }
    }

    /// What happens next; `None`: the target closed the connection.
    fn next(&mut self) -> Option<Event> {
        let mut bytes = vec![0; 64 << 10];
        loop {
            let output = self.initiator.take_output();
            self.stream.write_all(&output).ok()?;
            let count = match self.stream.read(&mut bytes) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
                Err(error) => panic!("no answer: {error}"),
            };
            if count == 0 {
                return None;
            }
            if let Some(event) = self
                .initiator
                .handle_bytes(&bytes[..count])
                .into_iter()
                .next()
            {
                return Some(event);
            }
        }
    }

    /// One command to LUN 0 that has to succeed, and what it read. Unit attentions in its way are taken.
    pub fn good(&mut self, cdb: &[u8], data_out: &[u8], data_in_bytes: u32) -> Vec<u8> {
        for _ in 0..8 {
            let data = data_out.to_vec();
            self.initiator.command(Lun64(0), cdb, data, data_in_bytes);
            match self.next() {
                Some(Event::CommandDone(done)) if done.status == 0 => return done.data,
                Some(Event::CommandDone(done)) if done.sense.get(2) == Some(&6) => {}
                other => panic!("{cdb:02x?}: {other:?}"),
            }
        }
        panic!("{cdb:02x?}: unit attentions without an end");
    }

    /// The blocks of LUN 0 (SBC-4 r22 "READ CAPACITY (10) command").
    pub fn blocks(&mut self) -> u32 {
        let data = self.good(&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[], 8);
        u32::from_be_bytes([data[0], data[1], data[2], data[3]]) + 1
    }

    /// Writes one block of LUN 0, and reads it back.
    pub fn write_and_read(&mut self, lba: u8) {
        let block: Vec<u8> = (0..512_u32).map(|at| at.to_le_bytes()[0] ^ lba).collect();
        self.good(&[0x2a, 0, 0, 0, 0, lba, 0, 0, 1, 0], &block, 0);
        let read = self.good(&[0x28, 0, 0, 0, 0, lba, 0, 0, 1, 0], &[], 512);
        assert!(read == block, "what was written at {lba} is not read back");
    }
}

/// What an initiator of this name proves itself with.
pub fn with_chap(config: Config, user: &str, secret: &str) -> Config {
    config.with_chap(Chap {
        name: user.to_owned(),
        secret: secret.as_bytes().to_vec(),
        algorithms: vec![5],
        digest: |algorithm, identifier, secret, challenge| {
            let algorithm = ChapAlgorithm::from_number(u64::from(algorithm)).expect("offered");
            let secret = Secret::new(secret.to_vec());
            chap::response(algorithm, identifier, &secret, challenge)
        },
        mutual: None,
    })
}

/// What discovery tells an initiator: target names, each with its addresses.
pub fn discover(portal: SocketAddr, initiator: &str) -> Vec<(String, Vec<String>)> {
    let mut host = Host::login(portal, Config::discovery(initiator)).unwrap_or_else(|status| {
        panic!("discovery is refused: {status:?}");
    });
    host.initiator.send_targets("All");
    let Some(Event::TextDone { pairs, .. }) = host.next() else {
        panic!("no answer to SendTargets");
    };
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for (key, value) in pairs {
        match key.as_str() {
            "TargetName" => found.push((value, Vec::new())),
            "TargetAddress" => found.last_mut().expect("a name first").1.push(value),
            other => panic!("{other} in an answer to SendTargets"),
        }
    }
    found
}
