//! GET LBA STATUS: what the store keeps, told as it is.

use scsi::Sense;

use crate::rig::{BLOCK, Data, Rig, cdb16};

fn status16(lba: u64, allocation: u32) -> [u8; 16] {
    cdb16(0x9e, 0x12, lba, allocation)
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
fn lba_status_tells_each_run_from_the_block_on() {
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
    let run = rig.run(&status16(15, 1024), Data::In(1024));
    run.good(&["map 15+49"]);
    let wanted = [
        vec![0, 0, 0, 36, 0, 0, 0, 0],
        descriptor(15, 5, 0),
        descriptor(20, 44, 1),
    ];
    assert_eq!(run.data_in, wanted.concat());
}

#[test]
fn lba_status_is_cut_at_its_lengths() {
    let mut rig = rig();
    for (allocation, expected) in [(24, 1024), (1024, 24), (24, 24)] {
        let run = rig.run(&status16(0, allocation), Data::In(expected));
        let wanted = [vec![0, 0, 0, 52, 0, 0, 0, 0], descriptor(0, 10, 1)];
        assert_eq!(run.data_in, wanted.concat());
    }
    let run = rig.run(&status16(0, 0), Data::In(0));
    assert_eq!(run.done.transfer_bytes, 0);
}

#[test]
fn lba_status_beyond_the_end_is_out_of_range() {
    let mut rig = rig();
    for lba in [64, 65, u64::MAX] {
        rig.run(&status16(lba, 24), Data::In(24))
            .refused(Sense::LBA_OUT_OF_RANGE.pointing(true, 2, None));
    }
}

#[test]
fn lba_status_of_another_report_is_refused() {
    let mut rig = rig();
    let mut cdb = status16(0, 24);
    cdb[14] = 0x01;
    rig.run(&cdb, Data::In(24)).refused(Sense::cdb_bit(14, 0));
}
