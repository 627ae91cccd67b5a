//! Random PERSISTENT RESERVE OUT commands from several shards, under I/O and with messages that overtake each other, against a
//! simple reference that carries them out one after the other.
//!
//! Each run has a seed, which a failing assertion prints; the same seed gives the same run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use block::Lba;

use super::lab::{Lab, name_of, snapshot};
use super::*;
use crate::command::TaskAttribute::Simple;
use crate::persistent_reserve::{
    Access, PersistentReserveOut, ReservationType, ServiceAction, Standing,
};
use crate::sense::{Refusal, Sense};

const KINDS: [ReservationType; 6] = ReservationType::ALL;

/// What a command asks for.
#[derive(Clone, Copy, Debug)]
struct Op {
    by: NexusId,
    action: ServiceAction,
    kind: ReservationType,
    key: u64,
    action_key: u64,
    persist: bool,
}

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Good,
    Conflict,
    Check,
}

/// The reference: who has which key, who holds what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Reference {
    keys: BTreeMap<NexusId, u64>,
    held: Option<(ReservationType, NexusId)>,
}

type Told = Vec<(NexusId, UnitAttention)>;

impl Reference {
    fn holds(&self, nexus: NexusId) -> bool {
        self.held.is_some_and(|(kind, holder)| {
            kind.is_all_registrants() && self.keys.contains_key(&nexus) || holder == nexus
        })
    }

    fn permits(&self, nexus: NexusId, access: Access) -> bool {
        let standing = match (self.keys.contains_key(&nexus), self.holds(nexus)) {
            (_, true) => Standing::Holder,
            (true, false) => Standing::Registered,
            (false, false) => Standing::NotRegistered,
        };
        self.held
            .is_none_or(|(kind, _)| !access.conflicts(kind, standing))
    }

    fn others(&self, but: NexusId) -> Vec<NexusId> {
        self.keys.keys().copied().filter(|n| *n != but).collect()
    }

    /// Removes registrations, and the reservation where it goes with them.
    fn remove(&mut self, gone: &[NexusId]) {
        self.keys.retain(|nexus, _| !gone.contains(nexus));
        if let Some((kind, holder)) = self.held {
            let of_all = kind.is_all_registrants();
            if of_all && self.keys.is_empty() || !of_all && gone.contains(&holder) {
                self.held = None;
            }
        }
    }

    fn apply(&mut self, op: Op) -> (End, Told) {
        let own = self.keys.get(&op.by).copied();
        let tell = |names: Vec<NexusId>, what| names.into_iter().map(|n| (n, what)).collect();
        match op.action {
            ServiceAction::Register if own.unwrap_or(0) != op.key => (End::Conflict, vec![]),
            ServiceAction::Register | ServiceAction::RegisterAndIgnoreExistingKey => {
                let before = self.held;
                if op.action_key != 0 {
                    self.keys.insert(op.by, op.action_key);
                } else if own.is_some() {
                    self.remove(&[op.by]);
                }
                let released =
                    before.filter(|(kind, _)| self.held.is_none() && kind.admits_registrants());
                let names = released.map_or(vec![], |_| self.others(op.by));
                (End::Good, tell(names, UnitAttention::ReservationsReleased))
            }
            _ if own != Some(op.key) => (End::Conflict, vec![]),
            ServiceAction::Reserve => match self.held {
                None => {
                    self.held = Some((op.kind, op.by));
                    (End::Good, vec![])
                }
                Some((kind, _)) if self.holds(op.by) && kind == op.kind => (End::Good, vec![]),
                Some(_) => (End::Conflict, vec![]),
            },
            ServiceAction::Release => match self.held {
                Some((kind, _)) if self.holds(op.by) => {
                    if kind != op.kind {
                        return (End::Check, vec![]);
                    }
                    self.held = None;
                    let told = kind.admits_registrants();
                    let names = if told { self.others(op.by) } else { vec![] };
                    (End::Good, tell(names, UnitAttention::ReservationsReleased))
                }
                _ => (End::Good, vec![]),
            },
            ServiceAction::Clear => {
                let names = self.others(op.by);
                *self = Self::default();
                (End::Good, tell(names, UnitAttention::ReservationsPreempted))
            }
            _ => self.preempt(op),
        }
    }

