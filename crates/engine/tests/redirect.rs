//! Logins sent elsewhere (RFC 7143 §11.13.5), through a real engine.

mod support;

use std::net::SocketAddr;

use engine::{Engine, Missing};
use initiator::{Config, Event};
use iscsi_wire::LoginStatus;
use model::ObjectPath;
use support::{Client, HOST, PATIENCE, TARGET, chap, group, on_each_driver, path, plan, ram, set};

const MOVED: LoginStatus = LoginStatus::TARGET_MOVED_TEMPORARILY;

fn apply(engine: &Engine, at: ObjectPath, attributes: &[(&str, &str)]) {
    let plan = plan(engine, &[set(at, attributes)]);
    let applied = engine.apply(&plan, Missing::Refuse, PATIENCE, &mut |_| Ok(()));
    let left = applied.expect("it can be had").wait();
    assert!(left.is_nothing(), "{left:?}");
}

/// The status of a login, and the address it was told.
fn refused(portal: SocketAddr, config: Config) -> (LoginStatus, Option<String>) {
    let mut client = Client::connect(portal, config);
    client.initiator.start_login();
    let event = client.next(|e| matches!(e, Event::LoginFailed { .. } | Event::LoggedIn));
    let Event::LoginFailed { status, pairs } = event else {
        panic!("it got in");
    };
    assert_eq!(client.try_next(|_| false), None, "the connection closes");
    let told = pairs.into_iter().find(|(key, _)| key == "TargetAddress");
    (status, told.map(|(_, address)| address))
}

fn normal() -> Config {
    Config::normal(HOST, TARGET)
}

#[test]
fn login_to_a_redirected_target_is_told_the_address_and_old_sessions_stay() {
    on_each_driver(
        2,
        || vec![ram(1 << 20)],
        |portal, engine| {
            let mut before = Client::login(portal, normal());
            let target = path(&format!("/targets/{TARGET}"));
            apply(engine, target.clone(), &[("redirect.address", "192.0.2.7")]);
            let told = |address: &str| Some(address.to_owned());
            let other = || Config::normal("iqn.2026-11.org.example:other", TARGET);
            assert_eq!(refused(portal, other()), (MOVED, told("192.0.2.7:3260")));
            // The group's own word goes before the target's.
            let own = [
                ("redirect.address", "[2001:db8::1]:3261"),
                ("redirect.permanent", "yes"),
            ];
            apply(engine, group(), &own);
            let (for_ever, address) = (LoginStatus::TARGET_MOVED_PERMANENTLY, "[2001:db8::1]:3261");
            assert_eq!(refused(portal, other()), (for_ever, told(address)));
            assert_eq!(engine.counters().logins_redirected, 2);
            assert_eq!(engine.counters().logins_refused, 0);
            assert_eq!(before.read(0, 0, 512).len(), 512, "its session goes on");
            // Discovery has no target that could have moved, and tells of this one as before.
            let mut discovery = Client::login(portal, Config::discovery(HOST));
            discovery.initiator.send_targets("All");
            let event = discovery.next(|e| matches!(e, Event::TextDone { .. }));
            let Event::TextDone { pairs, .. } = event else {
                unreachable!()
            };
            assert_eq!(pairs[1].1, format!("{portal},1"));
        },
    );
}

#[test]
fn redirection_after_authentication_is_told_to_those_who_proved_themselves() {
    on_each_driver(
        1,
        || vec![ram(1 << 20)],
        |portal, engine| {
            let asked = [
                ("authentication", "chap"),
                ("chap.user", "host"),
                ("chap.secret", "the host's secret"),
                ("redirect.address", "san.example.org:3261"),
                ("redirect.after_authentication", "yes"),
            ];
            apply(engine, group(), &asked);
            let with = |secret: &str| normal().with_chap(chap(secret));
            let failed = LoginStatus::AUTHENTICATION_FAILURE;
            assert_eq!(refused(portal, normal()), (failed, None));
            assert_eq!(refused(portal, with("another secret")), (failed, None));
            let told = Some("san.example.org:3261".to_owned());
            assert_eq!(refused(portal, with("the host's secret")), (MOVED, told));
        },
    );
}

#[test]
fn initiator_that_is_not_admitted_is_refused_and_not_redirected() {
    on_each_driver(
        1,
        || vec![ram(1 << 20)],
        |portal, engine| {
            apply(
                engine,
                group(),
                &[
                    ("redirect.address", "192.0.2.7"),
                    ("generate_node_acls", "no"),
                ],
            );
            let status = LoginStatus::AUTHORIZATION_FAILURE;
            assert_eq!(refused(portal, normal()), (status, None));
            apply(engine, group(), &[("enabled", "no")]);
            let status = LoginStatus::SERVICE_UNAVAILABLE;
            assert_eq!(refused(portal, normal()), (status, None));
        },
    );
}
