//! What outlasts a loss of power: SPC-5 r22 "Preserving persistent reservations and registrations through power loss".

use std::sync::Arc;

use scsi::{PersistentReservations, Sense};

use super::*;
use crate::rig::{caps, cdb10, snapshot};

/// An LU with a place to save to.
fn saving() -> Rig {
    restored(PersistentReservations::default())
}

fn restored(persistent: PersistentReservations) -> Rig {
    let mut lu = snapshot(caps(512, 64));
    lu.ptpl_capable = true;
    let mut rig = Rig::with_snapshot(lu.with_persistent(Arc::new(persistent)));
    for nexus in [THREE, OBSERVER] {
        rig.shard.attach_nexus(nexus, &name_of(nexus), &[]);
    }
    rig
}

/// The LU as it is after a loss of power.
fn after_power_loss(rig: &Rig) -> Rig {
    let last = rig.saves.last().cloned().flatten();
    let saved = last.map(|bytes| PersistentReservations::restore(&bytes).unwrap());
    restored(saved.unwrap_or_default())
}

fn register(rig: &mut Rig, nexus: NexusId, key: u64, flags: u8) -> Run {
    rig.reserve_out_list(nexus, REGISTER_AND_IGNORE, 0, &list(0, key, flags))
}

#[test]
fn each_type_of_reservation_is_there_after_a_loss_of_power() {
    for kind in [0, WE, EA, WE_RO, EA_RO, WE_AR, EA_AR] {
        let mut rig = saving();
        register(&mut rig, ONE, 0x11, APTPL).gone_well();
        register(&mut rig, TWO, 0x22, APTPL).gone_well();
        if kind != 0 {
            rig.reserve_out(TWO, RESERVE, kind, 0x22, 0).gone_well();
        }
        let before = (rig.reservation(), rig.reserve_in(3)[4..].to_vec());
        let mut rig = after_power_loss(&rig);
        assert_eq!((rig.reservation(), rig.reserve_in(3)[4..].to_vec()), before);
        // PRgeneration begins anew.
        assert_eq!(rig.keys(), (0, vec![0x11, 0x22]));
        let run = rig.run_as(OBSERVER, &cdb10(0x2a, 0, 0, 1), Data::Out(&[1; 512]));
        assert_eq!(run.done.status == Status::ReservationConflict, kind != 0);
    }
}

#[test]
fn capabilities_tell_that_it_can_be_and_whether_it_is() {
    let mut rig = saving();
    assert_eq!(rig.reserve_in(2)[2..4], [0b1001_1101, 0b1011_0000]);
    register(&mut rig, ONE, 0x11, APTPL).gone_well();
    assert_eq!(rig.reserve_in(2)[2..4], [0b1001_1101, 0b1011_0001]);
    assert_eq!(after_power_loss(&rig).reserve_in(2)[3], 0b1011_0001);
    register(&mut rig, ONE, 0x11, 0).gone_well();
    assert_eq!(rig.reserve_in(2)[3], 0b1011_0000);
}

#[test]
fn last_aptpl_decides_for_all_registrations() {
    let mut rig = saving();
    register(&mut rig, ONE, 0x11, 0).gone_well();
    assert_eq!(rig.saves, [], "nothing is to be kept");
    register(&mut rig, TWO, 0x22, APTPL).gone_well();
    assert_eq!(after_power_loss(&rig).keys().1, [0x11, 0x22]);
    // What comes later is kept too, whatever it is.
    rig.reserve_out(ONE, RESERVE, EA, 0x11, 0).gone_well();
    assert_eq!(after_power_loss(&rig).reservation(), Some((0x11, EA)));
    rig.reserve_out(TWO, PREEMPT, WE, 0x22, 0x11).gone_well();
    assert_eq!(after_power_loss(&rig).reservation(), Some((0x22, WE)));
    rig.reserve_out(TWO, RELEASE, WE, 0x22, 0).gone_well();
    assert_eq!(after_power_loss(&rig).reservation(), None);
    register(&mut rig, THREE, 0x33, 0).gone_well();
    assert_eq!(rig.saves.last(), Some(&None));
    assert_eq!(after_power_loss(&rig).keys().1, []);
    let saves = rig.saves.len();
    rig.reserve_out(TWO, CLEAR, 0, 0x22, 0).gone_well();
    assert_eq!(
        rig.saves.len(),
        saves,
        "there is nothing to forget any more"
    );
}

