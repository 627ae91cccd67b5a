//! Data-Out that is lost, late or repeated (RFC 7143 §7.8, §7.9, §11.8).

use core::time::Duration;

use iscsi_wire::{
    DataOut, InitiatorPdu, Itt, ReadyToTransfer, RejectReason, ScsiCommand, SerialNumber,
    SnackRequest, SnackType, TargetPdu, Ttt,
};

use super::super::golden::{command, exchange, unwire};
use super::super::pair::pattern;
use super::super::target::{CHECK_CONDITION, Target, WRITE, Way};
use super::{ask, params, reject, snack, target, unwire_with_digests, wire_with_digests};
use crate::negotiate::NegotiatedParams;
use crate::session::fixture::session;
use crate::session::{DataFault, Event};

const BYTES: u32 = 4096;

/// A write of 4096 bytes with 512 of immediate data, and 512 to come unasked.
fn write() -> (ScsiCommand, Vec<u8>) {
    let data = pattern(BYTES);
    let command = ScsiCommand {
        write: true,
        r#final: false,
        expected_data_transfer_length: BYTES,
        data_segment_length: 512,
        ..command(1, WRITE)
    };
    (command, data)
}

fn data_out(ttt: Ttt, data_sn: u32, offset: u32, bytes: u32, r#final: bool) -> DataOut {
    DataOut {
        r#final,
        data_segment_length: bytes,
        itt: Itt(1),
        ttt,
        exp_stat_sn: SerialNumber(1),
        data_sn,
        buffer_offset: offset,
        ..DataOut::default()
    }
}

/// Sends Data-Out PDUs of the pattern.
fn send(target: &mut Target, pdus: &[DataOut]) -> Vec<(TargetPdu, Vec<u8>)> {
    let data = pattern(BYTES * 2);
    let pdus: Vec<(InitiatorPdu, &[u8])> = pdus
        .iter()
        .map(|pdu| {
            let at = pdu.buffer_offset as usize;
            let bytes = &data[at..at + pdu.data_segment_length as usize];
            (InitiatorPdu::DataOut(*pdu), bytes)
        })
        .collect();
    exchange(target, &pdus)
}

/// What the answers ask for: R2TSN, offset, bytes.
fn asked(answer: &[(TargetPdu, Vec<u8>)]) -> Vec<(u32, u32, u32)> {
    let asked = r2ts(answer).into_iter();
    asked
        .map(|r2t| {
            (
                r2t.r2t_sn,
                r2t.buffer_offset,
                r2t.desired_data_transfer_length,
            )
        })
        .collect()
}

fn r2ts(answer: &[(TargetPdu, Vec<u8>)]) -> Vec<ReadyToTransfer> {
    let r2ts = answer.iter().filter_map(|(pdu, _)| match pdu {
        TargetPdu::ReadyToTransfer(r2t) => Some(*r2t),
        _ => None,
    });
    r2ts.collect()
}

fn status(answer: &[(TargetPdu, Vec<u8>)]) -> Option<u8> {
    answer.iter().find_map(|(pdu, _)| match pdu {
        TargetPdu::ScsiResponse(response) => Some(response.status),
        _ => None,
    })
}

/// A write whose immediate data has come.
fn begun(mut target: Target) -> Target {
    let (command, data) = write();
    let pdus = [(InitiatorPdu::ScsiCommand(command), &data[..512])];
    assert_eq!(exchange(&mut target, &pdus), []);
    target
}

/// The same, with the burst come too: and the first R2T.
fn with_r2t() -> (Target, ReadyToTransfer) {
    let mut target = begun(target());
    let answer = send(&mut target, &[data_out(Ttt::RESERVED, 0, 512, 512, true)]);
    assert_eq!(asked(&answer), [(0, 1024, 2048)]);
    (target, r2ts(&answer)[0])
}

