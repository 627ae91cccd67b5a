//! Who hears of logins and sessions as they come and go.

use std::fmt;
use std::net::SocketAddr;

use iscsi_wire::{IscsiName, LoginStatus};

use crate::directory::SessionInfo;

/// A login that was refused, and the rule that refused it.
#[derive(Clone, Debug)]
pub struct RefusedLogin {
    /// Our end of the connection.
    pub local: SocketAddr,
    /// The initiator's end.
    pub peer: SocketAddr,
    /// Claimed, not proved.
    pub initiator: IscsiName,
    /// What it asked for; `None` in a discovery session.
    pub target: Option<IscsiName>,
    /// What it was told.
    pub status: LoginStatus,
    /// A stable name of the rule.
    pub rule: &'static str,
    /// What the rule says, for people.
    pub text: String,
}

/// Hears of logins and sessions. Called by workers: it must never wait.
pub trait Observer: Send + Sync {
    /// A login was refused. As many as peers like: the observer bounds what it keeps.
    fn login_refused(&self, login: RefusedLogin);

    /// A session began.
    fn session_started(&self, session: SessionInfo);

    /// A session is over, its last I/O has left.
    fn session_ended(&self, session: SessionInfo, reason: &'static str);
}

impl fmt::Debug for dyn Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}
