//! Statuses that are kept until they are acknowledged, and asked for again (RFC 7143 §11.16, §4.2.2.2).

use core::time::Duration;

use iscsi_wire::{
    InitiatorPdu, Itt, NopOut, RejectReason, SerialNumber, SnackType, TargetPdu, Ttt,
};

use super::super::golden::{command, exchange, read, unwire, wire};
use super::super::target::{NOTHING, READ_FAILS, Target, Way};
use super::{acknowledge, ask, params, reject, snack, target};
use crate::login::SessionType;
use crate::negotiate::NegotiatedParams;
use crate::session::fixture::{C0, established, limits};
use crate::session::{DropReason, Event, Session};

fn nothing(number: u32) -> (InitiatorPdu, &'static [u8]) {
    (InitiatorPdu::ScsiCommand(command(number, NOTHING)), &[])
}

/// A ping whose answer has a StatSN.
fn ping(itt: u32) -> (InitiatorPdu, &'static [u8]) {
    let nop = NopOut {
        immediate: true,
        data_segment_length: 6,
        itt: Itt(itt),
        ttt: Ttt::RESERVED,
        exp_stat_sn: SerialNumber(1),
        ..NopOut::default()
    };
    (InitiatorPdu::NopOut(nop), b"hello!")
}

/// How many numbered answers are kept.
fn kept(target: &Target) -> usize {
    let recovery = target.session.recovery.as_ref().unwrap();
    recovery.sent_on(C0).map_or(0, |sent| sent.len())
}

#[test]
fn status_snack_brings_replicas_until_they_are_acknowledged() {
    let mut target = target();
    let failing = crate::session::tests::golden::command(2, READ_FAILS);
    let failing = iscsi_wire::ScsiCommand {
        read: true,
        expected_data_transfer_length: 1024,
        ..failing
    };
    let pdus = [
        nothing(1),
        (InitiatorPdu::ScsiCommand(failing), &[][..]),
        ping(50),
        nothing(3),
    ];
    let first = exchange(&mut target, &pdus);
    let mut numbered: Vec<_> = first
        .into_iter()
        .filter(|(pdu, _)| !matches!(pdu, TargetPdu::DataIn(_)))
        .collect();
    numbered.sort_by_key(|(pdu, _)| stat_sn(pdu));
    let sns: Vec<u32> = numbered.iter().map(|(pdu, _)| stat_sn(pdu)).collect();
    assert_eq!(sns, [1, 2, 3, 4]);
    for (beg_run, run_length, expected) in [
        (1, 1, &numbered[..1]),
        (2, 2, &numbered[1..3]),
        (3, 0, &numbered[2..]),
        (0, 0, &numbered[..]),
    ] {
        let again = ask(&mut target, snack(SnackType::Status, beg_run, run_length));
        assert_eq!(again.len(), expected.len(), "{beg_run} {run_length}");
        for ((pdu, data), (expected, expected_data)) in again.iter().zip(expected) {
            // ExpCmdSN and MaxCmdSN are those of now.
            assert_eq!(with_numbers_of(*pdu, expected), *expected);
            assert_eq!(data, expected_data);
        }
    }
    acknowledge(&mut target, 3);
    assert_eq!(kept(&target), 2);
    let acknowledged = ask(&mut target, snack(SnackType::Status, 2, 1));
    assert_eq!(reject(&acknowledged), RejectReason::ProtocolError);
    // The Reject has used up a StatSN.
    let unsent = ask(&mut target, snack(SnackType::Status, 6, 1));
    assert_eq!(reject(&unsent), RejectReason::ProtocolError);
    let again = ask(&mut target, snack(SnackType::Status, 4, 1));
    assert_eq!(stat_sn(&again[0].0), 4);
}

fn stat_sn(pdu: &TargetPdu) -> u32 {
    let header = pdu.emit().0;
    u32::from_be_bytes([header[24], header[25], header[26], header[27]])
}

fn with_numbers_of(pdu: TargetPdu, other: &TargetPdu) -> TargetPdu {
    let mut header = pdu.emit();
    header.0[28..36].copy_from_slice(&other.emit().0[28..36]);
    TargetPdu::parse(&header).unwrap()
}

#[test]
fn task_stays_until_its_status_is_acknowledged_and_its_place_in_the_window_does_not() {
    let mut target = target();
    for number in 1..=20 {
        let answer = exchange(&mut target, &[nothing(number)]);
        let [(TargetPdu::ScsiResponse(response), _)] = &answer[..] else {
            panic!("one response: {answer:?}");
        };
        assert_eq!(response.max_cmd_sn, SerialNumber(number + 8));
    }
    assert_eq!((target.session.tasks.len(), kept(&target)), (20, 20));
    assert_eq!(target.session.outstanding_tasks().count(), 0);
    acknowledge(&mut target, 11);
    assert_eq!((target.session.tasks.len(), kept(&target)), (10, 10));
    acknowledge(&mut target, 21);
    assert_eq!((target.session.tasks.len(), kept(&target)), (0, 0));
    let released = |event: &&Event| matches!(event, Event::Released { .. });
    assert_eq!(target.events.iter().filter(released).count(), 20);
}

