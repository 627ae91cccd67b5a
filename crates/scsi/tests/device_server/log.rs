//! LOG SENSE and LOG SELECT: the counters are those of what was done.

use std::time::Duration;

use block::{IoError, IoErrorKind, IoOpKind, Usage};
use scsi::lu::UnitAttention;
use scsi::{Sense, Status};

use crate::rig::{BLOCK, Data, ONE, Rig, TWO, cdb10};

/// LOG SENSE of cumulative values.
fn sense(page: u8, subpage: u8, pointer: u16) -> [u8; 10] {
    let [high, low] = pointer.to_be_bytes();
    [0x4d, 0, 0x40 | page, subpage, 0, high, low, 2, 0, 0]
}

fn page(rig: &mut Rig, code: u8) -> Vec<u8> {
    let run = rig.run(&sense(code, 0, 0), Data::In(512));
    run.good(&[]);
    let length = usize::from(u16::from_be_bytes([run.data_in[2], run.data_in[3]]));
    assert_eq!((run.data_in[0], run.data_in[1]), (0x80 | code, 0));
    assert_eq!(run.data_in.len(), length + 4);
    run.data_in[4..].to_vec()
}

fn error_counters(bytes: u64, uncorrected: u64) -> Vec<u8> {
    let parameter = |code: u8, value: u64| [&[0, code, 0x20, 8][..], &value.to_be_bytes()].concat();
    [parameter(5, bytes), parameter(6, uncorrected)].concat()
}

#[test]
fn log_sense_lists_its_pages_and_each_is_there() {
    let mut rig = Rig::new();
    let list = page(&mut rig, 0x00);
    let wanted = [0x00, 0x02, 0x03, 0x05, 0x0d, 0x10, 0x15, 0x19, 0x2f];
    assert_eq!(list, wanted);
    for code in &list[1..] {
        assert!(!page(&mut rig, *code).is_empty());
    }
    let run = rig.run(&sense(0x00, 0xff, 0), Data::In(256));
    let pages = [2, 3, 5, 0x0d, 0x10, 0x15, 0x19, 0x2f].map(|code| [code, 0]);
    let pairs = [&[0, 0, 0, 0xff][..], pages.as_flattened()].concat();
    assert_eq!(run.data_in, [&[0xc0, 0xff, 0, 20][..], &pairs].concat());
}

#[test]
fn log_pages_count_bytes_and_errors_of_each_kind() {
    let mut rig = Rig::new();
    rig.run(&cdb10(0x28, 0, 0, 3), Data::In(3 * 512));
    rig.run(&cdb10(0x2a, 0, 0, 2), Data::Out(&[0; 2 * BLOCK]));
    rig.run_as(TWO, &cdb10(0x2a, 0, 0, 1), Data::Out(&[0; BLOCK]));
    rig.run(&cdb10(0x2f, 0x02, 0, 1), Data::Out(&[0; BLOCK]));
    let medium = IoError::new(IoErrorKind::Medium, IoOpKind::Read);
    rig.fail_next(medium);
    let run = rig.run(&cdb10(0x28, 0, 0, 1), Data::In(512));
    assert_eq!(run.done.sense, Some(Sense::UNRECOVERED_READ_ERROR));
    // What was refused for what it asked counts nowhere.
    rig.run(&cdb10(0x28, 0, 64, 1), Data::In(512));
    assert_eq!(page(&mut rig, 0x03), error_counters(3 * 512, 1));
    assert_eq!(page(&mut rig, 0x02), error_counters(3 * 512, 0));
    assert_eq!(page(&mut rig, 0x05), error_counters(512, 0));
    let run = rig.run(&sense(0x03, 0, 6), Data::In(256));
    assert_eq!(run.data_in[4..], error_counters(0, 1)[12..]);
}

