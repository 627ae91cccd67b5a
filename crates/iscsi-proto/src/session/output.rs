//! Output: who sends next.
//!
//! Answers that are no task's go first, in order; tasks take turns, each with a bounded amount of Data-In, so that a
//! long read delays a short one by one turn at most.

use core::time::Duration;

use iscsi_wire::{Itt, NopIn, Ttt};

use crate::login::SessionType;

use super::recovery::Sent;
use super::{ConnectionIndex, Session, Transmit};
use crate::connection::{Connection, Reply, StatSnUse};

impl Session {
    /// Appends ready PDUs to `out`, until they are `budget_bytes` long on the wire or nothing is left; the last PDU may
    /// pass the budget by its own length, which is at most 256 KiB and a header. Whether more is ready.
    pub fn poll_transmit(
        &mut self,
        c: ConnectionIndex,
        now: Duration,
        out: &mut Transmit,
        budget_bytes: usize,
    ) -> bool {
        self.note_time(now);
        let start = out.wire_bytes();
        let end = start.saturating_add(budget_bytes);
        if self.wants_acknowledgement(c) || self.wants_statuses(c) {
            // RFC 7143 §4.2.3.2: a NOP-In asks for it.
            self.ping(c, now);
            if let Some(connection) = self.connection_mut(c) {
                // What stands before it may wait for the answer.
                connection.replies.rotate_right(1);
            }
            self.asked_for_statuses(c);
        }
        while out.wire_bytes() < end {
            let sent = self.send_kept(c, out)
                || self.send_reply(c, now, out)
                || self.send_task(c, out, end);
            if !sent && !self.tell_window(c, out, start) {
                break;
            }
        }
        let max_cmd_sn = self.window.max_cmd_sn();
        if out.wire_bytes() > start
            && let Some(connection) = self.connection_mut(c)
        {
            connection.told_max_cmd_sn = max_cmd_sn;
            connection.spoke = true;
        }
        if !self.fenced.is_empty() {
            self.look_at_fences();
        }
        self.has_output(c)
    }

    /// Whether `poll_transmit` has something to give.
    #[must_use]
    pub fn has_output(&self, c: ConnectionIndex) -> bool {
        let connection = self.connection(c);
        connection.is_some_and(|one| self.is_ready(c, one) || self.has_window_news(one))
            || self.wants_acknowledgement(c)
            || self.wants_statuses(c)
    }

    /// The answer that is no task's and comes next: the first, but where no numbered one may be sent.
    fn next_reply(&self, c: ConnectionIndex, connection: &Connection) -> Option<usize> {
        let numbered = |reply: &Reply| reply.stat_sn == StatSnUse::Advance;
        if self.recovery.is_some() && self.is_overfull(c) {
            return connection.replies.iter().position(|reply| !numbered(reply));
        }
        (!connection.replies.is_empty()).then_some(0)
    }

    /// Whether a task or an answer may be sent. An answer that waits for the status of a command behind a gap may not.
    fn is_ready(&self, c: ConnectionIndex, connection: &Connection) -> bool {
        let sent = self.recovery.as_ref().and_then(|one| one.sent_on(c));
        let next = self.next_reply(c, connection);
        let first = next.and_then(|at| connection.replies.get(at));
        !connection.ready.is_empty()
            || sent.is_some_and(Sent::is_asked_again)
            || first.is_some_and(|first| !self.waits(c, connection, first))
    }

    // RFC 7143 §11.6.1 and §11.15: a status that was decided before a task management or logout response leaves before it.
    fn waits(&self, c: ConnectionIndex, connection: &Connection, reply: &Reply) -> bool {
        reply.after_completion > 0 && self.has_unsent(c, connection, reply.after_completion)
    }

    /// RFC 7143 §11.4.11: a MaxCmdSN that has grown, as by an abort, and that no PDU under way tells, is told by a
    /// NOP-In. One that the login told too low is told once it keeps the initiator waiting. Not in a discovery session:
    /// open-iscsi gives a discovery up when a NOP-In comes that it did not ask for.
    pub(super) fn has_window_news(&self, connection: &Connection) -> bool {
        let told = connection.told_max_cmd_sn;
        let max_cmd_sn = self.window.max_cmd_sn();
        let matters = connection.spoke || told.lt(self.window.exp_cmd_sn());
        let normal = self.kind == SessionType::Normal;
        // The window is the session's: it is enough that one connection tells.
        let mut others = self.connections.iter();
        normal
            && told != max_cmd_sn
            && matters
            && connection.ending.is_none()
            && !others.any(|(_, one)| one.told_max_cmd_sn == max_cmd_sn && !one.is_deaf())
    }

    /// Sends news of the window, where nothing else was sent.
    fn tell_window(&mut self, c: ConnectionIndex, out: &mut Transmit, start: usize) -> bool {
        let (exp_cmd_sn, max_cmd_sn) = (self.window.exp_cmd_sn(), self.window.max_cmd_sn());
        let Some(connection) = self.connection(c) else {
            return false;
        };
        if out.wire_bytes() > start || !self.has_window_news(connection) {
            return false;
        }
        let nop = NopIn {
            itt: Itt::RESERVED,
            ttt: Ttt::RESERVED,
            stat_sn: connection.stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            ..NopIn::default()
        };
        out.push_header(&nop.emit(), connection.header_digest);
        true
    }

    /// Sends the first answer that is no task's, unless it has to wait for tasks.
    fn send_reply(&mut self, c: ConnectionIndex, now: Duration, out: &mut Transmit) -> bool {
        let Some(connection) = self.connections.get(c) else {
            return false;
        };
        let Some(at) = self.next_reply(c, connection) else {
            return false;
        };
        let Some(first) = connection.replies.get(at) else {
            return false;
        };
        if self.waits(c, connection, first) {
            return false;
        }
        let Some(connection) = self.connections.get_mut(c) else {
            return false;
        };
        let Some(mut reply) = connection.replies.remove(at) else {
            return false;
        };
        let stat_sn = connection.stat_sn;
        match reply.stat_sn {
            StatSnUse::Advance => connection.stat_sn = stat_sn.next(),
            StatSnUse::Tell => {
                if let Some(ping) = connection.ping.as_mut().filter(|ping| ping.again == 0) {
                    ping.sent = now;
                }
            }
        }
        let (header_digest, data_digest) = (connection.header_digest, connection.data_digest);
        let reassigns = reply.reassigns.take();
        if reply.fenced {
            self.sent_fenced(c, None);
        }
        self.free_slot(c, reply.slot);
        reply.number(stat_sn, self.window.exp_cmd_sn(), self.window.max_cmd_sn());
        out.push_header(&reply.bhs, header_digest);
        out.push_data(&reply.data, data_digest);
        if self.recovery.is_some() {
            self.keep_reply(c, stat_sn, reply);
        }
        if let Some(reassignment) = reassigns {
            // RFC 7143 §11.6: it becomes effective only after the response.
            self.reassign(c, reassignment);
        }
        true
    }

    /// Gives the next task its turn.
    fn send_task(&mut self, c: ConnectionIndex, out: &mut Transmit, end: usize) -> bool {
        let Some(connection) = self.connection_mut(c) else {
            return false;
        };
        let Some(id) = connection.ready.pop_front() else {
            return false;
        };
        if let Some(task) = self.tasks.get_mut(id) {
            task.queued = false;
        }
        self.send_r2ts(id, out);
        if self.send_answer(id, out, end) {
            self.queue(id);
        }
        true
    }
}
