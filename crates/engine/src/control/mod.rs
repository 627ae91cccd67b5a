//! The prepare / commit / release path: how a plan of the model becomes what runs.
//!
//! *Prepare* acquires what the new generation needs (stores opened and locked, sockets bound) and can fail; then what was
//! acquired is dropped and the old world is as it was. *Commit* has the caller make the record durable, and publishes the
//! new world, which cannot fail. *Release* tells the workers what follows for sessions, logical units and listeners, each
//! only where the plan touches it, and sees off what left. It always ends: what is still in a backstore at its deadline
//! becomes a [`Remnant`].
//!
//! Changes are serialised by one mutex, which no worker ever takes; a release goes on outside it.

mod access;
mod drives;
mod effects;
mod listeners;
mod open;
mod stores;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::{ObjectId, ObjectPath, Plan, Tree};

use self::listeners::{Listeners, Sockets};
use self::stores::{Acquired, Stores};
use crate::credentials::TreeAuthenticator;
use crate::drain::{Drain, Left};
use crate::engine::UnitReport;
use crate::open::StoreProblem;
use crate::shared::{Shared, World};

/// What becomes of a backstore whose device is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The plan is refused: somebody asks for it now, and can mend it now.
    Refuse,
    /// Its LUNs are NOT READY until it comes: it was committed once, and the machine is starting.
    Degrade,
}

/// Why a plan was not carried out. The world is as it was before.
#[derive(Debug)]
pub enum ApplyError {
    /// Another change came first; the plan was made for a generation that is not in force any more.
    Stale {
        /// The generation in force.
        current: u64,
    },
    /// A backstore could not be had.
    Store {
        /// Which.
        path: ObjectPath,
        /// What is wrong, and what to do.
        problem: StoreProblem,
    },
    /// A portal could not be bound.
    Portal {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The record could not be made durable.
    Save(String),
    /// The process is shutting down.
    ShuttingDown,
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stale { current } => write!(
                f,
                "another change came first; look at generation {current}, and try again"
            ),
            Self::Store { path, problem } => write!(f, "{path}: {problem}"),
            Self::Portal { address, source } => {
                f.write_str(&crate::config::portal_problem(*address, source))
            }
            Self::Save(reason) => write!(f, "the change could not be saved: {reason}"),
            Self::ShuttingDown => f.write_str("the daemon is shutting down; start it again first"),
        }
    }
}

impl std::error::Error for ApplyError {}

/// Something that was removed and is still in a backstore: it owns its buffers, descriptor and lock until that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remnant {
    /// Canonical path of the backstore that it was.
    pub path: String,
    /// The file or device, which cannot be opened again until the remnant has gone.
    pub file: Option<PathBuf>,
}

/// What the control plane keeps between changes.
struct Control {
    stores: Stores,
    listeners: Listeners,
    /// Runtime sides of groups that are gone from the tree, while a nexus of theirs is still closing: a group of the same
    /// name takes it over, so that the nexus is not taken for a free one.
    lingering: BTreeMap<(iscsi_wire::IscsiName, u16), Arc<crate::shared::Group>>,
}

impl Control {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            stores: Stores::new(workers),
            listeners: Listeners::default(),
            lingering: BTreeMap::new(),
        }
    }
}

/// The control plane's side of an engine.
pub(crate) struct ControlPlane {
    shared: Arc<Shared>,
    state: Mutex<Control>,
}

/// A change that is in force, and may still be seeing off what it removed.
#[derive(Debug)]
pub struct Release {
    /// The generation in force.
    pub generation: u64,
    /// Stores as they were opened for it.
    pub units: Vec<UnitReport>,
    /// Sessions that it touched.
    pub touched: Vec<TouchedSession>,
    /// Backstores that could not be opened, with the reason, and are degraded.
    pub degraded: Vec<(String, String)>,
    drain: Drain,
    within: Duration,
}

/// A session that a change touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TouchedSession {
    /// Which.
    pub id: crate::shared::SessionId,
    /// Whose.
    pub initiator: iscsi_wire::IscsiName,
    /// Of what.
    pub target: iscsi_wire::IscsiName,
    /// Of which portal group.
    pub tag: u16,
    /// What happens to it.
    pub effect: SessionEffect,
}

/// What a change does to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEffect {
    /// It is asked to log out, and cut off at the deadline.
    Ends,
    /// It sees other LUNs, or may write to others.
    SeesOtherLuns,
}

impl Release {
    /// What has not left yet.
    #[must_use]
    pub fn left(&self) -> Left {
        self.drain.left()
    }

    /// How long it may take: what is left then is cut off, or a remnant.
    #[must_use]
    pub fn within(&self) -> Duration {
        self.within
    }

    /// Waits until all has left, or the deadline and a moment for cutting off have passed. Returns what is left.
    pub fn wait(&self) -> Left {
        self.drain.wait(self.within.saturating_add(CUT_OFF))
    }
}

/// Acquires everything, and has the record saved. What leaves nothing behind when it fails comes first: opening a store may
/// create a file.
fn prepare(
    control: &mut Control,
    plan: &mut Plan,
    missing: Missing,
    save: &mut dyn FnMut(&Plan) -> Result<(), String>,
) -> Result<(Sockets, Acquired), ApplyError> {
    let sockets = control.listeners.bind(plan)?;
    let acquired = control.stores.prepare(plan, missing)?;
    sockets.listen()?;
    save(plan).map_err(ApplyError::Save)?;
    Ok((sockets, acquired))
}

