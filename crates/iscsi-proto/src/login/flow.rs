//! The states of a login and the ways between them.

use auth::{Policy, PolicyRequest, Verdict};
use iscsi_wire::keys::Key;
use iscsi_wire::text::TextWriter;
use iscsi_wire::{LoginRequest, LoginStatus, Redirection, Stage};

use super::Login;
use super::dialogue::{Dialogue, Opened};
use super::error::LoginError;
use super::outbound::Turn;
use super::security::{Authorised, Demand, Security};
use super::types::{CommitRequest, LoginConfig, LoginEvent, SessionType, TargetOffer};
use crate::negotiate::Pair;

/// Where a login stands. Each state has what is known in it, and no more.
#[derive(Clone)]
pub(super) enum State {
    /// Before the first complete request.
    Opening,
    /// The owner looks for the target.
    Resolving(Box<Opened>),
    /// The authenticator looks for the policy.
    AwaitingPolicy(Box<Found>),
    /// Security negotiation: the next request is awaited.
    Security(Box<Securing>),
    /// Security negotiation: the authenticator verifies a response.
    Verifying(Box<Verifying>),
    /// Operational negotiation: the next request is awaited.
    Operational(Box<Operating>),
    /// All is negotiated; the owner makes the session.
    Committing(Box<Committing>),
    /// Refused, dropped, or a session now.
    Over,
}

#[derive(Clone)]
pub(super) struct Found {
    dialogue: Dialogue,
    request: LoginRequest,
    pairs: Vec<Pair>,
}

#[derive(Clone)]
pub(super) struct Securing {
    dialogue: Dialogue,
    security: Security,
}

#[derive(Clone)]
pub(super) struct Verifying {
    securing: Securing,
    request: LoginRequest,
    answer: Vec<u8>,
}

#[derive(Clone)]
pub(super) struct Operating {
    dialogue: Dialogue,
    authorised: Authorised,
}

#[derive(Clone)]
pub(super) struct Committing {
    pub(super) outcome: CommitRequest,
    pub(super) request: LoginRequest,
    pub(super) text: Vec<u8>,
}

type Next = Result<State, LoginError>;

impl State {
    /// Whether the initiator's next request is awaited.
    pub(super) const fn is_receiving(&self) -> bool {
        matches!(
            self,
            Self::Opening | Self::Security(_) | Self::Operational(_)
        )
    }

    pub(super) const fn has_deadline(&self) -> bool {
        !matches!(self, Self::Committing(_) | Self::Over)
    }

    /// The stage in which the next request has to be.
    pub(super) const fn stage(&self) -> Option<Stage> {
        match self {
            Self::Security(_) => Some(Stage::Security),
            Self::Operational(_) => Some(Stage::Operational),
            _ => None,
        }
    }
}

