//! Commands on blocks: READ, WRITE, VERIFY, WRITE AND VERIFY, WRITE SAME, UNMAP, COMPARE AND WRITE.

use scsi::{Sense, Status, WINDOW_BYTES};

use crate::rig::{
    BLOCK, Data, Rig, caps, cdb10, cdb12, cdb16, compare_and_write, unmap, unmap_list,
};

fn blocks(byte: u8, count: usize) -> Vec<u8> {
    vec![byte; count * BLOCK]
}

#[test]
fn read_of_each_cdb_size_gives_the_blocks() {
    for cdb in [
        vec![0x08, 0, 0, 3, 2, 0],
        cdb10(0x28, 0, 3, 2).to_vec(),
        cdb12(0xa8, 0, 3, 2).to_vec(),
        cdb16(0x88, 0, 3, 2).to_vec(),
    ] {
        let run = Rig::new().run(&cdb, Data::In(1024));
        run.good(&["read 3+2 at 0"]);
        assert_eq!(run.data_in, [blocks(3, 1), blocks(4, 1)].concat());
        assert_eq!(run.done.transfer_bytes, 1024);
    }
}

#[test]
fn read6_of_zero_blocks_means_256() {
    let mut rig = Rig::with(caps(512, 400));
    let run = rig.run(&[0x08, 0, 0, 0, 0, 0], Data::In(256 * 512));
    run.good(&["read 0+256 at 0"]);
    let run = rig.run(&[0x08, 0, 0, 200, 0, 0], Data::In(256 * 512));
    run.refused(Sense::LBA_OUT_OF_RANGE.pointing(true, 1, Some(4)));
}

#[test]
fn read6_address_takes_21_bits_and_no_more() {
    let mut rig = Rig::new();
    rig.run(&[0x08, 0x1f, 0xff, 0xff, 1, 0], Data::In(512))
        .refused(Sense::LBA_OUT_OF_RANGE.pointing(true, 1, Some(4)));
    rig.run(&[0x08, 0x20, 0, 0, 1, 0], Data::In(512))
        .refused(Sense::cdb_bit(1, 7));
}

#[test]
fn read_beyond_the_last_lba_is_lba_out_of_range() {
    let sense = Sense::LBA_OUT_OF_RANGE.pointing(true, 2, None);
    let mut rig = Rig::new();
    for (lba, count) in [(64, 1), (63, 2), (65, 0), (u32::MAX, 1), (u32::MAX, 0)] {
        rig.run(&cdb10(0x28, 0, lba, count), Data::In(1024))
            .refused(sense);
        rig.run(&cdb12(0xa8, 0, lba, count.into()), Data::In(1024))
            .refused(sense);
        rig.run(&cdb16(0x88, 0, lba.into(), count.into()), Data::In(1024))
            .refused(sense);
    }
    rig.run(&cdb16(0x88, 0, u64::MAX, u32::MAX), Data::In(1024))
        .refused(sense);
    rig.run(&cdb10(0x28, 0, 64, 0), Data::None).good(&[]);
}

#[test]
fn read_the_initiator_takes_in_part_moves_that_part() {
    let mut rig = Rig::new();
    for (expected, steps, kept) in [
        (0, &[][..], 0),
        (200, &["read 0+1 at 0"][..], 200),
        (512, &["read 0+1 at 0"][..], 512),
        (700, &["read 0+2 at 0"][..], 700),
        (10_000, &["read 0+2 at 0"][..], 1024),
    ] {
        let run = rig.run(&cdb10(0x28, 0, 0, 2), Data::In(expected));
        run.good(steps);
        assert_eq!(run.done.transfer_bytes, 1024);
        assert_eq!(run.done.data_in_bytes, kept);
        assert_eq!(
            run.data_in,
            [blocks(0, 1), blocks(1, 1)].concat()[..kept as usize]
        );
    }
}

#[test]
fn read_that_the_transport_calls_a_write_moves_nothing() {
    let run = Rig::new().run(&cdb10(0x28, 0, 0, 1), Data::Out(&blocks(9, 1)));
    run.good(&[]);
    assert_eq!(run.done.transfer_bytes, 512);
}

#[test]
fn read_beyond_a_window_goes_in_pieces() {
    let mut rig = Rig::with(caps(4096, 1024));
    let bytes = 2 * WINDOW_BYTES + 4096;
    let run = rig.run(&cdb10(0x28, 0, 7, 513), Data::In(bytes));
    run.good(&[
        "read 7+256 at 0",
        "read 263+256 at 1048576",
        "read 519+1 at 2097152",
    ]);
    assert_eq!(run.data_in.len(), bytes as usize);
}

