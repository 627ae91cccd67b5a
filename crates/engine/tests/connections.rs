//! Sessions of several connections over real sockets: joining, replacing, leaving, being cut (RFC 7143 §4.2.3, §6.3, §11.14).

mod support;

use std::time::Instant;

use initiator::{Config, Delivery, Event, Request};
use iscsi_wire::{
    AsyncEvent, Cid, Isid, Itt, LoginStatus, LogoutReason, LogoutResponseCode, TaskAttribute,
    TaskManagementFunction, TaskManagementResponseCode,
};
use model::Tree;
use support::many::Many;
use support::{
    Client, HOST, PATIENCE, TARGET, changed, group, on_each_driver_with, pattern, ram, read10, set,
    tree, wire_lun, write10,
};

const LEAD: Cid = Cid(0);

/// A target whose sessions may have this many connections.
fn target(connections: &str) -> Tree {
    let most = set(group(), &[("param.MaxConnections", connections)]);
    changed(&tree(vec![ram(8 << 20)]), &[most])
}

/// An initiator that asks for four.
fn config() -> Config {
    Config::normal(HOST, TARGET)
        .with_key("MaxConnections", "4")
        .with_key("DefaultTime2Wait", "0")
        .with_key("DefaultTime2Retain", "20")
}

fn on_each(test: impl Fn(std::net::SocketAddr, &engine::Engine)) {
    on_each_driver_with(2, || target("4"), test);
}

/// A session with this many connections, CIDs 0, 1, 2...
fn session(portal: std::net::SocketAddr, connections: u16) -> Many {
    let mut many = Many::login(portal, config());
    for cid in 1..connections {
        assert_eq!(many.join(Cid(cid)), Ok(()));
    }
    many
}

#[test]
fn connections_accepted_anywhere_are_one_session_and_see_each_others_writes() {
    on_each(|portal, engine| {
        let mut many = session(portal, 4);
        assert_eq!(engine.sessions().len(), 1);
        assert_eq!(engine.sessions()[0].connected(), 4);
        for cid in 0..4u16 {
            many.write(
                Cid(cid),
                u32::from(cid) * 512,
                &pattern(cid.into(), 200_000),
            );
        }
        for cid in 0..4u16 {
            let other = (cid + 1) % 4;
            assert_eq!(
                many.read(Cid(other), u32::from(cid) * 512, 200_000 / 512 * 512)[..],
                pattern(cid.into(), 200_000)[..200_000 / 512 * 512]
            );
        }
    });
}

#[test]
fn commands_of_one_session_begin_in_cmd_sn_order_over_all_connections() {
    on_each(|portal, _| {
        let mut many = session(portal, 3);
        many.read(LEAD, 0, 512);
        // Each write overwrites the one before: what stands at the end tells the order.
        for round in 0..40u64 {
            let itts: Vec<Itt> = (0..6u16)
                .map(|n| {
                    let request = Request {
                        lun: wire_lun(0),
                        cdb: write10(0, 4096).to_vec(),
                        attribute: TaskAttribute::Ordered,
                        data_out: pattern(round * 8 + u64::from(n), 4096),
                        ..Request::default()
                    };
                    many.peer.on(Cid(n % 3), |one| one.submit(request))
                })
                .collect();
            for itt in itts {
                assert_eq!(many.done(itt).1.status, 0);
            }
            assert_eq!(many.read(Cid(1), 0, 4096), pattern(round * 8 + 5, 4096));
        }
    });
}

// RFC 7143 §4.2.2.1: a command waits for those before it, and what it has brought waits with it.
#[test]
fn write_that_comes_before_its_turn_keeps_its_unsolicited_data() {
    on_each(|portal, _| {
        // So little comes unasked that the window needs other memory once the command begins.
        let mut many = Many::login(portal, config().with_key("FirstBurstLength", "8192"));
        assert_eq!(many.join(Cid(1)), Ok(()));
        many.read(LEAD, 0, 512);
        for bytes in [512, 40_960, 102_400, 1 << 20] {
            let first = many.start(LEAD, 0, &read10(0, 512), &[], 512);
            let held_up = many.peer.on(LEAD, initiator::Initiator::take_output);
            // Several, so that one's memory is not given to itself again.
            let early: Vec<(u32, Vec<u8>, Itt)> = (0..4)
                .map(|n: u32| {
                    let (lba, data) =
                        (n * 2048, pattern((bytes as u64) << 8 | u64::from(n), bytes));
                    let itt = many.start(Cid(1), 0, &write10(lba, bytes), &data, 0);
                    (lba, data, itt)
                })
                .collect();
            for _ in 0..20 {
                many.turn();
            }
            assert!(many.events.is_empty(), "it is not begun: {:?}", many.events);
            many.peer.on(LEAD, |one| one.push_bytes(&held_up));
            assert_eq!(many.done(first).1.status, 0);
            for (lba, data, itt) in early {
                assert_eq!(many.done(itt).1.status, 0);
                let found = many.read(LEAD, lba, bytes);
                assert!(found == data, "{bytes} bytes at LBA {lba}");
            }
        }
    });
}

