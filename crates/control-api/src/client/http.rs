//! As much of HTTP/1.1 (RFC 9112) as one question and its answer on a Unix socket need, read strictly: every length is
//! bounded, and what is ambiguous is refused.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::error::{ClientError, ProtocolFault};

/// A status line and all headers together.
const HEAD_LIMIT_BYTES: usize = 16 << 10;
/// A chunk's size with its extensions.
const CHUNK_LINE_LIMIT_BYTES: usize = 256;
/// A body. A tree of a hundred thousand ACLs takes a fraction of it.
const BODY_LIMIT_BYTES: usize = 512 << 20;
/// Read from the socket at once.
const READ_BYTES: usize = 64 << 10;

/// What is asked.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: &'static str,
    /// Path and query, encoded.
    pub(super) target: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) content_type: Option<&'static str>,
    pub(super) body: Vec<u8>,
}

impl Request {
    /// RFC 9112 §3. `Connection: close`: one question, one connection.
    fn emit(&self) -> Vec<u8> {
        let mut text = format!(
            "{} {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n",
            self.method, self.target
        );
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(content_type) = self.content_type {
            text.push_str(&format!(
                "Content-Type: {content_type}\r\nContent-Length: {}\r\n",
                self.body.len()
            ));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// The head of an answer; the body follows by [`Answer::read_some`] or [`Answer::read_all`].
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// In lower case, without parameters.
    pub(super) content_type: String,
    source: Source,
    framing: Framing,
}

/// RFC 9112 §6: where the body ends.
#[derive(Debug)]
enum Framing {
    /// After so many bytes more.
    Length(u64),
    /// In this chunk so many bytes more.
    Chunk(u64),
    /// A chunk's size comes next; not before the first one, which no line end precedes.
    ChunkSize {
        after_data: bool,
    },
    Ended,
}

/// How long to wait for bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Patience {
    /// Until then, for the whole answer.
    Until(Instant),
    /// So long from byte to byte.
    Idle(Duration),
}

/// Bytes of the socket, buffered.
#[derive(Debug)]
struct Source {
    stream: UnixStream,
    patience: Patience,
    buffer: Vec<u8>,
    taken: usize,
}

/// Sends the question and reads the head of the answer.
pub(super) fn exchange(
    stream: UnixStream,
    request: &Request,
    patience: Patience,
) -> Result<Answer, ClientError> {
    let mut source = Source {
        stream,
        patience,
        buffer: Vec::new(),
        taken: 0,
    };
    // A daemon that refuses a body early closes before it has read all of it: its answer is there all the same.
    match source.write(&request.emit()) {
        Ok(()) => Answer::read_head(source),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
            ) =>
        {
            Answer::read_head(source).map_err(|_| ClientError::Io(error))
        }
        Err(error) => Err(error.into()),
    }
}

impl Answer {
    fn read_head(mut source: Source) -> Result<Self, ClientError> {
        let mut budget = HEAD_LIMIT_BYTES;
        let status = parse_status(&source.line(&mut budget, ProtocolFault::Header)?)?;
        let (mut content_type, mut length, mut is_chunked) = (String::new(), None, false);
        loop {
            let line = source.line(&mut budget, ProtocolFault::Header)?;
            if line.is_empty() {
                break;
            }
            let (name, value) = parse_header(&line)?;
            match name.as_str() {
                "content-type" => {
                    content_type = value
                        .split(';')
                        .next()
                        .unwrap_or_default()
                        .trim()
                        .to_ascii_lowercase();
                }
                "content-length" => {
                    // RFC 9112 §6.3: digits only, and once.
                    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
                    let parsed = value.parse::<u64>().ok().filter(|_| digits);
                    if length
                        .replace(parsed.ok_or(ProtocolFault::Length)?)
                        .is_some()
                    {
                        return Err(ProtocolFault::Length.into());
                    }
                }
                "transfer-encoding" => {
                    if is_chunked || !value.eq_ignore_ascii_case("chunked") {
                        return Err(ProtocolFault::Length.into());
                    }
                    is_chunked = true;
                }
                _ => {}
            }
        }
        // RFC 9112 §6.3: no body; else chunked or a length, and never both.
        let framing = match (status, is_chunked, length) {
            (204 | 304, false, _) => Framing::Ended,
            (_, true, None) => Framing::ChunkSize { after_data: false },
            (_, false, Some(length)) => Framing::Length(length),
            _ => return Err(ProtocolFault::Length.into()),
        };
        Ok(Self {
            status,
            content_type,
            source,
            framing,
        })
    }

    /// Appends what has come of the body; `false` when it has ended.
    pub(super) fn read_some(&mut self, out: &mut Vec<u8>) -> Result<bool, ClientError> {
        loop {
            match self.framing {
                Framing::Ended | Framing::Length(0) => return Ok(false),
                Framing::Length(left) => {
                    let taken = self.source.take(left, out)?;
                    self.framing = Framing::Length(left - taken);
                    return Ok(true);
                }
                Framing::Chunk(0) => self.framing = Framing::ChunkSize { after_data: true },
                Framing::Chunk(left) => {
                    let taken = self.source.take(left, out)?;
                    self.framing = Framing::Chunk(left - taken);
                    return Ok(true);
                }
                Framing::ChunkSize { after_data } => {
                    self.framing = self.source.next_chunk(after_data)?
                }
            }
        }
    }

