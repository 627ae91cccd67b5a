//! One worker: a completion loop on a thread of its own, with the connections, sessions and shards that live on it.
//!
//! A turn: completions of the driver, messages of other workers, timers; then what these set going is settled until nothing
//! moves, answers are gathered, and everything is submitted at once. Nothing here waits but the driver.

mod accept;
mod allegiance;
mod change;
mod connection;
mod control;
mod cx;
mod depth;
mod drain;
mod ending;
mod io;
mod login;
mod own;
mod part;
mod peer_log;
mod place;
mod plain;
mod protection;
mod receive;
mod recovery;
mod remap;
mod session;
mod settle;
mod step;
mod task;
mod task_end;
mod tmf;
mod transmit;
mod unasked;
mod unit;

use std::sync::Arc;
use std::time::Duration;

use iscsi_proto::session::ConnectionIndex;
use reactor::mailbox::Receiver;
use reactor::{Completion, Driver, OpResult, Slab, Wait};

use self::accept::Listener;
use self::cx::{Cx, Kind, from_token};
use self::ending::EndReason;
use self::login::LoginLink;
use self::session::SessionLink;
use self::unit::Units;
use crate::counters::WorkerCounters;
use crate::shared::{Message, SessionId, Shared, WorkerId};
use crate::slots::{Key, Slots};

/// Messages handled in one turn, so that a flood of them does not starve sockets.
const MESSAGES_PER_TURN: usize = 64;

/// A connection, in one of its two lives.
enum Link {
    Login(Box<LoginLink>),
    /// A session, and its leading connection.
    Session(Box<SessionLink>),
    /// A further connection of the session that has this link.
    Member(Key),
}

/// The session that a link's connection belongs to, and the connection's place in it.
fn session_of(links: &mut Slots<Link>, key: Key) -> Option<(&mut SessionLink, ConnectionIndex)> {
    let owner = match links.find(key)? {
        Link::Login(_) => return None,
        Link::Session(_) => key,
        Link::Member(owner) => *owner,
    };
    let Some(Link::Session(session)) = links.find_mut(owner) else {
        return None;
    };
    let c = session.connections.of_link(key)?;
    Some((session, c))
}

/// One worker. Made and run on its own thread.
pub(crate) struct Worker {
    links: Slots<Link>,
    /// Where sessions are, by their number.
    sessions: std::collections::HashMap<SessionId, Key>,
    units: Units,
    listeners: Slots<Listener>,
    /// When the last resting listener has rested.
    listeners_rest: Option<Duration>,
    mailbox: Receiver<Message>,
    /// When what is left is dropped.
    drain: Option<Duration>,
    cx: Cx,
}

impl Worker {
    pub(crate) fn new(
        shared: Arc<Shared>,
        id: WorkerId,
        driver: Box<dyn Driver>,
        slab: Slab,
        mailbox: Receiver<Message>,
        counters: Arc<WorkerCounters>,
    ) -> Self {
        Self {
            links: Slots::default(),
            sessions: std::collections::HashMap::new(),
            units: Units::default(),
            listeners: Slots::default(),
            listeners_rest: None,
            mailbox,
            drain: None,
            cx: Cx::new(shared, id, driver, slab, counters),
        }
    }

    /// Runs until a drain has ended.
    pub(crate) fn run(mut self) {
        let mut completions = Vec::new();
        self.arm_listeners();
        while !self.is_finished() {
            let wait = self.wait();
            self.cx.driver.turn(wait, &mut completions);
            self.cx.now = self.cx.shared.now();
            for completion in completions.drain(..) {
                self.complete(completion);
            }
            for _ in 0..MESSAGES_PER_TURN {
                let Some(message) = self.mailbox.try_receive() else {
                    break;
                };
                self.message(message);
            }
            self.timers();
            self.units.end_transitions(&mut self.cx);
            self.go_on_yielded();
            if self.units.have_own_work() && self.drain.is_none() {
                self.units.drive_own_work(&mut self.cx);
            }
            self.settle();
            self.flush();
            if self.units.has_retiring() {
                self.units.let_go_of_retired(&mut self.cx);
            }
            self.cx.driver.submit();
        }
        self.units.detach_all(&mut self.cx);
        self.wake_the_others();
    }

    /// The drain is over here, and no session is left anywhere: those that still serve homes for sessions look again.
    fn wake_the_others(&mut self) {
        let deadline = self.cx.now;
        for worker in 0..self.cx.shared.mailboxes.len() {
            let to = WorkerId(u16::try_from(worker).unwrap_or(u16::MAX));
            if to != self.cx.id {
                self.cx.send(to, Message::Drain { deadline });
            }
        }
    }

    fn is_finished(&self) -> bool {
        // The homes here serve the sessions of other workers until the last of them is over.
        let quiet = self.links.len() == 0 && self.cx.ops.len() == 0;
        self.drain.is_some() && quiet && !self.cx.shared.has_sessions()
    }

