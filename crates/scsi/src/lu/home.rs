//! The home of a logical unit: where everything is done that concerns more than one task on one worker.
//!
//! It works one action at a time in each of three *lanes*, which keep out of each other's way:
//!
//! - **abort**: CLEAR TASK SET, LOGICAL UNIT RESET. Waits for aborted tasks to leave, which they do whatever else goes on.
//! - **serial**: everything that holds I/O, or changes the snapshot. Waits for I/O in flight, and for the task that holds a
//!   range, which waits for its own I/O at most; an abort can end it.
//! - **order**: ORDERED tasks. Waits for older tasks to leave, and these may wait for the serial lane.
//!
//! So a later lane waits for an earlier one and never the other way round: nothing can wait in a circle. Snapshots are
//! computed here at the moment of publication, from the present one, whatever lane asks.
//!
//! Queues are bounded by what shards have outstanding: a task has one request at most (and one for its order), and what
//! it withdraws is taken out.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use super::fence::{Fence, FenceScope, Holds};
use super::message::{
    ActionResult, AttentionScope, HomeAction, Outgoing, Publication, ToHome, ToShard,
};
use super::{FenceId, NexusId, ShardId, Ticket, UnitAttention};
use crate::snapshot::LuSnapshot;

/// The one place where a logical unit changes. Lives on one worker, whose shard (if it has one) talks to it like any other.
#[derive(Debug)]
pub struct LuHome {
    snapshot: Arc<LuSnapshot>,
    members: Vec<ShardId>,
    last_fence: u64,
    abort: Lane,
    serial: Lane,
    order: Lane,
    completed: Vec<(u64, ActionResult)>,
}

/// Actions that are worked one after the other.
#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<Request>,
    current: Option<Running>,
}

#[derive(Clone, Debug)]
struct Request {
    by: Requester,
    nexus: Option<NexusId>,
    action: HomeAction,
}

/// Who is told how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Requester {
    Shard(ShardId, Ticket),
    Caller(u64),
    Nobody,
}

#[derive(Debug)]
struct Running {
    request: Request,
    id: FenceId,
    /// While it stands.
    fence: Option<Fence>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// These shards have not acknowledged the fence.
    Fencing(Vec<ShardId>),
    /// The requester has what it asked for, until it gives it back.
    Granted,
    /// These shards have not acknowledged the publication.
    Publishing(Vec<ShardId>),
}

/// What an action needs.
enum Plan {
    /// Nothing: it is answered.
    Answer(ActionResult),
    /// A fence first.
    Fence(FenceScope),
    /// Only to be published.
    Publish,
}

/// What to publish.
struct Change {
    snapshot: Option<LuSnapshot>,
    attentions: Vec<(UnitAttention, AttentionScope)>,
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
        Self {
            snapshot,
            members: Vec::new(),
            last_fence: 0,
            abort: Lane::default(),
            serial: Lane::default(),
            order: Lane::default(),
            completed: Vec::new(),
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
        [&self.abort, &self.serial, &self.order]
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
        self.abort.waiting.len() + self.serial.waiting.len() + self.order.waiting.len()
    }

