//! Who is logged in: one record for each session of the process, for whoever lists sessions, and for a change that has to
//! find those it touches. Written at login and logout only; no I/O looks at it.

#[cfg(all(test, loom))]
mod loom_tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

#[cfg(loom)]
use loom::sync::{Mutex, MutexGuard};
#[cfg(not(loom))]
use std::sync::{Mutex, MutexGuard};

use iscsi_proto::login::{Established, SessionType};
use iscsi_proto::negotiate::NegotiatedParams;
use iscsi_wire::{Cid, IscsiName, Isid, Tsih};
use model::ObjectId;

use crate::shared::{Place, SessionId, WorkerId};

/// What a session counts; only its worker writes.
#[derive(Debug, Default)]
pub(crate) struct SessionCounters {
    pub(crate) commands: AtomicU64,
    pub(crate) read_bytes: AtomicU64,
    pub(crate) written_bytes: AtomicU64,
}

/// Adds to a counter that one thread writes: a load and a store need no locked instruction.
pub(crate) fn count(counter: &AtomicU64, n: u64) {
    let now = counter.load(Ordering::Relaxed);
    counter.store(now.wrapping_add(n), Ordering::Relaxed);
}

/// A session, as the rest of the process knows it.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) id: SessionId,
    pub(crate) worker: WorkerId,
    pub(crate) initiator: IscsiName,
    pub(crate) isid: Isid,
    pub(crate) tsih: Tsih,
    /// `None` in a discovery session.
    pub(crate) target: Option<IscsiName>,
    pub(crate) tag: u16,
    /// The portal group that it logged in to.
    pub(crate) group: Option<ObjectId>,
    /// The ACL that it logged in by.
    pub(crate) acl: Option<ObjectId>,
    /// The ACL that its authenticator named to serve it by.
    pub(crate) named: Option<IscsiName>,
    pub(crate) local: SocketAddr,
    pub(crate) peer: SocketAddr,
    pub(crate) authenticated_as: Option<String>,
    pub(crate) params: NegotiatedParams,
    /// Since the start of the process.
    pub(crate) since: Duration,
    pub(crate) luns: AtomicUsize,
    /// Connections that it has. Written where one comes or goes.
    connections: std::sync::Mutex<Vec<ConnectionInfo>>,
    pub(crate) draining: AtomicBool,
    pub(crate) counters: SessionCounters,
}

impl Record {
    pub(crate) fn new(
        (id, worker): (SessionId, WorkerId),
        established: &Established,
        place: &Place,
        since: Duration,
    ) -> Self {
        let identity = &established.identity;
        let normal = identity.session_type == SessionType::Normal;
        Self {
            id,
            worker,
            initiator: identity.initiator_name.clone(),
            isid: identity.isid,
            tsih: established.tsih,
            target: identity.target_name.clone().filter(|_| normal),
            tag: established.portal_group_tag.unwrap_or(0),
            group: place.admitted.as_ref().map(|admitted| admitted.group),
            acl: place.acl,
            named: place.named.clone(),
            local: established.portal,
            peer: established.peer,
            authenticated_as: established.authenticated_as.clone(),
            params: established.params.clone(),
            since,
            luns: AtomicUsize::new(0),
            connections: std::sync::Mutex::new(vec![ConnectionInfo {
                cid: identity.cid,
                local: established.portal,
                peer: established.peer,
                state: ConnectionState::FullFeature,
            }]),
            draining: AtomicBool::new(false),
            counters: SessionCounters::default(),
        }
    }
}

/// One connection of a session at one moment, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// RFC 7143 §11.12.7.
    pub cid: Cid,
    /// Our end of the connection.
    pub local: SocketAddr,
    /// The initiator's end.
    pub peer: SocketAddr,
    /// Where it is in its life.
    pub state: ConnectionState,
}

/// Where a connection is in its life (RFC 7143 §8.1.3, §8.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// It serves.
    FullFeature,
    /// Its last answers are sent, then it closes.
    Closing,
    /// It is lost, and kept with its tasks for the initiator to recover them.
    Lost,
}