    fn wait(&self) -> Wait {
        let cx = &self.cx;
        let quiet = cx.local.is_empty() && cx.news.is_empty() && cx.dirty.is_empty();
        let own_work = self.units.may_go_on() && self.drain.is_none();
        let busy = !quiet || !cx.yielded.is_empty() || own_work;
        if busy {
            return Wait::Poll;
        }
        let deferred = self.cx.deferred.iter().map(|(at, ..)| *at).min();
        let next = [
            self.cx.timers.next(),
            self.units.next_transition(),
            deferred,
            self.drain.filter(|at| *at > self.cx.now),
        ];
        match next.into_iter().flatten().min() {
            Some(at) => Wait::Until(at.saturating_sub(self.cx.shared.now())),
            None => Wait::Forever,
        }
    }

    fn complete(&mut self, completion: Completion) {
        let (kind, key) = from_token(completion.token);
        match (kind, completion.result) {
            (Kind::Accept, OpResult::Accept(result)) => self.accepted(key, result),
            (
                Kind::Recv,
                OpResult::Recv {
                    result,
                    place,
                    placed_bytes,
                    staging,
                },
            ) => {
                let bytes = result.ok().filter(|n| *n > 0);
                self.received(key, bytes.is_some(), place, placed_bytes, staging.as_ref());
            }
            (Kind::Send, OpResult::Send { result, list }) => {
                self.cx.give_back_list(list);
                self.sent(key, result.is_ok());
            }
            (Kind::Store, result) => {
                let Some(op) = self.cx.ops.find(key) else {
                    return;
                };
                let unit = op.unit;
                if let Some(unit) = self.units.find(unit) {
                    let index = unit.index;
                    unit.store
                        .complete(completion.token, result, &mut self.cx.port(index));
                }
            }
            _ => {}
        }
    }

    fn received(
        &mut self,
        key: Key,
        open: bool,
        place: Option<reactor::Place>,
        placed: usize,
        staging: Option<&reactor::Buffer>,
    ) {
        let Self {
            links, units, cx, ..
        } = self;
        if let Some(Link::Login(login)) = links.find_mut(key) {
            let bytes = open.then(|| staging.map_or(&[][..], |b| &b[..]));
            let fate = login.received(bytes, cx);
            return self.fate(key, fate);
        }
        let Some((session, c)) = session_of(links, key) else {
            return;
        };
        session.received(c, place, placed, staging, units, cx);
        if open {
            session.arm(c, cx);
        } else {
            session.end_connection(c, EndReason::Closed, false, units, cx);
        }
        session.look_at_connection(c, units, cx);
        session.look_at_end(units, cx);
    }

    fn sent(&mut self, key: Key, ok: bool) {
        let Self {
            links, units, cx, ..
        } = self;
        if let Some(Link::Login(login)) = links.find_mut(key) {
            let fate = login.sent(ok, cx);
            return self.fate(key, fate);
        }
        if let Some((session, c)) = session_of(links, key) {
            session.sent(c, ok, units, cx);
        }
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::Adopt(adopted) => self.adopt(*adopted),
            Message::Join(joins) => self.adopt_joining(*joins),
            Message::MayJoin(question) => self.may_join(&question),
            Message::JoinAnswer { login, answer } => {
                if let Some(Link::Login(link)) = self.links.find_mut(login) {
                    let fate = link.join_answer(answer, &mut self.cx);
                    self.fate(login, fate);
                }
            }
            Message::Saved { home, id, durable } => {
                self.units.saved(home, id, durable, &mut self.cx);
            }
            Message::ToHome {
                unit,
                from,
                message,
            } => {
                self.units.handle_to_home(unit, from, message, &mut self.cx);
            }
            Message::WakeHome(unit) => self.units.wake_home(unit, &mut self.cx),
            Message::ToShard { unit, message } => {
                self.units.handle_to_shard(unit, message, &mut self.cx);
            }
            Message::Claim { login, event } => {
                if let Some(Link::Login(link)) = self.links.find_mut(login) {
                    let fate = link.claim_event(event, &mut self.cx);
                    self.fate(login, fate);
                }
            }
            Message::Policy { login, answer } => {
                if let Some(Link::Login(link)) = self.links.find_mut(login) {
                    let fate = link.policy_answer(answer, &mut self.cx);
                    self.fate(login, fate);
                }
            }
            Message::Verdict { login, answer } => {
                if let Some(Link::Login(link)) = self.links.find_mut(login) {
                    let fate = link.verdict_answer(answer, &mut self.cx);
                    self.fate(login, fate);
                }
            }
            Message::Replace(session) => {
                if let Some(key) = self.sessions.get(&session).copied() {
                    self.end_session(key, EndReason::Replaced);
                }
            }
            Message::EndSessionsOf(group) => self.end_sessions_of(group),
            Message::Drain { deadline } => self.start_drain(deadline),
            change => self.change(change),
        }
    }
}

fn seconds_until(at: Duration, now: Duration) -> u16 {
    u16::try_from(at.saturating_sub(now).as_secs()).unwrap_or(u16::MAX)
}
