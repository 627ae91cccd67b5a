//! Random schedules of one LU against a model of what must hold: several shards, messages that overtake each other
//! wherever links allow it, tasks, aborts, task management, nexuses and shards that come and go.
//!
//! Each run has a seed, which a failing assertion prints; the same seed gives the same run.

#![allow(clippy::cast_possible_truncation)]

mod submitted;

use std::collections::{BTreeMap, BTreeSet};

use block::Lba;

use super::lab::{Lab, Way, name_of};
use super::*;
use crate::command::TaskAttribute;
use crate::snapshot::{LuCondition, Reserved};
use submitted::Submitted;

/// Where a task lives: shard and key.
type Place = (usize, TaskKey);

/// What a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Script {
    Read,
    /// This many I/Os, one after the other.
    Write(u8),
    CompareAndWrite,
    Reserve,
    Release,
    Protect(bool),
}

impl Script {
    /// What the next I/O is where this many are left.
    fn io_kind(self, left: u8) -> IoKind {
        match (self, left) {
            (Self::Read, _) | (Self::CompareAndWrite, 2) => IoKind::Read,
            _ => IoKind::Write,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Its checks have not begun.
    Entered,
    /// Checked on this version; this many I/Os are left.
    Ready {
        checked: u64,
        left: u8,
    },
    Flying {
        left: u8,
    },
    /// Waits for the home.
    Asking,
    /// Waits to be woken; then it is in the other state.
    HeldEntered,
    HeldReady {
        checked: u64,
        left: u8,
    },
}

#[derive(Clone, Debug)]
struct ModelTask {
    nexus: NexusId,
    attribute: TaskAttribute,
    script: Script,
    range: (Lba, u64),
    state: State,
    aborted: bool,
    /// Its checks have begun.
    begun: bool,
    /// It owns its range.
    granted: bool,
    entered: u64,
}

/// What somebody outside the task set waits for.
#[derive(Clone, Debug)]
enum Control {
    /// Tasks that must be gone, and nexuses that must have been told, when it is answered.
    Abort {
        reset: bool,
        tasks: BTreeSet<(usize, u64)>,
        nexuses: BTreeSet<(usize, NexusId)>,
    },
    Detach(NexusId),
}

/// What a run is full of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    /// Everything, so that tasks wait for each other much of the time.
    Mixed,
    /// Plain I/O under the operator's changes: no ORDERED tasks, ranges or task management.
    Operator,
}

struct World {
    seed: u64,
    weather: Weather,
    random: u64,
    lab: Lab,
    tasks: BTreeMap<Place, ModelTask>,
    controls: BTreeMap<Place, Control>,
    nexuses: BTreeMap<NexusId, usize>,
    /// Nexuses that were told to go.
    detaching: BTreeSet<NexusId>,
    /// Nexuses that were told of a reset.
    last_name: u64,
    /// Resets that are asked for and not answered: what they clear is not certain meanwhile.
    resets: usize,
    /// The nexus whose RESERVE was answered GOOD, while nothing that ends it is under way.
    reserved_for: Option<NexusId>,
    /// SWP was set, and that was answered, while nothing that ends it is under way.
    protected: bool,
    /// SWP is being changed.
    protecting: usize,
    /// What a task asked for was withdrawn, and may have been done, or may be done yet.
    murky: bool,
    /// What the caller submitted and was not answered, in that order.
    submitted: BTreeMap<u64, Submitted>,
    /// The operator made the LU read-only, that was answered, and nothing that ends it is under way.
    read_only: bool,
    /// The store is away, likewise.
    away: bool,
    /// How often things happened, so that a run that tests nothing is noticed.
    seen: Seen,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    granted: u32,
    reserved: u32,
    protected: u32,
    conflicts: u32,
    rechecks: u32,
    held: u32,
    ordered: u32,
    resets: u32,
    retired: u32,
    configured: u32,
    resized: u32,
    came_back: u32,
    refused_by_caller: u32,
}

impl World {
    fn new(seed: u64, weather: Weather, shards: usize) -> Self {
        Self {
            seed,
            weather,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            lab: Lab::new(shards),
            tasks: BTreeMap::new(),
            controls: BTreeMap::new(),
            nexuses: BTreeMap::new(),
            detaching: BTreeSet::new(),
            last_name: 0,
            resets: 0,
            reserved_for: None,
            protected: false,
            protecting: 0,
            murky: false,
            submitted: BTreeMap::new(),
            read_only: false,
            away: false,
            seen: Seen::default(),
        }
    }

