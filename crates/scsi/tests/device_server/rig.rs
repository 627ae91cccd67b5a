//! A logical unit in memory with its home and one shard, and an initiator that plays the rest of the target.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use block::{BlockCount, Geometry, IoError, Lba, MapRun, StoreCaps};
use scsi::lu::{
    ActionResult, AdmitEnd, HomeAction, LuHome, LuShard, NexusId, Save, ShardAction, ShardId,
    TaskKey, ToShard,
};
use scsi::{
    Cdb, Command, Done, Io, LuIdentity, LuSnapshot, Lun, LunList, LunView, MAP_BYTES, NexusName,
    OwnIo, Part, PartAsk, PartStep, Place, Reached, ReadInto, Refusal, Resumed, Sense, SenseFormat,
    Status, Step, TargetPort, Task, TaskAttribute, TokenKey, TransportId, WINDOW_BYTES, WallClock,
    WriteFrom, ZERO_PIECE_BYTES, begin, fill_pattern, insert_tuples, resume, strip_tuples,
};

pub(crate) const ONE: NexusId = NexusId(1);
pub(crate) const TWO: NexusId = NexusId(2);
pub(crate) const BLOCK: usize = 512;

/// A store, an LU, and two nexuses.
pub(crate) struct Rig {
    pub(crate) home: LuHome,
    pub(crate) shard: LuShard,
    pub(crate) store: Vec<u8>,
    /// Protection information, as a store keeps it.
    pub(crate) tuples: Vec<u8>,
    /// What the LUN of the nexuses adds.
    pub(crate) view_protected: bool,
    pub(crate) luns: RigLuns,
    /// Logical units that the nexuses reach by other LUNs.
    pub(crate) others: Vec<(u16, Box<Self>)>,
    pub(crate) attribute: TaskAttribute,
    /// Each step takes a microsecond.
    now: Duration,
    /// The I/O with this number, from 0, fails.
    pub(crate) fail: Option<(usize, IoError)>,
    ios: usize,
    next_key: u64,
    events: VecDeque<(TaskKey, Event)>,
    /// What was made durable, in order.
    pub(crate) saves: Vec<Option<Vec<u8>>>,
    /// Nothing can be made durable.
    pub(crate) fail_saves: bool,
    /// What is to be made durable waits for [`Rig::save_held`].
    pub(crate) hold_saves: bool,
    held_saves: Vec<Save>,
}

/// What tokens are sealed with.
static KEY: LazyLock<TokenKey> = LazyLock::new(|| TokenKey::new([5; 32]));

/// The LUNs of the nexuses, and the units that some of them show.
#[derive(Clone, Debug, Default)]
pub(crate) struct RigLuns {
    pub(crate) numbers: Vec<u16>,
    pub(crate) named: Vec<(Vec<u8>, Reached)>,
}

impl LunList for RigLuns {
    fn count(&self) -> usize {
        self.numbers.len()
    }

    fn lun_at(&self, index: usize) -> Option<Lun> {
        self.numbers.lun_at(index)
    }

    fn find(&self, naa: &[u8]) -> Option<Reached> {
        let found = self.named.iter().find(|(name, _)| name == naa);
        found.map(|(_, reached)| *reached)
    }
}

/// A clock that stands.
pub(crate) struct Standing(pub(crate) u64);

pub(crate) const NOON: Standing = Standing(1_700_000_000_000);

impl WallClock for Standing {
    fn unix_ms(&self) -> u64 {
        self.0
    }
}

/// What the shard lets a task do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Granted,
    Refused(Refusal),
    Wake,
    Abort,
}

/// What an initiator has for, or wants from, a command.
#[derive(Clone, Copy)]
pub(crate) enum Data<'a> {
    None,
    Out(&'a [u8]),
    In(u32),
}

/// How a command went.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) steps: Vec<String>,
    pub(crate) done: Done,
    pub(crate) data_in: Vec<u8>,
}

/// A command that is not at its end.
pub(crate) struct Live {
    pub(crate) task: Task,
    data_out: Vec<u8>,
    window: (usize, usize),
    data_in: Vec<u8>,
    out: Vec<u8>,
    pub(crate) steps: Vec<String>,
    expected_in: u32,
    scratch: Vec<u8>,
}

