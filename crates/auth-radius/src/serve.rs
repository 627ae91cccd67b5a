//! The sockets: Quintain's connections on one side, RADIUS servers on the other, one thread and one poll for all.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::connection::Connection;
use crate::exchange::{End, Exchange, Notice};
use crate::line::{self, Line};
use crate::packet::{AUTHENTICATOR_BYTES, MAX_PACKET_BYTES, NoReply};
use crate::tell;

/// Connections at once: one Quintain has one, a second is there while it restarts.
const MAX_CONNECTIONS: usize = 16;

/// Datagrams taken of one server before the others have their turn.
const DATAGRAMS_PER_TURN: usize = 64;

/// The shortest time between two notices about one server.
const NOTICE_PAUSE: Duration = Duration::from_secs(10);

/// The pause after a failure that time heals: no descriptors, no memory.
const REST: Duration = Duration::from_millis(100);

pub(crate) struct Service {
    listener: UnixListener,
    servers: Vec<Server>,
    exchange: Exchange,
    connections: BTreeMap<u64, Connection>,
    /// By token: the connection and the number of its question.
    askers: HashMap<u64, (u64, u64)>,
    /// The next connection's, and the next token.
    next: u64,
}

struct Server {
    address: SocketAddr,
    /// Connected: the kernel drops what comes from elsewhere.
    socket: UdpSocket,
    noticed: Option<Instant>,
}

