//! The login phase from the initiator's side (RFC 7143 §6.3, §11.12, §11.13, §12.1.3).

use iscsi_wire::text::{TextWriter, parse_pairs};
use iscsi_wire::{InitiatorPdu, Itt, LoginRequest, LoginResponse, Stage, Tsih};

use crate::answers::{self, Rule};
use crate::chap::Auth;
use crate::config::Config;
use crate::params::length;
use crate::session::{Initiator, State, length_of};
use crate::{Event, Params, Violation};

/// A login in progress.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    itt: Itt,
    stage: Stage,
    /// NSG of the last request, where it had T.
    requested: Option<Stage>,
    /// Text that the requests to come carry.
    outgoing: Vec<u8>,
    /// Text of the responses so far that go on.
    incoming: Vec<u8>,
    /// Whether the last response had C.
    target_goes_on: bool,
    /// What was offered and has no answer yet.
    open_offers: Vec<(String, String)>,
    /// What was negotiated, by either side's offer.
    settled: Vec<String>,
    pub(crate) auth: Auth,
    pub(crate) started: bool,
    rounds: u32,
    /// Rounds in a row in which the target said nothing.
    idle_rounds: u32,
    params: Params,
}

impl Login {
    pub(crate) fn new(itt: Itt, config: &Config) -> Self {
        let mut login = Self {
            itt,
            stage: config.first_stage,
            requested: None,
            outgoing: Vec::new(),
            incoming: Vec::new(),
            target_goes_on: false,
            settled: Vec::new(),
            idle_rounds: 0,
            open_offers: Vec::new(),
            auth: Auth::Settled,
            started: false,
            rounds: 0,
            params: Params::default(),
        };
        for (key, value) in &config.identity {
            TextWriter::new(&mut login.outgoing).push(key, value);
        }
        login.offer_stage(config);
        login
    }

    fn offer_stage(&mut self, config: &Config) {
        let keys = match self.stage {
            Stage::Security => &config.security,
            _ => &config.operational,
        };
        for (key, value) in keys {
            self.offer(key, value);
            if key == "AuthMethod" && value != "None" {
                self.auth = Auth::Method;
            }
            if key == "MaxRecvDataSegmentLength" {
                // Declared by us: it limits what comes. Nonsense leaves the default in place.
                let declared = length(value).unwrap_or(self.params.max_recv_data_segment_length);
                self.params.max_recv_data_segment_length = declared;
            }
        }
    }

    fn offer(&mut self, key: &str, value: &str) {
        self.say(key, value);
        if answers::rule(key) != Some(Rule::Declared) {
            self.open_offers.push((key.to_owned(), value.to_owned()));
        }
    }

    pub(crate) fn say(&mut self, key: &str, value: &str) {
        TextWriter::new(&mut self.outgoing).push(key, value);
    }

    /// The stage to ask for, where this stage has no more to settle.
    fn next_stage(&self, config: &Config) -> Option<Stage> {
        match self.stage {
            // With CHAP_R sent nothing of ours is missing, whatever the target still has to prove.
            Stage::Security => {
                matches!(self.auth, Auth::Settled | Auth::Proof(_)).then_some(config.after_security)
            }
            _ => Some(Stage::FullFeature),
        }
    }
}

impl Initiator {
    /// Sends the next request of a login.
    pub(crate) fn send_login(&mut self, login: &mut Login) {
        let most = self.config.login_segment_bytes.max(1);
        let rest = login.outgoing.split_off(login.outgoing.len().min(most));
        let data = core::mem::replace(&mut login.outgoing, rest);
        let goes_on = !login.outgoing.is_empty();
        let waits_for_the_rest = login.target_goes_on && !self.config.transit_while_target_goes_on;
        login.requested = if goes_on || waits_for_the_rest {
            None
        } else {
            login.next_stage(&self.config)
        };
        let request = LoginRequest {
            transit: login.requested.is_some(),
            r#continue: goes_on,
            current_stage: login.stage,
            next_stage: login.requested.unwrap_or_default(),
            version_max: self.config.version_max,
            version_min: self.config.version_min,
            data_segment_length: length_of(&data),
            isid: self.config.isid,
            tsih: self.config.tsih,
            itt: login.itt,
            cid: self.config.cid,
            ..LoginRequest::default()
        };
        self.send_now(InitiatorPdu::LoginRequest(request), data);
    }

