//! A login against a change of what it is admitted by: one that is held at its last step never becomes a session of the world before
//! the change, and no other login notices.

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use engine::Engine;
use initiator::{Config, Event};
use iscsi_wire::LoginStatus;
use model::{Change, ObjectPath};
use support::{
    Client, DRIVERS, GROUP_TAG, HOST, TARGET, changed, config, create, delete, drain, group,
    pattern, ram, set, settle, tpg, transact, transact_within, tree,
};

/// A login whose last request is ready and not sent: the next [`Client::next`] sends it.
fn held_login(portal: SocketAddr, host: &str) -> Client {
    let mut client = Client::connect(portal, Config::normal(host, TARGET));
    client.initiator.start_login();
    client.flush();
    client.hear();
    assert!(client.events.is_empty(), "it goes on: {:?}", client.events);
    client
}

/// How a held login ends: the status of its refusal, or `None` where it becomes a session.
fn end(client: &mut Client) -> Option<LoginStatus> {
    match client.next(|e| matches!(e, Event::LoggedIn | Event::LoginFailed { .. })) {
        Event::LoginFailed { status, .. } => Some(status),
        _ => None,
    }
}

fn acl() -> ObjectPath {
    tpg(&format!("/acls/{HOST}"))
}

/// One target, one group, one LUN, one ACL that names [`HOST`], and nobody else let in.
fn engine_with_acl(driver: reactor::DriverChoice) -> Engine {
    let closed = [
        set(group(), &[("generate_node_acls", "false")]),
        create(acl(), &[]),
    ];
    let tree = changed(&tree(vec![ram(1 << 20)]), &closed);
    Engine::start(config(driver, 2), tree).expect("it starts")
}

