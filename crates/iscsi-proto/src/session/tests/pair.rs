//! The session against the initiator, which reads the RFC a second time: every stream is cut, and every answer is
//! checked by the other side's rules.

use initiator::{CommandDone, Config, Delivery, Event, Initiator, Request, Residual};
use iscsi_wire::text::{TextWriter, parse_pairs};
use iscsi_wire::{
    BHS_BYTES, Bhs, Itt, LoginRequest, LoginResponse, LogoutReason, LogoutResponseCode, Lun64,
    SerialNumber, TaskManagementFunction, TaskManagementResponseCode, Tsih,
};

use super::target::{
    CHECK_CONDITION, HANG, NOTHING, READ, READ_FAILS, READ_IN_WINDOWS, REFUSE, SENSE, Target,
    WRITE, Way,
};
use crate::login::{Established, SessionType};
use crate::negotiate::NegotiatedParams;
use crate::session::fixture::{established, limits};
use crate::session::{Session, SessionLimits};

/// An initiator and a target that have agreed on the initiator's offers.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) initiator: Initiator,
    pub(super) target: Target,
    pub(super) way: Way,
}

/// Offers: the keys that matter here. The target's MaxRecvDataSegmentLength is 2048.
pub(super) fn config(keys: &[(&str, &str)]) -> Config {
    let config = Config::normal(
        "iqn.2026-01.org.example:host",
        "iqn.2026-01.org.example:disk",
    );
    let mut config = config.with_key("MaxRecvDataSegmentLength", "1024");
    config.first_stage = iscsi_wire::Stage::Operational;
    for (key, value) in keys {
        config = config.with_key(key, value);
    }
    config
}

const TARGET_SEGMENT_BYTES: u32 = 2048;

impl Pair {
    pub(super) fn new(keys: &[(&str, &str)], way: Way) -> Self {
        Self::with(config(keys), SessionType::Normal, limits(), way)
    }

    pub(super) fn with(config: Config, kind: SessionType, limits: SessionLimits, way: Way) -> Self {
        let mut initiator = Initiator::new(config);
        initiator.start_login();
        let established = log_in(&mut initiator, kind, None);
        let target = Target::new(Session::new(
            &established,
            limits,
            core::time::Duration::ZERO,
        ));
        Self {
            initiator,
            target,
            way,
        }
    }

    /// Carries bytes both ways until neither side has more to say.
    pub(super) fn run(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let out = self.initiator.take_output();
            self.target.receive(&out, self.way);
            let back = self.target.send();
            if out.is_empty() && back.is_empty() {
                return events;
            }
            let (Way::Staging(most) | Way::InPlace(most)) = self.way;
            for part in back.chunks(most) {
                events.extend(self.initiator.handle_bytes(part));
            }
            let broken = |event: &&Event| matches!(event, Event::Violation(_));
            assert_eq!(events.iter().find(broken), None);
        }
    }

    pub(super) fn read(&mut self, opcode: u8, bytes: u32) -> Itt {
        self.initiator
            .command(Lun64(0), &cdb(opcode, 0), Vec::new(), bytes)
    }

    pub(super) fn write(&mut self, opcode: u8, offset: u32, data: &[u8]) -> Itt {
        self.initiator
            .command(Lun64(0), &cdb(opcode, offset), data.to_vec(), 0)
    }
}

pub(super) fn cdb(opcode: u8, offset: u32) -> [u8; 10] {
    let [a, b, c, d] = offset.to_be_bytes();
    [opcode, 0, a, b, c, d, 0, 0, 0, 0]
}

