//! How a client is set up, and what it says.

use core::fmt;
use core::time::Duration;

use crate::inbound::Notification;
use crate::pdu::FrameError;
use crate::status::Status;

/// How patient a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// How long a connection may take to be there, and a response to come.
    pub patience: Duration,
    /// The pause after a first failure; doubled after each further one.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(10),
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(60),
        }
    }
}

/// What the owner of a client has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connect to the server; then [`super::Client::connected`] or [`super::Client::disconnected`].
    Connect,
    /// Send these bytes on the connection.
    Send(Vec<u8>),
    /// Close the connection, or give up making one. Nothing is to be told of it.
    Close,
}

/// What happened, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The server knows all that it is to know.
    Registered {
        /// Targets that it knows of.
        nodes: usize,
    },
    /// The server knows nothing of us any more, as it was asked to.
    Deregistered,
    /// The server had forgotten us; it is told anew.
    Forgotten,
    /// Something failed.
    Failed(Problem),
    /// The server told of a change.
    Notified(Notification),
}

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// There is no connection, or it is lost.
    Connection,
    /// No response came in time.
    Silence,
    /// What came is not iSNS.
    Frame(FrameError),
    /// A registration was refused.
    Registration(Status),
    /// A deregistration was refused; what was to go stays until its period ends.
    Deregistration(Status),
    /// The server does not tell of changes.
    Notifications(Status),
    /// The server does not inquire; without that, its registration ends by its period only.
    Inquiries,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection => f.write_str("no connection"),
            Self::Silence => f.write_str("no response in time"),
            Self::Frame(error) => error.fmt(f),
            Self::Registration(status) => write!(f, "registration refused: {status}"),
            Self::Deregistration(status) => write!(f, "deregistration refused: {status}"),
            Self::Notifications(status) => write!(f, "no state change notifications: {status}"),
            Self::Inquiries => f.write_str("no entity status inquiries"),
        }
    }
}
