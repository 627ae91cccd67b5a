//! Connections that are lost, and tasks that go on over others (RFC 7143 §7.1.4.3, §7.2.2, §11.5.1, §11.6.1, §11.14).

mod peer;

use core::time::Duration;

use iscsi_wire::{
    Cid, Itt, LogoutReason, LogoutResponseCode, SerialNumber, TargetPdu, TaskManagementFunction,
    TaskManagementResponseCode,
};

use self::peer::{Peer, RETAINED, params};
use super::pair::pattern;
use super::target::{HANG, NOTHING, READ, READ_FAILS, READ_IN_WINDOWS};
use crate::negotiate::NegotiatedParams;
use crate::session::{Event, JoinError};

/// How what was on a lost connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Over a connection that the session has.
    Another,
    /// Over a new one that is logged in for it, and has another CID.
    New,
    /// Over a new one with the CID of the one that was lost.
    SameCid,
}

const WAYS: [Way; 3] = [Way::Another, Way::New, Way::SameCid];

/// Recovers all that was on CID 0, as RFC 7143 §7.1.4.3 has it.
fn recover(peer: &mut Peer, way: Way, segment_bytes: u32) {
    let over = match way {
        Way::Another => 1,
        Way::New => {
            peer.join(7, segment_bytes).expect("one more is possible");
            7
        }
        Way::SameCid => {
            peer.reinstate(0, segment_bytes);
            0
        }
    };
    if way != Way::SameCid {
        assert_eq!(peer.remove(over, 0), LogoutResponseCode::Closed);
    }
    peer.run();
    for itt in peer.open() {
        if peer.jobs[&itt].cid != 0 {
            continue;
        }
        match peer.reassign(over, itt) {
            TaskManagementResponseCode::FunctionComplete => {}
            TaskManagementResponseCode::TaskDoesNotExist => again(peer, itt),
            other => panic!("{way:?}: {other:?}"),
        }
    }
    peer.run();
}

/// A command that the target has not acknowledged is sent once more, with its number (RFC 7143 §7.2.1).
fn again(peer: &mut Peer, itt: Itt) {
    let job = &peer.jobs[&itt];
    assert!(job.immediate || peer.exp_cmd_sn.le(job.cmd_sn));
    assert!(job.data.is_empty());
    peer.send_command(itt);
}

/// Runs an exchange and loses CID 0 after each of its PDUs, in each way; `begin` queues the requests.
fn lose_at_every_pdu(params: &NegotiatedParams, begin: impl Fn(&mut Peer)) {
    for way in WAYS {
        // The new connection takes longer, shorter, and equal segments.
        for segment_bytes in [512, 768, 1500] {
            let mut positions = 0;
            loop {
                let mut peer = Peer::new(params.clone());
                if way == Way::Another {
                    peer.join(1, segment_bytes).expect("there is room");
                }
                begin(&mut peer);
                let steps = (0..positions).filter(|_| peer.step()).count();
                if peer.is_done() && steps < positions {
                    break;
                }
                peer.cut(0);
                recover(&mut peer, way, segment_bytes);
                peer.check();
                positions += 1;
            }
            assert!(positions > 2, "the exchange has PDUs to lose");
        }
    }
}

#[test]
fn small_read_of_a_connection_lost_anywhere_goes_on_over_another() {
    lose_at_every_pdu(&params(), |peer| {
        peer.read(0, READ, 100, 700);
        peer.read(0, NOTHING, 0, 0);
    });
}

#[test]
fn long_read_of_a_connection_lost_anywhere_goes_on_over_another() {
    lose_at_every_pdu(&params(), |peer| {
        peer.read(0, READ_IN_WINDOWS, 100, 7000);
    });
}

#[test]
fn long_read_without_data_acks_of_a_connection_lost_anywhere_goes_on_over_another() {
    lose_at_every_pdu(&params(), |peer| {
        peer.acknowledges_data = false;
        peer.read(0, READ, 100, 5000);
    });
}

#[test]
fn write_of_a_connection_lost_anywhere_goes_on_over_another() {
    for (initial_r2t, immediate_data) in [(false, true), (true, false), (false, false)] {
        let params = NegotiatedParams {
            initial_r2t,
            immediate_data,
            ..params()
        };
        lose_at_every_pdu(&params, |peer| {
            peer.write(0, 4096, pattern(6000));
        });
    }
}