/// Answers the login request that an initiator has queued; `joins` has the window of the session that it is to join.
pub(super) fn log_in(
    initiator: &mut Initiator,
    kind: SessionType,
    joins: Option<(SerialNumber, SerialNumber)>,
) -> Established {
    let request = initiator.take_output();
    let header = Bhs(*request.first_chunk::<BHS_BYTES>().unwrap());
    let login = LoginRequest::parse(&header).unwrap();
    let text = &request[BHS_BYTES..][..login.data_segment_length as usize];
    let (answer, params) = agree(text);
    let window = joins.unwrap_or((login.cmd_sn, login.cmd_sn));
    let response = LoginResponse {
        transit: true,
        current_stage: login.current_stage,
        next_stage: login.next_stage,
        data_segment_length: answer.len() as u32,
        isid: login.isid,
        tsih: Tsih(1),
        itt: login.itt,
        stat_sn: login.exp_stat_sn,
        exp_cmd_sn: window.0,
        max_cmd_sn: window.1,
        ..LoginResponse::default()
    };
    let mut bytes = response.emit().0.to_vec();
    bytes.extend(answer);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    assert_eq!(
        initiator.handle_bytes(&bytes).last(),
        Some(&Event::LoggedIn)
    );
    let mut established = established(kind, params);
    established.identity.cid = login.cid;
    established.exp_cmd_sn = window.0;
    established.max_cmd_sn = window.1;
    established.stat_sn = login.exp_stat_sn.next();
    established
}

/// Answers each offer with itself.
fn agree(text: &[u8]) -> (Vec<u8>, NegotiatedParams) {
    let mut answer = Vec::new();
    let mut params = NegotiatedParams {
        max_recv_data_segment_length: TARGET_SEGMENT_BYTES,
        ..NegotiatedParams::default()
    };
    let mut writer = TextWriter::new(&mut answer);
    writer.push_number("MaxRecvDataSegmentLength", u64::from(TARGET_SEGMENT_BYTES));
    writer.push("TargetPortalGroupTag", "1");
    for pair in parse_pairs(text) {
        let (key, value) = pair.unwrap();
        let number = value.parse::<u32>().unwrap_or(0);
        match key {
            "InitiatorName" | "TargetName" | "SessionType" => continue,
            "MaxRecvDataSegmentLength" => {
                params.max_send_data_segment_length = number;
                continue;
            }
            "HeaderDigest" => params.header_digest = value == "CRC32C",
            "DataDigest" => params.data_digest = value == "CRC32C",
            "InitialR2T" => params.initial_r2t = value == "Yes",
            "ImmediateData" => params.immediate_data = value == "Yes",
            "MaxBurstLength" => params.max_burst_length = number,
            "FirstBurstLength" => params.first_burst_length = number,
            "MaxOutstandingR2T" => params.max_outstanding_r2t = number as u16,
            "DataPDUInOrder" => params.data_pdu_in_order = value == "Yes",
            "DataSequenceInOrder" => params.data_sequence_in_order = value == "Yes",
            "TaskReporting" => {
                params.task_reporting = crate::negotiate::TaskReporting::of(value).unwrap();
            }
            "MaxConnections" => params.max_connections = number as u16,
            "ErrorRecoveryLevel" => params.error_recovery_level = number as u8,
            _ => {}
        }
        writer.push(key, value);
    }
    (answer, params)
}

fn managed(itt: Itt, response: TaskManagementResponseCode) -> Event {
    let additional = [0; 3];
    Event::TaskManaged {
        itt,
        response,
        additional,
    }
}

/// Data that is not like the disk's.
pub(super) fn pattern(bytes: u32) -> Vec<u8> {
    (0..bytes).map(|n| (n * 7 + 3).to_le_bytes()[0]).collect()
}

fn done(events: &[Event], itt: Itt) -> &CommandDone {
    let mut found = events.iter().filter_map(|event| match event {
        Event::CommandDone(done) if done.itt == itt => Some(done),
        _ => None,
    });
    let done = found
        .next()
        .unwrap_or_else(|| panic!("no end of {itt}: {events:?}"));
    assert!(found.next().is_none(), "two ends of {itt}");
    done
}