#[test]
fn write_of_each_cdb_size_changes_the_blocks() {
    for cdb in [
        vec![0x0a, 0, 0, 3, 2, 0],
        cdb10(0x2a, 0, 3, 2).to_vec(),
        cdb12(0xaa, 0, 3, 2).to_vec(),
        cdb16(0x8a, 0, 3, 2).to_vec(),
    ] {
        let mut rig = Rig::new();
        let run = rig.run(&cdb, Data::Out(&blocks(0xee, 2)));
        run.good(&["data-out 0+1024", "write 3+2 at 0"]);
        assert_eq!(run.done.transfer_bytes, 1024);
        assert_eq!(rig.store[3 * BLOCK..5 * BLOCK], blocks(0xee, 2));
        assert_eq!(rig.store[2 * BLOCK..3 * BLOCK], blocks(2, 1));
        assert_eq!(rig.store[5 * BLOCK..6 * BLOCK], blocks(5, 1));
    }
}

#[test]
fn write_the_initiator_sends_in_part_writes_whole_blocks_of_it() {
    for (sent, steps, written) in [
        (0, &[][..], 0),
        (200, &[][..], 0),
        (512, &["data-out 0+512", "write 0+1 at 0"][..], 1),
        (1000, &["data-out 0+512", "write 0+1 at 0"][..], 1),
        (10_000, &["data-out 0+1024", "write 0+2 at 0"][..], 2),
    ] {
        let mut rig = Rig::new();
        let run = rig.run(&cdb10(0x2a, 0, 0, 2), Data::Out(&vec![0xee; sent]));
        run.good(steps);
        assert_eq!(run.done.transfer_bytes, 1024);
        assert_eq!(rig.store[..written * BLOCK], blocks(0xee, written));
        assert_eq!(rig.store[2 * BLOCK..3 * BLOCK], blocks(2, 1));
    }
}

#[test]
fn write_beyond_a_window_goes_in_pieces_each_after_its_data() {
    let mut rig = Rig::with(caps(512, 4096));
    let data: Vec<u8> = (0..2049 * 512u32).map(|at| (at / 512) as u8).collect();
    let run = rig.run(&cdb10(0x2a, 0x08, 9, 2049), Data::Out(&data));
    run.good(&[
        "data-out 0+1048576",
        "write 9+2048 at 0 durable",
        "data-out 1048576+512",
        "write 2057+1 at 1048576 durable",
    ]);
    assert_eq!(rig.store[9 * BLOCK..][..data.len()], data);
}

#[test]
fn verify_without_data_reads_the_blocks() {
    let mut rig = Rig::new();
    let run = rig.run(&cdb10(0x2f, 0x10, 3, 2), Data::None);
    run.good(&["read 3+2 scratch"]);
    assert_eq!((run.done.transfer_bytes, run.done.data_in_bytes), (0, 0));
    rig.run(&cdb10(0x2f, 0, 3, 0), Data::None).good(&[]);
}

#[test]
fn verify_with_data_compares_blocks() {
    for cdb in [
        cdb10(0x2f, 0x02, 3, 2).to_vec(),
        cdb12(0xaf, 0x02, 3, 2).to_vec(),
        cdb16(0x8f, 0x02, 3, 2).to_vec(),
    ] {
        let mut data = [blocks(3, 1), blocks(4, 1)].concat();
        let run = Rig::new().run(&cdb, Data::Out(&data));
        run.good(&["data-out 0+1024", "read 3+2 scratch"]);
        assert_eq!(run.done.transfer_bytes, 1024);
        data[1023] ^= 1;
        let run = Rig::new().run(&cdb, Data::Out(&data));
        run.check(Sense::MISCOMPARE_DURING_VERIFY);
        assert_eq!(run.done.transfer_bytes, 1024);
    }
}

