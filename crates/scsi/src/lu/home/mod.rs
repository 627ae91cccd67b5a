//! The home of a logical unit: where everything is done that concerns more than one task on one worker.
//!
//! It works one action at a time in each of four *lanes*, which keep out of each other's way:
//!
//! - **abort**: CLEAR TASK SET, LOGICAL UNIT RESET, CLEAR ACA, and what CHECK CONDITION does to other commands. Waits for
//!   aborted tasks to leave, which they do whatever else goes on.
//! - **serial**: everything that holds I/O, or changes the snapshot. Waits for I/O in flight, and for the task that holds a
//!   range, which waits for its own I/O at most; an abort can end it.
//! - **order**: ORDERED tasks. Waits for older tasks to leave, and these may wait for the serial lane.
//!
//! - **reserve** stands between abort and serial: RESERVE, RELEASE and PERSISTENT RESERVE OUT, and what else may have to be
//!   durable first. Waits for I/O in flight, for aborted tasks, and for that: where it takes long, nothing else waits for it.
//!
//! So a later lane waits for an earlier one and never the other way round: nothing can wait in a circle. Snapshots are
//! computed here at the moment of publication, from the present one, whatever lane asks.
//!
//! Queues are bounded by what shards have outstanding: a task has one request at most (and one for its order), and what
//! it withdraws is taken out.

mod contingent;
mod kept;
mod lane;
mod own;
mod plan;
mod save;
mod transition;

use std::mem;
use std::sync::Arc;

use self::lane::{Ack, Lane, LaneKind, Phase, Request, Requester, Running};
use self::own::{OWN, OwnWork};
use self::plan::Plan;
pub use self::save::{Save, SaveKind};
pub use self::transition::Transition;
use super::fence::{Fence, FenceScope};
use super::message::{ActionResult, HomeAction, Outgoing, Publication, ToHome, ToShard};
use super::{FenceId, ShardId};
use crate::sense::{Refusal, Sense};
use crate::snapshot::LuSnapshot;

/// The one place where a logical unit changes. Lives on one worker, whose shard (if it has one) talks to it like any other.
#[derive(Debug)]
pub struct LuHome {
    snapshot: Arc<LuSnapshot>,
    members: Vec<ShardId>,
    last_fence: u64,
    abort: Lane,
    reserve: Lane,
    serial: Lane,
    order: Lane,
    completed: Vec<(u64, ActionResult)>,
    saves: Vec<Save>,
    own: Option<OwnWork>,
    transitions: Vec<Transition>,
}

/// What follows for the lane.
enum Next {
    /// The same action goes on in another phase, which may be over already.
    Again,
    /// It waits for a message.
    Wait,
    /// It is over.
    Over,
}

impl LuHome {
    /// The home of a logical unit that nobody uses yet.
    #[must_use]
    pub fn new(snapshot: Arc<LuSnapshot>) -> Self {
        let threshold = snapshot.mode.threshold_enabled;
        snapshot.statistics.note_threshold(threshold);
        Self {
            own: OwnWork::of(&snapshot),
            snapshot,
            members: Vec::new(),
            last_fence: 0,
            abort: Lane::default(),
            reserve: Lane::default(),
            serial: Lane::default(),
            order: Lane::default(),
            completed: Vec::new(),
            saves: Vec::new(),
            transitions: Vec::new(),
        }
    }

    /// The LU as it was last published.
    #[must_use]
    pub fn snapshot(&self) -> &Arc<LuSnapshot> {
        &self.snapshot
    }

