//! Opening stores without trusting them: on threads of their own that can be left behind, with a bound on how long nothing
//! may come of them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use model::{Backing, Backstore};

use crate::open::{Create, OpenedUnit, StoreProblem, open_unit};

/// Threads that open stores side by side: a machine with thousands of files starts no thread for each.
const OPENERS: usize = 16;

/// How long nothing may come before those that are still being opened are given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// What became of each store, in the order asked.
pub(super) type Results = Vec<Result<OpenedUnit, StoreProblem>>;

/// Opens stores. One whose device does not answer is given up: its thread is left behind, and drops what it may get later. What
/// has no device waits for none, and is opened here.
pub(super) fn open_all(stores: &[Arc<Backstore>], workers: usize, create: Create) -> Results {
    let mut results: Vec<Option<Result<OpenedUnit, StoreProblem>>> =
        stores.iter().map(|_| None).collect();
    let mut queue = VecDeque::new();
    for (slot, (at, store)) in results.iter_mut().zip(stores.iter().enumerate()) {
        match store.backing() {
            Backing::Ram { .. } | Backing::Null { .. } => {
                *slot = Some(open_unit(store, workers, create));
            }
            Backing::File { .. } | Backing::Block { .. } => {
                queue.push_back((at, Arc::clone(store)))
            }
        }
    }
    for (at, result) in open_on_threads(queue, workers, create) {
        if let Some(slot) = results.get_mut(at) {
            *slot = Some(result);
        }
    }
    let result = |slot: Option<_>| slot.unwrap_or(Err(StoreProblem::NoAnswer));
    results.into_iter().map(result).collect()
}

/// Those that were opened before nothing came for too long, by their place in the request.
fn open_on_threads(
    queue: VecDeque<(usize, Arc<Backstore>)>,
    workers: usize,
    create: Create,
) -> Vec<(usize, Result<OpenedUnit, StoreProblem>)> {
    let threads = OPENERS.min(queue.len());
    let queue = Arc::new(Mutex::new(queue));
    let (tell, told) = mpsc::channel();
    let mut refused = None;
    for _ in 0..threads {
        let (queue, tell) = (Arc::clone(&queue), tell.clone());
        let body = move || {
            while let Some((at, store)) = next(&queue) {
                if tell.send((at, open_unit(&store, workers, create))).is_err() {
                    return;
                }
            }
        };
        match std::thread::Builder::new().name("open".into()).spawn(body) {
            Ok(_left_behind) => refused = None,
            // Those that did start take its part.
            Err(error) => refused = Some(error),
        }
    }
    drop(tell);
    let mut opened = Vec::new();
    while let Ok(result) = told.recv_timeout(PATIENCE) {
        opened.push(result);
    }
    if let (Some(error), true) = (refused, opened.is_empty()) {
        while let Some((at, _)) = next(&queue) {
            opened.push((at, Err(StoreProblem::NoThread(error.kind()))));
        }
    }
    opened
}

fn next(queue: &Mutex<VecDeque<(usize, Arc<Backstore>)>>) -> Option<(usize, Arc<Backstore>)> {
    let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
    queue.pop_front()
}

/// Runs something that may wait for a disk, at most so long. `None`: it does not answer, and is left behind.
pub(super) fn within<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (tell, told) = mpsc::channel();
    let body = move || {
        let _late = tell.send(work());
    };
    std::thread::Builder::new()
        .name("prepare".into())
        .spawn(body)
        .ok()?;
    told.recv_timeout(PATIENCE).ok()
}
