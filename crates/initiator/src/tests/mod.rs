//! The initiator against a target that says, PDU by PDU, what each test wants.

mod data;
mod exchanges;
mod login;
mod reassign;
mod recovery;

use iscsi_wire::text::parse_pairs;
use iscsi_wire::{
    InitiatorPdu, Isid, Itt, LoginResponse, SerialNumber, Stage, TargetPdu, Tsih, push_extended_cdb,
};

use crate::framing::{Digests, Found, Framer, append};
use crate::session::State;
use crate::{Config, Event, Initiator, Violation};

const INITIATOR: &str = "iqn.2026-01.org.example:host";
const TARGET: &str = "iqn.2026-01.org.example:disk";
/// The target's StatSN of the first login response.
const FIRST_STAT_SN: SerialNumber = SerialNumber(0xffff_fffe);

/// The initiator's output, PDU by PDU.
fn sent(initiator: &mut Initiator) -> Vec<(InitiatorPdu, Vec<u8>)> {
    let mut framer = Framer::new(1 << 24);
    framer.digests = initiator.framer.digests;
    framer.push(&initiator.take_output());
    let mut pdus = Vec::new();
    while let Some(found) = framer.next().expect("digests are right") {
        let Found::Pdu(frame) = found else {
            panic!("{found:?}");
        };
        let pdu = InitiatorPdu::parse(&frame.bhs).expect("header is well-formed");
        pdus.push((pdu, frame.data));
    }
    pdus
}

/// The text of a PDU, as `key=value` lines.
fn lines(text: &[u8]) -> Vec<String> {
    let pairs = parse_pairs(text)
        .collect::<Result<Vec<_>, _>>()
        .expect("text is well-formed");
    pairs
        .into_iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect()
}

fn text(lines: &[&str]) -> Vec<u8> {
    lines
        .iter()
        .flat_map(|line| line.bytes().chain([0]))
        .collect()
}

fn encode(initiator: &Initiator, pdu: TargetPdu, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    append(&mut bytes, &pdu.emit(), &[], data, initiator.framer.digests);
    bytes
}

/// The target sends one PDU.
fn receive(initiator: &mut Initiator, pdu: TargetPdu, data: &[u8]) -> Vec<Event> {
    let bytes = encode(initiator, pdu, data);
    initiator.handle_bytes(&bytes)
}

/// A login response of this stage that goes nowhere, with the StatSN the initiator expects.
fn login_response(initiator: &Initiator, stage: Stage, data: &[u8]) -> LoginResponse {
    LoginResponse {
        current_stage: stage,
        data_segment_length: length(data),
        isid: Isid([0x80, 0, 0, 0, 0, 1]),
        itt: Itt(1),
        stat_sn: initiator.exp_stat_sn,
        exp_cmd_sn: SerialNumber(1),
        max_cmd_sn: SerialNumber(32),
        ..LoginResponse::default()
    }
}

fn length(data: &[u8]) -> u32 {
    u32::try_from(data.len()).expect("test data is short")
}

/// The target answers with keys and, where `next` says so, goes to that stage.
fn answer(
    initiator: &mut Initiator,
    stage: Stage,
    next: Option<Stage>,
    keys: &[&str],
) -> Vec<Event> {
    let data = text(keys);
    let mut response = login_response(initiator, stage, &data);
    if matches!(&initiator.state, State::Login(login) if !login.started) {
        response.stat_sn = FIRST_STAT_SN;
    }
    response.transit = next.is_some();
    response.next_stage = next.unwrap_or_default();
    if next == Some(Stage::FullFeature) {
        response.tsih = Tsih(7);
    }
    receive(initiator, TargetPdu::LoginResponse(response), &data)
}

/// What a target answers that takes each offer of `Config::normal` as it is.
const ACCEPTED: [&str; 16] = [
    "TargetPortalGroupTag=1",
    "HeaderDigest=None",
    "DataDigest=None",
    "MaxRecvDataSegmentLength=1024",
    "DefaultTime2Wait=2",
    "DefaultTime2Retain=0",
    "ErrorRecoveryLevel=0",
    "MaxConnections=1",
    "InitialR2T=No",
    "ImmediateData=Yes",
    "MaxBurstLength=4096",
    "FirstBurstLength=2048",
    "MaxOutstandingR2T=1",
    "DataPDUInOrder=Yes",
    "DataSequenceInOrder=Yes",
    "TargetAlias=disk",
];

/// The accepted keys with some of them answered otherwise.
fn accepted(other: &[&'static str]) -> Vec<&'static str> {
    let name = |line: &str| line.split('=').next().map(str::to_owned);
    let replaced = |line: &&str| other.iter().find(|o| name(o) == name(line)).copied();
    ACCEPTED
        .iter()
        .map(|line| replaced(line).unwrap_or(line))
        .collect()
}

/// An initiator in full feature phase after a login from the operational stage on.
fn logged_in(config: Config, other: &[&'static str]) -> Initiator {
    let mut initiator = Initiator::new(Config {
        first_stage: Stage::Operational,
        ..config
    });
    initiator.start_login();
    assert_eq!(sent(&mut initiator).len(), 1);
    let next = Some(Stage::FullFeature);
    let events = answer(&mut initiator, Stage::Operational, next, &accepted(other));
    assert_eq!(events, [Event::LoggedIn]);
    initiator
}

fn normal() -> Config {
    Config::normal(INITIATOR, TARGET)
}

fn violations(events: &[Event]) -> Vec<&Violation> {
    let mut broken = Vec::new();
    for event in events {
        if let Event::Violation(violation) = event {
            broken.push(violation);
        }
    }
    broken
}

#[test]
fn command_with_digests_and_long_cdb_is_framed_to_the_byte() {
    let config = normal()
        .with_key("HeaderDigest", "CRC32C")
        .with_key("DataDigest", "CRC32C");
    let mut initiator = logged_in(config, &["HeaderDigest=CRC32C", "DataDigest=CRC32C"]);
    let cdb = [0x7f; 20];
    let itt = initiator.command(iscsi_wire::Lun64(0), &cdb, vec![0xaa; 5], 0);
    let bytes = initiator.take_output();
    let mut ahs = Vec::new();
    push_extended_cdb(&mut ahs, &[0x7f; 4]);
    let command = iscsi_wire::ScsiCommand {
        r#final: true,
        write: true,
        attribute: iscsi_wire::TaskAttribute::Simple,
        total_ahs_length: 2,
        data_segment_length: 5,
        itt,
        expected_data_transfer_length: 5,
        cmd_sn: SerialNumber(1),
        exp_stat_sn: FIRST_STAT_SN.next(),
        cdb: [0x7f; 16],
        ..iscsi_wire::ScsiCommand::default()
    };
    let mut expected = Vec::new();
    let digests = Digests {
        header: true,
        data: true,
    };
    append(&mut expected, &command.emit(), &ahs, &[0xaa; 5], digests);
    assert_eq!(bytes, expected);
    assert_eq!(bytes.len(), 48 + 8 + 4 + 8 + 4);
    let digest = iscsi_wire::crc32c(&bytes[..56]).to_le_bytes();
    assert_eq!(bytes[56..60], digest);
    assert_eq!(
        bytes[68..],
        iscsi_wire::crc32c(&[0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0, 0, 0]).to_le_bytes()
    );
}
