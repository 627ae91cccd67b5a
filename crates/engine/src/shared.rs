//! What all workers share: the world they serve, and the ways to reach each other. Read on the data path, never written there.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use auth::{Authenticator, Policy, Verdict};
use backstores::Backstore;
use imbl::OrdMap;
use iscsi_proto::login::{Established, JoinedWindow};
use iscsi_proto::session::RecoveryLimits;
use iscsi_wire::{Cid, IscsiName};
use model::{Admission, LogicalUnitNumber, NodeAcl, ObjectId, PortalGroup, Requirement, Tree};
use reactor::mailbox::Sender;
use scsi::lu::{FenceId, HomeAction, ShardId, ToHome, ToShard, UnitAttention};
use scsi::{LuSnapshot, TokenKey};

use crate::config::EngineConfig;
use crate::counters::WorkerCounters;
use crate::directory::Directory;
use crate::discoveries::Discoveries;
use crate::drain::{Drain, Hold};
use crate::registry::{Claim, ClaimEvent, Registry};
use crate::reservations::{HomeName, Reservations};
use crate::slots::Key;

/// A worker, and its place in [`Shared::mailboxes`]. Its shards have the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WorkerId(pub(crate) u16);

impl WorkerId {
    pub(crate) fn shard(self) -> ShardId {
        ShardId(self.0)
    }
}

/// A session: unique in the process's life. Its I_T nexus has the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// A logical unit's place in [`World::units`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct UnitIndex(pub(crate) u32);

/// One generation of what is served, with the runtime side of its objects. Serves look-ups only: what an I/O needs it holds
/// itself.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) tree: Tree,
    pub(crate) authenticator: Arc<dyn Authenticator>,
    pub(crate) groups: OrdMap<ObjectId, Arc<Group>>,
    pub(crate) units: OrdMap<UnitIndex, Arc<UnitSeed>>,
    pub(crate) unit_of: OrdMap<ObjectId, UnitIndex>,
}

/// The runtime side of a portal group.
pub(crate) struct Group {
    pub(crate) registry: Registry,
}

/// What a worker needs to serve a logical unit.
#[derive(Clone)]
pub(crate) struct UnitSeed {
    pub(crate) backstore: ObjectId,
    pub(crate) store: Arc<dyn Backstore>,
    pub(crate) home: WorkerId,
    /// The LU as its home begins. What it became is the home's to say.
    pub(crate) snapshot: Arc<LuSnapshot>,
}

/// An initiator's view of one logical unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LunEntry {
    pub(crate) lun: LogicalUnitNumber,
    pub(crate) unit: UnitIndex,
    /// What is meant to be behind the unit: its place may be another's by the time it is used.
    pub(crate) backstore: ObjectId,
    pub(crate) write_protect: bool,
}

/// A session on its way from the worker that its connection logged in on to its own.
pub(crate) struct Adopted {
    pub(crate) fd: OwnedFd,
    pub(crate) established: Established,
    /// What the initiator sent behind its last Login Request.
    pub(crate) unread: Vec<u8>,
    pub(crate) id: SessionId,
    pub(crate) place: Place,
}

/// A connection on its way from the worker that it logged in on to the session that it joins.
pub(crate) struct JoinsFromAfar {
    pub(crate) fd: OwnedFd,
    pub(crate) established: Established,
    /// What the initiator sent behind its last Login Request.
    pub(crate) unread: Vec<u8>,
    pub(crate) session: SessionId,
    /// What it was admitted by, which has to be what the session was.
    pub(crate) admitted: Option<Admitted>,
}

/// A login asks a session whether there is a place for its connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MayJoin {
    pub(crate) session: SessionId,
    pub(crate) cid: Cid,
    pub(crate) login: Key,
    pub(crate) worker: WorkerId,
}

/// Why a connection cannot join a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JoinRefused {
    /// It is over, or about to be.
    NoSession,
    /// It has as many connections as it may.
    TooMany,
}

/// Where a session stands in the tree.
pub(crate) struct Place {
    /// `None` in a discovery session.
    pub(crate) group: Option<Arc<Group>>,
    /// What it was admitted by; checked again when the session starts on its own worker.
    pub(crate) admitted: Option<Admitted>,
    /// The ACL that its authenticator named to serve it by, where it named one.
    pub(crate) named: Option<IscsiName>,
    /// The ACL that serves it.
    pub(crate) acl: Option<ObjectId>,
    /// The generation that it was admitted in.
    pub(crate) generation: u64,
    pub(crate) queue_depth: u16,
    /// Unit attentions are reported by asynchronous messages too.
    pub(crate) reports: bool,
    /// How patient it is from ErrorRecoveryLevel 1 on.
    pub(crate) recovery: RecoveryLimits,
    /// The relative target port identifier of the group.
    pub(crate) relative_target_port: u16,
    /// By number; shared by all sessions that see the same.
    pub(crate) luns: Arc<[LunEntry]>,
    pub(crate) local: SocketAddr,
    pub(crate) peer: SocketAddr,
    /// Its claim on the nexus, until it is made live.
    pub(crate) claim: Option<Claim>,
}

