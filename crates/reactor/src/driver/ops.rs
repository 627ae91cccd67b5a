//! Operations and their completions, as data.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::memory::{Buffer, Frozen, Memory, Pin, Span};

/// What a [`Write`](Op::Write) takes its bytes from.
pub type WriteData = Memory;

/// Names an operation to whoever pushed it. The driver only hands it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

/// A socket or listener that a driver holds. Never reused while somebody could mean the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId {
    /// The slot.
    pub index: u32,
    /// How often the slot was used before.
    pub generation: u32,
}

/// A file that a driver holds. Never reused while somebody could mean the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// The slot.
    pub index: u32,
    /// How often the slot was used before.
    pub generation: u32,
}

/// An operation. Offsets and lengths are in bytes.
#[derive(Debug)]
pub enum Op {
    /// One connection from a listener.
    Accept {
        /// The listener.
        listener: SocketId,
    },
    /// Whatever bytes have come, once some have.
    Recv {
        /// The connection.
        socket: SocketId,
        /// Where they go.
        into: RecvInto,
    },
    /// All bytes of the list, in order, however long the peer takes, or an error.
    Send {
        /// The connection.
        socket: SocketId,
        /// What is sent.
        list: Box<SendList>,
    },
    /// Fills the buffer's `len()` bytes from the file.
    Read {
        /// The file.
        file: FileId,
        /// From where.
        offset: u64,
        /// Where they go.
        buffer: Buffer,
    },
    /// Writes all of `data`.
    Write {
        /// The file.
        file: FileId,
        /// To where.
        offset: u64,
        /// The bytes.
        data: WriteData,
        /// Completes only when the bytes survive a power cut (RWF_DSYNC).
        durable: bool,
    },
    /// Makes everything that was written before survive a power cut (fdatasync).
    Flush {
        /// The file.
        file: FileId,
    },
    /// Gives the range back to the file system; it reads as zero. The file keeps its size.
    Punch {
        /// The file.
        file: FileId,
        /// From where.
        offset: u64,
        /// How much.
        bytes: u64,
    },
    /// Makes the range read as zero, keeping its space where the file system can.
    Zero {
        /// The file.
        file: FileId,
        /// From where.
        offset: u64,
        /// How much.
        bytes: u64,
    },
    /// Tells which parts of the range the file keeps, in whatever it fills of the buffer: for each run that is kept, or
    /// is not, its length in bytes shifted up by one, plus one where it is kept, as 8 bytes, the lowest first. Ends in
    /// [`OpResult::Read`]. A file that cannot tell keeps everything.
    Map {
        /// The file.
        file: FileId,
        /// From where.
        offset: u64,
        /// How much.
        bytes: u64,
        /// Where the runs go.
        buffer: Buffer,
    },
    /// Tells a block device that the range is not needed; what it reads as afterwards is the device's business. On a
    /// regular file this is [`Op::Punch`].
    Discard {
        /// The file.
        file: FileId,
        /// From where.
        offset: u64,
        /// How much.
        bytes: u64,
    },
}

/// Where a receive puts its bytes: first into `place`, then into a staging buffer of the driver's own, which it takes
/// from the slab only once data is there.
#[derive(Debug, Default)]
pub struct RecvInto {
    /// Memory that the first bytes belong into.
    pub place: Option<Place>,
}

/// Memory to receive into.
#[derive(Debug)]
pub enum Place {
    /// Part of a buffer.
    Buffer {
        /// The buffer.
        buffer: Buffer,
        /// Which of its `len()` bytes.
        range: Range<u32>,
    },
    /// Part of a store's own memory.
    Pinned(Pin),
}

impl Place {
    /// How many bytes it has room for.
    pub fn len(&self) -> usize {
        match self {
            Self::Buffer { range, .. } => range.end.saturating_sub(range.start) as usize,
            Self::Pinned(pin) => pin.len() as usize,
        }
    }