#[test]
fn writes_in_any_order_of_a_connection_lost_anywhere_go_on_over_another() {
    let params = NegotiatedParams {
        data_pdu_in_order: false,
        data_sequence_in_order: false,
        ..params()
    };
    lose_at_every_pdu(&params, |peer| {
        peer.write(0, 4096, pattern(5000));
        peer.write(0, 16_384, pattern(300));
    });
}

#[test]
fn mixed_commands_of_a_connection_lost_anywhere_go_on_over_another() {
    lose_at_every_pdu(&params(), |peer| {
        peer.write(0, 4096, pattern(3000));
        peer.read(0, READ, 9000, 2000);
        peer.read(0, NOTHING, 0, 0);
        peer.write(0, 32_768, pattern(512));
    });
}

#[test]
fn task_reassign_before_the_connection_is_logged_out_is_task_still_allegiant() {
    let mut peer = Peer::new(params());
    peer.join(1, 512).unwrap();
    let hung = peer.read(0, HANG, 0, 0);
    peer.run();
    let still = TaskManagementResponseCode::TaskStillAllegiant;
    // While its connection is there, over that one and over another; and when it is lost and not logged out.
    assert_eq!(peer.reassign(0, hung), still);
    assert_eq!(peer.reassign(1, hung), still);
    peer.cut(0);
    assert_eq!(peer.reassign(1, hung), still);
    assert_eq!(peer.remove(1, 0), LogoutResponseCode::Closed);
    let complete = TaskManagementResponseCode::FunctionComplete;
    assert_eq!(peer.reassign(1, hung), complete);
    assert_eq!(peer.reassign(1, hung), still, "it has a connection again");
    let task = peer.target.open()[0];
    peer.target.good(task, None, 0);
    peer.run();
    peer.check();
}

#[test]
fn task_reassign_of_what_is_not_there_is_task_does_not_exist() {
    let mut peer = Peer::new(params());
    let answer = peer.reassign(0, Itt(77));
    assert_eq!(answer, TaskManagementResponseCode::TaskDoesNotExist);
}

#[test]
fn task_reassign_below_level_2_is_not_supported() {
    for error_recovery_level in [0, 1] {
        let mut peer = Peer::new(NegotiatedParams {
            error_recovery_level,
            ..params()
        });
        let hung = peer.read(0, HANG, 0, 0);
        peer.run();
        let answer = peer.reassign(0, hung);
        let expected = TaskManagementResponseCode::TaskAllegianceReassignmentNotSupported;
        assert_eq!(answer, expected);
    }
}

#[test]
fn task_reassign_of_requests_that_are_no_commands_is_function_rejected() {
    let mut peer = Peer::new(params());
    peer.join(1, 512).unwrap();
    let hung = peer.read(0, HANG, 0, 0);
    peer.run();
    peer.target.withhold = true;
    let abort = peer.manage(0, TaskManagementFunction::AbortTask, hung, 0);
    let logout = peer.log_out(0, 1, LogoutReason::CloseConnection);
    peer.run();
    let rejected = TaskManagementResponseCode::FunctionRejected;
    assert_eq!(peer.reassign(0, abort), rejected, "it has no answer yet");
    assert_eq!(peer.reassign(0, logout), rejected);
    peer.cut(0);
    peer.join(2, 512).unwrap();
    peer.target.withhold = false;
    assert_eq!(peer.remove(2, 0), LogoutResponseCode::Closed);
    assert_eq!(
        peer.reassign(2, abort),
        rejected,
        "it ended with its connection"
    );
    assert_eq!(peer.reassign(2, logout), rejected);
}

#[test]
fn abort_task_of_a_task_management_request_is_function_rejected() {
    let mut peer = Peer::new(params());
    let hung = peer.read(0, HANG, 0, 0);
    peer.run();
    peer.target.withhold = true;
    let abort = peer.manage(0, TaskManagementFunction::AbortTask, hung, 0);
    let other = peer.manage(0, TaskManagementFunction::AbortTask, abort, 0);
    peer.run();
    let rejected = TaskManagementResponseCode::FunctionRejected;
    assert_eq!(peer.managed(other), Some(rejected));
}

