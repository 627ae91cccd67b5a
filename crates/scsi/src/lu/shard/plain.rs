//! READ and WRITE where nothing is out of the ordinary: decided in one look.
//!
//! Most commands of a busy logical unit find it ready, reserved by nobody, with no fence and nothing pending, name blocks that
//! are there, and bring or take just the data of these. [`begin`](crate::begin) and [`resume`](crate::resume) come to one I/O
//! and GOOD for them, by way of a dozen questions; [`LuShard::plain`] asks the same at once. It says nothing of any other
//! command, which goes the general way. A test holds the two ways together.
//!
//! Standards: SBC-4 r22 "READ (10) command", "READ (16) command", "WRITE (10) command", "WRITE (16) command".

use block::{BlockCount, Lba};

use super::super::fence::{Flight, IoKind};
use super::super::{NexusId, TaskKey, Traffic};
use super::{LuShard, Membership, TaskAttribute};
use crate::command::{Cdb, Command};
use crate::step::WINDOW_BYTES;

/// READ or WRITE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainKind {
    /// All of its data is Data-In.
    Read,
    /// All of its data is Data-Out.
    Write {
        /// Completes only when the blocks would survive a power cut.
        durable: bool,
    },
}

/// A command that is one I/O, and ends in GOOD where the store does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain {
    /// Which way.
    pub kind: PlainKind,
    /// The first block.
    pub lba: Lba,
    /// How many, at least one.
    pub blocks: u64,
    /// The same in bytes: what the initiator expects to move, and at most [`WINDOW_BYTES`].
    pub bytes: u32,
}

/// SBC-4 "READ (10) command": DPO, a hint that is not taken.
const DPO: u8 = 0x10;
/// SBC-4 "WRITE (10) command": FUA, and FUA_NV of older revisions.
const FUA: u8 = 0x0a;

impl LuShard {
    /// What the command comes to, where it may begin now and nothing has to be said but GOOD. Nothing changes here: it has not
    /// [entered](Self::enter) the task set.
    ///
    /// The caller does the I/O before it handles anything else for this shard, or, where a read takes longer, has it counted
    /// by [`enter_plain_read`](Self::enter_plain_read); then it calls [`count_plain`](Self::count_plain).
    #[must_use]
    pub fn plain(&self, nexus: NexusId, command: &Command, write_protected: bool) -> Option<Plain> {
        if !self.is_quiet() {
            return None;
        }
        let untagged = matches!(
            command.attribute,
            TaskAttribute::Simple | TaskAttribute::Untagged
        );
        let attached = self.nexuses.get(&nexus)?;
        if !untagged || attached.detaching.is_some() || attached.has_unit_attention() {
            return None;
        }
        let Named { write, lba, blocks } = named(&command.cdb)?;
        let geometry = self.snapshot.geometry();
        let bytes = blocks.checked_mul(u64::from(geometry.block_size_bytes))?;
        let bytes = u32::try_from(bytes).ok()?;
        let (moved, other) = match write {
            true => (command.data_out_bytes, command.data_in_bytes),
            false => (command.data_in_bytes, command.data_out_bytes),
        };
        let whole = moved == bytes && other == 0 && bytes > 0 && bytes <= WINDOW_BYTES;
        if !whole || !geometry.contains(lba, BlockCount(blocks)) {
            return None;
        }
        let flags = command.cdb.byte::<1>();
        let kind = if !write {
            // FUA is a flush before the read.
            (flags & !DPO == 0).then_some(PlainKind::Read)?
        } else if write_protected || self.snapshot.write_protected() {
            return None;
        } else {
            let durable = flags & FUA != 0 || !self.snapshot.mode.write_cache;
            (flags & !(DPO | FUA) == 0).then_some(PlainKind::Write { durable })?
        };
        Some(Plain {
            kind,
            lba,
            blocks,
            bytes,
        })
    }

    /// Whether every command of a nexus without unit attentions may begin, and its I/O too.
    fn is_quiet(&self) -> bool {
        self.membership == Membership::Joined
            && self.fences.is_empty()
            && self.ordered.is_empty()
            && self.contingent.is_empty()
            && self.snapshot.is_plain()
    }

    /// Counts a plain read, just decided, as an I/O in flight under this name, until the name [leaves](Self::leave). False where
    /// the name is in use.
    #[must_use]
    pub fn enter_plain_read(&mut self, key: TaskKey, nexus: NexusId, read: &Plain) -> bool {
        let Some(attached) = self.nexuses.get_mut(&nexus) else {
            return false;
        };
        let flight = Flight {
            range: Some((read.lba, read.blocks)),
            kind: IoKind::Read,
        };
        let entered = self
            .tasks
            .insert(key, nexus, TaskAttribute::Simple, Some(flight));
        if entered {
            attached.tasks = attached.tasks.saturating_add(1);
        }
        entered
    }

    /// A plain command has ended in GOOD.
    pub fn count_plain(&self, plain: &Plain) {
        let traffic = match plain.kind {
            PlainKind::Read => Traffic::Read,
            PlainKind::Write { .. } => Traffic::Write,
        };
        let at_once = std::time::Duration::ZERO;
        self.statistics
            .count(traffic, u64::from(plain.bytes), at_once);
    }
}

/// What a CDB of the four most common commands names.
struct Named {
    write: bool,
    lba: Lba,
    blocks: u64,
}

/// Nothing where the CDB is another, or anything but the flags in byte 1, the address and the length is set.
fn named(cdb: &Cdb) -> Option<Named> {
    let (write, lba, blocks, rest) = match cdb.opcode() {
        opcode @ (0x28 | 0x2a) => {
            let (lba, blocks) = (u64::from(cdb.be32::<2>()), u64::from(cdb.be16::<7>()));
            (
                opcode == 0x2a,
                lba,
                blocks,
                cdb.byte::<6>() | cdb.byte::<9>(),
            )
        }
        opcode @ (0x88 | 0x8a) => {
            let (lba, blocks) = (cdb.be64::<2>(), u64::from(cdb.be32::<10>()));
            let rest = cdb.byte::<14>() | cdb.byte::<15>();
            (opcode == 0x8a, lba, blocks, rest)
        }
        _ => return None,
    };
    (rest == 0).then_some(Named {
        write,
        lba: Lba(lba),
        blocks,
    })
}
