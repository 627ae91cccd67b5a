//! Data-In that is asked for again, acknowledged, or given up (RFC 7143 §11.7.2, §11.16).

use core::time::Duration;

use iscsi_wire::{
    DataIn, InitiatorPdu, Itt, Lun64, RejectReason, ScsiResponse, SerialNumber, SnackRequest,
    SnackType, TargetPdu, TextRequest, Ttt,
};

use super::super::golden::{exchange, read, unwire};
use super::super::target::{CHECK_CONDITION, HANG, Target};
use super::{acknowledge, ask, reject, snack, target};
use crate::session::{DataFault, Event, TaskId};

fn data_snack(itt: u32, beg_run: u32, run_length: u32) -> SnackRequest {
    SnackRequest {
        itt: Itt(itt),
        ..snack(SnackType::DataOrR2t, beg_run, run_length)
    }
}

/// The Data-In PDUs, but for the numbers that are those of now.
fn data_in(answer: &[(TargetPdu, Vec<u8>)]) -> Vec<(DataIn, Vec<u8>)> {
    let pdus = answer.iter().filter_map(|(pdu, data)| match pdu {
        TargetPdu::DataIn(pdu) => {
            let pdu = DataIn {
                exp_cmd_sn: SerialNumber(0),
                max_cmd_sn: SerialNumber(0),
                ..*pdu
            };
            Some((pdu, data.clone()))
        }
        _ => None,
    });
    pdus.collect()
}

fn response(answer: &[(TargetPdu, Vec<u8>)]) -> Option<ScsiResponse> {
    let mut found = answer.iter().filter_map(|(pdu, _)| match pdu {
        TargetPdu::ScsiResponse(response) => Some(*response),
        _ => None,
    });
    let response = found.next();
    assert_eq!(found.next(), None);
    response
}

/// A read of 5000 bytes, with all its Data-In sent.
fn with_read() -> (Target, Vec<(DataIn, Vec<u8>)>) {
    let mut target = target();
    let answer = exchange(
        &mut target,
        &[(InitiatorPdu::ScsiCommand(read(1, 5000)), &[])],
    );
    assert_eq!(response(&answer).map(|one| one.exp_data_sn), Some(10));
    let data = data_in(&answer);
    assert_eq!(data.len(), 10);
    (target, data)
}

#[test]
fn data_in_asks_for_an_acknowledgement_once_in_max_burst_length_and_has_no_status() {
    let (_, data) = with_read();
    for (n, (pdu, _)) in data.iter().enumerate() {
        let asks = n == 3 || n == 7;
        assert_eq!(pdu.acknowledge, asks, "{n}");
        assert_eq!(pdu.ttt != Ttt::RESERVED, asks, "{n}");
        assert!(!pdu.status_present);
    }
}

#[test]
fn data_snack_brings_exact_replicas_of_what_it_names() {
    let (mut target, data) = with_read();
    for (beg_run, run_length, expected) in [
        (0, 1, &data[..1]),
        (3, 2, &data[3..5]),
        (6, 0, &data[6..]),
        (0, 0, &data[..]),
        (9, 1, &data[9..]),
    ] {
        let again = ask(&mut target, data_snack(1, beg_run, run_length));
        assert_eq!(data_in(&again), expected, "{beg_run} {run_length}");
        assert_eq!(response(&again), None);
    }
    // Two that overlap are met by one run.
    let both = [data_snack(1, 2, 3), data_snack(1, 4, 2)].map(InitiatorPdu::SnackRequest);
    let again = exchange(&mut target, &both.map(|pdu| (pdu, &[][..])));
    assert_eq!(data_in(&again), &data[2..6]);
}

#[test]
fn data_snack_for_what_was_not_sent_or_was_acknowledged_is_a_protocol_error() {
    let (mut target, data) = with_read();
    for (beg_run, run_length) in [(10, 0), (10, 1), (9, 2), (0, 11), (u32::MAX, 1)] {
        let answer = ask(&mut target, data_snack(1, beg_run, run_length));
        let [(TargetPdu::Reject(reject), _)] = &answer[..] else {
            panic!("one Reject: {answer:?}");
        };
        assert_eq!(reject.reason, RejectReason::ProtocolError);
        // RFC 7143 §11.17.2: the number that would come next.
        assert_eq!(reject.data_sn, 10);
    }
    let unknown = ask(&mut target, data_snack(2, 0, 0));
    assert_eq!(reject(&unknown), RejectReason::ProtocolError);
    assert_eq!(ask(&mut target, data_ack(&data[3].0, 4)), []);
    let acknowledged = ask(&mut target, data_snack(1, 3, 1));
    assert_eq!(reject(&acknowledged), RejectReason::ProtocolError);
    let all = ask(&mut target, data_snack(1, 0, 0));
    assert_eq!(data_in(&all), &data[4..]);
    acknowledge(&mut target, 9);
    let over = ask(&mut target, data_snack(1, 4, 1));
    assert_eq!(reject(&over), RejectReason::ProtocolError);
}

