//! A real engine on loopback, and clients that block.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

pub mod many;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use engine::{Engine, EngineConfig, Missing};
use initiator::{CommandDone, Config, Event, Initiator};
use iscsi_wire::{IscsiName, Itt, Lun64};
use model::{Backing, BackstoreType, Change, LogicalUnitNumber, ObjectPath, Plan, Raw, Tree};
use reactor::DriverChoice;

pub const TARGET: &str = "iqn.2026-11.org.example:disk";
pub const GROUP_TAG: u16 = 1;
pub const HOST: &str = "iqn.2026-11.org.example:host";

/// Both drivers: whatever holds on one holds on the other.
pub const DRIVERS: [DriverChoice; 3] = [
    DriverChoice::Epoll,
    DriverChoice::Uring,
    DriverChoice::Mixed,
];

/// How long anything may take before a test fails instead of hanging.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn ram(bytes: u64) -> Backing {
    Backing::Ram { bytes }
}

pub fn file(path: PathBuf, bytes: u64) -> Backing {
    Backing::File {
        path,
        create_bytes: Some(bytes),
        direct: false,
    }
}

/// One target with one portal group, open to everybody, on a port that the system chooses: a LUN for each backing.
pub fn tree(backings: Vec<Backing>) -> Tree {
    let target = IscsiName::parse(TARGET).expect("a name");
    let portal = "127.0.0.1:0".parse().expect("an address");
    let mut changes = vec![
        Change::create(
            ObjectPath::Target(target.clone()),
            [("alias", "test".into())],
        ),
        Change::create(group(), [("generate_node_acls", true.into())]),
        Change::create(ObjectPath::Portal(target.clone(), GROUP_TAG, portal), []),
    ];
    for (index, backing) in backings.into_iter().enumerate() {
        let number = LogicalUnitNumber(u16::try_from(index).expect("few LUNs"));
        let (kind, attributes) = attributes(backing);
        let name = format!("disk{index}");
        let reference = format!("{kind}/{name}");
        changes.push(Change::create(
            ObjectPath::Backstore(kind, name),
            attributes,
        ));
        changes.push(Change::create(
            ObjectPath::Lun(target.clone(), GROUP_TAG, number),
            [("backstore", reference.into())],
        ));
    }
    changed(&Tree::default(), &changes)
}

pub fn path(text: &str) -> ObjectPath {
    text.parse().expect("a path")
}

pub fn create(path: ObjectPath, attributes: &[(&str, &str)]) -> Change {
    let given = attributes
        .iter()
        .map(|(name, value)| (*name, Raw::from(*value)));
    Change::create(path, given)
}

pub fn set(path: ObjectPath, attributes: &[(&str, &str)]) -> Change {
    let given = attributes
        .iter()
        .map(|(name, value)| (*name, Raw::from(*value)));
    Change::set(path, given)
}

pub fn plan(engine: &Engine, changes: &[Change]) -> Plan {
    engine
        .tree()
        .plan(changes)
        .unwrap_or_else(|m| panic!("{m:#?}"))
}

/// The path of the portal group of [`tree`].
pub fn group() -> ObjectPath {
    ObjectPath::Tpg(IscsiName::parse(TARGET).expect("a name"), GROUP_TAG)
}

/// The tree after changes that are legal.
pub fn changed(tree: &Tree, changes: &[Change]) -> Tree {
    match tree.plan(changes) {
        Ok(plan) => plan.tree,
        Err(mistakes) => panic!("{mistakes:#?}"),
    }
}

