//! Several connections of one session against the initiator: the order of commands over all of them, allegiance, ends.

use core::time::Duration;
use std::collections::BTreeMap;

use initiator::{Delivery, Event, Initiator, Session as Peer};
use iscsi_wire::{
    Cid, DataOut, InitiatorPdu, Itt, LogoutReason, LogoutResponseCode, Lun64, RejectReason,
    SerialNumber, TaskManagementFunction, TaskManagementResponseCode, Ttt,
};

use super::pair::{cdb, config, log_in, pattern};
use super::target::{HANG, NOTHING, READ, Target, WRITE, Way};
use crate::login::SessionType;
use crate::session::fixture::{C0, limits};
use crate::session::{ConnectionIndex, DropReason, Event as TargetEvent, JoinError, Session};

/// One session, both ends of it, and which connection of the target's a CID is.
pub(super) struct Many {
    pub(super) peer: Peer,
    pub(super) target: Target,
    pub(super) at: BTreeMap<u16, ConnectionIndex>,
}

pub(super) const LEAD: Cid = Cid(0);

impl Many {
    /// A session with this many connections, CIDs 0, 1, 2...
    pub(super) fn new(connections: u16, keys: &[(&str, &str)]) -> Self {
        let most = connections.max(2).to_string();
        let mut all = vec![("MaxConnections", most.as_str())];
        all.extend(keys);
        let mut peer = Peer::new(config(&all));
        peer.on(LEAD, Initiator::start_login);
        let established = peer.on(LEAD, |one| log_in(one, SessionType::Normal, None));
        let target = Target::new(Session::new(&established, limits(), Duration::ZERO));
        let mut many = Self {
            peer,
            target,
            at: BTreeMap::from([(0, C0)]),
        };
        for cid in 1..connections {
            many.join(Cid(cid)).expect("there is room");
        }
        many
    }

    pub(super) fn join(&mut self, cid: Cid) -> Result<(), JoinError> {
        let window = self.target.session.command_window();
        self.peer.join(cid);
        let established = self
            .peer
            .on(cid, |one| log_in(one, SessionType::Normal, Some(window)));
        let c = self.target.session.join(&established, self.target.now)?;
        self.at.insert(cid.0, c);
        Ok(())
    }

    /// What a connection of the initiator's has to send.
    pub(super) fn out(&mut self, cid: Cid) -> Vec<u8> {
        self.peer.on(cid, Initiator::take_output)
    }

    /// Brings bytes to the target.
    pub(super) fn deliver(&mut self, cid: Cid, bytes: &[u8]) {
        let c = self.at[&cid.0];
        self.target.receive_on(c, bytes, Way::Staging(usize::MAX));
    }

    /// Carries bytes both ways on these connections until nothing moves.
    pub(super) fn run_on(&mut self, cids: &[Cid]) -> Vec<(Cid, Event)> {
        let mut events = Vec::new();
        loop {
            let mut moved = false;
            for cid in cids {
                let out = self.out(*cid);
                self.deliver(*cid, &out);
                let back = self.target.send_on(self.at[&cid.0]);
                moved |= !out.is_empty() || !back.is_empty();
                let told = self.peer.on(*cid, |one| one.handle_bytes(&back));
                events.extend(told.into_iter().map(|event| (*cid, event)));
            }
            let broken = events
                .iter()
                .find(|(_, e)| matches!(e, Event::Violation(_)));
            assert_eq!(broken, None);
            if !moved {
                return events;
            }
        }
    }

    pub(super) fn run(&mut self) -> Vec<(Cid, Event)> {
        let cids: Vec<Cid> = self.peer.cids().collect();
        self.run_on(&cids)
    }

    pub(super) fn command(&mut self, cid: Cid, opcode: u8, out: &[u8], bytes: u32) -> Itt {
        self.peer.on(cid, |one| {
            one.command(Lun64(0), &cdb(opcode, 0), out.to_vec(), bytes)
        })
    }

