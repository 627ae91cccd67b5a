//! Receives, sends and accepts in progress, whichever engine carries them out.

use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;

use rustix::net::{SocketFlags, acceptfrom_with};

use super::slots::Key;
use super::{AcceptedSocket, Completion, OpResult, Place, SendList, SocketId, Token};
use crate::memory::Buffer;

/// Connections that died while waiting to be accepted, skipped in one go.
const ABORTED: usize = 16;

/// A receive that waits for data.
#[derive(Debug)]
pub(super) struct Receive {
    pub(super) token: Token,
    pub(super) place: Option<Place>,
}

impl Receive {
    /// Its end without a byte.
    pub(super) fn fail(self, error: io::Error) -> Completion {
        let Self { token, place } = self;
        let result = OpResult::Recv {
            result: Err(error),
            place,
            placed_bytes: 0,
            staging: None,
        };
        Completion { token, result }
    }

    /// Its end: `bytes` came, first into the place, then into `staging`.
    pub(super) fn succeed(self, bytes: usize, staging: Option<Buffer>) -> Completion {
        let Self { token, place } = self;
        let placed_bytes = place.as_ref().map_or(0, Place::len).min(bytes);
        let staged = bytes - placed_bytes;
        let staging = staging.filter(|_| staged > 0).map(|mut staging| {
            staging.set_len(staged.min(staging.capacity()));
            staging
        });
        let result = OpResult::Recv {
            result: Ok(bytes),
            place,
            placed_bytes,
            staging,
        };
        Completion { token, result }
    }
}

/// A send, and how far it has got.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) token: Token,
    pub(super) list: Box<SendList>,
    /// The first piece with bytes left, and how many of its bytes are gone.
    piece: usize,
    sent_of_piece: usize,
    /// How many bytes were gathered last, where these are all that is left.
    all_gathered: Option<usize>,
}

impl Sending {
    pub(super) fn new(token: Token, list: Box<SendList>) -> Self {
        let mut this = Self {
            token,
            list,
            piece: 0,
            sent_of_piece: 0,
            all_gathered: None,
        };
        this.advance(0);
        this
    }

    /// Whether all has gone.
    pub(super) fn is_done(&self) -> bool {
        self.piece == self.list.pieces.len()
    }

    /// The addresses of what is left, as many pieces as fit into one call.
    pub(super) fn gather(&mut self, into: &mut Vec<libc::iovec>, max: usize) {
        into.clear();
        self.all_gathered = None;
        let mut skip = self.sent_of_piece;
        let mut bytes = 0;
        for piece in self.rest() {
            if into.len() == max {
                return;
            }
            if let Some(span) = self.list.span(&self.list.pieces[piece])
                && span.len > skip
            {
                bytes += span.len - skip;
                into.push(span.skip(skip).iovec());
            }
            skip = 0;
        }
        self.all_gathered = Some(bytes);
    }

    /// Notes that `bytes` more have gone.
    pub(super) fn advance(&mut self, bytes: usize) {
        if self.all_gathered.take() == Some(bytes) {
            self.piece = self.list.pieces.len();
            self.sent_of_piece = 0;
            return;
        }
        let mut left = bytes;
        for piece in self.rest() {
            let len = self
                .list
                .span(&self.list.pieces[piece])
                .map_or(0, |span| span.len);
            let unsent = len.saturating_sub(self.sent_of_piece);
            if left < unsent {
                self.sent_of_piece += left;
                return;
            }
            left -= unsent;
            self.piece += 1;
            self.sent_of_piece = 0;
        }
    }

    pub(super) fn finish(self, result: io::Result<()>) -> Completion {
        let result = OpResult::Send {
            result,
            list: self.list,
        };
        Completion {
            token: self.token,
            result,
        }
    }

    fn rest(&self) -> Range<usize> {
        self.piece..self.list.pieces.len()
    }
}

/// One connection, without waiting. Those that were given up while they queued are skipped.
pub(super) fn accept_one(listener: BorrowedFd<'_>) -> io::Result<AcceptedSocket> {
    let mut aborted = 0;
    loop {
        match acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok((fd, Some(peer))) => {
                if let Ok(peer) = peer.try_into() {
                    return Ok(AcceptedSocket { fd, peer });
                }
                return Err(os_error(libc::EAFNOSUPPORT));
            }
            Ok((_, None)) => return Err(os_error(libc::EAFNOSUPPORT)),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::CONNABORTED) if aborted < ABORTED => aborted += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

/// The end of an accept without a connection.
pub(super) fn refuse_accept(token: Token, error: i32) -> Completion {
    Completion {
        token,
        result: OpResult::Accept(Err(os_error(error))),
    }
}

/// The slot that an id names.
pub(super) fn key_of(id: SocketId) -> Key {
    Key {
        index: id.index,
        generation: id.generation,
    }
}

/// An error by its number, without allocation.
pub(super) fn os_error(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

#[cfg(test)]
mod tests {
    use super::{Sending, Token};
    use crate::SendPiece;

    fn lengths(sending: &mut Sending, max: usize) -> Vec<usize> {
        let mut iovecs = Vec::new();
        sending.gather(&mut iovecs, max);
        iovecs.iter().map(|iovec| iovec.iov_len).collect()
    }

    #[test]
    fn advance_skips_whole_pieces_empty_ones_and_parts() {
        let mut list = Box::<crate::SendList>::default();
        list.arena = vec![0; 100];
        list.pieces = [0..0, 0..10, 10..10, 10..30, 30..60]
            .map(SendPiece::Arena)
            .into();
        let mut sending = Sending::new(Token(1), list);
        assert_eq!(lengths(&mut sending, 1024), [10, 20, 30]);
        assert_eq!(lengths(&mut sending, 2), [10, 20]);
        sending.advance(9);
        assert_eq!(lengths(&mut sending, 1024), [1, 20, 30]);
        sending.advance(1);
        assert_eq!(lengths(&mut sending, 1024), [20, 30]);
        sending.advance(25);
        assert_eq!(lengths(&mut sending, 1024), [25]);
        assert!(!sending.is_done());
        sending.advance(25);
        assert!(sending.is_done());
    }
}