    fn preempt(&mut self, op: Op) -> (End, Told) {
        let of_all = self.held.is_some_and(|(kind, _)| kind.is_all_registrants());
        let with_key = |key: u64| -> Vec<NexusId> {
            let meant = self.keys.iter().filter(|(_, k)| **k == key || key == 0);
            meant.map(|(nexus, _)| *nexus).collect()
        };
        let meant = with_key(op.action_key);
        if op.action_key == 0 && !of_all {
            return (End::Check, vec![]);
        }
        if meant.is_empty() {
            return (End::Conflict, vec![]);
        }
        let takes_over = match self.held {
            None => false,
            Some(_) if of_all => op.action_key == 0,
            Some((_, holder)) => self.keys.get(&holder) == Some(&op.action_key),
        };
        let before = self.held;
        if takes_over {
            let gone: Vec<_> = meant.iter().copied().filter(|n| *n != op.by).collect();
            self.remove(&gone);
            self.held = Some((op.kind, op.by));
        } else {
            self.remove(&meant);
        }
        let preempted = meant.into_iter().filter(|n| *n != op.by);
        let mut told: Told = preempted
            .map(|n| (n, UnitAttention::RegistrationsPreempted))
            .collect();
        if takes_over && before.map(|(kind, _)| kind) != Some(op.kind) {
            let stayed = self.others(op.by);
            told.extend(
                stayed
                    .into_iter()
                    .map(|n| (n, UnitAttention::ReservationsReleased)),
            );
        }
        (End::Good, told)
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    Entered,
    Ready(u64),
    Flying,
    Asked(Op),
}

#[derive(Clone, Copy, Debug)]
struct Task {
    nexus: NexusId,
    access: Access,
    /// I/Os that are left.
    left: u8,
    state: State,
    held: bool,
    aborted: bool,
}

struct World {
    seed: u64,
    random: u64,
    lab: Lab,
    nexuses: Vec<(NexusId, usize)>,
    tasks: BTreeMap<(usize, TaskKey), Task>,
    /// Requests on their way, by shard and ticket.
    asked: BTreeMap<(usize, Ticket), Op>,
    /// As of the last command that was answered.
    reference: Reference,
    told: BTreeMap<NexusId, BTreeSet<UnitAttention>>,
    saves: Vec<Save>,
    last_key: u64,
    seen: Seen,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    good: u32,
    conflicts: u32,
    checks: u32,
    failed_saves: u32,
    aborted: u32,
    flown: u32,
    kept_out: u32,
}

impl World {
    fn new(seed: u64, shards: usize) -> Self {
        let mut lab = Lab::new(shards);
        let mut lu = snapshot();
        lu.ptpl_capable = true;
        lab.home = LuHome::new(Arc::new(lu));
        lab.settle();
        let mut nexuses = Vec::new();
        for number in 1..=5_u64 {
            let at = usize::try_from(number).unwrap() % shards;
            let nexus = NexusId(number);
            lab.shard(at).attach_nexus(nexus, &name_of(nexus), &[]);
            nexuses.push((nexus, at));
        }
        Self {
            seed,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            lab,
            nexuses,
            tasks: BTreeMap::new(),
            asked: BTreeMap::new(),
            reference: Reference::default(),
            told: BTreeMap::new(),
            saves: Vec::new(),
            last_key: 0,
            seen: Seen::default(),
        }
    }

    /// A number below `bound` (xorshift64*).
    fn below(&mut self, bound: usize) -> usize {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let high = self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap() % bound
    }

    fn step(&mut self) {
        match self.below(20) {
            0..10 => {
                let at = self.below(self.lab.shards.len());
                if self.below(2) == 0 {
                    self.deliver_to_home(at);
                } else {
                    self.lab.deliver(at, super::lab::Way::ToShard);
                }
                self.obey(at);
            }
            10..12 => self.begin(),
            12 => self.save(),
            13..18 => {
                let keys: Vec<_> = self.tasks.keys().copied().collect();
                if !keys.is_empty() {
                    let place = keys[self.below(keys.len())];
                    self.go_on(place);
                }
            }
            _ => self.land_any(),
        }
    }