    /// Lets a shard in. `epoch` is that of its [`ToHome::Join`]. A shard that was in is taken as having left.
    pub fn join(&mut self, shard: ShardId, epoch: u64, out: &mut Vec<Outgoing>) {
        if self.members.contains(&shard) {
            self.leave(shard, out);
        }
        self.members.push(shard);
        let lanes = [&self.abort, &self.serial, &self.order];
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
                action,
            } => {
                let by = Requester::Shard(from, ticket);
                self.enqueue(Request { by, nexus, action }, out);
            }
            ToHome::Cancel(ticket) => self.cancel(Requester::Shard(from, ticket), out),
            ToHome::Fenced(id) => self.acknowledged(from, id, Ack::Fence, out),
            ToHome::Published(id) => self.acknowledged(from, id, Ack::Publication, out),
        }
    }

    /// Asks for an action that no initiator asked for. [`take_completed`](Self::take_completed) says when it has ended.
    /// `id` is the caller's. A [`HomeAction::Range`] or [`HomeAction::Ordered`] has nobody to give its grant back, and is
    /// answered as done without one.
    pub fn submit(&mut self, id: u64, action: HomeAction, out: &mut Vec<Outgoing>) {
        let by = Requester::Caller(id);
        let nexus = None;
        self.enqueue(Request { by, nexus, action }, out);
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
        let scope = match self.plan(&request) {
            Plan::Answer(result) => {
                self.answer(request.by, result, out);
                return None;
            }
            Plan::Fence(scope) => Some(scope),
            Plan::Publish => None,
        };
        self.last_fence += 1;
        let id = FenceId(self.last_fence);
        let exempt = match request.by {
            Requester::Shard(shard, ticket) => Some((shard, ticket)),
            Requester::Caller(_) | Requester::Nobody => None,
        };
        let fence = scope.map(|scope| Fence { id, scope, exempt });
        let phase = match &fence {
            Some(fence) => {
                self.tell_all(&ToShard::Fence(fence.clone()), out);
                Phase::Fencing(self.members.clone())
            }
            // Without a fence there is nothing to wait for before it is published.
            None => Phase::Fencing(Vec::new()),
        };
        Some(Running {
            request,
            id,
            fence,
            phase,
        })
    }

    fn go_on(&mut self, running: &mut Running, out: &mut Vec<Outgoing>) -> Next {
        match &running.phase {
            Phase::Fencing(_) | Phase::Granted if running.request.is_moot() => {
                self.lift(running, out);
                Next::Over
            }
            Phase::Fencing(waiting) if waiting.is_empty() => self.act(running, out),
            Phase::Publishing(waiting) if waiting.is_empty() => {
                self.lift(running, out);
                self.answer(running.request.by, ActionResult::Done, out);
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
        // The other lanes may have published since the action was planned.
        if let Plan::Answer(result) = self.plan(&running.request) {
            self.lift(running, out);
            self.answer(running.request.by, result, out);
            return Next::Over;
        }
        let change = self.change(&running.request);
        if change.snapshot.is_none() && change.attentions.is_empty() {
            running.phase = Phase::Publishing(Vec::new());
            return Next::Again;
        }
        if let Some(mut snapshot) = change.snapshot {
            snapshot.version = self.snapshot.version + 1;
            self.snapshot = Arc::new(snapshot);
        }
        let publication = Publication {
            id: running.id,
            snapshot: Arc::clone(&self.snapshot),
            attentions: change.attentions,
        };
        self.tell_all(&ToShard::Publish(publication), out);
        running.phase = Phase::Publishing(self.members.clone());
        Next::Again
    }

    fn plan(&self, request: &Request) -> Plan {
        let now = &self.snapshot;
        let holder = now.reservation;
        let reserved = holder.is_some() && request.nexus.is_some() && holder != request.nexus;
        let everything = FenceScope::Io {
            range: None,
            holds: Holds::Everything,
        };
        let unless = |same: bool, scope: FenceScope| match same {
            true => Plan::Answer(ActionResult::Done),
            false => Plan::Fence(scope),
        };
        match &request.action {
            // SPC-2 "RESERVE(6) command": conflicts with the reservation of another.
            HomeAction::Range { .. } | HomeAction::Reserve | HomeAction::ModeSelect(_)
                if reserved =>
            {
                Plan::Answer(ActionResult::ReservationConflict)
            }
            HomeAction::Range { lba, blocks } => match request.by {
                Requester::Caller(_) => Plan::Answer(ActionResult::Done),
                Requester::Shard(..) | Requester::Nobody => Plan::Fence(FenceScope::Io {
                    range: Some((*lba, *blocks)),
                    holds: Holds::Everything,
                }),
            },
            HomeAction::Ordered => match request.by {
                Requester::Caller(_) => Plan::Answer(ActionResult::Done),
                Requester::Shard(..) | Requester::Nobody => Plan::Fence(FenceScope::Drain),
            },
            HomeAction::Reserve => unless(holder == request.nexus, everything),
            // SPC-2 "RELEASE(6) command": of a nexus without the reservation it is no error and changes nothing.
            HomeAction::Release if holder.is_none() || holder != request.nexus => {
                Plan::Answer(ActionResult::Done)
            }
            HomeAction::NexusLost(nexus) if holder != Some(*nexus) => {
                Plan::Answer(ActionResult::Done)
            }
            HomeAction::Release | HomeAction::NexusLost(_) | HomeAction::Establish(_) => {
                Plan::Publish
            }
            HomeAction::ModeSelect(change) => unless(change.apply(now.mode) == now.mode, CHANGES),
            HomeAction::ClearTaskSet => Plan::Fence(FenceScope::Abort {
                cleared_by: request.nexus,
            }),
            HomeAction::LogicalUnitReset => Plan::Fence(FenceScope::Abort { cleared_by: None }),
            HomeAction::Resize(geometry) => unless(*geometry == now.caps.geometry, everything),
            HomeAction::WriteCache(on) => {
                let same = [
                    now.mode.write_cache,
                    now.mode_defaults.write_cache,
                    now.caps.write_cache,
                ];
                unless(same == [*on; 3], CHANGES)
            }
            HomeAction::Condition(condition) => unless(*condition == now.condition, everything),
        }
    }

    fn change(&self, request: &Request) -> Change {
        let mut next = LuSnapshot::clone(&self.snapshot);
        let others = match request.nexus {
            Some(nexus) => AttentionScope::AllBut(nexus),
            None => AttentionScope::All,
        };
        let mut attentions = Vec::new();
        match &request.action {
            HomeAction::Reserve => next.reservation = request.nexus,
            HomeAction::Release | HomeAction::NexusLost(_) => next.reservation = None,
            HomeAction::ModeSelect(change) => {
                next.mode = change.apply(next.mode);
                // SPC-5 "MODE SELECT(6) command": every nexus but the one that sent it is told.
                attentions.push((UnitAttention::ModeParametersChanged, others));
            }
            HomeAction::LogicalUnitReset => {
                // SAM-5 "Logical unit reset"; SPC-2 "RESERVE(6) command": a reset ends the reservation.
                next.reservation = None;
                next.mode = next.mode_defaults;
                attentions.push((UnitAttention::BusDeviceReset, AttentionScope::All));
            }
            HomeAction::Resize(geometry) => {
                next.caps.geometry = *geometry;
                attentions.push((UnitAttention::CapacityDataChanged, AttentionScope::All));
            }
            HomeAction::WriteCache(on) => {
                if next.mode.write_cache != *on {
                    attentions.push((UnitAttention::ModeParametersChanged, others));
                }
                next.mode.write_cache = *on;
                next.mode_defaults.write_cache = *on;
                next.caps.write_cache = *on;
            }
            HomeAction::Condition(condition) => next.condition = *condition,
            HomeAction::Establish(attention) => attentions.push((*attention, AttentionScope::All)),
            HomeAction::Range { .. } | HomeAction::Ordered | HomeAction::ClearTaskSet => {}
        }
        Change {
            snapshot: (next != *self.snapshot).then_some(next),
            attentions,
        }
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
            LaneKind::Serial => &mut self.serial,
            LaneKind::Order => &mut self.order,
        }
    }
}

