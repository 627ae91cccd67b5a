//! The engine's handle: start, look, drain.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use auth::Authenticator;
use imbl::OrdMap;
use model::{ObjectId, Plan, Tree};
use reactor::mailbox::{self, Receiver, Sender};
use reactor::{DriverReport, DriverSettings, Slab, choose_driver_with};

use crate::config::{EngineConfig, StartError};
use crate::control::{
    ApplyError, CUT_OFF, ControlPlane, Missing, Release, Remnant, TouchedSession,
};
use crate::counters::{Counters, WorkerCounters};
use crate::credentials::TreeAuthenticator;
use crate::directory::SessionInfo;
use crate::drain::{Drain, Leaving, Left};
use crate::reservations::Reservations;
use crate::shared::{Message, SessionId, Shared, WorkerId, World};
use crate::usage::Looks;
use crate::worker::Worker;

/// A running engine. Dropping it without [`Engine::drain`] leaves its workers running.
pub struct Engine {
    shared: Arc<Shared>,
    control: ControlPlane,
    threads: Vec<JoinHandle<()>>,
    driver: DriverReport,
    units: Vec<UnitReport>,
    looks: Looks,
}

/// A backstore as it was opened, for whoever tells the operator.
#[derive(Clone, Debug)]
pub struct UnitReport {
    /// The backstore.
    pub backstore: model::ObjectId,
    /// Unit serial number (VPD page 80h).
    pub serial: String,
    /// NAA identifier (VPD page 83h), as a 64-bit number.
    pub naa: u64,
    /// Capacity in bytes.
    pub size_bytes: u64,
    /// 512 or 4096.
    pub block_size_bytes: u32,
    /// The serial of the disk that its file is a copy of, where it got one of its own for that.
    pub copy_of: Option<String>,
}

/// A worker's side of the start.
struct Started {
    mailbox: Sender<Message>,
    report: DriverReport,
}

impl Engine {
    /// Opens backstores, binds portals, starts workers. When it returns, every portal serves.
    ///
    /// # Errors
    /// What could not be had, by name; then nothing is left open or running.
    pub fn start(config: EngineConfig, tree: Tree) -> Result<Self, StartError> {
        let authenticator = None;
        Self::start_with(config, tree, authenticator)
    }

