//! The connections of a session on its worker: sockets, what the driver has of them, and how one ends while others go on.
//!
//! A connection is there until the driver has nothing of it any more and its last task has left the backstores: only then
//! may another have its place, or its CID. So a connection that takes another's place (RFC 7143 §6.3.4) waits for that
//! before it is told that it is in.
//!
//! The driver's completions name a link. The leading connection's is the session's own; each further one has a link that
//! only says whose it is, and is found by it among the few that a session has.

use std::net::SocketAddr;
use std::time::Duration;

use iscsi_proto::login::{Established, JoinedWindow};
use iscsi_proto::session::{ConnectionIndex, DropReason, LogoutScope, TaskId};
use iscsi_wire::Cid;
use reactor::{Op, RecvInto, SocketId};
use scsi::lu::TaskKey;

use super::cx::{Cx, Kind, token};
use super::ending::{EndReason, FLUSH_TIMEOUT};
use super::session::{Ending, SessionLink};
use super::task::Placing;
use super::unit::Units;
use crate::directory::{ConnectionInfo, ConnectionState};
use crate::panics::guard;
use crate::shared::{Admitted, JoinRefused, UnitIndex};
use crate::slots::Key;

/// One connection of a session.
pub(super) struct Connection {
    /// Its place in the protocol's session.
    pub(super) c: ConnectionIndex,
    pub(super) cid: Cid,
    /// The link that the driver's completions for it name.
    pub(super) key: Key,
    pub(super) socket: SocketId,
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
    pub(super) data_digest: bool,
    /// A receive is with the driver.
    pub(super) receiving: bool,
    /// Whose window that receive places into.
    pub(super) placing: Option<Placing>,
    /// Since when a send is with the driver.
    pub(super) sending: Option<Duration>,
    /// Bytes to send before anything else: the last Login Response.
    pub(super) preface: Vec<u8>,
    /// The part of the session's `held_bytes` that the send with the driver gives back.
    pub(super) sending_bytes: usize,
    /// Reads that the send under way, or the next, takes from stores' own memory.
    pub(super) pins: Vec<(UnitIndex, TaskKey)>,
    /// When a Data-Out sequence that was asked for has to have made progress.
    pub(super) progress: Duration,
    pub(super) ending: Option<ConnectionEnding>,
    /// Its tasks are kept for another connection when it closes.
    pub(super) keeps_tasks: bool,
}

/// How far the end of a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionEnding {
    /// What is queued is sent before it closes; until `at`.
    Flushing { at: Duration },
    /// The socket is closed; its tasks are on their way out of the backstores.
    Closed,
}

/// A connection that has logged in to a session, and may have to wait for the one whose place it takes.
pub(super) struct Joining {
    pub(super) key: Key,
    pub(super) socket: SocketId,
    pub(super) established: Established,
    /// What the initiator sent behind its last Login Request.
    pub(super) unread: Vec<u8>,
    /// What it was admitted by.
    pub(super) admitted: Option<Admitted>,
    /// When it is told to try again.
    pub(super) deadline: Duration,
}

/// What a session has decided of a connection's link, to be carried out by its worker.
pub(super) enum LinkNews {
    /// The connection is gone, and so is its link.
    Gone(Key),
    /// It may not join: it is told to try again.
    TurnedAway(Box<Joining>),
}

/// The connections of one session, each at its index.
#[derive(Default)]
pub(super) struct Connections(Vec<Option<Connection>>);

impl Connection {
    pub(super) fn new(
        c: ConnectionIndex,
        key: Key,
        socket: SocketId,
        established: &mut Established,
        now: Duration,
    ) -> Self {
        Self {
            c,
            cid: established.identity.cid,
            key,
            socket,
            local: established.portal,
            peer: established.peer,
            data_digest: established.params.data_digest,
            receiving: false,
            placing: None,
            sending: None,
            preface: std::mem::take(&mut established.final_response),
            sending_bytes: 0,
            pins: Vec::new(),
            progress: now,
            ending: None,
            keeps_tasks: false,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.ending == Some(ConnectionEnding::Closed)
    }
}

impl Connections {
    pub(super) fn get(&self, c: ConnectionIndex) -> Option<&Connection> {
        self.0.get(usize::from(c.0))?.as_ref()
    }

    pub(super) fn get_mut(&mut self, c: ConnectionIndex) -> Option<&mut Connection> {
        self.0.get_mut(usize::from(c.0))?.as_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.0.iter().flatten()
    }

