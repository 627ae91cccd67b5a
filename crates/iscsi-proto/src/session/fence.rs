//! Responses that overtake nothing on other connections (RFC 7143 §4.2.3.2).
//!
//! On one connection a response that is sent later comes later. Over several there is no such order: a task management
//! response could reach the initiator before the status of a task that was decided before it. So the response of a
//! function that may end several tasks waits until every other connection has sent what it had, and the initiator has
//! acknowledged that. A connection that has something unacknowledged is pinged, since the answer tells ExpStatSN. One that
//! ends is not waited for.

use iscsi_wire::SerialNumber;

use super::window::HeldRequest;
use super::{ConnectionIndex, Session, TaskId};
use crate::connection::{Connection, Reply};

/// A response that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fenced {
    /// The connection that it goes over.
    pub(super) carrier: ConnectionIndex,
    pub(super) reply: Reply,
    waits: Vec<Wait>,
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
}

impl Session {
    /// Keeps a response back behind what other connections have to send or have sent; at once where that is nothing.
    pub(super) fn fence(&mut self, carrier: ConnectionIndex, reply: Reply) {
        let others = self.connections.iter().filter(|(c, _)| *c != carrier);
        let waits = others
            .map(|(c, one)| Wait {
                c,
                until: Until::Sent(one.completions),
            })
            .collect();
        self.fenced.push(Fenced {
            carrier,
            reply,
            waits,
        });
        self.look_at_fences();
    }

    /// Lets go of the responses that have nothing to wait for any more.
    pub(super) fn look_at_fences(&mut self) {
        let mut at = 0;
        while let Some(fenced) = self.fenced.get(at) {
            let waits = fenced.waits.iter().filter_map(|wait| self.still(*wait));
            let waits: Vec<Wait> = waits.collect();
            if !waits.is_empty() {
                self.fenced[at].waits = waits;
                at += 1;
                continue;
            }
            let Fenced { carrier, reply, .. } = self.fenced.remove(at);
            if let Some(connection) = self.connections.get_mut(carrier) {
                connection.replies.push_back(reply);
            }
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
            Until::Sent(completion) if self.has_unsent(connection, completion) => {
                return Some(wait);
            }
            Until::Sent(_) => connection.stat_sn,
        };
        (!stat_sn.le(connection.acknowledged)).then_some(Wait {
            until: Until::Acknowledged(stat_sn),
            ..wait
        })
    }

    /// Whether the status of a task that was completed as this number or before has yet to be sent.
    pub(super) fn has_unsent(&self, connection: &Connection, completion: u64) -> bool {
        let unsent = |id: &TaskId| {
            let task = self.tasks.get(*id);
            let done = task.and_then(|task| task.completion.as_ref());
            done.is_some_and(|done| done.number <= completion)
        };
        // Those behind a gap wait for it, and so does what comes after them.
        let mut held = self.window.held().iter();
        connection.ready.iter().any(unsent)
            || held.any(|held| match &held.request {
                HeldRequest::Command(id) => {
                    self.connection_of(*id)
                        .and_then(|c| self.connection(c))
                        .is_some_and(|of| of.cid == connection.cid)
                        && unsent(id)
                }
                _ => false,
            })
    }

    /// Whether a ping has to ask a connection for what a response waits for; not while one is under way.
    pub(super) fn wants_acknowledgement(&self, c: ConnectionIndex) -> bool {
        let wanted = |wait: &Wait| wait.c == c && matches!(wait.until, Until::Acknowledged(_));
        let quiet = |one: &Connection| one.ping.is_none() && !one.is_deaf();
        self.fenced.iter().any(|one| one.waits.iter().any(wanted))
            && self.connection(c).is_some_and(quiet)
    }
}
