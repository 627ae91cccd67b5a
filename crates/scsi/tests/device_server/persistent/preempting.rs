//! PREEMPT and PREEMPT AND ABORT.

use scsi::{Sense, Step};

use super::*;
use crate::rig::{Event, cdb10};

const PREEMPTED: (u8, u8) = REGISTRATIONS_PREEMPTED;
const RELEASED: (u8, u8) = RESERVATIONS_RELEASED;

/// The type that one holds with key 11h, who preempts which key for which type; then what is left: the reservation and the keys;
/// and what the three are told.
type Case = (
    u8,
    NexusId,
    u64,
    u8,
    Option<(u64, u8)>,
    &'static [u64],
    [&'static [(u8, u8)]; 3],
);

const CASES: &[Case] = &[
    // The holder's key: the reservation changes hands.
    (
        WE,
        TWO,
        0x11,
        WE,
        Some((0x22, WE)),
        &[0x22, 0x33],
        [&[PREEMPTED], &[], &[]],
    ),
    (
        WE,
        TWO,
        0x11,
        EA,
        Some((0x22, EA)),
        &[0x22, 0x33],
        [&[PREEMPTED], &[], &[RELEASED]],
    ),
    (
        EA_RO,
        THREE,
        0x11,
        EA_RO,
        Some((0x33, EA_RO)),
        &[0x22, 0x33],
        [&[PREEMPTED], &[], &[]],
    ),
    (
        WE_RO,
        TWO,
        0x11,
        WE_AR,
        Some((0, WE_AR)),
        &[0x22, 0x33],
        [&[PREEMPTED], &[], &[RELEASED]],
    ),
    // The holder preempts itself, and keeps its registration.
    (
        WE_RO,
        ONE,
        0x11,
        EA,
        Some((0x11, EA)),
        &[0x11, 0x22, 0x33],
        [&[], &[RELEASED], &[RELEASED]],
    ),
    (
        WE_RO,
        ONE,
        0x11,
        WE_RO,
        Some((0x11, WE_RO)),
        &[0x11, 0x22, 0x33],
        [&[], &[], &[]],
    ),
    // Any other key: registrations go, the reservation and the type asked for do not matter.
    (
        WE,
        ONE,
        0x22,
        EA,
        Some((0x11, WE)),
        &[0x11, 0x33],
        [&[], &[PREEMPTED], &[]],
    ),
    (
        WE_RO,
        TWO,
        0x33,
        0x0f,
        Some((0x11, WE_RO)),
        &[0x11, 0x22],
        [&[], &[], &[PREEMPTED]],
    ),
    (
        0,
        TWO,
        0x33,
        0,
        None,
        &[0x11, 0x22],
        [&[], &[], &[PREEMPTED]],
    ),
    // One's own.
    (
        WE,
        TWO,
        0x22,
        WE,
        Some((0x11, WE)),
        &[0x11, 0x33],
        [&[], &[], &[]],
    ),
    // All registrants: zero is everybody's, anything else removes registrations.
    (
        WE_AR,
        TWO,
        0,
        EA_AR,
        Some((0, EA_AR)),
        &[0x22],
        [&[PREEMPTED], &[], &[PREEMPTED]],
    ),
    (
        WE_AR,
        TWO,
        0,
        WE,
        Some((0x22, WE)),
        &[0x22],
        [&[PREEMPTED], &[], &[PREEMPTED]],
    ),
    (
        WE_AR,
        TWO,
        0x11,
        EA,
        Some((0, WE_AR)),
        &[0x22, 0x33],
        [&[PREEMPTED], &[], &[]],
    ),
];

#[test]
fn preempt_by_type_and_key_does_what_the_table_has() {
    let keys = [(ONE, 0x11), (TWO, 0x22), (THREE, 0x33)];
    for action in [PREEMPT, PREEMPT_AND_ABORT] {
        for (kind, by, key, for_kind, reservation, left, told) in CASES {
            let mut rig = if *kind == 0 {
                registered()
            } else {
                held(*kind)
            };
            let (_, own) = keys.iter().find(|(nexus, _)| nexus == by).unwrap();
            let run = rig.reserve_out(*by, action, *for_kind, *own, *key);
            run.gone_well();
            let case = format!("{action} {kind} {by:?} {key:x} {for_kind}");
            assert_eq!(rig.reservation(), *reservation, "{case}");
            assert_eq!(rig.keys(), (4, left.to_vec()), "{case}");
            assert_eq!(rig.all_told(), told.map(<[_]>::to_vec), "{case}");
        }
    }
}

#[test]
fn preempt_of_a_key_that_nobody_has_or_of_zero_changes_nothing() {
    for kind in [0, WE, WE_RO, EA_AR] {
        let mut rig = if kind == 0 { registered() } else { held(kind) };
        rig.reserve_out(TWO, PREEMPT, WE, 0x22, 0x44).conflict();
        if kind != EA_AR {
            let run = rig.reserve_out(TWO, PREEMPT, WE, 0x22, 0);
            run.check(Sense::parameter_byte(8));
        }
        assert_eq!(rig.keys(), (3, vec![0x11, 0x22, 0x33]));
        assert_eq!(rig.all_told(), [vec![], vec![], vec![]]);
    }
}

#[test]
fn preempt_for_a_type_that_is_none_is_refused_where_the_type_counts() {
    let mut rig = held(WE);
    let run = rig.reserve_out(TWO, PREEMPT, 2, 0x22, 0x11);
    run.check(Sense::cdb_bit(2, 3));
    let run = rig.reserve_out(TWO, PREEMPT, 0x20 | WE, 0x22, 0x11);
    run.check(Sense::cdb_bit(2, 7));
    assert_eq!(rig.reservation(), Some((0x11, WE)));
    assert_eq!(rig.keys().0, 3);
}

#[test]
fn preempt_of_the_last_of_all_registrants_by_itself_ends_the_reservation() {
    let mut rig = three();
    rig.reserve_out(ONE, REGISTER, 0, 0, 0x11).gone_well();
    rig.reserve_out(ONE, RESERVE, WE_AR, 0x11, 0).gone_well();
    rig.reserve_out(ONE, PREEMPT, WE_AR, 0x11, 0x11).gone_well();
    assert_eq!((rig.reservation(), rig.keys().1), (None, vec![]));
}

#[test]
fn key_of_several_nexuses_is_preempted_with_all_of_them() {
    let mut rig = three();
    for (nexus, key) in [(ONE, 0x11), (TWO, 0x11), (THREE, 0x33)] {
        rig.reserve_out(nexus, REGISTER, 0, 0, key).gone_well();
    }
    rig.reserve_out(TWO, RESERVE, WE, 0x11, 0).gone_well();
    rig.reserve_out(THREE, PREEMPT, WE, 0x33, 0x11).gone_well();
    assert_eq!(rig.keys().1, [0x33]);
    let told = vec![PREEMPTED];
    assert_eq!(rig.all_told(), [told.clone(), told, vec![]]);
}

#[test]
fn preempt_waits_for_writes_in_the_store_and_those_behind_end_in_conflict() {
    let mut rig = held(WE_RO);
    let block = [0xee; 512];
    let (mut flying, step) = rig.start(TWO, &cdb10(0x2a, 0, 3, 1), Data::Out(&block));
    let in_store = rig.take_on(&mut flying, step).unwrap();
    assert!(matches!(in_store, Step::Io(_)));
    let (mut waiting, data_out) = rig.start(TWO, &cdb10(0x2a, 0, 4, 1), Data::Out(&block));

    let cdb = cdb_out(PREEMPT, WE_RO, 24);
    let by_one = list(0x11, 0x22, 0);
    let (mut preempt, step) = rig.start(ONE, &cdb, Data::Out(&by_one));
    let home = rig.take_on(&mut preempt, step).unwrap();
    assert!(
        rig.take_on(&mut preempt, home).is_none(),
        "a write is in the store"
    );
    // A write that has its data by now is held.
    let held_step = rig.take_on(&mut waiting, data_out).unwrap();
    assert_eq!(held_step, Step::Held);

    let done = rig.take_on(&mut flying, in_store).unwrap();
    rig.finish(flying, done).gone_well();
    let done = rig.wait(&mut preempt).unwrap();
    rig.finish(preempt, done).gone_well();
    rig.finish(waiting, held_step).conflict();
    assert_eq!((rig.store[3 * 512], rig.store[4 * 512]), (0xee, 4));
}

#[test]
fn preempt_and_abort_ends_what_waits_for_data_and_waits_for_what_is_in_the_store() {
    let mut rig = held(WE_RO);
    let block = [0xee; 512];
    let (mut flying, step) = rig.start(TWO, &cdb10(0x2a, 0, 3, 1), Data::Out(&block));
    let in_store = rig.take_on(&mut flying, step).unwrap();
    let (mut waiting, _) = rig.start(TWO, &cdb10(0x2a, 0, 4, 1), Data::Out(&block));
    let (mut other, other_data) = rig.start(THREE, &cdb10(0x2a, 0, 5, 1), Data::Out(&block));

    let cdb = cdb_out(PREEMPT_AND_ABORT, WE_RO, 24);
    let by_one = list(0x11, 0x22, 0);
    let (mut preempt, step) = rig.start(ONE, &cdb, Data::Out(&by_one));
    let home = rig.take_on(&mut preempt, step).unwrap();
    assert!(rig.take_on(&mut preempt, home).is_none());
    assert_eq!(rig.event(waiting.task.key()), Some(Event::Abort));
    assert_eq!(rig.event(flying.task.key()), Some(Event::Abort));
    let Step::Done(done) = rig.resume(&mut waiting, scsi::Resumed::Aborted) else {
        panic!("it goes on");
    };
    rig.end(waiting, done);
    assert!(rig.wait(&mut preempt).is_none(), "a write is in the store");
    // What is in the store ends there; the task leaves, and is not resumed.
    drop(in_store);
    rig.shard.leave(flying.task.key());
    rig.settle();
    let done = rig.wait(&mut preempt).unwrap();
    rig.finish(preempt, done).gone_well();

    // Those of others go on.
    let step = rig.take_on(&mut other, other_data).unwrap();
    rig.finish(other, step).gone_well();
    assert_eq!((rig.store[4 * 512], rig.store[5 * 512]), (4, 0xee));
    // SAM-5 "Aborting commands", TAS 0: the nexus that lost commands hears of it.
    let told = [vec![], vec![(0x2f, 0x00), PREEMPTED], vec![]];
    assert_eq!(rig.all_told(), told);
    rig.run_as(TWO, &cdb10(0x2a, 0, 4, 1), Data::Out(&block))
        .conflict();
}

#[test]
fn preempt_and_abort_of_ones_own_key_spares_the_command_itself() {
    let mut rig = three();
    for (nexus, key) in [(ONE, 0x11), (TWO, 0x11)] {
        rig.reserve_out(nexus, REGISTER, 0, 0, key).gone_well();
    }
    rig.reserve_out(ONE, RESERVE, WE, 0x11, 0).gone_well();
    let (mut own, _) = rig.start(ONE, &cdb10(0x2a, 0, 4, 1), Data::Out(&[0xee; 512]));
    let cdb = cdb_out(PREEMPT_AND_ABORT, EA, 24);
    let with_own = list(0x11, 0x11, 0);
    let (mut preempt, step) = rig.start(ONE, &cdb, Data::Out(&with_own));
    let home = rig.take_on(&mut preempt, step).unwrap();
    assert!(rig.take_on(&mut preempt, home).is_none());
    assert_eq!(rig.event(own.task.key()), Some(Event::Abort));
    let Step::Done(done) = rig.resume(&mut own, scsi::Resumed::Aborted) else {
        panic!("it goes on");
    };
    rig.end(own, done);
    let done = rig.wait(&mut preempt).unwrap();
    rig.finish(preempt, done).gone_well();
    assert_eq!(
        (rig.reservation(), rig.keys().1),
        (Some((0x11, EA)), vec![0x11])
    );
    assert_eq!(rig.all_told(), [vec![], vec![PREEMPTED], vec![]]);
}

#[test]
fn preempt_and_abort_ends_the_prevention_of_removal() {
    let mut rig = registered();
    for nexus in [TWO, THREE] {
        rig.run_as(nexus, &[0x1e, 0, 0, 0, 1, 0], Data::None)
            .gone_well();
    }
    rig.reserve_out(ONE, PREEMPT_AND_ABORT, 0, 0x11, 0x22)
        .gone_well();
    let prevents = |nexus| rig.shard.nexus(nexus).unwrap().prevents_medium_removal;
    assert_eq!((prevents(TWO), prevents(THREE)), (false, true));
}