    /// A number below `bound` (xorshift64*).
    fn below(&mut self, bound: usize) -> usize {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let high = self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        (high as usize) % bound
    }

    fn name(&mut self) -> u64 {
        self.last_name += 1;
        self.last_name
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        (!from.is_empty()).then(|| from[self.below(from.len())])
    }

    fn step(&mut self) {
        match self.below(1000) {
            0..500 => {
                let at = self.below(self.lab.shards.len());
                let way = [Way::ToHome, Way::ToShard][self.below(2)];
                self.lab.deliver(at, way);
                self.obey(at);
            }
            500..600 => self.start_task(),
            600..830 => {
                let all: Vec<Place> = self.tasks.keys().copied().collect();
                if let Some(place) = self.pick(&all) {
                    self.go_on(place);
                }
            }
            830..970 => self.land_one(),
            970..995 if self.weather == Weather::Operator && self.below(2) == 0 => self.submit(),
            970..980 => {
                let all: Vec<Place> = self.tasks.keys().copied().collect();
                if let Some(place) = self.pick(&all) {
                    self.abort(place);
                }
            }
            980..983 if self.weather == Weather::Mixed => self.task_management(),
            983..989 => self.attach(),
            989..992 => self.detach(),
            992..996 => self.submit(),
            _ => self.retire_or_create(),
        }
        self.check();
    }

    fn start_task(&mut self) {
        let alive: Vec<(NexusId, usize)> = self
            .nexuses
            .iter()
            .filter(|(nexus, _)| !self.detaching.contains(nexus))
            .map(|(nexus, at)| (*nexus, *at))
            .collect();
        let Some((nexus, at)) = self.pick(&alive) else {
            return;
        };
        if self.tasks.len() >= 40 {
            return;
        }
        let script = match self.below(40) {
            0..8 => Script::Read,
            8..24 => Script::Write(1 + self.below(3) as u8),
            24..34 => Script::CompareAndWrite,
            34 | 35 => Script::Reserve,
            36 | 37 => Script::Release,
            _ => Script::Protect(self.below(3) == 0),
        };
        let script = match (script, self.weather) {
            (Script::CompareAndWrite, Weather::Operator) => Script::Write(3),
            (script, _) => script,
        };
        let attribute = match self.below(16) {
            0 if self.weather == Weather::Mixed => TaskAttribute::Ordered,
            1 => TaskAttribute::HeadOfQueue,
            _ => TaskAttribute::Simple,
        };
        let range = (Lba(self.below(12) as u64), 1 + self.below(4) as u64);
        let key = TaskKey(self.name());
        self.lab.shard(at).enter(key, nexus, attribute).unwrap();
        let task = ModelTask {
            nexus,
            attribute,
            script,
            range,
            state: State::Entered,
            aborted: false,
            begun: false,
            granted: false,
            entered: key.0,
        };
        self.tasks.insert((at, key), task);
        self.go_on((at, key));
    }

    /// Takes the next step of a task, if it is its turn.
    fn go_on(&mut self, place: Place) {
        let Some(task) = self.tasks.get(&place).filter(|task| !task.aborted).cloned() else {
            return;
        };
        match task.state {
            State::Entered => {
                if self.lab.shard(place.0).admit_command(place.1) == Admit::Go {
                    self.check_begin(place, &task);
                    self.tasks.get_mut(&place).unwrap().begun = true;
                    self.begin(place, &task);
                } else {
                    self.seen.held += 1;
                    self.set(place, State::HeldEntered);
                }
            }
            State::Ready { checked, left } => self.fly(place, &task, checked, left),
            State::Flying { .. } | State::Asking | State::HeldEntered | State::HeldReady { .. } => {
            }
        }
        self.obey(place.0);
    }

