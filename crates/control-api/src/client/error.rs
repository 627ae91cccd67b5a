//! Why a call of the client came back without an answer.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::problem::Problem;

/// Why a call failed.
#[derive(Debug)]
pub enum ClientError {
    /// The daemon refused it and says why.
    Problem(Problem),
    /// Nobody listens at the socket.
    NotRunning {
        /// The socket.
        socket: PathBuf,
    },
    /// The caller may not open the socket.
    NoAccess {
        /// The socket.
        socket: PathBuf,
    },
    /// The connection failed or timed out. Whether a change was made is not known: look before repeating it.
    Io(io::Error),
    /// What came back is not what a daemon of this version sends.
    Protocol(ProtocolFault),
}

/// How an answer was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolFault {
    /// The connection ended in the middle of an answer.
    Truncated,
    /// The first line is no HTTP/1.1 status line.
    StatusLine,
    /// A header line is malformed, or the header section is too long.
    Header,
    /// The length of the body is not told, or told twice.
    Length,
    /// A chunk is malformed.
    Chunk,
    /// The body is longer than the client takes.
    TooLong,
    /// The body is not the JSON that belongs to the call.
    Body,
    /// A status without a problem document.
    Status(u16),
    /// An event that should be known cannot be read.
    Event,
}

impl ClientError {
    /// The daemon's refusal, if it was one.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            _ => None,
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Problem(problem) => problem.fmt(f),
            Self::NotRunning { socket } => write!(
                f,
                "no daemon listens at {}; start one with `quintain daemon`, or name its socket with --socket",
                socket.display()
            ),
            Self::NoAccess { socket } => write!(
                f,
                "this user may not open {}; ask as root, as the daemon's user or as a member of its operator group",
                socket.display()
            ),
            Self::Io(error) if is_timeout(error) => f.write_str(
                "the daemon did not answer in time; whether a change was made is not known",
            ),
            Self::Io(_) => f.write_str("talking to the daemon failed"),
            Self::Protocol(fault) => write!(f, "the daemon's answer cannot be read: {fault}"),
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Protocol(fault) => Some(fault),
            Self::Problem(_) | Self::NotRunning { .. } | Self::NoAccess { .. } => None,
        }
    }
}

impl From<ProtocolFault> for ClientError {
    fn from(fault: ProtocolFault) -> Self {
        Self::Protocol(fault)
    }
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for ProtocolFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("it ends too early"),
            Self::StatusLine => f.write_str("it does not begin as HTTP/1.1"),
            Self::Header => f.write_str("its header is malformed or too long"),
            Self::Length => f.write_str("its length is not told once"),
            Self::Chunk => f.write_str("a chunk of it is malformed"),
            Self::TooLong => f.write_str("it is too long"),
            Self::Body => f.write_str("its body is not what belongs to the question"),
            Self::Status(status) => write!(f, "status {status} without a reason"),
            Self::Event => f.write_str("an event of it is malformed"),
        }
    }
}

impl std::error::Error for ProtocolFault {}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}
