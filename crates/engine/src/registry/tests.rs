//! The registry, one call after the other.

use std::sync::{Arc, Mutex};

use super::*;

type Heard = Arc<Mutex<Vec<ClaimEvent>>>;

fn key(isid: u8) -> NexusKey {
    NexusKey {
        initiator: IscsiName::parse("iqn.2026-01.org.example:initiator").unwrap(),
        isid: Isid([0x80, 0, 0, 0, 0, isid]),
    }
}

fn session(session: u64) -> SessionRef {
    SessionRef { worker: 3, session }
}

fn claim(registry: &Registry, isid: u8) -> (ClaimOutcome, Heard) {
    let heard = Heard::default();
    let hears = Arc::clone(&heard);
    let outcome = registry.claim(key(isid), move |event| hears.lock().unwrap().push(event));
    (outcome, heard)
}

fn granted(registry: &Registry, isid: u8) -> (Claim, Heard) {
    match claim(registry, isid) {
        (ClaimOutcome::Granted(claim), heard) => (claim, heard),
        _ => panic!("the nexus is not free"),
    }
}

fn waits(registry: &Registry, isid: u8) -> (Claim, Option<SessionRef>, Heard) {
    match claim(registry, isid) {
        (ClaimOutcome::Waits { claim, end }, heard) => (claim, end, heard),
        _ => panic!("the nexus has no session"),
    }
}

fn heard(heard: &Heard) -> Vec<ClaimEvent> {
    heard.lock().unwrap().clone()
}

/// What a registry holds when nobody uses it: slots, sessions, TSIHs.
fn sizes(registry: &Registry) -> (usize, usize, usize) {
    let state = registry.shared.lock();
    (state.slots.len(), state.sessions.len(), state.tsihs.len())
}

#[test]
fn claim_of_a_free_nexus_is_granted_and_made_live_with_its_tsih() {
    let registry = Registry::new();
    let (first, _) = granted(&registry, 1);
    let (second, _) = granted(&registry, 2);
    assert_eq!((first.tsih(), second.tsih()), (Tsih(1), Tsih(2)));
    assert_eq!(registry.find(Tsih(1)), None, "no session yet");
    assert_eq!(registry.make_live(first, session(10)), Ok(Tsih(1)));
    assert_eq!(registry.make_live(second, session(11)), Ok(Tsih(2)));
    assert_eq!(registry.find(Tsih(1)), Some((key(1), session(10))));
    assert_eq!(registry.find(Tsih(2)), Some((key(2), session(11))));
    assert_eq!(registry.find(Tsih(3)), None);
    assert_eq!(session(10).session(), SessionId(10));
    registry.closed(10);
    registry.closed(11);
    registry.closed(12);
    assert_eq!(sizes(&registry), (0, 0, 0));
}

#[test]
fn claim_of_a_claimed_nexus_takes_it_over() {
    let registry = Registry::new();
    let (older, older_heard) = granted(&registry, 1);
    let (newer, newer_heard) = granted(&registry, 1);
    assert_eq!(heard(&older_heard), [ClaimEvent::Superseded]);
    assert_eq!(
        registry.make_live(older, session(1)),
        Err(ClaimLost::Superseded)
    );
    assert_eq!(registry.make_live(newer, session(2)), Ok(Tsih(2)));
    assert_eq!(heard(&newer_heard), []);
    assert_eq!(sizes(&registry), (1, 1, 1));
}

#[test]
fn claim_of_a_live_nexus_waits_until_its_session_has_closed() {
    let registry = Registry::new();
    let (old, _) = granted(&registry, 1);
    registry.make_live(old, session(1)).unwrap();
    let (claim, end, news) = waits(&registry, 1);
    assert_eq!(end, Some(session(1)));
    assert_eq!(
        registry.find(Tsih(1)),
        None,
        "a session that closes takes no connection"
    );
    assert_eq!(heard(&news), []);
    registry.closed(1);
    assert_eq!(heard(&news), [ClaimEvent::Ready]);
    assert_eq!(registry.make_live(claim, session(2)), Ok(Tsih(2)));
    assert_eq!(registry.find(Tsih(2)), Some((key(1), session(2))));
}

#[test]
fn claim_made_live_before_it_is_ready_is_refused_and_given_back() {
    let registry = Registry::new();
    let (old, _) = granted(&registry, 1);
    registry.make_live(old, session(1)).unwrap();
    let (claim, _, news) = waits(&registry, 1);
    assert_eq!(
        registry.make_live(claim, session(2)),
        Err(ClaimLost::NotReady)
    );
    registry.closed(1);
    assert_eq!(heard(&news), []);
    assert_eq!(sizes(&registry), (0, 0, 0));
}

