//! What shards and home say to each other, and what a shard has its caller do.

use std::sync::Arc;

use block::{Geometry, Lba, StoreCaps};

use super::{Fence, FenceId, NexusId, NexusLu, ShardId, TaskKey, Ticket, UnitAttention};
use crate::access::{AccessChange, AccessState};
use crate::identifying::InformationType;
use crate::multimedia::TrayAction;
use crate::persistent_reserve::{NexusName, PersistentReserveOut};
use crate::sanitize::SanitizeOrder;
use crate::sense::Refusal;
use crate::snapshot::{
    Interlock, LuCondition, LuIdentity, LuSnapshot, ModeValues, QueueError, TargetPort,
};

/// What only the home may do, or allow. The nexus that asks goes with the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HomeAction {
    /// Keep all other I/O off these blocks, on every worker, until the task releases them (or leaves): SBC-4 "COMPARE AND
    /// WRITE command", and whatever else reads and then writes as one.
    Range {
        /// The first block.
        lba: Lba,
        /// How many.
        blocks: u64,
    },
    /// SPC-2 "RESERVE(6) command", for the whole LU.
    Reserve,
    /// SPC-2 "RELEASE(6) command". Of a nexus that holds no reservation: done, nothing changes.
    Release,
    /// SPC-5 "PERSISTENT RESERVE OUT command".
    PersistentReserve(Box<PersistentReserveOut>),
    /// SPC-5 "MODE SELECT(6) command": other nexuses are told when a value changes.
    ModeSelect(ModeChange),
    /// SPC-5 "LOG SELECT command": all log parameters begin anew. Other nexuses are told.
    ResetLog,
    /// SPC-5 "SET TIMESTAMP command": milliseconds to add to the time of day. Other nexuses are told.
    SetTimestamp(i64),
    /// SPC-5 "SET IDENTIFYING INFORMATION command". Other nexuses are told.
    SetIdentifying {
        /// Which.
        of_type: InformationType,
        /// In place of what there is.
        information: Box<[u8]>,
    },
    /// SPC-5 "SET TARGET PORT GROUPS command": these target port groups enter these states. Other nexuses are told.
    SetAccessStates(Vec<(u16, AccessState)>),
    /// Somebody has looked how many threshold sets are in use: where a threshold is reached, every nexus is told.
    Used(u64),
    /// SBC-4 "SANITIZE command". Done when the operation has begun or, where the command asks for that, has ended.
    Sanitize(Box<SanitizeRequest>),
    /// SBC-4 "SANITIZE command", EXIT FAILURE MODE: a sanitize operation that failed is of no consequence any more.
    ExitSanitizeFailure,
    /// A sanitize operation has ended. The home asks it of itself.
    SanitizeEnded {
        /// Not all has been erased.
        failed: bool,
    },
    /// SAM-5 "ORDERED task attribute": alone in the task set from the grant until the task leaves. The shard asks for it
    /// by itself, see [`super::LuShard::enter`].
    Ordered,
    /// SAM-5 "CLEAR TASK SET". Done when the last command has left, on every worker.
    ClearTaskSet,
    /// SAM-5 "CLEAR ACA": ends the ACA condition of the nexus that asks, and aborts its tasks of the ACA attribute.
    ClearContingent,
    /// A command of the nexus ends in CHECK CONDITION, and that concerns others: SPC-5 "Control mode page" (QERR), SAM-5 "Auto
    /// contingent allegiance". Done when the commands that it aborts have left and the ACA condition that it establishes is
    /// known everywhere; then the status may be told. Refused where another ACA condition has to be cleared first.
    Fault {
        /// NACA: it establishes an ACA condition.
        establishes: bool,
        /// It has the ACA attribute, and ends the condition that it ran in.
        ends: bool,
    },
    /// SAM-5 "LOGICAL UNIT RESET". Done when the last command has left and every nexus is told.
    LogicalUnitReset,
    /// The nexus is gone: what it held is released. Asked for by [`super::LuShard::detach_nexus`].
    NexusLost(NexusId),
    /// The store has another size. When it is done no I/O checked against the old size is under way, and every nexus is told:
    /// a store that grows does so before, one that shrinks after.
    Resize(Geometry),
    /// The operator changes what the LU is.
    Configure(Box<LuChange>),
    /// The operator turns the write cache on or off, also for after a reset.
    WriteCache(bool),
    /// The operator sets these values, also for after a reset; not the write cache.
    ModeDefaults(ModeChange),
    /// The store went, came back, failed, or was reset. When it is done no I/O from before is under way. Where the LU was
    /// [`LuCondition::NotReady`] and is ready now, every nexus is told that the medium may be another.
    Condition(LuCondition),
    /// The tray of a drive whose medium can be taken out is opened, closed or locked, or the medium is another.
    Tray(TrayAction),
    /// Establish a unit attention for every nexus.
    Establish(UnitAttention),
}