    /// Those that are not closed.
    pub(super) fn open(&self) -> impl Iterator<Item = &Connection> {
        self.iter().filter(|one| !one.is_closed())
    }

    /// The places there are, in use or not.
    pub(super) fn places(&self) -> impl Iterator<Item = ConnectionIndex> + use<> {
        (0..u8::try_from(self.0.len()).unwrap_or(u8::MAX)).map(ConnectionIndex)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// The connection whose link this is.
    pub(super) fn of_link(&self, key: Key) -> Option<ConnectionIndex> {
        self.iter().find(|one| one.key == key).map(|one| one.c)
    }

    pub(super) fn insert(&mut self, connection: Connection) {
        let at = usize::from(connection.c.0);
        if self.0.len() <= at {
            self.0.reserve_exact(at + 1 - self.0.len());
            self.0.resize_with(at + 1, || None);
        }
        self.0[at] = Some(connection);
    }

    fn remove(&mut self, c: ConnectionIndex) -> Option<Connection> {
        self.0.get_mut(usize::from(c.0))?.take()
    }
}

impl SessionLink {
    /// Arms a receive, if none is with the driver and the connection goes on.
    pub(super) fn arm(&mut self, c: ConnectionIndex, cx: &mut Cx) {
        let Some(connection) = self.connections.get(c) else {
            return;
        };
        if connection.receiving || connection.is_closed() {
            return;
        }
        let place = self.next_place(c);
        let Some(connection) = self.connections.get_mut(c) else {
            return;
        };
        connection.receiving = true;
        cx.driver.push(
            Op::Recv {
                socket: connection.socket,
                into: RecvInto { place },
            },
            token(Kind::Recv, connection.key),
        );
    }

    /// Ends a connection: with `flush`, what is queued is sent first.
    pub(super) fn end_connection(
        &mut self,
        c: ConnectionIndex,
        reason: EndReason,
        flush: bool,
        units: &mut Units,
        cx: &mut Cx,
    ) {
        let Some(connection) = self.connections.get_mut(c) else {
            return;
        };
        match connection.ending {
            Some(ConnectionEnding::Closed) => return,
            Some(ConnectionEnding::Flushing { .. }) if flush => return,
            None if flush => {
                let at = cx.now.saturating_add(FLUSH_TIMEOUT);
                connection.ending = Some(ConnectionEnding::Flushing { at });
                self.note_end(c, reason, cx);
                self.want_timer(at, cx);
                return self.mark_dirty(cx);
            }
            None => self.note_end(c, reason, cx),
            Some(ConnectionEnding::Flushing { .. }) => {}
        }
        self.close_connection(c, units, cx);
    }

    /// A connection begins to end: the last one ends its session with it, unless that may be continued.
    fn note_end(&mut self, c: ConnectionIndex, reason: EndReason, cx: &mut Cx) {
        let others = self.connections.iter();
        let goes_on = |one: &super::connection::Connection| one.c != c && one.ending.is_none();
        let next = others.filter(|one| goes_on(one)).map(|one| one.c).next();
        let logged_out = matches!(
            reason,
            EndReason::Protocol(DropReason::LoggedOut | DropReason::LoggedOutForRecovery)
        );
        let session_ends = self.ending.is_some();
        let keeps_tasks = !session_ends && self.keeps_tasks(reason);
        if let Some(connection) = self.connections.get_mut(c) {
            connection.keeps_tasks = keeps_tasks;
        }
        match next {
            Some(_) if session_ends || logged_out => {}
            Some(next) => {
                self.log_connection_end(c, reason);
                // RFC 7143 §11.9.1: the initiator is told over a connection that goes on.
                if let Some(cid) = self.connections.get(c).map(|one| one.cid) {
                    self.proto.notify_drop(next, cid);
                }
                self.mark_dirty(cx);
            }
            None if session_ends => {}
            None if self.may_be_continued(reason) => {
                self.log_connection_end(c, reason);
                let wait = self.proto.retained_for();
                let until = cx.now.saturating_add(wait);
                self.waits_until = Some(until);
                self.want_timer(until, cx);
            }
            None => {
                self.log_end(reason);
                self.ending = Some(Ending::Closing);
            }
        }
    }

