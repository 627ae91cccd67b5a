//! From a login to a session on its worker: it stays here, or moves.

use std::sync::Arc;

use iscsi_proto::login::Established;
use iscsi_proto::session::ConnectionIndex;
use reactor::SocketId;

use super::connection::{Joining, LinkNews};
use super::login::{Become, Fate, Joins, LoginLink};
use super::session::SessionLink;
use super::{Link, Worker, seconds_until};
use crate::shared::{
    Admitted, Adopted, JoinRefused, JoinsFromAfar, MayJoin, Message, SessionId, WorkerId,
};
use crate::slots::Key;

impl Worker {
    pub(super) fn fate(&mut self, key: Key, fate: Fate) {
        match fate {
            Fate::Goes => {}
            Fate::Over => {
                if let Some(Link::Login(login)) = self.links.remove(key) {
                    self.login_over(&login);
                }
            }
            Fate::Session(session) => self.place_session(key, *session),
            Fate::Joins(joins) => self.place_joining(key, *joins),
        }
    }

    /// A login has become a session: it stays here, or moves.
    pub(super) fn place_session(&mut self, key: Key, session: Become) {
        if let Some(Link::Login(login)) = self.links.find_mut(key) {
            debug_assert!(!login.in_flight(), "a connection moves only at rest");
            let login_peer = login.peer;
            self.give_back_login_slot(login_peer);
        }
        if session.worker == self.cx.id {
            let Become {
                session: id,
                established,
                place,
                unread,
                socket,
                ..
            } = session;
            let link = SessionLink::new(key, id, socket, established, place, &self.cx);
            if let Some(slot) = self.links.find_mut(key) {
                *slot = Link::Session(Box::new(link));
            }
            self.start_session(key, id, &unread);
            return;
        }
        self.links.remove(key);
        let Some(fd) = self.cx.driver.take_socket(session.socket) else {
            tracing::error!(
                session = session.session.0,
                "a connection was not at rest; it is dropped"
            );
            self.cx.driver.close_socket(session.socket);
            self.session_over(
                session.place.group.as_ref(),
                session.session,
                session.worker,
            );
            return;
        };
        let adopted = Adopted {
            fd,
            established: session.established,
            unread: session.unread,
            id: session.session,
            place: session.place,
        };
        self.cx
            .send(session.worker, Message::Adopt(Box::new(adopted)));
    }

    /// Takes over a session that logged in on another worker.
    pub(super) fn adopt(&mut self, adopted: Adopted) {
        let Adopted {
            fd,
            established,
            unread,
            id,
            place,
        } = adopted;
        let Ok(socket) = self.cx.driver.add_socket(fd) else {
            return self.session_over(place.group.as_ref(), id, self.cx.id);
        };
        let placeholder = Key {
            index: 0,
            generation: 0,
        };
        let link = SessionLink::new(placeholder, id, socket, established, place, &self.cx);
        let key = self.links.insert(Link::Session(Box::new(link)));
        if let Some(Link::Session(link)) = self.links.find_mut(key) {
            link.set_key(key);
        }
        self.start_session(key, id, &unread);
    }

    pub(super) fn start_session(&mut self, key: Key, id: SessionId, unread: &[u8]) {
        self.sessions.insert(id, key);
        self.cx.counters.sessions.add(1);
        let drain = self.drain;
        let Self {
            links, units, cx, ..
        } = self;
        let Some(Link::Session(link)) = links.find_mut(key) else {
            return;
        };
        if let Err(why) = link.start(cx) {
            return self.not_started(key, why);
        }
        if let Some(observer) = &cx.shared.config.observer {
            observer.session_started(link.record.info(cx.now));
        }
        link.mark_dirty(cx);
        link.arm_timer(cx);
        let leading = ConnectionIndex::default();
        link.handle_unread(leading, unread, units, cx);
        link.arm(leading, cx);
        if let Some(at) = drain {
            link.request_logout(seconds_until(at, cx.now), units, cx);
        }
    }

