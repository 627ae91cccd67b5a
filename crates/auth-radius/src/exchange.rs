//! Questions to RADIUS servers in flight: identifiers, retransmission, the next server. No I/O, no clock, no randomness.
//!
//! A question goes to the first server that is thought to be up. Unanswered it is sent again, the same packet with the same
//! identifier (RFC 2865 §2.5), and after the last time it goes to the next server as a request of its own. A server that
//! left a question without an answer comes last for a while.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::packet::{
    AUTHENTICATOR_BYTES, Credentials, Nas, NoReply, Reply, identifier_of, parse_reply,
};

/// How long a server that did not answer comes after those that do.
const SHUNNED: Duration = Duration::from_secs(30);

/// Requests to one server without an answer: identifiers are bytes.
const IDENTIFIERS: usize = 256;

/// How patient the exchange is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience {
    /// Until a packet is sent again.
    pub(crate) interval: Duration,
    /// How many times a packet is sent to one server; at least once.
    pub(crate) tries: u32,
}

/// What the asker gets. The token is the asker's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) token: u64,
    pub(crate) end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Accept,
    Reject,
    /// A name or the challenge does not fit into the protocol.
    Unfit,
    /// No server has answered, or there are too many questions.
    NoAnswer,
}

/// A packet to a server.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Transmit {
    pub(crate) server: usize,
    pub(crate) packet: Vec<u8>,
}

/// What the operator should hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// This server has not answered a question.
    Silent(usize),
    /// What came from this server was dropped.
    Dropped(usize, NoReply),
}

/// The shared secret with one server.
pub(crate) type SharedSecret = Zeroizing<Vec<u8>>;

pub(crate) struct Exchange {
    servers: Vec<Server>,
    nas: Nas,
    patience: Patience,
    transmits: VecDeque<Transmit>,
    outcomes: VecDeque<Outcome>,
    notices: VecDeque<Notice>,
}

struct Server {
    secret: SharedSecret,
    /// By identifier.
    in_flight: Vec<Option<InFlight>>,
    /// The identifier to be tried first for the next request.
    next: usize,
    shunned_until: Option<Instant>,
}

struct InFlight {
    question: Question,
    packet: Vec<u8>,
    authenticator: [u8; AUTHENTICATOR_BYTES],
    tries_left: u32,
    resend_at: Instant,
}

struct Question {
    token: u64,
    credentials: Credentials,
    /// Servers that it has not been sent to, the next one last.
    servers_left: Vec<usize>,
}

/// Where the 16 unpredictable bytes of a Request Authenticator come from (RFC 2865 §3). `None`: there are none now.
pub(crate) type Random<'a> = &'a mut dyn FnMut() -> Option<[u8; AUTHENTICATOR_BYTES]>;

impl Exchange {
    /// The servers in the order of preference, each by its secret.
    pub(crate) fn new(secrets: Vec<SharedSecret>, nas: Nas, patience: Patience) -> Self {
        let server = |secret| Server {
            secret,
            in_flight: std::iter::repeat_with(|| None).take(IDENTIFIERS).collect(),
            next: 0,
            shunned_until: None,
        };
        Self {
            servers: secrets.into_iter().map(server).collect(),
            nas,
            patience,
            transmits: VecDeque::new(),
            outcomes: VecDeque::new(),
            notices: VecDeque::new(),
        }
    }

    /// A question. Its [`Outcome`] comes sooner or later, once.
    pub(crate) fn begin(
        &mut self,
        token: u64,
        credentials: Credentials,
        now: Instant,
        random: Random<'_>,
    ) {
        let shunned = |at: usize| {
            let server = self.servers.get(at);
            server.is_some_and(|server| server.shunned_until.is_some_and(|until| now < until))
        };
        let (last, first): (Vec<_>, Vec<_>) =
            (0..self.servers.len()).partition(|server| shunned(*server));
        let servers_left = last.into_iter().rev().collect::<Vec<_>>();
        let servers_left = servers_left
            .into_iter()
            .chain(first.into_iter().rev())
            .collect();
        let question = Question {
            token,
            credentials,
            servers_left,
        };
        self.ask_next(question, now, random);
    }

