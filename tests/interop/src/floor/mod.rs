//! How far a target is from what loopback TCP can carry at all: the binary and a *floor*, each in turn under the same load.
//!
//! The floor is the least that could pass for a target: one blocking thread that logs an initiator in, and then for every command
//! does nothing but move its bytes between the socket and memory, all that has come by one receive answered by one send. It
//! checks nothing, keeps nothing and serves one session; no target can be much cheaper on the same kernel calls.
//!
//! Operations per second mean something on a quiet machine only, and as a share of the floor's in the same run. The processor
//! time for one command is what noise disturbs least.

mod compare;
mod target;

pub use compare::{LOADS, Options, compare};
pub use target::serve;