#[test]
fn removal_for_recovery_of_an_unknown_cid_is_cid_not_found_and_below_level_2_not_supported() {
    let mut peer = Peer::new(params());
    assert_eq!(peer.remove(0, 9), LogoutResponseCode::CidNotFound);
    for error_recovery_level in [0, 1] {
        let mut peer = Peer::new(NegotiatedParams {
            error_recovery_level,
            ..params()
        });
        peer.join(1, 512).unwrap();
        let answer = peer.remove(0, 1);
        assert_eq!(answer, LogoutResponseCode::RecoveryNotSupported);
        assert_eq!(peer.target.session.connections().count(), 2);
    }
}

#[test]
fn removal_tells_for_how_long_tasks_are_kept() {
    let mut peer = Peer::new(params());
    peer.join(1, 512).unwrap();
    peer.cut(0);
    assert_eq!(peer.remove(1, 0), LogoutResponseCode::Closed);
    let Some((_, TargetPdu::LogoutResponse(response))) = peer.answers.last() else {
        panic!("{:?}", peer.answers)
    };
    assert_eq!((response.time2wait, response.time2retain), (2, 20));
    assert_eq!(peer.remove(1, 0), LogoutResponseCode::CidNotFound);
}

#[test]
fn connection_that_removes_itself_suspends_its_tasks_and_another_goes_on_with_them() {
    let mut peer = Peer::new(params());
    peer.join(1, 512).unwrap();
    peer.read(0, READ, 0, 3000);
    let write = peer.write(0, 8192, pattern(4000));
    for _ in 0..5 {
        peer.step();
    }
    let logout = peer.log_out(0, 0, LogoutReason::RemoveConnectionForRecovery);
    peer.run();
    assert_eq!(peer.logged_out(logout), LogoutResponseCode::Closed);
    assert!(peer.open().contains(&write), "nothing more is sent for it");
    let c = peer.wires[&0].c;
    peer.target.close(c);
    peer.wires.remove(&0);
    for itt in peer.open() {
        let complete = TaskManagementResponseCode::FunctionComplete;
        assert_eq!(peer.reassign(1, itt), complete);
    }
    peer.run();
    peer.check();
}

#[test]
fn removal_of_a_connection_that_lives_suspends_its_tasks_and_another_goes_on_with_them() {
    let mut peer = Peer::new(params());
    peer.join(1, 512).unwrap();
    let hung = peer.read(0, HANG, 0, 0);
    peer.run();
    assert_eq!(peer.remove(1, 0), LogoutResponseCode::Closed);
    let task = peer.target.open()[0];
    peer.target.good(task, None, 0);
    let complete = TaskManagementResponseCode::FunctionComplete;
    assert_eq!(peer.reassign(1, hung), complete);
    peer.run();
    peer.check();
}

#[test]
fn logout_that_closes_a_lost_connection_ends_its_tasks() {
    let mut peer = Peer::new(params());
    peer.join(1, 512).unwrap();
    let hung = peer.read(0, HANG, 0, 0);
    peer.run();
    peer.cut(0);
    let logout = peer.log_out(1, 0, LogoutReason::CloseConnection);
    peer.run();
    assert_eq!(peer.logged_out(logout), LogoutResponseCode::Closed);
    let gone = TaskManagementResponseCode::TaskDoesNotExist;
    assert_eq!(peer.reassign(1, hung), gone);
    assert!(peer.target.open().is_empty());
    assert!(!peer.target.session.waits_for_recovery());
}

#[test]
fn tasks_that_nobody_asks_for_end_when_their_time_is_over() {
    // Logged out for recovery or not, it makes no difference; the time starts again with the logout.
    for removed in [false, true] {
        let mut peer = Peer::new(params());
        peer.join(1, 512).unwrap();
        let hung = peer.read(0, HANG, 0, 0);
        let done = peer.read(0, NOTHING, 0, 0);
        for _ in 0..2 {
            peer.step();
        }
        peer.cut(0);
        let mut end = RETAINED;
        if removed {
            peer.target.now = Duration::from_secs(5);
            assert_eq!(peer.remove(1, 0), LogoutResponseCode::Closed);
            end += Duration::from_secs(5);
        }
        assert!(peer.target.session.waits_for_recovery());
        peer.target.now = end - Duration::from_millis(1);
        peer.target.time_out();
        assert_eq!(peer.target.tasks(), 2);
        peer.target.now = end;
        peer.target.time_out();
        assert_eq!(peer.target.tasks(), 0);
        let expired =
            |event: &&Event| matches!(event, Event::TasksExpired { tasks } if tasks.len() == 2);
        assert_eq!(peer.target.events.iter().filter(expired).count(), 1);
        assert!(!peer.target.session.waits_for_recovery());
        for itt in [hung, done] {
            let gone = TaskManagementResponseCode::TaskDoesNotExist;
            assert_eq!(peer.reassign(1, itt), gone);
        }
        peer.jobs.clear();
        peer.check();
        assert_eq!(peer.remove(1, 0), LogoutResponseCode::CidNotFound);
    }
}

