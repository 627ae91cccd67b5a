//! Requests against the rules in full feature phase: the Reject, status or response that RFC 7143 names, and the connection
//! goes on; or, where its stream can no longer be trusted, its end.

use anyhow::{Context, Result, bail, ensure};
use initiator::{Config, Delivery, Event};
use interop::client::{cdb16, lun64};
use interop::peer::{Heard, TEST_UNIT_READY};
use interop::{Driver, Peer, Siege, on_each_driver};
use iscsi_wire::{
    Bhs, DataOut, Itt, LogoutReason, LogoutRequest, LogoutResponseCode, Lun64, NopOut,
    RejectReason, ScsiCommand, SerialNumber, SnackRequest, TargetPdu, TaskManagementFunction,
    TaskManagementResponseCode, TextRequest, Ttt,
};

use crate::ATTACK_LBA;

on_each_driver! {
    request_that_is_not_allowed_is_rejected_and_the_connection_goes_on,
    header_that_contradicts_itself_is_rejected_and_ends_the_connection,
    task_management_of_what_is_not_there_says_so,
    text_without_end_is_rejected_at_its_bound,
    cmd_sn_outside_of_the_window_is_ignored,
    commands_behind_a_gap_wait_for_it_in_a_bounded_window,
    immediate_commands_beyond_the_allowance_are_rejected,
    logout_with_commands_outstanding_ends_them,
    command_with_a_wrong_length_moves_no_more_than_it_may,
}

/// A PDU of this opcode with nothing else in it but a tag.
fn bare(opcode: u8, itt: Itt) -> Bhs {
    let mut bhs = Bhs([0; 48]);
    (bhs.0[0], bhs.0[1]) = (0x40 | opcode, 0x80);
    bhs.0[16..20].copy_from_slice(&itt.0.to_be_bytes());
    bhs
}

/// An immediate text request that is all there is to say.
fn text_request(peer: &mut Peer, data: &[u8]) -> Result<TextRequest> {
    Ok(TextRequest {
        immediate: true,
        r#final: true,
        data_segment_length: u32::try_from(data.len())?,
        itt: peer.initiator.allocate_itt(),
        ttt: Ttt::RESERVED,
        cmd_sn: peer.initiator.cmd_sn(),
        exp_stat_sn: peer.initiator.exp_stat_sn(),
        ..TextRequest::default()
    })
}