/// Medium changes wait; reads need not.
const CHANGES: FenceScope = FenceScope::Io {
    range: None,
    holds: Holds::Changes,
};

#[derive(Clone, Copy, Debug)]
enum LaneKind {
    Abort,
    Serial,
    Order,
}

impl LaneKind {
    const ALL: [Self; 3] = [Self::Abort, Self::Serial, Self::Order];

    fn of(action: &HomeAction) -> Self {
        match action {
            HomeAction::ClearTaskSet | HomeAction::LogicalUnitReset => Self::Abort,
            HomeAction::Ordered => Self::Order,
            _ => Self::Serial,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ack {
    Fence,
    Publication,
}

impl Phase {
    fn awaits(&self, ack: Ack) -> bool {
        match self {
            Self::Fencing(_) => ack == Ack::Fence,
            Self::Publishing(_) => ack == Ack::Publication,
            Self::Granted => false,
        }
    }

    /// The shard has acknowledged, or is gone.
    fn heard(&mut self, shard: ShardId) {
        if let Self::Fencing(waiting) | Self::Publishing(waiting) = self {
            waiting.retain(|one| *one != shard);
        }
    }
}

impl Request {
    /// Nobody is told any more how it ends, if it is by one that is `gone`.
    fn abandon(&mut self, gone: impl Fn(&Requester) -> bool) {
        if gone(&self.by) {
            self.by = Requester::Nobody;
        }
    }

    /// Nobody waits for it, and it need not happen: what it did would be of no use, or could as well not have been asked.
    /// Aborts and the loss of a nexus happen all the same.
    fn is_moot(&self) -> bool {
        let has_to_happen = matches!(
            self.action,
            HomeAction::ClearTaskSet | HomeAction::LogicalUnitReset | HomeAction::NexusLost(_)
        );
        self.by == Requester::Nobody && !has_to_happen
    }
}
