//! Disks in trouble, on file systems of the test's own: one whose calls hang delays nothing but itself (FUSE), one that is
//! full says so (tmpfs). Needs root and `/dev/fuse`; where they are missing each test says so and does nothing.

use std::ffi::CStr;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use initiator::{Delivery, Event};
use interop::client::{LoginEnd, cdb16, lun64, sense_code, try_login};
use interop::peer::Heard;
use interop::{Client, Driver, Load, Peer, Serve, on_each_driver};
use iscsi_wire::{LoginStatus, TaskManagementFunction, TaskManagementResponseCode};
use reactor::testing::StuckFile;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::Signal;

const FILE_BYTES: usize = 16 << 20;

/// How long something that has to happen may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends a test that cannot be done here, and says why.
macro_rules! or_skip {
    () => {
        if let Some(reason) = StuckFile::missing() {
            eprintln!("skipped: {reason}");
            return Ok(());
        }
    };
}

on_each_driver! {
    hanging_disk_delays_no_ping_and_no_other_disk,
    abort_of_a_hanging_command_is_answered_when_the_disk_lets_go,
    login_of_a_nexus_whose_command_hangs_waits_and_is_told_to_try_again,
    sigterm_with_a_hanging_disk_ends_by_its_deadline,
    full_disk_is_space_allocation_failed,
}

/// LUN 0 on the file, LUN 1 in memory. Nothing about such a file tells it from others, so the disks are named.
fn both_disks(folder: &Path, driver: Driver, file: &StuckFile) -> Serve {
    let disks = Serve::new(folder, driver)
        .argument(file.path())
        .ram("16MiB");
    let names = ["stuck", "ram"];
    let name = |serve: Serve, name| serve.argument("--serial").argument(name);
    names.into_iter().fold(disks, name)
}

