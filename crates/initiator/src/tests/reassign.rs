//! ErrorRecoveryLevel 2 and several connections from the initiator's side: what a lost connection leaves is taken over.

use iscsi_wire::{
    Cid, LogoutReason, LogoutResponse, LogoutResponseCode, TaskManagementFunction,
    TaskManagementRequest, TaskManagementResponse, TaskManagementResponseCode, Ttt,
};

use super::data::{LUN, READ, WRITE, data_in, pattern, r2t, response};
use super::*;
use crate::{Delivery, Request, Session};

const LEAD: Cid = Cid(0);
const OTHER: Cid = Cid(1);

/// A session at this level with two connections.
fn two(level: &'static str) -> Session {
    let mut config = normal()
        .with_key("MaxConnections", "2")
        .with_key("ErrorRecoveryLevel", level);
    config.first_stage = Stage::Operational;
    let mut session = Session::new(config);
    let accept = ["MaxConnections=2", level_answer(level)];
    session.on(LEAD, |one| {
        one.start_login();
        sent(one);
        let events = answer(
            one,
            Stage::Operational,
            Some(Stage::FullFeature),
            &accepted(&accept),
        );
        assert_eq!(events, [Event::LoggedIn]);
    });
    join(&mut session, OTHER);
    session
}

fn level_answer(level: &str) -> &'static str {
    match level {
        "0" => "ErrorRecoveryLevel=0",
        "1" => "ErrorRecoveryLevel=1",
        _ => "ErrorRecoveryLevel=2",
    }
}

fn join(session: &mut Session, cid: Cid) {
    session.join(cid);
    let keys = [
        "TargetPortalGroupTag=1",
        "HeaderDigest=None",
        "DataDigest=None",
        "MaxRecvDataSegmentLength=1024",
    ];
    session.on(cid, |one| {
        sent(one);
        let (next, expected) = (Some(Stage::FullFeature), one.numbers.exp_cmd_sn);
        let data = text(&keys);
        let mut response = login_response(one, Stage::Operational, &data);
        let State::Login(login) = &one.state else {
            panic!("no login")
        };
        assert!(!login.started);
        (response.stat_sn, response.itt) = (FIRST_STAT_SN, login_itt(one));
        (response.transit, response.next_stage) = (next.is_some(), Stage::FullFeature);
        (response.tsih, response.exp_cmd_sn) = (Tsih(7), expected);
        response.max_cmd_sn = expected.add(31);
        let events = receive(one, TargetPdu::LoginResponse(response), &data);
        assert_eq!(events, [Event::LoggedIn]);
    });
}

/// The login's tag: the last that was given out.
fn login_itt(one: &Initiator) -> Itt {
    let mut next = one.clone();
    Itt(next.allocate_itt().0 - 1)
}

/// The target has taken all commands up to here, said on this connection.
fn acknowledge(session: &mut Session, cid: Cid, through: SerialNumber) {
    session.on(cid, |one| {
        let news = iscsi_wire::NopIn {
            itt: Itt::RESERVED,
            ttt: Ttt::RESERVED,
            stat_sn: one.exp_stat_sn(),
            exp_cmd_sn: through.next(),
            max_cmd_sn: through.add(32),
            ..iscsi_wire::NopIn::default()
        };
        assert_eq!(receive(one, TargetPdu::NopIn(news), &[]), []);
    });
}

/// The recovery logout of a lost connection on another, and what that one then sends.
fn log_out_lost(
    session: &mut Session,
    over: Cid,
    lost: Cid,
    code: LogoutResponseCode,
) -> (LogoutReason, Vec<(InitiatorPdu, Vec<u8>)>) {
    session.recover(over, lost);
    let request = session.on(over, |one| {
        let pdus = sent(one);
        match pdus.last() {
            Some((InitiatorPdu::LogoutRequest(request), _)) => *request,
            _ => panic!("{pdus:?}"),
        }
    });
    assert_eq!((request.cid, request.immediate), (lost, true));
    let events = session.on(over, |one| {
        let answer = LogoutResponse {
            response: code,
            itt: request.itt,
            stat_sn: one.exp_stat_sn(),
            exp_cmd_sn: one.numbers.exp_cmd_sn,
            max_cmd_sn: one.numbers.max_cmd_sn,
            ..LogoutResponse::default()
        };
        receive(one, TargetPdu::LogoutResponse(answer), &[])
    });
    assert!(matches!(events[..], [Event::LoggedOut(_)]), "{events:?}");
    (request.reason, session.on(over, sent))
}

