//! Assembly: control socket, persistence, authentication helpers, signals, metrics.
#![forbid(unsafe_code)]

#[cfg(feature = "api")]
pub mod api;
pub mod control;
pub mod core;
pub mod helper;
pub mod isns;
#[cfg(feature = "api")]
pub mod run;
mod secret_file;
pub mod state;

pub use secret_file::{SecretFile, SecretFileError, fill_secrets};
