//! A TCP connection that speaks iSNS: bytes in, bytes out, never waiting, bounded in both directions.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};

/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;

/// Bytes waiting to go out beyond which the connection is given up: whoever does not read its answers gets no more.
const MAX_OUTBOUND_BYTES: usize = 8 << 20;

pub(super) struct Stream {
    tcp: TcpStream,
    outbound: Vec<u8>,
}

impl Stream {
    /// # Errors
    /// The socket cannot be set up.
    pub(super) fn new(tcp: TcpStream) -> io::Result<Self> {
        tcp.set_nonblocking(true)?;
        tcp.set_nodelay(true)?;
        Ok(Self {
            tcp,
            outbound: Vec::new(),
        })
    }

    pub(super) fn has_outbound(&self) -> bool {
        !self.outbound.is_empty()
    }

    /// Puts bytes up for sending, and sends what the socket takes.
    ///
    /// # Errors
    /// The connection is gone, or does not take what is sent.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.outbound.len().saturating_add(bytes.len()) > MAX_OUTBOUND_BYTES {
            return Err(ErrorKind::WriteZero.into());
        }
        self.outbound.extend_from_slice(bytes);
        self.flush()
    }

    /// Sends what the socket takes.
    ///
    /// # Errors
    /// The connection is gone.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let mut sent = 0;
        while let Some(rest @ [_, ..]) = self.outbound.get(sent..) {
            match self.tcp.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.outbound.drain(..sent);
        Ok(())
    }

    /// Reads once. `None`: there is nothing.
    ///
    /// # Errors
    /// The connection is gone, or closed.
    pub(super) fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = vec![0; READ_BYTES];
        loop {
            match self.tcp.read(&mut bytes) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    bytes.truncate(read);
                    return Ok(Some(bytes));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tcp.as_fd()
    }
}
