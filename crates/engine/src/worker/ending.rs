//! How a session ends, and how tasks are aborted: nothing is forgotten until the backstores have let go of it.

use std::time::Duration;

use iscsi_proto::session::{ConnectionIndex, DropReason, LogoutHandle, LogoutScope, TaskId};
use iscsi_wire::LogoutResponseCode;

use super::connection::{Connection, ConnectionEnding};
use super::control::Control;
use super::cx::{Cx, control_key};
use super::session::SessionLink;
use super::task::State;
use super::unit::Units;
use crate::panics::guard;
use crate::slots::Key;

pub(super) use super::session::Ending;

/// How long the last answers of a connection may take to be sent.
pub(super) const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a session ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum EndReason {
    Protocol(DropReason),
    /// The peer closed, or the network failed.
    Closed,
    /// A newer login of the same nexus takes its place.
    Replaced,
    /// The peer took too long to send what it was asked for, or to read its answers.
    Stalled,
    /// TARGET COLD RESET.
    Reset,
    /// The daemon is shutting down, or its initiator may not use the target any more.
    Drained,
    /// What it was admitted by changed before it began.
    Refused,
    /// It had no connection any more, and none came to continue it.
    NotContinued,
    Panicked,
}

impl EndReason {
    /// For people.
    fn text(self) -> &'static str {
        match self {
            Self::Protocol(DropReason::LoggedOut | DropReason::LoggedOutForRecovery) => {
                "logged out"
            }
            Self::Protocol(_) => "the initiator broke the protocol",
            Self::Closed => "the connection was closed",
            Self::Replaced => "a newer login of the same nexus took its place",
            Self::Stalled => {
                "the initiator neither sent what it was asked for nor read its answers"
            }
            Self::Reset => "a target cold reset",
            Self::Drained => "it did not log out in time",
            Self::Refused => "what it was admitted by changed before it began",
            Self::NotContinued => "no connection came to continue it",
            Self::Panicked => "an internal failure",
        }
    }
}

impl SessionLink {
    pub(super) fn panicked(&mut self, units: &mut Units, cx: &mut Cx) {
        cx.counters.panics.add(1);
        self.end(EndReason::Panicked, false, units, cx);
    }

    /// Ends the session: with `flush`, what is queued is sent first.
    pub(super) fn end(&mut self, reason: EndReason, flush: bool, units: &mut Units, cx: &mut Cx) {
        match self.ending {
            None => {
                self.log_end(reason);
                self.ending = Some(Ending::Closing);
            }
            Some(Ending::Closing) => {}
            Some(Ending::Detaching(_)) => return,
        }
        self.turn_away(cx);
        for c in self.connections.places() {
            let told = self.tell_end(c, reason);
            self.end_connection(c, reason, flush || told, units, cx);
        }
        for id in self.tasks_on(LogoutScope::Session) {
            let c = self.task(id).map(|task| task.connection);
            // Those that wait for another connection wait no more.
            if c.is_some_and(|c| self.connections.get(c).is_none()) {
                self.abort(id, units, cx);
            }
        }
        self.look_at_end(units, cx);
    }

    /// RFC 7143 §11.9.1: an initiator that its target leaves is told, with event 3, if what it is told can be sent now.
    /// Whether it can.
    fn tell_end(&mut self, c: ConnectionIndex, reason: EndReason) -> bool {
        let connection = self.connections.get(c);
        let reads = connection.is_some_and(|one| one.sending.is_none() && one.ending.is_none());
        let tells = matches!(reason, EndReason::Drained | EndReason::Reset) && reads;
        if tells && !self.discovery {
            self.proto.notify_session_drop(c, false);
        }
        tells
    }

    pub(super) fn log_end(&mut self, reason: EndReason) {
        self.end_reason = reason.text();
        let (initiator, peer) = (&self.initiator, self.place.peer);
        match reason {
            EndReason::Protocol(DropReason::LoggedOut | DropReason::LoggedOutForRecovery)
            | EndReason::Drained => {
                tracing::debug!(session = self.id.0, %initiator, %peer, ?reason, "session ended");
            }
            _ => {
                let itts = self.proto.outstanding_tasks().count();
                tracing::info!(session = self.id.0, %initiator, %peer, ?reason, tasks = itts, "session ended");
            }
        }
    }

