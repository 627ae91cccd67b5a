//! Persistent reservations through the whole engine: nobody that was preempted writes after the answer, whichever worker it is on;
//! and what APTPL asks to keep is there after a restart (SPC-5, "Reservations").

mod support;

use std::net::SocketAddr;
use std::path::Path;

use engine::{Engine, EngineConfig};
use initiator::CommandDone;
use iscsi_wire::Itt;
use reactor::DriverChoice;
use support::{
    Client, HOST, asc, config, drain, file, on_each_driver, pattern, ram, sense_key, tree,
    wire_lun, write10,
};

const RESERVE: u8 = 1;
const CLEAR: u8 = 3;
const PREEMPT: u8 = 4;
const PREEMPT_AND_ABORT: u8 = 5;
const REGISTER_AND_IGNORE: u8 = 6;

const EXCLUSIVE_ACCESS: u8 = 3;
const WRITE_EXCLUSIVE_REGISTRANTS_ONLY: u8 = 5;

const GOOD: u8 = 0x00;
const CONFLICT: u8 = 0x18;

const BLOCK: usize = 512;
/// Bytes of a write whose data come slowly.
const SLOW: usize = 128 << 10;

/// PERSISTENT RESERVE OUT.
fn reserve_out(
    client: &mut Client,
    (action, kind): (u8, u8),
    (key, action_key): (u64, u64),
    persist: bool,
) -> CommandDone {
    let mut list = [0; 24];
    list[..8].copy_from_slice(&key.to_be_bytes());
    list[8..16].copy_from_slice(&action_key.to_be_bytes());
    list[20] = u8::from(persist);
    client.run(0, &[0x5f, action, kind, 0, 0, 0, 0, 0, 24, 0], &list, 0)
}

fn register(client: &mut Client, key: u64, persist: bool) -> CommandDone {
    reserve_out(client, (REGISTER_AND_IGNORE, 0), (0, key), persist)
}

/// The keys, sorted.
fn keys(client: &mut Client) -> Vec<u64> {
    let data = client.good(0, &[0x5e, 0, 0, 0, 0, 0, 0, 4, 0, 0], &[], 1024);
    let keys = data[8..].chunks_exact(8);
    let mut keys: Vec<u64> = keys
        .map(|key| u64::from_be_bytes(key.try_into().expect("8 bytes")))
        .collect();
    keys.sort_unstable();
    keys
}

/// A write that the target has begun and asked data for, of which only half has been sent.
struct SlowWrite {
    client: Client,
    itt: Itt,
    rest: Vec<u8>,
    lba: u32,
}

impl SlowWrite {
    fn start(mut client: Client, number: u32) -> Self {
        use std::io::Write as _;
        let lba = number * 1024;
        let data = pattern(u64::from(number), SLOW);
        let itt = client
            .initiator
            .command(wire_lun(0), &write10(lba, SLOW), data, 0);
        client.flush();
        let mut bytes = Vec::new();
        // The answer to its R2T: the command is the unit's by then, however slow the worker is.
        while bytes.is_empty() {
            assert!(client.hear(), "the connection stays open");
            bytes = client.initiator.take_output();
        }
        let rest = bytes.split_off(bytes.len() / 2);
        client
            .stream
            .write_all(&bytes)
            .expect("the target takes it");
        Self {
            client,
            itt,
            rest,
            lba,
        }
    }

    fn send_the_rest(&mut self) {
        use std::io::Write as _;
        let rest = std::mem::take(&mut self.rest);
        self.client
            .stream
            .write_all(&rest)
            .expect("the target takes it");
    }
}