    fn begin(&mut self) {
        if self.tasks.len() >= 24 {
            return;
        }
        let choice = self.below(self.nexuses.len());
        let (nexus, at) = self.nexuses[choice];
        self.last_key += 1;
        let key = TaskKey(self.last_key);
        let state = if self.below(3) == 0 {
            State::Asked(self.op(nexus))
        } else {
            State::Entered
        };
        let access = [Access::Reading, Access::Writing][self.below(2)];
        let left = 1 + u8::try_from(self.below(3)).unwrap();
        self.lab.shard(at).enter(key, nexus, Simple).unwrap();
        let task = Task {
            nexus,
            access,
            left,
            state,
            held: false,
            aborted: false,
        };
        self.tasks.insert((at, key), task);
        if let State::Asked(op) = state {
            self.ask(at, key, op);
        }
        self.obey(at);
    }

    /// A command with keys that often meet.
    fn op(&mut self, by: NexusId) -> Op {
        let actions = [
            ServiceAction::Register,
            ServiceAction::RegisterAndIgnoreExistingKey,
            ServiceAction::RegisterAndIgnoreExistingKey,
            ServiceAction::RegisterAndIgnoreExistingKey,
            ServiceAction::Reserve,
            ServiceAction::Reserve,
            ServiceAction::Reserve,
            ServiceAction::Release,
            ServiceAction::Clear,
            ServiceAction::Preempt,
            ServiceAction::PreemptAndAbort,
            ServiceAction::PreemptAndAbort,
        ];
        let action = actions[self.below(actions.len())];
        let own = self.reference.keys.get(&by).copied().unwrap_or(0);
        let key = if self.below(8) == 0 { 9 } else { own };
        let action_key = u64::try_from(self.below(5)).unwrap();
        Op {
            by,
            action,
            kind: KINDS[self.below(KINDS.len())],
            key,
            action_key,
            persist: self.below(3) == 0,
        }
    }

    fn ask(&mut self, at: usize, key: TaskKey, op: Op) {
        let mut list = [0; 24];
        list[..8].copy_from_slice(&op.key.to_be_bytes());
        list[8..16].copy_from_slice(&op.action_key.to_be_bytes());
        list[20] = u8::from(op.persist);
        let request = PersistentReserveOut::parse(op.action, op.kind.code(), &list).unwrap();
        let action = HomeAction::PersistentReserve(Box::new(request));
        self.lab.shard(at).request(key, op.by, action);
        self.lab.collect(at);
        let Some(ToHome::Request { ticket, .. }) = self.lab.shards[at].to_home.back() else {
            panic!("seed {}: nothing was asked", self.seed);
        };
        self.asked.insert((at, *ticket), op);
    }

    fn deliver_to_home(&mut self, at: usize) {
        let Some(message) = self.lab.shards[at].to_home.pop_front() else {
            return;
        };
        let mut out = Vec::new();
        let shard = ShardId(u16::try_from(at).unwrap());
        self.lab.home.handle(shard, message, &mut out);
        self.home_said(out);
    }

    /// Makes durable what is to be, or fails to.
    fn save(&mut self) {
        let Some(save) = self.saves.pop() else { return };
        let durable = self.below(4) != 0;
        self.seen.failed_saves += u32::from(!durable);
        let mut out = Vec::new();
        // A failure is told before anything else is answered.
        if !durable {
            self.lab.home.saved(save.id, false, &mut out);
            let answered = out.iter().position(|(_, one)| {
                let full = Refusal::Check(Sense::INSUFFICIENT_REGISTRATION_RESOURCES);
                matches!(one, ToShard::Completed(_, ActionResult::Refused(why)) if *why == full)
            });
            if let Some((shard, ToShard::Completed(ticket, _))) = answered.map(|at| &out[at]) {
                self.asked.remove(&(usize::from(shard.0), *ticket));
            }
        } else {
            self.lab.home.saved(save.id, true, &mut out);
        }
        self.home_said(out);
    }

    /// What a home says is in the order in which it acts.
    fn home_said(&mut self, out: Vec<(ShardId, ToShard)>) {
        self.saves.extend(self.lab.home.take_saves());
        for (shard, message) in &out {
            if let ToShard::Completed(ticket, result) = message
                && let Some(op) = self.asked.remove(&(usize::from(shard.0), *ticket))
            {
                self.check_answer(op, *result);
            }
        }
        self.lab.post(out);
    }

