//! The engine's handle: start, look, drain.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use auth::Authenticator;
use model::{ObjectPath, Tree};
use reactor::mailbox::{self, Receiver, Sender};
use reactor::socket::{self, ListenOptions};
use reactor::{DriverReport, DriverSettings, Slab, choose_driver_with};
use scsi::{LuSnapshot, TargetPort};

use crate::config::{EngineConfig, StartError};
use crate::counters::{Counters, WorkerCounters};
use crate::credentials::TreeAuthenticator;
use crate::open::{OpenedUnit, open_units};
use crate::registry::Registry;
use crate::shared::{Group, Message, Shared, UnitIndex, UnitSeed, WorkerId, World};
use crate::worker::Worker;

/// A running engine. Dropping it without [`Engine::drain`] leaves its workers running.
pub struct Engine {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    portals: Vec<SocketAddr>,
    driver: DriverReport,
    units: Vec<UnitReport>,
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
    /// Something the operator should know, e.g. that the file is a copy of another disk.
    pub notice: Option<String>,
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
        let authenticator: Arc<dyn Authenticator> =
            Arc::new(TreeAuthenticator::new(tree.clone(), config.helpers.clone()));
        Self::start_with(config, tree, authenticator)
    }

    /// As [`Self::start`], with an authenticator of the caller's in place of the tree's own credentials.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(
        config: EngineConfig,
        tree: Tree,
        authenticator: Arc<dyn Authenticator>,
    ) -> Result<Self, StartError> {
        let count = config.workers.unwrap_or_else(available_workers).max(1);
        let mut tree = tree;
        // What leaves nothing behind when it fails comes first; opening a backstore may create a file.
        let (listeners, portals) = bind_portals(&mut tree)?;
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
        let opened = open_units(&tree, count)?;
        let units = opened.iter().map(|unit| unit.report.clone()).collect();
        let world = world(tree, authenticator, opened, count);
        let counters = (0..count)
            .map(|_| Arc::new(WorkerCounters::default()))
            .collect();
        let shared = Arc::new(Shared::new(config, world, mailboxes, counters));
        // No portal answers before all that stands behind it does.
        for (fd, address) in listeners.iter().zip(&portals) {
            let error = |source| StartError::Portal {
                address: *address,
                source,
            };
            socket::start_listening(fd, ListenOptions::default().backlog).map_err(error)?;
        }
        let threads = start_workers(pending, &shared, listeners)?;
        Ok(Self {
            shared,
            threads,
            portals,
            driver,
            units,
        })
    }

    /// Where it listens, with real ports.
    #[must_use]
    pub fn portals(&self) -> &[SocketAddr] {
        &self.portals
    }

    /// Which driver runs, and what the machine refused.
    #[must_use]
    pub fn driver(&self) -> &DriverReport {
        &self.driver
    }

    /// The backstores as they were opened, in the tree's order.
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

/// Gives the workers what they share, and the first one the listeners: the kernel would not spread connections evenly, and sessions
/// are placed by load anyway.
fn start_workers(
    pending: Vec<(Start, Ready, JoinHandle<()>)>,
    shared: &Arc<Shared>,
    listeners: Vec<OwnedFd>,
) -> Result<Vec<JoinHandle<()>>, StartError> {
    let mut listeners = Some(listeners);
    let mut threads = Vec::new();
    for (start, _, thread) in pending {
        let sent = start.send((Arc::clone(shared), listeners.take().unwrap_or_default()));
        sent.map_err(|_| StartError::Thread(std::io::ErrorKind::BrokenPipe.into()))?;
        threads.push(thread);
    }
    Ok(threads)
}

type Start = mpsc::Sender<(Arc<Shared>, Vec<OwnedFd>)>;
type Ready = mpsc::Receiver<std::io::Result<Started>>;

