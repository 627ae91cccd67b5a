//! A disk that does not answer: nobody else waits, nothing grows, and nothing is freed under the kernel's hands.

use std::io::{Read, Write};
use std::sync::Arc;

use super::files::{directory, file, other, read, write};
use super::*;
use crate::testing::StuckFile;
use crate::{OpenOptions, StoreFile};

on_each_driver![
    stuck_file_delays_neither_sockets_nor_other_files,
    stuck_file_refuses_more_than_its_share_and_recovers,
    stuck_fuse_file_delays_neither_sockets_nor_other_files,
    cancel_takes_back_what_no_thread_has_begun,
    dropping_the_driver_keeps_the_memory_of_stuck_operations,
];

/// As many as a lane has threads.
const THREADS: usize = 8;

fn flood(bench: &mut Bench, file: FileId, count: usize) -> Vec<Token> {
    (0..count)
        .map(|i| match i % 4 {
            0 => {
                let mut data = bench.buffer(4096);
                data.fill(7);
                bench.push(Op::Write {
                    file,
                    offset: 0,
                    data: data.into(),
                    durable: true,
                })
            }
            1 => {
                let buffer = bench.buffer(4096);
                bench.push(Op::Read {
                    file,
                    offset: 1 << 19,
                    buffer,
                })
            }
            2 => bench.push(Op::Punch {
                file,
                offset: 0,
                bytes: 4096,
            }),
            _ => bench.push(Op::Flush { file }),
        })
        .collect()
}

fn is_ok(result: &OpResult) -> bool {
    match result {
        OpResult::Read { result, .. } | OpResult::Write { result, .. } => result.is_ok(),
        OpResult::Other(result) => result.is_ok(),
        other => panic!("not of a file: {other:?}"),
    }
}

/// Sockets and another file, all kinds of operation.
fn others_work(bench: &mut Bench) {
    let dir = directory();
    let (healthy, _) = file(bench, dir.path(), 1 << 20, false);
    let (direct, _) = file(bench, dir.path(), 1 << 20, true);
    let (socket, mut peer) = bench.connection();
    for _ in 0..10 {
        peer.write_all(b"nop").unwrap();
        assert_eq!(bench.receive_all(socket, 3), b"nop");
        let token = bench.push(Op::Send {
            socket,
            list: arena_list(b"nop", 3),
        });
        sent(bench.wait(token)).0.unwrap();
        peer.read_exact(&mut [0; 3]).unwrap();
        for file in [healthy, direct] {
            assert_eq!(write(bench, file, 4096, &[1; 4096], true).unwrap(), 4096);
            assert_eq!(read(bench, file, 4096, 4096).unwrap(), [1; 4096]);
            other(bench, Op::Flush { file }).unwrap();
            other(
                bench,
                Op::Punch {
                    file,
                    offset: 0,
                    bytes: 8192,
                },
            )
            .unwrap();
        }
    }
}

fn stuck_file_delays_neither_sockets_nor_other_files(mut bench: Bench) {
    let dir = directory();
    let (stuck, handle) = file(&mut bench, dir.path(), 4 << 20, false);
    handle.lane().gate.set_shut(true);
    let tokens = flood(&mut bench, stuck, 400);
    others_work(&mut bench);
    handle.lane().gate.set_shut(false);
    for token in tokens {
        assert!(is_ok(&bench.wait(token)));
    }
    assert_eq!(bench.slab.used_bytes(), 0);
}

fn stuck_file_refuses_more_than_its_share_and_recovers(mut bench: Bench) {
    let dir = directory();
    let (stuck, handle) = file(&mut bench, dir.path(), 4 << 20, false);
    handle.lane().gate.set_shut(true);
    let tokens = (0..1500)
        .map(|_| bench.push(Op::Flush { file: stuck }))
        .collect::<Vec<_>>();
    bench.settle();
    let refused = tokens.iter().filter(|token| bench.is_done(**token)).count();
    assert!(
        (1500 - 1024 - THREADS..=1500 - 1024).contains(&refused),
        "{refused}"
    );
    handle.lane().gate.set_shut(false);
    let mut busy = 0;
    for token in tokens {
        let OpResult::Other(result) = bench.wait(token) else {
            panic!("not a flush")
        };
        match result {
            Ok(()) => {}
            Err(error) => {
                assert_eq!(os(&error), libc::EAGAIN);
                busy += 1;
            }
        }
    }
    assert_eq!(busy, refused);
    other(&mut bench, Op::Flush { file: stuck }).unwrap();
}

