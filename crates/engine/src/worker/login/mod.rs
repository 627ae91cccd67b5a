//! A connection that is logging in: negotiation without locks, questions to the tree and the authenticator, then the commit.

mod ask;
mod commit;
mod redirect;
mod why;

use std::net::SocketAddr;
use std::time::Duration;

use auth::{Answer, Policy, Reply, Verdict};
use iscsi_proto::login::{
    CommitRequest, Login, LoginConfig, LoginEvent, LoginIdentity, LoginLimits, TargetOffer,
};
use iscsi_wire::IscsiName;
use reactor::{Op, RecvInto, SendPiece, SocketId};

use self::redirect::Proof;
use self::why::Why;
use super::cx::{Cx, Kind, token};
use crate::panics::guard;
use crate::registry::{Claim, SessionRef};
use crate::shared::{Admitted, Message, Place, WorkerId};
use crate::slots::Key;

pub(super) struct LoginLink {
    pub(super) key: Key,
    pub(super) socket: SocketId,
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
    proto: Login,
    /// Received, and not yet parsed: the login waits for an answer first.
    unread: Vec<u8>,
    receiving: bool,
    sending: bool,
    /// The login is over: the connection closes when its last response is sent.
    closing: bool,
    out: Vec<u8>,
    admitted: Option<Admitted>,
    joins: Option<Joinable>,
    commit: Option<Commit>,
    /// Ready to commit once the response that is under way has been sent: a connection moves only at rest.
    parked: Option<CommitRequest>,
    deadline: Duration,
    closed: bool,
    became_session: bool,
    /// Who it says it is.
    identity: Option<LoginIdentity>,
    /// The ACL that its authenticator named to serve it by.
    named: Option<IscsiName>,
}

/// A login that has a claim on its nexus, and waits for the session before it to end.
struct Commit {
    request: CommitRequest,
    claim: Claim,
    deadline: Duration,
}

/// What a login became.
pub(super) enum Fate {
    /// It goes on.
    Goes,
    /// Its link can be removed: the connection is closed, or has moved on.
    Over,
    /// It is a session now, on this worker or another.
    Session(Box<Become>),
    /// It is a further connection of a session, on this worker or another.
    Joins(Box<Joins>),
}

/// A login that became a session.
pub(super) struct Become {
    pub(super) worker: WorkerId,
    pub(super) session: crate::shared::SessionId,
    pub(super) established: iscsi_proto::login::Established,
    pub(super) place: Place,
    pub(super) unread: Vec<u8>,
    pub(super) socket: SocketId,
}

/// A login that became a further connection of a session.
pub(super) struct Joins {
    pub(super) worker: WorkerId,
    pub(super) session: crate::shared::SessionId,
    pub(super) established: iscsi_proto::login::Established,
    pub(super) admitted: Option<Admitted>,
    pub(super) unread: Vec<u8>,
    pub(super) socket: SocketId,
}

/// The session that a login wants to join, and what is offered if it may.
struct Joinable {
    session: SessionRef,
    offer: TargetOffer,
}

impl LoginLink {
    pub(super) fn new(
        key: Key,
        socket: SocketId,
        (local, peer): (SocketAddr, SocketAddr),
        random: [u8; 64],
        cx: &mut Cx,
    ) -> Self {
        let mut link = Self::with_proto(key, socket, (local, peer), random, cx);
        link.arm(cx);
        link
    }

    fn with_proto(
        key: Key,
        socket: SocketId,
        (local, peer): (SocketAddr, SocketAddr),
        random: [u8; 64],
        cx: &mut Cx,
    ) -> Self {
        let deadline = cx.now.saturating_add(cx.shared.config.login_timeout);
        let config = LoginConfig {
            portal: local,
            peer,
            limits: LoginLimits::default(),
            deadline,
        };
        cx.timers.insert(deadline, key);
        Self {
            key,
            socket,
            local,
            peer,
            proto: Login::new(config, cx.now, random),
            unread: Vec::new(),
            receiving: false,
            sending: false,
            closing: false,
            out: Vec::new(),
            admitted: None,
            joins: None,
            commit: None,
            parked: None,
            deadline,
            closed: false,
            became_session: false,
            identity: None,
            named: None,
        }
    }

