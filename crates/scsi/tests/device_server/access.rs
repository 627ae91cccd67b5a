//! Asymmetric access: what each state of a target port lets through, REPORT and SET TARGET PORT GROUPS.

use std::sync::Arc;
use std::time::Duration;

use scsi::lu::{HomeAction, LuChange, UnitAttention};
use scsi::{AccessChange, AccessChangedBy, AccessGroup, AccessState, LuSnapshot, Sense, Status};

use crate::rig::{Data, ONE, Rig, Run, TWO, caps, snapshot};

/// The port of the rig's nexuses is in this group; the other port is in [`OTHER`].
const GROUP: u16 = 7;
const OTHER: u16 = 9;

const ALL_STATES: u8 = 0x4f;

pub(crate) fn group(id: u16, state: AccessState) -> AccessGroup {
    AccessGroup {
        id,
        state,
        changed_by: AccessChangedBy::Nothing,
        preferred: id == OTHER,
        supported: ALL_STATES,
        implicit: true,
        explicit: true,
        implicit_transition_seconds: 0,
        transition: Duration::ZERO,
    }
}

fn lu(groups: Vec<AccessGroup>) -> LuSnapshot {
    let mut lu = snapshot(caps(512, 64));
    let mut ports = lu.target_ports.to_vec();
    ports[0].group_id = OTHER;
    lu.target_ports = ports.into();
    lu.access_groups = groups.into();
    lu
}

fn rig(state: AccessState) -> Rig {
    let other = group(OTHER, AccessState::ActiveOptimized);
    Rig::with_snapshot(lu(vec![group(GROUP, state), other]))
}

fn report(rig: &mut Rig) -> Vec<u8> {
    let cdb = [0xa3, 0x0a, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    let run = rig.run(&cdb, Data::In(256));
    run.good(&[]);
    run.data_in
}

fn set(rig: &mut Rig, states: &[(u8, u16)]) -> Run {
    let mut list = vec![0; 4];
    for (state, group) in states {
        list.extend_from_slice(&[*state, 0]);
        list.extend_from_slice(&group.to_be_bytes());
    }
    set_list(rig, &list)
}

fn set_list(rig: &mut Rig, list: &[u8]) -> Run {
    let mut cdb = [0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    cdb[9] = list.len() as u8;
    rig.run(&cdb, Data::Out(list))
}

#[test]
fn command_through_a_port_in_each_state_is_served_or_told_the_state() {
    // A command, the states in which it is served: standby, unavailable and offline.
    let commands: [(&[u8], [bool; 2]); 12] = [
        (&[0x00, 0, 0, 0, 0, 0], [false, false]),
        (&[0x03, 0, 0, 0, 18, 0], [true, true]),
        (&[0x12, 0, 0, 0, 36, 0], [true, true]),
        (&[0x1a, 0, 0x3f, 0, 4, 0], [true, false]),
        (&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], [true, false]),
        (&[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], [false, false]),
        (&[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], [false, false]),
        (&[0x3c, 0x0b, 0, 0, 0, 0, 0, 0, 4, 0], [true, true]),
        (&[0x5e, 0, 0, 0, 0, 0, 0, 0, 8, 0], [true, false]),
        (&[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0], [true, true]),
        (&[0xa3, 0x0a, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0], [true, true]),
        (&[0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], [true, true]),
    ];
    let states = [
        (AccessState::Standby, Sense::TARGET_PORT_IN_STANDBY, 0),
        (AccessState::Unavailable, Sense::TARGET_PORT_UNAVAILABLE, 1),
        (AccessState::Offline, Sense::LOGICAL_UNIT_OFFLINE, 1),
    ];
    for (cdb, served) in commands {
        for (state, sense, column) in states {
            let run = rig(state).run(cdb, Data::In(64));
            if served[column] {
                assert_eq!(run.done.status, Status::Good, "{state:?} {cdb:02x?}");
            } else {
                run.refused(sense);
            }
        }
        for state in [
            AccessState::ActiveOptimized,
            AccessState::ActiveNonOptimized,
        ] {
            let run = rig(state).run(cdb, Data::In(64));
            assert_eq!(run.done.status, Status::Good, "{state:?} {cdb:02x?}");
        }
    }
}

#[test]
fn report_target_port_groups_tells_state_preference_support_and_cause() {
    let mut rig = rig(AccessState::Standby);
    let wanted = [
        &[0, 0, 0, 24][..],
        &[0x02, 0x4f, 0, 7, 0, 0, 0, 1, 0, 0, 0, 2],
        &[0x80, 0x4f, 0, 9, 0, 0, 0, 1, 0, 0, 0, 1],
    ];
    assert_eq!(report(&mut rig), wanted.concat());
    set(&mut rig, &[(0x01, GROUP)]).good(&[
        "data-out 0+8",
        "home SetAccessStates([(7, ActiveNonOptimized)])",
    ]);
    assert_eq!(report(&mut rig)[4..10], [0x01, 0x4f, 0, 7, 0, 0x01]);
}

#[test]
fn set_target_port_groups_tells_the_others_once_the_state_is_another() {
    let mut rig = rig(AccessState::ActiveOptimized);
    set(&mut rig, &[(0x02, GROUP), (0x01, OTHER)]);
    let mut told = |nexus| {
        let nexus = rig.shard.nexus_mut(nexus).unwrap();
        nexus.take_unit_attention()
    };
    assert_eq!(told(ONE), None);
    assert_eq!(told(TWO), Some(UnitAttention::AsymmetricAccessStateChanged));
    // The same again is no change.
    set(&mut rig, &[(0x02, GROUP)]);
    assert!(!rig.shard.nexus(TWO).unwrap().has_unit_attention());
    rig.run(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], Data::In(512))
        .refused(Sense::TARGET_PORT_IN_STANDBY);
}

