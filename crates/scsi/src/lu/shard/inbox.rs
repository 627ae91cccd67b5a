//! What a shard does with a message of its home.

use std::sync::Arc;

use super::super::fence::{Fence, FenceScope, Flight, Telling};
use super::super::message::{Abortion, Publication, ShardAction, ToHome, ToShard};
use super::super::tasks::Task;
use super::super::{ActionResult, FenceId, NexusId, NexusLu, TaskKey, Ticket, UnitAttention};
use super::{Asked, AskedFor, LuShard, Membership, Raised};
use crate::persistent_reserve::NexusName;
use crate::snapshot::LuSnapshot;

impl LuShard {
    pub(super) fn handle_joined(&mut self, message: ToShard) {
        match message {
            ToShard::Welcome { .. } => {}
            ToShard::Fence(fence) => self.raise(fence),
            ToShard::Publish(publication) => self.handle_publish(&publication),
            ToShard::Lift(id) => {
                self.fences.retain(|raised| raised.fence.id != id);
                self.wake_held();
            }
            ToShard::Granted(ticket) => self.handle_granted(ticket),
            ToShard::Completed(ticket, result) => self.handle_completed(ticket, result),
        }
    }

    pub(super) fn handle_welcome(&mut self, snapshot: &LuSnapshot, fences: Vec<Fence>) {
        self.membership = Membership::Joined;
        self.renew(snapshot);
        self.mark_all_as_older();
        self.statistics = snapshot.statistics.enter();
        for fence in fences {
            // Everything here is newer than the fence, and has been held.
            self.fences.push(Raised {
                fence,
                exempt: None,
                preempted: Vec::new(),
                mark: 0,
                pending: 0,
                acknowledged: true,
            });
        }
        self.wake_held();
    }

    /// The LU is this now.
    fn renew(&mut self, snapshot: &LuSnapshot) {
        if !Arc::ptr_eq(&self.snapshot.persistent, &snapshot.persistent) {
            for nexus in self.nexuses.values_mut() {
                nexus.look_up(&snapshot.persistent);
            }
        }
        let unblocks = !self.contingent.is_empty();
        self.snapshot = Arc::new(snapshot.clone());
        self.mark_contingent();
        if unblocks {
            self.wake_held();
        }
    }

    fn handle_publish(&mut self, publication: &Publication) {
        self.renew(&publication.snapshot);
        for nexus in self.nexuses.values_mut() {
            for (attention, scope) in &publication.attentions {
                if !scope.includes(nexus) {
                    continue;
                }
                if nexus.establish_and_report(*attention) {
                    let report = ShardAction::Attention(nexus.id(), *attention);
                    self.actions.push(report);
                }
                // SPC-5 "PREVENT ALLOW MEDIUM REMOVAL command": a logical unit reset ends the prevention.
                if *attention == UnitAttention::BusDeviceReset {
                    nexus.prevents_medium_removal = false;
                }
            }
        }
        let published = ToHome::Published(publication.id);
        self.actions.push(ShardAction::ToHome(published));
    }

    fn handle_granted(&mut self, ticket: Ticket) {
        // Withdrawn meanwhile: the home has the cancellation under way to it, and takes the grant back.
        let Some(asked) = self.requests.get_mut(&ticket) else {
            return;
        };
        let key = asked.key;
        let Some(task) = self.tasks.get_mut(key) else {
            return;
        };
        if let AskedFor::Order { granted } = &mut asked.what {
            *granted = true;
            if std::mem::take(&mut task.held) && !task.aborted {
                self.actions.push(ShardAction::Wake(key));
            }
        } else if !task.aborted {
            self.actions.push(ShardAction::Granted(key));
        }
    }

    fn handle_completed(&mut self, ticket: Ticket, result: ActionResult) {
        let Some(Asked { key, what }) = self.requests.remove(&ticket) else {
            return;
        };
        if what != AskedFor::Control {
            let Some(task) = self.tasks.get_mut(key) else {
                return;
            };
            task.request = None;
            if task.aborted {
                return;
            }
        }
        self.actions.push(ShardAction::Completed { key, result });
    }

