//! Verified I/O of many sessions, while sessions are replaced, reset, cut off and drained.

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use initiator::{Delivery, Event};
use iscsi_wire::TaskManagementFunction;
use support::{Client, HOST, file, on_each_driver, pattern, ram, read10, wire_lun, write10};

/// Writes and reads back its own region, many commands at a time.
fn write_and_verify(portal: SocketAddr, who: u64, rounds: u64) {
    let mut client = Client::login_as(portal, &format!("{HOST}-{who}"));
    client.good(0, &[0; 6], &[], 0);
    let base = u32::try_from(who * 2048).expect("a small disk");
    for round in 0..rounds {
        let seed = |i: u64| who * 1_000_003 + round * 1009 + i;
        let size = |i: u64| (1 + usize::try_from(seed(i) % 24).expect("small")) * 512;
        let at = |i: u64| base + u32::try_from(i * 32).expect("small");
        let tags: Vec<_> = (0..48)
            .map(|i| {
                let data = pattern(seed(i), size(i));
                client
                    .initiator
                    .command(wire_lun(0), &write10(at(i), size(i)), data, 0)
            })
            .collect();
        for itt in tags {
            assert_eq!(client.done(itt).status, 0);
        }
        let tags: Vec<_> = (0..48)
            .map(|i| {
                let bytes = u32::try_from(size(i)).expect("small");
                client
                    .initiator
                    .command(wire_lun(0), &read10(at(i), size(i)), Vec::new(), bytes)
            })
            .collect();
        for (i, itt) in tags.into_iter().enumerate() {
            let done = client.done(itt);
            assert_eq!(done.status, 0);
            assert_eq!(
                done.data,
                pattern(seed(i as u64), size(i as u64)),
                "{who}/{round}/{i}"
            );
        }
    }
}

#[test]
fn verified_io_of_many_sessions_on_ram_is_right() {
    on_each_driver(
        2,
        || vec![ram(32 << 20)],
        |portal, _| {
            std::thread::scope(|scope| {
                for who in 0..8 {
                    scope.spawn(move || write_and_verify(portal, who, 6));
                }
            });
        },
    );
}

#[test]
fn verified_io_of_many_sessions_on_a_file_is_right() {
    let dir = tempfile::tempdir().expect("a folder");
    on_each_driver(
        2,
        || {
            let path = dir.path().join("disk.img");
            let _absent = std::fs::remove_file(&path);
            vec![file(path, 32 << 20)]
        },
        |portal, _| {
            std::thread::scope(|scope| {
                for who in 0..6 {
                    scope.spawn(move || write_and_verify(portal, who, 4));
                }
            });
        },
    );
}

/// A session with commands and data under way is replaced again and again; a neighbour notices nothing.
#[test]
fn reinstatement_under_load_keeps_neighbours_whole() {
    on_each_driver(
        2,
        || vec![ram(32 << 20)],
        |portal, engine| {
            std::thread::scope(|scope| {
                scope.spawn(|| write_and_verify(portal, 1, 8));
                scope.spawn(|| write_and_verify(portal, 2, 8));
                scope.spawn(|| {
                    for round in 0..30_u64 {
                        let mut client = Client::login_as(portal, &format!("{HOST}-again"));
                        for i in 0..32 {
                            let data = pattern(i, 64 << 10);
                            client.initiator.command(
                                wire_lun(0),
                                &write10(20_000, data.len()),
                                data,
                                0,
                            );
                        }
                        client.flush();
                        if round % 3 == 0 {
                            // Half a PDU more, and the connection is left as it is.
                            let _ = client.next(|e| matches!(e, Event::CommandDone(_)));
                        }
                        std::mem::forget(client.stream.try_clone().map(drop));
                    }
                });
            });
            assert!(engine.counters().logins_accepted >= 32);
        },
    );
}

#[test]
fn resets_under_load_end_every_command_once() {
    on_each_driver(
        2,
        || vec![ram(8 << 20)],
        |portal, _| {
            let mut loaded = Client::login_as(portal, &format!("{HOST}-loaded"));
            let mut resetter = Client::login_as(portal, &format!("{HOST}-resetter"));
            loaded.good(0, &[0; 6], &[], 0);
            resetter.good(0, &[0; 6], &[], 0);
            for _ in 0..20 {
                let tags: Vec<_> = (0..16)
                    .map(|i| {
                        let data = pattern(i, 16 << 10);
                        loaded
                            .initiator
                            .command(wire_lun(0), &write10(64, data.len()), data, 0)
                    })
                    .collect();
                loaded.flush();
                let function = TaskManagementFunction::LogicalUnitReset;
                resetter.initiator.task_management(
                    function,
                    wire_lun(0),
                    None,
                    Delivery::Immediate,
                );
                resetter.next(|e| matches!(e, Event::TaskManaged { .. }));
                // A reset of another nexus aborts without a status; a ping shows that the connection lives, and that all that
                // was answered has been.
                loaded.initiator.ping(b"still there", Delivery::Ordered);
                loaded.next(|e| matches!(e, Event::Ponged { .. }));
                let answered = loaded
                    .events
                    .iter()
                    .filter(|e| matches!(e, Event::CommandDone(_)));
                assert!(answered.count() <= tags.len());
                loaded.events.clear();
            }
            assert_eq!(loaded.run(0, &[0; 6], &[], 0).status, 0);
        },
    );
}

#[test]
fn connections_cut_anywhere_leave_nothing_behind() {
    on_each_driver(
        2,
        || vec![ram(8 << 20)],
        |portal, engine| {
            for cut in 0..60_usize {
                let mut client = Client::login_as(portal, &format!("{HOST}-{}", cut % 5));
                client
                    .initiator
                    .command(wire_lun(0), &write10(0, 65_536), pattern(1, 65_536), 0);
                client
                    .initiator
                    .command(wire_lun(0), &read10(0, 65_536), Vec::new(), 65_536);
                let bytes = client.initiator.take_output();
                let end = (cut * 1511) % bytes.len();
                std::io::Write::write_all(&mut client.stream, &bytes[..end])
                    .expect("the start goes");
            }
            let start = std::time::Instant::now();
            while engine.counters().sessions > 0 {
                assert!(
                    start.elapsed() < support::PATIENCE,
                    "{:?}",
                    engine.counters()
                );
                std::thread::sleep(Duration::from_millis(5));
            }
        },
    );
}

/// The last session's end and the start of the drain meet at any moment: every worker ends all the same.
#[test]
fn drain_at_the_moment_the_last_session_ends_always_ends() {
    for round in 0..40_u64 {
        let driver = support::DRIVERS[0];
        let engine = engine::Engine::start(
            support::config(driver, 3),
            support::tree(vec![ram(1 << 20)]),
        );
        let engine = engine.expect("epoll is always there");
        let portal = engine.portals()[0];
        let clients: Vec<Client> = (0..3)
            .map(|i| Client::login_as(portal, &format!("{HOST}-{i}")))
            .collect();
        drop(clients);
        if round % 2 == 0 {
            while engine.counters().sessions > 0 {
                std::thread::yield_now();
            }
        }
        support::drain(engine);
    }
}
