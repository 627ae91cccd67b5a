//! One connection to a helper: bytes in, lines out, and the other way. Bounded in both directions, and never waits.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::protocol::{MAX_LINE_BYTES, Malformed};

/// Bytes waiting to go out beyond which no further question is written.
const ENOUGH_OUTBOUND_BYTES: usize = MAX_LINE_BYTES;

/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;

pub(super) struct Connection {
    stream: UnixStream,
    inbound: Vec<u8>,
    /// Up to here `inbound` holds no end of a line.
    searched: usize,
    outbound: Vec<u8>,
    /// Up to here `outbound` has gone out.
    sent: usize,
}

impl Connection {
    /// # Errors
    /// Nobody listens, or what listens has no room for another connection now.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        // The standard library's connect would wait for room in the listener's backlog.
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(Self {
            stream: socket.into(),
            inbound: Vec::new(),
            searched: 0,
            outbound: Vec::new(),
            sent: 0,
        })
    }

    pub(super) fn has_outbound(&self) -> bool {
        self.sent < self.outbound.len()
    }

    /// Whether there is room for a question more.
    pub(super) fn takes_more(&self) -> bool {
        self.outbound.len().saturating_sub(self.sent) < ENOUGH_OUTBOUND_BYTES
    }

    /// Where lines are written to; [`Self::flush`] sends them.
    pub(super) fn outbound(&mut self) -> &mut Vec<u8> {
        &mut self.outbound
    }

    /// Sends what the socket takes.
    ///
    /// # Errors
    /// The connection is gone.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while let Some(rest @ [_, ..]) = self.outbound.get(self.sent..) {
            match self.stream.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => self.sent = self.sent.saturating_add(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if self.sent >= ENOUGH_OUTBOUND_BYTES {
                        self.outbound.drain(..self.sent);
                        self.sent = 0;
                    }
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.outbound.clear();
        self.sent = 0;
        Ok(())
    }

    /// Reads once. `false`: there was nothing. Lines have to be taken before the next call.
    ///
    /// # Errors
    /// The connection is gone, or closed by the helper.
    pub(super) fn fill(&mut self) -> io::Result<bool> {
        let mut bytes = [0; READ_BYTES];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    self.inbound
                        .extend_from_slice(bytes.get(..read).unwrap_or_default());
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The next whole line, without its end; `None` until there is one.
    ///
    /// # Errors
    /// The line is longer than the protocol allows.
    pub(super) fn next_line(&mut self) -> Result<Option<Vec<u8>>, Malformed> {
        let rest = self.inbound.get(self.searched..).unwrap_or_default();
        let end = rest
            .iter()
            .position(|byte| *byte == b'\n')
            .map(|at| self.searched.saturating_add(at));
        let length = end.unwrap_or(self.inbound.len());
        if length > MAX_LINE_BYTES {
            return Err(Malformed("a line longer than 64 KiB"));
        }
        let Some(end) = end else {
            self.searched = length;
            return Ok(None);
        };
        self.searched = 0;
        let mut line: Vec<u8> = self.inbound.drain(..=end).collect();
        line.truncate(end);
        Ok(Some(line))
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Connection, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        ours.set_nonblocking(true).expect("an own socket");
        let connection = Connection {
            stream: ours,
            inbound: Vec::new(),
            searched: 0,
            outbound: Vec::new(),
            sent: 0,
        };
        (connection, theirs)
    }

    fn lines(connection: &mut Connection) -> Vec<String> {
        let mut lines = Vec::new();
        while connection.fill().expect("open") {
            while let Some(line) = connection.next_line().expect("short") {
                lines.push(String::from_utf8(line).expect("text"));
            }
        }
        lines
    }

    #[test]
    fn next_line_of_any_pieces_is_each_line_once() {
        let text = b"one\ntwo\n\nthree\n";
        for size in 1..=text.len() {
            let (mut connection, mut theirs) = pair();
            let mut got = Vec::new();
            for piece in text.chunks(size) {
                theirs.write_all(piece).expect("room");
                got.extend(lines(&mut connection));
            }
            assert_eq!(got, ["one", "two", "", "three"], "{size}");
        }
    }

    #[test]
    fn next_line_at_the_bound_passes_and_beyond_it_fails() {
        for (length, ended, passes) in [
            (MAX_LINE_BYTES, true, true),
            (MAX_LINE_BYTES, false, true),
            (MAX_LINE_BYTES + 1, true, false),
            (MAX_LINE_BYTES + 1, false, false),
        ] {
            let (mut connection, _theirs) = pair();
            connection.inbound = vec![b'x'; length];
            connection.inbound.extend(ended.then_some(b'\n'));
            let line = connection.next_line();
            assert_eq!(line.is_ok(), passes, "{length} {ended}");
            assert_eq!(
                line.is_ok_and(|line| line.is_some_and(|line| line.len() == length)),
                passes && ended
            );
        }
    }

    #[test]
    fn flush_to_a_reader_that_pauses_sends_all_in_order() {
        let (mut connection, mut theirs) = pair();
        let mut expected = Vec::new();
        let mut got = Vec::new();
        let mut buffer = vec![0; 100_000];
        for byte in 0..40_u8 {
            let piece = vec![byte; 30_000];
            expected.extend_from_slice(&piece);
            connection.outbound().extend_from_slice(&piece);
            connection.flush().expect("open");
            while !connection.takes_more() {
                let read = theirs.read(&mut buffer).expect("open");
                got.extend_from_slice(&buffer[..read]);
                connection.flush().expect("open");
            }
        }
        while got.len() < expected.len() {
            let read = theirs.read(&mut buffer).expect("open");
            got.extend_from_slice(&buffer[..read]);
            connection.flush().expect("open");
        }
        assert!(got == expected);
        assert!(!connection.has_outbound());
    }

    #[test]
    fn fill_after_the_other_end_closed_is_an_error() {
        let (mut connection, theirs) = pair();
        assert!(!connection.fill().expect("open"));
        drop(theirs);
        assert!(connection.fill().is_err());
    }
}
