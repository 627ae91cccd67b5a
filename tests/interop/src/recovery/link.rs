//! One connection's socket, read by a thread of its own.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use iscsi_wire::Cid;

/// What came on a socket, or its end.
pub(super) struct Received {
    pub(super) cid: Cid,
    pub(super) number: u64,
    pub(super) bytes: Option<Vec<u8>>,
}

/// A socket. Dropped, it is closed.
pub(super) struct Link {
    /// Tells it from others of the same CID.
    pub(super) number: u64,
    pub(super) since: Instant,
    stream: TcpStream,
}

impl Link {
    pub(super) fn connect(
        portal: SocketAddr,
        cid: Cid,
        number: u64,
        sender: Sender<Received>,
    ) -> Result<Self> {
        let stream = TcpStream::connect(portal).with_context(|| portal.to_string())?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(Duration::from_secs(10)))?;
        let mut reader = stream.try_clone()?;
        std::thread::spawn(move || {
            let mut buffer = vec![0; 256 * 1024];
            loop {
                let bytes = match reader.read(&mut buffer) {
                    Ok(count @ 1..) => Some(buffer[..count].to_vec()),
                    _ => None,
                };
                let is_end = bytes.is_none();
                let received = Received { cid, number, bytes };
                if sender.send(received).is_err() || is_end {
                    break;
                }
            }
        });
        Ok(Self {
            number,
            since: Instant::now(),
            stream,
        })
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let _closed = self.stream.shutdown(Shutdown::Both);
    }
}