/// The target answers the ping that stands last, with all commands before the next acknowledged.
fn answer_ping(session: &mut Session, cid: Cid) {
    let events = session.on(cid, |one| {
        let pdus = sent(one);
        let Some((InitiatorPdu::NopOut(ping), data)) = pdus.last() else {
            panic!("{pdus:?}")
        };
        let answer = iscsi_wire::NopIn {
            itt: ping.itt,
            ttt: Ttt::RESERVED,
            data_segment_length: length(data),
            stat_sn: one.exp_stat_sn(),
            exp_cmd_sn: one.cmd_sn(),
            max_cmd_sn: one.numbers.max_cmd_sn,
            ..iscsi_wire::NopIn::default()
        };
        receive(one, TargetPdu::NopIn(answer), data)
    });
    assert_eq!(events, []);
}

fn reassignment(pdus: &[(InitiatorPdu, Vec<u8>)]) -> TaskManagementRequest {
    match pdus {
        [(InitiatorPdu::TaskManagementRequest(request), _)] => {
            assert_eq!(request.function, TaskManagementFunction::TaskReassign);
            assert!(request.immediate);
            *request
        }
        _ => panic!("{pdus:?}"),
    }
}

fn answer_reassignment(
    session: &mut Session,
    cid: Cid,
    request: &TaskManagementRequest,
    response: TaskManagementResponseCode,
) {
    let events = session.on(cid, |one| {
        let answer = TaskManagementResponse {
            response,
            itt: request.itt,
            stat_sn: one.exp_stat_sn(),
            exp_cmd_sn: one.numbers.exp_cmd_sn,
            max_cmd_sn: one.numbers.max_cmd_sn,
            ..TaskManagementResponse::default()
        };
        receive(one, TargetPdu::TaskManagementResponse(answer), &[])
    });
    let itt = request.referenced_task_tag;
    assert_eq!(events, [Event::Reassigned { itt, response }]);
}

/// A read of 4096 bytes on the connection, of which two PDUs have come.
fn half_read(session: &mut Session, cid: Cid) -> Itt {
    session.on(cid, |one| {
        let itt = one.command(LUN, &READ, Vec::new(), 4096);
        sent(one);
        for data_sn in [0, 1] {
            let mut pdu = data_in(one, itt, data_sn, data_sn * 1024, 1024);
            pdu.max_cmd_sn = one.numbers.max_cmd_sn;
            let data = pattern((data_sn as usize + 1) * 1024).split_off(data_sn as usize * 1024);
            assert_eq!(receive(one, TargetPdu::DataIn(pdu), &data), []);
        }
        itt
    })
}