    /// The checks of a command, on the present snapshot, and what follows from them.
    fn begin(&mut self, place: Place, task: &ModelTask) {
        let left = match task.script {
            Script::Write(ios) => ios,
            Script::Read => 1,
            Script::CompareAndWrite => 2,
            Script::Reserve | Script::Release | Script::Protect(_) => 0,
        };
        if !self.allowed(place, task) {
            self.leave(place);
            return;
        }
        let action = match task.script {
            Script::Read | Script::Write(_) => {
                let checked = self.lab.shard(place.0).version();
                self.set(place, State::Ready { checked, left });
                return;
            }
            Script::CompareAndWrite => {
                let (lba, blocks) = task.range;
                HomeAction::Range { lba, blocks }
            }
            Script::Reserve => HomeAction::Reserve,
            Script::Release => {
                if self.reserved_for == Some(task.nexus) {
                    self.reserved_for = None;
                }
                HomeAction::Release
            }
            Script::Protect(on) => {
                self.protecting += 1;
                self.protected = false;
                HomeAction::ModeSelect(ModeChange {
                    software_write_protect: Some(on),
                    ..ModeChange::default()
                })
            }
        };
        self.lab.shard(place.0).request(place.1, task.nexus, action);
        self.set(place, State::Asking);
    }

    /// Whether the checks of the device server would pass.
    fn allowed(&mut self, place: Place, task: &ModelTask) -> bool {
        let snapshot = self.lab.shard(place.0).snapshot();
        let reserved = matches!(snapshot.reserved, Reserved::For(holder) if holder != task.nexus);
        let writes = matches!(task.script, Script::Write(_) | Script::CompareAndWrite);
        let touches = writes || task.script == Script::Read;
        let by_caller = (snapshot.caps.read_only && writes)
            || (snapshot.condition != LuCondition::Ready && touches);
        let protected = snapshot.mode.software_write_protect && writes;
        let passes = task.script == Script::Release || !(reserved || protected || by_caller);
        self.seen.conflicts += u32::from(!passes && !by_caller);
        self.seen.refused_by_caller += u32::from(by_caller);
        passes
    }

    fn fly(&mut self, place: Place, task: &ModelTask, checked: u64, left: u8) {
        let kind = task.script.io_kind(left);
        let admit = self
            .lab
            .shard(place.0)
            .admit_io(place.1, Some(task.range), kind, checked);
        match admit {
            Admit::Go => {
                self.check_io(place, task, kind);
                self.set(place, State::Flying { left: left - 1 });
            }
            Admit::Held => {
                self.seen.held += 1;
                self.set(place, State::HeldReady { checked, left });
            }
            Admit::Recheck => {
                self.seen.rechecks += 1;
                if self.allowed(place, task) {
                    let checked = self.lab.shard(place.0).version();
                    self.set(place, State::Ready { checked, left });
                } else {
                    self.leave(place);
                }
            }
        }
    }

    /// The completion of an I/O.
    fn land_one(&mut self) {
        let flying: Vec<Place> = self
            .tasks
            .iter()
            .filter(|(_, task)| matches!(task.state, State::Flying { .. }))
            .map(|(place, _)| *place)
            .collect();
        if let Some(place) = self.pick(&flying) {
            self.land(place);
        }
    }

    fn land(&mut self, place: Place) {
        let State::Flying { left } = self.tasks[&place].state else {
            return;
        };
        self.lab.shard(place.0).io_done(place.1);
        let checked = self.lab.shard(place.0).version();
        // Not the version at this moment, but any that was current since: an old one has to be found out.
        let checked = checked - (self.below(2) as u64).min(checked - 1);
        self.set(place, State::Ready { checked, left });
        if left == 0 || self.tasks[&place].aborted {
            self.leave(place);
        }
        self.obey(place.0);
    }

    fn abort(&mut self, place: Place) {
        let Some(task) = self.tasks.get_mut(&place) else {
            return;
        };
        task.aborted = true;
        if !matches!(task.state, State::Flying { .. }) {
            self.leave(place);
        }
        self.obey(place.0);
    }

    fn leave(&mut self, place: Place) {
        let task = self.tasks.remove(&place).unwrap();
        if task.state == State::Asking {
            self.protecting -= usize::from(matches!(task.script, Script::Protect(_)));
            self.murky |= task.aborted;
        }
        self.lab.shard(place.0).leave(place.1);
        self.lab.collect(place.0);
    }

    fn set(&mut self, place: Place, state: State) {
        if let Some(task) = self.tasks.get_mut(&place) {
            task.state = state;
        }
    }