/// Starts a worker's thread: its driver belongs to that thread, so it is made there.
fn spawn(
    worker: usize,
    config: &EngineConfig,
) -> Result<(Start, Ready, JoinHandle<()>), StartError> {
    let (start, started) = mpsc::channel::<(Arc<Shared>, Vec<OwnedFd>)>();
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
        let Ok((shared, listeners)) = started.recv() else {
            return;
        };
        let counters = Arc::clone(&shared.counters[worker]);
        let mut worker = Worker::new(shared, id, driver, slab, receiver, counters);
        for listener in listeners {
            if let Err(error) = worker.add_listener(listener) {
                tracing::error!(%error, "a portal cannot be watched");
            }
        }
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

/// Binds each address once, not yet listening. A portal with port 0 gets the port that the system chose.
fn bind_portals(tree: &mut Tree) -> Result<(Vec<OwnedFd>, Vec<SocketAddr>), StartError> {
    let mut listeners = Vec::new();
    let mut bound: Vec<SocketAddr> = Vec::new();
    let whole = tree.clone();
    for (target, group) in whole.groups() {
        for address in group.portals.keys().copied() {
            let shared = address.port() != 0 && bound.contains(&address);
            if shared || covered_by_wildcard(&whole, address) {
                continue;
            }
            let error = |source| StartError::Portal { address, source };
            let bind = || socket::bind(address, ListenOptions::default());
            let busy = |e: &std::io::Error| e.kind() == std::io::ErrorKind::AddrInUse;
            let fd = patiently(bind, busy).map_err(error)?;
            let real = socket::local_addr(&fd).map_err(error)?;
            if address.port() == 0 {
                let path = ObjectPath::Portal(target.name.clone(), group.tag, address);
                *tree = tree.with_port(&path, real.port());
            }
            bound.push(real);
            listeners.push(fd);
        }
    }
    Ok((listeners, bound))
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

/// Where a wildcard and a specific address share a port, only the wildcard is bound.
fn covered_by_wildcard(tree: &Tree, address: SocketAddr) -> bool {
    let wildcard: std::net::IpAddr = match address {
        SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    !address.ip().is_unspecified() && tree.has_portal(&SocketAddr::new(wildcard, address.port()))
}

fn world(
    tree: Tree,
    authenticator: Arc<dyn Authenticator>,
    opened: Vec<OpenedUnit>,
    workers: usize,
) -> World {
    let ports = target_ports(&tree);
    let mut unit_of = HashMap::new();
    let mut units = Vec::new();
    for (index, unit) in opened.into_iter().enumerate() {
        let at = UnitIndex(u32::try_from(index).unwrap_or(u32::MAX));
        unit_of.insert(unit.report.backstore, at);
        let snapshot = LuSnapshot::new(unit.store.caps(), unit.identity, Arc::clone(&ports));
        units.push(UnitSeed {
            store: unit.store,
            home: WorkerId(u16::try_from(index % workers).unwrap_or(0)),
            snapshot: Arc::new(snapshot),
        });
    }
    let groups = tree
        .groups()
        .map(|(_, g)| {
            (
                g.id,
                Arc::new(Group {
                    registry: Registry::new(),
                }),
            )
        })
        .collect();
    World {
        tree,
        authenticator,
        groups,
        units,
        unit_of,
    }
}

/// Every portal group is a SCSI target port (SAM-5, "SCSI target port"); the group ids of ALUA are the same numbers until groups
/// can be set.
fn target_ports(tree: &Tree) -> Arc<[TargetPort]> {
    let mut ports = Vec::new();
    for target in tree.targets() {
        for group in target.tpgs.values() {
            ports.push(TargetPort {
                relative_id: group.relative_target_port(),
                group_id: 1,
                // SPC-5 "SCSI name string designator format", RFC 7143 §4.4.4: name, "t", group tag.
                name: format!("{},t,0x{:04x}", target.name, group.tag).into(),
                device_name: target.name.to_string().into(),
            });
        }
    }
    ports.into()
}
