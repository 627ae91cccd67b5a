//! The target's side of one CHAP exchange (RFC 7143 §12.1.3), without the secrets.
//!
//! Three steps, each once: [`ChapExchange::choose`] takes the initiator's CHAP_A, [`ChapExchange::respond`] its
//! CHAP_N and CHAP_R, [`ChapExchange::settle`] the authenticator's verdict. A step out of turn is an error, so that one
//! exchange sends one challenge: identifier and challenge are never used twice.

use core::fmt;

use iscsi_wire::{IscsiName, number};

use crate::{
    ChapAlgorithm, ChapPolicy, Mutual, MutualChallenge, MutualResponse, PolicyRequest, Refusal,
    Verdict, VerifyRequest,
};

/// Bytes of our challenges: as long as the longest digest, so that no algorithm gets less than its own length.
pub const CHALLENGE_BYTES: usize = 32;

/// Random bytes that an exchange is made of: the identifier, then the challenge.
pub const RANDOM_BYTES: usize = 1 + CHALLENGE_BYTES;

/// The longest binary value of a CHAP key, in bytes (RFC 7143 §12.1.3).
pub const MAX_BINARY_BYTES: usize = 1024;

/// The longest CHAP_N, in bytes (RFC 7143 §6.1: a value of no stated length).
pub const MAX_CHAP_NAME_BYTES: usize = 255;

/// One CHAP exchange of one login.
#[derive(Clone, PartialEq, Eq)]
pub struct ChapExchange {
    policy: ChapPolicy,
    identifier: u8,
    challenge: [u8; CHALLENGE_BYTES],
    turn: Turn,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Turn {
    Choosing,
    Challenged {
        algorithm: ChapAlgorithm,
    },
    Verifying {
        algorithm: ChapAlgorithm,
        user: String,
        mutual: bool,
    },
    Over,
}

/// What answers CHAP_A: the values of CHAP_A, CHAP_I and CHAP_C.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChapOffer {
    /// The algorithm chosen.
    pub algorithm: ChapAlgorithm,
    /// Our identifier.
    pub identifier: u8,
    /// Our challenge.
    pub challenge: Vec<u8>,
}

/// The values of the initiator's keys in the second step, as they came.
#[derive(Clone, Copy, Default)]
pub struct ChapResponse<'a> {
    /// CHAP_N.
    pub name: Option<&'a str>,
    /// CHAP_R.
    pub response: Option<&'a str>,
    /// CHAP_I, where the target is to authenticate itself.
    pub identifier: Option<&'a str>,
    /// CHAP_C, where the target is to authenticate itself.
    pub challenge: Option<&'a str>,
}

/// A successful end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChapAnswer {
    /// The CHAP_N that proved itself.
    pub user: String,
    /// What the target answers, where it was asked to authenticate itself.
    pub mutual: Option<MutualResponse>,
    /// The node ACL by which the initiator is served in place of its own.
    pub acl: Option<IscsiName>,
}