    /// Aborts a task: no status. It is gone when its last I/O has left the backstore.
    pub(super) fn abort(&mut self, id: TaskId, units: &mut Units, cx: &mut Cx) {
        self.abort_telling(id, false, units, cx);
    }

    /// Aborts a task; its answer is TASK ABORTED, or it has none.
    pub(super) fn abort_telling(
        &mut self,
        id: TaskId,
        tells: bool,
        units: &mut Units,
        cx: &mut Cx,
    ) {
        let Some(task) = self.task(id) else { return };
        if task.aborting {
            return;
        }
        let (c, answered) = (task.connection, matches!(task.state, State::Answered));
        if answered {
            // Its status may be on the way, or wait for another connection: only an end takes that back.
            let over = match self.connections.get(c) {
                Some(connection) => connection.is_closed() && !connection.keeps_tasks,
                None => self.ending.is_some(),
            };
            if over {
                self.drop_answered(id, units, cx);
            }
            return;
        }
        let Some(task) = self.task(id) else { return };
        task.aborting = true;
        task.tells_abort = tells;
        cx.counters.aborted.add(1);
        match task.op {
            Some(op) => cx
                .driver
                .cancel(super::cx::token(super::cx::Kind::Store, op)),
            None => self.finish_abort(id, units, cx),
        }
    }

    /// A task's status goes nowhere any more.
    pub(super) fn drop_answered(&mut self, id: TaskId, units: &mut Units, cx: &mut Cx) {
        if guard(|| self.proto.abandon(id)).is_err() {
            self.poisoned = true;
        }
        self.forget(id, cx);
        self.task_gone(id, units, cx);
    }

    /// An aborted task has left the backstore.
    pub(super) fn finish_abort(&mut self, id: TaskId, units: &mut Units, cx: &mut Cx) {
        self.leave_part(id, units, cx);
        let Some(task) = self.task(id) else { return };
        let (key, unit, c) = (task.key, task.unit, task.connection);
        let tells = task.tells_abort;
        if let Some(unit) = units.find(unit)
            && !unit.offline
        {
            unit.shard.leave(key);
        }
        units.settle(unit, cx);
        let open = self.connections.get(c).is_some_and(|one| !one.is_closed());
        if tells && open {
            self.tell_abort(id, cx);
        } else {
            if guard(|| self.proto.abandon(id)).is_err() {
                self.poisoned = true;
            }
            self.forget(id, cx);
        }
        self.release_pins(c, units, cx);
        self.task_gone(id, units, cx);
        // Its place in the command window may be news.
        self.mark_dirty(cx);
        self.look_at_connection(c, units, cx);
        self.look_at_end(units, cx);
    }

    pub(super) fn give_back_emergency(&mut self, id: TaskId, cx: &mut Cx) {
        if self
            .task(id)
            .is_some_and(|task| std::mem::take(&mut task.emergency))
        {
            cx.emergency = false;
        }
    }

    pub(super) fn forget(&mut self, id: TaskId, cx: &mut Cx) {
        self.give_back_emergency(id, cx);
        if let Some(slot) = self.tasks.get_mut(id.index())
            && let Some(task) = slot.take()
        {
            self.held_bytes = self.held_bytes.saturating_sub(task.held_bytes);
            if let Some(connection) = self.connections.get_mut(task.connection) {
                connection.pins.extend(task.pins());
            }
        }
    }

    /// What was sent from stores' own memory has been taken by the socket, or never will be: those reads are over.
    pub(super) fn release_pins(&mut self, c: ConnectionIndex, units: &mut Units, cx: &mut Cx) {
        let Some(connection) = self.connections.get_mut(c) else {
            return;
        };
        if connection.sending.is_some() || connection.pins.is_empty() {
            return;
        }
        let mut pins = std::mem::take(&mut connection.pins);
        for (index, key) in pins.drain(..) {
            if let Some(unit) = units.find(index)
                && !unit.offline
            {
                unit.shard.leave(key);
            }
            units.settle(index, cx);
        }
        if let Some(connection) = self.connections.get_mut(c) {
            connection.pins = pins;
        }
    }