    fn check_answer(&mut self, op: Op, result: ActionResult) {
        let seed = self.seed;
        let (end, told) = self.reference.apply(op);
        let expected = match result {
            ActionResult::Done => End::Good,
            ActionResult::Refused(Refusal::Status(_)) => End::Conflict,
            ActionResult::Refused(Refusal::Check(_)) => End::Check,
        };
        assert_eq!(end, expected, "seed {seed}: {op:?} {:?}", self.reference);
        match end {
            End::Good => self.seen.good += 1,
            End::Conflict => self.seen.conflicts += 1,
            End::Check => self.seen.checks += 1,
        }
        for (nexus, attention) in told {
            self.told.entry(nexus).or_default().insert(attention);
        }
        // With GOOD nothing is in the store any more that would not be admitted now.
        for (place, task) in &self.tasks {
            let flying = matches!(task.state, State::Flying);
            assert!(
                !flying || self.reference.permits(task.nexus, task.access),
                "seed {seed}: {place:?} {task:?} is in the store after {op:?}"
            );
        }
    }

    fn obey(&mut self, at: usize) {
        self.lab.collect(at);
        for action in std::mem::take(&mut self.lab.shards[at].actions) {
            match action {
                ShardAction::Wake(key) => {
                    if let Some(task) = self.tasks.get_mut(&(at, key)) {
                        task.held = false;
                    }
                }
                ShardAction::Abort(key, _) => {
                    self.seen.aborted += 1;
                    let Some(task) = self.tasks.get_mut(&(at, key)) else {
                        continue;
                    };
                    task.aborted = true;
                    if !matches!(task.state, State::Flying) {
                        self.leave((at, key));
                    }
                }
                ShardAction::Completed { key, .. } => self.leave((at, key)),
                ShardAction::ToHome(_) | ShardAction::Granted(_) | ShardAction::Attention(..) => {}
            }
        }
    }

    fn leave(&mut self, place: (usize, TaskKey)) {
        self.tasks.remove(&place);
        self.lab.shard(place.0).leave(place.1);
        self.lab.collect(place.0);
    }

    /// Whether the device server's checks pass on the shard's snapshot.
    fn passes(&mut self, place: (usize, TaskKey), task: &Task) -> bool {
        let shard = self.lab.shard(place.0);
        let standing = shard.nexus(task.nexus).unwrap().standing();
        let kind = shard.snapshot().persistent.kind();
        kind.is_none_or(|kind| !task.access.conflicts(kind, standing))
    }

    fn go_on(&mut self, place: (usize, TaskKey)) {
        let Some(task) = self.tasks.get(&place).copied() else {
            return;
        };
        if task.held || task.aborted {
            return;
        }
        let state = match task.state {
            State::Flying | State::Asked(_) => return,
            State::Entered => {
                if self.lab.shard(place.0).admit_command(place.1) != Admit::Go {
                    return self.set(place, |task| task.held = true);
                }
                self.checked(place, &task)
            }
            State::Ready(version) => {
                let kind = match task.access {
                    Access::Writing => IoKind::Write,
                    _ => IoKind::Read,
                };
                let range = Some((Lba(0), 1));
                let shard = self.lab.shard(place.0);
                match shard.admit_io(place.1, range, kind, version) {
                    Admit::Go => {
                        self.check_io(place, &task);
                        Some(State::Flying)
                    }
                    Admit::Held => return self.set(place, |task| task.held = true),
                    Admit::Recheck => self.checked(place, &task),
                }
            }
        };
        match state {
            Some(state) => self.set(place, |task| task.state = state),
            None => {
                self.seen.kept_out += 1;
                self.leave(place);
            }
        }
    }

    fn checked(&mut self, place: (usize, TaskKey), task: &Task) -> Option<State> {
        let version = self.lab.shard(place.0).version();
        self.passes(place, task).then_some(State::Ready(version))
    }

    fn set(&mut self, place: (usize, TaskKey), change: impl FnOnce(&mut Task)) {
        if let Some(task) = self.tasks.get_mut(&place) {
            change(task);
        }
    }

    /// An I/O is submitted: the last answer allows it, or the change that is being published does.
    fn check_io(&mut self, place: (usize, TaskKey), task: &Task) {
        self.seen.flown += 1;
        let published = &self.lab.home.snapshot().persistent;
        let standing = published.standing(&name_of(task.nexus));
        let by_published = published
            .kind()
            .is_none_or(|kind| !task.access.conflicts(kind, standing));
        assert!(
            by_published || self.reference.permits(task.nexus, task.access),
            "seed {}: {place:?} {task:?} passed {:?}",
            self.seed,
            self.reference
        );
    }