impl HomeAction {
    /// Whether it depends on what the nexus is to a persistent reservation, or else on its name.
    pub(super) fn depends_on_name(&self) -> bool {
        matches!(
            self,
            Self::Reserve
                | Self::Release
                | Self::PersistentReserve(_)
                | Self::ModeSelect(_)
                | Self::ResetLog
                | Self::SetTimestamp(_)
                | Self::SetIdentifying { .. }
                // The ACA condition keeps the name.
                | Self::Fault { .. }
                | Self::SetAccessStates(_)
                | Self::Sanitize(_)
                | Self::ExitSanitizeFailure
        )
    }
}

/// A sanitize operation that a command asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SanitizeRequest {
    /// The operation.
    pub order: Arc<SanitizeOrder>,
    /// IMMED: the command ends when it has begun.
    pub immediate: bool,
}

/// Which values of the mode pages to set; `None` leaves one as it is, so that two MODE SELECT commands on different pages
/// do not undo each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModeChange {
    /// [`ModeValues::write_cache`].
    pub write_cache: Option<bool>,
    /// [`ModeValues::descriptor_sense`].
    pub descriptor_sense: Option<bool>,
    /// [`ModeValues::software_write_protect`].
    pub software_write_protect: Option<bool>,
    /// [`ModeValues::task_set_per_nexus`].
    pub task_set_per_nexus: Option<bool>,
    /// [`ModeValues::queue_error`].
    pub queue_error: Option<QueueError>,
    /// [`ModeValues::task_aborted_status`].
    pub task_aborted_status: Option<bool>,
    /// [`ModeValues::interlock`].
    pub interlock: Option<Interlock>,
    /// [`ModeValues::threshold_enabled`].
    pub threshold_enabled: Option<bool>,
    /// [`ModeValues::threshold_count`].
    pub threshold_count: Option<u32>,
    /// All values are saved, as they are then.
    pub save: bool,
}

impl ModeChange {
    /// The values after the change.
    #[must_use]
    pub fn apply(&self, to: ModeValues) -> ModeValues {
        ModeValues {
            write_cache: self.write_cache.unwrap_or(to.write_cache),
            descriptor_sense: self.descriptor_sense.unwrap_or(to.descriptor_sense),
            software_write_protect: self
                .software_write_protect
                .unwrap_or(to.software_write_protect),
            task_set_per_nexus: self.task_set_per_nexus.unwrap_or(to.task_set_per_nexus),
            queue_error: self.queue_error.unwrap_or(to.queue_error),
            task_aborted_status: self.task_aborted_status.unwrap_or(to.task_aborted_status),
            interlock: self.interlock.unwrap_or(to.interlock),
            threshold_enabled: self.threshold_enabled.unwrap_or(to.threshold_enabled),
            threshold_count: self.threshold_count.unwrap_or(to.threshold_count),
        }
    }
}

/// What of a logical unit the operator changes; `None` leaves a part as it is. What differs nowhere from what is there
/// changes nothing and tells nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LuChange {
    /// Other names: INQUIRY DATA HAS CHANGED for every nexus.
    pub identity: Option<Arc<LuIdentity>>,
    /// Other ports to reach it through. Nobody is told: no nexus loses or gains anything by it.
    pub target_ports: Option<Arc<[TargetPort]>>,
    /// Whether the store may be written: MODE PARAMETERS CHANGED for every nexus. When it is done no write from before is
    /// under way. A store that refuses writes itself begins to after this, and ends before.
    pub read_only: Option<bool>,
    /// Facts of another store that stands behind the LU now, but for `read_only` (see above) and `write_cache`
    /// ([`HomeAction::WriteCache`]), which stay: CAPACITY DATA HAS CHANGED for every nexus where the geometry differs,
    /// INQUIRY DATA HAS CHANGED where anything else does. When it is done no I/O from before is under way.
    pub caps: Option<StoreCaps>,
    /// Whether third-party copies are offered: INQUIRY DATA HAS CHANGED for every nexus.
    pub third_party_copy: Option<bool>,
    /// Other target port groups: ASYMMETRIC ACCESS STATE CHANGED for every nexus where one is in another state, INQUIRY DATA HAS
    /// CHANGED where TPGS differs.
    pub access: Option<AccessChange>,
}

