//! Task management over several connections, the response fence, and what the target says unasked (RFC 7143 §4.2.2.3.3,
//! §4.2.3.3, §4.2.3.4, §11.5, §11.9).

use initiator::{Delivery, Event};
use iscsi_wire::{
    AsyncEvent, AsyncMessage, Cid, InitiatorPdu, Itt, Lun64, SerialNumber, TargetPdu,
    TaskManagementFunction as Function, TaskManagementRequest,
    TaskManagementResponseCode as Response, TextRequest, Ttt,
};

use super::connections::{LEAD, Many};
use super::golden::{exchange, unwire};
use super::pair::cdb;
use super::target::{HANG, NOTHING, Target};
use crate::negotiate::{NegotiatedParams, TaskReporting};
use crate::session::fixture::{C0, session};
use crate::session::{Event as TargetEvent, Outcome, TaskId};

const OTHER: Cid = Cid(1);
const OTHER_LUN: Lun64 = Lun64(1 << 48);

fn manage(many: &mut Many, cid: Cid, function: Function) -> Itt {
    many.peer
        .task_management(cid, function, Lun64(0), None, Delivery::Immediate)
}

fn asked(many: &Many) -> usize {
    let functions = many.target.events.iter();
    functions
        .filter(|event| matches!(event, TargetEvent::TaskManagement(_)))
        .count()
}

fn hang(many: &mut Many, cid: Cid, lun: Lun64) -> TaskId {
    let before = many.target.open();
    many.peer
        .on(cid, |one| one.command(lun, &cdb(HANG, 0), Vec::new(), 0));
    many.run();
    let new = many
        .target
        .open()
        .into_iter()
        .find(|task| !before.contains(task));
    new.expect("it has begun")
}

fn fenced(keys: &[(&str, &str)]) -> Many {
    let mut many = Many::new(2, keys);
    // All that was sent so far is acknowledged.
    for cid in [LEAD, OTHER] {
        many.command(cid, NOTHING, &[], 0);
    }
    many.run();
    for cid in [LEAD, OTHER] {
        many.peer.on(cid, |one| one.ping(&[], Delivery::Immediate));
    }
    many.run();
    many
}

#[test]
fn immediate_clear_task_set_waits_for_the_commands_before_it() {
    let mut many = Many::new(2, &[]);
    many.command(LEAD, NOTHING, &[], 0);
    let late = many.out(LEAD);
    manage(&mut many, OTHER, Function::ClearTaskSet);
    assert_eq!(many.run_on(&[OTHER]), []);
    assert_eq!(asked(&many), 0);
    many.deliver(LEAD, &late);
    assert_eq!(asked(&many), 1);
    let events = many.run();
    let managed = |(_, event): &(Cid, Event)| matches!(event, Event::TaskManaged { .. });
    assert!(events.iter().any(managed), "{events:?}");
}

#[test]
fn function_that_waits_goes_with_its_connection() {
    let mut many = Many::new(2, &[]);
    many.command(LEAD, NOTHING, &[], 0);
    let late = many.out(LEAD);
    manage(&mut many, OTHER, Function::LogicalUnitReset);
    many.run_on(&[OTHER]);
    many.target.close(many.at[&1]);
    many.deliver(LEAD, &late);
    assert_eq!(asked(&many), 0);
}

#[test]
fn immediate_target_reset_has_the_commands_before_it_count_as_received() {
    let mut many = Many::new(2, &[]);
    many.command(LEAD, NOTHING, &[], 0);
    let late = many.out(LEAD);
    manage(&mut many, OTHER, Function::TargetWarmReset);
    many.run_on(&[OTHER]);
    assert_eq!(asked(&many), 1);
    many.deliver(LEAD, &late);
    assert_eq!(many.target.session.counters().ignored_requests, 1);
    assert_eq!(many.target.session.outstanding_tasks().count(), 0);
}

