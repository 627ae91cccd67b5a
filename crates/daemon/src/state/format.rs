//! The bytes of journal segments and checkpoints. Knows no files. All integers are little-endian;
//! `docs/internals/saved-state.md` has the tables.

use crc_fast::{CrcAlgorithm, Digest};

use super::Record;
use super::error::Damage;

/// Of both kinds of file.
pub(super) const FORMAT_VERSION: u32 = 1;
/// No record's or checkpoint's payload is larger: 256 MiB.
pub const MAX_PAYLOAD_BYTES: usize = 256 << 20;
/// No file is read or grown beyond this: 1 GiB, twice the largest checkpoint and more.
pub(super) const MAX_FILE_BYTES: u64 = 1 << 30;

pub(super) const SEGMENT_HEADER_BYTES: usize = 36;
const SEGMENT_MAGIC: [u8; 8] = *b"QUINTJNL";
/// The segment begins from nothing: no checkpoint stands before it.
const FLAG_ORIGIN: u32 = 1;

pub(super) const RECORD_HEADER_BYTES: usize = 32;
/// What a record adds to its payload.
pub(super) const RECORD_OVERHEAD_BYTES: usize = RECORD_HEADER_BYTES + CRC_BYTES;
// 0xFF stands in no UTF-8 text, so that payloads of text are passed quickly when a later record is looked for.
const RECORD_MAGIC: [u8; 4] = [0xFF, b'Q', b'R', b'1'];

const CHECKPOINT_HEADER_BYTES: usize = 32;
const CHECKPOINT_MAGIC: [u8; 8] = *b"QUINTCKP";

const CRC_BYTES: usize = 4;

/// Why the bytes are not the file that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    Damaged { offset: usize, damage: Damage },
    Version(u32),
}

impl Unreadable {
    fn at(offset: usize, damage: Damage) -> Self {
        Self::Damaged { offset, damage }
    }
}

/// How a segment begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// Generation of the first record that stands or will stand in it.
    pub(super) first: u64,
    /// No checkpoint stands before it.
    pub(super) origin: bool,
    /// Drawn for each new file: a block of an older file that the file system gives back never passes for a record.
    pub(super) salt: u64,
}

impl SegmentHeader {
    pub(super) fn emit(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SEGMENT_HEADER_BYTES);
        bytes.extend_from_slice(&SEGMENT_MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&if self.origin { FLAG_ORIGIN } else { 0 }.to_le_bytes());
        bytes.extend_from_slice(&self.first.to_le_bytes());
        bytes.extend_from_slice(&self.salt.to_le_bytes());
        let crc = crc32c(&[&bytes]);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The file never ends within its header: it gets its name only when that is durable.
    fn parse(bytes: &[u8]) -> Result<Self, Unreadable> {
        let damaged = Unreadable::at(0, Damage::SegmentHeader);
        let header = bytes.get(..SEGMENT_HEADER_BYTES).ok_or(damaged)?;
        let (fields, crc) = header.split_at(SEGMENT_HEADER_BYTES - CRC_BYTES);
        if fields[..8] != SEGMENT_MAGIC || crc32c(&[fields]).to_le_bytes() != *crc {
            return Err(damaged);
        }
        match u32_at(fields, 8) {
            FORMAT_VERSION => {}
            version => return Err(Unreadable::Version(version)),
        }
        Ok(Self {
            origin: u32_at(fields, 12) & FLAG_ORIGIN != 0,
            first: u64_at(fields, 16),
            salt: u64_at(fields, 24),
        })
    }
}

/// What [`scan`] found in a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scan {
    pub(super) header: SegmentHeader,
    /// Whole records, in order, from `header.first` on.
    pub(super) records: Vec<Record>,
    /// Where the last whole record ends.
    pub(super) end: usize,
    /// What follows the last whole record.
    pub(super) tail: Tail,
}

/// What stands after the last whole record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing, or records that the next segment supersedes.
    Clean,
    /// An append that was not finished: this many bytes.
    Torn(usize),
    /// Bytes that were durable once: something later stands behind them.
    Damaged(Damage),
}

impl Scan {
    /// Generation that the next record has.
    pub(super) fn next(&self) -> u64 {
        (self.records.last()).map_or(self.header.first, |last| last.generation.saturating_add(1))
    }
}

/// Reads a segment whose name says that it begins with `first`, up to the record of generation `until`, which is not read.
///
/// # Errors
/// The header is damaged or of another version. A bad record is no error: `tail` tells it.
pub(super) fn scan(bytes: &[u8], first: u64, until: Option<u64>) -> Result<Scan, Unreadable> {
    let header = SegmentHeader::parse(bytes)?;
    if header.first != first {
        return Err(Unreadable::at(0, Damage::SegmentHeader));
    }
    let mut scan = Scan {
        header,
        records: Vec::new(),
        end: SEGMENT_HEADER_BYTES,
        tail: Tail::Clean,
    };
    while scan.end < bytes.len() && until.is_none_or(|until| scan.next() < until) {
        let expected = scan.next();
        let record = match parse_record(bytes, scan.end, header.salt) {
            Some(record) if record.generation == expected && expected < u64::MAX => record,
            Some(_) => {
                scan.tail = Tail::Damaged(Damage::Sequence);
                break;
            }
            // Each append is durable before the next begins: whatever has a later record behind it was durable once.
            None if later_record(bytes, scan.end, header.salt, expected) => {
                scan.tail = Tail::Damaged(Damage::Record);
                break;
            }
            None => {
                scan.tail = Tail::Torn(bytes.len() - scan.end);
                break;
            }
        };
        scan.end += RECORD_OVERHEAD_BYTES + record.payload.len();
        scan.records.push(record);
    }
    Ok(scan)
}

