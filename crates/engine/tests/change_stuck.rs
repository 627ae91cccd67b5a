//! Changes while a backstore does not answer: every removal returns by its deadline, only what it names waits, and what comes late
//! harms nobody. Needs root and `/dev/fuse` for the file that hangs; without them each test says so.

mod support;

use std::time::{Duration, Instant};

use engine::{ApplyError, Engine, Missing, StoreProblem};
use initiator::{Config, Delivery, Event};
use iscsi_wire::{LoginStatus, LogoutReason, LogoutResponseCode};
use reactor::testing::StuckFile;
use support::{
    Client, HOST, PATIENCE, SOON, TARGET, apply, create, delete, group, on_each_driver, path,
    pattern, plan, ram, read10, set, settle, tpg, transact, wire_lun, write10,
};

const FILE_BYTES: usize = 4 << 20;
const STUCK: u16 = 5;

/// Runs `test` on each driver with a LUN 0 in RAM and LUN [`STUCK`] on a file that hangs once it is told to.
fn with_stuck_file(test: impl Fn(std::net::SocketAddr, &Engine, &StuckFile)) {
    if let Some(reason) = StuckFile::missing() {
        return eprintln!("left out: {reason}");
    }
    on_each_driver(
        2,
        || vec![ram(1 << 20)],
        |portal, engine| {
            let folder = tempfile::tempdir().expect("a folder");
            let file = StuckFile::mount(folder.path().join("disk.img"), FILE_BYTES);
            let file = file.expect("root may mount");
            transact(engine, &[disk(&file), lun()]);
            test(portal, engine, &file);
            transact(engine, &[delete(group())]);
        },
    );
}

fn disk(file: &StuckFile) -> model::Change {
    let at = file.path().to_str().expect("UTF-8");
    create(
        path("/backstores/file/stuck"),
        &[("path", at), ("serial", "stuck")],
    )
}

fn lun() -> model::Change {
    create(
        tpg(&format!("/luns/{STUCK}")),
        &[("backstore", "file/stuck")],
    )
}

