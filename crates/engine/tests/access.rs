//! ALUA groups of the tree, as an initiator meets them.

mod support;

use std::time::Duration;

use support::{
    Client, HOST, apply_within, asc, create, on_each_driver, path, ram, ready, set, settle, tpg,
    transact,
};

fn set_states(client: &mut Client, states: &[(u8, u16)]) -> (u8, Vec<u8>) {
    let mut list = vec![0; 4];
    for (state, group) in states {
        list.extend([*state, 0]);
        list.extend(group.to_be_bytes());
    }
    let mut cdb = [0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    cdb[9] = u8::try_from(list.len()).unwrap();
    let done = client.run(0, &cdb, &list, 0);
    (done.status, done.sense)
}

#[test]
fn alua_state_that_the_operator_or_an_initiator_sets_is_obeyed_and_told() {
    on_each_driver(
        2,
        || vec![ram(16 << 20)],
        |portal, engine| {
            let mut one = Client::login_as(portal, &format!("{HOST}-one"));
            let mut two = Client::login_as(portal, &format!("{HOST}-two"));
            settle(&mut one, 0);
            settle(&mut two, 0);
            let far = || path("/backstores/ram/disk0/alua/far");
            let group = [("tg_pt_gp_id", "7"), ("alua_access_state", "2")];
            transact(
                engine,
                &[
                    create(far(), &group),
                    set(tpg("/luns/0"), &[("alua_group", "far")]),
                ],
            );
            // ASYMMETRIC ACCESS STATE CHANGED and INQUIRY DATA HAS CHANGED, then TARGET PORT IN STANDBY STATE.
            for client in [&mut one, &mut two] {
                let mut told = Vec::new();
                let standing = loop {
                    match ready(client, 0) {
                        Some((6, code)) => told.push(code),
                        other => break other,
                    }
                };
                assert!(told.contains(&(0x2a, 0x06)), "{told:?}");
                assert_eq!(standing, Some((2, (0x04, 0x0b))));
            }
            // An initiator makes it active again: the other is told, and it stays so when the operator changes something else.
            assert_eq!(set_states(&mut one, &[(0x00, 7)]).0, 0);
            assert_eq!(ready(&mut one, 0), None);
            assert_eq!(ready(&mut two, 0), Some((6, (0x2a, 0x06))));
            two.write(0, 0, &[7; 512]);
            transact(engine, &[set(far(), &[("preferred", "1")])]);
            assert_eq!(ready(&mut one, 0), None);
            let report = [0xa3, 0x0a, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0];
            let data = one.good(0, &report, &[], 64);
            assert_eq!(data[4..12], [0x80, 0x4f, 0, 7, 0, 0x01, 0, 1]);
            // A state that the group may not have.
            transact(engine, &[set(far(), &[("alua_support_offline", "0")])]);
            let (status, sense) = set_states(&mut one, &[(0x0e, 7)]);
            assert_eq!((status, asc(&sense)), (2, (0x26, 0)));
        },
    );
}

#[test]
fn alua_state_that_takes_time_is_transitioning_meanwhile() {
    on_each_driver(
        2,
        || vec![ram(16 << 20)],
        |portal, engine| {
            let far = || path("/backstores/ram/disk0/alua/far");
            let group = [("tg_pt_gp_id", "7"), ("trans_delay_msecs", "300")];
            transact(
                engine,
                &[
                    create(far(), &group),
                    set(tpg("/luns/0"), &[("alua_group", "far")]),
                ],
            );
            let mut one = Client::login_as(portal, &format!("{HOST}-one"));
            let mut two = Client::login_as(portal, &format!("{HOST}-two"));
            settle(&mut one, 0);
            settle(&mut two, 0);
            let in_transition = Some((2, (0x04, 0x0a)));
            let change = apply_within(
                engine,
                &[set(far(), &[("alua_access_state", "1")])],
                Duration::from_secs(30),
            );
            let mut seen = Vec::new();
            while !change.left().is_nothing() {
                seen.push(ready(&mut one, 0));
            }
            assert!(seen.contains(&in_transition), "{seen:?}");
            for client in [&mut one, &mut two] {
                while ready(client, 0).is_some() {}
            }
            // An initiator waits for what it has asked for, and the others find it on its way.
            assert_eq!(set_states(&mut one, &[(0x00, 7)]).0, 0);
            assert_eq!(ready(&mut two, 0), Some((6, (0x2a, 0x06))));
            assert_eq!(ready(&mut two, 0), None);
        },
    );
}