    /// As [`Self::start`], with an authenticator of the caller's in place of the tree's own credentials.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(
        config: EngineConfig,
        tree: Tree,
        authenticator: Option<Arc<dyn Authenticator>>,
    ) -> Result<Self, StartError> {
        let mut engine = Self::idle(config, authenticator)?;
        let plan = Plan::start(tree);
        let save = &mut |_: &Plan| Ok(());
        match engine.apply(&plan, Missing::Refuse, Duration::ZERO, save) {
            Ok(release) => engine.units = release.units,
            Err(error) => {
                engine.drain(Duration::ZERO);
                return Err(StartError::Apply(error));
            }
        }
        Ok(engine)
    }

    /// Starts workers with nothing to serve yet: [`Self::apply`] gives them something.
    ///
    /// # Errors
    /// A driver or a thread that cannot be had; then nothing is left running.
    pub fn idle(
        config: EngineConfig,
        authenticator: Option<Arc<dyn Authenticator>>,
    ) -> Result<Self, StartError> {
        let reservations = open_reservations(&config)?;
        let count = config.workers.unwrap_or_else(available_workers).max(1);
        let mut pending = Vec::new();
        for worker in 0..count {
            pending.push(spawn(worker, &config)?);
        }
        let mut mailboxes = Vec::new();
        let mut driver = None;
        for (_, ready, _) in &pending {
            let started = ready
                .recv()
                .map_err(|_| StartError::Thread(std::io::ErrorKind::BrokenPipe.into()))?
                .map_err(StartError::Driver)?;
            mailboxes.push(started.mailbox);
            driver = Some(started.report);
        }
        let driver = driver.ok_or_else(|| StartError::Thread(std::io::ErrorKind::Other.into()))?;
        let counters = (0..count)
            .map(|_| Arc::new(WorkerCounters::default()))
            .collect();
        let fixed = authenticator.is_some();
        let world = World {
            tree: Tree::default(),
            authenticator: authenticator.unwrap_or_else(|| {
                let helpers = config.helpers.clone();
                Arc::new(TreeAuthenticator::new(Tree::default(), helpers))
            }),
            groups: OrdMap::new(),
            units: OrdMap::new(),
            unit_of: OrdMap::new(),
        };
        let mut shared = Shared::new(config, world, fixed, mailboxes, counters);
        shared.reservations = reservations;
        let shared = Arc::new(shared);
        let looks = Looks::start(&shared, shared.config.usage_interval);
        let threads = start_workers(pending, &shared)?;
        Ok(Self {
            looks: looks.map_err(StartError::Thread)?,
            control: ControlPlane::new(Arc::clone(&shared), count),
            shared,
            threads,
            driver,
            units: Vec::new(),
        })
    }

    /// The tree in force.
    #[must_use]
    pub fn tree(&self) -> Tree {
        self.control.tree()
    }

    /// Which sessions a plan would touch, if it were carried out now.
    #[must_use]
    pub fn touches(&self, plan: &Plan) -> Vec<TouchedSession> {
        self.control.touches(plan)
    }

    /// Carries a plan out: whole, or not at all. `save` makes its record durable and is called when everything that can fail
    /// has been done; what goes has `within` to finish. Blocks while stores are opened; the release that it returns goes on by
    /// itself.
    ///
    /// # Errors
    /// Why it was not carried out; then the world is as it was.
    pub fn apply(
        &self,
        plan: &Plan,
        missing: Missing,
        within: Duration,
        save: &mut dyn FnMut(&Plan) -> Result<(), String>,
    ) -> Result<Release, ApplyError> {
        let applied = self.control.apply(plan, missing, within, save);
        self.looks.look();
        applied
    }

    /// Tries once more to open a backstore that is degraded; with its report, where its LUNs are ready now.
    ///
    /// # Errors
    /// Why it cannot be opened.
    pub fn reopen(&self, backstore: ObjectId) -> Result<Option<UnitReport>, ApplyError> {
        let reopened = self.control.reopen(backstore);
        self.looks.look();
        reopened
    }

    /// Backstores whose device is not there.
    #[must_use]
    pub fn degraded(&self) -> Vec<ObjectId> {
        self.control.degraded()
    }

    /// What was removed and is still in a backstore.
    #[must_use]
    pub fn remnants(&self) -> Vec<Remnant> {
        self.control.remnants()
    }

    /// Who is logged in.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionInfo> {
        let now = self.shared.now();
        let records = self.shared.directory.all();
        records.iter().map(|record| record.info(now)).collect()
    }

    /// Asks a session to log out, cuts it off after `within`, and waits until it has gone: what is left then waits for a backstore.
    /// `None`: there is none of this number.
    pub fn end_session(&self, id: SessionId, within: Duration) -> Option<Left> {
        let record = self.shared.directory.find(id)?;
        let drain = Drain::default();
        record.draining.store(true, Ordering::Relaxed);
        let message = Message::DrainSession {
            session: id,
            deadline: self.shared.now().saturating_add(within),
            hold: drain.hold(Leaving::Session),
        };
        let worker = self.shared.mailboxes.get(usize::from(record.worker.0))?;
        worker.send(message).ok()?;
        Some(drain.wait(within.saturating_add(CUT_OFF)))
    }

    /// Where it listens, with real ports.
    #[must_use]
    pub fn portals(&self) -> Vec<SocketAddr> {
        self.control.listeners()
    }

    /// Which driver runs, and what the machine refused.
    #[must_use]
    pub fn driver(&self) -> &DriverReport {
        &self.driver
    }

    /// The backstores as they were opened at the start, in the order they were made.
    #[must_use]
    pub fn units(&self) -> &[UnitReport] {
        &self.units
    }

    /// Number of workers.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.threads.len()
    }

    /// Counters of all workers, summed.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for worker in &self.shared.counters {
            sum.add(worker);
        }
        sum
    }

    /// Begins to drain: no new login, sessions are asked to log out, and what is left after `within` is dropped. Called
    /// again, an earlier deadline counts.
    pub fn start_drain(&self, within: Duration) {
        self.shared.draining.store(true, Ordering::Release);
        for group in self.shared.world.load().groups.values() {
            // Claims that wait are told; the sessions are the workers' to end.
            let _sessions = group.registry.close_all();
        }
        let deadline = self.shared.now().saturating_add(within);
        for mailbox in &self.shared.mailboxes {
            let _gone = mailbox.send(Message::Drain { deadline });
        }
    }

    /// Whether every worker has ended.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Drains and waits for the end.
    pub fn drain(self, within: Duration) {
        self.start_drain(within);
        self.join();
    }

    /// Waits for the end of a drain.
    pub fn join(self) {
        for thread in self.threads {
            // A worker that panicked has aborted the process; this never sees an error.
            let _ended = thread.join();
        }
    }
}

