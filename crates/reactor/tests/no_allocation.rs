//! The warm path allocates nothing: receive, allocate a buffer, read or write a file, send.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use reactor::{
    Completion, Driver, DriverChoice, Op, OpResult, OpenOptions, RecvInto, SendList, SendPiece,
    Slab, StoreFile, Token, Wait, choose_driver,
};

/// Counts this thread's allocations.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: hands everything to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that is ending has no counter any more.
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's.
        unsafe { System.realloc(at, layout, bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const WARM_UP: u32 = 1000;
const ROUNDS: u32 = 30_000;

struct Worker {
    driver: Box<dyn Driver>,
    out: Vec<Completion>,
}

impl Worker {
    fn run(&mut self, op: Op) -> OpResult {
        self.driver.push(op, Token(1));
        while self.out.is_empty() {
            self.driver
                .turn(Wait::Until(Duration::from_secs(20)), &mut self.out);
        }
        self.out.pop().unwrap().result
    }
}

fn commands_allocate_nothing(choice: DriverChoice, direct: bool) {
    let slab = Slab::new(8 << 20).unwrap();
    let (driver, _) = choose_driver(choice, slab.clone()).unwrap();
    let mut worker = Worker {
        driver,
        out: Vec::with_capacity(16),
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let socket = worker
        .driver
        .add_socket(listener.accept().unwrap().0.into())
        .unwrap();
    let dir = tempfile::tempdir_in(".").unwrap();
    let options = OpenOptions {
        write: true,
        direct,
        create_new: true,
    };
    let file = StoreFile::open(dir.path().join("disk"), options).unwrap();
    file.resize(1 << 20).unwrap();
    let file = worker.driver.add_file(Arc::new(file));
    let mut buffer = slab.allocate(4096).unwrap();
    buffer.fill(7);
    let data = buffer.into();
    worker.run(Op::Write {
        file,
        offset: 0,
        data,
        durable: true,
    });
    let mut list = Some(Box::<SendList>::default());
    let mut start = 0;
    let rounds = if direct { ROUNDS / 10 } else { ROUNDS };
    for round in 0..WARM_UP + rounds {
        if round == WARM_UP {
            start = ALLOCATIONS.get();
        }
        peer.write_all(&[3; 48]).unwrap();
        let into = RecvInto { place: None };
        let OpResult::Recv {
            result, staging, ..
        } = worker.run(Op::Recv { socket, into })
        else {
            panic!("not a receive")
        };
        assert_eq!(result.unwrap(), 48);
        drop(staging);
        let buffer = slab.allocate(4096).unwrap();
        let read = worker.run(Op::Read {
            file,
            offset: 0,
            buffer,
        });
        let OpResult::Read { result, buffer } = read else {
            panic!("not a read")
        };
        assert_eq!(result.unwrap(), 4096);
        let mut sending = list.take().unwrap();
        sending.arena.extend([1; 48]);
        sending.pieces.push(SendPiece::Arena(0..48));
        sending.pieces.push(SendPiece::Frozen {
            buffer: buffer.freeze(),
            range: 0..4096,
        });
        let OpResult::Send {
            result,
            list: mut sent,
        } = worker.run(Op::Send {
            socket,
            list: sending,
        })
        else {
            panic!("not a send")
        };
        result.unwrap();
        sent.clear();
        list = Some(sent);
        peer.read_exact(&mut [0; 48 + 4096]).unwrap();
    }
    assert_eq!(
        ALLOCATIONS.get() - start,
        0,
        "allocations in {rounds} commands"
    );
    assert_eq!(slab.used_bytes(), 0);
}

#[test]
fn epoll_commands_allocate_nothing() {
    commands_allocate_nothing(DriverChoice::Epoll, false);
    commands_allocate_nothing(DriverChoice::Epoll, true);
}

#[test]
fn uring_commands_allocate_nothing() {
    commands_allocate_nothing(DriverChoice::Uring, false);
    commands_allocate_nothing(DriverChoice::Uring, true);
}

#[test]
fn mixed_commands_allocate_nothing() {
    commands_allocate_nothing(DriverChoice::Mixed, false);
    commands_allocate_nothing(DriverChoice::Mixed, true);
}