    /// Whether nothing is under way or waits.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.lanes()
            .iter()
            .all(|lane| lane.current.is_none() && lane.waiting.is_empty())
    }

    /// The shards there are.
    #[must_use]
    pub fn members(&self) -> &[ShardId] {
        &self.members
    }

    /// Requests that wait for their turn.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.lanes().iter().map(|lane| lane.waiting.len()).sum()
    }

    fn lanes(&self) -> [&Lane; 4] {
        [&self.abort, &self.reserve, &self.serial, &self.order]
    }

    /// Lets a shard in. `epoch` is that of its [`ToHome::Join`]. A shard that was in is taken as having left.
    pub fn join(&mut self, shard: ShardId, epoch: u64, out: &mut Vec<Outgoing>) {
        if self.members.contains(&shard) {
            self.leave(shard, out);
        }
        self.members.push(shard);
        let lanes = self.lanes();
        let running = lanes.iter().filter_map(|lane| lane.current.as_ref());
        let welcome = ToShard::Welcome {
            epoch,
            snapshot: Arc::clone(&self.snapshot),
            fences: running.filter_map(|one| one.fence.clone()).collect(),
        };
        out.push((shard, welcome));
    }

    /// A shard is gone: nobody waits for it any more, and what it asked for is withdrawn, but for what has to happen
    /// whoever asked.
    pub fn leave(&mut self, shard: ShardId, out: &mut Vec<Outgoing>) {
        self.members.retain(|member| *member != shard);
        for kind in LaneKind::ALL {
            let lane = self.lane(kind);
            for request in &mut lane.waiting {
                request.abandon(|by| matches!(by, Requester::Shard(from, _) if *from == shard));
            }
            lane.waiting.retain(|request| !request.is_moot());
            if let Some(running) = &mut lane.current {
                let gone =
                    |by: &Requester| matches!(by, Requester::Shard(from, _) if *from == shard);
                running.request.abandon(gone);
                running.phase.heard(shard);
            }
            self.advance(kind, out);
        }
        let gone = |by: &Requester| matches!(by, Requester::Shard(from, _) if *from == shard);
        self.own_waiter_left(gone);
    }

    /// Takes a message of the shard `from`, and appends what is to be sent to `out`.
    pub fn handle(&mut self, from: ShardId, message: ToHome, out: &mut Vec<Outgoing>) {
        if let ToHome::Join { epoch } = message {
            self.join(from, epoch, out);
            return;
        }
        if !self.members.contains(&from) {
            return;
        }
        match message {
            ToHome::Join { .. } => {}
            ToHome::Leave => self.leave(from, out),
            ToHome::Request {
                ticket,
                nexus,
                name,
                action,
            } => {
                let by = Requester::Shard(from, ticket);
                let request = Request {
                    by,
                    nexus,
                    name,
                    action,
                };
                self.enqueue(request, out);
            }
            ToHome::Cancel(ticket) => self.cancel(Requester::Shard(from, ticket), out),
            ToHome::Fenced(id) => self.acknowledged(from, id, Ack::Fence, out),
            ToHome::Published(id) => self.acknowledged(from, id, Ack::Publication, out),
        }
    }

    /// Asks for an action that no initiator asked for. [`take_completed`](Self::take_completed) says when it has ended.
    /// `id` is the caller's. What a task or a nexus would hold ([`HomeAction::Range`],
    /// [`HomeAction::Ordered`], [`HomeAction::Reserve`]) has nobody to hold it, and is answered as done.
    pub fn submit(&mut self, id: u64, action: HomeAction, out: &mut Vec<Outgoing>) {
        let request = Request {
            by: Requester::Caller(id),
            nexus: None,
            name: None,
            action,
        };
        self.enqueue(request, out);
    }

    /// Takes what has ended of what was submitted, with the caller's ids.
    pub fn take_completed(&mut self) -> impl Iterator<Item = (u64, ActionResult)> {
        mem::take(&mut self.completed).into_iter()
    }

    fn enqueue(&mut self, request: Request, out: &mut Vec<Outgoing>) {
        let kind = LaneKind::of(&request.action);
        self.lane(kind).waiting.push_back(request);
        self.advance(kind, out);
    }

    fn cancel(&mut self, by: Requester, out: &mut Vec<Outgoing>) {
        for kind in LaneKind::ALL {
            let lane = self.lane(kind);
            for request in &mut lane.waiting {
                request.abandon(|one| *one == by);
            }
            lane.waiting.retain(|request| !request.is_moot());
            if let Some(running) = &mut lane.current {
                running.request.abandon(|one| *one == by);
            }
            self.advance(kind, out);
        }
        self.own_waiter_left(|one| *one == by);
    }

    fn acknowledged(&mut self, from: ShardId, id: FenceId, ack: Ack, out: &mut Vec<Outgoing>) {
        for kind in LaneKind::ALL {
            let Some(running) = &mut self.lane(kind).current else {
                continue;
            };
            if running.id == id && running.phase.awaits(ack) {
                running.phase.heard(from);
                self.advance(kind, out);
                return;
            }
        }
    }

    /// Goes on in one lane as far as it goes.
    fn advance(&mut self, kind: LaneKind, out: &mut Vec<Outgoing>) {
        loop {
            let mut running = match self.lane(kind).current.take() {
                Some(running) => running,
                None => match self.lane(kind).waiting.pop_front() {
                    None => return,
                    Some(request) => match self.start(request, out) {
                        Some(running) => running,
                        // Answered at once: the lane is free for the next.
                        None => continue,
                    },
                },
            };
            let next = self.go_on(&mut running, out);
            if !matches!(next, Next::Over) {
                self.lane(kind).current = Some(running);
            }
            if matches!(next, Next::Wait) {
                return;
            }
        }
    }

    /// Begins an action, unless it can be answered at once.
    fn start(&mut self, request: Request, out: &mut Vec<Outgoing>) -> Option<Running> {
        let (scope, outcome) = match plan::plan(&self.snapshot, &request) {
            Plan::Answer(result) => {
                self.answer(request.by, result, out);
                return None;
            }
            Plan::Fence(scope) => (Some(scope), None),
            Plan::Publish => (None, None),
            Plan::Keep(scope) => (scope, None),
            Plan::Reserve(outcome) => {
                let scope = plan::fence_of(&self.snapshot, &request, &outcome);
                (scope, Some(outcome))
            }
        };
        self.last_fence += 1;
        let id = FenceId(self.last_fence);
        let save = match &outcome {
            Some(outcome) => self
                .to_save(outcome)
                .map(|one| (SaveKind::Reservations, one)),
            None if kept::is_kept(&request.action) => {
                let settings = self.settings_to_save(&request);
                settings.map(|one| (SaveKind::Settings, one))
            }
            None => None,
        };
        let mut running = Running {
            request,
            id,
            fence: None,
            outcome,
            has_to_happen: false,
            transition: None,
            phase: Phase::Saving,
        };
        if self.begin_transition(&mut running, out) {
            return Some(running);
        }
        match save {
            Some((kind, content)) => self.saves.push(Save { id, kind, content }),
            None => self.raise(&mut running, scope, out),
        }
        Some(running)
    }

    /// Has the shards hold back what the action needs held back.
    fn raise(&mut self, running: &mut Running, scope: Option<FenceScope>, out: &mut Vec<Outgoing>) {
        let exempt = match running.request.by {
            Requester::Shard(shard, ticket) => Some((shard, ticket)),
            Requester::Caller(_) | Requester::Nobody => None,
        };
        let id = running.id;
        running.fence = scope.map(|scope| Fence { id, scope, exempt });
        running.phase = match &running.fence {
            Some(fence) => {
                self.tell_all(&ToShard::Fence(fence.clone()), out);
                let mut waiting = self.members.clone();
                let own = self.own.as_ref().and_then(OwnWork::flight);
                if own.is_some_and(|flight| fence.scope.concerns_io(&flight)) {
                    waiting.push(OWN);
                }
                Phase::Fencing(waiting)
            }
            // Without a fence there is nothing to wait for before it is published.
            None => Phase::Fencing(Vec::new()),
        };
    }

    fn go_on(&mut self, running: &mut Running, out: &mut Vec<Outgoing>) -> Next {
        match &running.phase {
            Phase::Fencing(_) | Phase::Granted
                if running.request.is_moot() && !running.has_to_happen =>
            {
                self.lift(running, out);
                Next::Over
            }
            Phase::Saving | Phase::Transitioning => Next::Wait,
            Phase::Saved(true) => {
                let scope = match &running.outcome {
                    Some(outcome) => plan::fence_of(&self.snapshot, &running.request, outcome),
                    None => kept::fence_of(&running.request.action),
                };
                running.has_to_happen = true;
                self.raise(running, scope, out);
                Next::Again
            }
            Phase::Saved(false)
                if matches!(running.request.action, HomeAction::SanitizeEnded { .. }) =>
            {
                // What is remembered says that it is under way: so it has not ended well, and is begun anew after a restart.
                running.request.action = HomeAction::SanitizeEnded { failed: true };
                running.has_to_happen = true;
                self.raise(running, None, out);
                Next::Again
            }
            Phase::Saved(false) => {
                let refusal = Refusal::Check(match &running.outcome {
                    Some(_) => Sense::INSUFFICIENT_REGISTRATION_RESOURCES,
                    None => Sense::INTERNAL_TARGET_FAILURE,
                });
                self.answer(running.request.by, ActionResult::Refused(refusal), out);
                Next::Over
            }
            Phase::Fencing(waiting) if waiting.is_empty() => self.act(running, out),
            Phase::Publishing(waiting) if waiting.is_empty() => {
                if self.wait_for_transition(running) {
                    return Next::Wait;
                }
                self.lift(running, out);
                let result = match running.request.action {
                    HomeAction::SanitizeEnded { failed: true } => {
                        ActionResult::Refused(Sense::SANITIZE_COMMAND_FAILED.into())
                    }
                    _ => ActionResult::Done,
                };
                self.answer(running.request.by, result, out);
                Next::Over
            }
            Phase::Fencing(_) | Phase::Publishing(_) | Phase::Granted => Next::Wait,
        }
    }

    /// Everything older is out of the way.
    fn act(&mut self, running: &mut Running, out: &mut Vec<Outgoing>) -> Next {
        if let (HomeAction::Range { .. } | HomeAction::Ordered, Requester::Shard(shard, ticket)) =
            (&running.request.action, running.request.by)
        {
            out.push((shard, ToShard::Granted(ticket)));
            running.phase = Phase::Granted;
            return Next::Wait;
        }
        // The other lanes may have published since the action was planned. A transition that has begun has to end.
        if let Some(refusal) = plan::refusal(&self.snapshot, &running.request)
            && !transition::has_begun(running)
        {
            self.lift(running, out);
            self.answer(running.request.by, ActionResult::Refused(refusal), out);
            return Next::Over;
        }
        let change = match &running.outcome {
            Some(outcome) => plan::change_by(&self.snapshot, &running.request, outcome),
            None => plan::change(&self.snapshot, &running.request),
        };
        if change.snapshot.is_none() && change.attentions.is_empty() {
            running.phase = Phase::Publishing(Vec::new());
            return Next::Again;
        }
        self.publish(running, change, out);
        Next::Again
    }

    /// Has every shard hear of a change.
    fn publish(&mut self, running: &mut Running, change: plan::Change, out: &mut Vec<Outgoing>) {
        if let Some(mut snapshot) = change.snapshot {
            snapshot.version = self.snapshot.version + 1;
            self.snapshot = Arc::new(snapshot);
            self.look_at_own_work(&mut running.request);
            self.note_threshold();
        }
        let publication = Publication {
            id: running.id,
            snapshot: Arc::clone(&self.snapshot),
            attentions: change.attentions,
        };
        self.tell_all(&ToShard::Publish(publication), out);
        running.phase = Phase::Publishing(self.members.clone());
    }

    /// Whoever looks how much is used knows whether that is to be told here.
    fn note_threshold(&self) {
        let enabled = self.snapshot.mode.threshold_enabled;
        self.snapshot.statistics.note_threshold(enabled);
    }

    fn lift(&self, running: &mut Running, out: &mut Vec<Outgoing>) {
        if running.fence.take().is_some() {
            self.tell_all(&ToShard::Lift(running.id), out);
        }
    }

    fn answer(&mut self, by: Requester, result: ActionResult, out: &mut Vec<Outgoing>) {
        match by {
            Requester::Shard(shard, ticket) => {
                out.push((shard, ToShard::Completed(ticket, result)));
            }
            Requester::Caller(id) => self.completed.push((id, result)),
            Requester::Nobody => {}
        }
    }

    fn tell_all(&self, message: &ToShard, out: &mut Vec<Outgoing>) {
        out.extend(self.members.iter().map(|shard| (*shard, message.clone())));
    }

    fn lane(&mut self, kind: LaneKind) -> &mut Lane {
        match kind {
            LaneKind::Abort => &mut self.abort,
            LaneKind::Reserve => &mut self.reserve,
            LaneKind::Serial => &mut self.serial,
            LaneKind::Order => &mut self.order,
        }
    }
}