/// Answers what is asked for until the status has come, and checks what was written.
fn finish(target: &mut Target, mut answer: Vec<(TargetPdu, Vec<u8>)>) {
    for _ in 0..20 {
        if let Some(status) = status(&answer) {
            assert_eq!(status, 0);
            assert_eq!(target.disk[..BYTES as usize], pattern(BYTES));
            return;
        }
        let r2ts = r2ts(&answer);
        assert_eq!(r2ts.len(), 1, "{answer:?}");
        let (ttt, offset) = (r2ts[0].ttt, r2ts[0].buffer_offset);
        let bytes = r2ts[0].desired_data_transfer_length;
        answer = send(target, &[data_out(ttt, 0, offset, bytes, true)]);
    }
    panic!("no status");
}

#[test]
fn pdu_lost_from_a_solicited_sequence_is_asked_for_again_with_the_next_r2t_sn() {
    let all = |ttt| {
        [(0, 1024), (1, 1536), (2, 2048), (3, 2560)]
            .map(|(sn, offset)| data_out(ttt, sn, offset, 512, sn == 3))
    };
    for lost in 0..3 {
        let (mut target, r2t) = with_r2t();
        let mut pdus = all(r2t.ttt).to_vec();
        pdus.remove(lost);
        let answer = send(&mut target, &pdus);
        assert_eq!(
            asked(&answer),
            [(1, 1024 + lost as u32 * 512, 512)],
            "{lost}"
        );
        finish(&mut target, answer);
    }
    let (mut target, r2t) = with_r2t();
    let answer = send(&mut target, &[all(r2t.ttt)[1], all(r2t.ttt)[3]]);
    // One R2T at a time: the gaps one after the other.
    assert_eq!(asked(&answer), [(1, 1024, 512)]);
    finish(&mut target, answer);
    assert_eq!(target.session.counters().recovery_r2ts, 2);
}

#[test]
fn pdu_with_a_wrong_digest_is_rejected_and_asked_for_again() {
    let digests = NegotiatedParams {
        header_digest: true,
        data_digest: true,
        ..params()
    };
    for damaged in 0..4 {
        let mut target = Target::new(session(digests.clone()));
        let (command, data) = write();
        let whole = Way::Staging(usize::MAX);
        let burst = data_out(Ttt::RESERVED, 0, 512, 512, true);
        let pdus = [
            (InitiatorPdu::ScsiCommand(command), &data[..512]),
            (InitiatorPdu::DataOut(burst), &data[512..1024]),
        ];
        target.receive(&wire_with_digests(&pdus, None), whole);
        let ttt = r2ts(&unwire_with_digests(&target.send()))[0].ttt;
        let pdus: Vec<(InitiatorPdu, &[u8])> = (0..4)
            .map(|sn| {
                let offset = 1024 + sn * 512;
                let pdu = data_out(ttt, sn, offset, 512, sn == 3);
                let at = offset as usize;
                (InitiatorPdu::DataOut(pdu), &data[at..at + 512])
            })
            .collect();
        target.receive(&wire_with_digests(&pdus, Some(damaged)), whole);
        let answer = unwire_with_digests(&target.send());
        let rejected = answer.iter().find_map(|(pdu, data)| match pdu {
            TargetPdu::Reject(reject) => Some((reject.reason, data.clone())),
            _ => None,
        });
        let header = pdus[damaged].0.emit().0.to_vec();
        assert_eq!(rejected, Some((RejectReason::DataDigestError, header)));
        let from = 1024 + damaged as u32 * 512;
        assert_eq!(asked(&answer), [(1, from, 512)]);
        let again = data_out(r2ts(&answer)[0].ttt, 0, from, 512, true);
        let at = from as usize;
        let pdus = [(InitiatorPdu::DataOut(again), &data[at..at + 512])];
        target.receive(&wire_with_digests(&pdus, None), whole);
        let answer = unwire_with_digests(&target.send());
        assert_eq!(asked(&answer), [(2, 3072, 1024)], "then what comes after");
        let rest = data_out(r2ts(&answer)[0].ttt, 0, 3072, 1024, true);
        let pdus = [(InitiatorPdu::DataOut(rest), &data[3072..])];
        target.receive(&wire_with_digests(&pdus, None), whole);
        assert_eq!(status(&unwire_with_digests(&target.send())), Some(0));
        assert_eq!(target.disk[..BYTES as usize], data);
    }
}