/// Each field of the list that can be wrong, and where the pointer points; nothing of such a list counts.
#[test]
fn set_target_port_groups_with_a_bad_field_is_pointed_at() {
    let mut few = group(OTHER, AccessState::ActiveOptimized);
    few.supported = 0x03;
    let mut fixed = group(11, AccessState::ActiveOptimized);
    fixed.explicit = false;
    let standing = vec![group(GROUP, AccessState::ActiveOptimized), few, fixed];
    let mut rig = Rig::with_snapshot(lu(standing.clone()));
    let first = (0x01, GROUP);
    for (bad, sense) in [
        ((0x01, 8), Sense::parameter_byte(10)),
        // Initiators may not change that one.
        ((0x01, 11), Sense::parameter_byte(10)),
        ((0x02, OTHER), Sense::parameter_bit(8, 3)),
        ((0x04, OTHER), Sense::parameter_bit(8, 3)),
        ((0x0f, GROUP), Sense::parameter_bit(8, 3)),
    ] {
        set(&mut rig, &[first, bad]).check(sense);
        assert_eq!(rig.shard.snapshot().access_groups[..], standing);
    }
    let length = Sense::PARAMETER_LIST_LENGTH_ERROR.pointing(true, 6, None);
    for bytes in [1, 3, 6] {
        set_list(&mut rig, &vec![0; bytes]).refused(length);
    }
    set_list(&mut rig, &[]).good(&[]);
    set_list(&mut rig, &[0; 4]).good(&["data-out 0+4"]);
}

#[test]
fn set_target_port_groups_under_a_reservation_of_another_conflicts() {
    let mut rig = rig(AccessState::ActiveOptimized);
    rig.run_as(TWO, &[0x16, 0, 0, 0, 0, 0], Data::None);
    let status = set(&mut rig, &[(0x01, GROUP)]).done.status;
    assert_eq!(status, Status::ReservationConflict);
}

#[test]
fn set_target_port_groups_is_there_where_an_initiator_may_change_a_group() {
    let mut implicit = group(GROUP, AccessState::ActiveOptimized);
    implicit.explicit = false;
    for (groups, tpgs) in [(vec![], 0x10), (vec![implicit], 0x10)] {
        let mut rig = Rig::with_snapshot(lu(groups));
        // The operation code is there, for SET TIMESTAMP.
        set(&mut rig, &[(0x01, GROUP)]).refused(Sense::cdb_bit(1, 4));
        let inquiry = rig.run(&[0x12, 0, 0, 0, 36, 0], Data::In(36)).data_in;
        assert_eq!(inquiry[5] & 0x30, tpgs);
    }
    let inquiry = rig(AccessState::Standby).run(&[0x12, 0, 0, 0, 36, 0], Data::In(36));
    assert_eq!(inquiry.data_in[5] & 0x30, 0x30);
}