fn fence(portal: SocketAddr, action: u8) {
    let mut fencer = Client::login_as(portal, HOST);
    assert_eq!(register(&mut fencer, 0x11, false).status, GOOD);
    let kind = WRITE_EXCLUSIVE_REGISTRANTS_ONLY;
    let reserved = reserve_out(&mut fencer, (RESERVE, kind), (0x11, 0), false);
    assert_eq!(reserved.status, GOOD);
    let mut writes: Vec<SlowWrite> = (1..=5)
        .map(|number| {
            let mut client = Client::login_as(portal, &format!("{HOST}-slow{number}"));
            assert_eq!(register(&mut client, 0x22, false).status, GOOD);
            client.write(0, number * 1024, &pattern(99, BLOCK));
            SlowWrite::start(client, number)
        })
        .collect();

    let fenced = reserve_out(&mut fencer, (action, kind), (0x11, 0x22), false);
    assert_eq!(fenced.status, GOOD);
    assert_eq!(keys(&mut fencer), [0x11]);
    let ours = pattern(7, SLOW);
    for write in &writes {
        fencer.write(0, write.lba, &ours);
    }
    for write in &mut writes {
        write.send_the_rest();
        if action == PREEMPT {
            let done = write.client.done(write.itt);
            assert_eq!(done.status, CONFLICT, "{:02x?}", done.sense);
        }
        // New commands are served, and kept out.
        let again = write
            .client
            .run(0, &write10(write.lba, BLOCK), &[1; BLOCK], 0);
        assert_eq!(again.status, CONFLICT);
        assert_eq!(fencer.read(0, write.lba, SLOW), ours);
    }
    // An initiator that registers again is let in again.
    let mut back = writes.remove(0);
    assert_eq!(register(&mut back.client, 0x22, false).status, GOOD);
    back.client.write(0, back.lba, &pattern(3, BLOCK));
    assert_eq!(fencer.read(0, back.lba, BLOCK), pattern(3, BLOCK));
}

#[test]
fn write_with_slow_data_is_not_written_after_a_preempt_whichever_worker_has_it() {
    on_each_driver(3, || vec![ram(8 << 20)], |portal, _| fence(portal, PREEMPT));
}

#[test]
fn write_with_slow_data_is_aborted_by_preempt_and_abort_whichever_worker_has_it() {
    on_each_driver(
        3,
        || vec![ram(8 << 20)],
        |portal, _| fence(portal, PREEMPT_AND_ABORT),
    );
}

#[test]
fn preempted_initiators_under_load_leave_nothing_behind_after_the_answer() {
    on_each_driver(
        3,
        || vec![ram(8 << 20)],
        |portal, _| {
            let mut fencer = Client::login_as(portal, HOST);
            assert_eq!(register(&mut fencer, 0x11, false).status, GOOD);
            let kind = WRITE_EXCLUSIVE_REGISTRANTS_ONLY;
            let reserved = reserve_out(&mut fencer, (RESERVE, kind), (0x11, 0), false);
            assert_eq!(reserved.status, GOOD);
            std::thread::scope(|scope| {
                for number in 0..4 {
                    scope.spawn(move || {
                        let name = format!("{HOST}-load{number}");
                        let mut client = Client::login_as(portal, &name);
                        assert_eq!(register(&mut client, 0x22, false).status, GOOD);
                        let data = pattern(number, 4096);
                        let written = (0..100_000).take_while(|_| {
                            client.run(0, &write10(8, 4096), &data, 0).status == GOOD
                        });
                        assert!(written.count() < 100_000, "it was never kept out");
                    });
                }
                // Each of them is at work.
                while keys(&mut fencer).len() < 5 {
                    std::thread::yield_now();
                }
                let fenced = reserve_out(&mut fencer, (PREEMPT, kind), (0x11, 0x22), false);
                assert_eq!(fenced.status, GOOD);
                let ours = pattern(77, 4096);
                fencer.write(0, 8, &ours);
                for _ in 0..200 {
                    assert_eq!(fencer.read(0, 8, 4096), ours);
                }
            });
        },
    );
}

/// An engine with a disk and a place for reservations, both in `directory`.
fn start(directory: &Path) -> Engine {
    let config = EngineConfig {
        reservations: Some(directory.join("reservations")),
        ..config(DriverChoice::Epoll, 2)
    };
    let disk = file(directory.join("disk.img"), 1 << 20);
    Engine::start(config, tree(vec![disk])).expect("it starts")
}

