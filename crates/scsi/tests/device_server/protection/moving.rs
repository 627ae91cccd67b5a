//! Blocks come and go with what belongs to them.

use block::ProtectionType::{Type1, Type2, Type3};
use scsi::{Sense, Status};

use super::{cdb32, disk, guard, pattern, put, read, stored, tuple, wire, write};
use crate::rig::{Data, ONE, Rig, TWO, caps, cdb10, cdb16, compare_and_write, unmap, unmap_list};

#[test]
fn write_with_tuples_is_read_back_with_them_and_without() {
    let mut rig = disk(Type1);
    let data = pattern(3, 0);
    let sent = wire(&data, 0x1234, 5);
    write(&mut rig, 1, 5, 3, &sent).good(&[
        "data-out 0+1560",
        "strip 3 at 0",
        "home Range { lba: Lba(5), blocks: 3 }",
        "write 5+3 at 0",
        "write tuples 5+3",
    ]);
    assert_eq!(stored(&rig, 6), tuple(guard(&data[512..1024]), 0x1234, 6));
    let run = read(&mut rig, 1, 5, 3);
    run.good(&[
        "read tuples 5+3",
        "read 5+3 scratch",
        "deliver at 0 with tuples",
    ]);
    assert_eq!(run.data_in, sent);
    assert_eq!(run.done.transfer_bytes, 1560);
    let run = read(&mut rig, 0, 5, 3);
    run.good(&["read tuples 5+3", "read 5+3 scratch", "deliver at 0"]);
    assert_eq!(run.data_in, data);
}

#[test]
fn write_without_tuples_gets_a_guard_and_tags_that_check_nothing() {
    for (kind, reference) in [(Type1, 9), (Type2, u32::MAX), (Type3, u32::MAX)] {
        let mut rig = disk(kind);
        let data = pattern(2, 7);
        let run = write(&mut rig, 0, 8, 2, &data);
        run.good(&[
            "data-out 0+1024",
            "home Range { lba: Lba(8), blocks: 2 }",
            "write 8+2 at 0",
            "write tuples 8+2",
        ]);
        let expected = tuple(guard(&data[512..]), 0xffff, reference);
        assert_eq!(stored(&rig, 9), expected, "{kind:?}");
        assert_eq!(read(&mut rig, 0, 8, 2).data_in, data);
    }
}

#[test]
fn read_six_and_write_six_have_no_field_and_are_served() {
    let mut rig = disk(Type1);
    let data = pattern(1, 3);
    let run = rig.run(&[0x0a, 0, 0, 4, 1, 0], Data::Out(&data));
    assert_eq!(run.done.status, Status::Good);
    let run = rig.run(&[0x08, 0, 0, 4, 1, 0], Data::In(512));
    assert_eq!(run.data_in, data);
}

#[test]
fn block_never_written_reads_with_all_ones_and_is_not_checked() {
    let mut rig = disk(Type1);
    let run = read(&mut rig, 1, 0, 1);
    assert_eq!(run.data_in, [&[0; 512][..], &[0xff; 8]].concat());
}

#[test]
fn unmap_leaves_all_ones_and_has_the_blocks_alone_meanwhile() {
    let mut rig = disk(Type1);
    write(&mut rig, 1, 4, 4, &wire(&pattern(4, 1), 1, 4));
    let list = unmap_list(&[(6, 1), (4, 1)]);
    let run = rig.run(&unmap(list.len() as u16), Data::Out(&list));
    run.good(&[
        "data-out 0+40",
        "home Range { lba: Lba(4), blocks: 3 }",
        "unmap 6+1",
        "unmap 4+1",
    ]);
    assert_eq!(stored(&rig, 4), [0xff; 8]);
    assert_ne!(stored(&rig, 5), [0xff; 8]);
    assert_eq!(stored(&rig, 6), [0xff; 8]);
}

#[test]
fn write_same_repeats_the_block_and_counts_reference_tags() {
    let mut rig = disk(Type1);
    let data = pattern(1, 9);
    let run = rig.run(&cdb16(0x93, 0x20, 10, 3), Data::Out(&wire(&data, 5, 10)));
    assert_eq!(run.done.status, Status::Good);
    for lba in 10..13 {
        assert_eq!(stored(&rig, lba), tuple(guard(&data), 5, lba as u32));
    }
    assert_eq!(read(&mut rig, 1, 10, 3).data_in[1040..1552], data);
    // Without: each has its own address.
    rig.run(&cdb10(0x41, 0, 20, 2), Data::Out(&data));
    assert_eq!(stored(&rig, 21), tuple(guard(&data), 0xffff, 21));
    // Type 3: the tag is the initiator's, and stays.
    let mut rig = disk(Type3);
    rig.run(&cdb16(0x93, 0x20, 10, 3), Data::Out(&wire(&data, 5, 77)));
    assert_eq!(stored(&rig, 12), tuple(guard(&data), 5, 77));
}

