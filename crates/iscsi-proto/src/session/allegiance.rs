//! Tasks that outlive their connection (RFC 7143 §7.1.4.3, §7.2.2, §11.5.1, §11.14): ErrorRecoveryLevel 2.
//!
//! # From one connection to another
//!
//! A connection that is *lost* stays known, with its CID and its tasks, for DefaultTime2Wait and DefaultTime2Retain (§7.5.1).
//! Its tasks are *suspended*: the backstores go on with them, their answers are kept, what had been asked for and has not come
//! is not asked for any more. Requests whose CmdSN was not acknowledged, and immediate commands (§7.14), end with it.
//!
//! When it is *logged out for recovery*, by a Logout Request or by a login with its CID, its tasks have no allegiance: they
//! wait, once more for that time, for a TASK REASSIGN each. Until then TASK REASSIGN is answered with "Task still allegiant".
//!
//! A task that is *reassigned* goes on from where the initiator says it stands: data that it has not acknowledged is sent
//! again, data that has not come is asked for anew, and the status is sent, be it once more, as a status of the new
//! connection. The response to TASK REASSIGN goes before all of that.
//!
//! Whoever has waited in vain is told to the engine in an [`Event::TasksExpired`].
//!
//! # Bounds
//!
//! A task that waits is one of the session's as any other and keeps its place in the command window until it has its status.
//! Lost connections take the places of connections, of which there are [`MAX_CONNECTIONS`](super::MAX_CONNECTIONS): one without
//! tasks makes way for one that joins. Of requests that ended with their connection the last [`KEPT_TAGS`] are known by name.
//! Sessions at lower levels have none of this.

use core::time::Duration;
use std::collections::VecDeque;

use iscsi_wire::{Itt, SerialNumber, TaskManagementRequest, TaskManagementResponseCode};

use super::ranges::Ranges;
use super::task::{RequestSlot, Task};
use super::{ConnectionIndex, Event, Session, TaskId};
use crate::connection::{Connection, Reassignment, Reply, TextExchange};

/// Requests other than commands that ended with their connection, and are still known to have been such.
const KEPT_TAGS: usize = 64;

/// What a session at ErrorRecoveryLevel 2 knows beyond its connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Allegiance {
    /// Tasks without a connection that may be reassigned.
    waiting: Vec<Waiting>,
    /// Task management requests, text exchanges and logouts that ended with their connection.
    tags: VecDeque<(Itt, Duration)>,
    /// Tasks that have found a connection; the engine has yet to be told.
    untold: VecDeque<(TaskId, ConnectionIndex)>,
}

/// A task without a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Waiting {
    task: TaskId,
    until: Duration,
    /// It has been asked for over this connection, and the answer has yet to be sent.
    promised: Option<ConnectionIndex>,
}

impl Allegiance {
    /// What a session needs that has agreed on this ErrorRecoveryLevel.
    pub(super) fn at_level(error_recovery_level: u8) -> Option<Box<Self>> {
        (error_recovery_level >= 2).then(Box::default)
    }

    fn waiting(&mut self, task: TaskId) -> Option<&mut Waiting> {
        self.waiting.iter_mut().find(|one| one.task == task)
    }

    /// A connection is closed: what it was to take over waits on.
    pub(super) fn break_promises(&mut self, c: ConnectionIndex) {
        for one in &mut self.waiting {
            one.promised.take_if(|promised| *promised == c);
        }
    }

    fn remember(&mut self, tag: Itt, until: Duration) {
        if self.tags.len() >= KEPT_TAGS {
            self.tags.pop_front();
        }
        self.tags.push_back((tag, until));
    }

    pub(super) fn release_idle_memory(&mut self) {
        self.waiting.shrink_to_fit();
        self.tags.shrink_to_fit();
        self.untold.shrink_to_fit();
    }

    /// A task is over.
    pub(super) fn forget(&mut self, task: TaskId) {
        self.waiting.retain(|one| one.task != task);
        self.untold.retain(|(one, _)| *one != task);
    }
}

impl Session {
    /// Whether tasks outlive their connection: ErrorRecoveryLevel 2 was agreed on, and there is a time for it.
    #[must_use]
    pub fn recovers_connections(&self) -> bool {
        // RFC 7143 §13.16: 0 says that the state is discarded at once.
        self.allegiance.is_some() && self.params.default_time2retain > 0
    }

    /// Whether a connection is known that was lost, or a task waits to be reassigned.
    #[must_use]
    pub fn waits_for_recovery(&self) -> bool {
        let waits = |one: &Allegiance| !one.waiting.is_empty();
        let lost = |(_, one): (ConnectionIndex, &Connection)| one.retained_until.is_some();
        self.allegiance.as_deref().is_some_and(waits) || self.connections.iter().any(lost)
    }

