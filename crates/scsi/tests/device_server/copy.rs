//! EXTENDED COPY, and what is told of it.

use block::{IoError, IoErrorKind, IoOpKind};
use scsi::lu::{HomeAction, LuChange};
use scsi::{Refusal, Resumed, Sense, Status, Step};

use crate::rig::{BLOCK, Data, ONE, Rig, Run, TWO, caps, cdb16, snapshot};

/// The NAA designator of the rig's own unit.
const OWN: [u8; 16] = [
    0x60, 0x01, 0x40, 0x51, 0xf7, 0xc1, 0x94, 0x6f, 0x20, 0x74, 0xae, 0x59, 0x79, 1, 2, 3,
];
const OTHER_LUN: u16 = 5;

fn naa_of(lun: u16) -> [u8; 16] {
    let mut naa = OWN;
    naa[15] = lun as u8;
    naa
}

/// An identification descriptor of a disk.
fn cscd(naa: &[u8], block_size_bytes: u32) -> Vec<u8> {
    let mut one = vec![0; 32];
    one[0] = 0xe4;
    one[4] = 0x01;
    one[5] = 0x03;
    one[7] = naa.len() as u8;
    one[8..8 + naa.len()].copy_from_slice(naa);
    one[28..32].copy_from_slice(&block_size_bytes.to_be_bytes());
    one
}

/// A block to block segment.
fn segment(ends: [u16; 2], blocks: u16, lbas: [u64; 2]) -> Vec<u8> {
    let mut one = vec![0x02, 0, 0, 0x18];
    ends.iter()
        .for_each(|end| one.extend_from_slice(&end.to_be_bytes()));
    one.extend_from_slice(&[0, 0]);
    one.extend_from_slice(&blocks.to_be_bytes());
    lbas.iter()
        .for_each(|lba| one.extend_from_slice(&lba.to_be_bytes()));
    one
}

/// A parameter list with an identifier of one byte.
fn lid1(identifier: u8, cscds: &[Vec<u8>], segments: &[Vec<u8>]) -> Vec<u8> {
    let (cscds, segments) = (cscds.concat(), segments.concat());
    let mut list = vec![identifier, 0];
    list.extend_from_slice(&(cscds.len() as u16).to_be_bytes());
    list.extend_from_slice(&[0; 4]);
    list.extend_from_slice(&(segments.len() as u32).to_be_bytes());
    list.extend_from_slice(&[0; 4]);
    [list, cscds, segments].concat()
}

/// The same with an identifier of four bytes.
fn lid4(identifier: u32, cscds: &[Vec<u8>], segments: &[Vec<u8>]) -> Vec<u8> {
    let (cscds, segments) = (cscds.concat(), segments.concat());
    let mut list = vec![0; 48];
    list[0] = 0x01;
    list[3] = 0x20;
    list[16] = 0xff;
    list[20..24].copy_from_slice(&identifier.to_be_bytes());
    list[42..44].copy_from_slice(&(cscds.len() as u16).to_be_bytes());
    list[44..46].copy_from_slice(&(segments.len() as u16).to_be_bytes());
    [list, cscds, segments].concat()
}

fn copy_cdb(action: u8, bytes: usize) -> [u8; 16] {
    let mut cdb = cdb16(0x83, action, 0, bytes as u32);
    cdb[2..10].fill(0);
    cdb
}

fn copy(rig: &mut Rig, list: &[u8]) -> Run {
    rig.run(&copy_cdb(0, list.len()), Data::Out(list))
}

fn receive(rig: &mut Rig, action: u8, identifier: [u8; 4]) -> Run {
    let mut cdb = cdb16(0x84, action, 0, 1000);
    cdb[2..6].copy_from_slice(&identifier);
    rig.run(&cdb, Data::In(1000))
}

/// The rig's own unit, and one of the same size and block size behind [`OTHER_LUN`].
fn two_units() -> Rig {
    let mut rig = Rig::new();
    rig.add_other(OTHER_LUN, snapshot(caps(512, 64)));
    rig
}

/// Own unit first, the other second.
fn both() -> Vec<Vec<u8>> {
    vec![cscd(&OWN, 512), cscd(&naa_of(OTHER_LUN), 512)]
}

