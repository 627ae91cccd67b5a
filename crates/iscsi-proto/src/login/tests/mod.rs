#![allow(clippy::cast_possible_truncation)]

mod keys;
mod other_systems;
mod policy;
mod random;
mod stages;
mod statuses;
mod streams;
mod transcripts;

use core::time::Duration;

use auth::{
    Answer, Authenticator, ChapAlgorithm, ChapEntry, ChapRule, ChapStore, ChapUser, Reply, Rule,
    Scope, Secret, Verdict,
};
use iscsi_wire::text::{TextWriter, parse_pairs};
use iscsi_wire::{
    BHS_BYTES, Bhs, Cid, Isid, Itt, LoginRequest, LoginResponse, LoginStatus, Redirection,
    SerialNumber, Stage, Tsih, pad,
};

use super::*;
use crate::negotiate::OfferedParams;

const INITIATOR: &str = "iqn.2024-01.lab.example:guest";
const TARGET: &str = "iqn.2024-01.lab.example:disk";
const TSIH: Tsih = Tsih(0x0102);
const DEADLINE: Duration = Duration::from_secs(15);
const USER_SECRET: &[u8] = b"the initiator's secret";
const TARGET_SECRET: &[u8] = b"the target's own secret";

/// One response as the initiator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Response {
    header: LoginResponse,
    bytes: Vec<u8>,
}

impl Response {
    fn text(&self) -> Vec<String> {
        parse_pairs(&self.bytes)
            .map(|pair| pair.expect("the target's text is well formed"))
            .map(|(key, value)| format!("{key}={value}"))
            .collect()
    }

    fn value(&self, key: &str) -> String {
        let pairs = parse_pairs(&self.bytes).flatten();
        let found = pairs
            .filter(|(name, _)| *name == key)
            .map(|(_, value)| value.to_owned());
        found
            .last()
            .unwrap_or_else(|| panic!("no {key} in {:?}", self.text()))
    }
}

/// A login with an owner that answers everything at once, by the built-in store.
struct Bench {
    login: Login,
    store: ChapStore,
    target: Result<TargetOffer, LoginStatus>,
    responses: Vec<Response>,
    commit_requests: Vec<CommitRequest>,
    established: Option<Established>,
    allowed: bool,
    closed: bool,
    /// The question at which whoever authenticates sends the login elsewhere.
    elsewhere: Option<(&'static str, Redirection)>,
    questions: Vec<&'static str>,
    output: Vec<u8>,
}

impl Bench {
    fn new(rule: Rule) -> Self {
        Self::with_limits(rule, LoginLimits::default())
    }

    fn open() -> Self {
        Self::new(Rule::Open)
    }

    fn with_limits(rule: Rule, limits: LoginLimits) -> Self {
        let config = LoginConfig {
            portal: ([10, 0, 0, 1], 3260).into(),
            peer: ([10, 0, 0, 2], 41_000).into(),
            limits,
            deadline: DEADLINE,
        };
        Self {
            login: Login::new(config, Duration::ZERO, random_bytes()),
            store: ChapStore::new(Vec::new(), rule).expect("legal"),
            target: Ok(offer()),
            responses: Vec::new(),
            commit_requests: Vec::new(),
            established: None,
            allowed: false,
            closed: false,
            elsewhere: None,
            questions: Vec::new(),
            output: Vec::new(),
        }
    }

    /// Sends one request; its answer, where there is exactly one.
    fn send(&mut self, request: LoginRequest, pairs: &[&str]) -> Response {
        let before = self.responses.len();
        self.feed(&pdu(request, &text(pairs)));
        assert_eq!(self.responses.len(), before + 1, "one answer to {pairs:?}");
        self.responses[before].clone()
    }

    /// Feeds bytes as a stream and does what the login asks. Returns how many were taken.
    fn feed(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        loop {
            let consumed = self.login.handle_received(Duration::ZERO, &bytes[taken..]);
            taken += consumed;
            let acted = self.act();
            if consumed == 0 && !acted {
                return taken;
            }
        }
    }

    fn act(&mut self) -> bool {
        let mut acted = false;
        while let Some(event) = self.login.poll_event() {
            acted = true;
            self.answer(event);
        }
        self.login.poll_transmit(&mut self.output);
        self.parse_output();
        acted
    }

    fn answer(&mut self, event: LoginEvent) {
        match event {
            LoginEvent::Resolve(identity) => {
                self.questions.push("resolve");
                let offer = |offer: TargetOffer| match identity.target_name {
                    Some(_) => offer,
                    None => TargetOffer {
                        portal_group_tag: None,
                        target_alias: None,
                        ..offer
                    },
                };
                self.login.resolved(self.target.clone().map(offer));
            }
            LoginEvent::Policy(request) => {
                self.questions.push("policy");
                let policy = match &self.elsewhere {
                    Some(("policy", to)) => Policy::Redirect(to.clone()),
                    _ => now(self.store.policy(&request, unused())),
                };
                self.login.policy_is(Some(policy));
            }
            LoginEvent::Verify(request) => {
                self.questions.push("verify");
                let verdict = match &self.elsewhere {
                    Some(("verify", to)) => Verdict::Redirect(to.clone()),
                    _ => now(self.store.verify(&request, unused())),
                };
                self.allowed |= matches!(verdict, Verdict::Allow { .. });
                self.login.verdict_is(Some(verdict));
            }
            LoginEvent::Commit(request) => {
                self.questions.push("commit");
                self.commit_requests.push(request);
                assert!(self.login.is_committing());
                let established = self.login.commit(TSIH);
                self.login.poll_transmit(&mut self.output);
                self.output.extend_from_slice(&established.final_response);
                self.established = Some(established);
            }
            LoginEvent::Close => self.closed = true,
        }
    }

