//! What happens, for whoever listens: events for watchers, refused logins and the audit log as bounded rings.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use control_api::{AuditEntry, Event, Refusal, SessionEnd, SessionStart};
use engine::{Observer, RefusedLogin, SessionInfo};

use super::{lock, unix_time_ms};

/// Refused logins that are remembered.
const REFUSALS: usize = 1024;

/// Lines of the audit log that are remembered; all of them go to the log as well.
const AUDIT: usize = 4096;

/// Events that may wait for one reader. One that is slower is dropped.
const WAITING: usize = 1024;

/// Readers at once.
const READERS: usize = 64;

/// The daemon's memory of what happened, and its readers.
#[derive(Default)]
pub struct Bus {
    readers: Mutex<Vec<SyncSender<Event>>>,
    refused: Mutex<VecDeque<Refusal>>,
    audit: Mutex<VecDeque<AuditEntry>>,
}

impl Bus {
    /// Tells every reader.
    pub(super) fn tell(&self, event: Event) {
        lock(&self.readers).retain(|reader| match reader.try_send(event.clone()) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        });
    }

    /// A new reader. The oldest goes when there are too many.
    pub(super) fn subscribe(&self) -> Receiver<Event> {
        let (sender, receiver) = sync_channel(WAITING);
        let mut readers = lock(&self.readers);
        if readers.len() >= READERS {
            readers.remove(0);
        }
        readers.push(sender);
        receiver
    }

    pub(super) fn refused(&self) -> Vec<Refusal> {
        lock(&self.refused).iter().cloned().collect()
    }

    pub(super) fn audit(&self) -> Vec<AuditEntry> {
        lock(&self.audit).iter().cloned().collect()
    }

    /// Notes who did what. The log has it too: `audit` is what to look for there.
    pub(super) fn note(&self, who: &str, action: &str, generation: u64, paths: Vec<String>) {
        tracing::info!(target: "audit", who, action, generation, paths = %paths.join(" "));
        push(
            &self.audit,
            AUDIT,
            AuditEntry {
                unix_time_ms: unix_time_ms(),
                who: who.to_owned(),
                generation,
                action: action.to_owned(),
                paths,
            },
        );
    }
}

fn push<T>(ring: &Mutex<VecDeque<T>>, bound: usize, one: T) {
    let mut ring = lock(ring);
    if ring.len() >= bound {
        ring.pop_front();
    }
    ring.push_back(one);
}

impl Observer for Bus {
    fn login_refused(&self, login: RefusedLogin) {
        let status = login.status;
        let refusal = Refusal {
            unix_time_ms: unix_time_ms(),
            peer: login.peer.to_string(),
            local: login.local.to_string(),
            initiator: login.initiator.to_string(),
            target: login
                .target
                .map(|name| name.to_string())
                .unwrap_or_default(),
            status: format!("{:02x}{:02x}h", status.class, status.detail),
            rule: login.rule.to_owned(),
            text: login.text,
        };
        push(&self.refused, REFUSALS, refusal.clone());
        self.tell(Event::LoginRefused(refusal));
    }

    fn session_started(&self, session: SessionInfo) {
        self.tell(Event::SessionStarted(SessionStart {
            id: session.id.0,
            initiator: session.initiator.to_string(),
            target: name_of(&session),
            tpg: session.tag,
            peer: session.peer.to_string(),
        }));
    }

    fn session_ended(&self, session: SessionInfo, reason: &'static str) {
        self.tell(Event::SessionEnded(SessionEnd {
            id: session.id.0,
            initiator: session.initiator.to_string(),
            target: name_of(&session),
            tpg: session.tag,
            reason: reason.to_owned(),
        }));
    }
}

fn name_of(session: &SessionInfo) -> String {
    session
        .target
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default()
}