#[test]
fn join_beyond_what_was_negotiated_is_too_many_connections() {
    on_each(|portal, _| {
        let mut many = session(portal, 4);
        assert_eq!(many.join(Cid(9)), Err(LoginStatus::TOO_MANY_CONNECTIONS));
        many.write(Cid(3), 0, &pattern(1, 512));
    });
}

#[test]
fn join_of_a_session_that_is_not_there_does_not_exist() {
    on_each(|portal, _| {
        let mut many = session(portal, 1);
        let tsih = many.peer.tsih();
        let status = |config: Config| {
            let mut client = Client::connect(portal, config);
            client.initiator.start_login();
            match client.next(|e| matches!(e, Event::LoggedIn | Event::LoginFailed { .. })) {
                Event::LoginFailed { status, .. } => status,
                other => panic!("{other:?}"),
            }
        };
        let joining = |host: &str| {
            let mut config = Config::discovery(host);
            config.identity = Config::normal(host, TARGET).identity;
            config.operational.truncate(3);
            config.tsih = tsih;
            config.cid = Cid(1);
            config
        };
        let mut unknown = joining(HOST);
        unknown.tsih.0 = tsih.0.wrapping_add(7);
        assert_eq!(status(unknown), LoginStatus::SESSION_DOES_NOT_EXIST);
        let stranger = joining("iqn.2026-11.org.example:stranger");
        assert_eq!(status(stranger), LoginStatus::SESSION_DOES_NOT_EXIST);
        let mut other_nexus = joining(HOST);
        other_nexus.isid = Isid([0x80, 0, 0, 0, 0, 7]);
        assert_eq!(status(other_nexus), LoginStatus::SESSION_DOES_NOT_EXIST);
        many.read(LEAD, 0, 512);
    });
}

#[test]
fn join_with_the_cid_of_a_connection_takes_its_place_and_the_nexus_stays() {
    for (most, connections) in [("4", 3), ("1", 1)] {
        on_each_driver_with(
            2,
            || target(most),
            |portal, engine| {
                let mut many = session(portal, connections);
                many.read(LEAD, 0, 512);
                let before = engine.sessions()[0].id;
                // A reservation is the nexus': it would be gone with it, and a unit attention would be there.
                many.good(LEAD, &[0x16, 0, 0, 0, 0, 0], &[], 0);
                for _ in 0..5 {
                    assert_eq!(many.join(LEAD), Ok(()));
                    let itt = many.start(LEAD, 0, &read10(0, 512), &[], 512);
                    assert_eq!(many.done(itt).1.status, 0, "no unit attention");
                }
                assert_eq!(engine.sessions().len(), 1);
                assert_eq!(engine.sessions()[0].id, before);
                assert_eq!(engine.sessions()[0].connected(), usize::from(connections));
                let mut other = Client::login_as(portal, "iqn.2026-11.org.example:other");
                assert_eq!(other.run(0, &read10(0, 512), &[], 512).status, 0x18);
            },
        );
    }
}

#[test]
fn logout_of_one_connection_by_another_closes_that_one_only() {
    on_each(|portal, engine| {
        let mut many = session(portal, 3);
        many.read(Cid(1), 0, 512);
        many.peer.on(LEAD, |one| {
            one.logout_of(Cid(1), LogoutReason::CloseConnection, Delivery::Ordered)
        });
        let (over, event) = many.next(|_, e| matches!(e, Event::LoggedOut(_)));
        let Event::LoggedOut(response) = event else {
            unreachable!()
        };
        assert_eq!(
            (over, response.response),
            (LEAD, LogoutResponseCode::Closed)
        );
        many.wait_closed(Cid(1));
        many.write(LEAD, 0, &pattern(4, 4096));
        assert_eq!(many.read(Cid(2), 0, 4096), pattern(4, 4096));
        assert_eq!(engine.sessions()[0].connected(), 2);
        // Its own, then the last one: the session ends with it.
        for cid in [LEAD, Cid(2)] {
            many.peer.on(cid, |one| {
                one.logout(LogoutReason::CloseConnection, Delivery::Ordered)
            });
            many.next(|of, e| of == cid && matches!(e, Event::LoggedOut(_)));
            many.wait_closed(cid);
        }
        let start = Instant::now();
        while !engine.sessions().is_empty() {
            assert!(start.elapsed() < PATIENCE, "the session is kept");
        }
    });
}