    fn task_management(&mut self) {
        let all: Vec<(NexusId, usize)> = self.nexuses.iter().map(|(id, at)| (*id, *at)).collect();
        let Some((nexus, at)) = self.pick(&all) else {
            return;
        };
        let reset = self.below(2) == 0;
        let key = TaskKey(self.name());
        let joined = |at: usize| {
            self.lab.shards[at]
                .shard
                .as_ref()
                .is_some_and(LuShard::is_joined)
        };
        let control = Control::Abort {
            reset,
            tasks: self
                .tasks
                .keys()
                .filter(|place| joined(place.0))
                .map(|(at, key)| (*at, key.0))
                .collect(),
            nexuses: self
                .nexuses
                .iter()
                .filter(|(_, at)| joined(**at))
                .map(|(id, at)| (*at, *id))
                .collect(),
        };
        self.controls.insert((at, key), control);
        let action = match reset {
            true => HomeAction::LogicalUnitReset,
            false => HomeAction::ClearTaskSet,
        };
        if reset {
            self.resets += 1;
            self.reserved_for = None;
            self.protected = false;
        }
        self.lab.shard(at).request(key, nexus, action);
        self.obey(at);
    }

    fn attach(&mut self) {
        if self.nexuses.len() >= 8 {
            return;
        }
        let at = self.below(self.lab.shards.len());
        let nexus = NexusId(self.name());
        if let Some(shard) = &mut self.lab.shards[at].shard {
            shard.attach_nexus(nexus, &name_of(nexus), &[]);
            self.nexuses.insert(nexus, at);
        }
    }

    fn detach(&mut self) {
        let all: Vec<(NexusId, usize)> = self.nexuses.iter().map(|(id, at)| (*id, *at)).collect();
        let Some((nexus, at)) = self.pick(&all) else {
            return;
        };
        if !self.detaching.insert(nexus) {
            return;
        }
        if self.reserved_for == Some(nexus) {
            self.reserved_for = None;
        }
        let key = TaskKey(self.name());
        self.controls.insert((at, key), Control::Detach(nexus));
        self.lab.shard(at).detach_nexus(nexus, key);
        self.obey(at);
    }

    /// A shard that nobody uses goes; a place that is empty gets a new one.
    fn retire_or_create(&mut self) {
        let at = self.below(self.lab.shards.len());
        match &mut self.lab.shards[at].shard {
            None => self.lab.create(at),
            Some(shard) => {
                if shard.retire() {
                    self.lab.collect(at);
                    self.lab.shards[at].shard = None;
                    self.seen.retired += 1;
                }
            }
        }
    }

    /// Carries out what the shard wants done.
    fn obey(&mut self, at: usize) {
        self.lab.collect(at);
        let actions = std::mem::take(&mut self.lab.shards[at].actions);
        for action in actions {
            match action {
                ShardAction::ToHome(_) => unreachable!("sorted by the lab"),
                ShardAction::Abort(key, _) => {
                    let task = self
                        .tasks
                        .get(&(at, key))
                        .expect("an abort of a task in the set");
                    assert!(
                        !task.aborted || task.state != State::Entered,
                        "seed {}",
                        self.seed
                    );
                    self.abort((at, key));
                }
                ShardAction::Wake(key) => self.wake((at, key)),
                ShardAction::Granted(key) => self.granted((at, key)),
                ShardAction::Attention(..) => unreachable!("no nexus has them reported"),
                ShardAction::Completed { key, result } => self.completed((at, key), result),
            }
        }
        if self.lab.shards[at]
            .shard
            .as_ref()
            .is_some_and(LuShard::has_actions)
        {
            self.obey(at);
        }
    }

    fn wake(&mut self, place: Place) {
        let Some(task) = self.tasks.get(&place) else {
            return;
        };
        match task.state {
            State::HeldEntered => self.set(place, State::Entered),
            State::HeldReady { checked, left } => self.set(place, State::Ready { checked, left }),
            state => assert!(task.aborted, "seed {}: woken in {state:?}", self.seed),
        }
    }

    fn granted(&mut self, place: Place) {
        let Some(task) = self.tasks.get_mut(&place) else {
            return;
        };
        self.seen.granted += 1;
        assert_eq!(task.state, State::Asking, "seed {}", self.seed);
        task.granted = true;
        let task = task.clone();
        for (other, flying) in &self.tasks {
            let flies = matches!(flying.state, State::Flying { .. });
            assert!(
                *other == place || !flies || !overlap(flying.range, task.range),
                "seed {}: {other:?} flies in the range of {place:?}",
                self.seed
            );
            assert!(
                *other == place || !flying.granted || !overlap(flying.range, task.range),
                "seed {}: {other:?} and {place:?} own one range",
                self.seed
            );
        }
        // Checked before the grant, on whatever version that was: the oldest is always right to give.
        self.set(
            place,
            State::Ready {
                checked: 1,
                left: 2,
            },
        );
    }

