//! The completion loop: operations in, completions out.
//!
//! [`Driver`] is object-safe and takes operations as data, so that it is safe to use and to implement (a simulator
//! implements it with virtual time). Rules that every implementation keeps:
//!
//! - each [`Op`] pushed ends in exactly one [`Completion`], whatever happens to it, and brings its memory back;
//! - an operation on an id that is not (or no longer) known completes with `EBADF`;
//! - one receive and one send may be in flight on a socket, one accept on a listener: a second one completes with
//!   `EBUSY`;
//! - a file operation that finds its file's share of the machine full completes with `EAGAIN`;
//! - cancel is a request; the completion is the truth.

mod choose;
mod epoll;
mod files;
mod ops;
mod pace;
mod slots;
mod staging;
mod stream;
mod uring;

pub use choose::{choose_driver, choose_driver_with};
pub use ops::{
    AcceptedSocket, Completion, FileId, Op, OpResult, Place, RecvInto, SendList, SendPiece,
    SocketId, Token, Wait, WriteData,
};

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::{StoreFile, Waker};

/// One worker's engine for sockets and files.
pub trait Driver {
    /// Takes a listening socket, for [`Op::Accept`]. It is made non-blocking.
    ///
    /// # Errors
    /// What the kernel answers when it cannot be watched.
    fn add_listener(&mut self, listener: OwnedFd) -> io::Result<SocketId>;

    /// Takes a connected socket, for [`Op::Recv`] and [`Op::Send`]. It is made non-blocking.
    ///
    /// # Errors
    /// What the kernel answers when it cannot be watched.
    fn add_socket(&mut self, socket: OwnedFd) -> io::Result<SocketId>;

    /// Gives a socket or listener back, to be used elsewhere. `None` while an operation is in flight on it.
    fn take_socket(&mut self, id: SocketId) -> Option<OwnedFd>;

    /// Shuts a connection down at once. Operations in flight complete, with `ECANCELED` where nothing else came of
    /// them; the descriptor is closed after the last of them. The id is not known any more.
    fn close_socket(&mut self, id: SocketId);

    /// Takes a file, for the file operations.
    fn add_file(&mut self, file: Arc<StoreFile>) -> FileId;

    /// Forgets a file: new operations on the id find nothing. Those in flight complete as they would have; the
    /// driver lets go of the file after the last of them. If that makes the driver the last owner, the file is closed on a
    /// thread of its own, since closing may wait: its lock then ends a moment later, too.
    fn remove_file(&mut self, id: FileId);

    /// Takes an operation. It may start now, or at the next [`Self::submit`] or [`Self::turn`].
    fn push(&mut self, op: Op, token: Token);

    /// Asks for operations with this token to end early. They complete with `ECANCELED`, or as if nothing had been
    /// asked. Unknown tokens are ignored.
    fn cancel(&mut self, token: Token);

    /// Starts everything that was pushed.
    fn submit(&mut self);

    /// Starts everything that was pushed, waits as told until something is there, and appends completions to `out`.
    /// Returns early, perhaps with none, when a [`Waker`] is used.
    fn turn(&mut self, wait: Wait, out: &mut Vec<Completion>);

    /// Wakes [`Self::turn`] from other threads.
    fn waker(&self) -> Waker;

    /// Which driver this is.
    fn kind(&self) -> DriverKind;

    /// The longest time [`Self::turn`] spins before it sleeps. It spins only while traffic has been arriving at
    /// shorter distances than this; zero never spins. An implementation may have no use for it.
    fn set_spin(&mut self, _longest: Duration) {}
}

/// Which driver is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DriverChoice {
    /// `mixed` where a ring can be had, else `epoll`.
    #[default]
    Auto,
    /// io_uring for all, or an error.
    Uring,
    /// No io_uring call at all.
    Epoll,
    /// epoll for sockets and io_uring for files, or an error.
    Mixed,
}

impl FromStr for DriverChoice {
    type Err = UnknownDriver;

    fn from_str(text: &str) -> Result<Self, UnknownDriver> {
        match text {
            "auto" => Ok(Self::Auto),
            "uring" => Ok(Self::Uring),
            "epoll" => Ok(Self::Epoll),
            "mixed" => Ok(Self::Mixed),
            _ => Err(UnknownDriver),
        }
    }
}

/// No driver has that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownDriver;

impl fmt::Display for UnknownDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown driver: one of auto, uring, epoll, mixed")
    }
}

impl std::error::Error for UnknownDriver {}

/// Which driver is running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DriverKind {
    /// epoll for sockets; RWF_NOWAIT, native AIO and threads for files.
    Epoll,
    /// io_uring for both.
    Uring,
    /// epoll for sockets, io_uring for files.
    Mixed,
    /// Virtual time, for tests.
    Simulated,
}

impl fmt::Display for DriverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Epoll => "epoll",
            Self::Uring => "uring",
            Self::Mixed => "mixed",
            Self::Simulated => "simulated",
        })
    }
}

/// What was chosen, and what the machine refused on the way. Its `Display` is one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverReport {
    /// The driver that runs.
    pub kind: DriverKind,
    /// What could not be had, each with the kernel's reason.
    pub refusals: Vec<Refusal>,
}

/// Something the kernel would not give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What was asked for: `io_uring`, `native AIO`.
    pub what: &'static str,
    /// The kernel's error number.
    pub os_error: i32,
    /// What is done instead.
    pub instead: &'static str,
}

impl fmt::Display for DriverReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        for refusal in &self.refusals {
            let reason = io::Error::from_raw_os_error(refusal.os_error);
            write!(
                f,
                "; {} refused: {reason}, instead: {}",
                refusal.what, refusal.instead
            )?;
        }
        Ok(())
    }
}

/// What may be tuned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DriverSettings {
    /// See [`Driver::set_spin`].
    pub spin: Duration,
    /// Size of the buffer that a receive stages into, in bytes: a power of two from 4 KiB to 1 MiB.
    pub staging_bytes: usize,
    /// How long a driver that is dropped waits for operations in flight before it leaks their memory.
    pub drop_grace: Duration,
}

impl Default for DriverSettings {
    fn default() -> Self {
        Self {
            spin: Duration::from_micros(50),
            staging_bytes: 64 << 10,
            drop_grace: Duration::from_millis(500),
        }
    }
}

#[cfg(test)]
mod tests;
