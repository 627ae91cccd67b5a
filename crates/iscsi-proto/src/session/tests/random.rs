//! Peers that say anything: nothing panics, nothing grows past its bound, and what is at rest survives its image.

use core::time::Duration;

use iscsi_wire::{
    Bhs, Cid, DataOut, InitiatorPdu, Itt, LogoutReason, LogoutRequest, LogoutResponseCode, NopOut,
    ScsiCommand, SerialNumber, SnackRequest, SnackType, TaskManagementFunction,
    TaskManagementRequest, TaskManagementResponseCode, TextRequest, Ttt,
};
use proptest::prelude::*;

use super::golden::wire;
use super::target::{HANG, NOTHING, READ, READ_IN_WINDOWS, REFUSE, Target, WRITE, Way};
use crate::connection::MAX_QUEUED_REJECTS;
use crate::login::SessionType;
use crate::negotiate::NegotiatedParams;
use crate::session::fixture::{C0, established, limits, session};
use crate::session::{Event, LogoutHandle, Session, TextHandle, TmfHandle, Transmit};

/// One thing that happens to a session.
#[derive(Clone, Debug)]
enum Step {
    Pdu(InitiatorPdu, Vec<u8>),
    /// The peer reads what is ready.
    Send,
    Abort(prop::sample::Index),
    Complete(prop::sample::Index),
    Grant(u32),
    Withhold(bool),
    Answer(u32),
    Time(u8),
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let text = prop::sample::select(vec![
        b"SendTargets=\0".to_vec(),
        b"X-a=1\0X-b=2\0".to_vec(),
        b"SendT".to_vec(),
        Vec::new(),
    ]);
    prop_oneof![
        2 => text,
        3 => (0usize..1500, any::<u8>()).prop_map(|(count, byte)| vec![byte; count]),
    ]
}

