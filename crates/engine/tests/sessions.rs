//! Discovery, reinstatement, task management and endings through a real engine.

mod support;

use std::time::{Duration, Instant};

use initiator::{Config, Delivery, Event};
use iscsi_wire::{
    Isid, LoginStatus, LogoutReason, TaskManagementFunction, TaskManagementResponseCode,
};
use model::Change;
use support::{
    Client, HOST, PATIENCE, TARGET, changed, chap, config, group, on_each_driver, pattern, ram,
    read10, tree, wire_lun,
};

#[test]
fn discovery_tells_the_target_at_the_address_that_was_asked() {
    on_each_driver(
        2,
        || vec![ram(1 << 20)],
        |portal, _| {
            let mut client = Client::login(portal, Config::discovery(HOST));
            for which in ["All", TARGET] {
                let itt = client.initiator.send_targets(which);
                let event = client.next(|e| matches!(e, Event::TextDone { .. }));
                let Event::TextDone {
                    itt: answered,
                    pairs,
                } = event
                else {
                    unreachable!()
                };
                assert_eq!(answered, itt);
                assert_eq!(pairs[0], ("TargetName".to_owned(), TARGET.to_owned()));
                assert_eq!(
                    pairs[1],
                    ("TargetAddress".to_owned(), format!("{portal},1"))
                );
            }
            client
                .initiator
                .logout(LogoutReason::CloseSession, Delivery::Immediate);
            client.next(|e| matches!(e, Event::LoggedOut(_)));
            assert_eq!(
                client.try_next(|_| false),
                None,
                "the target closes after the logout"
            );
        },
    );
}

#[test]
fn login_to_an_unknown_target_is_not_found() {
    on_each_driver(
        1,
        || vec![ram(1 << 20)],
        |portal, _| {
            let mut client = Client::connect(
                portal,
                Config::normal(HOST, "iqn.2026-11.org.example:nothing"),
            );
            client.initiator.start_login();
            let event = client.next(|e| matches!(e, Event::LoginFailed { .. }));
            let Event::LoginFailed { status, .. } = event else {
                unreachable!()
            };
            assert_eq!(status, LoginStatus::NOT_FOUND);
        },
    );
}

#[test]
fn second_login_of_a_nexus_replaces_the_first_session() {
    on_each_driver(
        2,
        || vec![ram(4 << 20)],
        |portal, engine| {
            let mut first = Client::login_as(portal, HOST);
            first.write(0, 0, &pattern(1, 4096));
            let mut second = Client::login_as(portal, HOST);
            assert_eq!(
                first.try_next(|_| false),
                None,
                "the first session's connection closes"
            );
            assert_eq!(second.read(0, 0, 4096), pattern(1, 4096));
            assert_eq!(engine.counters().sessions, 1);
            let mut other = Config::normal(HOST, TARGET);
            other.isid = Isid([0x80, 0, 0, 0, 0, 9]);
            let mut third = Client::login(portal, other);
            assert_eq!(third.read(0, 0, 4096), pattern(1, 4096));
            assert_eq!(
                second.read(0, 0, 4096),
                pattern(1, 4096),
                "another ISID is another nexus"
            );
        },
    );
}

#[test]
fn new_nexus_gets_a_unit_attention_once() {
    on_each_driver(
        1,
        || vec![ram(1 << 20)],
        |portal, _| {
            let mut client = Client::login_as(portal, HOST);
            let itt = client
                .initiator
                .command(wire_lun(0), &[0; 6], Vec::new(), 0);
            let done = client.done(itt);
            assert_eq!((done.status, support::sense_key(&done.sense)), (2, 6));
            assert_eq!(support::asc(&done.sense).0, 0x29);
            let itt = client
                .initiator
                .command(wire_lun(0), &[0; 6], Vec::new(), 0);
            assert_eq!(client.done(itt).status, 0);
        },
    );
}

