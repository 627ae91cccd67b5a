use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::{LocalShared, LockMode, Memory, OpenOptions, SharedMemory, StoreFile};

on_each_driver![
    write_then_read_of_all_sizes_returns_the_bytes,
    write_from_frozen_and_pinned_memory_takes_their_part_only,
    read_at_and_beyond_the_end_is_short,
    read_of_a_file_that_shrank_is_short,
    durable_write_and_flush_complete,
    punch_zero_and_discard_read_as_zero_and_keep_the_size,
    map_tells_the_holes_of_a_file_as_far_as_the_buffer_goes,
    direct_io_returns_the_bytes_and_is_short_at_the_end,
    direct_io_that_is_misaligned_ends_and_gives_its_memory_back,
    write_to_a_file_opened_for_reading_fails_and_gives_the_data_back,
    operations_out_of_range_are_invalid_and_empty_ones_complete,
    operations_on_unknown_files_find_nothing,
    many_operations_in_flight_each_complete_once_with_the_right_bytes,
    remove_file_lets_operations_end_and_then_closes_it,
    file_on_tmpfs_returns_the_bytes,
];

pub(super) fn file(
    bench: &mut Bench,
    dir: &Path,
    size: u64,
    direct: bool,
) -> (FileId, Arc<StoreFile>) {
    let options = OpenOptions {
        write: true,
        direct,
        create_new: true,
    };
    let name = format!("disk-{direct}-{size}");
    let file = Arc::new(StoreFile::open(dir.join(name), options).unwrap());
    file.resize(size).unwrap();
    (bench.driver.add_file(file.clone()), file)
}

/// A file on the disk that holds the working directory: `/tmp` may be memory.
pub(super) fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(".").unwrap()
}

pub(super) fn read(
    bench: &mut Bench,
    file: FileId,
    offset: u64,
    len: usize,
) -> io::Result<Vec<u8>> {
    let mut buffer = bench.buffer(len);
    buffer.fill(0xEE);
    let token = bench.push(Op::Read {
        file,
        offset,
        buffer,
    });
    let OpResult::Read { result, buffer } = bench.wait(token) else {
        panic!("not a read")
    };
    assert_eq!(buffer.len(), len);
    result.map(|bytes| buffer[..bytes].to_vec())
}

pub(super) fn write(
    bench: &mut Bench,
    file: FileId,
    offset: u64,
    bytes: &[u8],
    durable: bool,
) -> io::Result<usize> {
    let mut buffer = bench.buffer(bytes.len());
    buffer.copy_from_slice(bytes);
    let token = bench.push(Op::Write {
        file,
        offset,
        data: buffer.into(),
        durable,
    });
    let OpResult::Write { result, data } = bench.wait(token) else {
        panic!("not a write")
    };
    assert_eq!(data.as_slice().unwrap(), bytes);
    result
}

pub(super) fn other(bench: &mut Bench, op: Op) -> io::Result<()> {
    let token = bench.push(op);
    let OpResult::Other(result) = bench.wait(token) else {
        panic!("not another operation")
    };
    result
}

fn write_then_read_of_all_sizes_returns_the_bytes(mut bench: Bench) {
    let dir = directory();
    let (file, _) = file(&mut bench, dir.path(), 8 << 20, false);
    let mut offset = 0;
    for len in [1, 511, 512, 4096, 65_536, 100_001, 1 << 20] {
        let bytes = pattern(len);
        assert_eq!(write(&mut bench, file, offset, &bytes, false).unwrap(), len);
        assert!(
            read(&mut bench, file, offset, len).unwrap() == bytes,
            "{len} bytes"
        );
        offset += len as u64;
    }
    assert_eq!(bench.slab.used_bytes(), 0);
}

fn write_from_frozen_and_pinned_memory_takes_their_part_only(mut bench: Bench) {
    let dir = directory();
    let (file, _) = file(&mut bench, dir.path(), 1 << 20, false);
    let frozen = bench.frozen(b"..frozen..");
    let memory = Arc::new(SharedMemory::new(1 << 16).unwrap());
    memory.copy_in(9, b"pinned").unwrap();
    let pin = LocalShared::new(memory).pin(9, 6).unwrap();
    for (offset, data) in [
        (
            0,
            Memory::Frozen {
                buffer: frozen,
                range: 2..8,
            },
        ),
        (6, Memory::Pinned(pin)),
    ] {
        let token = bench.push(Op::Write {
            file,
            offset,
            data,
            durable: false,
        });
        let OpResult::Write { result, .. } = bench.wait(token) else {
            panic!("not a write")
        };
        assert_eq!(result.unwrap(), 6);
    }
    assert_eq!(read(&mut bench, file, 0, 13).unwrap(), b"frozenpinned\0");
}