#[test]
fn verify_with_one_block_compares_it_with_each() {
    let mut rig = Rig::new();
    rig.store[3 * BLOCK..6 * BLOCK].fill(7);
    let cdb = cdb10(0x2f, 0x06, 3, 3);
    let run = rig.run(&cdb, Data::Out(&blocks(7, 1)));
    run.good(&["data-out 0+512", "read 3+3 scratch"]);
    assert_eq!(run.done.transfer_bytes, 512);
    rig.store[6 * BLOCK - 1] = 8;
    rig.run(&cdb, Data::Out(&blocks(7, 1)))
        .check(Sense::MISCOMPARE_DURING_VERIFY);
    rig.run(&cdb, Data::Out(&blocks(7, 2)))
        .refused(Sense::INVALID_FIELD_IN_CDB);
    rig.run(&cdb, Data::Out(&[7; 200]))
        .refused(Sense::INVALID_FIELD_IN_CDB);
}

#[test]
fn verify_with_reserved_bytchk_is_invalid_field() {
    let run = Rig::new().run(&cdb10(0x2f, 0x04, 3, 1), Data::Out(&blocks(3, 1)));
    run.refused(Sense::cdb_bit(1, 2));
}

#[test]
fn write_and_verify_writes_durably_and_reads_back() {
    let mut rig = Rig::new();
    for (flags, opcode) in [(0x00, 0x2e), (0x02, 0x2e)] {
        let run = rig.run(&cdb10(opcode, flags, 3, 2), Data::Out(&blocks(0xee, 2)));
        run.good(&[
            "data-out 0+1024",
            "write 3+2 at 0 durable",
            "read 3+2 scratch",
        ]);
    }
    let run = rig.run(&cdb12(0xae, 0x02, 3, 1), Data::Out(&blocks(1, 1)));
    run.good(&[
        "data-out 0+512",
        "write 3+1 at 0 durable",
        "read 3+1 scratch",
    ]);
    let run = rig.run(&cdb16(0x8e, 0x02, 3, 1), Data::Out(&blocks(2, 1)));
    run.good(&[
        "data-out 0+512",
        "write 3+1 at 0 durable",
        "read 3+1 scratch",
    ]);
}

#[test]
fn write_same_of_zeros_sends_none_to_the_store() {
    for (cdb, may_unmap) in [
        (cdb10(0x41, 0, 3, 2).to_vec(), false),
        (cdb16(0x93, 0, 3, 2).to_vec(), false),
        (cdb10(0x41, 0x08, 3, 2).to_vec(), true),
        (cdb16(0x93, 0x08, 3, 2).to_vec(), true),
    ] {
        let mut rig = Rig::new();
        let run = rig.run(&cdb, Data::Out(&blocks(0, 1)));
        let zero = if may_unmap {
            "zero 3+2 or unmap"
        } else {
            "zero 3+2"
        };
        run.good(&["data-out 0+512", zero]);
        assert_eq!(run.done.transfer_bytes, 512);
        assert_eq!(rig.store[3 * BLOCK..5 * BLOCK], blocks(0, 2));
    }
}

#[test]
fn write_same_without_data_zeroes() {
    let mut rig = Rig::new();
    let run = rig.run(&cdb16(0x93, 0x01, 3, 2), Data::None);
    run.good(&["zero 3+2"]);
    assert_eq!(run.done.transfer_bytes, 0);
    rig.run(&cdb16(0x93, 0x09, 3, 2), Data::None)
        .good(&["zero 3+2 or unmap"]);
}

#[test]
fn write_same_of_a_pattern_writes_it_also_when_unmap_is_asked() {
    for flags in [0x00, 0x08] {
        let mut rig = Rig::new();
        let run = rig.run(&cdb10(0x41, flags, 3, 4), Data::Out(&blocks(0xa5, 1)));
        run.good(&["data-out 0+512", "write 3+4 pattern 512"]);
        assert_eq!(rig.store[3 * BLOCK..7 * BLOCK], blocks(0xa5, 4));
    }
}

#[test]
fn write_same_beyond_a_piece_goes_in_pieces() {
    let mut rig = Rig::with(caps(4096, 16_384));
    let run = rig.run(&cdb16(0x93, 0, 1, 513), Data::Out(&[1; 4096]));
    run.good(&[
        "data-out 0+4096",
        "write 1+256 pattern 4096",
        "write 257+256 pattern 4096",
        "write 513+1 pattern 4096",
    ]);
    let run = rig.run(&cdb16(0x93, 0x01, 0, 8192), Data::None);
    run.good(&["zero 0+4096", "zero 4096+4096"]);
    // A store that has to write the zeros does it by the window.
    let mut plain = caps(4096, 16_384);
    plain.write_zeroes = false;
    let run = Rig::with(plain).run(&cdb16(0x93, 0x01, 0, 300), Data::None);
    run.good(&["zero 0+256", "zero 256+44"]);
}

