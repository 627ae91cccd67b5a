//! Growing, found larger, found smaller; and a store that must not be written for a while.

use std::path::Path;

use super::*;
use crate::change::ResizeProblem;

fn set_len(path: &Path, bytes: u64) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_len(bytes).unwrap();
}

fn len(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

fn resize_problem(disk: &Disk, bytes: Option<u64>) -> ResizeProblem {
    let error = disk.store.resize(bytes).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with(&disk.path.display().to_string()), "{text}");
    error.problem
}

#[test]
fn resize_grows_the_file_and_what_attached_workers_may_do() {
    let mut disk = disk();
    assert_eq!(disk.kind(write(BLOCKS, 1)), Some(IoErrorKind::OutOfRange));
    let geometry = disk.store.resize(Some(2 * BYTES)).unwrap();
    assert_eq!(geometry, Geometry::new(512, 2 * BLOCKS).unwrap());
    assert_eq!(disk.store.caps().geometry, geometry);
    assert_eq!(len(&disk.path), 2 * BYTES);
    disk.bench.medium.resize(2 * BYTES as usize, 0);
    assert_eq!(disk.read(BLOCKS, 2).unwrap(), [0; 1024]);
    disk.write(durable(2 * BLOCKS - 1, 1), 0x3c).result.unwrap();
    assert_eq!(disk.kind(StoreIo::Flush), None);
    assert_eq!(
        disk.kind(write(2 * BLOCKS, 1)),
        Some(IoErrorKind::OutOfRange)
    );
}

#[test]
fn resize_to_less_is_refused_and_changes_nothing() {
    let mut disk = disk();
    for to_bytes in [512, BYTES - 512] {
        let from_bytes = BYTES;
        assert_eq!(
            resize_problem(&disk, Some(to_bytes)),
            ResizeProblem::Shrink {
                from_bytes,
                to_bytes
            }
        );
    }
    let block_size_bytes = 512;
    assert_eq!(
        resize_problem(&disk, Some(BYTES + 100)),
        ResizeProblem::PartBlock { block_size_bytes }
    );
    for bytes in [0, 1, u64::MAX - 511] {
        let problem = resize_problem(&disk, Some(bytes));
        assert!(matches!(problem, ResizeProblem::Geometry(_)), "{problem:?}");
    }
    assert_eq!(len(&disk.path), BYTES);
    assert_eq!(disk.store.caps().geometry.capacity_blocks, BLOCKS);
    assert_eq!(disk.store.resize(Some(BYTES)).unwrap().size_bytes(), BYTES);
    assert_eq!(disk.kind(write(0, 1)), None);
}

#[test]
fn resize_without_a_size_takes_what_has_grown_from_outside() {
    let mut disk = disk();
    assert_eq!(disk.store.resize(None).unwrap().capacity_blocks, BLOCKS);
    // What is left behind the last whole block is not used, and not cut off.
    set_len(&disk.path, 3 * BYTES + 100);
    assert_eq!(disk.store.resize(None).unwrap().capacity_blocks, 3 * BLOCKS);
    assert_eq!(
        disk.store.resize(Some(3 * BYTES)).unwrap().capacity_blocks,
        3 * BLOCKS
    );
    assert_eq!(len(&disk.path), 3 * BYTES + 100);
    disk.bench.medium.resize(3 * BYTES as usize, 0);
    assert_eq!(disk.kind(durable(3 * BLOCKS - 1, 1)), None);
}

#[test]
fn resize_to_less_than_the_file_has_grown_to_cuts_nothing() {
    let disk = disk();
    set_len(&disk.path, 4 * BYTES);
    let (from_bytes, to_bytes) = (4 * BYTES, 2 * BYTES);
    assert_eq!(
        resize_problem(&disk, Some(to_bytes)),
        ResizeProblem::Shrink {
            from_bytes,
            to_bytes
        }
    );
    assert_eq!(len(&disk.path), 4 * BYTES);
    assert_eq!(disk.store.caps().geometry.capacity_blocks, BLOCKS);
    assert_eq!(
        disk.store.resize(Some(4 * BYTES)).unwrap().size_bytes(),
        4 * BYTES
    );
}

#[test]
fn resize_of_a_cut_file_tells_and_stops_writes_until_reset() {
    for bytes in [None, Some(BYTES), Some(2 * BYTES)] {
        let mut disk = disk();
        set_len(&disk.path, BYTES / 2);
        let (from_bytes, found_bytes) = (BYTES, BYTES / 2);
        assert_eq!(
            resize_problem(&disk, bytes),
            ResizeProblem::Shrunk {
                from_bytes,
                found_bytes
            }
        );
        assert_eq!(len(&disk.path), BYTES / 2, "not hidden by growing it again");
        assert_eq!(disk.kind(write(0, 1)), Some(IoErrorKind::OutOfRange));
        set_len(&disk.path, BYTES);
        disk.store.reset();
        assert_eq!(disk.kind(write(0, 1)), None);
        disk.store.resize(bytes).unwrap();
    }
}

#[test]
fn resize_beyond_what_the_file_system_takes_is_refused() {
    let disk = disk();
    // Below 2^63 bytes, but more than most file systems take in one file; one that takes it is right, too.
    let bytes = i64::MAX.unsigned_abs() / 512 * 512;
    match disk.store.resize(Some(bytes)) {
        Ok(geometry) => assert_eq!(geometry.size_bytes(), bytes),
        Err(error) => {
            assert_eq!(error.code(), "too_large");
            assert_eq!(len(&disk.path), BYTES);
            assert_eq!(disk.store.caps().geometry.capacity_blocks, BLOCKS);
        }
    }
}

#[test]
fn read_only_set_while_running_refuses_changes_but_not_the_flush_of_earlier_ones() {
    let mut disk = disk();
    disk.write(write(0, 1), 0x21).result.unwrap();
    disk.store.set_read_only(true).unwrap();
    assert!(disk.store.caps().read_only);
    for io in [write(0, 1), durable(0, 1), unmap(0, 1), zeroes(0, 1, true)] {
        assert_eq!(disk.kind(io), Some(IoErrorKind::ReadOnly), "{io:?}");
    }
    let ran = disk.bench.ran;
    assert_eq!(disk.kind(StoreIo::Flush), None);
    assert_eq!(disk.bench.ran, ran + 1, "it reached the file");
    assert_eq!(disk.read(0, 1).unwrap(), [0x21; 512]);
    disk.store.set_read_only(false).unwrap();
    assert!(!disk.store.caps().read_only);
    assert_eq!(disk.kind(write(0, 1)), None);
}

#[test]
fn file_opened_for_reading_only_stays_so_but_may_be_found_larger() {
    let Disk {
        _folder: _keep,
        path,
        store,
        bench,
    } = disk();
    drop((store, bench));
    let options = PathOptions {
        read_only: true,
        ..PathOptions::default()
    };
    let hints = IdentityHints {
        serial: Some("scripted".to_owned()),
        ..IdentityHints::default()
    };
    let store = open_path(&path, &options, &hints).unwrap().store;
    store.set_read_only(true).unwrap();
    let error = store.set_read_only(false).unwrap_err();
    assert_eq!(error.path, path);
    assert!(store.caps().read_only);
    let refused = store.resize(Some(2 * BYTES)).unwrap_err();
    assert_eq!(refused.problem, ResizeProblem::ReadOnly);
    set_len(&path, 2 * BYTES);
    assert_eq!(store.resize(None).unwrap().size_bytes(), 2 * BYTES);
}