fn until(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A client with commands that hang in the file.
fn client_that_hangs(portal: std::net::SocketAddr, file: &StuckFile) -> Client {
    let mut client = Client::login_as(portal, HOST);
    settle(&mut client, 0);
    settle(&mut client, STUCK);
    for lba in [0, 64] {
        let write = write10(lba, 4096);
        client
            .initiator
            .command(wire_lun(STUCK), &write, pattern(3, 4096), 0);
        let read = read10(lba, 4096);
        client
            .initiator
            .command(wire_lun(STUCK), &read, Vec::new(), 4096);
    }
    client.flush();
    until("a call hangs", || file.held() > 0);
    client
}

#[test]
fn lun_and_backstore_that_hang_are_removed_in_time_and_stay_a_remnant() {
    with_stuck_file(|portal, engine, file| {
        let hang = file.stick();
        let mut client = client_that_hangs(portal, file);
        let start = Instant::now();
        let release = apply(
            engine,
            &[
                delete(tpg(&format!("/luns/{STUCK}"))),
                delete(path("/backstores/file/stuck")),
            ],
        );
        let left = release.wait();
        assert!(left.backstores > 0, "{left:?}");
        assert!(start.elapsed() < PATIENCE, "the removal returns");
        // Its session lives, and its other LUN is served.
        settle(&mut client, 0);
        client.write(0, 0, &pattern(4, 4096));
        assert_eq!(client.read(0, 0, 4096), pattern(4, 4096));
        let done = client.run(STUCK, &read10(0, 512), &[], 512);
        assert_eq!(support::asc(&done.sense), (0x25, 0));
        // It is listed, and its file is not to be had.
        let [remnant] = engine.remnants().try_into().expect("one remnant");
        assert_eq!(remnant.path, "/backstores/file/stuck");
        let again = plan(engine, &[disk(file)]);
        let error = engine.apply(&again, Missing::Refuse, SOON, &mut |_| Ok(()));
        match error {
            Err(ApplyError::Store {
                problem: StoreProblem::StillInUse { by, .. },
                ..
            }) => assert_eq!(by, remnant.path),
            other => panic!("{other:?}"),
        }
        drop(hang);
        until("the remnant goes", || engine.remnants().is_empty());
        transact(engine, &[disk(file), lun()]);
        settle(&mut client, STUCK);
        // What the first two writes left there is whole or not there.
        for lba in [0, 64] {
            let data = client.read(STUCK, lba, 4096);
            assert!(data == pattern(3, 4096) || data == vec![0; 4096]);
        }
    });
}

/// The nexus stays closing until its last I/O has left; who logs in again is told to come later, and then is let in.
#[test]
fn group_that_hangs_is_removed_in_time_and_made_again() {
    with_stuck_file(|portal, engine, file| {
        let hang = file.stick();
        let mut client = client_that_hangs(portal, file);
        let release = apply(engine, &[set(group(), &[("enabled", "false")])]);
        client.next(|e| matches!(e, Event::Async { .. }));
        assert!(!release.wait().is_nothing());
        assert_eq!(client.try_next(|_| false), None, "it is cut off");
        let start = Instant::now();
        transact(engine, &[set(group(), &[("enabled", "true")])]);
        assert!(start.elapsed() < PATIENCE);
        let mut other = Client::login_as(portal, &format!("{HOST}-other"));
        settle(&mut other, 0);
        other.write(0, 0, &pattern(8, 512));
        drop(hang);
        let mut again = Client::login_as(portal, HOST);
        settle(&mut again, STUCK);
        again.write(STUCK, 8, &pattern(9, 512));
        assert_eq!(again.read(STUCK, 8, 512), pattern(9, 512));
    });
}

/// Reinstatement waits for the old session's I/O, and looks again after the wait: the ACL that admitted it has gone meanwhile.
#[test]
fn reinstatement_that_waits_is_refused_when_its_acl_goes_meanwhile() {
    with_stuck_file(|portal, engine, file| {
        transact(engine, &[create(tpg(&format!("/acls/{HOST}")), &[])]);
        let hang = file.stick();
        let mut old = client_that_hangs(portal, file);
        let mut new = Client::connect(portal, Config::normal(HOST, TARGET));
        new.initiator.start_login();
        new.flush();
        new.hear();
        new.flush();
        assert_eq!(old.try_next(|_| false), None, "the old session ends");
        let release = apply(
            engine,
            &[
                set(group(), &[("generate_node_acls", "false")]),
                delete(tpg(&format!("/acls/{HOST}"))),
            ],
        );
        let _left = release.wait();
        drop(hang);
        let event = new.next(|e| matches!(e, Event::LoggedIn | Event::LoginFailed { .. }));
        let Event::LoginFailed { status, .. } = event else {
            panic!("a session of the world before the change")
        };
        assert_eq!(status, LoginStatus::SERVICE_UNAVAILABLE);
        assert_eq!(engine.sessions().len(), 0);
    });
}

/// A resize of a unit whose older I/O hangs is in force for nobody and everybody at once: it returns, and is told when the I/O ends.
#[test]
fn resize_of_a_unit_that_hangs_returns_and_is_told_later() {
    with_stuck_file(|portal, engine, file| {
        let disk0 = path("/backstores/ram/disk0");
        let hang = file.stick();
        let mut client = client_that_hangs(portal, file);
        // Another unit's resize is not held up.
        transact(engine, &[set(disk0, &[("size", "2MiB")])]);
        assert_eq!(support::ready(&mut client, 0), Some((6, (0x2a, 0x09))));
        client.write(0, 2048, &pattern(5, 512));
        let protect = [set(
            tpg(&format!("/luns/{STUCK}")),
            &[("write_protect", "true")],
        )];
        let start = Instant::now();
        let _left = apply(engine, &protect).wait();
        assert!(start.elapsed() < PATIENCE);
        drop(hang);
        settle(&mut client, STUCK);
        let done = client.run(STUCK, &write10(0, 512), &pattern(1, 512), 0);
        assert_eq!(support::sense_key(&done.sense), 7, "DATA PROTECT");
    });
}

/// RFC 7143 §11.15.1: cleanup that fails is told, and the session goes on.
#[test]
fn logout_whose_tasks_do_not_leave_a_stuck_disk_is_told_that_cleanup_failed() {
    if let Some(reason) = StuckFile::missing() {
        return eprintln!("left out: {reason}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file =
        StuckFile::mount(folder.path().join("disk.img"), FILE_BYTES).expect("root may mount");
    let config = engine::EngineConfig {
        reinstatement_timeout: Duration::from_millis(300),
        ..support::config(reactor::DriverChoice::Epoll, 1)
    };
    let tree = support::tree(vec![ram(1 << 20)]);
    let engine = Engine::start(config, tree).expect("it starts");
    transact(&engine, &[disk(&file), lun()]);
    let hang = file.stick();
    let mut client = client_that_hangs(engine.portals()[0], &file);
    let log_out = |client: &mut Client| {
        let close = LogoutReason::CloseSession;
        client.initiator.logout(close, Delivery::Immediate);
        match client.next(|event| matches!(event, Event::LoggedOut(_))) {
            Event::LoggedOut(response) => response.response,
            other => unreachable!("{other:?}"),
        }
    };
    assert_eq!(log_out(&mut client), LogoutResponseCode::CleanupFailed);
    drop(hang);
    assert_eq!(log_out(&mut client), LogoutResponseCode::Closed);
    assert_eq!(client.try_next(|_| false), None, "the session is closed");
    transact(&engine, &[delete(group())]);
    support::drain(engine);
}