#[test]
fn logical_unit_reset_tells_every_nexus_on_every_worker() {
    on_each_driver(
        2,
        || vec![ram(1 << 20)],
        |portal, _| {
            let mut clients: Vec<Client> = (0..4)
                .map(|i| Client::login_as(portal, &format!("{HOST}{i}")))
                .collect();
            for client in &mut clients {
                client.good(0, &[0; 6], &[], 0);
            }
            let function = TaskManagementFunction::LogicalUnitReset;
            clients[0]
                .initiator
                .task_management(function, wire_lun(0), None, Delivery::Immediate);
            let event = clients[0].next(|e| matches!(e, Event::TaskManaged { .. }));
            let Event::TaskManaged { response, .. } = event else {
                unreachable!()
            };
            assert_eq!(response, TaskManagementResponseCode::FunctionComplete);
            for client in &mut clients {
                let itt = client
                    .initiator
                    .command(wire_lun(0), &[0; 6], Vec::new(), 0);
                let done = client.done(itt);
                assert_eq!((done.status, support::asc(&done.sense).0), (2, 0x29));
            }
        },
    );
}

#[test]
fn reservation_of_one_nexus_stops_others_until_it_is_gone() {
    on_each_driver(
        2,
        || vec![ram(1 << 20)],
        |portal, _| {
            let mut holder = Client::login_as(portal, HOST);
            let mut others: Vec<Client> = (0..3)
                .map(|i| Client::login_as(portal, &format!("{HOST}{i}")))
                .collect();
            holder.good(0, &[0x16, 0, 0, 0, 0, 0], &[], 0);
            for other in &mut others {
                assert_eq!(other.run(0, &read10(0, 512), &[], 512).status, 0x18);
            }
            drop(holder);
            let start = Instant::now();
            for other in &mut others {
                while other.run(0, &read10(0, 512), &[], 512).status == 0x18 {
                    assert!(
                        start.elapsed() < PATIENCE,
                        "the reservation outlives its nexus"
                    );
                }
            }
        },
    );
}

#[test]
fn login_where_chap_is_required_needs_the_right_secret() {
    let chap_required = Change::set(
        group(),
        [
            ("authentication", "chap".into()),
            ("chap.user", "host".into()),
            ("chap.secret", "0123456789abcdef".into()),
        ],
    );
    let tree = changed(&tree(vec![ram(1 << 20)]), &[chap_required]);
    let config = config(reactor::DriverChoice::Auto, 1);
    let engine = engine::Engine::start(config, tree).unwrap();
    let portal = engine.portals()[0];
    let status = |config: Config| {
        let mut client = Client::connect(portal, config);
        client.initiator.start_login();
        match client.next(|e| matches!(e, Event::LoggedIn | Event::LoginFailed { .. })) {
            Event::LoginFailed { status, .. } => Some(status),
            _ => None,
        }
    };
    let plain = Config::normal(HOST, TARGET);
    assert_eq!(
        status(plain.clone()),
        Some(LoginStatus::AUTHENTICATION_FAILURE)
    );
    let wrong = plain.clone().with_chap(chap("not the right secret"));
    assert_eq!(status(wrong), Some(LoginStatus::AUTHENTICATION_FAILURE));
    assert_eq!(status(plain.with_chap(chap("0123456789abcdef"))), None);
    support::drain(engine);
}

#[test]
fn drain_asks_for_logout_and_ends_although_nobody_logs_out() {
    on_each_driver(
        2,
        || vec![ram(4 << 20)],
        |portal, engine| {
            let mut client = Client::login_as(portal, HOST);
            client.write(0, 0, &pattern(1, 4096));
            engine.start_drain(Duration::from_secs(1));
            let event = client.next(|e| matches!(e, Event::Async { .. }));
            let Event::Async { message, .. } = event else {
                unreachable!()
            };
            assert_eq!(message.async_event, iscsi_wire::AsyncEvent::LogoutRequested);
            assert_eq!(
                client.read(0, 0, 4096),
                pattern(1, 4096),
                "commands are served meanwhile"
            );
            assert_eq!(client.try_next(|_| false), None);
        },
    );
}