/// A name for the row, and the changes that the login is held against.
type Row = (&'static str, fn(SocketAddr) -> Vec<Change>);

/// The group with its portal, LUN and ACL, as it was and yet another.
fn made_again(portal: SocketAddr) -> Vec<Change> {
    vec![
        create(group(), &[]),
        create(tpg(&format!("/portals/{portal}")), &[]),
        create(tpg("/luns/0"), &[("backstore", "ram/disk0")]),
        create(acl(), &[]),
    ]
}

fn target() -> ObjectPath {
    support::path(&format!("/targets/{TARGET}"))
}

const CHANGES: [Row; 11] = [
    ("target deleted", |_| vec![delete(target())]),
    ("target deleted and made again", |portal| {
        let mut changes = vec![delete(target()), create(target(), &[("alias", "test")])];
        changes.extend(made_again(portal));
        changes
    }),
    ("group deleted", |_| vec![delete(group())]),
    ("group deleted and made again", |portal| {
        let mut changes = vec![delete(group())];
        changes.extend(made_again(portal));
        changes
    }),
    ("group disabled", |_| {
        vec![set(group(), &[("enabled", "false")])]
    }),
    ("portal deleted", |portal| {
        vec![delete(tpg(&format!("/portals/{portal}")))]
    }),
    ("ACL deleted", |_| vec![delete(acl())]),
    ("ACL deleted and made again", |_| {
        vec![delete(acl()), create(acl(), &[])]
    }),
    ("ACL deleted where any initiator is let in", |_| {
        vec![
            delete(acl()),
            set(group(), &[("generate_node_acls", "true")]),
        ]
    }),
    ("authentication asked for", |_| {
        let proof = [("chap.user", "u"), ("chap.secret", "a secret of the ACL")];
        vec![set(acl(), &proof)]
    }),
    ("authentication asked of the group", |_| {
        let proof = [
            ("authentication", "chap"),
            ("chap.user", "u"),
            ("chap.secret", "a secret of the group"),
        ];
        vec![set(group(), &proof)]
    }),
];

/// RFC 7143 §11.13.5: 0301h, so that the initiator tries again and is told what holds now.
#[test]
fn login_held_while_what_admits_it_changes_is_told_to_try_again() {
    for driver in DRIVERS {
        for (name, changes) in CHANGES {
            let engine = engine_with_acl(driver);
            let portal = engine.portals()[0];
            let mut held = held_login(portal, HOST);
            transact(&engine, &changes(portal));
            let status = end(&mut held);
            assert_eq!(
                status,
                Some(LoginStatus::SERVICE_UNAVAILABLE),
                "{driver:?}: {name}"
            );
            assert_eq!(engine.sessions().len(), 0, "{driver:?}: {name}");
            drain(engine);
        }
    }
}

#[test]
fn login_held_while_demo_mode_ends_is_told_to_try_again() {
    for driver in DRIVERS {
        let engine = Engine::start(config(driver, 2), tree(vec![ram(1 << 20)])).expect("it starts");
        let mut held = held_login(engine.portals()[0], HOST);
        transact(&engine, &[set(group(), &[("generate_node_acls", "false")])]);
        assert_eq!(end(&mut held), Some(LoginStatus::SERVICE_UNAVAILABLE));
        drain(engine);
    }
}

#[test]
fn login_held_while_others_change_becomes_a_session_with_the_luns_of_now() {
    let other = "iqn.2026-11.org.example:other";
    for driver in DRIVERS {
        let engine = engine_with_acl(driver);
        let portal = engine.portals()[0];
        let mut held = held_login(portal, HOST);
        let below = |text: &str| support::path(&format!("/targets/{other}{text}"));
        let changes = [
            vec![create(below(""), &[]), create(below("/tpgs/7"), &[])],
            vec![create(below(&format!("/tpgs/7/portals/{portal}")), &[])],
            vec![set(target(), &[("alias", "another")])],
            vec![create(tpg(&format!("/acls/{HOST}-else")), &[])],
            vec![delete(tpg(&format!("/acls/{HOST}-else")))],
            vec![set(acl(), &[("tag", "group"), ("cmdsn_depth", "9")])],
            vec![create(
                support::path("/backstores/ram/more"),
                &[("size", "1MiB")],
            )],
            vec![create(tpg("/luns/3"), &[("backstore", "ram/more")])],
            vec![create(tpg("/portals/127.0.0.1:0"), &[])],
            vec![delete(below(""))],
        ];
        for step in changes {
            transact(&engine, &step);
        }
        assert_eq!(end(&mut held), None, "{driver:?}");
        settle(&mut held, 3);
        held.write(3, 0, &pattern(1, 512));
        assert_eq!(engine.sessions().len(), 1);
        assert_eq!(engine.sessions()[0].tag, GROUP_TAG);
        drain(engine);
    }
}

/// The commit looks at the world once more, whenever the change comes: before the claim, between claim and session, or after.
#[test]
fn login_racing_a_change_is_a_session_of_the_new_world_or_none() {
    for driver in DRIVERS {
        let engine = engine_with_acl(driver);
        let portal = engine.portals()[0];
        for round in 0..100 {
            let mut held = held_login(portal, HOST);
            let sends = std::thread::spawn(move || {
                let status = end(&mut held);
                (held, status)
            });
            for _ in 0..round % 10 {
                std::thread::yield_now();
            }
            let changes = if round % 2 == 0 {
                vec![delete(acl()), create(acl(), &[])]
            } else {
                vec![set(group(), &[("enabled", "false")])]
            };
            transact_within(&engine, &changes, Duration::from_millis(10));
            let (mut client, status) = sends.join().expect("no violation");
            // Whoever came before the change has been sent away by it; whoever came after it was refused.
            let refused = Some(LoginStatus::SERVICE_UNAVAILABLE);
            assert!(status.is_none() || status == refused, "{status:?}");
            assert_eq!(client.try_next(|_| false), None, "{driver:?}, {round}");
            assert_eq!(engine.sessions().len(), 0, "{driver:?}, {round}");
            transact(&engine, &[set(group(), &[("enabled", "true")])]);
        }
        let mut again = Client::login_as(portal, HOST);
        settle(&mut again, 0);
        drain(engine);
    }
}