/// Reads, writes, refusals and failures of many sizes, and what must come of them.
fn check_commands(keys: &[(&str, &str)], way: Way) -> usize {
    let mut pair = Pair::new(keys, way);
    for bytes in [1, 512, 1023, 1024, 2047, 2500, 5000, 10_000] {
        let (opcode, offset) = (WRITE, bytes * 8);
        let data = pattern(bytes);
        let write = pair.write(opcode, offset, &data);
        let read = pair.read(READ_IN_WINDOWS, bytes);
        let refused = pair.write(REFUSE, 0, &data);
        let failed = pair.read(READ_FAILS, bytes);
        let nothing = pair.read(NOTHING, 0);
        let disk = pair.target.disk.clone();
        let events = pair.run();
        assert_eq!(done(&events, write).status, 0, "{keys:?} {bytes}");
        let at = offset as usize;
        assert_eq!(
            pair.target.disk[at..][..bytes as usize],
            data,
            "{keys:?} {way:?} {bytes}"
        );
        assert_eq!(done(&events, read).data, disk[..bytes as usize]);
        assert_eq!(done(&events, read).residual, Residual::None);
        for itt in [refused, failed] {
            let done = done(&events, itt);
            assert_eq!(
                (done.status, &done.sense[..]),
                (CHECK_CONDITION, &SENSE[..])
            );
            assert_eq!(done.residual, Residual::Underflow(bytes));
        }
        assert_eq!(done(&events, nothing).status, 0);
        assert_eq!(pair.target.open(), []);
        assert_eq!(pair.initiator.outstanding().count(), 0);
    }
    pair.target.imaged
}

#[test]
fn commands_in_every_combination_of_data_keys_move_the_right_bytes() {
    let mut imaged = 0;
    for immediate in ["Yes", "No"] {
        for initial_r2t in ["Yes", "No"] {
            for first_burst in ["512", "1024", "3000", "65536"] {
                for max_burst in ["512", "1500", "4096", "262144"] {
                    let first = first_burst.parse::<u32>().unwrap();
                    if first > max_burst.parse().unwrap() {
                        continue;
                    }
                    for r2ts in ["1", "3"] {
                        let keys = [
                            ("ImmediateData", immediate),
                            ("InitialR2T", initial_r2t),
                            ("FirstBurstLength", first_burst),
                            ("MaxBurstLength", max_burst),
                            ("MaxOutstandingR2T", r2ts),
                        ];
                        imaged += check_commands(&keys, Way::Staging(usize::MAX));
                        imaged += check_commands(&keys, Way::InPlace(usize::MAX));
                    }
                }
            }
        }
    }
    assert!(imaged > 5000, "{imaged} images at rest");
}

#[test]
fn commands_with_each_digest_move_the_right_bytes() {
    for (header, data) in [("CRC32C", "None"), ("None", "CRC32C"), ("CRC32C", "CRC32C")] {
        let keys = [
            ("HeaderDigest", header),
            ("DataDigest", data),
            ("InitialR2T", "No"),
            ("FirstBurstLength", "3000"),
            ("MaxBurstLength", "4096"),
        ];
        for way in [
            Way::Staging(usize::MAX),
            Way::InPlace(usize::MAX),
            Way::InPlace(999),
        ] {
            check_commands(&keys, way);
        }
    }
}

#[test]
fn stream_in_pieces_of_every_size_leads_to_the_same() {
    for digest in ["CRC32C", "None"] {
        let keys = [
            ("HeaderDigest", digest),
            ("DataDigest", digest),
            ("InitialR2T", "No"),
            ("FirstBurstLength", "3000"),
            ("MaxBurstLength", "4096"),
            ("MaxOutstandingR2T", "2"),
        ];
        for most in (1..60).chain([127, 1024, 2100]) {
            check_commands(&keys, Way::Staging(most));
            check_commands(&keys, Way::InPlace(most));
        }
    }
}

#[test]
fn stream_cut_once_at_every_byte_leads_to_the_same_session() {
    let keys = [
        ("HeaderDigest", "CRC32C"),
        ("DataDigest", "CRC32C"),
        ("InitialR2T", "No"),
    ];
    let mut first = Pair::new(&keys, Way::Staging(usize::MAX));
    first.write(WRITE, 0, &pattern(2500));
    first.read(READ, 700);
    first.initiator.ping(b"ping!", Delivery::Immediate);
    first.write(REFUSE, 0, &pattern(100));
    let bytes = first.initiator.take_output();
    let fresh = first.target.clone();
    first.target.receive(&bytes, Way::Staging(usize::MAX));
    let session = first.target.session.clone();
    let sent = first.target.send();
    for way in [Way::Staging(usize::MAX), Way::InPlace(usize::MAX)] {
        for cut in 0..=bytes.len() {
            let mut target = fresh.clone();
            target.receive(&bytes[..cut], way);
            target.receive(&bytes[cut..], way);
            assert_eq!(target.session, session, "{way:?} {cut}");
            assert_eq!(target.disk, first.target.disk);
            assert_eq!(target.send(), sent, "{way:?} {cut}");
        }
    }
}

