//! One read or write of a third-party copy, on the logical unit it is for.

use block::{BlockCount, IoError, Lba};

use crate::command::Cdb;
use crate::io_error::refusal_of;
use crate::lu::{Admit, IoKind, LuShard, NexusId, TaskKey};
use crate::lun::Lun;
use crate::opcodes::{READS, Rules, WRITES};
use crate::sense::{Refusal, Sense};
use crate::step::{Io, ReadInto, WriteFrom};
use crate::task::Gate;
use crate::view::LunView;

/// The logical unit that a [`Part`] is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// That of the command.
    Here,
    /// The one behind this LUN of the same I_T nexus.
    There(Lun),
}

/// What a [`Part`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartWork {
    /// Reads into the task's scratch memory.
    Read,
    /// Writes what stands there.
    Write,
}

/// What a command asks for with [`Step::Part`](crate::Step::Part).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartAsk {
    /// Where.
    pub place: Place,
    /// What.
    pub work: PartWork,
    /// The first block.
    pub lba: Lba,
    /// How many; at most [`WINDOW_BYTES`](crate::WINDOW_BYTES).
    pub blocks: u64,
    /// The size of its blocks that the command counted on.
    pub block_size_bytes: u32,
}

/// What the caller has to do for a [`Part`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartStep {
    /// Submit this to the unit's store, then [`Part::handle_io`].
    Io(Io),
    /// Wait for [`ShardAction::Wake`](crate::lu::ShardAction::Wake) with the part's key, then [`Part::drive`] again.
    Held,
    /// It may not be done.
    Refused(Refusal),
}

/// A part under way. Its key is in the task set of the unit's shard until it has ended.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    key: TaskKey,
    nexus: NexusId,
    ask: PartAsk,
    /// The version of the unit the checks were made on; 0: none were made.
    version: u64,
}

impl Part {
    /// A part for `nexus`. `key` is in the task set of the unit's shard: that of the command, or one of its own.
    #[must_use]
    pub fn new(ask: PartAsk, nexus: NexusId, key: TaskKey) -> Self {
        Self {
            key,
            nexus,
            ask,
            version: 0,
        }
    }

    /// Takes it on, as far as it goes. `shard` is that of the unit it is for, `view` what goes with the LUN that shows it.
    pub fn drive(&mut self, shard: &mut LuShard, view: &LunView<'_>) -> PartStep {
        let PartAsk { lba, blocks, .. } = self.ask;
        let kind = match self.ask.work {
            PartWork::Read => IoKind::Read,
            PartWork::Write => IoKind::Write,
        };
        loop {
            match shard.admit_io(self.key, Some((lba, blocks)), kind, self.version) {
                Admit::Go => return PartStep::Io(self.io(shard)),
                Admit::Held => return PartStep::Held,
                Admit::Recheck => {
                    if let Err(refusal) = self.check(shard, view) {
                        return PartStep::Refused(refusal);
                    }
                    self.version = shard.version();
                }
            }
        }
    }

    /// The I/O has left the store. Returns how the part has ended.
    ///
    /// # Errors
    /// What an initiator would have heard of the error.
    pub fn handle_io(
        &self,
        shard: &mut LuShard,
        result: Result<(), IoError>,
    ) -> Result<(), Refusal> {
        shard.io_done(self.key);
        result.map_err(|error| refusal_of(&error))
    }

    fn io(&self, shard: &LuShard) -> Io {
        let PartAsk { lba, blocks, .. } = self.ask;
        match self.ask.work {
            PartWork::Read => Io::Read {
                lba,
                blocks,
                into: ReadInto::Scratch,
            },
            PartWork::Write => Io::Write {
                lba,
                blocks,
                from: WriteFrom::Scratch,
                // SBC-4 "WCE bit": without a write cache a write completes when it is on the medium.
                durable: !shard.snapshot().mode.write_cache,
            },
        }
    }

    /// What a READ or a WRITE of the nexus would have to pass.
    fn check(&self, shard: &LuShard, view: &LunView<'_>) -> Result<(), Refusal> {
        let gate = Gate {
            nexus: self.nexus,
            view,
        };
        let rules: Rules = match self.ask.work {
            PartWork::Read => READS,
            PartWork::Write => WRITES,
        };
        let lu = shard.snapshot();
        gate.check_access(rules, &Cdb::new(&[]), shard)?;
        gate.check_write(rules, lu)?;
        // What is written would have no protection information, and would fail its checks.
        if rules.writes && lu.caps.protection.is_some() {
            return Err(Sense::COPY_TARGET_NOT_REACHABLE.into());
        }
        let geometry = lu.geometry();
        if geometry.block_size_bytes != self.ask.block_size_bytes {
            return Err(Sense::INTERNAL_TARGET_FAILURE.into());
        }
        if !geometry.contains(self.ask.lba, BlockCount(self.ask.blocks)) {
            return Err(Sense::LBA_OUT_OF_RANGE.into());
        }
        Ok(())
    }
}
