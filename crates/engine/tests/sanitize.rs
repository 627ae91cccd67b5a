//! SANITIZE through the whole engine: what it erases, who is served meanwhile, and what a restart, a removal and a drain make of it
//! (SBC-4, "Sanitize operations").

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use engine::{Engine, EngineConfig};
use reactor::DriverChoice;
use reactor::testing::StuckFile;
use support::{
    Client, DRIVERS, HOST, PATIENCE, apply, asc, config, create, delete, drain, file, path,
    pattern, ram, ready, sense_key, settle, tpg, transact, tree,
};

const BYTES: usize = 4 << 20;
/// Eight blocks before the end.
const LAST: u32 = 8192 - 8;
const STUCK: u16 = 5;

const OVERWRITE: u8 = 0x01;
const BLOCK_ERASE: u8 = 0x02;
const IMMED: u8 = 0x80;

const IN_PROGRESS: Option<(u8, (u8, u8))> = Some((2, (0x04, 0x1b)));

fn sanitize(action: u8, list: &[u8]) -> [u8; 10] {
    let length = u8::try_from(list.len()).expect("a short list");
    [0x48, action, 0, 0, 0, 0, 0, 0, length, 0]
}

/// An engine that keeps what outlasts it below `directory`; `None`: the machine has no such driver.
fn start(driver: DriverChoice, directory: &Path, tree: model::Tree) -> Option<Engine> {
    let config = EngineConfig {
        reservations: Some(directory.join("reservations")),
        ..config(driver, 2)
    };
    match Engine::start(config, tree) {
        Ok(engine) => Some(engine),
        Err(error) if driver != DriverChoice::Epoll && error.to_string().contains("driver") => None,
        Err(error) => panic!("{driver:?}: {error}"),
    }
}