#[test]
fn access_change_of_the_operator_keeps_states_that_it_does_not_set() {
    let mut rig = rig(AccessState::ActiveOptimized);
    set(&mut rig, &[(0x01, GROUP)]);
    let change = |states_set: &[u16], state| {
        let access = AccessChange {
            groups: vec![
                group(GROUP, state),
                group(OTHER, AccessState::ActiveOptimized),
            ],
            states_set: states_set.to_vec(),
        };
        HomeAction::Configure(Box::new(LuChange {
            access: Some(access),
            ..LuChange::default()
        }))
    };
    let group_now = |rig: &Rig| {
        let lu = Arc::clone(rig.shard.snapshot());
        (lu.access_groups[0].state, lu.access_groups[0].changed_by)
    };
    rig.act(change(&[], AccessState::Standby));
    let kept = (AccessState::ActiveNonOptimized, AccessChangedBy::Initiator);
    assert_eq!(group_now(&rig), kept);
    assert!(!rig.shard.nexus(ONE).unwrap().has_unit_attention());
    rig.act(change(&[GROUP], AccessState::Standby));
    let set = (AccessState::Standby, AccessChangedBy::Target);
    assert_eq!(group_now(&rig), set);
    let told = rig.shard.nexus_mut(ONE).unwrap().take_unit_attention();
    assert_eq!(told, Some(UnitAttention::AsymmetricAccessStateChanged));
}

/// A command that waits for its data is checked again when the state has changed meanwhile.
#[test]
fn write_that_is_under_way_when_its_port_goes_standby_is_refused() {
    let mut rig = rig(AccessState::ActiveOptimized);
    let (mut live, step) = rig.start(
        ONE,
        &[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        Data::Out(&[1; 512]),
    );
    set(&mut rig, &[(0x02, GROUP)]);
    let step = rig.take_on(&mut live, step).unwrap();
    rig.finish(live, step).check(Sense::TARGET_PORT_IN_STANDBY);
}

/// Changes of the group's state take a second.
fn slow(state: AccessState) -> Rig {
    let slow = AccessGroup {
        transition: Duration::from_secs(1),
        supported: ALL_STATES | AccessState::Transitioning.support_bit(),
        ..group(GROUP, state)
    };
    let other = group(OTHER, AccessState::ActiveOptimized);
    Rig::with_snapshot(lu(vec![slow, other]))
}

#[test]
fn state_that_the_operator_changes_is_transitioning_until_its_time_is_over() {
    let mut rig = slow(AccessState::ActiveOptimized);
    let mut groups = rig.home.snapshot().access_groups.to_vec();
    groups[0].state = AccessState::Standby;
    let access = AccessChange {
        groups,
        states_set: vec![GROUP],
    };
    let change = LuChange {
        access: Some(access),
        ..LuChange::default()
    };
    rig.act(HomeAction::Configure(Box::new(change)));
    let in_transition = Sense::TARGET_PORT_IN_TRANSITION;
    for nexus in [ONE, TWO] {
        rig.run_as(nexus, &[0; 6], Data::None)
            .refused(in_transition);
    }
    assert_eq!(report(&mut rig)[4..6], [0x0f, 0xcf]);
    assert_eq!(rig.end_transitions(), [Duration::from_secs(1)]);
    for nexus in [ONE, TWO] {
        rig.run_as(nexus, &[0; 6], Data::None)
            .check(Sense::unit_attention(0x2a, 0x06));
        rig.run_as(nexus, &[0; 6], Data::None)
            .refused(Sense::TARGET_PORT_IN_STANDBY);
    }
    assert_eq!(report(&mut rig)[4..10], [0x02, 0xcf, 0, 7, 0, 0x02]);
    assert!(rig.home.is_quiet());
}

#[test]
fn set_target_port_groups_ends_when_the_transition_does_and_what_began_ends_without_its_initiator()
{
    let cdb = [0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0];
    let list = [0, 0, 0, 0, 0x01, 0, 0, GROUP as u8];
    let begin = |rig: &mut Rig| {
        let (mut live, step) = rig.start(ONE, &cdb, Data::Out(&list));
        let step = rig.take_on(&mut live, step).unwrap();
        assert!(rig.take_on(&mut live, step).is_none());
        live
    };
    let mut rig = slow(AccessState::Standby);
    let mut live = begin(&mut rig);
    rig.run_as(TWO, &[0; 6], Data::None)
        .refused(Sense::TARGET_PORT_IN_TRANSITION);
    rig.end_transitions();
    let step = rig.wait(&mut live).unwrap();
    assert_eq!(rig.finish(live, step).done.status, Status::Good);
    assert_eq!(report(&mut rig)[4], 0x01);

    let mut rig = slow(AccessState::Standby);
    let live = begin(&mut rig);
    rig.shard.leave(live.task.key());
    rig.settle();
    assert_eq!(rig.end_transitions().len(), 1);
    assert_eq!(report(&mut rig)[4], 0x01);
    assert!(rig.home.is_quiet());
}
