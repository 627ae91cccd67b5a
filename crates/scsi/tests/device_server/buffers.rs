//! Buffers, diagnostics, defect lists and the clock.

use scsi::lu::UnitAttention;
use scsi::{ECHO_BUFFER_BYTES, Sense};

use crate::rig::{Data, NOON, ONE, Rig, TWO};

/// WRITE BUFFER and READ BUFFER(10).
fn buffer(opcode: u8, mode: u8, length: u32) -> [u8; 10] {
    let [_, high, mid, low] = length.to_be_bytes();
    [opcode, mode, 0, 0, 0, 0, high, mid, low, 0]
}

#[test]
fn echo_buffer_gives_back_what_the_same_nexus_wrote() {
    let mut rig = Rig::new();
    rig.run(&buffer(0x3c, 0x0a, 16), Data::In(16))
        .refused(Sense::COMMAND_SEQUENCE_ERROR);
    rig.run_as(ONE, &buffer(0x3b, 0x0a, 5), Data::Out(b"hello"))
        .good(&["data-out 0+5"]);
    rig.run_as(TWO, &buffer(0x3b, 0x0a, 3), Data::Out(b"two"))
        .good(&["data-out 0+3"]);
    for (nexus, wanted) in [(ONE, &b"hello"[..]), (TWO, b"two"), (ONE, b"hello")] {
        let run = rig.run_as(nexus, &buffer(0x3c, 0x0a, 16), Data::In(16));
        run.good(&[]);
        assert_eq!(run.data_in, wanted);
    }
}

#[test]
fn echo_buffer_descriptor_tells_its_capacity_and_the_data_buffer_has_none() {
    let mut rig = Rig::new();
    let run = rig.run(&buffer(0x3c, 0x0b, 4), Data::In(4));
    let [high, low] = ECHO_BUFFER_BYTES.to_be_bytes();
    assert_eq!(run.data_in, [1, 0, high, low]);
    let run = rig.run(&buffer(0x3c, 0x03, 4), Data::In(4));
    assert_eq!(run.data_in, [0; 4]);
    let full = vec![7; usize::from(ECHO_BUFFER_BYTES)];
    let length = u32::from(ECHO_BUFFER_BYTES);
    rig.run(&buffer(0x3b, 0x0a, length), Data::Out(&full))
        .good(&["data-out 0+256"]);
    let run = rig.run(&buffer(0x3c, 0x0a, 0xff_ffff), Data::In(1024));
    assert_eq!(run.data_in, full);
}

#[test]
fn write_buffer_of_another_mode_or_length_is_refused() {
    let mut rig = Rig::new();
    for mode in [0x00, 0x02, 0x05, 0x1a] {
        rig.run(&buffer(0x3b, mode, 4), Data::Out(&[0; 4]))
            .refused(Sense::cdb_bit(1, 4));
        rig.run(&buffer(0x3c, mode, 4), Data::In(4))
            .refused(Sense::cdb_bit(1, 4));
    }
    rig.run(&buffer(0x3b, 0x0a, 257), Data::Out(&[0; 257]))
        .refused(Sense::cdb_byte(6));
    let short = Sense::PARAMETER_LIST_LENGTH_ERROR.pointing(true, 6, None);
    rig.run(&buffer(0x3b, 0x0a, 8), Data::Out(&[0; 4]))
        .refused(short);
    rig.run(&buffer(0x3b, 0x0a, 0), Data::None).good(&[]);
}

