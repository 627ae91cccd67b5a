//! What is refused when a disk is opened, by name and with what to do.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use backstores::{
    Expect, IdentityHints, IdentityOrigin, MachineId, OpenError, Opened, PathOptions, open_null,
    open_path, open_ram,
};
use reactor::{LockMode, OpenOptions, StoreFile};
use support::{LoopDevice, run};

fn hints() -> IdentityHints {
    IdentityHints {
        serial: None,
        entropy: [1; 8],
        machine_id: MachineId::parse("0123456789abcdef0123456789abcdef"),
    }
}

fn open(path: &Path, options: &PathOptions) -> Result<Opened, OpenError> {
    open_path(path, options, &hints())
}

fn folder_with_disk(bytes: usize) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.img");
    fs::write(&path, vec![0; bytes]).unwrap();
    (folder, path)
}

fn creating(bytes: u64) -> PathOptions {
    PathOptions {
        create_bytes: Some(bytes),
        ..PathOptions::default()
    }
}

#[test]
fn missing_file_is_created_sparse_only_with_a_size() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.img");
    let error = open(&path, &PathOptions::default()).unwrap_err();
    assert_eq!(error.code(), "not_found");
    let line = error.to_string();
    assert!(line.starts_with(&format!("{}: ", path.display())), "{line}");
    assert!(line.contains("give it a size"), "{line}");
    assert!(!path.exists());
    let opened = open(&path, &creating(1 << 30)).unwrap();
    assert_eq!(opened.store.caps().geometry.size_bytes(), 1 << 30);
    assert_eq!(opened.store.name(), path.display().to_string());
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!(metadata.len(), 1 << 30);
    assert!(
        metadata.blocks() < 1024,
        "sparse: {} blocks",
        metadata.blocks()
    );
}

#[test]
fn existing_file_keeps_its_size_and_its_odd_tail() {
    let (_folder, path) = folder_with_disk(512 * 9 + 17);
    let opened = open(&path, &creating(1 << 20)).unwrap();
    assert_eq!(opened.store.caps().geometry.capacity_blocks, 9);
    assert_eq!(fs::metadata(&path).unwrap().len(), 512 * 9 + 17);
}

#[test]
fn sizes_and_block_sizes_that_cannot_be_are_refused_and_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.img");
    let odd = PathOptions {
        block_size_bytes: 520,
        ..creating(1 << 20)
    };
    let large = PathOptions {
        block_size_bytes: 4096,
        ..creating(512 * 9)
    };
    for (options, code) in [
        (creating(1000), "part_block"),
        (creating(0), "geometry"),
        (creating(511), "geometry"),
        (creating(u64::MAX), "geometry"),
        (large, "part_block"),
        (odd, "geometry"),
    ] {
        let error = open(&path, &options).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(!path.exists(), "{options:?}");
    }
    // The largest that the kernel can count is more than any file system here takes.
    let most = i64::MAX.unsigned_abs() / 4096 * 4096;
    match open(&path, &creating(most)) {
        Ok(_) => {}
        Err(error) => {
            assert_eq!(error.code(), "too_large", "{error}");
            assert!(!path.exists());
        }
    }
}

#[test]
fn paths_that_are_no_disk_are_refused() {
    let (folder, path) = folder_with_disk(0);
    assert_eq!(open(&path, &creating(512)).unwrap_err().code(), "empty");
    let error = open(folder.path(), &PathOptions::default()).unwrap_err();
    assert_eq!(error.code(), "not_a_disk", "{error}");
    let null = Path::new("/dev/null");
    assert_eq!(
        open(null, &PathOptions::default()).unwrap_err().code(),
        "not_a_disk"
    );
    let nowhere = folder.path().join("no/such/disk.img");
    assert_eq!(
        open(&nowhere, &creating(512)).unwrap_err().code(),
        "no_folder"
    );
    let under_a_file = path.join("disk.img");
    assert!(open(&under_a_file, &creating(512)).is_err());
    fs::write(&path, [0; 512]).unwrap();
    let block = PathOptions {
        expect: Expect::BlockDevice,
        ..PathOptions::default()
    };
    assert_eq!(open(&path, &block).unwrap_err().code(), "other_type");
    let fifo = folder.path().join("fifo");
    let made = Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    assert_eq!(
        open(&fifo, &PathOptions::default()).unwrap_err().code(),
        "not_a_disk"
    );
}