fn write(client: &mut Client) -> u8 {
    client.run(0, &write10(0, BLOCK), &[1; BLOCK], 0).status
}

#[test]
fn reservation_with_aptpl_is_there_after_a_restart_and_one_without_is_not() {
    let directory = tempfile::tempdir().expect("a directory");
    for persist in [true, false] {
        let engine = start(directory.path());
        let mut holder = Client::login_as(engine.portals()[0], HOST);
        assert_eq!(register(&mut holder, 0x11, persist).status, GOOD);
        let kind = EXCLUSIVE_ACCESS;
        let reserved = reserve_out(&mut holder, (RESERVE, kind), (0x11, 0), false);
        assert_eq!(reserved.status, GOOD);
        drop(holder);
        drain(engine);

        let engine = start(directory.path());
        let portal = engine.portals()[0];
        let mut other = Client::login_as(portal, &format!("{HOST}-other"));
        let mut holder = Client::login_as(portal, HOST);
        let expected = if persist {
            (vec![0x11], CONFLICT)
        } else {
            (vec![], GOOD)
        };
        assert_eq!((keys(&mut other), write(&mut other)), expected);
        assert_eq!(write(&mut holder), GOOD);
        if persist {
            let cleared = reserve_out(&mut holder, (CLEAR, 0), (0x11, 0), false);
            assert_eq!(cleared.status, GOOD);
        }
        drop((other, holder));
        drain(engine);
    }
}

#[test]
fn reservation_that_cannot_be_saved_is_refused_and_changes_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let engine = start(directory.path());
    let mut client = Client::login_as(engine.portals()[0], HOST);
    let place = directory.path().join("reservations");
    std::fs::remove_dir(&place).expect("it is empty");
    let done = register(&mut client, 0x11, true);
    assert_eq!((done.status, sense_key(&done.sense)), (2, 5));
    assert_eq!(asc(&done.sense), (0x55, 0x04));
    assert!(keys(&mut client).is_empty());
    std::fs::create_dir(&place).expect("a directory");
    assert_eq!(register(&mut client, 0x11, true).status, GOOD);
    assert_eq!(keys(&mut client), [0x11]);
    drop(client);
    drain(engine);
}

#[test]
fn reservations_that_cannot_be_read_keep_everybody_out_until_they_are_replaced() {
    let directory = tempfile::tempdir().expect("a directory");
    let engine = start(directory.path());
    let mut client = Client::login_as(engine.portals()[0], HOST);
    assert_eq!(register(&mut client, 0x11, true).status, GOOD);
    drop(client);
    drain(engine);
    let place = directory.path().join("reservations");
    let mut files = std::fs::read_dir(&place).expect("a directory");
    let saved = files.next().expect("a file").expect("its name").path();
    assert!(files.next().is_none());
    std::fs::write(&saved, b"damaged").expect("it is written");

    let engine = start(directory.path());
    let mut client = Client::login_as(engine.portals()[0], HOST);
    let lost = client.run(0, &write10(0, BLOCK), &[1; BLOCK], 0);
    assert_eq!(
        (sense_key(&lost.sense), asc(&lost.sense)),
        (7, (0x44, 0x01))
    );
    let kind = WRITE_EXCLUSIVE_REGISTRANTS_ONLY;
    let replaced = reserve_out(&mut client, (8, kind), (0, 0x11), true);
    assert_eq!(replaced.status, GOOD);
    assert_eq!(write(&mut client), GOOD);
    drop(client);
    drain(engine);
    let engine = start(directory.path());
    let mut other = Client::login_as(engine.portals()[0], &format!("{HOST}-other"));
    assert_eq!(
        (keys(&mut other), write(&mut other)),
        (vec![0x11], CONFLICT)
    );
    drop(other);
    drain(engine);
}
