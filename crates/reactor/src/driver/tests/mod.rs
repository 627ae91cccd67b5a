//! One suite of rules, run on each driver.

#![allow(clippy::cast_possible_truncation)]

mod block_device;
mod files;
mod refused;
mod sockets;
mod stuck;

use std::collections::HashMap;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::*;
use crate::{Buffer, Frozen, Slab};

/// A driver under test, and the completions that nobody has asked for yet.
pub(super) struct Bench {
    pub(super) driver: Box<dyn Driver>,
    pub(super) slab: Slab,
    done: HashMap<Token, OpResult>,
    next_token: u64,
}

/// Runs each function as a test on each driver.
macro_rules! on_each_driver {
    ($($name:ident),* $(,)?) => {
        mod epoll { $(#[test] fn $name() { super::$name(super::Bench::new(crate::DriverChoice::Epoll)); })* }
        mod uring { $(#[test] fn $name() { super::$name(super::Bench::new(crate::DriverChoice::Uring)); })* }
        mod mixed { $(#[test] fn $name() { super::$name(super::Bench::new(crate::DriverChoice::Mixed)); })* }
    };
}
pub(super) use on_each_driver;

/// A test that waits longer than this for something that must come has failed.
const PATIENCE: Duration = Duration::from_secs(20);

impl Bench {
    pub(super) fn new(choice: DriverChoice) -> Self {
        Self::with(choice, &DriverSettings::default())
    }

    pub(super) fn with(choice: DriverChoice, settings: &DriverSettings) -> Self {
        let slab = Slab::new(64 << 20).unwrap();
        let (driver, report) = choose_driver_with(choice, slab.clone(), settings)
            .expect("this machine's kernel has what the driver needs");
        assert_eq!(report.refusals, []);
        Self {
            driver,
            slab,
            done: HashMap::new(),
            next_token: 0,
        }
    }

    pub(super) fn push(&mut self, op: Op) -> Token {
        self.next_token += 1;
        let token = Token(self.next_token);
        self.driver.push(op, token);
        token
    }

    /// One turn. True if something completed.
    pub(super) fn turn(&mut self, wait: Wait) -> bool {
        let mut out = Vec::new();
        self.driver.turn(wait, &mut out);
        let some = !out.is_empty();
        for Completion { token, result } in out {
            let twice = self.done.insert(token, result);
            assert!(twice.is_none(), "{token:?} completed twice");
        }
        some
    }

    /// Turns until nothing more comes at once.
    pub(super) fn settle(&mut self) {
        for _ in 0..10 {
            while self.turn(Wait::Until(Duration::from_millis(2))) {}
        }
    }

    pub(super) fn is_done(&self, token: Token) -> bool {
        self.done.contains_key(&token)
    }

    pub(super) fn wait(&mut self, token: Token) -> OpResult {
        let end = Instant::now() + PATIENCE;
        while !self.is_done(token) {
            assert!(Instant::now() < end, "{token:?} does not complete");
            self.turn(Wait::Until(Duration::from_millis(100)));
        }
        self.done.remove(&token).unwrap()
    }

    pub(super) fn socket(&mut self, stream: TcpStream) -> SocketId {
        self.driver.add_socket(stream.into()).unwrap()
    }

    /// A connection: our end in the driver, and the peer's.
    pub(super) fn connection(&mut self) -> (SocketId, TcpStream) {
        let (ours, peer) = tcp_pair();
        (self.socket(ours), peer)
    }

    pub(super) fn recv(&mut self, socket: SocketId, place: Option<Place>) -> Token {
        self.push(Op::Recv {
            socket,
            into: RecvInto { place },
        })
    }

    /// Receives once, into staging.
    pub(super) fn receive(&mut self, socket: SocketId) -> io::Result<Vec<u8>> {
        let token = self.recv(socket, None);
        received(self.wait(token)).0
    }

    /// Receives until `bytes` bytes have come.
    pub(super) fn receive_all(&mut self, socket: SocketId, bytes: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < bytes {
            let more = self.receive(socket).unwrap();
            assert!(
                !more.is_empty(),
                "the stream ended after {} bytes",
                all.len()
            );
            all.extend(more);
        }
        all
    }

    pub(super) fn frozen(&self, bytes: &[u8]) -> Frozen {
        let mut buffer = self.buffer(bytes.len());
        buffer.copy_from_slice(bytes);
        buffer.freeze()
    }

    pub(super) fn buffer(&self, len: usize) -> Buffer {
        self.slab.allocate(len).unwrap()
    }
}

/// The outcome of a receive: all bytes of place and staging, and the place.
pub(super) fn received(result: OpResult) -> (io::Result<Vec<u8>>, Option<Place>) {
    let OpResult::Recv {
        result,
        place,
        placed_bytes,
        staging,
    } = result
    else {
        panic!("not a receive: {result:?}")
    };
    let mut bytes = Vec::new();
    match &place {
        Some(Place::Buffer { buffer, range }) => {
            bytes.extend(&buffer[range.start as usize..][..placed_bytes]);
        }
        Some(Place::Pinned(pin)) => {
            bytes.resize(placed_bytes, 0);
            pin.copy_out(0, &mut bytes).unwrap();
        }
        None => assert_eq!(placed_bytes, 0),
    }
    bytes.extend(staging.iter().flat_map(|staging| staging.iter()));
    if let Ok(total) = &result {
        assert_eq!(bytes.len(), *total);
    }
    (result.map(|_| bytes), place)
}

pub(super) fn sent(result: OpResult) -> (io::Result<()>, Box<SendList>) {
    let OpResult::Send { result, list } = result else {
        panic!("not a send: {result:?}")
    };
    (result, list)
}

pub(super) fn accepted(result: OpResult) -> io::Result<AcceptedSocket> {
    let OpResult::Accept(result) = result else {
        panic!("not an accept: {result:?}")
    };
    result
}

pub(super) fn os(error: &io::Error) -> i32 {
    error
        .raw_os_error()
        .unwrap_or_else(|| panic!("no error number: {error:?}"))
}

pub(super) fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (listener.accept().unwrap().0, peer)
}

/// Bytes that show where they belong.
pub(super) fn pattern(len: usize) -> Vec<u8> {
    (0..len as u64)
        .map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8)
        .collect()
}

/// A list that sends these bytes from the arena, in pieces of `piece` bytes.
pub(super) fn arena_list(bytes: &[u8], piece: usize) -> Box<SendList> {
    let ends = (0..bytes.len()).step_by(piece.max(1));
    let pieces = ends.map(|at| SendPiece::Arena(at as u32..(at + piece).min(bytes.len()) as u32));
    Box::new(SendList {
        arena: bytes.to_vec(),
        pieces: pieces.collect(),
    })
}

/// Reads from a peer in the background, slowly at first.
pub(super) fn slow_reader(mut peer: TcpStream, bytes: usize) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = vec![0; bytes];
        let slow = bytes.min(64 << 10);
        for chunk in all[..slow].chunks_mut(4 << 10) {
            peer.read_exact(chunk).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
        peer.read_exact(&mut all[slow..]).unwrap();
        all
    })
}
