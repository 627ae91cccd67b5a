//! The client: one connection to one server, and one request at a time on it.

mod plan;
mod types;

use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;

use iscsi_wire::IscsiName;

use self::plan::{Step, Told, plan};
pub use self::types::{Action, ClientConfig, Event, Problem};
use crate::attribute::{Attributes, tag};
use crate::inbound::{Change, Inbound, Notification};
use crate::pdu::{Deframer, Message, function};
use crate::registration::Registration;
use crate::status::Status;

/// Brings a [`Registration`] to a server and keeps it there.
///
/// Tell it what is wanted ([`Self::want`]), what comes ([`Self::handle_received`]) and what time it is
/// ([`Self::handle_timeout`], at the latest when [`Self::poll_timeout`] says). After each of these fetch
/// [`Self::poll_action`] and [`Self::poll_event`] until they have nothing. Time never goes back.
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,
    state: State,
    /// What the server is to know; `None`: nothing.
    wanted: Option<Arc<Registration>>,
    /// What the server knows, or knew when the connection was lost.
    known: Option<Arc<Registration>>,
    /// Something was registered in this client's life: what the server has under our entity is ours.
    ever: bool,
    /// The server inquires; `false` once it has said that it does not.
    inquiries: bool,
    pause: Duration,
    transaction_id: u16,
    actions: VecDeque<Action>,
    events: VecDeque<Event>,
}

#[derive(Debug)]
enum State {
    /// Nothing is wanted, or to be taken away.
    Idle,
    Pausing {
        until: Duration,
    },
    Connecting {
        until: Duration,
    },
    Connected(Connection),
}

#[derive(Debug)]
struct Connection {
    deframer: Deframer,
    /// What the steps lead to.
    goal: Option<Arc<Registration>>,
    steps: VecDeque<Step>,
    asked: Option<Asked>,
    /// The steps bring the server to its goal; `false`: it is there, and they only ask.
    telling: bool,
    /// Seconds after which the server forgets us.
    period_seconds: u32,
    /// When the server has to hear of us next.
    refresh_at: Duration,
    /// Everything is told once on each connection.
    fresh: bool,
}

#[derive(Debug)]
struct Asked {
    transaction_id: u16,
    until: Duration,
    step: Step,
}

impl Client {
    /// A client that wants nothing yet.
    #[must_use]
    pub fn new(config: ClientConfig) -> Self {
        Self {
            config,
            state: State::Idle,
            wanted: None,
            known: None,
            ever: false,
            inquiries: true,
            pause: config.first_pause,
            transaction_id: 0,
            actions: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// What the server is to know from now on. One without a node is as none: an entity is there for its nodes.
    pub fn want(&mut self, now: Duration, registration: Option<Registration>) {
        let wanted = registration.filter(|wanted| !wanted.nodes.is_empty());
        if self.wanted.as_deref() != wanted.as_ref() {
            self.wanted = wanted.map(Arc::new);
        }
        match self.state {
            State::Idle if self.wanted.is_some() => self.connect(now),
            State::Connected(_) => self.advance(now),
            // Without a connection nothing can be taken back: it ends by its period.
            State::Pausing { .. } | State::Connecting { .. } if self.wanted.is_none() => {
                self.actions.push_back(Action::Close);
                self.state = State::Idle;
            }
            _ => {}
        }
    }

    /// Whether nothing is left to do: nothing is wanted, and nothing can be taken away.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// The connection is there.
    pub fn connected(&mut self, now: Duration) {
        if matches!(self.state, State::Connecting { .. }) {
            self.state = State::Connected(Connection {
                deframer: Deframer::default(),
                goal: None,
                steps: VecDeque::new(),
                asked: None,
                telling: false,
                period_seconds: 0,
                refresh_at: now,
                fresh: true,
            });
            self.advance(now);
        }
    }

    /// The connection is lost, or could not be made.
    pub fn disconnected(&mut self, now: Duration) {
        if matches!(self.state, State::Connecting { .. } | State::Connected(_)) {
            self.fail(now, Problem::Connection);
        }
    }

    /// Takes what has come on the connection.
    pub fn handle_received(&mut self, now: Duration, bytes: &[u8]) {
        if let State::Connected(connection) = &mut self.state {
            connection.deframer.push(bytes);
        }
        while let State::Connected(connection) = &mut self.state {
            match connection.deframer.next_message() {
                Ok(Some(message)) if message.function & function::RESPONSE == 0 => {
                    self.handle_request(now, &message);
                }
                Ok(Some(message)) => self.handle_response(now, &message),
                Ok(None) => return,
                Err(error) => self.fail(now, Problem::Frame(error)),
            }
        }
    }

    /// The server told of changes, here or on a connection that it has opened.
    pub fn notified(&mut self, now: Duration, notifications: Vec<Notification>) {
        for notification in notifications {
            let ours = |name: &&IscsiName| name.as_str() == notification.node;
            let known = self.known.as_ref();
            let removed = known
                .filter(|_| notification.change == Change::Removed)
                .and_then(|known| known.nodes.keys().find(ours).cloned());
            // Somebody took a target of ours away. Or it is old news of what we did ourselves: so it is asked for.
            if let (State::Connected(connection), Some(name)) = (&mut self.state, removed) {
                connection.steps.push_back(Step::AskFor(name));
            }
            self.events.push_back(Event::Notified(notification));
        }
        self.advance(now);
    }

    /// When [`Self::handle_timeout`] has to be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        match &self.state {
            State::Idle => None,
            State::Pausing { until } | State::Connecting { until } => Some(*until),
            State::Connected(connection) => Some(match &connection.asked {
                Some(asked) => asked.until,
                None => connection.refresh_at,
            }),
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Duration) {
        if self.poll_timeout().is_none_or(|due| due > now) {
            return;
        }
        match &self.state {
            State::Idle => {}
            State::Pausing { .. } => self.connect(now),
            State::Connecting { .. } => self.fail(now, Problem::Connection),
            State::Connected(connection) if connection.asked.is_some() => {
                self.fail(now, Problem::Silence);
            }
            State::Connected(_) => self.advance(now),
        }
    }

    /// What the owner has to do next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// What happened since it was asked last.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn connect(&mut self, now: Duration) {
        let until = now.saturating_add(self.config.patience);
        self.state = State::Connecting { until };
        self.actions.push_back(Action::Connect);
    }