/// A thin, writable store with a write cache.
pub(crate) fn caps(block_size_bytes: u32, blocks: u64) -> StoreCaps {
    StoreCaps {
        unmap: true,
        unmap_zeroes: true,
        write_zeroes: true,
        write_cache: true,
        ..StoreCaps::plain(Geometry::new(block_size_bytes, blocks).unwrap())
    }
}

pub(crate) fn snapshot(caps: StoreCaps) -> LuSnapshot {
    let identity = LuIdentity {
        vendor: *b"QUINTAIN",
        product: *b"FILE            ",
        revision: *b"0.1 ",
        serial: "1f7c1946f2074ae5".into(),
        naa: [
            0x60, 0x01, 0x40, 0x51, 0xf7, 0xc1, 0x94, 0x6f, 0x20, 0x74, 0xae, 0x59, 0x79, 1, 2, 3,
        ],
    };
    let port = |relative_id, group_id, name: &str| TargetPort {
        relative_id,
        group_id,
        name: format!("iqn.2024-01.example:a,t,0x000{name}").into(),
        device_name: "iqn.2024-01.example:a".into(),
    };
    LuSnapshot::new(
        caps,
        Arc::new(identity),
        Arc::new([port(1, 7, "1"), port(2, 7, "2")]),
    )
}

impl Rig {
    /// 64 blocks of 512 bytes, block n filled with the byte n.
    pub(crate) fn new() -> Self {
        let mut rig = Self::with(caps(512, 64));
        for (number, block) in rig.store.chunks_mut(BLOCK).enumerate() {
            block.fill(number as u8);
        }
        rig
    }

    pub(crate) fn with(caps: StoreCaps) -> Self {
        Self::with_snapshot(snapshot(caps))
    }

    pub(crate) fn with_snapshot(snapshot: LuSnapshot) -> Self {
        let bytes = snapshot.geometry().size_bytes() as usize;
        let mut rig = Self {
            shard: LuShard::new(ShardId(0), 1, &snapshot),
            home: LuHome::new(Arc::new(snapshot)),
            store: vec![0; bytes.min(64 << 20)],
            tuples: vec![0; (bytes / 64).min(8 << 20)],
            view_protected: false,
            luns: RigLuns {
                numbers: vec![0, 5, 300],
                named: Vec::new(),
            },
            others: Vec::new(),
            attribute: TaskAttribute::Simple,
            now: Duration::ZERO,
            fail: None,
            ios: 0,
            next_key: 0,
            events: VecDeque::new(),
            saves: Vec::new(),
            fail_saves: false,
            hold_saves: false,
            held_saves: Vec::new(),
        };
        rig.settle();
        rig.shard.attach_nexus(ONE, &name_of(ONE), &[]);
        rig.shard.attach_nexus(TWO, &name_of(TWO), &[]);
        rig
    }

    /// The next I/O fails.
    pub(crate) fn fail_next(&mut self, error: IoError) {
        self.fail = Some((self.ios, error));
    }

    /// An I/O fails when so many have been done from now on.
    pub(crate) fn fail_after(&mut self, ios: usize, error: IoError) {
        self.fail = Some((self.ios + ios, error));
    }

    /// Time passes.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// Carries messages between shard and home until both are quiet.
    pub(crate) fn settle(&mut self) {
        let mut actions = Vec::new();
        self.shard.take_actions(&mut actions);
        self.carry_out(actions.into());
    }

    /// Has the operator, or another worker, do something to the LU.
    pub(crate) fn act(&mut self, action: HomeAction) {
        let mut out = Vec::new();
        self.home.submit(0, action, &mut out);
        let actions = self.deliver(out);
        self.carry_out(actions.into());
    }

