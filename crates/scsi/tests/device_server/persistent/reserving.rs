//! RESERVE, RELEASE and CLEAR.

use scsi::Sense;

use super::*;

#[test]
fn reserve_of_each_type_is_reported_and_repeated() {
    for kind in [WE, EA, WE_RO, EA_RO, WE_AR, EA_AR] {
        let mut rig = held(kind);
        let all = kind == WE_AR || kind == EA_AR;
        let key = if all { 0 } else { 0x11 };
        assert_eq!(rig.reservation(), Some((key, kind)));
        // Of the holder once more: no error.
        rig.reserve_out(ONE, RESERVE, kind, 0x11, 0).gone_well();
        let run = rig.reserve_out(TWO, RESERVE, kind, 0x22, 0);
        if all {
            run.gone_well();
        } else {
            run.conflict();
        }
        // Of another type, or for what is no logical unit.
        let other = if kind == WE { EA } else { WE };
        rig.reserve_out(ONE, RESERVE, other, 0x11, 0).conflict();
        rig.reserve_out(ONE, RESERVE, kind | 0x10, 0x11, 0)
            .conflict();
        assert_eq!(rig.reservation(), Some((key, kind)));
        assert_eq!(rig.all_told(), [vec![], vec![], vec![]]);
    }
}

#[test]
fn reserve_with_a_scope_or_type_that_is_none_is_refused() {
    let mut rig = registered();
    for kind in [0, 2, 4, 9, 0x0f] {
        let run = rig.reserve_out(ONE, RESERVE, kind, 0x11, 0);
        run.check(Sense::cdb_bit(2, 3));
    }
    for scope in [0x10, 0x20, 0xf0] {
        let run = rig.reserve_out(ONE, RESERVE, scope | WE, 0x11, 0);
        run.check(Sense::cdb_bit(2, 7));
    }
    assert_eq!(rig.reservation(), None);
}

#[test]
fn release_by_the_holder_is_told_where_registrants_had_access() {
    for kind in [WE, EA, WE_RO, EA_RO, WE_AR, EA_AR] {
        let mut rig = held(kind);
        rig.reserve_out(ONE, RELEASE, kind, 0x11, 0).gone_well();
        assert_eq!(rig.reservation(), None);
        let told = match kind {
            WE | EA => vec![],
            _ => vec![RESERVATIONS_RELEASED],
        };
        assert_eq!(rig.all_told(), [vec![], told.clone(), told], "{kind}");
        assert_eq!(rig.keys().1, [0x11, 0x22, 0x33]);
    }
}

#[test]
fn release_by_another_or_of_another_type_changes_nothing() {
    let mut rig = held(WE_RO);
    rig.reserve_out(TWO, RELEASE, WE_RO, 0x22, 0).gone_well();
    let invalid = Sense::INVALID_RELEASE_OF_PERSISTENT_RESERVATION;
    rig.reserve_out(ONE, RELEASE, EA_RO, 0x11, 0).check(invalid);
    rig.reserve_out(ONE, RELEASE, WE_RO | 0x10, 0x11, 0)
        .check(invalid);
    rig.reserve_out(ONE, RELEASE, WE_RO, 0x12, 0).conflict();
    assert_eq!(rig.reservation(), Some((0x11, WE_RO)));
    // Without a reservation there is nothing to release, which is no error.
    rig.reserve_out(ONE, RELEASE, WE_RO, 0x11, 0).gone_well();
    rig.reserve_out(ONE, RELEASE, WE_RO, 0x11, 0).gone_well();
    // Of all registrants each may release.
    let mut rig = held(WE_AR);
    rig.reserve_out(TWO, RELEASE, WE_AR, 0x22, 0).gone_well();
    let told = vec![RESERVATIONS_RELEASED];
    assert_eq!(rig.all_told(), [told.clone(), vec![], told]);
}

#[test]
fn unregistering_of_the_holder_releases_as_the_types_have_it() {
    for kind in [WE, EA, WE_RO, EA_RO, WE_AR, EA_AR] {
        let mut rig = held(kind);
        rig.reserve_out(ONE, REGISTER, 0, 0x11, 0).gone_well();
        let (left, told) = match kind {
            WE | EA => (None, vec![]),
            WE_RO | EA_RO => (None, vec![RESERVATIONS_RELEASED]),
            // It goes with the last registration.
            _ => (Some((0, kind)), vec![]),
        };
        assert_eq!(rig.reservation(), left, "{kind}");
        assert_eq!(rig.all_told(), [vec![], told.clone(), told], "{kind}");
        rig.reserve_out(TWO, REGISTER, 0, 0x22, 0).gone_well();
        rig.reserve_out(THREE, REGISTER_AND_IGNORE, 0, 0, 0)
            .gone_well();
        assert_eq!((rig.reservation(), rig.keys().1), (None, vec![]));
        assert_eq!(rig.all_told(), [vec![], vec![], vec![]], "{kind}");
    }
}

#[test]
fn key_that_changes_keeps_the_reservation() {
    let mut rig = held(EA);
    rig.reserve_out(ONE, REGISTER, 0, 0x11, 0x1111).gone_well();
    assert_eq!(rig.reservation(), Some((0x1111, EA)));
    rig.reserve_out(ONE, RELEASE, EA, 0x11, 0).conflict();
    rig.reserve_out(ONE, RELEASE, EA, 0x1111, 0).gone_well();
}

#[test]
fn clear_ends_everything_and_tells_all_others_that_were_registered() {
    for kind in [0, WE, EA_RO, WE_AR] {
        let mut rig = if kind == 0 { registered() } else { held(kind) };
        rig.reserve_out(TWO, CLEAR, 0xff, 0x22, 0).gone_well();
        assert_eq!((rig.reservation(), rig.keys().1), (None, vec![]));
        let told = vec![RESERVATIONS_PREEMPTED];
        assert_eq!(rig.all_told(), [told.clone(), vec![], told]);
    }
}

#[test]
fn write_that_was_checked_before_a_reservation_is_not_submitted_after_it() {
    let mut rig = registered();
    let block = [0xee; 512];
    let write = crate::rig::cdb10(0x2a, 0, 3, 1);
    let (mut live, step) = rig.start(TWO, &write, Data::Out(&block));
    rig.reserve_out(ONE, RESERVE, WE, 0x11, 0).gone_well();
    let step = rig.take_on(&mut live, step).unwrap();
    rig.finish(live, step).conflict();
    assert_eq!(rig.store[3 * 512], 3);
}
