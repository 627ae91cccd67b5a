#![allow(clippy::cast_possible_truncation)]

use proptest::prelude::*;

use super::*;

const SALT: u64 = 0x1122_3344_5566_7788;

fn record(generation: u64, payload: &[u8]) -> Record {
    Record {
        generation,
        unix_time_ms: 0x0000_0199_0000_0000_u64.wrapping_add(generation),
        kind: 2,
        payload: payload.to_vec(),
    }
}

fn segment(first: u64, records: &[Record]) -> Vec<u8> {
    let header = SegmentHeader {
        first,
        origin: true,
        salt: SALT,
    };
    let mut bytes = header.emit();
    for record in records {
        emit_record(record, bytes.len() as u64, SALT, &mut bytes);
    }
    bytes
}

/// CRC32C bit by bit, so that the golden bytes do not lean on the library that made them.
fn crc_by_hand(bytes: &[u8]) -> [u8; 4] {
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0x82F6_3B78 } else { 0 }
        })
    });
    (!crc).to_le_bytes()
}

#[test]
fn crc_by_hand_of_the_check_string_is_the_known_one() {
    assert_eq!(crc_by_hand(b"123456789"), 0xE306_9283_u32.to_le_bytes());
    assert_eq!(crc32c(&[b"1234", b"56789"]), 0xE306_9283);
}

#[test]
fn segment_of_one_record_has_these_bytes() {
    let mut header = b"QUINTJNL\x01\0\0\0\x01\0\0\0".to_vec();
    header.extend_from_slice(b"\x07\0\0\0\0\0\0\0\x88\x77\x66\x55\x44\x33\x22\x11");
    header.extend_from_slice(&crc_by_hand(&header));
    // The place: salt, then offset 36.
    let place = b"\x88\x77\x66\x55\x44\x33\x22\x11\x24\0\0\0\0\0\0\0";
    let mut row = b"\xFFQR1\x03\0\0\0\x07\0\0\0\0\0\0\0\x07\0\0\0\x99\x01\0\0\x02\0\0\0".to_vec();
    row.extend_from_slice(&crc_by_hand(&[&place[..], &row].concat()));
    row.extend_from_slice(b"abc");
    row.extend_from_slice(&crc_by_hand(&[&place[..], &row].concat()));
    assert_eq!(segment(7, &[record(7, b"abc")]), [header, row].concat());
}

#[test]
fn checkpoint_has_these_bytes() {
    let mut wanted = b"QUINTCKP\x01\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0hi".to_vec();
    wanted.extend_from_slice(&crc_by_hand(&wanted));
    assert_eq!(emit_checkpoint(9, b"hi"), wanted);
    assert_eq!(parse_checkpoint(wanted, 9), Ok(b"hi".to_vec()));
}

#[test]
fn checkpoint_under_another_name_is_refused() {
    let refused = Err(Unreadable::at(0, Damage::Checkpoint));
    assert_eq!(parse_checkpoint(emit_checkpoint(9, b"hi"), 8), refused);
}

#[test]
fn file_of_a_later_version_is_told_from_a_damaged_one() {
    let mut bytes = emit_checkpoint(9, b"hi");
    bytes[8] = 2;
    let covered = bytes.len() - CRC_BYTES;
    let crc = crc_by_hand(&bytes[..covered]);
    bytes[covered..].copy_from_slice(&crc);
    assert_eq!(parse_checkpoint(bytes, 9), Err(Unreadable::Version(2)));

    let mut bytes = segment(1, &[]);
    bytes[8] = 2;
    assert_eq!(
        scan(&bytes, 1, None),
        Err(Unreadable::at(0, Damage::SegmentHeader))
    );
    let crc = crc_by_hand(&bytes[..32]);
    bytes[32..36].copy_from_slice(&crc);
    assert_eq!(scan(&bytes, 1, None), Err(Unreadable::Version(2)));
}

#[test]
fn scan_up_to_a_generation_leaves_what_is_behind_it_unread() {
    let records = [record(1, b"a"), record(2, b"b"), record(3, b"c")];
    let mut bytes = segment(1, &records);
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let found = scan(&bytes, 1, Some(3)).unwrap();
    assert_eq!(
        (found.records.as_slice(), found.tail),
        (&records[..2], Tail::Clean)
    );
    let found = scan(&bytes, 1, Some(1)).unwrap();
    assert_eq!((found.records.len(), found.end), (0, SEGMENT_HEADER_BYTES));
}

#[test]
fn whole_record_of_a_wrong_generation_is_damage() {
    let bytes = segment(1, &[record(1, b"a"), record(3, b"c")]);
    let found = scan(&bytes, 1, None).unwrap();
    assert_eq!(found.tail, Tail::Damaged(Damage::Sequence));
    assert_eq!(found.records, [record(1, b"a")]);
}

