//! Data-Out that the response of a task management function waits for (RFC 7143 §4.2.3.3 a, §11.5.1).
//!
//! A function that ends several tasks waits for what the initiator owes to the R2Ts of those tasks that its own session has: by
//! the F bit of each sequence, the end of its connection, or time. Time, because not every initiator sends it: open-iscsi stops
//! its Data-Out with a LOGICAL UNIT RESET as it is set up (`FastAbort`), whether or not FastAbort was agreed on.
//!
//! The data itself is dropped: its task is over. A session that has nothing of this keeps an empty list.

use core::time::Duration;

use iscsi_wire::{DataOut, Lun64, Ttt};

use super::{ConnectionIndex, Session, TaskId};
use crate::negotiate::TaskReporting;

/// A sequence that was asked for, of a task that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Awaited {
    pub(super) c: ConnectionIndex,
    pub(super) lun: Lun64,
    pub(super) ttt: Ttt,
    /// Bytes that have not come.
    left: u32,
    /// It is not waited for any longer.
    until: Duration,
}

impl Session {
    /// A task is over: what was asked for of its data is waited for, where a function of this session has ended it. Not where
    /// FastAbort was agreed on: there the initiator sends no more of it (RFC 7143 §4.2.3.4 a).
    pub(super) fn await_data(&mut self, id: TaskId) {
        if self.management.is_empty() || self.params.task_reporting == TaskReporting::FastAbort {
            return;
        }
        let Some(task) = self.tasks.get(id) else {
            return;
        };
        let (c, lun) = (task.connection, task.lun);
        let concerned = |pending: &super::management::Pending| pending.awaits_data_of(lun);
        if !self.management.iter().any(concerned) {
            return;
        }
        let Some(connection) = self.connections.get(c) else {
            return;
        };
        let until = (connection.last_heard).saturating_add(self.limits.late_data_timeout);
        for r2t in task.r2ts.as_slice() {
            self.awaited.push(Awaited {
                c,
                lun,
                ttt: r2t.ttt,
                left: r2t.bytes.saturating_sub(r2t.got),
                until,
            });
        }
    }

    /// Data-Out of a task that is over has come.
    pub(super) fn late_data(&mut self, c: ConnectionIndex, data: &DataOut) {
        let Some(at) = (self.awaited.iter()).position(|one| one.c == c && one.ttt == data.ttt)
        else {
            return;
        };
        let heard = self.connections.get(c).map(|one| one.last_heard);
        let patience = self.limits.late_data_timeout;
        let one = &mut self.awaited[at];
        if let (Some(heard), 1..) = (heard, data.data_segment_length.min(one.left)) {
            // As long as there is progress; there is an end to what may come.
            one.until = heard.saturating_add(patience);
        }
        one.left = one.left.saturating_sub(data.data_segment_length);
        if data.r#final {
            self.awaited.swap_remove(at);
            self.look_at_fences();
        }
    }

    /// When the first of it is not waited for any longer.
    pub(super) fn awaited_due(&self) -> Option<Duration> {
        self.awaited.iter().map(|one| one.until).min()
    }

    /// Waits no longer for what has not come in time.
    pub(super) fn expire_awaited(&mut self, now: Duration) {
        if self.awaited.is_empty() {
            return;
        }
        let before = self.awaited.len();
        self.awaited.retain(|one| one.until > now);
        if self.awaited.len() < before {
            self.look_at_fences();
        }
    }

    /// A connection is closed: nothing comes over it any more.
    pub(super) fn await_nothing_on(&mut self, c: ConnectionIndex) {
        self.awaited.retain(|one| one.c != c);
    }

    /// Whether data of this tag is waited for.
    pub(super) fn awaits(&self, ttt: Ttt) -> bool {
        self.awaited.iter().any(|one| one.ttt == ttt)
    }
}