    /// Whether the session is kept for a while when its last connection ends like this. A session that has one connection
    /// and no more, and whose tasks end with it, has nothing that could be continued: its initiator logs in anew.
    fn may_be_continued(&self, reason: EndReason) -> bool {
        let params = self.proto.params();
        let lost = match reason {
            // RFC 7143 §7.7: a format error is for session recovery, which begins with a new login.
            EndReason::Protocol(DropReason::Format) => false,
            // RFC 7143 §6.3.5: not closed while another connection waits for its cleanup, or a task for its reassignment.
            EndReason::Protocol(DropReason::LoggedOut) => self.proto.waits_for_recovery(),
            EndReason::Protocol(_) | EndReason::Closed | EndReason::Stalled => true,
            _ => false,
        };
        // RFC 7143 §13.16: 0 says that the state is discarded at once.
        lost && (params.max_connections > 1 || self.proto.recovers_connections())
            && params.default_time2retain > 0
            && !self.logging_out
            && !self.discovery
            && !self.asked_to_log_out
    }

    /// Closes a connection's socket and aborts its tasks, but for those that are kept for another connection.
    pub(super) fn close_connection(&mut self, c: ConnectionIndex, units: &mut Units, cx: &mut Cx) {
        let Some(connection) = self.connections.get_mut(c) else {
            return;
        };
        if connection.is_closed() {
            return;
        }
        connection.ending = Some(ConnectionEnding::Closed);
        let keeps_tasks = connection.keeps_tasks && self.ending.is_none();
        cx.driver.close_socket(connection.socket);
        let (proto, now) = (&mut self.proto, cx.now);
        if keeps_tasks {
            let ended = guard(|| proto.lose_connection(c, now));
            self.end_tasks(ended, units, cx);
            self.lend_nothing(c, cx);
            self.publish_connections();
            self.arm_timer(cx);
        } else {
            self.poisoned |= guard(|| proto.disconnect(c)).is_err();
            let tasks = self.tasks_on(LogoutScope::Connection(c));
            self.clear_tasks(tasks, units, cx);
        }
        self.look_at_connection(c, units, cx);
        self.look_at_end(units, cx);
    }

    /// The tasks that are allegiant to what a logout covers.
    pub(super) fn tasks_on(&self, scope: LogoutScope) -> Vec<TaskId> {
        let covered = |(at, task): (usize, &Option<super::task::Task>)| {
            task.as_ref().filter(|task| scope.covers(task.connection))?;
            u32::try_from(at).ok().map(TaskId)
        };
        self.tasks.iter().enumerate().filter_map(covered).collect()
    }

    /// Lets go of a closed connection, once nothing is left of it but tasks that are kept for another.
    pub(super) fn look_at_connection(
        &mut self,
        c: ConnectionIndex,
        units: &mut Units,
        cx: &mut Cx,
    ) {
        let Some(connection) = self.connections.get(c) else {
            return;
        };
        let busy = connection.receiving || connection.sending.is_some();
        let lost = self.proto.is_lost(c);
        let waits = |task: &super::task::Task| task.connection == c && (!lost || task.aborting);
        let waits = self.tasks.iter().flatten().any(waits);
        if !connection.is_closed() || busy || waits {
            return;
        }
        self.release_pins(c, units, cx);
        let proto = &mut self.proto;
        let let_go = guard(|| {
            if lost {
                proto.release_connection(c);
            } else {
                proto.forget_connection(c);
            }
        });
        self.poisoned |= let_go.is_err();
        let Some(gone) = self.connections.remove(c) else {
            return;
        };
        if gone.key != self.key {
            cx.link_news.push(LinkNews::Gone(gone.key));
        }
        self.publish_connections();
        self.look_at_logouts(cx);
        self.let_in(units, cx);
    }

    /// Whether there is a place for a connection with this CID, and with which window it begins.
    pub(super) fn may_join(&self, cid: Cid) -> Result<JoinedWindow, JoinRefused> {
        if self.ending.is_some() || self.logging_out || self.discovery {
            return Err(JoinRefused::NoSession);
        }
        if !self.proto.has_room_for(cid) {
            return Err(JoinRefused::TooMany);
        }
        let (exp_cmd_sn, max_cmd_sn) = self.proto.command_window();
        Ok(JoinedWindow {
            exp_cmd_sn,
            max_cmd_sn,
        })
    }

