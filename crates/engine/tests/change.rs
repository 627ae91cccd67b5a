//! The tree changes while initiators work: what a change names is told, what it takes away drains, and nothing else notices.

mod support;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use engine::{ApplyError, Engine, Missing, SessionEffect};
use initiator::{Config, Delivery, Event};
use iscsi_wire::{LoginStatus, LogoutReason};
use model::Change;
use support::{
    Client, HOST, PATIENCE, SOON, TARGET, apply, asc, create, delete, drain, on_each_driver, path,
    pattern, plan, ram, ready, sense_key, set, settle, tpg, transact, wire_lun,
};

const LUNS_CHANGED: Option<(u8, (u8, u8))> = Some((6, (0x3f, 0x0e)));
const NOT_SUPPORTED: Option<(u8, (u8, u8))> = Some((5, (0x25, 0)));

#[test]
fn lun_that_comes_or_goes_is_told_and_ends_no_session() {
    on_each_driver(
        2,
        || vec![ram(1 << 20)],
        |portal, engine| {
            let mut clients: Vec<Client> = (0..4)
                .map(|who| Client::login_as(portal, &format!("{HOST}-{who}")))
                .collect();
            for client in &mut clients {
                settle(client, 0);
                assert_eq!(ready(client, 1), NOT_SUPPORTED);
            }
            transact(
                engine,
                &[
                    create(path("/backstores/ram/more"), &[("size", "1MiB")]),
                    create(tpg("/luns/1"), &[("backstore", "ram/more")]),
                ],
            );
            for client in &mut clients {
                assert_eq!(ready(client, 0), LUNS_CHANGED);
                assert_eq!(ready(client, 0), None);
                settle(client, 1);
                client.write(1, 3, &pattern(7, 512));
            }
            transact(engine, &[delete(tpg("/luns/1"))]);
            for client in &mut clients {
                assert_eq!(ready(client, 0), LUNS_CHANGED);
                assert_eq!(ready(client, 0), None);
                assert_eq!(ready(client, 1), NOT_SUPPORTED);
            }
            transact(engine, &[delete(path("/backstores/ram/more"))]);
            assert_eq!(engine.remnants(), []);
            // The place of the unit is used again, and is another's.
            transact(
                engine,
                &[
                    create(path("/backstores/ram/next"), &[("size", "2MiB")]),
                    create(tpg("/luns/1"), &[("backstore", "ram/next")]),
                ],
            );
            for client in &mut clients {
                settle(client, 0);
                assert_eq!(client.read(1, 3, 512), vec![0; 512]);
            }
        },
    );
}

#[test]
fn mapped_lun_concerns_its_initiator_alone() {
    on_each_driver(
        2,
        || vec![ram(1 << 20), ram(1 << 20)],
        |portal, engine| {
            let acl = format!("/acls/{HOST}-0");
            transact(engine, &[create(tpg(&acl), &[])]);
            let mut one = Client::login_as(portal, &format!("{HOST}-0"));
            let mut other = Client::login_as(portal, &format!("{HOST}-1"));
            settle(&mut one, 0);
            settle(&mut other, 0);
            let mapped = tpg(&format!("{acl}/luns/7"));
            transact(engine, &[create(mapped.clone(), &[("lun", "0")])]);
            assert_eq!(ready(&mut other, 0), None);
            assert_eq!(ready(&mut one, 0), NOT_SUPPORTED);
            settle(&mut one, 7);
            one.write(7, 1, &pattern(3, 512));
            transact(engine, &[set(mapped, &[("write_protect", "true")])]);
            // MODE PARAMETERS CHANGED: the WP bit is another.
            assert_eq!(ready(&mut one, 7), Some((6, (0x2a, 0x01))));
            let done = one.run(7, &support::write10(1, 512), &pattern(4, 512), 0);
            assert_eq!((sense_key(&done.sense), asc(&done.sense)), (7, (0x27, 0)));
            assert_eq!(ready(&mut other, 0), None);
        },
    );
}

