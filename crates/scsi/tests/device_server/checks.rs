//! What is checked before a command is looked at: operation code, unit attention, reservation, write protection, ACA.

use std::sync::Arc;

use scsi::lu::{HomeAction, LuChange, ModeChange, UnitAttention};
use scsi::{Cdb, LuCondition, LuIdentity, Sense, Status, TaskAttribute, command_name};

use crate::rig::{BLOCK, Data, ONE, Rig, TWO, cdb10, cdb16, compare_and_write, unmap, unmap_list};

const TEST_UNIT_READY: [u8; 6] = [0; 6];
const INQUIRY: [u8; 6] = [0x12, 0, 0, 0, 96, 0];
const REPORT_LUNS: [u8; 12] = [0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
const REQUEST_SENSE: [u8; 6] = [0x03, 0, 0, 0, 252, 0];

#[test]
fn unknown_operation_code_is_refused() {
    let mut rig = Rig::new();
    for opcode in [0x01, 0x05, 0x6f, 0x7f, 0x8c, 0xc0, 0xff] {
        rig.run(&[opcode], Data::None)
            .refused(Sense::INVALID_COMMAND_OPERATION_CODE);
        assert_eq!(command_name(&Cdb::new(&[opcode])), None);
    }
    assert_eq!(
        command_name(&Cdb::new(&[0x9e, 0x10])),
        Some("READ CAPACITY(16)")
    );
}

#[test]
fn unknown_service_action_is_invalid_field() {
    let mut rig = Rig::new();
    for cdb in [
        [0x83, 0x1c],
        [0x84, 0x01],
        [0x9e, 0x13],
        [0x9e, 0],
        [0xa3, 0x05],
        [0xa3, 0x0b],
    ] {
        rig.run(&cdb, Data::In(64)).refused(Sense::cdb_bit(1, 4));
    }
}

#[test]
fn protection_and_control_bits_are_invalid_field_with_their_place() {
    let mut rig = Rig::new();
    for opcode in [0x28, 0x2a, 0x2e, 0x2f, 0x41] {
        for protect in [0x20, 0x40, 0x60, 0x80, 0xe0] {
            let run = rig.run(&cdb10(opcode, protect, 0, 1), Data::Out(&[0; BLOCK]));
            run.refused(Sense::cdb_bit(1, 7));
        }
        // LINK of the CONTROL byte, obsolete.
        let mut cdb = cdb10(opcode, 0, 0, 1);
        cdb[9] = 0x01;
        rig.run(&cdb, Data::None).refused(Sense::cdb_bit(9, 0));
    }
}

#[test]
fn aca_attribute_is_invalid_message() {
    let mut rig = Rig::new();
    rig.attribute = TaskAttribute::Aca;
    rig.run(&TEST_UNIT_READY, Data::None)
        .refused(Sense::INVALID_MESSAGE_ERROR);
    for attribute in [
        TaskAttribute::Untagged,
        TaskAttribute::Simple,
        TaskAttribute::Ordered,
        TaskAttribute::HeadOfQueue,
    ] {
        rig.attribute = attribute;
        let run = rig.run(&TEST_UNIT_READY, Data::None);
        assert_eq!(run.done.status, Status::Good, "{attribute:?}");
    }
}

#[test]
fn unit_attention_is_told_once_and_goes_round_three_commands() {
    let mut rig = Rig::new();
    rig.act(HomeAction::LogicalUnitReset);
    for cdb in [&INQUIRY[..], &REPORT_LUNS] {
        assert_eq!(rig.run(cdb, Data::In(256)).done.status, Status::Good);
    }
    // An operation code that is not there is no way round it either.
    let (asc, ascq) = UnitAttention::BusDeviceReset.additional_sense();
    let run = rig.run(&[0x6f], Data::None);
    run.refused(Sense::unit_attention(asc, ascq));
    rig.run(&TEST_UNIT_READY, Data::None).good(&[]);
    // Every nexus is told.
    let run = rig.run_as(TWO, &cdb10(0x28, 0, 0, 1), Data::In(512));
    run.refused(Sense::unit_attention(asc, ascq));
}

#[test]
fn request_sense_returns_the_unit_attention_and_clears_it() {
    let mut rig = Rig::new();
    rig.act(HomeAction::LogicalUnitReset);
    let run = rig.run(&REQUEST_SENSE, Data::In(252));
    run.good(&[]);
    assert_eq!(
        run.data_in,
        [0x70, 0, 6, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x29, 3, 0, 0, 0, 0]
    );
    let run = rig.run(&[0x03, 1, 0, 0, 252, 0], Data::In(252));
    assert_eq!(run.data_in, [0x72, 0, 0, 0, 0, 0, 0, 0]);
    rig.run(&TEST_UNIT_READY, Data::None).good(&[]);
}

#[test]
fn request_sense_that_is_refused_keeps_the_unit_attention() {
    let mut rig = Rig::new();
    rig.act(HomeAction::LogicalUnitReset);
    rig.run(&[0x03, 0x80, 0, 0, 252, 0], Data::In(252))
        .refused(Sense::cdb_bit(1, 7));
    rig.run(&TEST_UNIT_READY, Data::None)
        .refused(Sense::unit_attention(0x29, 0x03));
}

#[test]
fn report_luns_clears_reported_luns_data_has_changed_only() {
    let mut rig = Rig::new();
    rig.act(HomeAction::Establish(
        UnitAttention::ReportedLunsDataChanged,
    ));
    rig.act(HomeAction::Establish(UnitAttention::InquiryDataChanged));
    rig.run(&REPORT_LUNS, Data::In(256));
    rig.run(&TEST_UNIT_READY, Data::None)
        .refused(Sense::unit_attention(0x3f, 0x03));
    rig.run(&TEST_UNIT_READY, Data::None).good(&[]);
    let run = rig.run_as(TWO, &TEST_UNIT_READY, Data::None);
    run.refused(Sense::unit_attention(0x3f, 0x0e));
}

#[test]
fn reserved_lu_conflicts_for_others_but_for_the_commands_allowed() {
    let mut rig = Rig::new();
    rig.run(&[0x16, 0, 0, 0, 0, 0], Data::None)
        .good(&["home Reserve"]);
    rig.run(&[0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::None)
        .good(&["home Reserve"]);
    let allowed: &[&[u8]] = &[
        &INQUIRY,
        &REPORT_LUNS,
        &REQUEST_SENSE,
        &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0],
        &[0xa3, 0x0a, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0],
        &[0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0],
        &[0xa3, 0x0d, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0],
    ];
    for cdb in allowed {
        let run = rig.run_as(TWO, cdb, Data::In(256));
        assert_eq!(run.done.status, Status::Good, "{cdb:x?}");
    }
    // A release by one who does not hold it changes nothing.
    for opcode in [0x17, 0x57] {
        let run = rig.run_as(TWO, &[opcode, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::None);
        run.good(&["home Release"]);
    }
    let conflicts: &[&[u8]] = &[
        &TEST_UNIT_READY,
        &cdb10(0x28, 0, 0, 1),
        &cdb10(0x2a, 0, 0, 1),
        &cdb10(0x35, 0, 0, 0),
        &[0x1a, 0, 0x3f, 0, 255, 0],
        &[0x15, 0x10, 0, 0, 12, 0],
        &[0x1b, 0, 0, 0, 1, 0],
        &[0x1e, 0, 0, 0, 1, 0],
        &[0x16, 0, 0, 0, 0, 0],
    ];
    for cdb in conflicts {
        let run = rig.run_as(TWO, cdb, Data::In(256));
        assert_eq!(run.done.status, Status::ReservationConflict, "{cdb:x?}");
        assert_eq!((run.done.sense, run.steps.len()), (None, 1));
        let run = rig.run_as(ONE, cdb, Data::None);
        assert_ne!(run.done.status, Status::ReservationConflict, "{cdb:x?}");
    }
    rig.run(&[0x17, 0, 0, 0, 0, 0], Data::None)
        .good(&["home Release"]);
    rig.run_as(TWO, &TEST_UNIT_READY, Data::None).good(&[]);
}

#[test]
fn two_reserves_on_their_way_end_in_one_conflict() {
    let mut rig = Rig::new();
    let reserve = [0x16, 0, 0, 0, 0, 0];
    let (one, step_one) = rig.start(ONE, &reserve, Data::None);
    let (two, step_two) = rig.start(TWO, &reserve, Data::None);
    let one = rig.finish(one, step_one);
    let two = rig.finish(two, step_two);
    assert_eq!(one.done.status, Status::Good);
    assert_eq!(two.done.status, Status::ReservationConflict);
}

#[test]
fn reserve_of_a_third_party_or_an_extent_is_invalid_field() {
    let mut rig = Rig::new();
    rig.run(&[0x16, 0x10, 0, 0, 0, 0], Data::None)
        .refused(Sense::cdb_bit(1, 4));
    rig.run(&[0x16, 0x01, 0, 0, 0, 0], Data::None)
        .refused(Sense::cdb_bit(1, 0));
    let run = rig.run(&[0x56, 0x02, 0, 0, 0, 0, 0, 0, 0, 0], Data::None);
    run.refused(Sense::cdb_bit(1, 1));
}

#[test]
fn write_protection_from_anywhere_refuses_what_changes_the_medium() {
    let block = [0; BLOCK];
    let two = [0; 2 * BLOCK];
    let list = unmap_list(&[(0, 1)]);
    let writes: &[(Vec<u8>, &[u8])] = &[
        (vec![0x0a, 0, 0, 0, 1, 0], &block),
        (cdb10(0x2a, 0, 0, 1).to_vec(), &block),
        (cdb10(0x2e, 0, 0, 1).to_vec(), &block),
        (cdb10(0x41, 0x08, 0, 1).to_vec(), &block),
        (cdb16(0x93, 0x09, 0, 1).to_vec(), &[]),
        (compare_and_write(0, 0, 1).to_vec(), &two),
        (unmap(24).to_vec(), &list),
    ];
    let mut read_only = crate::rig::caps(512, 64);
    read_only.read_only = true;
    let mut by_operator = Rig::new();
    by_operator.view_protected = true;
    let mut by_initiator = Rig::new();
    by_initiator.act(HomeAction::ModeSelect(ModeChange {
        software_write_protect: Some(true),
        ..ModeChange::default()
    }));
    for mut rig in [Rig::with(read_only), by_operator, by_initiator] {
        // What the change established.
        rig.run(&REQUEST_SENSE, Data::In(252));
        for (cdb, data) in writes {
            rig.run(cdb, Data::Out(data))
                .refused(Sense::WRITE_PROTECTED);
        }
        rig.run(&cdb10(0x28, 0, 0, 1), Data::In(512))
            .good(&["read 0+1 at 0"]);
        rig.run(&cdb10(0x35, 0, 0, 0), Data::None).good(&["flush"]);
        let sense = rig.run(&[0x1a, 0, 0x3f, 0, 255, 0], Data::In(255));
        assert_eq!(sense.data_in[2], 0x90);
    }
}

#[test]
fn lu_that_is_not_ready_or_failed_says_so() {
    let mut rig = Rig::new();
    rig.act(HomeAction::Condition(LuCondition::NotReady));
    rig.run(&TEST_UNIT_READY, Data::None)
        .refused(Sense::NOT_READY);
    rig.run(&cdb10(0x28, 0, 0, 1), Data::In(512))
        .refused(Sense::NOT_READY);
    let mode = rig.run(&[0x1a, 0, 0x3f, 0, 255, 0], Data::In(255));
    assert_eq!(mode.done.status, Status::Good);

    let sense = rig.run(&REQUEST_SENSE, Data::In(252)).data_in;
    assert_eq!((sense[2], sense[12]), (0x02, 0x04));

    rig.act(HomeAction::Condition(LuCondition::Failed));
    let sense = rig.run(&REQUEST_SENSE, Data::In(252)).data_in;
    assert_eq!((sense[2], sense[12]), (0x04, 0x44));
    rig.run(&TEST_UNIT_READY, Data::None)
        .refused(Sense::INTERNAL_TARGET_FAILURE);
    let mode = rig.run(&[0x1a, 0, 0x3f, 0, 255, 0], Data::In(255));
    mode.refused(Sense::INTERNAL_TARGET_FAILURE);
    assert_eq!(rig.run(&INQUIRY, Data::In(96)).done.status, Status::Good);
}

#[test]
fn lu_that_becomes_ready_again_says_so_once_to_each_nexus() {
    let mut rig = Rig::new();
    rig.act(HomeAction::Condition(LuCondition::NotReady));
    rig.run(&TEST_UNIT_READY, Data::None)
        .refused(Sense::NOT_READY);
    rig.act(HomeAction::Condition(LuCondition::Ready));
    for nexus in [ONE, TWO] {
        rig.run_as(nexus, &TEST_UNIT_READY, Data::None)
            .refused(Sense::unit_attention(0x28, 0x00));
        rig.run_as(nexus, &TEST_UNIT_READY, Data::None).good(&[]);
    }
}

#[test]
fn lu_that_the_operator_makes_read_only_tells_mode_parameters_and_refuses_writes() {
    let mut rig = Rig::new();
    for read_only in [true, false] {
        rig.act(HomeAction::Configure(Box::new(LuChange {
            read_only: Some(read_only),
            ..LuChange::default()
        })));
        rig.run(&TEST_UNIT_READY, Data::None)
            .refused(Sense::unit_attention(0x2a, 0x01));
        let sense = rig.run(&[0x1a, 0, 0x3f, 0, 255, 0], Data::In(255));
        // WP and DPOFUA.
        assert_eq!(sense.data_in[2], if read_only { 0x90 } else { 0x10 });
        let write = rig.run(&cdb10(0x2a, 0, 0, 1), Data::Out(&[7; BLOCK]));
        if read_only {
            write.refused(Sense::WRITE_PROTECTED);
        } else {
            assert_eq!(write.done.status, Status::Good);
        }
    }
}

#[test]
fn lu_with_another_identity_tells_inquiry_data_and_shows_it() {
    let mut rig = Rig::new();
    let before = rig.run(&INQUIRY, Data::In(96)).data_in;
    let identity = LuIdentity {
        product: *b"ANOTHER         ",
        ..LuIdentity::clone(&rig.shard.snapshot().identity)
    };
    rig.act(HomeAction::Configure(Box::new(LuChange {
        identity: Some(Arc::new(identity)),
        ..LuChange::default()
    })));
    rig.run(&TEST_UNIT_READY, Data::None)
        .refused(Sense::unit_attention(0x3f, 0x03));
    let after = rig.run(&INQUIRY, Data::In(96)).data_in;
    assert_eq!(&after[16..32], b"ANOTHER         ");
    assert_eq!((&after[..16], &after[32..]), (&before[..16], &before[32..]));
}

#[test]
fn prevent_allow_is_kept_for_the_nexus() {
    let mut rig = Rig::new();
    rig.run(&[0x1e, 0, 0, 0, 1, 0], Data::None).good(&[]);
    assert!(rig.shard.nexus(ONE).unwrap().prevents_medium_removal);
    assert!(!rig.shard.nexus(TWO).unwrap().prevents_medium_removal);
    rig.run(&[0x1e, 0, 0, 0, 0, 0], Data::None).good(&[]);
    assert!(!rig.shard.nexus(ONE).unwrap().prevents_medium_removal);
    rig.run(&[0x1e, 0, 0, 0, 2, 0], Data::None)
        .refused(Sense::cdb_bit(4, 1));
}

#[test]
fn send_diagnostic_does_the_default_self_test_only() {
    let mut rig = Rig::new();
    rig.run(&[0x1d, 0x04, 0, 0, 0, 0], Data::None).good(&[]);
    rig.run(&[0x1d, 0x20, 0, 0, 0, 0], Data::None)
        .refused(Sense::cdb_bit(1, 7));
    rig.run(&[0x1d, 0x04, 0, 0, 4, 0], Data::Out(&[0; 4]))
        .refused(Sense::cdb_bit(1, 4));
}
