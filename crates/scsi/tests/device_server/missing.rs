//! A LUN that is not mapped.

use scsi::{Cdb, Command, Done, Sense, Status, TaskAttribute, begin_missing};

fn run(cdb: &[u8], data_in_bytes: u32) -> (Done, Vec<u8>) {
    let command = Command {
        cdb: Cdb::new(cdb),
        attribute: TaskAttribute::Simple,
        data_out_bytes: 0,
        data_in_bytes,
    };
    let mut out = Vec::new();
    let done = begin_missing(&command, &[1u16, 256], &mut out);
    assert_eq!(out.len(), done.data_in_bytes as usize);
    (done, out)
}

#[test]
fn inquiry_of_a_missing_lun_is_7fh() {
    let (done, out) = run(&[0x12, 0, 0, 0, 255, 0], 255);
    assert_eq!(done.status, Status::Good);
    assert_eq!(out.len(), 96);
    assert_eq!(out[..8], [0x7f, 0, 6, 2, 91, 0, 0, 2]);
    assert_eq!(out[8..16], *b"QUINTAIN");
    let (done, out) = run(&[0x12, 1, 0, 0, 255, 0], 255);
    assert_eq!(
        (done.status, &out[..]),
        (Status::Good, &[0x7f, 0, 0, 1, 0][..])
    );
    let (done, _) = run(&[0x12, 1, 0x83, 0, 255, 0], 255);
    assert_eq!(done.sense, Some(Sense::cdb_byte(2)));
    let (done, _) = run(&[0x12, 0, 0x83, 0, 255, 0], 255);
    assert_eq!(done.sense, Some(Sense::cdb_byte(2)));
}

#[test]
fn report_luns_of_a_missing_lun_tells_those_there_are() {
    let (done, out) = run(&[0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], 256);
    assert_eq!((done.status, done.transfer_bytes), (Status::Good, 24));
    let wanted = [
        0, 0, 0, 16, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0x41, 0, 0, 0, 0, 0, 0, 0,
    ];
    assert_eq!(out, wanted);
}

#[test]
fn request_sense_of_a_missing_lun_tells_so() {
    let (done, out) = run(&[0x03, 0, 0, 0, 252, 0], 252);
    assert_eq!(done.status, Status::Good);
    assert_eq!(
        out,
        [0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x25, 0, 0, 0, 0, 0]
    );
    let (_, out) = run(&[0x03, 1, 0, 0, 252, 0], 252);
    assert_eq!(out, [0x72, 5, 0x25, 0, 0, 0, 0, 0]);
}

#[test]
fn every_other_command_of_a_missing_lun_is_logical_unit_not_supported() {
    for opcode in 0..=0xff {
        if [0x03, 0x12, 0xa0].contains(&opcode) {
            continue;
        }
        let (done, _) = run(&[opcode], 512);
        assert_eq!(done.status, Status::CheckCondition, "{opcode:02x}");
        assert_eq!(
            done.sense,
            Some(Sense::LOGICAL_UNIT_NOT_SUPPORTED),
            "{opcode:02x}"
        );
        assert_eq!(done.transfer_bytes, 0);
    }
    let (done, _) = run(&[0x12, 0x02, 0, 0, 255, 0], 255);
    assert_eq!(done.sense, Some(Sense::cdb_bit(1, 1)));
}