#[test]
fn group_disabled_asks_for_logout_cuts_off_and_serves_again_when_enabled() {
    on_each_driver(
        2,
        || vec![ram(1 << 20)],
        |portal, engine| {
            let mut polite = Client::login_as(portal, &format!("{HOST}-polite"));
            let mut deaf = Client::login_as(portal, &format!("{HOST}-deaf"));
            settle(&mut polite, 0);
            settle(&mut deaf, 0);
            let change = [set(tpg(""), &[("enabled", "false")])];
            let foreseen = engine.touches(&plan(engine, &change));
            assert_eq!(foreseen.len(), 2);
            assert!(foreseen.iter().all(|one| one.effect == SessionEffect::Ends));
            let release = apply(engine, &change);
            polite.next(|e| matches!(e, Event::Async { .. }));
            // It is served until it has logged out.
            polite.write(0, 0, &pattern(1, 512));
            let status = login_status(portal, "new");
            assert_eq!(status, Some(LoginStatus::SERVICE_UNAVAILABLE));
            polite
                .initiator
                .logout(LogoutReason::CloseSession, Delivery::Ordered);
            polite.next(|e| matches!(e, Event::LoggedOut(_)));
            let start = Instant::now();
            assert!(release.wait().is_nothing(), "the deaf one is cut off");
            assert!(start.elapsed() < PATIENCE);
            assert_eq!(engine.sessions().len(), 0);
            transact(engine, &[set(tpg(""), &[("enabled", "true")])]);
            let mut again = Client::login_as(portal, &format!("{HOST}-deaf"));
            settle(&mut again, 0);
            assert_eq!(again.read(0, 0, 512), pattern(1, 512));
        },
    );
}

/// The status that a login gets; `None`: it becomes a session.
fn login_status(portal: SocketAddr, who: &str) -> Option<LoginStatus> {
    let mut client = Client::connect(portal, Config::normal(&format!("{HOST}-{who}"), TARGET));
    client.initiator.start_login();
    match client.next(|e| matches!(e, Event::LoggedIn | Event::LoginFailed { .. })) {
        Event::LoginFailed { status, .. } => Some(status),
        _ => None,
    }
}

#[test]
fn acl_that_goes_ends_the_sessions_that_came_by_it_alone() {
    on_each_driver(
        2,
        || vec![ram(1 << 20)],
        |portal, engine| {
            let acl = |who: &str| tpg(&format!("/acls/{HOST}-{who}"));
            transact(
                engine,
                &[
                    create(acl("a"), &[]),
                    create(acl("b"), &[]),
                    set(tpg(""), &[("generate_node_acls", "false")]),
                ],
            );
            let mut stays = Client::login_as(portal, &format!("{HOST}-a"));
            let mut goes = Client::login_as(portal, &format!("{HOST}-b"));
            settle(&mut stays, 0);
            settle(&mut goes, 0);
            let release = apply(engine, &[delete(acl("b"))]);
            goes.next(|e| matches!(e, Event::Async { .. }));
            assert_eq!(
                login_status(portal, "b"),
                Some(LoginStatus::AUTHORIZATION_FAILURE)
            );
            assert!(release.wait().is_nothing());
            assert_eq!(ready(&mut stays, 0), None);
            assert_eq!(engine.sessions().len(), 1);
            // The target itself.
            let release = apply(engine, &[delete(path(&format!("/targets/{TARGET}")))]);
            stays.next(|e| matches!(e, Event::Async { .. }));
            assert!(release.wait().is_nothing());
            assert!(engine.sessions().is_empty() && engine.portals().is_empty());
        },
    );
}

#[test]
fn resize_is_told_to_every_nexus_and_the_new_blocks_are_there() {
    on_each_driver(
        2,
        || vec![ram(1 << 20)],
        |portal, engine| {
            let mut clients: Vec<Client> = (0..3)
                .map(|who| Client::login_as(portal, &format!("{HOST}-{who}")))
                .collect();
            for client in &mut clients {
                settle(client, 0);
                let beyond = client.run(0, &support::read10(2048, 512), &[], 512);
                assert_eq!(sense_key(&beyond.sense), 5);
            }
            transact(
                engine,
                &[set(path("/backstores/ram/disk0"), &[("size", "2MiB")])],
            );
            for client in &mut clients {
                assert_eq!(
                    ready(client, 0),
                    Some((6, (0x2a, 0x09))),
                    "CAPACITY DATA HAS CHANGED"
                );
                client.write(0, 2048, &pattern(5, 512));
                assert_eq!(client.read(0, 2048, 512), pattern(5, 512));
            }
        },
    );
}

#[test]
fn change_that_cannot_be_had_changes_nothing() {
    on_each_driver(
        1,
        || vec![ram(1 << 20)],
        |portal, engine| {
            let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            let taken = taken.local_addr().expect("it has one");
            let _holds = std::net::TcpListener::bind(taken);
            let before = (engine.tree().generation, engine.portals());
            let missing = create(
                path("/backstores/file/x"),
                &[("path", "/nonexistent/x.img")],
            );
            let fine = create(
                path("/backstores/ram/y"),
                &[("size", "1MiB"), ("serial", "one")],
            );
            let twice = create(
                path("/backstores/ram/z"),
                &[("size", "1MiB"), ("serial", "one")],
            );
            for changes in [vec![fine.clone(), missing], vec![fine.clone(), twice]] {
                let plan = plan(engine, &changes);
                let error = engine.apply(&plan, Missing::Refuse, SOON, &mut |_| Ok(()));
                assert!(matches!(error, Err(ApplyError::Store { .. })), "{error:?}");
            }
            let plan_of_fine = plan(engine, std::slice::from_ref(&fine));
            let unsaved = engine.apply(&plan_of_fine, Missing::Refuse, SOON, &mut |_| {
                Err("full".into())
            });
            assert!(matches!(unsaved, Err(ApplyError::Save(_))));
            assert_eq!((engine.tree().generation, engine.portals()), before);
            transact(engine, &[fine]);
            // The plan was made for a generation that is no more.
            let stale = engine.apply(&plan_of_fine, Missing::Refuse, SOON, &mut |_| Ok(()));
            assert!(matches!(stale, Err(ApplyError::Stale { .. })), "{stale:?}");
            assert_eq!(login_status(portal, "after"), None);
        },
    );
}

