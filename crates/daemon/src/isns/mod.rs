//! The iSNS client's sockets: a thread that keeps a name server (RFC 4171) told of the tree, while `isns.server` names one.
//!
//! Decides what is told (`told`); how that is said and when is the crate `isns`'s.

mod monitor;
mod stream;
mod told;
mod worker;

use std::fmt;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use model::Tree;

use self::told::Settings;
use self::worker::Worker;

/// The daemon's iSNS client. It has no thread until the tree names a server; dropped, it takes its registration back, if
/// that can be done at once.
#[derive(Default)]
pub struct IsnsClient {
    thread: Mutex<Option<(Arc<Shared>, JoinHandle<()>)>>,
    registered: Arc<AtomicUsize>,
}

/// What both sides see.
struct Shared {
    inbox: Mutex<Inbox>,
    /// A byte into it wakes the thread.
    bell: UnixStream,
}

#[derive(Default)]
struct Inbox {
    /// The tree in force, where it is news.
    tree: Option<Tree>,
    /// It is time to take the registration back and to end.
    ending: bool,
}

impl IsnsClient {
    /// A tree is in force.
    pub fn configure(&self, tree: &Tree) {
        let mut thread = lock(&self.thread);
        if thread.is_none() && Settings::of(tree).is_some() {
            match self.start() {
                Ok(started) => *thread = Some(started),
                Err(error) => return tracing::error!(%error, "iSNS: no thread for it"),
            }
        }
        if let Some((shared, _)) = &*thread {
            lock(&shared.inbox).tree = Some(tree.clone());
            shared.ring();
        }
    }

    /// The daemon stops: initiators are not to be sent here any more. Does not wait.
    pub fn end(&self) {
        if let Some((shared, _)) = &*lock(&self.thread) {
            lock(&shared.inbox).ending = true;
            shared.ring();
        }
    }

    /// Targets that the server knows of, as far as we know.
    #[must_use]
    pub fn registered(&self) -> usize {
        self.registered.load(Ordering::Relaxed)
    }

    fn start(&self) -> io::Result<(Arc<Shared>, JoinHandle<()>)> {
        let (bell, heard) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        heard.set_nonblocking(true)?;
        let shared = Arc::new(Shared {
            inbox: Mutex::default(),
            bell,
        });
        let worker = Worker::new(Arc::clone(&shared), heard, Arc::clone(&self.registered));
        let thread = std::thread::Builder::new()
            .name("isns".to_owned())
            .spawn(move || worker.run())?;
        Ok((shared, thread))
    }
}

impl Drop for IsnsClient {
    fn drop(&mut self) {
        self.end();
        if let Some((_, thread)) = lock(&self.thread).take() {
            // A panic has been printed. Else it ends within the worker's last patience.
            let _ended = thread.join();
        }
    }
}

impl fmt::Debug for IsnsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IsnsClient")
            .field("registered", &self.registered())
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn ring(&self) {
        // Full: then the thread will wake anyway.
        let _rung = io::Write::write(&mut &self.bell, &[1]);
    }
}

/// A panic elsewhere leaves what these mutexes guard whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