#[test]
fn statistics_count_commands_blocks_and_their_time() {
    let mut rig = Rig::new();
    for _ in 0..3 {
        rig.run(&cdb10(0x28, 0, 0, 4), Data::In(4 * 512));
    }
    rig.run(&cdb10(0x2a, 0, 0, 2), Data::Out(&[0; 2 * BLOCK]));
    // A read takes one step of the rig's, a write two.
    let numbers: [u64; 8] = [3, 1, 2, 12, 3, 2, 4, 5];
    let wanted = [
        &[0, 1, 0x23, 64][..],
        &numbers.map(u64::to_be_bytes).concat(),
        &[0, 3, 0x23, 8, 0xff, 0xff, 0xff, 0xfa, 0, 0, 0, 1],
    ];
    assert_eq!(page(&mut rig, 0x19), wanted.concat());
}

#[test]
fn informational_exceptions_are_none() {
    let body = page(&mut Rig::new(), 0x2f);
    assert_eq!(body, [0, 0, 0x23, 4, 0, 0, 0xff, 0]);
}

#[test]
fn log_sense_of_what_is_not_there_is_invalid_field() {
    let mut rig = Rig::new();
    for (cdb, wanted) in [
        (sense(0x01, 0, 0), Sense::cdb_bit(2, 5)),
        (sense(0x0e, 0, 0), Sense::cdb_bit(2, 5)),
        (sense(0x02, 1, 0), Sense::cdb_byte(3)),
        (sense(0x02, 0xff, 0), Sense::cdb_byte(3)),
        (sense(0x02, 0, 7), Sense::cdb_byte(5)),
        (sense(0x00, 0, 1), Sense::cdb_byte(5)),
    ] {
        rig.run(&cdb, Data::In(256)).refused(wanted);
    }
    // SP; thresholds.
    let mut cdb = sense(0x02, 0, 0);
    cdb[1] = 1;
    rig.run(&cdb, Data::In(256)).refused(Sense::cdb_bit(1, 0));
    for control in [0x02, 0x82] {
        cdb = sense(0x02, 0, 0);
        cdb[2] = control;
        rig.run(&cdb, Data::In(256)).refused(Sense::cdb_bit(2, 7));
    }
}

#[test]
fn log_select_begins_anew_and_others_are_told() {
    for (flags, control) in [(0x02, 0x40), (0x00, 0xc0)] {
        let mut rig = Rig::new();
        rig.run(&cdb10(0x28, 0, 0, 1), Data::In(512));
        let select = [0x4c, flags, control, 0, 0, 0, 0, 0, 0, 0];
        rig.run_as(ONE, &select, Data::None)
            .good(&["home ResetLog"]);
        assert_eq!(page(&mut rig, 0x03), error_counters(0, 0));
        let (asc, ascq) = UnitAttention::LogParametersChanged.additional_sense();
        rig.run_as(TWO, &[0; 6], Data::None)
            .refused(Sense::unit_attention(asc, ascq));
        rig.run(&cdb10(0x28, 0, 0, 1), Data::In(512));
        assert_eq!(page(&mut rig, 0x03), error_counters(512, 0));
        let mut default = sense(0x03, 0, 0);
        default[2] |= 0xc0;
        let run = rig.run(&default, Data::In(256));
        assert_eq!(run.data_in[4..], error_counters(0, 0));
    }
}

#[test]
fn log_select_sets_no_parameter() {
    let mut rig = Rig::new();
    let list = [0x4c, 0, 0x40, 0, 0, 0, 0, 0, 4, 0];
    rig.run(&list, Data::Out(&[0; 4]))
        .refused(Sense::cdb_byte(7));
    let save = [0x4c, 1, 0x40, 0, 0, 0, 0, 0, 0, 0];
    rig.run(&save, Data::None).refused(Sense::cdb_bit(1, 0));
    let nothing = [0x4c, 0, 0x40, 0, 0, 0, 0, 0, 0, 0];
    let run = rig.run(&nothing, Data::None);
    assert_eq!((run.done.status, run.steps.len()), (Status::Good, 1));
}

fn self_test(code: u8) -> [u8; 6] {
    [0x1d, code << 5, 0, 0, 0, 0]
}

