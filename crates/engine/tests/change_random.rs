//! Many sessions on many targets with verified I/O while random transactions run: what was acknowledged is read back, every
//! removal returns, and a target that no transaction touches notices nothing.
//!
//! `QUINTAIN_CHANGE_SESSIONS`, `QUINTAIN_CHANGE_TARGETS`, `QUINTAIN_CHANGE_TRANSACTIONS` and `QUINTAIN_CHANGE_PAUSE_MS` (between two
//! transactions) make it longer, `QUINTAIN_CHANGE_SEED` runs one again.

mod support;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use engine::Engine;
use initiator::{Config, Delivery, Event};
use iscsi_wire::LogoutReason;
use model::{Change, ObjectPath};
use reactor::DriverChoice;
use reactor::testing::CountingAllocator;
use support::{
    Client, HOST, config, create, drain, path, pattern, read10, sense_key, set, transact_within,
    wire_lun, write10,
};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

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
    let mut replaced = None;
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
            match dice.roll(200) {
                // Logs in again over its session, whose last write is not answered yet.
                0 if !calm => {
                    leave_a_write(&mut client, base, &mut written, &mut dice);
                    break;
                }
                1 if !calm => {
                    log_out(&mut client);
                    break;
                }
                _ => {}
            }
        }
        drop(replaced.replace(client));
    }
    drop(replaced);
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

/// Logs out; a session that is sent away meanwhile need not answer.
fn log_out(client: &mut Client) {
    client
        .initiator
        .logout(LogoutReason::CloseSession, Delivery::Ordered);
    let _answer = client.try_next(|e| matches!(e, Event::LoggedOut(_)));
}

/// Sends a write, and does not wait for its answer.
fn leave_a_write(client: &mut Client, base: u32, written: &mut Written, dice: &mut Dice) {
    let slot = match written.in_doubt {
        Some(_) => return,
        None => usize::try_from(dice.roll(u64::from(SLOTS))).expect("small"),
    };
    let seed = dice.roll(u64::MAX) | 1;
    let lba = base + u32::try_from(slot).expect("small") * 8;
    written.in_doubt = Some((slot, seed));
    let data = pattern(seed, 4096);
    let _itt = client
        .initiator
        .command(wire_lun(0), &write10(lba, 4096), data, 0);
    let out = client.initiator.take_output();
    // A session that is sent away meanwhile does not take it.
    let _sent = std::io::Write::write_all(&mut client.stream, &out);
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

/// Chooses what to change next.
struct Director<'a> {
    engine: &'a Engine,
    dice: Dice,
    sessions: u64,
    targets: u64,
    restless: u64,
    disk_bytes: u64,
}

