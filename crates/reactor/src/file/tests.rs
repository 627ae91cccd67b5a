use super::*;
use std::io::Write as _;

fn temporary() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    (dir, path)
}

#[test]
fn open_of_a_new_file_makes_it_once() {
    let (_dir, path) = temporary();
    let options = OpenOptions {
        write: true,
        create_new: true,
        ..OpenOptions::default()
    };
    let file = StoreFile::open(&path, options).unwrap();
    file.resize(1 << 20).unwrap();
    assert_eq!(file.size_bytes().unwrap(), 1 << 20);
    assert!(!file.is_block_device() && !file.is_direct());
    let again = StoreFile::open(&path, options).unwrap_err();
    assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
}

#[test]
fn open_of_a_directory_a_fifo_or_nothing_is_refused_without_waiting() {
    let (dir, path) = temporary();
    let refused = |path: &Path| {
        StoreFile::open(path, OpenOptions::default())
            .unwrap_err()
            .kind()
    };
    assert_eq!(refused(dir.path()), io::ErrorKind::InvalidInput);
    assert_eq!(refused(&path), io::ErrorKind::NotFound);
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
    assert_eq!(refused(&path), io::ErrorKind::InvalidInput);
}

#[test]
fn new_clears_the_non_blocking_flag() {
    let (_dir, path) = temporary();
    std::fs::File::create(&path)
        .unwrap()
        .write_all(b"x")
        .unwrap();
    let file = StoreFile::open(&path, OpenOptions::default()).unwrap();
    assert!(!fcntl_getfl(&file).unwrap().contains(OFlags::NONBLOCK));
}

#[test]
fn lock_conflicts_between_descriptions_and_ends_with_the_close() {
    let (_dir, path) = temporary();
    std::fs::File::create(&path).unwrap();
    let open = || {
        StoreFile::open(
            &path,
            OpenOptions {
                write: true,
                ..OpenOptions::default()
            },
        )
    };
    let first = open().unwrap();
    let second = open().unwrap();
    first.lock(LockMode::Exclusive).unwrap();
    for mode in [LockMode::Exclusive, LockMode::Shared] {
        assert_eq!(
            second.lock(mode).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
    }
    drop(first);
    second.lock(LockMode::Shared).unwrap();
    open().unwrap().lock(LockMode::Shared).unwrap();
}

#[test]
fn device_questions_about_a_regular_file_are_invalid() {
    let (_dir, path) = temporary();
    std::fs::File::create(&path).unwrap();
    let file = StoreFile::open(&path, OpenOptions::default()).unwrap();
    assert_eq!(
        file.physical_block_bytes().unwrap_err().kind(),
        io::ErrorKind::InvalidInput
    );
    assert_eq!(
        file.is_read_only_device().unwrap_err().kind(),
        io::ErrorKind::InvalidInput
    );
    assert!(file.direct_alignment_bytes().unwrap() >= 512);
}
