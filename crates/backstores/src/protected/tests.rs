#![allow(clippy::cast_possible_truncation)]
//! What a store and the one beside it do for a request, and which files there are.

use block::{IoErrorKind, Lba};
use reactor::{Memory, Op};
use rustix::io::Errno;

use super::*;
use crate::file::{PathOptions, open_path};
use crate::identity::IdentityHints;
use crate::ram::open_ram;
use crate::testing::{Bench, ScriptedDriver};

const BYTES: u64 = 64 << 10;

fn hints() -> IdentityHints {
    IdentityHints {
        serial: Some("scripted".to_owned()),
        ..IdentityHints::default()
    }
}

fn options(protection: Option<ProtectionType>) -> PathOptions {
    PathOptions {
        create_bytes: Some(BYTES),
        protection,
        ..PathOptions::default()
    }
}

fn in_memory() -> Opened {
    let opened = open_ram("memory", BYTES, 512, &hints()).unwrap();
    ProtectedStore::in_memory(opened, ProtectionType::Type1).unwrap()
}

fn bench(store: Arc<dyn Backstore>) -> Bench {
    Bench::new(store.attach(&mut ScriptedDriver::default()), BYTES as usize)
}

fn read_tuples(lba: u64, blocks: u64) -> StoreIo {
    StoreIo::ReadTuples {
        lba: Lba(lba),
        blocks,
    }
}

fn write_tuples(lba: u64, blocks: u64) -> StoreIo {
    StoreIo::WriteTuples {
        lba: Lba(lba),
        blocks,
        durable: false,
    }
}

fn bytes(done: IoDone) -> Vec<u8> {
    done.result.unwrap();
    done.memory.unwrap().as_slice().map(<[u8]>::to_vec).unwrap()
}

#[test]
fn tuples_in_memory_are_read_back_and_given_back_with_their_blocks() {
    let mut bench = bench(in_memory().store);
    let memory = bench.buffer(24, 7);
    bench.call(write_tuples(3, 3), Some(memory)).result.unwrap();
    let unmap = StoreIo::Unmap {
        lba: Lba(4),
        blocks: 1,
    };
    bench.call(unmap, None).result.unwrap();
    let memory = bench.buffer(32, 0xee);
    let read = bytes(bench.call(read_tuples(2, 4), Some(memory)));
    assert_eq!(read, [[0; 8], [7; 8], [0; 8], [7; 8]].concat());
    // The last one, and beyond.
    let memory = bench.buffer(8, 1);
    bench
        .call(write_tuples(127, 1), Some(memory))
        .result
        .unwrap();
    let memory = bench.buffer(8, 1);
    let beyond = bench.call(write_tuples(128, 1), Some(memory)).result;
    assert_eq!(beyond.unwrap_err().kind, IoErrorKind::OutOfRange);
}

#[test]
fn store_without_protection_information_takes_no_tuples() {
    let opened = open_ram("memory", BYTES, 512, &hints()).unwrap();
    assert_eq!(opened.store.caps().protection, None);
    let mut bench = bench(opened.store);
    let memory = bench.buffer(8, 1);
    let refused = bench.call(write_tuples(0, 1), Some(memory));
    assert_eq!(refused.result.unwrap_err().kind, IoErrorKind::Unsupported);
}

#[test]
fn store_in_memory_grows_with_its_tuples() {
    let store = in_memory().store;
    assert_eq!(store.caps().protection, Some(ProtectionType::Type1));
    store.resize(Some(2 * BYTES)).unwrap();
    assert_eq!(store.caps().geometry.capacity_blocks, 256);
    let mut bench = bench(store);
    let memory = bench.buffer(8, 9);
    bench
        .call(write_tuples(255, 1), Some(memory))
        .result
        .unwrap();
}