#[test]
fn extended_copy_within_the_unit_copies_blocks() {
    let mut rig = Rig::new();
    let list = lid1(1, &[cscd(&OWN, 512)], &[segment([0, 0], 4, [2, 40])]);
    copy(&mut rig, &list).good(&["data-out 0+76", "here Read 2+4", "here Write 40+4"]);
    assert_eq!(
        rig.store[40 * BLOCK..44 * BLOCK],
        rig.store[2 * BLOCK..6 * BLOCK]
    );
    assert_eq!(rig.store[40 * BLOCK], 2);
}

#[test]
fn extended_copy_to_another_unit_and_back_copies_blocks_in_order_of_segments() {
    let mut rig = two_units();
    let segments = [segment([0, 1], 4, [2, 10]), segment([1, 0], 2, [11, 60])];
    let list = lid1(1, &both(), &segments);
    copy(&mut rig, &list).good(&[
        "data-out 0+136",
        "here Read 2+4",
        "lun 5 Write 10+4",
        "lun 5 Read 11+2",
        "here Write 60+2",
    ]);
    assert_eq!(rig.other(OTHER_LUN).store[10 * BLOCK], 2);
    assert_eq!(rig.store[60 * BLOCK..61 * BLOCK], [3; BLOCK]);
    assert_eq!(rig.store[61 * BLOCK..62 * BLOCK], [4; BLOCK]);
}

#[test]
fn extended_copy_by_lid4_and_the_identifier_of_the_unit_itself_copies_blocks() {
    let mut rig = Rig::new();
    let list = lid4(7, &[], &[segment([0xffff, 0xffff], 1, [5, 50])]);
    rig.run(&copy_cdb(1, list.len()), Data::Out(&list)).good(&[
        "data-out 0+76",
        "here Read 5+1",
        "here Write 50+1",
    ]);
    assert_eq!(rig.store[50 * BLOCK], 5);
}

#[test]
fn extended_copy_of_bytes_and_of_blocks_of_the_destination_copies_as_many() {
    let mut rig = Rig::new();
    rig.add_other(OTHER_LUN, snapshot(caps(4096, 64)));
    let cscds = [cscd(&OWN, 512), cscd(&naa_of(OTHER_LUN), 4096)];
    let mut by_bytes = vec![0x0a, 0, 0, 0x1c, 0, 0, 0, 1];
    by_bytes.extend_from_slice(&8192u32.to_be_bytes());
    by_bytes.extend_from_slice(&8u64.to_be_bytes());
    by_bytes.extend_from_slice(&3u64.to_be_bytes());
    by_bytes.extend_from_slice(&[0; 4]);
    let mut by_destination = segment([0, 1], 1, [16, 9]);
    by_destination[1] = 0x02;
    let list = lid1(0, &cscds, &[by_bytes.clone(), by_destination]);
    copy(&mut rig, &list).good(&[
        "data-out 0+140",
        "here Read 8+16",
        "lun 5 Write 3+2",
        "here Read 16+8",
        "lun 5 Write 9+1",
    ]);
    assert_eq!(rig.other(OTHER_LUN).store[4096 * 3 + 512], 9);
    // Not whole blocks at both ends.
    by_bytes[28..30].copy_from_slice(&512u16.to_be_bytes());
    let inexact = Sense::UNEXPECTED_INEXACT_SEGMENT;
    copy(&mut rig, &lid1(0, &cscds, &[by_bytes])).check(inexact.at_segment(0));
    let odd = segment([0, 1], 3, [0, 0]);
    let list = lid1(0, &cscds, &[segment([0, 1], 0, [0, 0]), odd]);
    copy(&mut rig, &list).check(inexact.at_segment(1));
}

#[test]
fn extended_copy_longer_than_a_window_goes_window_by_window() {
    let mut rig = Rig::with(caps(512, 10_000));
    let list = lid1(1, &[cscd(&OWN, 0)], &[segment([0, 0], 3000, [0, 5000])]);
    copy(&mut rig, &list).good(&[
        "data-out 0+76",
        "here Read 0+2048",
        "here Write 5000+2048",
        "here Read 2048+952",
        "here Write 7048+952",
    ]);
}

#[test]
fn extended_copy_without_a_list_or_without_segments_does_nothing() {
    let mut rig = Rig::new();
    rig.run(&copy_cdb(0, 0), Data::None).good(&[]);
    let list = lid1(1, &[cscd(&OWN, 512)], &[]);
    copy(&mut rig, &list).good(&["data-out 0+48"]);
}