    /// A connection whose session would not take it after all: it is told so, and closed. Its place among logins was given
    /// back before.
    pub(super) fn turned_away(
        key: Key,
        socket: SocketId,
        established: iscsi_proto::login::Established,
        cx: &mut Cx,
    ) -> Self {
        let addresses = (established.portal, established.peer);
        let mut link = Self::with_proto(key, socket, addresses, [0; 64], cx);
        link.closing = true;
        link.became_session = true;
        link.out = established.refusal;
        link.transmit(cx);
        link
    }

    /// One receive at a time, and none while a question is open: so the connection is at rest when it moves.
    fn arm(&mut self, cx: &mut Cx) {
        // What has come and waits for an answer is enough: more would only be kept.
        let waits = self.commit.is_some() || self.parked.is_some() || !self.unread.is_empty();
        if !self.receiving && !self.closing && !self.closed && !waits {
            self.receiving = true;
            let into = RecvInto::default();
            cx.driver.push(
                Op::Recv {
                    socket: self.socket,
                    into,
                },
                token(Kind::Recv, self.key),
            );
        }
    }

    pub(super) fn received(&mut self, bytes: Option<&[u8]>, cx: &mut Cx) -> Fate {
        self.receiving = false;
        match bytes {
            Some(bytes) => {
                self.unread.extend_from_slice(bytes);
                self.advance(cx)
            }
            None => self.close(cx),
        }
    }

    pub(super) fn sent(&mut self, ok: bool, cx: &mut Cx) -> Fate {
        self.sending = false;
        if !ok || (self.closing && self.out.is_empty()) {
            return self.close(cx);
        }
        if let Some(request) = self.parked.take() {
            let fate = self.claim(request, cx);
            return self.after_commit(fate, cx);
        }
        self.transmit(cx);
        self.look()
    }

    /// Parses what has come, and answers what the login asks, until it waits for something.
    fn advance(&mut self, cx: &mut Cx) -> Fate {
        let mut unread = std::mem::take(&mut self.unread);
        let mut at = 0;
        loop {
            let rest = unread.get(at..).unwrap_or_default();
            let proto = &mut self.proto;
            let Ok(consumed) = guard(|| proto.handle_received(cx.now, rest)) else {
                cx.counters.panics.add(1);
                return self.close(cx);
            };
            at += consumed;
            let mut acted = false;
            while let Some(event) = self.proto.poll_event() {
                acted = true;
                match self.event(event, cx) {
                    Fate::Goes => {}
                    fate => {
                        unread.drain(..at.min(unread.len()));
                        self.unread = unread;
                        return self.with_unread(fate);
                    }
                }
            }
            let waits = self.commit.is_some() || self.parked.is_some();
            if (consumed == 0 && !acted) || self.closing || waits {
                break;
            }
        }
        unread.drain(..at.min(unread.len()));
        self.unread = unread;
        self.transmit(cx);
        self.arm(cx);
        self.look()
    }

    fn with_unread(&mut self, fate: Fate) -> Fate {
        match fate {
            Fate::Session(mut session) => {
                session.unread = std::mem::take(&mut self.unread);
                Fate::Session(session)
            }
            Fate::Joins(mut joins) => {
                joins.unread = std::mem::take(&mut self.unread);
                Fate::Joins(joins)
            }
            other => other,
        }
    }

