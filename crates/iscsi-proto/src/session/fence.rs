//! Responses that overtake nothing on other connections (RFC 7143 §4.2.3.3), and the response fence (§4.2.2.3.3).
//!
//! On one connection a response that is sent later comes later. Over several there is no such order: a task management
//! response could reach the initiator before the status of a task that was decided before it. So the response of a
//! function that may end several tasks waits until every other connection has sent what it had, and the initiator has
//! acknowledged that. A connection that has something unacknowledged is pinged, since the answer tells ExpStatSN. One that
//! ends is not waited for.
//!
//! More answers are fenced so: those that the owner names, such as the first on another session that tells of the function. The
//! fence stands until the answer itself is acknowledged: statuses of its logical unit that are decided meanwhile are held, in
//! the session's `held_back`. Data goes on. RFC 7143 §4.2.2.3.4 asks for all of it where TaskReporting is ResponseFence or
//! FastAbort, §4.2.3.3 for the responses around a function always; here every session of several connections has it.
//!
//! The response of ABORT TASK SET and CLEAR TASK SET waits for acknowledgement on its own connection too (§11.6.1), but where that is
//! the only one.

use iscsi_wire::{Lun64, SerialNumber, Ttt};

use super::awaited::Awaited;
use super::task::RequestSlot;
use super::window::HeldRequest;
use super::{ConnectionIndex, Session, TaskId};
use crate::connection::{Connection, Reply};
use crate::negotiate::TaskReporting;

/// An answer that waits, or is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fenced {
    /// Grows from one fence to the next, as long as any stands.
    number: u64,
    /// The connection that it goes over.
    pub(super) carrier: ConnectionIndex,
    what: What,
    /// The logical unit; `None`: all of them.
    lun: Option<Lun64>,
    /// It stands until its answer is acknowledged.
    strict: bool,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// The response of a task management function, until it is let go.
    Reply(Option<Reply>),
    /// A command's status.
    Status(TaskId),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// For what was decided before.
    Waits(Vec<Wait>),
    /// It may be sent.
    Released,
    /// It was; all before this StatSN is to be acknowledged.
    Sent(SerialNumber),
}

/// For what it waits on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wait {
    c: ConnectionIndex,
    until: Until,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    /// The statuses up to this completion are sent.
    Sent(u64),
    /// All before this StatSN is acknowledged.
    Acknowledged(SerialNumber),
    /// The sequence of this tag has come to its end.
    Data(Ttt),
}

/// A status that a fence holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeldBack {
    task: TaskId,
    /// The number of the fence.
    behind: u64,
}

/// How the response of a function is fenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fencing {
    /// The logical unit; `None`: all of them.
    pub(super) lun: Option<Lun64>,
    /// Statuses that went over its own connection are to be acknowledged too.
    pub(super) own: bool,
}

impl Fenced {
    /// What its response keeps in use.
    fn slot(&self) -> Option<RequestSlot> {
        match &self.what {
            What::Reply(Some(reply)) => Some(reply.slot),
            What::Reply(None) | What::Status(_) => None,
        }
    }

    /// The task whose status it keeps back.
    fn held_status(&self) -> Option<TaskId> {
        match (&self.what, &self.state) {
            (What::Status(id), State::Waits(_)) => Some(*id),
            _ => None,
        }
    }

    fn concerns(&self, lun: Option<Lun64>) -> bool {
        self.lun.is_none() || lun.is_none() || self.lun == lun
    }
}

impl Session {
    /// Keeps a response back behind what connections have to send or have sent, and the data that is owed to the tasks that its
    /// function has ended; it leaves at once where that is nothing.
    pub(super) fn fence(&mut self, carrier: ConnectionIndex, reply: Reply, how: Fencing) {
        self.raise_fence(carrier, What::Reply(Some(reply)), how);
    }