impl Login {
    /// A complete request; its text, or the last part of it, has been gathered.
    pub(super) fn handle_request(&mut self, request: &LoginRequest) {
        let interrupts = request.r#continue || self.inbound.text_bytes() > 0;
        if self.outbound.has_answer() && interrupts {
            // RFC 7143 §11.13.2: a response with C is answered by an empty request.
            return self.fail(LoginError::AnswerInterrupted);
        }
        if request.r#continue {
            // RFC 7143 §11.12.2: a request with C is answered by an empty response.
            return self.outbound.respond(request, Turn::Stay, &[]);
        }
        let text = self.inbound.take_text();
        self.step(|login, state| match state {
            State::Opening => login.open(*request, text),
            State::Security(securing) if !login.outbound.has_answer() => {
                login.continue_security(*securing, request, text)
            }
            State::Operational(operating) if !login.outbound.has_answer() => {
                login.continue_operational(*operating, request, text)
            }
            state @ (State::Security(_) | State::Operational(_)) => login.answer(state, request),
            other => Ok(other),
        });
    }

    /// Goes from the present state to the next, or ends.
    pub(super) fn step(&mut self, next: impl FnOnce(&mut Self, State) -> Next) {
        let state = core::mem::replace(&mut self.state, State::Over);
        match next(self, state) {
            Ok(state) => self.state = state,
            Err(error) => self.fail(error),
        }
    }

    /// Ends the login: with a response where its error has a status and a request to answer, and closes.
    pub(super) fn fail(&mut self, error: LoginError) {
        self.end(error, &[]);
    }

    /// Ends the login with the address where the initiator shall log in instead.
    // RFC 7143 §11.13.5: a response of status class 1 carries the TargetAddress key. RFC 7143 §13.8: in a redirection it
    // has no portal group tag; an IPv6 address stands in brackets.
    pub(super) fn send_elsewhere(&mut self, redirection: &Redirection) {
        let mut text = Vec::new();
        let to = redirection.to.to_string();
        TextWriter::new(&mut text).push(Key::TargetAddress.name(), &to);
        self.end(LoginError::Refused(redirection.status()), &text);
    }

    fn end(&mut self, error: LoginError, text: &[u8]) {
        self.state = State::Over;
        self.error = Some(error);
        if let (Some(status), Some(first)) = (error.status(), self.headers.first) {
            self.outbound.refuse(&first, status, text);
        }
        self.event = Some(LoginEvent::Close);
    }

    fn open(&mut self, request: LoginRequest, text: Vec<u8>) -> Next {
        let opened = Opened::read(request, text, self.config.limits.max_keys)?;
        self.event = Some(LoginEvent::Resolve(opened.identity.clone()));
        Ok(State::Resolving(Box::new(opened)))
    }

    pub(super) fn take_target(
        &mut self,
        opened: Opened,
        answer: Result<TargetOffer, LoginStatus>,
    ) -> Next {
        let offer = answer.map_err(LoginError::Refused)?;
        self.outbound.join(offer.joins);
        let (dialogue, request, pairs) = opened.with_target(offer);
        self.event = Some(LoginEvent::Policy(policy_request(&self.config, &dialogue)));
        Ok(State::AwaitingPolicy(Box::new(Found {
            dialogue,
            request,
            pairs,
        })))
    }

    pub(super) fn take_policy(&mut self, found: Found, policy: Option<Policy>) -> Next {
        let policy = policy.ok_or(LoginError::NoAnswer)?;
        if let Policy::Redirect(redirection) = &policy {
            return self.redirected(&found.dialogue, redirection);
        }
        let demand = Demand::new(policy)?;
        let Found {
            dialogue,
            request,
            pairs,
        } = found;
        if request.current_stage == Stage::Operational {
            let authorised = demand.skip()?;
            return self.negotiate(
                Operating {
                    dialogue,
                    authorised,
                },
                &request,
                &pairs,
            );
        }
        let security = Security::new(demand, self.chap_random);
        self.secure(Securing { dialogue, security }, &request, &pairs)
    }

    pub(super) fn take_verdict(&mut self, verifying: Verifying, verdict: Option<Verdict>) -> Next {
        let Verifying {
            mut securing,
            request,
            mut answer,
        } = verifying;
        let verdict = verdict.ok_or(LoginError::NoAnswer)?;
        if let Verdict::Redirect(redirection) = &verdict {
            return self.redirected(&securing.dialogue, redirection);
        }
        securing
            .security
            .settle(verdict, &mut TextWriter::new(&mut answer))?;
        self.outbound.set_answer(answer);
        self.answer(State::Security(Box::new(securing)), &request)
    }

    /// The authenticator sends the initiator elsewhere.
    // RFC 7143 §11.13.5: what has moved is the target asked for, and a discovery session asks for none.
    fn redirected(&mut self, dialogue: &Dialogue, redirection: &Redirection) -> Next {
        if dialogue.identity.session_type == SessionType::Discovery {
            return Err(LoginError::NothingToRedirect);
        }
        self.send_elsewhere(redirection);
        Ok(State::Over)
    }

    fn continue_security(
        &mut self,
        mut securing: Securing,
        request: &LoginRequest,
        text: Vec<u8>,
    ) -> Next {
        let pairs = securing.dialogue.read(text, Stage::Security)?;
        self.secure(securing, request, &pairs)
    }

    fn continue_operational(
        &mut self,
        mut operating: Operating,
        request: &LoginRequest,
        text: Vec<u8>,
    ) -> Next {
        let pairs = operating.dialogue.read(text, Stage::Operational)?;
        self.negotiate(operating, request, &pairs)
    }

    fn secure(&mut self, mut securing: Securing, request: &LoginRequest, pairs: &[Pair]) -> Next {
        let Securing { dialogue, security } = &mut securing;
        let mut answer = Vec::new();
        let mut answers = TextWriter::new(&mut answer);
        dialogue.introduce(&mut answers);
        dialogue.negotiation.answer(pairs, &mut answers)?;
        let asks = || policy_request(&self.config, dialogue);
        if let Some(question) = security.handle(pairs, request.transit, asks, &mut answers)? {
            self.event = Some(LoginEvent::Verify(question));
            let request = *request;
            return Ok(State::Verifying(Box::new(Verifying {
                securing,
                request,
                answer,
            })));
        }
        self.outbound.set_answer(answer);
        self.answer(State::Security(Box::new(securing)), request)
    }

    fn negotiate(
        &mut self,
        mut operating: Operating,
        request: &LoginRequest,
        pairs: &[Pair],
    ) -> Next {
        let answer = operating.dialogue.negotiate(pairs)?;
        self.outbound.set_answer(answer);
        self.answer(State::Operational(Box::new(operating)), request)
    }

    /// Sends the answer, or its next piece, and goes to the next stage with the last one where that is asked for and
    /// nothing of this stage is open.
    fn answer(&mut self, state: State, request: &LoginRequest) -> Next {
        let max_bytes = match &state {
            State::Security(securing) => securing.dialogue.negotiation.max_text_bytes(),
            State::Operational(operating) => operating.dialogue.negotiation.max_text_bytes(),
            _ => return Ok(state),
        };
        if let Some(piece) = self.outbound.next_piece(max_bytes) {
            self.outbound.respond(request, Turn::Continue, &piece);
            return Ok(state);
        }
        if !request.transit {
            return Ok(self.stay(state, request));
        }
        match (state, request.next_stage) {
            (State::Security(securing), next_stage) => match securing.security.authorised() {
                // RFC 7143 §11.13.1: a target that is not ready to leave the stage answers without T.
                None => Ok(self.stay(State::Security(securing), request)),
                Some(authorised) => {
                    let authorised = authorised.clone();
                    let operating = Operating {
                        dialogue: securing.dialogue,
                        authorised,
                    };
                    if next_stage == Stage::FullFeature {
                        return self.ask_to_commit(operating, request);
                    }
                    let text = self.outbound.last_piece();
                    self.outbound
                        .respond(request, Turn::Transit(Stage::Operational), &text);
                    Ok(State::Operational(Box::new(operating)))
                }
            },
            (State::Operational(operating), _) => self.ask_to_commit(*operating, request),
            (other, _) => Ok(other),
        }
    }

    fn stay(&mut self, state: State, request: &LoginRequest) -> State {
        let text = self.outbound.last_piece();
        self.outbound.respond(request, Turn::Stay, &text);
        state
    }

    fn ask_to_commit(&mut self, operating: Operating, request: &LoginRequest) -> Next {
        let Operating {
            dialogue,
            authorised,
        } = operating;
        let (authenticated_as, acl) = authorised.into_parts();
        let outcome = CommitRequest {
            params: dialogue.negotiation.finish()?,
            identity: dialogue.identity,
            portal_group_tag: dialogue.portal_group_tag,
            authenticated_as,
            acl,
        };
        self.event = Some(LoginEvent::Commit(outcome.clone()));
        let text = self.outbound.last_piece();
        Ok(State::Committing(Box::new(Committing {
            outcome,
            request: *request,
            text,
        })))
    }
}

fn policy_request(config: &LoginConfig, dialogue: &Dialogue) -> PolicyRequest {
    let normal = dialogue.identity.session_type == SessionType::Normal;
    PolicyRequest {
        initiator: dialogue.identity.initiator_name.clone(),
        target: dialogue.identity.target_name.clone().filter(|_| normal),
        portal_group_tag: dialogue.portal_group_tag.filter(|_| normal),
        portal: config.portal,
        peer: config.peer,
    }
}
