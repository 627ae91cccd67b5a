//! What Data-Out and the data of commands may not do, and what comes of it.

use iscsi_wire::{
    DataOut, InitiatorPdu, Itt, RejectReason, ScsiCommand, SerialNumber, TargetPdu,
    TaskManagementFunction, TaskManagementRequest, TaskManagementResponseCode, Ttt,
};

use super::golden::{command, exchange, read, wire};
use super::target::{CHECK_CONDITION, HANG, REFUSE, Target, WRITE, Way};
use crate::negotiate::NegotiatedParams;
use crate::session::fixture::{C0, session};
use crate::session::{DataFault, Event, TransportSense};

fn params() -> NegotiatedParams {
    NegotiatedParams {
        initial_r2t: false,
        first_burst_length: 1024,
        max_burst_length: 2048,
        max_outstanding_r2t: 2,
        ..NegotiatedParams::default()
    }
}

/// A write of 4096 bytes with 512 of immediate data and more to come unasked.
fn write(number: u32) -> ScsiCommand {
    ScsiCommand {
        write: true,
        r#final: false,
        expected_data_transfer_length: 4096,
        data_segment_length: 512,
        ..command(number, WRITE)
    }
}

pub(super) fn data_out(ttt: Ttt, data_sn: u32, offset: u32, bytes: u32, r#final: bool) -> DataOut {
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

const BYTES: [u8; 4096] = [0x5a; 4096];

pub(super) fn pdu(data: DataOut) -> (InitiatorPdu, &'static [u8]) {
    (
        InitiatorPdu::DataOut(data),
        &BYTES[..data.data_segment_length as usize],
    )
}

/// The sense of the only SCSI Response.
fn sense_of(answer: &[(TargetPdu, Vec<u8>)]) -> Option<(u8, u8, u8)> {
    let mut found = answer.iter().filter_map(|(pdu, data)| match pdu {
        TargetPdu::ScsiResponse(response) => Some((response, data)),
        _ => None,
    });
    let (response, data) = found.next()?;
    assert!(found.next().is_none());
    assert_eq!(response.status, CHECK_CONDITION);
    assert_eq!(data[..2], [0, 18]);
    Some((data[2 + 2], data[2 + 12], data[2 + 13]))
}

fn codes(sense: TransportSense) -> (u8, u8, u8) {
    let bytes = sense.bytes();
    (bytes[2], bytes[12], bytes[13])
}

/// A target with a write under way, its immediate data received.
fn with_write() -> Target {
    let mut target = Target::new(session(params()));
    let first = (InitiatorPdu::ScsiCommand(write(1)), &BYTES[..512]);
    assert_eq!(exchange(&mut target, &[first]), []);
    target
}

/// The same with its unsolicited burst received, and the tags of the two R2Ts that followed.
pub(super) fn with_r2ts() -> (Target, [Ttt; 2]) {
    let mut target = with_write();
    let burst = pdu(data_out(Ttt::RESERVED, 0, 512, 512, true));
    let answer = exchange(&mut target, &[burst]);
    let tags: Vec<_> = answer
        .iter()
        .map(|(pdu, _)| match pdu {
            TargetPdu::ReadyToTransfer(r2t) => (
                r2t.ttt,
                r2t.r2t_sn,
                r2t.buffer_offset,
                r2t.desired_data_transfer_length,
            ),
            other => panic!("no R2T: {other:?}"),
        })
        .collect();
    let [(first, 0, 1024, 2048), (second, 1, 3072, 1024)] = tags[..] else {
        panic!("{tags:?}")
    };
    (target, [first, second])
}

#[test]
fn unsolicited_data_that_breaks_a_rule_ends_its_command_with_the_named_condition() {
    let free = Ttt::RESERVED;
    let table: [(&str, Vec<DataOut>, DataFault); 7] = [
        (
            "DataSN does not start at 0",
            vec![data_out(free, 1, 512, 512, true)],
            DataFault::ProtocolServiceCrcError,
        ),
        (
            "the same DataSN twice",
            vec![
                data_out(free, 0, 512, 256, false),
                data_out(free, 0, 768, 256, true),
            ],
            DataFault::ProtocolServiceCrcError,
        ),
        (
            "a gap in the offsets",
            vec![data_out(free, 0, 768, 256, true)],
            DataFault::DataOffset,
        ),
        (
            "an overlap",
            vec![data_out(free, 0, 0, 1024, true)],
            DataFault::DataOffset,
        ),
        (
            "more than FirstBurstLength",
            vec![
                data_out(free, 0, 512, 513, false),
                data_out(free, 1, 1025, 0, true),
            ],
            DataFault::IncorrectAmountOfData,
        ),
        (
            "less than FirstBurstLength",
            vec![data_out(free, 0, 512, 511, true)],
            DataFault::IncorrectAmountOfData,
        ),
        (
            "a burst without bytes",
            vec![data_out(free, 0, 512, 0, true)],
            DataFault::IncorrectAmountOfData,
        ),
    ];
    for (what, pdus, fault) in table {
        let mut target = with_write();
        let (last, before) = pdus.split_last().unwrap();
        for data in before {
            assert_eq!(exchange(&mut target, &[pdu(*data)]), [], "{what}: before F");
        }
        let answer = exchange(&mut target, &[pdu(*last)]);
        assert_eq!(
            sense_of(&answer),
            Some(codes(TransportSense::Data(fault))),
            "{what}"
        );
        assert_eq!(target.session.counters().data_faults, 1);
        // What still comes is late.
        assert_eq!(exchange(&mut target, &[pdu(*last)]), []);
        assert_eq!(target.session.counters().late_data_pdus, 1);
        assert_eq!(target.session.outstanding_tasks().count(), 0);
    }
}

#[test]
fn solicited_data_that_breaks_a_rule_ends_its_command_once_all_sequences_have_ended() {
    let (_, [first, second]) = with_r2ts();
    let table: [(&str, DataOut, DataFault); 5] = [
        (
            "DataSN does not start at 0",
            data_out(first, 7, 1024, 2048, true),
            DataFault::ProtocolServiceCrcError,
        ),
        (
            "another offset than asked for",
            data_out(first, 0, 1536, 512, true),
            DataFault::DataOffset,
        ),
        (
            "less than asked for",
            data_out(first, 0, 1024, 2047, true),
            DataFault::IncorrectAmountOfData,
        ),
        (
            "more than asked for",
            data_out(first, 0, 1024, 2049, true),
            DataFault::IncorrectAmountOfData,
        ),
        (
            "the second R2T first",
            data_out(second, 0, 3072, 1024, true),
            DataFault::DataOffset,
        ),
    ];
    for (what, data, fault) in table {
        let (mut target, tags) = with_r2ts();
        assert_eq!(tags, [first, second]);
        assert_eq!(
            exchange(&mut target, &[pdu(data)]),
            [],
            "{what}: one R2T is open"
        );
        let other = if data.ttt == first { second } else { first };
        let answer = exchange(&mut target, &[pdu(data_out(other, 0, 3072, 1024, true))]);
        assert_eq!(
            sense_of(&answer),
            Some(codes(TransportSense::Data(fault))),
            "{what}"
        );
    }
}

#[test]
fn unsolicited_data_after_its_burst_is_unexpected() {
    let (mut target, [first, second]) = with_r2ts();
    assert_eq!(
        exchange(
            &mut target,
            &[pdu(data_out(Ttt::RESERVED, 1, 1024, 512, true))]
        ),
        []
    );
    let rest = [
        pdu(data_out(first, 0, 1024, 2048, true)),
        pdu(data_out(second, 0, 3072, 1024, true)),
    ];
    let answer = exchange(&mut target, &rest);
    let expected = TransportSense::Data(DataFault::UnexpectedUnsolicitedData);
    assert_eq!(sense_of(&answer), Some(codes(expected)));
}

#[test]
fn data_with_a_tag_that_was_never_given_out_is_rejected_and_harmless() {
    let (mut target, [first, second]) = with_r2ts();
    let answer = exchange(
        &mut target,
        &[pdu(data_out(Ttt(0xbad), 0, 1024, 2048, true))],
    );
    let [(TargetPdu::Reject(reject), header)] = &answer[..] else {
        panic!("{answer:?}")
    };
    assert_eq!(reject.reason, RejectReason::InvalidPduField);
    assert_eq!(
        header[..],
        data_out(Ttt(0xbad), 0, 1024, 2048, true).emit().0
    );
    let rest = [
        pdu(data_out(first, 0, 1024, 2048, true)),
        pdu(data_out(second, 0, 3072, 1024, true)),
    ];
    let answer = exchange(&mut target, &rest);
    assert!(matches!(&answer[..], [(TargetPdu::ScsiResponse(r), _)] if r.status == 0));
    assert_eq!(target.disk[..4096], BYTES);
}

#[test]
fn sequence_whose_f_bit_comes_with_an_empty_pdu_is_complete() {
    let (mut target, [first, second]) = with_r2ts();
    let pdus = [
        pdu(data_out(first, 0, 1024, 1000, false)),
        pdu(data_out(first, 1, 2024, 1048, false)),
        pdu(data_out(first, 2, 3072, 0, true)),
        pdu(data_out(second, 0, 3072, 1024, true)),
    ];
    let answer = exchange(&mut target, &pdus);
    assert!(matches!(&answer[..], [(TargetPdu::ScsiResponse(r), _)] if r.status == 0));
    let arrived = target.events.iter().filter_map(|event| match event {
        Event::DataArrived {
            contiguous,
            sequence_done,
            ..
        } => Some((*contiguous, *sequence_done)),
        _ => None,
    });
    let expected = [
        (512, false),
        (1024, true),
        (2024, false),
        (3072, false),
        (3072, true),
        (4096, true),
    ];
    assert_eq!(arrived.collect::<Vec<_>>(), expected);
}

#[test]
fn short_write_whose_burst_ends_early_is_asked_for_the_rest() {
    let mut target = Target::new(session(params()));
    let short = ScsiCommand {
        expected_data_transfer_length: 900,
        ..write(1)
    };
    let pdus = [
        (InitiatorPdu::ScsiCommand(short), &BYTES[..512]),
        pdu(data_out(Ttt::RESERVED, 0, 512, 100, true)),
    ];
    let answer = exchange(&mut target, &pdus);
    let [(TargetPdu::ReadyToTransfer(r2t), _)] = &answer[..] else {
        panic!("{answer:?}")
    };
    assert_eq!(
        (r2t.buffer_offset, r2t.desired_data_transfer_length),
        (612, 288)
    );
}

#[test]
fn command_with_a_flaw_in_its_header_ends_before_the_engine_hears_of_it() {
    let unexpected = TransportSense::Data(DataFault::UnexpectedUnsolicitedData);
    let allowed = params();
    let no_immediate = NegotiatedParams {
        immediate_data: false,
        ..params()
    };
    let no_unsolicited = NegotiatedParams {
        initial_r2t: true,
        ..params()
    };
    let final_write = ScsiCommand {
        r#final: true,
        ..write(1)
    };
    let table: [(&str, &NegotiatedParams, ScsiCommand, TransportSense); 6] = [
        (
            "ImmediateData is No",
            &no_immediate,
            final_write,
            unexpected,
        ),
        ("InitialR2T is Yes", &no_unsolicited, write(1), unexpected),
        (
            "data with a read",
            &allowed,
            ScsiCommand {
                data_segment_length: 4,
                ..read(1, 512)
            },
            unexpected,
        ),
        (
            "more than FirstBurstLength",
            &allowed,
            ScsiCommand {
                data_segment_length: 1028,
                ..final_write
            },
            unexpected,
        ),
        (
            "more than is expected to move",
            &allowed,
            ScsiCommand {
                expected_data_transfer_length: 508,
                ..final_write
            },
            TransportSense::Data(DataFault::IncorrectAmountOfData),
        ),
        (
            "both ways",
            &allowed,
            ScsiCommand {
                read: true,
                ..final_write
            },
            TransportSense::InvalidCommandHeader,
        ),
    ];
    for (what, params, command, sense) in table {
        let mut target = Target::new(session(params.clone()));
        let data = &BYTES[..command.data_segment_length as usize];
        let answer = exchange(&mut target, &[(InitiatorPdu::ScsiCommand(command), data)]);
        assert_eq!(sense_of(&answer), Some(codes(sense)), "{what}");
        assert_eq!(target.events, [], "{what}");
        // The CmdSN is used up, and the session goes on.
        let next = (InitiatorPdu::ScsiCommand(read(2, 512)), &[][..]);
        assert!(matches!(
            &exchange(&mut target, &[next])[..],
            [(TargetPdu::DataIn(_), _)]
        ));
    }
}

#[test]
fn write_and_read_of_no_bytes_are_answered_without_data() {
    let mut target = Target::new(session(params()));
    let nothing = ScsiCommand {
        write: true,
        ..command(1, WRITE)
    };
    for pdu in [nothing, read(2, 0)] {
        let answer = exchange(&mut target, &[(InitiatorPdu::ScsiCommand(pdu), &[])]);
        let [(TargetPdu::ScsiResponse(response), _)] = &answer[..] else {
            panic!("{answer:?}")
        };
        assert_eq!(
            (response.status, response.residual_count, response.underflow),
            (0, 0, false)
        );
    }
}

#[test]
fn data_digest_error_in_data_out_is_rejected_and_ends_only_the_command() {
    let params = NegotiatedParams {
        data_digest: true,
        ..params()
    };
    let mut target = Target::new(session(params));
    let digest = |data: &[u8]| iscsi_wire::crc32c(data).to_le_bytes();
    let mut bytes = wire(&[(InitiatorPdu::ScsiCommand(write(1)), &BYTES[..512])]);
    bytes.extend(digest(&BYTES[..512]));
    bytes.extend(wire(&[pdu(data_out(Ttt::RESERVED, 0, 512, 512, true))]));
    bytes.extend([0; 4]);
    target.receive(&bytes, Way::Staging(usize::MAX));
    let wire = target.send();
    let header = iscsi_wire::Bhs(*wire.first_chunk().unwrap());
    let TargetPdu::Reject(reject) = TargetPdu::parse(&header).unwrap() else {
        panic!("{header:?}")
    };
    assert_eq!(reject.reason, RejectReason::DataDigestError);
    let at = 48 + 48 + 4;
    let header = iscsi_wire::Bhs(*wire[at..].first_chunk().unwrap());
    let TargetPdu::ScsiResponse(response) = TargetPdu::parse(&header).unwrap() else {
        panic!("{header:?}")
    };
    assert_eq!(response.status, CHECK_CONDITION);
    assert_eq!(wire[at + 48 + 2 + 12..][..2], [0x47, 0x05]);
    assert_eq!(target.session.counters().data_digest_errors, 1);
    assert!(
        !target
            .events
            .iter()
            .any(|e| matches!(e, Event::ConnectionDone { .. }))
    );
}

#[test]
fn late_data_for_an_abandoned_task_is_counted_and_its_tag_is_not_used_again() {
    let (mut target, [first, _]) = with_r2ts();
    let task = target.open()[0];
    target.abort(task);
    assert!(
        target.session.has_output(crate::session::fixture::C0),
        "the window has grown"
    );
    let news = super::golden::unwire(&target.send());
    let [(TargetPdu::NopIn(nop), _)] = &news[..] else {
        panic!("{news:?}")
    };
    assert_eq!(
        (nop.itt, nop.ttt, nop.max_cmd_sn),
        (Itt::RESERVED, Ttt::RESERVED, SerialNumber(9))
    );
    let answer = exchange(&mut target, &[pdu(data_out(first, 0, 1024, 2048, true))]);
    assert_eq!(answer, []);
    let counters = target.session.counters();
    assert_eq!(
        (counters.late_data_pdus, counters.late_data_bytes),
        (1, 2048)
    );
    // The same tag and place, a new task: its tags are others.
    let again = ScsiCommand {
        r#final: true,
        itt: Itt(1),
        ..write(2)
    };
    let answer = exchange(
        &mut target,
        &[(InitiatorPdu::ScsiCommand(again), &BYTES[..512])],
    );
    let tags = answer.iter().map(|(pdu, _)| match pdu {
        TargetPdu::ReadyToTransfer(r2t) => r2t.ttt,
        other => panic!("no R2T: {other:?}"),
    });
    assert!(tags.into_iter().all(|ttt| ttt != first));
}

#[test]
fn task_completed_while_its_payload_comes_drops_the_rest_both_ways() {
    for way in [Way::Staging(usize::MAX), Way::InPlace(usize::MAX)] {
        let params = NegotiatedParams {
            first_burst_length: 4096,
            ..params()
        };
        let mut target = Target::new(session(params));
        let hang = ScsiCommand {
            r#final: true,
            data_segment_length: 4096,
            cdb: command(1, HANG).cdb,
            ..write(1)
        };
        let bytes = wire(&[(InitiatorPdu::ScsiCommand(hang), &BYTES)]);
        target.receive(&bytes[..1000], way);
        let task = target.open()[0];
        target.fail(task, &[]);
        let answer = super::golden::unwire(&target.send());
        assert!(matches!(&answer[..], [(TargetPdu::ScsiResponse(_), _)]));
        target.receive(&bytes[1000..], way);
        assert!(
            !target
                .events
                .iter()
                .any(|e| matches!(e, Event::DataArrived { .. }))
        );
        let next = (InitiatorPdu::ScsiCommand(read(2, 512)), &[][..]);
        assert!(matches!(
            &exchange(&mut target, &[next])[..],
            [(TargetPdu::DataIn(_), _)]
        ));
    }
}

#[test]
fn task_abandoned_while_its_payload_comes_owns_no_byte_of_the_rest() {
    let mut target = with_write();
    let bytes = wire(&[pdu(data_out(Ttt::RESERVED, 0, 512, 512, true))]);
    target.receive(&bytes[..100], Way::Staging(usize::MAX));
    let task = target.open()[0];
    target.abort(task);
    let segment = target.session.connections.get(C0).unwrap().receive.segment;
    assert_eq!(segment.purpose, crate::connection::Purpose::Ignore);
    let heard = target.events.len();
    target.receive(&bytes[100..], Way::Staging(usize::MAX));
    assert_eq!(target.events.len(), heard);
}

#[test]
fn data_that_the_engine_did_not_decide_on_is_dropped() {
    let mut session = session(params());
    let bytes = wire(&[(InitiatorPdu::ScsiCommand(write(1)), &BYTES[..512])]);
    let c = crate::session::fixture::C0;
    let now = core::time::Duration::ZERO;
    let first = session.handle_received(c, now, &bytes);
    let Some(Event::Command(command)) = first.event else {
        panic!("{first:?}")
    };
    assert_eq!(
        (
            first.consumed,
            command.data_follows,
            command.unsolicited_follows
        ),
        (48, 512, 512)
    );
    let rest = session.handle_received(c, now, &bytes[48..]);
    assert_eq!((rest.consumed, rest.event), (512, None));
    // Too late to change that.
    session.accept_data(command.task);
    let more = wire(&[pdu(data_out(Ttt::RESERVED, 0, 512, 512, true))]);
    assert_eq!(session.handle_received(c, now, &more).event, None);
}

/// A write whose data has come but for what its two R2Ts asked for: bytes 1024 to 3072, and 3072 to 4096.
fn with_r2ts_in_any_order(pdus: bool, sequences: bool) -> (Target, [Ttt; 2]) {
    let mut target = Target::new(session(NegotiatedParams {
        data_pdu_in_order: pdus,
        data_sequence_in_order: sequences,
        ..params()
    }));
    let burst = data_out(Ttt::RESERVED, 0, 512, 512, true);
    let first = (InitiatorPdu::ScsiCommand(write(1)), &BYTES[..512]);
    let answer = exchange(&mut target, &[first, pdu(burst)]);
    let tags: Vec<Ttt> = answer
        .iter()
        .map(|(pdu, _)| match pdu {
            TargetPdu::ReadyToTransfer(r2t) => r2t.ttt,
            other => panic!("no R2T: {other:?}"),
        })
        .collect();
    (target, [tags[0], tags[1]])
}

#[test]
fn data_in_any_order_that_leaves_no_gap_is_taken_where_that_was_agreed() {
    let (_, [first, second]) = with_r2ts_in_any_order(false, false);
    let table: [(bool, bool, Vec<DataOut>); 3] = [
        (
            false,
            true,
            vec![
                data_out(first, 0, 2048, 1024, false),
                data_out(first, 1, 1024, 512, false),
                data_out(first, 2, 1536, 512, true),
                data_out(second, 0, 3584, 512, false),
                data_out(second, 1, 3072, 512, true),
            ],
        ),
        (
            true,
            false,
            vec![
                data_out(second, 0, 3072, 512, false),
                data_out(first, 0, 1024, 2048, true),
                data_out(second, 1, 3584, 512, true),
            ],
        ),
        (
            false,
            false,
            vec![
                data_out(second, 0, 3584, 512, false),
                data_out(first, 0, 2560, 512, false),
                data_out(second, 1, 3072, 512, true),
                data_out(first, 1, 1024, 1536, true),
            ],
        ),
    ];
    for (pdus, sequences, sent) in table {
        let (mut target, tags) = with_r2ts_in_any_order(pdus, sequences);
        assert_eq!(tags, [first, second]);
        let (last, before) = sent.split_last().unwrap();
        for data in before {
            assert_eq!(exchange(&mut target, &[pdu(*data)]), [], "{data:?}");
        }
        let answer = exchange(&mut target, &[pdu(*last)]);
        let [(TargetPdu::ScsiResponse(response), _)] = &answer[..] else {
            panic!("{answer:?}")
        };
        assert_eq!(response.status, 0, "{pdus} {sequences}");
        assert_eq!(target.session.counters().data_faults, 0);
    }
}

#[test]
fn data_in_any_order_that_breaks_a_rule_ends_its_command() {
    let (_, [first, second]) = with_r2ts_in_any_order(false, false);
    let table: [(&str, bool, bool, Vec<DataOut>, DataFault); 6] = [
        (
            "the same bytes twice",
            false,
            false,
            vec![
                data_out(first, 0, 2048, 1024, false),
                data_out(first, 1, 2048, 1024, true),
            ],
            DataFault::DataOffset,
        ),
        (
            "bytes that came before the R2T",
            false,
            false,
            vec![data_out(first, 0, 512, 2048, true)],
            DataFault::DataOffset,
        ),
        (
            "bytes of the other sequence",
            false,
            false,
            vec![data_out(first, 0, 2048, 2048, true)],
            DataFault::IncorrectAmountOfData,
        ),
        (
            "a gap",
            false,
            false,
            vec![
                data_out(first, 0, 1024, 512, false),
                data_out(first, 1, 2048, 1024, true),
            ],
            DataFault::IncorrectAmountOfData,
        ),
        (
            "PDUs out of order where sequences need not be in order",
            true,
            false,
            vec![
                data_out(first, 0, 2048, 1024, false),
                data_out(first, 1, 1024, 1024, true),
            ],
            DataFault::DataOffset,
        ),
        (
            "sequences out of order where PDUs need not be in order",
            false,
            true,
            vec![data_out(second, 0, 3072, 1024, true)],
            DataFault::DataOffset,
        ),
    ];
    for (what, pdus, sequences, sent, fault) in table {
        let (mut target, _) = with_r2ts_in_any_order(pdus, sequences);
        let mut answers = Vec::new();
        for data in &sent {
            answers.extend(exchange(&mut target, &[pdu(*data)]));
        }
        // The other sequence ends, so that nothing is under way any more.
        let other = if sent[0].ttt == first { second } else { first };
        let (offset, bytes) = if other == first {
            (1024, 2048)
        } else {
            (3072, 1024)
        };
        answers.extend(exchange(
            &mut target,
            &[pdu(data_out(other, 0, offset, bytes, true))],
        ));
        let expected = Some(codes(TransportSense::Data(fault)));
        assert_eq!(sense_of(&answers), expected, "{what}");
    }
}

/// A write that is refused at its header, with data under way.
fn refused(r#final: bool) -> (InitiatorPdu, &'static [u8]) {
    let refused = ScsiCommand {
        r#final,
        cdb: command(1, REFUSE).cdb,
        ..write(1)
    };
    (InitiatorPdu::ScsiCommand(refused), &BYTES[..512])
}

#[test]
fn status_of_a_failed_write_waits_for_the_end_of_its_sequences() {
    let refusal = |answer: &[(TargetPdu, Vec<u8>)]| match answer {
        [(TargetPdu::ScsiResponse(response), _)] => response.status == CHECK_CONDITION,
        _ => panic!("{answer:?}"),
    };
    // Unsolicited data, whether it comes in order or not.
    for (offset, last) in [(512, 768), (768, 768)] {
        let mut target = Target::new(session(params()));
        assert_eq!(exchange(&mut target, &[refused(false)]), []);
        let part = data_out(Ttt::RESERVED, 0, offset, 256, false);
        assert_eq!(exchange(&mut target, &[pdu(part)]), []);
        let part = data_out(Ttt::RESERVED, 1, last, 256, true);
        assert!(refusal(&exchange(&mut target, &[pdu(part)])));
        let counters = target.session.counters();
        assert_eq!((counters.late_data_bytes, counters.data_faults), (512, 0));
    }
    // What was asked for.
    let (mut target, [first, second]) = with_r2ts();
    let task = target.open()[0];
    target.fail(task, &[]);
    assert_eq!(super::golden::unwire(&target.send()), []);
    let one = data_out(first, 0, 1024, 2048, true);
    assert_eq!(exchange(&mut target, &[pdu(one)]), []);
    let two = data_out(second, 0, 3072, 1024, true);
    assert!(refusal(&exchange(&mut target, &[pdu(two)])));
    // With all of its data in the command, at once.
    let mut target = Target::new(session(params()));
    assert!(refusal(&exchange(&mut target, &[refused(true)])));
}

/// Whoever aborts a command need not go on with its data: the status that waited for that leaves before the response.
#[test]
fn abort_of_a_failed_write_lets_its_status_leave_without_its_data() {
    let (mut target, [first, _]) = with_r2ts();
    let task = target.open()[0];
    target.fail(task, &[]);
    let request = TaskManagementRequest {
        immediate: true,
        function: TaskManagementFunction::AbortTask,
        itt: Itt(9),
        referenced_task_tag: Itt(1),
        cmd_sn: SerialNumber(2),
        ref_cmd_sn: SerialNumber(1),
        ..TaskManagementRequest::default()
    };
    let request = InitiatorPdu::TaskManagementRequest(request);
    let answer = exchange(&mut target, &[(request, &[])]);
    let [
        (TargetPdu::ScsiResponse(_), _),
        (TargetPdu::TaskManagementResponse(done), _),
    ] = &answer[..]
    else {
        panic!("{answer:?}")
    };
    let response = TaskManagementResponseCode::TaskDoesNotExist;
    assert_eq!(done.response, response);
    let late = data_out(first, 0, 1024, 2048, true);
    assert_eq!(exchange(&mut target, &[pdu(late)]), []);
    assert_eq!(target.session.counters().late_data_pdus, 1);
}

#[test]
fn data_with_a_tag_and_another_lun_than_its_task_is_rejected() {
    let (mut target, [first, _]) = with_r2ts();
    let wrong = DataOut {
        lun: iscsi_wire::Lun64(1 << 48),
        ..data_out(first, 0, 1024, 2048, true)
    };
    let answer = exchange(&mut target, &[pdu(wrong)]);
    let [(TargetPdu::Reject(reject), _)] = &answer[..] else {
        panic!("{answer:?}")
    };
    assert_eq!(reject.reason, RejectReason::InvalidPduField);
    // Nothing of it has been taken in.
    let right = data_out(first, 0, 1024, 2048, true);
    assert_eq!(exchange(&mut target, &[pdu(right)]), []);
}

#[test]
fn abort_task_with_another_lun_than_the_task_finds_no_task() {
    let (mut target, _) = with_r2ts();
    let request = TaskManagementRequest {
        immediate: true,
        function: TaskManagementFunction::AbortTask,
        lun: iscsi_wire::Lun64(1 << 48),
        itt: Itt(9),
        referenced_task_tag: Itt(1),
        cmd_sn: SerialNumber(2),
        ref_cmd_sn: SerialNumber(1),
        ..TaskManagementRequest::default()
    };
    let request = InitiatorPdu::TaskManagementRequest(request);
    let answer = exchange(&mut target, &[(request, &[])]);
    let [(TargetPdu::TaskManagementResponse(done), _)] = &answer[..] else {
        panic!("{answer:?}")
    };
    let response = TaskManagementResponseCode::TaskDoesNotExist;
    assert_eq!(done.response, response);
    assert_eq!(target.open().len(), 1);
}