#[test]
fn deleted_backstore_lets_its_file_go_and_an_absent_one_comes_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let image = folder.path().join("disk.img");
    std::fs::write(&image, pattern(9, 1 << 20)).expect("a file");
    let text = image.to_str().expect("UTF-8").to_owned();
    on_each_driver(
        2,
        || vec![ram(1 << 20)],
        |portal, engine| {
            let disk = || create(path("/backstores/file/d"), &[("path", text.as_str())]);
            let lun = || create(tpg("/luns/5"), &[("backstore", "file/d")]);
            let mut client = Client::login_as(portal, HOST);
            settle(&mut client, 0);
            for _ in 0..3 {
                transact(engine, &[disk(), lun()]);
                settle(&mut client, 5);
                assert_eq!(client.read(5, 0, 512), pattern(9, 1 << 20)[..512]);
                transact(engine, &[delete(tpg("/luns/5"))]);
                transact(engine, &[delete(path("/backstores/file/d"))]);
            }
            let away = folder.path().join("away.img");
            std::fs::rename(&image, &away).expect("renamed");
            let changes = plan(engine, &[disk(), lun()]);
            let release = engine.apply(&changes, Missing::Degrade, SOON, &mut |_| Ok(()));
            let release = release.expect("degraded");
            assert!(release.wait().is_nothing());
            assert_eq!(release.degraded.len(), 1);
            let not_ready = loop {
                match ready(&mut client, 5) {
                    Some((6, _)) => {}
                    other => break other,
                }
            };
            assert_eq!(not_ready.map(|(key, _)| key), Some(2), "NOT READY");
            let id = engine.degraded()[0];
            assert!(engine.reopen(id).is_err(), "it is still away");
            std::fs::rename(&away, &image).expect("renamed");
            assert!(engine.reopen(id).expect("it is there").is_some());
            settle(&mut client, 5);
            assert_eq!(client.read(5, 0, 512), pattern(9, 1 << 20)[..512]);
            assert_eq!(engine.degraded(), []);
        },
    );
}

