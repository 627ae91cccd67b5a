//! A session on its worker: the protocol's state, its socket, and its tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use iscsi_proto::login::{Established, SessionType};
use iscsi_proto::session::{
    ConnectionIndex, LogoutHandle, LogoutScope, Session, SessionLimits, TaskId, TmfHandle,
};
use iscsi_wire::{Lun64, TaskManagementResponseCode};
use model::LogicalUnitNumber;
use reactor::SocketId;
use scsi::lu::{FenceId, LuShard, NexusId, UnitAttention};
use scsi::{Lun, LunView, NexusName, TransportId, WallClock};

use super::connection::{Connection, Connections, Joining};
use super::cx::{Cx, from_task_key};
use super::task::Task;
use crate::directory::Record;
use crate::discoveries::{DiscoveryNexus, DiscoveryOf};
use crate::drain::Hold;
use crate::registry::{ClaimLost, SessionRef};
use crate::shared::{Admitted, Group, LunEntry, Message, Place, SessionId, Shared, UnitIndex};
use crate::slots::Key;

/// The leading connection.
const C0: ConnectionIndex = ConnectionIndex(0);

/// Commands beyond the window that tasks waiting for a status already may still hold slots for, and immediate ones.
const IMMEDIATE_ALLOWANCE: u16 = 8;

pub(super) struct SessionLink {
    /// Its own name among the worker's links.
    pub(super) key: Key,
    pub(super) id: SessionId,
    pub(super) proto: Session,
    pub(super) initiator: String,
    pub(super) connections: Connections,
    /// Connections that have logged in and wait for a place.
    pub(super) joining: Vec<Joining>,
    /// It has no connection, and is kept for one to continue it until then.
    pub(super) waits_until: Option<Duration>,
    pub(super) place: Place,
    pub(super) discovery: bool,
    pub(super) initiator_name: iscsi_wire::IscsiName,
    /// By which it is registered with logical units, in this session and in the next.
    nexus_name: NexusName,
    pub(super) target_name: Option<iscsi_wire::IscsiName>,
    /// As what it is one of a kind, where it is a discovery session.
    pub(super) discovers: Option<DiscoveryNexus>,
    /// It is on the worker's list of links to gather from.
    pub(super) dirty: bool,
    /// What goes out in place of the leading connection's last Login Response where the session cannot be after all.
    refusal: Vec<u8>,
    /// As the rest of the process knows it.
    pub(super) record: Arc<Record>,
    /// It is asked to log out, until when; the holds are given back with the session.
    pub(super) draining: Option<Duration>,
    pub(super) holds: Vec<Hold>,
    /// Why it ends, for people.
    pub(super) end_reason: &'static str,
    /// Units that it may not use any more, with tasks still in them.
    pub(super) leaving: BTreeMap<u32, LeavingUnit>,
    pub(super) tasks: Vec<Option<Task>>,
    /// Whether a unit that does not answer fills its command window.
    pub(super) depth: super::depth::Depth,
    pub(super) serial: u32,
    /// Payload memory of its tasks, in bytes.
    pub(super) held_bytes: usize,
    /// Units it is attached to.
    pub(super) attached: BTreeSet<u32>,
    pub(super) tmfs: Vec<PendingTmf>,
    /// Where TaskReporting is FastAbort: of which aborts it was told already.
    pub(super) terminated: Vec<Terminated>,
    /// Logouts that wait for tasks to end, until when.
    pub(super) logouts: Vec<(LogoutHandle, LogoutScope, Duration)>,
    /// A logout closes the session as a whole.
    pub(super) logging_out: bool,
    /// The initiator was asked to log out: nobody joins any more.
    pub(super) asked_to_log_out: bool,
    pub(super) ending: Option<Ending>,
    /// A panic went through the protocol's state: the session ends at the next look.
    pub(super) poisoned: bool,
    /// The earliest timer entry that stands for it.
    pub(super) timer: Option<Duration>,
}

/// A unit that the session may not use any more.
#[derive(Debug)]
pub(super) struct LeavingUnit {
    /// Tasks still in it then are aborted.
    pub(super) deadline: Duration,
    /// Its nexus is being detached.
    pub(super) detaching: bool,
    /// Its tasks have been aborted.
    pub(super) cut_off: bool,
    pub(super) holds: Vec<Hold>,
}

/// Why a session that was committed does not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotStarted {
    /// Taken over by a newer login: the connection is dropped unanswered.
    Replaced,
    /// What it was admitted by is gone, or has changed: it is told to try again.
    Refused,
}

/// A task management function that waits for tasks, or for homes.
#[derive(Debug)]
pub(super) struct PendingTmf {
    pub(super) handle: TmfHandle,
    /// The connection that brought it.
    pub(super) connection: ConnectionIndex,
    pub(super) tasks: Vec<TaskId>,
    pub(super) homes: usize,
    pub(super) response: TaskManagementResponseCode,
    /// What is done with the response.
    pub(super) then: Then,
}