    /// Takes the end of the session one step further, as far as it can go now.
    pub(super) fn look_at_end(&mut self, units: &mut Units, cx: &mut Cx) {
        let over = self.connections.is_empty() && self.tasks.iter().all(Option::is_none);
        if self.ending != Some(Ending::Closing) || !over {
            return;
        }
        let attached = self.units();
        self.ending = Some(Ending::Detaching(attached.len()));
        for index in attached {
            if self.leaving.get(&index.0).is_some_and(|one| one.detaching) {
                // It is letting go already, and says so.
                continue;
            }
            let control = cx.controls.insert(Control::Detach { link: self.key });
            match units.find(index) {
                Some(unit) if !unit.offline => {
                    unit.shard.detach_nexus(self.nexus(), control_key(control));
                    units.settle(index, cx);
                }
                _ => {
                    let key = control_key(control);
                    let result = scsi::lu::ActionResult::Done;
                    cx.news.push_back((key, super::cx::News::Completed(result)));
                }
            }
        }
        if self.attached.is_empty() {
            cx.ended.push(self.key);
        }
    }

    /// One of its logical units has let go.
    pub(super) fn detached(&mut self, cx: &mut Cx) {
        if let Some(Ending::Detaching(left)) = self.ending {
            let left = left.saturating_sub(1);
            self.ending = Some(Ending::Detaching(left));
            if left == 0 {
                cx.ended.push(self.key);
            }
        }
    }

    /// RFC 7143 §11.14: the tasks of what is closed end with it, then the response goes out, then the connections close.
    pub(super) fn logout_asked(
        &mut self,
        handle: LogoutHandle,
        (scope, carrier): (LogoutScope, ConnectionIndex),
        units: &mut Units,
        cx: &mut Cx,
    ) {
        if let LogoutScope::Recovery(c) = scope {
            self.removal_asked(handle, c, carrier, units, cx);
            return self.look_at_logouts(cx);
        }
        self.await_logout(handle, scope, cx);
        self.logging_out |= scope == LogoutScope::Session;
        let tasks = self.tasks_on(scope);
        self.clear_tasks(tasks, units, cx);
        self.look_at_logouts(cx);
    }

    /// A logout is answered when what it covers has ended, or when that takes too long.
    fn await_logout(&mut self, handle: LogoutHandle, scope: LogoutScope, cx: &mut Cx) {
        let patience = cx.shared.config.reinstatement_timeout;
        let deadline = cx.now.saturating_add(patience);
        self.logouts.push((handle, scope, deadline));
        self.want_timer(deadline, cx);
    }

    pub(super) fn look_at_logouts(&mut self, cx: &mut Cx) {
        let mut at = 0;
        while let Some((handle, scope, deadline)) = self.logouts.get(at).copied() {
            let waits = self.logout_waits(scope);
            if waits && cx.now < deadline {
                at += 1;
                continue;
            }
            self.logouts.swap_remove(at);
            let response = if waits {
                // RFC 7143 §11.15.1: its tasks are aborted, and one does not leave its backstore. The initiator may try again.
                self.logging_out &= scope != LogoutScope::Session;
                LogoutResponseCode::CleanupFailed
            } else {
                if let LogoutScope::Recovery(c) = scope {
                    self.end_allegiance(c, cx);
                }
                LogoutResponseCode::Closed
            };
            self.proto.complete_logout(handle, response);
            self.mark_dirty(cx);
        }
    }

    /// Whether something of what a logout covers has to end first.
    fn logout_waits(&self, scope: LogoutScope) -> bool {
        let mut left = self.tasks.iter().flatten();
        let open = |task: &super::task::Task| {
            scope.covers(task.connection) && !matches!(task.state, State::Answered)
        };
        match scope {
            LogoutScope::Recovery(c) if self.proto.recovers_connections() => {
                self.is_leaving_connection(c)
            }
            LogoutScope::Connection(c) if self.is_leaving_connection(c) => true,
            _ => left.any(open),
        }
    }

    /// Asks the initiator to log out within `seconds`, on each connection (RFC 7143 §11.9.1, Async Event 1). A session that
    /// only waits for a connection waits no more.
    pub(super) fn request_logout(&mut self, seconds: u16, units: &mut Units, cx: &mut Cx) {
        if self.ending.is_some() {
            return;
        }
        self.asked_to_log_out = true;
        if self.connections.open().next().is_none() {
            return self.end(EndReason::Drained, false, units, cx);
        }
        for connection in self.connections.open() {
            self.proto.request_logout(connection.c, seconds);
        }
        self.mark_dirty(cx);
    }

    /// Makes sure that a timer entry stands for `at` or earlier.
    pub(super) fn want_timer(&mut self, at: Duration, cx: &mut Cx) {
        if self.timer.is_none_or(|standing| at < standing) {
            self.timer = Some(at);
            cx.timers.insert(at, self.key);
        }
    }

