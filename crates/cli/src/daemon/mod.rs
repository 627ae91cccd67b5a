//! The daemon itself, and commands about its files that need no daemon.

pub(crate) mod check;
pub(crate) mod import;
pub(crate) mod places;
pub(crate) mod run;
pub(crate) mod wanted;
