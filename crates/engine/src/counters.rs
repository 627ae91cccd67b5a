//! What each worker counts. One writer each, so a plain relaxed store does; any thread may read.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// A worker's counters, on cache lines that no other worker writes.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub(crate) struct WorkerCounters { $($(#[$doc])* pub(crate) $name: Count),+ }

        /// All workers' counters, summed at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters { $($(#[$doc])* pub $name: u64),+ }

        impl Counters {
            pub(crate) fn add(&mut self, worker: &WorkerCounters) {
                $(self.$name = self.$name.wrapping_add(worker.$name.value());)+
            }
        }
    };
}

counters! {
    /// Sessions in full feature phase now, discovery sessions included.
    sessions,
    /// Connections that are logging in now.
    logins,
    /// Logins that became a session since the start.
    logins_accepted,
    /// Logins refused with a status since the start.
    logins_refused,
    /// Logins sent to another address since the start.
    logins_redirected,
    /// SCSI commands begun.
    commands,
    /// Bytes read by initiators.
    read_bytes,
    /// Bytes written by initiators.
    written_bytes,
    /// Commands answered TASK SET FULL for want of memory.
    task_set_full,
    /// Tasks aborted, by task management or with their session.
    aborted,
    /// Panics that were caught at a connection's or a logical unit's edge.
    panics,
}

/// A counter with one writing thread.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, n: u64) {
        // One writer: a load and a store need no locked instruction.
        self.0
            .store(self.value().wrapping_add(n), Ordering::Relaxed);
    }

    pub(crate) fn subtract(&self, n: u64) {
        self.0
            .store(self.value().wrapping_sub(n), Ordering::Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