#[test]
fn claim_that_waits_is_taken_over_and_the_old_session_is_ended_once() {
    let registry = Registry::new();
    let (old, _) = granted(&registry, 1);
    registry.make_live(old, session(1)).unwrap();
    let (older, _, older_heard) = waits(&registry, 1);
    let (newer, end, newer_heard) = waits(&registry, 1);
    assert_eq!(end, None);
    assert_eq!(heard(&older_heard), [ClaimEvent::Superseded]);
    registry.cancel(older);
    registry.closed(1);
    assert_eq!(heard(&newer_heard), [ClaimEvent::Ready]);
    // Ready, and taken over all the same.
    let (newest, _) = granted(&registry, 1);
    assert_eq!(
        heard(&newer_heard),
        [ClaimEvent::Ready, ClaimEvent::Superseded]
    );
    assert_eq!(
        registry.make_live(newer, session(2)),
        Err(ClaimLost::Superseded)
    );
    assert_eq!(registry.make_live(newest, session(3)), Ok(Tsih(4)));
    assert_eq!(sizes(&registry), (1, 1, 1));
}

#[test]
fn claim_dropped_leaves_the_nexus_free_or_closing() {
    let registry = Registry::new();
    let (first, _) = granted(&registry, 1);
    drop(first);
    assert_eq!(sizes(&registry), (0, 0, 0));
    let (old, _) = granted(&registry, 1);
    registry.make_live(old, session(1)).unwrap();
    let (waiting, _, news) = waits(&registry, 1);
    registry.cancel(waiting);
    let (again, end, _) = waits(&registry, 1);
    assert_eq!(end, None, "the session was told to end already");
    drop(again);
    registry.closed(1);
    assert_eq!(heard(&news), []);
    assert_eq!(sizes(&registry), (0, 0, 0));
}

#[test]
fn close_all_cancels_claims_and_names_each_session_to_end_once() {
    let registry = Registry::new();
    for (isid, id) in [(1, 10), (2, 20), (3, 30)] {
        let (claim, _) = granted(&registry, isid);
        registry.make_live(claim, session(id)).unwrap();
    }
    let (waiting, end, waiting_heard) = waits(&registry, 2);
    assert_eq!(end, Some(session(20)));
    let (claimed, claimed_heard) = granted(&registry, 4);
    assert_eq!(registry.close_all(), [session(10), session(30)]);
    assert_eq!(registry.close_all(), []);
    assert_eq!(heard(&waiting_heard), [ClaimEvent::Cancelled]);
    assert_eq!(heard(&claimed_heard), [ClaimEvent::Cancelled]);
    assert_eq!(
        registry.make_live(claimed, session(40)),
        Err(ClaimLost::Cancelled)
    );
    for isid in [1, 5] {
        assert!(matches!(claim(&registry, isid).0, ClaimOutcome::Closed));
    }
    for id in [10, 20, 30] {
        registry.closed(id);
    }
    assert_eq!(
        registry.make_live(waiting, session(21)),
        Err(ClaimLost::Cancelled)
    );
    assert_eq!(sizes(&registry), (0, 0, 0));
}

#[test]
fn tsih_is_not_zero_and_not_used_again_while_it_is_taken() {
    let registry = Registry::new();
    let (kept, _) = granted(&registry, 1);
    assert_eq!(registry.make_live(kept, session(1)), Ok(Tsih(1)));
    let mut last = Tsih(1);
    for _ in 0..u16::MAX {
        let (claim, _) = granted(&registry, 2);
        let next = if last == Tsih(u16::MAX) {
            Tsih(2)
        } else {
            Tsih(last.0 + 1)
        };
        assert_eq!(claim.tsih(), next);
        last = next;
    }
}

#[test]
fn claim_without_a_tsih_left_is_refused() {
    let registry = Registry::new();
    let taken: Vec<Claim> = (1..=u16::MAX)
        .map(|number| {
            let [high, low] = number.to_be_bytes();
            let mut nexus = key(low);
            nexus.isid.0[4] = high;
            match registry.claim(nexus, |_| {}) {
                ClaimOutcome::Granted(claim) => claim,
                _ => panic!("there are 65,535"),
            }
        })
        .collect();
    assert!(matches!(claim(&registry, 0).0, ClaimOutcome::Closed));
    drop(taken);
    assert!(matches!(claim(&registry, 0).0, ClaimOutcome::Granted(_)));
}

#[test]
fn notification_may_use_the_registry() {
    let registry = Arc::new(Registry::new());
    let inner = Arc::clone(&registry);
    let outcome = registry.claim(key(1), move |_| assert_eq!(inner.find(Tsih(9)), None));
    assert!(matches!(outcome, ClaimOutcome::Granted(_)));
    // The older one is told while the newer one claims: the mutex is free then.
    let (newer, _) = granted(&registry, 1);
    drop(newer);
    drop(outcome);
    assert_eq!(sizes(&registry), (0, 0, 0));
}
