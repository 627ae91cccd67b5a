//! A session that recovers (ErrorRecoveryLevel 1 and above): what it has sent stays in memory until the initiator has acknowledged it.
//!
//! Read data is copied from a store's own memory, so that a fence never waits for an initiator. It counts in its session's share until it is
//! let go, so that what is kept has the bound that all memory of a session has. When memory is short the initiator is asked to acknowledge.

use std::time::Duration;

use iscsi_proto::session::{ConnectionIndex, TaskId};

use super::cx::Cx;
use super::session::SessionLink;
use super::task::State;
use super::unit::Units;

impl SessionLink {
    /// The initiator has a task's read data before byte `through`, or will not get it again.
    pub(super) fn acknowledged(&mut self, id: TaskId, through: u32, cx: &mut Cx) {
        let link = self.key;
        let Some(task) = self.task(id) else { return };
        let c = task.connection;
        // What is kept has no pins.
        let freed = task.drop_reads_through(u64::from(through), &mut Vec::new());
        let undrained = matches!(task.state, State::Undrained(_));
        if let Some(freed) = freed {
            self.give_back(c, freed);
        }
        if undrained && freed.is_some() {
            cx.drained.push_back((link, id));
        } else if undrained {
            self.want_room(id, cx);
        }
    }

    /// A task is over: its status has been acknowledged, or its command came damaged and never was.
    pub(super) fn released(&mut self, id: TaskId, units: &mut Units, cx: &mut Cx) {
        if let Some(task) = self.task(id) {
            let (c, held) = (task.connection, std::mem::take(&mut task.held_bytes));
            self.give_back(c, held);
        }
        self.forget(id, cx);
        self.task_gone(id, units, cx);
        // Its place may be what a unit that goes waits for.
        self.mark_dirty(cx);
    }

    /// A task has no place for more read data: what it holds is let go of as soon as that has been sent, and acknowledged where that was asked
    /// for.
    pub(super) fn want_room(&mut self, id: TaskId, cx: &mut Cx) {
        let Some(task) = self.task(id).filter(|task| task.keeps) else {
            return;
        };
        if let Some(through) = task.first_read_end() {
            self.proto.want_room(id, through);
            self.mark_dirty(cx);
        }
    }

    /// There is no memory for a task: what is kept for the initiator may be what is missing.
    pub(super) fn memory_is_short(&mut self, cx: &mut Cx) {
        if self.proto.recovers() {
            self.proto.want_acknowledgements();
            self.mark_dirty(cx);
        }
    }

    /// Makes sure that time is looked at when the protocol wants it to.
    pub(super) fn arm_recovery(&mut self, cx: &mut Cx) {
        if self.proto.recovers()
            && let Some(at) = self.proto.poll_timeout()
        {
            // One in the past would come up for ever within one turn.
            let soon = cx.now.saturating_add(Duration::from_millis(1));
            self.want_timer(at.max(soon), cx);
        }
    }

    /// Memory counts no longer: at once, or with the send that may still read it.
    fn give_back(&mut self, c: ConnectionIndex, bytes: usize) {
        match self.connections.get_mut(c) {
            Some(connection) if connection.sending.is_some() => connection.sending_bytes += bytes,
            _ => self.held_bytes = self.held_bytes.saturating_sub(bytes),
        }
    }
}