#[test]
fn logout_of_a_cid_that_is_not_there_is_cid_not_found() {
    on_each(|portal, _| {
        let mut many = session(portal, 2);
        many.peer.on(LEAD, |one| {
            one.logout_of(Cid(7), LogoutReason::CloseConnection, Delivery::Ordered)
        });
        let (_, event) = many.next(|_, e| matches!(e, Event::LoggedOut(_)));
        let Event::LoggedOut(response) = event else {
            unreachable!()
        };
        assert_eq!(response.response, LogoutResponseCode::CidNotFound);
        many.read(LEAD, 0, 512);
    });
}

#[test]
fn logout_of_the_session_closes_every_connection() {
    on_each(|portal, engine| {
        let mut many = session(portal, 4);
        many.peer.on(Cid(2), |one| {
            one.logout(LogoutReason::CloseSession, Delivery::Immediate)
        });
        for cid in [0, 1, 2, 3] {
            many.wait_closed(Cid(cid));
        }
        let start = Instant::now();
        while !engine.sessions().is_empty() {
            assert!(start.elapsed() < PATIENCE, "the session is kept");
        }
    });
}

#[test]
fn connection_that_is_cut_is_told_on_another_and_may_come_again() {
    on_each(|portal, engine| {
        let mut many = session(portal, 3);
        for round in 0..4u64 {
            let data = pattern(round, 100_000 / 512 * 512);
            for lba in [0, 1000, 2000] {
                many.start(Cid(1), 0, &write10(lba, data.len()), &data, 0);
            }
            many.turn();
            many.cut(Cid(1));
            let (over, event) = many.next(|_, e| matches!(e, Event::Async { .. }));
            let Event::Async { message, .. } = event else {
                unreachable!()
            };
            assert_ne!(over, Cid(1));
            assert_eq!(message.async_event, AsyncEvent::ConnectionDropped);
            assert_eq!(message.parameter1, 1);
            // The numbers that the lost connection took along are filled, or the window would stay shut behind them.
            many.peer.on(LEAD, |one| one.ping(b"", Delivery::Immediate));
            many.next(|_, e| matches!(e, Event::Ponged { .. }));
            let (exp_cmd_sn, _) = many.peer.on(LEAD, |one| one.window());
            many.peer.on(LEAD, |one| one.set_cmd_sn(exp_cmd_sn));
            assert_eq!(many.join(Cid(1)), Ok(()));
            many.write(Cid(1), 4000, &data);
            assert_eq!(many.read(Cid(2), 4000, data.len()), data);
        }
        assert_eq!(engine.counters().sessions, 1);
    });
}

#[test]
fn session_that_lost_every_connection_is_continued_within_its_time() {
    on_each(|portal, engine| {
        let mut many = session(portal, 2);
        many.read(LEAD, 0, 512);
        many.good(LEAD, &[0x16, 0, 0, 0, 0, 0], &[], 0);
        let before = engine.sessions()[0].id;
        many.cut(LEAD);
        many.cut(Cid(1));
        let start = Instant::now();
        while engine.sessions().first().is_none_or(|s| s.connected() > 0) {
            assert!(start.elapsed() < PATIENCE, "the loss is not seen");
        }
        assert_eq!(many.join(Cid(5)), Ok(()));
        let itt = many.start(Cid(5), 0, &read10(0, 512), &[], 512);
        assert_eq!(many.done(itt).1.status, 0, "the nexus is what it was");
        assert_eq!(engine.sessions()[0].id, before);
    });
}

#[test]
fn session_that_nobody_continues_ends_when_its_time_is_over() {
    on_each(|portal, engine| {
        let config = config().with_key("DefaultTime2Retain", "1");
        let mut many = Many::login(portal, config);
        assert_eq!(many.join(Cid(1)), Ok(()));
        many.cut(LEAD);
        many.cut(Cid(1));
        let start = Instant::now();
        while !engine.sessions().is_empty() {
            assert!(start.elapsed() < PATIENCE, "the session is kept for ever");
            std::thread::yield_now();
        }
        assert_eq!(many.join(Cid(2)), Err(LoginStatus::SESSION_DOES_NOT_EXIST));
    });
}

