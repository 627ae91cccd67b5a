//! One connection of Quintain's: lines in, lines out. Bounded in both directions, and never waits.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use crate::line::MAX_LINE_BYTES;

/// Bytes waiting to go out beyond which no further question is read.
const ENOUGH_OUTBOUND_BYTES: usize = 64 * 1024;

/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;

pub(crate) struct Connection {
    stream: UnixStream,
    inbound: Vec<u8>,
    outbound: Vec<u8>,
    /// Its hello has come.
    pub(crate) is_greeted: bool,
}

impl Connection {
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            inbound: Vec::new(),
            outbound: Vec::new(),
            is_greeted: false,
        })
    }

    pub(crate) fn has_outbound(&self) -> bool {
        !self.outbound.is_empty()
    }

    /// Whether questions are read now: not as long as the answers to others are not fetched.
    pub(crate) fn takes_questions(&self) -> bool {
        self.outbound.len() < ENOUGH_OUTBOUND_BYTES
    }

    pub(crate) fn say(&mut self, line: &str) {
        self.outbound.extend_from_slice(line.as_bytes());
    }

    /// Sends what the socket takes.
    ///
    /// # Errors
    /// The connection is gone.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let mut sent = 0;
        let end = loop {
            match self.outbound.get(sent..) {
                None | Some([]) => break Ok(()),
                Some(rest) => match self.stream.write(rest) {
                    Ok(0) => break Err(ErrorKind::WriteZero.into()),
                    Ok(written) => sent = sent.saturating_add(written),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break Ok(()),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => break Err(error),
                },
            }
        };
        self.outbound.drain(..sent.min(self.outbound.len()));
        end
    }

    /// Reads once, and gives the lines that are whole, without their ends.
    ///
    /// # Errors
    /// The connection is gone, or a line is too long.
    pub(crate) fn read(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let mut bytes = [0; READ_BYTES];
        let read = match self.stream.read(&mut bytes) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(error)
                if [ErrorKind::WouldBlock, ErrorKind::Interrupted].contains(&error.kind()) =>
            {
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        };
        self.inbound
            .extend_from_slice(bytes.get(..read).unwrap_or_default());
        let mut lines: Vec<Vec<u8>> = self
            .inbound
            .split(|byte| *byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect();
        self.inbound = lines.pop().unwrap_or_default();
        let longest = lines.iter().chain([&self.inbound]).map(Vec::len).max();
        if longest.is_some_and(|longest| longest > MAX_LINE_BYTES) {
            return Err(ErrorKind::InvalidData.into());
        }
        Ok(lines)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