#[test]
fn what_changes_nothing_is_not_saved() {
    let mut rig = saving();
    register(&mut rig, ONE, 0x11, APTPL).gone_well();
    rig.reserve_out(ONE, RESERVE, WE, 0x11, 0).gone_well();
    let saves = rig.saves.len();
    rig.reserve_out(ONE, RESERVE, WE, 0x11, 0).gone_well();
    rig.reserve_out(ONE, RESERVE, WE, 0x12, 0).conflict();
    rig.reserve_out(ONE, RELEASE, EA, 0x11, 0);
    assert_eq!(rig.saves.len(), saves);
}

#[test]
fn save_that_fails_leaves_everything_as_it_was() {
    let mut rig = saving();
    let full = Sense::INSUFFICIENT_REGISTRATION_RESOURCES;
    rig.fail_saves = true;
    register(&mut rig, ONE, 0x11, APTPL).check(full);
    assert_eq!(rig.keys(), (0, vec![]));
    register(&mut rig, ONE, 0x11, 0).gone_well();
    rig.fail_saves = false;
    register(&mut rig, TWO, 0x22, APTPL).gone_well();
    rig.reserve_out(ONE, RESERVE, EA_RO, 0x11, 0).gone_well();
    rig.fail_saves = true;
    rig.reserve_out(TWO, PREEMPT, WE, 0x22, 0x11).check(full);
    rig.reserve_out(TWO, CLEAR, 0, 0x22, 0).check(full);
    rig.reserve_out(ONE, RELEASE, EA_RO, 0x11, 0).check(full);
    register(&mut rig, ONE, 0, 0).check(full);
    assert_eq!(rig.reservation(), Some((0x11, EA_RO)));
    assert_eq!(rig.keys(), (2, vec![0x11, 0x22]));
    assert_eq!(rig.all_told(), [vec![], vec![], vec![]]);
    // Nothing is left standing.
    rig.run(&cdb10(0x2a, 0, 0, 1), Data::Out(&[1; 512]))
        .gone_well();
    assert!(rig.home.is_quiet());
}

#[test]
fn state_is_seen_by_nobody_before_it_is_durable_and_holds_up_nobody_meanwhile() {
    let mut rig = saving();
    register(&mut rig, ONE, 0x11, APTPL).gone_well();
    rig.hold_saves = true;
    let cdb = cdb_out(RESERVE, EA, 24);
    let by_one = list(0x11, 0, 0);
    let (mut reserve, step) = rig.start(ONE, &cdb, Data::Out(&by_one));
    let home = rig.take_on(&mut reserve, step).unwrap();
    assert!(rig.take_on(&mut reserve, home).is_none());
    assert_eq!(rig.reservation(), None);
    rig.run_as(TWO, &cdb10(0x2a, 0, 0, 1), Data::Out(&[1; 512]))
        .gone_well();
    // COMPARE AND WRITE and MODE SELECT are not held up either.
    let compare = crate::rig::compare_and_write(0, 0, 1);
    let run = rig.run_as(TWO, &compare, Data::Out(&[1; 1024]));
    run.gone_well();
    rig.hold_saves = false;
    rig.save_held();
    let done = rig.wait(&mut reserve).unwrap();
    rig.finish(reserve, done).gone_well();
    rig.run_as(TWO, &cdb10(0x2a, 0, 0, 1), Data::Out(&[1; 512]))
        .conflict();
}

#[test]
fn command_that_is_aborted_while_it_is_saved_happens_all_the_same() {
    let mut rig = saving();
    register(&mut rig, ONE, 0x11, APTPL).gone_well();
    rig.hold_saves = true;
    let cdb = cdb_out(RESERVE, EA, 24);
    let by_one = list(0x11, 0, 0);
    let (mut reserve, step) = rig.start(ONE, &cdb, Data::Out(&by_one));
    let home = rig.take_on(&mut reserve, step).unwrap();
    assert!(rig.take_on(&mut reserve, home).is_none());
    rig.shard.leave(reserve.task.key());
    rig.settle();
    rig.hold_saves = false;
    rig.save_held();
    // What a loss of power would bring back, and what is, do not differ.
    assert_eq!(rig.reservation(), Some((0x11, EA)));
    assert_eq!(after_power_loss(&rig).reservation(), Some((0x11, EA)));
    assert!(rig.home.is_quiet());
}
