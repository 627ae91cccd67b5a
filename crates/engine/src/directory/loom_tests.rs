//! The directory and a registry beside a change, under every interleaving: `RUSTFLAGS="--cfg loom" cargo test -p engine --lib
//! --release loom_`.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

use super::*;
use crate::registry::{ClaimOutcome, NexusKey, Registry, SessionRef};

const FIRST_WORLD: usize = 0;
const SECOND_WORLD: usize = 1;

/// What a session and a change share. A session's record is whether the change has told it.
struct House {
    world: AtomicUsize,
    directory: Directory<AtomicBool>,
    registry: Registry,
}

impl House {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            world: AtomicUsize::new(FIRST_WORLD),
            directory: Directory::default(),
            registry: Registry::new(),
        })
    }

    fn is_first_world(&self) -> bool {
        // The locks of the directory order it; nothing else needs to.
        self.world.load(Ordering::Relaxed) == FIRST_WORLD
    }

    /// Starts a session that was admitted in the first world. Whether it is live.
    fn start(&self, number: u64) -> bool {
        let nexus = NexusKey {
            initiator: IscsiName::parse(&format!("iqn.2026-01.org.example:i{number}")).unwrap(),
            isid: Isid([0x80, 0, 0, 0, 0, 1]),
        };
        let ClaimOutcome::Granted(claim) = self.registry.claim(nexus, |_| {}) else {
            return false;
        };
        let session = SessionRef {
            worker: 0,
            session: number,
        };
        let record = std::sync::Arc::new(AtomicBool::new(false));
        let look = || match self.is_first_world() {
            true => self
                .registry
                .make_live(claim, session)
                .map(drop)
                .map_err(drop),
            false => Err(()),
        };
        let started = self
            .directory
            .enter_and_look(SessionId(number), record, look);
        started.is_ok()
    }

    /// A change that no session of the first world survives, in the order in which the control plane makes it.
    fn change(&self, closes: bool) {
        self.world.store(SECOND_WORLD, Ordering::Relaxed);
        if closes {
            self.registry.close_all();
        }
        for told in self.directory.all() {
            told.store(true, Ordering::Relaxed);
        }
    }

    fn assert_all_told(&self, started: usize) {
        let records = self.directory.all();
        assert_eq!(records.len(), started, "a session that did not start stays");
        let told = |record: &std::sync::Arc<AtomicBool>| record.load(Ordering::Relaxed);
        assert!(
            records.iter().all(told),
            "a session of the first world that nobody told"
        );
    }
}

/// So many sessions that start beside a change. Each more of them multiplies the interleavings.
fn model(sessions: u64, closes: bool) {
    loom::model(move || {
        let house = House::new();
        let starts = (0..sessions).map(|number| {
            let house = Arc::clone(&house);
            thread::spawn(move || house.start(number))
        });
        let starts: Vec<_> = starts.collect();
        house.change(closes);
        let started = starts
            .into_iter()
            .map(|start| usize::from(start.join().unwrap()));
        house.assert_all_told(started.sum());
    });
}

#[test]
fn loom_sessions_that_start_beside_a_change_are_told_or_do_not_start() {
    model(2, false);
}

#[test]
fn loom_session_that_starts_beside_the_end_of_its_group_is_told_or_does_not_start() {
    model(1, true);
}

/// The order matters: this one looks first, and is missed.
#[test]
#[should_panic(expected = "that nobody told")]
fn loom_session_that_looks_before_it_enters_is_missed() {
    loom::model(|| {
        let house = House::new();
        let start = {
            let house = Arc::clone(&house);
            thread::spawn(move || {
                let may = house.is_first_world();
                if may {
                    let record = std::sync::Arc::new(AtomicBool::new(false));
                    let entered = house
                        .directory
                        .enter_and_look(SessionId(1), record, || Ok::<(), ()>(()));
                    assert!(entered.is_ok());
                }
                may
            })
        };
        house.change(false);
        let started = usize::from(start.join().unwrap());
        house.assert_all_told(started);
    });
}
