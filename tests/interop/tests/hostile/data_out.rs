//! Data-Out against the rules of RFC 7143 §11.7, §11.8 and §13: the command ends with the sense data of §11.4.7.2, and nothing
//! of the disk changes but what the command named.

use anyhow::{Context, Result, bail, ensure};
use initiator::Event;
use interop::client::sense_code;
use interop::{Driver, Peer, Siege, on_each_driver};
use iscsi_wire::{DataOut, Itt, ReadyToTransfer, RejectReason, ScsiCommand, TargetPdu, Ttt};

use crate::ATTACK_LBA;

on_each_driver! {
    data_out_against_the_rules_ends_its_command_with_sense,
    data_out_with_a_wrong_tag_is_rejected_and_the_command_goes_on,
    data_out_of_no_command_is_dropped,
    wrong_digests_end_in_reject_sense_or_drop,
}

const CHECK_CONDITION: u8 = 2;
const EXPECTED_BYTES: u32 = 128 * 1024;
const FIRST_BURST_BYTES: u32 = 64 * 1024;

/// RFC 7143 §11.4.7.2 and SPC-5 "ASC and ASCQ assignments".
const UNEXPECTED_UNSOLICITED_DATA: (u8, u8, u8) = (0xb, 0x0c, 0x0c);
const INCORRECT_AMOUNT_OF_DATA: (u8, u8, u8) = (0xb, 0x0c, 0x0d);
const PROTOCOL_SERVICE_CRC_ERROR: (u8, u8, u8) = (0xb, 0x47, 0x05);
const DATA_OFFSET_ERROR: (u8, u8, u8) = (0xb, 0x4b, 0x05);

/// One Data-Out PDU.
#[derive(Clone, Copy, Debug)]
struct Out {
    offset: u32,
    bytes: u32,
    data_sn: u32,
    is_last: bool,
}

const fn out(offset: u32, bytes: u32, data_sn: u32) -> Out {
    Out {
        offset,
        bytes,
        data_sn,
        is_last: false,
    }
}

const fn last(offset: u32, bytes: u32, data_sn: u32) -> Out {
    Out {
        is_last: true,
        ..out(offset, bytes, data_sn)
    }
}

/// A WRITE of 128 KiB without immediate data, and the Data-Out that follows.
struct Fault {
    name: &'static str,
    initial_r2t: &'static str,
    /// Sent at once, where the command's F bit is 0.
    unsolicited: &'static [Out],
    /// Sent in answer to the first R2T, which asks for all of it, where F is 1.
    solicited: &'static [Out],
    sense: (u8, u8, u8),
}

const HALF: u32 = EXPECTED_BYTES / 2;

const FAULTS: &[Fault] = &[
    Fault {
        name: "unsolicited data where InitialR2T is Yes",
        initial_r2t: "Yes",
        unsolicited: &[last(0, 4096, 0)],
        solicited: &[],
        sense: UNEXPECTED_UNSOLICITED_DATA,
    },
    Fault {
        name: "unsolicited data past FirstBurstLength",
        initial_r2t: "No",
        unsolicited: &[
            out(0, FIRST_BURST_BYTES, 0),
            last(FIRST_BURST_BYTES, 512, 1),
        ],
        solicited: &[],
        sense: INCORRECT_AMOUNT_OF_DATA,
    },
    Fault {
        name: "an unsolicited burst that is too short",
        initial_r2t: "No",
        unsolicited: &[last(0, 512, 0)],
        solicited: &[],
        sense: INCORRECT_AMOUNT_OF_DATA,
    },
    Fault {
        name: "unsolicited data that begins late",
        initial_r2t: "No",
        unsolicited: &[last(512, 512, 0)],
        solicited: &[],
        sense: DATA_OFFSET_ERROR,
    },
    Fault {
        name: "unsolicited data that overlaps",
        initial_r2t: "No",
        unsolicited: &[out(0, 4096, 0), last(2048, 4096, 1)],
        solicited: &[],
        sense: DATA_OFFSET_ERROR,
    },
    Fault {
        name: "a DataSN left out",
        initial_r2t: "No",
        unsolicited: &[out(0, 4096, 0), last(4096, 4096, 2)],
        solicited: &[],
        sense: PROTOCOL_SERVICE_CRC_ERROR,
    },
    Fault {
        name: "an answer to an R2T that is too long",
        initial_r2t: "Yes",
        unsolicited: &[],
        // In the PDU that fills it: with all its data there the command may end before another comes.
        solicited: &[out(0, HALF, 0), last(HALF, HALF + 512, 1)],
        sense: INCORRECT_AMOUNT_OF_DATA,
    },
    Fault {
        name: "an answer to an R2T that is too short",
        initial_r2t: "Yes",
        unsolicited: &[],
        solicited: &[last(0, HALF, 0)],
        sense: INCORRECT_AMOUNT_OF_DATA,
    },
    Fault {
        name: "an answer to an R2T at another place",
        initial_r2t: "Yes",
        unsolicited: &[],
        solicited: &[out(HALF, HALF, 0), last(0, HALF, 1)],
        sense: DATA_OFFSET_ERROR,
    },
    Fault {
        name: "an answer to an R2T at the end of all numbers",
        initial_r2t: "Yes",
        unsolicited: &[],
        solicited: &[last(0xffff_fe00, 1024, 0)],
        sense: DATA_OFFSET_ERROR,
    },
    Fault {
        name: "an answer to an R2T with a DataSN left out",
        initial_r2t: "Yes",
        unsolicited: &[],
        solicited: &[out(0, HALF, 0), last(HALF, HALF, 5)],
        sense: PROTOCOL_SERVICE_CRC_ERROR,
    },
];