#[test]
fn extended_copy_list_that_is_cut_or_too_long_is_a_length_error() {
    let mut rig = Rig::new();
    let whole = lid1(1, &[cscd(&OWN, 512)], &[segment([0, 0], 1, [0, 1])]);
    for bytes in [1, 15] {
        let sense = Sense::PARAMETER_LIST_LENGTH_ERROR.pointing(true, 10, None);
        copy(&mut rig, &whole[..bytes]).refused(sense);
    }
    for bytes in [16, 47, 75] {
        copy(&mut rig, &whole[..bytes]).check(Sense::PARAMETER_LIST_LENGTH_ERROR);
    }
    let sense = Sense::PARAMETER_LIST_LENGTH_ERROR.pointing(true, 10, None);
    // The initiator sends less than the list has.
    rig.run(&copy_cdb(0, 76), Data::Out(&whole[..75]))
        .refused(sense);
    copy(&mut rig, &vec![0; 16 + 2561]).refused(sense);
    let mut inline = whole.clone();
    inline[15] = 1;
    copy(&mut rig, &inline).check(Sense::INLINE_DATA_LENGTH_EXCEEDED);
}

#[test]
fn extended_copy_with_too_many_descriptors_or_unknown_ones_says_so() {
    let mut rig = Rig::new();
    let own = || vec![cscd(&OWN, 512)];
    let one = || vec![segment([0, 0], 1, [0, 1])];
    let cscds = vec![cscd(&OWN, 512); 17];
    copy(&mut rig, &lid1(1, &cscds, &one())).check(Sense::TOO_MANY_TARGET_DESCRIPTORS);
    copy(
        &mut rig,
        &lid1(1, &own(), &vec![segment([0, 0], 1, [0, 1]); 65]),
    )
    .check(Sense::TOO_MANY_SEGMENT_DESCRIPTORS);
    let mut other = cscd(&OWN, 512);
    other[0] = 0xe0;
    copy(&mut rig, &lid1(1, &[other], &one())).check(Sense::UNSUPPORTED_TARGET_DESCRIPTOR);
    let mut other = segment([0, 0], 1, [0, 1]);
    other[0] = 0x03;
    copy(&mut rig, &lid1(1, &own(), &[other])).check(Sense::UNSUPPORTED_SEGMENT_DESCRIPTOR);
}

/// Each field of the lists that can be wrong, and where the pointer points.
#[test]
fn extended_copy_bad_field_is_pointed_at() {
    let mut rig = Rig::new();
    let whole = lid1(1, &[cscd(&OWN, 512)], &[segment([0, 0], 1, [0, 1])]);
    let cases: [(usize, u8, Sense); 5] = [
        (1, 0x08, Sense::parameter_bit(1, 4)),
        (1, 0x18, Sense::parameter_byte(0)),
        (16 + 5, 0x13, Sense::parameter_bit(21, 5)),
        (16 + 7, 21, Sense::parameter_byte(23)),
        (48 + 3, 0x17, Sense::parameter_byte(50)),
    ];
    for (at, value, sense) in cases {
        let mut list = whole.clone();
        list[at] = value;
        copy(&mut rig, &list).check(sense);
    }
    let mut odd = whole.clone();
    odd[3] = 31;
    copy(&mut rig, &odd).check(Sense::parameter_byte(2));
    let whole = lid4(1, &[cscd(&OWN, 512)], &[segment([0, 0], 1, [0, 1])]);
    let cases: [(usize, u8, Sense); 6] = [
        (0, 0, Sense::parameter_byte(0)),
        (1, 0x08, Sense::parameter_bit(1, 4)),
        (1, 0x18, Sense::parameter_byte(20)),
        (3, 0x10, Sense::parameter_byte(2)),
        (15, 0x02, Sense::parameter_bit(15, 1)),
        (16, 0xfe, Sense::parameter_byte(16)),
    ];
    for (at, value, sense) in cases {
        let mut list = whole.clone();
        list[at] = value;
        rig.run(&copy_cdb(1, list.len()), Data::Out(&list))
            .check(sense);
    }
}