/// Appends the record as it stands at `offset` of a segment. The payload is at most [`MAX_PAYLOAD_BYTES`].
pub(super) fn emit_record(record: &Record, offset: u64, salt: u64, bytes: &mut Vec<u8>) {
    let start = bytes.len();
    let payload_bytes = u32::try_from(record.payload.len()).unwrap_or(u32::MAX);
    bytes.reserve(RECORD_OVERHEAD_BYTES + record.payload.len());
    bytes.extend_from_slice(&RECORD_MAGIC);
    bytes.extend_from_slice(&payload_bytes.to_le_bytes());
    bytes.extend_from_slice(&record.generation.to_le_bytes());
    bytes.extend_from_slice(&record.unix_time_ms.to_le_bytes());
    bytes.extend_from_slice(&[record.kind, 0, 0, 0]);
    let place = place(offset, salt);
    let crc = crc32c(&[&place, &bytes[start..]]);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(&record.payload);
    let crc = crc32c(&[&place, &bytes[start..]]);
    bytes.extend_from_slice(&crc.to_le_bytes());
}

struct RecordHeader {
    payload_bytes: usize,
    generation: u64,
    unix_time_ms: u64,
    kind: u8,
}

fn parse_record_header(bytes: &[u8], offset: usize, salt: u64) -> Option<RecordHeader> {
    let header = bytes.get(offset..offset.checked_add(RECORD_HEADER_BYTES)?)?;
    if header[..4] != RECORD_MAGIC {
        return None;
    }
    let (fields, crc) = header.split_at(RECORD_HEADER_BYTES - CRC_BYTES);
    if crc32c(&[&place(offset as u64, salt), fields]).to_le_bytes() != *crc {
        return None;
    }
    Some(RecordHeader {
        payload_bytes: usize::try_from(u32_at(fields, 4)).ok()?,
        generation: u64_at(fields, 8),
        unix_time_ms: u64_at(fields, 16),
        kind: fields[24],
    })
}

fn parse_record(bytes: &[u8], offset: usize, salt: u64) -> Option<Record> {
    let header = parse_record_header(bytes, offset, salt)?;
    let payload_end = (offset + RECORD_HEADER_BYTES).checked_add(header.payload_bytes)?;
    let crc = bytes.get(payload_end..payload_end.checked_add(CRC_BYTES)?)?;
    let covered = &bytes[offset..payload_end];
    if crc32c(&[&place(offset as u64, salt), covered]).to_le_bytes() != *crc {
        return None;
    }
    Some(Record {
        generation: header.generation,
        unix_time_ms: header.unix_time_ms,
        kind: header.kind,
        payload: covered[RECORD_HEADER_BYTES..].to_vec(),
    })
}

/// Whether the header of a record later than `expected` stands anywhere behind `offset`.
///
/// A payload cannot hold one: its checksum covers the segment's salt. So this is linear, whatever the bytes are.
fn later_record(bytes: &[u8], offset: usize, salt: u64, expected: u64) -> bool {
    let behind = offset + 1;
    (bytes.get(behind..).unwrap_or_default().iter().enumerate())
        .filter(|(_, byte)| **byte == RECORD_MAGIC[0])
        .filter_map(|(at, _)| parse_record_header(bytes, behind + at, salt))
        .any(|header| header.generation > expected)
}

/// What the checksums of a record cover besides it, so that it is valid in its own place only.
fn place(offset: u64, salt: u64) -> [u8; 16] {
    let mut place = [0; 16];
    place[..8].copy_from_slice(&salt.to_le_bytes());
    place[8..].copy_from_slice(&offset.to_le_bytes());
    place
}

/// A whole checkpoint file.
pub(super) fn emit_checkpoint(generation: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(CHECKPOINT_HEADER_BYTES + payload.len() + CRC_BYTES);
    bytes.extend_from_slice(&CHECKPOINT_MAGIC);
    bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&generation.to_le_bytes());
    bytes.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    bytes.extend_from_slice(payload);
    let crc = crc32c(&[&bytes]);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// The payload of a checkpoint file whose name says `generation`.
pub(super) fn parse_checkpoint(mut bytes: Vec<u8>, generation: u64) -> Result<Vec<u8>, Unreadable> {
    let damaged = Unreadable::at(0, Damage::Checkpoint);
    let Some(payload_bytes) = (bytes.len()).checked_sub(CHECKPOINT_HEADER_BYTES + CRC_BYTES) else {
        return Err(damaged);
    };
    let (covered, crc) = bytes.split_at(bytes.len() - CRC_BYTES);
    if covered[..8] != CHECKPOINT_MAGIC || crc32c(&[covered]).to_le_bytes() != *crc {
        return Err(damaged);
    }
    match u32_at(covered, 8) {
        FORMAT_VERSION => {}
        version => return Err(Unreadable::Version(version)),
    }
    if u64_at(covered, 16) != generation || u64_at(covered, 24) != payload_bytes as u64 {
        return Err(damaged);
    }
    bytes.truncate(bytes.len() - CRC_BYTES);
    bytes.drain(..CHECKPOINT_HEADER_BYTES);
    Ok(bytes)
}

#[expect(clippy::cast_possible_truncation, reason = "a CRC32C has 32 bits")]
fn crc32c(parts: &[&[u8]]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    for part in parts {
        digest.update(part);
    }
    digest.finalize() as u32
}

/// `bytes` is a header that was cut out whole.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4]
        .iter()
        .rev()
        .fold(0, |value, byte| value << 8 | u32::from(*byte))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8]
        .iter()
        .rev()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
