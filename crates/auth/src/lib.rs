//! The authentication upcall, CHAP, and the built-in store behind it. Sans-I/O.
//!
//! A login asks an [`Authenticator`] two questions: which [`Policy`] governs this initiator, target and portal, and
//! whether a CHAP response is right ([`VerifyRequest`] -> [`Verdict`]). Every login takes this way, the built-in
//! [`ChapStore`] is one implementation of it, and nothing in a login knows which one answers.
//!
//! What must not depend on who answers is done by [`ChapExchange`], the login's side of RFC 7143 §12.1.3: which
//! algorithm is chosen, that no challenge is used twice, that a reflected challenge is refused, that responses have
//! the right length.
//!
//! Draws no random numbers and reads no clock: challenges are made of bytes handed in.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod chap;
mod exchange;
mod secret;
mod store;
mod upcall;

pub use chap::ChapAlgorithm;
pub use exchange::{
    CHALLENGE_BYTES, ChapAnswer, ChapError, ChapExchange, ChapOffer, ChapResponse,
    MAX_BINARY_BYTES, MAX_CHAP_NAME_BYTES, RANDOM_BYTES,
};
pub use secret::{SHORT_SECRET_BITS, Secret};
pub use store::{ChapEntry, ChapRule, ChapStore, ChapUser, Rule, Scope, StoreError};
pub use upcall::{
    Answer, Authenticator, ChapPolicy, Mutual, MutualChallenge, MutualResponse, Policy,
    PolicyRequest, Refusal, Reply, Verdict, VerifyRequest,
};