#[test]
fn extended_copy_of_a_unit_that_is_not_mapped_is_not_reachable() {
    let mut rig = two_units();
    let cscds = [cscd(&OWN, 512), cscd(&naa_of(9), 512)];
    for ends in [[0, 1], [1, 0]] {
        let list = lid1(
            1,
            &cscds,
            &[segment([0, 0], 1, [0, 1]), segment(ends, 1, [0, 0])],
        );
        let sense = Sense::COPY_TARGET_NOT_REACHABLE.at_segment(1);
        copy(&mut rig, &list).check(sense);
    }
    // What is no NAA designator names nothing here.
    let mut eui = cscd(&OWN, 512);
    eui[5] = 0x02;
    let list = lid1(1, &[eui], &[segment([0, 0], 1, [0, 1])]);
    copy(&mut rig, &list).check(Sense::COPY_TARGET_NOT_REACHABLE.at_segment(0));
    let list = lid1(1, &both(), &[segment([0, 2], 1, [0, 1])]);
    copy(&mut rig, &list).check(Sense::UNREACHABLE_COPY_TARGET.at_segment(0));
}

#[test]
fn extended_copy_of_a_unit_that_is_not_as_described_is_refused() {
    let mut rig = two_units();
    let mut tape = both();
    tape[1][1] = 0x01;
    let list = lid1(1, &tape, &[segment([0, 1], 1, [0, 1])]);
    copy(&mut rig, &list).check(Sense::INCORRECT_COPY_TARGET_TYPE.at_segment(0));
    let cscds = [cscd(&OWN, 512), cscd(&naa_of(OTHER_LUN), 4096)];
    let list = lid1(1, &cscds, &[segment([0, 1], 1, [0, 1])]);
    let sense = Sense::COPY_INVALID_FIELD.pointing(false, 16 + 32 + 29, None);
    copy(&mut rig, &list).check(sense.at_segment(0));
}

#[test]
fn extended_copy_beyond_the_end_of_either_unit_is_aborted() {
    let mut rig = two_units();
    for lbas in [[61, 0], [0, 61], [u64::MAX, 0], [0, u64::MAX - 1]] {
        let list = lid1(1, &both(), &[segment([0, 1], 4, lbas)]);
        copy(&mut rig, &list).check(Sense::COPY_OUT_OF_RANGE.at_segment(0));
    }
}

#[test]
fn extended_copy_passes_the_checks_of_the_other_unit() {
    let failure = Sense::THIRD_PARTY_DEVICE_FAILURE.at_segment(0);
    let list = lid1(1, &both(), &[segment([0, 1], 1, [0, 1])]);
    let back = lid1(1, &both(), &[segment([1, 0], 1, [0, 1])]);
    // Write protected.
    let mut rig = two_units();
    let change = LuChange {
        read_only: Some(true),
        ..LuChange::default()
    };
    rig.other(OTHER_LUN)
        .act(HomeAction::Configure(Box::new(change)));
    copy(&mut rig, &list).check(failure);
    copy(&mut rig, &back).good(&["data-out 0+108", "lun 5 Read 0+1", "here Write 1+1"]);
    // By the LUN.
    let mut rig = two_units();
    rig.other(OTHER_LUN).view_protected = true;
    copy(&mut rig, &list).check(failure);
    // Reserved by another nexus.
    let mut rig = two_units();
    let other = rig.other(OTHER_LUN);
    other.run_as(TWO, &[0x16, 0, 0, 0, 0, 0], Data::None);
    copy(&mut rig, &list).check(failure);
    copy(&mut rig, &back).check(failure);
    // Its store fails.
    let mut rig = two_units();
    let error = IoError::new(IoErrorKind::Medium, IoOpKind::Write);
    rig.other(OTHER_LUN).fail_next(error);
    copy(&mut rig, &list).check(failure);
    let busy = IoError::new(IoErrorKind::Busy, IoOpKind::Write);
    rig.other(OTHER_LUN).fail_next(busy);
    // It has done one I/O that failed, and now one more.
    rig.other(OTHER_LUN).fail_next(busy);
    assert_eq!(copy(&mut rig, &list).done.status, Status::Busy);
}

#[test]
fn extended_copy_clears_no_unit_attention_of_the_other_unit() {
    let mut rig = two_units();
    let other = rig.other(OTHER_LUN);
    let attention = scsi::lu::UnitAttention::PowerOn;
    other.shard.nexus_mut(ONE).unwrap().establish(attention);
    let list = lid1(1, &both(), &[segment([0, 1], 1, [0, 1])]);
    assert_eq!(copy(&mut rig, &list).done.status, Status::Good);
    let other = rig.other(OTHER_LUN);
    assert!(other.shard.nexus(ONE).unwrap().has_unit_attention());
}

