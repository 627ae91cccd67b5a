//! A session of several connections over real sockets.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use initiator::{CommandDone, Config, Event, Initiator, Session};
use iscsi_wire::{Cid, Itt, LoginStatus};

use super::{PATIENCE, wire_lun};

/// How long one socket is read before the next has its turn.
const TURN: Duration = Duration::from_millis(2);

/// One session with its sockets, by CID.
pub struct Many {
    portal: SocketAddr,
    pub peer: Session,
    streams: BTreeMap<u16, TcpStream>,
    /// Sockets whose connections others have replaced: the target closes them, not we.
    replaced: Vec<TcpStream>,
    /// What has come and nobody has asked for yet.
    pub events: Vec<(Cid, Event)>,
    /// Connections that the target has closed.
    pub closed: Vec<Cid>,
}

impl Many {
    /// Logs the leading connection in.
    pub fn login(portal: SocketAddr, config: Config) -> Self {
        let lead = config.cid;
        let mut many = Self {
            portal,
            peer: Session::new(config),
            streams: BTreeMap::new(),
            replaced: Vec::new(),
            events: Vec::new(),
            closed: Vec::new(),
        };
        many.connect(lead);
        many.peer.on(lead, Initiator::start_login);
        many.outcome(lead).expect("the target takes the login");
        many
    }

    /// Logs a further connection in, or one in another's place.
    pub fn join(&mut self, cid: Cid) -> Result<(), LoginStatus> {
        self.start_join(cid);
        self.outcome(cid)
    }

    /// The same, without waiting for the end.
    pub fn start_join(&mut self, cid: Cid) {
        self.connect(cid);
        self.peer.join(cid);
    }

    fn connect(&mut self, cid: Cid) {
        let stream = TcpStream::connect(self.portal).expect("the portal listens");
        stream
            .set_read_timeout(Some(TURN))
            .expect("a socket option");
        stream.set_nodelay(true).expect("a socket option");
        let old = self.streams.insert(cid.0, stream);
        self.replaced.extend(old);
        self.closed.retain(|closed| *closed != cid);
    }

    /// How a login ends; one whose connection closes first was dropped unanswered.
    pub fn outcome(&mut self, cid: Cid) -> Result<(), LoginStatus> {
        let event = self.next(|of, event| {
            of == cid && matches!(event, Event::LoggedIn | Event::LoginFailed { .. })
        });
        match event.1 {
            Event::LoginFailed { status, .. } => {
                self.cut(cid);
                Err(status)
            }
            _ => Ok(()),
        }
    }

    /// Cuts a connection without a word.
    pub fn cut(&mut self, cid: Cid) {
        self.streams.remove(&cid.0);
        self.peer.forget(cid);
    }

    /// Has nothing to do with a connection any more, which goes on as long as its socket does.
    pub fn leave(&mut self, cid: Cid) -> TcpStream {
        self.peer.lose(cid);
        self.streams.remove(&cid.0).expect("it is there")
    }

    /// Cuts a connection, and what was outstanding on it waits to be recovered.
    pub fn lose(&mut self, cid: Cid) {
        self.streams.remove(&cid.0);
        self.peer.lose(cid);
    }

    /// Sends what there is and reads each socket once.
    pub fn turn(&mut self) {
        let cids: Vec<u16> = self.streams.keys().copied().collect();
        let mut bytes = vec![0; 256 << 10];
        for cid in cids {
            let out = self.peer.on(Cid(cid), Initiator::take_output);
            let stream = self.streams.get_mut(&cid).expect("it is there");
            let written = stream.write_all(&out);
            match written.and_then(|()| stream.read(&mut bytes)) {
                Ok(count) if count > 0 => {
                    let events = self
                        .peer
                        .on(Cid(cid), |one| one.handle_bytes(&bytes[..count]));
                    for event in events {
                        assert!(!matches!(event, Event::Violation(_)), "{cid}: {event:?}");
                        self.events.push((Cid(cid), event));
                    }
                }
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                _ => {
                    self.closed.push(Cid(cid));
                    self.lose(Cid(cid));
                }
            }
        }
    }

    /// The next event that `wanted` accepts.
    pub fn next(&mut self, wanted: impl Fn(Cid, &Event) -> bool) -> (Cid, Event) {
        let start = Instant::now();
        loop {
            if let Some(at) = self.events.iter().position(|(cid, e)| wanted(*cid, e)) {
                return self.events.remove(at);
            }
            let waited = start.elapsed();
            assert!(waited < PATIENCE, "nothing came: {:?}", self.events);
            self.turn();
        }
    }

    /// Waits until the target has closed a connection.
    pub fn wait_closed(&mut self, cid: Cid) {
        let start = Instant::now();
        while !self.closed.contains(&cid) {
            assert!(start.elapsed() < PATIENCE, "{cid:?} is not closed");
            self.turn();
        }
    }

    pub fn start(&mut self, cid: Cid, lun: u16, cdb: &[u8], out: &[u8], bytes: u32) -> Itt {
        self.peer.on(cid, |one| {
            one.command(wire_lun(lun), cdb, out.to_vec(), bytes)
        })
    }

    pub fn done(&mut self, itt: Itt) -> (Cid, CommandDone) {
        let (cid, event) =
            self.next(|_, e| matches!(e, Event::CommandDone(done) if done.itt == itt));
        match event {
            Event::CommandDone(done) => (cid, done),
            other => unreachable!("{other:?}"),
        }
    }

    /// One command to its end on this connection; a unit attention that is in the way is taken.
    pub fn run(&mut self, cid: Cid, cdb: &[u8], out: &[u8], bytes: u32) -> CommandDone {
        loop {
            let itt = self.start(cid, 0, cdb, out, bytes);
            let (over, done) = self.done(itt);
            assert_eq!(over, cid, "a status keeps to its connection");
            if done.status != 2 || super::sense_key(&done.sense) != 6 {
                return done;
            }
        }
    }

    pub fn good(&mut self, cid: Cid, cdb: &[u8], out: &[u8], bytes: u32) -> Vec<u8> {
        let done = self.run(cid, cdb, out, bytes);
        assert_eq!(done.status, 0, "{cdb:02x?}: sense {:02x?}", done.sense);
        done.data
    }

    pub fn write(&mut self, cid: Cid, lba: u32, data: &[u8]) {
        self.good(cid, &super::write10(lba, data.len()), data, 0);
    }

    pub fn read(&mut self, cid: Cid, lba: u32, bytes: usize) -> Vec<u8> {
        let length = u32::try_from(bytes).expect("a small read");
        self.good(cid, &super::read10(lba, bytes), &[], length)
    }
}
