//! COMPARE AND WRITE is one step to everybody, whichever workers the others are on (SBC-4, "COMPARE AND WRITE command").

mod support;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use support::{Client, HOST, file, on_each_driver, ram, sense_key};

const BLOCK: usize = 512;

fn compare_and_write(lba: u32, blocks: u8) -> [u8; 16] {
    let lba = lba.to_be_bytes();
    [
        0x89, 0, 0, 0, 0, 0, lba[0], lba[1], lba[2], lba[3], 0, 0, 0, blocks, 0, 0,
    ]
}

/// A block that names its writer and its count, whole: a torn one shows.
fn block(writer: u64, count: u64) -> Vec<u8> {
    let mut data = Vec::with_capacity(BLOCK);
    while data.len() < BLOCK {
        data.extend_from_slice(&writer.to_be_bytes());
        data.extend_from_slice(&count.to_be_bytes());
    }
    data
}

fn is_whole(data: &[u8]) -> bool {
    data.chunks(16).all(|piece| piece == &data[..16])
}

/// Many initiators count up one block by compare and write: no increment is lost, none is counted twice.
fn count_together(portal: SocketAddr, initiators: u64, each: u64) {
    let retries = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for who in 0..initiators {
            let retries = &retries;
            scope.spawn(move || {
                let mut client = Client::login_as(portal, &format!("{HOST}-count{who}"));
                let mut done = 0;
                while done < each {
                    let now = client.read(0, 7, BLOCK);
                    assert!(is_whole(&now), "a torn block was read");
                    let count = u64::from_be_bytes(now[8..16].try_into().expect("8 bytes"));
                    let mut both = now;
                    both.extend_from_slice(&block(0, count + 1));
                    let answer = client.run(0, &compare_and_write(7, 1), &both, 0);
                    match answer.status {
                        0 => done += 1,
                        2 if sense_key(&answer.sense) == 0x0e => {
                            retries.fetch_add(1, Ordering::Relaxed);
                        }
                        status => panic!("status {status:02x}, sense {:02x?}", answer.sense),
                    }
                }
            });
        }
    });
    let mut client = Client::login_as(portal, HOST);
    let total = client.read(0, 7, BLOCK);
    assert_eq!(
        total,
        block(0, initiators * each),
        "{} retries",
        retries.into_inner()
    );
}

#[test]
fn compare_and_write_of_many_initiators_loses_no_increment() {
    on_each_driver(
        2,
        || vec![ram(1 << 20)],
        |portal, _| {
            Client::login_as(portal, HOST).write(0, 7, &block(0, 0));
            count_together(portal, 6, 40);
        },
    );
}

#[test]
fn compare_and_write_on_a_file_loses_no_increment() {
    let dir = tempfile::tempdir().expect("a folder");
    on_each_driver(
        2,
        || {
            let path = dir.path().join("disk.img");
            let _absent = std::fs::remove_file(&path);
            vec![file(path, 1 << 20)]
        },
        |portal, _| {
            Client::login_as(portal, HOST).write(0, 7, &block(0, 0));
            count_together(portal, 4, 30);
        },
    );
}

/// Ends the writers, also when an assertion fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Plain writes of the same block from other workers: each compare and write that succeeded replaced exactly what it named, so the
/// write that it replaced never shows again.
#[test]
fn compare_and_write_against_plain_writes_never_resurrects_a_block() {
    on_each_driver(
        3,
        || vec![ram(1 << 20)],
        |portal, _| {
            let stop = AtomicBool::new(false);
            Client::login_as(portal, HOST).write(0, 3, &block(1, 0));
            std::thread::scope(|scope| {
                for who in 1..=3_u64 {
                    let stop = &stop;
                    scope.spawn(move || {
                        let mut client = Client::login_as(portal, &format!("{HOST}-plain{who}"));
                        let mut count = 0;
                        while !stop.load(Ordering::Relaxed) {
                            count += 1;
                            client.write(0, 3, &block(who, count));
                        }
                    });
                }
                let _stops_them = StopOnDrop(&stop);
                let mut client = Client::login_as(portal, &format!("{HOST}-ats"));
                let mut swapped = 0_u64;
                for _ in 0..400 {
                    let now = client.read(0, 3, BLOCK);
                    if !is_whole(&now) {
                        // A plain read beside a plain write of another worker: the standard promises nothing there.
                        continue;
                    }
                    let mut both = now.clone();
                    both.extend_from_slice(&block(99, swapped));
                    let answer = client.run(0, &compare_and_write(3, 1), &both, 0);
                    match answer.status {
                        0 => {
                            swapped += 1;
                            assert_ne!(client.read(0, 3, BLOCK), now, "what was replaced is back");
                        }
                        2 => assert_eq!(sense_key(&answer.sense), 0x0e, "{:02x?}", answer.sense),
                        status => panic!("status {status:02x}"),
                    }
                }
            });
            let mut client = Client::login_as(portal, HOST);
            let mut both = client.read(0, 3, BLOCK);
            both.extend_from_slice(&block(99, 1000));
            client.good(0, &compare_and_write(3, 1), &both, 0);
            assert_eq!(client.read(0, 3, BLOCK), block(99, 1000));
        },
    );
}
