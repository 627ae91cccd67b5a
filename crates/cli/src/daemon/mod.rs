//! Commands for whoever runs the daemon that need no daemon: what its files say.

pub(crate) mod check;
pub(crate) mod import;
mod wanted;
