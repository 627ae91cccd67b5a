//! The lines of the helper protocol: what we write, and what we take of what comes back. No I/O.
//!
//! Inside an answer nothing unknown is taken: a condition that is misspelled must not become no condition. Around it, in
//! the hello and beside `id`, unknown fields are left aside, so that a later protocol can be told from this one.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use auth::{
    ChapAlgorithm, MAX_CHAP_NAME_BYTES, Mutual, MutualChallenge, MutualResponse, PolicyRequest,
    Refusal, VerifyRequest,
};
use iscsi_wire::{IscsiName, PortalAddress, Redirection};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The longest line in either direction, in bytes, without its end.
pub const MAX_LINE_BYTES: usize = 64 * 1024;

/// The version of the protocol.
const PROTOCOL: u32 = 1;

/// What the helper says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    /// What it can verify, in our order of preference; at least one.
    pub(super) algorithms: Vec<ChapAlgorithm>,
    /// It answers the initiator's challenge itself.
    pub(super) mutual: bool,
    /// Its policies may say how long they hold.
    pub(super) cache: bool,
}

/// A line of the helper's after its hello.
#[derive(Debug, PartialEq)]
pub(super) enum Line {
    /// An answer, not yet looked into: one that is malformed inside still says whose it is.
    Answer { id: u64, answer: Body },
    /// Policies said to hold for a while hold no more.
    Forget,
}

/// The inside of an answer.
#[derive(Debug, PartialEq)]
pub(super) enum Body {
    Policy(Value),
    Verdict(Value),
    Neither,
}

/// A policy as the helper gives it: it may leave it open who proves the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HelperPolicy {
    Open,
    Chap {
        /// At least one, each one that the helper can verify.
        algorithms: Vec<ChapAlgorithm>,
        /// `None`: as whoever proves the target can.
        mutual: Option<Mutual>,
        none_allowed: bool,
    },
    Deny(Refusal),
    Redirect(Redirection),
}

/// A verdict as the helper gives it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HelperVerdict {
    Allow {
        mutual: Option<MutualResponse>,
        acl: Option<IscsiName>,
    },
    Deny(Refusal),
    Redirect(Redirection),
}

/// The line is not one of the protocol, or the answer not one to the question. What is wrong is said for the log; it holds
/// nothing that came from the helper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// The names of the algorithms in the protocol.
const ALGORITHMS: [(&str, ChapAlgorithm); 4] = [
    ("md5", ChapAlgorithm::Md5),
    ("sha1", ChapAlgorithm::Sha1),
    ("sha256", ChapAlgorithm::Sha256),
    ("sha3-256", ChapAlgorithm::Sha3_256),
];

/// The reasons of the protocol.
const REASONS: [(&str, Refusal); 6] = [
    ("not_authorized", Refusal::NotAuthorized),
    ("unknown_user", Refusal::UnknownUser),
    ("wrong_response", Refusal::WrongResponse),
    ("same_secret", Refusal::SameSecret),
    ("mutual_not_configured", Refusal::MutualNotConfigured),
    ("unavailable", Refusal::Unavailable),
];

#[derive(Serialize)]
struct OurHello {
    protocol: u32,
    program: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
struct RequestFields<'a> {
    initiator: &'a str,
    target: Option<&'a str>,
    portal_group_tag: Option<u16>,
    portal: SocketAddr,
    peer: SocketAddr,
}

#[derive(Serialize)]
struct VerifyFields<'a> {
    #[serde(flatten)]
    request: RequestFields<'a>,
    algorithm: &'static str,
    identifier: u8,
    challenge: String,
    name: &'a str,
    response: String,
    mutual: Option<ChallengeFields>,
}

#[derive(Serialize)]
struct ChallengeFields {
    identifier: u8,
    challenge: String,
}

#[derive(Deserialize)]
struct TheirHelloLine {
    hello: TheirHello,
}

#[derive(Deserialize)]
struct TheirHello {
    protocol: u32,
    algorithms: Vec<String>,
    #[serde(default)]
    mutual: bool,
    #[serde(default)]
    cache: bool,
}