#[test]
fn immediate_commands_end_with_their_connection() {
    let mut peer = Peer::new(params());
    peer.join(1, 512).unwrap();
    let hung = peer.immediate(0, HANG);
    peer.run();
    peer.cut(0);
    assert_eq!(peer.target.tasks(), 0);
    assert_eq!(peer.remove(1, 0), LogoutResponseCode::Closed);
    let gone = TaskManagementResponseCode::TaskDoesNotExist;
    assert_eq!(peer.reassign(1, hung), gone);
}

#[test]
fn commands_that_were_not_acknowledged_are_discarded_and_come_again_with_their_numbers() {
    let mut peer = Peer::new(params());
    peer.join(1, 512).unwrap();
    // The number before goes over the other connection, and is late.
    let late = peer.cmd_sn;
    peer.cmd_sn = late.next();
    let ahead = peer.write(0, 4096, pattern(3000));
    peer.run();
    peer.cut(0);
    assert_eq!(peer.target.tasks(), 0);
    let first = peer.read(1, NOTHING, 0, 0);
    peer.jobs.get_mut(&first).unwrap().cmd_sn = late;
    let next = peer.cmd_sn;
    peer.cmd_sn = late.add(2);
    assert_eq!(next, late.add(3));
    peer.wires.remove(&1);
    peer.join(2, 512).unwrap();
    for itt in [first, ahead] {
        peer.jobs.get_mut(&itt).unwrap().cid = 2;
    }
    assert_eq!(peer.remove(2, 0), LogoutResponseCode::Closed);
    peer.send_command(first);
    peer.send_command(ahead);
    peer.run();
    peer.check();
}

#[test]
fn abort_task_over_another_connection_ends_what_was_removed_for_recovery() {
    let mut peer = Peer::new(params());
    peer.join(1, 512).unwrap();
    let hung = peer.read(0, HANG, 0, 0);
    peer.run();
    peer.cut(0);
    assert_eq!(peer.remove(1, 0), LogoutResponseCode::Closed);
    let abort = peer.manage(1, TaskManagementFunction::AbortTask, hung, 0);
    peer.run();
    let complete = TaskManagementResponseCode::FunctionComplete;
    assert_eq!(peer.managed(abort), Some(complete));
    peer.jobs.clear();
    peer.check();
}

#[test]
fn abort_task_of_a_command_with_a_status_sends_the_status_first() {
    let mut peer = Peer::new(params());
    peer.join(1, 512).unwrap();
    let done = peer.read(0, NOTHING, 0, 0);
    peer.step();
    peer.cut(0);
    assert_eq!(peer.remove(1, 0), LogoutResponseCode::Closed);
    peer.jobs.get_mut(&done).unwrap().cid = 1;
    let abort = peer.manage(1, TaskManagementFunction::AbortTask, done, 0);
    while peer.managed(abort).is_none() {
        assert!(peer.step());
    }
    assert_eq!(peer.jobs[&done].status, Some(0));
    let gone = TaskManagementResponseCode::TaskDoesNotExist;
    assert_eq!(peer.managed(abort), Some(gone));
    peer.check();
}

#[test]
fn failed_read_is_told_with_its_sense_over_the_other_connection() {
    let mut peer = Peer::new(params());
    peer.join(1, 512).unwrap();
    let read = peer.read(0, READ_FAILS, 0, 2048);
    peer.step();
    peer.cut(0);
    assert_eq!(peer.remove(1, 0), LogoutResponseCode::Closed);
    let complete = TaskManagementResponseCode::FunctionComplete;
    assert_eq!(peer.reassign(1, read), complete);
    peer.run();
    assert_eq!(peer.jobs[&read].status, Some(2));
    assert_eq!(peer.jobs[&read].data.len(), 1024);
    peer.jobs.clear();
    peer.check();
}

