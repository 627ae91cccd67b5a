//! The registry under every interleaving of the threads that use it: `RUSTFLAGS="--cfg loom" cargo test -p engine --lib
//! --release loom_`.

use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use super::*;

/// A portal group with one nexus, and what its sessions did.
struct House {
    registry: Registry,
    diary: Mutex<Diary>,
}

/// Sessions by number. One is alive from when it is made live until it is ended: in between its I/O may be in a backstore.
#[derive(Default)]
struct Diary {
    lived: Vec<u64>,
    ended: Vec<u64>,
}

/// What a login has heard.
#[derive(Default)]
struct Inbox {
    news: Mutex<Vec<ClaimEvent>>,
    changed: Condvar,
}

impl House {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            registry: Registry::new(),
            diary: Mutex::new(Diary::default()),
        })
    }

    fn key() -> NexusKey {
        NexusKey {
            initiator: IscsiName::parse("iqn.2026-01.org.example:initiator").unwrap(),
            isid: Isid([0x80, 0, 0, 0, 0, 1]),
        }
    }

    /// A login, from its claim to its end. Returns whether it became the session `number`.
    fn log_in(&self, number: u64) -> bool {
        let inbox = std::sync::Arc::new(Inbox::default());
        let to = std::sync::Arc::clone(&inbox);
        let claim = self
            .registry
            .claim(Self::key(), move |event| to.hear(event));
        let claim = match claim {
            ClaimOutcome::Granted(claim) => claim,
            ClaimOutcome::Closed => return false,
            ClaimOutcome::Waits { claim, end } => {
                if let Some(old) = end {
                    self.end(old);
                }
                if inbox.first() != ClaimEvent::Ready {
                    return false;
                }
                claim
            }
        };
        let session = SessionRef {
            worker: 0,
            session: number,
        };
        let live = self.registry.make_live(claim, session).is_ok();
        if live {
            self.diary.lock().unwrap().note_live(number);
        }
        live
    }

    /// Ends a session, unless somebody else does.
    fn end(&self, session: SessionRef) {
        let number = session.session;
        if self.diary.lock().unwrap().note_end(number) {
            self.registry.closed(number);
        }
    }

    /// The numbers of the live sessions, as the registry has them.
    fn live(&self) -> Vec<u64> {
        let state = self.registry.shared.lock();
        let live = state.slots.values().filter_map(|slot| match slot {
            Slot::Live(live) => Some(live.session.session),
            Slot::Claimed(_) | Slot::Closing { .. } => None,
        });
        live.collect()
    }

    /// Whether nothing is left behind but the live sessions.
    fn assert_tidy(&self) {
        let live = self.live().len();
        let state = self.registry.shared.lock();
        assert_eq!(state.slots.len(), live, "a slot without a session");
        assert_eq!(state.sessions.len(), live);
        assert_eq!(state.tsihs.len(), live, "a TSIH without a session");
        assert_eq!(self.diary.lock().unwrap().alive(), live);
    }
}

impl Diary {
    /// A session that its successor has ended before it came to note this is not alive.
    fn note_live(&mut self, number: u64) {
        self.lived.push(number);
        assert!(self.alive() <= 1, "two sessions of one nexus");
    }

    /// Whether it was for the caller to end it.
    fn note_end(&mut self, number: u64) -> bool {
        let first = !self.ended.contains(&number);
        if first {
            self.ended.push(number);
        }
        first
    }

    fn alive(&self) -> usize {
        self.lived
            .iter()
            .filter(|number| !self.ended.contains(number))
            .count()
    }
}

impl Inbox {
    fn hear(&self, event: ClaimEvent) {
        self.news.lock().unwrap().push(event);
        self.changed.notify_one();
    }

    /// Waits for the first news.
    fn first(&self) -> ClaimEvent {
        let mut news = self.news.lock().unwrap();
        loop {
            if let Some(event) = news.first() {
                return *event;
            }
            news = self.changed.wait(news).unwrap();
        }
    }
}

/// Logs in on a thread of its own.
fn spawn_login(house: &Arc<House>, number: u64) -> thread::JoinHandle<bool> {
    let house = Arc::clone(house);
    thread::spawn(move || house.log_in(number))
}

#[test]
fn loom_two_logins_of_a_free_nexus_leave_exactly_one_session() {
    loom::model(|| {
        let house = House::new();
        let other = spawn_login(&house, 0);
        let mine = house.log_in(1);
        let others = other.join().unwrap();
        assert!(mine || others, "nobody became a session");
        assert_eq!(house.live().len(), 1);
        house.assert_tidy();
    });
}

#[test]
fn loom_two_logins_while_the_old_session_ends_leave_exactly_one_session() {
    loom::model(|| {
        let house = House::new();
        assert!(house.log_in(0));
        let old = SessionRef {
            worker: 0,
            session: 0,
        };
        let first = spawn_login(&house, 1);
        let second = spawn_login(&house, 2);
        // It ends by itself, perhaps while a login has it ended.
        house.end(old);
        let first = first.join().unwrap();
        let second = second.join().unwrap();
        assert!(first || second, "nobody became a session");
        assert_eq!(house.live().len(), 1);
        house.assert_tidy();
    });
}

#[test]
fn loom_two_reinstatements_of_a_live_session_leave_exactly_one_session() {
    loom::model(|| {
        let house = House::new();
        assert!(house.log_in(0));
        let first = spawn_login(&house, 1);
        let mine = house.log_in(2);
        let first = first.join().unwrap();
        assert!(first || mine, "nobody became a session");
        let live = house.live();
        assert_eq!(live.len(), 1);
        assert_ne!(live, [0], "the old session was replaced");
        house.assert_tidy();
    });
}

#[test]
fn loom_release_beside_two_reinstatements_leaves_nothing() {
    loom::model(|| {
        let house = House::new();
        assert!(house.log_in(0));
        let first = spawn_login(&house, 1);
        let second = spawn_login(&house, 2);
        for session in house.registry.close_all() {
            house.end(session);
        }
        first.join().unwrap();
        second.join().unwrap();
        assert_eq!(house.live(), Vec::<u64>::new());
        house.assert_tidy();
        assert!(!house.log_in(3), "a closed group takes no login");
    });
}

#[test]
fn loom_login_that_gives_up_beside_the_end_of_the_old_session_leaves_nothing() {
    loom::model(|| {
        let house = House::new();
        assert!(house.log_in(0));
        let gives_up = {
            let house = Arc::clone(&house);
            thread::spawn(move || match house.registry.claim(House::key(), |_| {}) {
                ClaimOutcome::Granted(claim) | ClaimOutcome::Waits { claim, .. } => {
                    house.registry.cancel(claim);
                }
                ClaimOutcome::Closed => panic!("the group is open"),
            })
        };
        house.end(SessionRef {
            worker: 0,
            session: 0,
        });
        gives_up.join().unwrap();
        assert_eq!(house.live(), Vec::<u64>::new());
        house.assert_tidy();
    });
}
