//! Bytes in, bytes out: exchanges spelled out header by header.

use iscsi_wire::{
    BHS_BYTES, Bhs, DataIn, InitiatorPdu, Itt, Lun64, ScsiCommand, ScsiResponse, SerialNumber,
    TargetPdu, TaskAttribute, Ttt,
};

use super::target::{NOTHING, READ, Target, Way};
use crate::negotiate::NegotiatedParams;
use crate::session::fixture::session;

/// PDUs as they go over the wire, without digests.
pub(super) fn wire(pdus: &[(InitiatorPdu, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (pdu, data) in pdus {
        bytes.extend(pdu.emit().0);
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

/// A stream without digests, taken apart.
pub(super) fn unwire(mut bytes: &[u8]) -> Vec<(TargetPdu, Vec<u8>)> {
    let mut pdus = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<BHS_BYTES>() {
        let bhs = Bhs(*header);
        let length = bhs.data_segment_length() as usize;
        pdus.push((TargetPdu::parse(&bhs).unwrap(), rest[..length].to_vec()));
        bytes = &rest[length.next_multiple_of(4)..];
    }
    assert!(bytes.is_empty(), "half a PDU");
    pdus
}

/// A command with the tag and CmdSN of `number`, at disk offset 0.
pub(super) fn command(number: u32, opcode: u8) -> ScsiCommand {
    let mut cdb = [0; 16];
    cdb[0] = opcode;
    ScsiCommand {
        r#final: true,
        attribute: TaskAttribute::Simple,
        lun: Lun64(0),
        itt: Itt(number),
        cmd_sn: SerialNumber(number),
        exp_stat_sn: SerialNumber(1),
        cdb,
        ..ScsiCommand::default()
    }
}

pub(super) fn read(number: u32, bytes: u32) -> ScsiCommand {
    let expected_data_transfer_length = bytes;
    ScsiCommand {
        read: true,
        expected_data_transfer_length,
        ..command(number, READ)
    }
}

/// What the target sends in answer to these PDUs.
pub(super) fn exchange(
    target: &mut Target,
    pdus: &[(InitiatorPdu, &[u8])],
) -> Vec<(TargetPdu, Vec<u8>)> {
    target.receive(&wire(pdus), Way::Staging(usize::MAX));
    unwire(&target.send())
}

#[test]
fn read_of_five_bytes_is_one_data_in_with_status() {
    let mut target = Target::new(session(NegotiatedParams::default()));
    let answer = exchange(&mut target, &[(InitiatorPdu::ScsiCommand(read(1, 5)), &[])]);
    let expected = DataIn {
        r#final: true,
        status_present: true,
        data_segment_length: 5,
        itt: Itt(1),
        ttt: Ttt::RESERVED,
        stat_sn: SerialNumber(1),
        exp_cmd_sn: SerialNumber(2),
        max_cmd_sn: SerialNumber(9),
        ..DataIn::default()
    };
    assert_eq!(
        answer,
        [(TargetPdu::DataIn(expected), target.disk[..5].to_vec())]
    );
}

#[test]
fn command_without_data_is_one_response_and_the_window_goes_on() {
    let mut target = Target::new(session(NegotiatedParams::default()));
    for number in 1..=20 {
        let answer = exchange(
            &mut target,
            &[(InitiatorPdu::ScsiCommand(command(number, NOTHING)), &[])],
        );
        let expected = ScsiResponse {
            itt: Itt(number),
            stat_sn: SerialNumber(number),
            exp_cmd_sn: SerialNumber(number + 1),
            max_cmd_sn: SerialNumber(number + 8),
            ..ScsiResponse::default()
        };
        assert_eq!(answer, [(TargetPdu::ScsiResponse(expected), Vec::new())]);
    }
}