impl LuChange {
    /// The LU after the change, still with the version from before.
    #[must_use]
    pub fn apply(&self, to: &LuSnapshot) -> LuSnapshot {
        let mut next = to.clone();
        if let Some(caps) = self.caps {
            next.caps = StoreCaps {
                read_only: to.caps.read_only,
                write_cache: to.caps.write_cache,
                ..caps
            };
        }
        if let Some(read_only) = self.read_only {
            next.caps.read_only = read_only;
        }
        if let Some(identity) = &self.identity {
            next.identity = Arc::clone(identity);
        }
        if let Some(target_ports) = &self.target_ports {
            next.target_ports = Arc::clone(target_ports);
        }
        if let Some(third_party_copy) = self.third_party_copy {
            next.third_party_copy = third_party_copy;
        }
        if let Some(access) = &self.access {
            next.access_groups = access.apply(&to.access_groups).into();
        }
        next
    }
}

/// How a [`HomeAction`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionResult {
    /// It was done, and every shard knows.
    Done,
    /// It was not done, and the command ends in this.
    Refused(Refusal),
}

/// A message of a shard to its home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToHome {
    /// The shard exists and waits for its snapshot. The first message.
    Join {
        /// Comes back in [`ToShard::Welcome`].
        epoch: u64,
    },
    /// The shard is gone. The last message.
    Leave,
    /// Asks for an action.
    Request {
        /// The request's name.
        ticket: Ticket,
        /// Who asks.
        nexus: Option<NexusId>,
        /// The name of the nexus, where what is asked for depends on what it is to a persistent reservation.
        name: Option<NexusName>,
        /// For what.
        action: HomeAction,
    },
    /// The task that asked has left, or needs its grant no more: withdraws the request, or gives the grant back. What is
    /// done already stays done.
    Cancel(Ticket),
    /// What the fence names has left, and what comes is held.
    Fenced(FenceId),
    /// The publication of this action has arrived.
    Published(FenceId),
}

/// A message of the home to a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToShard {
    /// Answers [`ToHome::Join`].
    Welcome {
        /// That of the message answered.
        epoch: u64,
        /// The LU as it is.
        snapshot: Arc<LuSnapshot>,
        /// Fences that stand. They need no acknowledgement.
        fences: Vec<Fence>,
    },
    /// Raises a fence.
    Fence(Fence),
    /// The LU has changed.
    Publish(Publication),
    /// The fence is gone.
    Lift(FenceId),
    /// The request is granted, until [`ToHome::Cancel`].
    Granted(Ticket),
    /// The request is completed.
    Completed(Ticket, ActionResult),
}

/// What an action has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The action.
    pub id: FenceId,
    /// The LU as it is now.
    pub snapshot: Arc<LuSnapshot>,
    /// Unit attentions to establish.
    pub attentions: Vec<(UnitAttention, AttentionScope)>,
}

/// For whom a unit attention is established.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttentionScope {
    /// Every nexus.
    All,
    /// Every nexus but the one that caused it.
    AllBut(NexusId),
    /// Those of these names, which are sorted.
    Named(Arc<[NexusName]>),
}

impl AttentionScope {
    /// Whether the nexus is meant.
    #[must_use]
    pub fn includes(&self, nexus: &NexusLu) -> bool {
        match self {
            Self::All => true,
            Self::AllBut(other) => nexus.id() != *other,
            Self::Named(names) => names.binary_search(nexus.name()).is_ok(),
        }
    }
}

/// What a shard has its caller do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShardAction {
    /// Send this to the home.
    ToHome(ToHome),
    /// Abort the task: no more steps; [`super::LuShard::leave`] when its last I/O has left the store.
    Abort(TaskKey, Abortion),
    /// What held the task is gone: resume it with `Lifted`.
    Wake(TaskKey),
    /// The range is the task's: resume it with `Granted`.
    Granted(TaskKey),
    /// The action is completed: resume the task with `Granted` or `Refused`, or answer the task management function.
    Completed {
        /// Who asked.
        key: TaskKey,
        /// How it ended.
        result: ActionResult,
    },
    /// A unit attention was established for a nexus that [has them reported](super::NexusLu::reports).
    Attention(NexusId, UnitAttention),
}

/// How a task is aborted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abortion {
    /// Its answer is TASK ABORTED (SPC-5 "Control mode page", TAS); else it has none.
    pub status: bool,
    /// The task management function that aborts it, and maybe others; all that one aborts have the same.
    pub function: Option<FenceId>,
    /// The nexus that caused it.
    pub by: Option<NexusId>,
}

/// A message for a shard, addressed.
pub(super) type Outgoing = (ShardId, ToShard);
