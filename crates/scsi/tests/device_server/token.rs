//! POPULATE TOKEN, WRITE USING TOKEN, RECEIVE ROD TOKEN INFORMATION.

use std::time::Duration;

use block::{IoError, IoErrorKind, IoOpKind};
use scsi::{Sense, Status};

use crate::rig::{BLOCK, Data, Rig, Run, TWO, caps, snapshot};

const OTHER_LUN: u16 = 5;

/// Where the token stands in the list of WRITE USING TOKEN.
const TOKEN_AT: usize = 16;

fn cdb(action: u8, identifier: u32, bytes: usize) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[..2].copy_from_slice(&[0x83, action]);
    cdb[6..10].copy_from_slice(&identifier.to_be_bytes());
    cdb[10..14].copy_from_slice(&(bytes as u32).to_be_bytes());
    cdb
}

fn descriptors(ranges: &[(u64, u32)]) -> Vec<u8> {
    let one = |(lba, blocks): &(u64, u32)| {
        [&lba.to_be_bytes()[..], &blocks.to_be_bytes(), &[0; 4]].concat()
    };
    ranges.iter().flat_map(one).collect()
}

/// A list whose header has `header` bytes and ends with the length of the descriptors.
fn list(header: usize, ranges: &[(u64, u32)]) -> Vec<u8> {
    let descriptors = descriptors(ranges);
    let mut list = vec![0; header];
    list[..2].copy_from_slice(&((header + descriptors.len() - 2) as u16).to_be_bytes());
    list[header - 2..].copy_from_slice(&(descriptors.len() as u16).to_be_bytes());
    [list, descriptors].concat()
}

fn populate_list(ranges: &[(u64, u32)]) -> Vec<u8> {
    list(16, ranges)
}

fn write_list(token: &[u8], offset: u64, ranges: &[(u64, u32)]) -> Vec<u8> {
    let mut list = list(536, ranges);
    list[8..16].copy_from_slice(&offset.to_be_bytes());
    list[TOKEN_AT..TOKEN_AT + 512].copy_from_slice(token);
    list
}

fn populate(rig: &mut Rig, list: &[u8]) -> Run {
    rig.run(&cdb(0x10, 1, list.len()), Data::Out(list))
}

fn write(rig: &mut Rig, list: &[u8]) -> Run {
    rig.run(&cdb(0x11, 2, list.len()), Data::Out(list))
}

fn information(rig: &mut Rig, identifier: u32) -> Run {
    let mut cdb = [0; 16];
    cdb[..2].copy_from_slice(&[0x84, 0x07]);
    cdb[2..6].copy_from_slice(&identifier.to_be_bytes());
    cdb[12] = 4;
    rig.run(&cdb, Data::In(1024))
}

/// A token of these blocks of the rig's own unit.
fn token(rig: &mut Rig, ranges: &[(u64, u32)]) -> Vec<u8> {
    let list = populate_list(ranges);
    populate(rig, &list).good(&[&format!("data-out 0+{}", list.len())]);
    let told = information(rig, 1).data_in;
    told[38..].to_vec()
}

fn two_units() -> Rig {
    let mut rig = Rig::new();
    rig.add_other(OTHER_LUN, snapshot(caps(512, 64)));
    rig
}

/// Has the other unit's commands go on in a rig of its own, which reaches the first as another LUN: as a second logical unit
/// of the same process does.
fn token_of_other(rig: &mut Rig, ranges: &[(u64, u32)]) -> Vec<u8> {
    token(rig.other(OTHER_LUN), ranges)
}

#[test]
fn token_information_tells_the_token_once() {
    let mut rig = Rig::new();
    let list = populate_list(&[(2, 3), (10, 1)]);
    populate(&mut rig, &list).good(&["data-out 0+48"]);
    let told = information(&mut rig, 1).data_in;
    assert_eq!(told.len(), 32 + 4 + 2 + 512);
    assert_eq!(told[..8], [0, 0, 2, 34, 0x10, 0x01, 0, 0]);
    // Four blocks, counted in blocks.
    assert_eq!(told[12..24], [0, 0, 0, 0xf1, 0, 0, 0, 0, 0, 0, 0, 4]);
    assert_eq!(told[32..38], [0, 0, 2, 2, 0, 0]);
    // Access upon reference, and as long as they all are.
    assert_eq!(told[38..46], [0, 1, 0, 0, 0, 0, 0x01, 0xf8]);
    information(&mut rig, 1).refused(Sense::cdb_byte(2));
}