#[test]
fn portal_between_wildcard_and_specific_refuses_no_login() {
    on_each_driver(
        2,
        || vec![ram(1 << 20)],
        |portal, engine| {
            let at = |ip: &str| tpg(&format!("/portals/{ip}:{}", portal.port()));
            let stop = AtomicBool::new(false);
            let logins = AtomicU64::new(0);
            std::thread::scope(|scope| {
                for who in 0..3 {
                    let (stop, logins) = (&stop, &logins);
                    scope.spawn(move || {
                        while !stop.load(Ordering::Relaxed) {
                            assert_eq!(login_status(portal, &format!("l{who}")), None);
                            logins.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                }
                for _ in 0..3 {
                    transact(
                        engine,
                        &[create(at("0.0.0.0"), &[]), delete(at("127.0.0.1"))],
                    );
                    transact(
                        engine,
                        &[create(at("127.0.0.1"), &[]), delete(at("0.0.0.0"))],
                    );
                }
                stop.store(true, Ordering::Relaxed);
            });
            assert!(logins.load(Ordering::Relaxed) >= 3);
            assert_eq!(engine.portals(), [portal]);
        },
    );
}

#[test]
fn thousand_changes_elsewhere_touch_no_command_of_others() {
    on_each_driver(
        2,
        || vec![ram(4 << 20)],
        |portal, engine| {
            let stop = AtomicBool::new(false);
            std::thread::scope(|scope| {
                for who in 0..4_u32 {
                    let stop = &stop;
                    scope.spawn(move || {
                        let mut client = Client::login_as(portal, &format!("{HOST}-{who}"));
                        settle(&mut client, 0);
                        let mut round = 0;
                        while !stop.load(Ordering::Relaxed) {
                            round += 1;
                            let data = pattern(u64::from(who) << 32 | round, 4096);
                            // No unit attention, no lost command, no reconnect: `done` sees the very first answer.
                            let cdb = support::write10(who * 8, 4096);
                            let itt = client.initiator.command(wire_lun(0), &cdb, data.clone(), 0);
                            assert_eq!(client.done(itt).status, 0);
                            let cdb = support::read10(who * 8, 4096);
                            let itt = client
                                .initiator
                                .command(wire_lun(0), &cdb, Vec::new(), 4096);
                            assert_eq!(client.done(itt).data, data);
                        }
                    });
                }
                let other = "iqn.2026-11.org.example:other";
                let target = path(&format!("/targets/{other}"));
                let group = path(&format!("/targets/{other}/tpgs/1"));
                let below = |text: &str| path(&format!("/targets/{other}/tpgs/1{text}"));
                for round in 0..100 {
                    let size = format!("{}MiB", 1 + round % 3);
                    let steps: [Vec<Change>; 10] = [
                        vec![create(target.clone(), &[]), create(group.clone(), &[])],
                        vec![create(
                            path("/backstores/ram/o"),
                            &[("size", size.as_str())],
                        )],
                        vec![create(below("/luns/0"), &[("backstore", "ram/o")])],
                        vec![create(below("/portals/127.0.0.1:0"), &[])],
                        vec![create(below(&format!("/acls/{HOST}")), &[])],
                        vec![create(
                            below(&format!("/acls/{HOST}/luns/3")),
                            &[("lun", "0")],
                        )],
                        vec![set(path("/backstores/ram/o"), &[("size", "8MiB")])],
                        vec![set(group.clone(), &[("enabled", "false")])],
                        vec![delete(target.clone())],
                        vec![delete(path("/backstores/ram/o"))],
                    ];
                    for step in steps {
                        transact(engine, &step);
                    }
                }
                stop.store(true, Ordering::Relaxed);
            });
            assert_eq!(engine.tree().generation, 1001);
            assert_eq!(engine.remnants(), []);
        },
    );
}

#[test]
fn engine_without_anything_serves_what_comes_later() {
    let engine =
        Engine::idle(support::config(reactor::DriverChoice::Auto, 2), None).expect("starts");
    let tree = support::tree(vec![ram(1 << 20)]);
    let changes = tree.as_desired();
    transact(&engine, &changes);
    let portal = engine.portals()[0];
    let mut client = Client::login_as(portal, HOST);
    settle(&mut client, 0);
    assert!(engine.end_session(engine.sessions()[0].id, SOON).is_some());
    client.next(|e| matches!(e, Event::Async { .. }));
    drain(engine);
}

/// Only the connections that were accepted through it (architecture: a drain touches only what goes).
#[test]
fn portal_that_goes_ends_the_sessions_that_came_through_it_alone() {
    on_each_driver(
        2,
        || vec![ram(1 << 20)],
        |portal, engine| {
            transact(engine, &[create(tpg("/portals/127.0.0.2:0"), &[])]);
            let other = engine.portals().into_iter().find(|at| *at != portal);
            let other = other.expect("two portals");
            let mut stays = Client::login_as(portal, &format!("{HOST}-stays"));
            let mut goes = Client::login_as(other, &format!("{HOST}-goes"));
            settle(&mut stays, 0);
            settle(&mut goes, 0);
            let release = apply(engine, &[delete(tpg(&format!("/portals/{other}")))]);
            goes.next(|e| matches!(e, Event::Async { .. }));
            // It is served until it has logged out.
            goes.write(0, 0, &pattern(1, 512));
            goes.initiator
                .logout(LogoutReason::CloseSession, Delivery::Ordered);
            goes.next(|e| matches!(e, Event::LoggedOut(_)));
            assert!(release.wait().is_nothing());
            assert_eq!(ready(&mut stays, 0), None);
            assert_eq!(engine.sessions().len(), 1);
            assert_eq!(engine.portals(), [portal]);
            assert!(
                std::net::TcpStream::connect(other).is_err(),
                "nobody listens"
            );
        },
    );
}

#[test]
fn demo_mode_that_ends_sends_away_those_that_no_acl_names() {
    on_each_driver(
        2,
        || vec![ram(1 << 20)],
        |portal, engine| {
            transact(engine, &[create(tpg(&format!("/acls/{HOST}-named")), &[])]);
            let mut named = Client::login_as(portal, &format!("{HOST}-named"));
            let mut guest = Client::login_as(portal, &format!("{HOST}-guest"));
            settle(&mut named, 0);
            settle(&mut guest, 0);
            let release = apply(engine, &[set(tpg(""), &[("generate_node_acls", "false")])]);
            guest.next(|e| matches!(e, Event::Async { .. }));
            assert!(release.wait().is_nothing());
            assert_eq!(guest.try_next(|_| false), None);
            assert_eq!(ready(&mut named, 0), None);
            let refused = Some(LoginStatus::AUTHORIZATION_FAILURE);
            assert_eq!(login_status(portal, "guest"), refused);
        },
    );
}