fn stuck_fuse_file_delays_neither_sockets_nor_other_files(mut bench: Bench) {
    let dir = directory();
    let stuck = match StuckFile::mount(dir.path().join("stuck"), 4 << 20) {
        Ok(stuck) => stuck,
        Err(error) => return eprintln!("skipped: no FUSE file can be mounted here: {error}"),
    };
    let options = OpenOptions {
        write: true,
        ..OpenOptions::default()
    };
    let handle = Arc::new(StoreFile::open(stuck.path(), options).unwrap());
    assert_eq!(handle.size_bytes().unwrap(), 4 << 20);
    let file = bench.driver.add_file(handle.clone());
    let hang = stuck.stick();
    let tokens = flood(&mut bench, file, 100);
    others_work(&mut bench);
    assert!(stuck.held() > 0, "calls are waiting");
    assert!(tokens.iter().all(|token| !bench.is_done(*token)));
    drop(hang);
    for token in tokens {
        assert!(is_ok(&bench.wait(token)));
    }
    assert_eq!(bench.slab.used_bytes(), 0);
    bench.driver.remove_file(file);
}

/// Until every thread of the file has begun a job and is held.
fn begin_all(bench: &mut Bench, file: &StoreFile) {
    let end = Instant::now() + PATIENCE;
    while file.lane().gate.waiting() < THREADS {
        assert!(Instant::now() < end, "its threads do not begin");
        bench.settle();
    }
}

fn cancel_takes_back_what_no_thread_has_begun(mut bench: Bench) {
    let dir = directory();
    let (stuck, handle) = file(&mut bench, dir.path(), 1 << 20, false);
    handle.lane().gate.set_shut(true);
    let begun = (0..THREADS)
        .map(|_| bench.push(Op::Flush { file: stuck }))
        .collect::<Vec<_>>();
    begin_all(&mut bench, &handle);
    let data = bench.buffer(4096).into();
    let write = Op::Write {
        file: stuck,
        offset: 0,
        data,
        durable: true,
    };
    let queued = bench.push(write);
    bench.settle();
    bench.driver.cancel(queued);
    bench.driver.cancel(begun[0]);
    let OpResult::Write { result, .. } = bench.wait(queued) else {
        panic!("not a write")
    };
    assert_eq!(os(&result.unwrap_err()), libc::ECANCELED);
    assert_eq!(
        bench.slab.used_bytes(),
        0,
        "its memory is back while the disk is stuck"
    );
    assert!(!bench.is_done(begun[0]), "what has begun ends when it ends");
    handle.lane().gate.set_shut(false);
    for token in begun {
        assert!(is_ok(&bench.wait(token)));
    }
}

fn dropping_the_driver_keeps_the_memory_of_stuck_operations(bench: Bench) {
    let choice = bench.driver.kind().to_string().parse().unwrap();
    let settings = DriverSettings {
        drop_grace: Duration::from_millis(5),
        ..Default::default()
    };
    let mut bench = Bench::with(choice, &settings);
    let dir = directory();
    let (stuck, handle) = file(&mut bench, dir.path(), 4 << 20, false);
    handle.lane().gate.set_shut(true);
    for _ in 0..64 {
        let data = bench.buffer(4096).into();
        bench.push(Op::Write {
            file: stuck,
            offset: 0,
            data,
            durable: true,
        });
    }
    begin_all(&mut bench, &handle);
    let slab = bench.slab.clone();
    assert_eq!(slab.used_bytes(), 64 * 4096);
    drop(bench);
    // What no thread had begun is taken back; what threads are at keeps its memory, for good.
    let kept = slab.used_bytes();
    assert_eq!(kept, THREADS * 4096);
    let mut others = Vec::new();
    while let Some(mut buffer) = slab.allocate(4096) {
        buffer.fill(0x55);
        others.push(buffer);
        if others.len() == 1000 {
            break;
        }
    }
    let weak = Arc::downgrade(&handle);
    handle.lane().gate.set_shut(false);
    let end = Instant::now() + PATIENCE;
    while Arc::strong_count(&handle) > 2 {
        assert!(Instant::now() < end, "the threads end their jobs");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(
        others
            .iter()
            .all(|buffer| buffer.iter().all(|byte| *byte == 0x55))
    );
    assert_eq!(slab.used_bytes(), kept + 1000 * 4096);
    drop(handle);
    assert!(weak.upgrade().is_some(), "and the file stays open");
}