#[derive(Deserialize)]
struct AnyLine {
    id: Option<u64>,
    policy: Option<Value>,
    verdict: Option<Value>,
    forget: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyFields {
    open: Option<bool>,
    chap: Option<ChapFields>,
    deny: Option<String>,
    redirect: Option<RedirectFields>,
    #[serde(default)]
    cache_seconds: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChapFields {
    algorithms: Option<Vec<String>>,
    mutual: Option<MutualWord>,
    #[serde(default)]
    none_allowed: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum MutualWord {
    Never,
    Allowed,
    Required,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VerdictFields {
    allow: Option<bool>,
    deny: Option<String>,
    redirect: Option<RedirectFields>,
    mutual: Option<MutualFields>,
    acl: Option<String>,
    /// Taken and of no effect: a verdict is about one challenge, which is never used again.
    #[serde(rename = "cache_seconds")]
    _cache_seconds: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RedirectFields {
    address: String,
    #[serde(default)]
    permanent: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MutualFields {
    name: String,
    response: String,
}

/// Our first line.
pub(super) fn emit_hello(out: &mut Vec<u8>) -> Result<(), Malformed> {
    #[derive(Serialize)]
    struct Line {
        hello: OurHello,
    }
    let hello = OurHello {
        protocol: PROTOCOL,
        program: "quintain",
        version: env!("CARGO_PKG_VERSION"),
    };
    emit(&Line { hello }, out)
}

pub(super) fn emit_policy(
    id: u64,
    request: &PolicyRequest,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    #[derive(Serialize)]
    struct Line<'a> {
        id: u64,
        policy: RequestFields<'a>,
    }
    let policy = RequestFields::of(request);
    emit(&Line { id, policy }, out)
}

/// The initiator's own challenge is told only to a helper that answers it.
pub(super) fn emit_verify(
    id: u64,
    request: &VerifyRequest,
    hello: &Hello,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    #[derive(Serialize)]
    struct Line<'a> {
        id: u64,
        verify: VerifyFields<'a>,
    }
    let mutual = request.mutual.as_ref().filter(|_| hello.mutual);
    let verify = VerifyFields {
        request: RequestFields::of(&request.request),
        algorithm: algorithm_name(request.algorithm).ok_or(Malformed("an algorithm of no name"))?,
        identifier: request.identifier,
        challenge: hex(&request.challenge),
        name: &request.name,
        response: hex(&request.response),
        mutual: mutual.map(|asked: &MutualChallenge| ChallengeFields {
            identifier: asked.identifier,
            challenge: hex(&asked.challenge),
        }),
    };
    emit(&Line { id, verify }, out)
}

/// The helper's first line.
pub(super) fn parse_hello(line: &[u8]) -> Result<Hello, Malformed> {
    let TheirHelloLine { hello } = serde_json::from_slice(line)
        .map_err(|_| Malformed("its first line is not a hello with protocol and algorithms"))?;
    if hello.protocol != PROTOCOL {
        return Err(Malformed("it speaks another version of the protocol"));
    }
    let algorithms: Vec<_> = ChapAlgorithm::ALL
        .into_iter()
        .filter(|ours| {
            let name = algorithm_name(*ours);
            hello
                .algorithms
                .iter()
                .any(|theirs| Some(&**theirs) == name)
        })
        .collect();
    if algorithms.is_empty() {
        return Err(Malformed("it names no algorithm that there is"));
    }
    Ok(Hello {
        algorithms,
        mutual: hello.mutual,
        cache: hello.cache,
    })
}

/// Any later line.
pub(super) fn parse_line(line: &[u8]) -> Result<Line, Malformed> {
    let line: AnyLine = serde_json::from_slice(line)
        .map_err(|_| Malformed("a line is not a JSON object of the protocol"))?;
    match line {
        AnyLine {
            id: Some(id),
            policy,
            verdict,
            forget: None,
        } => {
            let answer = match (policy, verdict) {
                (Some(policy), None) => Body::Policy(policy),
                (None, Some(verdict)) => Body::Verdict(verdict),
                _ => Body::Neither,
            };
            Ok(Line::Answer { id, answer })
        }
        AnyLine {
            id: None,
            policy: None,
            verdict: None,
            forget: Some(true),
        } => Ok(Line::Forget),
        _ => Err(Malformed("a line is neither an answer nor \"forget\"")),
    }
}

/// A policy, and how long it holds beyond the question.
pub(super) fn parse_policy(
    answer: Value,
    question: &PolicyRequest,
    hello: &Hello,
) -> Result<(HelperPolicy, Duration), Malformed> {
    let fields: PolicyFields = serde_json::from_value(answer)
        .map_err(|_| Malformed("a policy with a field that is wrong or unknown"))?;
    let policy = match (fields.open, fields.chap, fields.deny, fields.redirect) {
        (Some(true), None, None, None) => HelperPolicy::Open,
        (None, Some(chap), None, None) => HelperPolicy::Chap {
            algorithms: allowed(chap.algorithms, hello)?,
            mutual: chap.mutual.map(Mutual::from),
            none_allowed: chap.none_allowed,
        },
        (None, None, Some(reason), None) => HelperPolicy::Deny(refusal(&reason)),
        (None, None, None, Some(fields)) => {
            HelperPolicy::Redirect(fields.into_redirection(question)?)
        }
        _ => {
            return Err(Malformed(
                "a policy is one of \"open\": true, \"chap\", \"deny\" and \"redirect\"",
            ));
        }
    };
    let seconds = if hello.cache { fields.cache_seconds } else { 0 };
    Ok((policy, Duration::from_secs(seconds.into())))
}

/// A verdict on this question.
pub(super) fn parse_verdict(
    answer: Value,
    question: &VerifyRequest,
    hello: &Hello,
) -> Result<HelperVerdict, Malformed> {
    let fields: VerdictFields = serde_json::from_value(answer)
        .map_err(|_| Malformed("a verdict with a field that is wrong or unknown"))?;
    match fields {
        VerdictFields {
            allow: Some(true),
            deny: None,
            redirect: None,
            mutual,
            acl,
            ..
        } => {
            let acl = acl
                .map(|name| {
                    IscsiName::parse_peer(&name).map_err(|_| Malformed("\"acl\" is no name"))
                })
                .transpose()?;
            let wanted = hello.mutual && question.mutual.is_some();
            let mutual = match mutual.filter(|_| wanted) {
                None if wanted => return Err(Malformed("\"mutual\" is missing")),
                fields => fields
                    .map(|fields| fields.into_response(question.algorithm))
                    .transpose()?,
            };
            Ok(HelperVerdict::Allow { mutual, acl })
        }
        VerdictFields {
            allow: None,
            deny: Some(reason),
            redirect: None,
            mutual: None,
            acl: None,
            ..
        } => Ok(HelperVerdict::Deny(refusal(&reason))),
        VerdictFields {
            allow: None,
            deny: None,
            redirect: Some(fields),
            mutual: None,
            acl: None,
            ..
        } => fields
            .into_redirection(&question.request)
            .map(HelperVerdict::Redirect),
        _ => Err(Malformed(
            "a verdict is one of \"allow\": true, \"deny\" and \"redirect\"",
        )),
    }
}

impl<'a> RequestFields<'a> {
    fn of(request: &'a PolicyRequest) -> Self {
        Self {
            initiator: request.initiator.as_str(),
            target: request.target.as_ref().map(IscsiName::as_str),
            portal_group_tag: request.portal_group_tag,
            portal: request.portal,
            peer: request.peer,
        }
    }
}

impl RedirectFields {
    // RFC 7143 §11.13.5: what has moved is the target asked for, and a discovery session asks for none.
    fn into_redirection(self, question: &PolicyRequest) -> Result<Redirection, Malformed> {
        if question.target.is_none() {
            return Err(Malformed("a discovery session cannot be redirected"));
        }
        let to = PortalAddress::parse(&self.address)
            .map_err(|_| Malformed("\"redirect\" has no legal address"))?;
        Ok(Redirection {
            to,
            permanent: self.permanent,
        })
    }
}

impl MutualFields {
    // RFC 7143 §12.1.3: a response is as long as a digest of the algorithm.
    fn into_response(self, algorithm: ChapAlgorithm) -> Result<MutualResponse, Malformed> {
        let name_is_legal = (1..=MAX_CHAP_NAME_BYTES).contains(&self.name.len())
            && !self.name.chars().any(char::is_control);
        match parse_hex(&self.response) {
            Some(response) if name_is_legal && response.len() == algorithm.digest_bytes() => {
                Ok(MutualResponse {
                    name: self.name,
                    response,
                })
            }
            _ => Err(Malformed("\"mutual\" has no legal name and response")),
        }
    }
}

impl From<MutualWord> for Mutual {
    fn from(word: MutualWord) -> Self {
        match word {
            MutualWord::Never => Self::Never,
            MutualWord::Allowed => Self::Allowed,
            MutualWord::Required => Self::Required,
        }
    }
}

/// The helper's list, in its order, as far as it can verify it; without a list, all of that.
fn allowed(list: Option<Vec<String>>, hello: &Hello) -> Result<Vec<ChapAlgorithm>, Malformed> {
    let Some(list) = list else {
        return Ok(hello.algorithms.clone());
    };
    let mut algorithms = Vec::new();
    for name in list {
        let known = ALGORITHMS.iter().find(|(known, _)| *known == name);
        let known = known.ok_or(Malformed("a policy with an algorithm that there is not"))?;
        if hello.algorithms.contains(&known.1) && !algorithms.contains(&known.1) {
            algorithms.push(known.1);
        }
    }
    if algorithms.is_empty() {
        return Err(Malformed(
            "a policy without an algorithm that the helper can verify",
        ));
    }
    Ok(algorithms)
}

/// What a reason means. One that is not in the protocol is no mistake that could let anybody in.
fn refusal(reason: &str) -> Refusal {
    REASONS
        .iter()
        .find(|(known, _)| *known == reason)
        .map_or(Refusal::NotAuthorized, |(_, refusal)| *refusal)
}

fn algorithm_name(algorithm: ChapAlgorithm) -> Option<&'static str> {
    ALGORITHMS
        .iter()
        .find(|(_, known)| *known == algorithm)
        .map(|(name, _)| *name)
}

fn emit(line: &impl Serialize, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let start = out.len();
    let written = serde_json::to_writer(&mut *out, line);
    if written.is_err() || out.len().saturating_sub(start) > MAX_LINE_BYTES {
        out.truncate(start);
        return Err(Malformed("a question that makes no line"));
    }
    out.push(b'\n');
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a string does not fail.
            let _written = write!(text, "{byte:02x}");
            text
        })
}

fn parse_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests;