#[test]
fn extended_copy_conflicts_with_a_reservation_as_a_write_does() {
    let mut rig = two_units();
    rig.run_as(TWO, &[0x16, 0, 0, 0, 0, 0], Data::None);
    let list = lid1(1, &both(), &[segment([0, 1], 1, [0, 1])]);
    let status = copy(&mut rig, &list).done.status;
    assert_eq!(status, Status::ReservationConflict);
    let status = receive(&mut rig, 0x03, [0; 4]).done.status;
    assert_eq!(status, Status::ReservationConflict);
}

#[test]
fn copy_status_tells_of_a_copy_until_it_has_been_told() {
    let mut rig = two_units();
    receive(&mut rig, 0x00, [9, 0, 0, 0]).refused(Sense::cdb_byte(2));
    let segments = [segment([0, 1], 4, [2, 10]), segment([0, 1], 2, [0, 0])];
    copy(&mut rig, &lid1(9, &both(), &segments));
    let told = receive(&mut rig, 0x00, [9, 0, 0, 0]);
    assert_eq!(told.data_in, [0, 0, 0, 8, 0x01, 0, 2, 0, 0, 0, 0x0c, 0]);
    receive(&mut rig, 0x00, [9, 0, 0, 0]).refused(Sense::cdb_byte(2));
    // Nothing is told of a copy without an identifier.
    let mut nameless = lid1(0, &both(), &segments);
    nameless[1] = 0x18;
    assert_eq!(copy(&mut rig, &nameless).done.status, Status::Good);
    receive(&mut rig, 0x00, [0; 4]).refused(Sense::cdb_byte(2));
}

#[test]
fn copy_status_and_failure_details_tell_of_a_copy_that_failed() {
    let mut rig = two_units();
    let segments = [segment([0, 1], 4, [2, 10]), segment([0, 1], 4, [62, 10])];
    let list = lid1(3, &both(), &segments);
    copy(&mut rig, &list).check(Sense::COPY_OUT_OF_RANGE.at_segment(1));
    let told = receive(&mut rig, 0x00, [3, 0, 0, 0]);
    assert_eq!(told.data_in, [0, 0, 0, 8, 0x02, 0, 1, 0, 0, 0, 0x08, 0]);
    let told = receive(&mut rig, 0x04, [3, 0, 0, 0]).data_in;
    assert_eq!(told[..4], [0, 0, 0, 76]);
    assert_eq!(told[56..60], [0x02, 0, 0, 20]);
    assert_eq!(told[60..62], [0x72, 0x0a]);
    assert_eq!(told.len(), 80);
    // Of one that did not fail there are none.
    copy(&mut rig, &lid1(4, &both(), &segments[..1]));
    receive(&mut rig, 0x04, [4, 0, 0, 0]).refused(Sense::cdb_byte(2));
}

#[test]
fn copy_status_lid4_tells_state_counts_and_sense() {
    let mut rig = two_units();
    let list = lid4(0x0102_0304, &both(), &[segment([0, 1], 4, [2, 10])]);
    let run = rig.run(&copy_cdb(1, list.len()), Data::Out(&list));
    assert_eq!(run.done.status, Status::Good);
    let told = receive(&mut rig, 0x05, [1, 2, 3, 4]).data_in;
    assert_eq!(told[..8], [0, 0, 0, 28, 0x01, 0x01, 0, 0]);
    assert_eq!(told[12..26], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 1]);
    assert_eq!(told.len(), 32);
    let list = lid4(5, &both(), &[segment([0, 1], 4, [63, 10])]);
    rig.run(&copy_cdb(1, list.len()), Data::Out(&list))
        .check(Sense::COPY_OUT_OF_RANGE.at_segment(0));
    let told = receive(&mut rig, 0x05, [0, 0, 0, 5]).data_in;
    assert_eq!(told[..6], [0, 0, 0, 48, 0x01, 0x02]);
    assert_eq!(told[12..15], [0x02, 20, 20]);
    assert_eq!(told[32..34], [0x72, 0x0a]);
}

