//! Requests that come damaged, twice, or not at all (RFC 7143 §7.2.1, §7.3, §7.8).

use core::time::Duration;

use iscsi_wire::{
    BHS_BYTES, InitiatorPdu, Itt, NopOut, RejectReason, ScsiCommand, SerialNumber, TargetPdu,
    TextRequest, Ttt,
};

use super::super::golden::{command, exchange, read, unwire, wire};
use super::super::pair::pattern;
use super::super::target::{NOTHING, REFUSE, Target, WRITE, Way};
use super::{params, target, unwire_with_digests, wire_with_digests};
use crate::negotiate::NegotiatedParams;
use crate::session::fixture::{C0, session};
use crate::session::{DropReason, Event};

const WHOLE: Way = Way::Staging(usize::MAX);

fn with_digests() -> Target {
    Target::new(session(NegotiatedParams {
        header_digest: true,
        data_digest: true,
        ..params()
    }))
}

fn write(number: u32, opcode: u8) -> ScsiCommand {
    ScsiCommand {
        write: true,
        expected_data_transfer_length: 512,
        data_segment_length: 512,
        ..command(number, opcode)
    }
}

fn send(
    target: &mut Target,
    pdus: &[(InitiatorPdu, &[u8])],
    damaged: Option<usize>,
) -> Vec<(TargetPdu, Vec<u8>)> {
    target.receive(&wire_with_digests(pdus, damaged), WHOLE);
    unwire_with_digests(&target.send())
}

fn reasons(answer: &[(TargetPdu, Vec<u8>)]) -> Vec<RejectReason> {
    let rejects = answer.iter().filter_map(|(pdu, _)| match pdu {
        TargetPdu::Reject(reject) => Some(reject.reason),
        _ => None,
    });
    rejects.collect()
}

/// The tags of what was answered, in order.
fn answered(answer: &[(TargetPdu, Vec<u8>)]) -> Vec<u32> {
    let tags = answer.iter().filter_map(|(pdu, _)| match pdu {
        TargetPdu::ScsiResponse(response) => Some(response.itt.0),
        TargetPdu::NopIn(nop) if nop.itt != Itt::RESERVED => Some(nop.itt.0),
        TargetPdu::TextResponse(text) => Some(text.itt.0),
        _ => None,
    });
    tags.collect()
}

#[test]
fn command_with_damaged_immediate_data_is_discarded_and_delivered_when_it_comes_again() {
    let data = pattern(512);
    // What the engine does with it before it knows: waits, or answers at once.
    for opcode in [WRITE, REFUSE] {
        let mut target = with_digests();
        let first = (InitiatorPdu::ScsiCommand(write(1, opcode)), &data[..]);
        let next = (InitiatorPdu::ScsiCommand(command(2, NOTHING)), &[][..]);
        let answer = send(&mut target, &[first, next], Some(0));
        assert_eq!(reasons(&answer), [RejectReason::DataDigestError]);
        // RFC 7143 §7.3: its CmdSN has not been received, and what is behind waits.
        assert_eq!(answered(&answer), []);
        assert_eq!(target.session.window.exp_cmd_sn(), SerialNumber(1));
        assert_eq!(target.open().len(), 1, "the engine has forgotten it");
        let answer = send(&mut target, &[first], None);
        assert_eq!(answered(&answer), [1, 2]);
        assert_eq!(target.disk[..512] == data[..], opcode == WRITE);
        assert_eq!(
            send(&mut target, &[first, next], None),
            [],
            "duplicates are ignored"
        );
    }
}

#[test]
fn command_with_immediate_data_is_not_begun_before_its_digest() {
    let data = pattern(512);
    let mut target = with_digests();
    let pdu = (InitiatorPdu::ScsiCommand(write(1, WRITE)), &data[..]);
    let bytes = wire_with_digests(&[pdu], None);
    target.receive(&bytes[..bytes.len() - 1], WHOLE);
    assert_eq!(target.session.window.exp_cmd_sn(), SerialNumber(1));
    assert_eq!(target.send(), []);
    target.receive(&bytes[bytes.len() - 1..], WHOLE);
    assert_eq!(target.session.window.exp_cmd_sn(), SerialNumber(2));
    assert_eq!(answered(&unwire_with_digests(&target.send())), [1]);
}

#[test]
fn immediate_command_with_damaged_data_leaves_its_place_to_others() {
    let data = pattern(512);
    let mut target = with_digests();
    for tag in 1..=9 {
        let urgent = ScsiCommand {
            immediate: true,
            cmd_sn: SerialNumber(1),
            ..write(tag, WRITE)
        };
        let answer = send(
            &mut target,
            &[(InitiatorPdu::ScsiCommand(urgent), &data)],
            Some(0),
        );
        assert_eq!(reasons(&answer), [RejectReason::DataDigestError]);
    }
    let urgent = ScsiCommand {
        immediate: true,
        cmd_sn: SerialNumber(1),
        ..write(1, WRITE)
    };
    let answer = send(
        &mut target,
        &[(InitiatorPdu::ScsiCommand(urgent), &data)],
        None,
    );
    assert_eq!(answered(&answer), [1]);
}

