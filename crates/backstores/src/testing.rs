//! A driver and a port for tests of stores: operations are kept until the test lets them run, on a file in memory, and any
//! of them can be made to fail.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use reactor::{
    Completion, Driver, DriverKind, FileId, Memory, Op, OpResult, Slab, SocketId, StoreFile, Token,
    Wait, Waker,
};
use rustix::io::Errno;

use crate::api::{IoDone, IoPort, IoRequest, LocalStore, StoreIo};

/// Attaches stores; runs nothing by itself.
#[derive(Default)]
pub(crate) struct ScriptedDriver {
    pub(crate) files: u32,
}

impl Driver for ScriptedDriver {
    fn add_listener(&mut self, _listener: OwnedFd) -> io::Result<SocketId> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn add_socket(&mut self, _socket: OwnedFd) -> io::Result<SocketId> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn take_socket(&mut self, _id: SocketId) -> Option<OwnedFd> {
        None
    }

    fn close_socket(&mut self, _id: SocketId) {}

    fn add_file(&mut self, _file: Arc<StoreFile>) -> FileId {
        self.files += 1;
        FileId {
            index: self.files,
            generation: 0,
        }
    }

    fn remove_file(&mut self, _id: FileId) {
        self.files -= 1;
    }

    fn push(&mut self, _op: Op, _token: Token) {
        panic!("stores push through their port");
    }

    fn cancel(&mut self, _token: Token) {}

    fn submit(&mut self) {}

    fn turn(&mut self, _wait: Wait, _out: &mut Vec<Completion>) {}

    fn waker(&self) -> Waker {
        panic!("stores wake nobody");
    }

    fn kind(&self) -> DriverKind {
        DriverKind::Simulated
    }
}

/// What a store did with its port.
#[derive(Default)]
pub(crate) struct ScriptedPort {
    pub(crate) ops: VecDeque<(Token, Op)>,
    pub(crate) done: Vec<IoDone>,
    pub(crate) deferred: Vec<(Duration, IoRequest)>,
}

impl IoPort for ScriptedPort {
    fn push(&mut self, op: Op, token: Token) {
        self.ops.push_back((token, op));
    }

    fn complete(&mut self, done: IoDone) {
        self.done.push(done);
    }

    fn defer(&mut self, delay: Duration, request: IoRequest) {
        self.deferred.push((delay, request));
    }
}

/// A store, its port, and the medium that its operations work on.
pub(crate) struct Bench {
    pub(crate) store: Box<dyn LocalStore>,
    pub(crate) port: ScriptedPort,
    pub(crate) medium: Vec<u8>,
    pub(crate) slab: Slab,
    /// Operations run so far.
    pub(crate) ran: u64,
    /// The operation that fails, counted from 1, and how.
    pub(crate) fail: Option<(u64, Errno)>,
    /// Range operations are not supported.
    pub(crate) no_ranges: bool,
    next_token: u64,
}

impl Bench {
    pub(crate) fn new(store: Box<dyn LocalStore>, bytes: usize) -> Self {
        Self {
            store,
            port: ScriptedPort::default(),
            medium: vec![0; bytes],
            slab: Slab::new(16 << 20).unwrap(),
            ran: 0,
            fail: None,
            no_ranges: false,
            next_token: 0,
        }
    }

    /// Submits, without running anything.
    pub(crate) fn submit(&mut self, io: StoreIo, memory: Option<Memory>) -> Token {
        self.next_token += 1;
        let token = Token(self.next_token);
        let request = IoRequest {
            token,
            io,
            memory,
            passes: 0,
        };
        self.store.submit(request, &mut self.port);
        token
    }

    pub(crate) fn buffer(&self, bytes: usize, fill: u8) -> Memory {
        let mut buffer = self.slab.allocate(bytes).unwrap();
        buffer.fill(fill);
        Memory::Owned(buffer)
    }

    /// Hands the store the completion of an operation it pushed.
    pub(crate) fn complete(&mut self, token: Token, result: OpResult) {
        self.store.complete(token, result, &mut self.port);
    }

    /// Runs operations, in order, until none is left.
    pub(crate) fn run(&mut self) {
        while let Some((token, op)) = self.port.ops.pop_front() {
            self.ran += 1;
            let error = match self.fail {
                Some((nth, errno)) if nth == self.ran => Some(io::Error::from(errno)),
                _ => None,
            };
            let result = self.execute(op, error);
            self.complete(token, result);
        }
    }

    /// Submits and runs, and gives the one completion.
    pub(crate) fn call(&mut self, io: StoreIo, memory: Option<Memory>) -> IoDone {
        let token = self.submit(io, memory);
        self.run();
        assert_eq!(self.port.done.len(), 1, "one completion for {io:?}");
        let done = self.port.done.pop().unwrap();
        assert_eq!(done.token, token);
        done
    }

    fn execute(&mut self, op: Op, error: Option<io::Error>) -> OpResult {
        let result = |bytes: usize| error.map_or(Ok(bytes), Err);
        match op {
            Op::Read {
                offset, mut buffer, ..
            } => {
                let start = usize::try_from(offset).unwrap().min(self.medium.len());
                let bytes = buffer.len().min(self.medium.len() - start);
                buffer[..bytes].copy_from_slice(&self.medium[start..start + bytes]);
                OpResult::Read {
                    result: result(bytes),
                    buffer,
                }
            }
            Op::Write { offset, data, .. } => {
                let result = result(data.len());
                if result.is_ok() {
                    let start = usize::try_from(offset).unwrap();
                    let into = &mut self.medium[start..start + data.len()];
                    match &data {
                        Memory::Pinned(pin) => pin.copy_out(0, into).unwrap(),
                        data => into.copy_from_slice(data.as_slice().unwrap()),
                    }
                }
                OpResult::Write { result, data }
            }
            // All of the medium is kept.
            Op::Map {
                bytes, mut buffer, ..
            } => {
                buffer[..8].copy_from_slice(&(bytes << 1 | 1).to_le_bytes());
                OpResult::Read {
                    result: result(8),
                    buffer,
                }
            }
            Op::Flush { .. } => OpResult::Other(result(0).map(drop)),
            Op::Punch { .. } | Op::Zero { .. } | Op::Discard { .. } if self.no_ranges => {
                OpResult::Other(Err(Errno::OPNOTSUPP.into()))
            }
            Op::Punch { offset, bytes, .. } | Op::Zero { offset, bytes, .. } => {
                let result = result(0).map(drop);
                if result.is_ok() {
                    let start = usize::try_from(offset).unwrap();
                    let end = start + usize::try_from(bytes).unwrap();
                    self.medium[start..end].fill(0);
                }
                OpResult::Other(result)
            }
            Op::Discard { .. } => OpResult::Other(result(0).map(drop)),
            Op::Accept { .. } | Op::Recv { .. } | Op::Send { .. } => {
                panic!("a store has no socket")
            }
        }
    }
}
