//! The stream of events.

use std::io::Write;

use control_api::{Client, Effect, EffectAction, Event, Events, SessionEnd, SessionStart};
use daemon::api::{Limits, Stopped};

use super::fake::refusal;
use super::{PATIENCE, Rig, eventually, problem_of, request};

fn samples() -> Vec<Event> {
    let (initiator, target) = ("iqn.2026-11.org.example:i".to_owned(), String::new());
    let effect = Effect {
        path: "/é\n".to_owned(),
        action: EffectAction::Create,
        attributes: Vec::new(),
    };
    vec![
        Event::Committed {
            generation: 7,
            who: "boot".to_owned(),
            effects: vec![effect],
        },
        Event::Drained {
            generation: 7,
            remnants: vec!["ram/a".to_owned()],
        },
        Event::LoginRefused(refusal()),
        Event::SessionStarted(SessionStart {
            id: 1,
            initiator: initiator.clone(),
            target: target.clone(),
            tpg: 1,
            peer: "[::1]:1".to_owned(),
        }),
        Event::SessionEnded(SessionEnd {
            id: 1,
            initiator,
            target,
            tpg: 1,
            reason: "logout".to_owned(),
        }),
        Event::Degraded {
            path: "/x".to_owned(),
            reason: "no device".to_owned(),
        },
        Event::Restored {
            path: "/x".to_owned(),
        },
    ]
}

fn watch(client: &Client) -> Events {
    client.events().unwrap()
}

#[test]
fn every_watcher_is_told_every_event_in_order() {
    let rig = Rig::new();
    let watchers = [watch(&rig.client()), watch(&rig.client())];
    for event in samples() {
        assert_eq!(rig.fake.emit(&event), 2);
    }
    for watcher in watchers {
        let told: Vec<Event> = watcher.take(samples().len()).map(Result::unwrap).collect();
        assert_eq!(told, samples());
    }
    eventually(|| (rig.fake.emit(&samples()[6]) == 0).then_some(()));
}

#[test]
fn watcher_beyond_the_limit_is_refused_until_one_leaves() {
    let rig = Rig::with(Limits {
        watchers: 1,
        ..Limits::default()
    });
    let first = watch(&rig.client());
    assert!(problem_of(rig.client().events()).is("too_many_watchers"));
    drop(first);
    drop(eventually(|| rig.client().events().ok()));
}

#[test]
fn slow_reader_is_dropped_and_others_are_not() {
    let rig = Rig::with(Limits {
        waiting_events: 1000,
        ..Limits::default()
    });
    let mut good = watch(&rig.client());
    let mut slow = rig.connect();
    slow.write_all(request("GET", "/v1/events", "", "").as_bytes())
        .unwrap();
    eventually(|| (rig.fake.watchers() == 2).then_some(()));
    let event = Event::Restored {
        path: "x".repeat(4096),
    };
    let reader = std::thread::spawn(move || {
        let told = good.by_ref().take(2000).filter(Result::is_ok).count();
        (told, good)
    });
    // More than both socket and queue hold, in steps that a reader who reads keeps up with.
    let mut sent = 0;
    while sent < 2000 {
        let left = rig.fake.emit(&event);
        sent += 1;
        assert!(left >= 1, "the good one stays");
        std::thread::yield_now();
        if sent % 100 == 0 {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
    let (told, mut good) = reader.join().unwrap();
    assert_eq!(told, 2000);
    eventually(|| (rig.fake.emit(&event) == 1).then_some(()));
    assert_eq!(good.next().unwrap().unwrap(), event);
}

#[test]
fn stop_ends_the_stream() {
    let rig = Rig::new();
    let mut watcher = watch(&rig.client());
    rig.fake.emit(&samples()[0]);
    assert_eq!(watcher.next().unwrap().unwrap(), samples()[0]);
    assert_eq!(rig.server.stop(PATIENCE), Stopped::Clean);
    assert!(watcher.next().is_none());
    assert!(watcher.next().is_none());
}