    /// Commands that the target has begun, by CmdSN, in the order they began.
    fn begun(&self) -> Vec<u32> {
        let mut numbers = BTreeMap::new();
        let mut begun = Vec::new();
        for event in &self.target.events {
            match event {
                TargetEvent::Command(command) => {
                    numbers.insert(command.task, command.cmd_sn.0);
                    if command.deliver {
                        begun.push(command.cmd_sn.0);
                    }
                }
                TargetEvent::Deliver { task } => begun.push(numbers[task]),
                _ => {}
            }
        }
        begun
    }
}

fn done(events: &[(Cid, Event)], itt: Itt) -> (Cid, u8) {
    let mut found = events.iter().filter_map(|(cid, event)| match event {
        Event::CommandDone(done) if done.itt == itt => Some((*cid, done.status)),
        _ => None,
    });
    let first = found.next().unwrap_or_else(|| panic!("no end: {events:?}"));
    assert_eq!(found.next(), None, "two ends");
    first
}

#[test]
fn commands_on_three_connections_begin_in_cmd_sn_order_whatever_arrives_first() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]] {
        let mut many = Many::new(3, &[]);
        let itts: Vec<Itt> = [0, 1, 2, 0, 2, 1]
            .into_iter()
            .map(|cid| many.command(Cid(cid), NOTHING, &[], 0))
            .collect();
        let mut streams: BTreeMap<u16, Vec<u8>> = BTreeMap::new();
        for cid in 0..3 {
            streams.insert(cid, many.out(Cid(cid)));
        }
        for cid in order {
            let bytes = streams.remove(&cid).unwrap();
            many.deliver(Cid(cid), &bytes);
        }
        assert_eq!(many.begun(), [1, 2, 3, 4, 5, 6], "{order:?}");
        let events = many.run();
        for (itt, cid) in itts.into_iter().zip([0, 1, 2, 0, 2, 1]) {
            assert_eq!(
                done(&events, itt),
                (Cid(cid), 0),
                "the status keeps to its connection"
            );
        }
    }
}

#[test]
fn data_of_commands_on_two_connections_goes_over_their_own_and_is_right() {
    let mut many = Many::new(2, &[("InitialR2T", "Yes"), ("ImmediateData", "No")]);
    let data = pattern(10_000);
    let write = many.command(Cid(1), WRITE, &data, 0);
    many.run();
    let read = many.command(LEAD, READ, &[], 10_000);
    let events = many.run();
    assert_eq!(many.target.disk[..10_000], data);
    let end = events.iter().find_map(|(cid, event)| match event {
        Event::CommandDone(done) if done.itt == read => Some((*cid, done.data.clone())),
        _ => None,
    });
    assert_eq!(end, Some((LEAD, data)));
    assert!(
        !many
            .peer
            .connection(Cid(1))
            .unwrap()
            .outstanding()
            .any(|i| i == write)
    );
}

#[test]
fn data_out_on_another_connection_than_its_command_is_a_protocol_error() {
    let mut many = Many::new(2, &[("InitialR2T", "Yes"), ("ImmediateData", "No")]);
    let write = many.command(LEAD, WRITE, &pattern(512), 0);
    let out = many.out(LEAD);
    many.deliver(LEAD, &out);
    let stray = DataOut {
        r#final: true,
        data_segment_length: 512,
        itt: write,
        ttt: Ttt(1),
        ..DataOut::default()
    };
    many.peer.on(Cid(1), |one| {
        one.push_raw(&InitiatorPdu::DataOut(stray).emit(), &[0; 512]);
    });
    let events = many.run_on(&[Cid(1)]);
    let [(_, Event::Rejected { reject, .. })] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(reject.reason, RejectReason::ProtocolError);
    let events = many.run();
    assert_eq!(done(&events, write), (LEAD, 0), "the command goes on");
}

