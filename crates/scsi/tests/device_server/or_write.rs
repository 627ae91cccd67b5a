//! ORWRITE: bits are set, in one series with reading them.

use scsi::{Sense, Status, Step};

use crate::rig::{BLOCK, Data, ONE, Rig, TWO, caps, cdb10, cdb16};

fn or_write(lba: u64, blocks: u32) -> [u8; 16] {
    cdb16(0x8b, 0, lba, blocks)
}

#[test]
fn or_write_sets_bits_and_leaves_the_others() {
    let mut rig = Rig::new();
    let data = [[0xf0; BLOCK], [0x01; BLOCK]].concat();
    let run = rig.run(&or_write(3, 2), Data::Out(&data));
    run.good(&[
        "data-out 0+1024",
        "home Range { lba: Lba(3), blocks: 2 }",
        "read 3+2 scratch",
        "write 3+2 or 0",
    ]);
    assert_eq!(run.done.transfer_bytes, 1024);
    assert_eq!(rig.store[3 * BLOCK..4 * BLOCK], [0xf3; BLOCK]);
    assert_eq!(rig.store[4 * BLOCK..5 * BLOCK], [0x05; BLOCK]);
    assert_eq!(rig.store[5 * BLOCK..6 * BLOCK], [5; BLOCK]);
    assert!(rig.home.is_quiet());
}

#[test]
fn or_write_with_fua_or_without_a_write_cache_is_durable() {
    let durable = "write 0+1 or 0 durable".to_owned();
    let run = Rig::new().run(&cdb16(0x8b, 0x08, 0, 1), Data::Out(&[0; BLOCK]));
    assert!(run.steps.contains(&durable));
    let mut through = caps(512, 64);
    through.write_cache = false;
    let run = Rig::with(through).run(&or_write(0, 1), Data::Out(&[0; BLOCK]));
    assert!(run.steps.contains(&durable));
}

#[test]
fn or_write_beyond_the_end_or_too_long_or_protected_is_refused() {
    let mut rig = Rig::new();
    let beyond = Sense::LBA_OUT_OF_RANGE.pointing(true, 2, None);
    rig.run(&or_write(63, 2), Data::Out(&[0; 1024]))
        .refused(beyond);
    rig.run(&or_write(u64::MAX, 1), Data::Out(&[0; BLOCK]))
        .refused(beyond);
    for protect in [0x20, 0x80] {
        rig.run(&cdb16(0x8b, protect, 0, 1), Data::Out(&[0; BLOCK]))
            .refused(Sense::cdb_bit(1, 7));
    }
    rig.view_protected = true;
    rig.run(&or_write(0, 1), Data::Out(&[0; BLOCK]))
        .refused(Sense::WRITE_PROTECTED);
    let mut large = Rig::with(caps(512, 1 << 17));
    large
        .run(&or_write(0, 65_537), Data::Out(&[]))
        .refused(Sense::cdb_byte(10));
}

#[test]
fn or_write_of_no_blocks_or_less_data_takes_what_is_whole() {
    let mut rig = Rig::new();
    rig.run(&or_write(64, 0), Data::None).good(&[]);
    let run = rig.run(&or_write(0, 2), Data::Out(&[0xff; BLOCK + 10]));
    run.good(&[
        "data-out 0+512",
        "home Range { lba: Lba(0), blocks: 1 }",
        "read 0+1 scratch",
        "write 0+1 or 0",
    ]);
    assert_eq!(run.done.transfer_bytes, 1024);
    assert_eq!(rig.store[..BLOCK], [0xff; BLOCK]);
    assert_eq!(rig.store[BLOCK..2 * BLOCK], [1; BLOCK]);
}

#[test]
fn or_write_of_two_windows_frees_the_first_before_it_waits_for_data() {
    let mut rig = Rig::with(caps(512, 4096));
    let data = vec![0x10; (1 << 20) + BLOCK];
    let (mut live, mut step) = rig.start(ONE, &or_write(0, 2049), Data::Out(&data));
    for _ in 0..8 {
        if matches!(step, Step::DataOut { offset: 1.., .. }) {
            break;
        }
        step = match rig.take_on(&mut live, step) {
            Some(step) => step,
            None => rig.wait(&mut live).expect("the range is granted"),
        };
    }
    assert!(matches!(
        step,
        Step::DataOut {
            offset: 0x10_0000,
            ..
        }
    ));
    rig.settle();
    // Nothing keeps another initiator from the blocks of the first window.
    let run = rig.run_as(TWO, &cdb10(0x2a, 0, 0, 1), Data::Out(&[1; BLOCK]));
    assert_eq!(run.done.status, Status::Good);
    let run = rig.finish(live, step);
    assert_eq!(run.done.status, Status::Good);
    assert_eq!(rig.store[..BLOCK], [1; BLOCK]);
    assert_eq!(rig.store[BLOCK..(1 << 20) + BLOCK], data[BLOCK..]);
    assert!(rig.home.is_quiet());
}
