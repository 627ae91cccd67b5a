//! The fence: what a home has its shards hold back, drain or abort.

use std::sync::Arc;

use block::Lba;

use super::tasks::Task;
use super::{FenceId, NexusId, ShardId, Ticket};
use crate::command::TaskAttribute;
use crate::persistent_reserve::NexusName;

/// Tells a shard what to hold back, from its arrival until it is lifted. The shard acknowledges it once, when what it
/// names and was there before has left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// Its name.
    pub id: FenceId,
    /// What it holds, and what it waits for.
    pub scope: FenceScope,
    /// The task for which it is raised: not held, not waited for.
    pub exempt: Option<(ShardId, Ticket)>,
}

/// What a [`Fence`] holds, and what its acknowledgement waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FenceScope {
    /// Holds I/O, and waits for the I/O of this kind in flight.
    Io {
        /// Where: a range of blocks, or anywhere.
        range: Option<(Lba, u64)>,
        /// Which.
        holds: Holds,
    },
    /// Holds commands that come later, and waits for those in the task set (SAM-5 "ORDERED task attribute").
    Drain,
    /// Aborts commands in the task set and waits for them to leave; holds commands of the same nexuses that come later.
    Abort {
        /// Which.
        meant: Meant,
        /// Who is told.
        telling: Telling,
    },
    /// Aborts the commands of these nexuses and waits for them to leave; holds I/O, and waits for that of all others in flight
    /// (SPC-5 "Preempting and aborting").
    Preempt {
        /// Whose, sorted.
        nexuses: Arc<[NexusName]>,
        /// Who is told.
        telling: Telling,
    },
}

/// Which commands a fence aborts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meant {
    /// All.
    All,
    /// Those of this nexus.
    Of(NexusId),
    /// Those of this nexus with the ACA attribute.
    Contingent(NexusId),
}

impl Meant {
    /// Whether a command is among them.
    pub(super) fn includes(self, task: &Task) -> bool {
        match self {
            Self::All => true,
            Self::Of(of) => task.nexus == of,
            Self::Contingent(of) => task.nexus == of && task.attribute == TaskAttribute::Aca,
        }
    }

    /// Whether commands of the nexus that come later are held.
    pub(super) fn concerns(self, nexus: NexusId) -> bool {
        match self {
            Self::All => true,
            Self::Of(of) | Self::Contingent(of) => of == nexus,
        }
    }
}

/// Who is told of commands that a fence aborts, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Telling {
    /// Whose command, or task management function, asked for it. Its own commands end without a status.
    pub by: Option<NexusId>,
    /// SPC-5 "Control mode page", TAS: commands of other nexuses end with TASK ABORTED.
    pub status: bool,
    /// COMMANDS CLEARED BY ANOTHER INITIATOR is established for the other nexuses that lose commands.
    pub attention: bool,
    /// It is a task management function.
    pub function: bool,
}

/// Which I/O a fence holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// All of it.
    Everything,
    /// What may change the medium, or make changes durable: all but reads.
    Changes,
}

/// What an I/O does to the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoKind {
    /// Reads blocks.
    Read,
    /// Writes, zeroes or unmaps blocks.
    Write,
    /// Makes writes durable.
    Flush,
    /// Neither.
    Other,
}

/// One I/O in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flight {
    pub(super) range: Option<(Lba, u64)>,
    pub(super) kind: IoKind,
}

impl FenceScope {
    /// Whether the I/O must not run while this stands.
    pub(super) fn concerns_io(&self, flight: &Flight) -> bool {
        let (range, holds) = match self {
            Self::Io { range, holds } => (range, holds),
            Self::Preempt { .. } => return true,
            Self::Drain | Self::Abort { .. } => return false,
        };
        if *holds == Holds::Changes && !matches!(flight.kind, IoKind::Write | IoKind::Flush) {
            return false;
        }
        match (range, flight.range) {
            (None, _) => true,
            (Some(fenced), Some(used)) => overlap(*fenced, used),
            // A flush touches no block by itself; a read or a write that does not say where may be anywhere.
            (Some(_), None) => matches!(flight.kind, IoKind::Read | IoKind::Write),
        }
    }

    /// Whether it waits for commands that were in the task set before, or for some of them, to leave.
    pub(super) fn waits_for_commands(&self) -> bool {
        !matches!(self, Self::Io { .. })
    }
}

/// Whether two ranges share a block. Ranges that would pass 2^64 end there.
fn overlap(one: (Lba, u64), other: (Lba, u64)) -> bool {
    let end = |range: (Lba, u64)| range.0.0.saturating_add(range.1);
    one.0.0 < end(other) && other.0.0 < end(one) && one.1 > 0 && other.1 > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(lba: u64, blocks: u64) -> (Lba, u64) {
        (Lba(lba), blocks)
    }

    #[test]
    fn overlap_of_ranges_is_by_shared_blocks() {
        for (one, other, shares) in [
            (at(0, 10), at(10, 1), false),
            (at(0, 10), at(9, 1), true),
            (at(5, 1), at(0, 10), true),
            (at(5, 0), at(0, 10), false),
            (at(0, 10), at(5, 0), false),
            (at(u64::MAX - 1, 5), at(u64::MAX - 1, 1), true),
        ] {
            assert_eq!(overlap(one, other), shares, "{one:?} {other:?}");
            assert_eq!(overlap(other, one), shares, "{other:?} {one:?}");
        }
    }

    #[test]
    fn concerns_io_by_range_kind_and_scope() {
        let ranged = FenceScope::Io {
            range: Some(at(8, 8)),
            holds: Holds::Everything,
        };
        let changes = FenceScope::Io {
            range: None,
            holds: Holds::Changes,
        };
        let abort = FenceScope::Abort {
            meant: Meant::All,
            telling: Telling::default(),
        };
        for (kind, range, by_ranged, by_changes) in [
            (IoKind::Read, Some(at(15, 1)), true, false),
            (IoKind::Read, Some(at(16, 1)), false, false),
            (IoKind::Write, Some(at(0, 9)), true, true),
            (IoKind::Write, Some(at(0, 8)), false, true),
            (IoKind::Write, None, true, true),
            (IoKind::Flush, None, false, true),
            (IoKind::Other, None, false, false),
        ] {
            let flight = Flight { range, kind };
            assert_eq!(ranged.concerns_io(&flight), by_ranged, "{flight:?}");
            assert_eq!(changes.concerns_io(&flight), by_changes, "{flight:?}");
            assert!(!abort.concerns_io(&flight), "{flight:?}");
            assert!(!FenceScope::Drain.concerns_io(&flight), "{flight:?}");
        }
    }
}
