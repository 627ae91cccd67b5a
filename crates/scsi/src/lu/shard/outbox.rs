//! What a shard asks of its home.

use super::super::message::{HomeAction, ShardAction, ToHome};
use super::super::{NexusId, TaskKey, Ticket};
use super::{Asked, AskedFor, LuShard, Membership};

impl LuShard {
    /// Asks the home for an action, for a task in the set or for a task management function that has no part in it. The
    /// answer is [`ShardAction::Granted`] for a range, [`ShardAction::Completed`] for all else. A task has one such
    /// request, or grant, at a time: a new one gives the old one back.
    pub fn request(&mut self, key: TaskKey, nexus: NexusId, action: HomeAction) {
        let what = match self.tasks.get(key) {
            Some(task) => {
                if let Some(old) = task.request {
                    self.give_back(old);
                }
                AskedFor::Action
            }
            None => AskedFor::Control,
        };
        let ticket = self.ask(key, what, Some(nexus), action);
        if let Some(task) = self.tasks.get_mut(key) {
            task.request = Some(ticket);
        }
    }

    /// Gives back the range that was granted to the task, or withdraws what it asked for. Leaving does so too.
    pub fn release(&mut self, key: TaskKey) {
        if let Some(ticket) = self.tasks.get_mut(key).and_then(|task| task.request.take()) {
            self.give_back(ticket);
        }
    }

    /// Nobody waits any more for what was asked outside the task set under `key`. What is under way goes on.
    pub fn forget(&mut self, key: TaskKey) {
        self.requests
            .retain(|_, asked| asked.key != key || asked.what != AskedFor::Control);
    }

    /// Whether nothing is left here: no task, no nexus, and no request that the home has not answered (that of a nexus that
    /// is gone among them). Only then [`retire`](Self::retire) does anything. It stays so until a nexus is attached or a
    /// request is made, so a worker that is to let go of the LU first sees to it that none will be.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.tasks.len() == 0 && self.nexuses.is_empty() && self.requests.is_empty()
    }

    /// Says farewell to the home, when the shard [is idle](Self::is_idle). Returns whether it did, now or before: then its
    /// last actions are to be carried out, and the value can be dropped. Also before the home's welcome has come.
    ///
    /// From then on the home waits for this shard in nothing, and it is not told of what changes: every command that enters
    /// all the same is held for ever. What the home has sent meanwhile is of no effect, also where it reaches a successor: a
    /// worker that takes the LU up again makes a new shard under the same name with another epoch.
    pub fn retire(&mut self) -> bool {
        if self.membership == Membership::Left {
            return true;
        }
        let rests = self.is_idle();
        if rests {
            self.membership = Membership::Left;
            self.actions.push(ShardAction::ToHome(ToHome::Leave));
        }
        rests
    }

    pub(super) fn ask(
        &mut self,
        key: TaskKey,
        what: AskedFor,
        nexus: Option<NexusId>,
        action: HomeAction,
    ) -> Ticket {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        self.requests.insert(ticket, Asked { key, what });
        let named = nexus.filter(|_| action.depends_on_name());
        let name = named
            .and_then(|nexus| self.nexuses.get(&nexus))
            .map(|nexus| nexus.name().clone());
        let request = ToHome::Request {
            ticket,
            nexus,
            name,
            action,
        };
        self.actions.push(ShardAction::ToHome(request));
        ticket
    }

    pub(super) fn give_back(&mut self, ticket: Ticket) {
        let Some(asked) = self.requests.remove(&ticket) else {
            return;
        };
        let cancel = ToHome::Cancel(ticket);
        self.actions.push(ShardAction::ToHome(cancel));
        // Those behind an ORDERED task are woken when a fence is lifted: its own, or that of the ORDERED task which it had
        // to wait for.
        if matches!(asked.what, AskedFor::Order { .. }) {
            self.ordered.retain(|one| one.key != asked.key);
        }
    }

    /// The nexus goes when its last task has left.
    pub(super) fn finish_detach(&mut self, nexus: NexusId) {
        let Some(attached) = self.nexuses.get(&nexus) else {
            return;
        };
        let Some(key) = attached.detaching.filter(|_| attached.tasks == 0) else {
            return;
        };
        self.nexuses.remove(&nexus);
        let action = HomeAction::NexusLost(nexus);
        self.ask(key, AskedFor::Control, Some(nexus), action);
    }
}