#[test]
fn session_of_one_connection_takes_a_second_that_cleans_the_first_up() {
    let mut peer = Peer::new(NegotiatedParams {
        max_connections: 1,
        ..params()
    });
    let read = peer.read(0, READ, 0, 3000);
    for _ in 0..3 {
        peer.step();
    }
    // The target has not noticed that the first is gone.
    assert_eq!(peer.join(1, 512), Ok(()));
    assert_eq!(peer.join(2, 512), Err(JoinError::TooMany));
    // What it still sends is not heard: a status among it would not be acknowledged, and stays to be asked for.
    if let Some(wire) = peer.wires.remove(&0) {
        peer.lost.insert(0, wire.exp_stat_sn);
    }
    assert_eq!(peer.remove(1, 0), LogoutResponseCode::Closed);
    let complete = TaskManagementResponseCode::FunctionComplete;
    if peer.jobs[&read].status.is_none() {
        assert_eq!(peer.reassign(1, read), complete);
    }
    peer.run();
    peer.check();
}

#[test]
fn connections_that_are_lost_again_and_again_have_a_bound() {
    let mut peer = Peer::new(params());
    for cid in 1..200 {
        peer.join(cid, 512).expect("the lost ones make way");
        peer.read(cid, NOTHING, 0, 0);
        peer.run();
        peer.acknowledge();
        peer.cut(cid);
    }
    assert!(peer.target.session.find_connection(Cid(199)).is_some());
    assert!(peer.target.session.find_connection(Cid(1)).is_none());
    peer.check();
}

#[test]
fn task_reassign_with_an_exp_data_sn_that_cannot_be_sends_all_that_is_unacknowledged() {
    for exp_data_sn in [0, 7, u32::MAX] {
        let mut peer = Peer::new(params());
        peer.acknowledges_data = false;
        peer.join(1, 512).unwrap();
        let read = peer.read(0, READ, 0, 3000);
        for _ in 0..4 {
            peer.step();
        }
        assert_eq!(peer.jobs[&read].exp_data_sn, 3);
        peer.cut(0);
        assert_eq!(peer.remove(1, 0), LogoutResponseCode::Closed);
        let job = peer.jobs.get_mut(&read).unwrap();
        job.cid = 1;
        job.exp_data_sn = 0;
        job.data.clear();
        peer.manage(1, TaskManagementFunction::TaskReassign, read, exp_data_sn);
        peer.run();
        peer.check();
    }
}

#[test]
fn snack_tag_of_a_task_is_forgotten_with_its_connection() {
    for lost in [false, true] {
        let mut peer = Peer::new(params());
        peer.acknowledges_data = false;
        peer.join(1, 512).unwrap();
        let read = peer.read(0, READ, 0, 3000);
        for _ in 0..3 {
            peer.step();
        }
        peer.ask_anew(read, 77);
        for _ in 0..3 {
            peer.step();
        }
        if lost {
            peer.cut(0);
            assert_eq!(peer.remove(1, 0), LogoutResponseCode::Closed);
            let complete = TaskManagementResponseCode::FunctionComplete;
            assert_eq!(peer.reassign(1, read), complete);
        }
        peer.run();
        assert_eq!(peer.jobs[&read].snack_tag, if lost { 0 } else { 77 });
        peer.check();
    }
}

#[test]
fn tag_of_a_task_whose_status_arrived_and_was_not_acknowledged_is_free_for_the_initiator() {
    let mut peer = Peer::new(params());
    peer.join(1, 512).unwrap();
    let itt = peer.read(0, NOTHING, 0, 0);
    peer.run();
    assert_eq!(peer.jobs[&itt].status, Some(0));
    // The target does not hear of it.
    let wire = peer.wires.get_mut(&0).unwrap();
    wire.exp_stat_sn = SerialNumber(wire.exp_stat_sn.0.wrapping_sub(1));
    peer.cut(0);
    assert_eq!(peer.remove(1, 0), LogoutResponseCode::Closed);
    assert_eq!(peer.target.tasks(), 1);
    let job = peer.jobs.get_mut(&itt).unwrap();
    (job.cid, job.cmd_sn, job.status) = (1, peer.cmd_sn, None);
    peer.cmd_sn = peer.cmd_sn.next();
    peer.send_command(itt);
    peer.run();
    peer.check();
}