    /// A connection has logged in to this session.
    pub(super) fn join(&mut self, joining: Joining, units: &mut Units, cx: &mut Cx) {
        let same = joining.admitted == self.place.admitted;
        if self.ending.is_some() || self.asked_to_log_out || self.logging_out || !same {
            cx.link_news.push(LinkNews::TurnedAway(Box::new(joining)));
            return;
        }
        let cid = joining.established.identity.cid;
        // RFC 7143 §6.3.4: a login with the CID of a connection logs that one out. Of two such logins the newer counts.
        let older = self
            .joining
            .iter()
            .position(|one| one.established.identity.cid == cid);
        if let Some(older) = older.map(|at| self.joining.swap_remove(at)) {
            cx.driver.close_socket(older.socket);
            cx.link_news.push(LinkNews::Gone(older.key));
        }
        self.want_timer(joining.deadline, cx);
        self.joining.push(joining);
        // The session does not end for it although the connection may be its last.
        self.waits_until = None;
        if let Some(c) = self.proto.find_connection(cid) {
            self.replace_connection(c, units, cx);
        }
        self.let_in(units, cx);
    }

    fn replace_connection(&mut self, c: ConnectionIndex, units: &mut Units, cx: &mut Cx) {
        let keeps_tasks = self.keeps_tasks(EndReason::Replaced);
        let Some(connection) = self.connections.get_mut(c) else {
            return;
        };
        if connection.ending.is_none() {
            connection.keeps_tasks = keeps_tasks;
        }
        self.log_connection_end(c, EndReason::Replaced);
        self.close_connection(c, units, cx);
    }

    /// Takes in those that wait and have a place now.
    fn let_in(&mut self, units: &mut Units, cx: &mut Cx) {
        while self.ending.is_none()
            && let Some(at) = self.next_to_let_in()
        {
            let mut joining = self.joining.swap_remove(at);
            let established = &joining.established;
            if let Some(lost) = self.proto.find_connection(established.identity.cid) {
                self.reinstate(lost, established.first_exp_stat_sn, units, cx);
            }
            let joined = guard(|| self.proto.join(&joining.established, cx.now));
            let Ok(Ok(c)) = joined else {
                cx.link_news.push(LinkNews::TurnedAway(Box::new(joining)));
                self.poisoned |= joined.is_err();
                continue;
            };
            let Joining { key, socket, .. } = joining;
            let connection = Connection::new(c, key, socket, &mut joining.established, cx.now);
            self.connections.insert(connection);
            self.waits_until = None;
            self.publish_connections();
            self.mark_dirty(cx);
            self.arm_timer(cx);
            self.handle_unread(c, &joining.unread, units, cx);
            self.arm(c, cx);
        }
    }

    fn next_to_let_in(&self) -> Option<usize> {
        // One that was lost is in nobody's way once the driver has nothing of it.
        let is_taken = |one: &Joining| {
            let same = self.proto.find_connection(one.established.identity.cid);
            same.is_some_and(|c| self.connections.get(c).is_some() || !self.proto.is_lost(c))
        };
        self.joining.iter().position(|one| !is_taken(one))
    }

    /// Those that wait for a place and have waited too long, or may not wait any more.
    pub(super) fn turn_away(&mut self, cx: &mut Cx) {
        let (now, over) = (cx.now, self.ending.is_some());
        let mut at = 0;
        while let Some(one) = self.joining.get(at) {
            if over || one.deadline <= now {
                let one = self.joining.swap_remove(at);
                cx.link_news.push(LinkNews::TurnedAway(Box::new(one)));
            } else {
                at += 1;
            }
        }
    }

    /// Shows the connections as they are now to whoever lists sessions.
    pub(super) fn publish_connections(&self) {
        let before = self.record.connections();
        let shown = self.proto.connections().filter_map(|(c, cid)| {
            let known = before.iter().find(|one| one.cid == cid).copied();
            let lost = self.proto.is_lost(c);
            let open = self.connections.open().find(|one| one.c == c);
            match (open, known) {
                (Some(open), _) => Some(ConnectionInfo {
                    cid,
                    local: open.local,
                    peer: open.peer,
                    state: match open.ending {
                        None => ConnectionState::FullFeature,
                        Some(_) => ConnectionState::Closing,
                    },
                }),
                (None, Some(known)) if lost => Some(ConnectionInfo {
                    state: ConnectionState::Lost,
                    ..known
                }),
                _ => None,
            }
        });
        self.record.publish_connections(shown.collect());
    }

    fn log_connection_end(&self, c: ConnectionIndex, reason: EndReason) {
        let Some(connection) = self.connections.get(c) else {
            return;
        };
        let (initiator, peer, cid) = (&self.initiator, connection.peer, connection.cid.0);
        tracing::info!(session = self.id.0, cid, %initiator, %peer, ?reason, "connection ended");
    }
}