#[test]
fn record_of_the_last_number_is_damage_since_none_could_follow() {
    let bytes = segment(u64::MAX, &[record(u64::MAX, b"a")]);
    let found = scan(&bytes, u64::MAX, None).unwrap();
    assert_eq!(
        (found.records.len(), found.tail),
        (0, Tail::Damaged(Damage::Sequence))
    );
}

#[test]
fn record_at_another_place_or_of_another_file_is_none() {
    let mut row = Vec::new();
    emit_record(
        &record(1, b"a"),
        SEGMENT_HEADER_BYTES as u64,
        SALT,
        &mut row,
    );
    let mut other_salt = Vec::new();
    emit_record(
        &record(1, b"a"),
        SEGMENT_HEADER_BYTES as u64,
        SALT + 1,
        &mut other_salt,
    );
    for bytes in [
        [segment(1, &[]), vec![0], row].concat(),
        [segment(1, &[]), other_salt].concat(),
    ] {
        let found = scan(&bytes, 1, None).unwrap();
        assert_eq!(found.records, []);
        assert_eq!(found.tail, Tail::Torn(bytes.len() - SEGMENT_HEADER_BYTES));
    }
}

#[test]
fn torn_record_with_a_journal_in_its_payload_is_a_torn_tail() {
    let inner: Vec<Record> = (1..6)
        .map(|generation| record(generation, b"inner"))
        .collect();
    let mut other = SegmentHeader {
        first: 1,
        origin: true,
        salt: 99,
    }
    .emit();
    for record in &inner {
        emit_record(record, other.len() as u64, 99, &mut other);
    }
    let bytes = segment(1, &[record(1, &other)]);
    let torn = &bytes[..bytes.len() - 1];
    let found = scan(torn, 1, None).unwrap();
    assert_eq!(found.tail, Tail::Torn(torn.len() - SEGMENT_HEADER_BYTES));
}

#[test]
fn damage_before_a_torn_record_is_damage() {
    let mut bytes = segment(1, &[record(1, b"one"), record(2, b"two")]);
    bytes[SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES] ^= 1;
    bytes.pop();
    let found = scan(&bytes, 1, None).unwrap();
    assert_eq!(found.tail, Tail::Damaged(Damage::Record));
}

#[test]
fn record_behind_a_bad_one_makes_it_damage_only_when_it_is_later() {
    for (generation, tail) in [
        (6, Tail::Torn(38)),
        (7, Tail::Torn(38)),
        (8, Tail::Damaged(Damage::Record)),
    ] {
        let mut bytes = [segment(7, &[]), vec![0]].concat();
        emit_record(
            &record(generation, b"x"),
            bytes.len() as u64,
            SALT,
            &mut bytes,
        );
        assert_eq!(scan(&bytes, 7, None).unwrap().tail, tail, "{generation}");
    }
}

#[test]
fn length_beyond_the_end_is_a_torn_tail() {
    // The header's own checksum is right: as when the kernel had written the first block only.
    let mut bytes = segment(1, &[record(1, &[7; 100])]);
    bytes.truncate(SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES);
    let found = scan(&bytes, 1, None).unwrap();
    assert_eq!(found.tail, Tail::Torn(RECORD_HEADER_BYTES));
}

proptest! {
    #[test]
    fn scan_of_what_was_emitted_gives_it_back(
        first in 1..u64::MAX - 100,
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..10),
    ) {
        let records: Vec<Record> = (first..).zip(&payloads).map(|(generation, payload)| record(generation, payload)).collect();
        let bytes = segment(first, &records);
        let found = scan(&bytes, first, None).unwrap();
        prop_assert_eq!(found.next(), first + records.len() as u64);
        prop_assert_eq!(found.records, records);
        prop_assert_eq!(found.tail, Tail::Clean);
        prop_assert_eq!(found.end, bytes.len());
    }

    #[test]
    fn any_bytes_behind_a_journal_change_nothing_of_it(
        garbage in prop::collection::vec(any::<u8>(), 0..200),
        magic_at in prop::collection::vec(0..200_usize, 0..4),
    ) {
        let mut garbage = garbage;
        for at in magic_at {
            if let Some(place) = garbage.get_mut(at..at + 4) {
                place.copy_from_slice(&RECORD_MAGIC);
            }
        }
        let records = [record(1, b"a"), record(2, b"b")];
        let bytes = [segment(1, &records), garbage.clone()].concat();
        let found = scan(&bytes, 1, None).unwrap();
        prop_assert_eq!(&found.records, &records);
        let wanted = if garbage.is_empty() { Tail::Clean } else { Tail::Torn(garbage.len()) };
        prop_assert_eq!(found.tail, wanted);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(scan(&bytes, 1, None).is_err());
        prop_assert!(parse_checkpoint(bytes, 1).is_err());
    }
}