fn request_that_is_not_allowed_is_rejected_and_the_connection_goes_on(
    driver: Driver,
) -> Result<()> {
    use RejectReason as R;
    let siege = Siege::begin(driver, 2)?;
    let mut peer = Peer::login(siege.portal(), Peer::config(5))?;
    let rejected = |peer: &mut Peer, bhs: Bhs, data: &[u8], reason: R| -> Result<()> {
        let context = || {
            format!(
                "opcode {:#04x}, {:?}",
                bhs.opcode(),
                String::from_utf8_lossy(data)
            )
        };
        peer.send(&bhs, data);
        peer.hear_reject(reason, &bhs).with_context(context)?;
        peer.goes_on().with_context(context)
    };
    // Opcodes that nobody has, that are vendors', and that are the target's.
    for opcode in [0x07, 0x0f, 0x1c, 0x1f, 0x20, 0x21, 0x25, 0x31, 0x3f] {
        let itt = peer.initiator.allocate_itt();
        rejected(&mut peer, bare(opcode, itt), &[], R::CommandNotSupported)?;
    }
    let snack = SnackRequest {
        itt: Itt(1),
        ttt: Ttt::RESERVED,
        exp_stat_sn: peer.initiator.exp_stat_sn(),
        ..SnackRequest::default()
    };
    // RFC 7143 §11.16: for ErrorRecoveryLevel 1 and above.
    rejected(&mut peer, snack.emit(), &[], R::SnackReject)?;
    rejected(&mut peer, bare(0x03, Itt(2)), &[], R::ProtocolError)?;

    let texts: [(&[u8], R); 4] = [
        (b"no equals sign\0", R::ProtocolError),
        (b"=no name\0", R::ProtocolError),
        (b"SendTargets=\0SendTargets=\0", R::ProtocolError),
        (&[0xff; 100], R::ProtocolError),
    ];
    for (data, reason) in texts {
        let request = text_request(&mut peer, data)?;
        rejected(&mut peer, request.emit(), data, reason)?;
    }
    let request = text_request(&mut peer, &[])?;
    let both = TextRequest {
        r#continue: true,
        ..request
    };
    rejected(&mut peer, both.emit(), &[], R::ProtocolError)?;
    let strange = TextRequest {
        ttt: Ttt(0x4242),
        ..request
    };
    rejected(&mut peer, strange.emit(), &[], R::InvalidPduField)?;

    let logout = LogoutRequest {
        immediate: true,
        reason: LogoutReason::Other(0x55),
        itt: peer.initiator.allocate_itt(),
        cmd_sn: peer.initiator.cmd_sn(),
        exp_stat_sn: peer.initiator.exp_stat_sn(),
        ..LogoutRequest::default()
    };
    rejected(&mut peer, logout.emit(), &[], R::InvalidPduField)?;

    // RFC 7143 §11.2.1.8: a tag is one task's until that is over. The first waits for its data.
    let first = peer.write_command(ATTACK_LBA, 4096)?;
    peer.send(&first.emit(), &[]);
    let r2t = peer.event()?;
    ensure!(
        matches!(r2t, Event::Unmatched(TargetPdu::ReadyToTransfer(_), _)),
        "{r2t:?}"
    );
    let second = ScsiCommand {
        immediate: true,
        itt: first.itt,
        cmd_sn: peer.initiator.cmd_sn(),
        ..ScsiCommand {
            write: false,
            expected_data_transfer_length: 0,
            cdb: TEST_UNIT_READY,
            ..first
        }
    };
    rejected(&mut peer, second.emit(), &[], R::TaskInProgress)?;

    // RFC 7143 §4.3: a discovery session has neither tasks nor their management.
    let mut config = Peer::config(5);
    config.identity = Config::discovery("iqn.2026-11.org.example:peer5").identity;
    let mut discovery = Peer::connect(siege.portal(), config)?;
    discovery.log_in()?;
    for opcode in [0x01, 0x02, 0x05] {
        let bhs = bare(opcode, discovery.initiator.allocate_itt());
        discovery.send(&bhs, &[]);
        discovery.hear_reject(R::ProtocolError, &bhs)?;
    }
    let itt = discovery.initiator.send_targets("All");
    discovery.flush();
    let answer = discovery.event()?;
    ensure!(
        matches!(answer, Event::TextDone { itt: of, .. } if of == itt),
        "{answer:?}"
    );
    drop((peer, discovery));
    siege.lift()
}

/// RFC 7143 §7.7: a format error is answered with Reject, reason 09h, and ends the connection.
fn header_that_contradicts_itself_is_rejected_and_ends_the_connection(
    driver: Driver,
) -> Result<()> {
    type Header = fn(&mut Peer) -> Result<Bhs>;
    const CASES: [(&str, Header); 7] = [
        ("a data segment longer than declared", |peer| {
            let mut bhs = peer.command(TEST_UNIT_READY).emit();
            bhs.0[5..8].fill(0xff);
            Ok(bhs)
        }),
        ("a Data-Out longer than declared", |_| {
            let mut bhs = bare(0x05, Itt(7));
            bhs.0[5..8].fill(0xff);
            Ok(bhs)
        }),
        ("a command that outputs nothing and is not final", |peer| {
            let command = peer.command(TEST_UNIT_READY);
            Ok(ScsiCommand {
                r#final: false,
                ..command
            }
            .emit())
        }),
        ("a command that moves bytes in no direction", |peer| {
            let command = peer.command(TEST_UNIT_READY);
            Ok(ScsiCommand {
                expected_data_transfer_length: 512,
                ..command
            }
            .emit())
        }),
        ("a command without a tag", |peer| {
            let command = peer.command(TEST_UNIT_READY);
            Ok(ScsiCommand {
                itt: Itt::RESERVED,
                ..command
            }
            .emit())
        }),
        ("additional headers of a Data-Out", |_| {
            let mut bhs = DataOut {
                r#final: true,
                ..DataOut::default()
            }
            .emit();
            bhs.0[4] = 1;
            Ok(bhs)
        }),
        ("additional headers of a ping", |peer| {
            let mut bhs = NopOut {
                immediate: true,
                itt: peer.initiator.allocate_itt(),
                ttt: Ttt::RESERVED,
                ..NopOut::default()
            }
            .emit();
            bhs.0[4] = 1;
            Ok(bhs)
        }),
    ];
    let siege = Siege::begin(driver, 2)?;
    for (name, header) in CASES {
        let mut peer = Peer::login(siege.portal(), Peer::config(5))?;
        let bhs = header(&mut peer)?;
        let ahs = vec![0; usize::from(bhs.total_ahs_bytes())];
        peer.send_bytes(&[&bhs.0[..], &ahs].concat());
        peer.hear_reject(RejectReason::InvalidPduField, &bhs)
            .context(name)?;
        peer.hear_end().context(name)?;
    }
    siege.lift()
}

