//! GET LBA STATUS: what the store keeps, told as it is.

use scsi::Sense;

use crate::rig::{BLOCK, Data, Rig, cdb16};

fn status16(lba: u64, allocation: u32) -> [u8; 16] {
    cdb16(0x9e, 0x12, lba, allocation)
}

fn status32(lba: u64, scan: u32, allocation: u32) -> [u8; 32] {
    let mut cdb = [0; 32];
    cdb[0] = 0x7f;
    cdb[7] = 0x18;
    cdb[9] = 0x12;
    cdb[12..20].copy_from_slice(&lba.to_be_bytes());
    cdb[20..24].copy_from_slice(&scan.to_be_bytes());
    cdb[28..32].copy_from_slice(&allocation.to_be_bytes());
    cdb
}

/// 64 blocks, of which 10 to 19 are kept.
fn rig() -> Rig {
    let mut rig = Rig::new();
    rig.store.fill(0);
    rig.store[10 * BLOCK..20 * BLOCK].fill(1);
    rig
}

fn descriptor(lba: u64, blocks: u32, status: u8) -> Vec<u8> {
    let mut bytes = lba.to_be_bytes().to_vec();
    bytes.extend(blocks.to_be_bytes());
    bytes.extend([status, 0, 0, 0]);
    bytes
}

#[test]
fn get_lba_status_tells_each_run_from_the_block_on() {
    let mut rig = rig();
    let run = rig.run(&status16(4, 1024), Data::In(1024));
    run.good(&["map 4+60"]);
    let wanted = [
        vec![0, 0, 0, 52, 0, 0, 0, 0],
        descriptor(4, 6, 1),
        descriptor(10, 10, 0),
        descriptor(20, 44, 1),
    ];
    assert_eq!(run.data_in, wanted.concat());
    assert_eq!(run.done.transfer_bytes, 56);
    let run = rig.run(&status32(15, 0, 1024), Data::In(1024));
    run.good(&["map 15+49"]);
    let wanted = [
        vec![0, 0, 0, 36, 0, 0, 0, 0],
        descriptor(15, 5, 0),
        descriptor(20, 44, 1),
    ];
    assert_eq!(run.data_in, wanted.concat());
}

#[test]
fn get_lba_status_is_cut_at_its_lengths() {
    let mut rig = rig();
    for (allocation, expected) in [(24, 1024), (1024, 24), (24, 24)] {
        let run = rig.run(&status16(0, allocation), Data::In(expected));
        let wanted = [vec![0, 0, 0, 52, 0, 0, 0, 0], descriptor(0, 10, 1)];
        assert_eq!(run.data_in, wanted.concat());
    }
    // SCAN LENGTH ends within the second run.
    let run = rig.run(&status32(0, 12, 1024), Data::In(1024));
    run.good(&["map 0+12"]);
    assert_eq!(run.data_in[24..], descriptor(10, 2, 0));
    let run = rig.run(&status16(0, 0), Data::In(0));
    assert_eq!(run.done.transfer_bytes, 0);
}

#[test]
fn get_lba_status_beyond_the_end_is_out_of_range() {
    let mut rig = rig();
    for lba in [64, 65, u64::MAX] {
        let sense = |at| Sense::LBA_OUT_OF_RANGE.pointing(true, at, None);
        rig.run(&status16(lba, 24), Data::In(24)).refused(sense(2));
        rig.run(&status32(lba, 1, 24), Data::In(24))
            .refused(sense(12));
    }
}

#[test]
fn get_lba_status_of_another_report_or_element_is_refused() {
    let mut rig = rig();
    let mut cdb = status16(0, 24);
    cdb[14] = 0x01;
    rig.run(&cdb, Data::In(24)).refused(Sense::cdb_bit(14, 0));
    let mut cdb = status32(0, 0, 24);
    cdb[27] = 0x01;
    rig.run(&cdb, Data::In(24)).refused(Sense::cdb_bit(27, 0));
}

#[test]
fn cdb_of_32_bytes_that_is_not_all_there_or_unknown_is_refused() {
    let mut rig = rig();
    let cdb = status32(0, 0, 24);
    rig.run(&cdb[..31], Data::In(24))
        .refused(Sense::cdb_byte(7));
    rig.run(&cdb[..16], Data::In(24))
        .refused(Sense::cdb_byte(7));
    let mut wrong = cdb;
    wrong[7] = 0x17;
    rig.run(&wrong, Data::In(24)).refused(Sense::cdb_byte(7));
    // READ(32): only with type 2 protection.
    let mut read = cdb;
    read[9] = 0x09;
    rig.run(&read, Data::In(24)).refused(Sense::cdb_byte(8));
}
