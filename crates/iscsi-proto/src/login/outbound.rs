//! Login Responses: their headers, their order, and text split over several of them.

use iscsi_wire::{LoginRequest, LoginResponse, LoginStatus, SerialNumber, Stage, Tsih, pad};

use super::header::VERSION;
use super::types::JoinedWindow;

/// What goes out.
#[derive(Clone)]
pub(super) struct Outbound {
    /// StatSN of the next response.
    stat_sn: SerialNumber,
    /// The session that the connection joins goes on: its numbers, not the request's.
    joins: Option<JoinedWindow>,
    /// The answer of which not all has been sent.
    answer: Vec<u8>,
    /// Whole PDUs that nobody has fetched yet.
    queued: Vec<u8>,
}

/// What a response says of the stages.
#[derive(Clone, Copy)]
pub(super) enum Turn {
    /// Text goes on in the next response (C).
    Continue,
    /// The stage stays.
    Stay,
    /// To the next stage (T).
    Transit(Stage),
}

/// The two ends of a login that commits.
pub(super) struct LastWords {
    /// With a session.
    pub(super) final_response: Vec<u8>,
    /// Without one.
    pub(super) refusal: Vec<u8>,
    /// StatSN behind either.
    pub(super) stat_sn: SerialNumber,
}

impl Outbound {
    pub(super) const fn new(stat_sn: SerialNumber) -> Self {
        Self {
            stat_sn,
            joins: None,
            answer: Vec::new(),
            queued: Vec::new(),
        }
    }

    /// ExpCmdSN and MaxCmdSN of responses to this request.
    // RFC 7143 §11.12.8: a login that leads its session carries the CmdSN that the session begins with; the window is told
    // as one command wide. One that joins a session carries a CmdSN of commands under way, which says nothing of what has
    // been received.
    pub(super) fn window(&self, request: &LoginRequest) -> JoinedWindow {
        self.joins.unwrap_or(JoinedWindow {
            exp_cmd_sn: request.cmd_sn,
            max_cmd_sn: request.cmd_sn,
        })
    }

    pub(super) fn join(&mut self, joins: Option<JoinedWindow>) {
        self.joins = joins;
    }

    /// Puts a complete answer up for sending.
    pub(super) fn set_answer(&mut self, answer: Vec<u8>) {
        self.answer = answer;
    }

    /// Whether a part of the answer has yet to be asked for.
    pub(super) const fn has_answer(&self) -> bool {
        !self.answer.is_empty()
    }

    /// The next piece of `max_bytes` bytes, where it is not the last.
    pub(super) fn next_piece(&mut self, max_bytes: usize) -> Option<Vec<u8>> {
        (self.answer.len() > max_bytes).then(|| self.answer.drain(..max_bytes).collect())
    }

    /// What is left of the answer.
    pub(super) fn last_piece(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.answer)
    }

    /// Queues a response.
    pub(super) fn respond(&mut self, request: &LoginRequest, turn: Turn, text: &[u8]) {
        let response = self.header(request, turn, LoginStatus::SUCCESS);
        push(&mut self.queued, response, text);
    }

    /// Queues the response that ends the login without a session.
    pub(super) fn refuse(&mut self, request: &LoginRequest, status: LoginStatus, text: &[u8]) {
        self.answer = Vec::new();
        let response = self.header(request, Turn::Stay, status);
        push(&mut self.queued, response, text);
    }

    /// The response that ends the login with a session, and what goes out in its place, under the same StatSN, where
    /// that session cannot be after all. Neither is queued.
    pub(super) fn last_words(
        &mut self,
        request: &LoginRequest,
        tsih: Tsih,
        text: &[u8],
    ) -> LastWords {
        let turn = Turn::Transit(Stage::FullFeature);
        let success = LoginResponse {
            tsih,
            ..self.header(request, turn, LoginStatus::SUCCESS)
        };
        // RFC 7143 §11.13.3: the handle is told in the final response of a login that succeeds, and no other. RFC 7143
        // §11.13.5: a response with another status than success has T clear, and its stages mean nothing.
        let refusal = LoginResponse {
            tsih: request.tsih,
            transit: false,
            next_stage: Stage::default(),
            status: LoginStatus::SERVICE_UNAVAILABLE,
            ..success
        };
        let mut words = LastWords {
            final_response: Vec::new(),
            refusal: Vec::new(),
            stat_sn: self.stat_sn,
        };
        push(&mut words.final_response, success, text);
        push(&mut words.refusal, refusal, &[]);
        words
    }

    pub(super) fn drain_into(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.queued);
    }

    // RFC 7143 §11.13: ISID and ITT are the request's, and so is the TSIH in all but the final response (§11.13.3).
    fn header(&mut self, request: &LoginRequest, turn: Turn, status: LoginStatus) -> LoginResponse {
        let stat_sn = self.stat_sn;
        self.stat_sn = stat_sn.next();
        let JoinedWindow {
            exp_cmd_sn,
            max_cmd_sn,
        } = self.window(request);
        let next_stage = match turn {
            Turn::Transit(stage) => stage,
            Turn::Continue | Turn::Stay => Stage::default(),
        };
        LoginResponse {
            transit: matches!(turn, Turn::Transit(_)),
            r#continue: matches!(turn, Turn::Continue),
            current_stage: request.current_stage,
            next_stage,
            version_max: VERSION,
            version_active: VERSION,
            isid: request.isid,
            tsih: request.tsih,
            itt: request.itt,
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            status,
            ..LoginResponse::default()
        }
    }
}

fn push(out: &mut Vec<u8>, response: LoginResponse, text: &[u8]) {
    let data_segment_length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(
        &LoginResponse {
            data_segment_length,
            ..response
        }
        .emit()
        .0,
    );
    out.extend_from_slice(text);
    out.resize(out.len() + pad(text.len()), 0);
}
