//! Negotiation of operational parameters (RFC 7143 §6.2, §13).

mod params;

pub use params::{
    DEFAULT_MAX_RECV_DATA_SEGMENT_LENGTH, DigestChoice, NegotiatedParams, OfferedParams,
    TaskReporting,
};