#[test]
fn write_using_token_copies_across_ranges_of_both_sides() {
    let mut rig = Rig::new();
    let token = token(&mut rig, &[(2, 3), (10, 4)]);
    let list = write_list(&token, 1, &[(40, 1), (50, 0), (44, 5)]);
    write(&mut rig, &list).good(&[
        "data-out 0+584",
        "here Read 3+1",
        "here Write 40+1",
        "here Read 4+1",
        "here Write 44+1",
        "here Read 10+4",
        "here Write 45+4",
    ]);
    for (lba, from) in [(40, 3), (44, 4), (45, 10), (48, 13)] {
        assert_eq!(rig.store[lba * BLOCK], from, "{lba}");
    }
    let told = information(&mut rig, 2).data_in;
    assert_eq!(told[4..6], [0x11, 0x01]);
    assert_eq!(told[15..24], [0xf1, 0, 0, 0, 0, 0, 0, 0, 6]);
    assert_eq!(told[32..], [0; 4]);
}

#[test]
fn write_using_token_of_another_unit_reads_there_with_its_checks() {
    let mut rig = two_units();
    rig.other(OTHER_LUN).store[7 * BLOCK..8 * BLOCK].fill(0x77);
    let token = token_of_other(&mut rig, &[(7, 1)]);
    let list = write_list(&token, 0, &[(20, 1)]);
    write(&mut rig, &list).good(&["data-out 0+552", "lun 5 Read 7+1", "here Write 20+1"]);
    assert_eq!(rig.store[20 * BLOCK..21 * BLOCK], [0x77; BLOCK]);
    // The unit does not give the blocks any more.
    let other = rig.other(OTHER_LUN);
    other.run_as(TWO, &[0x16, 0, 0, 0, 0, 0], Data::None);
    write(&mut rig, &list).check(Sense::THIRD_PARTY_DEVICE_FAILURE);
    // Nor is it mapped.
    let mut rig = two_units();
    let token = token_of_other(&mut rig, &[(7, 1)]);
    rig.luns.named.clear();
    let list = write_list(&token, 0, &[(20, 1)]);
    write(&mut rig, &list).check(Sense::TOKEN_UNKNOWN);
}

#[test]
fn write_using_token_that_has_less_writes_what_there_is_and_says_so() {
    let mut rig = Rig::new();
    let token = token(&mut rig, &[(2, 3)]);
    let list = write_list(&token, 2, &[(40, 4)]);
    write(&mut rig, &list).good(&["data-out 0+552", "here Read 4+1", "here Write 40+1"]);
    let told = information(&mut rig, 2).data_in;
    assert_eq!(told[5], 0x04);
    assert_eq!(told[23], 1);
    let list = write_list(&token, 3, &[(40, 4)]);
    write(&mut rig, &list).check(Sense::parameter_byte(8));
}

#[test]
fn write_using_token_of_zeros_gives_blocks_back() {
    let mut zero = vec![0; 512];
    zero[..4].copy_from_slice(&0xffff_0001u32.to_be_bytes());
    zero[6..8].copy_from_slice(&0x01f8u16.to_be_bytes());
    let mut rig = Rig::new();
    let list = write_list(&zero, 0, &[(3, 0), (3, 2), (30, 1)]);
    write(&mut rig, &list).good(&["data-out 0+584", "zero 3+2 or unmap", "zero 30+1 or unmap"]);
    for (lba, first) in [(2, 2), (3, 0), (4, 0), (5, 5), (30, 0)] {
        assert_eq!(rig.store[lba * BLOCK], first);
    }
    // Without a write cache what was written is durable before the status.
    let mut plain = caps(512, 64);
    plain.write_cache = false;
    let mut rig = Rig::with(plain);
    let list = write_list(&zero, 0, &[(3, 2), (30, 1)]);
    write(&mut rig, &list).good(&[
        "data-out 0+568",
        "zero 3+2 or unmap",
        "flush",
        "zero 30+1 or unmap",
        "flush",
    ]);
}

#[test]
fn write_using_token_expires_when_it_was_asked_to() {
    let mut rig = Rig::new();
    let mut list = populate_list(&[(2, 3)]);
    list[4..8].copy_from_slice(&2u32.to_be_bytes());
    populate(&mut rig, &list);
    let token = information(&mut rig, 1).data_in[38..].to_vec();
    let list = write_list(&token, 0, &[(40, 1)]);
    assert_eq!(write(&mut rig, &list).done.status, Status::Good);
    rig.pass(Duration::from_secs(2));
    write(&mut rig, &list).check(Sense::TOKEN_EXPIRED);
}

