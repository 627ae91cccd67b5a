//! What the response of a function that ends several tasks waits for: the data of tags given out, and acknowledgements on its own
//! connection (RFC 7143 §4.2.3.3 a, §11.5.1, §11.6.1).

use core::time::Duration;

use iscsi_wire::{
    InitiatorPdu, Itt, Lun64, SerialNumber, TargetPdu, TaskManagementFunction as Function,
    TaskManagementRequest, TaskManagementResponseCode as Response,
};

use super::data_rules::{data_out, pdu, with_r2ts};
use super::golden::{command, exchange, unwire};
use super::target::{HANG, Target};
use crate::negotiate::NegotiatedParams;
use crate::session::fixture::session;
use crate::session::{Event, TmfHandle};

/// Functions that end several tasks, and the logical unit they are for.
const FUNCTIONS: [Function; 5] = [
    Function::AbortTaskSet,
    Function::ClearTaskSet,
    Function::LogicalUnitReset,
    Function::TargetWarmReset,
    Function::TargetColdReset,
];

fn ask(target: &mut Target, function: Function, exp_stat_sn: u32) -> TmfHandle {
    target.withhold = true;
    let request = InitiatorPdu::TaskManagementRequest(TaskManagementRequest {
        immediate: true,
        function,
        itt: Itt(9),
        cmd_sn: SerialNumber(2),
        exp_stat_sn: SerialNumber(exp_stat_sn),
        ..TaskManagementRequest::default()
    });
    assert_eq!(exchange(target, &[(request, &[])]), []);
    let asked = target.events.iter().rev().find_map(|event| match event {
        Event::TaskManagement(tmf) => Some(tmf.handle),
        _ => None,
    });
    asked.expect("the owner is asked")
}

/// A write with two R2Ts out is ended by a function, which is answered.
fn ended(target: &mut Target, function: Function) {
    let handle = ask(target, function, 1);
    let task = target.open()[0];
    target.abort(task);
    let complete = Response::FunctionComplete;
    target.session.complete_task_management(handle, complete);
}

fn is_one((pdu, _): &(TargetPdu, Vec<u8>)) -> bool {
    matches!(pdu, TargetPdu::TaskManagementResponse(_))
}

fn is_response(sent: &[(TargetPdu, Vec<u8>)]) -> bool {
    matches!(sent, [one] if is_one(one))
}

#[test]
fn response_waits_for_the_data_of_every_tag_given_out() {
    for function in FUNCTIONS {
        let (mut target, [first, second]) = with_r2ts();
        ended(&mut target, function);
        let sent = unwire(&target.send());
        assert!(!sent.iter().any(is_one), "{function:?}: {sent:?}");
        let part = data_out(first, 0, 1024, 1024, false);
        let rest = data_out(first, 1, 2048, 1024, true);
        assert_eq!(exchange(&mut target, &[pdu(part), pdu(rest)]), []);
        let last = data_out(second, 0, 3072, 1024, true);
        let sent = exchange(&mut target, &[pdu(last)]);
        assert!(is_response(&sent), "{function:?}: {sent:?}");
        assert_eq!(target.session.counters().late_data_pdus, 3);
    }
}

#[test]
fn response_waits_no_longer_than_its_time_for_data_that_does_not_come() {
    let (mut target, [first, _]) = with_r2ts();
    ended(&mut target, Function::LogicalUnitReset);
    // News of the window.
    assert!(!unwire(&target.send()).iter().any(is_one));
    let patience = Duration::from_secs(2);
    assert_eq!(target.session.poll_timeout(), Some(patience));
    // What comes gives it more time.
    target.now = Duration::from_secs(1);
    let part = data_out(first, 0, 1024, 1024, false);
    assert_eq!(exchange(&mut target, &[pdu(part)]), []);
    target.now = patience;
    target.time_out();
    assert_eq!(unwire(&target.send()), []);
    // Data without a byte gives none.
    let nothing = data_out(first, 1, 2048, 0, false);
    assert_eq!(exchange(&mut target, &[pdu(nothing)]), []);
    target.now = Duration::from_secs(3);
    target.time_out();
    let sent = unwire(&target.send());
    assert!(is_response(&sent), "{sent:?}");
}

#[test]
fn response_of_another_unit_or_of_clear_aca_waits_for_no_data() {
    for (function, lun) in [
        (Function::LogicalUnitReset, Lun64(1 << 48)),
        (Function::ClearAca, Lun64(0)),
    ] {
        let (mut target, _) = with_r2ts();
        target.withhold = true;
        let request = InitiatorPdu::TaskManagementRequest(TaskManagementRequest {
            immediate: true,
            function,
            lun,
            itt: Itt(9),
            cmd_sn: SerialNumber(2),
            ..TaskManagementRequest::default()
        });
        assert_eq!(exchange(&mut target, &[(request, &[])]), []);
        let Some(Event::TaskManagement(tmf)) = target.events.last().cloned() else {
            panic!("{:?}", target.events);
        };
        let task = target.open()[0];
        target.abort(task);
        let complete = Response::FunctionComplete;
        target
            .session
            .complete_task_management(tmf.handle, complete);
        let sent = unwire(&target.send());
        assert!(is_response(&sent), "{function:?}: {sent:?}");
    }
}

#[test]
fn status_that_waited_for_data_leaves_before_the_response_which_waits_for_it() {
    let (mut target, [first, second]) = with_r2ts();
    let task = target.open()[0];
    target.fail(task, &[]);
    target.withhold = true;
    let request = InitiatorPdu::TaskManagementRequest(TaskManagementRequest {
        immediate: true,
        function: Function::LogicalUnitReset,
        itt: Itt(9),
        cmd_sn: SerialNumber(2),
        ..TaskManagementRequest::default()
    });
    let sent = exchange(&mut target, &[(request, &[])]);
    assert!(
        matches!(sent[..], [(TargetPdu::ScsiResponse(_), _)]),
        "{sent:?}"
    );
    let Some(Event::TaskManagement(tmf)) = target.events.last().cloned() else {
        panic!("{:?}", target.events);
    };
    let complete = Response::FunctionComplete;
    target
        .session
        .complete_task_management(tmf.handle, complete);
    let data = [
        pdu(data_out(first, 0, 1024, 2048, true)),
        pdu(data_out(second, 0, 3072, 1024, true)),
    ];
    assert_eq!(exchange(&mut target, &data[..1]), []);
    assert!(is_response(&exchange(&mut target, &data[1..])));
}

/// libiscsi never acknowledges the response of an earlier function: order on the stream has to do with one connection.
#[test]
fn response_over_the_only_connection_comes_behind_statuses_and_waits_for_no_acknowledgement() {
    for function in [
        Function::AbortTaskSet,
        Function::ClearTaskSet,
        Function::LogicalUnitReset,
    ] {
        let mut target = Target::new(session(NegotiatedParams::default()));
        let hang = InitiatorPdu::ScsiCommand(command(1, HANG));
        assert_eq!(exchange(&mut target, &[(hang, &[])]), []);
        let handle = ask(&mut target, function, 1);
        let task = target.open()[0];
        target.good(task, None, 0);
        let complete = Response::FunctionComplete;
        target.session.complete_task_management(handle, complete);
        let sent = unwire(&target.send());
        let [first, second] = &sent[..] else {
            panic!("{sent:?}");
        };
        assert!(matches!(first.0, TargetPdu::ScsiResponse(_)), "{sent:?}");
        assert!(is_response(core::slice::from_ref(second)), "{sent:?}");
    }
}
