//! Which commands may have a protect field, and which values.

use block::ProtectionType::{Type1, Type2, Type3};
use scsi::{Sense, Status};

use super::{cdb32, disk};
use crate::rig::{Data, Rig, cdb10, cdb12, cdb16, compare_and_write};

/// Each command that has the field in byte 1, for one block.
fn commands(flags: u8) -> Vec<Vec<u8>> {
    vec![
        cdb10(0x28, flags, 0, 1).to_vec(),
        cdb10(0x2a, flags, 0, 1).to_vec(),
        cdb10(0x2e, flags, 0, 1).to_vec(),
        cdb10(0x2f, flags, 0, 1).to_vec(),
        cdb10(0x41, flags, 0, 1).to_vec(),
        cdb12(0xa8, flags, 0, 1).to_vec(),
        cdb12(0xaa, flags, 0, 1).to_vec(),
        cdb12(0xae, flags, 0, 1).to_vec(),
        cdb12(0xaf, flags, 0, 1).to_vec(),
        cdb16(0x88, flags, 0, 1).to_vec(),
        cdb16(0x8a, flags, 0, 1).to_vec(),
        cdb16(0x8b, flags, 0, 1).to_vec(),
        cdb16(0x8e, flags, 0, 1).to_vec(),
        cdb16(0x8f, flags, 0, 1).to_vec(),
        cdb16(0x93, flags, 0, 1).to_vec(),
        compare_and_write(flags, 0, 1).to_vec(),
    ]
}

/// Runs it with the data it takes, of this many bytes a block.
fn run(rig: &mut Rig, cdb: &[u8], block: u32) -> crate::rig::Run {
    let zeros = vec![0; block as usize * 2];
    match cdb[0] {
        0x28 | 0xa8 | 0x88 => rig.run(cdb, Data::In(block)),
        0x2f | 0xaf | 0x8f => rig.run(cdb, Data::None),
        0x89 => rig.run(cdb, Data::Out(&zeros)),
        _ => rig.run(cdb, Data::Out(&zeros[..block as usize])),
    }
}

#[test]
fn protect_field_without_protection_information_is_an_invalid_field() {
    for code in 1..8 {
        for cdb in commands(code << 5) {
            run(&mut Rig::new(), &cdb, 520).refused(Sense::cdb_bit(1, 7));
        }
    }
}

#[test]
fn protect_field_of_types_one_and_three_is_taken_but_for_the_reserved_values() {
    for kind in [Type1, Type3] {
        for code in 0..8u8 {
            for cdb in commands(code << 5) {
                let mut rig = disk(kind);
                let block = if code == 0 { 512 } else { 520 };
                let run = run(&mut rig, &cdb, block);
                if code > 5 {
                    run.refused(Sense::cdb_bit(1, 7));
                } else {
                    assert_eq!(run.done.status, Status::Good, "{code} {:02x}", cdb[0]);
                }
            }
        }
    }
}

#[test]
fn protect_field_of_type_two_is_for_commands_of_32_bytes() {
    for code in 1..8 {
        for cdb in commands(code << 5) {
            run(&mut disk(Type2), &cdb, 520).refused(Sense::INVALID_COMMAND_OPERATION_CODE);
        }
    }
    for cdb in commands(0) {
        assert_eq!(run(&mut disk(Type2), &cdb, 512).done.status, Status::Good);
    }
}

#[test]
fn commands_of_32_bytes_are_there_only_with_type_two() {
    for action in [0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x55] {
        let cdb = cdb32(action, 0, 0, 0, (0, 0, 0));
        for mut rig in [Rig::new(), disk(Type1), disk(Type3)] {
            rig.run(&cdb, Data::None)
                .refused(Sense::INVALID_COMMAND_OPERATION_CODE);
        }
    }
    let mut rig = disk(Type2);
    let run = rig.run(&cdb32(0x55, 0, 0, 0, (0, 0, 0)), Data::None);
    run.refused(Sense::cdb_byte(8));
    let run = rig.run(&cdb32(0x09, 0xc0, 0, 1, (0, 0, 0)), Data::In(520));
    run.refused(Sense::cdb_bit(10, 7));
    let run = rig.run(&cdb32(0x09, 0, 64, 1, (0, 0, 0)), Data::In(512));
    run.refused(Sense::LBA_OUT_OF_RANGE.pointing(true, 12, None));
    let run = rig.run(&cdb32(0x09, 0x01, 0, 1, (0, 0, 0)), Data::In(512));
    run.refused(Sense::cdb_bit(10, 0));
    let run = rig.run(&cdb32(0x0a, 0x04, 0, 1, (0, 0, 0)), Data::None);
    run.refused(Sense::cdb_bit(10, 2));
}

#[test]
fn data_out_of_the_wrong_block_size_is_refused_where_it_is_one_block() {
    let mut rig = disk(Type1);
    let run = rig.run(&cdb16(0x93, 0x20, 0, 1), Data::Out(&[0; 512]));
    run.refused(Sense::INVALID_FIELD_IN_CDB);
    let run = rig.run(&cdb16(0x93, 0, 0, 1), Data::Out(&[0; 520]));
    run.refused(Sense::INVALID_FIELD_IN_CDB);
    let run = rig.run(&compare_and_write(0x20, 0, 1), Data::Out(&[0; 1024]));
    run.refused(Sense::cdb_byte(13));
}