fn read_at_and_beyond_the_end_is_short(mut bench: Bench) {
    let dir = directory();
    let (file, _) = file(&mut bench, dir.path(), 10_000, false);
    assert_eq!(read(&mut bench, file, 9_000, 4096).unwrap().len(), 1000);
    assert_eq!(read(&mut bench, file, 10_000, 4096).unwrap().len(), 0);
    assert_eq!(read(&mut bench, file, 1 << 40, 4096).unwrap().len(), 0);
}

fn read_of_a_file_that_shrank_is_short(mut bench: Bench) {
    let dir = directory();
    let (id, file) = file(&mut bench, dir.path(), 1 << 20, false);
    write(&mut bench, id, 0, &pattern(1 << 20), false).unwrap();
    file.resize(5000).unwrap();
    assert_eq!(
        read(&mut bench, id, 4096, 4096).unwrap(),
        pattern(5000)[4096..]
    );
}

fn durable_write_and_flush_complete(mut bench: Bench) {
    let dir = directory();
    for direct in [false, true] {
        let (file, _) = file(&mut bench, dir.path(), 1 << 20, direct);
        let bytes = pattern(8192);
        assert_eq!(write(&mut bench, file, 4096, &bytes, true).unwrap(), 8192);
        other(&mut bench, Op::Flush { file }).unwrap();
        assert!(read(&mut bench, file, 4096, 8192).unwrap() == bytes);
    }
}

fn map(bench: &mut Bench, file: FileId, range: (u64, u64), runs: usize) -> Vec<(u64, bool)> {
    let (offset, bytes) = range;
    let buffer = bench.buffer(runs * 8);
    let token = bench.push(Op::Map {
        file,
        offset,
        bytes,
        buffer,
    });
    let OpResult::Read { result, buffer } = bench.wait(token) else {
        panic!("not a read")
    };
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
    let run = |word: u64| (word >> 1, word & 1 != 0);
    let told = buffer[..result.unwrap()].chunks(8).map(word).map(run);
    told.collect()
}

fn map_tells_the_holes_of_a_file_as_far_as_the_buffer_goes(mut bench: Bench) {
    // Where holes are whole pages, and data is not spread.
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let (file, _handle) = file(&mut bench, dir.path(), 1 << 20, false);
    let all = (0, 1 << 20);
    assert_eq!(map(&mut bench, file, all, 8), [(1 << 20, false)]);
    for offset in [0, 0x1_0000] {
        let mut buffer = bench.buffer(8192);
        buffer.fill(1);
        let data = Memory::Owned(buffer);
        let token = bench.push(Op::Write {
            file,
            offset,
            data,
            durable: false,
        });
        assert!(matches!(
            bench.wait(token),
            OpResult::Write { result: Ok(_), .. }
        ));
    }
    let runs = [
        (0x2000, true),
        (0xe000, false),
        (0x2000, true),
        (0xee000, false),
    ];
    assert_eq!(map(&mut bench, file, all, 8), runs);
    assert_eq!(map(&mut bench, file, all, 3), runs[..3]);
    assert_eq!(
        map(&mut bench, file, (0x1000, 0x10000), 8),
        [(0x1000, true), (0xe000, false), (0x1000, true)]
    );
    assert_eq!(map(&mut bench, file, (0, 0), 8), []);
}

fn punch_zero_and_discard_read_as_zero_and_keep_the_size(mut bench: Bench) {
    let dir = directory();
    let (file, handle) = file(&mut bench, dir.path(), 1 << 20, false);
    let bytes = vec![0xAA; 1 << 20];
    for (name, op) in [
        (
            "punch",
            Op::Punch {
                file,
                offset: 8192,
                bytes: 65_536,
            },
        ),
        (
            "zero",
            Op::Zero {
                file,
                offset: 8192,
                bytes: 65_536,
            },
        ),
        (
            "discard",
            Op::Discard {
                file,
                offset: 8192,
                bytes: 65_536,
            },
        ),
        (
            "punch to beyond the end",
            Op::Punch {
                file,
                offset: 8192,
                bytes: 1 << 30,
            },
        ),
    ] {
        write(&mut bench, file, 0, &bytes, false).unwrap();
        let is_past_end = matches!(op, Op::Punch { bytes, .. } if bytes > 1 << 20);
        other(&mut bench, op).unwrap();
        let zeroed = if is_past_end {
            (1 << 20) - 8192
        } else {
            65_536
        };
        let got = read(&mut bench, file, 0, 1 << 20).unwrap();
        let zeroes = got.iter().filter(|byte| **byte == 0).count();
        assert_eq!(zeroes, zeroed, "{name}");
        assert_eq!(handle.size_bytes().unwrap(), 1 << 20, "{name}");
    }
}

