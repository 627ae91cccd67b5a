//! Every type of store, with both block sizes, over every driver that this machine has.
#![allow(clippy::cast_possible_truncation)]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use backstores::{
    Backstore, IdentityHints, IoDone, IoPort, IoRequest, LocalStore, MachineId, PathOptions,
    StoreIo, open_path, open_ram,
};
use block::{Geometry, IoErrorKind, Lba};
use reactor::{Completion, Driver, DriverChoice, Memory, Op, Slab, Token, Wait, choose_driver};

/// One worker: a driver, a store attached to it, and what came of requests.
struct Worker {
    driver: Box<dyn Driver>,
    slab: Slab,
    store: Option<Box<dyn LocalStore>>,
    done: Vec<IoDone>,
    completions: Vec<Completion>,
    next_token: u64,
}

struct Port<'a> {
    driver: &'a mut dyn Driver,
    done: &'a mut Vec<IoDone>,
}

impl IoPort for Port<'_> {
    fn push(&mut self, op: Op, token: Token) {
        self.driver.push(op, token);
    }

    fn complete(&mut self, done: IoDone) {
        self.done.push(done);
    }

    fn defer(&mut self, _delay: Duration, _request: IoRequest) {
        panic!("no filter here");
    }
}

impl Worker {
    /// `None`, with a line, where this machine refuses the driver.
    fn new(choice: DriverChoice) -> Option<Self> {
        let slab = Slab::new(32 << 20).unwrap();
        let driver = match choose_driver(choice, slab.clone()) {
            Ok((driver, _)) => driver,
            Err(error) => {
                eprintln!("left out: {choice:?}: {error}");
                assert_ne!(choice, DriverChoice::Epoll, "epoll is to be had everywhere");
                return None;
            }
        };
        Some(Self {
            driver,
            slab,
            store: None,
            done: Vec::new(),
            completions: Vec::new(),
            next_token: 0,
        })
    }

    fn attach(&mut self, store: &Arc<dyn Backstore>) {
        let local = Arc::clone(store).attach(self.driver.as_mut());
        if let Some(before) = self.store.replace(local) {
            before.detach(self.driver.as_mut());
        }
    }

    fn submit(&mut self, io: StoreIo, memory: Option<Memory>) -> Token {
        self.next_token += 1;
        let token = Token(self.next_token);
        let mut port = Port {
            driver: self.driver.as_mut(),
            done: &mut self.done,
        };
        let request = IoRequest {
            token,
            io,
            memory,
            passes: 0,
        };
        self.store.as_mut().unwrap().submit(request, &mut port);
        token
    }

    /// Turns until `count` requests have ended.
    fn wait_for(&mut self, count: usize) {
        while self.done.len() < count {
            self.driver.turn(Wait::Forever, &mut self.completions);
            for Completion { token, result } in std::mem::take(&mut self.completions) {
                let mut port = Port {
                    driver: self.driver.as_mut(),
                    done: &mut self.done,
                };
                let store = self.store.as_mut().unwrap();
                store.complete(token, result, &mut port);
            }
        }
        assert_eq!(self.done.len(), count, "one completion per request");
    }

    fn call(&mut self, io: StoreIo, memory: Option<Memory>) -> IoDone {
        let token = self.submit(io, memory);
        self.wait_for(1);
        let done = self.done.pop().unwrap();
        assert_eq!(done.token, token);
        done
    }

    fn buffer(&self, bytes: usize) -> reactor::Buffer {
        self.slab.allocate(bytes).unwrap()
    }

    fn write(&mut self, lba: u64, blocks: u64, data: &[u8], durable: bool) {
        let mut buffer = self.buffer(data.len());
        buffer.copy_from_slice(data);
        let lba = Lba(lba);
        let io = StoreIo::Write {
            lba,
            blocks,
            durable,
        };
        assert_eq!(self.call(io, Some(Memory::Owned(buffer))).result, Ok(()));
    }

    fn read(&mut self, lba: u64, blocks: u64, bytes: usize) -> Result<Vec<u8>, IoErrorKind> {
        let mut buffer = self.buffer(bytes);
        buffer.fill(0xee);
        let lba = Lba(lba);
        let done = self.call(StoreIo::Read { lba, blocks }, Some(Memory::Owned(buffer)));
        let data = done.memory.unwrap().as_slice().unwrap().to_vec();
        done.result.map(|()| data).map_err(|error| error.kind)
    }

    fn simple(&mut self, io: StoreIo) {
        assert_eq!(self.call(io, None).result, Ok(()), "{io:?}");
    }
}

