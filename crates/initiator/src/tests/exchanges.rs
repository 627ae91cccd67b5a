//! The window and the numbers, pings, text, task management, logout, and what the target says unasked.

use iscsi_wire::{
    AsyncEvent, AsyncMessage, InitiatorPdu, LogoutReason, LogoutResponse, LogoutResponseCode,
    Lun64, NopIn, NopOut, Reject, RejectReason, ScsiCommand, ScsiResponse, TargetPdu,
    TaskManagementFunction, TaskManagementResponse, TaskManagementResponseCode, TextResponse, Ttt,
};
use proptest::prelude::*;

use super::*;
use crate::Delivery;

const LUN: Lun64 = Lun64(1 << 48);

fn session() -> Initiator {
    logged_in(normal(), &[])
}

/// A GOOD response to a command that moves nothing.
fn response(initiator: &Initiator, itt: Itt) -> ScsiResponse {
    ScsiResponse {
        itt,
        stat_sn: initiator.exp_stat_sn,
        exp_cmd_sn: initiator.numbers.cmd_sn,
        max_cmd_sn: initiator.numbers.max_cmd_sn,
        ..ScsiResponse::default()
    }
}

fn nop_in(initiator: &Initiator, itt: Itt, ttt: Ttt, data: &[u8]) -> NopIn {
    NopIn {
        data_segment_length: length(data),
        itt,
        ttt,
        stat_sn: initiator.exp_stat_sn,
        exp_cmd_sn: initiator.numbers.cmd_sn,
        max_cmd_sn: initiator.numbers.max_cmd_sn,
        ..NopIn::default()
    }
}

fn test_unit_ready(initiator: &mut Initiator) -> Itt {
    initiator.command(LUN, &[0; 6], Vec::new(), 0)
}

#[test]
fn commands_beyond_the_window_are_held_until_it_opens() {
    let mut initiator = session();
    initiator.numbers.max_cmd_sn = SerialNumber(2);
    initiator.told.1 = SerialNumber(2);
    let itts: Vec<_> = (0..4).map(|_| test_unit_ready(&mut initiator)).collect();
    let cmd_sn = |initiator: &mut Initiator| -> Vec<u32> {
        let of = |(pdu, _)| match pdu {
            InitiatorPdu::ScsiCommand(ScsiCommand { cmd_sn, .. }) => cmd_sn.0,
            other => panic!("{other:?}"),
        };
        sent(initiator).into_iter().map(of).collect()
    };
    assert_eq!(cmd_sn(&mut initiator), [1, 2]);
    assert_eq!(initiator.held_back(), 2);
    let mut done = response(&initiator, itts[0]);
    done.max_cmd_sn = SerialNumber(3);
    assert_eq!(
        receive(&mut initiator, TargetPdu::ScsiResponse(done), &[]).len(),
        1
    );
    assert_eq!(cmd_sn(&mut initiator), [3]);
    // An immediate request leaves all the same, with the next CmdSN and without taking it.
    initiator.ping(b"", Delivery::Immediate);
    let pdus = sent(&mut initiator);
    assert!(
        matches!(pdus[..], [(InitiatorPdu::NopOut(nop), _)] if nop.immediate && nop.cmd_sn.0 == 4)
    );
    assert_eq!(initiator.cmd_sn(), SerialNumber(4));
}

#[test]
fn commands_before_the_login_is_done_are_held() {
    let mut initiator = Initiator::new(Config {
        first_stage: Stage::Operational,
        ..normal()
    });
    test_unit_ready(&mut initiator);
    assert!(initiator.take_output().is_empty());
    initiator.start_login();
    let _ = initiator.take_output();
    answer_all(&mut initiator);
    assert!(matches!(
        sent(&mut initiator)[..],
        [(InitiatorPdu::ScsiCommand(_), _)]
    ));
}

fn answer_all(initiator: &mut Initiator) {
    let data = text(&ACCEPTED);
    let mut response = login_response(initiator, Stage::Operational, &data);
    // The command took the first tag.
    response.itt = Itt(2);
    (response.transit, response.next_stage) = (true, Stage::FullFeature);
    response.tsih = Tsih(7);
    let events = receive(initiator, TargetPdu::LoginResponse(response), &data);
    assert_eq!(events, [Event::LoggedIn]);
}