fn attributes(backing: Backing) -> (BackstoreType, Vec<(&'static str, Raw)>) {
    let path = |path: PathBuf| Raw::from(path.into_os_string().into_string().expect("UTF-8"));
    let size = |bytes: u64| {
        (
            "size",
            Raw::from(i64::try_from(bytes).expect("a small disk")),
        )
    };
    match backing {
        Backing::File {
            path: at,
            create_bytes,
            direct,
        } => {
            let mut attributes = vec![("path", path(at)), ("direct", direct.into())];
            attributes.extend(create_bytes.map(size));
            (BackstoreType::File, attributes)
        }
        Backing::Block { path: at, direct } => {
            let attributes = vec![("path", path(at)), ("direct", direct.into())];
            (BackstoreType::Block, attributes)
        }
        Backing::Ram { bytes } => (BackstoreType::Ram, vec![size(bytes)]),
        Backing::Null { bytes } => (BackstoreType::Null, vec![size(bytes)]),
    }
}

pub fn config(driver: DriverChoice, workers: usize) -> EngineConfig {
    EngineConfig {
        workers: Some(workers),
        driver,
        memory_budget_bytes: 32 << 20,
        ..EngineConfig::default()
    }
}

pub struct Client {
    pub stream: TcpStream,
    pub initiator: Initiator,
    pub events: Vec<Event>,
}

impl Client {
    /// Connects without logging in.
    pub fn connect(to: SocketAddr, config: Config) -> Self {
        let stream = TcpStream::connect(to).expect("the portal listens");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a socket option");
        stream.set_nodelay(true).expect("a socket option");
        Self {
            stream,
            initiator: Initiator::new(config),
            events: Vec::new(),
        }
    }

    pub fn login(to: SocketAddr, config: Config) -> Self {
        let mut client = Self::connect(to, config);
        client.initiator.start_login();
        let event = client.next(|e| matches!(e, Event::LoggedIn | Event::LoginFailed { .. }));
        assert_eq!(event, Event::LoggedIn);
        client
    }

    pub fn login_as(to: SocketAddr, host: &str) -> Self {
        Self::login(to, Config::normal(host, TARGET))
    }

    pub fn flush(&mut self) {
        let bytes = self.initiator.take_output();
        self.stream
            .write_all(&bytes)
            .expect("the target takes what is sent");
    }

    /// The next event that `wanted` accepts; the target's breaches of the RFC fail the test.
    pub fn next(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        self.try_next(wanted).expect("the connection stays open")
    }

    /// As [`Self::next`]; `None` when the target closes the connection.
    pub fn try_next(&mut self, wanted: impl Fn(&Event) -> bool) -> Option<Event> {
        let start = Instant::now();
        loop {
            if let Some(at) = self.events.iter().position(&wanted) {
                return Some(self.events.remove(at));
            }
            assert!(
                start.elapsed() < PATIENCE,
                "nothing came; events so far: {:?}",
                self.events
            );
            let out = self.initiator.take_output();
            if self.stream.write_all(&out).is_err() || !self.hear() {
                return None;
            }
        }
    }

    /// Waits for what comes next and takes it in. Whether the connection is still open.
    pub fn hear(&mut self) -> bool {
        let mut bytes = vec![0; 256 << 10];
        match self.stream.read(&mut bytes) {
            Ok(0) => false,
            Ok(count) => {
                for event in self.initiator.handle_bytes(&bytes[..count]) {
                    assert!(!matches!(event, Event::Violation(_)), "{event:?}");
                    self.events.push(event);
                }
                true
            }
            Err(e) if e.kind() == ErrorKind::ConnectionReset => false,
            Err(e) => panic!("{e}; events so far: {:?}", self.events),
        }
    }

    pub fn done(&mut self, itt: Itt) -> CommandDone {
        let event = self.next(|e| matches!(e, Event::CommandDone(done) if done.itt == itt));
        match event {
            Event::CommandDone(done) => done,
            other => unreachable!("{other:?}"),
        }
    }

    /// One command to its end; a unit attention that is in the way is taken and the command sent again.
    pub fn run(&mut self, lun: u16, cdb: &[u8], data_out: &[u8], data_in: u32) -> CommandDone {
        loop {
            let itt = self
                .initiator
                .command(wire_lun(lun), cdb, data_out.to_vec(), data_in);
            let done = self.done(itt);
            if done.status == 2 && sense_key(&done.sense) == 6 {
                continue;
            }
            return done;
        }
    }

    pub fn good(&mut self, lun: u16, cdb: &[u8], data_out: &[u8], data_in: u32) -> Vec<u8> {
        let done = self.run(lun, cdb, data_out, data_in);
        assert_eq!(done.status, 0, "{cdb:02x?}: sense {:02x?}", done.sense);
        done.data
    }

    pub fn write(&mut self, lun: u16, lba: u32, data: &[u8]) {
        self.good(lun, &write10(lba, data.len()), data, 0);
    }

    pub fn read(&mut self, lun: u16, lba: u32, bytes: usize) -> Vec<u8> {
        let length = u32::try_from(bytes).expect("a small read");
        self.good(lun, &read10(lba, bytes), &[], length)
    }
}

/// CHAP as `host`, with this secret.
pub fn chap(secret: &str) -> initiator::Chap {
    initiator::Chap {
        name: "host".into(),
        secret: secret.as_bytes().to_vec(),
        algorithms: vec![7, 5],
        digest: |algorithm, id, secret, challenge| {
            let algorithm =
                auth::ChapAlgorithm::from_number(u64::from(algorithm)).expect("one of ours");
            auth::chap::response(
                algorithm,
                id,
                &auth::Secret::new(secret.to_vec()),
                challenge,
            )
        },
        mutual: None,
    }
}

pub fn sense_key(sense: &[u8]) -> u8 {
    match sense.first().map(|b| b & 0x7f) {
        Some(0x70 | 0x71) => sense.get(2).map_or(0, |b| b & 0x0f),
        Some(0x72 | 0x73) => sense.get(1).map_or(0, |b| b & 0x0f),
        _ => 0,
    }
}

pub fn asc(sense: &[u8]) -> (u8, u8) {
    (
        sense.get(12).copied().unwrap_or(0),
        sense.get(13).copied().unwrap_or(0),
    )
}

pub fn wire_lun(lun: u16) -> Lun64 {
    Lun64(u64::from(lun) << 48)
}

pub fn read10(lba: u32, bytes: usize) -> [u8; 10] {
    transfer10(0x28, lba, bytes)
}

pub fn write10(lba: u32, bytes: usize) -> [u8; 10] {
    transfer10(0x2a, lba, bytes)
}

pub fn transfer10(opcode: u8, lba: u32, bytes: usize) -> [u8; 10] {
    let lba = lba.to_be_bytes();
    let blocks = u16::try_from(bytes / 512)
        .expect("fits READ (10)")
        .to_be_bytes();
    [
        opcode, 0, lba[0], lba[1], lba[2], lba[3], 0, blocks[0], blocks[1], 0,
    ]
}

/// Bytes that differ from place to place and from seed to seed.
pub fn pattern(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut data = Vec::with_capacity(bytes + 8);
    while data.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        data.extend_from_slice(&state.to_le_bytes());
    }
    data.truncate(bytes);
    data
}