    /// Whether it has room for none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its addresses; `None` for a range beyond its buffer.
    pub(crate) fn span(&self) -> Option<Span> {
        match self {
            Self::Buffer { buffer, range } => {
                let (start, end) = (range.start as usize, range.end as usize);
                let whole = buffer.span();
                (start <= end && end <= whole.len).then(|| Span {
                    len: end - start,
                    ..whole.skip(start)
                })
            }
            Self::Pinned(pin) => Some(pin.span_to_write()),
        }
    }
}

/// What to send: pieces in order, some of them in an arena of small things. Reused: [`Self::clear`] keeps capacity.
#[derive(Debug, Default)]
pub struct SendList {
    /// Headers, padding, digests, small data.
    pub arena: Vec<u8>,
    /// What goes out, in order.
    pub pieces: Vec<SendPiece>,
}

/// A run of bytes to send.
#[derive(Debug)]
pub enum SendPiece {
    /// Bytes of the list's arena.
    Arena(Range<u32>),
    /// Bytes of a buffer.
    Frozen {
        /// The buffer.
        buffer: Frozen,
        /// Which of its bytes.
        range: Range<u32>,
    },
    /// Bytes of a store's own memory.
    Pinned(Pin),
}

impl SendList {
    /// Lets go of everything, and keeps the room.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.pieces.clear();
    }

    /// How many bytes it has. A range that lies backwards counts as none.
    pub fn total_bytes(&self) -> usize {
        let len = |piece: &SendPiece| match piece {
            SendPiece::Arena(range) | SendPiece::Frozen { range, .. } => {
                range.end.saturating_sub(range.start) as usize
            }
            SendPiece::Pinned(pin) => pin.len() as usize,
        };
        self.pieces.iter().map(len).fold(0, usize::saturating_add)
    }

    /// The addresses of one piece; `None` for a range that is not there.
    pub(crate) fn span(&self, piece: &SendPiece) -> Option<Span> {
        match piece {
            SendPiece::Arena(range) => {
                let bytes = self.arena.get(range.start as usize..range.end as usize)?;
                Some(Span {
                    ptr: bytes.as_ptr().cast_mut(),
                    len: bytes.len(),
                })
            }
            SendPiece::Frozen { buffer, range } => buffer.span(range.clone()),
            SendPiece::Pinned(pin) => Some(pin.span()),
        }
    }

    /// Whether each piece is where it says.
    pub(crate) fn is_sound(&self) -> bool {
        self.pieces.iter().all(|piece| self.span(piece).is_some())
    }
}

/// How long a turn may wait when nothing has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    Poll,
    /// At most this long from now.
    Until(Duration),
    /// For ever.
    Forever,
}

/// The end of one operation.
#[derive(Debug)]
pub struct Completion {
    /// The operation's name.
    pub token: Token,
    /// What came of it, and its memory.
    pub result: OpResult,
}

/// What came of an operation. Errors carry the kernel's error number (`raw_os_error`).
#[derive(Debug)]
pub enum OpResult {
    /// Of [`Op::Accept`].
    Accept(io::Result<AcceptedSocket>),
    /// Of [`Op::Recv`].
    Recv {
        /// Bytes received in all; 0 is the end of the stream.
        result: io::Result<usize>,
        /// The place given.
        place: Option<Place>,
        /// How many of the bytes went to the place.
        placed_bytes: usize,
        /// The bytes after those, if any; its length is their number.
        staging: Option<Buffer>,
    },
    /// Of [`Op::Send`].
    Send {
        /// All sent, or why not.
        result: io::Result<()>,
        /// The list given.
        list: Box<SendList>,
    },
    /// Of [`Op::Read`].
    Read {
        /// Bytes read: fewer than asked only at the end of the file.
        result: io::Result<usize>,
        /// The buffer given.
        buffer: Buffer,
    },
    /// Of [`Op::Write`].
    Write {
        /// Bytes written: all, when there is no error.
        result: io::Result<usize>,
        /// The data given.
        data: WriteData,
    },
    /// Of the other file operations.
    Other(io::Result<()>),
}

/// A new connection.
#[derive(Debug)]
pub struct AcceptedSocket {
    /// The socket, non-blocking.
    pub fd: OwnedFd,
    /// Who connected.
    pub peer: SocketAddr,
}
