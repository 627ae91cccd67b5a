//! Recovery of what is lost within a connection: ErrorRecoveryLevel 1 (RFC 7143 §7.1.4.1, §7.1.4.2, §11.16).
//!
//! What the initiator has not acknowledged is kept, so that it can ask for it again: statuses and other numbered answers
//! (`statuses`), Data-In (`data_in`); what it sends and does not arrive is asked for again (`data_out`), or counts as never
//! sent, so that it sends it again (`deferred`). `snack` reads what it asks for; `patience` is what time does.
//!
//! # What a task is here
//!
//! A task stays in the slab after its status has been sent, until that is acknowledged: [`Task::sent_status`] says so. Its
//! place in the command window is free with the status, as ever. The engine keeps Data-In until [`Event::Acknowledged`],
//! and the task until [`Event::Released`], which comes in place of `Piece::Release`. A status never rides in a Data-In: so that a Status
//! SNACK is answered with a SCSI Response, and a Data SNACK moves no StatSN.
//!
//! # Bounds
//!
//! Of a connection, four times the command window and 64 numbered answers are kept, and 16 times `max_text_bytes` of what they carry
//! besides sense data; when there are more, none that is new is sent before the initiator has acknowledged some, and a connection
//! whose initiator does not for `nop_timeout` ends. Of a task, 12 bytes are kept for each unacknowledged Data-In PDU, which are as many as the
//! engine's memory for them holds; and [`MAX_RUNS`](task::MAX_RUNS) runs of PDUs to be sent again. A session that does not recover holds one pointer more.

mod data_in;
mod data_out;
mod deferred;
mod judge;
mod patience;
mod snack;
mod statuses;
mod task;

use core::time::Duration;
use std::collections::VecDeque;

pub(crate) use data_in::SentData;
pub(crate) use statuses::Sent;
pub(crate) use task::{MAX_R2TS_KEPT, SentR2t, TaskRecovery};

use super::task::Task;
use super::{ConnectionIndex, DataFault, Event, Session, TaskId};
use crate::login::SessionType;
use crate::negotiate::NegotiatedParams;

/// The highest ErrorRecoveryLevel that a session can have here (RFC 7143 §13.20).
pub const MAX_ERROR_RECOVERY_LEVEL: u8 = 2;

/// What a session has that recovers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recovery {
    /// For the engine, before any other event.
    news: VecDeque<Event>,
    /// What the last caller said the time is.
    pub(crate) now: Duration,
    /// When time is looked at; `None` where there is nothing that it could do.
    pub(crate) look_at: Option<Duration>,
    /// Since when a command is missing before others.
    pub(crate) gap_since: Option<Duration>,
    /// A DataACK that was asked for has not come in time, nor any since: none is waited for.
    pub(crate) unheard: bool,
    /// What was sent and is not acknowledged, by connection.
    sent: Vec<Sent>,
}

/// How often time is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

impl Recovery {
    /// What a session with these parameters has of it. RFC 7143 §7.4.1: a discovery session has ErrorRecoveryLevel 0.
    pub(crate) fn new(kind: SessionType, params: &NegotiatedParams) -> Option<Box<Self>> {
        let recovers = kind == SessionType::Normal && params.error_recovery_level >= 1;
        recovers.then(Box::default)
    }

    /// What was sent on a connection and is not acknowledged.
    pub(crate) fn sent_on(&self, c: ConnectionIndex) -> Option<&Sent> {
        self.sent.get(usize::from(c.0))
    }

    fn sent_on_mut(&mut self, c: ConnectionIndex) -> &mut Sent {
        let at = usize::from(c.0);
        if self.sent.len() <= at {
            self.sent.resize_with(at + 1, Sent::default);
        }
        &mut self.sent[at]
    }

    /// Has time looked at.
    fn watch(&mut self) {
        let soon = self.now.saturating_add(LOOK_INTERVAL);
        self.look_at.get_or_insert(soon);
    }

    /// Whether nothing waits for anything.
    pub(crate) fn is_quiet(&self) -> bool {
        self.news.is_empty() && self.sent.iter().all(Sent::is_empty)
    }

    /// Moves its clock.
    pub(crate) fn restart_clock(&mut self, now: Duration) {
        self.now = now;
        self.look_at = self.look_at.map(|_| now.saturating_add(LOOK_INTERVAL));
        self.gap_since = self.gap_since.map(|_| now);
    }

    /// Of each connection, when it last acknowledged something.
    pub(crate) fn progress(&self) -> Vec<Duration> {
        self.sent.iter().map(|sent| sent.progress).collect()
    }

    /// Puts that back where nothing is unacknowledged.
    pub(crate) fn restore_progress(&mut self, progress: Vec<Duration>) {
        self.sent = progress.into_iter().map(Sent::quiet_since).collect();
    }

    pub(crate) fn release_idle_memory(&mut self) {
        self.news.shrink_to_fit();
        self.sent.iter_mut().for_each(Sent::release_idle_memory);
    }
}

