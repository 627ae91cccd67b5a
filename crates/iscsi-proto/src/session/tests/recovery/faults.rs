//! The session against the initiator's own reading of recovery, over a line that loses, repeats, damages and swaps PDUs: at every
//! position of a set of exchanges, and at random. All that is asked for is done, with the right bytes, and nothing is left over.

use core::time::Duration;

use initiator::{Delivery, Event};
use iscsi_wire::{BHS_BYTES, Bhs, DIGEST_BYTES, Itt, Lun64, TaskManagementFunction};
use proptest::prelude::*;

use super::super::pair::{Pair, cdb, config, pattern};
use super::super::target::{HANG, READ, READ_IN_WINDOWS, WRITE, Way};
use crate::login::SessionType;
use crate::session::SessionLimits;
use crate::session::fixture::limits;

/// What the line does to a PDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Drop,
    Repeat,
    DamageHeader,
    DamageData,
    /// It comes behind the one that follows it at once.
    Swap,
}

const FAULTS: [Fault; 5] = [
    Fault::Drop,
    Fault::Repeat,
    Fault::DamageHeader,
    Fault::DamageData,
    Fault::Swap,
];

/// One direction of the line.
#[derive(Clone, Debug, Default)]
struct Line {
    passed: usize,
    rest: Vec<u8>,
}

impl Line {
    /// Bytes on their way: whole PDUs come out, as `fault` of each one's number leaves them.
    fn pass(&mut self, bytes: &[u8], fault: impl Fn(usize) -> Option<Fault>) -> Vec<u8> {
        self.rest.extend_from_slice(bytes);
        let mut out = Vec::new();
        let mut late: Option<Vec<u8>> = None;
        while let Some(bytes) = whole_pdu(&self.rest) {
            let mut pdu: Vec<u8> = self.rest.drain(..bytes).collect();
            let data = pdu.len() > BHS_BYTES + DIGEST_BYTES;
            let last = pdu.len() - 1;
            let fault = fault(self.passed);
            self.passed += 1;
            match fault {
                Some(Fault::Drop) => continue,
                Some(Fault::Repeat) => out.extend_from_slice(&pdu),
                // In the tag.
                Some(Fault::DamageHeader) => pdu[18] ^= 0x10,
                Some(Fault::DamageData) if data => pdu[last] ^= 0x10,
                Some(Fault::Swap) if late.is_none() => {
                    late = Some(pdu);
                    continue;
                }
                _ => {}
            }
            out.append(&mut pdu);
            out.extend(late.take().into_iter().flatten());
        }
        out.extend(late.into_iter().flatten());
        out
    }
}

/// How long the first PDU is, with its digests, if it is whole.
fn whole_pdu(bytes: &[u8]) -> Option<usize> {
    let bhs = Bhs(*bytes.first_chunk()?);
    let data = (bhs.data_segment_length() as usize).next_multiple_of(4);
    let digest = if data > 0 { DIGEST_BYTES } else { 0 };
    let whole = BHS_BYTES + DIGEST_BYTES + data + digest;
    (bytes.len() >= whole).then_some(whole)
}

fn pair() -> Pair {
    let config = config(&[
        ("HeaderDigest", "CRC32C"),
        ("DataDigest", "CRC32C"),
        ("ErrorRecoveryLevel", "1"),
        ("InitialR2T", "No"),
        ("FirstBurstLength", "3000"),
        ("MaxBurstLength", "4096"),
    ]);
    let limits = SessionLimits {
        nop_timeout: Duration::from_secs(60),
        ..limits()
    };
    Pair::with(
        config,
        SessionType::Normal,
        limits,
        Way::InPlace(usize::MAX),
    )
}

/// Something an initiator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Read(u32),
    ReadInWindows(u32),
    /// Bytes, at this place of the disk, in units of 16 KiB.
    Write(u32, u32),
    Ping(u32),
    /// A command that hangs, and its abort.
    Abort,
    /// A function that ends all that was asked for before it.
    End(TaskManagementFunction),
}

/// A wish on its way.
#[derive(Clone, Debug)]
struct Sent {
    wish: Wish,
    itt: Itt,
    done: bool,
}