    /// Whether nothing is known but what every session knows.
    pub(super) fn is_whole(&self) -> bool {
        let nothing = |one: &Allegiance| one.tags.is_empty() && one.untold.is_empty();
        !self.waits_for_recovery() && self.allegiance.as_deref().is_none_or(nothing)
    }

    /// RFC 7143 §13.15, §13.16: how long what a connection leaves behind is kept, from its loss on.
    #[must_use]
    pub fn retained_for(&self) -> Duration {
        let Self { params, .. } = self;
        let seconds = u64::from(params.default_time2wait) + u64::from(params.default_time2retain);
        Duration::from_secs(seconds)
    }

    /// The owner has closed a connection that was lost: it is known, with its tasks, until it is logged out or its time is over.
    /// Those that are returned end with it, and are the owner's to abandon.
    pub fn lose_connection(&mut self, c: ConnectionIndex, now: Duration) -> Vec<TaskId> {
        let ended = self.suspend_tasks(c);
        let until = now.saturating_add(self.retained_for());
        // As long as a task would be kept that is logged out for recovery at the last moment.
        self.remember_tags(c, until.saturating_add(self.retained_for()));
        self.disconnect(c);
        if let Some(connection) = self.connections.get_mut(c) {
            connection.retained_until = Some(until);
        }
        ended
    }

    /// RFC 7143 §11.14: stops sending for the tasks of a connection, and discards what it brought before its turn. The tasks
    /// that are returned end with the connection, and are the owner's to abandon.
    pub fn suspend_tasks(&mut self, c: ConnectionIndex) -> Vec<TaskId> {
        let Some(connection) = self.connections.get_mut(c) else {
            return Vec::new();
        };
        connection.suspended = true;
        connection.ready.clear();
        let mut ended = self.discard_unacknowledged(c);
        for id in self.tasks_of(c) {
            let Some(task) = self.tasks.get_mut(id) else {
                continue;
            };
            task.suspend();
            // RFC 7143 §7.14: immediate commands are not recoverable.
            let immediate = task.slot == RequestSlot::Immediate && !task.internal;
            if (immediate || task.is_unproved()) && !ended.contains(&id) {
                ended.push(id);
            }
        }
        ended
    }

    /// A connection has been logged out for recovery, by a Logout Request or by a login with its CID: its tasks may be
    /// reassigned from now on. One that was lost is forgotten, and its CID is free.
    pub fn end_allegiance(&mut self, c: ConnectionIndex, now: Duration) {
        let until = now.saturating_add(self.retained_for());
        let mut tasks = self.tasks_of(c);
        // Those that are over wait for nothing but that the engine hears of it.
        tasks.retain(|id| self.tasks.get_mut(*id).is_some_and(Task::leave_connection));
        if let Some(allegiance) = &mut self.allegiance {
            let waiting = tasks.into_iter().map(|task| Waiting {
                task,
                until,
                promised: None,
            });
            allegiance.waiting.extend(waiting);
        }
        // Their statuses will be those of another connection.
        self.vacate_recovery(c);
        self.forget_lost(c);
    }

    /// The owner has nothing of a lost connection any more: its place is free once the session forgets it.
    pub fn release_connection(&mut self, c: ConnectionIndex) {
        if let Some(connection) = self.connections.get_mut(c) {
            connection.released = true;
        }
    }

    /// A lost connection is over. Its owner forgets it where it has something of it yet.
    pub(super) fn forget_lost(&mut self, c: ConnectionIndex) {
        let Some(connection) = self.connections.get_mut(c) else {
            return;
        };
        if connection.retained_until.take().is_some() && connection.released {
            self.forget_connection(c);
        }
    }

    /// Takes note of the ExpStatSN that the login of another connection brings for the one of the same CID that was lost (RFC 7143
    /// §11.12.9).
    pub fn acknowledge(&mut self, c: ConnectionIndex, exp_stat_sn: SerialNumber) {
        if let Some(connection) = self.connections.get_mut(c)
            && connection.acknowledge(exp_stat_sn)
            && self.recovery.is_some()
        {
            self.settle_acknowledged(c);
        }
    }

    /// Whether this connection was lost and has not been logged out.
    #[must_use]
    pub fn is_lost(&self, c: ConnectionIndex) -> bool {
        let connection = self.connections.get(c);
        connection.is_some_and(|one| one.retained_until.is_some())
    }

