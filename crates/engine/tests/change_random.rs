//! Many sessions on many targets with verified I/O while random transactions run: what was acknowledged is read back, every
//! removal returns, and a target that no transaction touches notices nothing.
//!
//! `QUINTAIN_CHANGE_SESSIONS`, `QUINTAIN_CHANGE_TARGETS`, `QUINTAIN_CHANGE_TRANSACTIONS` and `QUINTAIN_CHANGE_PAUSE_MS` (between two
//! transactions) make it longer, `QUINTAIN_CHANGE_SEED` runs one again.

mod support;

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use engine::{Engine, Missing};
use initiator::{Config, Event};
use model::{Change, ObjectPath};
use support::{
    Client, HOST, config, create, drain, path, pattern, plan, read10, sense_key, set, wire_lun,
    write10,
};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// A small generator: the seed is all there is to a run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

fn name(target: u64) -> String {
    format!("iqn.2026-11.org.example:t{target}")
}

fn tpg(target: u64, below: &str) -> ObjectPath {
    path(&format!("/targets/{}/tpgs/1{below}", name(target)))
}

fn delete(path: ObjectPath) -> Change {
    let cascade = true;
    Change::Delete { path, cascade }
}

/// Blocks of 512 bytes that each session has for itself, eight at a time.
const SLOTS: u32 = 16;

/// What a session knows to be on its part of the disk: the seed of what was acknowledged last, and of one write that was not
/// answered.
#[derive(Clone, Default)]
struct Written {
    acknowledged: [u64; SLOTS as usize],
    in_doubt: Option<(usize, u64)>,
}

struct World {
    portal: SocketAddr,
    stop: AtomicBool,
    reconnects: Vec<AtomicU64>,
    verified: AtomicU64,
}

/// One initiator: logs in wherever it is let, writes, reads back, and starts again when it is sent away. `calm`: nobody may send it
/// away.
fn work(world: &World, who: u64, target: u64, calm: bool) {
    let base = u32::try_from(who).expect("few") * SLOTS * 8;
    let mut written = Written::default();
    let mut dice = Dice(who * 7919 + 1);
    while !world.stop.load(Ordering::Relaxed) {
        let mut client = Client::connect(
            world.portal,
            Config::normal(&format!("{HOST}-{who}"), &name(target)),
        );
        client.initiator.start_login();
        let event = client.try_next(|e| matches!(e, Event::LoggedIn | Event::LoginFailed { .. }));
        if event != Some(Event::LoggedIn) {
            assert!(!calm, "an untouched target refused a login: {event:?}");
            std::thread::sleep(Duration::from_millis(3));
            continue;
        }
        if let Some(count) = world.reconnects.get(usize::try_from(target).expect("few")) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        if calm {
            // Only the unit attention of a new nexus is due; after it every command has to succeed.
            client.good(0, &[0; 6], &[], 0);
        }
        while !world.stop.load(Ordering::Relaxed) {
            if step(&mut client, base, &mut written, &mut dice, calm).is_none() {
                assert!(!calm, "an untouched target lost a connection");
                break;
            }
            world.verified.fetch_add(1, Ordering::Relaxed);
        }
    }
    // The last word: everything acknowledged is there, and can be read.
    let mut client = Client::login(
        world.portal,
        Config::normal(&format!("{HOST}-{who}"), &name(target)),
    );
    client.good(0, &[0; 6], &[], 0);
    for slot in 0..SLOTS as usize {
        verify(&mut client, base, &mut written, slot, true).expect("nothing changes any more");
    }
}

/// One write or one read, which has to succeed where `calm`. `None`: the connection is gone.
fn step(
    client: &mut Client,
    base: u32,
    written: &mut Written,
    dice: &mut Dice,
    calm: bool,
) -> Option<()> {
    let slot = usize::try_from(dice.roll(u64::from(SLOTS))).expect("small");
    if dice.roll(2) == 0 || written.in_doubt.is_some() {
        let slot = written.in_doubt.map_or(slot, |(at, _)| at);
        return verify(client, base, written, slot, calm);
    }
    let seed = dice.roll(u64::MAX) | 1;
    let lba = base + u32::try_from(slot).expect("small") * 8;
    written.in_doubt = Some((slot, seed));
    let itt = client
        .initiator
        .command(wire_lun(0), &write10(lba, 4096), pattern(seed, 4096), 0);
    let status = status(client, itt)?;
    match status {
        (0, _) => {
            written.acknowledged[slot] = seed;
            written.in_doubt = None;
        }
        (status, key) if calm => {
            panic!("a write of an untouched target: status {status}, key {key}")
        }
        // The LUN is away, protected, or something is told: what became of the write is seen by reading.
        (_, key) => assert!(matches!(key, 0 | 2 | 5 | 6 | 7), "sense key {key}"),
    }
    Some(())
}