fn send(peer: &mut Peer, itt: Itt, ttt: Ttt, out: Out) -> Result<()> {
    let pdu = DataOut {
        r#final: out.is_last,
        data_segment_length: out.bytes,
        itt,
        ttt,
        exp_stat_sn: peer.initiator.exp_stat_sn(),
        data_sn: out.data_sn,
        buffer_offset: out.offset,
        ..DataOut::default()
    };
    let data = vec![0xE1; usize::try_from(out.bytes)?];
    peer.send(&pdu.emit(), &data);
    Ok(())
}

fn r2t(peer: &mut Peer, itt: Itt) -> Result<ReadyToTransfer> {
    match peer.event()? {
        Event::Unmatched(TargetPdu::ReadyToTransfer(r2t), _) if r2t.itt == itt => {
            ensure!(
                (r2t.buffer_offset, r2t.desired_data_transfer_length) == (0, EXPECTED_BYTES),
                "{r2t:?}"
            );
            Ok(r2t)
        }
        other => bail!("no R2T: {other:?}"),
    }
}

fn login(siege: &Siege, initial_r2t: &str, digest: &str) -> Result<Peer> {
    let config = Peer::config(4)
        .with_key("InitialR2T", initial_r2t)
        .with_key("FirstBurstLength", &FIRST_BURST_BYTES.to_string())
        .with_key("HeaderDigest", digest)
        .with_key("DataDigest", digest);
    let peer = Peer::login(siege.portal(), config)?;
    let params = peer.initiator.params();
    // The cases send half of the command's data in one PDU, and get one R2T for all of it.
    ensure!(params.max_send_data_segment_length >= HALF, "{params:?}");
    ensure!(params.max_burst_length >= EXPECTED_BYTES, "{params:?}");
    Ok(peer)
}

fn write_command(peer: &mut Peer, is_final: bool) -> Result<ScsiCommand> {
    Ok(ScsiCommand {
        r#final: is_final,
        ..peer.write_command(ATTACK_LBA, usize::try_from(EXPECTED_BYTES)?)?
    })
}

fn commit(fault: &Fault, siege: &Siege) -> Result<()> {
    let mut peer = login(siege, fault.initial_r2t, "None")?;
    let command = write_command(&mut peer, fault.unsolicited.is_empty())?;
    peer.send(&command.emit(), &[]);
    for out in fault.unsolicited {
        send(&mut peer, command.itt, Ttt::RESERVED, *out)?;
    }
    if !fault.solicited.is_empty() {
        let ttt = r2t(&mut peer, command.itt)?.ttt;
        for out in fault.solicited {
            send(&mut peer, command.itt, ttt, *out)?;
        }
    }
    let (status, sense) = peer.raw_end_of(command.itt)?;
    let code = sense_code(&sense);
    ensure!(
        status == CHECK_CONDITION && code == Some(fault.sense),
        "status {status}, {code:02x?}"
    );
    peer.goes_on()?;
    write_is_right(&mut peer)
}

/// A write by the rules, and what it wrote.
fn write_is_right(peer: &mut Peer) -> Result<()> {
    use interop::client::{cdb16, lun64};
    let bytes = usize::try_from(EXPECTED_BYTES)?;
    let data: Vec<u8> = (0..bytes).map(|n| n.to_le_bytes()[0] ^ 0x3c).collect();
    let (write, read) = (
        cdb16(0x8a, ATTACK_LBA, bytes / 512),
        cdb16(0x88, ATTACK_LBA, bytes / 512),
    );
    let itt = peer.initiator.command(lun64(0), &write, data.clone(), 0);
    peer.flush();
    ensure!(peer.end_of(itt)?.status == 0, "the write failed");
    let itt = peer
        .initiator
        .command(lun64(0), &read, Vec::new(), EXPECTED_BYTES);
    peer.flush();
    ensure!(peer.end_of(itt)?.data == data, "other data came back");
    Ok(())
}

