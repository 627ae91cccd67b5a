//! Disks in trouble, on file systems of the test's own: one whose calls hang delays nothing but itself (FUSE), one that is
//! full says so (tmpfs). Needs root.

use std::ffi::CStr;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use interop::client::sense_code;
use interop::stuck_file::StuckFile;
use interop::{Client, Driver, Load, Serve, on_each_driver};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

const FILE_BYTES: usize = 16 << 20;

on_each_driver! {
    hanging_disk_delays_no_ping_and_no_other_disk,
    full_disk_is_space_allocation_failed,
}

/// One worker, so that both disks and both sessions share everything that can be shared.
fn hanging_disk_delays_no_ping_and_no_other_disk(driver: Driver) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mounted = tempfile::tempdir()?;
    let file = StuckFile::mount(mounted.path(), FILE_BYTES)?;
    let serve = Serve::new(folder.path(), driver)
        .argument(file.path())
        .ram("16MiB");
    let target = serve.argument("--workers").argument("1").start()?;
    let mut user = Client::login(target.portal, 1, &[])?;
    let mut other = Client::login(target.portal, 2, &[])?;
    other.select(1);

    let mut load = Load::new(0, 8, 64, 1);
    load.run(&mut user, 8, |load, _| load.acknowledged >= 100)?;
    load.verify(&mut user)?;

    let hang = file.stick();
    // More of each kind than there are threads to hang.
    let (reads, writes) = (24, 24);
    for index in 0..reads {
        user.read(index * 8, 8)?;
    }
    for index in 0..writes {
        user.write(16_384 + index * 8, vec![0xA5; 8 * user.block_bytes]);
    }
    // On the same session: a ping, and the other disk. Were one of the hanging commands to end, these would be errors.
    user.ping_now()?;
    user.select(1);
    for lba in 0..50 {
        user.read_now(lba, 1)?;
    }
    // On another session of the same worker.
    let mut beside = Load::new(0, 8, 64, 2);
    beside.run(&mut other, 8, |load, _| load.acknowledged >= 500)?;
    beside.verify(&mut other)?;
    other.ping_now()?;
    Client::login(target.portal, 3, &[])?.logout()?;
    ensure!(file.held() > 0, "nothing hangs: the test shows nothing");

    drop(hang);
    for _ in 0..reads + writes {
        user.next_done()?;
    }
    user.select(0);
    load.verify(&mut user)?;
    user.logout()?;
    other.logout()?;
    ensure!(target.drain()?.success(), "it did not exit 0");
    Ok(())
}

/// Unmounts at the end of a test, however that comes.
struct Tmpfs<'a>(&'a Path);

impl<'a> Tmpfs<'a> {
    fn mount(folder: &'a Path, options: &CStr) -> Result<Self> {
        mount(
            "quintain-test",
            folder,
            "tmpfs",
            MountFlags::empty(),
            options,
        )?;
        Ok(Self(folder))
    }
}

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        let _unmounted = unmount(self.0, UnmountFlags::DETACH);
    }
}

/// SBC-4 "Thin provisioning": out of space is DATA PROTECT, SPACE ALLOCATION FAILED WRITE PROTECT; what is there stays.
fn full_disk_is_space_allocation_failed(driver: Driver) -> Result<()> {
    const SPACE_ALLOCATION_FAILED: (u8, u8, u8) = (7, 0x27, 7);
    let mounted = tempfile::tempdir()?;
    let _small = Tmpfs::mount(mounted.path(), c"size=4m")?;
    let target = Serve::new(mounted.path(), driver)
        .file("disk.img", "64MiB")
        .start()?;
    let mut client = Client::login(target.portal, 1, &[])?;
    let mut load = Load::new(0, 64, 64, 3);
    load.run(&mut client, 4, |load, _| load.acknowledged >= 30)?;
    // Each 1 MiB; somewhere on the way the file system is full.
    let mut refused = 0;
    for index in 0..8 {
        client.write(32_768 + index * 2048, vec![0x5A; 1 << 20]);
        let ended = client.next_ended()?;
        if ended.status != 0 {
            refused += 1;
            let code = sense_code(&ended.sense);
            ensure!(
                code == Some(SPACE_ALLOCATION_FAILED),
                "{code:02x?}: {ended:?}"
            );
        }
    }
    ensure!(refused > 0, "8 MiB went into 4 MiB");
    load.verify(&mut client)?;
    client.logout()?;
    ensure!(target.drain()?.success(), "it did not exit 0");
    Ok(())
}

/// Without this, a file system that never hangs would make the test above pass on any target.
#[test]
fn stuck_file_hangs_and_is_let_go() -> Result<()> {
    let mounted = tempfile::tempdir()?;
    let file = StuckFile::mount(mounted.path(), FILE_BYTES)?;
    let path = file.path();
    let (sender, receiver) = mpsc::channel();
    let hang = file.stick();
    std::thread::spawn(move || {
        let write_and_read = || -> std::io::Result<Vec<u8>> {
            let opened = std::fs::File::options().read(true).write(true).open(path)?;
            opened.write_all_at(b"hello", 4096)?;
            let mut back = vec![0; 5];
            opened.read_exact_at(&mut back, 4096)?;
            opened.sync_data()?;
            Ok(back)
        };
        // The receiver is there until the test ends.
        let _told = sender.send(write_and_read());
    });
    while file.held() == 0 {
        let early = receiver.recv_timeout(Duration::from_millis(10));
        ensure!(early.is_err(), "it did not hang: {early:?}");
    }
    drop(hang);
    let back = receiver
        .recv_timeout(Duration::from_secs(60))
        .context("not let go")??;
    ensure!(back == b"hello", "{back:?}");
    Ok(())
}