fn verify(
    client: &mut Client,
    base: u32,
    written: &mut Written,
    slot: usize,
    calm: bool,
) -> Option<()> {
    let lba = base + u32::try_from(slot).expect("small") * 8;
    loop {
        let itt = client
            .initiator
            .command(wire_lun(0), &read10(lba, 4096), Vec::new(), 4096);
        let done = client.try_next(|e| matches!(e, Event::CommandDone(done) if done.itt == itt))?;
        let Event::CommandDone(done) = done else {
            return None;
        };
        assert!(
            !calm || done.status == 0,
            "a read failed: {:02x?}",
            done.sense
        );
        if done.status == 2 && sense_key(&done.sense) == 6 {
            continue;
        }
        if done.status != 0 {
            // Not now.
            return Some(());
        }
        let expected = |seed: u64| match seed {
            0 => vec![0; 4096],
            seed => pattern(seed, 4096),
        };
        if done.data == expected(written.acknowledged[slot]) {
            written.in_doubt = written.in_doubt.filter(|(at, _)| *at != slot);
            return Some(());
        }
        let doubt = written.in_doubt.filter(|(at, _)| *at == slot);
        let (_, seed) = doubt.expect("an acknowledged write is lost");
        assert_eq!(
            done.data,
            expected(seed),
            "neither what was there nor what was written"
        );
        written.acknowledged[slot] = seed;
        written.in_doubt = None;
        return Some(());
    }
}

fn status(client: &mut Client, itt: iscsi_wire::Itt) -> Option<(u8, u8)> {
    match client.try_next(|e| matches!(e, Event::CommandDone(done) if done.itt == itt))? {
        Event::CommandDone(done) => Some((done.status, sense_key(&done.sense))),
        _ => None,
    }
}

/// A legal transaction that touches one of the restless targets, or something of its own.
fn transaction(engine: &Engine, dice: &mut Dice, restless: u64, round: u64) -> Vec<Change> {
    let target = dice.roll(restless);
    let tree = engine.tree();
    let has = |path: &ObjectPath| tree.find(path).is_some();
    let spare = path(&format!("/backstores/ram/spare{target}"));
    let extra = tpg(target, "/luns/9");
    let acl = tpg(target, &format!("/acls/{HOST}-extra"));
    match dice.roll(9) {
        0 if has(&extra) => vec![delete(extra)],
        0 if has(&spare) => vec![create(
            extra,
            &[("backstore", &format!("ram/spare{target}"))],
        )],
        1 if has(&spare) => vec![delete(spare)],
        1 => vec![create(spare, &[("size", "1MiB")])],
        2 if has(&acl) => vec![delete(acl)],
        2 => vec![create(acl.clone(), &[]), set(acl, &[("tag", "t")])],
        3 => vec![set(tpg(target, ""), &[("enabled", "false")])],
        4 | 5 => vec![set(tpg(target, ""), &[("enabled", "true")])],
        // The LUN of the data itself goes and comes back.
        6 if has(&tpg(target, "/luns/0")) => vec![delete(tpg(target, "/luns/0"))],
        6 | 7 if !has(&tpg(target, "/luns/0")) => {
            vec![create(
                tpg(target, "/luns/0"),
                &[("backstore", &format!("ram/d{target}"))],
            )]
        }
        7 => {
            let protect = if round.is_multiple_of(2) {
                "true"
            } else {
                "false"
            };
            vec![set(tpg(target, "/luns/0"), &[("write_protect", protect)])]
        }
        _ => {
            let alias = format!("round {round}");
            vec![set(
                path(&format!("/targets/{}", name(target))),
                &[("alias", &alias)],
            )]
        }
    }
}

