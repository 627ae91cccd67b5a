//! Requests out of order, out of place and out of the ordinary.

use core::time::Duration;

use iscsi_wire::{
    AsyncEvent, Bhs, Cid, InitiatorPdu, Itt, LoginRequest, LogoutReason, LogoutRequest,
    LogoutResponseCode, Lun64, NopOut, RejectReason, ScsiCommand, SerialNumber, SnackRequest,
    TargetPdu, TaskManagementFunction, TaskManagementRequest, TaskManagementResponseCode,
    TextRequest, Ttt,
};

use super::golden::{command, exchange, read, unwire, wire};
use super::target::{HANG, NOTHING, Target, Way};
use crate::login::SessionType;
use crate::negotiate::NegotiatedParams;
use crate::session::fixture::{C0, established, limits, session};
use crate::session::{
    DropReason, Event, ReceivePlan, Session, SessionLimits, TaskId, TmfReference,
};

fn target() -> Target {
    Target::new(session(NegotiatedParams::default()))
}

fn discovery() -> Target {
    let established = established(SessionType::Discovery, NegotiatedParams::default());
    Target::new(Session::new(&established, limits(), Duration::ZERO))
}

fn scsi(command: ScsiCommand) -> (InitiatorPdu, &'static [u8]) {
    (InitiatorPdu::ScsiCommand(command), &[])
}

fn nop(number: u32) -> NopOut {
    let cmd_sn = SerialNumber(number);
    NopOut {
        itt: Itt(number),
        ttt: Ttt::RESERVED,
        cmd_sn,
        ..NopOut::default()
    }
}

fn tmf(number: u32, function: TaskManagementFunction) -> TaskManagementRequest {
    TaskManagementRequest {
        immediate: true,
        function,
        itt: Itt(0x1000 + number),
        referenced_task_tag: Itt(number),
        cmd_sn: SerialNumber(number),
        ref_cmd_sn: SerialNumber(number),
        ..TaskManagementRequest::default()
    }
}

fn reject_of(answer: &[(TargetPdu, Vec<u8>)]) -> RejectReason {
    let [(TargetPdu::Reject(reject), _)] = answer else {
        panic!("no Reject: {answer:?}")
    };
    assert_eq!(reject.itt, Itt::RESERVED);
    reject.reason
}

fn ended(target: &Target) -> Option<(DropReason, bool)> {
    match target.events.last() {
        Some(Event::ConnectionDone { reason, flush, .. }) => Some((*reason, *flush)),
        _ => None,
    }
}

#[test]
fn requests_outside_the_window_and_repeated_ones_are_ignored_silently() {
    let mut target = target();
    assert_eq!(
        exchange(
            &mut target,
            &[scsi(command(9, HANG)), scsi(command(0, HANG))]
        ),
        []
    );
    assert_eq!(target.events, []);
    exchange(&mut target, &[scsi(command(1, HANG))]);
    let repeated = ScsiCommand {
        itt: Itt(77),
        ..command(1, HANG)
    };
    assert_eq!(exchange(&mut target, &[scsi(repeated)]), []);
    assert_eq!(target.events.len(), 1);
    assert_eq!(target.session.counters().ignored_requests, 3);
}