impl Session {
    /// Whether it recovers what is lost within a connection: ErrorRecoveryLevel 1 or above was agreed on.
    #[must_use]
    pub const fn recovers(&self) -> bool {
        self.recovery.is_some()
    }

    /// Takes note of the time, before anything that may start to wait.
    pub(super) fn note_time(&mut self, now: Duration) {
        if let Some(recovery) = &mut self.recovery {
            recovery.now = now;
        }
    }

    /// Something may have to be waited for from now on.
    pub(super) fn watch_recovery(&mut self) {
        if let Some(recovery) = &mut self.recovery {
            recovery.watch();
        }
    }

    /// What a new task has of it.
    pub(super) fn task_recovery(&self) -> Option<Box<TaskRecovery>> {
        let recovery = self.recovery.as_ref()?;
        Some(Box::new(TaskRecovery::new(recovery.now)))
    }

    /// What is to be told of recovery, before anything else.
    pub(super) fn poll_recovery(&mut self) -> Option<Event> {
        loop {
            match self.recovery.as_mut()?.news.pop_front()? {
                Event::Released { task } => {
                    let internal = self.tasks.get(task).is_none_or(|task| task.internal);
                    self.remove_task(task);
                    if !internal {
                        return Some(Event::Released { task });
                    }
                }
                event => return Some(event),
            }
        }
    }

    fn tell_engine(&mut self, event: Event) {
        if let Some(recovery) = &mut self.recovery {
            recovery.news.push_back(event);
        }
    }

    /// Ends a task's record once the engine has been told: until then its id is not given to another, but its tag is the initiator's.
    fn let_go(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get_mut(id) else {
            return;
        };
        let Some(recovery) = &mut task.recovery else {
            return;
        };
        if core::mem::replace(&mut recovery.over, true) {
            return;
        }
        // What was asked for again is not sent any more.
        recovery.again.clear();
        let (c, queued) = (task.connection, core::mem::take(&mut task.queued));
        if queued && let Some(connection) = self.connection_mut(c) {
            connection.ready.retain(|ready| *ready != id);
        }
        self.tasks.unname(id);
        self.tell_engine(Event::Released { task: id });
    }

    /// Ends a task of which a part is lost for good: CHECK CONDITION with what `fault` says, unless its status has been sent.
    fn give_up(&mut self, id: TaskId, fault: DataFault) {
        let Some(task) = self.tasks.get_mut(id) else {
            return;
        };
        if task.sent_status().is_some() {
            return;
        }
        if task.completion.is_some() {
            // The engine has ended it already, and the status has not left.
            task.fail_unsent(fault);
            return;
        }
        if task.fault_told {
            return;
        }
        task.fault.get_or_insert(fault);
        if task.sequences_closed() {
            task.fault_told = true;
            self.counters.data_faults += 1;
            self.tell_engine(Event::DataFault { task: id, fault });
        }
    }

    /// A task's record ends: what stands of it elsewhere does too.
    pub(super) fn forget_recovery(&mut self, c: ConnectionIndex, id: TaskId) {
        let Some(recovery) = &mut self.recovery else {
            return;
        };
        if c != ConnectionIndex::NONE {
            let sent = recovery.sent_on_mut(c);
            if let Some(stat_sn) = self.tasks.get(id).and_then(Task::sent_status) {
                sent.forget(stat_sn, id);
            }
            sent.blocked.retain(|blocked| *blocked != id);
        }
        recovery.news.retain(|event| match event {
            Event::Acknowledged { task, .. }
            | Event::DataFault { task, .. }
            | Event::Deliver { task }
            | Event::Released { task } => *task != id,
            _ => true,
        });
    }

    /// Its peers count as heard now.
    pub(super) fn restart_recovery(&mut self, now: Duration) {
        let Some(recovery) = &mut self.recovery else {
            return;
        };
        recovery.restart_clock(now);
        for id in self.tasks.iter().map(|(id, _)| id).collect::<Vec<_>>() {
            if let Some(task) = self.tasks.get_mut(id).and_then(|one| one.recovery.as_mut()) {
                task.progress = now;
            }
        }
    }

    /// The owner has closed a connection: nothing of it is asked for again.
    pub(super) fn disconnect_recovery(&mut self, c: ConnectionIndex) {
        let suspended = self.connection(c).is_some_and(|one| one.suspended);
        if let Some(recovery) = &mut self.recovery {
            let sent = recovery.sent_on_mut(c);
            if suspended {
                sent.stop();
            } else {
                *sent = Sent::default();
            }
        }
    }

    /// Whether a task's initiator can be reached: it has a connection, and is not suspended.
    fn is_reachable(&self, task: &Task) -> bool {
        let connection = self.connections.get(task.connection);
        connection.is_some_and(|one| !one.suspended)
    }

    /// A connection's place is free.
    pub(super) fn vacate_recovery(&mut self, c: ConnectionIndex) {
        if let Some(recovery) = &mut self.recovery {
            *recovery.sent_on_mut(c) = Sent::default();
        }
    }
}