    fn carry_out(&mut self, mut actions: VecDeque<ShardAction>) {
        while let Some(action) = actions.pop_front() {
            let event = match action {
                ShardAction::ToHome(message) => {
                    let mut out = Vec::new();
                    self.home.handle(ShardId(0), message, &mut out);
                    self.save(&mut out);
                    actions.extend(self.deliver(out));
                    continue;
                }
                // No nexus of the rig has its unit attentions reported.
                ShardAction::Attention(..) => continue,
                ShardAction::Abort(key, _) => (key, Event::Abort),
                ShardAction::Wake(key) => (key, Event::Wake),
                ShardAction::Granted(key) => (key, Event::Granted),
                ShardAction::Completed { key, result } => match result {
                    ActionResult::Done => (key, Event::Granted),
                    ActionResult::Refused(refusal) => (key, Event::Refused(refusal)),
                },
            };
            self.events.push_back(event);
        }
    }

    /// Makes durable what the home wants durable.
    fn save(&mut self, out: &mut Vec<(ShardId, ToShard)>) {
        self.held_saves.extend(self.home.take_saves());
        if self.hold_saves {
            return;
        }
        for save in std::mem::take(&mut self.held_saves) {
            if !self.fail_saves {
                self.saves.push(save.content);
            }
            self.home.saved(save.id, !self.fail_saves, out);
        }
    }

    /// The time of transitions is over. How long they were to take.
    pub(crate) fn end_transitions(&mut self) -> Vec<Duration> {
        let mut out = Vec::new();
        let begun: Vec<_> = self.home.take_transitions().collect();
        for transition in &begun {
            self.home.transitioned(transition.id, &mut out);
        }
        let actions = self.deliver(out);
        self.carry_out(actions.into());
        begun.into_iter().map(|one| one.lasts).collect()
    }

    /// Makes durable what was held.
    pub(crate) fn save_held(&mut self) {
        let mut out = Vec::new();
        self.save(&mut out);
        let actions = self.deliver(out);
        self.carry_out(actions.into());
    }

    /// Begins the next I/O of what the LU does by itself, if there is one.
    pub(crate) fn begin_own(&mut self) -> Option<OwnIo> {
        let mut out = Vec::new();
        let own = self.home.own_io(&mut out);
        self.save(&mut out);
        let actions = self.deliver(out);
        self.carry_out(actions.into());
        own
    }

    /// The I/O of what the LU does by itself has ended so, having done what it says.
    pub(crate) fn end_own(&mut self, own: &OwnIo, result: Result<(), IoError>) {
        if result.is_ok() {
            match own.io {
                Io::Write { lba, blocks, .. } => {
                    let range = self.range(lba, blocks, WINDOW_BYTES);
                    let pattern = own.pattern.as_deref().unwrap();
                    fill_pattern(pattern, &mut self.store[range]);
                }
                Io::Unmap { lba, blocks } | Io::WriteZeroes { lba, blocks, .. } => {
                    let range = self.range(lba, blocks, ZERO_PIECE_BYTES);
                    self.store[range].fill(0);
                }
                _ => {}
            }
        }
        let mut out = Vec::new();
        self.home.own_io_done(result, &mut out);
        self.save(&mut out);
        let actions = self.deliver(out);
        self.carry_out(actions.into());
    }

    /// Does what the LU does by itself, to its end; which I/O that took.
    pub(crate) fn work_own(&mut self) -> Vec<String> {
        let mut steps = Vec::new();
        while let Some(own) = self.begin_own() {
            steps.push(describe_io(&own.io));
            self.end_own(&own, Ok(()));
        }
        steps
    }

    fn deliver(&mut self, messages: Vec<(ShardId, ToShard)>) -> Vec<ShardAction> {
        let mut actions = Vec::new();
        for (_, message) in messages {
            self.shard.handle(message, &mut actions);
        }
        actions
    }

    /// What the shard has for the task, if anything.
    pub(crate) fn event(&mut self, key: TaskKey) -> Option<Event> {
        self.settle();
        let at = self
            .events
            .iter()
            .position(|(for_key, _)| *for_key == key)?;
        self.events.remove(at).map(|(_, event)| event)
    }