impl Director<'_> {
    fn has(&self, path: &ObjectPath) -> bool {
        self.engine.tree().find(path).is_some()
    }

    /// A legal transaction that touches one of the restless targets, or something of its own.
    fn transaction(&mut self, round: u64) -> Vec<Change> {
        let target = self.dice.roll(self.restless);
        match self.dice.roll(12) {
            0 | 1 => self.spare(target),
            2 => self.lonely_acl(target),
            3 => vec![set(tpg(target, ""), &[("enabled", "false")])],
            4 | 5 => vec![set(tpg(target, ""), &[("enabled", "true")])],
            6 | 7 => self.disk(target, round),
            8 => {
                let size = (self.disk_bytes + ((round + 1) << 20)).to_string();
                let disk = path(&format!("/backstores/ram/d{target}"));
                vec![set(disk, &[("size", &size)])]
            }
            9 | 10 => self.acl_of_a_session(target, round),
            _ => {
                let alias = format!("round {round}");
                let target = path(&format!("/targets/{}", name(target)));
                vec![set(target, &[("alias", &alias)])]
            }
        }
    }

    /// A backstore and a LUN that nobody works with come and go.
    fn spare(&self, target: u64) -> Vec<Change> {
        let spare = path(&format!("/backstores/ram/spare{target}"));
        let extra = tpg(target, "/luns/9");
        let reference = format!("ram/spare{target}");
        match (self.has(&spare), self.has(&extra)) {
            (false, _) => vec![create(spare, &[("size", "1MiB")])],
            (true, false) => vec![create(extra, &[("backstore", &reference)])],
            (true, true) => vec![delete(spare)],
        }
    }

    fn lonely_acl(&self, target: u64) -> Vec<Change> {
        let acl = tpg(target, &format!("/acls/{HOST}-extra"));
        if self.has(&acl) {
            vec![delete(acl)]
        } else {
            vec![create(acl.clone(), &[]), set(acl, &[("tag", "t")])]
        }
    }

    /// The LUN of the data itself goes, comes back, is protected and not.
    fn disk(&self, target: u64, round: u64) -> Vec<Change> {
        let lun = tpg(target, "/luns/0");
        if !self.has(&lun) {
            return vec![disk_lun(target)];
        }
        match round % 3 {
            0 => vec![delete(lun)],
            1 => vec![set(lun, &[("write_protect", "true")])],
            _ => vec![set(lun, &[("write_protect", "false")])],
        }
    }

    /// A host that works there gets an ACL of its own, with the disk under another number, under its own, or under none.
    fn acl_of_a_session(&mut self, target: u64, round: u64) -> Vec<Change> {
        let hosts = (self.sessions / self.targets).max(1);
        let who = target + self.targets * self.dice.roll(hosts);
        let acl = tpg(target, &format!("/acls/{HOST}-{who}"));
        if self.has(&acl) {
            return vec![delete(acl)];
        }
        let mut changes = vec![create(acl, &[])];
        if self.has(&tpg(target, "/luns/0")) {
            for number in [0, 4]
                .into_iter()
                .skip(usize::from(round.is_multiple_of(2)))
            {
                let mapped = tpg(target, &format!("/acls/{HOST}-{who}/luns/{number}"));
                changes.push(create(mapped, &[("lun", "0")]));
            }
        }
        changes
    }

    /// Everybody may log in again and write.
    fn make_good(&self, target: u64) -> Vec<Change> {
        let acls = (0..self.sessions).map(|who| tpg(target, &format!("/acls/{HOST}-{who}")));
        let mut changes: Vec<Change> = acls.filter(|acl| self.has(acl)).map(delete).collect();
        let lun = tpg(target, "/luns/0");
        if self.has(&lun) {
            changes.push(set(lun, &[("write_protect", "false")]));
        } else {
            changes.push(disk_lun(target));
        }
        changes.push(set(tpg(target, ""), &[("enabled", "true")]));
        changes
    }
}