#[test]
fn one_file_by_two_names_is_refused_with_the_first_name() {
    let (folder, path) = folder_with_disk(4096);
    let first = open(&path, &PathOptions::default()).unwrap();
    let hard = folder.path().join("hard.img");
    fs::hard_link(&path, &hard).unwrap();
    let soft = folder.path().join("soft.img");
    symlink(&path, &soft).unwrap();
    let reading = PathOptions {
        read_only: true,
        ..PathOptions::default()
    };
    for again in [&path, &hard, &soft] {
        for options in [&PathOptions::default(), &reading] {
            let error = open(again, options).unwrap_err();
            assert_eq!(error.code(), "already_open");
            let by = path.display().to_string();
            assert!(error.reason().contains(&by), "{error}");
        }
    }
    drop(first);
    assert!(open(&hard, &PathOptions::default()).is_ok());
}

/// Locks the file as another process would: by an open file description that is not the store's.
fn lock_elsewhere(path: &Path, mode: LockMode) -> StoreFile {
    let options = OpenOptions {
        write: true,
        ..OpenOptions::default()
    };
    let file = StoreFile::open(path, options).unwrap();
    file.lock(mode).unwrap();
    file
}

#[test]
fn file_locked_elsewhere_is_refused_until_it_is_let_go() {
    let (_folder, path) = folder_with_disk(4096);
    let reading = PathOptions {
        read_only: true,
        ..PathOptions::default()
    };
    let lock = lock_elsewhere(&path, LockMode::Exclusive);
    for options in [&PathOptions::default(), &reading] {
        assert_eq!(open(&path, options).unwrap_err().code(), "locked");
    }
    drop(lock);
    let lock = lock_elsewhere(&path, LockMode::Shared);
    assert_eq!(
        open(&path, &PathOptions::default()).unwrap_err().code(),
        "locked"
    );
    assert!(open(&path, &reading).is_ok(), "readers share");
    drop(lock);
    let opened = open(&path, &PathOptions::default()).unwrap();
    let options = OpenOptions::default();
    let elsewhere = StoreFile::open(&path, options).unwrap();
    assert!(
        elsewhere.lock(LockMode::Shared).is_err(),
        "the store holds a lock"
    );
    drop(opened);
    assert!(elsewhere.lock(LockMode::Shared).is_ok(), "and lets it go");
}

#[test]
fn file_that_may_not_be_written_opens_read_only() {
    let (_folder, path) = folder_with_disk(4096);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    let reading = PathOptions {
        read_only: true,
        ..PathOptions::default()
    };
    assert!(open(&path, &reading).is_ok());
    if rustix::process::geteuid().is_root() {
        eprintln!("left out: root may write any file");
        return;
    }
    assert_eq!(
        open(&path, &PathOptions::default()).unwrap_err().code(),
        "permission_denied"
    );
}

#[test]
fn copied_file_gets_a_new_identity_and_a_notice() {
    let (folder, path) = folder_with_disk(4096);
    let original = open(&path, &PathOptions::default()).unwrap();
    if original.origin != IdentityOrigin::New {
        eprintln!(
            "left out: no extended attributes in {}",
            folder.path().display()
        );
        return;
    }
    assert_eq!(original.copy_of(), None);
    let copy = folder.path().join("copy.img");
    let status = Command::new("cp").arg("-a").arg(&path).arg(&copy).status();
    assert!(status.unwrap().success());
    let other = IdentityHints {
        entropy: [2; 8],
        ..hints()
    };
    let copied = open_path(&copy, &PathOptions::default(), &other).unwrap();
    assert_ne!(copied.store.identity(), original.store.identity());
    assert_eq!(copied.copy_of(), Some(original.store.identity().serial()));
    drop(copied);
    let again = open(&copy, &PathOptions::default()).unwrap();
    assert_eq!(
        (again.origin.clone(), again.copy_of()),
        (IdentityOrigin::Stored, None)
    );
}

