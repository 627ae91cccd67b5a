//! The connections of a session: which there are, how one joins, and how one leaves (RFC 7143 §4.2.3, §6.3.4, §6.3.6,
//! §11.14).
//!
//! # What is whose
//!
//! *The session's*: the command window, so that commands are delivered in CmdSN order whichever connection brings them;
//! the tasks, so that an Initiator Task Tag is one of a kind in all of the session; the negotiated parameters but those
//! below; Target Transfer Tags; task management requests and logouts without an answer.
//!
//! *A connection's*: where its stream stands; StatSN and what is acknowledged of it; digests, and how long a data segment
//! may be in either direction; the answers and the tasks that wait to be sent, in turn; the allowance of immediate
//! requests; a text exchange; pings; its end.
//!
//! A task knows its connection, and keeps to it (RFC 7143 §4.2.5, connection allegiance): its data, its R2Ts and its
//! status go over no other. To find a task's connection is to index a vector; a session of one connection pays for the
//! others that it might have with that and no more.
//!
//! # The life of a connection
//!
//! It is there from [`Session::new`] or [`Session::join`] on. When the owner has closed it, for whatever reason, it says
//! so with [`Session::disconnect`]: from then on nothing waits on it, and commands that were not acknowledged count as
//! never received. The tasks that were allegiant to it are the owner's to [abandon](Session::abandon); then
//! [`Session::forget_connection`] gives its place to another. A session without a connection is one that waits to be
//! continued: what it may wait for is the owner's to say.

use core::time::Duration;

use iscsi_wire::{Cid, SerialNumber};

use super::task::RequestSlot;
use super::window::HeldRequest;
use super::{ConnectionIndex, DropReason, Session, TaskId};
use crate::connection::{Connection, Ending, Purpose, TextExchange};
use crate::login::Established;

/// As many as one session can have: what MaxConnections may be negotiated to (RFC 7143 §13.2 allows more).
pub const MAX_CONNECTIONS: u16 = 32;

/// Connections by their index. One that was forgotten leaves its place to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Connections {
    places: Vec<Option<Connection>>,
}

/// Why a connection cannot join a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinError {
    /// There are as many as MaxConnections allows.
    TooMany,
    /// A connection of this CID is there. It is to be disconnected and forgotten first (RFC 7143 §6.3.4).
    CidInUse,
}

impl Connections {
    pub(crate) fn get(&self, c: ConnectionIndex) -> Option<&Connection> {
        self.places.get(usize::from(c.0))?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, c: ConnectionIndex) -> Option<&mut Connection> {
        self.places.get_mut(usize::from(c.0))?.as_mut()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ConnectionIndex, &Connection)> {
        let numbered = self.places.iter().zip(0u8..);
        numbered.filter_map(|(place, c)| Some((ConnectionIndex(c), place.as_ref()?)))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (ConnectionIndex, &mut Connection)> {
        let numbered = self.places.iter_mut().zip(0u8..);
        numbered.filter_map(|(place, c)| Some((ConnectionIndex(c), place.as_mut()?)))
    }

    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.places.capacity()
    }

    pub(crate) fn len(&self) -> usize {
        self.places.iter().flatten().count()
    }

    /// Whether all places are taken.
    pub(crate) fn is_full(&self) -> bool {
        self.len() >= usize::from(MAX_CONNECTIONS)
    }

    /// Takes a connection in at the lowest free place. `None` where none is free.
    pub(crate) fn insert(&mut self, connection: Connection) -> Option<ConnectionIndex> {
        let at = match self.places.iter().position(Option::is_none) {
            Some(at) => at,
            None if self.places.len() < usize::from(MAX_CONNECTIONS) => {
                // A session has one as a rule: no room for more before they come.
                self.places.reserve_exact(1);
                self.places.push(None);
                self.places.len() - 1
            }
            None => return None,
        };
        self.places[at] = Some(connection);
        u8::try_from(at).ok().map(ConnectionIndex)
    }

    /// Puts a connection at the place it had. False where that is taken or beyond reach.
    pub(crate) fn insert_at(&mut self, c: ConnectionIndex, connection: Connection) -> bool {
        let at = usize::from(c.0);
        if at >= usize::from(MAX_CONNECTIONS) || self.get(c).is_some() {
            return false;
        }
        if self.places.len() <= at {
            self.places.reserve_exact(at + 1 - self.places.len());
            self.places.resize_with(at + 1, || None);
        }
        self.places[at] = Some(connection);
        true
    }