    /// Takes the place of a lost connection that nothing waits for.
    pub(super) fn evict_lost(&mut self) -> bool {
        let all = self.connections.iter().map(|(c, _)| c);
        let places: Vec<ConnectionIndex> = all.collect();
        let idle = |c: &ConnectionIndex| self.is_lost(*c) && self.tasks_of(*c).is_empty();
        if let Some(c) = places.into_iter().find(idle) {
            self.forget_lost(c);
        }
        !self.connections.is_full()
    }

    fn tasks_of(&self, c: ConnectionIndex) -> Vec<TaskId> {
        let tasks = self.tasks.iter().filter(|(_, task)| task.connection == c);
        tasks.map(|(id, _)| id).collect()
    }

    /// RFC 7143 §11.5.1: what is no command is not reassigned, and an attempt to is answered as such.
    fn remember_tags(&mut self, c: ConnectionIndex, until: Duration) {
        let Some(allegiance) = &mut self.allegiance else {
            return;
        };
        for pending in self.management.iter().filter(|one| one.connection == c) {
            allegiance.remember(pending.itt, until);
        }
        for logout in self.logouts.iter().filter(|one| one.carrier == Some(c)) {
            allegiance.remember(logout.itt, until);
        }
        if let Some(connection) = self.connections.get(c) {
            if let Some(itt) = connection.text.itt() {
                allegiance.remember(itt, until);
            }
            let answers = connection.replies.iter().filter_map(Reply::answered_tag);
            answers.for_each(|itt| allegiance.remember(itt, until));
        }
    }

    /// TASK REASSIGN (RFC 7143 §7.2.2, §11.5.1): what is to be done with the answer, or why nothing is.
    pub(super) fn task_reassign(
        &mut self,
        c: ConnectionIndex,
        request: &TaskManagementRequest,
    ) -> Result<Reassignment, TaskManagementResponseCode> {
        let tag = request.referenced_task_tag;
        let is_request = self.is_request(tag);
        let found = self.tasks.find(tag);
        let allegiant = found.and_then(|id| self.connection_of(id));
        let Some(allegiance) = &mut self.allegiance else {
            // RFC 7143 §7.2.2: the answer where it was not agreed on.
            return Err(TaskManagementResponseCode::TaskAllegianceReassignmentNotSupported);
        };
        // RFC 7143 §11.5.1: it MUST be issued as an immediate command.
        if !request.immediate {
            return Err(TaskManagementResponseCode::FunctionRejected);
        }
        let Some(id) = found else {
            // RFC 7143 §11.5.1: a task management request, a text negotiation or a logout is not reassigned.
            let ended = allegiance.tags.iter().any(|(one, _)| *one == tag);
            return Err(if is_request || ended {
                TaskManagementResponseCode::FunctionRejected
            } else {
                TaskManagementResponseCode::TaskDoesNotExist
            });
        };
        match allegiance.waiting(id) {
            Some(waiting) if waiting.promised.is_none() => {
                waiting.promised = Some(c);
                Ok(Reassignment {
                    task: id,
                    exp_data_sn: request.exp_data_sn,
                })
            }
            // Its time is over, and it is about to end.
            None if allegiant == Some(ConnectionIndex::NONE) => {
                Err(TaskManagementResponseCode::TaskDoesNotExist)
            }
            // RFC 7143 §7.2.2: the connection that it is or was allegiant to has not been logged out for recovery.
            _ => Err(TaskManagementResponseCode::TaskStillAllegiant),
        }
    }

    /// Whether this is the tag of a task management request, a text exchange or a logout that is not answered yet.
    pub(super) fn is_request(&self, tag: Itt) -> bool {
        let mut texts = self.connections.iter().filter_map(|(_, c)| c.text.itt());
        self.management.iter().any(|pending| pending.itt == tag)
            || self.logouts.iter().any(|pending| pending.itt == tag)
            || texts.any(|itt| itt == tag)
    }

    /// RFC 7143 §11.5.1, RFC 7144 §6.3: an ABORT TASK or QUERY TASK over another connection establishes a new allegiance.
    pub(super) fn adopt(&mut self, c: ConnectionIndex, id: TaskId) {
        let exp_data_sn = 0;
        let task = id;
        self.reassign(c, Reassignment { task, exp_data_sn });
    }

    /// What the engine has not been told of tasks that found a connection.
    pub(super) fn poll_adopted(&mut self) -> Option<Event> {
        let (task, connection) = self.allegiance.as_mut()?.untold.pop_front()?;
        Some(Event::Reassigned { task, connection })
    }