    pub(crate) fn handle_login_response(
        &mut self,
        mut login: Box<Login>,
        pdu: &LoginResponse,
        data: &[u8],
        events: &mut Vec<Event>,
    ) {
        if !pdu.status.is_success() {
            let pairs = parse_pairs(data).map_while(Result::ok);
            let pairs = pairs
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect();
            events.push(Event::LoginFailed {
                status: pdu.status,
                pairs,
            });
            self.state = State::Closed;
            return;
        }
        match self.login_step(&mut login, pdu, data, events) {
            Err(violation) => {
                events.push(Event::Violation(violation));
                self.state = State::Closed;
            }
            Ok(()) if login.stage == Stage::FullFeature => {
                self.tsih = pdu.tsih;
                self.enter_full_feature(*login, events);
            }
            Ok(()) => {
                self.send_login(&mut login);
                self.state = State::Login(login);
            }
        }
    }

    fn login_step(
        &mut self,
        login: &mut Login,
        pdu: &LoginResponse,
        data: &[u8],
        events: &mut Vec<Event>,
    ) -> Result<(), Violation> {
        self.check_header(login, pdu)?;
        self.take_login_numbers(login, pdu, events);
        login.rounds += 1;
        if login.rounds > MAX_ROUNDS || login.incoming.len() + data.len() > MAX_TEXT_BYTES {
            return Err(Violation::Text);
        }
        login.idle_rounds = if data.is_empty() && !pdu.transit {
            login.idle_rounds + 1
        } else {
            0
        };
        if login.idle_rounds > MAX_IDLE_ROUNDS && login.outgoing.is_empty() {
            return Err(Violation::LoginField("T"));
        }
        login.target_goes_on = pdu.r#continue;
        login.incoming.extend_from_slice(data);
        if pdu.r#continue || !login.outgoing.is_empty() {
            // RFC 7143 §6.2: the side that is told to go on answers with an empty text.
            let both_go_on = !login.outgoing.is_empty() && !login.incoming.is_empty();
            return if both_go_on {
                Err(Violation::LoginField("C"))
            } else {
                Ok(())
            };
        }
        let text = core::mem::take(&mut login.incoming);
        for pair in parse_pairs(&text) {
            let (key, value) = pair.map_err(|_| Violation::Text)?;
            self.take_pair(login, key, value, events);
        }
        if login.stage == Stage::Security {
            login.authenticate(self.config.chap.as_ref(), &text)?;
        }
        if pdu.transit {
            self.change_stage(login, pdu, events)?;
        }
        Ok(())
    }

    fn check_header(&self, login: &Login, pdu: &LoginResponse) -> Result<(), Violation> {
        let rules = [
            (pdu.isid == self.config.isid, "ISID"),
            (pdu.itt == login.itt, "ITT"),
            (pdu.current_stage == login.stage, "CSG"),
            (
                pdu.version_active <= self.config.version_max,
                "Version-active",
            ),
            (
                pdu.version_active >= self.config.version_min,
                "Version-active",
            ),
            // RFC 7143 §11.13.6: T only in answer to T, and NSG as it was asked for.
            (!pdu.transit || login.requested.is_some(), "T"),
            (
                !pdu.transit || login.requested == Some(pdu.next_stage),
                "NSG",
            ),
            (!(pdu.transit && pdu.r#continue), "C"),
        ];
        let broken = rules.into_iter().find(|(holds, _)| !holds);
        broken.map_or(Ok(()), |(_, field)| Err(Violation::LoginField(field)))
    }

    fn take_login_numbers(
        &mut self,
        login: &mut Login,
        pdu: &LoginResponse,
        events: &mut Vec<Event>,
    ) {
        // RFC 7143 §11.13.4: the first response sets StatSN, and each one counts.
        if login.started && pdu.stat_sn != self.exp_stat_sn {
            let (expected, found) = (self.exp_stat_sn, pdu.stat_sn);
            events.push(Event::Violation(Violation::StatSn { expected, found }));
        }
        self.exp_stat_sn = pdu.stat_sn.next();
        if login.started {
            self.take_window(pdu.exp_cmd_sn, pdu.max_cmd_sn, events);
        } else {
            self.told = (pdu.exp_cmd_sn, pdu.max_cmd_sn);
            if self.joins.is_some() {
                // RFC 7143 §11.12.8: the session goes on, and what it knows better stands.
                self.take_window(pdu.exp_cmd_sn, pdu.max_cmd_sn, events);
            } else {
                self.numbers.exp_cmd_sn = pdu.exp_cmd_sn;
                self.numbers.max_cmd_sn = pdu.max_cmd_sn;
            }
        }
        login.started = true;
    }

    /// Takes one key of the target's: the answer to an offer, a declaration, or an offer of its own.
    fn take_pair(&self, login: &mut Login, key: &str, value: &str, events: &mut Vec<Event>) {
        if login.stage == Stage::Security && (key == "AuthMethod" || key.starts_with("CHAP_")) {
            login.open_offers.retain(|(name, _)| name != key);
            return;
        }
        let offer = login.open_offers.iter().position(|(name, _)| name == key);
        // RFC 7143 §6.3: no key is negotiated twice in a login.
        let twice = login.settled.iter().any(|name| name == key);
        if answers::rule(key) != Some(Rule::Declared) {
            login.settled.push(key.to_owned());
        }
        let legal = match offer.map(|at| login.open_offers.swap_remove(at)) {
            Some((_, offered)) => {
                answers::is_legal(key, &offered, value)
                    && (answers::is_constant(value) || login.params.settle(key, value).is_some())
            }
            None => match answers::answer(key, value) {
                None => login.params.settle(key, value).is_some(),
                Some(answer) => {
                    login.say(key, &answer);
                    answers::is_constant(&answer) || login.params.settle(key, &answer).is_some()
                }
            },
        };
        if !legal || twice {
            let (key, value) = (key.to_owned(), value.to_owned());
            events.push(Event::Violation(Violation::Answer { key, value }));
        }
    }

    fn change_stage(
        &self,
        login: &mut Login,
        pdu: &LoginResponse,
        events: &mut Vec<Event>,
    ) -> Result<(), Violation> {
        if matches!(login.auth, Auth::Proof(_)) {
            return Err(Violation::Authentication("target did not prove itself"));
        }
        // RFC 7143 §6.2: every offer is answered before the stage ends; §6.2.2: but for one that is the result by itself.
        for (key, offered) in core::mem::take(&mut login.open_offers) {
            let settled = answers::is_settled_by_offer(&key, &offered)
                && login.params.settle(&key, &offered).is_some();
            if !settled {
                events.push(Event::Violation(Violation::Unanswered { key }));
            }
        }
        if !login.outgoing.is_empty() {
            return Err(Violation::LoginField("T"));
        }
        login.stage = pdu.next_stage;
        if login.stage == Stage::FullFeature {
            return self.check_tsih(pdu.tsih);
        }
        login.offer_stage(&self.config);
        Ok(())
    }

    fn check_tsih(&self, tsih: Tsih) -> Result<(), Violation> {
        // RFC 7143 §11.13.3: the final response of a login has a TSIH that is not 0, the one asked for if any.
        let asked = self.config.tsih;
        let holds = tsih != Tsih(0) && (asked == Tsih(0) || tsih == asked);
        if holds {
            Ok(())
        } else {
            Err(Violation::LoginField("TSIH"))
        }
    }

    fn enter_full_feature(&mut self, login: Login, events: &mut Vec<Event>) {
        self.params = match self.joins.take() {
            // RFC 7143 §13: digests and segment lengths are a connection's, all else is its session's.
            Some(session) => Params {
                header_digest: login.params.header_digest,
                data_digest: login.params.data_digest,
                max_send_data_segment_length: login.params.max_send_data_segment_length,
                max_recv_data_segment_length: login.params.max_recv_data_segment_length,
                ..session
            },
            None => login.params,
        };
        // RFC 7143 §13.14: FirstBurstLength MUST NOT exceed MaxBurstLength.
        if self.params.first_burst_length > self.params.max_burst_length {
            self.params.first_burst_length = self.params.max_burst_length;
        }
        self.framer.max_data_segment_bytes = self.params.max_recv_data_segment_length;
        self.framer.digests.header = self.params.header_digest;
        self.framer.digests.data = self.params.data_digest;
        // RFC 7143 §7.1.4: there is no recovery within a connection before the full feature phase.
        self.framer.tolerant = self.params.error_recovery_level > 0;
        self.recovery = self.framer.tolerant.then(Box::default);
        self.state = State::FullFeature;
        events.push(Event::LoggedIn);
        self.send_held();
    }
}

const MAX_ROUNDS: u32 = 100_000;
const MAX_IDLE_ROUNDS: u32 = 16;
const MAX_TEXT_BYTES: usize = 1 << 20;