    fn fail(&mut self, now: Duration, problem: Problem) {
        self.events.push_back(Event::Failed(problem));
        self.actions.push_back(Action::Close);
        if self.wanted.is_none() {
            self.state = State::Idle;
            return;
        }
        let until = now.saturating_add(self.pause);
        self.state = State::Pausing { until };
        self.pause = (self.pause * 2).min(self.config.longest_pause);
    }

    /// Sends the next request, if it is time for one.
    fn advance(&mut self, now: Duration) {
        let State::Connected(connection) = &mut self.state else {
            return;
        };
        if connection.asked.is_some() {
            return;
        }
        if connection.steps.is_empty() {
            let told = !connection.fresh && self.known == self.wanted;
            if !told {
                connection.steps = plan(
                    self.known.as_deref(),
                    self.wanted.as_deref(),
                    Told {
                        fresh: connection.fresh,
                        ever: self.ever,
                        inquiries: self.inquiries,
                    },
                );
                connection.goal.clone_from(&self.wanted);
                connection.period_seconds = self
                    .wanted
                    .as_ref()
                    .map_or(0, |wanted| wanted.period_seconds);
                connection.fresh = false;
                connection.telling = true;
            } else if let (true, Some(source)) = (
                connection.refresh_at <= now,
                self.known.as_ref().and_then(|known| known.source()),
            ) {
                connection.steps.push_back(Step::AskFor(source.clone()));
            }
        }
        match connection.steps.pop_front() {
            Some(step) => self.ask(now, step),
            None if self.wanted.is_none() => {
                self.state = State::Idle;
                self.actions.push_back(Action::Close);
            }
            None => {}
        }
    }

    fn ask(&mut self, now: Duration, step: Step) {
        // RFC 4171 §5.1.5: unique among the requests outstanding, of which there is one.
        self.transaction_id = self.transaction_id.wrapping_add(1);
        let message = step.message(self.transaction_id);
        let mut bytes = Vec::new();
        message.emit(&mut bytes);
        self.actions.push_back(Action::Send(bytes));
        if let State::Connected(connection) = &mut self.state {
            connection.asked = Some(Asked {
                transaction_id: self.transaction_id,
                until: now.saturating_add(self.config.patience),
                step,
            });
        }
    }

    fn handle_request(&mut self, now: Duration, message: &Message) {
        let entity = self.known.as_ref().or(self.wanted.as_ref());
        let entity = entity.map_or("", |registration| registration.entity.as_str());
        let Inbound {
            reply,
            notifications,
        } = Inbound::answer(message, entity);
        let mut bytes = Vec::new();
        reply.emit(&mut bytes);
        self.actions.push_back(Action::Send(bytes));
        self.notified(now, notifications);
    }