    /// The whole body.
    pub(super) fn read_all(&mut self) -> Result<Vec<u8>, ClientError> {
        let mut body = Vec::new();
        if matches!(self.framing, Framing::Length(length) if length > BODY_LIMIT_BYTES as u64) {
            return Err(ProtocolFault::TooLong.into());
        }
        while self.read_some(&mut body)? {
            if body.len() > BODY_LIMIT_BYTES {
                return Err(ProtocolFault::TooLong.into());
            }
        }
        Ok(body)
    }
}

impl Source {
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.stream.set_write_timeout(Some(self.patience.left()?))?;
            match self.stream.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// More bytes into the buffer. The end of the stream is a fault: an answer tells its own end.
    fn fill(&mut self) -> Result<(), ClientError> {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        let filled = self.buffer.len();
        self.buffer.resize(filled + READ_BYTES, 0);
        let read = loop {
            self.stream.set_read_timeout(Some(self.patience.left()?))?;
            match self.stream.read(&mut self.buffer[filled..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.buffer.truncate(filled + *read.as_ref().unwrap_or(&0));
        if read? == 0 {
            Err(ProtocolFault::Truncated.into())
        } else {
            Ok(())
        }
    }

    fn unread(&self) -> &[u8] {
        self.buffer.get(self.taken..).unwrap_or_default()
    }

    /// Moves at least one and at most `limit` bytes.
    fn take(&mut self, limit: u64, out: &mut Vec<u8>) -> Result<u64, ClientError> {
        if self.unread().is_empty() {
            self.fill()?;
        }
        let unread = self.unread();
        let count = usize::try_from(limit)
            .unwrap_or(usize::MAX)
            .min(unread.len());
        out.extend_from_slice(unread.get(..count).unwrap_or_default());
        self.taken += count;
        Ok(count as u64)
    }

    /// A line without its CR LF, of at most as many bytes as the budget has, which it uses up.
    fn line(&mut self, budget: &mut usize, too_long: ProtocolFault) -> Result<String, ClientError> {
        let length = loop {
            let unread = self.unread();
            let seen = unread.get(..unread.len().min(*budget)).unwrap_or_default();
            if let Some(length) = seen.windows(2).position(|pair| pair == b"\r\n") {
                break length;
            }
            if unread.len() >= *budget {
                return Err(too_long.into());
            }
            self.fill()?;
        };
        let text = self.unread().get(..length).unwrap_or_default();
        let text = str::from_utf8(text).map_err(|_| too_long)?.to_owned();
        self.taken += length + 2;
        *budget -= length + 2;
        Ok(text)
    }

    /// RFC 9112 §7.1: the next chunk's size; after the last one, the trailers, which are dropped.
    fn next_chunk(&mut self, after_data: bool) -> Result<Framing, ClientError> {
        let mut budget = CHUNK_LINE_LIMIT_BYTES;
        if after_data && !self.line(&mut budget, ProtocolFault::Chunk)?.is_empty() {
            return Err(ProtocolFault::Chunk.into());
        }
        let line = self.line(&mut budget, ProtocolFault::Chunk)?;
        let digits = line.split(';').next().unwrap_or_default().trim_end();
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(ProtocolFault::Chunk.into());
        }
        let size = u64::from_str_radix(digits, 16).map_err(|_| ProtocolFault::Chunk)?;
        if size > 0 {
            return Ok(Framing::Chunk(size));
        }
        let mut budget = HEAD_LIMIT_BYTES;
        while !self.line(&mut budget, ProtocolFault::Chunk)?.is_empty() {}
        Ok(Framing::Ended)
    }
}

impl Patience {
    fn left(self) -> io::Result<Duration> {
        match self {
            Self::Idle(idle) => Ok(idle),
            Self::Until(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    Err(ErrorKind::TimedOut.into())
                } else {
                    Ok(left)
                }
            }
        }
    }
}

/// RFC 9112 §4: `HTTP/1.1 200 OK`. An interim answer was not asked for.
fn parse_status(line: &str) -> Result<u16, ProtocolFault> {
    let rest = line
        .strip_prefix("HTTP/1.1 ")
        .ok_or(ProtocolFault::StatusLine)?;
    let digits = rest.split(' ').next().unwrap_or_default();
    if digits.len() != 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ProtocolFault::StatusLine);
    }
    digits
        .parse()
        .ok()
        .filter(|status| (200..600).contains(status))
        .ok_or(ProtocolFault::StatusLine)
}

/// RFC 9112 §5: the name in lower case, the value without the space around it. A line that continues another one is
/// refused, as is a name with a space.
fn parse_header(line: &str) -> Result<(String, String), ProtocolFault> {
    let (name, value) = line.split_once(':').ok_or(ProtocolFault::Header)?;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(ProtocolFault::Header);
    }
    Ok((
        name.to_ascii_lowercase(),
        value.trim_matches([' ', '\t']).to_owned(),
    ))
}
