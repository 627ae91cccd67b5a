//! An authentication helper that asks a RADIUS server.
#![forbid(unsafe_code)]

fn main() {}