/// Resident memory of the process, in kB.
fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

#[test]
fn random_transactions_under_verified_io_lose_nothing() {
    let sessions = number("QUINTAIN_CHANGE_SESSIONS", 24);
    let targets = number("QUINTAIN_CHANGE_TARGETS", 6);
    let transactions = number("QUINTAIN_CHANGE_TRANSACTIONS", 1000);
    let seed = number("QUINTAIN_CHANGE_SEED", 4711);
    eprintln!("seed {seed}");
    let pause = Duration::from_millis(number("QUINTAIN_CHANGE_PAUSE_MS", 0));
    let restless = targets / 2;
    let (before, memory) = (descriptors(), resident_kb());
    let engine = Engine::idle(config(reactor::DriverChoice::Auto, 2), None).expect("starts");
    let bytes = (sessions * u64::from(SLOTS) * 4096)
        .next_multiple_of(1 << 20)
        .to_string();
    let mut changes = Vec::new();
    for target in 0..targets {
        changes.push(create(
            path(&format!("/backstores/ram/d{target}")),
            &[("size", &bytes)],
        ));
        changes.push(create(path(&format!("/targets/{}", name(target))), &[]));
        changes.push(create(tpg(target, ""), &[("generate_node_acls", "true")]));
        let disk = format!("ram/d{target}");
        changes.push(create(tpg(target, "/luns/0"), &[("backstore", &disk)]));
    }
    commit(&engine, &changes);
    commit(&engine, &[create(tpg(0, "/portals/127.0.0.1:0"), &[])]);
    let portal = engine.portals()[0];
    let shared: Vec<Change> = (1..targets)
        .map(|target| create(tpg(target, &format!("/portals/{portal}")), &[]))
        .collect();
    commit(&engine, &shared);
    let world = World {
        portal,
        stop: AtomicBool::new(false),
        reconnects: (0..targets).map(|_| AtomicU64::new(0)).collect(),
        verified: AtomicU64::new(0),
    };
    let slowest = Mutex::new(Duration::ZERO);
    std::thread::scope(|scope| {
        for who in 0..sessions {
            let (world, target) = (&world, who % targets);
            scope.spawn(move || work(world, who, target, target >= restless));
        }
        let mut dice = Dice(seed | 1);
        for round in 0..transactions {
            let changes = transaction(&engine, &mut dice, restless, round);
            let start = std::time::Instant::now();
            commit(&engine, &changes);
            let mut slowest = slowest.lock().expect("one thread");
            *slowest = slowest.max(start.elapsed());
            std::thread::sleep(pause);
        }
        for target in 0..restless {
            let lun = tpg(target, "/luns/0");
            if engine.tree().find(&lun).is_none() {
                let disk = format!("ram/d{target}");
                commit(&engine, &[create(lun.clone(), &[("backstore", &disk)])]);
            }
            commit(
                &engine,
                &[
                    set(lun, &[("write_protect", "false")]),
                    set(tpg(target, ""), &[("enabled", "true")]),
                ],
            );
        }
        world.stop.store(true, Ordering::Relaxed);
    });
    for target in restless..targets {
        let logins =
            world.reconnects[usize::try_from(target).expect("few")].load(Ordering::Relaxed);
        let own = (0..sessions).filter(|who| who % targets == target).count() as u64;
        assert_eq!(
            logins, own,
            "a session of the untouched target {target} logged in again"
        );
    }
    eprintln!(
        "{} commands verified, {transactions} transactions, the slowest {:?}",
        world.verified.load(Ordering::Relaxed),
        slowest.lock().expect("no thread is left")
    );
    assert_eq!(engine.remnants(), []);
    drain(engine);
    eprintln!("memory: {memory} kB before, {} kB after", resident_kb());
    assert_eq!(descriptors(), before, "descriptors are leaked");
}

/// Commits, and sees that everything that left has left.
fn commit(engine: &Engine, changes: &[Change]) {
    let plan = plan(engine, changes);
    let within = Duration::from_millis(20);
    let release = engine.apply(&plan, Missing::Refuse, within, &mut |_| Ok(()));
    let left = release.expect("it can be had").wait();
    assert!(left.is_nothing(), "{left:?} after {changes:?}");
}