/// How long the cutting off at a deadline takes at most, where no backstore is stuck.
pub(crate) const CUT_OFF: Duration = Duration::from_secs(2);

impl ControlPlane {
    pub(crate) fn new(shared: Arc<Shared>, workers: usize) -> Self {
        Self {
            shared,
            state: Mutex::new(Control::new(workers)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Control> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tree in force.
    pub(crate) fn tree(&self) -> Tree {
        self.shared.world.load().tree.clone()
    }

    /// Which sessions a plan would touch, if it were carried out now.
    pub(crate) fn touches(&self, plan: &Plan) -> Vec<TouchedSession> {
        effects::foresee(&self.shared, &self.tree(), plan)
    }

    /// Carries a plan out. `save` makes its record durable: the plan it is given has what was found while preparing (serials,
    /// ports that the system chose).
    pub(crate) fn apply(
        &self,
        plan: &Plan,
        missing: Missing,
        within: Duration,
        save: &mut dyn FnMut(&Plan) -> Result<(), String>,
    ) -> Result<Release, ApplyError> {
        let mut control = self.lock();
        if self.shared.is_draining() {
            return Err(ApplyError::ShuttingDown);
        }
        let now = self.shared.world.load_full();
        if now.tree.generation != plan.base {
            return Err(ApplyError::Stale {
                current: now.tree.generation,
            });
        }
        let mut plan = plan.clone();
        control.stores.reap(&self.shared);
        let prepared = prepare(&mut control, &mut plan, missing, save);
        let (sockets, mut acquired) = prepared.inspect_err(|_| control.listeners.forget_swap())?;
        let drain = Drain::default();
        control
            .stores
            .enter(&mut acquired, &plan.tree, self.shared.reservations.as_ref());
        let world = self.next_world(&mut control, &now, &plan, &acquired);
        let world = Arc::new(world);
        self.shared.world.store(Arc::clone(&world));
        acquired.wake(&self.shared);
        let deadline = self.shared.now().saturating_add(within);
        let units = acquired.reports();
        let degraded = acquired.degraded();
        effects::changes_of_units(&self.shared, &world, &plan, &acquired, &drain);
        effects::close_groups(&now, &world, &plan);
        let touched =
            effects::release_sessions(&self.shared, (&now, &world), &plan, deadline, &drain);
        effects::renegotiate(&self.shared, (&now.tree, &world.tree), &plan, &drain);
        control.stores.retire(&self.shared, &plan, &drain);
        control.listeners.commit(sockets, &self.shared, &drain);
        Ok(Release {
            generation: world.tree.generation,
            units,
            touched,
            degraded,
            drain,
            within,
        })
    }

    /// Tries once more to open a backstore that is degraded. True: its LUNs are ready.
    pub(crate) fn reopen(&self, backstore: ObjectId) -> Result<Option<UnitReport>, ApplyError> {
        let mut control = self.lock();
        let now = self.shared.world.load_full();
        let Some(acquired) =
            control
                .stores
                .reopen(&now, backstore, self.shared.reservations.as_ref())?
        else {
            return Ok(None);
        };
        let report = acquired.reports().into_iter().next();
        let mut world = World::clone(&now);
        effects::enter_units(&mut world, &acquired);
        let world = Arc::new(world);
        self.shared.world.store(Arc::clone(&world));
        acquired.wake(&self.shared);
        let drain = Drain::default();
        let deadline = self.shared.now().saturating_add(Duration::from_secs(10));
        effects::remap_users(&self.shared, &world, backstore, deadline, &drain);
        control.stores.retire_replaced(&self.shared, &drain);
        drop(control);
        // Whoever hears that it is back finds it so.
        let _left = drain.wait(CUT_OFF);
        Ok(report)
    }

    /// Backstores that are degraded.
    pub(crate) fn degraded(&self) -> Vec<ObjectId> {
        self.lock().stores.degraded()
    }

    /// What was removed and is still in a backstore.
    pub(crate) fn remnants(&self) -> Vec<Remnant> {
        let mut control = self.lock();
        control.stores.reap(&self.shared);
        control.stores.remnants()
    }

    /// Where it listens.
    pub(crate) fn listeners(&self) -> Vec<SocketAddr> {
        self.lock().listeners.addresses()
    }

    fn next_world(
        &self,
        control: &mut Control,
        now: &World,
        plan: &Plan,
        acquired: &Acquired,
    ) -> World {
        let mut world = World::clone(now);
        world.tree = plan.tree.clone();
        let helpers = self.shared.config.helpers.clone();
        if !self.shared.fixed_authenticator {
            world.authenticator = Arc::new(TreeAuthenticator::new(world.tree.clone(), helpers));
        }
        control
            .lingering
            .retain(|_, group| group.registry.is_used());
        effects::enter_groups(&mut world, plan, &mut control.lingering);
        effects::enter_units(&mut world, acquired);
        effects::enter_discs(&mut world, acquired);
        effects::update_seeds(&mut world, plan);
        world
    }
}