#[test]
fn abort_task_set_over_one_connection_ends_tasks_of_all() {
    on_each(|portal, _| {
        let mut many = session(portal, 3);
        many.read(LEAD, 0, 512);
        // Writes whose data never comes: they stay until they are aborted.
        for cid in 0..3u16 {
            many.peer.on(Cid(cid), |one| {
                let itt = one.allocate_itt();
                let command = iscsi_wire::ScsiCommand {
                    r#final: true,
                    write: true,
                    lun: wire_lun(0),
                    itt,
                    cmd_sn: one.cmd_sn(),
                    exp_stat_sn: one.exp_stat_sn(),
                    expected_data_transfer_length: 4096,
                    cdb: {
                        let mut cdb = [0; 16];
                        cdb[..10].copy_from_slice(&write10(0, 4096));
                        cdb
                    },
                    ..iscsi_wire::ScsiCommand::default()
                };
                one.push_raw(&command.emit(), &[]);
                one.set_cmd_sn(one.cmd_sn().next());
            });
        }
        let function = TaskManagementFunction::AbortTaskSet;
        let itt = many.peer.on(Cid(1), |one| {
            one.task_management(function, wire_lun(0), None, Delivery::Ordered)
        });
        let (over, event) = many.next(|_, e| matches!(e, Event::TaskManaged { .. }));
        let complete = TaskManagementResponseCode::FunctionComplete;
        let expected = Event::TaskManaged {
            itt,
            response: complete,
            additional: [0; 3],
        };
        assert_eq!((over, event), (Cid(1), expected));
        many.write(LEAD, 0, &pattern(3, 4096));
        assert_eq!(many.read(Cid(2), 0, 4096), pattern(3, 4096));
    });
}

#[test]
fn drain_asks_for_logout_on_every_connection() {
    on_each_driver_with(
        2,
        || target("4"),
        |portal, engine| {
            let mut many = session(portal, 3);
            engine.start_drain(std::time::Duration::from_secs(5));
            for cid in 0..3u16 {
                let (_, event) =
                    many.next(|of, e| of == Cid(cid) && matches!(e, Event::Async { .. }));
                let Event::Async { message, .. } = event else {
                    unreachable!()
                };
                assert_eq!(message.async_event, AsyncEvent::LogoutRequested);
            }
            many.peer.on(LEAD, |one| {
                one.logout(LogoutReason::CloseSession, Delivery::Immediate)
            });
            many.wait_closed(Cid(2));
        },
    );
}

/// RFC 7143 §9.2: all connections of a session authenticate alike.
#[test]
fn join_that_proves_nothing_is_refused_where_its_session_has_proved_itself() {
    let asks = [
        ("authentication", "chap"),
        ("chap.user", "host"),
        ("chap.secret", "0123456789abcdef"),
    ];
    let target = || changed(&target("4"), &[set(group(), &asks)]);
    on_each_driver_with(2, target, |portal, engine| {
        let proves = support::chap("0123456789abcdef");
        let mut many = Many::login(portal, config().with_chap(proves));
        assert_eq!(many.join(Cid(1)), Ok(()));
        // From now on nobody is asked, and nobody proves anything.
        support::apply(engine, &[set(group(), &[("authentication", "none")])]);
        assert_eq!(many.join(Cid(2)), Err(LoginStatus::AUTHENTICATION_FAILURE));
        many.write(Cid(1), 0, &pattern(3, 4096));
        assert_eq!(engine.sessions()[0].connected(), 2);
    });
}

/// RFC 7143 §11.14.5: what ended with a connection is told by a unit attention on the ones that go on.
#[test]
fn logout_of_a_connection_with_a_command_tells_the_nexus_that_it_was_cleared() {
    on_each(|portal, _| {
        let mut many = session(portal, 2);
        many.read(LEAD, 0, 512);
        // A write whose data never comes.
        many.peer.on(Cid(1), |one| {
            let mut cdb = [0; 16];
            cdb[..10].copy_from_slice(&write10(0, 4096));
            let command = iscsi_wire::ScsiCommand {
                r#final: true,
                write: true,
                lun: wire_lun(0),
                itt: one.allocate_itt(),
                cmd_sn: one.cmd_sn(),
                exp_stat_sn: one.exp_stat_sn(),
                expected_data_transfer_length: 4096,
                cdb,
                ..iscsi_wire::ScsiCommand::default()
            };
            one.push_raw(&command.emit(), &[]);
            one.set_cmd_sn(one.cmd_sn().next());
        });
        many.peer.on(LEAD, |one| {
            one.logout_of(Cid(1), LogoutReason::CloseConnection, Delivery::Ordered)
        });
        many.next(|_, e| matches!(e, Event::LoggedOut(_)));
        let test_unit_ready = [0; 6];
        let itt = many.start(LEAD, 0, &test_unit_ready, &[], 0);
        let (_, told) = many.done(itt);
        assert_eq!((told.status, support::sense_key(&told.sense)), (2, 6));
        let code = if told.sense[0] & 0x7f >= 0x72 {
            [told.sense[2], told.sense[3]]
        } else {
            [told.sense[12], told.sense[13]]
        };
        assert_eq!(code, [0x47, 0x7f]);
        let itt = many.start(LEAD, 0, &test_unit_ready, &[], 0);
        assert_eq!(many.done(itt).1.status, 0, "it is told once");
    });
}
