//! The iSCSI protocol core of a target, sans-I/O: login, negotiation, sessions, recovery, discovery.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod connection;
pub mod login;
pub mod negotiate;
pub mod session;
