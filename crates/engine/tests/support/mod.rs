//! A real engine on loopback, and clients that block.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::{Engine, EngineConfig};
use initiator::{CommandDone, Config, Event, Initiator};
use iscsi_wire::{IscsiName, Itt, Lun64};
use model::{
    Authentication, Backstore, BackstoreKind, LogicalUnitNumber, Lun, ObjectId, Portal,
    PortalGroup, SessionSettings, Target, Tree,
};
use reactor::DriverChoice;

pub const TARGET: &str = "iqn.2026-11.org.example:disk";
pub const HOST: &str = "iqn.2026-11.org.example:host";

/// Both drivers: whatever holds on one holds on the other.
pub const DRIVERS: [DriverChoice; 3] = [
    DriverChoice::Epoll,
    DriverChoice::Uring,
    DriverChoice::Mixed,
];

/// How long anything may take before a test fails instead of hanging.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn ram(bytes: u64) -> BackstoreKind {
    BackstoreKind::Ram { bytes }
}

pub fn file(path: PathBuf, bytes: u64) -> BackstoreKind {
    BackstoreKind::File {
        path,
        create_bytes: Some(bytes),
        direct: false,
    }
}

pub fn tree(kinds: Vec<BackstoreKind>) -> Tree {
    let mut tree = Tree::default();
    let mut luns = BTreeMap::new();
    for (index, kind) in kinds.into_iter().enumerate() {
        let id = ObjectId(100 + index as u64);
        let backstore = Backstore {
            id,
            name: format!("disk{index}"),
            kind,
            block_size_bytes: 512,
            write_cache: true,
            read_only: false,
            thin: true,
            serial: None,
        };
        tree.backstores.insert(id, Arc::new(backstore));
        let number = LogicalUnitNumber(u16::try_from(index).expect("few LUNs"));
        let lun = Lun {
            id: ObjectId(200 + index as u64),
            backstore: id,
            write_protect: false,
        };
        luns.insert(number, lun);
    }
    let group = PortalGroup {
        id: ObjectId(2),
        tag: 1,
        relative_target_port: 1,
        enabled: true,
        portals: vec![Portal {
            address: "127.0.0.1:0".parse().expect("an address"),
            advertise: None,
        }],
        luns,
        acls: BTreeMap::new(),
        generate_node_acls: true,
        authentication: Authentication::default(),
        settings: SessionSettings::default(),
    };
    let name = IscsiName::parse(TARGET).expect("a name");
    let target = Target {
        id: ObjectId(1),
        name: name.clone(),
        alias: Some("test".into()),
        tpgs: BTreeMap::from([(1, Arc::new(group))]),
    };
    tree.targets.insert(name, Arc::new(target));
    tree
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
        let mut bytes = vec![0; 256 << 10];
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
            if self.stream.write_all(&out).is_err() {
                return None;
            }
            match self.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(count) => {
                    for event in self.initiator.handle_bytes(&bytes[..count]) {
                        assert!(!matches!(event, Event::Violation(_)), "{event:?}");
                        self.events.push(event);
                    }
                }
                Err(e) if e.kind() == ErrorKind::ConnectionReset => return None,
                Err(e) => panic!("{e}; events so far: {:?}", self.events),
            }
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
    kinds: impl Fn() -> Vec<BackstoreKind>,
    test: impl Fn(SocketAddr, &Engine),
) {
    for driver in DRIVERS {
        let engine = match Engine::start(config(driver, workers), tree(kinds())) {
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
