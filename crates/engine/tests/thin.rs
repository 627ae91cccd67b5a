//! Thin disks through the whole engine: what they use is told, a threshold too, and a file system that is full is an error of the
//! write that needed space (SBC-4, "Logical block provisioning").

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use engine::{Engine, EngineConfig};
use reactor::DriverChoice;
use support::{
    Client, DRIVERS, HOST, PATIENCE, asc, config, drain, file, pattern, ready, sense_key, settle,
    tree, write10,
};

const MIB: usize = 1 << 20;

fn start(driver: DriverChoice, image: PathBuf, bytes: usize) -> Option<Engine> {
    let config = EngineConfig {
        usage_interval: Duration::from_millis(10),
        ..config(driver, 2)
    };
    match Engine::start(config, tree(vec![file(image, bytes as u64)])) {
        Ok(engine) => Some(engine),
        Err(error) if driver != DriverChoice::Epoll && error.to_string().contains("driver") => None,
        Err(error) => panic!("{driver:?}: {error}"),
    }
}

/// Used LBA mapping resources, in MiB, as the Logical Block Provisioning log page tells; `None`: there is no such page yet.
fn used(client: &mut Client) -> Option<u32> {
    let done = client.run(0, &[0x4d, 0, 0x4c, 0, 0, 0, 2, 0, 64, 0], &[], 64);
    // From parameter 2 on.
    let parameter: &[u8; 8] = done.data.get(4..)?.first_chunk()?;
    let [0, 0x02, _, 8, count @ ..] = parameter else {
        return None;
    };
    Some(u32::from_be_bytes(*count))
}

fn until(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn thin_disk_tells_what_it_uses_and_everybody_when_its_threshold_is_reached() {
    for driver in DRIVERS {
        let folder = tempfile::tempdir().expect("a folder");
        let Some(engine) = start(driver, folder.path().join("disk.img"), 64 * MIB) else {
            continue;
        };
        let mut client = Client::login_as(engine.portals()[0], HOST);
        let mut other = Client::login_as(engine.portals()[0], &format!("{HOST}-other"));
        // ENABLED, for three threshold sets.
        let mut list = [0; 28];
        list[4..8].copy_from_slice(&[0x5c, 0x02, 0, 0x14]);
        list[20..28].copy_from_slice(&[0x81, 0x02, 0, 0, 0, 0, 0, 3]);
        client.good(0, &[0x15, 0x10, 0, 0, 28, 0], &list, 0);
        settle(&mut other, 0);
        // What the file system needs for an empty file it may count, too.
        until("it is looked at", || used(&mut client).is_some());
        let before = used(&mut client).unwrap_or(0);
        client.write(0, 0, &pattern(1, MIB));
        until("one more is used", || used(&mut client) == Some(before + 1));
        assert_eq!(ready(&mut client, 0), None);
        client.write(0, 8192, &pattern(1, 2 * MIB));
        for client in [&mut client, &mut other] {
            let reached = Some((6, (0x38, 0x07)));
            until("it is told", || ready(client, 0) == reached);
            assert_eq!(ready(client, 0), None);
        }
        drop((client, other));
        drain(engine);
    }
}

/// A file system of its own, of a few MiB; gone when it is dropped.
struct Small<'a>(&'a Path);

impl<'a> Small<'a> {
    fn mount(at: &'a Path) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
            .arg(at)
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then_some(Self(at))
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ended = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn write_that_finds_the_file_system_full_is_a_space_allocation_failure_and_others_go_on() {
    for driver in DRIVERS {
        let folder = tempfile::tempdir().expect("a folder");
        let Some(_small) = Small::mount(folder.path()) else {
            return eprintln!(
                "left out: a file system that can be filled takes the right to mount one"
            );
        };
        let Some(engine) = start(driver, folder.path().join("disk.img"), 64 * MIB) else {
            continue;
        };
        let mut client = Client::login_as(engine.portals()[0], HOST);
        let data = pattern(9, MIB);
        let mut full = None;
        for number in 0..8 {
            let lba = number * 2048;
            let done = client.run(0, &write10(lba, MIB), &data, 0);
            if done.status != 0 {
                full = Some((lba, done));
                break;
            }
        }
        let (lba, done) = full.expect("eight MiB do not fit");
        assert_eq!(
            (sense_key(&done.sense), asc(&done.sense)),
            (7, (0x27, 0x07))
        );
        // What is there can be read and written; what is given back can be used again.
        assert_eq!(client.read(0, 0, MIB), data);
        client.write(0, 0, &data);
        let mut list = [0; 24];
        list[1] = 22;
        list[3] = 16;
        list[16..20].copy_from_slice(&2048u32.to_be_bytes());
        client.good(0, &[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], &list, 0);
        client.write(0, lba, &data[..MIB / 2]);
        drop(client);
        drain(engine);
    }
}