#[test]
fn burst_that_ends_short_or_with_a_gap_is_completed_by_a_recovery_r2t() {
    let mut target = begun(target());
    let answer = send(&mut target, &[data_out(Ttt::RESERVED, 1, 768, 256, true)]);
    assert_eq!(asked(&answer), [(0, 512, 256)]);
    finish(&mut target, answer);
    let mut target = begun(super::target());
    let answer = send(&mut target, &[data_out(Ttt::RESERVED, 0, 512, 100, true)]);
    assert_eq!(asked(&answer), [(0, 612, 412)]);
    finish(&mut target, answer);
}

#[test]
fn data_that_does_not_come_is_asked_for_again_by_time() {
    // The burst, a sequence, and a recovery R2T.
    let mut target = begun(target());
    let mut expected = [(0, 512, 512), (1, 512, 512)].into_iter();
    let mut answer = Vec::new();
    for _ in 0..2 {
        answer = wait(&mut target);
        assert_eq!(asked(&answer), [expected.next().unwrap()]);
    }
    // The burst comes after all: what was given up is not taken, and does no harm.
    let late = send(&mut target, &[data_out(Ttt::RESERVED, 0, 512, 512, true)]);
    assert_eq!(late, []);
    finish(&mut target, answer);
    let (mut target, r2t) = with_r2t();
    send(&mut target, &[data_out(r2t.ttt, 0, 1024, 512, false)]);
    let answer = wait(&mut target);
    assert_eq!(asked(&answer), [(1, 1536, 1536)]);
    let late = send(&mut target, &[data_out(r2t.ttt, 1, 1536, 512, false)]);
    assert_eq!(late, []);
    finish(&mut target, answer);
}

/// Lets time go on until something is sent that is no ping.
fn wait(target: &mut Target) -> Vec<(TargetPdu, Vec<u8>)> {
    for _ in 0..10 {
        target.now += Duration::from_secs(1);
        target.time_out();
        let answer = unwire(&target.send());
        if answer
            .iter()
            .any(|(pdu, _)| !matches!(pdu, TargetPdu::NopIn(_)))
        {
            return answer;
        }
    }
    panic!("nothing is sent");
}

#[test]
fn data_that_never_comes_ends_the_task_with_protocol_service_crc_error() {
    let (mut target, _) = with_r2t();
    let mut tries = 0;
    loop {
        let answer = wait(&mut target);
        if let Some(status) = status(&answer) {
            assert_eq!(status, CHECK_CONDITION);
            break;
        }
        assert_eq!(asked(&answer), [(tries + 1, 1024, 2048)]);
        tries += 1;
    }
    assert_eq!(tries, 8);
    let fault = DataFault::ProtocolServiceCrcError;
    let told =
        |event: &Event| matches!(event, Event::DataFault { fault: told, .. } if *told == fault);
    assert!(target.events.iter().any(told));
}

#[test]
fn repeated_and_overlapping_pdus_change_nothing() {
    let (mut target, r2t) = with_r2t();
    let first = data_out(r2t.ttt, 0, 1024, 512, false);
    let answer = send(&mut target, &[first, first]);
    assert_eq!(answer, []);
    let rest = [
        data_out(r2t.ttt, 1, 1536, 1024, false),
        data_out(r2t.ttt, 1, 1536, 1024, false),
        data_out(r2t.ttt, 2, 2560, 512, true),
        data_out(r2t.ttt, 2, 2560, 512, true),
    ];
    let answer = send(&mut target, &rest);
    assert_eq!(asked(&answer), [(1, 3072, 1024)]);
    finish(&mut target, answer);
    // A recovery R2T answered with more than was asked for is the initiator's mistake.
    let (mut target, r2t) = with_r2t();
    let answer = send(&mut target, &[data_out(r2t.ttt, 1, 1536, 1536, true)]);
    let ttt = r2ts(&answer)[0].ttt;
    let answer = send(&mut target, &[data_out(ttt, 0, 1024, 600, true)]);
    assert_eq!(status(&answer), Some(CHECK_CONDITION));
}

