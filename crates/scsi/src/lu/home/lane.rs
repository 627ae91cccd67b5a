//! What waits at a home, and what is under way.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::fence::Fence;
use super::super::message::HomeAction;
use super::super::{FenceId, NexusId, ShardId, Ticket};
use crate::persistent_reserve::{NexusName, Outcome};

/// Actions that are worked one after the other.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) waiting: VecDeque<Request>,
    pub(super) current: Option<Running>,
}

#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) by: Requester,
    pub(super) nexus: Option<NexusId>,
    pub(super) name: Option<NexusName>,
    pub(super) action: HomeAction,
}

/// Who is told how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Requester {
    Shard(ShardId, Ticket),
    Caller(u64),
    Nobody,
}

#[derive(Debug)]
pub(super) struct Running {
    pub(super) request: Request,
    pub(super) id: FenceId,
    /// While it stands.
    pub(super) fence: Option<Fence>,
    /// What a PERSISTENT RESERVE OUT comes to: nothing else changes what it was made from.
    pub(super) outcome: Option<Outcome>,
    /// What comes before it has happened, and it has to happen too.
    pub(super) has_to_happen: bool,
    /// How long the transition takes that comes before it, until that has begun.
    pub(super) transition: Option<Duration>,
    pub(super) phase: Phase,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// What it comes to is being made durable.
    Saving,
    /// That has ended: whether it is durable.
    Saved(bool),
    /// These shards have not acknowledged the fence.
    Fencing(Vec<ShardId>),
    /// The transition is under way.
    Transitioning,
    /// The requester has what it asked for, until it gives it back.
    Granted,
    /// These shards have not acknowledged the publication.
    Publishing(Vec<ShardId>),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum LaneKind {
    Abort,
    Reserve,
    Serial,
    Order,
}

impl LaneKind {
    pub(super) const ALL: [Self; 4] = [Self::Abort, Self::Reserve, Self::Serial, Self::Order];

    pub(super) fn of(action: &HomeAction) -> Self {
        match action {
            HomeAction::ClearTaskSet
            | HomeAction::LogicalUnitReset
            | HomeAction::ClearContingent
            | HomeAction::Fault { .. } => Self::Abort,
            HomeAction::Reserve
            | HomeAction::Release
            | HomeAction::PersistentReserve(_)
            | HomeAction::Sanitize(_)
            | HomeAction::ExitSanitizeFailure
            | HomeAction::SanitizeEnded { .. } => Self::Reserve,
            HomeAction::ModeSelect(change) if change.save => Self::Reserve,
            HomeAction::SetIdentifying { .. } => Self::Reserve,
            HomeAction::Ordered => Self::Order,
            _ => Self::Serial,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ack {
    Fence,
    Publication,
}

impl Phase {
    pub(super) fn awaits(&self, ack: Ack) -> bool {
        match self {
            Self::Fencing(_) => ack == Ack::Fence,
            Self::Publishing(_) => ack == Ack::Publication,
            Self::Saving | Self::Saved(_) | Self::Transitioning | Self::Granted => false,
        }
    }

    /// The shard has acknowledged, or is gone.
    pub(super) fn heard(&mut self, shard: ShardId) {
        if let Self::Fencing(waiting) | Self::Publishing(waiting) = self {
            waiting.retain(|one| *one != shard);
        }
    }
}

impl Request {
    /// Nobody is told any more how it ends, if it is by one that is `gone`.
    pub(super) fn abandon(&mut self, gone: impl Fn(&Requester) -> bool) {
        if gone(&self.by) {
            self.by = Requester::Nobody;
        }
    }

    /// Nobody waits for it, and it need not happen: what it did would be of no use, or could as well not have been asked.
    /// Aborts and the loss of a nexus happen all the same.
    pub(super) fn is_moot(&self) -> bool {
        let has_to_happen = matches!(
            self.action,
            HomeAction::ClearTaskSet
                | HomeAction::LogicalUnitReset
                | HomeAction::ClearContingent
                | HomeAction::NexusLost(_)
                | HomeAction::SanitizeEnded { .. }
        );
        self.by == Requester::Nobody && !has_to_happen
    }
}
