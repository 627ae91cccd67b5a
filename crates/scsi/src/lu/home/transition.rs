//! Changes of asymmetric access states that take time: the transitioning state comes first, and is known everywhere, and the
//! caller says when its time is over.
//!
//! SPC-5 r22 "Transitions between target port asymmetric access states".

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use super::LuHome;
use super::lane::{LaneKind, Phase, Request, Running};
use super::plan::{self, Change, Plan};
use crate::access::{AccessGroup, AccessState};
use crate::lu::FenceId;
use crate::lu::message::{HomeAction, Outgoing};
use crate::snapshot::LuSnapshot;

/// A transition that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// To be named in [`LuHome::transitioned`].
    pub id: FenceId,
    /// How long it takes.
    pub lasts: Duration,
}

impl LuHome {
    /// Takes what has begun; [`transitioned`](Self::transitioned) is called for each when its time is over. There is one at a
    /// time.
    pub fn take_transitions(&mut self) -> impl Iterator<Item = Transition> {
        mem::take(&mut self.transitions).into_iter()
    }

    /// The time of a transition is over: the states are entered.
    pub fn transitioned(&mut self, id: FenceId, out: &mut Vec<Outgoing>) {
        let Some(mut running) = self.serial.current.take() else {
            return;
        };
        if running.id == id && matches!(running.phase, Phase::Transitioning) {
            let scope = match plan::plan(&self.snapshot, &running.request) {
                Plan::Fence(scope) => Some(scope),
                _ => None,
            };
            self.raise(&mut running, scope, out);
        }
        self.serial.current = Some(running);
        self.advance(LaneKind::Serial, out);
    }

    /// Publishes the transitioning state, where the action changes a state that is not changed at once.
    pub(super) fn begin_transition(
        &mut self,
        running: &mut Running,
        out: &mut Vec<Outgoing>,
    ) -> bool {
        let Some((groups, lasts)) = meanwhile(&self.snapshot, &running.request) else {
            return false;
        };
        let snapshot = LuSnapshot {
            access_groups: groups.into(),
            ..LuSnapshot::clone(&self.snapshot)
        };
        (running.has_to_happen, running.transition) = (true, Some(lasts));
        let change = Change {
            snapshot: Some(snapshot),
            attentions: Vec::new(),
        };
        self.publish(running, change, out);
        true
    }

    /// Every shard has the transitioning state: whether its time is to be waited for.
    pub(super) fn wait_for_transition(&mut self, running: &mut Running) -> bool {
        let Some(lasts) = running.transition.take() else {
            return false;
        };
        let id = running.id;
        self.transitions.push(Transition { id, lasts });
        running.phase = Phase::Transitioning;
        true
    }
}

/// Whether a transition has begun for the action, which then has to end.
pub(super) fn has_begun(running: &Running) -> bool {
    running.has_to_happen && may_take_time(&running.request.action)
}

fn may_take_time(action: &HomeAction) -> bool {
    matches!(
        action,
        HomeAction::SetAccessStates(_) | HomeAction::Configure(_)
    )
}

/// The target port groups while those that change their state, and take time for it, are on their way; and the longest time.
fn meanwhile(now: &Arc<LuSnapshot>, request: &Request) -> Option<(Vec<AccessGroup>, Duration)> {
    if now.access_groups.is_empty() || !may_take_time(&request.action) {
        return None;
    }
    let next = plan::change(now, request).snapshot?;
    let mut lasts = Duration::ZERO;
    let mut groups = now.access_groups.to_vec();
    for group in &mut groups {
        let after = next.access_groups.iter().find(|one| one.id == group.id);
        let changes = |after: &&AccessGroup| after.state != group.state;
        if let Some(after) = after.filter(changes)
            && !after.transition.is_zero()
        {
            group.state = AccessState::Transitioning;
            lasts = lasts.max(after.transition);
        }
    }
    (!lasts.is_zero()).then_some((groups, lasts))
}
