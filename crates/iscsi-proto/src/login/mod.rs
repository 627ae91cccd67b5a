//! The login phase of one connection (RFC 7143 §6.3): from the first byte to the session, or to the refusal.
//!
//! Knows the phase's rules, and neither sockets nor targets nor secrets: it asks its owner which target is meant
//! ([`LoginEvent::Resolve`]), how that initiator must authenticate itself ([`LoginEvent::Policy`]), whether it has
//! ([`LoginEvent::Verify`]), and whether the session may be ([`LoginEvent::Commit`]). The questions come in this order
//! and each at most once. No way through the phase leads to the last one round the third where the policy asks for it:
//! what commits carries a proof that only the module `security` makes.

mod dialogue;
mod error;
mod flow;
mod header;
mod inbound;
mod outbound;
mod security;
mod types;

use core::fmt;
use core::time::Duration;

use auth::{Policy, Verdict};
use iscsi_wire::{LoginStatus, Redirection, SerialNumber, Tsih};

use self::flow::State;
use self::header::Headers;
use self::inbound::{Inbound, Progress};
use self::outbound::Outbound;

pub use error::LoginError;
pub use types::{
    CommitRequest, Established, JoinedWindow, LoginConfig, LoginEvent, LoginIdentity, LoginLimits,
    SessionType, TargetOffer,
};

/// One connection's login.
///
/// Give it bytes with [`Self::handle_received`] and time with [`Self::handle_timeout`]. After each of these, and after
/// each answer, fetch [`Self::poll_event`] and [`Self::poll_transmit`]. While a question is open no bytes are taken;
/// offer the rest again once it is answered. Answers that come when nobody asks (any more) are ignored. Time never goes
/// back.
///
/// Plain data, bounded by [`LoginLimits`]; dropped, it leaves nothing behind.
#[derive(Clone)]
pub struct Login {
    config: LoginConfig,
    chap_random: [u8; auth::RANDOM_BYTES],
    inbound: Inbound,
    headers: Headers,
    outbound: Outbound,
    event: Option<LoginEvent>,
    state: State,
    error: Option<LoginError>,
}

impl Login {
    /// A connection on which nothing has come yet. `random` must be fresh from a good source: CHAP's identifier and
    /// challenge and the first StatSN are made of it.
    #[must_use]
    pub fn new(config: LoginConfig, now: Duration, random: [u8; 64]) -> Self {
        let mut chap_random = [0; auth::RANDOM_BYTES];
        for (place, byte) in chap_random.iter_mut().zip(random) {
            *place = byte;
        }
        let [.., a, b, c, d] = random;
        let stat_sn = SerialNumber(u32::from_be_bytes([a, b, c, d]));
        let mut login = Self {
            config,
            chap_random,
            inbound: Inbound::new(),
            headers: Headers::default(),
            outbound: Outbound::new(stat_sn),
            event: None,
            state: State::Opening,
            error: None,
        };
        login.handle_timeout(now);
        login
    }

    /// Takes bytes of the stream, up to the next event; how many. Bytes behind the last Login Request are never taken:
    /// they belong to the session. After a refusal everything is, and dropped.
    pub fn handle_received(&mut self, now: Duration, bytes: &[u8]) -> usize {
        self.handle_timeout(now);
        let mut taken = 0;
        while self.state.is_receiving() && self.event.is_none() {
            match self.inbound.progress() {
                Progress::Header(bhs) => {
                    let (stage, limits) = (self.state.stage(), self.config.limits);
                    match self.headers.admit(&bhs, stage, &self.inbound, &limits) {
                        Ok(request) => self.inbound.expect(request),
                        Err(error) => self.fail(error),
                    }
                }
                Progress::Request(request) => self.handle_request(&request),
                Progress::More => match bytes.get(taken..) {
                    None | Some([]) => break,
                    Some(rest) => taken += self.inbound.fill(rest),
                },
            }
        }
        if self.error.is_some() {
            bytes.len()
        } else {
            taken
        }
    }

    /// What the login wants of its owner, if anything.
    pub fn poll_event(&mut self) -> Option<LoginEvent> {
        self.event.take()
    }