fn until(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn sanitize_erases_all_of_a_disk_in_memory_and_in_a_file() {
    for driver in DRIVERS {
        let folder = tempfile::tempdir().expect("a folder");
        let size = BYTES as u64;
        let backings = vec![ram(size), file(folder.path().join("disk.img"), size)];
        let Some(engine) = start(driver, folder.path(), tree(backings)) else {
            continue;
        };
        let mut client = Client::login_as(engine.portals()[0], HOST);
        for lun in [0, 1] {
            for lba in [0, LAST] {
                client.write(lun, lba, &pattern(7, 4096));
            }
            let list = [0x83, 0, 0, 3, 1, 2, 3];
            client.good(lun, &sanitize(OVERWRITE, &list), &list, 0);
            let block = [1, 2, 3].repeat(171);
            for lba in [0, LAST] {
                let data = client.read(lun, lba, 4096);
                assert!(data.chunks(512).all(|one| *one == block[..512]));
            }
            client.good(lun, &sanitize(BLOCK_ERASE | IMMED, &[]), &[], 0);
            until("it ends", || ready(&mut client, lun).is_none());
            assert_eq!(client.read(lun, LAST, 4096), [0; 4096]);
        }
        drop(client);
        drain(engine);
        let kept = std::fs::read_dir(folder.path().join("reservations")).expect("a folder");
        assert_eq!(kept.count(), 0, "nothing is left to be remembered");
    }
}

/// An engine with a LUN 0 in RAM, and LUN [`STUCK`] on a file that hangs once it is told to.
fn with_stuck_file(test: impl Fn(DriverChoice, &Path, Engine, &StuckFile)) {
    if let Some(reason) = StuckFile::missing() {
        return eprintln!("left out: {reason}");
    }
    for driver in DRIVERS {
        let folder = tempfile::tempdir().expect("a folder");
        let file = StuckFile::mount(folder.path().join("disk.img"), BYTES);
        let file = file.expect("root may mount");
        if let Some(engine) = start_with(driver, folder.path(), &file) {
            test(driver, folder.path(), engine, &file);
        }
    }
}

fn start_with(driver: DriverChoice, folder: &Path, file: &StuckFile) -> Option<Engine> {
    let engine = start(driver, folder, tree(vec![ram(1 << 20)]))?;
    transact(&engine, &[disk(file), lun()]);
    Some(engine)
}

fn disk(file: &StuckFile) -> model::Change {
    let at = file.path().to_str().expect("UTF-8");
    create(
        path("/backstores/file/stuck"),
        &[("path", at), ("serial", "stuck")],
    )
}

fn lun() -> model::Change {
    create(
        tpg(&format!("/luns/{STUCK}")),
        &[("backstore", "file/stuck")],
    )
}

/// Has the disk overwritten with EEh, and does not wait.
fn begin(client: &mut Client) {
    let list = [0x01, 0, 0, 1, 0xee];
    client.good(STUCK, &sanitize(OVERWRITE | IMMED, &list), &list, 0);
}

fn is_overwritten(client: &mut Client) {
    until("it ends", || ready(client, STUCK).is_none());
    for lba in [0, LAST] {
        assert_eq!(client.read(STUCK, lba, 4096), [0xee; 4096]);
    }
}

#[test]
fn sanitize_that_hangs_takes_nothing_from_other_disks_and_is_polled_by_others() {
    with_stuck_file(|_, _, engine, file| {
        let mut client = Client::login_as(engine.portals()[0], HOST);
        let mut other = Client::login_as(engine.portals()[0], &format!("{HOST}-other"));
        settle(&mut client, STUCK);
        settle(&mut other, STUCK);
        let hang = file.stick();
        begin(&mut client);
        until("a call hangs", || file.held() > 0);
        assert_eq!(ready(&mut other, STUCK), IN_PROGRESS);
        let polled = other.good(STUCK, &[0x03, 0, 0, 0, 18, 0], &[], 18);
        assert_eq!((sense_key(&polled), asc(&polled)), (2, (0x04, 0x1b)));
        assert_eq!(polled[15], 0x80, "how far it is");
        for client in [&mut client, &mut other] {
            client.write(0, 0, &pattern(4, 4096));
            assert_eq!(client.read(0, 0, 4096), pattern(4, 4096));
        }
        // Its session goes, and so does whoever waits for the end.
        drop(client);
        drop(hang);
        is_overwritten(&mut other);
        drop(other);
        drain(engine);
    });
}

#[test]
fn disk_that_is_being_sanitized_is_removed_in_time_and_goes_on_when_it_is_back() {
    with_stuck_file(|_, _, engine, file| {
        let mut client = Client::login_as(engine.portals()[0], HOST);
        settle(&mut client, STUCK);
        client.write(STUCK, 0, &pattern(7, 4096));
        let hang = file.stick();
        begin(&mut client);
        until("a call hangs", || file.held() > 0);
        let removal = [
            delete(tpg(&format!("/luns/{STUCK}"))),
            delete(path("/backstores/file/stuck")),
        ];
        let left = apply(&engine, &removal).wait();
        assert!(left.backstores > 0, "{left:?}");
        drop(hang);
        until("the remnant goes", || engine.remnants().is_empty());
        transact(&engine, &[disk(file), lun()]);
        is_overwritten(&mut client);
        drop(client);
        drain(engine);
    });
}

#[test]
fn disk_that_was_being_sanitized_at_the_end_of_the_process_is_erased_before_anybody_reads_it() {
    with_stuck_file(|driver, folder, engine, file| {
        let mut client = Client::login_as(engine.portals()[0], HOST);
        settle(&mut client, STUCK);
        client.write(STUCK, LAST, &pattern(7, 4096));
        let hang = file.stick();
        begin(&mut client);
        until("a call hangs", || file.held() > 0);
        drop(client);
        engine.start_drain(Duration::from_millis(50));
        drop(hang);
        drain(engine);
        let engine = start_with(driver, folder, file).expect("as before");
        let mut client = Client::login_as(engine.portals()[0], HOST);
        is_overwritten(&mut client);
        drop(client);
        drain(engine);
    });
}

#[test]
fn disk_whose_settings_cannot_be_read_is_kept_from_everybody() {
    let folder = tempfile::tempdir().expect("a folder");
    let image = folder.path().join("disk.img");
    let serve = || {
        let tree = tree(vec![file(image.clone(), BYTES as u64)]);
        start(DriverChoice::Epoll, folder.path(), tree).expect("a driver")
    };
    let engine = serve();
    let naa = engine.units()[0].naa;
    drain(engine);
    let place = folder.path().join("reservations");
    let settings = place.join(format!("naa-{naa:016x}.settings"));
    std::fs::write(&settings, b"damaged").expect("it is written");
    let engine = serve();
    let mut client = Client::login_as(engine.portals()[0], HOST);
    let done = client.run(0, &support::read10(0, 512), &[], 512);
    assert_eq!((sense_key(&done.sense), asc(&done.sense)), (4, (0x44, 0)));
    drop(client);
    drain(engine);
    std::fs::remove_file(&settings).expect("it is there");
    let engine = serve();
    let mut client = Client::login_as(engine.portals()[0], HOST);
    assert_eq!(client.read(0, 0, 512), [0; 512]);
    drop(client);
    drain(engine);
}
