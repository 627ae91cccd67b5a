//! Opening stores without trusting them: on threads of their own that can be left behind, with a bound on how long nothing
//! may come of them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use model::Backstore;

use crate::open::{Create, OpenedUnit, StoreProblem, open_unit};

/// Threads that open stores side by side: a machine with thousands of files starts no thread for each.
const OPENERS: usize = 16;

/// How long nothing may come before those that are still being opened are given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// What became of each store, in the order asked.
pub(super) type Results = Vec<Result<OpenedUnit, StoreProblem>>;

/// Opens stores. One whose device does not answer is given up: its thread is left behind, and drops what it may get later.
pub(super) fn open_all(stores: &[Arc<Backstore>], workers: usize, create: Create) -> Results {
    let queue: VecDeque<(usize, Arc<Backstore>)> = stores.iter().cloned().enumerate().collect();
    let queue = Arc::new(Mutex::new(queue));
    let (tell, told) = mpsc::channel();
    for _ in 0..OPENERS.min(stores.len()) {
        let (queue, tell) = (Arc::clone(&queue), tell.clone());
        let body = move || {
            loop {
                let next = queue
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .pop_front();
                let Some((at, store)) = next else { return };
                if tell.send((at, open_unit(&store, workers, create))).is_err() {
                    return;
                }
            }
        };
        // Without any thread nothing comes, and every store is told as not answering.
        let _started = std::thread::Builder::new().name("open".into()).spawn(body);
    }
    drop(tell);
    let mut results: Vec<Option<Result<OpenedUnit, StoreProblem>>> =
        stores.iter().map(|_| None).collect();
    while let Ok((at, result)) = told.recv_timeout(PATIENCE) {
        if let Some(slot) = results.get_mut(at) {
            *slot = Some(result);
        }
    }
    let result = |slot: Option<_>| slot.unwrap_or(Err(StoreProblem::NoAnswer));
    results.into_iter().map(result).collect()
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