/// The initiator was told over a connection that a function has ended its tasks of a logical unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terminated {
    pub(super) unit: UnitIndex,
    /// The function, by its fence.
    pub(super) function: FenceId,
    pub(super) connection: ConnectionIndex,
    pub(super) lun: Lun64,
}

/// What a task management function does once all that it waits for is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Nothing,
    /// TARGET COLD RESET: the sessions of the target end.
    EndTarget,
    /// I_T NEXUS RESET: the session ends.
    EndSession,
}

/// How far the end of a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Its connections close, and tasks are on their way out of the backstores.
    Closing,
    /// Its logical units are letting go of the nexus: so many have not yet answered.
    Detaching(usize),
}

impl SessionLink {
    pub(super) fn new(
        key: Key,
        id: SessionId,
        socket: SocketId,
        mut established: Established,
        place: Place,
        cx: &Cx,
    ) -> Self {
        let config = &cx.shared.config;
        let limits = SessionLimits {
            window: place.queue_depth,
            immediate_allowance: IMMEDIATE_ALLOWANCE,
            nop_interval: Some(config.ping_interval),
            nop_timeout: config.ping_timeout,
            recovery: place.recovery,
            ..SessionLimits::default()
        };
        let proto = Session::new(&established, limits, cx.now);
        let record = Arc::new(Record::new((id, cx.id), &established, &place, cx.now));
        let mut connections = Connections::default();
        connections.insert(Connection::new(C0, key, socket, &mut established, cx.now));
        let discovery = established.identity.session_type == SessionType::Discovery;
        let discovers = discovery.then(|| discovery_nexus(&established));
        let identity = established.identity;
        let nexus_name = NexusName {
            initiator: TransportId::iscsi(identity.initiator_name.as_str(), identity.isid.0),
            target_port: place.relative_target_port,
        };
        Self {
            key,
            id,
            proto,
            initiator: identity.initiator_name.to_string(),
            connections,
            joining: Vec::new(),
            waits_until: None,
            place,
            discovery,
            discovers,
            initiator_name: identity.initiator_name,
            nexus_name,
            target_name: identity.target_name,
            dirty: false,
            refusal: established.refusal,
            record,
            draining: None,
            holds: Vec::new(),
            end_reason: "",
            leaving: BTreeMap::new(),
            tasks: Vec::new(),
            depth: super::depth::Depth::default(),
            serial: 0,
            held_bytes: 0,
            attached: BTreeSet::new(),
            tmfs: Vec::new(),
            terminated: Vec::new(),
            logouts: Vec::new(),
            logging_out: false,
            asked_to_log_out: false,
            ending: None,
            poisoned: false,
            timer: None,
        }
    }

    /// Makes it known, and turns its claim into a registered session. It was admitted on another worker perhaps, and in an
    /// older world: what a change would have told it by now, it looks up itself, since the change could not know it yet
    /// ([`crate::directory::Directory::enter_and_look`]).
    pub(super) fn start(&mut self, cx: &Cx) -> Result<(), NotStarted> {
        let (id, record) = (self.id, Arc::clone(&self.record));
        let look = || self.admit_again(cx).and_then(|()| self.make_live(cx));
        let started = cx.shared.directory.enter_and_look(id, record, look);
        if started.is_ok() {
            self.reinstate_discovery(cx);
        }
        self.record
            .luns
            .store(self.place.luns.len(), std::sync::atomic::Ordering::Relaxed);
        started
    }

    /// RFC 7143 §7.4.2: a discovery session takes the place of the one before, and any new session that of a discovery session
    /// that named its target.
    fn reinstate_discovery(&self, cx: &Cx) {
        let discoveries = &cx.shared.discoveries;
        let old = match &self.discovers {
            Some(nexus) => discoveries.enter(nexus, (self.id, cx.id)),
            None => self.target_name.as_ref().and_then(|target| {
                discoveries.find(&DiscoveryNexus {
                    initiator: self.record.initiator.clone(),
                    isid: self.record.isid,
                    of: DiscoveryOf::Group(target.clone(), self.record.tag),
                })
            }),
        };
        if let Some((session, worker)) = old
            && let Some(mailbox) = cx.shared.mailboxes.get(usize::from(worker.0))
        {
            let _gone = mailbox.send(Message::Replace(session));
        }
    }

    fn admit_again(&mut self, cx: &Cx) -> Result<(), NotStarted> {
        let (Some(admitted), Some(target)) = (&self.place.admitted, &self.target_name) else {
            return Ok(());
        };
        let world = cx.shared.world.load();
        if world.tree.generation == self.place.generation {
            return Ok(());
        }
        let admission = model::admit(&world.tree, &self.initiator_name, target, self.place.local);
        match admission {
            Ok(now) if Admitted::by(&now, &world.tree) == *admitted => {
                let served = now.served_by(self.place.named.as_ref());
                let now = served.map_err(|_| NotStarted::Refused)?;
                self.place.luns = world.luns(&now.group, now.acl.as_deref());
                self.place.generation = world.tree.generation;
                Ok(())
            }
            _ => Err(NotStarted::Refused),
        }
    }