/// Why an exchange failed. It cannot go on after any of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChapError {
    /// Keys of a step whose turn it is not.
    OutOfTurn,
    /// This key is missing.
    MissingKey(&'static str),
    /// This key's value is not what it must be.
    Malformed(&'static str),
    /// No algorithm of the initiator's is allowed.
    NoCommonAlgorithm,
    /// CHAP_R is not as long as a digest of the algorithm.
    WrongResponseLength,
    /// The initiator asks the target to authenticate itself, which the policy does not provide for.
    MutualNotAllowed,
    /// The policy requires that the target authenticates itself, and the initiator did not ask for it.
    MutualMissing,
    /// The initiator's challenge is our own.
    ReflectedChallenge,
    /// The authenticator said no.
    Denied(Refusal),
    /// The authenticator sends the initiator elsewhere: nothing is settled here.
    Redirected,
    /// The authenticator's answer cannot be sent: no target response, or one of the wrong length, or an illegal name.
    UnusableAnswer,
}

impl ChapExchange {
    /// A new exchange under `policy`. `random` must be fresh for each login: it becomes identifier and challenge.
    #[must_use]
    pub fn new(policy: ChapPolicy, random: [u8; RANDOM_BYTES]) -> Self {
        let [identifier, challenge @ ..] = random;
        Self {
            policy,
            identifier,
            challenge,
            turn: Turn::Choosing,
        }
    }

    /// Whether CHAP_A is what comes next.
    #[must_use]
    pub fn expects_algorithms(&self) -> bool {
        self.turn == Turn::Choosing
    }

    /// First step: the value of the initiator's CHAP_A. Of what it lists, the policy's first is chosen.
    ///
    /// # Errors
    /// Not the first step, not a list of numbers, or none that the policy allows.
    // RFC 7143 §12.1.3: the target answers with one of the algorithms listed, or fails the login. Unlike the general
    // rule for lists, nothing there says that the initiator's order decides.
    pub fn choose(&mut self, algorithms: &str) -> Result<ChapOffer, ChapError> {
        if self.turn != Turn::Choosing {
            return Err(ChapError::OutOfTurn);
        }
        self.turn = Turn::Over;
        let mut listed = Vec::new();
        for text in algorithms.split(',') {
            let number = number::parse_number(text).map_err(|_| ChapError::Malformed("CHAP_A"))?;
            listed.extend(ChapAlgorithm::from_number(number));
        }
        let chosen = self
            .policy
            .algorithms
            .iter()
            .find(|ours| listed.contains(ours));
        let algorithm = *chosen.ok_or(ChapError::NoCommonAlgorithm)?;
        self.turn = Turn::Challenged { algorithm };
        Ok(ChapOffer {
            algorithm,
            identifier: self.identifier,
            challenge: self.challenge.to_vec(),
        })
    }

    /// Second step: CHAP_N and CHAP_R, and the initiator's own challenge where it sends one. Gives the question for
    /// the authenticator.
    ///
    /// # Errors
    /// Not the second step, or a key missing, malformed or of the wrong length, or the policy on mutual authentication
    /// is not met, or the challenge is a reflected one.
    pub fn respond(
        &mut self,
        keys: ChapResponse<'_>,
        request: PolicyRequest,
    ) -> Result<VerifyRequest, ChapError> {
        let Turn::Challenged { algorithm } = core::mem::replace(&mut self.turn, Turn::Over) else {
            return Err(ChapError::OutOfTurn);
        };
        let name = keys.name.ok_or(ChapError::MissingKey("CHAP_N"))?;
        let response = keys.response.ok_or(ChapError::MissingKey("CHAP_R"))?;
        if !is_legal_name(name) {
            return Err(ChapError::Malformed("CHAP_N"));
        }
        let response = binary("CHAP_R", response)?;
        // RFC 7143 §12.1.3: the response of an algorithm has one length. Anything else cannot be right, and what
        // authenticates need not be bothered with it.
        if response.len() != algorithm.digest_bytes() {
            return Err(ChapError::WrongResponseLength);
        }
        let mutual = self.mutual_challenge(keys)?;
        self.turn = Turn::Verifying {
            algorithm,
            user: name.to_owned(),
            mutual: mutual.is_some(),
        };
        Ok(VerifyRequest {
            request,
            algorithm,
            identifier: self.identifier,
            challenge: self.challenge.to_vec(),
            name: name.to_owned(),
            response,
            mutual,
        })
    }

    /// Third step: the authenticator's verdict.
    ///
    /// # Errors
    /// Not the third step, or the verdict is a refusal or cannot be used.
    pub fn settle(&mut self, verdict: Verdict) -> Result<ChapAnswer, ChapError> {
        let Turn::Verifying {
            algorithm,
            user,
            mutual: wanted,
        } = core::mem::replace(&mut self.turn, Turn::Over)
        else {
            return Err(ChapError::OutOfTurn);
        };
        let (mutual, acl) = match verdict {
            Verdict::Deny(refusal) => return Err(ChapError::Denied(refusal)),
            Verdict::Redirect(_) => return Err(ChapError::Redirected),
            Verdict::Allow { mutual, acl } => (mutual.filter(|_| wanted), acl),
        };
        let usable = mutual.as_ref().map_or(!wanted, |mutual| {
            is_legal_name(&mutual.name) && mutual.response.len() == algorithm.digest_bytes()
        });
        if !usable {
            return Err(ChapError::UnusableAnswer);
        }
        Ok(ChapAnswer { user, mutual, acl })
    }

    fn mutual_challenge(
        &self,
        keys: ChapResponse<'_>,
    ) -> Result<Option<MutualChallenge>, ChapError> {
        let (identifier, challenge) = match (keys.identifier, keys.challenge) {
            (None, None) if self.policy.mutual == Mutual::Required => {
                return Err(ChapError::MutualMissing);
            }
            (None, None) => return Ok(None),
            (Some(_), Some(_)) if self.policy.mutual == Mutual::Never => {
                return Err(ChapError::MutualNotAllowed);
            }
            (Some(identifier), Some(challenge)) => (identifier, challenge),
            (None, Some(_)) => return Err(ChapError::MissingKey("CHAP_I")),
            (Some(_), None) => return Err(ChapError::MissingKey("CHAP_C")),
        };
        let identifier = number::parse_number(identifier)
            .ok()
            .and_then(|number| u8::try_from(number).ok())
            .ok_or(ChapError::Malformed("CHAP_I"))?;
        let challenge = binary("CHAP_C", challenge)?;
        // RFC 7143 §12.1.3: a challenge that comes back as the other direction's challenge would make us answer our
        // own question for the peer. The identifier does not matter: an algorithm where it did is one hash away.
        if challenge == self.challenge {
            return Err(ChapError::ReflectedChallenge);
        }
        Ok(Some(MutualChallenge {
            identifier,
            challenge,
        }))
    }
}

// The challenge is not printed: with the response, which others print, it would let a reader of the log guess.
impl fmt::Debug for ChapExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChapExchange")
            .field("policy", &self.policy)
            .field("turn", &self.turn)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for ChapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfTurn => f.write_str("CHAP key out of turn"),
            Self::MissingKey(key) => write!(f, "CHAP key missing: {key}"),
            Self::Malformed(key) => write!(f, "malformed value of CHAP key: {key}"),
            Self::NoCommonAlgorithm => f.write_str("no CHAP algorithm in common"),
            Self::WrongResponseLength => f.write_str("CHAP_R has the wrong length"),
            Self::MutualNotAllowed => f.write_str("mutual CHAP asked for and not provided"),
            Self::MutualMissing => f.write_str("mutual CHAP required and not asked for"),
            Self::ReflectedChallenge => f.write_str("the target's own CHAP challenge came back"),
            Self::Denied(refusal) => refusal.fmt(f),
            Self::Redirected => f.write_str("the authenticator sends it elsewhere"),
            Self::UnusableAnswer => f.write_str("the authenticator's answer cannot be used"),
        }
    }
}

impl core::error::Error for ChapError {}

fn is_legal_name(name: &str) -> bool {
    (1..=MAX_CHAP_NAME_BYTES).contains(&name.len()) && !name.chars().any(char::is_control)
}

/// A binary value of 1 to [`MAX_BINARY_BYTES`] bytes.
fn binary(key: &'static str, text: &str) -> Result<Vec<u8>, ChapError> {
    let bytes =
        number::parse_binary(text, MAX_BINARY_BYTES).map_err(|_| ChapError::Malformed(key))?;
    if bytes.is_empty() {
        Err(ChapError::Malformed(key))
    } else {
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests;