    /// Has a task that waits for a connection go on over this one.
    pub(super) fn reassign(&mut self, c: ConnectionIndex, reassignment: Reassignment) {
        let Reassignment {
            task: id,
            exp_data_sn,
        } = reassignment;
        let Some(allegiance) = &mut self.allegiance else {
            return;
        };
        let Some(at) = allegiance.waiting.iter().position(|one| one.task == id) else {
            return;
        };
        allegiance.waiting.swap_remove(at);
        allegiance.untold.push_back((id, c));
        let Some(task) = self.tasks.get_mut(id) else {
            return;
        };
        let Some(connection) = self.connections.get_mut(c) else {
            return;
        };
        task.connection = c;
        if let Some(done) = &mut task.completion {
            connection.completions += 1;
            done.number = connection.completions;
        }
        task.resume_from(exp_data_sn);
        self.resume_data_in(id, exp_data_sn);
        let Some(task) = self.tasks.get(id) else {
            return;
        };
        if self.may_answer(id) || task.may_ask(self.params.max_outstanding_r2t) {
            self.queue(id);
        }
    }

    /// When the next lost connection or task without one has waited long enough.
    pub(super) fn recovery_ends(&self) -> Option<Duration> {
        let allegiance = self.allegiance.as_ref()?;
        let lost = self.connections.iter();
        let lost = lost.filter_map(|(_, one)| one.retained_until);
        let waiting = allegiance.waiting.iter();
        let waiting = waiting.filter(|one| one.promised.is_none());
        let tags = allegiance.tags.iter().map(|(_, until)| *until);
        waiting.map(|one| one.until).chain(tags).chain(lost).min()
    }

    /// RFC 7143 §7.6 b and c: whom nobody has asked for in time.
    pub(super) fn expire(&mut self, now: Duration) -> Option<Event> {
        self.recovery_ends().filter(|at| *at <= now)?;
        let mut tasks = Vec::new();
        if let Some(allegiance) = &mut self.allegiance {
            let over = |one: &mut Waiting| one.until <= now && one.promised.is_none();
            tasks.extend(allegiance.waiting.extract_if(.., over).map(|one| one.task));
            allegiance.tags.retain(|(_, until)| *until > now);
        }
        let over = |one: &Connection| one.retained_until.is_some_and(|at| at <= now);
        let lost = self.connections.iter().filter(|(_, one)| over(one));
        let lost: Vec<ConnectionIndex> = lost.map(|(c, _)| c).collect();
        for c in lost {
            for id in self.tasks_of(c) {
                let waits = self.tasks.get_mut(id).is_some_and(Task::leave_connection);
                tasks.extend(waits.then_some(id));
            }
            self.vacate_recovery(c);
            self.forget_lost(c);
        }
        // The engine has never heard of those that the session ended by itself.
        let internal = |id: &TaskId| self.tasks.get(*id).is_some_and(|task| task.internal);
        let (own, tasks): (Vec<TaskId>, Vec<TaskId>) = tasks.into_iter().partition(internal);
        for id in own {
            self.remove_task(id);
        }
        (!tasks.is_empty()).then_some(Event::TasksExpired { tasks })
    }
}

impl Task {
    /// Its connection carries nothing of it any more: what was asked for and has not come is not under way.
    fn suspend(&mut self) {
        self.queued = false;
        self.unsolicited.open = false;
        self.r2ts.clear();
        if let Some(recovery) = &mut self.recovery {
            recovery.suspend();
        }
        if self.completion.is_some() {
            return;
        }
        if !self.fault_told {
            // What was wrong with data that is asked for again does not matter.
            self.fault = None;
        }
        let contiguous = self.received.contiguous();
        self.received = Ranges::from_start(contiguous);
        self.next_r2t_offset = contiguous;
    }

    /// The connection that it was allegiant to has been logged out. Whether it waits for another.
    fn leave_connection(&mut self) -> bool {
        self.connection = ConnectionIndex::NONE;
        !self.is_over()
    }

    /// RFC 7143 §11.5.6: the initiator has acknowledged what lies before this DataSN or R2TSN; 0 says nothing new.
    fn resume_from(&mut self, exp_data_sn: u32) {
        if self.write && exp_data_sn <= self.next_data_sn {
            self.next_data_sn = exp_data_sn;
        }
        if let Some(recovery) = &mut self.recovery {
            recovery.begin_anew();
        }
    }
}

impl TextExchange {
    /// The tag of the exchange under way.
    fn itt(&self) -> Option<Itt> {
        match self {
            Self::Idle => None,
            Self::Gathering { itt, .. } | Self::Sending { itt, .. } => Some(*itt),
            Self::Asked { request, .. } => Some(request.itt),
        }
    }
}
