//! From a login to a session on its worker: it stays here, or moves.

use std::sync::Arc;

use super::login::{Become, Fate};
use super::session::SessionLink;
use super::{Link, Worker, seconds_until};
use crate::shared::{Adopted, Message, SessionId, WorkerId};
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
            link.key = key;
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
        link.handle_unread(unread, units, cx);
        link.arm(cx);
        if let Some(at) = drain {
            link.request_logout(seconds_until(at, cx.now), cx);
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
