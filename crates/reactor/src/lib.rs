//! One completion loop per core: sockets and files behind [`Driver`], and the memory they move bytes through.
//!
//! This is the only crate with `unsafe` code; its public surface is safe for every caller, also for one that misuses
//! it. Operations are data: an [`Op`] owns the memory it works on, moves it into the driver with
//! [`Driver::push`], and gets it back in exactly one [`Completion`]. Nothing here knows iSCSI, SCSI or what a
//! backstore is.
//!
//! - [`Slab`], [`Buffer`], [`Frozen`]: a worker's own memory, a fixed budget, no allocation on the warm path.
//! - [`SharedMemory`], [`LocalShared`], [`Pin`]: memory that several workers write (RAM disks); raw copies, never a slice.
//! - [`Driver`]: `epoll` (epoll, RWF_NOWAIT, native AIO; no io_uring call at all), `uring`, and `mixed` (epoll for
//!   sockets, a ring for files). [`choose_driver`] picks one and says why.
//! - [`StoreFile`]: an open file or block device with its own bounded share of threads for calls that may block.
//! - [`mailbox`] and [`Waker`]: how other threads reach a worker.
//! - [`socket`]: listening, options, addresses.
//!
//! A worker never makes a call here that may wait for a disk.

pub mod driver;
pub mod file;
pub mod mailbox;
pub mod memory;
pub mod socket;
mod sys;
#[cfg(any(test, feature = "test-support"))]
pub mod testing;
mod wake;

pub use driver::{
    AcceptedSocket, Completion, Driver, DriverChoice, DriverKind, DriverReport, DriverSettings,
    FileId, Op, OpResult, Place, RecvInto, SendList, SendPiece, SocketId, Token, Wait, WriteData,
    choose_driver, choose_driver_with,
};
pub use file::{LockMode, OpenOptions, StoreFile};
pub use memory::{Buffer, Frozen, LocalShared, Memory, OutOfRange, Pin, SharedMemory, Slab};
pub use wake::Waker;