#[test]
fn write_same_of_zeros_is_unmapped_only_where_it_then_reads_the_same() {
    let mut rig = disk(Type1);
    let zero = [0; 512];
    // UNMAP, without protection information.
    let run = rig.run(&cdb16(0x93, 0x08, 0, 4), Data::Out(&zero));
    run.good(&[
        "data-out 0+512",
        "home Range { lba: Lba(0), blocks: 4 }",
        "zero 0+4 or unmap",
    ]);
    // UNMAP, with a tuple that a hole does not have.
    let run = rig.run(&cdb16(0x93, 0x28, 0, 2), Data::Out(&wire(&zero, 1, 0)));
    assert_eq!(run.steps[2], "write 0+2 pattern 512");
    assert_eq!(stored(&rig, 1), tuple(0, 1, 1));
    // NDOB: no data, and all ones.
    let run = rig.run(&cdb16(0x93, 0x01, 0, 2), Data::None);
    run.good(&["home Range { lba: Lba(0), blocks: 2 }", "zero 0+2"]);
    assert_eq!(stored(&rig, 1), [0xff; 8]);
}

#[test]
fn compare_and_write_moves_both_halves_with_tuples() {
    let mut rig = disk(Type1);
    let (old, new) = (pattern(2, 1), pattern(2, 2));
    write(&mut rig, 1, 30, 2, &wire(&old, 1, 30));
    let both = [wire(&old, 9, 30), wire(&new, 2, 30)].concat();
    let run = rig.run(&compare_and_write(0x20, 30, 2), Data::Out(&both));
    run.good(&[
        "data-out 0+2080",
        "strip 4 at 0",
        "home Range { lba: Lba(30), blocks: 2 }",
        "read tuples 30+2",
        "read 30+2 scratch",
        "write 30+2 at 1024",
        "write tuples 30+2",
    ]);
    assert_eq!(read(&mut rig, 1, 30, 2).data_in, wire(&new, 2, 30));
    // What differs is told by its place in what was sent.
    let mut other = new.clone();
    other[512 + 3] ^= 1;
    let both = [wire(&other, 0, 30), wire(&old, 0, 30)].concat();
    let run = rig.run(&compare_and_write(0x20, 30, 2), Data::Out(&both));
    run.check(Sense::MISCOMPARE_DURING_VERIFY.with_information(520 + 3));
    let plain = [&new[..], &old].concat();
    let run = rig.run(&compare_and_write(0, 30, 2), Data::Out(&plain));
    assert_eq!(run.done.status, Status::Good);
    assert_eq!(stored(&rig, 31), tuple(guard(&old[512..]), 0xffff, 31));
}

#[test]
fn or_write_makes_a_guard_of_what_comes_out() {
    let mut rig = disk(Type1);
    let (low, high) = (vec![0x0f; 1024], vec![0xf1; 1024]);
    write(&mut rig, 1, 2, 2, &wire(&low, 3, 2));
    let run = rig.run(&cdb16(0x8b, 0x20, 2, 2), Data::Out(&wire(&high, 4, 2)));
    run.good(&[
        "data-out 0+1040",
        "strip 2 at 0",
        "home Range { lba: Lba(2), blocks: 2 }",
        "read tuples 2+2",
        "read 2+2 scratch",
        "write 2+2 or 0",
        "write tuples 2+2",
    ]);
    assert_eq!(read(&mut rig, 1, 2, 2).data_in, wire(&[0xff; 1024], 4, 2));
    let run = rig.run(&cdb16(0x8b, 0, 2, 1), Data::Out(&low[..512]));
    assert_eq!(run.done.status, Status::Good);
    assert_eq!(stored(&rig, 2), tuple(guard(&[0xff; 512]), 0xffff, 2));
}

