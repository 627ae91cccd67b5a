//! The thread: it does what the client of the crate `isns` asks for, and tells it what comes and what time it is.

use std::io;
use std::net::{IpAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

use iscsi_wire::{Host, PortalAddress};
use isns::{Action, Client, ClientConfig, Event};
use model::Tree;
use rustix::event::{PollFd, PollFlags, Timespec};

use super::monitor::Monitor;
use super::stream::Stream;
use super::told::Settings;
use super::{Shared, lock};

/// How long taking a registration back may take, when the daemon stops or goes to another server.
const LAST_PATIENCE: Duration = Duration::from_secs(2);

/// Reads of one turn.
const READS_PER_TURN: usize = 8;

pub(super) struct Worker {
    shared: Arc<Shared>,
    bell: UnixStream,
    registered: Arc<AtomicUsize>,
    start: Instant,
    client: Client,
    link: Link,
    monitor: Monitor,
    tree: Tree,
    /// What the tree says; `None`: there is no server.
    settings: Option<Settings>,
    /// The server that the client has to do with.
    server: Option<PortalAddress>,
    /// The identifier that was registered last.
    entity: String,
    host_name: String,
    /// Our end of the connection, while there is one.
    local: Option<IpAddr>,
    /// The server's address, as it was last reached.
    server_ip: Option<IpAddr>,
    /// Why there is no connection, for the log.
    reason: Option<io::Error>,
    /// The tree, or the server, is another than what the client was told last.
    news: bool,
    /// The generation of a tree of which nothing was of use to this server.
    useless: Option<u64>,
    /// The registration is being taken back, until then at the latest.
    leaving: Option<Duration>,
    ending: bool,
}

enum Link {
    Down,
    /// A thread of its own looks the name up and connects: both may take their time.
    Connecting(Receiver<io::Result<TcpStream>>),
    Up(Stream),
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, bell: UnixStream, registered: Arc<AtomicUsize>) -> Self {
        Self {
            shared,
            bell,
            registered,
            start: Instant::now(),
            client: Client::new(ClientConfig::default()),
            link: Link::Down,
            monitor: Monitor::default(),
            tree: Tree::default(),
            settings: None,
            server: None,
            entity: String::new(),
            host_name: std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default(),
            local: None,
            server_ip: None,
            reason: None,
            news: false,
            useless: None,
            leaving: None,
            ending: false,
        }
    }

    pub(super) fn run(mut self) {
        loop {
            self.take_news();
            self.follow();
            if self.ending && self.leaving.is_none() {
                self.registered.store(0, Ordering::Relaxed);
                return;
            }
            self.wait();
            self.read();
            self.client.handle_timeout(self.now());
            self.act();
        }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn take_news(&mut self) {
        let mut inbox = lock(&self.shared.inbox);
        self.ending |= inbox.ending;
        if let Some(tree) = inbox.tree.take() {
            self.settings = Settings::of(&tree);
            self.tree = tree;
            self.news = true;
        }
    }

    /// Brings the client to what is wanted now: this server's, another's, or none.
    fn follow(&mut self) {
        let now = self.now();
        let server = self
            .settings
            .as_ref()
            .filter(|_| !self.ending)
            .map(|s| &s.server);
        if self.server.is_some() && self.server.as_ref() != server {
            let until = *self
                .leaving
                .get_or_insert_with(|| now.saturating_add(LAST_PATIENCE));
            self.client.want(now, None);
            self.act();
            if !self.client.is_idle() && now < until {
                return;
            }
            self.client = Client::new(ClientConfig::default());
            self.hang_up();
            self.monitor.close();
            self.server = None;
            self.server_ip = None;
            self.useless = None;
            self.news = true;
            self.registered.store(0, Ordering::Relaxed);
        }
        self.leaving = None;
        if self.ending || !std::mem::take(&mut self.news) {
            return;
        }
        if let Some(settings) = self.settings.clone() {
            self.server = Some(settings.server.clone());
            self.tell(&settings);
            self.act();
        }
    }

    fn tell(&mut self, settings: &Settings) {
        let local = self.local;
        if local.is_none() && self.useless == Some(self.tree.generation) {
            return;
        }
        let mut registration = settings.registration(&self.tree, local, &self.host_name);
        self.entity.clone_from(&registration.entity);
        if local.is_some() {
            // Without this it would connect again at once, to find the same.
            let useless = registration.nodes.is_empty();
            self.useless = useless.then_some(self.tree.generation);
            self.monitor.listen(&mut registration);
        }
        let now = self.now();
        self.client.want(now, Some(registration));
    }

    /// Does what the client asks for, and logs what it tells.
    fn act(&mut self) {
        loop {
            while let Some(event) = self.client.poll_event() {
                self.log(&event);
            }
            let Some(action) = self.client.poll_action() else {
                return;
            };
            match action {
                Action::Connect => self.connect(),
                Action::Close => self.hang_up(),
                Action::Send(bytes) => {
                    let sent = match &mut self.link {
                        Link::Up(stream) => stream.send(&bytes),
                        Link::Down | Link::Connecting(_) => Ok(()),
                    };
                    if let Err(error) = sent {
                        self.lost(Some(error));
                    }
                }
            }
        }
    }

    fn log(&mut self, event: &Event) {
        let server = self
            .server
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        match event {
            Event::Registered { nodes } => {
                self.registered.store(*nodes, Ordering::Relaxed);
                tracing::info!(%server, entity = %self.entity, targets = nodes, "iSNS: registered");
            }
            Event::Deregistered => {
                self.registered.store(0, Ordering::Relaxed);
                tracing::info!(%server, entity = %self.entity, "iSNS: deregistered");
            }
            Event::Forgotten => {
                self.registered.store(0, Ordering::Relaxed);
                tracing::warn!(%server, "iSNS: the server had forgotten us; it is told anew");
            }
            Event::Failed(problem) => match self.reason.take() {
                Some(error) => tracing::warn!(%server, "iSNS: {problem}: {error}"),
                None => tracing::warn!(%server, "iSNS: {problem}"),
            },
            Event::Notified(notification) => {
                let (node, change) = (&notification.node, notification.change);
                tracing::debug!(%server, %node, ?change, "iSNS: a node changed");
            }
        }
    }

    fn connect(&mut self) {
        let Some(server) = self.server.clone() else {
            return;
        };
        let (sender, receiver) = channel();
        let shared = Arc::clone(&self.shared);
        let patience = ClientConfig::default().patience;
        let spawned = std::thread::Builder::new()
            .name("isns-connect".to_owned())
            .spawn(move || {
                // Nobody waits for it any more where that fails.
                let _heard = sender.send(reach(&server, patience));
                shared.ring();
            });
        self.link = Link::Connecting(receiver);
        if let Err(error) = spawned {
            self.lost(Some(error));
        }
    }

    fn hang_up(&mut self) {
        self.link = Link::Down;
        self.local = None;
    }

    fn lost(&mut self, reason: Option<io::Error>) {
        self.hang_up();
        self.reason = reason;
        let now = self.now();
        self.client.disconnected(now);
    }

    /// Waits for whatever comes first.
    fn wait(&self) {
        let due = [self.client.poll_timeout(), self.leaving]
            .into_iter()
            .flatten()
            .min();
        let left = due.and_then(|due| {
            // Rounded up, so that what is due is due when poll returns.
            let left = due.saturating_sub(self.now());
            Timespec::try_from(left.saturating_add(Duration::from_micros(1))).ok()
        });
        let mut fds = vec![PollFd::new(&self.bell, PollFlags::IN)];
        if let Link::Up(stream) = &self.link {
            let mut flags = PollFlags::IN;
            flags.set(PollFlags::OUT, stream.has_outbound());
            fds.push(PollFd::new(stream, flags));
        }
        self.monitor.poll_fds(&mut fds);
        if let Err(error) = rustix::event::poll(&mut fds, left.as_ref())
            && error != rustix::io::Errno::INTR
        {
            // Out of memory for a moment: a turn later, not at full speed.
            std::thread::sleep(Duration::from_millis(100));
        }
        let mut rung = [0; 256];
        while let Ok(1..) = io::Read::read(&mut &self.bell, &mut rung) {}
    }

    fn read(&mut self) {
        if let Link::Connecting(receiver) = &self.link {
            match receiver.try_recv() {
                Err(TryRecvError::Empty) => {}
                Ok(Ok(tcp)) => self.connected(tcp),
                Ok(Err(error)) => self.lost(Some(error)),
                Err(TryRecvError::Disconnected) => self.lost(None),
            }
        }
        for _ in 0..READS_PER_TURN {
            let Link::Up(stream) = &mut self.link else {
                break;
            };
            match stream.flush().and_then(|()| stream.read()) {
                Ok(None) => break,
                Ok(Some(bytes)) => {
                    let now = self.now();
                    self.client.handle_received(now, &bytes);
                    self.act();
                }
                Err(error) => self.lost(Some(error)),
            }
        }
        let notifications = self.monitor.turn(self.server_ip, &self.entity);
        if !notifications.is_empty() {
            let now = self.now();
            self.client.notified(now, notifications);
        }
    }

    /// The connection is there, and with it our own address: what is told is found anew before it is told.
    fn connected(&mut self, tcp: TcpStream) {
        let ends = tcp
            .local_addr()
            .and_then(|local| Ok((local, tcp.peer_addr()?)));
        match ends.and_then(|ends| Ok((ends, Stream::new(tcp)?))) {
            Ok(((local, peer), stream)) => {
                self.local = Some(local.ip().to_canonical());
                self.server_ip = Some(peer.ip().to_canonical());
                self.link = Link::Up(stream);
                let now = self.now();
                match self.settings.clone().filter(|_| self.leaving.is_none()) {
                    Some(settings) => self.tell(&settings),
                    None => self.client.want(now, None),
                }
                self.client.connected(now);
                self.act();
            }
            Err(error) => self.lost(Some(error)),
        }
    }
}

/// Connects to the first address of the server that answers.
fn reach(server: &PortalAddress, patience: Duration) -> io::Result<TcpStream> {
    let host = match &server.host {
        Host::Ip(ip) => ip.to_string(),
        Host::Dns(name) => name.clone(),
    };
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in (host.as_str(), server.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, patience) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}
