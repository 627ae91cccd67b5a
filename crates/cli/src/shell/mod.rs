//! The tree shell.

pub(crate) mod grammar;
pub(crate) mod path;