    fn parse_output(&mut self) {
        while self.output.len() >= BHS_BYTES {
            let bhs = Bhs(self.output[..BHS_BYTES].try_into().expect("48 bytes"));
            let header = LoginResponse::parse(&bhs).expect("a Login Response");
            let length = header.data_segment_length as usize;
            let bytes = self.output[BHS_BYTES..BHS_BYTES + length].to_vec();
            self.output.drain(..BHS_BYTES + length + pad(length));
            self.responses.push(Response { header, bytes });
        }
        assert!(self.output.is_empty(), "only whole PDUs are handed out");
    }

    fn last_status(&self) -> Option<LoginStatus> {
        self.responses.last().map(|response| response.header.status)
    }
}

fn offer() -> TargetOffer {
    TargetOffer {
        joins: None,
        portal_group_tag: Some(7),
        target_alias: Some("a disk".to_owned()),
        params: OfferedParams::default(),
    }
}

fn random_bytes() -> [u8; 64] {
    let mut random: [u8; 64] = core::array::from_fn(|at| 0x80 | at as u8);
    random[60..].copy_from_slice(&[0xff, 0xff, 0xff, 0xfe]);
    random
}

fn now<T>(answer: Answer<T>) -> T {
    match answer {
        Answer::Now(answer) => answer,
        Answer::Later => panic!("the built-in store answers at once"),
    }
}

fn unused<T>() -> Reply<T> {
    Reply::new(|_| panic!("an answer by value is not sent too"))
}

fn chap_rule() -> ChapRule {
    let user = |name: &str, secret: &[u8]| ChapUser {
        name: name.to_owned(),
        secret: Secret::new(secret.to_vec()),
    };
    ChapRule {
        users: vec![user("labuser", USER_SECRET)],
        mutual: Some(user("labtgt", TARGET_SECRET)),
        mutual_required: false,
        algorithms: ChapAlgorithm::ALL.to_vec(),
        none_allowed: false,
    }
}

/// CHAP required where a rule names nothing else.
fn chap() -> Rule {
    Rule::Chap(chap_rule())
}

fn request(current_stage: Stage, next_stage: Option<Stage>) -> LoginRequest {
    LoginRequest {
        transit: next_stage.is_some(),
        current_stage,
        next_stage: next_stage.unwrap_or_default(),
        isid: Isid([0x40, 0, 1, 0x37, 0, 9]),
        itt: Itt(0x2a),
        cid: Cid(3),
        cmd_sn: SerialNumber(0xffff_ffff),
        ..LoginRequest::default()
    }
}

const SECURITY: Stage = Stage::Security;
const OPERATIONAL: Stage = Stage::Operational;
const FULL_FEATURE: Stage = Stage::FullFeature;

fn names() -> [String; 3] {
    [
        format!("InitiatorName={INITIATOR}"),
        format!("TargetName={TARGET}"),
        "SessionType=Normal".to_owned(),
    ]
}

/// The names, and these.
fn named<'a>(names: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    names
        .iter()
        .map(String::as_str)
        .chain(more.iter().copied())
        .collect()
}

fn text(pairs: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for pair in pairs {
        let (key, value) = pair.split_once('=').expect("key=value");
        TextWriter::new(&mut out).push(key, value);
    }
    out
}

fn pdu(request: LoginRequest, text: &[u8]) -> Vec<u8> {
    let header = LoginRequest {
        data_segment_length: text.len() as u32,
        ..request
    };
    let mut bytes = header.emit().0.to_vec();
    bytes.extend_from_slice(text);
    bytes.resize(bytes.len() + pad(text.len()), 0);
    bytes
}

/// CHAP_N and CHAP_R for the challenge in a response.
fn proof(challenge: &Response, secret: &[u8]) -> [String; 2] {
    let number = challenge.value("CHAP_A").parse().expect("a number");
    let algorithm = ChapAlgorithm::from_number(number).expect("one we have");
    let identifier = challenge.value("CHAP_I").parse().expect("a byte");
    let bytes = unhex(&challenge.value("CHAP_C"));
    let secret = Secret::new(secret.to_vec());
    let response = auth::chap::response(algorithm, identifier, &secret, &bytes);
    [
        "CHAP_N=labuser".to_owned(),
        format!("CHAP_R={}", iscsi_wire::number::encode_hex(&response)),
    ]
}

fn unhex(text: &str) -> Vec<u8> {
    iscsi_wire::number::parse_binary(text, 1024).expect("a binary value")
}

fn discovery_rule(rule: Rule) -> ChapStore {
    let entries = vec![ChapEntry {
        initiator: None,
        scope: Scope::Discovery,
        rule,
    }];
    ChapStore::new(entries, Rule::Deny).expect("legal")
}
