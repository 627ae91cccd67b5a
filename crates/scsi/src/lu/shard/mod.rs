//! A worker's share of a logical unit: what plain I/O needs, without asking anybody.
//!
//! It knows the order of tasks on its worker and what is in flight; it does not know other shards, nor why the home
//! raises a fence.
//!
//! Standards: SAM-5 r21 "Task attributes" (SIMPLE, ORDERED, HEAD OF QUEUE), "Unit attention conditions".

mod contingent;
mod copies;
mod inbox;
mod outbox;
mod plain;

use std::collections::VecDeque;
use std::sync::Arc;

use block::Lba;

use super::fence::{Fence, FenceScope, Flight, IoKind};
use super::message::{Abortion, HomeAction, ShardAction, ToHome, ToShard};
use super::tasks::{NameMap, Task, TaskSet};
use super::{
    ActionResult, NexusId, NexusLu, ShardId, ShardStatistics, TaskKey, Ticket, UnitAttention,
};
use crate::command::TaskAttribute;
use crate::persistent_reserve::NexusName;
use crate::snapshot::LuSnapshot;

pub use contingent::AdmitEnd;
use contingent::Marked;
pub use plain::{Plain, PlainKind};

/// One worker's share of a logical unit. Only that worker touches it.
///
/// Life of a task: [`enter`](Self::enter), [`admit_command`](Self::admit_command) until it says `Go`, for each I/O
/// [`admit_io`](Self::admit_io) until it says `Go` and [`io_done`](Self::io_done) at its completion, then
/// [`leave`](Self::leave). What is [`Admit::Held`] is tried again after [`ShardAction::Wake`].
///
/// After every call that changes something, carry out what [`take_actions`](Self::take_actions) gives.
#[derive(Debug)]
pub struct LuShard {
    id: ShardId,
    epoch: u64,
    membership: Membership,
    /// A copy of its own: tasks that clone the `Arc` write no cache line another worker uses.
    snapshot: Arc<LuSnapshot>,
    statistics: Arc<ShardStatistics>,
    fences: Vec<Raised>,
    tasks: TaskSet,
    /// ORDERED tasks in the set, in the order in which they entered.
    ordered: VecDeque<Ordered>,
    /// The ACA conditions of the snapshot, as they stand here.
    contingent: Vec<Marked>,
    nexuses: NameMap<NexusId, NexusLu>,
    requests: NameMap<Ticket, Asked>,
    last_ticket: u64,
    actions: Vec<ShardAction>,
    scratch: Vec<(u64, TaskKey)>,
}

/// An ORDERED task.
#[derive(Clone, Copy, Debug)]
struct Ordered {
    sequence: u64,
    key: TaskKey,
    /// The nexus whose task set it has an order in; `None`: that of all.
    within: Option<NexusId>,
}

/// Whether the home counts on this shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Membership {
    /// It has been told; everything is held until it answers.
    Joining,
    Joined,
    /// Said farewell.
    Left,
}

/// A fence as it stands here.
#[derive(Debug)]
struct Raised {
    fence: Fence,
    exempt: Option<TaskKey>,
    /// Whose commands it aborted, where it is not everybody's.
    preempted: Vec<NexusId>,
    /// Tasks up to this sequence number were here before.
    mark: u64,
    /// Tasks, or I/O, that the acknowledgement still waits for.
    pending: usize,
    acknowledged: bool,
}

/// A request the home has not answered, or whose grant is not given back.
#[derive(Clone, Copy, Debug)]
struct Asked {
    key: TaskKey,
    what: AskedFor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AskedFor {
    /// The grant of an ORDERED task.
    Order { granted: bool },
    /// An action, for a task in the set.
    Action,
    /// An action for somebody who is not in the task set: a task management function, a nexus that goes.
    Control,
}

/// The answer to one who wants to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admit {
    /// Go on.
    Go,
    /// Wait for [`ShardAction::Wake`]. A task that is aborted, or not in the set, gets this and is never woken.
    Held,
    /// The LU is not what it was when the checks were made: make them again.
    Recheck,
}

