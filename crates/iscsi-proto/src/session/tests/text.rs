//! Text exchanges header by header.

use iscsi_wire::{InitiatorPdu, Itt, RejectReason, SerialNumber, TargetPdu, TextRequest, Ttt};

use super::golden::{exchange, unwire};
use super::target::Target;
use crate::negotiate::NegotiatedParams;
use crate::session::fixture::session;
use crate::session::{Event, SendTargets};

fn target() -> Target {
    let params = NegotiatedParams {
        max_send_data_segment_length: 512,
        ..NegotiatedParams::default()
    };
    Target::new(session(params))
}

fn text(number: u32, ttt: Ttt) -> TextRequest {
    TextRequest {
        r#final: true,
        itt: Itt(50),
        ttt,
        cmd_sn: SerialNumber(number),
        ..TextRequest::default()
    }
}

fn ask(target: &mut Target, request: TextRequest, data: &[u8]) -> Vec<(TargetPdu, Vec<u8>)> {
    let data_segment_length = data.len() as u32;
    let request = TextRequest {
        data_segment_length,
        ..request
    };
    exchange(target, &[(InitiatorPdu::TextRequest(request), data)])
}

/// F, C, tag and data of the only response.
fn response(answer: &[(TargetPdu, Vec<u8>)]) -> (bool, bool, Ttt, String) {
    let [(TargetPdu::TextResponse(pdu), data)] = answer else {
        panic!("{answer:?}")
    };
    (
        pdu.r#final,
        pdu.r#continue,
        pdu.ttt,
        String::from_utf8(data.clone()).unwrap(),
    )
}

fn reason(answer: &[(TargetPdu, Vec<u8>)]) -> RejectReason {
    let [(TargetPdu::Reject(reject), _)] = answer else {
        panic!("{answer:?}")
    };
    reject.reason
}