#[test]
fn copy_status_while_it_is_under_way_and_after_its_abort_says_so() {
    let mut rig = two_units();
    let list = lid1(6, &both(), &[segment([0, 1], 4, [2, 10])]);
    let (mut live, step) = rig.start(ONE, &copy_cdb(0, list.len()), Data::Out(&list));
    let step = rig.take_on(&mut live, step).unwrap();
    assert!(matches!(step, Step::Part(_)));
    let told = receive(&mut rig, 0x00, [6, 0, 0, 0]).data_in;
    assert_eq!(told[4], 0x00);
    let again = lid1(6, &both(), &[]);
    copy(&mut rig, &again).check(Sense::OPERATION_IN_PROGRESS);
    // The caller lets go of it without asking.
    rig.shard.leave(live.task.key());
    let told = receive(&mut rig, 0x00, [6, 0, 0, 0]).data_in;
    assert_eq!(told[4], 0x02);
}

#[test]
fn extended_copy_whose_part_is_ended_by_the_other_unit_is_aborted() {
    let mut rig = two_units();
    let list = lid1(6, &both(), &[segment([0, 1], 4, [2, 10])]);
    let (mut live, step) = rig.start(ONE, &copy_cdb(0, list.len()), Data::Out(&list));
    let step = rig.take_on(&mut live, step).unwrap();
    assert!(matches!(step, Step::Part(_)));
    let ended = Err(Refusal::Check(Sense::ABORTED_COMMAND));
    let step = rig.resume(&mut live, Resumed::Part(ended));
    let run = rig.finish(live, step);
    run.check(Sense::THIRD_PARTY_DEVICE_FAILURE.at_segment(0));
}

#[test]
fn copy_operating_parameters_are_golden() {
    let mut rig = Rig::new();
    let told = receive(&mut rig, 0x03, [0; 4]).data_in;
    let mut wanted = vec![0, 0, 0, 43, 1, 0, 0, 0, 0, 16, 0, 64];
    wanted.extend_from_slice(&2560u32.to_be_bytes());
    wanted.extend_from_slice(&(256u32 << 20).to_be_bytes());
    wanted.extend_from_slice(&[0; 14]);
    wanted.extend_from_slice(&[0, 32, 32, 9, 0, 0, 0, 0, 0, 3, 0x02, 0x0a, 0xe4]);
    assert_eq!(told, wanted);
}

#[test]
fn third_party_copy_page_and_bit_are_there_with_the_commands_and_gone_without() {
    let mut rig = Rig::new();
    let inquiry = |rig: &mut Rig, page: Option<u8>| {
        let (evpd, page) = page.map_or((0, 0), |page| (1, page));
        rig.run(&[0x12, evpd, page, 4, 0, 0], Data::In(1024))
    };
    assert_eq!(inquiry(&mut rig, None).data_in[5] & 0x08, 0x08);
    let page = inquiry(&mut rig, Some(0x8f)).data_in;
    assert_eq!(page[..2], [0x00, 0x8f]);
    let length = usize::from(u16::from_be_bytes([page[2], page[3]]));
    assert_eq!(length + 4, page.len());
    // The commands, as the table has them.
    let (commands, bytes) = (&page[40..], usize::from(page[44]));
    assert_eq!(commands[..2], [0x00, 0x01]);
    assert_eq!(commands[5..11], [0x83, 4, 0x00, 0x01, 0x10, 0x11]);
    assert_eq!(commands[11..18], [0x84, 5, 0x00, 0x03, 0x04, 0x05, 0x07]);
    assert_eq!(bytes, 13);
    let mut codes = Vec::new();
    let mut rest = &page[4..];
    while let [a, b, high, low, ..] = *rest {
        codes.push(u16::from_be_bytes([a, b]));
        let bytes = usize::from(u16::from_be_bytes([high, low]));
        assert_eq!(bytes % 4, 0);
        rest = &rest[4 + bytes..];
    }
    assert_eq!(
        codes,
        [
            0x0000, 0x0001, 0x0004, 0x0008, 0x000c, 0x0106, 0x0108, 0x8001
        ]
    );

    let mut without = snapshot(caps(512, 64));
    without.third_party_copy = false;
    let mut rig = Rig::with_snapshot(without);
    assert_eq!(inquiry(&mut rig, None).data_in[5] & 0x08, 0);
    inquiry(&mut rig, Some(0x8f)).refused(Sense::cdb_byte(2));
    assert!(!inquiry(&mut rig, Some(0)).data_in.contains(&0x8f));
    let unknown = Sense::INVALID_COMMAND_OPERATION_CODE;
    rig.run(&copy_cdb(0, 0), Data::None).refused(unknown);
    receive(&mut rig, 0x03, [0; 4]).refused(unknown);
}