    fn raise_fence(&mut self, carrier: ConnectionIndex, what: What, Fencing { lun, own }: Fencing) {
        // RFC 7143 §4.2.2.3.3 a: nothing special with one connection.
        let strict = self.connections.len() > 1;
        // On its own connection order is enough where nothing else was agreed on (RFC 7143 §4.2.2.3.2).
        let agreed = self.params.task_reporting != TaskReporting::Rfc3720;
        let own = own || (strict && agreed);
        // RFC 7143 §4.2.3.3 a: the response of a function waits for data, no status does.
        let awaits =
            |one: &&Awaited| matches!(what, What::Reply(_)) && lun.is_none_or(|lun| lun == one.lun);
        let data = self.awaited.iter().filter(awaits).map(|one| Wait {
            c: one.c,
            until: Until::Data(one.ttt),
        });
        let waits = (self.connections.iter())
            .filter(|(c, _)| own || *c != carrier)
            .map(|(c, one)| Wait {
                c,
                // The status itself is the last that was completed on its own connection.
                until: Until::Sent(match what {
                    What::Status(_) if c == carrier => one.completions.saturating_sub(1),
                    _ => one.completions,
                }),
            })
            .chain(data)
            .collect();
        let number = self.fenced.last().map_or(1, |last| last.number + 1);
        self.fenced.push(Fenced {
            number,
            carrier,
            what,
            lun,
            strict,
            state: State::Waits(waits),
        });
        self.look_at_fences();
    }

    /// Whether a status that was just decided has to wait: it is fenced, or another fence stands. It is marked as held then,
    /// and may go when that is over.
    pub(super) fn hold_status(&mut self, id: TaskId, fence: bool) {
        let Some(task) = self.tasks.get_mut(id) else {
            return;
        };
        let (carrier, lun) = (task.connection, Some(task.lun));
        let mut standing = self.fenced.iter().filter(|one| one.strict);
        let behind = standing
            .rfind(|one| one.concerns(lun))
            .map(|one| one.number);
        let fenced = fence && self.connections.len() > 1;
        if behind.is_none() && !fenced {
            return;
        }
        if let Some(done) = &mut task.completion {
            done.held = true;
        }
        match behind {
            Some(behind) if !fenced => self.held_back.push(HeldBack { task: id, behind }),
            _ => self.raise_fence(carrier, What::Status(id), Fencing { lun, own: false }),
        }
    }

    /// A connection is closed: what was to go over it is fenced no more. Which places that sets free.
    pub(super) fn drop_fences_of(&mut self, c: ConnectionIndex) -> Vec<RequestSlot> {
        let mut slots = Vec::new();
        let mut statuses = Vec::new();
        self.fenced.retain(|one| {
            let stays = one.carrier != c;
            if !stays {
                slots.extend(one.slot());
                statuses.extend(one.held_status());
            }
            stays
        });
        // A task that outlives its connection has its status to tell over another.
        statuses.into_iter().for_each(|id| self.unhold(id));
        slots
    }

    /// Lets go of what has nothing to wait for any more.
    pub(super) fn look_at_fences(&mut self) {
        let mut at = 0;
        while at < self.fenced.len() {
            if self.goes_on(at) {
                at += 1;
            } else {
                let gone = self.fenced.remove(at);
                if let Some(id) = gone.held_status() {
                    self.unhold(id);
                }
                // Those behind it may go now.
                self.release_held();
                at = 0;
            }
        }
        self.release_held();
    }

    /// Takes a fence as far as it goes. Whether it still stands.
    fn goes_on(&mut self, at: usize) -> bool {
        let one = &self.fenced[at];
        let (carrier, strict, lun) = (one.carrier, one.strict, one.lun);
        let Some(connection) = self.connections.get(carrier) else {
            return false;
        };
        match &one.state {
            State::Sent(stat_sn) => {
                return connection.ending.is_none() && !stat_sn.le(connection.acknowledged);
            }
            State::Released => return true,
            State::Waits(waits) => {
                let waits = waits.iter().filter_map(|wait| self.still(*wait));
                let waits: Vec<Wait> = waits.collect();
                let behind = |other: &Fenced| other.strict && other.concerns(lun);
                let stands = !waits.is_empty() || self.fenced[..at].iter().any(behind);
                self.fenced[at].state = State::Waits(waits);
                if stands {
                    return true;
                }
            }
        }
        let one = &mut self.fenced[at];
        one.state = State::Released;
        match &mut one.what {
            What::Reply(reply) => {
                if let (Some(reply), Some(connection)) =
                    (reply.take(), self.connections.get_mut(carrier))
                {
                    connection.replies.push_back(Reply {
                        fenced: strict,
                        ..reply
                    });
                }
            }
            What::Status(id) => {
                let id = *id;
                self.unhold(id);
            }
        }
        strict
    }

