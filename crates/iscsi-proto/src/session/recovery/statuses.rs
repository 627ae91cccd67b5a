//! Numbered answers that the initiator has not acknowledged (RFC 7143 §4.2.2.2, §11.16).
//!
//! Each PDU that uses up a StatSN is kept until an ExpStatSN beyond it has come: the status of a task by the task's record,
//! from which its SCSI Response is made again; what is no task's as it was sent.

use core::time::Duration;
use std::collections::VecDeque;

use iscsi_wire::SerialNumber;

use crate::connection::{Connection, Reply, StatSnUse};
use crate::session::{ConnectionIndex, Event, Session, TaskId, Transmit};

/// What was sent on one connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    /// In StatSN order, without gaps.
    kept: VecDeque<Kept>,
    /// Bytes of data in these.
    bytes: usize,
    /// How many of them are to be sent again.
    again: usize,
    /// When the first was sent, or one was acknowledged.
    pub(super) progress: Duration,
    /// Tasks whose status waits for there to be fewer.
    pub(crate) blocked: VecDeque<TaskId>,
    /// The engine has asked for an acknowledgement.
    pub(super) wanted: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    stat_sn: SerialNumber,
    what: What,
    again: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// The status of a task, which is in the slab.
    Status(TaskId),
    /// An answer that is no task's.
    Reply(Box<Reply>),
    /// What the initiator has shown to have had, as by giving its tag to another task.
    Nothing,
}

/// Why PDUs are not sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsendable {
    /// They were acknowledged, or never sent.
    OutOfRange,
    /// They are not kept any more.
    Gone,
}

impl Sent {
    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.blocked.is_empty()
    }

    pub(super) fn quiet_since(progress: Duration) -> Self {
        Self {
            progress,
            ..Self::default()
        }
    }

    /// Nothing is sent any more: what is kept can still be acknowledged.
    pub(super) fn stop(&mut self) {
        self.kept.iter_mut().for_each(|kept| kept.again = false);
        self.again = 0;
        self.blocked.clear();
        self.wanted = false;
    }

    pub(crate) fn is_asked_again(&self) -> bool {
        self.again > 0
    }

    fn place(&self, stat_sn: SerialNumber) -> Option<usize> {
        let first = self.kept.front()?.stat_sn;
        let at = stat_sn.distance_from(first) as usize;
        (at < self.kept.len()).then_some(at)
    }

    fn keep(&mut self, stat_sn: SerialNumber, what: What, now: Duration) {
        if self.kept.is_empty() {
            self.progress = now;
        }
        if let What::Reply(reply) = &what {
            self.bytes += reply.data.len();
        }
        self.kept.push_back(Kept {
            stat_sn,
            what,
            again: false,
        });
    }

    /// A task's status needs not be sent again.
    pub(super) fn forget(&mut self, stat_sn: SerialNumber, id: TaskId) {
        if let Some(at) = self.place(stat_sn)
            && self.kept[at].what == What::Status(id)
        {
            self.kept[at].what = What::Nothing;
            self.again -= usize::from(core::mem::take(&mut self.kept[at].again));
        }
    }

    /// Takes off the first, if it is before this StatSN.
    fn take_acknowledged(&mut self, before: SerialNumber) -> Option<What> {
        self.kept.front().filter(|kept| kept.stat_sn.lt(before))?;
        let Kept { what, again, .. } = self.kept.pop_front()?;
        self.again -= usize::from(again);
        if let What::Reply(reply) = &what {
            self.bytes -= reply.data.len();
        }
        Some(what)
    }

    /// Takes the next that is to be sent again.
    fn next_again(&mut self) -> Option<&Kept> {
        if self.again == 0 {
            return None;
        }
        let kept = self.kept.iter_mut().find(|kept| kept.again)?;
        kept.again = false;
        self.again -= 1;
        Some(kept)
    }

    pub(super) fn release_idle_memory(&mut self) {
        self.kept.shrink_to_fit();
        self.blocked.shrink_to_fit();
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }
}

/// Bytes of data in kept answers, in units of `max_text_bytes`.
const MAX_KEPT_TEXTS: usize = 16;

impl Session {
    /// How many numbered answers of a connection may be unacknowledged.
    fn most_kept(&self) -> usize {
        self.window.width() as usize * 4 + 64
    }

    /// Whether so much is unacknowledged that no new numbered answer may be sent.
    pub(crate) fn is_overfull(&self, c: ConnectionIndex) -> bool {
        let sent = self.recovery.as_ref().and_then(|one| one.sent_on(c));
        sent.is_some_and(|sent| {
            sent.kept.len() >= self.most_kept()
                || sent.bytes > MAX_KEPT_TEXTS * self.limits.max_text_bytes as usize
        })
    }

    /// A task's status has been sent with this StatSN.
    pub(super) fn keep_status(&mut self, c: ConnectionIndex, stat_sn: SerialNumber, id: TaskId) {
        self.keep(c, stat_sn, What::Status(id));
    }

    /// An answer that is no task's has been sent.
    pub(in crate::session) fn keep_reply(
        &mut self,
        c: ConnectionIndex,
        stat_sn: SerialNumber,
        reply: Reply,
    ) {
        if self.recovers() && reply.stat_sn == StatSnUse::Advance {
            self.keep(c, stat_sn, What::Reply(Box::new(reply)));
        }
    }

    fn keep(&mut self, c: ConnectionIndex, stat_sn: SerialNumber, what: What) {
        if let Some(recovery) = &mut self.recovery {
            let now = recovery.now;
            recovery.sent_on_mut(c).keep(stat_sn, what, now);
            recovery.watch();
        }
    }