impl Service {
    /// # Errors
    /// A socket for a server cannot be made.
    pub(crate) fn new(
        listener: UnixListener,
        servers: &[SocketAddr],
        exchange: Exchange,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            servers: servers
                .iter()
                .map(|address| Server::new(*address))
                .collect::<io::Result<_>>()?,
            exchange,
            connections: BTreeMap::new(),
            askers: HashMap::new(),
            next: 0,
        })
    }

    /// One turn: waits until there is something to do, and does it.
    ///
    /// # Errors
    /// The system cannot wait for us.
    pub(crate) fn turn(&mut self) -> io::Result<()> {
        let ready = self.wait()?;
        if ready.listener {
            self.accept();
        }
        for at in ready.servers {
            self.receive(at);
        }
        for key in ready.connections {
            self.read(key);
        }
        self.exchange.handle_timeout(Instant::now(), &mut random);
        self.send();
        Ok(())
    }

    fn wait(&self) -> io::Result<Ready> {
        let flags = |reads, writes| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, reads);
            flags.set(PollFlags::OUT, writes);
            flags
        };
        let accepts = self.connections.len() < MAX_CONNECTIONS;
        let mut fds = vec![PollFd::new(&self.listener, flags(accepts, false))];
        let sockets = self.servers.iter().map(|server| &server.socket);
        fds.extend(sockets.map(|socket| PollFd::new(socket, flags(true, false))));
        let connections = self.connections.values();
        fds.extend(connections.map(|one| {
            let flags = flags(one.takes_questions(), one.has_outbound());
            PollFd::new(one, flags)
        }));
        let left = self.exchange.poll_timeout().and_then(|until| {
            let left = until.saturating_duration_since(Instant::now());
            // Rounded up, so that what is due is due when poll returns.
            Timespec::try_from(left.saturating_add(Duration::from_micros(1))).ok()
        });
        match rustix::event::poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        Ok(Ready {
            listener: ready.next().unwrap_or(false),
            servers: (0..self.servers.len())
                .zip(ready.by_ref())
                .filter(|(_, ready)| *ready)
                .map(|(at, _)| at)
                .collect(),
            connections: self
                .connections
                .keys()
                .zip(ready)
                .filter(|(_, ready)| *ready)
                .map(|(key, _)| *key)
                .collect(),
        })
    }

    fn accept(&mut self) {
        match self.listener.accept() {
            Ok((stream, _)) => match Connection::new(stream) {
                Ok(connection) => {
                    let key = self.fresh();
                    self.connections.insert(key, connection);
                }
                Err(error) => tell(&format!("a connection is refused: {error}")),
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                tell(&format!("no connection can be taken: {error}"));
                std::thread::sleep(REST);
            }
        }
    }

    fn receive(&mut self, at: usize) {
        let Some(server) = self.servers.get(at) else {
            return;
        };
        let mut datagram = [0; MAX_PACKET_BYTES];
        for _ in 0..DATAGRAMS_PER_TURN {
            match server.socket.recv(&mut datagram) {
                Ok(length) => {
                    let datagram = datagram.get(..length).unwrap_or_default();
                    self.exchange.handle_datagram(at, datagram);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // "Connection refused" is an ICMP message's word, which anybody can send: time tells.
                Err(_) => {}
            }
        }
    }

    fn read(&mut self, key: u64) {
        let Some(connection) = self.connections.get_mut(&key) else {
            return;
        };
        if !connection.takes_questions() {
            return;
        }
        match connection.read() {
            Ok(lines) => {
                for line in lines {
                    if !self.take_line(key, &line) {
                        tell("a connection says what is not in the protocol, and is closed");
                        self.connections.remove(&key);
                        return;
                    }
                }
            }
            Err(_) => {
                self.connections.remove(&key);
            }
        }
    }

    /// `false`: this is none of the protocol's lines, or not its turn.
    fn take_line(&mut self, key: u64, line: &[u8]) -> bool {
        let Some(connection) = self.connections.get_mut(&key) else {
            return true;
        };
        match (connection.is_greeted, line::parse(line)) {
            (false, Ok(Line::Hello)) => {
                connection.is_greeted = true;
                connection.say(&line::hello());
            }
            (true, Ok(Line::Policy { id })) => connection.say(&line::policy(id)),
            (true, Ok(Line::Unfit { id })) => connection.say(&line::verdict(id, End::Unfit)),
            (true, Ok(Line::Verify { id, credentials })) => {
                let token = self.fresh();
                self.askers.insert(token, (key, id));
                let now = Instant::now();
                self.exchange.begin(token, credentials, now, &mut random);
            }
            _ => return false,
        }
        true
    }

    /// Carries out what the exchange decided.
    fn send(&mut self) {
        while let Some(transmit) = self.exchange.poll_transmit() {
            if let Some(server) = self.servers.get(transmit.server) {
                // A datagram that does not leave is one that is lost: it is sent again.
                let _lost = server.socket.send(&transmit.packet);
            }
        }
        while let Some(notice) = self.exchange.poll_notice() {
            self.tell(notice);
        }
        while let Some(outcome) = self.exchange.poll_outcome() {
            let asker = self.askers.remove(&outcome.token);
            // Whoever asked may be gone.
            if let Some((key, id)) = asker
                && let Some(connection) = self.connections.get_mut(&key)
            {
                connection.say(&line::verdict(id, outcome.end));
            }
        }
        self.connections
            .retain(|_, connection| connection.flush().is_ok());
    }

    fn tell(&mut self, notice: Notice) {
        let (at, what) = match notice {
            Notice::Silent(at) => (
                at,
                "does not answer; is it up, and does it know this address and this shared secret?",
            ),
            Notice::Dropped(at, NoReply::Malformed) => {
                (at, "sends what is no RADIUS reply; it is dropped")
            }
            Notice::Dropped(at, NoReply::Unsigned) => (
                at,
                "answers without a Message-Authenticator; that is dropped: update it, or make it send one",
            ),
            Notice::Dropped(at, NoReply::WrongAuthenticator) => (
                at,
                "answers under another shared secret, or somebody else does; it is dropped",
            ),
        };
        let now = Instant::now();
        if let Some(server) = self.servers.get_mut(at)
            && server
                .noticed
                .is_none_or(|last| now.saturating_duration_since(last) >= NOTICE_PAUSE)
        {
            server.noticed = Some(now);
            tell(&format!("{}: {what}", server.address));
        }
    }

    fn fresh(&mut self) -> u64 {
        self.next = self.next.wrapping_add(1);
        self.next
    }
}

/// What poll has found.
struct Ready {
    listener: bool,
    servers: Vec<usize>,
    connections: Vec<u64>,
}

impl Server {
    fn new(address: SocketAddr) -> io::Result<Self> {
        let any: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(address)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            address,
            socket,
            noticed: None,
        })
    }
}

fn random() -> Option<[u8; AUTHENTICATOR_BYTES]> {
    let mut bytes = [0; AUTHENTICATOR_BYTES];
    getrandom::fill(&mut bytes).ok()?;
    Some(bytes)
}