    fn remove(&mut self, c: ConnectionIndex) {
        if let Some(place) = self.places.get_mut(usize::from(c.0)) {
            *place = None;
        }
        while let Some(None) = self.places.last() {
            self.places.pop();
        }
    }
}

impl Session {
    /// The connections that there are, with their CIDs.
    pub fn connections(&self) -> impl Iterator<Item = (ConnectionIndex, Cid)> {
        self.connections.iter().map(|(c, one)| (c, one.cid))
    }

    /// The connection of this CID, where there is one.
    #[must_use]
    pub fn find_connection(&self, cid: Cid) -> Option<ConnectionIndex> {
        self.connections()
            .find(|(_, of)| *of == cid)
            .map(|(c, _)| c)
    }

    /// The connection that a task is allegiant to.
    #[must_use]
    pub fn connection_of(&self, task: TaskId) -> Option<ConnectionIndex> {
        self.tasks.get(task).map(|task| task.connection)
    }

    /// ExpCmdSN and MaxCmdSN as they are now: for the login of a further connection.
    #[must_use]
    pub const fn command_window(&self) -> (SerialNumber, SerialNumber) {
        (self.window.exp_cmd_sn(), self.window.max_cmd_sn())
    }

    /// Whether another connection of this CID may join, now or once the one that has the CID has gone.
    #[must_use]
    pub fn has_room_for(&self, cid: Cid) -> bool {
        // RFC 7143 §6.3.4: reinstatement puts a connection in another's place.
        self.find_connection(cid).is_some()
            || self.connections_in_use() < usize::from(self.most_connections())
    }

    /// Those that are not lost.
    fn connections_in_use(&self) -> usize {
        let all = self.connections.iter();
        all.filter(|(_, one)| one.retained_until.is_none()).count()
    }

    fn most_connections(&self) -> u16 {
        // RFC 7143 §6.3.4: at ErrorRecoveryLevel 2 a second connection MUST be possible, to clean up the first.
        let least = if self.allegiance.is_some() { 2 } else { 1 };
        self.params.max_connections.clamp(least, MAX_CONNECTIONS)
    }

    /// Adds the connection of a login with this session's TSIH: its digests and segment lengths are its own, all else
    /// is the session's (RFC 7143 §13). The owner sends `established.final_response` before anything of this.
    ///
    /// # Errors
    /// Where there is no place for it.
    pub fn join(
        &mut self,
        established: &Established,
        now: Duration,
    ) -> Result<ConnectionIndex, JoinError> {
        if self.find_connection(established.identity.cid).is_some() {
            return Err(JoinError::CidInUse);
        }
        if self.connections_in_use() >= usize::from(self.most_connections()) {
            return Err(JoinError::TooMany);
        }
        if self.connections.is_full() && !self.evict_lost() {
            return Err(JoinError::TooMany);
        }
        let connection = Connection::new(established, now);
        self.connections
            .insert(connection)
            .ok_or(JoinError::TooMany)
    }

    /// The owner has closed a connection: nothing comes or goes on it any more. Answers that waited on it are never
    /// sent. Its tasks stay until each is abandoned.
    pub fn disconnect(&mut self, c: ConnectionIndex) {
        let Some(connection) = self.connections.get_mut(c) else {
            return;
        };
        let ending = connection.ending.get_or_insert(Ending {
            reason: DropReason::Closed,
            flush: false,
            told: true,
        });
        ending.told = true;
        connection.ready.clear();
        connection.collected = Vec::new();
        let mut unanswered: Vec<RequestSlot> = connection
            .replies
            .drain(..)
            .map(|reply| reply.slot)
            .collect();
        if let TextExchange::Asked { request, .. } = core::mem::take(&mut connection.text) {
            unanswered.push(request.slot);
        }
        let segment = connection.receive.take_segment();
        if let Purpose::Ping { slot, .. } | Purpose::Text { slot } = segment.purpose {
            unanswered.push(slot);
        }
        self.management.retain(|pending| {
            let stays = pending.connection != c;
            if !stays {
                unanswered.push(pending.slot);
            }
            stays
        });
        for slot in self.drop_fences_of(c) {
            unanswered.push(slot);
        }
        for pending in &mut self.logouts {
            if pending.carrier == Some(c) {
                unanswered.push(core::mem::replace(&mut pending.slot, RequestSlot::None));
                pending.carrier = None;
            }
        }
        self.disconnect_recovery(c);
        self.discard_unacknowledged(c);
        self.await_nothing_on(c);
        if let Some(allegiance) = &mut self.allegiance {
            allegiance.break_promises(c);
        }
        for slot in unanswered {
            self.free_slot(c, slot);
        }
        self.look_at_fences();
        let suspended = self.connections.get(c).is_some_and(|one| one.suspended);
        let internal: Vec<TaskId> = self
            .tasks
            .iter()
            .filter(|(_, task)| task.connection == c && task.internal && !suspended)
            .map(|(id, _)| id)
            .collect();
        for id in internal {
            self.remove_task(id);
        }
    }