#[test]
fn snack_with_a_field_that_cannot_be_is_rejected() {
    let (mut target, data) = with_read();
    let ack = data_ack(&data[3].0, 4);
    let r_data = SnackRequest {
        ttt: Ttt(9),
        ..data_snack(1, 0, 0)
    };
    let r_data = SnackRequest {
        r#type: SnackType::RData,
        ..r_data
    };
    let status = snack(SnackType::Status, 0, 0);
    let invalid = RejectReason::InvalidPduField;
    let no_ack = RejectReason::InvalidDataAck;
    let table = [
        (
            SnackRequest {
                itt: Itt(1),
                ..status
            },
            invalid,
        ),
        (
            SnackRequest {
                ttt: Ttt(1),
                ..status
            },
            invalid,
        ),
        (
            SnackRequest {
                ttt: Ttt(1),
                ..data_snack(1, 0, 0)
            },
            invalid,
        ),
        (SnackRequest { itt: Itt(1), ..ack }, invalid),
        (
            SnackRequest {
                ttt: Ttt(99),
                ..ack
            },
            no_ack,
        ),
        (
            SnackRequest {
                lun: Lun64(1),
                ..ack
            },
            no_ack,
        ),
        (
            SnackRequest {
                run_length: 1,
                ..ack
            },
            no_ack,
        ),
        (SnackRequest { beg_run: 11, ..ack }, no_ack),
        (
            SnackRequest {
                ttt: Ttt(0),
                ..r_data
            },
            invalid,
        ),
        (
            SnackRequest {
                ttt: Ttt::RESERVED,
                ..r_data
            },
            invalid,
        ),
        (
            SnackRequest {
                beg_run: 1,
                ..r_data
            },
            invalid,
        ),
        (
            SnackRequest {
                run_length: 1,
                ..r_data
            },
            invalid,
        ),
        (
            SnackRequest {
                r#type: SnackType::Other(7),
                ..status
            },
            invalid,
        ),
    ];
    for (snack, expected) in table {
        assert_eq!(reject(&ask(&mut target, snack)), expected, "{snack:?}");
    }
    assert_eq!(ask(&mut target, ack), []);
    // The same again acknowledges nothing.
    assert_eq!(reject(&ask(&mut target, ack)), no_ack);
}

fn data_ack(pdu: &DataIn, beg_run: u32) -> SnackRequest {
    SnackRequest {
        lun: pdu.lun,
        ttt: pdu.ttt,
        ..snack(SnackType::DataAck, beg_run, 0)
    }
}

#[test]
fn data_ack_lets_the_engine_have_its_memory() {
    let (mut target, data) = with_read();
    ask(&mut target, data_ack(&data[3].0, 4));
    let through = |target: &Target| {
        let events = target.events.iter().rev();
        events
            .filter_map(|event| match event {
                Event::Acknowledged { through, .. } => Some(*through),
                _ => None,
            })
            .next()
    };
    assert_eq!(through(&target), Some(2048));
    ask(&mut target, data_ack(&data[7].0, 8));
    assert_eq!(through(&target), Some(4096));
    acknowledge(&mut target, 2);
    assert_eq!(
        target.events.last(),
        Some(&Event::Released { task: TaskId(0) })
    );
}

/// A declaration of another MaxRecvDataSegmentLength.
fn declare(target: &mut Target, bytes: u32) {
    let text = format!("MaxRecvDataSegmentLength={bytes}\0");
    let request = TextRequest {
        immediate: true,
        r#final: true,
        data_segment_length: u32::try_from(text.len()).unwrap(),
        itt: Itt(77),
        ttt: Ttt::RESERVED,
        exp_stat_sn: SerialNumber(1),
        ..TextRequest::default()
    };
    let answer = exchange(
        target,
        &[(InitiatorPdu::TextRequest(request), text.as_bytes())],
    );
    assert!(matches!(answer[..], [(TargetPdu::TextResponse(_), _)]));
}

