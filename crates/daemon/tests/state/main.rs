//! The saved state against a file system that fails, dies and loses its power at every step.

#![allow(clippy::cast_possible_truncation)]

mod crash;
mod damage;
mod disk;
mod failure;
mod history;
mod machine;
mod random;
mod sim;
