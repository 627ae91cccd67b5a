//! Assembly: control socket, persistence, authentication helpers, signals, metrics.
#![forbid(unsafe_code)]

pub mod control;
pub mod state;