#[test]
fn memory_granted_in_steps_is_asked_for_in_steps() {
    let keys = [
        ("InitialR2T", "Yes"),
        ("MaxBurstLength", "4096"),
        ("MaxOutstandingR2T", "4"),
    ];
    let mut config = config(&keys);
    config.report_pdus = true;
    let way = Way::Staging(usize::MAX);
    let mut pair = Pair::with(config, SessionType::Normal, limits(), way);
    pair.target.grant_bytes = 1000;
    let itt = pair.write(WRITE, 0, &pattern(3100));
    let events = pair.run();
    assert_eq!(done(&events, itt).status, 0);
    let asked: Vec<(u32, u32)> = events
        .iter()
        .filter_map(|event| match event {
            Event::Received(iscsi_wire::TargetPdu::ReadyToTransfer(r2t)) => {
                Some((r2t.buffer_offset, r2t.desired_data_transfer_length))
            }
            _ => None,
        })
        .collect();
    // ImmediateData is Yes: the first 2048 bytes came with the command.
    assert_eq!(asked, [(2048, 1000), (3048, 52)]);
}

#[test]
fn commands_past_the_window_wait_and_all_end() {
    let mut pair = Pair::new(&[], Way::Staging(usize::MAX));
    let itts: Vec<Itt> = (0..50).map(|n| pair.read(READ, n * 20)).collect();
    assert_eq!(
        pair.initiator.held_back(),
        49,
        "the login told a window of one"
    );
    let events = pair.run();
    itts.iter()
        .for_each(|itt| assert_eq!(done(&events, *itt).status, 0));
}

#[test]
fn window_full_of_hanging_commands_opens_as_they_end() {
    let mut pair = Pair::new(&[], Way::Staging(usize::MAX));
    let itts: Vec<Itt> = (0..12).map(|_| pair.read(HANG, 0)).collect();
    pair.initiator.ping(b"", Delivery::Immediate);
    pair.run();
    assert_eq!(
        (pair.target.open().len(), pair.initiator.held_back()),
        (8, 4)
    );
    let first = pair.target.open()[0];
    pair.target.good(first, None, 0);
    let events = pair.run();
    assert_eq!(done(&events, itts[0]).status, 0);
    assert_eq!(
        (pair.target.open().len(), pair.initiator.held_back()),
        (8, 3)
    );
}

#[test]
fn abort_of_a_hanging_write_answers_after_it_and_drops_its_late_data() {
    let mut config = config(&[("InitialR2T", "Yes"), ("ImmediateData", "No")]);
    config.answer_r2ts = false;
    let way = Way::Staging(usize::MAX);
    let mut pair = Pair::with(config, SessionType::Normal, limits(), way);
    let itt = pair.write(WRITE, 0, &pattern(4000));
    let events = pair.run();
    let [Event::R2t(r2t)] = events[..] else {
        panic!("one R2T: {events:?}")
    };
    pair.initiator.answer_r2t(&r2t);
    let late = pair.initiator.take_output();
    let function = TaskManagementFunction::AbortTask;
    let tmf = pair
        .initiator
        .task_management(function, Lun64(0), Some(itt), Delivery::Immediate);
    let events = pair.run();
    let response = TaskManagementResponseCode::FunctionComplete;
    assert_eq!(events, [managed(tmf, response)]);
    pair.target.receive(&late, pair.way);
    let counters = pair.target.session.counters();
    assert_eq!(
        (counters.late_data_pdus, counters.late_data_bytes),
        (2, 4000)
    );
    assert_eq!(pair.target.send(), []);
    // The session goes on.
    let write = pair.write(REFUSE, 0, &pattern(600));
    assert_eq!(done(&pair.run(), write).status, CHECK_CONDITION);
}

