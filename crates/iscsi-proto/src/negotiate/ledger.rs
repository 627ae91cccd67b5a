//! Which keys have come in one login, and whether the next may.

use core::fmt;

use iscsi_wire::Stage;
use iscsi_wire::keys::{self, Key, KeyRow, Phase, Sender};
use iscsi_wire::text::{TextError, parse_pairs};

use super::is_reserved_constant;

/// The keys that have come. RFC 7143 §6.2 counts a whole login as one negotiation.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    leading: bool,
    max_keys: usize,
    known: Vec<Key>,
    unknown: Vec<String>,
    /// What the first request said of who talks to whom.
    identity: Vec<(Key, String)>,
}

/// A key that may be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    /// Its row, where the table has one.
    pub(crate) row: Option<&'static KeyRow>,
    pub(crate) name: String,
    pub(crate) value: String,
}

/// Why a key ends the login. RFC 7143 knows one status for all of them; the log wants to know which it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// The text is not a run of pairs.
    Text(TextError),
    /// More keys than one login may have.
    TooMany,
    /// A key came a second time.
    Twice,
    /// The key does not belong into this stage.
    WrongStage(Key),
    /// The key belongs into the first request.
    Late(Key),
    /// Only a target sends this key.
    WrongSender(Key),
    /// The key belongs to the first connection of a session.
    LeadingOnly(Key),
    /// The value declared is malformed or out of range, and a declaration has no answer to say so.
    Declaration(Key),
    /// A constant that only answers have stands where an offer should.
    ReservedValue(Key),
    /// MaxBurstLength is offered below the FirstBurstLength agreed before.
    BurstBelowFirst,
    /// This digest is required and was not agreed.
    DigestRequired(Key),
}

impl Ledger {
    /// Of a new login; `leading` where it is that of a session's first connection.
    pub(crate) fn new(leading: bool, max_keys: usize) -> Self {
        Self {
            leading,
            max_keys,
            known: Vec::new(),
            unknown: Vec::new(),
            identity: Vec::new(),
        }
    }

    /// Takes a complete text apart; `opening` where it is the first of the login.
    pub(crate) fn read(
        &mut self,
        mut text: Vec<u8>,
        stage: Stage,
        opening: bool,
    ) -> Result<Vec<Pair>, KeyError> {
        // RFC 7143 §6.1: a pair is followed by at least one NUL, so more than one is legal.
        text.dedup_by(|later, earlier| *later == 0 && *earlier == 0);
        let text = text.strip_prefix(&[0]).unwrap_or(&text);
        let mut pairs = Vec::new();
        for pair in parse_pairs(text) {
            let (name, value) = pair.map_err(KeyError::Text)?;
            if !opening && self.repeats_identity(name, value) {
                continue;
            }
            let row = self.admit(name, value, stage, opening)?;
            pairs.push(Pair {
                row,
                name: name.to_owned(),
                value: value.to_owned(),
            });
        }
        Ok(pairs)
    }

    // RFC 7143 §6.2 does not allow it, but libiscsi with CHAP configured, where the target chooses AuthMethod=None, says
    // the names again in its first operational request. The same words again change nothing.
    fn repeats_identity(&self, name: &str, value: &str) -> bool {
        self.identity
            .iter()
            .any(|(key, said)| key.name() == name && said == value)
    }

    fn admit(
        &mut self,
        name: &str,
        value: &str,
        stage: Stage,
        opening: bool,
    ) -> Result<Option<&'static KeyRow>, KeyError> {
        if self.known.len() + self.unknown.len() >= self.max_keys {
            return Err(KeyError::TooMany);
        }
        let Some(row) = keys::lookup(name) else {
            if self.unknown.iter().any(|earlier| earlier == name) {
                return Err(KeyError::Twice);
            }
            self.unknown.push(name.to_owned());
            return Ok(None);
        };
        // RFC 7143 §6.2: a key declared or negotiated a second time in one negotiation ends the login.
        if self.known.contains(&row.key) {
            return Err(KeyError::Twice);
        }
        self.known.push(row.key);
        if opening && is_identity(row) {
            self.identity.push((row.key, value.to_owned()));
        }
        if !row.phase.allows(stage) {
            return Err(KeyError::WrongStage(row.key));
        }
        // RFC 7143 §13.4, §13.5, §13.21: who talks to whom about what stands in the first request.
        if is_identity(row) && !opening {
            return Err(KeyError::Late(row.key));
        }
        // An initiator may say that it did not understand what we declared. It changes nothing.
        if row.sender == Sender::Target && !is_reserved_constant(value) {
            return Err(KeyError::WrongSender(row.key));
        }
        // RFC 7143 §13: "LO" keys belong to the leading connection. SessionType says nothing new on a later one, and
        // initiators send it there all the same.
        if row.leading_only && !self.leading && row.key != Key::SessionType {
            return Err(KeyError::LeadingOnly(row.key));
        }
        Ok(Some(row))
    }
}

/// Who talks to whom about what: InitiatorName, TargetName, SessionType.
fn is_identity(row: &KeyRow) -> bool {
    row.phase == Phase::Initialization && row.sender == Sender::Initiator
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(error) => error.fmt(f),
            Self::TooMany => f.write_str("too many keys in one login"),
            Self::Twice => f.write_str("a key came twice in one login"),
            Self::WrongStage(key) => write!(f, "key in the wrong stage: {}", key.name()),
            Self::Late(key) => write!(f, "key after the first request: {}", key.name()),
            Self::WrongSender(key) => write!(f, "key that only a target sends: {}", key.name()),
            Self::LeadingOnly(key) => {
                write!(
                    f,
                    "key of a session's first connection on a later one: {}",
                    key.name()
                )
            }
            Self::Declaration(key) => write!(f, "illegal value declared: {}", key.name()),
            Self::ReservedValue(key) => write!(f, "constant in place of an offer: {}", key.name()),
            Self::BurstBelowFirst => f.write_str("MaxBurstLength is below FirstBurstLength"),
            Self::DigestRequired(key) => {
                write!(f, "digest required and not agreed: {}", key.name())
            }
        }
    }
}

impl core::error::Error for KeyError {}