    /// Appends the responses that are ready to be sent: whole PDUs.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) {
        self.outbound.drain_into(out);
    }

    /// When [`Self::handle_timeout`] has to be called at the latest: the deadline of the whole login. While the owner
    /// commits there is none, since that wait has an end of its own.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.state.has_deadline().then_some(self.config.deadline)
    }

    /// Ends the login where its deadline has passed: the connection closes without a response.
    pub fn handle_timeout(&mut self, now: Duration) {
        if self.state.has_deadline() && now >= self.config.deadline {
            self.fail(LoginError::DeadlinePassed);
        }
    }

    /// Answers [`LoginEvent::Resolve`]: what stands behind that name, or the status that says why nothing does. Where
    /// the identity's TSIH is not zero, the initiator wants to add a connection to that session or to reinstate one:
    /// the offer has that session's window then; an owner that cannot do so answers with 0206h, 0208h or 020Ah (RFC 7143
    /// §6.3.1).
    pub fn resolved(&mut self, answer: Result<TargetOffer, LoginStatus>) {
        self.step(|login, state| match state {
            State::Resolving(opened) => login.take_target(*opened, answer),
            other => Ok(other),
        });
    }

    /// Answers [`LoginEvent::Policy`]; `None` where the authenticator has no answer.
    pub fn policy_is(&mut self, policy: Option<Policy>) {
        self.step(|login, state| match state {
            State::AwaitingPolicy(found) => login.take_policy(*found, policy),
            other => Ok(other),
        });
    }

    /// Answers [`LoginEvent::Verify`]; `None` where the authenticator has no answer.
    pub fn verdict_is(&mut self, verdict: Option<Verdict>) {
        self.step(|login, state| match state {
            State::Verifying(verifying) => login.take_verdict(*verifying, verdict),
            other => Ok(other),
        });
    }

    /// Ends the login with this status, at any time: the target is gone, the nexus cannot be had. A status of class 0
    /// is sent as 0300h.
    pub fn refuse(&mut self, status: LoginStatus) {
        if !matches!(self.state, State::Over) {
            self.fail(LoginError::Refused(status));
        }
    }

    /// Ends the login with a redirection to another address, at any time (RFC 7143 §11.13.5).
    pub fn redirect(&mut self, redirection: &Redirection) {
        if !matches!(self.state, State::Over) {
            self.send_elsewhere(redirection);
        }
    }

    /// Answers [`LoginEvent::Commit`]: the session exists, under this handle. The final response is in what is returned
    /// and nowhere else, and so is the refusal that takes its place where the session cannot be after all. In a login to
    /// an existing session the handle is that session's.
    ///
    /// # Panics
    /// Where no [`LoginEvent::Commit`] is open: see [`Self::is_committing`].
    #[must_use]
    pub fn commit(&mut self, tsih: Tsih) -> Established {
        let State::Committing(committing) = core::mem::replace(&mut self.state, State::Over) else {
            panic!("a login was committed that did not ask for it");
        };
        let request = &committing.request;
        let text = &committing.text;
        let words = self.outbound.last_words(request, tsih, text);
        let window = self.outbound.window(request);
        let first_exp_stat_sn = self.headers.first.unwrap_or_default().exp_stat_sn;
        let CommitRequest {
            identity,
            portal_group_tag,
            authenticated_as,
            acl,
            params,
        } = committing.outcome;
        Established {
            identity,
            tsih,
            portal_group_tag,
            authenticated_as,
            acl,
            params,
            exp_cmd_sn: window.exp_cmd_sn,
            max_cmd_sn: window.max_cmd_sn,
            first_exp_stat_sn,
            stat_sn: words.stat_sn,
            final_response: words.final_response,
            refusal: words.refusal,
            portal: self.config.portal,
            peer: self.config.peer,
        }
    }

    /// Whether [`LoginEvent::Commit`] has come and is not answered.
    #[must_use]
    pub const fn is_committing(&self) -> bool {
        matches!(self.state, State::Committing(_))
    }

    /// Why the login ended without a session, once it has: for the log.
    #[must_use]
    pub const fn error(&self) -> Option<&LoginError> {
        self.error.as_ref()
    }
}

// Text of the peer and our challenge stand in here: together they let a reader of the log guess at a secret.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("peer", &self.config.peer)
            .field("event", &self.event)
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
