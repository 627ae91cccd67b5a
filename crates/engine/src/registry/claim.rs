//! A login's claim on its nexus, and what it is told about it.

use std::fmt;
use std::sync::Arc;

use iscsi_wire::Tsih;

use super::{NexusKey, SessionRef, Shared};

/// How a login hears of its claim's fate.
pub(super) type Notify = Arc<dyn Fn(ClaimEvent) + Send + Sync>;

/// News of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClaimEvent {
    /// The session that the claim waited for has ended: the login can be made live.
    Ready,
    /// A newer login of the nexus has taken over: drop the connection unanswered.
    Superseded,
    /// The group takes no logins any more.
    Cancelled,
}

/// What became of a wish to claim a nexus.
pub(crate) enum ClaimOutcome {
    /// The nexus is the login's: make it live.
    Granted(Claim),
    /// A session of the nexus has to end first; [`ClaimEvent::Ready`] says when it has.
    Waits {
        claim: Claim,
        /// The session, when the caller has to have it ended. `None`: somebody has already.
        end: Option<SessionRef>,
    },
    /// The group takes no logins, or has no TSIH left.
    Closed,
}

/// Why a claim cannot be made live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClaimLost {
    /// It was taken over by a newer login.
    Superseded,
    /// The group takes no logins any more.
    Cancelled,
    /// A session of the nexus has not ended yet.
    NotReady,
}

/// A login's claim on its nexus. Gives it back when dropped, wherever it is then.
pub(crate) struct Claim {
    shared: Arc<Shared>,
    key: NexusKey,
    id: u64,
    tsih: Tsih,
}

impl Claim {
    pub(super) fn new(shared: Arc<Shared>, key: NexusKey, id: u64, tsih: Tsih) -> Self {
        Self {
            shared,
            key,
            id,
            tsih,
        }
    }

    /// The TSIH that the session will have.
    pub(crate) fn tsih(&self) -> Tsih {
        self.tsih
    }

    pub(super) fn key(&self) -> &NexusKey {
        &self.key
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Claim {
    /// One that was made live, taken over or cancelled is in no slot any more, and changes nothing.
    fn drop(&mut self) {
        self.shared.give_back(self);
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, id, tsih, .. } = self;
        f.debug_struct("Claim")
            .field("key", key)
            .field("id", id)
            .field("tsih", tsih)
            .finish()
    }
}