#[test]
fn abort_of_a_task_management_request_is_function_rejected() {
    for function in [Function::AbortTask, Function::QueryTask] {
        let params = NegotiatedParams {
            iscsi_protocol_level: 2,
            ..NegotiatedParams::default()
        };
        let mut target = Target::new(session(params));
        target.withhold = true;
        let request = |itt, function, referenced| {
            InitiatorPdu::TaskManagementRequest(TaskManagementRequest {
                immediate: true,
                function,
                itt: Itt(itt),
                referenced_task_tag: Itt(referenced),
                cmd_sn: SerialNumber(1),
                ref_cmd_sn: SerialNumber(1),
                ..TaskManagementRequest::default()
            })
        };
        let reset = request(7, Function::LogicalUnitReset, u32::MAX);
        assert_eq!(exchange(&mut target, &[(reset, &[])]), []);
        let answer = exchange(&mut target, &[(request(8, function, 7), &[])]);
        let [(TargetPdu::TaskManagementResponse(response), _)] = &answer[..] else {
            panic!("{answer:?}");
        };
        assert_eq!(response.response, Response::FunctionRejected);
    }
}

#[test]
fn response_fence_holds_statuses_of_the_unit_until_the_response_is_acknowledged() {
    for reporting in ["ResponseFence", "FastAbort", "RFC3720"] {
        let mut many = fenced(&[("TaskReporting", reporting)]);
        let (task, elsewhere) = (
            hang(&mut many, OTHER, Lun64(0)),
            hang(&mut many, OTHER, OTHER_LUN),
        );
        let managed = manage(&mut many, LEAD, Function::ClearAca);
        // The response leaves, and is not acknowledged.
        let out = many.out(LEAD);
        many.deliver(LEAD, &out);
        let c = many.at[&0];
        let sent = many.target.send_on(c);
        assert!(!sent.is_empty());
        many.target.good(task, None, 0);
        many.target.good(elsewhere, None, 0);
        let events = many.run_on(&[OTHER]);
        let done = |(_, event): &(Cid, Event)| matches!(event, Event::CommandDone(_));
        let count = events.iter().filter(|event| done(event)).count();
        assert_eq!(count, 1, "{reporting}: {events:?}");
        let told = many.peer.on(LEAD, |one| one.handle_bytes(&sent));
        let response =
            |event: &Event| matches!(event, Event::TaskManaged { itt, .. } if *itt == managed);
        assert!(told.iter().any(response), "{told:?}");
        let events = many.run();
        let count = events.iter().filter(|event| done(event)).count();
        assert_eq!(count, 1, "{reporting}: {events:?}");
    }
}

#[test]
fn fenced_status_waits_for_the_others_and_holds_what_follows() {
    // RFC 7143 §4.2.3.3 e asks for it of the first response after a function also where nothing was agreed on.
    for reporting in ["ResponseFence", "FastAbort", "RFC3720"] {
        let mut many = fenced(&[("TaskReporting", reporting)]);
        let [first, attention, last] =
            [LEAD, OTHER, OTHER].map(|cid| hang(&mut many, cid, Lun64(0)));
        many.target.good(first, None, 0);
        let fence = Outcome {
            fence: true,
            ..Outcome::default()
        };
        many.target.complete(attention, &fence);
        many.target.good(last, None, 0);
        // The first is not sent, so nothing goes over the other connection.
        assert_eq!(many.run_on(&[OTHER]), [], "{reporting}");
        let events = many.run();
        let done: Vec<Cid> = events
            .iter()
            .filter(|(_, event)| matches!(event, Event::CommandDone(_)))
            .map(|(cid, _)| *cid)
            .collect();
        assert_eq!(done, [LEAD, OTHER, OTHER], "{reporting}");
    }
}

#[test]
fn fence_is_gone_with_its_connection_and_with_its_task() {
    for abandons in [false, true] {
        let mut many = fenced(&[("TaskReporting", "ResponseFence")]);
        let [first, attention, last] =
            [LEAD, OTHER, LEAD].map(|cid| hang(&mut many, cid, Lun64(0)));
        many.target.good(first, None, 0);
        let fence = Outcome {
            fence: true,
            ..Outcome::default()
        };
        many.target.complete(attention, &fence);
        many.target.good(last, None, 0);
        if abandons {
            many.target.abort(attention);
        } else {
            many.target.close(many.at[&1]);
        }
        let events = many.run_on(&[LEAD]);
        let done = |(_, event): &&(Cid, Event)| matches!(event, Event::CommandDone(_));
        assert_eq!(events.iter().filter(done).count(), 2, "{events:?}");
    }
}