fn direct_io_returns_the_bytes_and_is_short_at_the_end(mut bench: Bench) {
    let dir = directory();
    let (file, handle) = file(&mut bench, dir.path(), 4 << 20, true);
    assert!(handle.is_direct());
    let alignment = handle.direct_alignment_bytes().unwrap();
    for (len, offset) in [(4096, 0), (65_536, 4096), (1 << 20, 1 << 20)] {
        assert_eq!(len as u32 % alignment, 0);
        let bytes = pattern(len);
        // The first write into a hole may not be done without waiting, the second can.
        for _ in 0..2 {
            assert_eq!(write(&mut bench, file, offset, &bytes, false).unwrap(), len);
            assert!(
                read(&mut bench, file, offset, len).unwrap() == bytes,
                "{len} bytes"
            );
        }
    }
    handle.resize(4096 * 3 + 100).unwrap();
    assert_eq!(
        read(&mut bench, file, 8192, 65_536).unwrap().len(),
        4096 + 100
    );
    assert_eq!(read(&mut bench, file, 1 << 20, 4096).unwrap().len(), 0);
}

fn direct_io_that_is_misaligned_ends_and_gives_its_memory_back(mut bench: Bench) {
    let dir = directory();
    let (file, _) = file(&mut bench, dir.path(), 1 << 20, true);
    // File systems differ: some go through the page cache instead.
    match read(&mut bench, file, 1, 4096) {
        Ok(bytes) => assert_eq!(bytes.len(), 4096),
        Err(error) => assert_eq!(os(&error), libc::EINVAL),
    }
    match write(&mut bench, file, 0, &[1; 100], false) {
        Ok(bytes) => assert_eq!(bytes, 100),
        Err(error) => assert_eq!(os(&error), libc::EINVAL),
    }
    assert_eq!(bench.slab.used_bytes(), 0);
}

fn write_to_a_file_opened_for_reading_fails_and_gives_the_data_back(mut bench: Bench) {
    let dir = directory();
    let path = dir.path().join("read-only");
    std::fs::write(&path, b"content").unwrap();
    let handle = StoreFile::open(&path, OpenOptions::default()).unwrap();
    let file = bench.driver.add_file(Arc::new(handle));
    assert_eq!(
        os(&write(&mut bench, file, 0, b"x", false).unwrap_err()),
        libc::EBADF
    );
    assert_eq!(
        os(&write(&mut bench, file, 0, b"x", true).unwrap_err()),
        libc::EBADF
    );
    let punch = Op::Punch {
        file,
        offset: 0,
        bytes: 4096,
    };
    assert_eq!(os(&other(&mut bench, punch).unwrap_err()), libc::EBADF);
    assert_eq!(read(&mut bench, file, 0, 100).unwrap(), b"content");
}

fn operations_out_of_range_are_invalid_and_empty_ones_complete(mut bench: Bench) {
    let dir = directory();
    let (file, _) = file(&mut bench, dir.path(), 1 << 20, false);
    for offset in [u64::MAX, i64::MAX as u64, u64::MAX - 4096] {
        assert_eq!(
            os(&read(&mut bench, file, offset, 4096).unwrap_err()),
            libc::EINVAL
        );
        assert_eq!(
            os(&write(&mut bench, file, offset, b"xy", false).unwrap_err()),
            libc::EINVAL
        );
        let zero = Op::Zero {
            file,
            offset,
            bytes: 2,
        };
        assert_eq!(os(&other(&mut bench, zero).unwrap_err()), libc::EINVAL);
    }
    let data = Memory::Frozen {
        buffer: bench.frozen(b"abc"),
        range: 0..4,
    };
    let token = bench.push(Op::Write {
        file,
        offset: 0,
        data,
        durable: false,
    });
    let OpResult::Write { result, .. } = bench.wait(token) else {
        panic!("not a write")
    };
    assert_eq!(os(&result.unwrap_err()), libc::EINVAL);
    other(
        &mut bench,
        Op::Punch {
            file,
            offset: 0,
            bytes: 0,
        },
    )
    .unwrap();
    other(
        &mut bench,
        Op::Zero {
            file,
            offset: 0,
            bytes: 0,
        },
    )
    .unwrap();
    let data = Memory::Frozen {
        buffer: bench.frozen(b"abc"),
        range: 1..1,
    };
    let token = bench.push(Op::Write {
        file,
        offset: 0,
        data,
        durable: false,
    });
    let OpResult::Write { result, .. } = bench.wait(token) else {
        panic!("not a write")
    };
    assert_eq!(result.unwrap(), 0);
}

