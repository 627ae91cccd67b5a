//! Sessions driven from outside: golden exchanges, rules of data, pairs with the initiator, and random peers.
#![allow(
    clippy::cast_possible_truncation,
    reason = "tests count in small numbers"
)]

mod allegiance;
mod awaited;
mod connections;
mod data_rules;
mod first_io;
mod golden;
mod management;
mod pair;
mod random;
mod recovery;
mod requests;
mod target;
mod text;
