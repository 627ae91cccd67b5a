//! Assembly: control socket, persistence, authentication helpers, signals, metrics.
#![forbid(unsafe_code)]

#[cfg(feature = "api")]
pub mod api;
pub mod control;
pub mod helper;
pub mod state;
