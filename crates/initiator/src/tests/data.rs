//! Commands and their data: Data-Out as it is planned, and the rules a target's Data-In and R2T are held to.

use iscsi_wire::{
    DataIn, DataOut, InitiatorPdu, Lun64, ReadyToTransfer, ResponseCode, ScsiResponse, TargetPdu,
    Ttt,
};

use super::*;
use crate::{Request, Residual};

pub(super) const LUN: Lun64 = Lun64(0);
pub(super) const WRITE: [u8; 10] = [0x2a, 0, 0, 0, 0, 0, 0, 0, 0, 0];
pub(super) const READ: [u8; 10] = [0x28, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A session without unsolicited data, with segments of 1024 and bursts of 4096 bytes.
fn solicited() -> Initiator {
    logged_in(
        normal().with_key("InitialR2T", "Yes"),
        &["InitialR2T=Yes", "ImmediateData=No"],
    )
}

pub(super) fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|at| u8::try_from(at % 251).expect("below 251"))
        .collect()
}

/// TTT, DataSN, offset, bytes and F of a Data-Out.
pub(super) type Shape = (Ttt, u32, u32, u32, bool);

/// The Data-Out PDUs in the output, and their payload.
pub(super) fn data_out(initiator: &mut Initiator) -> (Vec<Shape>, Vec<u8>) {
    let mut shapes = Vec::new();
    let mut payload = Vec::new();
    for (pdu, data) in sent(initiator) {
        let InitiatorPdu::DataOut(DataOut {
            ttt,
            data_sn,
            buffer_offset,
            r#final,
            ..
        }) = pdu
        else {
            continue;
        };
        shapes.push((ttt, data_sn, buffer_offset, length(&data), r#final));
        payload.extend(data);
    }
    (shapes, payload)
}

pub(super) fn r2t(
    initiator: &Initiator,
    itt: Itt,
    r2t_sn: u32,
    offset: u32,
    bytes: u32,
) -> ReadyToTransfer {
    ReadyToTransfer {
        itt,
        ttt: Ttt(0x100 + r2t_sn),
        stat_sn: initiator.exp_stat_sn,
        exp_cmd_sn: initiator.numbers.cmd_sn,
        max_cmd_sn: SerialNumber(32),
        r2t_sn,
        buffer_offset: offset,
        desired_data_transfer_length: bytes,
        ..ReadyToTransfer::default()
    }
}

pub(super) fn data_in(
    initiator: &Initiator,
    itt: Itt,
    data_sn: u32,
    offset: u32,
    bytes: u32,
) -> DataIn {
    DataIn {
        data_segment_length: bytes,
        itt,
        ttt: Ttt::RESERVED,
        stat_sn: initiator.exp_stat_sn,
        exp_cmd_sn: initiator.numbers.cmd_sn,
        max_cmd_sn: SerialNumber(32),
        data_sn,
        buffer_offset: offset,
        ..DataIn::default()
    }
}

pub(super) fn response(initiator: &Initiator, itt: Itt, exp_data_sn: u32) -> ScsiResponse {
    ScsiResponse {
        itt,
        stat_sn: initiator.exp_stat_sn,
        exp_cmd_sn: initiator.numbers.cmd_sn,
        max_cmd_sn: SerialNumber(32),
        exp_data_sn,
        ..ScsiResponse::default()
    }
}

/// The target sends a Data-In with bytes of the pattern.
pub(super) fn receive_data(initiator: &mut Initiator, pdu: DataIn) -> Vec<Event> {
    let (start, bytes) = (pdu.buffer_offset as usize, pdu.data_segment_length as usize);
    let data = pattern(start + bytes).split_off(start);
    receive(initiator, TargetPdu::DataIn(pdu), &data)
}

#[test]
fn write_sends_immediate_then_unsolicited_then_solicited_data() {
    let mut initiator = logged_in(normal(), &[]);
    let data = pattern(7000);
    let itt = initiator.command(LUN, &WRITE, data.clone(), 0);
    let pdus = sent(&mut initiator);
    let (InitiatorPdu::ScsiCommand(command), immediate) = &pdus[0] else {
        panic!("{pdus:?}")
    };
    assert_eq!(
        (command.r#final, command.expected_data_transfer_length),
        (false, 7000)
    );
    assert_eq!(*immediate, data[..1024]);
    let (InitiatorPdu::DataOut(unsolicited), rest) = &pdus[1] else {
        panic!("{pdus:?}")
    };
    assert_eq!(
        (unsolicited.ttt, unsolicited.r#final),
        (Ttt::RESERVED, true)
    );
    assert_eq!(
        (unsolicited.buffer_offset, &rest[..]),
        (1024, &data[1024..2048])
    );
    assert_eq!(pdus.len(), 2);

    let asked = r2t(&initiator, itt, 0, 2048, 4096);
    assert_eq!(
        receive(&mut initiator, TargetPdu::ReadyToTransfer(asked), &[]),
        []
    );
    let (shapes, payload) = data_out(&mut initiator);
    let ttt = Ttt(0x100);
    let expected = [
        (ttt, 0, 2048, 1024, false),
        (ttt, 1, 3072, 1024, false),
        (ttt, 2, 4096, 1024, false),
        (ttt, 3, 5120, 1024, true),
    ];
    assert_eq!(
        (shapes.as_slice(), &payload[..]),
        (&expected[..], &data[2048..6144])
    );
    let asked = r2t(&initiator, itt, 1, 6144, 856);
    assert_eq!(
        receive(&mut initiator, TargetPdu::ReadyToTransfer(asked), &[]),
        []
    );
    assert_eq!(
        data_out(&mut initiator).0,
        [(Ttt(0x101), 0, 6144, 856, true)]
    );

    let done = response(&initiator, itt, 0);
    let events = receive(&mut initiator, TargetPdu::ScsiResponse(done), &[]);
    let [Event::CommandDone(done)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(
        (done.itt, done.status, done.residual),
        (itt, 0, Residual::None)
    );
    assert_eq!(initiator.outstanding().count(), 0);
}

// ImmediateData, InitialR2T: bytes in the command PDU, unsolicited bytes, F of the command.
#[test]
fn write_first_burst_follows_immediate_data_and_initial_r2t() {
    let table = [
        (["ImmediateData=Yes", "InitialR2T=Yes"], (1024, 0, true)),
        (["ImmediateData=No", "InitialR2T=Yes"], (0, 0, true)),
        (["ImmediateData=Yes", "InitialR2T=No"], (1024, 1024, false)),
        (["ImmediateData=No", "InitialR2T=No"], (0, 2048, false)),
    ];
    for (keys, expected) in table {
        let mut initiator = logged_in(normal(), &keys);
        initiator.command(LUN, &WRITE, pattern(5000), 0);
        let pdus = sent(&mut initiator);
        let InitiatorPdu::ScsiCommand(command) = pdus[0].0 else {
            panic!("{pdus:?}")
        };
        let unsolicited: usize = pdus[1..].iter().map(|(_, data)| data.len()).sum();
        let immediate = command.data_segment_length;
        let found = (
            immediate,
            u32::try_from(unsolicited).expect("short"),
            command.r#final,
        );
        assert_eq!(found, expected, "{keys:?}");
    }
}

#[test]
fn read_collects_data_and_takes_status_from_the_last_data_in() {
    let mut initiator = logged_in(normal(), &[]);
    let itt = initiator.command(LUN, &READ, Vec::new(), 6000);
    let pdus = sent(&mut initiator);
    let InitiatorPdu::ScsiCommand(command) = pdus[0].0 else {
        panic!("{pdus:?}")
    };
    assert!(command.read && command.r#final && !command.write);
    assert_eq!(command.expected_data_transfer_length, 6000);
    let mut first = data_in(&initiator, itt, 0, 0, 4096);
    first.r#final = true;
    assert_eq!(receive_data(&mut initiator, first), []);
    let mut last = data_in(&initiator, itt, 1, 4096, 1000);
    (last.r#final, last.status_present) = (true, true);
    (last.underflow, last.residual_count) = (true, 904);
    let events = receive_data(&mut initiator, last);
    let [Event::CommandDone(done)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((done.status, done.residual), (0, Residual::Underflow(904)));
    assert_eq!(done.data, pattern(5096));
}

#[test]
fn read_that_fails_gives_sense_without_its_length() {
    let mut initiator = logged_in(normal(), &[]);
    let itt = initiator.command(LUN, &READ, Vec::new(), 512);
    let sense = [0, 4, 0x72, 5, 0x24, 0];
    let mut done = response(&initiator, itt, 0);
    (done.status, done.data_segment_length) = (2, 6);
    (done.underflow, done.residual_count) = (true, 512);
    let events = receive(&mut initiator, TargetPdu::ScsiResponse(done), &sense);
    let [Event::CommandDone(done)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((done.status, &done.sense[..]), (2, &sense[2..]));
}

#[test]
fn bidirectional_command_names_both_lengths_and_shares_the_numbering() {
    let mut initiator = solicited();
    let itt = initiator.command(LUN, &[0x53; 10], pattern(600), 512);
    let bytes = initiator.take_output();
    assert_eq!(bytes[1] & 0xe0, 0xe0, "F, R and W");
    assert_eq!(bytes[48..56], [0, 5, 2, 0, 0, 0, 2, 0]);
    let asked = r2t(&initiator, itt, 0, 0, 600);
    assert_eq!(
        receive(&mut initiator, TargetPdu::ReadyToTransfer(asked), &[]),
        []
    );
    let mut data = data_in(&initiator, itt, 1, 0, 512);
    data.r#final = true;
    assert_eq!(receive_data(&mut initiator, data), []);
    let done = response(&initiator, itt, 1);
    let events = receive(&mut initiator, TargetPdu::ScsiResponse(done), &[]);
    let [Event::CommandDone(done)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(
        (done.residual, done.read_residual),
        (Residual::None, Residual::None)
    );
    assert_eq!(done.data, pattern(512));
}

#[test]
fn r2ts_not_answered_automatically_are_told_and_answered_later() {
    let config = normal().with_key("InitialR2T", "Yes");
    let config = Config {
        answer_r2ts: false,
        ..config
    };
    let mut initiator = logged_in(config, &["InitialR2T=Yes", "ImmediateData=No"]);
    let itt = initiator.command(LUN, &WRITE, pattern(3000), 0);
    let _ = initiator.take_output();
    let first = r2t(&initiator, itt, 0, 0, 1000);
    let events = receive(&mut initiator, TargetPdu::ReadyToTransfer(first), &[]);
    assert_eq!(events, [Event::R2t(first)]);
    assert!(initiator.take_output().is_empty());
    let second = r2t(&initiator, itt, 1, 1000, 1000);
    let events = receive(&mut initiator, TargetPdu::ReadyToTransfer(second), &[]);
    let rule = "R2T passes MaxOutstandingR2T";
    assert_eq!(violations(&events), [&Violation::Data { itt, rule }]);
    initiator.answer_r2t(&first);
    assert_eq!(data_out(&mut initiator).0, [(Ttt(0x100), 0, 0, 1000, true)]);
}

/// R2T faults: R2TSN, offset, bytes, and what is broken.
#[test]
fn r2t_against_the_rules_is_a_violation() {
    let data = |rule| Violation::Data { itt: Itt(2), rule };
    let table = [
        (
            1,
            0,
            4096,
            Violation::DataSn {
                itt: Itt(2),
                expected: 0,
                found: 1,
            },
        ),
        (0, 0, 4097, data("R2T passes MaxBurstLength")),
        (0, 512, 512, data("R2T is out of order")),
        (0, 8000, 512, data("R2T passes what was expected")),
        (0, u32::MAX, 512, data("R2T passes what was expected")),
    ];
    for (r2t_sn, offset, bytes, violation) in table {
        let mut initiator = solicited();
        let itt = initiator.command(LUN, &WRITE, pattern(8192), 0);
        assert_eq!(itt, Itt(2));
        let asked = r2t(&initiator, itt, r2t_sn, offset, bytes);
        let events = receive(&mut initiator, TargetPdu::ReadyToTransfer(asked), &[]);
        assert_eq!(violations(&events), [&violation]);
    }
}

#[test]
fn data_in_against_the_rules_is_a_violation() {
    type Fault = fn(&mut DataIn);
    let itt = Itt(2);
    let data = |rule| Violation::Data { itt, rule };
    let table: [(Fault, Violation); 7] = [
        (
            |d| d.data_sn = 1,
            Violation::DataSn {
                itt,
                expected: 0,
                found: 1,
            },
        ),
        (|d| d.buffer_offset = 512, data("Data-In is out of order")),
        (
            |d| d.buffer_offset = 8000,
            data("Data-In passes what was expected"),
        ),
        (
            |d| d.data_segment_length = 4097,
            data("Data-In sequence passes MaxBurstLength"),
        ),
        (|d| d.acknowledge = true, data("Data-In asks for a DataACK")),
        (
            |d| d.data_segment_length = 0,
            data("Data-In has neither data nor status"),
        ),
        (
            |d| (d.status_present, d.r#final, d.status) = (true, true, 2),
            data("CHECK CONDITION in a Data-In"),
        ),
    ];
    for (fault, violation) in table {
        let mut initiator = logged_in(normal(), &[]);
        initiator.command(LUN, &READ, Vec::new(), 8192);
        let mut pdu = data_in(&initiator, itt, 0, 0, 1024);
        fault(&mut pdu);
        let events = receive_data(&mut initiator, pdu);
        assert_eq!(violations(&events), [&violation]);
    }
}

#[test]
fn data_in_out_of_order_is_legal_where_neither_order_was_kept() {
    let config = normal()
        .with_key("DataPDUInOrder", "No")
        .with_key("DataSequenceInOrder", "No");
    let mut initiator = logged_in(config, &["DataPDUInOrder=No", "DataSequenceInOrder=No"]);
    let itt = initiator.command(LUN, &READ, Vec::new(), 2048);
    let late = data_in(&initiator, itt, 0, 1024, 1024);
    assert_eq!(receive_data(&mut initiator, late), []);
    let mut early = data_in(&initiator, itt, 1, 0, 1024);
    (early.r#final, early.status_present) = (true, true);
    let events = receive_data(&mut initiator, early);
    let [Event::CommandDone(done)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(done.data, pattern(2048));
}

/// Bytes sent, the response's residual, and whether a GOOD command may end so.
#[test]
fn read_residual_must_fit_what_moved() {
    let table = [
        (1024, Residual::None, true),
        (512, Residual::None, false),
        (512, Residual::Underflow(512), true),
        (512, Residual::Underflow(511), false),
        (0, Residual::Underflow(1024), true),
        (0, Residual::Underflow(1025), false),
        (1024, Residual::Underflow(0), false),
        (1024, Residual::Overflow(1), true),
        (1024, Residual::Overflow(0), false),
        (512, Residual::Overflow(512), false),
    ];
    for (moved, told, fits) in table {
        let mut initiator = logged_in(normal(), &[]);
        let itt = initiator.command(LUN, &READ, Vec::new(), 1024);
        if moved > 0 {
            let mut pdu = data_in(&initiator, itt, 0, 0, moved);
            pdu.r#final = true;
            assert_eq!(receive_data(&mut initiator, pdu), []);
        }
        let mut done = response(&initiator, itt, u32::from(moved > 0));
        match told {
            Residual::None => {}
            Residual::Underflow(n) => (done.underflow, done.residual_count) = (true, n),
            Residual::Overflow(n) => (done.overflow, done.residual_count) = (true, n),
        }
        let events = receive(&mut initiator, TargetPdu::ScsiResponse(done), &[]);
        let violation = Violation::Residual {
            itt,
            expected: 1024,
            moved,
            told,
        };
        let expected: &[&Violation] = if fits { &[] } else { &[&violation] };
        assert_eq!(violations(&events), expected, "{moved} {told:?}");
    }
}

#[test]
fn write_that_ends_good_before_its_data_was_asked_for_is_a_violation() {
    let mut initiator = solicited();
    let itt = initiator.command(LUN, &WRITE, pattern(1024), 0);
    let done = response(&initiator, itt, 0);
    let events = receive(&mut initiator, TargetPdu::ScsiResponse(done), &[]);
    let violation = Violation::Residual {
        itt,
        expected: 1024,
        moved: 0,
        told: Residual::None,
    };
    assert_eq!(violations(&events), [&violation]);
}

#[test]
fn write_announcing_more_than_its_buffer_sends_zeroes() {
    let mut initiator = solicited();
    let request = Request {
        cdb: WRITE.to_vec(),
        data_out: vec![0xee; 100],
        expected_data_transfer_length: Some(512),
        ..Request::default()
    };
    let itt = initiator.submit(request);
    let asked = r2t(&initiator, itt, 0, 0, 512);
    assert_eq!(
        receive(&mut initiator, TargetPdu::ReadyToTransfer(asked), &[]),
        []
    );
    let (_, payload) = data_out(&mut initiator);
    assert_eq!(
        (&payload[..100], &payload[100..]),
        (&[0xee; 100][..], &[0; 412][..])
    );
}

#[test]
fn response_counts_and_sense_that_do_not_fit_are_violations() {
    let mut initiator = logged_in(normal(), &[]);
    let itt = initiator.command(LUN, &[0; 6], Vec::new(), 0);
    let done = response(&initiator, itt, 1);
    let events = receive(&mut initiator, TargetPdu::ScsiResponse(done), &[]);
    let rule = "ExpDataSN is not the count";
    assert_eq!(violations(&events), [&Violation::Data { itt, rule }]);

    let itt = initiator.command(LUN, &[0; 6], Vec::new(), 0);
    let mut done = response(&initiator, itt, 0);
    (done.status, done.data_segment_length) = (2, 3);
    let events = receive(
        &mut initiator,
        TargetPdu::ScsiResponse(done),
        &[0, 18, 0x70],
    );
    let rule = "sense data is shorter than its length";
    assert_eq!(violations(&events), [&Violation::Data { itt, rule }]);
    assert!(
        matches!(&events[1], Event::CommandDone(done) if done.sense == [0x70]),
        "{events:?}"
    );
}

#[test]
fn response_of_a_failed_target_has_no_data_count() {
    let mut initiator = logged_in(normal(), &[]);
    let itt = initiator.command(LUN, &READ, Vec::new(), 512);
    let mut done = response(&initiator, itt, 0);
    done.response = ResponseCode::TargetFailure;
    let events = receive(&mut initiator, TargetPdu::ScsiResponse(done), &[]);
    assert!(
        matches!(&events[..], [Event::CommandDone(done)] if done.response == 1),
        "{events:?}"
    );
}

#[test]
fn stream_cut_at_every_byte_tells_the_same_events() {
    let config = normal()
        .with_key("HeaderDigest", "CRC32C")
        .with_key("DataDigest", "CRC32C");
    let mut whole = logged_in(config, &["HeaderDigest=CRC32C", "DataDigest=CRC32C"]);
    let itt = whole.command(LUN, &READ, Vec::new(), 1001);
    let mut bytes = Vec::new();
    let mut pdu = data_in(&whole, itt, 0, 0, 501);
    bytes.extend(encode(&whole, TargetPdu::DataIn(pdu), &pattern(501)));
    pdu = data_in(&whole, itt, 1, 501, 500);
    (pdu.r#final, pdu.status_present) = (true, true);
    bytes.extend(encode(
        &whole,
        TargetPdu::DataIn(pdu),
        &pattern(1001)[501..],
    ));
    let mut cut = whole.clone();
    let expected = whole.handle_bytes(&bytes);
    assert!(matches!(&expected[..], [Event::CommandDone(done)] if done.data == pattern(1001)));
    let events: Vec<_> = bytes
        .iter()
        .flat_map(|byte| cut.handle_bytes(&[*byte]))
        .collect();
    assert_eq!(events, expected);
}

#[test]
fn wrong_digests_end_the_connection() {
    let config = normal()
        .with_key("HeaderDigest", "CRC32C")
        .with_key("DataDigest", "CRC32C");
    let fresh = logged_in(config, &["HeaderDigest=CRC32C", "DataDigest=CRC32C"]);
    let table = [(50, Violation::HeaderDigest), (3, Violation::HeaderDigest)];
    let table = table
        .into_iter()
        .chain([(60, Violation::DataDigest), (55, Violation::DataDigest)]);
    for (flipped, violation) in table {
        let mut initiator = fresh.clone();
        let itt = initiator.command(LUN, &READ, Vec::new(), 6);
        let pdu = data_in(&initiator, itt, 0, 0, 6);
        let mut bytes = encode(&initiator, TargetPdu::DataIn(pdu), &pattern(6));
        bytes[flipped] ^= 0x10;
        let events = initiator.handle_bytes(&bytes);
        assert_eq!(events, [Event::Violation(violation)], "{flipped}");
        assert!(initiator.is_closed());
    }
}