/// What workers say to each other.
pub(crate) enum Message {
    /// This session is yours.
    Adopt(Box<Adopted>),
    /// This connection is for a session of yours.
    Join(Box<JoinsFromAfar>),
    /// May a connection join this session of yours?
    MayJoin(MayJoin),
    /// The answer: the session's command window.
    JoinAnswer {
        login: Key,
        answer: Result<JoinedWindow, JoinRefused>,
    },
    /// To the home of a logical unit, from a shard.
    ToHome {
        unit: UnitIndex,
        from: ShardId,
        message: ToHome,
    },
    /// To a home of a logical unit: what it wanted durable is, or cannot be.
    Saved {
        home: HomeName,
        id: FenceId,
        durable: bool,
    },
    /// The home of this unit has something to do though nobody has come: it begins.
    WakeHome(UnitIndex),
    /// To a shard of a logical unit, from its home.
    ToShard {
        unit: UnitIndex,
        message: ToShard,
    },
    /// News of a login's claim.
    Claim {
        login: Key,
        event: ClaimEvent,
    },
    /// An authenticator's late answer; `None`: it has none.
    Policy {
        login: Key,
        answer: Option<Policy>,
    },
    Verdict {
        login: Key,
        answer: Option<Verdict>,
    },
    /// A newer login replaces this session: end it, and say when its last I/O has left.
    Replace(SessionId),
    /// TARGET COLD RESET: end every session of this target.
    EndSessionsOf(ObjectId),
    /// Its initiator may not use it any more: ask for logout, and cut it off at the deadline (a time since the start).
    DrainSession {
        session: SessionId,
        deadline: Duration,
        hold: Hold,
    },
    /// It sees these LUNs from now on. What commands on LUNs that went may take is until the deadline.
    Remap {
        session: SessionId,
        luns: Arc<[LunEntry]>,
        deadline: Duration,
        drain: Drain,
        /// Given back when the session sees them.
        hold: Hold,
    },
    /// A unit attention was established for a session that has them reported.
    Attention {
        session: SessionId,
        unit: UnitIndex,
        attention: UnitAttention,
    },
    /// Its connections may carry data segments of another length, in bytes: ask its initiator to negotiate.
    Renegotiate {
        session: SessionId,
        max_recv_bytes: u32,
        hold: Hold,
    },
    /// To the home of a logical unit, from the control plane.
    Change {
        unit: UnitIndex,
        action: HomeAction,
        hold: Hold,
    },
    /// No LUN shows this unit any more: let go of it when its last command has left.
    RetireUnit {
        unit: UnitIndex,
        holds: Vec<Hold>,
    },
    /// Every worker has let go of this unit: its home, which is here, goes too.
    ForgetHome(UnitIndex),
    /// Accept connections here. Sent to one worker only.
    Listen {
        fd: OwnedFd,
        address: SocketAddr,
    },
    /// Close this listener, but go on accepting for a while where another socket takes over from it.
    Unlisten {
        address: SocketAddr,
        linger: Duration,
        hold: Hold,
    },
    /// Stop accepting, ask sessions to log out; at the deadline (a time since the start) abort and drop what is left.
    Drain {
        deadline: Duration,
    },
}

/// The objects that a login was admitted by, and what it had to prove: checked again at its commit, and when its session
/// starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Admitted {
    pub(crate) target: ObjectId,
    pub(crate) group: ObjectId,
    pub(crate) acl: Option<ObjectId>,
    pub(crate) authentication: Requirement,
}

impl Admitted {
    pub(crate) fn by(admission: &Admission, tree: &Tree) -> Self {
        Self {
            target: admission.target.id,
            group: admission.group.id,
            acl: admission.acl.as_ref().map(|acl| acl.id),
            authentication: tree.requirement(&admission.group, admission.acl.as_deref()),
        }
    }
}

impl World {
    /// The LUNs of an initiator that was admitted so, as sessions keep them: by number.
    pub(crate) fn luns(&self, group: &PortalGroup, acl: Option<&NodeAcl>) -> Arc<[LunEntry]> {
        let entry = |lun: model::VisibleLun| {
            Some(LunEntry {
                lun: lun.number,
                unit: *self.unit_of.get(&lun.backstore)?,
                backstore: lun.backstore,
                write_protect: lun.write_protect,
            })
        };
        model::visible_luns(group, acl)
            .into_iter()
            .filter_map(entry)
            .collect()
    }
}