#[test]
fn write_same_of_no_or_other_than_one_block_is_invalid_field() {
    let mut rig = Rig::new();
    rig.run(&cdb10(0x41, 0, 3, 0), Data::Out(&blocks(0, 1)))
        .refused(Sense::cdb_byte(7));
    rig.run(&cdb16(0x93, 0, 3, 0), Data::Out(&blocks(0, 1)))
        .refused(Sense::cdb_byte(10));
    for bytes in [0, 256, 1024] {
        rig.run(&cdb10(0x41, 0x08, 3, 1), Data::Out(&vec![0; bytes]))
            .refused(Sense::INVALID_FIELD_IN_CDB);
    }
}

#[test]
fn write_same_with_obsolete_or_anchor_bits_is_invalid_field() {
    let mut rig = Rig::new();
    for (flags, bit) in [(0x18, 4), (0x04, 2), (0x02, 1), (0x20, 7)] {
        let run = rig.run(&cdb16(0x93, flags, 3, 1), Data::Out(&blocks(0, 1)));
        run.refused(Sense::cdb_bit(1, bit));
    }
    rig.run(&cdb10(0x41, 0x01, 3, 1), Data::Out(&blocks(0, 1)))
        .refused(Sense::cdb_bit(1, 0));
}

#[test]
fn write_same_with_unmap_on_a_thick_store_is_invalid_field() {
    let mut thick = caps(512, 64);
    thick.unmap = false;
    let run = Rig::with(thick).run(&cdb10(0x41, 0x08, 3, 1), Data::Out(&blocks(0, 1)));
    run.refused(Sense::cdb_bit(1, 3));
}

#[test]
fn unmap_of_several_ranges_does_each_in_pieces() {
    let mut rig = Rig::with(caps(4096, 16_384));
    let list = unmap_list(&[(3, 2), (100, 0), (1000, 4097)]);
    let run = rig.run(&unmap(list.len() as u16), Data::Out(&list));
    run.good(&[
        "data-out 0+56",
        "unmap 3+2",
        "unmap 1000+4096",
        "unmap 5096+1",
    ]);
    assert_eq!(run.done.transfer_bytes, 56);
}

#[test]
fn unmap_of_nothing_is_good() {
    let mut rig = Rig::new();
    rig.run(&unmap(0), Data::None).good(&[]);
    let list = unmap_list(&[]);
    rig.run(&unmap(8), Data::Out(&list)).good(&["data-out 0+8"]);
    let list = unmap_list(&[(64, 0)]);
    rig.run(&unmap(24), Data::Out(&list))
        .good(&["data-out 0+24"]);
}

#[test]
fn unmap_list_that_is_cut_is_parameter_list_length_error() {
    let mut rig = Rig::new();
    let list = unmap_list(&[(3, 2)]);
    let in_cdb = Sense::PARAMETER_LIST_LENGTH_ERROR.pointing(true, 7, None);
    rig.run(&unmap(7), Data::Out(&list)).refused(in_cdb);
    rig.run(&unmap(24), Data::Out(&list[..23])).refused(in_cdb);
    // The list says more than there is.
    let run = rig.run(&unmap(20), Data::Out(&list[..20]));
    run.check(Sense::PARAMETER_LIST_LENGTH_ERROR);
    assert_eq!(rig.store[3 * BLOCK..4 * BLOCK], blocks(3, 1));
}

#[test]
fn unmap_descriptor_that_is_not_whole_is_ignored() {
    let mut rig = Rig::new();
    let mut list = unmap_list(&[(3, 2), (9, 1)]);
    list[3] = 31;
    rig.run(&unmap(40), Data::Out(&list))
        .good(&["data-out 0+40", "unmap 3+2"]);
}

#[test]
fn unmap_with_a_range_outside_does_nothing() {
    let mut rig = Rig::new();
    let list = unmap_list(&[(3, 2), (63, 2)]);
    let run = rig.run(&unmap(40), Data::Out(&list));
    run.check(Sense::LBA_OUT_OF_RANGE.pointing(false, 24, None));
    assert_eq!(rig.store[3 * BLOCK..4 * BLOCK], blocks(3, 1));
    let list = unmap_list(&[(u64::MAX, u32::MAX)]);
    let run = rig.run(&unmap(24), Data::Out(&list));
    run.check(Sense::parameter_byte(16));
}