    fn handle_response(&mut self, now: Duration, message: &Message) {
        let State::Connected(connection) = &mut self.state else {
            return;
        };
        let answers = |asked: &mut Asked| {
            asked.transaction_id == message.transaction_id
                && asked.step.function() | function::RESPONSE == message.function
        };
        // A response to nothing that was asked: late, or a mistake of the server's.
        let Some(asked) = connection.asked.take_if(answers) else {
            return;
        };
        let Some((status, rest)) = message.payload.split_first_chunk::<4>() else {
            return self.fail(now, Problem::Registration(Status::MESSAGE_FORMAT_ERROR));
        };
        let status = Status(u32::from_be_bytes(*status));
        self.take_answer(now, &asked.step, status, rest);
        self.advance(now);
    }

    fn take_answer(&mut self, now: Duration, step: &Step, status: Status, rest: &[u8]) {
        let State::Connected(connection) = &mut self.state else {
            return;
        };
        let successful = status == Status::SUCCESSFUL;
        match step {
            Step::Register { .. } if successful => {
                // RFC 4171 §5.7.5.1: the server may have chosen another period; 0 is for those that it inquires of.
                if let Some(period) = told_number(rest, tag::REGISTRATION_PERIOD)
                    && period != 0
                {
                    connection.period_seconds = period;
                }
                connection.refresh(now);
            }
            // RFC 4171 §6.3.4: the server does not inquire, or not so often. It is asked for no inquiries then.
            Step::Register { .. } if status == Status::ESI_NOT_AVAILABLE && self.inquiries => {
                self.inquiries = false;
                connection.steps.clear();
                connection.fresh = true;
                self.events.push_back(Event::Failed(Problem::Inquiries));
                return;
            }
            Step::Register { .. } => return self.fail(now, Problem::Registration(status)),
            Step::DeregisterEntity(_) if successful => self.events.push_back(Event::Deregistered),
            Step::Deregister(_) | Step::DeregisterEntity(_) if !successful => {
                let problem = Problem::Deregistration(status);
                self.events.push_back(Event::Failed(problem));
            }
            Step::AskForChanges(_) if !successful => {
                // The same will be said of every node.
                let more = |step: &Step| !matches!(step, Step::AskForChanges(_));
                connection.steps.retain(more);
                let problem = Problem::Notifications(status);
                self.events.push_back(Event::Failed(problem));
            }
            Step::AskFor(_) if !successful || told_nothing(rest) => {
                self.events.push_back(Event::Forgotten);
                connection.steps.clear();
                connection.fresh = true;
                return;
            }
            Step::AskFor(_) => connection.refresh(now),
            _ => {}
        }
        if connection.steps.is_empty() && core::mem::take(&mut connection.telling) {
            let goal = connection.goal.clone();
            self.reached(goal);
        }
    }

    /// The server knows what it was to know.
    fn reached(&mut self, goal: Option<Arc<Registration>>) {
        self.pause = self.config.first_pause;
        if let Some(goal) = &goal {
            self.ever = true;
            let nodes = goal.nodes.len();
            self.events.push_back(Event::Registered { nodes });
        }
        self.known = goal;
    }
}

impl Connection {
    /// The server has heard of us: the next time a third of the period from now, so that two messages may be lost.
    fn refresh(&mut self, now: Duration) {
        let seconds = (self.period_seconds / 3).max(1);
        self.refresh_at = now.saturating_add(Duration::from_secs(seconds.into()));
    }
}

/// A number among the operating attributes of a response.
fn told_number(payload: &[u8], tag: u32) -> Option<u32> {
    operating(payload).find(|(found, _)| *found == tag)?.1
}

/// Whether a query found nothing (§5.6.5.2: then it has no operating attributes).
fn told_nothing(payload: &[u8]) -> bool {
    operating(payload).next().is_none()
}

/// Tags and numbers behind the delimiter.
fn operating(payload: &[u8]) -> impl Iterator<Item = (u32, Option<u32>)> + '_ {
    Attributes::new(payload)
        .map_while(Result::ok)
        .skip_while(|attribute| attribute.tag != tag::DELIMITER)
        .skip(1)
        .map(|attribute| (attribute.tag, attribute.number()))
}

#[cfg(test)]
mod tests;
