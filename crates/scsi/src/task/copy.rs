//! Third-party copies as one state of a task: EXTENDED COPY, POPULATE TOKEN, WRITE USING TOKEN.

use block::Geometry;

use super::extended_copy::ExtendedCopy;
use super::state::Next;
use super::token::{PopulateToken, WriteUsingToken};

use crate::command::Command;
use crate::copy::CopyState;
use crate::lu::{LuShard, NexusId, TaskKey};
use crate::opcodes::CopyCommand;
use crate::sense::{Refusal, Sense};
use crate::snapshot::LuSnapshot;
use crate::view::LunView;

/// A third-party copy.
#[derive(Debug)]
pub(super) enum Copy {
    Extended(ExtendedCopy),
    Populate(PopulateToken),
    WriteUsing(WriteUsingToken),
}

impl Copy {
    /// The work of a command; `None`: it has no parameter list, and that is no error.
    pub(super) fn plan(which: CopyCommand, command: &Command) -> Result<Option<Self>, Refusal> {
        Ok(match which {
            CopyCommand::Extended(form) => ExtendedCopy::plan(form, command)?.map(Self::Extended),
            CopyCommand::PopulateToken => PopulateToken::plan(command)?.map(Self::Populate),
            CopyCommand::WriteUsingToken => WriteUsingToken::plan(command)?.map(Self::WriteUsing),
        })
    }

    pub(super) fn next(&self, lu: &LuSnapshot) -> Next {
        match self {
            Self::Extended(copy) => copy.next(),
            Self::Populate(populate) => populate.next(),
            Self::WriteUsing(write) => write.next(lu),
        }
    }

    /// The list is here.
    pub(super) fn handle_data_out(
        &mut self,
        list: &[u8],
        names: (NexusId, TaskKey),
        shard: &mut LuShard,
        view: &LunView<'_>,
    ) -> Result<(), Refusal> {
        match self {
            Self::Extended(copy) => copy.handle_data_out(list, names, shard, view),
            Self::Populate(populate) => populate.handle_data_out(list, names, shard, view),
            Self::WriteUsing(write) => write.handle_data_out(list, names, shard, view),
        }
    }

    /// A part has ended.
    pub(super) fn handle_part(
        &mut self,
        result: Result<(), Refusal>,
        names: (NexusId, TaskKey),
        shard: &mut LuShard,
        view: &LunView<'_>,
    ) -> Result<(), Refusal> {
        match self {
            Self::Extended(copy) => copy.handle_part(result, names, shard, view),
            Self::Populate(_) => Err(Sense::INTERNAL_TARGET_FAILURE.into()),
            Self::WriteUsing(write) => write.handle_part(result, names, shard),
        }
    }

    /// An I/O of the command's own unit has succeeded.
    pub(super) fn handle_io(&mut self, lu: &LuSnapshot) -> Result<(), Refusal> {
        match self {
            Self::WriteUsing(write) => write.handle_io(lu),
            Self::Extended(_) | Self::Populate(_) => Err(Sense::INTERNAL_TARGET_FAILURE.into()),
        }
    }

    /// Whether what is still to be done by I/O of the command's own is there.
    pub(super) fn check_ranges(&self, geometry: Geometry) -> Result<(), Refusal> {
        match self {
            Self::WriteUsing(write) => write.check_ranges(geometry),
            Self::Extended(_) | Self::Populate(_) => Ok(()),
        }
    }

    /// How it has ended, when it has ended well.
    pub(super) fn end_state(&self) -> CopyState {
        match self {
            Self::WriteUsing(write) => write.end_state(),
            Self::Extended(_) | Self::Populate(_) => CopyState::Completed,
        }
    }
}