#[test]
fn write_using_token_that_was_not_made_here_is_unknown() {
    let mut rig = Rig::new();
    let mut token = token(&mut rig, &[(2, 3)]);
    token[171] ^= 1;
    let list = write_list(&token, 0, &[(40, 1)]);
    write(&mut rig, &list).check(Sense::TOKEN_UNKNOWN);
    token[7] = 0;
    let list = write_list(&token, 0, &[(40, 1)]);
    write(&mut rig, &list).check(Sense::INVALID_TOKEN_LENGTH);
    token[7] = 0xf8;
    token[0] = 0x80;
    let list = write_list(&token, 0, &[(40, 1)]);
    write(&mut rig, &list).check(Sense::UNSUPPORTED_TOKEN_TYPE);
}

#[test]
fn write_using_token_fails_as_a_write_does() {
    let mut rig = Rig::new();
    let token = token(&mut rig, &[(2, 3)]);
    let list = write_list(&token, 0, &[(40, 1)]);
    rig.fail = None;
    // The read succeeds, the write does not.
    let error = IoError::new(IoErrorKind::NoSpace, IoOpKind::Write);
    rig.fail_after(1, error);
    write(&mut rig, &list).check(Sense::SPACE_ALLOCATION_FAILED);
    rig.fail_next(IoError::new(IoErrorKind::Medium, IoOpKind::Read));
    write(&mut rig, &list).check(Sense::THIRD_PARTY_DEVICE_FAILURE);
    rig.view_protected = true;
    write(&mut rig, &list).refused(Sense::WRITE_PROTECTED);
}

/// Each field of the two lists that can be wrong, and where the pointer points.
#[test]
fn token_list_with_a_bad_field_is_pointed_at() {
    let mut rig = Rig::new();
    let whole = populate_list(&[(2, 3), (10, 1)]);
    let out_of_range = |at| Sense::LBA_OUT_OF_RANGE.pointing(false, at, None);
    let cases: [(usize, u8, Sense); 8] = [
        // The length of all, then of the descriptors.
        (1, 29, Sense::parameter_byte(0)),
        (1, 45, Sense::parameter_byte(14)),
        (15, 0, Sense::parameter_byte(14)),
        (15, 31, Sense::parameter_byte(14)),
        (15, 48, Sense::parameter_byte(14)),
        // INACTIVITY TIMEOUT.
        (4, 1, Sense::parameter_byte(4)),
        (16 + 7, 62, out_of_range(16)),
        // The second range begins in the first.
        (32 + 7, 4, Sense::parameter_byte(32)),
    ];
    for (at, value, sense) in cases {
        let mut list = whole.clone();
        list[at] = value;
        populate(&mut rig, &list).check(sense);
    }
    // A type that is not made.
    let mut list = whole.clone();
    list[2] = 0x02;
    list[8..12].copy_from_slice(&0x0080_0000u32.to_be_bytes());
    populate(&mut rig, &list).check(Sense::parameter_byte(8));
    list[8..12].copy_from_slice(&0x0001_0000u32.to_be_bytes());
    assert_eq!(populate(&mut rig, &list).done.status, Status::Good);
    let many: Vec<(u64, u32)> = (0..25).map(|lba| (lba, 1)).collect();
    populate(&mut rig, &populate_list(&many)).check(Sense::TOO_MANY_SEGMENT_DESCRIPTORS);

    let token = token(&mut rig, &[(2, 3)]);
    let whole = write_list(&token, 0, &[(40, 1)]);
    let cases: [(usize, u8, Sense); 3] = [
        (1, 0x20, Sense::parameter_byte(0)),
        (535, 15, Sense::parameter_byte(534)),
        (536 + 7, 64, out_of_range(536)),
    ];
    for (at, value, sense) in cases {
        let mut list = whole.clone();
        list[at] = value;
        write(&mut rig, &list).check(sense);
    }
    for action in [0x10, 0x11] {
        let sense = Sense::PARAMETER_LIST_LENGTH_ERROR.pointing(true, 10, None);
        rig.run(&cdb(action, 1, 15), Data::Out(&[0; 15]))
            .refused(sense);
        rig.run(&cdb(action, 1, 600), Data::Out(&[0; 599]))
            .refused(sense);
        rig.run(&cdb(action, 1, 0), Data::None).good(&[]);
    }
}