const DRIVERS: [DriverChoice; 3] = [
    DriverChoice::Epoll,
    DriverChoice::Uring,
    DriverChoice::Mixed,
];

fn hints() -> IdentityHints {
    IdentityHints {
        serial: None,
        entropy: [5; 8],
        machine_id: MachineId::parse("0123456789abcdef0123456789abcdef"),
    }
}

/// Bytes that differ from block to block and from seed to seed.
fn pattern(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..bytes).map(|_| step()).collect()
}

/// Writes, reads back, gives back and zeroes, against a copy in memory.
fn exercise(worker: &mut Worker, store: &Arc<dyn Backstore>) {
    worker.attach(store);
    let caps = store.caps();
    let size = caps.geometry.block_size_bytes as usize;
    let blocks = 512;
    assert!(caps.geometry.capacity_blocks >= blocks);
    let whole = |worker: &mut Worker| -> Vec<u8> {
        let mut data = Vec::new();
        let piece = 128;
        for lba in (0..blocks).step_by(piece) {
            let bytes = piece * size;
            data.extend(worker.read(lba, piece as u64, bytes).unwrap());
        }
        data
    };
    let mut model = whole(worker);
    let place = |lba: u64, count: u64| lba as usize * size..(lba + count) as usize * size;
    let extents = [(0, 1), (1, 8), (9, 100), (200, 256), (500, 12), (3, 5)];
    for (seed, (lba, count)) in extents.into_iter().enumerate() {
        let data = pattern(seed as u64 + 1, count as usize * size);
        worker.write(lba, count, &data, seed % 2 == 0);
        model[place(lba, count)].copy_from_slice(&data);
    }
    worker.simple(StoreIo::Flush);
    assert!(whole(worker) == model, "what was written is read back");

    for may_unmap in [false, true] {
        let (lba, count) = if may_unmap { (210, 40) } else { (20, 33) };
        let io = StoreIo::WriteZeroes {
            lba: Lba(lba),
            blocks: count,
            may_unmap,
        };
        worker.simple(io);
        model[place(lba, count)].fill(0);
    }
    let unmap = StoreIo::Unmap {
        lba: Lba(300),
        blocks: 57,
    };
    worker.simple(unmap);
    let after = whole(worker);
    if caps.unmap && caps.unmap_zeroes {
        model[place(300, 57)].fill(0);
    } else {
        // What it reads as is the store's business; everything else is not.
        model[place(300, 57)].copy_from_slice(&after[place(300, 57)]);
    }
    assert!(after == model, "zeros where asked for, and nowhere else");

    let beyond = worker.read(caps.geometry.capacity_blocks, 1, size);
    assert_eq!(beyond, Err(IoErrorKind::OutOfRange));
    many_at_once(worker, size);
    assert_eq!(worker.slab.used_bytes(), 0, "all memory came back");
}

/// Many requests in flight at once, flushes between them, each ending once.
fn many_at_once(worker: &mut Worker, size: usize) {
    let count = 48_u64;
    for number in 0..count {
        let mut buffer = worker.buffer(size);
        buffer.copy_from_slice(&pattern(number + 100, size));
        let io = StoreIo::Write {
            lba: Lba(number * 3),
            blocks: 1,
            durable: number % 5 == 0,
        };
        worker.submit(io, Some(Memory::Owned(buffer)));
        if number % 8 == 0 {
            worker.submit(StoreIo::Flush, None);
        }
    }
    worker.wait_for(count as usize + 6);
    for done in worker.done.drain(..) {
        assert_eq!(done.result, Ok(()));
    }
    for number in 0..count {
        let data = worker.read(number * 3, 1, size).unwrap();
        assert!(data == pattern(number + 100, size), "block {}", number * 3);
    }
}

fn file_options(block_size_bytes: u32) -> PathOptions {
    PathOptions {
        create_bytes: Some(4 << 20),
        block_size_bytes,
        ..PathOptions::default()
    }
}

fn each_driver(mut test: impl FnMut(&mut Worker)) {
    for choice in DRIVERS {
        if let Some(mut worker) = Worker::new(choice) {
            test(&mut worker);
            // A test may have detached its store itself.
            if let Some(store) = worker.store.take() {
                store.detach(worker.driver.as_mut());
            }
        }
    }
}

#[test]
fn file_of_both_block_sizes_reads_back_what_was_written() {
    for block_size in [512, 4096] {
        for write_cache in [true, false] {
            each_driver(|worker| {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("disk.img");
                let options = PathOptions {
                    write_cache,
                    ..file_options(block_size)
                };
                let store = open_path(&path, &options, &hints()).unwrap().store;
                exercise(worker, &store);
            });
        }
    }
}