#[test]
fn text_split_at_every_byte_is_put_together() {
    let whole = b"X-a=1\0SendTargets=\0";
    for cut in 1..whole.len() {
        let mut target = target();
        let part = TextRequest {
            r#final: false,
            r#continue: true,
            ..text(1, Ttt::RESERVED)
        };
        let (r#final, r#continue, ttt, data) = response(&ask(&mut target, part, &whole[..cut]));
        assert_eq!((r#final, r#continue, data.as_str()), (false, false, ""));
        assert_ne!(ttt, Ttt::RESERVED);
        let (r#final, _, last, data) = response(&ask(&mut target, text(2, ttt), &whole[cut..]));
        assert_eq!((r#final, last), (true, Ttt::RESERVED));
        let expected = "X-a=NotUnderstood\0TargetName=iqn.2026-01.org.example:disk\0\
                        TargetAddress=127.0.0.1:3260,1\0";
        assert_eq!(data, expected);
        let which = SendTargets::This;
        assert!(matches!(&target.events[..], [Event::SendTargets { which: w, .. }] if *w == which));
    }
}

#[test]
fn answer_longer_than_a_segment_goes_on_as_it_is_asked_for() {
    let mut target = target();
    target.targets = (b'a'..=b'z').cycle().take(1300).collect();
    let (r#final, r#continue, ttt, mut all) =
        response(&ask(&mut target, text(1, Ttt::RESERVED), b"SendTargets=\0"));
    assert_eq!((r#final, r#continue, all.len()), (false, true, 512));
    let (r#final, r#continue, again, data) = response(&ask(&mut target, text(2, ttt), b""));
    assert_eq!(
        (r#final, r#continue, again, data.len()),
        (false, true, ttt, 512)
    );
    all += &data;
    let (r#final, r#continue, last, data) = response(&ask(&mut target, text(3, ttt), b""));
    assert_eq!((r#final, r#continue, last), (true, false, Ttt::RESERVED));
    all += &data;
    assert_eq!(all.into_bytes(), target.targets);
    // It is over: its tag means nothing any more.
    assert_eq!(
        reason(&ask(&mut target, text(4, ttt), b"")),
        RejectReason::InvalidPduField
    );
}

#[test]
fn request_without_f_keeps_the_exchange_open() {
    let mut target = target();
    let open = TextRequest {
        r#final: false,
        ..text(1, Ttt::RESERVED)
    };
    let (r#final, r#continue, ttt, data) = response(&ask(&mut target, open, b"X-a=1\0"));
    assert_eq!(
        (r#final, r#continue, data.as_str()),
        (false, false, "X-a=NotUnderstood\0")
    );
    let (r#final, .., data) = response(&ask(&mut target, text(2, ttt), b"X-b=1\0"));
    assert_eq!((r#final, data.as_str()), (true, "X-b=NotUnderstood\0"));
}

#[test]
fn new_exchange_takes_the_place_of_one_the_engine_still_answers() {
    let mut target = target();
    target.withhold = true;
    assert_eq!(
        ask(&mut target, text(1, Ttt::RESERVED), b"SendTargets=\0"),
        []
    );
    let Some(Event::SendTargets { handle, .. }) = target.events.last().cloned() else {
        panic!()
    };
    let answer = ask(&mut target, text(2, Ttt::RESERVED), b"");
    let [(TargetPdu::TextResponse(pdu), _)] = &answer[..] else {
        panic!("{answer:?}")
    };
    let numbers = (pdu.exp_cmd_sn, pdu.max_cmd_sn);
    assert_eq!(
        numbers,
        (SerialNumber(3), SerialNumber(10)),
        "both places are free"
    );
    target
        .session
        .answer_send_targets(handle, b"TargetName=late\0");
    assert_eq!(unwire(&target.send()), []);
}

#[test]
fn text_that_breaks_a_rule_is_rejected_and_forgotten() {
    let both = TextRequest {
        r#continue: true,
        ..text(1, Ttt::RESERVED)
    };
    let plain = text(1, Ttt::RESERVED);
    let long = vec![b'a'; 4097];
    let table: [(&str, TextRequest, &[u8], RejectReason); 5] = [
        ("C and F", both, b"a=b\0", RejectReason::ProtocolError),
        (
            "no NUL",
            plain,
            b"SendTargets=",
            RejectReason::ProtocolError,
        ),
        (
            "twice",
            plain,
            b"SendTargets=\0SendTargets=\0",
            RejectReason::ProtocolError,
        ),
        (
            "no exchange",
            text(1, Ttt(9)),
            b"",
            RejectReason::InvalidPduField,
        ),
        ("too long", plain, &long, RejectReason::LongOperationReject),
    ];
    for (what, request, data, expected) in table {
        let mut target = target();
        assert_eq!(reason(&ask(&mut target, request, data)), expected, "{what}");
        assert_eq!(target.events, [], "{what}");
        let next = TextRequest {
            immediate: true,
            ..text(2, Ttt::RESERVED)
        };
        let (r#final, .., data) = response(&ask(&mut target, next, b"X-a=1\0"));
        assert_eq!(
            (r#final, data.as_str()),
            (true, "X-a=NotUnderstood\0"),
            "{what}"
        );
    }
}

#[test]
fn text_gathered_past_the_bound_is_rejected() {
    let mut target = target();
    let part = TextRequest {
        r#final: false,
        r#continue: true,
        ..text(1, Ttt::RESERVED)
    };
    let (_, _, ttt, _) = response(&ask(&mut target, part, &[b'a'; 2100]));
    let more = TextRequest {
        r#final: false,
        r#continue: true,
        ..text(2, ttt)
    };
    assert_eq!(
        reason(&ask(&mut target, more, &[b'a'; 2100])),
        RejectReason::LongOperationReject
    );
}

#[test]
fn declared_max_recv_data_segment_length_holds_from_then_on() {
    let mut target = target();
    let answer = ask(
        &mut target,
        text(1, Ttt::RESERVED),
        b"MaxRecvDataSegmentLength=600\0",
    );
    assert_eq!(response(&answer).3, "");
    let read = (
        InitiatorPdu::ScsiCommand(super::golden::read(2, 1000)),
        &[][..],
    );
    let lengths: Vec<usize> = exchange(&mut target, &[read])
        .iter()
        .map(|(_, data)| data.len())
        .collect();
    assert_eq!(lengths, [600, 400]);
}

#[test]
fn answers_that_are_not_read_bound_further_questions() {
    let mut target = Target::new(session(NegotiatedParams::default()));
    target.targets = vec![b'a'; 3000];
    let question = |number| {
        let data = b"SendTargets=\0";
        let request = TextRequest {
            data_segment_length: 13,
            ..text(number, Ttt::RESERVED)
        };
        (InitiatorPdu::TextRequest(request), &data[..])
    };
    let answer = exchange(&mut target, &[question(1), question(2), question(3)]);
    let lengths: Vec<usize> = answer.iter().map(|(_, data)| data.len()).collect();
    assert_eq!(lengths, [3000, 3000, 48]);
    assert_eq!(reason(&answer[2..]), RejectReason::LongOperationReject);
}

#[test]
fn key_that_comes_again_later_in_an_exchange_is_a_protocol_error() {
    let mut target = target();
    let declared = b"MaxRecvDataSegmentLength=600\0";
    let open = TextRequest {
        r#final: false,
        ..text(1, Ttt::RESERVED)
    };
    let (_, _, ttt, _) = response(&ask(&mut target, open, declared));
    let answer = ask(&mut target, text(2, ttt), declared);
    assert_eq!(reason(&answer), RejectReason::ProtocolError);
    // In an exchange of its own it is another negotiation.
    let (r#final, ..) = response(&ask(&mut target, text(2, Ttt::RESERVED), declared));
    let (again, ..) = response(&ask(&mut target, text(3, Ttt::RESERVED), declared));
    assert!(r#final && again);
}

#[test]
fn declaration_of_an_exchange_that_fails_has_no_effect() {
    let lengths = |target: &mut Target, number| -> Vec<usize> {
        let read = super::golden::read(number, 1000);
        exchange(target, &[(InitiatorPdu::ScsiCommand(read), &[])])
            .iter()
            .map(|(_, data)| data.len())
            .collect()
    };
    let mut target = target();
    let open = TextRequest {
        r#final: false,
        ..text(1, Ttt::RESERVED)
    };
    let (_, _, ttt, _) = response(&ask(&mut target, open, b"MaxRecvDataSegmentLength=600\0"));
    assert_eq!(lengths(&mut target, 2), [512, 488], "it is not over");
    let answer = ask(&mut target, text(3, ttt), b"no pair\0");
    assert_eq!(reason(&answer), RejectReason::ProtocolError);
    assert_eq!(lengths(&mut target, 3), [512, 488]);
    // One that ends well in its second round takes effect there.
    let open = TextRequest {
        r#final: false,
        ..text(4, Ttt::RESERVED)
    };
    let (_, _, ttt, _) = response(&ask(&mut target, open, b"MaxRecvDataSegmentLength=600\0"));
    response(&ask(&mut target, text(5, ttt), b""));
    assert_eq!(lengths(&mut target, 6), [600, 400]);
}

#[test]
fn text_that_is_rejected_leaves_its_cmd_sn_to_come_again() {
    let both = TextRequest {
        r#continue: true,
        ..text(1, Ttt::RESERVED)
    };
    let plain = text(1, Ttt::RESERVED);
    for (request, data) in [
        (both, &b"a=b\0"[..]),
        (plain, b"SendTargets="),
        (plain, b"SendTargets=\0SendTargets=\0"),
        (text(1, Ttt(9)), b""),
    ] {
        let mut target = target();
        let answer = ask(&mut target, request, data);
        let [(TargetPdu::Reject(reject), _)] = &answer[..] else {
            panic!("{answer:?}")
        };
        assert_eq!(reject.exp_cmd_sn, SerialNumber(1), "{data:?}");
        let answer = ask(&mut target, plain, b"");
        let [(TargetPdu::TextResponse(pdu), _)] = &answer[..] else {
            panic!("{answer:?}")
        };
        let numbers = (pdu.exp_cmd_sn, pdu.max_cmd_sn);
        assert_eq!(numbers, (SerialNumber(2), SerialNumber(9)), "{data:?}");
    }
}