#[test]
fn stat_sn_out_of_step_is_a_violation_and_then_followed() {
    let mut initiator = session();
    let itt = test_unit_ready(&mut initiator);
    let expected = initiator.exp_stat_sn;
    let mut done = response(&initiator, itt);
    done.stat_sn = expected.add(5);
    let events = receive(&mut initiator, TargetPdu::ScsiResponse(done), &[]);
    let violation = Violation::StatSn {
        expected,
        found: expected.add(5),
    };
    assert_eq!(violations(&events), [&violation]);
    assert!(matches!(events[1], Event::CommandDone(_)));
    assert_eq!(initiator.exp_stat_sn(), expected.add(6));
}

#[test]
fn window_that_moves_back_or_passes_what_was_sent_is_a_violation() {
    let table: [(u32, u32); 3] = [(0, 32), (1, 31), (2, 32)];
    for (exp, max) in table {
        let mut initiator = session();
        let mut nop = nop_in(&initiator, Itt::RESERVED, Ttt::RESERVED, &[]);
        (nop.exp_cmd_sn, nop.max_cmd_sn) = (SerialNumber(exp), SerialNumber(max));
        let events = receive(&mut initiator, TargetPdu::NopIn(nop), &[]);
        assert!(
            matches!(violations(&events)[..], [Violation::Window { .. }]),
            "{exp} {max}"
        );
        assert_eq!(initiator.window(), (SerialNumber(1), SerialNumber(32)));
    }
}

#[test]
fn ping_comes_back_with_its_data() {
    let mut initiator = session();
    let itt = initiator.ping(b"hello", Delivery::Ordered);
    assert!(
        matches!(&sent(&mut initiator)[..], [(InitiatorPdu::NopOut(_), data)] if data == b"hello")
    );
    let nop = nop_in(&initiator, itt, Ttt::RESERVED, b"hello");
    let events = receive(&mut initiator, TargetPdu::NopIn(nop), b"hello");
    assert_eq!(
        events,
        [Event::Ponged {
            itt,
            data: b"hello".to_vec()
        }]
    );

    let itt = initiator.ping(b"hello", Delivery::Ordered);
    let nop = nop_in(&initiator, itt, Ttt(1), b"hallo");
    let events = receive(&mut initiator, TargetPdu::NopIn(nop), b"hallo");
    assert_eq!(
        violations(&events).len(),
        2,
        "changed data, and a tag: {events:?}"
    );
}

#[test]
fn ping_of_the_target_is_answered_without_counting() {
    let mut initiator = session();
    let before = (initiator.exp_stat_sn(), initiator.cmd_sn());
    let mut nop = nop_in(&initiator, Itt::RESERVED, Ttt(9), b"abc");
    nop.lun = LUN;
    let events = receive(&mut initiator, TargetPdu::NopIn(nop), b"abc");
    assert_eq!(
        events,
        [Event::Pinged {
            ttt: Ttt(9),
            data: b"abc".to_vec()
        }]
    );
    assert_eq!((initiator.exp_stat_sn(), initiator.cmd_sn()), before);
    let answer = NopOut {
        immediate: true,
        data_segment_length: 3,
        lun: LUN,
        itt: Itt::RESERVED,
        ttt: Ttt(9),
        cmd_sn: before.1,
        exp_stat_sn: before.0,
    };
    assert_eq!(
        sent(&mut initiator),
        [(InitiatorPdu::NopOut(answer), b"abc".to_vec())]
    );
}