#[test]
fn r_data_snack_sends_all_that_is_unacknowledged_anew_with_its_tag_in_the_response() {
    let (mut target, data) = with_read();
    ask(&mut target, data_ack(&data[3].0, 4));
    declare(&mut target, 1024);
    let r_data = |tag| SnackRequest {
        ttt: Ttt(tag),
        r#type: SnackType::RData,
        ..data_snack(1, 0, 0)
    };
    for tag in [5, 6] {
        let answer = ask(&mut target, r_data(tag));
        let again = data_in(&answer);
        let cut: Vec<_> = again
            .iter()
            .map(|(pdu, _)| (pdu.data_sn, pdu.buffer_offset))
            .collect();
        assert_eq!(cut, [(4, 2048), (5, 3072), (6, 4096)]);
        let bytes: Vec<u8> = again.into_iter().flat_map(|(_, data)| data).collect();
        assert_eq!(bytes, target.disk[2048..5000]);
        let response = response(&answer).expect("a response of its own");
        assert_eq!(
            (response.snack_tag, response.stat_sn.0, response.exp_data_sn),
            (tag, 1, 7)
        );
    }
    // RFC 7143 §11.16.3: a Status SNACK brings the latest.
    let status = ask(&mut target, snack(SnackType::Status, 1, 1));
    assert_eq!(response(&status).map(|one| one.snack_tag), Some(6));
    // A segment that is too long now is not sent as it was.
    declare(&mut target, 512);
    let too_long = ask(&mut target, data_snack(1, 4, 1));
    assert_eq!(reject(&too_long), RejectReason::SnackReject);
}

/// A read that hangs, with `bytes` of its Data-In sent.
fn hanging(bytes: u32) -> (Target, TaskId, Vec<(DataIn, Vec<u8>)>) {
    let mut target = target();
    let mut command = read(1, 20_000);
    command.cdb[0] = HANG;
    exchange(&mut target, &[(InitiatorPdu::ScsiCommand(command), &[])]);
    let task = target.open()[0];
    target.session.data_in(task, 0, bytes);
    let sent = data_in(&unwire(&target.send()));
    (target, task, sent)
}

#[test]
fn room_that_the_engine_wants_comes_with_the_acknowledgement_where_one_was_asked_for() {
    let (mut target, task, sent) = hanging(4096);
    target.session.want_room(task, 2048);
    target.poll();
    let acknowledged = |target: &Target| {
        let told = |event: &Event| matches!(event, Event::Acknowledged { .. });
        target.events.iter().any(told)
    };
    assert!(!acknowledged(&target));
    ask(&mut target, data_ack(&sent[3].0, 4));
    assert!(acknowledged(&target));
}

#[test]
fn room_that_the_engine_wants_is_given_up_where_none_was_asked_for_and_a_snack_then_ends_the_task()
{
    let (mut target, task, sent) = hanging(1536);
    target.session.want_room(task, 1024);
    target.poll();
    assert_eq!(
        target.events.last(),
        Some(&Event::Acknowledged {
            task,
            through: 1024
        })
    );
    assert_eq!(data_in(&ask(&mut target, data_snack(1, 2, 1))), &sent[2..]);
    let answer = ask(&mut target, data_snack(1, 1, 1));
    assert!(matches!(
        answer[0].0,
        TargetPdu::Reject(reject) if reject.reason == RejectReason::SnackReject
    ));
    // RFC 7143 §7.8: the status says that a SNACK was rejected.
    let response = response(&answer).expect("it has ended");
    assert_eq!(
        (response.status, response.residual_count),
        (CHECK_CONDITION, 20_000)
    );
    let fault = DataFault::SnackRejected;
    assert!(target.events.contains(&Event::DataFault { task, fault }));
}

/// A window that ends between two of them: what is sent next asks, and nothing is lost that a SNACK could still ask for.
#[test]
fn room_that_the_engine_wants_is_not_given_up_before_what_is_at_hand_was_sent() {
    let (mut target, task, sent) = hanging(3072);
    ask(&mut target, data_ack(&sent[3].0, 4));
    target.session.data_in(task, 3072, 3072);
    target.session.want_room(task, 3072);
    target.poll();
    let through = |target: &Target| {
        let told = target.events.iter().filter_map(|event| match event {
            Event::Acknowledged { through, .. } => Some(*through),
            _ => None,
        });
        told.max()
    };
    assert_eq!(through(&target), Some(2048));
    let more = data_in(&unwire(&target.send()));
    target.poll();
    assert_eq!(through(&target), Some(2048));
    assert_eq!(data_in(&ask(&mut target, data_snack(1, 5, 1))), &sent[5..]);
    ask(&mut target, data_ack(&more[1].0, 8));
    assert!(through(&target) >= Some(3072));
}

#[test]
fn data_that_is_not_acknowledged_in_time_is_given_up_and_none_is_waited_for_any_more() {
    let (mut target, task, _) = hanging(4096);
    target.session.want_room(task, 2048);
    let given_up = Event::Acknowledged {
        task,
        through: 4096,
    };
    for _ in 0..29 {
        target.now += Duration::from_secs(1);
        assert_eq!(target.session.handle_timeout(target.now), None);
    }
    target.now += Duration::from_secs(2);
    assert_eq!(target.session.handle_timeout(target.now), Some(given_up));
    target.session.data_in(task, 4096, 4096);
    target.send();
    target.session.want_room(task, 6144);
    let now = Event::Acknowledged {
        task,
        through: 6144,
    };
    assert_eq!(target.session.poll_event(), Some(now));
}