#[test]
fn abort_of_a_command_whose_status_is_queued_comes_after_the_status() {
    let mut pair = Pair::new(&[], Way::Staging(usize::MAX));
    pair.target.budget_bytes = 1;
    let read = pair.read(READ, 60_000);
    let function = TaskManagementFunction::AbortTask;
    let tmf = pair
        .initiator
        .task_management(function, Lun64(0), Some(read), Delivery::Immediate);
    let events = pair.run();
    let at = |wanted: &dyn Fn(&Event) -> bool| events.iter().position(wanted).unwrap();
    let status = at(&|event| matches!(event, Event::CommandDone(done) if done.itt == read));
    let response = TaskManagementResponseCode::TaskDoesNotExist;
    let answer = at(&|event| *event == managed(tmf, response));
    assert!(status < answer);
}

#[test]
fn pings_both_ways_come_back_with_their_data() {
    let way = Way::Staging(usize::MAX);
    let limits = SessionLimits {
        nop_interval: Some(core::time::Duration::from_secs(10)),
        ..limits()
    };
    let mut pair = Pair::with(config(&[]), SessionType::Normal, limits, way);
    let data = pattern(1001);
    let ordered = pair.initiator.ping(&data, Delivery::Ordered);
    let immediate = pair.initiator.ping(b"", Delivery::Immediate);
    let pong = |itt, data| Event::Ponged { itt, data };
    assert_eq!(
        pair.run(),
        [pong(ordered, data), pong(immediate, Vec::new())]
    );
    let due = pair.target.session.poll_timeout().unwrap();
    assert_eq!(due, core::time::Duration::from_secs(10));
    pair.target.now = due;
    assert_eq!(pair.target.session.handle_timeout(due), None);
    let events = pair.run();
    assert!(matches!(events[..], [Event::Pinged { .. }]), "{events:?}");
    assert_eq!(
        pair.target.session.poll_timeout(),
        Some(due * 2),
        "the answer has come"
    );
}