    fn completed(&mut self, place: Place, result: ActionResult) {
        if let Some(control) = self.controls.remove(&place) {
            self.control_completed(&control);
            return;
        }
        let Some(task) = self.tasks.get(&place).cloned() else {
            return;
        };
        assert_eq!(task.state, State::Asking, "seed {}", self.seed);
        let done = result == ActionResult::Done;
        let certain = self.resets == 0 && !self.murky && !self.detaching.contains(&task.nexus);
        match task.script {
            Script::Reserve if done && certain && !self.releases(task.nexus) => {
                self.reserved_for = Some(task.nexus);
                self.seen.reserved += 1;
            }
            Script::Protect(on) if done && certain && self.protecting == 1 => {
                self.protected = on;
                self.seen.protected += u32::from(on);
            }
            _ => {}
        }
        self.leave(place);
    }

    /// Whether a RELEASE of the nexus is under way, so that a RESERVE just answered may be undone already.
    fn releases(&self, nexus: NexusId) -> bool {
        self.tasks.values().any(|task| {
            task.nexus == nexus && task.script == Script::Release && task.state == State::Asking
        })
    }

    fn control_completed(&mut self, control: &Control) {
        let (reset, tasks, nexuses) = match control {
            Control::Abort {
                reset,
                tasks,
                nexuses,
            } => (reset, tasks, nexuses),
            Control::Detach(nexus) => {
                self.nexuses.remove(nexus);
                self.detaching.remove(nexus);
                return;
            }
        };
        for (at, key) in tasks {
            let place = (*at, TaskKey(*key));
            assert!(
                !self.tasks.contains_key(&place),
                "seed {}: {place:?} outlived",
                self.seed
            );
        }
        if !reset {
            return;
        }
        self.resets -= 1;
        self.seen.resets += 1;
        for (at, nexus) in nexuses {
            let Some(shard) = &self.lab.shards[*at].shard else {
                continue;
            };
            if let Some(nexus) = shard.nexus(*nexus) {
                let told = nexus
                    .attentions()
                    .as_slice()
                    .contains(&UnitAttention::BusDeviceReset);
                assert!(told, "seed {}: {nexus:?} was not told", self.seed);
            }
        }
    }

    /// A task's checks begin: the order of tasks must allow it.
    fn check_begin(&mut self, place: Place, task: &ModelTask) {
        let seed = self.seed;
        self.seen.ordered += u32::from(task.attribute == TaskAttribute::Ordered);
        if task.attribute == TaskAttribute::HeadOfQueue {
            return;
        }
        for (other, running) in &self.tasks {
            let ordered = running.attribute == TaskAttribute::Ordered;
            assert!(
                !(ordered && running.begun && !running.aborted),
                "seed {seed}: {place:?} begins while ORDERED {other:?} runs"
            );
            assert!(
                !(ordered
                    && other.0 == place.0
                    && running.entered < task.entered
                    && !running.aborted),
                "seed {seed}: {place:?} overtakes ORDERED {other:?}"
            );
            if task.attribute == TaskAttribute::Ordered {
                let ahead = running.attribute == TaskAttribute::HeadOfQueue;
                assert!(
                    ahead || !running.begun,
                    "seed {seed}: ORDERED {place:?} begins beside {other:?}"
                );
            }
        }
    }

    /// An I/O is admitted: no fence that was answered may forbid it.
    fn check_io(&mut self, place: Place, task: &ModelTask, kind: IoKind) {
        let seed = self.seed;
        for (other, owner) in &self.tasks {
            assert!(
                !owner.granted || *other == place || !overlap(owner.range, task.range),
                "seed {seed}: {place:?} in the range of {other:?}"
            );
        }
        if let Some(holder) = self.reserved_for {
            assert_eq!(
                task.nexus, holder,
                "seed {seed}: {place:?} passed the reservation"
            );
        }
        assert!(
            kind != IoKind::Write || !self.protected,
            "seed {seed}: {place:?} passed the write protection"
        );
        assert!(
            kind != IoKind::Write || !self.read_only,
            "seed {seed}: {place:?} writes what is read-only"
        );
        assert!(
            !self.away,
            "seed {seed}: {place:?} uses a store that is away"
        );
    }