#[test]
fn serial_that_cannot_be_is_refused_before_anything_is_created() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.img");
    let bad = IdentityHints {
        serial: Some("\u{1}".to_owned()),
        ..hints()
    };
    let error = open_path(&path, &creating(512), &bad).unwrap_err();
    assert_eq!(error.code(), "bad_serial");
    assert!(!path.exists());
    assert_eq!(
        open_ram("ram", 512, 512, &bad).unwrap_err().code(),
        "bad_serial"
    );
}

#[test]
fn memory_stores_refuse_sizes_that_cannot_be() {
    for (bytes, block_size, code) in [
        (0, 512, "geometry"),
        (1000, 512, "part_block"),
        (4096, 520, "geometry"),
        (i64::MAX.unsigned_abs() / 512 * 512, 512, "no_memory"),
    ] {
        let error = open_ram("ram0", bytes, block_size, &hints()).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().starts_with("ram0: "), "{error}");
    }
    assert_eq!(
        open_null("null", 100, 512, &hints()).unwrap_err().code(),
        "geometry"
    );
    let null = open_null("null", 1 << 50, 4096, &hints()).unwrap();
    assert_eq!(null.store.caps().geometry.capacity_blocks, 1 << 38);
}

#[test]
fn block_device_has_its_size_an_identity_and_one_holder() {
    let Some(device) = LoopDevice::new() else {
        return;
    };
    let opened = open(&device.path, &PathOptions::default()).unwrap();
    assert_eq!(opened.store.caps().geometry.size_bytes(), 8 << 20);
    assert_eq!(opened.origin, IdentityOrigin::Derived);
    assert!(!opened.store.caps().unmap_zeroes);
    let error = open(&device.path, &PathOptions::default()).unwrap_err();
    assert_eq!(error.code(), "already_open");
    let first = opened.store.identity().clone();
    drop(opened);
    let exclusive = StoreFile::open(&device.path, OpenOptions::default()).unwrap();
    let error = open(&device.path, &PathOptions::default()).unwrap_err();
    assert_eq!(error.code(), "busy", "{error}");
    drop(exclusive);
    let again = open(&device.path, &PathOptions::default()).unwrap();
    assert_eq!(*again.store.identity(), first);
    drop(again);
    let file = PathOptions {
        expect: Expect::File,
        ..PathOptions::default()
    };
    assert_eq!(open(&device.path, &file).unwrap_err().code(), "other_type");
}

#[test]
fn block_device_that_is_mounted_is_refused_with_the_place() {
    let Some(device) = LoopDevice::new() else {
        return;
    };
    let made = run("mkfs.ext4", &["-q", "-F"], &device.path);
    if !made.is_some_and(|output| output.status.success()) {
        eprintln!("left out: no mkfs.ext4");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount")
        .arg(&device.path)
        .arg(place.path())
        .output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        eprintln!("left out: this process may not mount");
        return;
    }
    let error = open(&device.path, &PathOptions::default());
    let unmounted = run("umount", &[], place.path()).unwrap();
    assert!(unmounted.status.success());
    let error = error.unwrap_err();
    assert_eq!(error.code(), "mounted");
    let at = place.path().canonicalize().unwrap().display().to_string();
    assert!(error.to_string().contains(&at), "{error}");
    assert!(open(&device.path, &PathOptions::default()).is_ok());
}