/// One worker, so that both disks and both sessions share everything that can be shared.
fn hanging_disk_delays_no_ping_and_no_other_disk(driver: Driver) -> Result<()> {
    or_skip!();
    let folder = tempfile::tempdir()?;
    let mounted = tempfile::tempdir()?;
    let file = StuckFile::mount(mounted.path().join("disk.img"), FILE_BYTES)?;
    let serve = both_disks(folder.path(), driver, &file);
    let target = serve.argument("--workers").argument("1").start()?;
    let mut user = Client::login(target.portal, 1, &[])?;
    let mut other = Client::login(target.portal, 2, &[])?;
    other.select(1);
    other.become_ready()?;

    let mut load = Load::new(0, 8, 64, 1);
    load.run(&mut user, 8, |load, _| load.acknowledged >= 100)?;
    load.verify(&mut user)?;

    user.select(1);
    user.become_ready()?;

    user.select(0);
    let hang = file.stick();
    // More of each kind than there are threads to hang.
    let each = 24;
    for index in 0..each {
        user.read(index * 8, 8)?;
        user.write(16_384 + index * 8, vec![0xA5; 8 * user.block_bytes]);
        user.flush();
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
    // A new nexus is told of by the hanging disk too: neither that nor its end waits for it.
    Client::login(target.portal, 3, &[])?.logout()?;
    ensure!(file.held() > 0, "nothing hangs: the test shows nothing");

    drop(hang);
    for _ in 0..3 * each {
        user.next_done()?;
    }
    user.select(0);
    load.verify(&mut user)?;
    user.logout()?;
    other.logout()?;
    ensure!(target.drain()?.success(), "it did not exit 0");
    Ok(())
}

/// Waits until a call hangs.
fn wait_until_held(file: &StuckFile) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while file.held() == 0 {
        ensure!(Instant::now() < end, "nothing hangs");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// RFC 7143 §4.2.3.2, SAM-5 "Task management functions": a function is complete when the last task it concerns has left the
/// backstore. Until then its initiator waits, and nobody else.
fn abort_of_a_hanging_command_is_answered_when_the_disk_lets_go(driver: Driver) -> Result<()> {
    use TaskManagementFunction as F;
    or_skip!();
    let folder = tempfile::tempdir()?;
    let mounted = tempfile::tempdir()?;
    let file = StuckFile::mount(mounted.path().join("disk.img"), FILE_BYTES)?;
    let serve = both_disks(folder.path(), driver, &file);
    let target = serve.argument("--workers").argument("1").start()?;
    let mut beside = Client::login(target.portal, 1, &[])?;
    beside.select(1);
    beside.become_ready()?;
    let flush: &[u8] = &[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let (read, write) = (cdb16(0x88, 0, 8), cdb16(0x8a, 64, 8));
    for function in [
        F::AbortTask,
        F::AbortTaskSet,
        F::ClearTaskSet,
        F::LogicalUnitReset,
    ] {
        for (cdb, out, bytes_in) in [(&read[..], 0, 4096), (&write, 4096, 0), (flush, 0, 0)] {
            // A function that reaches other nexuses leaves them a unit attention: each round is a nexus of its own.
            let mut peer = Peer::login(target.portal, Peer::config(1))?;
            let hang = file.stick();
            let data = vec![0x5A; out];
            let command = peer.initiator.command(lun64(0), cdb, data, bytes_in);
            peer.flush();
            wait_until_held(&file)?;
            let referenced = (function == F::AbortTask).then_some(command);
            peer.initiator
                .task_management(function, lun64(0), referenced, Delivery::Immediate);
            // What comes first is the answer to the ping: neither the function's nor the command's end.
            peer.goes_on()?;
            beside.read_now(0, 8)?;
            peer.goes_on()?;
            ensure!(file.held() > 0, "the disk let go too early");
            drop(hang);
            // RFC 7143 §4.2.3.2: the response may wait for an acknowledgement, which a ping asks for.
            let answer = loop {
                match peer.event()? {
                    Event::Pinged { .. } => {}
                    other => break other,
                }
            };
            match answer {
                Event::TaskManaged { response, .. } => ensure!(
                    response == TaskManagementResponseCode::FunctionComplete,
                    "{function:?}: {response:?}"
                ),
                other => bail!("{function:?}: {other:?}"),
            }
            // The aborted command has no status, and the unit serves again.
            peer.goes_on()?;
            peer.become_ready(lun64(0))?;
        }
    }
    beside.logout()?;
    ensure!(target.drain()?.success(), "it did not exit 0");
    Ok(())
}

/// RFC 7143 §6.3.5, §11.13.5: the new login ends the old session and takes its place once that is gone. As long as a
/// backstore holds a command of it that cannot be, and the initiator is told to come again.
fn login_of_a_nexus_whose_command_hangs_waits_and_is_told_to_try_again(
    driver: Driver,
) -> Result<()> {
    or_skip!();
    let folder = tempfile::tempdir()?;
    let mounted = tempfile::tempdir()?;
    let file = StuckFile::mount(mounted.path().join("disk.img"), FILE_BYTES)?;
    let target = both_disks(folder.path(), driver, &file).start()?;
    let mut peer = Peer::login(target.portal, Peer::config(1))?;
    let hang = file.stick();
    let cdb = cdb16(0x8a, 0, 8);
    peer.initiator.command(lun64(0), &cdb, vec![0x5A; 4096], 0);
    peer.flush();
    wait_until_held(&file)?;
    let fate = try_login(target.portal, Peer::config(1))?;
    ensure!(
        fate == LoginEnd::Refused(LoginStatus::SERVICE_UNAVAILABLE),
        "{fate:?}"
    );
    // The old session was ended without a status for its write, and a stranger is not kept waiting.
    peer.hear_end()?;
    Peer::login(target.portal, Peer::config(2))?.goes_on()?;
    ensure!(file.held() > 0, "nothing hangs: the test shows nothing");
    drop(hang);
    Peer::login(target.portal, Peer::config(1))?.goes_on()?;
    ensure!(target.drain()?.success(), "it did not exit 0");
    Ok(())
}

/// The deadline of a drain holds, whatever a disk does.
fn sigterm_with_a_hanging_disk_ends_by_its_deadline(driver: Driver) -> Result<()> {
    or_skip!();
    let folder = tempfile::tempdir()?;
    let mounted = tempfile::tempdir()?;
    let file = StuckFile::mount(mounted.path().join("disk.img"), FILE_BYTES)?;
    let target = both_disks(folder.path(), driver, &file).start()?;
    let mut peer = Peer::login(target.portal, Peer::config(1))?;
    let hang = file.stick();
    let cdb = cdb16(0x8a, 0, 8);
    let write = peer.initiator.command(lun64(0), &cdb, vec![0x5A; 4096], 0);
    peer.flush();
    wait_until_held(&file)?;
    target.signal(Signal::TERM)?;
    // RFC 7143 §11.9.1: it asks for logout, goes on serving until the deadline, and closes the connection then. The write
    // gets no status: it has not been done.
    loop {
        match peer.listen()? {
            Heard::Closed => break,
            Heard::Event(event) => {
                let asks = matches!(&*event, Event::Async { .. });
                ensure!(asks, "{event:?} for {write:?}");
            }
        }
    }
    let end = Instant::now() + PATIENCE;
    while !target.has_ended()? {
        ensure!(Instant::now() < end, "it waits for the disk");
        std::thread::sleep(Duration::from_millis(10));
    }
    ensure!(file.held() > 0, "nothing hangs: the test shows nothing");
    drop(hang);
    let log = folder.path().join("quintain.log");
    let status = target.wait()?;
    let log = std::fs::read_to_string(log)?;
    // What hung is not passed over in silence.
    ensure!(
        status.code() == Some(1) && log.contains("disk"),
        "{status}: {log}"
    );
    ensure!(!log.contains("panic"), "{log}");
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
    or_skip!();
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
    or_skip!();
    let mounted = tempfile::tempdir()?;
    let file = StuckFile::mount(mounted.path().join("disk.img"), FILE_BYTES)?;
    let path = file.path().to_owned();
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