#[test]
fn commands_ahead_of_a_gap_are_held_and_delivered_in_order() {
    let mut target = target();
    let ahead = [
        scsi(command(3, NOTHING)),
        scsi(command(2, NOTHING)),
        scsi(command(3, NOTHING)),
    ];
    assert_eq!(exchange(&mut target, &ahead), []);
    let told: Vec<bool> = target
        .events
        .iter()
        .map(|event| matches!(event, Event::Command(command) if !command.deliver))
        .collect();
    assert_eq!(told, [true, true]);
    let image = target.session.image();
    assert_eq!(
        Session::from_image(&image).as_ref(),
        Ok(&target.session),
        "held ones too"
    );
    let answer = exchange(&mut target, &[scsi(command(1, NOTHING))]);
    let order = answer.iter().map(|(pdu, _)| match pdu {
        TargetPdu::ScsiResponse(response) => response.itt.0,
        other => panic!("{other:?}"),
    });
    assert_eq!(order.collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(
        target.events[3..],
        [
            Event::Deliver { task: TaskId(1) },
            Event::Deliver { task: TaskId(0) },
        ]
    );
}

#[test]
fn command_that_ends_before_its_turn_is_not_delivered() {
    let mut target = target();
    exchange(
        &mut target,
        &[scsi(command(2, NOTHING)), scsi(command(3, NOTHING))],
    );
    let task = target.open()[0];
    target.fail(task, &[]);
    target.receive(
        &wire(&[scsi(command(1, NOTHING))]),
        Way::Staging(usize::MAX),
    );
    let delivered = target
        .events
        .iter()
        .filter(|event| matches!(event, Event::Deliver { .. }));
    assert_eq!(
        delivered.collect::<Vec<_>>(),
        [&Event::Deliver { task: TaskId(1) }]
    );
    assert_eq!(unwire(&target.send()).len(), 3);
}

#[test]
fn answers_given_across_a_gap_never_widen_the_window_past_it() {
    let mut target = target();
    for number in 2..200 {
        let ping = (InitiatorPdu::NopOut(nop(number)), &[][..]);
        let answer = exchange(&mut target, &[ping]);
        assert_eq!(answer.len(), usize::from(number <= 8), "{number}");
    }
    let answer = exchange(&mut target, &[scsi(command(1, NOTHING))]);
    let [(TargetPdu::ScsiResponse(response), _)] = &answer[..] else {
        panic!("{answer:?}")
    };
    let numbers = (response.exp_cmd_sn, response.max_cmd_sn);
    assert_eq!(numbers, (SerialNumber(9), SerialNumber(16)));
}

#[test]
fn tag_in_use_is_rejected_and_its_cmd_sn_is_not_received() {
    let mut target = target();
    exchange(&mut target, &[scsi(command(1, HANG))]);
    let twin = ScsiCommand {
        itt: Itt(1),
        ..command(2, NOTHING)
    };
    let answer = exchange(&mut target, &[scsi(twin)]);
    assert_eq!(reject_of(&answer), RejectReason::TaskInProgress);
    let answer = exchange(&mut target, &[scsi(command(2, NOTHING))]);
    assert!(matches!(&answer[..], [(TargetPdu::ScsiResponse(_), _)]));
}

#[test]
fn immediate_requests_past_the_allowance_are_rejected_and_a_function_still_finds_room() {
    let mut target = target();
    target.withhold = true;
    let immediate = |tag| ScsiCommand {
        immediate: true,
        itt: Itt(tag),
        ..command(1, HANG)
    };
    assert_eq!(
        exchange(&mut target, &[scsi(immediate(1)), scsi(immediate(2))]),
        []
    );
    let answer = exchange(&mut target, &[scsi(immediate(3))]);
    assert_eq!(reject_of(&answer), RejectReason::ImmediateCommandReject);
    let function = TaskManagementFunction::LogicalUnitReset;
    let request = |n| {
        (
            InitiatorPdu::TaskManagementRequest(tmf(n, function)),
            &[][..],
        )
    };
    assert_eq!(exchange(&mut target, &[request(1)]), []);
    assert!(matches!(
        target.events.last(),
        Some(Event::TaskManagement(_))
    ));
    let answer = exchange(&mut target, &[request(2)]);
    assert_eq!(reject_of(&answer), RejectReason::ImmediateCommandReject);
    // As one ends, another finds room.
    let task = target.open()[0];
    target.good(task, None, 0);
    target.send();
    assert_eq!(exchange(&mut target, &[scsi(immediate(3))]), []);
    assert_eq!(target.open().len(), 2);
}

#[test]
fn request_that_this_session_does_not_take_is_rejected_with_its_header() {
    let unknown = {
        let mut bhs = Bhs::zeroed();
        bhs.0[0] = 0x1c;
        bhs
    };
    let response = {
        let mut bhs = Bhs::zeroed();
        bhs.0[0] = 0x21;
        bhs
    };
    let snack = SnackRequest {
        itt: Itt(1),
        ..SnackRequest::default()
    }
    .emit();
    let login = LoginRequest {
        itt: Itt(1),
        ..LoginRequest::default()
    }
    .emit();
    let odd = LogoutRequest {
        itt: Itt(1),
        reason: LogoutReason::Other(9),
        ..Default::default()
    };
    let normal: [(Bhs, RejectReason); 5] = [
        (unknown, RejectReason::CommandNotSupported),
        (response, RejectReason::CommandNotSupported),
        (snack, RejectReason::SnackReject),
        (login, RejectReason::ProtocolError),
        (odd.emit(), RejectReason::InvalidPduField),
    ];
    let function = tmf(1, TaskManagementFunction::AbortTaskSet);
    let close = LogoutRequest {
        itt: Itt(1),
        cmd_sn: SerialNumber(1),
        reason: LogoutReason::CloseConnection,
        ..LogoutRequest::default()
    };
    let in_discovery = [
        command(1, NOTHING).emit(),
        function.emit(),
        nop(1).emit(),
        iscsi_wire::DataOut {
            itt: Itt(1),
            ..Default::default()
        }
        .emit(),
        close.emit(),
    ];
    let cases = normal.map(|(bhs, reason)| (target(), bhs, reason));
    let cases = cases.into_iter().chain(
        in_discovery
            .into_iter()
            .map(|bhs| (discovery(), bhs, RejectReason::ProtocolError)),
    );
    for (mut target, bhs, reason) in cases {
        target.receive(&bhs.0, Way::Staging(usize::MAX));
        let answer = unwire(&target.send());
        assert_eq!(reject_of(&answer), reason, "{bhs:?}");
        assert_eq!(answer[0].1, bhs.0);
        assert_eq!(target.events, []);
        // The next request is read from the right byte.
        let more = TextRequest {
            r#final: true,
            itt: Itt(5),
            ttt: Ttt::RESERVED,
            cmd_sn: SerialNumber(1),
            ..TextRequest::default()
        };
        let answer = exchange(&mut target, &[(InitiatorPdu::TextRequest(more), &[])]);
        assert!(
            matches!(&answer[..], [(TargetPdu::TextResponse(_), _)]),
            "{answer:?}"
        );
    }
}

#[test]
fn malformed_header_is_rejected_and_ends_the_connection() {
    let neither = ScsiCommand {
        r#final: false,
        ..command(1, NOTHING)
    };
    let long = ScsiCommand {
        write: true,
        data_segment_length: 8196,
        expected_data_transfer_length: 8196,
        ..command(1, NOTHING)
    };
    for pdu in [neither, long] {
        let mut target = target();
        let mut bytes = pdu.emit().0.to_vec();
        bytes.extend(wire(&[scsi(command(1, NOTHING))]));
        target.receive(&bytes, Way::Staging(usize::MAX));
        assert_eq!(
            reject_of(&unwire(&target.send())),
            RejectReason::InvalidPduField
        );
        assert_eq!(target.events.len(), 1, "nothing after it is looked at");
        assert_eq!(ended(&target), Some((DropReason::Format, true)));
        assert_eq!(target.session.receive_plan(C0), ReceivePlan::Staging);
    }
}

#[test]
fn peer_that_earns_rejects_without_reading_them_is_dropped() {
    let mut target = target();
    let mut bhs = Bhs::zeroed();
    bhs.0[0] = 0x1c;
    let bytes = bhs.0.repeat(100);
    target.receive(&bytes, Way::Staging(usize::MAX));
    assert_eq!(ended(&target), Some((DropReason::TooManyRejects, false)));
    assert_eq!(target.session.counters().rejects, 17);
}

#[test]
fn wrong_header_digest_ends_the_connection() {
    let params = NegotiatedParams {
        header_digest: true,
        ..NegotiatedParams::default()
    };
    let mut target = Target::new(session(params));
    let mut bytes = wire(&[scsi(command(1, NOTHING))]);
    bytes.extend([1, 2, 3, 4]);
    target.receive(&bytes, Way::Staging(7));
    assert_eq!(ended(&target), Some((DropReason::HeaderDigest, true)));
    assert_eq!(target.session.counters().header_digest_errors, 1);
}

#[test]
fn wrong_data_digest_of_a_ping_is_rejected_and_ends_the_connection() {
    let params = NegotiatedParams {
        data_digest: true,
        ..NegotiatedParams::default()
    };
    let mut target = Target::new(session(params));
    let ping = NopOut {
        data_segment_length: 4,
        ..nop(1)
    };
    let mut bytes = wire(&[(InitiatorPdu::NopOut(ping), b"ping")]);
    bytes.extend([1, 2, 3, 4]);
    target.receive(&bytes, Way::Staging(usize::MAX));
    assert_eq!(ended(&target), Some((DropReason::DataDigest, true)));
    let sent = target.send();
    let header = Bhs(*sent.first_chunk().unwrap());
    let TargetPdu::Reject(reject) = TargetPdu::parse(&header).unwrap() else {
        panic!("{header:?}")
    };
    assert_eq!(reject.reason, RejectReason::DataDigestError);
}

#[test]
fn functions_are_resolved_or_refused_as_their_tables_say() {
    let table = [
        (
            TaskManagementFunction::TaskReassign,
            TaskManagementResponseCode::TaskAllegianceReassignmentNotSupported,
        ),
        (
            TaskManagementFunction::Other(99),
            TaskManagementResponseCode::FunctionNotSupported,
        ),
    ];
    let not_supported = TaskManagementResponseCode::FunctionNotSupported;
    // RFC 7144 §5: without level 2 there are no functions of RFC 7144.
    let of_level2 = [
        TaskManagementFunction::QueryTask,
        TaskManagementFunction::QueryTaskSet,
        TaskManagementFunction::ItNexusReset,
        TaskManagementFunction::QueryAsynchronousEvent,
    ]
    .map(|function| (function, not_supported));
    for (function, expected) in table.into_iter().chain(of_level2) {
        let mut target = target();
        let request = InitiatorPdu::TaskManagementRequest(tmf(1, function));
        let answer = exchange(&mut target, &[(request, &[])]);
        let [(TargetPdu::TaskManagementResponse(response), _)] = &answer[..] else {
            panic!("{answer:?}")
        };
        assert_eq!((response.response, target.events.len()), (expected, 0));
    }
    let mut target = Target::new(session(NegotiatedParams {
        iscsi_protocol_level: 2,
        ..NegotiatedParams::default()
    }));
    target.withhold = true;
    exchange(
        &mut target,
        &[scsi(command(1, HANG)), scsi(command(2, HANG))],
    );
    let abort = TaskManagementFunction::AbortTask;
    let reference = |target: &mut Target, request: TaskManagementRequest| {
        let request = InitiatorPdu::TaskManagementRequest(request);
        exchange(target, &[(request, &[])]);
        match target.events.last() {
            Some(Event::TaskManagement(tmf)) => {
                let done = TaskManagementResponseCode::FunctionComplete;
                target.session.complete_task_management(tmf.handle, done);
                let referenced = tmf.referenced;
                assert_eq!(unwire(&target.send()).len(), 1);
                referenced
            }
            other => panic!("{other:?}"),
        }
    };
    let of = |itt, ref_cmd_sn, cmd_sn| TaskManagementRequest {
        referenced_task_tag: Itt(itt),
        ref_cmd_sn: SerialNumber(ref_cmd_sn),
        cmd_sn: SerialNumber(cmd_sn),
        ..tmf(1, abort)
    };
    assert_eq!(
        reference(&mut target, of(2, 2, 3)),
        TmfReference::Task(TaskId(1))
    );
    let query = TaskManagementFunction::QueryTask;
    let asked = TaskManagementRequest {
        function: query,
        ..of(9, 3, 6)
    };
    assert_eq!(
        reference(&mut target, asked),
        TmfReference::NotFound,
        "a query plugs nothing"
    );
    let reset = TaskManagementFunction::LogicalUnitReset;
    let asked = TaskManagementRequest {
        function: reset,
        ..of(9, 3, 3)
    };
    assert_eq!(reference(&mut target, asked), TmfReference::None);
    assert_eq!(
        reference(&mut target, of(9, 2, 6)),
        TmfReference::NotFound,
        "received already"
    );
    assert_eq!(
        reference(&mut target, of(9, 6, 6)),
        TmfReference::NotFound,
        "not before it"
    );
    assert_eq!(
        reference(&mut target, of(9, 90, 91)),
        TmfReference::NotFound,
        "outside"
    );
    assert_eq!(
        reference(&mut target, of(9, 4, 6)),
        TmfReference::NotYetReceived
    );
    assert_eq!(
        reference(&mut target, of(9, 3, 6)),
        TmfReference::NotYetReceived
    );
    // CmdSN 3 and 4 count as received: the commands are ignored now, and 5 is next.
    assert_eq!(
        exchange(
            &mut target,
            &[scsi(command(4, NOTHING)), scsi(command(3, NOTHING))]
        ),
        []
    );
    let answer = exchange(&mut target, &[scsi(command(5, NOTHING))]);
    let [(TargetPdu::ScsiResponse(response), _)] = &answer[..] else {
        panic!("{answer:?}")
    };
    let numbers = (response.exp_cmd_sn, response.max_cmd_sn);
    assert_eq!(
        numbers,
        (SerialNumber(6), SerialNumber(11)),
        "two of eight are open"
    );
}

#[test]
fn ordered_function_and_logout_ahead_of_a_gap_wait_for_it() {
    let mut target = target();
    let function = TaskManagementFunction::LogicalUnitReset;
    let request = TaskManagementRequest {
        immediate: false,
        cmd_sn: SerialNumber(2),
        ..tmf(1, function)
    };
    let logout = LogoutRequest {
        itt: Itt(3),
        cmd_sn: SerialNumber(3),
        ..LogoutRequest::default()
    };
    let ahead = [
        (InitiatorPdu::TaskManagementRequest(request), &[][..]),
        (InitiatorPdu::LogoutRequest(logout), &[][..]),
    ];
    assert_eq!(exchange(&mut target, &ahead), []);
    assert_eq!(target.events, []);
    assert!(!target.session.is_at_rest(), "these are not imaged");
    let answer = exchange(&mut target, &[scsi(command(1, NOTHING))]);
    let kinds: Vec<u8> = answer.iter().map(|(pdu, _)| pdu.emit().opcode()).collect();
    assert_eq!(kinds.len(), 3);
    assert!(kinds.contains(&0x21) && kinds.contains(&0x22) && kinds.last() == Some(&0x26));
    assert_eq!(ended(&target), Some((DropReason::LoggedOut, true)));
}

#[test]
fn logout_of_another_connection_or_for_recovery_is_refused_and_the_session_goes_on() {
    let mut target = target();
    let logout = |number, reason, cid| LogoutRequest {
        reason,
        itt: Itt(number),
        cid: Cid(cid),
        cmd_sn: SerialNumber(number),
        ..LogoutRequest::default()
    };
    let table = [
        (
            LogoutReason::CloseConnection,
            8,
            LogoutResponseCode::CidNotFound,
        ),
        (
            LogoutReason::RemoveConnectionForRecovery,
            7,
            LogoutResponseCode::RecoveryNotSupported,
        ),
    ];
    for (number, (reason, cid, expected)) in (1..).zip(table) {
        let request = InitiatorPdu::LogoutRequest(logout(number, reason, cid));
        let answer = exchange(&mut target, &[(request, &[])]);
        let [(TargetPdu::LogoutResponse(response), _)] = &answer[..] else {
            panic!("{answer:?}")
        };
        assert_eq!(response.response, expected);
    }
    assert_eq!(target.events, []);
    let answer = exchange(&mut target, &[scsi(command(3, NOTHING))]);
    assert!(matches!(&answer[..], [(TargetPdu::ScsiResponse(_), _)]));
}

#[test]
fn logout_refused_by_the_engine_leaves_the_connection_open() {
    let mut target = target();
    target.withhold = true;
    let request = LogoutRequest {
        itt: Itt(1),
        cmd_sn: SerialNumber(1),
        ..LogoutRequest::default()
    };
    exchange(&mut target, &[(InitiatorPdu::LogoutRequest(request), &[])]);
    let Some(Event::Logout { handle, .. }) = target.events.last().cloned() else {
        panic!()
    };
    target
        .session
        .complete_logout(handle, LogoutResponseCode::CleanupFailed);
    assert_eq!(unwire(&target.send()).len(), 1);
    let answer = exchange(&mut target, &[scsi(command(2, NOTHING))]);
    assert!(matches!(&answer[..], [(TargetPdu::ScsiResponse(_), _)]));
}

#[test]
fn nop_out_without_a_tag_gets_no_answer() {
    let mut target = target();
    let news = NopOut {
        immediate: true,
        itt: Itt::RESERVED,
        data_segment_length: 3,
        ..nop(1)
    };
    assert_eq!(
        exchange(&mut target, &[(InitiatorPdu::NopOut(news), b"abc")]),
        []
    );
    assert_eq!(target.events, []);
}

#[test]
fn ping_data_past_the_bound_is_cut_and_counted() {
    let mut target = target();
    let mut bytes = Vec::new();
    for number in 1..=3 {
        let ping = NopOut {
            data_segment_length: 2000,
            ..nop(number)
        };
        bytes.extend(wire(&[(InitiatorPdu::NopOut(ping), &[7; 2000])]));
    }
    target.receive(&bytes, Way::Staging(usize::MAX));
    let lengths: Vec<usize> = unwire(&target.send())
        .iter()
        .map(|(_, data)| data.len())
        .collect();
    assert_eq!(lengths, [2000, 2000, 0]);
    assert_eq!(target.session.counters().ping_bytes_cut, 2000);
}

#[test]
fn silent_peer_is_pinged_and_then_dropped() {
    let limits = SessionLimits {
        nop_interval: Some(Duration::from_secs(10)),
        ..limits()
    };
    let established = established(SessionType::Normal, NegotiatedParams::default());
    let mut target = Target::new(Session::new(&established, limits, Duration::from_secs(100)));
    let at = |seconds| Duration::from_secs(seconds);
    assert_eq!(target.session.poll_timeout(), Some(at(110)));
    assert_eq!(target.session.handle_timeout(at(109)), None);
    assert!(!target.session.has_output(C0));
    assert_eq!(target.session.handle_timeout(at(110)), None);
    target.now = at(111);
    let answer = unwire(&target.send());
    let [(TargetPdu::NopIn(ping), _)] = &answer[..] else {
        panic!("{answer:?}")
    };
    assert_eq!((ping.itt, ping.stat_sn), (Itt::RESERVED, SerialNumber(1)));
    assert_ne!(ping.ttt, Ttt::RESERVED);
    assert_eq!(
        target.session.poll_timeout(),
        Some(at(116)),
        "counted from when it was sent"
    );
    // Any byte is a sign of life, an answer ends the matter; neither comes again.
    target.now = at(113);
    target.receive(&[0], Way::Staging(1));
    assert_eq!(target.session.poll_timeout(), Some(at(118)));
    assert_eq!(target.session.handle_timeout(at(117)), None);
    let done = Event::ConnectionDone {
        c: C0,
        reason: DropReason::PingTimeout,
        flush: false,
    };
    assert_eq!(target.session.handle_timeout(at(118)), Some(done));
    assert_eq!(
        (
            target.session.poll_timeout(),
            target.session.handle_timeout(at(999))
        ),
        (None, None)
    );
}

#[test]
fn target_says_when_it_wants_a_logout_or_drops() {
    let mut target = target();
    target.session.request_logout(C0, 30);
    target.session.notify_drop(C0, Cid(7));
    let answer = unwire(&target.send());
    let [
        (TargetPdu::AsyncMessage(logout), _),
        (TargetPdu::AsyncMessage(drop), _),
    ] = &answer[..]
    else {
        panic!("{answer:?}")
    };
    assert_eq!(
        (logout.async_event, logout.parameter3),
        (AsyncEvent::LogoutRequested, 30)
    );
    assert_eq!(
        (drop.async_event, drop.parameter1),
        (AsyncEvent::ConnectionDropped, 7)
    );
    assert_eq!(
        (logout.stat_sn, drop.stat_sn),
        (SerialNumber(1), SerialNumber(2))
    );
    assert_eq!((logout.itt, logout.lun), (Itt::RESERVED, Lun64(0)));
}

#[test]
fn command_with_an_extended_cdb_is_told_whole_up_to_32_bytes() {
    // The bytes after the first sixteen, what stands before them in the header segments, and what is told.
    let tail: Vec<u8> = (16..32).collect();
    let longer: Vec<u8> = (16..60).collect();
    let mut read_length = Vec::new();
    iscsi_wire::push_bidirectional_read_length(&mut read_length, 512);
    for (before, sent, told) in [
        (&[][..], &tail[..], &tail[..]),
        (&[], &tail[..3], &tail[..3]),
        (&[], &longer, &[]),
        (&read_length, &tail, &[]),
        // A segment that says it is longer than all segments are.
        (&[0xff, 0xff, 1, 0], &[], &[]),
    ] {
        let mut ahs = before.to_vec();
        if !sent.is_empty() {
            iscsi_wire::push_extended_cdb(&mut ahs, sent);
        }
        let long = ScsiCommand {
            total_ahs_length: u8::try_from(ahs.len() / 4).unwrap(),
            ..command(1, NOTHING)
        };
        let mut bytes = long.emit().0.to_vec();
        bytes.extend(&ahs);
        bytes.extend(wire(&[scsi(command(2, NOTHING))]));
        for chunk in [1, 11, bytes.len()] {
            let mut target = target();
            target.receive(&bytes, Way::Staging(chunk));
            let cdbs: Vec<Vec<u8>> = target
                .events
                .iter()
                .filter_map(|event| match event {
                    Event::Command(command) => Some(command.cdb.as_slice()[16..].to_vec()),
                    _ => None,
                })
                .collect();
            assert_eq!(cdbs, [told.to_vec(), Vec::new()], "{sent:?} by {chunk}");
        }
    }
}

#[test]
fn long_read_lets_short_ones_pass_between_its_turns() {
    let params = NegotiatedParams {
        max_send_data_segment_length: 1 << 17,
        max_burst_length: 1 << 20,
        ..NegotiatedParams::default()
    };
    let mut target = Target::new(session(params));
    target.disk = vec![1; 1 << 20];
    let answer = exchange(&mut target, &[scsi(read(1, 1 << 20)), scsi(read(2, 512))]);
    let order: Vec<u32> = answer.iter().map(|(pdu, _)| pdu.emit().itt().0).collect();
    assert_eq!(order, [1, 1, 2, 1, 1, 1, 1, 1, 1]);
    let f_bits: Vec<bool> = answer
        .iter()
        .map(|(pdu, _)| matches!(pdu, TargetPdu::DataIn(data) if data.r#final))
        .collect();
    assert_eq!(
        f_bits,
        [false, false, true, false, false, false, false, false, true]
    );
}

#[test]
fn budget_bounds_what_is_gathered_to_one_pdu_past_it() {
    let mut target = target();
    let bytes = wire(&[scsi(read(1, 60_000)), scsi(read(2, 60_000))]);
    target.receive(&bytes, Way::Staging(usize::MAX));
    let mut out = crate::session::Transmit::default();
    assert!(
        target
            .session
            .poll_transmit(C0, Duration::ZERO, &mut out, 20_000)
    );
    assert!((20_000..20_000 + 8192 + 48).contains(&out.wire_bytes()));
    out.clear();
    assert!(
        target
            .session
            .poll_transmit(C0, Duration::ZERO, &mut out, 0)
    );
    assert_eq!(out.wire_bytes(), 0);
}

#[test]
fn status_of_a_command_ahead_of_a_gap_waits_for_its_acknowledgement() {
    let mut target = target();
    let flawed = ScsiCommand {
        read: true,
        write: true,
        ..command(3, NOTHING)
    };
    assert_eq!(
        exchange(&mut target, &[scsi(command(2, HANG)), scsi(flawed)]),
        []
    );
    let task = target.open()[0];
    target.fail(task, &[]);
    assert_eq!(unwire(&target.send()), []);
    let answer = exchange(&mut target, &[scsi(command(1, NOTHING))]);
    let told = answer.iter().map(|(pdu, _)| match pdu {
        TargetPdu::ScsiResponse(response) => (response.itt.0, response.exp_cmd_sn.0),
        other => panic!("{other:?}"),
    });
    let mut told: Vec<_> = told.collect();
    told.sort_unstable();
    assert_eq!(told, [(1, 4), (2, 4), (3, 4)]);
}

/// An abort is answered behind the status of a command that ended ahead of a gap, and so once the gap has closed.
#[test]
fn abort_of_a_command_that_ended_ahead_of_a_gap_is_answered_behind_its_status() {
    let mut target = target();
    exchange(&mut target, &[scsi(command(2, HANG))]);
    let task = target.open()[0];
    target.fail(task, &[]);
    let abort = TaskManagementRequest {
        referenced_task_tag: Itt(2),
        ref_cmd_sn: SerialNumber(2),
        cmd_sn: SerialNumber(3),
        ..tmf(1, TaskManagementFunction::AbortTask)
    };
    let abort = InitiatorPdu::TaskManagementRequest(abort);
    assert_eq!(exchange(&mut target, &[(abort, &[])]), []);
    let answer = exchange(&mut target, &[scsi(command(1, NOTHING))]);
    let kinds: Vec<u8> = answer.iter().map(|(pdu, _)| pdu.emit().opcode()).collect();
    assert_eq!(kinds, [0x21, 0x21, 0x22]);
    let Some((TargetPdu::TaskManagementResponse(response), _)) = answer.last() else {
        panic!("{answer:?}")
    };
    let none = TaskManagementResponseCode::TaskDoesNotExist;
    assert_eq!(response.response, none);
}

#[test]
fn data_in_without_f_is_whole_words_whatever_the_initiator_takes() {
    for most in 512..520 {
        let params = NegotiatedParams {
            max_send_data_segment_length: most,
            ..NegotiatedParams::default()
        };
        let mut target = Target::new(session(params));
        let answer = exchange(&mut target, &[scsi(read(1, 1700))]);
        let mut bytes = 0;
        for (pdu, data) in &answer {
            let TargetPdu::DataIn(header) = pdu else {
                panic!("{pdu:?}")
            };
            assert!(header.r#final || data.len() % 4 == 0, "{most}: {header:?}");
            assert!(data.len() <= most as usize);
            bytes += data.len();
        }
        assert_eq!(bytes, 1700);
    }
}

#[test]
fn discovery_session_is_neither_pinged_nor_told_of_the_window() {
    let limits = SessionLimits {
        nop_interval: Some(Duration::from_secs(10)),
        ..limits()
    };
    let mut told = established(SessionType::Discovery, NegotiatedParams::default());
    // The login told a closed window.
    told.max_cmd_sn = SerialNumber(0);
    let mut target = Target::new(Session::new(&told, limits, Duration::ZERO));
    assert_eq!(target.session.poll_timeout(), None);
    let later = Duration::from_secs(1000);
    assert_eq!(target.session.handle_timeout(later), None);
    assert_eq!(unwire(&target.send()), []);
    target.session.resize_window(100);
    assert_eq!(unwire(&target.send()), []);
}