fn operations_on_unknown_files_find_nothing(mut bench: Bench) {
    let dir = directory();
    let (file, _) = file(&mut bench, dir.path(), 1 << 20, false);
    bench.driver.remove_file(file);
    bench.driver.remove_file(file);
    assert_eq!(os(&read(&mut bench, file, 0, 10).unwrap_err()), libc::EBADF);
    assert_eq!(
        os(&write(&mut bench, file, 0, b"x", false).unwrap_err()),
        libc::EBADF
    );
    assert_eq!(
        os(&other(&mut bench, Op::Flush { file }).unwrap_err()),
        libc::EBADF
    );
    assert_eq!(bench.slab.used_bytes(), 0);
}

fn many_operations_in_flight_each_complete_once_with_the_right_bytes(mut bench: Bench) {
    let dir = directory();
    for direct in [false, true] {
        let (file, _) = file(&mut bench, dir.path(), 2 << 20, direct);
        for round in 0_u8..4 {
            let writes = (0_u64..512).map(|block| {
                let mut buffer = bench.buffer(4096);
                buffer.fill(round ^ block as u8);
                let op = Op::Write {
                    file,
                    offset: block * 4096,
                    data: buffer.into(),
                    durable: false,
                };
                (block, bench.push(op))
            });
            for (_, token) in writes.collect::<Vec<_>>() {
                let OpResult::Write { result, .. } = bench.wait(token) else {
                    panic!("not a write")
                };
                assert_eq!(result.unwrap(), 4096);
            }
            let reads = (0_u64..512).map(|block| {
                let buffer = bench.buffer(4096);
                (
                    block,
                    bench.push(Op::Read {
                        file,
                        offset: block * 4096,
                        buffer,
                    }),
                )
            });
            for (block, token) in reads.collect::<Vec<_>>() {
                let OpResult::Read { result, buffer } = bench.wait(token) else {
                    panic!("not a read")
                };
                assert_eq!(result.unwrap(), 4096);
                assert!(
                    buffer.iter().all(|byte| *byte == round ^ block as u8),
                    "block {block}"
                );
            }
        }
    }
    assert_eq!(bench.slab.used_bytes(), 0);
}

fn remove_file_lets_operations_end_and_then_closes_it(mut bench: Bench) {
    let dir = directory();
    let (file, handle) = file(&mut bench, dir.path(), 1 << 20, false);
    handle.lock(LockMode::Exclusive).unwrap();
    handle.lane().gate.set_shut(true);
    let token = bench.push(Op::Flush { file });
    bench.driver.submit();
    bench.driver.remove_file(file);
    let lane = Arc::clone(handle.lane());
    let weak = Arc::downgrade(&handle);
    drop(handle);
    bench.settle();
    assert!(!bench.is_done(token));
    assert!(
        weak.upgrade().is_some(),
        "open for as long as something is in flight"
    );
    lane.gate.set_shut(false);
    let OpResult::Other(result) = bench.wait(token) else {
        panic!("not a flush")
    };
    result.unwrap();
    let again = OpenOptions {
        write: true,
        ..OpenOptions::default()
    };
    let again = StoreFile::open(dir.path().join("disk-false-1048576"), again).unwrap();
    let end = Instant::now() + PATIENCE;
    while again.lock(LockMode::Exclusive).is_err() {
        assert!(Instant::now() < end, "the file is not closed");
        bench.turn(Wait::Until(Duration::from_millis(1)));
    }
}

fn file_on_tmpfs_returns_the_bytes(mut bench: Bench) {
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else {
        eprintln!("skipped: /dev/shm cannot be written to");
        return;
    };
    let (file, _) = file(&mut bench, dir.path(), 1 << 20, false);
    let bytes = pattern(300_000);
    write(&mut bench, file, 123, &bytes, false).unwrap();
    assert!(read(&mut bench, file, 123, 300_000).unwrap() == bytes);
    write(&mut bench, file, 0, &bytes, true).unwrap();
    other(&mut bench, Op::Flush { file }).unwrap();
    other(
        &mut bench,
        Op::Punch {
            file,
            offset: 0,
            bytes: 4096,
        },
    )
    .unwrap();
    assert_eq!(read(&mut bench, file, 0, 4096).unwrap(), [0; 4096]);
}
