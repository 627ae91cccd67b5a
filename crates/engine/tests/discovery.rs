//! SendTargets through a real engine: what is told, and answers longer than a PDU.

mod support;

use initiator::{Config, Event};
use model::{Change, ObjectPath};
use support::{Client, HOST, TARGET, create, on_each_driver, path, plan, ram};

fn asked(client: &mut Client, which: &str) -> Vec<(String, String)> {
    client.initiator.send_targets(which);
    let event = client.next(|e| matches!(e, Event::TextDone { .. }));
    let Event::TextDone { pairs, .. } = event else {
        unreachable!()
    };
    pairs
}

fn apply(engine: &engine::Engine, changes: &[Change]) {
    let plan = plan(engine, changes);
    let patience = support::PATIENCE;
    let applied = engine.apply(&plan, engine::Missing::Refuse, patience, &mut |_| Ok(()));
    assert!(applied.expect("it can be had").wait().is_nothing());
}

#[test]
fn send_targets_of_many_targets_goes_over_many_pdus_whole() {
    on_each_driver(
        1,
        || vec![ram(1 << 20)],
        |portal, engine| {
            // Nobody listens there: these are told, and that is all.
            let mut changes = Vec::new();
            for n in 1..=400 {
                let target = format!("/targets/iqn.2026-11.org.example:many{n:03}");
                let group = format!("{target}/tpgs/9");
                changes.push(create(path(&target), &[]));
                changes.push(create(path(&group), &[("generate_node_acls", "yes")]));
                let at = format!("{group}/portals/127.0.0.1:0");
                let told = format!("[2001:db8::{n:x}]:3261");
                changes.push(create(path(&at), &[("advertise", &told)]));
            }
            apply(engine, &changes);
            for segment in ["512", "8192"] {
                let config = Config::discovery(HOST).with_key("MaxRecvDataSegmentLength", segment);
                let mut client = Client::login(portal, config);
                let pairs = asked(&mut client, "All");
                assert_eq!(pairs.len(), 2 * 401);
                for n in 1..=400 {
                    let name = format!("iqn.2026-11.org.example:many{n:03}");
                    let at = pairs.iter().position(|(_, value)| *value == name);
                    let (key, address) = &pairs[at.expect("it is told") + 1];
                    assert_eq!(key, "TargetAddress");
                    assert_eq!(*address, format!("[2001:db8::{n:x}]:3261,9"));
                }
                // A question after it is answered as if nothing had been.
                assert_eq!(asked(&mut client, TARGET).len(), 2);
            }
        },
    );
}

#[test]
fn send_targets_tells_each_form_of_address_with_its_group() {
    on_each_driver(
        1,
        || vec![ram(1 << 20)],
        |portal, engine| {
            let portals =
                |tag: u16, at: &str| path(&format!("/targets/{TARGET}/tpgs/{tag}/portals/{at}"));
            let other = ObjectPath::Tpg(iscsi_wire::IscsiName::parse(TARGET).expect("a name"), 2);
            apply(
                engine,
                &[
                    create(other, &[("generate_node_acls", "yes")]),
                    create(
                        portals(2, "127.0.0.2:0"),
                        &[("advertise", "San.example.org")],
                    ),
                    create(
                        portals(2, "127.0.0.3:0"),
                        &[("advertise", "[2001:DB8::1]:3262")],
                    ),
                ],
            );
            let mut client = Client::login(portal, Config::discovery(HOST));
            let mut told: Vec<String> = asked(&mut client, TARGET)
                .into_iter()
                .filter(|(key, _)| key == "TargetAddress")
                .map(|(_, value)| value)
                .collect();
            told.sort();
            let mut expected = [
                format!("{portal},1"),
                "[2001:db8::1]:3262,2".to_owned(),
                "san.example.org:3260,2".to_owned(),
            ];
            expected.sort();
            assert_eq!(told, expected);
        },
    );
}