#[test]
fn long_send_targets_goes_on_over_many_responses() {
    let way = Way::Staging(usize::MAX);
    let mut config = Config::discovery("iqn.2026-01.org.example:host")
        .with_key("MaxRecvDataSegmentLength", "512");
    config.first_stage = iscsi_wire::Stage::Operational;
    let mut pair = Pair::with(config, SessionType::Discovery, limits(), way);
    let mut records = Vec::new();
    let mut writer = TextWriter::new(&mut records);
    for n in 0..100 {
        writer.push("TargetName", &format!("iqn.2026-01.org.example:disk{n}"));
        writer.push("TargetAddress", "192.0.2.1:3260,1");
    }
    pair.target.targets = records;
    let itt = pair.initiator.send_targets("All");
    let events = pair.run();
    let [
        Event::TextDone {
            itt: answered,
            pairs,
        },
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((*answered, pairs.len()), (itt, 200));
    assert_eq!(pairs[198].1, "iqn.2026-01.org.example:disk99");
    let logout = pair
        .initiator
        .logout(LogoutReason::CloseSession, Delivery::Immediate);
    let events = pair.run();
    let [Event::LoggedOut(response)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(
        (response.itt, response.response),
        (logout, LogoutResponseCode::Closed)
    );
}

#[test]
fn logout_with_commands_open_ends_them_and_the_session() {
    let mut pair = Pair::new(&[], Way::Staging(usize::MAX));
    pair.read(HANG, 0);
    let read = pair.read(READ, 3000);
    pair.run();
    pair.initiator
        .logout(LogoutReason::CloseConnection, Delivery::Ordered);
    let events = pair.run();
    assert!(
        matches!(events[..], [Event::LoggedOut(_)]),
        "{read} {events:?}"
    );
    let last = pair.target.events.last();
    let reason = crate::session::DropReason::LoggedOut;
    let c = crate::session::fixture::C0;
    let expected = crate::session::Event::ConnectionDone {
        c,
        reason,
        flush: true,
    };
    assert_eq!(last, Some(&expected));
    assert_eq!(pair.target.open(), []);
}

#[test]
fn numbers_that_wrap_go_on() {
    let way = Way::InPlace(usize::MAX);
    let mut config = config(&[("InitialR2T", "Yes"), ("MaxBurstLength", "512")]);
    config.initial_cmd_sn = SerialNumber(0xffff_fff8);
    config.initial_exp_stat_sn = SerialNumber(0xffff_fff0);
    let mut pair = Pair::with(config, SessionType::Normal, limits(), way);
    pair.target.session.next_ttt = iscsi_wire::Ttt(0xffff_fffa);
    for n in 0..40 {
        let write = pair.write(WRITE, n * 4096, &pattern(4000));
        let read = pair.read(READ, 100);
        let events = pair.run();
        assert_eq!(
            (done(&events, write).status, done(&events, read).status),
            (0, 0)
        );
        let at = n as usize * 4096;
        assert_eq!(pair.target.disk[at..at + 4000], pattern(4000));
    }
    assert!(pair.initiator.cmd_sn().0 < 0x100);
}

#[test]
fn transfers_that_differ_from_the_expectation_have_residuals() {
    let mut pair = Pair::new(&[("InitialR2T", "No")], Way::Staging(usize::MAX));
    for (expected, transfer, residual) in [
        (0, 512, Residual::Overflow(512)),
        (512, 1024, Residual::Overflow(512)),
        (1024, 512, Residual::Underflow(512)),
        (1024, 0, Residual::Underflow(1024)),
    ] {
        let itt = pair.initiator.submit(Request {
            cdb: cdb(HANG, 0).to_vec(),
            data_out: pattern(1),
            expected_data_transfer_length: Some(expected),
            ..Request::default()
        });
        pair.run();
        let task = pair.target.open()[0];
        pair.target.good(task, None, transfer);
        assert_eq!(
            done(&pair.run(), itt).residual,
            residual,
            "{expected} {transfer}"
        );
        let itt = pair.initiator.submit(Request {
            cdb: cdb(HANG, 0).to_vec(),
            data_in_bytes: 1,
            expected_data_transfer_length: Some(expected),
            ..Request::default()
        });
        pair.run();
        let task = pair.target.open()[0];
        let moved = transfer.min(u64::from(expected)) as u32;
        pair.target.good(task, Some((0, transfer as u32)), transfer);
        let events = pair.run();
        let done = done(&events, itt);
        assert_eq!((done.residual, done.data.len() as u32), (residual, moved));
    }
}

#[test]
fn data_out_in_any_order_lands_where_it_belongs() {
    for unsolicited in ["Yes", "No"] {
        for way in [
            Way::Staging(usize::MAX),
            Way::InPlace(usize::MAX),
            Way::InPlace(777),
            Way::Staging(13),
        ] {
            let mut config = config(&[
                ("InitialR2T", unsolicited),
                ("DataPDUInOrder", "No"),
                ("DataSequenceInOrder", "No"),
                ("FirstBurstLength", "8192"),
                ("MaxBurstLength", "12288"),
                ("MaxOutstandingR2T", "8"),
            ]);
            config.scatter_data_out = true;
            config.answer_r2ts = false;
            let mut pair = Pair::with(config, SessionType::Normal, limits(), way);
            for bytes in [1, 2048, 9000, 50_000, 100_001] {
                let data = pattern(bytes);
                let write = pair.write(WRITE, bytes, &data);
                let mut events = pair.run();
                // Whatever is asked for is answered from the last to the first.
                loop {
                    let asked: Vec<_> = events
                        .iter()
                        .filter_map(|event| match event {
                            Event::R2t(r2t) => Some(*r2t),
                            _ => None,
                        })
                        .collect();
                    if asked.is_empty() {
                        break;
                    }
                    events.retain(|event| !matches!(event, Event::R2t(_)));
                    for r2t in asked.iter().rev() {
                        pair.initiator.answer_r2t(r2t);
                    }
                    events.extend(pair.run());
                }
                assert_eq!(done(&events, write).status, 0, "{way:?} {bytes}");
                let at = bytes as usize;
                assert_eq!(pair.target.disk[at..][..at], data, "{way:?} {bytes}");
            }
        }
    }
}
