//! How a session ends, and how tasks are aborted: nothing is forgotten until the backstores have let go of it.

use std::time::Duration;

use iscsi_proto::session::{DropReason, LogoutHandle, TaskId};
use iscsi_wire::LogoutResponseCode;

use super::control::Control;
use super::cx::{Cx, control_key};
use super::session::{C0, SessionLink};
use super::task::State;
use super::unit::Units;
use crate::panics::guard;
use crate::slots::Key;

pub(super) use super::session::Ending;

/// How long the last answers of a connection may take to be sent.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

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
    Panicked,
}

impl EndReason {
    /// For people.
    fn text(self) -> &'static str {
        match self {
            Self::Protocol(DropReason::LoggedOut) => "logged out",
            Self::Protocol(_) => "the initiator broke the protocol",
            Self::Closed => "the connection was closed",
            Self::Replaced => "a newer login of the same nexus took its place",
            Self::Stalled => {
                "the initiator neither sent what it was asked for nor read its answers"
            }
            Self::Reset => "a target cold reset",
            Self::Drained => "it did not log out in time",
            Self::Refused => "what it was admitted by changed before it began",
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
            None if flush => {
                self.log_end(reason);
                self.ending = Some(Ending::Flushing {
                    at: cx.now.saturating_add(FLUSH_TIMEOUT),
                });
                self.want_timer(cx.now.saturating_add(FLUSH_TIMEOUT), cx);
                self.mark_dirty(cx);
            }
            None => {
                self.log_end(reason);
                self.close(units, cx);
            }
            Some(Ending::Flushing { .. }) if !flush => self.close(units, cx),
            Some(_) => {}
        }
    }

    fn log_end(&mut self, reason: EndReason) {
        self.end_reason = reason.text();
        let (initiator, peer) = (&self.initiator, self.place.peer);
        match reason {
            EndReason::Protocol(DropReason::LoggedOut) | EndReason::Drained => {
                tracing::debug!(session = self.id.0, %initiator, %peer, ?reason, "session ended");
            }
            _ => {
                let itts = self.proto.outstanding_tasks().count();
                tracing::info!(session = self.id.0, %initiator, %peer, ?reason, tasks = itts, "session ended");
            }
        }
    }

    /// Closes the connection and aborts what is left.
    pub(super) fn close(&mut self, units: &mut Units, cx: &mut Cx) {
        if matches!(self.ending, Some(Ending::Draining | Ending::Detaching(_))) {
            return;
        }
        self.ending = Some(Ending::Draining);
        cx.driver.close_socket(self.socket);
        for index in 0..self.tasks.len() {
            if let Ok(index) = u32::try_from(index) {
                self.abort(TaskId(index), units, cx);
            }
        }
        self.look_at_end(units, cx);
    }

    /// Aborts a task: no status. It is gone when its last I/O has left the backstore.
    pub(super) fn abort(&mut self, id: TaskId, units: &mut Units, cx: &mut Cx) {
        let Some(task) = self.task(id) else { return };
        if task.aborting {
            return;
        }
        task.aborting = true;
        if matches!(task.state, State::Answered) {
            // Its status may be on the way: only the end of the connection takes that back.
            if matches!(self.ending, Some(Ending::Draining)) {
                self.forget(id, cx);
            }
            return;
        }
        cx.counters.aborted.add(1);
        match task.op {
            Some(op) => cx
                .driver
                .cancel(super::cx::token(super::cx::Kind::Store, op)),
            None => self.finish_abort(id, units, cx),
        }
    }

    /// An aborted task has left the backstore.
    pub(super) fn finish_abort(&mut self, id: TaskId, units: &mut Units, cx: &mut Cx) {
        let Some(task) = self.task(id) else { return };
        let (key, unit) = (task.key, task.unit);
        if let Some(unit) = units.find(unit)
            && !unit.offline
        {
            unit.shard.leave(key);
        }
        units.settle(unit, cx);
        if guard(|| self.proto.abandon(id)).is_err() {
            self.poisoned = true;
        }
        self.forget(id, cx);
        self.release_pins(units, cx);
        self.task_gone(id, cx);
        // Its place in the command window may be news.
        self.mark_dirty(cx);
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

    fn forget(&mut self, id: TaskId, cx: &mut Cx) {
        self.give_back_emergency(id, cx);
        if let Some(slot) = self.tasks.get_mut(id.index())
            && let Some(task) = slot.take()
        {
            self.held_bytes = self.held_bytes.saturating_sub(task.held_bytes);
            self.pins.extend(task.pins());
        }
    }

    /// What was sent from stores' own memory has been taken by the socket, or never will be: those reads are over.
    pub(super) fn release_pins(&mut self, units: &mut Units, cx: &mut Cx) {
        if self.sending.is_some() || self.pins.is_empty() {
            return;
        }
        let mut pins = std::mem::take(&mut self.pins);
        for (index, key) in pins.drain(..) {
            if let Some(control) = super::cx::from_control_key(key) {
                cx.controls.remove(control);
            }
            if let Some(unit) = units.find(index)
                && !unit.offline
            {
                unit.shard.leave(key);
            }
            units.settle(index, cx);
        }
        self.pins = pins;
    }

    /// Takes the end of the session one step further, as far as it can go now.
    pub(super) fn look_at_end(&mut self, units: &mut Units, cx: &mut Cx) {
        if self.ending != Some(Ending::Draining) {
            return;
        }
        let busy = self.receiving || self.sending.is_some();
        if busy || self.tasks.iter().any(Option::is_some) {
            return;
        }
        self.release_pins(units, cx);
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

    /// RFC 7143 §11.14: the tasks of the session end with it, then the response goes out, then the connection closes.
    pub(super) fn logout_asked(&mut self, handle: LogoutHandle, units: &mut Units, cx: &mut Cx) {
        self.logout = Some(handle);
        for index in 0..self.tasks.len() {
            if let Ok(index) = u32::try_from(index) {
                self.abort(TaskId(index), units, cx);
            }
        }
        self.look_at_logout(cx);
    }

    pub(super) fn look_at_logout(&mut self, cx: &mut Cx) {
        let gone = |t: &Option<super::task::Task>| {
            t.as_ref()
                .is_none_or(|t| matches!(t.state, State::Answered))
        };
        if self.tasks.iter().all(gone)
            && let Some(handle) = self.logout.take()
        {
            self.proto
                .complete_logout(handle, LogoutResponseCode::Closed);
            self.mark_dirty(cx);
        }
    }

    /// Asks the initiator to log out within `seconds` (RFC 7143 §11.9.1, Async Event 1).
    pub(super) fn request_logout(&mut self, seconds: u16, cx: &mut Cx) {
        if self.ending.is_none() {
            self.proto.request_logout(C0, seconds);
            self.mark_dirty(cx);
        }
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
        let stall = cx.shared.config.transfer_timeout;
        if let Some(Ending::Flushing { at }) = self.ending {
            if at <= now {
                self.close(units, cx);
            } else {
                self.want_timer(at, cx);
            }
            return;
        }
        if self.ending.is_some() {
            return;
        }
        let stuck_sending = self
            .sending
            .is_some_and(|since| now.saturating_sub(since) >= stall);
        let waits = |t: &super::task::Task| matches!(t.state, State::DataOut { .. });
        let stuck_receiving =
            now.saturating_sub(self.progress) >= stall && self.tasks.iter().flatten().any(waits);
        // A discovery session is not pinged: it ends when nothing more is asked.
        let idle = self.discovery && now.saturating_sub(self.progress) >= stall;
        if self.draining.is_some_and(|at| at <= now) {
            return self.end(EndReason::Drained, false, units, cx);
        }
        self.cut_off_leaving(units, cx);
        if stuck_sending || stuck_receiving || idle {
            return self.end(EndReason::Stalled, false, units, cx);
        }
        match guard(|| self.proto.handle_timeout(now)) {
            Ok(Some(event)) => self.event(event, &[], units, cx),
            Ok(None) => {}
            Err(_) => return self.panicked(units, cx),
        }
        if self.proto.has_output(C0) {
            self.mark_dirty(cx);
        }
        if self.tasks.iter().all(Option::is_none) {
            self.tasks = Vec::new();
            self.proto.release_idle_memory();
        }
        self.arm_timer(cx);
    }

    /// Sets the timer for whatever comes first.
    pub(super) fn arm_timer(&mut self, cx: &mut Cx) {
        let look_again = cx.now.saturating_add(cx.shared.config.ping_interval);
        let leaving = self.leaving.values().filter(|one| !one.cut_off);
        let others = leaving.map(|one| one.deadline).chain(self.draining);
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
        Control::Pin => None,
    }
}