    /// Begins a command and stops after its first step.
    pub(crate) fn start(&mut self, nexus: NexusId, cdb: &[u8], data: Data<'_>) -> (Live, Step) {
        self.next_key += 1;
        let key = TaskKey(self.next_key);
        let (data_out, expected_in) = match data {
            Data::None => (Vec::new(), 0),
            Data::Out(bytes) => (bytes.to_vec(), 0),
            Data::In(bytes) => (Vec::new(), bytes),
        };
        let command = Command {
            cdb: Cdb::new(cdb),
            attribute: self.attribute,
            data_out_bytes: data_out.len() as u32,
            data_in_bytes: expected_in,
        };
        self.shard.enter(key, nexus, self.attribute).unwrap();
        self.settle();
        let mut out = Vec::new();
        let luns = self.luns.clone();
        let view = view(self.view_protected, self.now, &luns);
        let (task, step) = begin(&mut self.shard, &view, nexus, key, &command, &mut out);
        let mut live = Live {
            task,
            data_out,
            window: (0, 0),
            data_in: Vec::new(),
            out,
            steps: Vec::new(),
            expected_in,
            scratch: Vec::new(),
        };
        live.note(&step);
        (live, step)
    }

    /// Resumes a command with one event.
    pub(crate) fn resume(&mut self, live: &mut Live, event: Resumed<'_>) -> Step {
        let luns = self.luns.clone();
        self.now += Duration::from_micros(1);
        let view = view(self.view_protected, self.now, &luns);
        let step = resume(&mut live.task, &mut self.shard, &view, event, &mut live.out);
        live.note(&step);
        step
    }

    /// Does what the step asks for, and resumes. `None`: the task waits for something that has not come.
    pub(crate) fn take_on(&mut self, live: &mut Live, step: Step) -> Option<Step> {
        match step {
            Step::DataOut { offset, bytes } => {
                assert!(bytes > 0 && bytes <= WINDOW_BYTES, "{bytes}");
                let start = (offset as usize).min(live.data_out.len());
                let end = (start + bytes as usize).min(live.data_out.len());
                live.window = (start, end);
                let window = live.data_out[start..end].to_vec();
                Some(self.resume(live, Resumed::DataOut(&window)))
            }
            Step::Io(io) => {
                let window = live.data_out[live.window.0..live.window.1].to_vec();
                let mut scratch = Vec::new();
                let result = self.perform(live, io, &mut scratch);
                live.scratch.clone_from(&scratch);
                let window = match io {
                    Io::Strip { .. } => live.data_out[live.window.0..live.window.1].to_vec(),
                    _ => window,
                };
                let event = Resumed::Io {
                    result,
                    data_out: &window,
                    scratch: &scratch,
                };
                Some(self.resume(live, event))
            }
            Step::Part(ask) => {
                let result = self.part(live, ask)?;
                Some(self.resume(live, Resumed::Part(result)))
            }
            Step::Home(action) => {
                let nexus = live.task.nexus();
                self.shard.request(live.task.key(), nexus, action);
                self.wait(live)
            }
            Step::Held => self.wait(live),
            Step::Done(_) => panic!("done already"),
        }
    }

    /// Adds a logical unit that the nexuses reach by this LUN, with an NAA designator that ends in the LUN.
    pub(crate) fn add_other(&mut self, lun: u16, mut snapshot: LuSnapshot) {
        let mut identity = (*snapshot.identity).clone();
        identity.naa[15] = lun as u8;
        snapshot.identity = Arc::new(identity.clone());
        let reached = Reached {
            lun: Lun::new(lun).unwrap(),
            block_size_bytes: snapshot.geometry().block_size_bytes,
        };
        self.luns.named.push((identity.naa.to_vec(), reached));
        let mut other = Self::with_snapshot(snapshot);
        other.next_key = 1 << 32;
        self.others.push((lun, Box::new(other)));
    }

    /// The logical unit behind another LUN.
    pub(crate) fn other(&mut self, lun: u16) -> &mut Self {
        let found = self.others.iter_mut().find(|(number, _)| *number == lun);
        &mut found.unwrap().1
    }