#[test]
fn verify_compares_data_and_tuples() {
    let mut rig = disk(Type1);
    let data = pattern(3, 4);
    let sent = wire(&data, 6, 11);
    write(&mut rig, 1, 11, 3, &sent);
    // BYTCHK 00b.
    let run = rig.run(&cdb16(0x8f, 0x20, 11, 3), Data::None);
    run.good(&["read tuples 11+3", "read 11+3 scratch"]);
    // BYTCHK 01b, VRPROTECT 001b.
    let run = rig.run(&cdb16(0x8f, 0x22, 11, 3), Data::Out(&sent));
    assert_eq!(run.done.status, Status::Good);
    // Another application tag.
    let run = rig.run(&cdb16(0x8f, 0x22, 11, 3), Data::Out(&wire(&data, 7, 11)));
    run.check(Sense::MISCOMPARE_OF_APPLICATION_TAG.with_information(11));
    // VRPROTECT 011b: the Data-Out is not checked, but compared.
    let mut damaged = sent.clone();
    damaged[520 + 513] ^= 1;
    let run = rig.run(&cdb16(0x8f, 0x62, 11, 3), Data::Out(&damaged));
    run.check(Sense::MISCOMPARE_OF_GUARD.with_information(12));
    // The data.
    let mut other = data.clone();
    other[1030] ^= 1;
    let run = rig.run(&cdb16(0x8f, 0x02, 11, 3), Data::Out(&other));
    run.check(Sense::MISCOMPARE_DURING_VERIFY);
    // BYTCHK 11b: one block for all.
    rig.run(
        &cdb16(0x93, 0x20, 40, 3),
        Data::Out(&wire(&data[..512], 6, 40)),
    );
    let one = wire(&data[..512], 6, 40);
    let run = rig.run(&cdb16(0x8f, 0x26, 40, 3), Data::Out(&one));
    assert_eq!(run.done.status, Status::Good);
}

#[test]
fn write_and_verify_reads_what_it_wrote_before_others_may() {
    let mut rig = disk(Type1);
    let data = pattern(2, 5);
    let run = rig.run(&cdb16(0x8e, 0x22, 0, 2), Data::Out(&wire(&data, 1, 0)));
    run.good(&[
        "data-out 0+1040",
        "strip 2 at 0",
        "home Range { lba: Lba(0), blocks: 2 }",
        "write 0+2 at 0 durable",
        "write tuples 0+2 durable",
        "read tuples 0+2",
        "read 0+2 scratch",
    ]);
    let run = rig.run(&cdb16(0x8e, 0, 0, 2), Data::Out(&data));
    assert_eq!(run.done.status, Status::Good);
}

#[test]
fn transfer_of_several_windows_moves_each_with_its_tuples() {
    let mut caps = caps(512, 2000);
    caps.protection = Some(Type1);
    let mut rig = Rig::with(caps);
    let data = pattern(1100, 8);
    let sent = wire(&data, 2, 100);
    let run = write(&mut rig, 1, 100, 1100, &sent);
    assert_eq!(run.done.status, Status::Good);
    assert_eq!(run.done.transfer_bytes, 1100 * 520);
    let run = read(&mut rig, 1, 100, 1100);
    assert_eq!(
        run.steps
            .iter()
            .filter(|s| s.starts_with("deliver"))
            .count(),
        3
    );
    assert!(run.data_in == sent);
    assert!(read(&mut rig, 0, 100, 1100).data_in == data);
}

#[test]
fn partial_transfers_move_whole_blocks_with_their_tuples() {
    let mut rig = disk(Type1);
    let data = pattern(4, 1);
    let sent = wire(&data, 2, 0);
    // Two blocks and a half come: two are written.
    let run = write(&mut rig, 1, 0, 4, &sent[..1300]);
    assert_eq!(run.done.status, Status::Good);
    assert_eq!(run.done.transfer_bytes, 4 * 520);
    assert_eq!(stored(&rig, 1), tuple(guard(&data[512..1024]), 2, 1));
    assert_eq!(stored(&rig, 2), [0xff; 8]);
    // A block and a half is taken.
    let run = rig.run(&cdb16(0x88, 0x20, 0, 2), Data::In(700));
    assert_eq!(run.data_in, sent[..700]);
    assert_eq!(run.done.transfer_bytes, 1040);
    let run = rig.run(&cdb16(0x88, 0x20, 0, 2), Data::None);
    assert_eq!((run.done.status, run.done.data_in_bytes), (Status::Good, 0));
}

#[test]
fn writes_are_durable_with_their_tuples() {
    let mut rig = disk(Type1);
    let run = rig.run(&cdb16(0x8a, 0x08, 0, 1), Data::Out(&[1; 512]));
    assert_eq!(
        run.steps[2..4],
        ["write 0+1 at 0 durable", "write tuples 0+1 durable"]
    );
    let mut through = caps(512, 64);
    through.protection = Some(Type1);
    through.write_cache = false;
    let mut rig = Rig::with(through);
    let run = rig.run(&cdb16(0x8a, 0, 0, 1), Data::Out(&[1; 512]));
    assert_eq!(
        run.steps[2..4],
        ["write 0+1 at 0 durable", "write tuples 0+1 durable"]
    );
    let run = rig.run(&cdb16(0x93, 0x01, 0, 2), Data::None);
    assert_eq!(run.steps.last().map(String::as_str), Some("Good"));
    assert_eq!(run.steps[run.steps.len() - 2], "flush");
    // FUA of a read flushes first.
    let run = rig.run(&cdb16(0x88, 0x08, 0, 1), Data::In(512));
    assert_eq!(run.steps[..2], ["flush", "read tuples 0+1"]);
}