fn task_management_of_what_is_not_there_says_so(driver: Driver) -> Result<()> {
    use TaskManagementFunction as F;
    use TaskManagementResponseCode as R;
    let siege = Siege::begin(driver, 2)?;
    let mut peer = Peer::login(siege.portal(), Peer::config(5))?;
    let nowhere = lun64(200);
    let bogus = Lun64(0xffff_ffff_ffff_ffff);
    let table = [
        (F::AbortTask, lun64(0), R::TaskDoesNotExist),
        (F::AbortTaskSet, nowhere, R::LunDoesNotExist),
        (F::ClearTaskSet, nowhere, R::LunDoesNotExist),
        (F::LogicalUnitReset, nowhere, R::LunDoesNotExist),
        (F::LogicalUnitReset, bogus, R::LunDoesNotExist),
        // SAM-5 CLEAR ACA: without a condition to clear there is nothing to do, and that is done.
        (F::ClearAca, lun64(0), R::FunctionComplete),
        (F::ClearAca, nowhere, R::LunDoesNotExist),
        (
            F::TaskReassign,
            lun64(0),
            R::TaskAllegianceReassignmentNotSupported,
        ),
        (F::Other(0), lun64(0), R::FunctionNotSupported),
        (F::Other(0x7f), lun64(0), R::FunctionNotSupported),
    ];
    for (function, lun, expected) in table {
        for referenced in [Itt(0x7777_7777), Itt(0), Itt(0xffff_fffe)] {
            let itt = peer.initiator.task_management(
                function,
                lun,
                Some(referenced),
                Delivery::Immediate,
            );
            peer.flush();
            match peer.event()? {
                Event::TaskManaged {
                    itt: of, response, ..
                } if of == itt => {
                    ensure!(response == expected, "{function:?}: {response:?}");
                }
                other => bail!("{function:?}: {other:?}"),
            }
        }
    }
    peer.goes_on()?;
    drop(peer);
    siege.lift()
}

