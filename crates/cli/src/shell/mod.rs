//! The tree shell.

#[allow(
    dead_code,
    reason = "whole lines are read by the tree shell, which is not wired yet"
)]
pub(crate) mod grammar;
#[allow(
    dead_code,
    reason = "whole lines are read by the tree shell, which is not wired yet"
)]
pub(crate) mod path;