#[test]
fn single_connection_is_not_fenced() {
    let params = NegotiatedParams {
        task_reporting: TaskReporting::ResponseFence,
        ..NegotiatedParams::default()
    };
    let mut target = Target::new(session(params));
    let command = super::golden::command(1, HANG);
    exchange(&mut target, &[(InitiatorPdu::ScsiCommand(command), &[])]);
    let task = target.open()[0];
    let fence = Outcome {
        fence: true,
        ..Outcome::default()
    };
    target.complete(task, &fence);
    assert_eq!(unwire(&target.send()).len(), 1);
}

fn told(target: &mut Target) -> (AsyncMessage, Vec<u8>) {
    let sent = unwire(&target.send());
    let [(TargetPdu::AsyncMessage(message), data)] = &sent[..] else {
        panic!("{sent:?}");
    };
    assert_eq!(message.itt, Itt::RESERVED);
    (*message, data.clone())
}

#[test]
fn events_have_their_codes_and_parameters() {
    let params = NegotiatedParams {
        task_reporting: TaskReporting::FastAbort,
        default_time2wait: 3,
        default_time2retain: 7,
        ..NegotiatedParams::default()
    };
    let mut target = Target::new(session(params));
    target.session.notify_session_drop(C0, false);
    let (message, _) = told(&mut target);
    let codes = |message: AsyncMessage| {
        let AsyncMessage {
            async_event,
            parameter1,
            parameter2,
            parameter3,
            ..
        } = message;
        (async_event, [parameter1, parameter2, parameter3])
    };
    assert_eq!(codes(message), (AsyncEvent::SessionDropped, [0, 3, 0]));
    target.session.notify_session_drop(C0, true);
    let (message, _) = told(&mut target);
    assert_eq!(codes(message), (AsyncEvent::SessionDropped, [0, 3, 7]));
    target.session.notify_drop(C0, Cid(9));
    let (message, _) = told(&mut target);
    assert_eq!(codes(message), (AsyncEvent::ConnectionDropped, [9, 3, 7]));
    target.session.request_logout(C0, 11);
    let (message, _) = told(&mut target);
    assert_eq!(codes(message), (AsyncEvent::LogoutRequested, [0, 0, 11]));
    target.session.notify_termination(C0, OTHER_LUN);
    let (message, _) = told(&mut target);
    assert_eq!(codes(message), (AsyncEvent::TasksTerminated, [0; 3]));
    assert_eq!(message.lun, OTHER_LUN);
    target.session.report_event(C0, OTHER_LUN, &[0x70, 0, 6]);
    let (message, data) = told(&mut target);
    assert_eq!(codes(message), (AsyncEvent::ScsiEvent, [0; 3]));
    assert_eq!(
        (message.lun, &data[..]),
        (OTHER_LUN, &[0, 3, 0x70, 0, 6][..])
    );
}

#[test]
fn termination_is_not_told_without_fast_abort() {
    for task_reporting in [TaskReporting::Rfc3720, TaskReporting::ResponseFence] {
        let params = NegotiatedParams {
            task_reporting,
            ..NegotiatedParams::default()
        };
        let mut target = Target::new(session(params));
        target.session.notify_termination(C0, Lun64(0));
        assert!(!target.session.has_output(C0));
    }
}

#[test]
fn negotiation_that_the_target_asks_for_declares_its_segment_length_once() {
    let mut target = Target::new(session(NegotiatedParams::default()));
    target.session.request_negotiation(C0, 65_536, 5);
    let (message, _) = told(&mut target);
    assert_eq!(message.async_event, AsyncEvent::NegotiationRequested);
    assert_eq!(message.parameter3, 5);
    // Longer segments are taken at once.
    let text = |number: u32, data: &'static [u8]| {
        let request = InitiatorPdu::TextRequest(TextRequest {
            r#final: true,
            itt: Itt(number),
            ttt: Ttt::RESERVED,
            cmd_sn: SerialNumber(number),
            data_segment_length: u32::try_from(data.len()).unwrap(),
            ..TextRequest::default()
        });
        (request, data)
    };
    for (number, declared) in [(1, &b"MaxRecvDataSegmentLength=65536\0"[..]), (2, b"")] {
        let answer = exchange(&mut target, &[text(number, b"")]);
        let [(TargetPdu::TextResponse(_), data)] = &answer[..] else {
            panic!("{answer:?}");
        };
        assert_eq!(data, declared);
    }
}