/// The bound on a text exchange is 64 KiB, as that of a login.
fn text_without_end_is_rejected_at_its_bound(driver: Driver) -> Result<()> {
    const PIECE: [u8; 8192] = [b'x'; 8192];
    let siege = Siege::begin(driver, 2)?;
    let mut peer = Peer::login(siege.portal(), Peer::config(5))?;
    let first = text_request(&mut peer, &PIECE)?;
    let mut ttt = Ttt::RESERVED;
    let mut answered = 0;
    loop {
        let request = TextRequest {
            r#final: false,
            r#continue: true,
            ttt,
            exp_stat_sn: peer.initiator.exp_stat_sn(),
            ..first
        };
        peer.send(&request.emit(), &PIECE);
        match peer.event()? {
            Event::Unmatched(TargetPdu::TextResponse(response), data) => {
                // RFC 7143 §6.2: empty, as long as there is more to come.
                ensure!(data.is_empty() && !response.r#final, "{response:?}");
                ttt = response.ttt;
                answered += 1;
                ensure!(answered <= 8, "no end after {answered} requests");
            }
            Event::Rejected { reject, .. } => {
                ensure!(
                    reject.reason == RejectReason::LongOperationReject,
                    "{reject:?}"
                );
                break;
            }
            other => bail!("{other:?}"),
        }
    }
    ensure!(answered >= 7, "rejected after {answered} requests");
    peer.goes_on()?;
    // What was gathered is forgotten: a new exchange begins from nothing.
    let itt = peer.initiator.send_targets("");
    peer.flush();
    match peer.event()? {
        Event::TextDone { itt: of, pairs } if of == itt => {
            ensure!(
                pairs.iter().any(|(key, _)| key == "TargetName"),
                "{pairs:?}"
            );
        }
        other => bail!("{other:?}"),
    }
    drop(peer);
    siege.lift()
}

/// RFC 7143 §4.2.2.1: silently.
fn cmd_sn_outside_of_the_window_is_ignored(driver: Driver) -> Result<()> {
    let siege = Siege::begin(driver, 2)?;
    let mut peer = Peer::login(siege.portal(), Peer::config(5))?;
    let (exp_cmd_sn, max_cmd_sn) = peer.initiator.window();
    let template = peer.command(TEST_UNIT_READY);
    peer.initiator.set_cmd_sn(exp_cmd_sn);
    for round in 0..500 {
        for cmd_sn in [
            SerialNumber(exp_cmd_sn.0.wrapping_sub(1 + round)),
            max_cmd_sn.add(1 + round),
            SerialNumber(exp_cmd_sn.0 ^ 0x8000_0000),
        ] {
            let command = ScsiCommand {
                cmd_sn,
                itt: peer.initiator.allocate_itt(),
                ..template
            };
            peer.initiator.push_raw(&command.emit(), &[]);
        }
        peer.flush();
    }
    peer.goes_on()?;
    ensure!(
        peer.initiator.window() == (exp_cmd_sn, max_cmd_sn),
        "the window moved"
    );
    peer.become_ready(lun64(0))?;
    drop(peer);
    siege.lift()
}

/// RFC 7143 §4.2.2.1: commands are delivered in the order of their CmdSN, and none beyond MaxCmdSN is kept.
fn commands_behind_a_gap_wait_for_it_in_a_bounded_window(driver: Driver) -> Result<()> {
    let siege = Siege::begin(driver, 2)?;
    let mut peer = Peer::login(siege.portal(), Peer::config(5))?;
    let (first, max_cmd_sn) = peer.initiator.window();
    let width = max_cmd_sn.next().distance_from(first);
    let mut wanted = Vec::new();
    // The first is left out; the last 100 are beyond the window; and all come twice.
    for _ in 0..2 {
        peer.initiator.set_cmd_sn(first.next());
        wanted.clear();
        for index in 1..width + 100 {
            let command = peer.command(TEST_UNIT_READY);
            let command = ScsiCommand {
                itt: Itt(0x0100_0000 + index),
                ..command
            };
            peer.initiator.push_raw(&command.emit(), &[]);
            if index < width {
                wanted.push(command.itt);
            }
        }
        peer.flush();
        peer.initiator.set_cmd_sn(first);
        peer.goes_on()?;
        ensure!(
            peer.initiator.window() == (first, max_cmd_sn),
            "the window moved"
        );
    }
    let missing = peer.command(TEST_UNIT_READY);
    wanted.push(missing.itt);
    peer.send(&missing.emit(), &[]);
    peer.initiator.set_cmd_sn(max_cmd_sn.next());
    let mut ended = Vec::new();
    for _ in 0..width {
        match peer.event()? {
            Event::Unmatched(TargetPdu::ScsiResponse(response), _) => {
                ensure!(response.status == 0, "{response:?}");
                ended.push(response.itt);
            }
            other => bail!("{other:?}"),
        }
    }
    wanted.sort_unstable_by_key(|itt| itt.0);
    ended.sort_unstable_by_key(|itt| itt.0);
    ensure!(wanted == ended, "{wanted:?}, {ended:?}");
    peer.goes_on()?;
    peer.become_ready(lun64(0))?;
    drop(peer);
    siege.lift()
}

/// RFC 7143 §4.2.2.1: those that cannot be taken are rejected with reason 06h. A peer that earns Rejects faster than it reads
/// them loses its connection.
fn immediate_commands_beyond_the_allowance_are_rejected(driver: Driver) -> Result<()> {
    const COUNT: usize = 500;
    let siege = Siege::begin(driver, 2)?;
    for data in [0, 4096] {
        let mut peer = Peer::login(siege.portal(), Peer::config(5))?;
        let cmd_sn = peer.initiator.cmd_sn();
        for _ in 0..COUNT {
            let itt = peer.initiator.allocate_itt();
            let exp_stat_sn = peer.initiator.exp_stat_sn();
            if data == 0 {
                let command = ScsiCommand {
                    immediate: true,
                    itt,
                    ..peer.command(TEST_UNIT_READY)
                };
                peer.initiator.set_cmd_sn(cmd_sn);
                let command = ScsiCommand { cmd_sn, ..command };
                peer.initiator.push_raw(&command.emit(), &[]);
            } else {
                let ping = NopOut {
                    immediate: true,
                    data_segment_length: 4096,
                    itt,
                    ttt: Ttt::RESERVED,
                    cmd_sn,
                    exp_stat_sn,
                    ..NopOut::default()
                };
                peer.initiator.push_raw(&ping.emit(), &vec![7; data]);
            }
        }
        peer.flush();
        let (mut answered, mut rejected) = (0, 0);
        let is_closed = loop {
            if answered + rejected == COUNT {
                break false;
            }
            match peer.listen()? {
                Heard::Closed => break true,
                Heard::Event(event) => match *event {
                    Event::Rejected { reject, .. } => {
                        let reason = reject.reason;
                        ensure!(reason == RejectReason::ImmediateCommandReject, "{reason:?}");
                        rejected += 1;
                    }
                    Event::Unmatched(TargetPdu::ScsiResponse(_) | TargetPdu::NopIn(_), _) => {
                        answered += 1;
                    }
                    other => bail!("{other:?}"),
                },
            }
        };
        ensure!(answered > 0 || is_closed, "none was answered");
        if !is_closed {
            peer.goes_on()?;
        }
    }
    siege.lift()
}

/// RFC 7143 §11.14: the session's commands end with it; the response comes when they have.
fn logout_with_commands_outstanding_ends_them(driver: Driver) -> Result<()> {
    let siege = Siege::begin(driver, 2)?;
    for delivery in [Delivery::Immediate, Delivery::Ordered] {
        let mut config = Peer::config(5);
        config.answer_r2ts = false;
        config.use_immediate_data = false;
        config.use_unsolicited_data = false;
        let mut peer = Peer::login(siege.portal(), config)?;
        for index in 0..10 {
            let cdb = cdb16(0x8a, ATTACK_LBA + index * 128, 128);
            let data = vec![0x77; 65_536];
            peer.initiator.command(lun64(0), &cdb, data, 0);
        }
        peer.initiator.logout(LogoutReason::CloseSession, delivery);
        peer.flush();
        loop {
            match peer.event()? {
                // R2Ts that left before the logout came.
                Event::R2t(_) => {}
                Event::LoggedOut(response) => {
                    ensure!(
                        response.response == LogoutResponseCode::Closed,
                        "{response:?}"
                    );
                    break;
                }
                other => bail!("{other:?}"),
            }
        }
        peer.hear_end()?;
    }
    siege.lift()
}

/// ExpectedDataTransferLength against what the CDB moves: the smaller of both moves, and the residual tells the rest
/// (RFC 7143 §11.4.5).
fn command_with_a_wrong_length_moves_no_more_than_it_may(driver: Driver) -> Result<()> {
    let siege = Siege::begin(driver, 2)?;
    let mut peer = Peer::login(siege.portal(), Peer::config(5))?;
    let inquiry = [0x12, 0, 0, 0, 36, 0];
    let read_one = cdb16(0x88, ATTACK_LBA, 1);
    let read_many = cdb16(0x88, ATTACK_LBA, 64);
    let reads: [(&[u8], u32, usize); 4] = [
        (&inquiry, u32::MAX, 36),
        (&inquiry, 4, 4),
        (&read_one, u32::MAX, 512),
        (&read_many, 512, 512),
    ];
    for (cdb, expected_bytes, moved) in reads {
        let itt = peer
            .initiator
            .command(lun64(0), cdb, Vec::new(), expected_bytes);
        peer.flush();
        // The initiator itself checks that the residual fits what was moved.
        let done = peer.end_of(itt)?;
        ensure!(done.status == 0 && done.data.len() == moved, "{done:?}");
    }
    // A bidirectional command, and one whose CDB goes on in an additional header.
    let both = ScsiCommand {
        read: true,
        ..peer.write_command(ATTACK_LBA, 512)?
    };
    peer.send(&both.emit(), &[]);
    let (status, _) = peer.raw_end_of(both.itt)?;
    ensure!(status == 2, "{status}");
    let long = ScsiCommand {
        total_ahs_length: 255,
        ..peer.command([0x7f; 16])
    };
    peer.send_bytes(&[&long.emit().0[..], &[0xff; 1020]].concat());
    let (status, _) = peer.raw_end_of(long.itt)?;
    ensure!(status == 2, "{status}");
    peer.goes_on()?;
    drop(peer);
    siege.lift()
}
