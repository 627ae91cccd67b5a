//! The device server as its callers see it: commands in, steps and status out, against a logical unit in memory.
#![allow(clippy::cast_possible_truncation)]

mod access;
mod blocks;
mod buffers;
mod caching;
mod checks;
mod concurrency;
mod contingent;
mod copy;
mod format;
mod identifying;
mod lba_status;
mod limits;
mod log;
mod missing;
mod mode;
mod multimedia;
mod or_write;
mod persistent;
mod plain;
mod protection;
mod random;
mod reports;
mod rig;
mod sanitize;
mod token;