#[test]
fn file_past_the_page_cache_reads_back_what_was_written() {
    for block_size in [512, 4096] {
        each_driver(|worker| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("disk.img");
            let options = PathOptions {
                direct: true,
                ..file_options(block_size)
            };
            match open_path(&path, &options, &hints()) {
                Ok(opened) => exercise(worker, &opened.store),
                // A temporary folder in memory may take no direct I/O, a disk may have larger blocks.
                Err(error) => {
                    eprintln!("left out: {error}");
                    assert!(matches!(error.code(), "no_direct" | "device_blocks"));
                    assert!(!path.exists(), "what was made is taken away again");
                }
            }
        });
    }
}

#[test]
fn ram_of_both_block_sizes_reads_back_what_was_written() {
    for block_size in [512, 4096] {
        each_driver(|worker| {
            let opened = open_ram("ram", 4 << 20, block_size, &hints()).unwrap();
            exercise(worker, &opened.store);
        });
    }
}

#[test]
fn block_device_reads_back_what_was_written() {
    let Some(device) = support::LoopDevice::new() else {
        return;
    };
    for (block_size_bytes, direct) in [(512, false), (4096, false), (4096, true)] {
        each_driver(|worker| {
            let options = PathOptions {
                block_size_bytes,
                direct,
                ..PathOptions::default()
            };
            let store = open_path(&device.path, &options, &hints()).unwrap().store;
            exercise(worker, &store);
            // The device is free again only when the driver has let go of it too.
            worker.store.take().unwrap().detach(worker.driver.as_mut());
            drop(store);
        });
    }
}

#[test]
fn file_keeps_what_was_written_when_opened_again() {
    each_driver(|worker| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.img");
        let data = pattern(9, 4096);
        let store = open_path(&path, &file_options(512), &hints()).unwrap();
        worker.attach(&store.store);
        worker.write(16, 8, &data, true);
        let first = store.store.identity().clone();
        worker.store.take().unwrap().detach(worker.driver.as_mut());
        drop(store);
        let store = open_path(&path, &PathOptions::default(), &hints()).unwrap();
        assert_eq!(*store.store.identity(), first);
        worker.attach(&store.store);
        assert_eq!(worker.read(16, 8, 4096).unwrap(), data);
    });
}

fn cut(path: &Path, bytes: u64) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_len(bytes).unwrap();
}

#[test]
fn file_cut_under_a_reader_is_out_of_range_behind_its_new_end() {
    each_driver(|worker| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.img");
        let store = open_path(&path, &file_options(512), &hints())
            .unwrap()
            .store;
        worker.attach(&store);
        let data = pattern(1, 4096);
        worker.write(0, 8, &data, false);
        cut(&path, 4096);
        assert_eq!(worker.read(0, 8, 4096).unwrap(), data);
        assert_eq!(worker.read(8, 8, 4096), Err(IoErrorKind::OutOfRange));
        assert_eq!(worker.read(4, 8, 4096), Err(IoErrorKind::OutOfRange));
        let flush = worker.call(StoreIo::Flush, None).result.unwrap_err();
        assert_eq!(flush.kind, IoErrorKind::OutOfRange);
        cut(&path, 4 << 20);
        store.reset();
        worker.simple(StoreIo::Flush);
        assert_eq!(worker.read(8, 8, 4096).unwrap(), [0; 4096]);
    });
}

#[test]
fn workers_with_descriptions_of_their_own_see_one_file() {
    let Some(mut one) = Worker::new(DriverChoice::Epoll) else {
        return;
    };
    let mut two = Worker::new(DriverChoice::Auto).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.img");
    let options = PathOptions {
        workers: 2,
        ..file_options(512)
    };
    let store = open_path(&path, &options, &hints()).unwrap().store;
    one.attach(&store);
    two.attach(&store);
    let data = pattern(3, 1024);
    one.write(5, 2, &data, false);
    assert_eq!(two.read(5, 2, 1024).unwrap(), data);
    two.simple(StoreIo::Flush);
    one.simple(StoreIo::Flush);
    // The lock is the first description's, and holds as long as the store does.
    let taken = open_path(&path, &PathOptions::default(), &hints()).unwrap_err();
    assert_eq!(taken.code(), "already_open");
}