    /// Does a part of a third-party copy. `None`: it waits for something that has not come.
    pub(crate) fn part(&mut self, live: &mut Live, ask: PartAsk) -> Option<Result<(), Refusal>> {
        let nexus = live.task.nexus();
        match ask.place {
            Place::Here => self.part_here(live, Part::new(ask, nexus, live.task.key())),
            Place::There(lun) => {
                let at = self
                    .others
                    .iter()
                    .position(|(number, _)| *number == lun.number());
                let Some(at) = at else {
                    return Some(Err(Sense::COPY_TARGET_NOT_REACHABLE.into()));
                };
                let (number, mut other) = self.others.remove(at);
                other.next_key += 1;
                let key = TaskKey(other.next_key);
                other
                    .shard
                    .enter(key, nexus, TaskAttribute::Simple)
                    .unwrap();
                let result = other.part_here(live, Part::new(ask, nexus, key));
                other.shard.leave(key);
                other.settle();
                self.others.insert(at, (number, other));
                result
            }
        }
    }

    fn part_here(&mut self, live: &mut Live, mut part: Part) -> Option<Result<(), Refusal>> {
        let luns = self.luns.clone();
        let view = view(self.view_protected, self.now, &luns);
        match part.drive(&mut self.shard, &view) {
            PartStep::Held => None,
            PartStep::Refused(refusal) => Some(Err(refusal)),
            PartStep::Io(io) => {
                let mut scratch = Vec::new();
                let result = self.perform(live, io, &mut scratch);
                if matches!(io, Io::Read { .. }) {
                    live.scratch = scratch;
                }
                let ended = part.handle_io(&mut self.shard, result);
                self.settle();
                Some(ended)
            }
        }
    }

    /// Resumes with what the shard has for the task.
    pub(crate) fn wait(&mut self, live: &mut Live) -> Option<Step> {
        let event = match self.event(live.task.key())? {
            Event::Granted => Resumed::Granted,
            Event::Refused(refusal) => Resumed::Refused(refusal),
            Event::Wake => Resumed::Lifted,
            Event::Abort => Resumed::Aborted,
        };
        Some(self.resume(live, event))
    }

    /// Takes a command to its end.
    pub(crate) fn finish(&mut self, mut live: Live, mut step: Step) -> Run {
        for _ in 0..10_000 {
            if let Step::Done(done) = step {
                let may_end = self.may_end(&live, &done);
                assert!(may_end, "the end of the task waits for ever");
                return self.end(live, done);
            }
            step = self
                .take_on(&mut live, step)
                .expect("the task waits for ever");
        }
        panic!("no end after 10,000 steps");
    }

    /// Whether the command may end now, and what goes with its status has been done.
    pub(crate) fn may_end(&mut self, live: &Live, done: &Done) -> bool {
        let key = live.task.key();
        loop {
            let cdb = &live.task.command().cdb;
            match self.shard.admit_end(key, done.status, cdb) {
                AdmitEnd::Go => return true,
                AdmitEnd::Held => {}
                AdmitEnd::Ask(action) => self.shard.request(key, live.task.nexus(), action),
            }
            match self.event(key) {
                Some(Event::Granted) => return true,
                Some(Event::Refused(_) | Event::Wake) => {}
                Some(Event::Abort) | None => return false,
            }
        }
    }

    /// The command has ended.
    pub(crate) fn end(&mut self, live: Live, done: Done) -> Run {
        self.shard.leave(live.task.key());
        self.settle();
        let mut data_in = if live.out.is_empty() {
            live.data_in
        } else {
            live.out
        };
        assert!(done.data_in_bytes <= live.expected_in, "{done:?}");
        assert!(data_in.len() >= done.data_in_bytes as usize, "{done:?}");
        data_in.truncate(done.data_in_bytes as usize);
        assert_eq!(done.sense.is_some(), done.status == Status::CheckCondition);
        Run {
            steps: live.steps,
            done,
            data_in,
        }
    }

    /// Runs a command of nexus one from beginning to end.
    pub(crate) fn run(&mut self, cdb: &[u8], data: Data<'_>) -> Run {
        self.run_as(ONE, cdb, data)
    }

    pub(crate) fn run_as(&mut self, nexus: NexusId, cdb: &[u8], data: Data<'_>) -> Run {
        let (live, step) = self.start(nexus, cdb, data);
        self.finish(live, step)
    }

