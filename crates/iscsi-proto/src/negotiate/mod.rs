//! Negotiation of keys (RFC 7143 §6.2, §13): which may come when and from whom, and what each is answered.
//!
//! Works on pairs of one complete text, whatever PDUs brought it. Knows the table of keys and the values this target
//! offers; knows nothing of stages' ends, authentication or headers, which are the login's.

mod ledger;
mod negotiation;
mod params;

pub(crate) use ledger::{Ledger, Pair};
pub(crate) use negotiation::Negotiation;

pub use ledger::KeyError;
pub use params::{
    DEFAULT_MAX_RECV_DATA_SEGMENT_LENGTH, DigestChoice, NegotiatedParams, OfferedParams,
    TaskReporting,
};

/// The constants that stand for "no value" in an answer (RFC 7143 §6.2).
pub(crate) const NOT_UNDERSTOOD: &str = "NotUnderstood";
pub(crate) const IRRELEVANT: &str = "Irrelevant";
pub(crate) const REJECT: &str = "Reject";

pub(crate) fn is_reserved_constant(value: &str) -> bool {
    matches!(value, NOT_UNDERSTOOD | IRRELEVANT | REJECT)
}