#[test]
fn send_diagnostic_takes_the_self_test_or_the_one_page() {
    let mut rig = Rig::new();
    rig.run(&[0x1d, 0x04, 0, 0, 0, 0], Data::None).good(&[]);
    rig.run(&[0x1d, 0x10, 0, 0, 0, 0], Data::None).good(&[]);
    let send = [0x1d, 0x10, 0, 0, 4, 0];
    rig.run(&send, Data::Out(&[0; 4])).good(&["data-out 0+4"]);
    for (page, sense) in [
        ([0x40, 0, 0, 0], Sense::parameter_byte(0)),
        ([0, 1, 0, 0], Sense::parameter_byte(1)),
        ([0, 0, 0, 1], Sense::parameter_byte(2)),
    ] {
        rig.run(&send, Data::Out(&page)).check(sense);
    }
    let length = Sense::PARAMETER_LIST_LENGTH_ERROR.pointing(true, 3, None);
    for bytes in [3u8, 5] {
        let cdb = [0x1d, 0x10, 0, 0, bytes, 0];
        rig.run(&cdb, Data::Out(&[0; 8])).refused(length);
    }
    // A self-test with a list, or a list without PF.
    for flags in [0x00, 0x14] {
        rig.run(&[0x1d, flags, 0, 0, 4, 0], Data::Out(&[0; 4]))
            .refused(Sense::cdb_bit(1, 4));
    }
}

#[test]
fn receive_diagnostic_results_is_the_list_of_pages() {
    let mut rig = Rig::new();
    for flags in [0, 1] {
        let run = rig.run(&[0x1c, flags, 0, 1, 0, 0], Data::In(256));
        run.good(&[]);
        assert_eq!(run.data_in, [0, 0, 0, 1, 0]);
    }
    for cdb in [[0x1c, 1, 0x40, 1, 0, 0], [0x1c, 0, 0x40, 1, 0, 0]] {
        rig.run(&cdb, Data::In(256)).refused(Sense::cdb_byte(2));
    }
}

#[test]
fn read_defect_data_is_an_empty_list_in_the_format_asked_for() {
    let mut rig = Rig::new();
    for format in [0x00, 0x08, 0x18, 0x1d] {
        let cdb = [0x37, 0, format, 0, 0, 0, 0, 0, 8, 0];
        assert_eq!(rig.run(&cdb, Data::In(8)).data_in, [0, format, 0, 0]);
        let cdb = [0xb7, format, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0];
        let wanted = [0, format, 0, 0, 0, 0, 0, 0];
        assert_eq!(rig.run(&cdb, Data::In(16)).data_in, wanted);
    }
    let beyond = [0xb7, 0, 0, 0, 0, 1, 0, 0, 0, 16, 0, 0];
    rig.run(&beyond, Data::In(16)).refused(Sense::cdb_byte(2));
}

const REPORT_TIMESTAMP: [u8; 12] = [0xa3, 0x0f, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0];

fn set_timestamp(bytes: u8) -> [u8; 12] {
    [0xa4, 0x0f, 0, 0, 0, 0, 0, 0, 0, bytes, 0, 0]
}

#[test]
fn timestamp_is_the_clock_until_it_is_set_and_others_are_told() {
    let mut rig = Rig::new();
    let [_, _, now @ ..] = NOON.0.to_be_bytes();
    let run = rig.run(&REPORT_TIMESTAMP, Data::In(64));
    assert_eq!(run.data_in, [&[0, 10, 3, 0][..], &now, &[0, 0]].concat());
    let list = [0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0];
    rig.run(&set_timestamp(12), Data::Out(&list))
        .good(&["data-out 0+12", "home SetTimestamp(-1699999995904)"]);
    let run = rig.run(&REPORT_TIMESTAMP, Data::In(64));
    let wanted = [0, 10, 2, 0, 0, 0, 0, 0, 0x10, 0, 0, 0];
    assert_eq!(run.data_in, wanted);
    let (asc, ascq) = UnitAttention::TimestampChanged.additional_sense();
    rig.run_as(TWO, &[0; 6], Data::None)
        .refused(Sense::unit_attention(asc, ascq));
    rig.run_as(ONE, &[0; 6], Data::None).good(&[]);
}

#[test]
fn set_timestamp_of_a_short_list_is_refused() {
    let mut rig = Rig::new();
    let short = Sense::PARAMETER_LIST_LENGTH_ERROR.pointing(true, 6, None);
    rig.run(&set_timestamp(11), Data::Out(&[0; 11]))
        .refused(short);
    rig.run(&set_timestamp(12), Data::Out(&[0; 11]))
        .refused(short);
    rig.run(&set_timestamp(0), Data::None).good(&[]);
}
