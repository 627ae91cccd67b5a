//! What time does in a session that recovers: Data-Out that does not come is asked for again, an initiator that does not acknowledge, or that may
//! not know that a command is missing, is pinged (RFC 7143 §7.1.4.1, §7.1.4.2, §7.9), and what nobody asks for is not kept for ever.

use core::time::Duration;

use super::{LOOK_INTERVAL, Recovery};
use crate::connection::Connection;
use crate::session::task::Task;
use crate::session::{ConnectionIndex, DropReason, Session, TaskId};

/// After how many times the patience with a status a ping counts as lost.
const PING_PATIENCES: u32 = 3;

/// What is to be done about a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overdue {
    DataOut,
    DataIn,
}

impl Session {
    /// When time is to be looked at.
    pub(in crate::session) fn recovery_due(&self) -> Option<Duration> {
        self.recovery.as_ref()?.look_at
    }

    /// Looks at what has waited too long, if it is time to.
    pub(in crate::session) fn look_at_recovery(&mut self, now: Duration) {
        self.note_time(now);
        let due = |one: &Recovery| one.look_at.is_some_and(|at| at <= now);
        if !self.recovery.as_deref().is_some_and(due) {
            return;
        }
        self.look_at_pings(now);
        self.look_at_acknowledgements(now);
        self.look_at_gap(now);
        let limits = self.limits.recovery;
        let overdue: Vec<(TaskId, Overdue)> = self
            .tasks
            .iter()
            .filter(|(_, task)| self.is_reachable(task))
            .filter_map(|(id, task)| {
                let waits = now.saturating_sub(task.recovery.as_ref()?.progress);
                let what = task.waits_for()?;
                let patience = match what {
                    Overdue::DataOut => limits.data_out_timeout,
                    Overdue::DataIn => limits.data_in_timeout,
                };
                (waits >= patience).then_some((id, what))
            })
            .collect();
        for (id, what) in overdue {
            match what {
                Overdue::DataOut => self.give_up_sequences(id),
                Overdue::DataIn => self.stop_keeping(id),
            }
        }
        let busy = !self.tasks.is_empty() || !self.window.held().is_empty();
        if let Some(recovery) = &mut self.recovery {
            let pinged = self.connections.iter().any(|(_, one)| one.ping.is_some());
            let waits = busy || pinged || !recovery.sent.iter().all(super::Sent::is_empty);
            recovery.look_at = waits.then(|| now.saturating_add(LOOK_INTERVAL));
        }
    }

    /// A ping may be lost as anything else may: it is sent again, under another tag. How long it may be without an answer is counted from the first.
    fn look_at_pings(&mut self, now: Duration) {
        let patience = self.limits.recovery.status_timeout * PING_PATIENCES;
        let places: Vec<ConnectionIndex> = self.connections.iter().map(|(c, _)| c).collect();
        for c in places {
            let Some(connection) = self.connection(c).filter(|one| !one.is_deaf()) else {
                continue;
            };
            let Some(ping) = connection.ping else {
                continue;
            };
            let again = ping.again.saturating_add(1);
            if now.saturating_sub(ping.sent) < patience * u32::from(again) {
                continue;
            }
            self.ping(c, now);
            if let Some(new) = self.connection_mut(c).and_then(|one| one.ping.as_mut()) {
                (new.sent, new.again) = (ping.sent, again);
            }
        }
    }

    /// RFC 7143 §7.1.4.2: a ping tells the initiator which StatSN is next, and its answer which it has.
    fn look_at_acknowledgements(&mut self, now: Duration) {
        let places: Vec<ConnectionIndex> = self.connections.iter().map(|(c, _)| c).collect();
        for c in places {
            let Some(sent) = self.recovery.as_ref().and_then(|one| one.sent_on(c)) else {
                continue;
            };
            let waits = now.saturating_sub(sent.progress);
            if sent.is_empty() || waits < self.limits.recovery.status_timeout {
                continue;
            }
            if waits >= self.limits.nop_timeout && self.is_overfull(c) {
                // RFC 7143 §4.2.2.2: so large a difference between StatSN and ExpStatSN is a failed connection.
                self.end_connection_later(c, DropReason::StatusNotAcknowledged);
            } else {
                self.ping_unless_pinged(c, now);
            }
        }
    }

    /// A command is missing before others: a ping tells the initiator ExpCmdSN, so that it sends that one again (RFC 7143 §7.2.1).
    fn look_at_gap(&mut self, now: Duration) {
        let gap = !self.window.held().is_empty();
        let Some(recovery) = &mut self.recovery else {
            return;
        };
        recovery.gap_since = gap.then(|| recovery.gap_since.unwrap_or(now));
        let waits = recovery.gap_since.map(|since| now.saturating_sub(since));
        if waits.is_none_or(|waits| waits < self.limits.recovery.status_timeout) {
            return;
        }
        let places: Vec<ConnectionIndex> = self.connections.iter().map(|(c, _)| c).collect();
        for c in places {
            self.ping_unless_pinged(c, now);
        }
    }

    fn ping_unless_pinged(&mut self, c: ConnectionIndex, now: Duration) {
        let quiet = |one: &Connection| one.ping.is_none() && !one.is_deaf();
        if self.connection(c).is_some_and(quiet) {
            self.ping(c, now);
        }
    }

    /// Data-In that is not acknowledged is kept no longer: its memory is the engine's.
    fn stop_keeping(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(id) else {
            return;
        };
        let (sent, answered) = (task.sent, task.sent_status().is_some());
        if let Some(recovery) = &mut self.recovery {
            recovery.unheard |= !answered;
        }
        self.give_up_data(id, sent);
        self.make_room(id);
    }
}

impl Task {
    /// What of its data is waited for.
    fn waits_for(&self) -> Option<Overdue> {
        let recovery = self.recovery.as_ref()?;
        if recovery.over {
            return None;
        }
        if !self.sequences_closed() {
            return Some(Overdue::DataOut);
        }
        let asked = recovery.data_in.is_asked() || self.sent_status().is_some();
        (asked && !recovery.data_in.is_empty()).then_some(Overdue::DataIn)
    }
}