#[test]
fn data_that_breaks_the_rules_without_a_loss_ends_the_task() {
    type Pdu = (u32, u32, u32, bool);
    let table: [(&[Pdu], DataFault); 3] = [
        // Where no PDU was lost there is no gap.
        (&[(0, 1536, 512, true)], DataFault::DataOffset),
        (&[(0, 1024, 2560, true)], DataFault::IncorrectAmountOfData),
        (
            &[(0, 1024, 512, false), (2, 1024, 512, true)],
            DataFault::DataOffset,
        ),
    ];
    for (pdus, expected) in table {
        let (mut target, r2t) = with_r2t();
        let pdus: Vec<DataOut> = pdus
            .iter()
            .map(|(sn, offset, bytes, last)| data_out(r2t.ttt, *sn, *offset, *bytes, *last))
            .collect();
        let answer = send(&mut target, &pdus);
        assert_eq!(status(&answer), Some(CHECK_CONDITION), "{pdus:?}");
        let told =
            |event: &Event| matches!(event, Event::DataFault { fault, .. } if *fault == expected);
        assert!(target.events.iter().any(told), "{pdus:?}");
    }
    let (mut target, _) = with_r2t();
    let answer = send(&mut target, &[data_out(Ttt(4000), 0, 1024, 512, true)]);
    assert_eq!(reject(&answer), RejectReason::InvalidPduField);
}

#[test]
fn sequence_whose_end_was_lost_is_over_when_the_next_one_begins() {
    let two = NegotiatedParams {
        max_outstanding_r2t: 2,
        max_burst_length: 1024,
        ..params()
    };
    let mut target = begun(Target::new(session(two)));
    let answer = send(&mut target, &[data_out(Ttt::RESERVED, 0, 512, 512, true)]);
    let both = r2ts(&answer);
    assert_eq!(asked(&answer), [(0, 1024, 1024), (1, 2048, 1024)]);
    let answer = send(
        &mut target,
        &[
            data_out(both[0].ttt, 0, 1024, 512, false),
            data_out(both[1].ttt, 0, 2048, 1024, true),
        ],
    );
    assert_eq!(asked(&answer), [(2, 1536, 512), (3, 3072, 1024)]);
    let both = r2ts(&answer);
    let answer = send(
        &mut target,
        &[
            data_out(both[0].ttt, 0, 1536, 512, true),
            data_out(both[1].ttt, 0, 3072, 1024, true),
        ],
    );
    assert_eq!(status(&answer), Some(0));
    assert_eq!(target.disk[..BYTES as usize], pattern(BYTES));
}

#[test]
fn r2t_snack_brings_the_r2ts_that_are_outstanding() {
    let (mut target, r2t) = with_r2t();
    let r2t_snack = |beg_run, run_length| SnackRequest {
        itt: Itt(1),
        ..snack(SnackType::DataOrR2t, beg_run, run_length)
    };
    for (beg_run, run_length) in [(0, 0), (0, 1)] {
        let again = ask(&mut target, r2t_snack(beg_run, run_length));
        assert_eq!(again, [(TargetPdu::ReadyToTransfer(r2t), Vec::new())]);
    }
    for (beg_run, run_length) in [(1, 0), (1, 1), (0, 2)] {
        let answer = ask(&mut target, r2t_snack(beg_run, run_length));
        let [(TargetPdu::Reject(reject), _)] = &answer[..] else {
            panic!("one Reject: {answer:?}");
        };
        assert_eq!(
            (reject.reason, reject.data_sn),
            (RejectReason::ProtocolError, 1)
        );
    }
    let answer = send(&mut target, &[data_out(r2t.ttt, 0, 1024, 2048, true)]);
    let second = r2ts(&answer)[0];
    // The data of the first has come: it needs no answer any more.
    let gone = ask(&mut target, r2t_snack(0, 1));
    assert_eq!(reject(&gone), RejectReason::ProtocolError);
    let again = ask(&mut target, r2t_snack(0, 0));
    let [again] = &r2ts(&again)[..] else {
        panic!("one R2T");
    };
    // RFC 7143 §11.16: StatSN is that of now.
    let expected = ReadyToTransfer {
        stat_sn: again.stat_sn,
        ..second
    };
    assert_eq!((*again, again.stat_sn.0), (expected, second.stat_sn.0 + 1));
    finish(&mut target, answer);
}
