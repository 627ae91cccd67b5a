//! One worker: a completion loop on a thread of its own, with the connections, sessions and shards that live on it.
//!
//! A turn: completions of the driver, messages of other workers, timers; then what these set going is settled until nothing
//! moves, answers are gathered, and everything is submitted at once. Nothing here waits but the driver.

mod accept;
mod change;
mod control;
mod cx;
mod ending;
mod io;
mod login;
mod peer_log;
mod receive;
mod remap;
mod session;
mod step;
mod task;
mod tmf;
mod transmit;
mod unit;

use std::sync::Arc;
use std::time::Duration;

use iscsi_proto::session::TaskId;
use reactor::mailbox::Receiver;
use reactor::{Completion, Driver, OpResult, Slab, Wait};
use scsi::lu::{ActionResult, TaskKey};

use self::accept::Listener;
use self::control::Control;
use self::cx::{Cx, Kind, News, from_control_key, from_task_key, from_token};
use self::ending::EndReason;
use self::login::{Become, Fate, LoginLink};
use self::session::SessionLink;
use self::task::State;
use self::unit::Units;
use crate::counters::WorkerCounters;
use crate::shared::{Adopted, Message, ObjectIdOfGroup, SessionId, Shared, WorkerId};
use crate::slots::{Key, Slots};

/// Messages handled in one turn, so that a flood of them does not starve sockets.
const MESSAGES_PER_TURN: usize = 64;

/// Tasks waiting for memory that are tried again in one turn.
const STARVING_PER_TURN: usize = 16;

/// A connection, in one of its two lives.
enum Link {
    Login(Box<LoginLink>),
    Session(Box<SessionLink>),
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
            self.go_on_yielded();
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
        let busy = !quiet || !cx.yielded.is_empty();
        if busy {
            return Wait::Poll;
        }
        let deferred = self.cx.deferred.iter().map(|(at, ..)| *at).min();
        let next = [
            self.cx.timers.next(),
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
        match links.find_mut(key) {
            Some(Link::Login(login)) => {
                let bytes = open.then(|| staging.map_or(&[][..], |b| &b[..]));
                let fate = login.received(bytes, cx);
                self.fate(key, fate);
            }
            Some(Link::Session(session)) => {
                session.received(place, placed, staging, units, cx);
                if open {
                    session.arm(cx);
                } else {
                    session.end(EndReason::Closed, false, units, cx);
                }
                session.look_at_end(units, cx);
            }
            None => {}
        }
    }

    fn sent(&mut self, key: Key, ok: bool) {
        let Self {
            links, units, cx, ..
        } = self;
        match links.find_mut(key) {
            Some(Link::Login(login)) => {
                let fate = login.sent(ok, cx);
                self.fate(key, fate);
            }
            Some(Link::Session(session)) => {
                session.sending = None;
                session.give_back_sent();
                session.release_pins(units, cx);
                if !ok {
                    session.end(EndReason::Closed, false, units, cx);
                }
                session.mark_dirty(cx);
                session.look_at_end(units, cx);
            }
            None => {}
        }
    }

    fn fate(&mut self, key: Key, fate: Fate) {
        match fate {
            Fate::Goes => {}
            Fate::Over => {
                if let Some(Link::Login(login)) = self.links.remove(key) {
                    self.login_over(&login);
                }
            }
            Fate::Session(session) => self.place_session(key, *session),
        }
    }

    /// A login has become a session: it stays here, or moves.
    fn place_session(&mut self, key: Key, session: Become) {
        if let Some(Link::Login(login)) = self.links.find_mut(key) {
            debug_assert!(!login.in_flight(), "a connection moves only at rest");
            let login_peer = login.peer;
            self.give_back_login_slot(login_peer);
        }
        if session.worker == self.cx.id {
            let Become {
                session: id,
                established,
                place,
                unread,
                socket,
                ..
            } = session;
            let link = SessionLink::new(key, id, socket, established, place, &self.cx);
            if let Some(slot) = self.links.find_mut(key) {
                *slot = Link::Session(Box::new(link));
            }
            self.start_session(key, id, &unread);
            return;
        }
        self.links.remove(key);
        let Some(fd) = self.cx.driver.take_socket(session.socket) else {
            tracing::error!(
                session = session.session.0,
                "a connection was not at rest; it is dropped"
            );
            self.cx.driver.close_socket(session.socket);
            self.session_over(
                session.place.group.as_ref(),
                session.session,
                session.worker,
            );
            return;
        };
        let adopted = Adopted {
            fd,
            established: session.established,
            unread: session.unread,
            id: session.session,
            place: session.place,
        };
        self.cx
            .send(session.worker, Message::Adopt(Box::new(adopted)));
    }