    fn raise(&mut self, fence: Fence) {
        let exempt = fence
            .exempt
            .filter(|(shard, _)| *shard == self.id)
            .and_then(|(_, ticket)| self.requests.get(&ticket))
            .map(|asked| asked.key);
        let mark = match fence.scope {
            FenceScope::Drain => self.drain_mark(exempt),
            _ => self.tasks.last_sequence(),
        };
        let mut preempted = Vec::new();
        match &fence.scope {
            FenceScope::Io { .. } | FenceScope::Drain => {}
            FenceScope::Abort { meant, telling } => {
                let meant = |key, task: &Task| exempt != Some(key) && meant.includes(task);
                self.abort(meant, *telling, fence.id);
            }
            FenceScope::Preempt {
                nexuses, telling, ..
            } => {
                preempted = self.let_removal(nexuses);
                let of_preempted =
                    |key, task: &Task| exempt != Some(key) && preempted.contains(&task.nexus);
                self.abort(of_preempted, *telling, fence.id);
            }
        }
        let mut raised = Raised {
            fence,
            exempt,
            preempted,
            mark,
            pending: 0,
            acknowledged: false,
        };
        let waits = |(key, task): &(TaskKey, &Task)| {
            raised.waits_for_leaving(*key, task)
                || task
                    .flight
                    .is_some_and(|flight| raised.waits_for_io(*key, task, &flight))
        };
        raised.pending = self.tasks.iter().filter(waits).count();
        raised.acknowledge_if_clear(&mut self.actions);
        self.fences.push(raised);
    }

    /// Up to where tasks are older than an ORDERED task that is to run. One of this shard knows its place. For one of
    /// another shard: those that wait here behind an ORDERED task which has no grant yet come after both, and that task
    /// itself has its place behind this one in the home's queue.
    fn drain_mark(&self, exempt: Option<TaskKey>) -> u64 {
        let own = exempt.and_then(|key| self.tasks.get(key));
        let mut among_all = self.ordered.iter().filter(|one| one.within.is_none());
        let first_waiting = among_all.next().map(|one| one.sequence);
        match own.map(|task| task.sequence).or(first_waiting) {
            Some(sequence) => sequence - 1,
            None => self.tasks.last_sequence(),
        }
    }

    /// The nexuses of these names that are here. They prevent the removal of the medium no more (SPC-5 "Preempting and
    /// aborting").
    fn let_removal(&mut self, names: &[NexusName]) -> Vec<NexusId> {
        let meant =
            (self.nexuses.values_mut()).filter(|nexus| names.binary_search(nexus.name()).is_ok());
        let allow = |nexus: &mut NexusLu| {
            nexus.prevents_medium_removal = false;
            nexus.id()
        };
        meant.map(allow).collect()
    }

    fn abort(&mut self, meant: impl Fn(TaskKey, &Task) -> bool, telling: Telling, fence: FenceId) {
        let Telling {
            by,
            status,
            attention,
            function,
        } = telling;
        for (key, task) in self.tasks.iter_mut() {
            if task.aborted || !meant(key, task) {
                continue;
            }
            task.aborted = true;
            let of_another = by != Some(task.nexus);
            let how = Abortion {
                status: status && of_another,
                function: function.then_some(fence),
                by,
            };
            self.actions.push(ShardAction::Abort(key, how));
            // SAM-5 "CLEAR TASK SET": the nexuses that lose commands to another are told.
            if attention
                && of_another
                && let Some(nexus) = self.nexuses.get_mut(&task.nexus)
                && nexus.establish_and_report(UnitAttention::CommandsCleared)
            {
                let report = ShardAction::Attention(task.nexus, UnitAttention::CommandsCleared);
                self.actions.push(report);
            }
        }
    }
}

impl Raised {
    /// Whether the acknowledgement waits until the task leaves.
    pub(super) fn waits_for_leaving(&self, key: TaskKey, task: &Task) -> bool {
        let before = task.sequence <= self.mark && self.exempt != Some(key);
        before && self.fence.scope.waits_for_commands() && self.is_meant(task)
    }

    /// Whether it waits until this I/O of the task has left the store. Since the fence was raised none that concerns it was
    /// admitted: what is in flight was there before.
    pub(super) fn waits_for_io(&self, key: TaskKey, task: &Task, flight: &Flight) -> bool {
        self.exempt != Some(key)
            && self.fence.scope.concerns_io(flight)
            && !self.waits_for_leaving(key, task)
    }

    /// Whether it is the nexus' commands that it waits for.
    fn is_meant(&self, task: &Task) -> bool {
        match self.fence.scope {
            FenceScope::Preempt { .. } => self.preempted.contains(&task.nexus),
            FenceScope::Abort { meant, .. } => meant.includes(task),
            _ => true,
        }
    }

    pub(super) fn one_left(&mut self, actions: &mut Vec<ShardAction>) {
        self.pending = self.pending.saturating_sub(1);
        self.acknowledge_if_clear(actions);
    }

    fn acknowledge_if_clear(&mut self, actions: &mut Vec<ShardAction>) {
        if self.pending == 0 && !self.acknowledged {
            self.acknowledged = true;
            actions.push(ShardAction::ToHome(ToHome::Fenced(self.fence.id)));
        }
    }
}