#[test]
fn send_targets_in_a_session_tells_of_its_own_target_only() {
    on_each_driver(
        1,
        || vec![ram(1 << 20)],
        |portal, engine| {
            let hidden = "/targets/iqn.2026-11.org.example:other";
            apply(
                engine,
                &[
                    create(path(hidden), &[]),
                    create(
                        path(&format!("{hidden}/tpgs/1")),
                        &[("generate_node_acls", "yes")],
                    ),
                    create(path(&format!("{hidden}/tpgs/1/portals/127.0.0.1:0")), &[]),
                ],
            );
            let mut client = Client::login(portal, Config::normal(HOST, TARGET));
            for which in ["", TARGET] {
                let pairs = asked(&mut client, which);
                assert_eq!(pairs[0].1, TARGET);
                assert_eq!(pairs.len(), 2, "{pairs:?}");
            }
            assert_eq!(asked(&mut client, "iqn.2026-11.org.example:other"), []);
            let all = asked(&mut client, "All");
            assert_eq!(all, [("SendTargets".to_owned(), "Reject".to_owned())]);
        },
    );
}

/// A discovery session of this initiator, and maybe of a target.
fn discovery(host: &str, target: Option<&str>) -> Config {
    let mut config = Config::discovery(host);
    let named = target.map(|target| ("TargetName".to_owned(), target.to_owned()));
    config.identity.extend(named);
    config
}

fn is_alive(client: &mut Client) -> bool {
    client.initiator.send_targets(TARGET);
    let done = client.try_next(|e| matches!(e, Event::TextDone { .. }));
    done.is_some()
}

/// RFC 7143 §7.4.2.1: one for an initiator name, an ISID and a target address.
#[test]
fn discovery_session_is_reinstated_by_one_of_the_same_names_at_the_same_address() {
    on_each_driver(
        2,
        || vec![ram(1 << 20)],
        |portal, engine| {
            let far = support::tpg("/portals/127.0.0.2:0");
            apply(engine, &[create(far, &[])]);
            let portals = engine.portals();
            let far = *portals.iter().find(|one| **one != portal).unwrap();
            let mut old = Client::login(portal, discovery(HOST, None));
            let mut elsewhere = Client::login(far, discovery(HOST, None));
            let mut other_port = discovery(HOST, None);
            other_port.isid.0[5] = 9;
            let mut other_port = Client::login(portal, other_port);
            let mut other_name = discovery("iqn.2026-11.org.example:other", None);
            other_name.isid.0[5] = 1;
            let mut other_name = Client::login(portal, other_name);
            let mut named = Client::login(portal, discovery(HOST, Some(TARGET)));
            let mut normal = Client::login_as(portal, HOST);
            assert!(is_alive(&mut old), "none of these is the same");
            let mut new = Client::login(portal, discovery(HOST, None));
            assert_eq!(old.try_next(|_| false), None, "its connection is closed");
            for client in [&mut new, &mut elsewhere, &mut other_port, &mut other_name] {
                assert!(is_alive(client));
            }
            // The login of the normal session has ended the one that named its target.
            assert_eq!(named.try_next(|_| false), None);
            assert!(is_alive(&mut normal));
        },
    );
}

/// RFC 7143 §7.4.2.2, but for what `engine/src/discoveries.rs` says of normal sessions.
#[test]
fn discovery_session_that_names_a_target_is_one_of_its_nexus() {
    on_each_driver(
        2,
        || vec![ram(1 << 20)],
        |portal, engine| {
            let far = support::tpg("/portals/127.0.0.2:0");
            apply(engine, &[create(far, &[])]);
            let portals = engine.portals();
            let far = *portals.iter().find(|one| **one != portal).unwrap();
            let mut normal = Client::login_as(portal, HOST);
            let mut old = Client::login(portal, discovery(HOST, Some(TARGET)));
            assert_eq!(old.initiator.params().target_portal_group_tag, Some(1));
            let mut unnamed = Client::login(portal, discovery(HOST, None));
            assert_eq!(unnamed.initiator.params().target_portal_group_tag, None);
            assert!(is_alive(&mut old));
            // Through whichever portal of the group.
            let mut new = Client::login(far, discovery(HOST, Some(TARGET)));
            assert_eq!(old.try_next(|_| false), None, "its connection is closed");
            for client in [&mut new, &mut unnamed, &mut normal] {
                assert!(is_alive(client));
            }
        },
    );
}