    fn perform(&mut self, live: &mut Live, io: Io, scratch: &mut Vec<u8>) -> Result<(), IoError> {
        let number = self.ios;
        self.ios += 1;
        if let Some((_, error)) = self.fail.filter(|(nth, _)| *nth == number) {
            return Err(error);
        }
        match io {
            Io::Read { lba, blocks, into } => {
                let range = self.range(lba, blocks, WINDOW_BYTES);
                match into {
                    ReadInto::Scratch => scratch.extend_from_slice(&self.store[range]),
                    ReadInto::DataIn { offset } => {
                        assert_eq!(offset as usize, live.data_in.len());
                        live.data_in.extend_from_slice(&self.store[range]);
                    }
                }
            }
            Io::Write {
                lba, blocks, from, ..
            } => {
                let range = self.range(lba, blocks, WINDOW_BYTES);
                match from {
                    WriteFrom::DataOut { offset } => {
                        let start = offset as usize;
                        let end = start + range.len();
                        assert!(start >= live.window.0 && end <= live.window.1);
                        self.store[range].copy_from_slice(&live.data_out[start..end]);
                    }
                    WriteFrom::Scratch => self.store[range].copy_from_slice(&live.scratch),
                    WriteFrom::OrScratch { offset } => {
                        let start = offset as usize;
                        assert!(start >= live.window.0 && start + range.len() <= live.window.1);
                        let sent = &live.data_out[start..start + range.len()];
                        let or = |(read, sent): (&u8, &u8)| read | sent;
                        let bytes: Vec<u8> = live.scratch.iter().zip(sent).map(or).collect();
                        self.store[range].copy_from_slice(&bytes);
                    }
                    WriteFrom::Pattern { bytes } => {
                        let pattern = &live.data_out[..bytes as usize];
                        fill_pattern(pattern, &mut self.store[range]);
                    }
                }
            }
            Io::ReadTuples { lba, blocks, .. } => {
                let range = self.tuple_range(lba, blocks);
                scratch.extend_from_slice(&self.tuples[range]);
            }
            Io::WriteTuples { lba, blocks, .. } => {
                let range = self.tuple_range(lba, blocks);
                self.tuples[range].copy_from_slice(live.task.tuples());
            }
            Io::Strip { offset, blocks } => {
                let size = self.shard.snapshot().geometry().block_size_bytes as usize;
                let start = offset as usize;
                let end = start + blocks as usize * (size + 8);
                assert!(start >= live.window.0 && end <= live.window.1);
                strip_tuples(&mut live.data_out[start..end], size);
            }
            Io::Deliver {
                offset,
                with_tuples,
            } => {
                assert_eq!(offset as usize, live.data_in.len());
                let size = self.shard.snapshot().geometry().block_size_bytes as usize;
                let mut window = live.scratch.clone();
                let tuples = live.task.tuples();
                assert_eq!(tuples.len() / 8, window.len() / size);
                if with_tuples {
                    window.resize(window.len() + tuples.len(), 0);
                    insert_tuples(&mut window, size, tuples);
                }
                live.data_in.extend_from_slice(&window);
            }
            Io::Flush => {}
            // Blocks of zeros are not kept.
            Io::Map { lba, blocks } => {
                let range = self.range(lba, blocks, u32::MAX);
                let kept = |block: &&[u8]| block.iter().any(|byte| *byte != 0);
                let size = self.shard.snapshot().geometry().block_size_bytes as usize;
                let mut rest: Vec<bool> = self.store[range]
                    .chunks(size)
                    .map(|block| kept(&block))
                    .collect();
                while let Some(mapped) = rest.first().copied() {
                    let same = rest.iter().take_while(|one| **one == mapped).count();
                    rest.drain(..same);
                    let blocks = same as u64;
                    scratch.extend(MapRun { blocks, mapped }.to_bytes());
                }
                scratch.truncate(MAP_BYTES);
            }
            Io::Unmap { lba, blocks } => {
                let range = self.range(lba, blocks, ZERO_PIECE_BYTES);
                self.store[range].fill(0);
                self.give_back_tuples(lba, blocks);
            }
            Io::WriteZeroes { lba, blocks, .. } => {
                let zeroes = self.shard.snapshot().caps.write_zeroes;
                let most = if zeroes {
                    ZERO_PIECE_BYTES
                } else {
                    WINDOW_BYTES
                };
                let range = self.range(lba, blocks, most);
                self.store[range].fill(0);
                self.give_back_tuples(lba, blocks);
            }
        }
        Ok(())
    }