/// Shared by the engine's handle and all workers.
pub(crate) struct Shared {
    pub(crate) config: EngineConfig,
    pub(crate) world: ArcSwap<World>,
    pub(crate) mailboxes: Vec<Sender<Message>>,
    pub(crate) counters: Vec<Arc<WorkerCounters>>,
    /// Sessions on each worker, placed or on their way.
    pub(crate) load: Vec<AtomicUsize>,
    pub(crate) draining: AtomicBool,
    /// The caller's own authenticator is asked, whatever the tree says.
    pub(crate) fixed_authenticator: bool,
    pub(crate) logins: Mutex<LoginSlots>,
    pub(crate) directory: Directory,
    pub(crate) discoveries: Discoveries,
    /// Where persistent reservations are kept; `None`: they are not.
    pub(crate) reservations: Option<Reservations>,
    /// What the tokens of third-party copies are sealed with; `None`: the machine has no randomness to give.
    pub(crate) token_key: Option<TokenKey>,
    next_session: AtomicU64,
    start: Instant,
}

impl Shared {
    pub(crate) fn new(
        config: EngineConfig,
        world: World,
        fixed_authenticator: bool,
        mailboxes: Vec<Sender<Message>>,
        counters: Vec<Arc<WorkerCounters>>,
    ) -> Self {
        let load = mailboxes.iter().map(|_| AtomicUsize::new(0)).collect();
        let logins = LoginSlots {
            total: 0,
            per_source: HashMap::new(),
            max_total: config.max_logins,
            max_per_source: config.max_logins_per_source,
        };
        Self {
            config,
            world: ArcSwap::from_pointee(world),
            mailboxes,
            counters,
            load,
            draining: AtomicBool::new(false),
            fixed_authenticator,
            logins: Mutex::new(logins),
            directory: Directory::default(),
            discoveries: Discoveries::default(),
            reservations: None,
            token_key: random_key(),
            next_session: AtomicU64::new(1),
            start: Instant::now(),
        }
    }

    /// Time since the start.
    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    pub(crate) fn new_session_id(&self) -> SessionId {
        SessionId(self.next_session.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// The least loaded worker, `here` where there is nothing between them; counts the session there.
    pub(crate) fn place_session(&self, here: WorkerId) -> WorkerId {
        let load = |w: usize| {
            self.load
                .get(w)
                .map_or(usize::MAX, |l| l.load(Ordering::Relaxed))
        };
        let mut best = usize::from(here.0);
        for worker in 0..self.load.len() {
            if load(worker) < load(best) {
                best = worker;
            }
        }
        if let Some(slot) = self.load.get(best) {
            slot.fetch_add(1, Ordering::AcqRel);
        }
        WorkerId(u16::try_from(best).unwrap_or(here.0))
    }

    /// A session of this worker is over.
    pub(crate) fn session_left(&self, worker: WorkerId) {
        if let Some(slot) = self.load.get(usize::from(worker.0)) {
            slot.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Whether any worker has a session, or one on its way to it.
    pub(crate) fn has_sessions(&self) -> bool {
        self.load
            .iter()
            .any(|slot| slot.load(Ordering::Acquire) > 0)
    }
}

/// A key for this process.
fn random_key() -> Option<TokenKey> {
    let mut random = [0; 32];
    getrandom::fill(&mut random).ok()?;
    Some(TokenKey::new(random))
}

/// How many connections may be logging in, all and of one source: a flood of half-open logins costs a bounded number of
/// slots.
pub(crate) struct LoginSlots {
    total: usize,
    per_source: HashMap<IpAddr, usize>,
    max_total: usize,
    max_per_source: usize,
}

impl LoginSlots {
    /// Takes a slot, if one is left.
    pub(crate) fn take(&mut self, source: IpAddr) -> bool {
        let of_source = self.per_source.get(&source).copied().unwrap_or(0);
        if self.total >= self.max_total || of_source >= self.max_per_source {
            return false;
        }
        self.total += 1;
        self.per_source.insert(source, of_source + 1);
        true
    }

    pub(crate) fn give_back(&mut self, source: IpAddr) {
        self.total = self.total.saturating_sub(1);
        if let Some(count) = self.per_source.get_mut(&source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.per_source.remove(&source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn login_slots_bound_the_total_and_each_source() {
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut slots = LoginSlots {
            total: 0,
            per_source: HashMap::new(),
            max_total: 3,
            max_per_source: 2,
        };
        assert!(slots.take(a) && slots.take(a));
        assert!(!slots.take(a), "the source has its share");
        assert!(slots.take(b));
        assert!(!slots.take(b), "the total is reached");
        slots.give_back(a);
        assert!(slots.take(b));
        for source in [a, b, b] {
            slots.give_back(source);
        }
        assert!(slots.per_source.is_empty() && slots.total == 0);
    }
}
