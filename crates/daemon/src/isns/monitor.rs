//! Where the server reaches us of its own accord: a listener at each address of a portal, and the connections it makes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::ErrorKind;
use std::net::{IpAddr, TcpListener};
use std::time::{Duration, Instant};

use isns::{Deframer, Inbound, Message, MonitorPorts, Notification, Registration, function};
use rustix::event::{PollFd, PollFlags};

use super::stream::Stream;

/// Listeners at once. A machine with more addresses is asked at the first of them.
const MAX_LISTENERS: usize = 64;

/// Connections at once; one more takes the place of the oldest.
const MAX_GUESTS: usize = 8;

/// The pause after a connection that could not be taken.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a connection may be silent: longer than any server waits between two inquiries.
const MAX_SILENCE: Duration = Duration::from_secs(2 * 3600);

/// Connections taken in one turn, of each listener.
const ACCEPTS_PER_TURN: usize = 8;

/// Reads of one connection in one turn.
const READS_PER_TURN: usize = 8;

#[derive(Default)]
pub(super) struct Monitor {
    listeners: BTreeMap<IpAddr, (TcpListener, u16)>,
    guests: VecDeque<Guest>,
}

struct Guest {
    stream: Stream,
    deframer: Deframer,
    heard: Instant,
}

impl Monitor {
    /// Listens at the addresses of a registration's portals that are this machine's, and enters the ports there.
    pub(super) fn listen(&mut self, registration: &mut Registration) {
        let wanted: BTreeSet<IpAddr> = registration.portals.keys().map(|at| at.ip()).collect();
        self.listeners.retain(|ip, _| wanted.contains(ip));
        for ip in wanted {
            if self.listeners.len() < MAX_LISTENERS && !self.listeners.contains_key(&ip) {
                match listener(ip) {
                    Ok(found) => {
                        self.listeners.insert(ip, found);
                    }
                    // An address that is told to initiators and is not ours, behind a NAT say.
                    Err(error) => tracing::debug!(%ip, %error, "iSNS: nobody can ask us there"),
                }
            }
        }
        for (at, ports) in &mut registration.portals {
            let port = self.listeners.get(&at.ip()).map(|(_, port)| *port);
            *ports = MonitorPorts {
                esi: port.filter(|_| registration.esi_interval_seconds != 0),
                scn: port,
            };
        }
    }

    /// Stops listening, and closes everything.
    pub(super) fn close(&mut self) {
        *self = Self::default();
    }

    pub(super) fn poll_fds<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        let listeners = self.listeners.values();
        fds.extend(listeners.map(|(listener, _)| PollFd::new(listener, PollFlags::IN)));
        for guest in &self.guests {
            let mut flags = PollFlags::IN;
            flags.set(PollFlags::OUT, guest.stream.has_outbound());
            fds.push(PollFd::new(&guest.stream, flags));
        }
    }

    /// Takes connections of `server`, answers what comes on them, and returns what it tells.
    pub(super) fn turn(&mut self, server: Option<IpAddr>, entity: &str) -> Vec<Notification> {
        for (listener, _) in self.listeners.values() {
            for _ in 0..ACCEPTS_PER_TURN {
                let (tcp, peer) = match listener.accept() {
                    Ok(taken) => taken,
                    Err(error) => {
                        if error.kind() != ErrorKind::WouldBlock {
                            // No descriptor left, say: a turn later, not at full speed.
                            std::thread::sleep(PAUSE);
                        }
                        break;
                    }
                };
                // Only the server has anything to ask here.
                if Some(peer.ip().to_canonical()) != server {
                    tracing::debug!(%peer, "iSNS: a connection from elsewhere was closed");
                    continue;
                }
                if let Ok(stream) = Stream::new(tcp) {
                    if self.guests.len() >= MAX_GUESTS {
                        self.guests.pop_front();
                    }
                    self.guests.push_back(Guest {
                        stream,
                        deframer: Deframer::default(),
                        heard: Instant::now(),
                    });
                }
            }
        }
        let mut notifications = Vec::new();
        self.guests
            .retain_mut(|guest| guest.turn(entity, &mut notifications).is_some());
        notifications
    }
}

impl Guest {
    /// `None`: the connection is over.
    fn turn(&mut self, entity: &str, notifications: &mut Vec<Notification>) -> Option<()> {
        self.stream.flush().ok()?;
        for _ in 0..READS_PER_TURN {
            let Some(bytes) = self.stream.read().ok()? else {
                break;
            };
            self.heard = Instant::now();
            self.deframer.push(&bytes);
            while let Some(message) = self.deframer.next_message().ok()? {
                self.answer(&message, entity, notifications)?;
            }
        }
        (self.heard.elapsed() < MAX_SILENCE).then_some(())
    }

    fn answer(
        &mut self,
        message: &Message,
        entity: &str,
        notifications: &mut Vec<Notification>,
    ) -> Option<()> {
        // Nothing was asked here, so no response answers anything.
        if message.function & function::RESPONSE != 0 {
            return None;
        }
        let inbound = Inbound::answer(message, entity);
        let mut bytes = Vec::new();
        inbound.reply.emit(&mut bytes);
        notifications.extend(inbound.notifications);
        self.stream.send(&bytes).ok()
    }
}

fn listener(ip: IpAddr) -> std::io::Result<(TcpListener, u16)> {
    let listener = TcpListener::bind((ip, 0))?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    Ok((listener, port))
}