fn command_step() -> impl Strategy<Value = Step> {
    let opcode = prop::sample::select(vec![READ, WRITE, NOTHING, HANG, REFUSE, READ_IN_WINDOWS]);
    let flags = any::<[bool; 4]>();
    (opcode, flags, 0u32..16, 0u32..16, 0u32..6000, bytes()).prop_map(
        |(opcode, [immediate, read, r#final, brings], itt, cmd_sn, edtl, data)| {
            let mut cdb = [0; 16];
            cdb[0] = opcode;
            let write = !read;
            let data = if brings && write { data } else { Vec::new() };
            let command = ScsiCommand {
                immediate,
                r#final: r#final || read,
                read,
                write,
                data_segment_length: data.len() as u32,
                itt: Itt(itt),
                expected_data_transfer_length: edtl,
                cmd_sn: SerialNumber(cmd_sn),
                cdb,
                ..ScsiCommand::default()
            };
            Step::Pdu(InitiatorPdu::ScsiCommand(command), data)
        },
    )
}

fn data_step() -> impl Strategy<Value = Step> {
    let ttt = prop_oneof![Just(Ttt::RESERVED), (0u32..12).prop_map(Ttt)];
    (ttt, any::<bool>(), 0u32..16, 0u32..3, 0u32..6000, bytes()).prop_map(
        |(ttt, r#final, itt, data_sn, buffer_offset, data)| {
            let pdu = DataOut {
                r#final,
                data_segment_length: data.len() as u32,
                itt: Itt(itt),
                ttt,
                data_sn,
                buffer_offset,
                ..DataOut::default()
            };
            Step::Pdu(InitiatorPdu::DataOut(pdu), data)
        },
    )
}

fn other_step() -> impl Strategy<Value = Step> {
    (
        0u8..4,
        any::<[bool; 3]>(),
        0u32..16,
        0u32..16,
        0u32..12,
        bytes(),
    )
        .prop_map(
            |(kind, [immediate, r#final, r#continue], itt, cmd_sn, ttt, data)| {
                let (itt, cmd_sn) = (Itt(itt), SerialNumber(cmd_sn));
                let data_segment_length = data.len() as u32;
                let ttt = if ttt == 0 { Ttt::RESERVED } else { Ttt(ttt) };
                let pdu = match kind {
                    0 => InitiatorPdu::NopOut(NopOut {
                        immediate,
                        data_segment_length,
                        itt,
                        ttt,
                        cmd_sn,
                        ..NopOut::default()
                    }),
                    1 => InitiatorPdu::TextRequest(TextRequest {
                        immediate,
                        r#final,
                        r#continue,
                        data_segment_length,
                        itt,
                        ttt,
                        cmd_sn,
                        ..TextRequest::default()
                    }),
                    2 => InitiatorPdu::TaskManagementRequest(TaskManagementRequest {
                        immediate,
                        function: TaskManagementFunction::from((ttt.0 % 13) as u8),
                        data_segment_length,
                        itt: Itt(itt.0 + 100),
                        referenced_task_tag: itt,
                        cmd_sn,
                        ref_cmd_sn: SerialNumber(ttt.0),
                        ..TaskManagementRequest::default()
                    }),
                    _ => InitiatorPdu::LogoutRequest(LogoutRequest {
                        immediate,
                        reason: LogoutReason::RemoveConnectionForRecovery,
                        data_segment_length,
                        itt,
                        cid: Cid(7),
                        cmd_sn,
                        ..LogoutRequest::default()
                    }),
                };
                Step::Pdu(pdu, data)
            },
        )
}

/// SNACKs of all kinds, for what there is and what there is not.
fn snack_step() -> impl Strategy<Value = Step> {
    (0u8..5, 0u32..6, 0u32..16, 0u32..12, (0u32..12, 0u32..4)).prop_map(
        |(kind, exp_stat_sn, itt, ttt, (beg_run, run_length))| {
            let tag = |n: u32| if n == 0 { u32::MAX } else { n };
            Step::Pdu(
                InitiatorPdu::SnackRequest(SnackRequest {
                    r#type: SnackType::from(kind),
                    itt: Itt(tag(itt)),
                    ttt: Ttt(tag(ttt / 3)),
                    exp_stat_sn: SerialNumber(exp_stat_sn),
                    beg_run,
                    run_length,
                    ..SnackRequest::default()
                }),
                Vec::new(),
            )
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => snack_step(),
        6 => command_step(),
        6 => data_step(),
        4 => other_step(),
        4 => Just(Step::Send),
        1 => any::<prop::sample::Index>().prop_map(Step::Abort),
        2 => any::<prop::sample::Index>().prop_map(Step::Complete),
        1 => (1u32..4000).prop_map(Step::Grant),
        1 => any::<bool>().prop_map(Step::Withhold),
        1 => (0u32..40).prop_map(Step::Answer),
        1 => (0u8..20).prop_map(Step::Time),
    ]
}

/// Every bound of the module's documentation, with the limits of the fixture.
fn check_bounds(session: &Session) {
    let limits = limits();
    let width = usize::from(limits.window);
    let places = width + usize::from(limits.immediate_allowance);
    let text = limits.max_text_bytes as usize;
    let connection = session.connections.get(C0).unwrap();
    // Tasks whose status was sent and is not acknowledged, in a session that recovers.
    let kept = if session.recovers() {
        4 * width + 64
    } else {
        0
    };
    assert!(session.tasks.len() <= places + kept);
    assert!(session.management.len() <= places);
    assert!(session.window.held().len() < width);
    let rejects = connection.queued_rejects();
    assert!(rejects <= MAX_QUEUED_REJECTS);
    // Async messages and pings are the target's own, and not part of this test but for one ping.
    assert!(connection.replies.len() - rejects <= places + 1);
    assert!(connection.ready.len() <= session.tasks.len());
    assert!(connection.collected.len() <= text);
    // Pings and one part of text past them, and Rejects.
    assert!(connection.queued_bytes() <= 2 * text + MAX_QUEUED_REJECTS * 48);
}

fn run(target: &mut Target, step: Step, way: Way) {
    match step {
        Step::Pdu(pdu, data) => target.receive(&wire(&[(pdu, &data)]), way),
        Step::Send => drop(target.send()),
        Step::Abort(which) => {
            let open = target.open();
            if !open.is_empty() {
                target.abort(*which.get(&open));
            }
        }
        Step::Complete(which) => {
            let open = target.open();
            if !open.is_empty() {
                target.fail(*which.get(&open), b"sense");
            }
        }
        Step::Grant(bytes) => target.grant_bytes = bytes,
        Step::Withhold(withhold) => target.withhold = withhold,
        Step::Answer(handle) => {
            let done = TaskManagementResponseCode::FunctionComplete;
            target
                .session
                .complete_task_management(TmfHandle(handle), done);
            target
                .session
                .answer_send_targets(TextHandle(handle), b"TargetName=a\0");
            target
                .session
                .complete_logout(LogoutHandle(handle), LogoutResponseCode::Closed);
        }
        Step::Time(seconds) => {
            target.now += Duration::from_secs(u64::from(seconds));
            target.time_out();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_requests_keep_every_bound_and_the_numbers_in_order(
        steps in prop::collection::vec(step(), 1..80),
        keys in any::<[bool; 4]>(),
        in_place: bool,
        most in 1usize..3000,
    ) {
        let [initial_r2t, immediate_data, burst, recovers] = keys;
        let params = NegotiatedParams {
            initial_r2t,
            immediate_data,
            first_burst_length: 1024,
            max_burst_length: if burst { 1024 } else { 4096 },
            max_outstanding_r2t: 2,
            max_send_data_segment_length: 1000,
            error_recovery_level: u8::from(recovers),
            ..NegotiatedParams::default()
        };
        let mut target = Target::new(session(params));
        target.grant_bytes = 2000;
        let way = if in_place { Way::InPlace(most) } else { Way::Staging(most) };
        for step in steps {
            let before = (target.session.window.exp_cmd_sn(), target.session.window.max_cmd_sn());
            run(&mut target, step, way);
            let after = (target.session.window.exp_cmd_sn(), target.session.window.max_cmd_sn());
            prop_assert!(before.0.le(after.0) && before.1.le(after.1));
            check_bounds(&target.session);
        }
        // All that is open can be ended, and all that is queued can be sent.
        for task in target.open() {
            target.abort(task);
        }
        target.send();
        // What is left waits for data, or for a gap to close.
        let waiting: Vec<_> = target.session.outstanding_tasks().collect();
        for task in waiting {
            target.abort(task);
        }
        target.send();
        prop_assert!(!target.session.has_output(C0));
        prop_assert_eq!(target.session.outstanding_tasks().count(), 0);
    }

    #[test]
    fn random_bytes_never_panic_and_stay_within_bounds(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20),
        opcodes in prop::collection::vec(0u8..0x20, 20),
        discovery: bool,
        digests: bool,
    ) {
        let params = NegotiatedParams {
            header_digest: digests,
            data_digest: digests,
            ..NegotiatedParams::default()
        };
        let kind = if discovery { SessionType::Discovery } else { SessionType::Normal };
        let mut session = Session::new(&established(kind, params), limits(), Duration::ZERO);
        let mut out = Transmit::default();
        for (mut piece, opcode) in pieces.into_iter().zip(opcodes) {
            // Half of the headers have an opcode that exists, and data that is not too long.
            if let [first, _, _, _, ahs, high, middle, ..] = &mut piece[..] && opcode < 7 {
                *first = *first & 0x40 | opcode;
                (*ahs, *high, *middle) = (0, 0, 0);
            }
            let mut rest = &piece[..];
            loop {
                let received = session.handle_received(C0, Duration::ZERO, rest);
                rest = &rest[received.consumed..];
                match received.event {
                    None => break,
                    Some(Event::Command(command)) if command.brings_data() => {
                        session.discard_data(command.task);
                    }
                    Some(_) => {}
                }
            }
            prop_assert!(rest.is_empty());
            check_bounds(&session);
            out.clear();
            session.poll_transmit(C0, Duration::ZERO, &mut out, 4096);
        }
    }

    #[test]
    fn random_bytes_are_no_image_and_changed_images_never_panic(
        noise in prop::collection::vec(any::<u8>(), 0..600),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        // Two bytes of version stand before the rest.
        if noise.first_chunk() != Some(&[0, 1]) {
            prop_assert!(Session::from_image(&noise).is_err());
        }
        let mut target = Target::new(session(NegotiatedParams {
            initial_r2t: false,
            first_burst_length: 1024,
            ..NegotiatedParams::default()
        }));
        let write = ScsiCommand {
            write: true,
            expected_data_transfer_length: 5000,
            itt: Itt(1),
            cmd_sn: SerialNumber(1),
            cdb: [WRITE, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            r#final: true,
            ..ScsiCommand::default()
        };
        target.receive(&wire(&[(InitiatorPdu::ScsiCommand(write), &[])]), Way::Staging(100));
        target.send();
        let mut image = target.session.image();
        prop_assert!(target.session.is_at_rest());
        for (at, byte) in changes {
            let at = at.index(image.len());
            image[at] = byte;
        }
        if let Ok(mut session) = Session::from_image(&image) {
            // Whatever it is, it can be used.
            let again = Session::from_image(&session.image());
            prop_assert_eq!(again.as_ref(), Ok(&session));
            session.restart_clock(Duration::from_secs(1));
            let data = DataOut { itt: Itt(1), ttt: Ttt(1), r#final: true, ..DataOut::default() };
            session.handle_received(C0, Duration::ZERO, &Bhs(data.emit().0).0);
            session.poll_event();
            session.handle_timeout(Duration::from_secs(1000));
            session.poll_transmit(C0, Duration::ZERO, &mut Transmit::default(), 4096);
        }
    }
}

#[test]
fn image_cut_anywhere_is_refused() {
    let image = session(NegotiatedParams::default()).image();
    for end in 0..image.len() {
        assert!(Session::from_image(&image[..end]).is_err(), "{end}");
    }
    let mut longer = image.clone();
    longer.push(0);
    assert_eq!(
        Session::from_image(&longer),
        Err(crate::session::ImageError::TrailingBytes)
    );
    let mut newer = image;
    newer[1] = 9;
    assert_eq!(
        Session::from_image(&newer),
        Err(crate::session::ImageError::Version(9))
    );
}

#[test]
fn idle_session_holds_less_than_two_kibibytes() {
    let mut target = Target::new(session(NegotiatedParams::default()));
    let bytes = wire(&[
        (InitiatorPdu::ScsiCommand(super::golden::read(1, 512)), &[]),
        (
            InitiatorPdu::NopOut(NopOut {
                data_segment_length: 1000,
                itt: Itt(2),
                ttt: Ttt::RESERVED,
                cmd_sn: SerialNumber(2),
                ..NopOut::default()
            }),
            &[0; 1000],
        ),
    ]);
    target.receive(&bytes, Way::Staging(usize::MAX));
    target.send();
    target.session.release_idle_memory();
    let connection = target.session.connections.get(C0).unwrap();
    assert_eq!(target.session.connections.capacity(), 1);
    let heap = connection.replies.capacity()
        + connection.ready.capacity()
        + connection.collected.capacity()
        + target.session.management.capacity()
        + target.session.window.held().len();
    assert_eq!(heap, 0);
    let bytes = size_of::<Session>() + size_of_val(connection);
    assert!(bytes < 2048, "{bytes}");
    assert!(size_of::<crate::session::task::Task>() < 400);
}