/// The rest of that read and its status.
fn rest_of_read(session: &mut Session, cid: Cid, itt: Itt) {
    session.on(cid, |one| {
        let mut pdu = data_in(one, itt, 2, 2048, 2048);
        (pdu.r#final, pdu.status_present) = (true, true);
        pdu.max_cmd_sn = one.numbers.max_cmd_sn;
        let data = pattern(4096).split_off(2048);
        let events = receive(one, TargetPdu::DataIn(pdu), &data);
        let [Event::CommandDone(done)] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!((done.itt, done.status), (itt, 0));
        assert_eq!(done.data, pattern(4096));
    });
}

#[test]
fn read_of_a_lost_connection_goes_on_over_another_at_its_exp_data_sn() {
    let mut session = two("2");
    let itt = half_read(&mut session, OTHER);
    session.lose(OTHER);
    assert_eq!(session.lost().collect::<Vec<_>>(), [OTHER]);
    let (reason, pdus) = log_out_lost(&mut session, LEAD, OTHER, LogoutResponseCode::Closed);
    assert_eq!(reason, LogoutReason::RemoveConnectionForRecovery);
    let request = reassignment(&pdus);
    assert_eq!((request.referenced_task_tag, request.exp_data_sn), (itt, 2));
    answer_reassignment(
        &mut session,
        LEAD,
        &request,
        TaskManagementResponseCode::FunctionComplete,
    );
    rest_of_read(&mut session, LEAD, itt);
    assert_eq!(session.lost().count(), 0);
    assert_eq!(session.repairs().reassigned, 1);
}

#[test]
fn login_with_the_cid_of_a_lost_connection_takes_its_tasks_over() {
    let mut session = two("2");
    let itt = half_read(&mut session, LEAD);
    session.lose(OTHER);
    session.lose(LEAD);
    join(&mut session, LEAD);
    answer_ping(&mut session, LEAD);
    let request = reassignment(&session.on(LEAD, sent));
    assert_eq!((request.referenced_task_tag, request.exp_data_sn), (itt, 2));
    answer_reassignment(
        &mut session,
        LEAD,
        &request,
        TaskManagementResponseCode::FunctionComplete,
    );
    rest_of_read(&mut session, LEAD, itt);
    assert_eq!(session.lost().collect::<Vec<_>>(), [OTHER]);
}

#[test]
fn write_of_a_lost_connection_answers_r2ts_again_after_its_reassignment() {
    let mut session = two("2");
    let itt = session.on(OTHER, |one| {
        let itt = one.command(LUN, &WRITE, pattern(6144), 0);
        sent(one);
        let mut asked = r2t(one, itt, 0, 2048, 4096);
        asked.max_cmd_sn = one.numbers.max_cmd_sn;
        assert_eq!(receive(one, TargetPdu::ReadyToTransfer(asked), &[]), []);
        assert_eq!(super::data::data_out(one).0.len(), 4);
        itt
    });
    session.lose(OTHER);
    let (_, pdus) = log_out_lost(&mut session, LEAD, OTHER, LogoutResponseCode::Closed);
    let request = reassignment(&pdus);
    answer_reassignment(
        &mut session,
        LEAD,
        &request,
        TaskManagementResponseCode::FunctionComplete,
    );
    session.on(LEAD, |one| {
        // The first again, then one with the next number, for a part of it.
        for (r2t_sn, offset, bytes) in [(0, 2048, 4096), (1, 4096, 1024)] {
            let mut asked = r2t(one, itt, r2t_sn, offset, bytes);
            asked.max_cmd_sn = one.numbers.max_cmd_sn;
            assert_eq!(receive(one, TargetPdu::ReadyToTransfer(asked), &[]), []);
            let payload = super::data::data_out(one).1;
            let range = offset as usize..(offset + bytes) as usize;
            assert_eq!(payload, pattern(6144)[range]);
        }
        let mut done = response(one, itt, 0);
        done.max_cmd_sn = one.numbers.max_cmd_sn;
        let events = receive(one, TargetPdu::ScsiResponse(done), &[]);
        assert!(matches!(events[..], [Event::CommandDone(_)]), "{events:?}");
    });
}

#[test]
fn request_that_was_not_acknowledged_is_sent_again_on_the_other_connection() {
    for level in ["1", "2"] {
        let mut session = two(level);
        let first = session.on(OTHER, |one| {
            one.command(LUN, &WRITE, pattern(2048), 0);
            sent(one)
        });
        session.lose(OTHER);
        let (_, pdus) = log_out_lost(&mut session, LEAD, OTHER, LogoutResponseCode::Closed);
        let numbers = |pdus: &[(InitiatorPdu, Vec<u8>)]| match pdus[0].0 {
            InitiatorPdu::ScsiCommand(command) => (command.itt, command.cmd_sn),
            _ => panic!("{pdus:?}"),
        };
        assert_eq!(numbers(&pdus), numbers(&first), "level {level}");
        let data = |pdus: Vec<(InitiatorPdu, Vec<u8>)>| {
            pdus.into_iter().map(|(_, data)| data).collect::<Vec<_>>()
        };
        assert_eq!(data(pdus), data(first));
    }
}

#[test]
fn level_1_loses_what_the_target_has_acknowledged() {
    let mut session = two("1");
    let itt = half_read(&mut session, OTHER);
    session.lose(OTHER);
    let (reason, pdus) = log_out_lost(&mut session, LEAD, OTHER, LogoutResponseCode::Closed);
    assert_eq!((reason, pdus), (LogoutReason::CloseConnection, Vec::new()));
    let events = session.handle_time(std::time::Duration::ZERO);
    assert_eq!(events, [(LEAD, Event::Lost { itt })]);
}

#[test]
fn level_0_forgets_what_a_lost_connection_had() {
    let mut session = two("0");
    session.on(OTHER, |one| {
        one.command(LUN, &READ, Vec::new(), 4096);
        sent(one);
    });
    session.lose(OTHER);
    assert_eq!(session.lost().count(), 0);
}

/// RFC 7143 §11.15.1: the first logout's answer may have been lost.
#[test]
fn cid_that_is_not_found_has_its_tasks_reassigned_all_the_same() {
    let mut session = two("2");
    let itt = half_read(&mut session, OTHER);
    session.lose(OTHER);
    let (_, pdus) = log_out_lost(&mut session, LEAD, OTHER, LogoutResponseCode::CidNotFound);
    let request = reassignment(&pdus);
    assert_eq!((request.referenced_task_tag, request.exp_data_sn), (itt, 2));
}

#[test]
fn reassignment_that_is_refused_is_told_and_ends_the_command() {
    let mut session = two("2");
    half_read(&mut session, OTHER);
    session.lose(OTHER);
    let (_, pdus) = log_out_lost(&mut session, LEAD, OTHER, LogoutResponseCode::Closed);
    let request = reassignment(&pdus);
    let refused = TaskManagementResponseCode::TaskDoesNotExist;
    answer_reassignment(&mut session, LEAD, &request, refused);
    assert_eq!(session.on(LEAD, |one| one.outstanding().count()), 0);
}

#[test]
fn immediate_requests_and_pings_are_lost_with_their_connection() {
    let mut session = two("2");
    let (immediate, ping) = session.on(OTHER, |one| {
        let immediate = one.submit(Request {
            delivery: Delivery::Immediate,
            cdb: vec![0; 6],
            ..Request::default()
        });
        let ping = one.ping(b"ping", Delivery::Ordered);
        sent(one);
        (immediate, ping)
    });
    let last = session.on(OTHER, |one| SerialNumber(one.cmd_sn().0 - 1));
    acknowledge(&mut session, OTHER, last);
    session.lose(OTHER);
    let (_, pdus) = log_out_lost(&mut session, LEAD, OTHER, LogoutResponseCode::Closed);
    assert_eq!(pdus, []);
    let events = session.handle_time(std::time::Duration::ZERO);
    let lost = [immediate, ping].map(|itt| (LEAD, Event::Lost { itt }));
    assert_eq!(events, lost);
}

#[test]
fn connection_lost_during_a_reassignment_leaves_the_task_to_the_next() {
    let mut session = two("2");
    let itt = half_read(&mut session, OTHER);
    session.lose(OTHER);
    let (_, pdus) = log_out_lost(&mut session, LEAD, OTHER, LogoutResponseCode::Closed);
    reassignment(&pdus);
    session.lose(LEAD);
    join(&mut session, LEAD);
    answer_ping(&mut session, LEAD);
    let request = reassignment(&session.on(LEAD, sent));
    assert_eq!((request.referenced_task_tag, request.exp_data_sn), (itt, 2));
    answer_reassignment(
        &mut session,
        LEAD,
        &request,
        TaskManagementResponseCode::FunctionComplete,
    );
    rest_of_read(&mut session, LEAD, itt);
}

/// RFC 7143 §11.14.4, §11.12.9: ExpStatSN is that of the connection to be closed.
#[test]
fn logout_and_login_for_a_lost_connection_acknowledge_its_statuses() {
    let mut session = two("2");
    let of_lost = SerialNumber(4711);
    session.on(OTHER, |one| one.exp_stat_sn = of_lost);
    session.lose(OTHER);
    session.recover(LEAD, OTHER);
    let pdus = session.on(LEAD, sent);
    let [(InitiatorPdu::LogoutRequest(logout), _)] = &pdus[..] else {
        panic!("{pdus:?}")
    };
    assert_eq!((logout.cid, logout.exp_stat_sn), (OTHER, of_lost));
    session.join(OTHER);
    let pdus = session.on(OTHER, sent);
    let [(InitiatorPdu::LoginRequest(login), _)] = &pdus[..] else {
        panic!("{pdus:?}")
    };
    assert_eq!(login.exp_stat_sn, of_lost);
}

/// The login's numbers may be older than the old connection's end.
#[test]
fn command_acknowledged_after_the_login_with_its_cid_is_reassigned_and_not_sent_again() {
    let mut session = two("2");
    let itt = session.on(LEAD, |one| {
        let itt = one.command(LUN, &READ, Vec::new(), 4096);
        sent(one);
        itt
    });
    session.lose(LEAD);
    join(&mut session, LEAD);
    answer_ping(&mut session, LEAD);
    let request = reassignment(&session.on(LEAD, sent));
    assert_eq!((request.referenced_task_tag, request.exp_data_sn), (itt, 0));
}

fn reject_for_want_of_room(one: &mut Initiator, request: TaskManagementRequest) -> Vec<Event> {
    let header = InitiatorPdu::TaskManagementRequest(request).emit().0;
    let reject = iscsi_wire::Reject {
        reason: iscsi_wire::RejectReason::ImmediateCommandReject,
        data_segment_length: length(&header),
        stat_sn: one.exp_stat_sn(),
        exp_cmd_sn: one.numbers.exp_cmd_sn,
        max_cmd_sn: one.numbers.max_cmd_sn,
        ..iscsi_wire::Reject::default()
    };
    receive(one, TargetPdu::Reject(reject), &header)
}

/// RFC 7143 §11.17.1: an immediate command that is rejected for want of room may be tried again.
#[test]
fn reassignment_without_room_is_sent_again_once_another_is_answered() {
    let mut session = two("2");
    half_read(&mut session, OTHER);
    let second = half_read(&mut session, OTHER);
    session.lose(OTHER);
    let (_, pdus) = log_out_lost(&mut session, LEAD, OTHER, LogoutResponseCode::Closed);
    let (first, rejected) = (reassignment(&pdus[..1]), reassignment(&pdus[1..]));
    let events = session.on(LEAD, |one| reject_for_want_of_room(one, rejected));
    assert!(matches!(events[..], [Event::Rejected { .. }]), "{events:?}");
    let complete = TaskManagementResponseCode::FunctionComplete;
    answer_reassignment(&mut session, LEAD, &first, complete);
    let again = reassignment(&session.on(LEAD, sent));
    assert_eq!(again.referenced_task_tag, second);
    answer_reassignment(&mut session, LEAD, &again, complete);
    rest_of_read(&mut session, LEAD, second);
}

/// Its rejection may come behind the answers to all others: nothing more would remind of it.
#[test]
fn reassignment_without_room_that_is_the_last_is_sent_again_at_once() {
    let mut session = two("2");
    let itt = half_read(&mut session, OTHER);
    session.lose(OTHER);
    let (_, pdus) = log_out_lost(&mut session, LEAD, OTHER, LogoutResponseCode::Closed);
    let rejected = reassignment(&pdus);
    let events = session.on(LEAD, |one| reject_for_want_of_room(one, rejected));
    assert!(matches!(events[..], [Event::Rejected { .. }]), "{events:?}");
    let again = reassignment(&session.on(LEAD, sent));
    assert_eq!(again.referenced_task_tag, itt);
    let complete = TaskManagementResponseCode::FunctionComplete;
    answer_reassignment(&mut session, LEAD, &again, complete);
    rest_of_read(&mut session, LEAD, itt);
}

/// It is immediate: no CmdSN tells that it is missing.
#[test]
fn reassignment_that_was_lost_is_sent_again_after_a_later_ping_is_answered() {
    let mut session = two("2");
    let itt = half_read(&mut session, OTHER);
    session.lose(OTHER);
    let (_, pdus) = log_out_lost(&mut session, LEAD, OTHER, LogoutResponseCode::Closed);
    let lost = reassignment(&pdus);
    session.handle_time(std::time::Duration::from_secs(60));
    answer_ping(&mut session, LEAD);
    let again = reassignment(&session.on(LEAD, sent));
    assert_eq!(again.referenced_task_tag, itt);
    assert_ne!(again.itt, lost.itt);
    let complete = TaskManagementResponseCode::FunctionComplete;
    answer_reassignment(&mut session, LEAD, &again, complete);
    rest_of_read(&mut session, LEAD, itt);
}

#[test]
fn connection_that_removes_itself_for_recovery_leaves_its_tasks_to_another() {
    let mut session = two("2");
    let itt = half_read(&mut session, OTHER);
    let events = session.on(OTHER, |one| {
        let reason = LogoutReason::RemoveConnectionForRecovery;
        let logout = one.logout(reason, Delivery::Immediate);
        sent(one);
        let answer = LogoutResponse {
            itt: logout,
            stat_sn: one.exp_stat_sn(),
            exp_cmd_sn: one.numbers.exp_cmd_sn,
            max_cmd_sn: one.numbers.max_cmd_sn,
            ..LogoutResponse::default()
        };
        receive(one, TargetPdu::LogoutResponse(answer), &[])
    });
    assert!(matches!(events[..], [Event::LoggedOut(_)]), "{events:?}");
    session.lose(OTHER);
    let (_, pdus) = log_out_lost(&mut session, LEAD, OTHER, LogoutResponseCode::CidNotFound);
    assert_eq!(reassignment(&pdus).referenced_task_tag, itt);
}