#[test]
fn tag_used_again_acknowledges_the_task_that_had_it() {
    let mut target = target();
    exchange(&mut target, &[nothing(1)]);
    let again = iscsi_wire::ScsiCommand {
        cmd_sn: SerialNumber(2),
        ..command(1, NOTHING)
    };
    let answer = exchange(&mut target, &[(InitiatorPdu::ScsiCommand(again), &[])]);
    assert_eq!(stat_sn(&answer[0].0), 2);
    assert_eq!(target.session.tasks.len(), 1);
    // What the initiator is known to have had is not kept.
    let gone = ask(&mut target, snack(SnackType::Status, 1, 1));
    assert_eq!(reject(&gone), RejectReason::SnackReject);
    // A repeated command is none, and is ignored.
    let answer = exchange(&mut target, &[(InitiatorPdu::ScsiCommand(again), &[])]);
    assert_eq!(answer, []);
    acknowledge(&mut target, 4);
    assert_eq!((target.session.tasks.len(), kept(&target)), (0, 0));
}

#[test]
fn statuses_without_acknowledgement_hold_back_new_ones_then_end_the_connection() {
    let mut target = target();
    // Four windows of 8, and 64.
    let most = 4 * 8 + 64;
    for number in 1..=most {
        assert_eq!(exchange(&mut target, &[nothing(number)]).len(), 1);
    }
    let answer = exchange(&mut target, &[nothing(most + 1), ping(500)]);
    assert_eq!(answer, [], "none that is new is sent");
    assert_eq!(kept(&target), most as usize);
    let again = ask(&mut target, snack(SnackType::Status, 1, 3));
    assert_eq!(again.len(), 3);
    let mut going_on = target.clone();
    acknowledge(&mut going_on, 2);
    assert_eq!(unwire(&going_on.send()).len(), 1);
    acknowledge(&mut going_on, most);
    assert_eq!(unwire(&going_on.send()).len(), 1);
    // A peer that answers pings, and acknowledges nothing.
    for _ in 0..limits().nop_timeout.as_secs() + 1 {
        target.now += Duration::from_secs(1);
        let event = target.session.handle_timeout(target.now);
        if let Some(Event::ConnectionDone { reason, .. }) = event {
            assert_eq!(reason, DropReason::StatusNotAcknowledged);
            return;
        }
        for (pdu, _) in unwire(&target.send()) {
            let TargetPdu::NopIn(nop) = pdu else {
                panic!("a ping: {pdu:?}");
            };
            assert_ne!(nop.ttt, Ttt::RESERVED);
            pong(&mut target, nop.ttt, 1);
        }
    }
    panic!("the connection goes on");
}

fn pong(target: &mut Target, ttt: Ttt, exp_stat_sn: u32) {
    let nop = NopOut {
        immediate: true,
        itt: Itt::RESERVED,
        ttt,
        exp_stat_sn: SerialNumber(exp_stat_sn),
        ..NopOut::default()
    };
    target.receive(
        &wire(&[(InitiatorPdu::NopOut(nop), &[])]),
        Way::Staging(usize::MAX),
    );
}

#[test]
fn status_unacknowledged_for_a_while_is_asked_for_by_a_ping_and_then_nothing_is_due() {
    let mut target = target();
    assert_eq!(target.session.poll_timeout(), None);
    exchange(
        &mut target,
        &[(InitiatorPdu::ScsiCommand(read(1, 100)), &[])],
    );
    while let Some(due) = target.session.poll_timeout() {
        assert!(due <= Duration::from_secs(5), "it ends");
        target.now = due;
        assert_eq!(target.session.handle_timeout(target.now), None);
        for (pdu, _) in unwire(&target.send()) {
            let TargetPdu::NopIn(nop) = pdu else {
                panic!("a ping: {pdu:?}");
            };
            assert_eq!(nop.stat_sn, SerialNumber(2));
            pong(&mut target, nop.ttt, 2);
        }
    }
    assert_eq!(target.session.counters().pings, 1);
    assert_eq!((target.session.tasks.len(), kept(&target)), (0, 0));
}

#[test]
fn session_of_level_0_and_one_for_discovery_keep_nothing_and_reject_snacks() {
    let plain = NegotiatedParams {
        error_recovery_level: 0,
        ..params()
    };
    let make = |kind, params| Session::new(&established(kind, params), limits(), Duration::ZERO);
    let discovery = make(SessionType::Discovery, params());
    assert!(!discovery.recovers());
    let normal = make(SessionType::Normal, plain);
    assert!(!normal.recovers());
    let mut target = Target::new(normal);
    exchange(&mut target, &[nothing(1)]);
    assert_eq!(target.session.tasks.len(), 0);
    let answer = ask(&mut target, snack(SnackType::Status, 1, 1));
    assert_eq!(reject(&answer), RejectReason::SnackReject);
}

#[test]
fn disconnected_connection_keeps_nothing() {
    let mut target = target();
    exchange(&mut target, &[nothing(1), ping(50)]);
    target.close(C0);
    assert_eq!(target.session.tasks.len(), 0);
    assert!(target.session.recovery.as_ref().unwrap().is_quiet());
}
