//! Sessions of ErrorRecoveryLevel 1.

mod data_in;
mod data_out;
mod faults;
mod reassign;
mod requests;
mod statuses;

use iscsi_wire::{
    BHS_BYTES, Bhs, InitiatorPdu, Itt, NopOut, RejectReason, SerialNumber, SnackRequest, SnackType,
    TargetPdu, Ttt, crc32c,
};

use super::golden::{exchange, unwire, wire};
use super::target::{Target, Way};
use crate::negotiate::NegotiatedParams;
use crate::session::fixture::session;

/// What a session of this level has agreed on.
fn params() -> NegotiatedParams {
    NegotiatedParams {
        error_recovery_level: 1,
        initial_r2t: false,
        first_burst_length: 1024,
        max_burst_length: 2048,
        max_send_data_segment_length: 512,
        ..NegotiatedParams::default()
    }
}

fn target() -> Target {
    Target::new(session(params()))
}

fn snack(r#type: SnackType, beg_run: u32, run_length: u32) -> SnackRequest {
    SnackRequest {
        r#type,
        itt: Itt::RESERVED,
        ttt: Ttt::RESERVED,
        beg_run,
        run_length,
        exp_stat_sn: SerialNumber(1),
        ..SnackRequest::default()
    }
}

/// What comes back for one SNACK.
fn ask(target: &mut Target, snack: SnackRequest) -> Vec<(TargetPdu, Vec<u8>)> {
    exchange(target, &[(InitiatorPdu::SnackRequest(snack), &[])])
}

/// An ExpStatSN, and nothing else.
fn acknowledge(target: &mut Target, exp_stat_sn: u32) {
    let nop = NopOut {
        immediate: true,
        itt: Itt::RESERVED,
        ttt: Ttt::RESERVED,
        exp_stat_sn: SerialNumber(exp_stat_sn),
        ..NopOut::default()
    };
    target.receive(
        &wire(&[(InitiatorPdu::NopOut(nop), &[])]),
        Way::Staging(usize::MAX),
    );
}

/// The reason of the only answer, a Reject.
fn reject(answer: &[(TargetPdu, Vec<u8>)]) -> RejectReason {
    let [(TargetPdu::Reject(reject), _)] = answer else {
        panic!("one Reject: {answer:?}");
    };
    reject.reason
}

/// PDUs with both digests; that of the data of the `damaged`-th is wrong.
fn wire_with_digests(pdus: &[(InitiatorPdu, &[u8])], damaged: Option<usize>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (n, (pdu, data)) in pdus.iter().enumerate() {
        let header = pdu.emit().0;
        bytes.extend(header);
        bytes.extend(crc32c(&header).to_le_bytes());
        if data.is_empty() {
            continue;
        }
        let mut padded = data.to_vec();
        padded.resize(data.len().next_multiple_of(4), 0);
        let digest = crc32c(&padded) ^ u32::from(damaged == Some(n));
        bytes.extend(padded);
        bytes.extend(digest.to_le_bytes());
    }
    bytes
}

/// A stream with both digests, taken apart.
fn unwire_with_digests(mut bytes: &[u8]) -> Vec<(TargetPdu, Vec<u8>)> {
    let mut plain = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<BHS_BYTES>() {
        let length = Bhs(*header).data_segment_length() as usize;
        let padded = length.next_multiple_of(4);
        plain.extend(header);
        plain.extend(&rest[4..4 + padded]);
        bytes = &rest[4 + padded + if length > 0 { 4 } else { 0 }..];
    }
    unwire(&plain)
}