    fn land_any(&mut self) {
        let flying = self.tasks.iter();
        let flying: Vec<_> = flying
            .filter(|(_, task)| matches!(task.state, State::Flying))
            .map(|(place, _)| *place)
            .collect();
        if !flying.is_empty() {
            let place = flying[self.below(flying.len())];
            self.land(place);
        }
    }

    fn land(&mut self, place: (usize, TaskKey)) {
        let Some(task) = self.tasks.get(&place).copied() else {
            return;
        };
        if task.aborted || task.left == 1 {
            self.leave(place);
        } else {
            let shard = self.lab.shard(place.0);
            shard.io_done(place.1);
            let version = shard.version();
            // Checked before, and not since: the next I/O compares versions.
            let before = version.saturating_sub(1);
            self.set(place, |task| {
                task.left -= 1;
                task.state = State::Ready(before);
            });
        }
        self.obey(place.0);
    }

    /// Lets everything end that has begun, and compares.
    fn drain(&mut self) {
        for round in 0.. {
            assert!(
                round < 3000,
                "seed {}: does not come to rest {:?}",
                self.seed,
                self.tasks
            );
            for at in 0..self.lab.shards.len() {
                self.deliver_to_home(at);
                self.lab.deliver(at, super::lab::Way::ToShard);
                self.obey(at);
            }
            self.save();
            let places: Vec<_> = self.tasks.keys().copied().collect();
            for place in places {
                self.go_on(place);
                if matches!(self.tasks.get(&place), Some(task) if matches!(task.state, State::Flying))
                {
                    self.land(place);
                }
            }
            let shards = &self.lab.shards;
            let links_rest = shards
                .iter()
                .all(|one| one.to_home.is_empty() && one.to_shard.is_empty());
            if self.tasks.is_empty() && links_rest && self.saves.is_empty() {
                break;
            }
        }
        let seed = self.seed;
        assert!(self.lab.home.is_quiet(), "seed {seed}: {:?}", self.lab.home);
        let state = Arc::clone(&self.lab.home.snapshot().persistent);
        let reference = self.reference.clone();
        assert_eq!(state.registrants(), reference.keys.len(), "seed {seed}");
        assert_eq!(
            state.kind(),
            reference.held.map(|(kind, _)| kind),
            "seed {seed}"
        );
        for (nexus, at) in self.nexuses.clone() {
            let name = name_of(nexus);
            let key = reference.keys.get(&nexus).copied();
            assert_eq!(state.key_of(&name), key, "seed {seed}: {nexus:?}");
            let holds = state.standing(&name) == Standing::Holder;
            assert_eq!(
                holds,
                key.is_some() && reference.holds(nexus),
                "seed {seed}: {nexus:?}"
            );
            let here = self.lab.shard(at).nexus(nexus).unwrap();
            assert_eq!(here.standing(), state.standing(&name), "seed {seed}");
            let pending = here.attentions().as_slice().iter().copied();
            let pending: BTreeSet<_> = pending
                .filter(|one| *one != UnitAttention::CommandsCleared)
                .collect();
            let told = self.told.get(&nexus).cloned().unwrap_or_default();
            assert_eq!(pending, told, "seed {seed}: {nexus:?}");
        }
    }
}

#[test]
fn random_reserve_out_commands_under_io_keep_to_the_reference() {
    let mut total = Seen::default();
    for seed in 0..400_u64 {
        let shards = 1 + usize::try_from(seed).unwrap() % 4;
        let mut world = World::new(seed, shards);
        for _ in 0..2500 {
            world.step();
        }
        world.drain();
        let seen = world.seen;
        total.good += seen.good;
        total.conflicts += seen.conflicts;
        total.checks += seen.checks;
        total.failed_saves += seen.failed_saves;
        total.aborted += seen.aborted;
        total.flown += seen.flown;
        total.kept_out += seen.kept_out;
    }
    let least = [
        total.good,
        total.conflicts,
        total.checks,
        total.failed_saves,
        total.aborted,
        total.flown,
        total.kept_out,
    ]
    .into_iter()
    .min();
    assert!(least > Some(100), "schedules that test little: {total:?}");
}