#[test]
fn ping_and_text_with_damaged_data_are_rejected_and_answered_when_they_come_again() {
    let nop = NopOut {
        data_segment_length: 100,
        itt: Itt(1),
        ttt: Ttt::RESERVED,
        cmd_sn: SerialNumber(1),
        ..NopOut::default()
    };
    let text = TextRequest {
        r#final: true,
        data_segment_length: 13,
        itt: Itt(2),
        ttt: Ttt::RESERVED,
        cmd_sn: SerialNumber(2),
        ..TextRequest::default()
    };
    let (ping, question) = (pattern(100), b"SendTargets=\0");
    for immediate in [false, true] {
        let mut target = with_digests();
        let nop = NopOut { immediate, ..nop };
        let text = TextRequest { immediate, ..text };
        let nop = (InitiatorPdu::NopOut(nop), &ping[..]);
        let text = (InitiatorPdu::TextRequest(text), &question[..]);
        for _ in 0..4 {
            for damaged in [nop, text] {
                let answer = send(&mut target, &[damaged], Some(0));
                assert_eq!(reasons(&answer), [RejectReason::DataDigestError]);
                assert_eq!(answered(&answer), []);
            }
        }
        let answer = send(&mut target, &[nop, text], None);
        assert_eq!(answered(&answer), [1, 2], "{immediate}");
        assert_eq!(answer[0].1, ping);
        assert_eq!(answer[1].1, target.targets);
        let connection = target.session.connection(C0).unwrap();
        assert_eq!(connection.collected.len(), 0);
        assert_eq!(connection.ending, None);
    }
}

#[test]
fn damaged_header_is_skipped_by_its_length_where_the_next_one_agrees() {
    let data = pattern(512);
    let mut target = with_digests();
    let pdus = [
        (InitiatorPdu::ScsiCommand(write(1, WRITE)), &data[..]),
        (InitiatorPdu::ScsiCommand(command(2, NOTHING)), &[][..]),
    ];
    let mut bytes = wire_with_digests(&pdus, None);
    // Its tag.
    bytes[16] ^= 0x40;
    target.receive(&bytes, WHOLE);
    assert_eq!(target.send(), []);
    assert_eq!(target.session.counters().header_digest_errors, 1);
    let answer = send(&mut target, &pdus[..1], None);
    assert_eq!(answered(&answer), [1, 2]);
}

#[test]
fn damaged_header_with_a_length_that_is_not_true_ends_the_connection() {
    let done = |events: &[Event]| {
        let lost = |event: &Event| {
            let reason = DropReason::HeaderDigest;
            matches!(event, Event::ConnectionDone { reason: why, .. } if *why == reason)
        };
        events.iter().any(lost)
    };
    let pdus: Vec<(InitiatorPdu, &[u8])> = (1..9)
        .map(|n| (InitiatorPdu::ScsiCommand(command(n, NOTHING)), &[][..]))
        .collect();
    // The second PDU would be taken for data; too long to be; and two in a row.
    for (damage, at_once) in [(&[7usize][..], false), (&[5], true), (&[16, 16 + 52], true)] {
        let mut target = with_digests();
        let mut bytes = wire_with_digests(&pdus, None);
        for at in damage {
            bytes[*at] ^= 0x40;
        }
        let first = if at_once {
            2 * (BHS_BYTES + 4)
        } else {
            bytes.len()
        };
        target.receive(&bytes[..first], WHOLE);
        assert!(done(&target.events), "{damage:?}");
        assert_eq!(answered(&unwire_with_digests(&target.send())), []);
    }
}

#[test]
fn command_missing_before_others_is_told_of_by_a_ping_and_delivered_when_it_comes() {
    let mut target = target();
    let second = (InitiatorPdu::ScsiCommand(command(2, NOTHING)), &[][..]);
    assert_eq!(exchange(&mut target, &[second]), []);
    let mut pinged = Vec::new();
    for _ in 0..3 {
        target.now += Duration::from_secs(1);
        target.time_out();
        pinged.extend(unwire(&target.send()));
    }
    let [(TargetPdu::NopIn(nop), _)] = &pinged[..] else {
        panic!("one ping, until it is answered: {pinged:?}");
    };
    assert_eq!(nop.exp_cmd_sn, SerialNumber(1));
    let first = (InitiatorPdu::ScsiCommand(read(1, 10)), &[][..]);
    let answer = exchange(&mut target, &[second, first, second, first]);
    assert_eq!(answered(&answer), [1, 2]);
}

#[test]
fn command_that_is_aborted_while_its_data_comes_counts_as_received() {
    let data = pattern(512);
    let mut target = with_digests();
    let pdu = (InitiatorPdu::ScsiCommand(write(1, WRITE)), &data[..]);
    let bytes = wire_with_digests(&[pdu], None);
    target.receive(&bytes[..200], WHOLE);
    let task = target.open()[0];
    target.abort(task);
    assert_eq!(target.session.window.exp_cmd_sn(), SerialNumber(2));
    target.receive(&bytes[200..], WHOLE);
    let next = (InitiatorPdu::ScsiCommand(command(2, NOTHING)), &[][..]);
    assert_eq!(answered(&send(&mut target, &[pdu, next], None)), [2]);
    assert!(target.disk[..512] != data[..]);
}

#[test]
fn connection_that_ends_within_a_command_leaves_no_trace_of_it() {
    let data = pattern(512);
    let mut target = with_digests();
    let pdu = (InitiatorPdu::ScsiCommand(write(1, WRITE)), &data[..]);
    let bytes = wire_with_digests(&[pdu], None);
    target.receive(&bytes[..200], WHOLE);
    let before = target.session.window.clone();
    target.close(C0);
    assert_eq!(target.session.tasks.len(), 0);
    assert_eq!(target.session.window, before);
    assert!(wire(&[pdu]).len() < bytes.len());
}
