//! What initiators send first, as the target sees it: residuals, immediate data, text and pings between commands.

use iscsi_wire::{InitiatorPdu, Itt, NopOut, ScsiCommand, SerialNumber, TargetPdu, Ttt};

use super::golden::{command, exchange, read};
use super::target::{HANG, Target, WRITE, Way};
use crate::negotiate::NegotiatedParams;
use crate::session::fixture::session;
use crate::session::{Event, Outcome};

fn fast() -> NegotiatedParams {
    NegotiatedParams {
        initial_r2t: false,
        max_send_data_segment_length: 262_144,
        max_recv_data_segment_length: 262_144,
        first_burst_length: 262_144,
        ..NegotiatedParams::default()
    }
}

/// A read of parameter data that is answered with so many bytes of the transfer that it would have been.
fn parameters(target: &mut Target, number: u32, asked: u32, bytes: u32, there: u64) -> TargetPdu {
    let hang = ScsiCommand {
        cdb: command(number, HANG).cdb,
        ..read(number, asked)
    };
    exchange(target, &[(InitiatorPdu::ScsiCommand(hang), &[])]);
    let task = target.open()[0];
    let outcome = Outcome {
        data_in: Some((0, bytes)),
        transfer_bytes: there,
        ..Outcome::default()
    };
    target.complete(task, &outcome);
    let mut answer = super::golden::unwire(&target.send());
    assert_eq!(answer.len(), 1, "data and status in one PDU");
    answer.remove(0).0
}

/// INQUIRY and MODE SENSE ask for more than there is, and some look at the residual: Windows formats no disk, and ESXi finds
/// none, whose residuals are wrong (spdk/spdk#405, #1414). The lengths are those of Linux (36), Windows (255, 192) and of
/// LUN scans with a short list (16).
#[test]
fn parameter_data_shorter_or_longer_than_asked_for_has_its_residual() {
    let mut target = Target::new(session(fast()));
    for (number, asked, bytes, there, underflow, overflow, count) in [
        (1, 36, 36, 36, false, false, 0),
        (2, 255, 96, 96, true, false, 159),
        (3, 192, 12, 12, true, false, 180),
        (4, 16, 16, 24, false, true, 8),
    ] {
        let TargetPdu::DataIn(data) = parameters(&mut target, number, asked, bytes, there) else {
            panic!("no Data-In")
        };
        assert!(data.r#final && data.status_present);
        assert_eq!(data.data_segment_length, bytes);
        let residual = (data.underflow, data.overflow, data.residual_count);
        assert_eq!(residual, (underflow, overflow, count), "{asked}");
    }
}

/// ESXi's atomic test and set: COMPARE AND WRITE of one block, both halves as immediate data with F, so that its lock costs
/// one round trip.
#[test]
fn write_with_all_of_its_data_immediate_is_one_round_trip() {
    let mut target = Target::new(session(fast()));
    let both_halves = [0x11; 1024];
    let compare_and_write = ScsiCommand {
        write: true,
        expected_data_transfer_length: 1024,
        data_segment_length: 1024,
        ..command(1, WRITE)
    };
    let pdu = (
        InitiatorPdu::ScsiCommand(compare_and_write),
        &both_halves[..],
    );
    let answer = exchange(&mut target, &[pdu]);
    let [(TargetPdu::ScsiResponse(response), _)] = &answer[..] else {
        panic!("{answer:?}")
    };
    assert_eq!((response.status, response.residual_count), (0, 0));
    assert_eq!(target.disk[..1024], both_halves);
}

/// libiscsi and QEMU ping with an immediate NOP-Out between commands, open-iscsi with a numbered one: neither is behind a
/// command that hangs.
#[test]
fn pings_of_either_kind_are_answered_beside_a_command_that_hangs() {
    let mut target = Target::new(session(fast()));
    let hang = (InitiatorPdu::ScsiCommand(command(1, HANG)), &[][..]);
    assert_eq!(exchange(&mut target, &[hang]), []);
    for (immediate, tag) in [(true, 70), (false, 71)] {
        let ping = NopOut {
            immediate,
            itt: Itt(tag),
            ttt: Ttt::RESERVED,
            cmd_sn: SerialNumber(2),
            ..NopOut::default()
        };
        let answer = exchange(&mut target, &[(InitiatorPdu::NopOut(ping), &[])]);
        let [(TargetPdu::NopIn(pong), _)] = &answer[..] else {
            panic!("{answer:?}")
        };
        assert_eq!((pong.itt, pong.ttt), (Itt(tag), Ttt::RESERVED));
    }
}

/// A write of 64 KiB as Linux sends it where FirstBurstLength allows: one command PDU with all of it, received in place.
#[test]
fn large_immediate_data_is_received_in_place_and_answered_at_once() {
    let mut target = Target::new(session(fast()));
    let data = vec![0x5a; 65_536];
    let write = ScsiCommand {
        write: true,
        expected_data_transfer_length: 65_536,
        data_segment_length: 65_536,
        ..command(1, WRITE)
    };
    let bytes = super::golden::wire(&[(InitiatorPdu::ScsiCommand(write), &data)]);
    target.receive(&bytes, Way::InPlace(9000));
    let copied = target.events.iter().filter_map(|event| match event {
        Event::Payload { input, .. } => Some(input.len()),
        _ => None,
    });
    assert!(copied.sum::<usize>() < 20_000, "most of it in place");
    let answer = super::golden::unwire(&target.send());
    assert!(matches!(&answer[..], [(TargetPdu::ScsiResponse(done), _)] if done.status == 0));
    assert_eq!(target.disk[..65_536], data);
}
