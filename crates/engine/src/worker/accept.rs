//! Listeners: connections come in, get a login slot, and log in here.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use reactor::socket::{self, StreamOptions};
use reactor::{AcceptedSocket, Op, SocketId};

use super::cx::{Kind, token};
use super::login::LoginLink;
use super::{Link, Worker};
use crate::drain::Hold;
use crate::slots::Key;

/// How long a listener rests when the process is out of descriptors or memory, instead of spinning.
const REST: Duration = Duration::from_millis(100);

pub(super) struct Listener {
    socket: SocketId,
    address: SocketAddr,
    /// It takes its last connections, until then.
    closes: Option<(Duration, Hold)>,
    armed: bool,
    /// Resting until then.
    rests_until: Option<Duration>,
}

impl Worker {
    /// Takes a listening socket.
    pub(super) fn add_listener(
        &mut self,
        fd: std::os::fd::OwnedFd,
        address: SocketAddr,
    ) -> io::Result<()> {
        let socket = self.cx.driver.add_listener(fd)?;
        if self.drain.is_some() {
            self.cx.driver.close_socket(socket);
            return Ok(());
        }
        self.listeners.insert(Listener {
            socket,
            address,
            closes: None,
            armed: false,
            rests_until: None,
        });
        self.arm_listeners();
        Ok(())
    }

    /// Closes a listener; with `linger`, once the connections that are on their way to it have been accepted.
    pub(super) fn close_listener(&mut self, address: SocketAddr, linger: Duration, hold: Hold) {
        let at = self.cx.now.saturating_add(linger);
        for key in self.listeners.keys() {
            let Some(listener) = self.listeners.find_mut(key) else {
                continue;
            };
            if listener.address == address && listener.closes.is_none() {
                listener.closes = Some((at, hold));
                self.look_again_at(at);
                return self.listener_timers();
            }
        }
    }

    /// Has the listeners looked at when this time has come.
    fn look_again_at(&mut self, at: Duration) {
        self.listeners_rest = Some(self.listeners_rest.map_or(at, |rest| rest.min(at)));
        let nobody = Key {
            index: u32::MAX,
            generation: 0,
        };
        self.cx.timers.insert(at, nobody);
    }

    pub(super) fn arm_listeners(&mut self) {
        for key in self.listeners.keys() {
            if let Some(listener) = self.listeners.find_mut(key)
                && !listener.armed
                && listener.rests_until.is_none()
            {
                listener.armed = true;
                let op = Op::Accept {
                    listener: listener.socket,
                };
                self.cx.driver.push(op, token(Kind::Accept, key));
            }
        }
    }

    pub(super) fn close_listeners(&mut self) {
        for key in self.listeners.keys() {
            if let Some(listener) = self.listeners.remove(key) {
                self.cx.driver.close_socket(listener.socket);
            }
        }
    }

    pub(super) fn accepted(&mut self, key: Key, result: io::Result<AcceptedSocket>) {
        let Some(listener) = self.listeners.find_mut(key) else {
            // Accepted as its listener was closed: another portal may serve the address, and the login tells.
            if let (Ok(accepted), None) = (result, self.drain) {
                self.start_login(accepted);
            }
            return;
        };
        listener.armed = false;
        match result {
            Ok(accepted) => self.start_login(accepted),
            Err(error) if is_of_the_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections now");
                let until = self.cx.now.saturating_add(REST);
                listener.rests_until = Some(until);
                self.look_again_at(until);
            }
        }
        self.arm_listeners();
    }

    pub(super) fn listener_timers(&mut self) {
        let now = self.cx.now;
        if self.listeners_rest.is_none_or(|at| at > now) {
            return;
        }
        self.listeners_rest = None;
        let mut next: Option<Duration> = None;
        for key in self.listeners.keys() {
            let Some(listener) = self.listeners.find_mut(key) else {
                continue;
            };
            if listener.closes.as_ref().is_some_and(|(at, _)| *at <= now) {
                let socket = listener.socket;
                self.listeners.remove(key);
                self.cx.driver.close_socket(socket);
                continue;
            }
            if listener.rests_until.is_some_and(|at| at <= now) {
                listener.rests_until = None;
            }
            let times = listener.closes.as_ref().map(|(at, _)| *at);
            next = times
                .into_iter()
                .chain(listener.rests_until)
                .chain(next)
                .min();
        }
        if let Some(at) = next {
            self.look_again_at(at);
        }
        self.arm_listeners();
    }

    fn start_login(&mut self, accepted: AcceptedSocket) {
        let AcceptedSocket { fd, peer } = accepted;
        let Ok(local) = socket::local_addr(&fd) else {
            return;
        };
        if !self.take_login_slot(peer) {
            // Dropping the descriptor closes the connection: the initiator tries again.
            if self.cx.may_log_peer() {
                tracing::warn!(%peer, "too many connections are logging in; this one is closed");
            }
            return;
        }
        let options = StreamOptions {
            no_delay: true,
            congestion: self.cx.shared.config.tcp_congestion.clone(),
            ..StreamOptions::default()
        };
        if let Err(error) = socket::set_stream_options(&fd, &options) {
            tracing::debug!(%peer, %error, "a socket option was refused");
        }
        let mut random = [0; 64];
        let ready = getrandom::fill(&mut random).is_ok();
        let socket = if ready {
            self.cx.driver.add_socket(fd).ok()
        } else {
            None
        };
        let Some(socket) = socket else {
            self.give_back_login_slot(peer);
            return;
        };
        self.cx.counters.logins.add(1);
        // The link needs its own name, which it gets by being put in place.
        let key = self.links.reserve();
        let link = LoginLink::new(key, socket, (local, peer), random, &mut self.cx);
        self.links.fill(key, Link::Login(Box::new(link)));
    }

    fn take_login_slot(&self, peer: SocketAddr) -> bool {
        let slots = self.cx.shared.logins.lock();
        slots.is_ok_and(|mut slots| slots.take(peer.ip().to_canonical()))
    }

    pub(super) fn give_back_login_slot(&self, peer: SocketAddr) {
        self.cx.counters.logins.subtract(1);
        if let Ok(mut slots) = self.cx.shared.logins.lock() {
            slots.give_back(peer.ip().to_canonical());
        }
    }

    pub(super) fn login_over(&self, login: &LoginLink) {
        if !login.became_session() {
            self.give_back_login_slot(login.peer);
        }
    }
}

/// Errors of one connection that was gone before it was accepted (accept(2)).
fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(
        error.kind(),
        K::ConnectionAborted
            | K::ConnectionReset
            | K::Interrupted
            | K::WouldBlock
            | K::TimedOut
            | K::HostUnreachable
            | K::NetworkUnreachable
            | K::NetworkDown
            | K::PermissionDenied
    )
}