    /// RFC 7143 §11.14: what a connection brought before its turn, and what is therefore not acknowledged, is discarded
    /// with it. The numbers are missing from then on; the initiator sends them again, over another connection.
    /// The commands among it are returned.
    pub(super) fn discard_unacknowledged(&mut self, c: ConnectionIndex) -> Vec<TaskId> {
        let tasks = &mut self.tasks;
        let of_it = |request: &HeldRequest| match request {
            HeldRequest::Nothing => false,
            HeldRequest::Command(id) => tasks.get(*id).is_some_and(|task| task.connection == c),
            HeldRequest::Management(of, _) | HeldRequest::Logout(of, _) => *of == c,
        };
        let mut commands = Vec::new();
        for request in self.window.discard(of_it) {
            if let HeldRequest::Command(id) = request
                && let Some(task) = self.tasks.get_mut(id)
            {
                // Its number was never received: there is nothing to give back.
                task.slot = RequestSlot::None;
                commands.push(id);
            }
        }
        commands
    }

    /// Gives the place of a connection that is disconnected to another. Tasks that are still its own go with it.
    pub fn forget_connection(&mut self, c: ConnectionIndex) {
        let left: Vec<TaskId> = self
            .tasks
            .iter()
            .filter(|(_, task)| task.connection == c)
            .map(|(id, _)| id)
            .collect();
        for id in left {
            self.remove_task(id);
        }
        self.vacate_recovery(c);
        self.connections.remove(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::SessionType;
    use crate::negotiate::NegotiatedParams;
    use crate::session::fixture::{C0, established, session};

    fn of(cid: u16) -> Established {
        let mut login = established(SessionType::Normal, NegotiatedParams::default());
        login.identity.cid = Cid(cid);
        login
    }

    #[test]
    fn join_beyond_max_connections_is_too_many() {
        let mut session = session(NegotiatedParams {
            max_connections: 3,
            ..NegotiatedParams::default()
        });
        assert_eq!(session.join(&of(1), Duration::ZERO), Ok(ConnectionIndex(1)));
        assert_eq!(
            session.join(&of(1), Duration::ZERO),
            Err(JoinError::CidInUse)
        );
        assert_eq!(session.join(&of(2), Duration::ZERO), Ok(ConnectionIndex(2)));
        assert!(!session.has_room_for(Cid(3)) && session.has_room_for(Cid(2)));
        assert_eq!(
            session.join(&of(3), Duration::ZERO),
            Err(JoinError::TooMany)
        );
        session.disconnect(C0);
        session.forget_connection(C0);
        assert_eq!(session.join(&of(3), Duration::ZERO), Ok(C0));
        let there: Vec<_> = session.connections().map(|(c, cid)| (c.0, cid.0)).collect();
        assert_eq!(there, [(0, 3), (1, 1), (2, 2)]);
    }

    /// RFC 7143 §6.3.4: so that its only connection can be reinstated.
    #[test]
    fn join_of_the_only_cid_has_room_where_one_connection_was_negotiated() {
        let mut session = session(NegotiatedParams::default());
        let Some((_, cid)) = session.connections().next() else {
            panic!("it has one")
        };
        assert!(session.has_room_for(cid) && !session.has_room_for(Cid(cid.0 + 1)));
        session.disconnect(C0);
        session.forget_connection(C0);
        assert_eq!(session.join(&of(cid.0), Duration::ZERO), Ok(C0));
    }

    #[test]
    fn join_where_more_was_negotiated_than_there_are_places_ends_at_the_places() {
        let mut session = session(NegotiatedParams {
            max_connections: u16::MAX,
            ..NegotiatedParams::default()
        });
        for cid in 100..100 + MAX_CONNECTIONS - 1 {
            assert!(session.join(&of(cid), Duration::ZERO).is_ok());
        }
        assert_eq!(
            session.join(&of(99), Duration::ZERO),
            Err(JoinError::TooMany)
        );
    }
}