impl Wish {
    fn send(self, pair: &mut Pair) -> Sent {
        let itt = match self {
            Self::Read(bytes) => pair.read(READ, bytes),
            Self::ReadInWindows(bytes) => pair.read(READ_IN_WINDOWS, bytes),
            Self::Write(bytes, place) => {
                let command = cdb(WRITE, place << 14);
                let data = pattern(bytes);
                pair.initiator.command(Lun64(0), &command, data, 0)
            }
            Self::Ping(bytes) => pair.initiator.ping(&pattern(bytes), Delivery::Ordered),
            Self::Abort => {
                let hangs = pair.read(HANG, 512);
                let function = TaskManagementFunction::AbortTask;
                let lun = Lun64(0);
                let initiator = &mut pair.initiator;
                initiator.task_management(function, lun, Some(hangs), Delivery::Ordered)
            }
            Self::End(function) => {
                let initiator = &mut pair.initiator;
                initiator.task_management(function, Lun64(0), None, Delivery::Ordered)
            }
        };
        let (wish, done) = (self, false);
        Sent { wish, itt, done }
    }
}

impl Sent {
    /// Looks at what the initiator says, and checks what it is.
    fn take(&mut self, event: &Event, disk: &[u8]) {
        let itt = match event {
            Event::CommandDone(done) => done.itt,
            Event::Ponged { itt, .. } | Event::TaskManaged { itt, .. } => *itt,
            _ => return,
        };
        if itt != self.itt {
            return;
        }
        assert!(!core::mem::replace(&mut self.done, true), "{self:?} twice");
        match (event, self.wish) {
            (Event::CommandDone(done), Wish::Read(bytes) | Wish::ReadInWindows(bytes)) => {
                assert_eq!(done.status, 0, "{self:?}");
                assert!(done.data == disk[..bytes as usize], "{self:?}: other bytes");
            }
            (Event::CommandDone(done), Wish::Write(bytes, place)) => {
                assert_eq!(done.status, 0, "{self:?}: {:x?}", done.sense);
                let at = (place << 14) as usize;
                assert!(disk[at..at + bytes as usize] == pattern(bytes), "{self:?}");
            }
            (Event::Ponged { data, .. }, Wish::Ping(bytes)) => assert_eq!(*data, pattern(bytes)),
            (Event::TaskManaged { .. }, Wish::Abort | Wish::End(_)) => {}
            (event, _) => panic!("{self:?}: {event:?}"),
        }
    }
}

/// Runs wishes over a line with these faults until all are done and nothing is kept. How many PDUs passed each way.
fn run(
    wishes: &[Wish],
    to_target: impl Fn(usize) -> Option<Fault>,
    to_initiator: impl Fn(usize) -> Option<Fault>,
) -> (usize, usize) {
    let mut pair = pair();
    pair.target.ends_sets = true;
    let (mut there, mut back) = (Line::default(), Line::default());
    let mut sent: Vec<Sent> = wishes.iter().map(|wish| wish.send(&mut pair)).collect();
    for _ in 0..600 {
        let out = there.pass(&pair.initiator.take_output(), &to_target);
        pair.target.receive(&out, pair.way);
        let answer = back.pass(&pair.target.send(), &to_initiator);
        let mut events = pair.initiator.handle_bytes(&answer);
        let quiet = out.is_empty() && answer.is_empty();
        if quiet {
            pair.target.now += Duration::from_millis(250);
            events.extend(pair.initiator.handle_time(pair.target.now));
            pair.target.time_out();
        }
        for event in &events {
            let broken = matches!(event, Event::Violation(_));
            assert!(!broken, "{event:?}");
            let disk = &pair.target.disk;
            sent.iter_mut().for_each(|one| one.take(event, disk));
            // What it has ended has no status, now or later.
            let ended = |one: &Sent| one.done && matches!(one.wish, Wish::End(_));
            let ended = sent.iter().rposition(ended).unwrap_or(0);
            sent[..ended].iter_mut().for_each(|one| one.done = true);
        }
        for event in &pair.target.events {
            let ended = matches!(event, crate::session::Event::ConnectionDone { .. });
            assert!(!ended, "{event:?}");
        }
        let done = sent.iter().all(|one| one.done);
        let session = &pair.target.session;
        let kept = session.recovery.as_ref().is_some_and(|one| !one.is_quiet());
        if done && quiet && !kept && session.tasks.is_empty() {
            assert_eq!(session.window.held(), []);
            assert_eq!(pair.target.open(), []);
            assert_eq!(pair.initiator.outstanding().count(), 0);
            return (there.passed, back.passed);
        }
    }
    let open: Vec<&Sent> = sent.iter().filter(|one| !one.done).collect();
    panic!("not done: {open:?}; {:?}", pair.target.session);
}