/// Writes and reads far into what was not there, while requests within the old size are under way.
fn grow_under_io(worker: &mut Worker, store: &Arc<dyn Backstore>, grow: &dyn Fn() -> Geometry) {
    worker.attach(store);
    let before = store.caps().geometry;
    let size = before.block_size_bytes as usize;
    let behind = before.capacity_blocks;
    assert_eq!(worker.read(behind, 1, size), Err(IoErrorKind::OutOfRange));
    let submit = |worker: &mut Worker, lba: u64, seed: u64, durable| {
        let mut buffer = worker.buffer(8 * size);
        buffer.copy_from_slice(&pattern(seed, 8 * size));
        let (lba, blocks) = (Lba(lba), 8);
        let io = StoreIo::Write {
            lba,
            blocks,
            durable,
        };
        worker.submit(io, Some(Memory::Owned(buffer)));
    };
    for number in 0..16 {
        submit(worker, number * 8, number, number % 2 == 0);
    }
    let now = grow();
    assert_eq!(store.caps().geometry, now);
    assert_eq!(now.block_size_bytes, before.block_size_bytes);
    assert!(now.capacity_blocks >= 2 * behind);
    // Across the old end, and the last blocks.
    submit(worker, behind - 4, 100, false);
    submit(worker, now.capacity_blocks - 8, 101, true);
    worker.submit(StoreIo::Flush, None);
    worker.wait_for(19);
    for done in worker.done.drain(..) {
        assert_eq!(done.result, Ok(()));
    }
    let written = (0..16).map(|number| (number * 8, number));
    let across = [(behind - 4, 100), (now.capacity_blocks - 8, 101)];
    for (lba, seed) in written.chain(across) {
        let data = worker.read(lba, 8, 8 * size).unwrap();
        assert!(data == pattern(seed, 8 * size), "block {lba}");
    }
    let zeros = worker.read(behind + 4, 8, 8 * size).unwrap();
    assert!(zeros == vec![0; 8 * size], "what was added reads as zeros");
    let unmap = StoreIo::Unmap {
        lba: Lba(behind - 4),
        blocks: 8,
    };
    worker.simple(unmap);
    let beyond = worker.read(now.capacity_blocks, 1, size);
    assert_eq!(beyond, Err(IoErrorKind::OutOfRange));
    assert_eq!(worker.slab.used_bytes(), 0, "all memory came back");
}

#[test]
fn file_grows_under_io_by_us_and_from_outside() {
    for (block_size, from_outside) in [(512, false), (4096, false), (512, true)] {
        each_driver(|worker| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("disk.img");
            let options = file_options(block_size);
            let store = open_path(&path, &options, &hints()).unwrap().store;
            grow_under_io(worker, &store, &|| {
                if from_outside {
                    cut(&path, 8 << 20);
                    return store.resize(None).unwrap();
                }
                store.resize(Some(8 << 20)).unwrap()
            });
            assert_eq!(std::fs::metadata(&path).unwrap().len(), 8 << 20);
        });
    }
}

#[test]
fn file_that_grows_step_by_step_under_another_workers_io_loses_nothing() {
    each_driver(|worker| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.img");
        let store = open_path(&path, &file_options(512), &hints()).unwrap();
        let store = store.store;
        worker.attach(&store);
        std::thread::scope(|scope| {
            let grower = scope.spawn(|| {
                for mib in 5..=64 {
                    store.resize(Some(mib << 20)).unwrap();
                }
            });
            let mut round = 0;
            // Plain writes too: they look at the file's size now and then.
            while !grower.is_finished() || round < 100 {
                let data = pattern(round, 4096);
                worker.write(round % 1000 * 8, 8, &data, round % 3 == 0);
                assert!(worker.read(round % 1000 * 8, 8, 4096).unwrap() == data);
                round += 1;
            }
        });
        assert_eq!(store.caps().geometry.size_bytes(), 64 << 20);
        worker.simple(StoreIo::Flush);
    });
}

#[test]
fn ram_grows_under_io() {
    for block_size in [512, 4096] {
        each_driver(|worker| {
            let store = open_ram("ram", 4 << 20, block_size, &hints()).unwrap();
            let store = store.store;
            grow_under_io(worker, &store, &|| store.resize(Some(8 << 20)).unwrap());
        });
    }
}

#[test]
fn block_device_grows_from_outside_under_io() {
    each_driver(|worker| {
        // Each driver grows a device of its own.
        let Some(device) = support::LoopDevice::new() else {
            return;
        };
        let store = open_path(&device.path, &PathOptions::default(), &hints());
        let store = store.unwrap().store;
        let same = store.caps().geometry;
        assert_eq!(store.resize(None).unwrap(), same);
        let refused = store.resize(Some(16 << 20)).unwrap_err();
        assert_eq!(refused.code(), "block_device");
        grow_under_io(worker, &store, &|| {
            device.grow(16 << 20);
            store.resize(None).unwrap()
        });
        worker.store.take().unwrap().detach(worker.driver.as_mut());
        drop(store);
    });
}