fn data_out_against_the_rules_ends_its_command_with_sense(driver: Driver) -> Result<()> {
    let siege = Siege::begin(driver, 2)?;
    for fault in FAULTS {
        commit(fault, &siege).context(fault.name)?;
    }
    siege.lift()
}

/// RFC 7143 §11.17.1: a tag that the target did not give out is an invalid field, reason 09h.
fn data_out_with_a_wrong_tag_is_rejected_and_the_command_goes_on(driver: Driver) -> Result<()> {
    let siege = Siege::begin(driver, 2)?;
    let mut peer = login(&siege, "Yes", "None")?;
    let command = write_command(&mut peer, true)?;
    peer.send(&command.emit(), &[]);
    let ttt = r2t(&mut peer, command.itt)?.ttt;
    let wrong = DataOut {
        data_segment_length: 512,
        itt: command.itt,
        ttt: Ttt(ttt.0 ^ 0x5555),
        exp_stat_sn: peer.initiator.exp_stat_sn(),
        ..DataOut::default()
    };
    peer.send(&wrong.emit(), &[0xEE; 512]);
    peer.hear_reject(RejectReason::InvalidPduField, &wrong.emit())?;
    for out in [out(0, HALF, 0), last(HALF, HALF, 1)] {
        send(&mut peer, command.itt, ttt, out)?;
    }
    let (status, sense) = peer.raw_end_of(command.itt)?;
    ensure!(status == 0, "{:02x?}", sense_code(&sense));
    drop(peer);
    siege.lift()
}

/// As it comes after an abort: the command that it belongs to is over, so nobody can be told.
fn data_out_of_no_command_is_dropped(driver: Driver) -> Result<()> {
    let siege = Siege::begin(driver, 2)?;
    let mut peer = login(&siege, "No", "None")?;
    for ttt in [Ttt::RESERVED, Ttt(1), Ttt(0)] {
        for data_sn in 0..200 {
            send(
                &mut peer,
                Itt(0x7777_0000),
                ttt,
                out(data_sn * 4096, 4096, data_sn),
            )?;
        }
        peer.goes_on()?;
    }
    write_is_right(&mut peer)?;
    drop(peer);
    siege.lift()
}

/// RFC 7143 §7.8: after a header digest error the stream has no meaning any more; a data digest error of Data-Out is rejected
/// with reason 02h and ends its command once all its data has come; one of another PDU loses a request, and with it the session.
fn wrong_digests_end_in_reject_sense_or_drop(driver: Driver) -> Result<()> {
    let siege = Siege::begin(driver, 2)?;
    let mut peer = login(&siege, "Yes", "CRC32C")?;
    let command = write_command(&mut peer, true)?;
    peer.send(&command.emit(), &[]);
    let ttt = r2t(&mut peer, command.itt)?.ttt;
    let damaged = DataOut {
        data_segment_length: HALF,
        itt: command.itt,
        ttt,
        exp_stat_sn: peer.initiator.exp_stat_sn(),
        ..DataOut::default()
    };
    // Its payload, not its digest.
    peer.send_damaged(&damaged.emit(), &vec![0xE1; usize::try_from(HALF)?], 100);
    peer.hear_reject(RejectReason::DataDigestError, &damaged.emit())?;
    send(&mut peer, command.itt, ttt, last(HALF, HALF, 1))?;
    let (status, sense) = peer.raw_end_of(command.itt)?;
    let code = sense_code(&sense);
    ensure!(
        status == CHECK_CONDITION && code == Some(PROTOCOL_SERVICE_CRC_ERROR),
        "status {status}, {code:02x?}"
    );
    write_is_right(&mut peer)?;

    // Immediate data: the command is lost.
    let command = ScsiCommand {
        data_segment_length: 4096,
        ..peer.write_command(ATTACK_LBA, 4096)?
    };
    peer.send_damaged(&command.emit(), &[0xE1; 4096], 0);
    peer.hear_reject(RejectReason::DataDigestError, &command.emit())?;
    peer.hear_end()?;

    let mut peer = login(&siege, "Yes", "CRC32C")?;
    let command = peer.command(interop::peer::TEST_UNIT_READY);
    peer.send_damaged(&command.emit(), &[], 0);
    peer.hear_end()?;
    siege.lift()
}
