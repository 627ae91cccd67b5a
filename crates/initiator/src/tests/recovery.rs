//! ErrorRecoveryLevel 1 from the initiator's side: what is lost is noticed, asked for, and taken once.

use std::time::Duration;

use iscsi_wire::{
    DataIn, NopIn, ReadyToTransfer, Reject, RejectReason, ScsiResponse, SnackRequest, SnackType,
    TargetPdu, TextResponse, Ttt,
};

use super::data::{LUN, READ, WRITE, data_in, data_out, pattern, r2t, receive_data, response};
use super::*;
use crate::Delivery;

const PATIENCE: Duration = Duration::from_secs(1);

/// A session at level 1 with digests, segments of 1024 and bursts of 4096 bytes.
fn recovering() -> Initiator {
    recovering_with(normal(), &[])
}

fn recovering_with(config: Config, other: &[&'static str]) -> Initiator {
    let config = config
        .with_key("ErrorRecoveryLevel", "1")
        .with_key("HeaderDigest", "CRC32C")
        .with_key("DataDigest", "CRC32C");
    let mut keys = vec![
        "ErrorRecoveryLevel=1",
        "HeaderDigest=CRC32C",
        "DataDigest=CRC32C",
    ];
    keys.extend(other);
    logged_in(config, &keys)
}

/// The SNACKs in the output: type, ITT, BegRun and RunLength.
fn snacks(initiator: &mut Initiator) -> Vec<(SnackType, Itt, u32, u32)> {
    let pdus = sent(initiator).into_iter();
    pdus.filter_map(|(pdu, _)| match pdu {
        InitiatorPdu::SnackRequest(SnackRequest {
            r#type,
            itt,
            beg_run,
            run_length,
            ..
        }) => Some((r#type, itt, beg_run, run_length)),
        _ => None,
    })
    .collect()
}

fn start_read(initiator: &mut Initiator, bytes: u32) -> Itt {
    let itt = initiator.command(LUN, &READ, Vec::new(), bytes);
    assert_eq!(sent(initiator).len(), 1);
    itt
}

/// The Data-In PDU of 1024 bytes with this number, F in each fourth.
fn segment(initiator: &Initiator, itt: Itt, data_sn: u32) -> DataIn {
    let mut pdu = data_in(initiator, itt, data_sn, data_sn * 1024, 1024);
    pdu.r#final = data_sn % 4 == 3;
    pdu
}

fn done(events: &[Event]) -> &crate::CommandDone {
    let [Event::CommandDone(done)] = events else {
        panic!("{events:?}")
    };
    done
}

/// The status of a read of 4096 bytes.
fn status(initiator: &Initiator, itt: Itt) -> ScsiResponse {
    response(initiator, itt, 4)
}

#[test]
fn data_in_with_a_gap_is_asked_for_and_the_status_waits_unacknowledged() {
    let mut initiator = recovering();
    let itt = start_read(&mut initiator, 4096);
    for data_sn in [0, 3] {
        let pdu = segment(&initiator, itt, data_sn);
        assert_eq!(receive_data(&mut initiator, pdu), []);
    }
    assert_eq!(snacks(&mut initiator), [(SnackType::DataOrR2t, itt, 1, 2)]);
    let before = initiator.exp_stat_sn();
    let status = status(&initiator, itt);
    assert_eq!(
        receive(&mut initiator, TargetPdu::ScsiResponse(status), &[]),
        []
    );
    assert_eq!(initiator.exp_stat_sn(), before, "RFC 7143 §7.9");
    for data_sn in [1, 2] {
        let pdu = segment(&initiator, itt, data_sn);
        let events = receive_data(&mut initiator, pdu);
        assert_eq!(events.len(), usize::from(data_sn == 2), "{events:?}");
        if data_sn == 2 {
            assert_eq!(
                (done(&events).status, &done(&events).data),
                (0, &pattern(4096))
            );
        }
    }
    assert_eq!(initiator.exp_stat_sn(), before.next());
    assert_eq!(snacks(&mut initiator), [], "nothing is asked for twice");
}

#[test]
fn gap_that_is_not_filled_is_asked_for_again_after_the_patience() {
    let mut initiator = recovering();
    let itt = start_read(&mut initiator, 4096);
    let pdu = segment(&initiator, itt, 1);
    receive_data(&mut initiator, pdu);
    let asked = [(SnackType::DataOrR2t, itt, 0, 1)];
    assert_eq!(snacks(&mut initiator), asked);
    initiator.handle_time(PATIENCE / 2);
    assert_eq!(snacks(&mut initiator), []);
    initiator.handle_time(PATIENCE);
    assert_eq!(snacks(&mut initiator), asked);
}

#[test]
fn response_with_exp_data_sn_implies_the_data_that_is_missing() {
    let mut initiator = recovering();
    let itt = start_read(&mut initiator, 4096);
    let pdu = segment(&initiator, itt, 0);
    receive_data(&mut initiator, pdu);
    let status = status(&initiator, itt);
    receive(&mut initiator, TargetPdu::ScsiResponse(status), &[]);
    assert_eq!(snacks(&mut initiator), [(SnackType::DataOrR2t, itt, 1, 3)]);
}

#[test]
fn data_in_with_a_wrong_data_digest_is_discarded_and_asked_for_with_its_status() {
    let mut initiator = recovering();
    let itt = start_read(&mut initiator, 1024);
    let mut pdu = segment(&initiator, itt, 0);
    (pdu.r#final, pdu.status_present) = (true, true);
    let mut bytes = encode(&initiator, TargetPdu::DataIn(pdu), &pattern(1024));
    bytes[60] ^= 1;
    assert_eq!(initiator.handle_bytes(&bytes), []);
    assert_eq!(snacks(&mut initiator), [(SnackType::DataOrR2t, itt, 0, 1)]);
    let events = receive_data(&mut initiator, pdu);
    assert_eq!(done(&events).data, pattern(1024));
    assert_eq!(initiator.repairs().bad_data, 1);
}

#[test]
fn response_with_a_wrong_data_digest_is_asked_for_by_its_stat_sn() {
    let mut initiator = recovering();
    let itt = start_read(&mut initiator, 512);
    let mut failed = response(&initiator, itt, 0);
    (failed.status, failed.data_segment_length) = (2, 6);
    (failed.underflow, failed.residual_count) = (true, 512);
    let sense = [0, 4, 0x72, 5, 0x24, 0];
    let mut bytes = encode(&initiator, TargetPdu::ScsiResponse(failed), &sense);
    bytes[53] ^= 1;
    assert_eq!(initiator.handle_bytes(&bytes), []);
    let stat_sn = failed.stat_sn.0;
    assert_eq!(
        snacks(&mut initiator),
        [(SnackType::Status, Itt::RESERVED, stat_sn, 1)]
    );
    let events = receive(&mut initiator, TargetPdu::ScsiResponse(failed), &sense);
    assert_eq!(done(&events).status, 2);
}

#[test]
fn pdu_with_a_wrong_header_digest_is_passed_over_where_the_next_header_is_right() {
    let mut initiator = recovering();
    let itt = start_read(&mut initiator, 4096);
    let lost = segment(&initiator, itt, 0);
    let mut bytes = encode(&initiator, TargetPdu::DataIn(lost), &pattern(1024));
    bytes[40] ^= 1;
    let next = segment(&initiator, itt, 1);
    let data = pattern(2048).split_off(1024);
    bytes.extend(encode(&initiator, TargetPdu::DataIn(next), &data));
    // In two pieces: the next header is awaited.
    assert_eq!(initiator.handle_bytes(&bytes[..1100]), []);
    assert_eq!(initiator.handle_bytes(&bytes[1100..]), []);
    assert!(initiator.is_full_feature());
    assert_eq!(snacks(&mut initiator), [(SnackType::DataOrR2t, itt, 0, 1)]);
    assert_eq!(initiator.repairs().bad_headers, 1);
}

#[test]
fn wrong_header_digest_with_nothing_after_it_is_resolved_by_a_ping() {
    let mut initiator = recovering();
    let itt = start_read(&mut initiator, 512);
    let failed = response(&initiator, itt, 0);
    let mut bytes = encode(&initiator, TargetPdu::ScsiResponse(failed), &[]);
    bytes[3] ^= 1;
    assert_eq!(initiator.handle_bytes(&bytes), []);
    let pdus = sent(&mut initiator);
    let [(InitiatorPdu::NopOut(ping), data)] = &pdus[..] else {
        panic!("{pdus:?}")
    };
    assert!(ping.immediate);
    let pong = NopIn {
        data_segment_length: length(data),
        itt: ping.itt,
        ttt: Ttt::RESERVED,
        stat_sn: failed.stat_sn.next(),
        exp_cmd_sn: failed.exp_cmd_sn,
        max_cmd_sn: failed.max_cmd_sn,
        ..NopIn::default()
    };
    assert_eq!(receive(&mut initiator, TargetPdu::NopIn(pong), data), []);
    let stat_sn = failed.stat_sn.0;
    assert_eq!(
        snacks(&mut initiator),
        [(SnackType::Status, Itt::RESERVED, stat_sn, 1)]
    );
}

#[test]
fn wrong_header_digest_whose_length_leads_nowhere_ends_the_connection() {
    let mut initiator = recovering();
    let itt = start_read(&mut initiator, 4096);
    let lost = segment(&initiator, itt, 0);
    let mut bytes = encode(&initiator, TargetPdu::DataIn(lost), &pattern(1024));
    bytes[6] ^= 1;
    bytes.extend(bytes.clone());
    let events = initiator.handle_bytes(&bytes);
    assert_eq!(violations(&events), [&Violation::HeaderDigest]);
    assert!(initiator.is_closed());
}

#[test]
fn statuses_after_a_gap_are_told_in_order_once_it_is_filled() {
    let mut initiator = recovering();
    let writes: Vec<Itt> = (0..3)
        .map(|_| initiator.command(LUN, &[0; 6], Vec::new(), 0))
        .collect();
    sent(&mut initiator);
    let first = initiator.exp_stat_sn();
    let mut responses: Vec<_> = (0..3)
        .map(|n| {
            let mut done = response(&initiator, writes[n as usize], 0);
            done.stat_sn = first.add(n);
            done
        })
        .collect();
    let missing = responses.remove(0);
    for late in responses {
        assert_eq!(
            receive(&mut initiator, TargetPdu::ScsiResponse(late), &[]),
            []
        );
    }
    assert_eq!(
        snacks(&mut initiator),
        [(SnackType::Status, Itt::RESERVED, first.0, 1)]
    );
    let events = receive(&mut initiator, TargetPdu::ScsiResponse(missing), &[]);
    let told: Vec<Itt> = events
        .iter()
        .map(|event| match event {
            Event::CommandDone(done) => done.itt,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, writes);
    assert_eq!(initiator.exp_stat_sn(), first.add(3));
}

#[test]
fn pdus_that_come_twice_are_taken_once() {
    let mut initiator = recovering();
    let itt = start_read(&mut initiator, 4096);
    for data_sn in [0, 0, 1, 2, 1, 3] {
        let pdu = segment(&initiator, itt, data_sn);
        assert_eq!(receive_data(&mut initiator, pdu), []);
    }
    let status = status(&initiator, itt);
    let events = receive(&mut initiator, TargetPdu::ScsiResponse(status), &[]);
    assert_eq!(done(&events).data, pattern(4096));
    let again = receive(&mut initiator, TargetPdu::ScsiResponse(status), &[]);
    assert_eq!(again, []);
    let late = segment(&initiator, itt, 2);
    assert_eq!(receive_data(&mut initiator, late), []);
    assert_eq!(initiator.repairs().duplicates, 4);
}

#[test]
fn data_in_sent_again_otherwise_is_a_violation() {
    let rules = [
        (1024, 1023, "Data-In sent again is not a replica"),
        (1024, 1024, "Data-In sent again has other data"),
    ];
    for (offset, bytes, rule) in rules {
        let mut initiator = recovering();
        let itt = start_read(&mut initiator, 4096);
        let pdu = segment(&initiator, itt, 1);
        receive_data(&mut initiator, pdu);
        let other = data_in(&initiator, itt, 1, offset, bytes);
        let data = vec![0xff; bytes as usize];
        let events = receive(&mut initiator, TargetPdu::DataIn(other), &data);
        assert_eq!(violations(&events), [&Violation::Data { itt, rule }]);
    }
}

#[test]
fn data_in_with_the_a_bit_is_acknowledged_once_there_is_no_hole_before_it() {
    let mut initiator = recovering();
    let itt = start_read(&mut initiator, 8192);
    for data_sn in [0, 1, 3] {
        let mut pdu = segment(&initiator, itt, data_sn);
        if data_sn == 3 {
            (pdu.acknowledge, pdu.ttt, pdu.lun) = (true, Ttt(77), iscsi_wire::Lun64(5));
        }
        assert_eq!(receive_data(&mut initiator, pdu), []);
    }
    assert_eq!(
        snacks(&mut initiator),
        [(SnackType::DataOrR2t, itt, 2, 1)],
        "postponed: RFC 7143 §11.16.2"
    );
    let pdu = segment(&initiator, itt, 2);
    receive_data(&mut initiator, pdu);
    let pdus = sent(&mut initiator);
    let [(InitiatorPdu::SnackRequest(ack), _)] = &pdus[..] else {
        panic!("{pdus:?}")
    };
    assert_eq!(
        (
            ack.r#type,
            ack.itt,
            ack.ttt,
            ack.lun,
            ack.beg_run,
            ack.run_length
        ),
        (
            SnackType::DataAck,
            Itt::RESERVED,
            Ttt(77),
            iscsi_wire::Lun64(5),
            4,
            0
        )
    );
}

#[test]
fn data_in_with_the_a_bit_that_comes_twice_is_acknowledged_once() {
    let mut initiator = recovering();
    let itt = start_read(&mut initiator, 8192);
    for (acknowledged, data_sn) in [(1, 0), (0, 0), (1, 1)] {
        let mut pdu = segment(&initiator, itt, data_sn);
        (pdu.acknowledge, pdu.ttt) = (true, Ttt(77 + data_sn));
        receive_data(&mut initiator, pdu);
        assert_eq!(snacks(&mut initiator).len(), acknowledged);
    }
}

#[test]
fn command_without_acknowledgement_is_sent_again_with_number_tag_and_data() {
    let mut initiator = recovering();
    let data = pattern(2048);
    let itt = initiator.command(LUN, &WRITE, data.clone(), 0);
    let first = sent(&mut initiator);
    initiator.command(LUN, &[0; 6], Vec::new(), 0);
    sent(&mut initiator);
    initiator.handle_time(PATIENCE / 2);
    assert_eq!(sent(&mut initiator), []);
    initiator.handle_time(PATIENCE);
    let mut again = sent(&mut initiator);
    // The silent target is pinged too.
    assert!(matches!(again.pop(), Some((InitiatorPdu::NopOut(_), _))));
    assert_eq!(again, first, "only what the target waits for");
    assert_eq!(first.len(), 2, "immediate and unsolicited data");
    assert!(matches!(first[0].0, InitiatorPdu::ScsiCommand(command) if command.itt == itt));
    assert_eq!(initiator.repairs().retries, 1);
}

#[test]
fn command_rejected_for_its_digest_is_sent_again_at_once() {
    let mut initiator = recovering();
    let itt = initiator.command(LUN, &WRITE, pattern(100), 0);
    let first = sent(&mut initiator);
    let rejected = first[0].0.emit();
    let reject = Reject {
        reason: RejectReason::DataDigestError,
        data_segment_length: 48,
        itt: Itt::RESERVED,
        stat_sn: initiator.exp_stat_sn(),
        exp_cmd_sn: SerialNumber(1),
        max_cmd_sn: SerialNumber(32),
        ..Reject::default()
    };
    let events = receive(&mut initiator, TargetPdu::Reject(reject), &rejected.0);
    assert!(matches!(events[..], [Event::Rejected { .. }]), "{events:?}");
    let again = sent(&mut initiator);
    let (InitiatorPdu::ScsiCommand(before), InitiatorPdu::ScsiCommand(after)) =
        (first[0].0, again[0].0)
    else {
        panic!("{again:?}")
    };
    assert_eq!((after.itt, after.cmd_sn), (itt, before.cmd_sn));
    assert_eq!(again[0].1, first[0].1);
}

fn reject_of(initiator: &Initiator, reason: RejectReason) -> Reject {
    Reject {
        reason,
        data_segment_length: 48,
        itt: Itt::RESERVED,
        stat_sn: initiator.exp_stat_sn(),
        exp_cmd_sn: initiator.numbers.cmd_sn,
        max_cmd_sn: SerialNumber(32),
        ..Reject::default()
    }
}

#[test]
fn snack_that_is_rejected_ends_the_command_with_its_own_status_or_a_crc_error() {
    for good in [true, false] {
        let mut initiator = recovering();
        let itt = start_read(&mut initiator, 2048);
        let pdu = segment(&initiator, itt, 1);
        receive_data(&mut initiator, pdu);
        let snack = sent(&mut initiator)[0].0.emit();
        let reject = reject_of(&initiator, RejectReason::SnackReject);
        receive(&mut initiator, TargetPdu::Reject(reject), &snack.0);
        let mut status = response(&initiator, itt, 2);
        let sense = [0, 8, 0x72, 0x0b, 0x11, 0x13, 0, 0, 0, 0];
        let data: &[u8] = if good { &[] } else { &sense };
        (status.status, status.data_segment_length) = (if good { 0 } else { 2 }, length(data));
        let events = receive(&mut initiator, TargetPdu::ScsiResponse(status), data);
        let code = if good { (0x47, 0x05) } else { (0x11, 0x13) };
        let done = done(&events);
        assert_eq!(
            (done.status, done.sense[2], done.sense[3]),
            (2, code.0, code.1)
        );
    }
}

#[test]
fn reject_behind_a_status_that_waits_for_data_is_taken_at_once() {
    let mut initiator = recovering();
    let itt = start_read(&mut initiator, 2048);
    let pdu = segment(&initiator, itt, 1);
    receive_data(&mut initiator, pdu);
    let snack = sent(&mut initiator)[0].0.emit();
    let status = response(&initiator, itt, 2);
    assert_eq!(
        receive(&mut initiator, TargetPdu::ScsiResponse(status), &[]),
        []
    );
    let mut reject = reject_of(&initiator, RejectReason::SnackReject);
    reject.stat_sn = status.stat_sn.next();
    let events = receive(&mut initiator, TargetPdu::Reject(reject), &snack.0);
    let [Event::Rejected { .. }, Event::CommandDone(done)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((done.status, done.sense[2]), (2, 0x47));
    assert_eq!(initiator.exp_stat_sn(), status.stat_sn.add(2));
}

/// The end of the text exchange that declares another MaxRecvDataSegmentLength.
fn declaration_over(initiator: &Initiator, itt: Itt, stat_sn: SerialNumber) -> TextResponse {
    TextResponse {
        r#final: true,
        itt,
        ttt: Ttt::RESERVED,
        stat_sn,
        exp_cmd_sn: initiator.numbers.cmd_sn,
        max_cmd_sn: SerialNumber(32),
        ..TextResponse::default()
    }
}

#[test]
fn data_missed_before_a_new_segment_length_is_asked_for_by_r_data_snack() {
    let mut initiator = recovering();
    let itt = start_read(&mut initiator, 4096);
    let pdu = segment(&initiator, itt, 0);
    receive_data(&mut initiator, pdu);
    let text = initiator.declare_max_recv_data_segment_length(2048);
    sent(&mut initiator);
    // Until the exchange is over, it is not known which SNACK the target would take.
    let pdu = segment(&initiator, itt, 2);
    receive_data(&mut initiator, pdu);
    assert_eq!(sent(&mut initiator), []);
    let over = declaration_over(&initiator, text, initiator.exp_stat_sn());
    receive(&mut initiator, TargetPdu::TextResponse(over), &[]);
    // PDUs of the old numbers may be on their way until the status has come. What is not tagged is not the status of the new ones.
    assert_eq!(sent(&mut initiator), []);
    let mut untagged = response(&initiator, itt, 4);
    assert_eq!(
        receive(&mut initiator, TargetPdu::ScsiResponse(untagged), &[]),
        []
    );
    let pdus = sent(&mut initiator);
    let [(InitiatorPdu::SnackRequest(snack), _)] = &pdus[..] else {
        panic!("{pdus:?}")
    };
    assert_eq!(
        (snack.r#type, snack.itt, snack.beg_run, snack.run_length),
        (SnackType::RData, itt, 0, 0)
    );
    assert!(snack.ttt != Ttt(0) && snack.ttt != Ttt::RESERVED);
    // The data comes in new segments, from 0.
    for data_sn in [0, 1] {
        let mut pdu = data_in(&initiator, itt, data_sn, data_sn * 2048, 2048);
        pdu.r#final = data_sn == 1;
        assert_eq!(receive_data(&mut initiator, pdu), []);
    }
    untagged.snack_tag = snack.ttt.0;
    let events = receive(&mut initiator, TargetPdu::ScsiResponse(untagged), &[]);
    assert_eq!(done(&events).data, pattern(4096));
}

/// The answer to the declaration comes behind the status, which waits for the data: it must not wait for that in its turn.
#[test]
fn new_segment_length_holds_when_its_answer_has_come_behind_a_status_that_waits() {
    let mut initiator = recovering();
    let itt = start_read(&mut initiator, 4096);
    let pdu = segment(&initiator, itt, 0);
    receive_data(&mut initiator, pdu);
    let text = initiator.declare_max_recv_data_segment_length(2048);
    sent(&mut initiator);
    let pdu = segment(&initiator, itt, 2);
    receive_data(&mut initiator, pdu);
    let status = response(&initiator, itt, 4);
    receive(&mut initiator, TargetPdu::ScsiResponse(status), &[]);
    assert_eq!(sent(&mut initiator), []);
    let over = declaration_over(&initiator, text, status.stat_sn.next());
    receive(&mut initiator, TargetPdu::TextResponse(over), &[]);
    let pdus = sent(&mut initiator);
    let [(InitiatorPdu::SnackRequest(snack), _)] = &pdus[..] else {
        panic!("{pdus:?}")
    };
    assert_eq!((snack.r#type, snack.itt), (SnackType::RData, itt));
}

#[test]
fn recovery_r2t_is_answered_and_one_that_comes_twice_is_not() {
    let keys = ["InitialR2T=Yes", "ImmediateData=No"];
    let config = normal().with_key("InitialR2T", "Yes");
    let mut initiator = recovering_with(config, &keys);
    let itt = initiator.command(LUN, &WRITE, pattern(4096), 0);
    sent(&mut initiator);
    let all = r2t(&initiator, itt, 0, 0, 4096);
    for answered in [4, 0] {
        let events = receive(&mut initiator, TargetPdu::ReadyToTransfer(all), &[]);
        assert_eq!(events, []);
        assert_eq!(data_out(&mut initiator).0.len(), answered);
    }
    let again = r2t(&initiator, itt, 1, 1024, 1024);
    let events = receive(&mut initiator, TargetPdu::ReadyToTransfer(again), &[]);
    assert_eq!(events, []);
    let (shapes, payload) = data_out(&mut initiator);
    assert_eq!(shapes, [(Ttt(0x101), 0, 1024, 1024, true)]);
    assert_eq!(payload, pattern(2048)[1024..]);
    let other = ReadyToTransfer {
        desired_data_transfer_length: 512,
        ..again
    };
    let events = receive(&mut initiator, TargetPdu::ReadyToTransfer(other), &[]);
    let rule = "R2T sent again is not a replica";
    assert_eq!(violations(&events), [&Violation::Data { itt, rule }]);
}

#[test]
fn r2t_with_a_gap_is_answered_and_the_one_before_it_asked_for() {
    let keys = ["InitialR2T=Yes", "ImmediateData=No", "MaxOutstandingR2T=4"];
    let config = normal()
        .with_key("InitialR2T", "Yes")
        .with_key("MaxOutstandingR2T", "4");
    let mut initiator = recovering_with(config, &keys);
    let itt = initiator.command(LUN, &WRITE, pattern(8192), 0);
    sent(&mut initiator);
    let second = r2t(&initiator, itt, 1, 4096, 4096);
    let events = receive(&mut initiator, TargetPdu::ReadyToTransfer(second), &[]);
    assert_eq!(events, []);
    let pdus = sent(&mut initiator);
    assert!(matches!(
        pdus.last(),
        Some((
            InitiatorPdu::SnackRequest(SnackRequest {
                beg_run: 0,
                run_length: 1,
                ..
            }),
            _
        ))
    ));
    assert_eq!(pdus.len(), 5);
    let first = r2t(&initiator, itt, 0, 0, 4096);
    let events = receive(&mut initiator, TargetPdu::ReadyToTransfer(first), &[]);
    assert_eq!(events, []);
    assert_eq!(data_out(&mut initiator).1, pattern(4096));
}

#[test]
fn silent_target_with_something_outstanding_is_pinged_and_nobody_hears_of_it() {
    let mut initiator = recovering();
    assert_eq!(initiator.handle_time(PATIENCE * 3), []);
    assert_eq!(sent(&mut initiator), [], "nothing is outstanding");
    let itt = start_read(&mut initiator, 512);
    // The target has the command.
    let news = NopIn {
        itt: Itt::RESERVED,
        ttt: Ttt::RESERVED,
        stat_sn: initiator.exp_stat_sn(),
        exp_cmd_sn: initiator.numbers.cmd_sn,
        max_cmd_sn: SerialNumber(32),
        ..NopIn::default()
    };
    receive(&mut initiator, TargetPdu::NopIn(news), &[]);
    initiator.handle_time(PATIENCE * 4);
    let pdus = sent(&mut initiator);
    let [(InitiatorPdu::NopOut(ping), data)] = &pdus[..] else {
        panic!("{pdus:?}")
    };
    assert_eq!(initiator.outstanding().collect::<Vec<_>>(), [itt]);
    let pong = NopIn {
        itt: ping.itt,
        data_segment_length: length(data),
        ..news
    };
    assert_eq!(receive(&mut initiator, TargetPdu::NopIn(pong), data), []);
    assert_eq!(initiator.exp_stat_sn(), news.stat_sn.next());
    // The ping's loss is no reason to stop.
    initiator.handle_time(PATIENCE * 5);
    assert_eq!(sent(&mut initiator).len(), 1);
    initiator.handle_time(PATIENCE * 6);
    assert_eq!(sent(&mut initiator).len(), 1);
    assert_eq!(initiator.repairs().probes, 3);
}

#[test]
fn level_0_keeps_nothing_and_repairs_nothing() {
    let mut initiator = logged_in(normal(), &[]);
    initiator.command(LUN, &READ, Vec::new(), 4096);
    initiator.ping(b"x", Delivery::Ordered);
    sent(&mut initiator);
    assert_eq!(initiator.handle_time(PATIENCE * 100), []);
    assert_eq!(sent(&mut initiator), []);
    assert_eq!(initiator.repairs(), crate::Repairs::default());
}

#[test]
fn response_with_fewer_bytes_than_its_residual_says_implies_data_of_unknown_number() {
    let mut initiator = recovering();
    let itt = start_read(&mut initiator, 1024);
    let status = response(&initiator, itt, 0);
    let events = receive(&mut initiator, TargetPdu::ScsiResponse(status), &[]);
    assert_eq!(events, []);
    assert_eq!(snacks(&mut initiator), [(SnackType::DataOrR2t, itt, 0, 0)]);
}
