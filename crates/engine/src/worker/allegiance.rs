//! Tasks that outlive their connection (RFC 7143 §7.2.2, §11.14): ErrorRecoveryLevel 2.
//!
//! The protocol says which tasks are kept and for how long (`iscsi-proto`'s `session/allegiance.rs`); here they stay what they
//! are: tasks of the session with their memory, whose I/O goes on. A connection is logged out for recovery only when the driver
//! has nothing of it any more: until then a receive may hold the memory that a task's data is to come to.

use std::time::Duration;

use iscsi_proto::session::{ConnectionIndex, DropReason, LogoutHandle, LogoutScope, TaskId};
use iscsi_wire::SerialNumber;
use scsi::lu::UnitAttention;

use super::connection::ConnectionEnding;
use super::cx::Cx;
use super::ending::EndReason;
use super::session::SessionLink;
use super::task::State;
use super::unit::Units;
use crate::panics::guard;

impl SessionLink {
    /// Whether the tasks of a connection that ends like this are kept for another.
    pub(super) fn keeps_tasks(&self, reason: EndReason) -> bool {
        let lost = match reason {
            // RFC 7143 §7.7: a format error is for session recovery.
            EndReason::Protocol(
                DropReason::LoggedOut | DropReason::LoggedOutForRecovery | DropReason::Format,
            ) => false,
            EndReason::Protocol(_)
            | EndReason::Closed
            | EndReason::Stalled
            | EndReason::Replaced => true,
            _ => false,
        };
        lost && self.proto.recovers_connections() && !self.logging_out && !self.asked_to_log_out
    }

    /// A connection is removed for recovery (RFC 7143 §11.14): it closes where it is not the one that asks, and the answer
    /// goes out when nothing of it is left but tasks that another may go on with.
    pub(super) fn removal_asked(
        &mut self,
        handle: LogoutHandle,
        c: ConnectionIndex,
        carrier: ConnectionIndex,
        units: &mut Units,
        cx: &mut Cx,
    ) {
        if !self.proto.recovers_connections() {
            let tasks = self.tasks_on(LogoutScope::Connection(c));
            self.clear_tasks(tasks, units, cx);
        } else if c == carrier {
            let ended = guard(|| self.proto.suspend_tasks(c));
            self.end_tasks(ended, units, cx);
        } else if let Some(connection) = self.connections.get_mut(c) {
            connection.keeps_tasks = true;
            self.close_connection(c, units, cx);
        }
        // What it waits for is the driver's own, and comes.
        let scope = LogoutScope::Recovery(c);
        self.logouts.push((handle, scope, Duration::MAX));
    }

    /// Ends tasks that end with their connection.
    pub(super) fn end_tasks(
        &mut self,
        ended: Result<Vec<TaskId>, crate::panics::Panicked>,
        units: &mut Units,
        cx: &mut Cx,
    ) {
        match ended {
            Ok(tasks) => self.clear_tasks(tasks, units, cx),
            Err(_) => self.poisoned = true,
        }
    }

    /// What waits for data of a connection that is lost holds no memory that all tasks of the worker share.
    pub(super) fn lend_nothing(&mut self, c: ConnectionIndex, cx: &mut Cx) {
        for task in self.tasks.iter_mut().flatten() {
            let waits = task.connection == c && matches!(task.state, State::DataOut { .. });
            if waits && std::mem::take(&mut task.emergency) {
                task.scratch = None;
                cx.emergency = false;
            }
        }
    }

    /// Whether a logout of this connection has to wait: for the driver, or for a task that ends with it.
    pub(super) fn is_leaving_connection(&self, c: ConnectionIndex) -> bool {
        let connection = self.connections.get(c);
        let closed = connection.is_some_and(|one| one.ending == Some(ConnectionEnding::Closed));
        let mut tasks = self.tasks.iter().flatten();
        closed || tasks.any(|task| task.connection == c && task.aborting)
    }

    /// A connection has been logged out for recovery: its tasks may go on over another.
    pub(super) fn end_allegiance(&mut self, c: ConnectionIndex, cx: &mut Cx) {
        for task in self.tasks.iter_mut().flatten() {
            if task.connection == c {
                task.connection = ConnectionIndex::NONE;
            }
        }
        let now = cx.now;
        if guard(|| self.proto.end_allegiance(c, now)).is_err() {
            self.poisoned = true;
        }
        self.publish_connections();
        self.arm_timer(cx);
    }

    /// A login with the CID of a connection that was lost is its logout for recovery, and tells which of its statuses have
    /// arrived (RFC 7143 §11.12.9).
    pub(super) fn reinstate(
        &mut self,
        c: ConnectionIndex,
        exp_stat_sn: SerialNumber,
        units: &mut Units,
        cx: &mut Cx,
    ) {
        if guard(|| self.proto.acknowledge(c, exp_stat_sn)).is_err() {
            self.poisoned = true;
        }
        while let Some(event) = self.proto.poll_event() {
            self.event(event, (&[], &[]), units, cx);
        }
        self.end_allegiance(c, cx);
    }

    /// A task goes on over this connection.
    pub(super) fn reassigned(&mut self, id: TaskId, c: ConnectionIndex, cx: &mut Cx) {
        let digest = self.connections.get(c).is_some_and(|one| one.data_digest);
        if let Some(task) = self.task(id) {
            task.connection = c;
            task.copies |= digest;
        }
        self.note_progress(c, cx.now);
        self.mark_dirty(cx);
    }

    /// Nobody has asked for these tasks in time.
    pub(super) fn expired(&mut self, tasks: Vec<TaskId>, units: &mut Units, cx: &mut Cx) {
        for id in &tasks {
            if let Some(task) = self.task(*id) {
                task.connection = ConnectionIndex::NONE;
            }
        }
        self.clear_tasks(tasks, units, cx);
        for c in self.connections.places() {
            self.look_at_connection(c, units, cx);
        }
        self.publish_connections();
    }

    /// Aborts tasks because of an event of the protocol, and has their logical units say so.
    pub(super) fn clear_tasks(&mut self, tasks: Vec<TaskId>, units: &mut Units, cx: &mut Cx) {
        let nexus = self.nexus();
        let goes_on = self.ending.is_none() && !self.logging_out;
        for id in tasks {
            let Some(task) = self.task(id) else {
                // One that was answered without being more to us than its number.
                if guard(|| self.proto.abandon(id)).is_err() {
                    self.poisoned = true;
                }
                continue;
            };
            let (c, answered) = (task.connection, matches!(task.state, State::Answered));
            // RFC 7143 §4.2.2.1, §11.14: what was not delivered was not received, and comes again.
            let delivered = !matches!(task.state, State::Undelivered);
            let open = !task.aborting && !answered && delivered;
            let unit = units.find(task.unit).filter(|unit| !unit.offline);
            if let Some(nexus) = unit.and_then(|unit| unit.shard.nexus_mut(nexus))
                && open
                && goes_on
            {
                // RFC 7143 §11.14.5: the next command of the nexus is told.
                nexus.establish(UnitAttention::CommandsClearedByProtocol);
            }
            if answered && self.connections.get(c).is_none() {
                self.drop_answered(id, units, cx);
            } else {
                self.abort(id, units, cx);
            }
        }
    }
}
