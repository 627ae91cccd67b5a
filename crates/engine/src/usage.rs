//! How much of their stores thin logical units use: looked at now and then, on threads that may wait for a disk.
//!
//! A look is a call into a file system, which may hang. A thread that hangs is left behind with its store, and that store is
//! looked at again when it has come back: one that is stuck keeps nobody from the others, and has one thread at most.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use backstores::Backstore;
use scsi::THRESHOLD_SET_BYTES;
use scsi::lu::{HomeAction, LuStatistics};

use crate::drain::{Drain, Leaving};
use crate::shared::{Message, Shared, UnitIndex, WorkerId};

/// How long a look may take before its thread is left behind.
const PATIENCE: Duration = Duration::from_secs(2);

/// Has the stores looked at once more, at once; dropped, it ends that.
pub(crate) struct Looks(Sender<()>);

impl Looks {
    /// Begins to look, every so often.
    pub(crate) fn start(shared: &Arc<Shared>, every: Duration) -> std::io::Result<Self> {
        let (now, wanted) = channel();
        let shared = Arc::downgrade(shared);
        std::thread::Builder::new()
            .name("usage".into())
            .spawn(move || look_about(&shared, &wanted, every))?;
        Ok(Self(now))
    }

    /// There may be other stores than before.
    pub(crate) fn look(&self) {
        // A thread that has ended has nothing to look at.
        let _ended = self.0.send(());
    }
}

/// A store to be looked at.
struct Unit {
    index: UnitIndex,
    home: WorkerId,
    store: Weak<dyn Backstore>,
    statistics: Arc<LuStatistics>,
}

/// A unit, and whether a look at it is under way.
type Look = (UnitIndex, Arc<AtomicBool>);

fn look_about(shared: &Weak<Shared>, wanted: &Receiver<()>, every: Duration) {
    let mut stuck: Vec<Look> = Vec::new();
    loop {
        match wanted.recv_timeout(every) {
            Err(RecvTimeoutError::Disconnected) => return,
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
        }
        stuck.retain(|(_, under_way)| under_way.load(Ordering::Acquire));
        let Some(mut units) = shared.upgrade().map(|shared| thin_units(&shared)) else {
            return;
        };
        units.retain(|unit| stuck.iter().all(|(index, _)| *index != unit.index));
        look_at_all(units, shared, &mut stuck);
    }
}

fn thin_units(shared: &Shared) -> Vec<Unit> {
    let world = shared.world.load();
    let thin = world
        .units
        .iter()
        .filter(|(_, seed)| seed.snapshot.caps.unmap);
    thin.map(|(index, seed)| Unit {
        index: *index,
        home: seed.home,
        store: Arc::downgrade(&seed.store),
        statistics: Arc::clone(&seed.snapshot.statistics),
    })
    .collect()
}

/// Looks at each; what does not answer in time is added to `stuck`, and its thread is left behind.
fn look_at_all(units: Vec<Unit>, shared: &Weak<Shared>, stuck: &mut Vec<Look>) {
    let queue = Arc::new(Mutex::new(VecDeque::from(units)));
    loop {
        let (tell, told) = channel::<Look>();
        let left_behind = Arc::new(AtomicBool::new(false));
        let (work, ends, shared) = (
            Arc::clone(&queue),
            Arc::clone(&left_behind),
            Weak::clone(shared),
        );
        let looking = move || {
            let next = || {
                work.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .pop_front()
            };
            while !ends.load(Ordering::Acquire)
                && let Some(unit) = next()
            {
                let under_way = Arc::new(AtomicBool::new(true));
                let _gone = tell.send((unit.index, Arc::clone(&under_way)));
                look_at(&unit, &shared);
                under_way.store(false, Ordering::Release);
            }
        };
        let thread = std::thread::Builder::new().name("usage look".into());
        if thread.spawn(looking).is_err() {
            return;
        }
        let mut last = None;
        loop {
            match told.recv_timeout(PATIENCE) {
                Ok(look) => last = Some(look),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => break,
            }
        }
        left_behind.store(true, Ordering::Release);
        stuck.extend(last);
    }
}

fn look_at(unit: &Unit, shared: &Weak<Shared>) {
    let Some(usage) = unit.store.upgrade().and_then(|store| store.usage()) else {
        return;
    };
    unit.statistics.note_usage(usage);
    if !unit.statistics.has_threshold() {
        return;
    }
    let Some(shared) = shared.upgrade() else {
        return;
    };
    let home = shared.mailboxes.get(usize::from(unit.home.0));
    let sets = usage.used_bytes.div_ceil(THRESHOLD_SET_BYTES);
    // A worker that has ended needs no telling.
    let _gone = home.map(|home| {
        home.send(Message::Change {
            unit: unit.index,
            action: HomeAction::Used(sets),
            hold: Drain::default().hold(Leaving::Change),
        })
    });
}
