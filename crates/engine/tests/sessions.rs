//! Discovery, reinstatement, task management and endings through a real engine.

mod support;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use initiator::{Config, Delivery, Event};
use iscsi_wire::{
    Isid, LoginStatus, LogoutReason, TaskManagementFunction, TaskManagementResponseCode,
};
use model::Change;
use support::{
    Client, HOST, PATIENCE, TARGET, changed, chap, config, create, group, on_each_driver,
    on_each_driver_with, path, pattern, ram, read10, tree, wire_lun,
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

/// A client that has agreed on iSCSIProtocolLevel 2, past its unit attention.
fn level2(portal: std::net::SocketAddr) -> Client {
    let config = Config::normal(HOST, TARGET).with_key("iSCSIProtocolLevel", "2");
    let mut client = Client::login(portal, config);
    client.good(0, &[0; 6], &[], 0);
    client
}

fn manage(
    client: &mut Client,
    function: TaskManagementFunction,
) -> (TaskManagementResponseCode, [u8; 3]) {
    let itt = client
        .initiator
        .task_management(function, wire_lun(0), None, Delivery::Ordered);
    match client.next(|e| matches!(e, Event::TaskManaged { itt: of, .. } if *of == itt)) {
        Event::TaskManaged {
            response,
            additional,
            ..
        } => (response, additional),
        other => unreachable!("{other:?}"),
    }
}

/// Begins a write whose data nobody sends.
fn begin_unending_write(client: &mut Client) {
    let itt = client.initiator.allocate_itt();
    client.initiator.push_raw(
        &iscsi_wire::ScsiCommand {
            r#final: true,
            write: true,
            lun: wire_lun(0),
            itt,
            cmd_sn: client.initiator.cmd_sn(),
            exp_stat_sn: client.initiator.exp_stat_sn(),
            expected_data_transfer_length: 512,
            cdb: [0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
            ..iscsi_wire::ScsiCommand::default()
        }
        .emit(),
        &[],
    );
    let next = client.initiator.cmd_sn().next();
    client.initiator.set_cmd_sn(next);
}

#[test]
fn query_task_set_says_whether_a_task_is_there() {
    on_each_driver(
        1,
        || vec![ram(1 << 20)],
        |portal, _| {
            let mut client = level2(portal);
            let query = TaskManagementFunction::QueryTaskSet;
            let (complete, succeeded) = (
                TaskManagementResponseCode::FunctionComplete,
                TaskManagementResponseCode::FunctionSucceeded,
            );
            assert_eq!(manage(&mut client, query).0, complete);
            begin_unending_write(&mut client);
            assert_eq!(manage(&mut client, query).0, succeeded);
            let abort = TaskManagementFunction::AbortTaskSet;
            assert_eq!(manage(&mut client, abort).0, complete);
            assert_eq!(manage(&mut client, query).0, complete);
        },
    );
}

#[test]
fn query_asynchronous_event_tells_the_unit_attention_and_leaves_it() {
    on_each_driver(
        2,
        || vec![ram(1 << 20)],
        |portal, _| {
            let mut client = level2(portal);
            let query = TaskManagementFunction::QueryAsynchronousEvent;
            let nothing = (TaskManagementResponseCode::FunctionComplete, [0; 3]);
            assert_eq!(manage(&mut client, query), nothing);
            let mut other = Client::login_as(portal, "iqn.2026-11.org.example:other");
            let reset = TaskManagementFunction::LogicalUnitReset;
            manage(&mut other, reset);
            let one = (
                TaskManagementResponseCode::FunctionSucceeded,
                [0x16, 0x29, 0x03],
            );
            assert_eq!(manage(&mut client, query), one);
            assert_eq!(manage(&mut client, query), one, "asking does not clear it");
            client.good(0, &[0; 6], &[], 0);
            assert_eq!(manage(&mut client, query), nothing);
        },
    );
}

#[test]
fn nexus_reset_ends_its_tasks_releases_its_reservation_and_drops_the_session() {
    on_each_driver(
        2,
        || vec![ram(1 << 20), ram(1 << 20)],
        |portal, _| {
            let mut client = level2(portal);
            let mut other = Client::login_as(portal, "iqn.2026-11.org.example:other");
            other.good(0, &[0; 6], &[], 0);
            client.good(0, &[0x16, 0, 0, 0, 0, 0], &[], 0);
            assert_eq!(other.run(0, &read10(0, 512), &[], 512).status, 0x18);
            begin_unending_write(&mut client);
            let reset = TaskManagementFunction::ItNexusReset;
            let complete = TaskManagementResponseCode::FunctionComplete;
            assert_eq!(manage(&mut client, reset).0, complete);
            assert_eq!(client.try_next(|_| false), None, "its connection is closed");
            assert_eq!(other.run(0, &read10(0, 512), &[], 512).status, 0);
            // It logs in again as a new session.
            let mut again = level2(portal);
            again.good(0, &[0; 6], &[], 0);
        },
    );
}

#[test]
fn functions_of_level_two_are_not_supported_below_it() {
    on_each_driver(
        1,
        || vec![ram(1 << 20)],
        |portal, _| {
            let mut client = Client::login_as(portal, HOST);
            for function in [
                TaskManagementFunction::QueryTask,
                TaskManagementFunction::QueryTaskSet,
                TaskManagementFunction::ItNexusReset,
                TaskManagementFunction::QueryAsynchronousEvent,
            ] {
                let (response, _) = manage(&mut client, function);
                let not_supported = TaskManagementResponseCode::FunctionNotSupported;
                assert_eq!(response, not_supported, "{function:?}");
            }
        },
    );
}

/// RFC 7143 §11.5.1, §11.6.1: all sessions of the target end, through whichever portal group; another target's goes on.
#[test]
fn target_cold_reset_ends_the_sessions_of_every_portal_group_of_its_target() {
    const NEIGHBOUR: &str = "iqn.2026-11.org.example:neighbour";
    let more = [
        create(
            path(&format!("/targets/{TARGET}/tpgs/2")),
            &[("generate_node_acls", "true")],
        ),
        create(
            path(&format!("/targets/{TARGET}/tpgs/2/portals/127.0.0.2:0")),
            &[],
        ),
        create(
            path(&format!("/targets/{TARGET}/tpgs/2/luns/0")),
            &[("backstore", "ram/disk0")],
        ),
        create(path(&format!("/targets/{NEIGHBOUR}")), &[]),
        create(
            path(&format!("/targets/{NEIGHBOUR}/tpgs/1")),
            &[("generate_node_acls", "true")],
        ),
        create(
            path(&format!("/targets/{NEIGHBOUR}/tpgs/1/portals/127.0.0.3:0")),
            &[],
        ),
        create(
            path(&format!("/targets/{NEIGHBOUR}/tpgs/1/luns/0")),
            &[("backstore", "ram/disk0")],
        ),
    ];
    on_each_driver_with(
        2,
        || changed(&tree(vec![ram(1 << 20)]), &more),
        |_, engine| {
            let at = |host: [u8; 4]| {
                let portals = engine.portals();
                *portals
                    .iter()
                    .find(|one| one.ip() == IpAddr::from(host))
                    .unwrap()
            };
            let (one, two, other) = (at([127, 0, 0, 1]), at([127, 0, 0, 2]), at([127, 0, 0, 3]));
            let mut issuer = Client::login_as(one, HOST);
            issuer.good(0, &[0; 6], &[], 0);
            let mut far = Client::login_as(two, &format!("{HOST}2"));
            far.good(0, &[0; 6], &[], 0);
            let mut neighbour = Client::login(other, Config::normal(HOST, NEIGHBOUR));
            neighbour.good(0, &[0; 6], &[], 0);
            let reset = TaskManagementFunction::TargetColdReset;
            let complete = TaskManagementResponseCode::FunctionComplete;
            assert_eq!(manage(&mut issuer, reset).0, complete);
            for ended in [&mut issuer, &mut far] {
                assert_eq!(ended.try_next(|_| false), None, "its connection is closed");
            }
            // The unit was reset; the session of the other target is not told more than that.
            assert_eq!(support::ready(&mut neighbour, 0), Some((6, (0x29, 0x03))));
            neighbour.good(0, &[0; 6], &[], 0);
            // A power on is what the next session of the target begins with.
            let mut again = Client::login_as(two, &format!("{HOST}2"));
            assert_eq!(support::ready(&mut again, 0), Some((6, (0x29, 0x00))));
        },
    );
}
