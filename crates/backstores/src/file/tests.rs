#![allow(clippy::cast_possible_truncation)]
//! What each request becomes, operation by operation, and what an operation that fails means.

mod resize;

use std::path::PathBuf;

use block::{IoErrorKind, IoOpKind, Lba};
use reactor::{Op, OpResult, Token};
use rustix::io::Errno;

use super::*;
use crate::api::{IoDone, StoreIo};
use crate::identity::IdentityHints;
use crate::testing::{Bench, ScriptedDriver};

const BLOCKS: u64 = 64;
const BYTES: u64 = BLOCKS * 512;

/// A real file, for its lock and size, under a scripted medium.
struct Disk {
    _folder: tempfile::TempDir,
    path: PathBuf,
    store: Arc<dyn Backstore>,
    bench: Bench,
}

fn disk_with(options: PathOptions) -> Disk {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.img");
    let options = PathOptions {
        create_bytes: Some(BYTES),
        ..options
    };
    let hints = IdentityHints {
        serial: Some("scripted".to_owned()),
        ..IdentityHints::default()
    };
    let store = open_path(&path, &options, &hints).unwrap().store;
    let bench = Bench::new(
        Arc::clone(&store).attach(&mut ScriptedDriver::default()),
        BYTES as usize,
    );
    Disk {
        _folder: folder,
        path,
        store,
        bench,
    }
}

fn disk() -> Disk {
    disk_with(PathOptions::default())
}

fn read(lba: u64, blocks: u64) -> StoreIo {
    StoreIo::Read {
        lba: Lba(lba),
        blocks,
    }
}

fn write(lba: u64, blocks: u64) -> StoreIo {
    StoreIo::Write {
        lba: Lba(lba),
        blocks,
        durable: false,
    }
}

fn durable(lba: u64, blocks: u64) -> StoreIo {
    StoreIo::Write {
        lba: Lba(lba),
        blocks,
        durable: true,
    }
}

fn unmap(lba: u64, blocks: u64) -> StoreIo {
    StoreIo::Unmap {
        lba: Lba(lba),
        blocks,
    }
}

fn zeroes(lba: u64, blocks: u64, may_unmap: bool) -> StoreIo {
    StoreIo::WriteZeroes {
        lba: Lba(lba),
        blocks,
        may_unmap,
    }
}

impl Disk {
    fn write(&mut self, io: StoreIo, fill: u8) -> IoDone {
        let (_, blocks) = io.range().unwrap();
        let memory = self.bench.buffer((blocks * 512) as usize, fill);
        self.bench.call(io, Some(memory))
    }

    fn read(&mut self, lba: u64, blocks: u64) -> Result<Vec<u8>, block::IoError> {
        let memory = self.bench.buffer((blocks * 512) as usize, 0xee);
        let done = self.bench.call(read(lba, blocks), Some(memory));
        let bytes = done.memory.unwrap().as_slice().map(<[u8]>::to_vec).unwrap();
        done.result.map(|()| bytes)
    }

    fn kind(&mut self, io: StoreIo) -> Option<IoErrorKind> {
        let memory = match io {
            StoreIo::Read { blocks, .. } | StoreIo::Write { blocks, .. } => {
                Some(self.bench.buffer((blocks * 512) as usize, 1))
            }
            _ => None,
        };
        let done = self.bench.call(io, memory);
        done.result.err().map(|error| error.kind)
    }
}

fn is_durable_write(op: &Op) -> bool {
    matches!(op, Op::Write { durable: true, .. })
}

#[test]
fn write_with_cache_is_plain_and_without_cache_durable() {
    let mut disk = disk();
    let memory = disk.bench.buffer(512, 1);
    disk.bench.submit(write(0, 1), Some(memory));
    assert!(!is_durable_write(&disk.bench.port.ops[0].1));
    disk.bench.run();

    let memory = disk.bench.buffer(512, 1);
    disk.bench.submit(durable(0, 1), Some(memory));
    assert!(is_durable_write(&disk.bench.port.ops[0].1));
    disk.bench.run();

    disk.store.set_write_cache(false);
    assert!(!disk.store.caps().write_cache);
    let memory = disk.bench.buffer(512, 1);
    disk.bench.submit(write(0, 1), Some(memory));
    assert!(is_durable_write(&disk.bench.port.ops[0].1));
    disk.bench.run();
    assert_eq!(disk.bench.port.done.len(), 3);
}