/// A session at one moment, for people.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    /// Never reused in the life of the process.
    pub id: SessionId,
    /// The worker that it lives on.
    pub worker: u16,
    /// The initiator's name.
    pub initiator: IscsiName,
    /// RFC 7143 §11.12.5.
    pub isid: Isid,
    /// RFC 7143 §11.12.6.
    pub tsih: Tsih,
    /// `None` in a discovery session.
    pub target: Option<IscsiName>,
    /// The portal group tag; 0 in a discovery session.
    pub tag: u16,
    /// Our end of the connection.
    pub local: SocketAddr,
    /// The initiator's end.
    pub peer: SocketAddr,
    /// The CHAP name that was proved, where one was asked for.
    pub authenticated_as: Option<String>,
    /// What was negotiated.
    pub params: NegotiatedParams,
    /// How long it has been logged in.
    pub age: Duration,
    /// LUNs that it sees.
    pub luns: usize,
    /// Connections that it has, and that it has lost and may recover, by their CIDs.
    pub connections: Vec<ConnectionInfo>,
    /// It is asked to log out.
    pub draining: bool,
    /// Commands begun.
    pub commands: u64,
    /// Bytes read by the initiator.
    pub read_bytes: u64,
    /// Bytes written by it.
    pub written_bytes: u64,
}

impl SessionInfo {
    /// How many connections it has that are not lost.
    #[must_use]
    pub fn connected(&self) -> usize {
        let lost = |one: &&ConnectionInfo| one.state == ConnectionState::Lost;
        self.connections.iter().filter(|one| !lost(one)).count()
    }
}

impl Record {
    /// Its connections as they are now.
    pub(crate) fn connections(&self) -> Vec<ConnectionInfo> {
        let connections = self.connections.lock();
        connections.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has everybody see these connections.
    pub(crate) fn publish_connections(&self, mut now: Vec<ConnectionInfo>) {
        now.sort_unstable_by_key(|one| one.cid.0);
        let connections = self.connections.lock();
        *connections.unwrap_or_else(PoisonError::into_inner) = now;
    }

    pub(crate) fn info(&self, now: Duration) -> SessionInfo {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SessionInfo {
            id: self.id,
            worker: self.worker.0,
            initiator: self.initiator.clone(),
            isid: self.isid,
            tsih: self.tsih,
            target: self.target.clone(),
            tag: self.tag,
            local: self.local,
            peer: self.peer,
            authenticated_as: self.authenticated_as.clone(),
            params: self.params.clone(),
            age: now.saturating_sub(self.since),
            luns: self.luns.load(Ordering::Relaxed),
            connections: self.connections(),
            draining: self.draining.load(Ordering::Relaxed),
            commands: value(&self.counters.commands),
            read_bytes: value(&self.counters.read_bytes),
            written_bytes: value(&self.counters.written_bytes),
        }
    }
}

/// All sessions of the process. `R` is the record of one; the tests of the order below need none.
#[derive(Debug)]
pub(crate) struct Directory<R = Record>(Mutex<BTreeMap<SessionId, Arc<R>>>);

impl<R> Default for Directory<R> {
    fn default() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }
}

impl<R> Directory<R> {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<SessionId, Arc<R>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a session, and then has it look at the world in force: in this order, because whoever publishes a world lists the
    /// sessions afterwards. So a session is listed, or has found that world itself; it is never both unlisted and of the world
    /// before. One that may not start by what it finds is taken out again.
    pub(crate) fn enter_and_look<E>(
        &self,
        id: SessionId,
        record: Arc<R>,
        look: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        self.lock().insert(id, record);
        let looked = look();
        if looked.is_err() {
            self.remove(id);
        }
        looked
    }

    pub(crate) fn remove(&self, id: SessionId) {
        self.lock().remove(&id);
    }

    pub(crate) fn find(&self, id: SessionId) -> Option<Arc<R>> {
        self.lock().get(&id).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<R>> {
        self.lock().values().cloned().collect()
    }
}
