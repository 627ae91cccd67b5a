//! FORMAT UNIT.

use scsi::{Sense, Status, Step};

use crate::rig::{BLOCK, Data, ONE, Rig, TWO, caps, cdb10};

const ALL: &str = "home Range { lba: Lba(0), blocks: 64 }";

fn format(flags: u8, fast: u8) -> [u8; 6] {
    [0x04, flags, 0, 0, fast, 0]
}

#[test]
fn format_unit_gives_back_what_a_thin_store_keeps() {
    let mut rig = Rig::new();
    rig.run(&format(0, 0), Data::None)
        .good(&[ALL, "unmap 0+64", "flush"]);
    assert!(rig.store.iter().all(|byte| *byte == 0));
    let run = rig.run(&format(0x10, 0), Data::Out(&[0, 0x02, 0, 0]));
    run.good(&["data-out 0+4", ALL, "unmap 0+64", "flush"]);
    assert_eq!(run.done.transfer_bytes, 4);
    // All that the device server could be asked to leave out, which it does.
    rig.run(&format(0x38, 0), Data::Out(&[0, 0xf0, 0, 0, 0, 0, 0, 0]))
        .good(&["data-out 0+8", ALL, "unmap 0+64", "flush"]);
    assert!(rig.home.is_quiet());
}

#[test]
fn format_unit_of_a_thick_store_or_fast_leaves_the_blocks() {
    let mut thick = caps(512, 64);
    thick.unmap = false;
    let mut rig = Rig::with(thick);
    rig.store.fill(7);
    rig.run(&format(0, 0), Data::None).good(&[ALL, "flush"]);
    assert!(rig.store.iter().all(|byte| *byte == 7));
    let mut rig = Rig::new();
    rig.run(&format(0, 1), Data::None).good(&[ALL, "flush"]);
    assert_eq!(rig.store[5 * BLOCK], 5);
}

#[test]
fn format_unit_of_a_large_unit_goes_piece_by_piece() {
    let mut rig = Rig::with(caps(512, 40_000));
    let run = rig.run(&format(0, 0), Data::None);
    assert_eq!(run.done.status, Status::Good);
    assert_eq!(run.steps[1..3], ["unmap 0+32768", "unmap 32768+7232"]);
}

#[test]
fn format_unit_keeps_others_waiting_until_it_is_done() {
    let mut rig = Rig::new();
    let (mut live, step) = rig.start(ONE, &format(0, 0), Data::None);
    let step = rig.take_on(&mut live, step).unwrap();
    assert!(matches!(step, Step::Io(_)), "{step:?}");
    let (mut read, held) = rig.start(TWO, &cdb10(0x28, 0, 5, 1), Data::In(512));
    assert_eq!(held, Step::Held);
    assert_eq!(rig.finish(live, step).done.status, Status::Good);
    let step = rig.wait(&mut read).unwrap();
    let run = rig.finish(read, step);
    assert_eq!(run.data_in, [0; BLOCK]);
}

#[test]
fn format_unit_with_what_it_does_not_do_is_refused_with_its_place() {
    let mut rig = Rig::new();
    for (cdb, sense) in [
        (format(0x80, 0), Sense::cdb_bit(1, 7)),
        (format(0x40, 0), Sense::cdb_bit(1, 7)),
        (format(0, 2), Sense::cdb_bit(4, 1)),
        (format(0, 3), Sense::cdb_bit(4, 1)),
    ] {
        rig.run(&cdb, Data::None).refused(sense);
    }
    rig.run(&format(0x10, 0), Data::Out(&[0; 3]))
        .refused(Sense::PARAMETER_LIST_LENGTH_ERROR);
    rig.run(&format(0x30, 0), Data::Out(&[0; 4]))
        .refused(Sense::PARAMETER_LIST_LENGTH_ERROR);
    let short = [
        ([0x01, 0, 0, 0], Sense::parameter_bit(0, 0)),
        ([0, 0x40, 0, 0], Sense::parameter_bit(1, 6)),
        ([0, 0x88, 0, 0], Sense::parameter_bit(1, 3)),
        ([0, 0x01, 0, 0], Sense::parameter_bit(1, 0)),
        ([0, 0, 0, 8], Sense::parameter_byte(2)),
    ];
    for (list, sense) in short {
        rig.run(&format(0x10, 0), Data::Out(&list)).check(sense);
    }
    for (at, place) in [(2, 2), (3, 3), (4, 4), (7, 4)] {
        let mut list = [0; 8];
        list[at] = 1;
        rig.run(&format(0x30, 0), Data::Out(&list))
            .check(Sense::parameter_byte(place));
    }
    assert_eq!(rig.store[5 * BLOCK], 5);
    rig.view_protected = true;
    rig.run(&format(0, 0), Data::None)
        .refused(Sense::WRITE_PROTECTED);
}