#[test]
fn unmap_on_a_thick_store_is_no_command() {
    let mut thick = caps(512, 64);
    thick.unmap = false;
    let list = unmap_list(&[(3, 2)]);
    let run = Rig::with(thick).run(&unmap(24), Data::Out(&list));
    run.refused(Sense::INVALID_COMMAND_OPERATION_CODE);
}

#[test]
fn compare_and_write_of_equal_blocks_writes_under_a_range() {
    let mut rig = Rig::new();
    let data = [blocks(3, 1), blocks(4, 1), blocks(0xee, 2)].concat();
    let run = rig.run(&compare_and_write(0x08, 3, 2), Data::Out(&data));
    run.good(&[
        "data-out 0+2048",
        "home Range { lba: Lba(3), blocks: 2 }",
        "read 3+2 scratch",
        "write 3+2 at 1024 durable",
    ]);
    assert_eq!(run.done.transfer_bytes, 2048);
    assert_eq!(rig.store[3 * BLOCK..5 * BLOCK], blocks(0xee, 2));
    assert!(rig.home.is_quiet());
}

#[test]
fn compare_and_write_of_unequal_blocks_tells_the_offset_and_writes_nothing() {
    let mut rig = Rig::new();
    let mut data = [blocks(3, 1), blocks(4, 1), blocks(0xee, 2)].concat();
    data[700] = 9;
    let run = rig.run(&compare_and_write(0, 3, 2), Data::Out(&data));
    run.check(Sense::MISCOMPARE_DURING_VERIFY.with_information(700));
    assert_eq!(run.done.transfer_bytes, 2048);
    assert_eq!(run.sense_bytes()[..8], [0xf0, 0, 0x0e, 0, 0, 2, 0xbc, 10]);
    assert_eq!(rig.store[3 * BLOCK..4 * BLOCK], blocks(3, 1));
    assert!(rig.home.is_quiet());
}

#[test]
fn compare_and_write_with_other_data_than_the_cdb_says_is_invalid_field() {
    let mut rig = Rig::new();
    for bytes in [0, 512, 1023, 2048] {
        rig.run(&compare_and_write(0, 3, 1), Data::Out(&vec![3; bytes]))
            .refused(Sense::cdb_byte(13));
    }
    rig.run(&compare_and_write(0, 3, 0), Data::None).good(&[]);
    rig.run(&compare_and_write(0, 64, 1), Data::Out(&blocks(0, 2)))
        .refused(Sense::LBA_OUT_OF_RANGE.pointing(true, 2, None));
}

#[test]
fn pre_fetch_is_good_for_blocks_that_exist() {
    let mut rig = Rig::new();
    for (cdb, beyond) in [
        (
            cdb10(0x34, 0x02, 0, 64).to_vec(),
            cdb10(0x34, 0, 64, 1).to_vec(),
        ),
        (
            cdb16(0x90, 0x02, 0, 64).to_vec(),
            cdb16(0x90, 0, 64, 1).to_vec(),
        ),
    ] {
        rig.run(&cdb, Data::None).good(&[]);
        rig.run(&beyond, Data::None)
            .refused(Sense::LBA_OUT_OF_RANGE.pointing(true, 2, None));
    }
    let mut cdb = cdb10(0x34, 0x02, 0, 1);
    cdb[6] = 3;
    rig.run(&cdb, Data::None).good(&[]);
}

#[test]
fn short_data_out_is_data_phase_error() {
    use scsi::Resumed;
    let mut rig = Rig::new();
    let data = blocks(1, 2);
    for (cdb, bytes) in [
        (cdb10(0x2a, 0, 0, 2).to_vec(), 512),
        (cdb10(0x41, 0, 0, 2).to_vec(), 0),
        (cdb10(0x2f, 0x02, 0, 2).to_vec(), 0),
        (compare_and_write(0, 0, 1).to_vec(), 1023),
    ] {
        let sent = if cdb[0] == 0x41 {
            &data[..512]
        } else {
            &data[..]
        };
        let (mut live, _) = rig.start(crate::rig::ONE, &cdb, Data::Out(sent));
        let step = rig.resume(&mut live, Resumed::DataOut(&data[..bytes]));
        let run = rig.finish(live, step);
        run.check(Sense::DATA_PHASE_ERROR);
        assert_eq!(run.done.status, Status::CheckCondition);
    }
    assert_eq!(rig.store[..BLOCK], blocks(0, 1));
}
