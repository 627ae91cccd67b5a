//! The login phase of one connection (RFC 7143 §6.3).

mod types;

pub use types::{
    CommitRequest, Established, LoginConfig, LoginEvent, LoginIdentity, LoginLimits, SessionType,
    TargetOffer,
};
