//! What is damaged is told, with its place, and not passed on.

use block::ProtectionType::{Type1, Type3};
use scsi::{Sense, SenseKey, Status};

use super::{cdb32, disk, pattern, put, read, stored, wire, write};
use crate::rig::{Data, cdb16};

/// A damaged field: byte of the tuple, condition, and the codes of the protect field that look at it.
const FIELDS: [(usize, Sense, [u8; 3]); 2] = [
    (1, Sense::LOGICAL_BLOCK_GUARD_CHECK_FAILED, [1, 4, 5]),
    (
        7,
        Sense::LOGICAL_BLOCK_REFERENCE_TAG_CHECK_FAILED,
        [1, 2, 5],
    ),
];

#[test]
fn read_of_a_damaged_block_is_told_at_each_place_by_the_codes_that_look() {
    for damaged in 0..4 {
        for (byte, sense, looking) in FIELDS {
            let mut rig = disk(Type1);
            write(&mut rig, 1, 8, 4, &wire(&pattern(4, 1), 1, 8));
            let mut tuple = stored(&rig, 8 + damaged);
            tuple[byte] ^= 0x10;
            put(&mut rig, 8 + damaged, tuple);
            for code in 0..6 {
                let run = read(&mut rig, code, 8, 4);
                if code == 0 || looking.contains(&code) {
                    run.check(sense.with_information(8 + damaged as u64));
                    assert_eq!(run.done.data_in_bytes, 0);
                } else {
                    assert_eq!(run.done.status, Status::Good, "{code:03b}");
                }
            }
        }
    }
}

#[test]
fn read_of_damaged_data_is_a_guard_error_and_nothing_of_it_is_sent() {
    let mut rig = disk(Type1);
    write(&mut rig, 1, 0, 3, &wire(&pattern(3, 2), 1, 0));
    rig.store[700] ^= 4;
    let run = read(&mut rig, 0, 0, 3);
    run.check(Sense::LOGICAL_BLOCK_GUARD_CHECK_FAILED.with_information(1));
    let sense = run.sense_bytes();
    assert_eq!(
        (sense[0], sense[2], sense[12], sense[13]),
        (0xf0, 0x0b, 0x10, 0x01)
    );
    assert_eq!(sense[3..7], [0, 0, 0, 1]);
    let run = rig.run(&cdb16(0x8f, 0, 0, 3), Data::None);
    run.check(Sense::LOGICAL_BLOCK_GUARD_CHECK_FAILED.with_information(1));
    // RDPROTECT 011b: as it is, for the initiator to see.
    assert_eq!(read(&mut rig, 3, 0, 3).done.status, Status::Good);
}

#[test]
fn write_of_a_damaged_block_is_refused_before_anything_is_written() {
    for damaged in 0..3 {
        for (byte, sense, looking) in FIELDS {
            for code in 1..6u8 {
                let mut rig = disk(Type1);
                let mut sent = wire(&pattern(3, 3), 1, 4);
                sent[damaged * 520 + 512 + byte] ^= 1;
                let run = write(&mut rig, code, 4, 3, &sent);
                if looking.contains(&code) {
                    run.check(sense.with_information(4 + damaged as u64));
                    assert_eq!(run.steps.len(), 2, "{run:?}");
                    assert_eq!(sense.key, SenseKey::AbortedCommand);
                } else {
                    assert_eq!(run.done.status, Status::Good, "{code:03b}");
                    assert_eq!(
                        stored(&rig, 4 + damaged)[byte],
                        sent[damaged * 520 + 512 + byte]
                    );
                }
            }
        }
    }
}

#[test]
fn application_tag_is_held_against_what_the_command_says_where_its_mask_says() {
    let mut rig = disk(block::ProtectionType::Type2);
    let sent = wire(&pattern(2, 1), 0x12f0, 0);
    for (mask, code, refused) in [
        (0xffff, 1, true),
        (0xff00, 1, false),
        (0x00ff, 2, true),
        (0xffff, 3, false),
        (0xffff, 4, false),
        (0, 5, false),
    ] {
        let cdb = cdb32(0x0b, code << 5, 0, 2, (0, 0x12f1, mask));
        let run = rig.run(&cdb, Data::Out(&sent));
        match refused {
            true => {
                let sense = Sense::LOGICAL_BLOCK_APPLICATION_TAG_CHECK_FAILED;
                run.check(sense.with_information(0));
            }
            false => assert_eq!(run.done.status, Status::Good, "{mask:04x} {code}"),
        }
    }
}

#[test]
fn escaped_blocks_are_not_checked_when_read() {
    let mut rig = disk(Type1);
    put(&mut rig, 0, [1, 2, 0xff, 0xff, 5, 6, 7, 8]);
    assert_eq!(read(&mut rig, 1, 0, 1).done.status, Status::Good);
    // Type 3 asks for all ones in both tags.
    let mut rig = disk(Type3);
    put(&mut rig, 0, [1, 2, 0xff, 0xff, 5, 6, 7, 8]);
    read(&mut rig, 1, 0, 1).check(Sense::LOGICAL_BLOCK_GUARD_CHECK_FAILED.with_information(0));
    put(&mut rig, 0, [1, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    assert_eq!(read(&mut rig, 1, 0, 1).done.status, Status::Good);
}

#[test]
fn damage_behind_the_first_window_is_told_after_what_was_sound_has_been_sent() {
    let mut caps = crate::rig::caps(512, 2000);
    caps.protection = Some(Type1);
    let mut rig = crate::rig::Rig::with(caps);
    write(&mut rig, 1, 0, 1000, &wire(&pattern(1000, 1), 1, 0));
    rig.store[900 * 512] ^= 1;
    let run = read(&mut rig, 1, 0, 1000);
    run.check(Sense::LOGICAL_BLOCK_GUARD_CHECK_FAILED.with_information(900));
    let window = (256 << 10) / 520 * 520;
    assert_eq!(run.done.data_in_bytes, window);
    assert_eq!(run.done.transfer_bytes, u64::from(window));
}
