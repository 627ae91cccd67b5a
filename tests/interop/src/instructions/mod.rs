//! What a command costs the target, in instructions of its own code: the binary under callgrind, a client in lock step.
//!
//! Operations per second say little on a machine that is shared; instructions repeat. The client sends a round of commands in one
//! piece, waits until all are answered and the target sleeps, and sends the next. Two runs that differ only in their number of
//! rounds give the price of the rounds between them: start, login and end fall out. The busiest thread counts (there is one worker);
//! the kernel's part is not seen. Every row has its [`Budget`], kept in `instructions.budget` and held by `cargo xtask bench`.
//!
//! What could choose other code on another machine is fixed: valgrind shows a processor of its own making, glibc copies by SSE2
//! ([`GLIBC_TUNABLES`]), and no row has digests. Numbers still belong to one compiler.

mod budget;
mod client;
mod meter;

pub use budget::{Budget, TOLERANCE_PERCENT, Verdict};
pub use meter::{CallgrindOutput, GLIBC_TUNABLES, Meter, has_valgrind};

use crate::Driver;

/// READ or WRITE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// READ(10).
    Read,
    /// WRITE(10).
    Write,
}

/// One row of the table: commands of one kind in lock step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// As the budget names it.
    pub name: &'static str,
    /// Which command.
    pub direction: Direction,
    /// Bytes that one command moves.
    pub command_bytes: u32,
    /// Commands sent in one piece.
    pub depth: u32,
    /// HeaderDigest and DataDigest.
    pub digests: bool,
}

const fn workload(
    name: &'static str,
    direction: Direction,
    command_bytes: u32,
    depth: u32,
) -> Workload {
    Workload {
        name,
        direction,
        command_bytes,
        depth,
        digests: false,
    }
}

/// The rows with a budget. What is in flight at a time fits the smallest TCP window, so that a round comes in one piece.
pub const WORKLOADS: &[Workload] = &[
    workload("read-4k", Direction::Read, 4 << 10, 8),
    workload("write-4k", Direction::Write, 4 << 10, 8),
    workload("read-64k", Direction::Read, 64 << 10, 1),
    workload("write-64k", Direction::Write, 64 << 10, 1),
];

/// Further rows, for whoever profiles: larger batches depend a little on timing.
pub const FURTHER_WORKLOADS: &[Workload] = &[
    workload("read-4k-qd1", Direction::Read, 4 << 10, 1),
    workload("write-4k-qd1", Direction::Write, 4 << 10, 1),
    workload("read-4k-qd32", Direction::Read, 4 << 10, 32),
    workload("write-4k-qd32", Direction::Write, 4 << 10, 32),
    workload("read-512-qd64", Direction::Read, 512, 64),
    workload("write-64k-qd16", Direction::Write, 64 << 10, 16),
    workload("read-1m", Direction::Read, 1 << 20, 1),
    workload("write-1m", Direction::Write, 1 << 20, 1),
    Workload {
        digests: true,
        ..workload("read-4k-qd32-digests", Direction::Read, 4 << 10, 32)
    },
    Workload {
        digests: true,
        ..workload("write-4k-qd32-digests", Direction::Write, 4 << 10, 32)
    },
];

/// The drivers that have a budget, and how it names them. valgrind 3.19 takes a ring's wait for a call that does
/// not block and lets no other thread run meanwhile: under it the io_uring driver never starts.
pub const DRIVERS: [(Driver, &str); 1] = [(Driver::Epoll, "epoll")];