#[test]
fn self_tests_read_what_they_should_and_their_results_are_kept() {
    let mut rig = Rig::new();
    rig.run(&self_test(0b101), Data::None).good(&[
        "read 0+1 scratch",
        "read 32+1 scratch",
        "read 63+1 scratch",
        "flush",
    ]);
    rig.run(&self_test(0b110), Data::None)
        .good(&["read 0+64 scratch", "flush"]);
    let error = IoError::new(IoErrorKind::Medium, IoOpKind::Read).at(block::Lba(7));
    rig.fail_next(error);
    let run = rig.run(&self_test(0b110), Data::None);
    run.check(Sense::LOGICAL_UNIT_FAILED_SELF_TEST);
    let results = page(&mut rig, 0x10);
    assert_eq!(results.len(), 400);
    let failed = [0xc7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 3, 0x11, 0, 0];
    assert_eq!(results[..20], [&[0, 1, 0x23, 16][..], &failed].concat());
    let ones = [0xff; 8];
    let passed = |code: u8| [&[code << 5, 0, 0, 0][..], &ones, &[0; 4]].concat();
    assert_eq!(results[24..40], passed(0b110));
    assert_eq!(results[44..60], passed(0b101));
    assert_eq!(results[60..80], [&[0, 4, 0x23, 16][..], &[0; 16]].concat());
    // More than are kept, and what is no failure of the unit.
    for _ in 0..30 {
        rig.run(&self_test(0b101), Data::None);
    }
    rig.fail_next(IoError::new(IoErrorKind::Gone, IoOpKind::Read));
    let run = rig.run(&self_test(0b101), Data::None);
    run.check(Sense::NOT_READY);
    let results = page(&mut rig, 0x10);
    assert_eq!(results.len(), 400);
    assert_eq!(results[384..400], passed(0b101));
}

#[test]
fn self_test_in_the_background_or_with_more_is_refused() {
    let mut rig = Rig::new();
    for code in [0b001, 0b010, 0b011, 0b100, 0b111] {
        rig.run(&self_test(code), Data::None)
            .refused(Sense::cdb_bit(1, 7));
    }
    rig.run(&[0x1d, 0xa4, 0, 0, 0, 0], Data::None)
        .refused(Sense::cdb_bit(1, 2));
    rig.run(&[0x1d, 0xb0, 0, 0, 4, 0], Data::Out(&[0; 4]))
        .refused(Sense::cdb_byte(3));
}

#[test]
fn provisioning_page_is_there_once_it_is_known_what_a_thin_unit_uses() {
    let mut rig = Rig::new();
    rig.run(&sense(0x0c, 0, 0), Data::In(256))
        .refused(Sense::cdb_bit(2, 5));
    let usage = Usage {
        used_bytes: (5 << 20) + 1,
        available_bytes: Some(7 << 20),
    };
    rig.home.snapshot().statistics.note_usage(usage);
    let parameter = |code, sets, scope| [0, code, 0x23, 8, 0, 0, 0, sets, scope, 0, 0, 0];
    let wanted = [parameter(1, 7, 2), parameter(2, 6, 1)].concat();
    assert_eq!(page(&mut rig, 0x0c), wanted);
    assert!(page(&mut rig, 0x00).contains(&0x0c));
    // A set has 1 MiB.
    let b2 = rig.run(&[0x12, 1, 0xb2, 0, 64, 0], Data::In(64)).data_in;
    assert_eq!(512 << b2[4], 1 << 20);
    let mut thick = crate::rig::caps(512, 64);
    thick.unmap = false;
    let mut rig = Rig::with(thick);
    rig.home.snapshot().statistics.note_usage(usage);
    assert!(!page(&mut rig, 0x00).contains(&0x0c));
}

#[test]
fn temperature_is_not_measured_and_no_background_scan_is_made() {
    let mut rig = Rig::new();
    let wanted = [0, 0, 0x23, 2, 0, 0xff, 0, 1, 0x23, 2, 0, 0xff];
    assert_eq!(page(&mut rig, 0x0d), wanted);
    rig.pass(Duration::from_secs(121));
    let status = [0, 0, 0x23, 12, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(page(&mut rig, 0x15), status);
}