#[test]
fn stat_sn_counts_on_each_connection_by_itself() {
    let mut many = Many::new(2, &[]);
    let before: Vec<SerialNumber> = [0, 1]
        .map(|cid| many.peer.connection(Cid(cid)).unwrap().exp_stat_sn())
        .into();
    for cid in [0, 0, 0, 1] {
        many.command(Cid(cid), NOTHING, &[], 0);
    }
    many.run();
    let after = |cid: u16| many.peer.connection(Cid(cid)).unwrap().exp_stat_sn();
    assert_eq!(after(0), before[0].add(3));
    assert_eq!(after(1), before[1].add(1));
}

#[test]
fn window_that_grew_is_told_on_one_connection_only() {
    let mut many = Many::new(3, &[]);
    many.command(LEAD, HANG, &[], 0);
    many.run();
    let [task] = many.target.open()[..] else {
        panic!()
    };
    many.target.abort(task);
    let told: Vec<usize> = (0..3)
        .map(|c| many.target.send_on(ConnectionIndex(c)).len())
        .collect();
    assert_eq!(
        told.iter().filter(|bytes| **bytes > 0).count(),
        1,
        "{told:?}"
    );
}

#[test]
fn abort_task_over_another_connection_ends_the_task() {
    let mut many = Many::new(2, &[]);
    let hung = many.command(LEAD, HANG, &[], 0);
    many.run();
    let function = TaskManagementFunction::AbortTask;
    many.peer
        .task_management(Cid(1), function, Lun64(0), Some(hung), Delivery::Immediate);
    let events = many.run();
    let [
        (
            Cid(1),
            Event::TaskManaged {
                response: TaskManagementResponseCode::FunctionComplete,
                ..
            },
        ),
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert!(many.target.open().is_empty());
    assert_eq!(many.peer.connection(LEAD).unwrap().outstanding().count(), 0);
}

#[test]
fn logout_of_another_connection_ends_it_with_its_tasks_and_the_others_go_on() {
    let mut many = Many::new(3, &[]);
    many.command(Cid(1), HANG, &[], 0);
    let other = many.command(Cid(2), HANG, &[], 0);
    many.run();
    many.peer.on(LEAD, |one| {
        one.logout_of(Cid(1), LogoutReason::CloseConnection, Delivery::Ordered)
    });
    let events = many.run();
    let [(LEAD, Event::LoggedOut(response))] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(response.response, LogoutResponseCode::Closed);
    let ended = TargetEvent::ConnectionDone {
        c: many.at[&1],
        reason: DropReason::LoggedOut,
        flush: true,
    };
    assert!(many.target.events.contains(&ended));
    many.target.close(many.at[&1]);
    many.peer.forget(Cid(1));
    assert_eq!(
        many.target.open().len(),
        1,
        "the task of the third is there"
    );
    let task = many.target.open()[0];
    many.target.good(task, None, 0);
    let next = many.command(LEAD, NOTHING, &[], 0);
    let events = many.run();
    assert_eq!(done(&events, other), (Cid(2), 0));
    assert_eq!(done(&events, next), (LEAD, 0));
    many.join(Cid(1)).expect("its place is free");
    let again = many.command(Cid(1), NOTHING, &[], 0);
    let events = many.run();
    assert_eq!(done(&events, again), (Cid(1), 0));
}

#[test]
fn logout_of_the_session_ends_every_connection() {
    let mut many = Many::new(3, &[]);
    for cid in 0..3 {
        many.command(Cid(cid), HANG, &[], 0);
    }
    many.run();
    many.peer.on(Cid(2), |one| {
        one.logout(LogoutReason::CloseSession, Delivery::Immediate)
    });
    many.run();
    let ended = |event: &&TargetEvent| matches!(event, TargetEvent::ConnectionDone { .. });
    assert_eq!(many.target.events.iter().filter(ended).count(), 3);
    assert!(many.target.open().is_empty());
}

#[test]
fn connection_lost_with_commands_before_their_turn_leaves_their_numbers_to_come_again() {
    let mut many = Many::new(2, &[]);
    // 1 goes over the leading connection and is late; 2 and 3 go over the other, which is lost.
    let first = many.command(LEAD, NOTHING, &[], 0);
    let late = many.out(LEAD);
    many.command(Cid(1), NOTHING, &[], 0);
    many.peer.on(Cid(1), |one| {
        one.task_management(
            TaskManagementFunction::AbortTaskSet,
            Lun64(0),
            None,
            Delivery::Ordered,
        )
    });
    let ahead = many.out(Cid(1));
    many.deliver(Cid(1), &ahead);
    assert!(many.begun().is_empty());
    many.target.close(many.at[&1]);
    many.peer.forget(Cid(1));
    many.deliver(LEAD, &late);
    let events = many.run();
    assert_eq!(done(&events, first), (LEAD, 0));
    let (exp_cmd_sn, max_cmd_sn) = many.target.session.command_window();
    assert_eq!(exp_cmd_sn, SerialNumber(2), "2 and 3 were never received");
    assert_eq!(
        max_cmd_sn.next().distance_from(exp_cmd_sn),
        u32::from(limits().window),
        "and the window is as wide as it was"
    );
    // The same numbers over the other connection.
    many.peer.on(LEAD, |one| one.set_cmd_sn(SerialNumber(2)));
    let again = many.command(LEAD, NOTHING, &[], 0);
    let events = many.run();
    assert_eq!(done(&events, again), (LEAD, 0));
}

#[test]
fn connection_lost_with_answers_under_way_gives_their_places_in_the_window_back() {
    let mut many = Many::new(2, &[]);
    for _ in 0..3 {
        many.command(Cid(1), HANG, &[], 0);
        many.peer
            .on(Cid(1), |one| one.ping(b"late", Delivery::Ordered));
    }
    many.peer.on(Cid(1), |one| one.send_targets(""));
    let out = many.out(Cid(1));
    many.target.withhold = true;
    many.deliver(Cid(1), &out);
    many.target.close(many.at[&1]);
    let (exp_cmd_sn, max_cmd_sn) = many.target.session.command_window();
    assert_eq!(exp_cmd_sn, SerialNumber(8));
    assert_eq!(
        max_cmd_sn.next().distance_from(exp_cmd_sn),
        u32::from(limits().window)
    );
}

#[test]
fn session_without_a_connection_is_continued_by_the_next() {
    let mut many = Many::new(2, &[]);
    many.command(LEAD, NOTHING, &[], 0);
    many.run();
    for cid in [0, 1] {
        many.target.close(many.at[&cid]);
        many.peer.forget(Cid(cid));
    }
    assert_eq!(many.target.session.connections().count(), 0);
    many.join(Cid(9)).expect("it waits for that");
    let itt = many.command(Cid(9), NOTHING, &[], 0);
    let events = many.run();
    assert_eq!(done(&events, itt), (Cid(9), 0));
    assert_eq!(many.begun(), [1, 2]);
}

#[test]
fn immediate_commands_on_any_connection_do_not_wait_for_a_gap() {
    let mut many = Many::new(2, &[]);
    many.command(LEAD, NOTHING, &[], 0);
    let late = many.out(LEAD);
    let held = many.command(Cid(1), NOTHING, &[], 0);
    let at_once = many.peer.on(Cid(1), |one| {
        one.submit(initiator::Request {
            cdb: cdb(NOTHING, 0).to_vec(),
            delivery: Delivery::Immediate,
            ..initiator::Request::default()
        })
    });
    let events = many.run_on(&[Cid(1)]);
    assert_eq!(done(&events, at_once), (Cid(1), 0));
    many.deliver(LEAD, &late);
    let events = many.run();
    assert_eq!(done(&events, held), (Cid(1), 0));
}

#[test]
fn peer_that_is_silent_on_one_connection_loses_that_one_only() {
    let mut many = Many::new(1, &[]);
    let limits = crate::session::SessionLimits {
        nop_interval: Some(Duration::from_secs(10)),
        ..limits()
    };
    let mut peer = Peer::new(config(&[("MaxConnections", "2")]));
    peer.on(LEAD, Initiator::start_login);
    let established = peer.on(LEAD, |one| log_in(one, SessionType::Normal, None));
    many.target = Target::new(Session::new(&established, limits, Duration::ZERO));
    many.peer = peer;
    many.join(Cid(1)).expect("there is room");
    let mut ended = Vec::new();
    for seconds in 1..40 {
        many.target.now = Duration::from_secs(seconds);
        ended.extend(many.target.session.handle_timeout(many.target.now));
        many.target.send_on(many.at[&1]);
        many.run_on(&[LEAD]);
    }
    let silent = TargetEvent::ConnectionDone {
        c: many.at[&1],
        reason: DropReason::PingTimeout,
        flush: false,
    };
    assert_eq!(ended, [silent]);
}

#[test]
fn response_that_ends_several_tasks_waits_for_what_other_connections_have_sent() {
    let mut many = Many::new(3, &[]);
    many.command(Cid(1), NOTHING, &[], 0);
    many.run();
    let function = TaskManagementFunction::AbortTaskSet;
    many.peer.on(LEAD, |one| {
        one.task_management(function, Lun64(0), None, Delivery::Immediate)
    });
    assert_eq!(
        many.run_on(&[LEAD]),
        [],
        "the status is not acknowledged yet"
    );
    assert_eq!(
        many.target.send_on(many.at[&2]),
        [],
        "nothing waits for the third connection"
    );
    let events = many.run();
    let [
        (Cid(1), Event::Pinged { .. }),
        (LEAD, managed),
        (LEAD, Event::Pinged { .. }),
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    // The fence stands until the response is acknowledged, which is asked for.
    assert!(matches!(managed, Event::TaskManaged { .. }));
    // One that names a single task waits for nothing.
    many.command(Cid(1), NOTHING, &[], 0);
    many.run();
    let function = TaskManagementFunction::AbortTask;
    many.peer
        .task_management(LEAD, function, Lun64(0), None, Delivery::Immediate);
    assert_eq!(many.run_on(&[LEAD]).len(), 1);
}

#[test]
fn response_does_not_wait_for_a_connection_that_is_lost() {
    let mut many = Many::new(2, &[]);
    many.command(Cid(1), NOTHING, &[], 0);
    many.run();
    let function = TaskManagementFunction::ClearTaskSet;
    many.peer.on(LEAD, |one| {
        one.task_management(function, Lun64(0), None, Delivery::Immediate)
    });
    assert_eq!(many.run_on(&[LEAD]), []);
    many.target.close(many.at[&1]);
    let events = many.run_on(&[LEAD]);
    let managed = |(_, event): &&(Cid, Event)| matches!(event, Event::TaskManaged { .. });
    assert_eq!(events.iter().filter(managed).count(), 1, "{events:?}");
}

#[test]
fn malformed_header_on_one_connection_ends_all() {
    let mut many = Many::new(3, &[]);
    let neither = iscsi_wire::ScsiCommand {
        itt: Itt(1),
        ..Default::default()
    };
    let c = many.at[&1];
    let bytes = neither.emit().0;
    many.target.receive_on(c, &bytes, Way::Staging(usize::MAX));
    let ended = many.target.events.iter().filter_map(|event| match event {
        TargetEvent::ConnectionDone { c, reason, .. } => Some((*c, *reason)),
        _ => None,
    });
    let mut ended: Vec<_> = ended.collect();
    ended.sort_unstable_by_key(|(c, _)| *c);
    let all = [0, 1, 2].map(|c| (ConnectionIndex(c), DropReason::Format));
    assert_eq!(ended, all);
}