    fn transmit(&mut self, cx: &mut Cx) {
        let (proto, out) = (&mut self.proto, &mut self.out);
        if guard(|| proto.poll_transmit(out)).is_err() {
            cx.counters.panics.add(1);
            self.closing = true;
            self.out.clear();
        }
        if self.sending || self.closed {
            return;
        }
        if self.out.is_empty() {
            if self.closing {
                self.close(cx);
            }
            return;
        }
        let mut list = cx.list();
        list.arena.append(&mut self.out);
        let end = u32::try_from(list.arena.len()).unwrap_or(u32::MAX);
        list.pieces.push(SendPiece::Arena(0..end));
        self.sending = true;
        cx.driver.push(
            Op::Send {
                socket: self.socket,
                list,
            },
            token(Kind::Send, self.key),
        );
    }

    fn event(&mut self, event: LoginEvent, cx: &mut Cx) -> Fate {
        match event {
            LoginEvent::Resolve(identity) => {
                self.identity = Some(identity.clone());
                let answer = self.resolve(&identity, cx);
                let asked = self.ask_to_join(&identity, cx);
                // The session that it wants to join answers in its own time.
                let waits = answer.is_ok() && asked.is_ok() && self.joins.is_some();
                let redirected =
                    answer.is_ok() && self.is_redirected(&identity, Proof::Missing, cx);
                if !waits && !redirected {
                    self.resolved(answer.and_then(|offer| asked.map(|()| offer)), cx);
                }
            }
            LoginEvent::Policy(request) => {
                let world = cx.shared.world.load_full();
                let (to, login) = (self.mailbox(cx), self.key);
                let reply = Reply::new(move |answer: Option<Policy>| {
                    let _gone = to.send(Message::Policy { login, answer });
                });
                if let Answer::Now(policy) = world.authenticator.policy(&request, reply) {
                    self.policy(Some(policy), cx);
                }
            }
            LoginEvent::Verify(request) => {
                let world = cx.shared.world.load_full();
                let (to, login) = (self.mailbox(cx), self.key);
                let reply = Reply::new(move |answer: Option<Verdict>| {
                    let _gone = to.send(Message::Verdict { login, answer });
                });
                if let Answer::Now(verdict) = world.authenticator.verify(&request, reply) {
                    self.verdict(Some(verdict), cx);
                }
            }
            LoginEvent::Commit(request) if self.sending => self.parked = Some(request),
            LoginEvent::Commit(request) => return self.claim(request, cx),
            LoginEvent::Close => self.closing = true,
        }
        Fate::Goes
    }

    fn mailbox(&self, cx: &Cx) -> reactor::mailbox::Sender<Message> {
        cx.shared.mailboxes[usize::from(cx.id.0)].clone()
    }

    pub(super) fn timer_due(&mut self, cx: &mut Cx) -> Fate {
        if self.closed {
            return self.look();
        }
        if let Some(commit) = self.commit.take_if(|c| c.deadline <= cx.now) {
            // The old session's I/O has not left in time. Initiators try again after this status.
            drop(commit.claim);
            let _goes = self.refuse(&Why::OLD_SESSION, &commit.request.identity, cx);
            return self.advance(cx);
        }
        if self.deadline <= cx.now && self.commit.is_none() {
            tracing::info!(peer = %self.peer, "login timed out");
            return self.close(cx);
        }
        Fate::Goes
    }

    /// Gives the connection up.
    pub(super) fn close(&mut self, cx: &mut Cx) -> Fate {
        if let Some(commit) = self.commit.take() {
            drop(commit.claim);
        }
        if !self.closed {
            self.closed = true;
            cx.driver.close_socket(self.socket);
        }
        self.look()
    }

    /// Over once the driver has nothing of it any more.
    fn look(&self) -> Fate {
        if self.closed && !self.receiving && !self.sending {
            Fate::Over
        } else {
            Fate::Goes
        }
    }

    /// Whether its connection went on as a session.
    pub(super) fn became_session(&self) -> bool {
        self.became_session
    }

    /// Whether the driver still has an operation of it.
    pub(super) fn in_flight(&self) -> bool {
        self.receiving || self.sending
    }
}