/// A set of exchanges, each with the positions of its own.
const EXCHANGES: [&[Wish]; 9] = [
    &[Wish::Read(700)],
    &[Wish::Read(10_000), Wish::Read(512)],
    &[Wish::ReadInWindows(9000)],
    &[Wish::Write(10_000, 8)],
    &[Wish::Write(500, 8), Wish::Ping(300), Wish::Write(3500, 9)],
    &[Wish::Abort, Wish::Ping(20), Wish::Read(100)],
    &[
        Wish::Write(10_000, 8),
        Wish::ReadInWindows(5000),
        Wish::End(TaskManagementFunction::LogicalUnitReset),
        Wish::Ping(20),
        Wish::Write(3500, 9),
    ],
    &[
        Wish::Read(3000),
        Wish::Write(9000, 8),
        Wish::End(TaskManagementFunction::AbortTaskSet),
        Wish::Read(100),
    ],
    &[
        Wish::Write(9000, 8),
        Wish::End(TaskManagementFunction::TargetWarmReset),
        Wish::Write(500, 9),
    ],
];

#[test]
fn one_fault_at_every_position_on_the_way_to_the_target_is_recovered() {
    for wishes in EXCHANGES {
        let (there, _) = run(wishes, |_| None, |_| None);
        for fault in FAULTS {
            for at in 0..there {
                run(wishes, |n| (n == at).then_some(fault), |_| None);
            }
        }
    }
}

#[test]
fn one_fault_at_every_position_on_the_way_to_the_initiator_is_recovered() {
    for wishes in EXCHANGES {
        let (_, back) = run(wishes, |_| None, |_| None);
        for fault in FAULTS {
            for at in 0..back {
                run(wishes, |_| None, |n| (n == at).then_some(fault));
            }
        }
    }
}

#[test]
fn two_faults_of_a_kind_in_a_row_are_recovered() {
    for wishes in EXCHANGES {
        let (there, back) = run(wishes, |_| None, |_| None);
        for fault in [Fault::Drop, Fault::DamageData] {
            let at_two = |at: usize| move |n: usize| (n == at || n == at + 1).then_some(fault);
            for at in 0..there {
                run(wishes, at_two(at), |_| None);
            }
            for at in 0..back {
                run(wishes, |_| None, at_two(at));
            }
        }
    }
}

fn wish() -> impl Strategy<Value = Wish> {
    prop_oneof![
        3 => (1u32..12_000).prop_map(Wish::Read),
        2 => (1u32..12_000).prop_map(Wish::ReadInWindows),
        4 => (1u32..12_000, 1u32..8).prop_map(|(bytes, place)| Wish::Write(bytes, place)),
        1 => (0u32..800).prop_map(Wish::Ping),
        1 => Just(Wish::Abort),
        1 => Just(Wish::End(TaskManagementFunction::ClearTaskSet)),
    ]
}

/// A fault for one PDU in `one_in`, by a number and its place. After a damaged header some come whole: two in a row end a connection, as
/// nobody can know where the next PDU begins.
fn at_random(seed: u64, one_in: u64) -> impl Fn(usize) -> Option<Fault> {
    let any = move |n: usize| {
        let mut x = seed ^ (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
        let kind = (x / one_in % FAULTS.len() as u64) as usize;
        x.is_multiple_of(one_in).then(|| FAULTS[kind])
    };
    move |n| {
        let mut before = n.saturating_sub(4)..n;
        let lost = before.any(|n| any(n) == Some(Fault::DamageHeader));
        any(n).filter(|_| !lost)
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_faults_both_ways_are_recovered(
        wishes in prop::collection::vec(wish(), 1..7),
        seeds: (u64, u64),
        one_in in 8u64..40,
    ) {
        // The reads are of what no write touches.
        let wishes: Vec<Wish> = wishes;
        run(&wishes, at_random(seeds.0, one_in), at_random(seeds.1, one_in));
    }
}