    fn tuple_range(&self, lba: Lba, blocks: u64) -> std::ops::Range<usize> {
        let range = self.range(lba, blocks, WINDOW_BYTES);
        let size = self.shard.snapshot().geometry().block_size_bytes as usize;
        assert!(self.shard.snapshot().caps.protection.is_some());
        range.start / size * 8..range.end / size * 8
    }

    fn give_back_tuples(&mut self, lba: Lba, blocks: u64) {
        let start = lba.0 as usize * 8;
        if self.shard.snapshot().caps.protection.is_some() {
            self.tuples[start..start + blocks as usize * 8].fill(0);
        }
    }

    fn range(&self, lba: Lba, blocks: u64, most_bytes: u32) -> std::ops::Range<usize> {
        assert!(blocks > 0);
        let geometry = self.shard.snapshot().geometry();
        let (offset, bytes) = geometry.byte_range(lba, BlockCount(blocks)).unwrap();
        assert!(bytes <= u64::from(most_bytes), "{bytes}");
        let start = offset as usize;
        start..start + bytes as usize
    }
}

/// The name of a nexus, each of an initiator of its own.
pub(crate) fn name_of(nexus: NexusId) -> NexusName {
    let initiator = format!("iqn.2026-11.org.example:host{}", nexus.0);
    NexusName {
        initiator: TransportId::iscsi(&initiator, [0, 2, 0x3d, 0, 0, 1]),
        target_port: 2,
    }
}

fn view(write_protected: bool, now: Duration, luns: &RigLuns) -> LunView<'_> {
    LunView {
        target_port: 2,
        transport_version: 0x0962,
        write_protected,
        now,
        clock: &NOON,
        token_key: Some(&KEY),
        luns,
    }
}

impl Live {
    /// Memory that parameter data take.
    pub(crate) fn answer_capacity(&self) -> usize {
        self.out.capacity()
    }

    fn note(&mut self, step: &Step) {
        self.steps.push(describe(step));
    }
}

/// A step in a line.
pub(crate) fn describe(step: &Step) -> String {
    match step {
        Step::DataOut { offset, bytes } => format!("data-out {offset}+{bytes}"),
        Step::Io(io) => describe_io(io),
        Step::Part(ask) => describe_part(ask),
        Step::Home(action) => format!("home {action:?}"),
        Step::Held => "held".into(),
        Step::Done(done) => format!("{:?}", done.status),
    }
}

fn describe_part(ask: &PartAsk) -> String {
    let place = match ask.place {
        Place::Here => "here".into(),
        Place::There(lun) => format!("lun {}", lun.number()),
    };
    format!("{place} {:?} {}+{}", ask.work, ask.lba, ask.blocks)
}

fn describe_io(io: &Io) -> String {
    match *io {
        Io::Read {
            lba,
            blocks,
            into: ReadInto::DataIn { offset },
        } => {
            format!("read {lba}+{blocks} at {offset}")
        }
        Io::Read {
            lba,
            blocks,
            into: ReadInto::Scratch,
        } => format!("read {lba}+{blocks} scratch"),
        Io::Write {
            lba,
            blocks,
            from,
            durable,
        } => {
            let from = match from {
                WriteFrom::DataOut { offset } => format!("at {offset}"),
                WriteFrom::Scratch => "scratch".into(),
                WriteFrom::OrScratch { offset } => format!("or {offset}"),
                WriteFrom::Pattern { bytes } => format!("pattern {bytes}"),
            };
            let durable = if durable { " durable" } else { "" };
            format!("write {lba}+{blocks} {from}{durable}")
        }
        Io::ReadTuples { lba, blocks, .. } => format!("read tuples {lba}+{blocks}"),
        Io::WriteTuples {
            lba,
            blocks,
            durable,
        } => {
            let durable = if durable { " durable" } else { "" };
            format!("write tuples {lba}+{blocks}{durable}")
        }
        Io::Strip { offset, blocks } => format!("strip {blocks} at {offset}"),
        Io::Deliver {
            offset,
            with_tuples,
        } => {
            let with = if with_tuples { " with tuples" } else { "" };
            format!("deliver at {offset}{with}")
        }
        Io::Flush => "flush".into(),
        Io::Map { lba, blocks } => format!("map {lba}+{blocks}"),
        Io::Unmap { lba, blocks } => format!("unmap {lba}+{blocks}"),
        Io::WriteZeroes {
            lba,
            blocks,
            may_unmap,
        } => {
            let unmap = if may_unmap { " or unmap" } else { "" };
            format!("zero {lba}+{blocks}{unmap}")
        }
    }
}