    /// An ExpStatSN has come: what it acknowledges is over.
    pub(in crate::session) fn settle_acknowledged(&mut self, c: ConnectionIndex) {
        let (Some(connection), Some(recovery)) = (self.connections.get(c), &mut self.recovery)
        else {
            return;
        };
        let (before, now) = (connection.acknowledged, recovery.now);
        let sent = recovery.sent_on_mut(c);
        sent.progress = now;
        sent.wanted = false;
        let mut over = Vec::new();
        while let Some(what) = sent.take_acknowledged(before) {
            if let What::Status(id) = what {
                over.push(id);
            }
        }
        for id in over {
            self.let_go(id);
        }
        if !self.is_overfull(c)
            && let (Some(recovery), Some(connection)) =
                (&mut self.recovery, self.connections.get_mut(c))
        {
            let blocked = &mut recovery.sent_on_mut(c).blocked;
            connection.ready.extend(blocked.drain(..));
        }
    }

    /// Has the numbered answers from `begin` on sent again, `count` of them or all (RFC 7143 §11.16).
    pub(super) fn resend_statuses(
        &mut self,
        c: ConnectionIndex,
        begin: SerialNumber,
        count: Option<u32>,
    ) -> Result<(), Unsendable> {
        let next = self.connection(c).map(|one| one.stat_sn);
        let (Some(next), Some(recovery)) = (next, &mut self.recovery) else {
            return Err(Unsendable::OutOfRange);
        };
        let end = count.map_or(next, |count| begin.add(count));
        // RFC 7143 §11.16: what was not sent, or has been acknowledged, is not sent again.
        if !(begin.lt(end) && end.le(next)) {
            return Err(Unsendable::OutOfRange);
        }
        let sent = recovery.sent_on_mut(c);
        let (Some(from), Some(to)) = (
            sent.place(begin),
            sent.place(SerialNumber(end.0.wrapping_sub(1))),
        ) else {
            return Err(Unsendable::OutOfRange);
        };
        let mut found = false;
        for kept in sent.kept.range_mut(from..=to) {
            if kept.what != What::Nothing {
                found = true;
                sent.again += usize::from(!core::mem::replace(&mut kept.again, true));
            }
        }
        if found { Ok(()) } else { Err(Unsendable::Gone) }
    }

    /// Has all sent again that is unacknowledged.
    pub(super) fn resend_all_statuses(&mut self, c: ConnectionIndex) {
        if let Some(connection) = self.connection(c)
            && connection.acknowledged.lt(connection.stat_sn)
        {
            let begin = connection.acknowledged;
            let _ = self.resend_statuses(c, begin, None);
        }
    }

    /// Sends the next answer that was asked for again.
    pub(in crate::session) fn send_kept(&mut self, c: ConnectionIndex, out: &mut Transmit) -> bool {
        let Some(recovery) = &mut self.recovery else {
            return false;
        };
        let Some(kept) = recovery.sent_on_mut(c).next_again() else {
            return false;
        };
        let (stat_sn, what) = (kept.stat_sn, kept.what.clone());
        match what {
            What::Nothing => {}
            What::Status(id) => self.push_response(id, stat_sn, out),
            What::Reply(mut reply) => {
                let Some(connection) = self.connections.get(c) else {
                    return false;
                };
                // RFC 7143 §11.16: an exact replica but for ExpCmdSN and MaxCmdSN.
                reply.number(stat_sn, self.window.exp_cmd_sn(), self.window.max_cmd_sn());
                out.push_header(&reply.bhs, connection.header_digest);
                out.push_data(&reply.data, connection.data_digest);
            }
        }
        true
    }

    /// A task's status waits for there to be room for it among what is kept.
    pub(super) fn block(&mut self, c: ConnectionIndex, id: TaskId) {
        if let (Some(task), Some(recovery)) = (self.tasks.get_mut(id), &mut self.recovery) {
            task.queued = true;
            recovery.sent_on_mut(c).blocked.push_back(id);
        }
    }

    /// Asks the initiator to acknowledge what it has: memory is short that is kept for it. Nothing in a session that does not recover.
    pub fn want_acknowledgements(&mut self) {
        if let Some(recovery) = &mut self.recovery {
            for sent in &mut recovery.sent {
                sent.wanted = !sent.kept.is_empty();
            }
        }
    }

    /// A ping is on its way to a connection: its answer acknowledges what there is.
    pub(in crate::session) fn asked_for_statuses(&mut self, c: ConnectionIndex) {
        if let Some(recovery) = &mut self.recovery {
            recovery.sent_on_mut(c).wanted = false;
        }
    }

    /// Whether a ping has to ask a connection for acknowledgements.
    pub(in crate::session) fn wants_statuses(&self, c: ConnectionIndex) -> bool {
        let sent = self.recovery.as_ref().and_then(|one| one.sent_on(c));
        let quiet = |one: &Connection| one.ping.is_none() && !one.is_deaf();
        sent.is_some_and(|sent| sent.wanted) && self.connection(c).is_some_and(quiet)
    }

    /// A task's tag has come with a command that is not the task's: its initiator has had the status, or it would not use the tag (RFC 7143
    /// §11.2.1.8).
    pub(in crate::session) fn acknowledge_by_tag(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(id) else {
            return;
        };
        let c = task.connection;
        if let (Some(stat_sn), Some(recovery)) = (task.sent_status(), &mut self.recovery)
            && c != ConnectionIndex::NONE
        {
            recovery.sent_on_mut(c).forget(stat_sn, id);
        }
        self.let_go(id);
    }

    /// Of what was kept of a task's Data-In, nothing before `through` is needed.
    pub(super) fn tell_acknowledged(&mut self, task: TaskId, through: u32) {
        if through > 0 {
            self.tell_engine(Event::Acknowledged { task, through });
        }
    }
}