fn disk_lun(target: u64) -> Change {
    let disk = format!("ram/d{target}");
    create(tpg(target, "/luns/0"), &[("backstore", &disk)])
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

/// Stops the sessions, also when the test fails: the scope waits for their threads.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What one run is made of.
struct Script {
    sessions: u64,
    targets: u64,
    transactions: u64,
    seed: u64,
    pause: Duration,
}

/// The targets with a disk each, all at one portal.
fn build(engine: &Engine, script: &Script, disk_bytes: u64) -> SocketAddr {
    let mut changes = Vec::new();
    for target in 0..script.targets {
        let disk = path(&format!("/backstores/ram/d{target}"));
        changes.push(create(disk, &[("size", &disk_bytes.to_string())]));
        changes.push(create(path(&format!("/targets/{}", name(target))), &[]));
        changes.push(create(tpg(target, ""), &[("generate_node_acls", "true")]));
        changes.push(disk_lun(target));
    }
    commit(engine, &changes);
    commit(engine, &[create(tpg(0, "/portals/127.0.0.1:0"), &[])]);
    let portal = engine.portals()[0];
    let shared: Vec<Change> = (1..script.targets)
        .map(|target| create(tpg(target, &format!("/portals/{portal}")), &[]))
        .collect();
    commit(engine, &shared);
    portal
}

/// Runs the script on one driver, and sees that nothing is lost.
fn run(script: &Script, driver: DriverChoice) {
    let (sessions, targets) = (script.sessions, script.targets);
    let restless = targets / 2;
    let engine = Engine::idle(config(driver, 2), None).expect("starts");
    let disk_bytes = (sessions * u64::from(SLOTS) * 4096).next_multiple_of(1 << 20);
    let world = World {
        portal: build(&engine, script, disk_bytes),
        stop: AtomicBool::new(false),
        reconnects: (0..targets).map(|_| AtomicU64::new(0)).collect(),
        verified: AtomicU64::new(0),
    };
    let mut director = Director {
        engine: &engine,
        dice: Dice(script.seed | 1),
        sessions,
        targets,
        restless,
        disk_bytes,
    };
    let mut slowest = Duration::ZERO;
    std::thread::scope(|scope| {
        for who in 0..sessions {
            let (world, target) = (&world, who % targets);
            scope.spawn(move || work(world, who, target, target >= restless));
        }
        let _stop = StopAtEnd(&world.stop);
        for round in 0..script.transactions {
            let changes = director.transaction(round);
            let start = Instant::now();
            commit(&engine, &changes);
            slowest = slowest.max(start.elapsed());
            std::thread::sleep(script.pause);
        }
        for target in 0..restless {
            commit(&engine, &director.make_good(target));
        }
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
        "{driver:?}: {} commands verified, {} transactions, the slowest {slowest:?}",
        world.verified.load(Ordering::Relaxed),
        script.transactions
    );
    assert_eq!(engine.remnants(), []);
    drain(engine);
}

/// What the process holds.
#[derive(Debug)]
struct Holdings {
    descriptors: usize,
    heap_bytes: i64,
    resident_kb: u64,
}

impl Holdings {
    fn now() -> Self {
        ALLOCATOR.trim();
        Self {
            descriptors: descriptors(),
            heap_bytes: ALLOCATOR.live_bytes(),
            resident_kb: resident_kb(),
        }
    }

    /// Nothing is left behind by what ran since `before`, but for what a process makes once.
    fn assert_level_with(&self, before: &Self) {
        assert_eq!(self.descriptors, before.descriptors, "descriptors leak");
        let heap = self.heap_bytes - before.heap_bytes;
        assert!(heap < 64 << 10, "{heap} bytes of the heap leak");
        // Beside the heap: mappings of buffers and disks, and the stacks that the system keeps for the next threads.
        let resident = self.resident_kb.saturating_sub(before.resident_kb);
        assert!(
            resident < before.resident_kb / 4 + 8192,
            "{resident} kB more are resident"
        );
    }
}

#[test]
fn random_transactions_under_verified_io_lose_nothing() {
    let script = Script {
        sessions: number("QUINTAIN_CHANGE_SESSIONS", 24),
        targets: number("QUINTAIN_CHANGE_TARGETS", 6),
        transactions: number("QUINTAIN_CHANGE_TRANSACTIONS", 1000),
        seed: number("QUINTAIN_CHANGE_SEED", 4711),
        pause: Duration::from_millis(number("QUINTAIN_CHANGE_PAUSE_MS", 0)),
    };
    eprintln!("seed {}", script.seed);
    // A first run of the same size leaves what a process makes once, and what the system keeps of threads that ended.
    run(&script, DriverChoice::Epoll);
    for driver in [DriverChoice::Auto, DriverChoice::Epoll] {
        let before = Holdings::now();
        run(&script, driver);
        let after = Holdings::now();
        eprintln!("before: {before:?}, after: {after:?}");
        after.assert_level_with(&before);
    }
}

/// A deaf session is cut off at once.
fn commit(engine: &Engine, changes: &[Change]) {
    transact_within(engine, changes, Duration::from_millis(20));
}