    /// A fenced answer has left on this connection: from now on its acknowledgement is waited for.
    pub(super) fn sent_fenced(&mut self, c: ConnectionIndex, task: Option<TaskId>) {
        let Some(stat_sn) = self.connection(c).map(|one| one.stat_sn) else {
            return;
        };
        let is_it = |one: &&mut Fenced| match (&one.what, task) {
            (What::Status(of), Some(task)) => *of == task,
            (What::Reply(_), None) => true,
            _ => false,
        };
        let mut released =
            (self.fenced.iter_mut()).filter(|one| one.carrier == c && one.state == State::Released);
        if let Some(one) = released.find(is_it) {
            one.state = State::Sent(stat_sn);
        }
    }

    /// A task is over: its status has left, or never will.
    pub(super) fn forget_fenced(&mut self, c: ConnectionIndex, id: TaskId) {
        self.held_back.retain(|held| held.task != id);
        self.sent_fenced(c, Some(id));
        self.fenced
            .retain(|one| one.what != What::Status(id) || matches!(one.state, State::Sent(_)));
        self.release_held();
    }

    /// Statuses whose fence is gone are sent.
    fn release_held(&mut self) {
        let mut at = 0;
        while let Some(HeldBack { task, behind }) = self.held_back.get(at).copied() {
            if self.fenced.iter().any(|one| one.number == behind) {
                at += 1;
            } else {
                self.held_back.remove(at);
                self.unhold(task);
            }
        }
    }

    fn unhold(&mut self, id: TaskId) {
        let task = self.tasks.get_mut(id);
        if let Some(done) = task.and_then(|task| task.completion.as_mut()) {
            done.held = false;
            self.queue_answer(id);
        }
    }

    /// What is left of a wait.
    fn still(&self, wait: Wait) -> Option<Wait> {
        let connection = self.connections.get(wait.c)?;
        if connection.ending.is_some() {
            return None;
        }
        let stat_sn = match wait.until {
            Until::Acknowledged(stat_sn) => stat_sn,
            Until::Sent(completion) if self.has_unsent(wait.c, connection, completion) => {
                return Some(wait);
            }
            Until::Sent(_) => connection.stat_sn,
            Until::Data(ttt) => return self.awaits(ttt).then_some(wait),
        };
        (!stat_sn.le(connection.acknowledged)).then_some(Wait {
            until: Until::Acknowledged(stat_sn),
            ..wait
        })
    }

    /// Whether the status of a task that was completed as this number or before has yet to be sent.
    pub(super) fn has_unsent(
        &self,
        c: ConnectionIndex,
        connection: &Connection,
        completion: u64,
    ) -> bool {
        let unsent = |id: TaskId| {
            let task = self.tasks.get(id);
            task.is_some_and(|task| {
                let done = task.completion.as_ref();
                task.connection == c
                    && task.sent_status().is_none()
                    && done.is_some_and(|done| done.number <= completion)
            })
        };
        // Those behind a gap wait for it, and so does what comes after them.
        let behind_a_gap = |request: &HeldRequest| match request {
            HeldRequest::Command(id) => unsent(*id),
            _ => false,
        };
        let of_fence = |one: &Fenced| {
            matches!(one.state, State::Waits(_))
                && matches!(one.what, What::Status(id) if unsent(id))
        };
        let mut held = self.window.held().iter();
        let sent = self.recovery.as_ref().and_then(|one| one.sent_on(c));
        let mut blocked = sent.into_iter().flat_map(|sent| &sent.blocked);
        connection.ready.iter().any(|id| unsent(*id))
            || held.any(|held| behind_a_gap(&held.request))
            || self.held_back.iter().any(|held| unsent(held.task))
            || self.fenced.iter().any(of_fence)
            || blocked.any(|id| unsent(*id))
    }

    /// Whether a ping has to ask a connection for what an answer waits for; not while one is under way.
    pub(super) fn wants_acknowledgement(&self, c: ConnectionIndex) -> bool {
        let wanted = |wait: &Wait| wait.c == c && matches!(wait.until, Until::Acknowledged(_));
        let waits = |one: &Fenced| match &one.state {
            State::Waits(waits) => waits.iter().any(wanted),
            State::Released => false,
            State::Sent(_) => one.carrier == c,
        };
        let quiet = |one: &Connection| one.ping.is_none() && !one.is_deaf();
        self.fenced.iter().any(waits) && self.connection(c).is_some_and(quiet)
    }
}