    fn make_live(&mut self, cx: &Cx) -> Result<(), NotStarted> {
        let (Some(group), Some(claim)) = (&self.place.group, self.place.claim.take()) else {
            return Ok(());
        };
        let session = SessionRef {
            worker: cx.id.0,
            session: self.id.0,
        };
        match group.registry.make_live(claim, session) {
            Ok(_) => Ok(()),
            Err(ClaimLost::Cancelled) => Err(NotStarted::Refused),
            Err(ClaimLost::Superseded | ClaimLost::NotReady) => Err(NotStarted::Replaced),
        }
    }

    /// Sends the refusal in place of the last Login Response.
    pub(super) fn refuse(&mut self) {
        let refusal = std::mem::take(&mut self.refusal);
        if let Some(leading) = self.connections.get_mut(C0) {
            leading.preface = refusal;
        }
    }

    /// Its link has this key. Known only once the link is where it stays.
    pub(super) fn set_key(&mut self, key: Key) {
        self.key = key;
        if let Some(leading) = self.connections.get_mut(C0) {
            leading.key = key;
        }
    }

    pub(super) fn nexus(&self) -> NexusId {
        NexusId(self.id.0)
    }

    /// Begins to use a logical unit.
    pub(super) fn make_known(&self, shard: &mut LuShard) {
        shard.attach_nexus(self.nexus(), &self.nexus_name, &[UnitAttention::PowerOn]);
        if let Some(nexus) = shard.nexus_mut(self.nexus()) {
            nexus.reports = self.place.reports;
        }
    }

    pub(super) fn task(&mut self, id: TaskId) -> Option<&mut Task> {
        self.tasks.get_mut(id.index())?.as_mut()
    }

    /// Puts what `make` gives into a task's place. A task is large: it is made where it stands, and not moved there.
    #[inline(always)]
    pub(super) fn put_task(&mut self, id: TaskId, make: impl FnOnce() -> Task) {
        if self.tasks.len() <= id.index() {
            self.tasks.resize_with(id.index() + 1, || None);
        }
        if let Some(slot) = self.tasks.get_mut(id.index()) {
            *slot = None;
            slot.get_or_insert_with(make);
        }
    }

    /// The slot of the task with this name, or with a part of this name, if it is still the same.
    pub(super) fn task_of(&self, key: scsi::lu::TaskKey) -> Option<TaskId> {
        let (_, id) = from_task_key(key);
        let task = self.tasks.get(id.index())?.as_ref()?;
        (task.key == key || task.part_key() == Some(key)).then_some(id)
    }

    pub(super) fn entry(&self, lun: Lun) -> Option<LunEntry> {
        let number = LogicalUnitNumber(lun.number());
        let at = self
            .place
            .luns
            .binary_search_by_key(&number, |e| e.lun)
            .ok()?;
        self.place.luns.get(at).copied()
    }

    /// What goes with a LUN of this nexus, for the device server.
    pub(super) fn view<'a>(
        luns: &'a Luns<'a>,
        place: &Place,
        write_protected: bool,
        (now, iscsi_protocol_level): (Duration, u8),
    ) -> LunView<'a> {
        LunView {
            target_port: place.relative_target_port,
            // RFC 7144 §4.2: the level that was agreed on is told.
            transport_version: ISCSI_VERSION + u16::from(iscsi_protocol_level),
            write_protected,
            now,
            clock: &MachineClock,
            token_key: luns.shared.token_key.as_ref(),
            luns,
        }
    }

    /// Has the link looked at by the gatherer at the end of the turn.
    pub(super) fn mark_dirty(&mut self, cx: &mut Cx) {
        if !self.dirty {
            self.dirty = true;
            cx.dirty.push(self.key);
        }
    }

    pub(super) fn group(&self) -> Option<&Arc<Group>> {
        self.place.group.as_ref()
    }

    pub(super) fn units(&self) -> Vec<UnitIndex> {
        self.attached.iter().map(|u| UnitIndex(*u)).collect()
    }
}

/// As what a discovery session is one of a kind.
fn discovery_nexus(established: &Established) -> DiscoveryNexus {
    let identity = &established.identity;
    let named = identity
        .target_name
        .clone()
        .zip(established.portal_group_tag);
    DiscoveryNexus {
        initiator: identity.initiator_name.clone(),
        isid: identity.isid,
        of: named.map_or(DiscoveryOf::Address(established.portal), |(target, tag)| {
            DiscoveryOf::Group(target, tag)
        }),
    }
}

/// SPC-5 "Version descriptor": iSCSI, no version claimed.
const ISCSI_VERSION: u16 = 0x0960;

/// The LUNs of a session, as the device server asks for them.
pub(super) struct Luns<'a> {
    pub(super) entries: &'a [LunEntry],
    pub(super) shared: &'a Shared,
}

impl<'a> Luns<'a> {
    pub(super) fn new(entries: &'a [LunEntry], shared: &'a Shared) -> Self {
        Self { entries, shared }
    }
}

/// The machine's time of day.
struct MachineClock;

impl WallClock for MachineClock {
    fn unix_ms(&self) -> u64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}