#[test]
fn commands_of_32_bytes_say_what_the_tags_are() {
    let mut rig = disk(Type2);
    let data = pattern(3, 6);
    let sent = wire(&data, 0xab01, 1000);
    let expected = (1000, 0xab00, 0xff00);
    let run = rig.run(&cdb32(0x0b, 0x20, 20, 3, expected), Data::Out(&sent));
    assert_eq!(run.done.status, Status::Good);
    let run = rig.run(&cdb32(0x09, 0x20, 20, 3, expected), Data::In(1560));
    assert_eq!(run.data_in, sent);
    // In the middle, and as another expects it.
    let run = rig.run(&cdb32(0x09, 0, 21, 2, (1001, 0, 0)), Data::In(1024));
    assert_eq!(run.data_in, data[512..]);
    let run = rig.run(&cdb32(0x09, 0x20, 21, 2, (21, 0, 0)), Data::In(1040));
    run.check(Sense::LOGICAL_BLOCK_REFERENCE_TAG_CHECK_FAILED.with_information(21));
    let run = rig.run(&cdb32(0x0a, 0, 20, 3, (1000, 0xcd00, 0xff00)), Data::None);
    run.check(Sense::LOGICAL_BLOCK_APPLICATION_TAG_CHECK_FAILED.with_information(20));
    // A short CDB knows of no reference tag.
    assert_eq!(read(&mut rig, 0, 20, 3).data_in, data);
    let run = rig.run(
        &cdb32(0x0c, 0x22, 40, 3, (7, 0, 0)),
        Data::Out(&wire(&data, 1, 7)),
    );
    assert_eq!(run.done.status, Status::Good);
    let same = wire(&data[..512], 1, 50);
    let run = rig.run(&cdb32(0x0d, 0x20, 50, 2, (50, 0, 0)), Data::Out(&same));
    assert_eq!(run.done.status, Status::Good);
    assert_eq!(stored(&rig, 51), tuple(guard(&data[..512]), 1, 51));
}

#[test]
fn format_unit_of_the_same_type_forgets_tuples_and_another_is_refused() {
    for (kind, information, usage) in [(Type1, 0x80, 0), (Type2, 0xc0, 0), (Type3, 0xc0, 1)] {
        let mut rig = disk(kind);
        put(&mut rig, 3, [1; 8]);
        let with_list = [0x04, information | 0x10, 0, 0, 0, 0];
        let run = rig.run(&with_list, Data::Out(&[usage, 0, 0, 0]));
        assert_eq!(run.done.status, Status::Good, "{kind:?} {run:?}");
        assert_eq!(stored(&rig, 3), [0xff; 8]);
        let run = rig.run(&[0x04, 0x10, 0, 0, 0, 0], Data::Out(&[0; 4]));
        run.refused(Sense::cdb_bit(1, 7));
        let other = [0x04, (information ^ 0x40) | 0x10, 0, 0, 0, 0];
        rig.run(&other, Data::Out(&[usage, 0, 0, 0]))
            .refused(Sense::cdb_bit(1, 7));
        let run = rig.run(&with_list, Data::Out(&[usage ^ 2, 0, 0, 0]));
        run.check(Sense::parameter_bit(0, 1));
    }
}

#[test]
fn write_waits_for_a_read_that_has_the_tuples_and_not_yet_the_blocks() {
    let mut rig = disk(Type1);
    let (old, new) = (pattern(2, 1), pattern(2, 2));
    write(&mut rig, 1, 0, 2, &wire(&old, 1, 0));
    let (mut reading, step) = rig.start(ONE, &cdb16(0x88, 0x20, 0, 2), Data::In(1040));
    let step = rig.take_on(&mut reading, step).unwrap();
    assert_eq!(reading.steps, ["read tuples 0+2", "read 0+2 scratch"]);
    let sent = wire(&new, 2, 0);
    let (mut writing, first) = rig.start(TWO, &cdb16(0x8a, 0x20, 1, 1), Data::Out(&sent[520..]));
    let mut next = Some(first);
    while let Some(step) = next {
        next = rig.take_on(&mut writing, step);
    }
    assert_eq!(
        writing.steps.last().unwrap(),
        "home Range { lba: Lba(1), blocks: 1 }"
    );
    let run = rig.finish(reading, step);
    assert_eq!(run.data_in, wire(&old, 1, 0));
    let step = rig.wait(&mut writing).unwrap();
    let run = rig.finish(writing, step);
    assert_eq!(run.done.status, Status::Good);
    assert_eq!(read(&mut rig, 1, 1, 1).data_in, sent[520..]);
}