    /// Its timer entry has come up.
    pub(super) fn timer_due(&mut self, units: &mut Units, cx: &mut Cx) {
        self.timer = None;
        let now = cx.now;
        if self.ending == Some(Ending::Closing) {
            return self.look_at_flushes(units, cx);
        }
        if self.ending.is_some() {
            return;
        }
        if self.draining.is_some_and(|at| at <= now) {
            return self.end(EndReason::Drained, false, units, cx);
        }
        self.turn_away(cx);
        self.look_at_logouts(cx);
        let waits = self.waits_until.is_some_and(|at| at > now) || !self.joining.is_empty();
        if self.connections.open().next().is_none() && !waits {
            return self.end(EndReason::NotContinued, false, units, cx);
        }
        self.cut_off_leaving(units, cx);
        self.look_at_depth(cx);
        self.look_at_flushes(units, cx);
        for c in self.connections.places() {
            if self.is_stuck(c, cx) {
                self.end_connection(c, EndReason::Stalled, false, units, cx);
            }
        }
        if self.ending.is_some() {
            return;
        }
        match guard(|| self.proto.handle_timeout(now)) {
            Ok(Some(event)) => {
                self.event(event, (&[], &[]), units, cx);
            }
            Ok(None) => {}
            Err(_) => return self.panicked(units, cx),
        }
        let has_output = |one: &Connection| self.proto.has_output(one.c);
        // Time may have had more to say than one event.
        if self.proto.recovers() || self.connections.open().any(has_output) {
            self.mark_dirty(cx);
        }
        if self.tasks.iter().all(Option::is_none) {
            self.tasks = Vec::new();
            self.proto.release_idle_memory();
        }
        self.arm_timer(cx);
    }

    /// Connections whose last answers have taken too long to be sent close without.
    fn look_at_flushes(&mut self, units: &mut Units, cx: &mut Cx) {
        for c in self.connections.places() {
            let ending = self.connections.get(c).and_then(|one| one.ending);
            match ending {
                Some(ConnectionEnding::Flushing { at }) if at <= cx.now => {
                    self.close_connection(c, units, cx);
                }
                Some(ConnectionEnding::Flushing { at }) => self.want_timer(at, cx),
                _ => {}
            }
        }
    }

    /// Whether the peer neither sends what it was asked for nor reads its answers.
    fn is_stuck(&self, c: ConnectionIndex, cx: &Cx) -> bool {
        let Some(connection) = self.connections.open().find(|one| one.c == c) else {
            return false;
        };
        let (now, stall) = (cx.now, cx.shared.config.transfer_timeout);
        let waits = |task: &super::task::Task| {
            task.connection == c && matches!(task.state, State::DataOut { .. })
        };
        let sending = connection.sending;
        let stuck_sending = sending.is_some_and(|since| now.saturating_sub(since) >= stall);
        let no_progress = now.saturating_sub(connection.progress) >= stall;
        // A discovery session is not pinged: it ends when nothing more is asked.
        let waits = self.discovery || self.tasks.iter().flatten().any(waits);
        stuck_sending || (no_progress && waits)
    }

    /// Sets the timer for whatever comes first.
    pub(super) fn arm_timer(&mut self, cx: &mut Cx) {
        let look_again = cx.now.saturating_add(cx.shared.config.ping_interval);
        let leaving = self.leaving.values().filter(|one| !one.cut_off);
        let joining = self.joining.iter().map(|one| one.deadline);
        let logouts = self.logouts.iter().map(|(.., deadline)| *deadline);
        let others = leaving
            .map(|one| one.deadline)
            .chain(self.draining)
            .chain(self.waits_until)
            .chain(self.depth.deadline())
            .chain(logouts)
            .chain(joining);
        let at = self
            .proto
            .poll_timeout()
            .into_iter()
            .chain(others)
            .fold(look_again, Duration::min);
        // A deadline in the past would come up for ever within one turn.
        let at = at.max(cx.now.saturating_add(Duration::from_millis(1)));
        self.want_timer(at, cx);
    }
}

/// The link that a news' key belongs to.
pub(super) fn link_of(control: Control) -> Option<Key> {
    match control {
        Control::Tmf { link, .. } | Control::Detach { link } | Control::Unmap { link, .. } => {
            Some(link)
        }
    }
}