/// The place for persistent reservations, if there is to be one.
fn open_reservations(config: &EngineConfig) -> Result<Option<Reservations>, StartError> {
    let Some(directory) = config.reservations.clone() else {
        return Ok(None);
    };
    let opened = Reservations::open(directory.clone());
    let refused = |source| StartError::Reservations { directory, source };
    opened.map(Some).map_err(refused)
}

/// Gives the workers what they share.
fn start_workers(
    pending: Vec<(Start, Ready, JoinHandle<()>)>,
    shared: &Arc<Shared>,
) -> Result<Vec<JoinHandle<()>>, StartError> {
    let mut threads = Vec::new();
    for (start, _, thread) in pending {
        let sent = start.send(Arc::clone(shared));
        sent.map_err(|_| StartError::Thread(std::io::ErrorKind::BrokenPipe.into()))?;
        threads.push(thread);
    }
    Ok(threads)
}

type Start = mpsc::Sender<Arc<Shared>>;
type Ready = mpsc::Receiver<std::io::Result<Started>>;

/// Starts a worker's thread: its driver belongs to that thread, so it is made there.
fn spawn(
    worker: usize,
    config: &EngineConfig,
) -> Result<(Start, Ready, JoinHandle<()>), StartError> {
    let (start, started) = mpsc::channel::<Arc<Shared>>();
    let (tell, ready) = mpsc::channel();
    let (choice, budget) = (config.driver, config.memory_budget_bytes);
    let id = WorkerId(u16::try_from(worker).unwrap_or(u16::MAX));
    let body = move || {
        let slab = match Slab::new(budget) {
            Ok(slab) => slab,
            Err(error) => {
                let _gone = tell.send(Err(error));
                return;
            }
        };
        let settings = DriverSettings::default();
        let (driver, report) = match choose_driver_with(choice, slab.clone(), &settings) {
            Ok(chosen) => chosen,
            Err(error) => {
                let _gone = tell.send(Err(error));
                return;
            }
        };
        let (mailbox, receiver): (Sender<Message>, Receiver<Message>) =
            mailbox::channel(driver.waker());
        if tell.send(Ok(Started { mailbox, report })).is_err() {
            return;
        }
        let Ok(shared) = started.recv() else {
            return;
        };
        let counters = Arc::clone(&shared.counters[worker]);
        let worker = Worker::new(shared, id, driver, slab, receiver, counters);
        run_or_abort(worker);
    };
    let name = format!("worker-{worker}");
    let thread = std::thread::Builder::new()
        .name(name)
        .spawn(body)
        .map_err(StartError::Thread)?;
    Ok((start, ready, thread))
}

/// A panic in the loop itself leaves state that nobody can trust: the process ends, and whoever supervises it starts it
/// again. Initiators see a lost connection, and retry.
fn run_or_abort(worker: Worker) {
    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| worker.run())).is_err() {
        tracing::error!("a worker's loop panicked; the process ends");
        std::process::abort();
    }
}

fn available_workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Tries again for a moment: a killed process' ring lets go of its sockets and files a little after the process has gone, and its
/// successor is to serve at once.
pub(crate) fn patiently<T, E>(
    mut attempt: impl FnMut() -> Result<T, E>,
    is_passing: impl Fn(&E) -> bool,
) -> Result<T, E> {
    for _ in 0..RETRIES {
        match attempt() {
            Err(error) if is_passing(&error) => std::thread::sleep(RETRY_PAUSE),
            done => return done,
        }
    }
    attempt()
}

const RETRIES: u32 = 40;
const RETRY_PAUSE: Duration = Duration::from_millis(25);