    /// Takes over a session that logged in on another worker.
    fn adopt(&mut self, adopted: Adopted) {
        let Adopted {
            fd,
            established,
            unread,
            id,
            place,
        } = adopted;
        let Ok(socket) = self.cx.driver.add_socket(fd) else {
            return self.session_over(place.group.as_ref(), id, self.cx.id);
        };
        let placeholder = Key {
            index: 0,
            generation: 0,
        };
        let link = SessionLink::new(placeholder, id, socket, established, place, &self.cx);
        let key = self.links.insert(Link::Session(Box::new(link)));
        if let Some(Link::Session(link)) = self.links.find_mut(key) {
            link.key = key;
        }
        self.start_session(key, id, &unread);
    }

    fn start_session(&mut self, key: Key, id: SessionId, unread: &[u8]) {
        self.sessions.insert(id, key);
        self.cx.counters.sessions.add(1);
        let drain = self.drain;
        let Self {
            links, units, cx, ..
        } = self;
        let Some(Link::Session(link)) = links.find_mut(key) else {
            return;
        };
        if let Err(why) = link.start(cx) {
            return self.not_started(key, why);
        }
        if let Some(observer) = &cx.shared.config.observer {
            observer.session_started(link.record.info(cx.now));
        }
        link.mark_dirty(cx);
        link.arm_timer(cx);
        link.handle_unread(unread, units, cx);
        link.arm(cx);
        if let Some(at) = drain {
            link.request_logout(seconds_until(at, cx.now), cx);
        }
    }

