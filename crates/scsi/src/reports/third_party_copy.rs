//! INQUIRY: the Third-party Copy page. SPC-5 r22 "Third-party Copy VPD page".

use super::Asked;
use crate::copy::{
    ACCESS_UPON_REFERENCE, BLOCK_DEVICE_ZERO, DEFAULT_TOKEN_SECONDS, DESCRIPTOR_TYPES, MAX_CSCDS,
    MAX_DESCRIPTOR_LIST_BYTES, MAX_RECORDS, MAX_SEGMENT_BYTES, MAX_SEGMENTS, MAX_TOKEN_RANGES,
    MAX_TOKEN_SECONDS,
};
use crate::opcodes::DISK;
use crate::snapshot::LuSnapshot;

/// SPC-5 "Third-party copy descriptor type codes".
mod descriptor {
    pub(super) const BLOCK_DEVICE_LIMITS: u16 = 0x0000;
    pub(super) const COMMANDS: u16 = 0x0001;
    pub(super) const PARAMETER_DATA: u16 = 0x0004;
    pub(super) const DESCRIPTORS: u16 = 0x0008;
    pub(super) const CSCD_IDENTIFIERS: u16 = 0x000c;
    pub(super) const TOKEN_FEATURES: u16 = 0x0106;
    pub(super) const TOKEN_TYPES: u16 = 0x0108;
    pub(super) const GENERAL_COPY_OPERATIONS: u16 = 0x8001;
}

/// The operation codes of third-party copies.
const OPERATION_CODES: [u8; 2] = [0x83, 0x84];

/// The page's descriptors.
pub(crate) fn third_party_copy(asked: &Asked<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    put(
        descriptor::BLOCK_DEVICE_LIMITS,
        &block_device_limits(),
        &mut body,
    );
    put(descriptor::COMMANDS, &commands(asked.lu), &mut body);
    put(descriptor::PARAMETER_DATA, &parameter_data(), &mut body);
    let count = u8::try_from(DESCRIPTOR_TYPES.len()).unwrap_or(u8::MAX);
    let types = [&[count][..], &DESCRIPTOR_TYPES].concat();
    put(descriptor::DESCRIPTORS, &types, &mut body);
    // The one that names the logical unit itself.
    put(descriptor::CSCD_IDENTIFIERS, &[0, 2, 0xff, 0xff], &mut body);
    put(descriptor::TOKEN_FEATURES, &token_features(), &mut body);
    put(descriptor::TOKEN_TYPES, &token_types(), &mut body);
    let general = general_copy_operations(asked.lu);
    put(descriptor::GENERAL_COPY_OPERATIONS, &general, &mut body);
    body
}

/// A descriptor: SPC-5 has each padded to a multiple of four bytes.
fn put(code: u16, content: &[u8], body: &mut Vec<u8>) {
    let padded = content.len().next_multiple_of(4);
    // The longest has less than 100 bytes.
    let length = u16::try_from(padded).unwrap_or(u16::MAX);
    body.extend_from_slice(&code.to_be_bytes());
    body.extend_from_slice(&length.to_be_bytes());
    body.extend_from_slice(content);
    body.resize(body.len() + padded - content.len(), 0);
}

/// SPC-5 "Supported Commands third-party copy descriptor": what the table of commands has of them.
fn commands(lu: &LuSnapshot) -> Vec<u8> {
    let mut list = vec![0];
    for opcode in OPERATION_CODES {
        let rows = DISK.rows_of(opcode).filter(|row| row.is_supported(lu));
        let actions: Vec<u8> = rows
            .filter_map(|row| row.service_action)
            .map(|action| action.to_be_bytes()[1])
            .collect();
        list.extend_from_slice(&[opcode, u8::try_from(actions.len()).unwrap_or(u8::MAX)]);
        list.extend_from_slice(&actions);
    }
    list[0] = u8::try_from(list.len() - 1).unwrap_or(u8::MAX);
    list
}

/// SBC-4 "Block Device ROD Token Limits third-party copy descriptor". No limit to how much a token is of is told.
fn block_device_limits() -> [u8; 32] {
    let mut data = [0; 32];
    data[6..8].copy_from_slice(&MAX_TOKEN_RANGES.to_be_bytes());
    data[8..12].copy_from_slice(&MAX_TOKEN_SECONDS.to_be_bytes());
    data[12..16].copy_from_slice(&DEFAULT_TOKEN_SECONDS.to_be_bytes());
    data
}

/// SPC-5 "ROD Token Features third-party copy descriptor": tokens of this copy manager only (REMOTE TOKENS 0), and one descriptor of
/// features, for block devices, that tells no optimum.
fn token_features() -> [u8; 92] {
    let mut data = [0; 92];
    // MINIMUM and MAXIMUM TOKEN LIFETIME, MAXIMUM TOKEN INACTIVITY TIMEOUT.
    data[12..16].copy_from_slice(&1u32.to_be_bytes());
    data[16..20].copy_from_slice(&MAX_TOKEN_SECONDS.to_be_bytes());
    data[20..24].copy_from_slice(&MAX_TOKEN_SECONDS.to_be_bytes());
    data[42..44].copy_from_slice(&48u16.to_be_bytes());
    // SBC-4 "Block ROD device type specific features descriptor".
    data[46..48].copy_from_slice(&44u16.to_be_bytes());
    data
}

/// SPC-5 "Supported ROD Token and ROD Types third-party copy descriptor": what can be made (TOKEN_OUT) and used (TOKEN_IN).
fn token_types() -> Vec<u8> {
    const TOKEN_IN: u8 = 0x02;
    const TOKEN_OUT: u8 = 0x01;
    let mut data = vec![0, 0, 0, 128];
    for (kind, flags) in [
        (ACCESS_UPON_REFERENCE, TOKEN_IN | TOKEN_OUT),
        (BLOCK_DEVICE_ZERO, TOKEN_IN),
    ] {
        data.extend_from_slice(&kind.to_be_bytes());
        data.push(flags);
        data.extend_from_slice(&[0; 59]);
    }
    data
}

/// SPC-5 "Parameter Data third-party copy descriptor". MAXIMUM INLINE DATA LENGTH is 0.
fn parameter_data() -> [u8; 28] {
    let mut data = [0; 28];
    data[4..6].copy_from_slice(&MAX_CSCDS.to_be_bytes());
    data[6..8].copy_from_slice(&MAX_SEGMENTS.to_be_bytes());
    data[8..12].copy_from_slice(&MAX_DESCRIPTOR_LIST_BYTES.to_be_bytes());
    data
}

/// SPC-5 "General Copy Operations third-party copy descriptor".
fn general_copy_operations(lu: &LuSnapshot) -> [u8; 32] {
    let mut data = [0; 32];
    data[0..4].copy_from_slice(&u32::from(MAX_RECORDS).to_be_bytes());
    data[4..8].copy_from_slice(&u32::from(MAX_RECORDS).to_be_bytes());
    data[8..12].copy_from_slice(&MAX_SEGMENT_BYTES.to_be_bytes());
    data[12] = granularity_exponent(lu);
    data
}

/// DATA SEGMENT GRANULARITY: a segment is whole blocks.
pub(super) fn granularity_exponent(lu: &LuSnapshot) -> u8 {
    let exponent = lu.geometry().block_size_bytes.trailing_zeros();
    u8::try_from(exponent).unwrap_or(0)
}