    /// May this connection join a session of this worker's? What it is told goes back to the login.
    pub(super) fn may_join(&mut self, question: &MayJoin) {
        let link = self.sessions.get(&question.session).copied();
        let answer = match link.and_then(|key| self.links.find(key)) {
            Some(Link::Session(session)) => session.may_join(question.cid),
            _ => Err(JoinRefused::NoSession),
        };
        let (login, to) = (question.login, question.worker);
        self.cx.send(to, Message::JoinAnswer { login, answer });
    }

    /// A login has become a further connection of a session, here or elsewhere.
    fn place_joining(&mut self, key: Key, joins: Joins) {
        if let Some(Link::Login(login)) = self.links.find_mut(key) {
            debug_assert!(!login.in_flight(), "a connection moves only at rest");
            let login_peer = login.peer;
            self.give_back_login_slot(login_peer);
        }
        let Joins {
            worker,
            session,
            established,
            admitted,
            unread,
            socket,
        } = joins;
        if worker == self.cx.id {
            return self.join(key, session, socket, established, admitted, unread);
        }
        self.links.remove(key);
        let Some(fd) = self.cx.driver.take_socket(socket) else {
            tracing::error!(
                session = session.0,
                "a connection was not at rest; it is dropped"
            );
            return self.cx.driver.close_socket(socket);
        };
        let joins = JoinsFromAfar {
            fd,
            established,
            unread,
            session,
            admitted,
        };
        self.cx.send(worker, Message::Join(Box::new(joins)));
    }

    /// Takes over a connection that logged in on another worker to a session of this one.
    pub(super) fn adopt_joining(&mut self, joins: JoinsFromAfar) {
        let JoinsFromAfar {
            fd,
            established,
            unread,
            session,
            admitted,
        } = joins;
        let Ok(socket) = self.cx.driver.add_socket(fd) else {
            return;
        };
        let key = self.links.insert(Link::Member(Key {
            index: 0,
            generation: 0,
        }));
        self.join(key, session, socket, established, admitted, unread);
    }

    fn join(
        &mut self,
        key: Key,
        session: SessionId,
        socket: SocketId,
        established: Established,
        admitted: Option<Admitted>,
        unread: Vec<u8>,
    ) {
        let wait = self.cx.shared.config.reinstatement_timeout;
        let joining = Joining {
            key,
            socket,
            established,
            unread,
            admitted,
            deadline: self.cx.now.saturating_add(wait),
        };
        let owner = self.sessions.get(&session).copied();
        let Some(owner) = owner else {
            return self.turn_away(joining);
        };
        if let Some(slot) = self.links.find_mut(key) {
            *slot = Link::Member(owner);
        }
        let Self {
            links, units, cx, ..
        } = self;
        if let Some(Link::Session(link)) = links.find_mut(owner) {
            link.join(joining, units, cx);
        }
    }

    /// What sessions have decided of their connections' links.
    pub(super) fn link_news(&mut self, news: LinkNews) {
        match news {
            LinkNews::Gone(key) => {
                self.links.remove(key);
            }
            LinkNews::TurnedAway(joining) => self.turn_away(*joining),
        }
    }

    /// The session cannot take it, because something changed since it was asked: it is told to try again.
    fn turn_away(&mut self, joining: Joining) {
        self.cx.counters.logins_refused.add(1);
        let Joining {
            key,
            socket,
            established,
            ..
        } = joining;
        let link = LoginLink::turned_away(key, socket, established, &mut self.cx);
        if let Some(slot) = self.links.find_mut(key) {
            *slot = Link::Login(Box::new(link));
        }
    }

    /// A session's last I/O has left: its nexus is free.
    pub(super) fn session_over(
        &mut self,
        group: Option<&Arc<crate::shared::Group>>,
        id: SessionId,
        worker: WorkerId,
    ) {
        if let Some(group) = group {
            group.registry.closed(id.0);
        }
        self.cx.shared.directory.remove(id);
        self.cx.shared.session_left(worker);
    }
}