#[test]
fn range_operations_without_cache_end_only_after_a_flush() {
    let mut disk = disk_with(PathOptions {
        write_cache: false,
        ..PathOptions::default()
    });
    for io in [unmap(0, 8), zeroes(0, 8, true), zeroes(0, 8, false)] {
        let before = disk.bench.ran;
        let token = disk.bench.submit(io, None);
        let (_, _) = disk.bench.port.ops.pop_front().unwrap();
        disk.bench.complete(token, OpResult::Other(Ok(())));
        assert!(disk.bench.port.done.is_empty(), "{io:?}");
        assert!(matches!(disk.bench.port.ops[0].1, Op::Flush { .. }));
        disk.bench.run();
        assert_eq!(disk.bench.ran, before + 1);
        assert!(disk.bench.port.done.pop().unwrap().result.is_ok());
    }
}

#[test]
fn flushes_that_come_during_a_flush_share_the_next_one() {
    let mut disk = disk();
    let first = disk.bench.submit(StoreIo::Flush, None);
    let later: Vec<Token> = (0..3)
        .map(|_| disk.bench.submit(StoreIo::Flush, None))
        .collect();
    assert_eq!(disk.bench.port.ops.len(), 1, "one flush at a time");
    disk.bench.port.ops.clear();
    disk.bench.complete(first, OpResult::Other(Ok(())));
    assert_eq!(disk.bench.port.done.len(), 1);
    assert_eq!(disk.bench.port.ops.len(), 1, "one flush for the three");
    disk.bench.run();
    let tokens: Vec<Token> = disk.bench.port.done.iter().map(|d| d.token).collect();
    assert_eq!(tokens, [&[first], &later[..]].concat());
    assert!(disk.bench.port.done.iter().all(|d| d.result.is_ok()));
}

#[test]
fn flush_cancelled_for_its_first_request_is_run_again_for_the_others() {
    let mut disk = disk();
    let running = disk.bench.submit(StoreIo::Flush, None);
    let given_up = disk.bench.submit(StoreIo::Flush, None);
    let wanted = disk.bench.submit(StoreIo::Flush, None);
    disk.bench.port.ops.clear();
    disk.bench.complete(running, OpResult::Other(Ok(())));
    assert_eq!(disk.bench.port.done.pop().unwrap().token, running);
    disk.bench.port.ops.clear();
    let cancelled = || OpResult::Other(Err(Errno::CANCELED.into()));
    disk.bench.complete(given_up, cancelled());
    let done = disk.bench.port.done.pop().unwrap();
    assert_eq!(done.token, given_up);
    assert_eq!(done.result.unwrap_err().kind, IoErrorKind::Aborted);
    assert_eq!(disk.bench.port.ops[0].0, wanted);
    disk.bench.run();
    let done = disk.bench.port.done.pop().unwrap();
    assert_eq!((done.token, done.result), (wanted, Ok(())));
    assert_eq!(
        disk.kind(write(0, 1)),
        None,
        "a cancelled flush loses nothing"
    );
}

#[test]
fn flush_that_fails_refuses_writes_and_flushes_until_reset() {
    for errno in [Errno::IO, Errno::NOSPC, Errno::NOMEM, Errno::INVAL] {
        let mut disk = disk();
        disk.write(write(1, 1), 0x11).result.unwrap();
        disk.bench.fail = Some((disk.bench.ran + 1, errno));
        let error = disk.bench.call(StoreIo::Flush, None).result.unwrap_err();
        assert_eq!(error.kind, IoErrorKind::FlushFailed);
        assert_eq!(error.os, Some(errno.raw_os_error()));
        let ran = disk.bench.ran;
        let changing = [
            write(0, 1),
            durable(0, 1),
            StoreIo::Flush,
            unmap(0, 1),
            zeroes(0, 1, true),
        ];
        for io in changing {
            assert_eq!(disk.kind(io), Some(IoErrorKind::FlushFailed), "{io:?}");
        }
        assert_eq!(disk.bench.ran, ran, "nothing of it reached the file");
        assert_eq!(disk.read(1, 1).unwrap(), [0x11; 512]);
        disk.store.reset();
        for io in changing {
            assert_eq!(disk.kind(io), None, "{io:?}");
        }
    }
}