    /// A session's last I/O has left: its nexus is free.
    fn session_over(
        &mut self,
        group: Option<&Arc<crate::shared::Group>>,
        id: SessionId,
        worker: WorkerId,
    ) {
        if let Some(group) = group {
            group.registry.closed(id.0);
        }
        self.cx.shared.directory.remove(id);
        self.cx.shared.session_left(worker);
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::Adopt(adopted) => self.adopt(*adopted),
            Message::ToHome {
                unit,
                from,
                message,
            } => {
                self.units.handle_to_home(unit, from, message, &mut self.cx);
            }
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

    fn end_session(&mut self, key: Key, reason: EndReason) {
        let Self {
            links, units, cx, ..
        } = self;
        if let Some(Link::Session(link)) = links.find_mut(key) {
            link.end(reason, false, units, cx);
        }
    }

    fn end_sessions_of(&mut self, group: ObjectIdOfGroup) {
        for key in self.links.keys() {
            let Self {
                links, units, cx, ..
            } = self;
            if let Some(Link::Session(link)) = links.find_mut(key)
                && link.group().is_some_and(|g| g.identity() == group)
            {
                // The response to the reset is on its way: it goes first.
                link.end(EndReason::Reset, true, units, cx);
            }
        }
    }

    /// Refuses new logins, asks every session to log out, and drops what is left at the deadline.
    fn start_drain(&mut self, deadline: Duration) {
        self.close_listeners();
        let earlier = self.drain.map_or(deadline, |at| at.min(deadline));
        self.drain = Some(earlier);
        let seconds = seconds_until(earlier, self.cx.now);
        for key in self.links.keys() {
            match self.links.find_mut(key) {
                Some(Link::Login(login)) => {
                    let fate = login.close(&mut self.cx);
                    self.fate(key, fate);
                }
                Some(Link::Session(session)) => session.request_logout(seconds, &mut self.cx),
                None => {}
            }
        }
    }

    fn timers(&mut self) {
        let now = self.cx.now;
        while let Some(key) = self.cx.timers.pop_due(now) {
            let Self {
                links, units, cx, ..
            } = self;
            match links.find_mut(key) {
                Some(Link::Login(login)) => {
                    let fate = login.timer_due(cx);
                    self.fate(key, fate);
                }
                Some(Link::Session(session)) => session.timer_due(units, cx),
                None => {}
            }
        }
        self.listener_timers();
        if self.drain.is_some_and(|at| at <= now) {
            for key in self.links.keys() {
                self.end_session(key, EndReason::Drained);
            }
        }
    }

    /// Works until nothing is left to do without waiting.
    fn settle(&mut self) {
        loop {
            if let Some(message) = self.cx.local.pop_front() {
                self.message(message);
            } else if let Some((key, news)) = self.cx.news.pop_front() {
                self.news(key, news);
            } else if let Some(done) = self.cx.done.pop_front() {
                self.store_done(done);
            } else if let Some((link, task)) = self.cx.drained.pop_front() {
                self.drained(link, task);
            } else if let Some(key) = self.cx.ended.pop() {
                self.ended(key);
            } else if !self.submit_deferred() {
                break;
            }
        }
        self.feed();
        if !self.cx.local.is_empty() || !self.cx.news.is_empty() || !self.cx.done.is_empty() {
            self.settle();
        }
    }

    fn store_done(&mut self, done: backstores::IoDone) {
        let (_, op) = from_token(done.token);
        let Some(op) = self.cx.ops.find(op).copied() else {
            return;
        };
        let Self {
            links, units, cx, ..
        } = self;
        match links.find_mut(op.link) {
            Some(Link::Session(link)) => link.handle_store_done(op.task, done, units, cx),
            _ => {
                let (_, key) = from_token(done.token);
                cx.ops.remove(key);
            }
        }
    }

    fn news(&mut self, key: TaskKey, news: News) {
        if let Some(control) = from_control_key(key) {
            return self.control_news(control, news);
        }
        let (index, _) = from_task_key(key);
        let Some(link_key) = self.links.key_at(index) else {
            return;
        };
        let Self {
            links, units, cx, ..
        } = self;
        let Some(Link::Session(link)) = links.find_mut(link_key) else {
            return;
        };
        let Some(id) = link.task_of(key) else { return };
        match news {
            News::Abort => link.abort(id, units, cx),
            _ if link.task(id).is_none_or(|t| t.aborting) => {}
            News::Wake => link.go_on(id, step::Event::Lifted, units, cx),
            News::Granted => link.go_on(id, step::Event::Granted, units, cx),
            News::Completed(ActionResult::Done) => {
                link.go_on(id, step::Event::Granted, units, cx);
            }
            News::Completed(_) => link.go_on(id, step::Event::Refused, units, cx),
        }
    }

    fn control_news(&mut self, key: Key, news: News) {
        if !matches!(news, News::Completed(_)) {
            return;
        }
        let Some(control) = self.cx.controls.remove(key) else {
            return;
        };
        let Self { links, cx, .. } = self;
        let link = ending::link_of(control).and_then(|link| links.find_mut(link));
        let Some(Link::Session(link)) = link else {
            return;
        };
        match control {
            Control::Tmf { handle, .. } => link.home_answered(handle, cx),
            Control::Detach { .. } => link.detached(cx),
            Control::Unmap { unit, .. } => link.unmapped(unit, cx),
            Control::Pin => {}
        }
    }

    /// A window has been gathered: the next read of its task may start.
    fn drained(&mut self, key: Key, id: TaskId) {
        self.run_parked(key, id, |state| matches!(state, State::Undrained(_)));
    }

    /// Runs the step that a task was parked with, if it still is, in a state of this kind.
    fn run_parked(&mut self, key: Key, id: TaskId, kind: impl Fn(&State) -> bool) {
        let Self {
            links, units, cx, ..
        } = self;
        let Some(Link::Session(link)) = links.find_mut(key) else {
            return;
        };
        let Some(task) = link.task(id) else { return };
        if task.aborting || !kind(&task.state) {
            return;
        }
        if let Some(step) = task.take_parked() {
            link.run(id, step, units, cx);
        }
    }

    fn ended(&mut self, key: Key) {
        let Some(Link::Session(link)) = self.links.remove(key) else {
            return;
        };
        self.sessions.remove(&link.id);
        if let Some(observer) = &self.cx.shared.config.observer {
            observer.session_ended(link.record.info(self.cx.now), link.end_reason);
        }
        self.cx.counters.sessions.subtract(1);
        self.session_over(link.group(), link.id, self.cx.id);
    }

    /// Memory may have come back: tasks that wait for it are tried in their order.
    fn feed(&mut self) {
        for _ in 0..self.cx.starving.len().min(STARVING_PER_TURN) {
            let Some((key, id)) = self.cx.starving.pop_front() else {
                break;
            };
            self.run_parked(key, id, |state| matches!(state, State::Starving(_)));
        }
    }

    /// Long commands go on after everybody else has had a turn.
    fn go_on_yielded(&mut self) {
        for _ in 0..self.cx.yielded.len() {
            let Some((key, id)) = self.cx.yielded.pop_front() else {
                break;
            };
            self.run_parked(key, id, |state| matches!(state, State::Yielded(_)));
        }
    }

    /// Filters' requests whose time has come. Returns whether there was one.
    fn submit_deferred(&mut self) -> bool {
        let now = self.cx.now;
        let Some(at) = self.cx.deferred.iter().position(|(due, ..)| *due <= now) else {
            return false;
        };
        let (_, index, request) = self.cx.deferred.swap_remove(at);
        if let Some(unit) = self.units.find(index) {
            unit.store.submit(request, &mut self.cx.port(index));
        }
        true
    }

    fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.cx.dirty);
        for key in dirty.drain(..) {
            let Self {
                links, units, cx, ..
            } = self;
            if let Some(Link::Session(link)) = links.find_mut(key) {
                link.flush(units, cx);
                link.look_at_leaving(units, cx);
            }
        }
        // Flushing may have marked others; they keep their place for the next turn.
        dirty.append(&mut self.cx.dirty);
        self.cx.dirty = dirty;
        // What gathering has set free goes on within this turn.
        if !self.cx.drained.is_empty() || !self.cx.ended.is_empty() {
            self.settle();
        }
    }
}

fn seconds_until(at: Duration, now: Duration) -> u16 {
    u16::try_from(at.saturating_sub(now).as_secs()).unwrap_or(u16::MAX)
}