#[test]
fn text_that_goes_on_is_put_together() {
    let mut initiator = session();
    let itt = initiator.send_targets("All");
    let pdus = sent(&mut initiator);
    assert_eq!(lines(&pdus[0].1), ["SendTargets=All"]);
    let part = |initiator: &Initiator, last: bool, data: &[u8]| TextResponse {
        r#final: last,
        r#continue: !last,
        data_segment_length: length(data),
        itt,
        ttt: if last { Ttt::RESERVED } else { Ttt(5) },
        stat_sn: initiator.exp_stat_sn,
        exp_cmd_sn: initiator.numbers.cmd_sn,
        max_cmd_sn: initiator.numbers.max_cmd_sn,
        ..TextResponse::default()
    };
    let first = part(&initiator, false, b"TargetName=iqn.a\0Tar");
    let events = receive(
        &mut initiator,
        TargetPdu::TextResponse(first),
        b"TargetName=iqn.a\0Tar",
    );
    assert_eq!(events, []);
    let pdus = sent(&mut initiator);
    assert!(
        matches!(&pdus[..], [(InitiatorPdu::TextRequest(next), data)]
            if next.itt == itt && next.ttt == Ttt(5) && next.r#final && data.is_empty()),
        "{pdus:?}"
    );
    let last = part(&initiator, true, b"getName=iqn.b\0");
    let events = receive(
        &mut initiator,
        TargetPdu::TextResponse(last),
        b"getName=iqn.b\0",
    );
    let name = |value: &str| ("TargetName".to_owned(), value.to_owned());
    assert_eq!(
        events,
        [Event::TextDone {
            itt,
            pairs: vec![name("iqn.a"), name("iqn.b")]
        }]
    );
}

#[test]
fn text_response_with_contradicting_flags_is_a_violation() {
    let mut initiator = session();
    let itt = initiator.send_targets("");
    let pdu = TextResponse {
        r#final: true,
        itt,
        ttt: Ttt(5),
        stat_sn: initiator.exp_stat_sn,
        exp_cmd_sn: initiator.numbers.cmd_sn,
        max_cmd_sn: initiator.numbers.max_cmd_sn,
        ..TextResponse::default()
    };
    let events = receive(&mut initiator, TargetPdu::TextResponse(pdu), &[]);
    assert!(
        matches!(violations(&events)[..], [Violation::Exchange { .. }]),
        "{events:?}"
    );
}

/// The function, and which of four commands it ends: on LUN, on another LUN, after it, and the one it references.
#[test]
fn task_management_ends_the_commands_it_covers() {
    use TaskManagementFunction as Function;
    let table = [
        (Function::AbortTask, [false, false, false, true]),
        (Function::AbortTaskSet, [true, false, false, true]),
        (Function::LogicalUnitReset, [true, false, false, true]),
        (Function::TargetWarmReset, [true, true, false, true]),
        (Function::QueryTask, [false; 4]),
    ];
    for (function, ended) in table {
        let mut initiator = session();
        let here = test_unit_ready(&mut initiator);
        let elsewhere = initiator.command(Lun64(0), &[0; 6], Vec::new(), 0);
        let referenced = test_unit_ready(&mut initiator);
        let itt = initiator.task_management(function, LUN, Some(referenced), Delivery::Immediate);
        let Some((InitiatorPdu::TaskManagementRequest(request), _)) = sent(&mut initiator).pop()
        else {
            panic!("no request")
        };
        assert_eq!(
            (request.ref_cmd_sn, request.cmd_sn),
            (SerialNumber(3), SerialNumber(4))
        );
        // An ordered command takes the same CmdSN, and only immediate ones of it are covered.
        initiator.set_cmd_sn(SerialNumber(5));
        let after = test_unit_ready(&mut initiator);
        let managed = TaskManagementResponse {
            response: TaskManagementResponseCode::FunctionComplete,
            itt,
            stat_sn: initiator.exp_stat_sn,
            exp_cmd_sn: initiator.numbers.cmd_sn,
            max_cmd_sn: initiator.numbers.max_cmd_sn,
            ..TaskManagementResponse::default()
        };
        let events = receive(
            &mut initiator,
            TargetPdu::TaskManagementResponse(managed),
            &[],
        );
        let response = TaskManagementResponseCode::FunctionComplete;
        assert_eq!(
            events,
            [Event::TaskManaged {
                itt,
                response,
                additional: [0; 3]
            }]
        );
        let left: Vec<_> = initiator.outstanding().collect();
        let gone = [here, elsewhere, after, referenced].map(|itt| !left.contains(&itt));
        assert_eq!(gone, ended, "{function:?}");
    }
}

#[test]
fn status_of_an_aborted_command_is_unmatched() {
    let mut initiator = session();
    let done = response(&initiator, Itt(77));
    let events = receive(&mut initiator, TargetPdu::ScsiResponse(done), &[]);
    assert_eq!(
        events,
        [Event::Unmatched(TargetPdu::ScsiResponse(done), Vec::new())]
    );
}

#[test]
fn logout_ends_the_connection() {
    let mut initiator = session();
    let itt = initiator.logout(LogoutReason::CloseSession, Delivery::Ordered);
    let pdu = LogoutResponse {
        response: LogoutResponseCode::Closed,
        itt,
        stat_sn: initiator.exp_stat_sn,
        exp_cmd_sn: initiator.numbers.cmd_sn,
        max_cmd_sn: initiator.numbers.max_cmd_sn,
        ..LogoutResponse::default()
    };
    let events = receive(&mut initiator, TargetPdu::LogoutResponse(pdu), &[]);
    assert_eq!(events, [Event::LoggedOut(pdu)]);
    assert!(initiator.is_closed());
}

#[test]
fn reject_and_async_message_are_told_and_counted() {
    let mut initiator = session();
    let itt = initiator.ping(b"", Delivery::Ordered);
    let Some((ping, _)) = sent(&mut initiator).pop() else {
        panic!("no ping")
    };
    let before = initiator.exp_stat_sn();
    let reject = Reject {
        reason: RejectReason::ProtocolError,
        data_segment_length: 48,
        itt: Itt::RESERVED,
        stat_sn: before,
        exp_cmd_sn: initiator.numbers.cmd_sn,
        max_cmd_sn: initiator.numbers.max_cmd_sn,
        ..Reject::default()
    };
    let header = ping.emit();
    let events = receive(&mut initiator, TargetPdu::Reject(reject), &header.0);
    assert_eq!(
        events,
        [Event::Rejected {
            reject,
            header: Some(header)
        }]
    );
    assert!(!initiator.outstanding().any(|pending| pending == itt));
    let message = AsyncMessage {
        async_event: AsyncEvent::LogoutRequested,
        itt: Itt::RESERVED,
        stat_sn: before.next(),
        exp_cmd_sn: initiator.numbers.cmd_sn,
        max_cmd_sn: initiator.numbers.max_cmd_sn,
        parameter3: 10,
        ..AsyncMessage::default()
    };
    let events = receive(&mut initiator, TargetPdu::AsyncMessage(message), &[]);
    assert_eq!(
        events,
        [Event::Async {
            message,
            data: Vec::new()
        }]
    );
    assert_eq!(initiator.exp_stat_sn(), before.add(2));
}

#[test]
fn raw_pdu_goes_out_as_it_is() {
    let mut initiator = session();
    let mut bhs = NopOut {
        immediate: true,
        ..NopOut::default()
    }
    .emit();
    bhs.0[0] = 0x1c;
    initiator.push_raw(&bhs, b"xyz");
    initiator.push_bytes(&[1, 2]);
    assert_eq!(
        initiator.take_output(),
        [&bhs.0[..], b"xyz\0", &[1, 2]].concat()
    );
}

#[test]
fn login_response_after_the_login_ends_the_connection() {
    let mut initiator = session();
    let pdu = login_response(&initiator, Stage::Operational, &[]);
    let events = receive(&mut initiator, TargetPdu::LoginResponse(pdu), &[]);
    assert_eq!(
        events,
        [Event::Violation(Violation::WrongPhase { opcode: 0x23 })]
    );
    assert!(initiator.is_closed());
}

proptest! {
    #[test]
    fn any_bytes_from_the_target_end_in_events(
        pdus in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 44), prop::sample::select(
                &[0x20, 0x21, 0x22, 0x24, 0x25, 0x26, 0x31, 0x32, 0x3f][..]), 0u8..4, 1u8..6),
            1..20,
        ),
        data in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut initiator = Initiator::clone(&session());
        for _ in 0..3 {
            initiator.command(LUN, &[0x2a; 10], vec![0; 9000], 0);
        }
        initiator.command(LUN, &[0x28; 10], Vec::new(), 9000);
        initiator.send_targets("All");
        for (rest, opcode, length, itt) in pdus {
            let mut bhs = iscsi_wire::Bhs::zeroed();
            bhs.0[4..].copy_from_slice(&rest);
            // Near enough to what is meant that most of it gets past the header.
            bhs.0[..8].copy_from_slice(&[opcode, 0x80, 0, 0, 0, 0, 0, length]);
            bhs.0[16..20].copy_from_slice(&[0, 0, 0, itt]);
            bhs.0[40..42].fill(0);
            let mut bytes = bhs.0.to_vec();
            bytes.extend(data.iter().take(usize::from(length.next_multiple_of(4))));
            initiator.handle_bytes(&bytes);
            prop_assert!(initiator.take_output().len() < 1 << 20);
        }
        prop_assert!(initiator.outstanding().count() <= 5);
    }
}