#[test]
fn flush_failed_on_one_worker_is_failed_on_all() {
    let mut disk = disk();
    let other = Arc::clone(&disk.store).attach(&mut ScriptedDriver::default());
    let mut other = Bench::new(other, BYTES as usize);
    let waiting = other.submit(StoreIo::Flush, None);
    disk.bench.fail = Some((1, Errno::IO));
    assert_eq!(disk.kind(StoreIo::Flush), Some(IoErrorKind::FlushFailed));
    // The other worker's flush was under way: its success came too late to be believed.
    other.run();
    let done = other.port.done.pop().unwrap();
    assert_eq!(done.token, waiting);
    assert_eq!(done.result.unwrap_err().kind, IoErrorKind::FlushFailed);
}

#[test]
fn successes_that_overlap_a_failed_durable_write_are_not_told() {
    let mut disk = disk();
    let memory = disk.bench.buffer(512, 1);
    let failing = disk.bench.submit(durable(0, 1), Some(memory));
    let flush = disk.bench.submit(StoreIo::Flush, None);
    let memory = disk.bench.buffer(512, 1);
    let other = disk.bench.submit(durable(1, 1), Some(memory));
    let ops: Vec<_> = disk.bench.port.ops.drain(..).collect();
    for (token, op) in ops.into_iter().rev() {
        let result = match op {
            Op::Write { data, .. } => OpResult::Write {
                result: if token == failing {
                    Err(Errno::IO.into())
                } else {
                    Ok(512)
                },
                data,
            },
            _ => OpResult::Other(Ok(())),
        };
        assert!(disk.bench.port.done.is_empty(), "the first may still fail");
        disk.bench.complete(token, result);
    }
    let kinds: Vec<_> = std::mem::take(&mut disk.bench.port.done)
        .into_iter()
        .map(|done| (done.token, done.result.unwrap_err().kind))
        .collect();
    let expected = [
        (failing, IoErrorKind::Medium),
        (other, IoErrorKind::FlushFailed),
        (flush, IoErrorKind::FlushFailed),
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn durable_write_waits_for_a_flush_it_overlaps_and_plain_ones_for_nothing() {
    let mut disk = disk();
    let flush = disk.bench.submit(StoreIo::Flush, None);
    let (memory, more) = (disk.bench.buffer(512, 1), disk.bench.buffer(512, 1));
    let through = disk.bench.submit(durable(0, 1), Some(memory));
    let plain = disk.bench.submit(write(1, 1), Some(more));
    disk.bench.port.ops.rotate_left(1);
    let Some((_, Op::Flush { .. })) = disk.bench.port.ops.pop_back() else {
        panic!("the flush came first");
    };
    disk.bench.run();
    let told = |disk: &mut Disk| -> Vec<Token> {
        let done = std::mem::take(&mut disk.bench.port.done);
        assert!(done.iter().all(|done| done.result.is_ok()));
        done.iter().map(|done| done.token).collect()
    };
    assert_eq!(told(&mut disk), [plain]);
    disk.bench.complete(flush, OpResult::Other(Ok(())));
    assert_eq!(told(&mut disk), [through, flush]);
}

#[test]
fn flush_without_a_free_thread_is_busy_and_loses_nothing() {
    let mut disk = disk();
    disk.bench.fail = Some((1, Errno::AGAIN));
    assert_eq!(disk.kind(StoreIo::Flush), Some(IoErrorKind::Busy));
    assert_eq!(disk.kind(StoreIo::Flush), None);
}

#[test]
fn durable_write_with_io_error_counts_as_a_failed_flush_but_no_space_does_not() {
    for (errno, kind, later) in [
        (
            Errno::IO,
            IoErrorKind::Medium,
            Some(IoErrorKind::FlushFailed),
        ),
        (Errno::NOSPC, IoErrorKind::NoSpace, None),
        (Errno::AGAIN, IoErrorKind::Busy, None),
        (Errno::CANCELED, IoErrorKind::Aborted, None),
    ] {
        let mut disk = disk();
        disk.bench.fail = Some((1, errno));
        assert_eq!(disk.kind(durable(0, 1)), Some(kind));
        assert_eq!(disk.kind(StoreIo::Flush), later, "{errno:?}");
        let mut plain = self::disk();
        plain.bench.fail = Some((1, errno));
        assert_eq!(plain.kind(write(0, 1)), Some(kind));
        assert_eq!(plain.kind(StoreIo::Flush), None, "{errno:?}");
    }
}

#[test]
fn read_behind_the_end_of_a_cut_file_names_the_first_missing_block() {
    let mut disk = disk();
    disk.bench.medium.truncate(10 * 512 + 100);
    let memory = disk.bench.buffer(4 * 512, 0);
    let done = disk.bench.call(read(8, 4), Some(memory));
    let error = done.result.unwrap_err();
    assert_eq!(
        (error.kind, error.lba),
        (IoErrorKind::OutOfRange, Some(Lba(10)))
    );
    assert!(done.memory.is_some());
    assert_eq!(
        disk.read(0, 8).unwrap(),
        [0; 8 * 512],
        "the rest still reads"
    );
    assert_eq!(disk.kind(write(0, 1)), Some(IoErrorKind::OutOfRange));
    assert_eq!(disk.kind(StoreIo::Flush), Some(IoErrorKind::OutOfRange));
}

#[test]
fn file_cut_under_us_fails_the_flush_and_comes_back_by_reset() {
    let mut disk = disk();
    let file = std::fs::File::options()
        .write(true)
        .open(&disk.path)
        .unwrap();
    file.set_len(BYTES / 2).unwrap();
    assert_eq!(disk.kind(StoreIo::Flush), Some(IoErrorKind::OutOfRange));
    assert_eq!(disk.kind(write(0, 1)), Some(IoErrorKind::OutOfRange));
    file.set_len(BYTES).unwrap();
    assert_eq!(disk.kind(write(0, 1)), Some(IoErrorKind::OutOfRange));
    disk.store.reset();
    assert_eq!(disk.kind(write(0, 1)), None);
    assert_eq!(disk.kind(StoreIo::Flush), None);
}

#[test]
fn file_cut_under_us_is_noticed_by_writes_alone() {
    let mut disk = disk();
    let file = std::fs::File::options()
        .write(true)
        .open(&disk.path)
        .unwrap();
    file.set_len(512).unwrap();
    let noticed = (0..32).position(|_| disk.kind(write(0, 1)) == Some(IoErrorKind::OutOfRange));
    assert_eq!(noticed, Some(31));
    let mut durable_disk = self::disk();
    let file = std::fs::File::options()
        .write(true)
        .open(&durable_disk.path)
        .unwrap();
    file.set_len(512).unwrap();
    assert_eq!(
        durable_disk.kind(durable(0, 1)),
        Some(IoErrorKind::OutOfRange)
    );
}

#[test]
fn zeroing_where_the_file_system_cannot_writes_zeros_itself() {
    for io in [zeroes(3, 40, false), zeroes(3, 40, true), unmap(3, 40)] {
        let mut disk = disk();
        disk.write(write(0, 64), 0x77).result.unwrap();
        disk.bench.no_ranges = true;
        let done = disk.bench.call(io, None);
        assert_eq!(done.result, Ok(()), "{io:?}");
        let mut expected = vec![0x77; BYTES as usize];
        expected[3 * 512..43 * 512].fill(0);
        assert_eq!(disk.bench.medium, expected, "{io:?}");
    }
    let mut disk = disk();
    assert!(disk.store.caps().write_zeroes);
    disk.bench.no_ranges = true;
    disk.bench.call(zeroes(0, 1, false), None).result.unwrap();
    assert!(!disk.store.caps().write_zeroes);
    let ran = disk.bench.ran;
    disk.bench.call(zeroes(0, 1, false), None).result.unwrap();
    assert_eq!(disk.bench.ran, ran + 1, "it is not asked for again");
}

#[test]
fn requests_without_blocks_end_at_once() {
    let mut disk = disk();
    for io in [unmap(64, 0), zeroes(0, 0, false)] {
        assert_eq!(disk.bench.call(io, None).result, Ok(()));
    }
    assert_eq!(disk.bench.ran, 0);
}

#[test]
fn requests_that_do_not_fit_come_back_with_their_memory() {
    let mut disk = disk();
    for (io, bytes, kind) in [
        (read(64, 1), 512, IoErrorKind::OutOfRange),
        (write(63, 2), 1024, IoErrorKind::OutOfRange),
        (write(u64::MAX, 1), 512, IoErrorKind::OutOfRange),
        (read(0, 2), 512, IoErrorKind::Unsupported),
        (write(0, 1), 1024, IoErrorKind::Unsupported),
    ] {
        let memory = disk.bench.buffer(bytes, 0);
        let done = disk.bench.call(io, Some(memory));
        assert_eq!(done.result.unwrap_err().kind, kind, "{io:?}");
        assert!(done.memory.is_some());
    }
    assert_eq!(disk.bench.ran, 0);
}

#[test]
fn read_only_store_refuses_changes_and_flushes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.img");
    std::fs::write(&path, vec![7; BYTES as usize]).unwrap();
    let options = PathOptions {
        read_only: true,
        ..PathOptions::default()
    };
    let opened = open_path(&path, &options, &IdentityHints::default());
    let store = opened.unwrap().store;
    assert!(store.caps().read_only);
    assert!(!store.caps().unmap);
    let local = Arc::clone(&store).attach(&mut ScriptedDriver::default());
    let mut bench = Bench::new(local, BYTES as usize);
    for io in [unmap(0, 1), zeroes(0, 1, true)] {
        let error = bench.call(io, None).result.unwrap_err();
        assert_eq!(error.kind, IoErrorKind::ReadOnly);
    }
    let memory = bench.buffer(512, 0);
    let error = bench.call(write(0, 1), Some(memory)).result.unwrap_err();
    assert_eq!(
        (error.kind, error.op),
        (IoErrorKind::ReadOnly, IoOpKind::Write)
    );
    assert_eq!(bench.call(StoreIo::Flush, None).result, Ok(()));
    assert_eq!(bench.ran, 0);
}

#[test]
fn driver_answer_of_another_kind_is_a_medium_error_and_an_unknown_token_nothing() {
    let mut disk = disk();
    disk.bench.complete(Token(99), OpResult::Other(Ok(())));
    assert!(disk.bench.port.done.is_empty());
    let memory = disk.bench.buffer(512, 0);
    let token = disk.bench.submit(read(0, 1), Some(memory));
    disk.bench.complete(token, OpResult::Other(Ok(())));
    let done = disk.bench.port.done.pop().unwrap();
    assert_eq!(done.result.unwrap_err().kind, IoErrorKind::Medium);
}

#[test]
fn detach_gives_the_file_back_to_the_driver() {
    let disk = disk();
    let mut driver = ScriptedDriver::default();
    let local = Arc::clone(&disk.store).attach(&mut driver);
    assert_eq!(driver.files, 1);
    local.detach(&mut driver);
    assert_eq!(driver.files, 0);
}

/// One of everything, each request with its own blocks.
const SCRIPT: [(StoreIo, u8); 8] = [
    (
        StoreIo::Write {
            lba: Lba(0),
            blocks: 8,
            durable: false,
        },
        1,
    ),
    (
        StoreIo::Write {
            lba: Lba(8),
            blocks: 8,
            durable: true,
        },
        2,
    ),
    (StoreIo::Flush, 0),
    (
        StoreIo::Unmap {
            lba: Lba(2),
            blocks: 3,
        },
        0,
    ),
    (
        StoreIo::WriteZeroes {
            lba: Lba(9),
            blocks: 2,
            may_unmap: false,
        },
        0,
    ),
    (
        StoreIo::WriteZeroes {
            lba: Lba(12),
            blocks: 2,
            may_unmap: true,
        },
        0,
    ),
    (
        StoreIo::Read {
            lba: Lba(0),
            blocks: 16,
        },
        0,
    ),
    (StoreIo::Flush, 0),
];

/// What the script leaves where the requests numbered in `skipped` changed nothing.
fn expected_medium(skipped: &[usize]) -> Vec<u8> {
    let mut medium = vec![0; BYTES as usize];
    for (number, (io, fill)) in SCRIPT.iter().enumerate() {
        let Some((lba, blocks)) = io.range() else {
            continue;
        };
        if io.kind() != IoOpKind::Read && !skipped.contains(&number) {
            let start = (lba.0 * 512) as usize;
            medium[start..start + (blocks * 512) as usize].fill(*fill);
        }
    }
    medium
}

/// Runs the script with the nth operation failing; the errors by request number.
fn run_script(disk: &mut Disk) -> Vec<(usize, IoErrorKind)> {
    let mut failed = Vec::new();
    for (number, (io, fill)) in SCRIPT.into_iter().enumerate() {
        let memory = match io {
            StoreIo::Read { blocks, .. } | StoreIo::Write { blocks, .. } => {
                Some(disk.bench.buffer((blocks * 512) as usize, fill))
            }
            _ => None,
        };
        let had_memory = memory.is_some();
        let done = disk.bench.call(io, memory);
        assert_eq!(done.memory.is_some(), had_memory, "memory comes back");
        if let Err(error) = done.result {
            assert_eq!(error.op, io.kind());
            failed.push((number, error.kind));
        }
    }
    failed
}

#[test]
fn nth_operation_fails_and_only_what_must_fail_with_it_does() {
    for write_cache in [true, false] {
        for errno in [Errno::IO, Errno::NOSPC, Errno::AGAIN] {
            for nth in 1.. {
                let mut disk = disk_with(PathOptions {
                    write_cache,
                    ..PathOptions::default()
                });
                disk.bench.fail = Some((nth, errno));
                let failed = run_script(&mut disk);
                if disk.bench.ran < nth {
                    assert!(failed.is_empty());
                    break;
                }
                check_failures(&mut disk, &failed, write_cache, errno, nth);
            }
        }
    }
}

fn check_failures(
    disk: &mut Disk,
    failed: &[(usize, IoErrorKind)],
    write_cache: bool,
    errno: Errno,
    nth: u64,
) {
    let context = format!("write_cache {write_cache}, {errno:?} at {nth}: {failed:?}");
    let (first, kind) = *failed.first().expect(&context);
    let flush_lost = failed
        .iter()
        .any(|(_, kind)| *kind == IoErrorKind::FlushFailed);
    if flush_lost {
        // Everything that changes or promises fails from there on, and reads go on.
        let after = (first + 1)..SCRIPT.len();
        for number in after.filter(|number| SCRIPT[*number].0.kind() != IoOpKind::Read) {
            let refused = failed.contains(&(number, IoErrorKind::FlushFailed));
            assert!(refused, "request {number}: {context}");
        }
    } else {
        assert_eq!(failed.len(), 1, "{context}");
        assert!(
            matches!(
                kind,
                IoErrorKind::Medium | IoErrorKind::NoSpace | IoErrorKind::Busy
            ),
            "{context}"
        );
        // Where a flush behind a range operation failed to start, the range was changed all the same.
        let changed_first = expected_medium(&[]);
        let unchanged_first = expected_medium(&[first]);
        let medium = &disk.bench.medium;
        assert!(
            *medium == changed_first || *medium == unchanged_first,
            "{context}"
        );
    }
    disk.store.reset();
    disk.bench.fail = None;
    assert!(run_script(disk).is_empty(), "{context}");
    assert_eq!(disk.bench.medium, expected_medium(&[]), "{context}");
    assert_eq!(disk.bench.slab.used_bytes(), 0, "{context}");
}