/// Why a task may not enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnterError {
    /// The nexus is not attached, or is being detached.
    NotAttached,
    /// The key is in use.
    KeyInUse,
}

impl LuShard {
    /// A shard that asks its home to be let in; until the answer every command is held. `snapshot` is shown meanwhile.
    /// `epoch` is a number that this worker has not used for this LU before.
    #[must_use]
    pub fn new(id: ShardId, epoch: u64, snapshot: &LuSnapshot) -> Self {
        Self {
            id,
            epoch,
            membership: Membership::Joining,
            snapshot: Arc::new(snapshot.clone()),
            // Its own, until the home's welcome says whose: nothing is counted before.
            statistics: Arc::default(),
            fences: Vec::new(),
            tasks: TaskSet::default(),
            ordered: VecDeque::new(),
            contingent: Vec::new(),
            nexuses: NameMap::default(),
            requests: NameMap::default(),
            last_ticket: 0,
            actions: vec![ShardAction::ToHome(ToHome::Join { epoch })],
            scratch: Vec::new(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// Whether the home has let it in.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        self.membership == Membership::Joined
    }

    /// The LU as this worker knows it. Cloning the `Arc` costs no cache line that another worker writes.
    #[must_use]
    pub fn snapshot(&self) -> &Arc<LuSnapshot> {
        &self.snapshot
    }

    /// The version of [`snapshot`](Self::snapshot), for [`admit_io`](Self::admit_io).
    #[must_use]
    pub fn version(&self) -> u64 {
        self.snapshot.version
    }

    /// Where this worker counts what the LU does.
    pub(crate) fn statistics(&self) -> &ShardStatistics {
        &self.statistics
    }

    /// Whether any fence stands here.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        !self.fences.is_empty()
    }

    /// How many tasks are in the set, on this worker.
    #[must_use]
    pub fn tasks(&self) -> usize {
        self.tasks.len()
    }

    /// The attached nexus `nexus`.
    #[must_use]
    pub fn nexus(&self, nexus: NexusId) -> Option<&NexusLu> {
        self.nexuses.get(&nexus)
    }

    /// As [`nexus`](Self::nexus), to be changed.
    #[must_use]
    pub fn nexus_mut(&mut self, nexus: NexusId) -> Option<&mut NexusLu> {
        self.nexuses.get_mut(&nexus)
    }

    /// The attached nexuses, in no order.
    pub fn nexuses_mut(&mut self) -> impl Iterator<Item = &mut NexusLu> {
        self.nexuses.values_mut()
    }

    /// A nexus begins to use the LU, with these unit attentions pending. One that is attached stays as it is.
    pub fn attach_nexus(&mut self, nexus: NexusId, name: &NexusName, attentions: &[UnitAttention]) {
        let reservations = &self.snapshot.persistent;
        self.nexuses.entry(nexus).or_insert_with(|| {
            let mut attached = NexusLu::new(nexus, name.clone(), attentions);
            attached.look_up(reservations);
            attached
        });
    }

    /// A nexus is gone. Its tasks are aborted; when the last has left, the home releases what the nexus held, and then
    /// [`ShardAction::Completed`] comes for `key` (at once, when the nexus is not attached).
    pub fn detach_nexus(&mut self, nexus: NexusId, key: TaskKey) {
        let Some(attached) = self.nexuses.get_mut(&nexus) else {
            let result = ActionResult::Done;
            self.actions.push(ShardAction::Completed { key, result });
            return;
        };
        if attached.detaching.is_some() {
            return;
        }
        attached.detaching = Some(key);
        for (task_key, task) in self.tasks.iter_mut() {
            if task.nexus == nexus && !task.aborted {
                task.aborted = true;
                let how = Abortion::default();
                self.actions.push(ShardAction::Abort(task_key, how));
            }
        }
        self.finish_detach(nexus);
    }

    /// A task joins the task set. An ORDERED one is alone in it from the `Go` of
    /// [`admit_command`](Self::admit_command) until it leaves.
    ///
    /// # Errors
    /// When the nexus is not attached or `key` is in use, nothing happens.
    pub fn enter(
        &mut self,
        key: TaskKey,
        nexus: NexusId,
        attribute: TaskAttribute,
    ) -> Result<(), EnterError> {
        let Some(attached) = self.nexuses.get_mut(&nexus) else {
            return Err(EnterError::NotAttached);
        };
        if attached.detaching.is_some() {
            return Err(EnterError::NotAttached);
        }
        if !self.tasks.insert(key, nexus, attribute, None) {
            return Err(EnterError::KeyInUse);
        }
        attached.tasks = attached.tasks.saturating_add(1);
        if attribute == TaskAttribute::Ordered {
            // SPC-5 "Control mode page", TST: an order within the nexus' own task set is nobody else's business.
            let own = self.snapshot.mode.task_set_per_nexus;
            self.ordered.push_back(Ordered {
                sequence: self.tasks.last_sequence(),
                key,
                within: own.then_some(nexus),
            });
            if own {
                return Ok(());
            }
            let what = AskedFor::Order { granted: false };
            let ticket = self.ask(key, what, Some(nexus), HomeAction::Ordered);
            if let Some(task) = self.tasks.get_mut(key) {
                task.order = Some(ticket);
            }
        }
        Ok(())
    }

    /// A task has ended: its status is decided, or it is aborted and its last I/O has left the store. What it asked of
    /// the home is withdrawn or given back. A key that is not in the set changes nothing.
    pub fn leave(&mut self, key: TaskKey) {
        let Some(task) = self.tasks.remove(key) else {
            return;
        };
        if let Some(flight) = &task.flight {
            for raised in &mut self.fences {
                if raised.waits_for_io(key, &task, flight) {
                    raised.one_left(&mut self.actions);
                }
            }
        }
        for ticket in task.request.into_iter().chain(task.order) {
            self.give_back(ticket);
        }
        for raised in &mut self.fences {
            if raised.waits_for_leaving(key, &task) {
                raised.one_left(&mut self.actions);
            }
            // The key may come again for another task.
            if raised.exempt == Some(key) {
                raised.exempt = None;
            }
        }
        if !self.ordered.is_empty() {
            self.left_the_order(key, task.nexus);
        }
        if let Some(nexus) = self.nexuses.get_mut(&task.nexus) {
            nexus.tasks = nexus.tasks.saturating_sub(1);
            if nexus.detaching.is_some() {
                self.finish_detach(task.nexus);
            }
        }
    }

    /// Whether a task's checks may begin. Asked before anything of its command is looked at.
    pub fn admit_command(&mut self, key: TaskKey) -> Admit {
        let free = self.is_joined()
            && self.fences.is_empty()
            && self.ordered.is_empty()
            && self.contingent.is_empty();
        let Some(task) = self.tasks.get(key) else {
            return Admit::Held;
        };
        if !task.aborted && (free || self.may_begin(key, task)) {
            return Admit::Go;
        }
        self.hold(key)
    }

    /// Whether an I/O of the task may be submitted now; `Go` counts it as in flight. `range` is where it reads or writes
    /// (`None`: nowhere, or anywhere); `checked_version` is the [`version`](Self::version) its command was checked on.
    pub fn admit_io(
        &mut self,
        key: TaskKey,
        range: Option<(Lba, u64)>,
        kind: IoKind,
        checked_version: u64,
    ) -> Admit {
        let flight = Flight { range, kind };
        let joined = self.is_joined();
        let Some(task) = self.tasks.get_mut(key) else {
            return Admit::Held;
        };
        let fenced =
            |raised: &Raised| raised.exempt != Some(key) && raised.fence.scope.concerns_io(&flight);
        // What has a grant of the home's goes on to its end, so that nothing else waits for an initiator.
        let blocked = task.request.is_none()
            && contingent::is_blocked(&self.contingent, self.snapshot.mode, task);
        if task.aborted || !joined || blocked || self.fences.iter().any(fenced) {
            return self.hold(key);
        }
        if checked_version != self.snapshot.version {
            return Admit::Recheck;
        }
        assert!(task.flight.is_none(), "a task has one I/O at a time");
        task.flight = Some(flight);
        Admit::Go
    }

    /// The I/O of the task has left the store.
    pub fn io_done(&mut self, key: TaskKey) {
        let Some(task) = self.tasks.get_mut(key) else {
            return;
        };
        let Some(flight) = task.flight.take() else {
            return;
        };
        for raised in &mut self.fences {
            if raised.waits_for_io(key, task, &flight) {
                raised.one_left(&mut self.actions);
            }
        }
    }

    /// Takes a message of the home, and appends what is to be done to `out`.
    pub fn handle(&mut self, message: ToShard, out: &mut Vec<ShardAction>) {
        if let ToShard::Welcome {
            epoch,
            snapshot,
            fences,
        } = message
        {
            if self.membership == Membership::Joining && epoch == self.epoch {
                self.handle_welcome(&snapshot, fences);
            }
        } else if self.is_joined() {
            self.handle_joined(message);
        }
        // What comes before the welcome was meant for an earlier shard of this worker.
        self.take_actions(out);
    }

    /// Whether [`take_actions`](Self::take_actions) has anything to give.
    #[must_use]
    pub fn has_actions(&self) -> bool {
        !self.actions.is_empty()
    }

    /// Appends what is to be done to `out`, in order.
    pub fn take_actions(&mut self, out: &mut Vec<ShardAction>) {
        out.append(&mut self.actions);
    }

    /// SAM-5 "HEAD OF QUEUE task attribute": goes ahead of everything that waits for an ORDERED task.
    fn may_begin(&self, key: TaskKey, task: &Task) -> bool {
        if !self.is_joined() {
            return false;
        }
        let aborting = |raised: &Raised| match raised.fence.scope {
            FenceScope::Abort { meant, .. } => {
                task.sequence > raised.mark && meant.concerns(task.nexus)
            }
            _ => false,
        };
        if self.fences.iter().any(aborting) {
            return false;
        }
        if let Some(mark) = contingent::mark_for(&self.contingent, self.snapshot.mode, task.nexus) {
            // What came before is blocked; what comes after is refused, or goes ahead of all.
            return task.sequence > mark;
        }
        if task.attribute == TaskAttribute::Ordered && !self.holds_order(task) {
            return false;
        }
        let ahead = task.attribute == TaskAttribute::HeadOfQueue;
        let held_by = |raised: &Raised| match raised.fence.scope {
            FenceScope::Drain => {
                !ahead && raised.exempt != Some(key) && task.sequence > raised.mark
            }
            _ => false,
        };
        let behind = |one: &Ordered| {
            task.sequence > one.sequence && one.within.is_none_or(|nexus| nexus == task.nexus)
        };
        let behind_ordered = !ahead && self.ordered.iter().any(behind);
        !behind_ordered && !self.fences.iter().any(held_by)
    }

    /// Whether it is an ORDERED task's turn.
    fn holds_order(&self, task: &Task) -> bool {
        let Some(ticket) = task.order else {
            let older = |other: &Task| other.nexus == task.nexus && other.sequence < task.sequence;
            return !self.tasks.iter().any(|(_, other)| older(other));
        };
        let asked = self.requests.get(&ticket);
        asked.is_some_and(|asked| asked.what == AskedFor::Order { granted: true })
    }

    /// A task has left: one of its nexus that has an order within that nexus' task set may be next.
    fn left_the_order(&mut self, key: TaskKey, nexus: NexusId) {
        let own = |one: &Ordered| one.within == Some(nexus);
        if self.ordered.iter().any(own) {
            self.ordered.retain(|one| one.key != key);
            self.wake_held();
        }
    }

    fn hold(&mut self, key: TaskKey) -> Admit {
        if let Some(task) = self.tasks.get_mut(key) {
            task.held = true;
        }
        Admit::Held
    }

    fn wake_held(&mut self) {
        self.tasks.take_held(&mut self.scratch);
        for (_, key) in self.scratch.drain(..) {
            self.actions.push(ShardAction::Wake(key));
        }
    }
}