/// Starts an engine, runs `test` on each driver, and sees that the drain ends and gives everything back.
pub fn on_each_driver(
    workers: usize,
    backings: impl Fn() -> Vec<Backing>,
    test: impl Fn(SocketAddr, &Engine),
) {
    on_each_driver_with(workers, || tree(backings()), test);
}

/// As [`on_each_driver`], with any tree.
pub fn on_each_driver_with(
    workers: usize,
    tree: impl Fn() -> Tree,
    test: impl Fn(SocketAddr, &Engine),
) {
    for driver in DRIVERS {
        let engine = match Engine::start(config(driver, workers), tree()) {
            Ok(engine) => engine,
            Err(error) if driver != DriverChoice::Epoll && error.to_string().contains("driver") => {
                // A machine without io_uring: the first driver has shown what can be shown here.
                eprintln!("left out on {driver:?}: {error}");
                continue;
            }
            Err(error) => panic!("{driver:?}: {error}"),
        };
        let portal = engine.portals()[0];
        test(portal, &engine);
        drain(engine);
    }
}

pub fn drain(engine: Engine) {
    engine.start_drain(Duration::from_millis(200));
    let start = Instant::now();
    while !engine.is_drained() {
        assert!(
            start.elapsed() < PATIENCE,
            "the drain does not end: {:?}",
            engine.counters()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(engine.counters().sessions, 0);
    assert_eq!(engine.counters().panics, 0);
    engine.join();
}

/// A path below the portal group of [`tree`].
pub fn tpg(below: &str) -> ObjectPath {
    path(&format!("{}{below}", group()))
}

pub fn delete(path: ObjectPath) -> Change {
    let cascade = false;
    Change::Delete { path, cascade }
}

/// The deadline of a drain whose peers need not be polite.
pub const SOON: Duration = Duration::from_millis(300);

pub fn apply(engine: &Engine, changes: &[Change]) -> engine::Release {
    apply_within(engine, changes, SOON)
}

/// Applies, with a deadline for what has to leave.
pub fn apply_within(engine: &Engine, changes: &[Change], within: Duration) -> engine::Release {
    let plan = plan(engine, changes);
    let applied = engine.apply(&plan, Missing::Refuse, within, &mut |_| Ok(()));
    applied.expect("it can be had")
}

/// Applies, and sees that all that left has left.
pub fn transact(engine: &Engine, changes: &[Change]) {
    transact_within(engine, changes, SOON);
}

pub fn transact_within(engine: &Engine, changes: &[Change], within: Duration) {
    let left = apply_within(engine, changes, within).wait();
    assert!(left.is_nothing(), "{left:?} after {changes:?}");
}

/// The next answer to TEST UNIT READY on a LUN: sense key and ASC, or `None` for GOOD.
pub fn ready(client: &mut Client, lun: u16) -> Option<(u8, (u8, u8))> {
    let itt = client
        .initiator
        .command(wire_lun(lun), &[0; 6], Vec::new(), 0);
    let done = client.done(itt);
    (done.status != 0).then(|| (sense_key(&done.sense), asc(&done.sense)))
}

/// Takes the unit attention of a new nexus.
pub fn settle(client: &mut Client, lun: u16) {
    while let Some((key, _)) = ready(client, lun) {
        assert_eq!(key, 6);
    }
}