#[test]
fn flush_and_zeroes_are_done_in_both_stores_before_they_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    let opened = open_path(&path, &options(Some(ProtectionType::Type2)), &hints()).unwrap();
    let mut bench = bench(opened.store);
    let zeroes = StoreIo::WriteZeroes {
        lba: Lba(2),
        blocks: 3,
        may_unmap: false,
    };
    for (io, first, second) in [
        (StoreIo::Flush, None, None),
        (zeroes, Some((1024, 1536)), Some((16, 24))),
    ] {
        let token = bench.submit(io, None);
        for expected in [first, second] {
            assert!(bench.port.done.is_empty(), "{io:?}");
            let (pushed, op) = bench.port.ops.pop_front().unwrap();
            assert_eq!(pushed, token);
            match op {
                Op::Flush { .. } => assert_eq!(expected, None),
                Op::Zero { offset, bytes, .. } | Op::Punch { offset, bytes, .. } => {
                    assert_eq!(expected, Some((offset, bytes)));
                }
                other => panic!("{other:?}"),
            }
            bench.complete(token, OpResult::Other(Ok(())));
        }
        assert!(bench.port.ops.is_empty());
        let done = bench.port.done.pop().unwrap();
        assert!(done.token == token && done.result.is_ok());
    }
}

#[test]
fn failure_of_either_store_ends_the_request_with_it() {
    for nth in [1, 2] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let opened = open_path(&path, &options(Some(ProtectionType::Type1)), &hints()).unwrap();
        let mut bench = bench(opened.store);
        bench.fail = Some((nth, Errno::IO));
        let done = bench.call(StoreIo::Flush, None);
        assert!(done.result.is_err(), "{nth}");
        assert_eq!(bench.ran, nth);
    }
}

#[test]
fn blocks_and_tuples_of_one_token_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    let opened = open_path(&path, &options(Some(ProtectionType::Type1)), &hints()).unwrap();
    let mut bench = bench(opened.store);
    let memory = bench.buffer(8, 5);
    let token = bench.submit(write_tuples(9, 1), Some(memory));
    let (_, op) = bench.port.ops.pop_front().unwrap();
    let Op::Write { offset, data, .. } = op else {
        panic!("{op:?}");
    };
    assert_eq!((offset, data.len()), (72, 8));
    bench.complete(
        token,
        OpResult::Write {
            result: Ok(8),
            data,
        },
    );
    assert!(bench.port.done.pop().unwrap().result.is_ok());
    let memory = bench.buffer(512, 5);
    let write = StoreIo::Write {
        lba: Lba(9),
        blocks: 1,
        durable: false,
    };
    let request = IoRequest {
        token,
        io: write,
        memory: Some(memory),
        passes: 0,
    };
    bench.store.submit(request, &mut bench.port);
    let (_, op) = bench.port.ops.pop_front().unwrap();
    let Op::Write { offset, data, .. } = op else {
        panic!("{op:?}");
    };
    assert_eq!((offset, data.len()), (9 * 512, 512));
    bench.complete(
        token,
        OpResult::Write {
            result: Ok(512),
            data,
        },
    );
    let done = bench.port.done.pop().unwrap();
    assert!(done.result.is_ok() && matches!(done.memory, Some(Memory::Owned(_))));
}

#[test]
fn file_beside_a_disk_is_of_its_type_sparse_and_as_long_as_it_has_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    let file = |kind| tuple_file(&path, kind);
    let open = |protection| {
        let opened = open_path(&path, &options(protection), &hints()).unwrap();
        assert_eq!(opened.store.caps().protection, protection);
        opened
    };
    let opened = open(Some(ProtectionType::Type1));
    assert!(file(ProtectionType::Type1).ends_with("disk.t10-pi-1"));
    let length = |kind| std::fs::metadata(file(kind)).unwrap().len();
    assert_eq!(length(ProtectionType::Type1), 1024);
    // It is locked as the disk is, and grows with it.
    let again = open_path(&file(ProtectionType::Type1), &options(None), &hints());
    assert_eq!(again.unwrap_err().code(), "already_open");
    opened.store.resize(Some(2 * BYTES)).unwrap();
    assert_eq!(length(ProtectionType::Type1), 2048);
    drop(opened);
    // For reading: nothing is made, nothing is removed.
    let reading = PathOptions {
        read_only: true,
        ..options(Some(ProtectionType::Type3))
    };
    drop(open_path(&path, &reading, &hints()).unwrap());
    assert!(!file(ProtectionType::Type3).exists() && file(ProtectionType::Type1).exists());
    drop(open(Some(ProtectionType::Type3)));
    assert!(file(ProtectionType::Type3).exists() && !file(ProtectionType::Type1).exists());
    drop(open(None));
    assert!(!file(ProtectionType::Type3).exists());
}