    fn check(&mut self) {
        self.take_completed();
        let links = &self.lab.shards;
        if self.lab.home.is_quiet()
            && links
                .iter()
                .all(|one| one.to_home.is_empty() && one.to_shard.is_empty())
        {
            self.murky = false;
        }
        let outstanding = 2 * self.tasks.len() + self.controls.len();
        let submitted = 64;
        // Withdrawn requests may still be in the queue while their withdrawal is on a link.
        let on_links: usize = self.lab.shards.iter().map(|one| one.to_home.len()).sum();
        let waiting = self.lab.home.waiting();
        assert!(
            waiting <= outstanding + on_links + submitted,
            "seed {}: {waiting}",
            self.seed
        );
    }

    /// Lets everything end that has begun, and checks that it does.
    fn drain(&mut self) {
        let mut rounds = 0;
        loop {
            rounds += 1;
            assert!(rounds < 2000, "seed {}: does not come to rest", self.seed);
            let mut moved = false;
            for at in 0..self.lab.shards.len() {
                moved |= self.lab.deliver(at, Way::ToHome);
                moved |= self.lab.deliver(at, Way::ToShard);
                self.obey(at);
            }
            self.take_completed();
            let places: Vec<Place> = self.tasks.keys().copied().collect();
            for place in places {
                let before = self.tasks.get(&place).map(|task| task.state);
                if matches!(before, Some(State::Flying { .. })) {
                    self.land(place);
                } else {
                    self.go_on(place);
                }
                moved |= before != self.tasks.get(&place).map(|task| task.state);
            }
            if !moved {
                break;
            }
        }
        let seed = self.seed;
        assert!(self.tasks.is_empty(), "seed {seed}: stuck {:?}", self.tasks);
        assert!(
            self.controls.is_empty(),
            "seed {seed}: stuck {:?}",
            self.controls
        );
        let submitted = &self.submitted;
        assert!(submitted.is_empty(), "seed {seed}: stuck {submitted:?}");
        assert!(self.lab.home.is_quiet(), "seed {seed}: {:?}", self.lab.home);
        let home = self.lab.home.snapshot().clone();
        for member in &self.lab.shards {
            if let Some(shard) = &member.shard {
                assert!(!shard.is_fenced(), "seed {seed}: {shard:?}");
                assert_eq!(**shard.snapshot(), *home, "seed {seed}");
            }
        }
    }
}

fn overlap(one: (Lba, u64), other: (Lba, u64)) -> bool {
    one.0.0 < other.0.0 + other.1 && other.0.0 < one.0.0 + one.1
}

fn run(seed: u64, weather: Weather, shards: usize, steps: usize) -> Seen {
    let mut world = World::new(seed, weather, shards);
    for _ in 0..steps {
        world.step();
    }
    world.drain();
    world.seen
}

#[test]
fn random_schedules_keep_every_promise_and_come_to_rest() {
    let mut total = Seen::default();
    for seed in 0..600 {
        let seen = run(seed, Weather::Mixed, 1 + (seed as usize) % 4, 3000);
        total.granted += seen.granted;
        total.reserved += seen.reserved;
        total.protected += seen.protected;
        total.conflicts += seen.conflicts;
        total.rechecks += seen.rechecks;
        total.held += seen.held;
        total.ordered += seen.ordered;
        total.resets += seen.resets;
        total.retired += seen.retired;
        total.configured += seen.configured;
        total.resized += seen.resized;
        total.came_back += seen.came_back;
        total.refused_by_caller += seen.refused_by_caller;
    }
    let least = [
        total.granted,
        total.reserved,
        total.protected,
        total.conflicts,
        total.rechecks,
        total.held,
        total.ordered,
        total.resets,
        total.retired,
        total.configured,
        total.resized,
        total.came_back,
        total.refused_by_caller,
    ]
    .into_iter()
    .min();
    assert!(least > Some(100), "schedules that test little: {total:?}");
}

#[test]
fn random_changes_by_the_operator_under_plain_io_keep_every_promise() {
    let mut total = Seen::default();
    for seed in 0..200 {
        let seen = run(seed, Weather::Operator, 1 + (seed as usize) % 4, 3000);
        total.configured += seen.configured;
        total.resized += seen.resized;
        total.came_back += seen.came_back;
        total.refused_by_caller += seen.refused_by_caller;
        total.rechecks += seen.rechecks;
    }
    let least = [
        total.configured,
        total.resized,
        total.came_back,
        total.refused_by_caller,
        total.rechecks,
    ]
    .into_iter()
    .min();
    assert!(least > Some(100), "schedules that test little: {total:?}");
}