impl Run {
    /// The command ended in GOOD, with these steps before.
    #[track_caller]
    pub(crate) fn good(&self, steps: &[&str]) -> &Self {
        assert_eq!(self.done.status, Status::Good, "{self:?}");
        let (last, before) = self.steps.split_last().unwrap();
        assert_eq!(last, "Good");
        assert_eq!(before, steps);
        self
    }

    /// The command ended in CHECK CONDITION with this sense.
    #[track_caller]
    pub(crate) fn check(&self, sense: Sense) -> &Self {
        assert_eq!(self.done.sense, Some(sense), "{self:?}");
        assert_eq!(self.done.status, Status::CheckCondition);
        self
    }

    /// The command ended in CHECK CONDITION with this sense, before it did anything.
    #[track_caller]
    pub(crate) fn refused(&self, sense: Sense) -> &Self {
        self.check(sense);
        assert_eq!(self.steps.len(), 1, "{self:?}");
        assert_eq!(self.done.transfer_bytes, 0);
        assert_eq!(self.done.data_in_bytes, 0);
        self
    }

    /// The sense data on the wire.
    pub(crate) fn sense_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.done.write_sense(&mut out);
        out
    }

    pub(crate) fn format(&self) -> SenseFormat {
        self.done.sense_format
    }
}

/// A CDB with an address at byte 2 (four bytes) and a length at byte 7 (two bytes).
pub(crate) fn cdb10(opcode: u8, flags: u8, lba: u32, blocks: u16) -> [u8; 10] {
    let mut cdb = [0; 10];
    cdb[0] = opcode;
    cdb[1] = flags;
    cdb[2..6].copy_from_slice(&lba.to_be_bytes());
    cdb[7..9].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

/// A CDB with an address at byte 2 (four bytes) and a length at byte 6 (four bytes).
pub(crate) fn cdb12(opcode: u8, flags: u8, lba: u32, blocks: u32) -> [u8; 12] {
    let mut cdb = [0; 12];
    cdb[0] = opcode;
    cdb[1] = flags;
    cdb[2..6].copy_from_slice(&lba.to_be_bytes());
    cdb[6..10].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

/// A CDB with an address at byte 2 (eight bytes) and a length at byte 10 (four bytes).
pub(crate) fn cdb16(opcode: u8, flags: u8, lba: u64, blocks: u32) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = opcode;
    cdb[1] = flags;
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

/// COMPARE AND WRITE.
pub(crate) fn compare_and_write(flags: u8, lba: u64, blocks: u8) -> [u8; 16] {
    let mut cdb = cdb16(0x89, flags, lba, 0);
    cdb[13] = blocks;
    cdb
}

/// UNMAP with a parameter list of `bytes`.
pub(crate) fn unmap(bytes: u16) -> [u8; 10] {
    cdb10(0x42, 0, 0, bytes)
}

/// An UNMAP parameter list.
pub(crate) fn unmap_list(ranges: &[(u64, u32)]) -> Vec<u8> {
    let descriptors = (ranges.len() * 16) as u16;
    let mut list = (descriptors + 6).to_be_bytes().to_vec();
    list.extend_from_slice(&descriptors.to_be_bytes());
    list.extend_from_slice(&[0; 4]);
    for (lba, blocks) in ranges {
        list.extend_from_slice(&lba.to_be_bytes());
        list.extend_from_slice(&blocks.to_be_bytes());
        list.extend_from_slice(&[0; 4]);
    }
    list
}
