//! What a shard does with a message of its home.

use std::sync::Arc;

use super::super::fence::{Fence, FenceScope};
use super::super::message::{Publication, ShardAction, ToHome, ToShard};
use super::super::tasks::Task;
use super::super::{ActionResult, NexusId, TaskKey, Ticket, UnitAttention};
use super::{Asked, AskedFor, LuShard, Membership, Raised};
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
        self.snapshot = Arc::new(snapshot.clone());
        self.statistics = snapshot.statistics.enter();
        for fence in fences {
            // Everything here is newer than the fence, and has been held.
            self.fences.push(Raised {
                fence,
                exempt: None,
                mark: 0,
                pending: 0,
                acknowledged: true,
            });
        }
        self.wake_held();
    }

    fn handle_publish(&mut self, publication: &Publication) {
        self.snapshot = Arc::new(LuSnapshot::clone(&publication.snapshot));
        for nexus in self.nexuses.values_mut() {
            for (attention, scope) in &publication.attentions {
                if !scope.includes(nexus.id()) {
                    continue;
                }
                nexus.establish(*attention);
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
            FenceScope::Io { .. } | FenceScope::Abort { .. } => self.tasks.last_sequence(),
        };
        if let FenceScope::Abort { cleared_by } = fence.scope {
            self.abort_all(cleared_by);
        }
        let counts = |key: TaskKey, task: &Task| match fence.scope {
            FenceScope::Io { .. } => task
                .flight
                .is_some_and(|flight| exempt != Some(key) && fence.scope.concerns_io(&flight)),
            FenceScope::Drain | FenceScope::Abort { .. } => {
                exempt != Some(key) && task.sequence <= mark
            }
        };
        let pending = self
            .tasks
            .iter()
            .filter(|(key, task)| counts(*key, task))
            .count();
        let mut raised = Raised {
            fence,
            exempt,
            mark,
            pending,
            acknowledged: false,
        };
        raised.acknowledge_if_clear(&mut self.actions);
        self.fences.push(raised);
    }

    /// Up to where tasks are older than an ORDERED task that is to run. One of this shard knows its place. For one of
    /// another shard: those that wait here behind an ORDERED task which has no grant yet come after both, and that task
    /// itself has its place behind this one in the home's queue.
    fn drain_mark(&self, exempt: Option<TaskKey>) -> u64 {
        let own = exempt.and_then(|key| self.tasks.get(key));
        let first_waiting = self.ordered.front().map(|(sequence, _)| *sequence);
        match own.map(|task| task.sequence).or(first_waiting) {
            Some(sequence) => sequence - 1,
            None => self.tasks.last_sequence(),
        }
    }

    fn abort_all(&mut self, cleared_by: Option<NexusId>) {
        for (key, task) in self.tasks.iter_mut() {
            if std::mem::replace(&mut task.aborted, true) {
                continue;
            }
            self.actions.push(ShardAction::Abort(key));
            // SAM-5 "CLEAR TASK SET": the nexuses that lose commands to another are told.
            if let Some(by) = cleared_by
                && task.nexus != by
                && let Some(nexus) = self.nexuses.get_mut(&task.nexus)
            {
                nexus.establish(UnitAttention::CommandsCleared);
            }
        }
    }
}

impl Raised {
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