    /// A datagram from a server.
    pub(crate) fn handle_datagram(&mut self, at: usize, datagram: &[u8]) {
        let Some(server) = self.servers.get_mut(at) else {
            return;
        };
        let slot = identifier_of(datagram)
            .and_then(|identifier| server.in_flight.get_mut(usize::from(identifier)));
        // Nothing has this identifier: a reply that came twice, or late.
        let Some(slot) = slot else { return };
        let Some(in_flight) = slot else { return };
        match parse_reply(datagram, &in_flight.authenticator, &server.secret) {
            Ok(reply) => {
                let token = in_flight.question.token;
                *slot = None;
                server.shunned_until = None;
                self.outcomes.push_back(Outcome {
                    token,
                    end: reply.into(),
                });
            }
            Err(reason) => self.notices.push_back(Notice::Dropped(at, reason)),
        }
    }

    /// Sends again what is due, and gives up what was sent often enough.
    pub(crate) fn handle_timeout(&mut self, now: Instant, random: Random<'_>) {
        let mut unanswered = Vec::new();
        for (at, server) in self.servers.iter_mut().enumerate() {
            let mut silent = false;
            for slot in &mut server.in_flight {
                let Some(due) = slot.as_mut().filter(|it| it.resend_at <= now) else {
                    continue;
                };
                if due.tries_left > 0 {
                    due.tries_left = due.tries_left.saturating_sub(1);
                    due.resend_at = now.checked_add(self.patience.interval).unwrap_or(now);
                    self.transmits.push_back(Transmit {
                        server: at,
                        packet: due.packet.clone(),
                    });
                } else {
                    silent = true;
                    unanswered.extend(slot.take().map(|given_up| given_up.question));
                }
            }
            if silent {
                server.shunned_until = now.checked_add(SHUNNED);
                self.notices.push_back(Notice::Silent(at));
            }
        }
        for question in unanswered {
            self.ask_next(question, now, random);
        }
    }

    /// When [`Self::handle_timeout`] is to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let in_flight = self.servers.iter().flat_map(|server| &server.in_flight);
        in_flight.flatten().map(|it| it.resend_at).min()
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    pub(crate) fn poll_outcome(&mut self) -> Option<Outcome> {
        self.outcomes.pop_front()
    }

    pub(crate) fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// Sends the question to the next server that has an identifier free.
    fn ask_next(&mut self, mut question: Question, now: Instant, random: Random<'_>) {
        while let Some(at) = question.servers_left.pop() {
            let Some(server) = self.servers.get_mut(at) else {
                continue;
            };
            let (Some(identifier), Some(authenticator)) = (server.free_identifier(), random())
            else {
                continue;
            };
            let packet =
                question
                    .credentials
                    .emit(identifier, &authenticator, &self.nas, &server.secret);
            let Some(packet) = packet else {
                return self.end(question.token, End::Unfit);
            };
            self.transmits.push_back(Transmit {
                server: at,
                packet: packet.clone(),
            });
            server.put(
                identifier,
                InFlight {
                    question,
                    packet,
                    authenticator,
                    tries_left: self.patience.tries.saturating_sub(1),
                    resend_at: now.checked_add(self.patience.interval).unwrap_or(now),
                },
            );
            return;
        }
        self.end(question.token, End::NoAnswer);
    }

    fn end(&mut self, token: u64, end: End) {
        self.outcomes.push_back(Outcome { token, end });
    }
}

impl Server {
    /// The identifier that has been free for longest, so that a late reply finds it free still.
    fn free_identifier(&self) -> Option<u8> {
        (0..IDENTIFIERS)
            .map(|step| (self.next + step) % IDENTIFIERS)
            .find(|at| self.in_flight.get(*at).is_some_and(Option::is_none))
            .and_then(|at| u8::try_from(at).ok())
    }

    fn put(&mut self, identifier: u8, in_flight: InFlight) {
        let at = usize::from(identifier);
        self.next = (at + 1) % IDENTIFIERS;
        if let Some(slot) = self.in_flight.get_mut(at) {
            *slot = Some(in_flight);
        }
    }
}

impl From<Reply> for End {
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Accept => Self::Accept,
            Reply::Reject => Self::Reject,
        }
    }
}

// A challenge and its response let a reader guess at the secret at leisure.
impl fmt::Debug for Transmit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transmit")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
