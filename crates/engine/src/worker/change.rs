//! What the control plane has to say to a worker: sessions that end or see other LUNs, units that change or go, listeners.

use std::time::Duration;

use super::cx::Cx;
use super::ending::EndReason;
use super::session::{NotStarted, SessionLink};
use super::{Link, Worker, seconds_until};
use crate::drain::Hold;
use crate::shared::{Message, SessionId};
use crate::slots::Key;

impl Worker {
    /// Messages that come with a change of the tree.
    pub(super) fn change(&mut self, message: Message) {
        match message {
            Message::DrainSession {
                session,
                deadline,
                hold,
            } => self.drain_session(session, deadline, hold),
            Message::Remap {
                session,
                luns,
                deadline,
                drain,
                hold,
            } => {
                let Self {
                    links,
                    units,
                    cx,
                    sessions,
                    ..
                } = self;
                let key = sessions.get(&session).copied();
                if let Some(Link::Session(link)) = key.and_then(|key| links.find_mut(key)) {
                    link.remap(luns, deadline, &drain, units, cx);
                }
                drop(hold);
            }
            Message::Attention {
                session,
                unit,
                attention,
            } => {
                if let Some((link, cx)) = self.session_and_cx(session) {
                    link.report(unit, attention, cx);
                }
            }
            Message::Renegotiate {
                session,
                max_recv_bytes,
                hold,
            } => {
                if let Some((link, cx)) = self.session_and_cx(session) {
                    link.ask_to_negotiate(max_recv_bytes, cx);
                }
                drop(hold);
            }
            Message::Change { unit, action, hold } => {
                self.units.change(unit, action, hold, &mut self.cx);
            }
            Message::RetireUnit { unit, holds } => self.units.retire(unit, holds),
            Message::ForgetHome(unit) => self.units.forget_home(unit),
            Message::Listen { fd, address } => {
                if let Err(error) = self.add_listener(fd, address) {
                    tracing::error!(%address, %error, "a portal cannot be watched");
                }
            }
            Message::Unlisten {
                address,
                linger,
                hold,
            } => self.close_listener(address, linger, hold),
            _ => {}
        }
    }

    fn session_and_cx(&mut self, session: SessionId) -> Option<(&mut SessionLink, &mut Cx)> {
        let key = self.sessions.get(&session).copied()?;
        match self.links.find_mut(key)? {
            Link::Session(link) => Some((link, &mut self.cx)),
            Link::Login(_) | Link::Member(_) => None,
        }
    }

    /// Its initiator may not use the target any more. It is asked to log out, and served until it does: its last writes and
    /// flushes are worth more than haste.
    fn drain_session(&mut self, session: SessionId, deadline: Duration, hold: Hold) {
        let Some(key) = self.sessions.get(&session).copied() else {
            return;
        };
        let Self {
            links, units, cx, ..
        } = self;
        let Some(Link::Session(link)) = links.find_mut(key) else {
            return;
        };
        link.holds.push(hold);
        let earlier = link.draining.map_or(deadline, |at| at.min(deadline));
        if link.draining.replace(earlier).is_none() {
            link.request_logout(seconds_until(deadline, cx.now), units, cx);
        }
        link.want_timer(earlier, cx);
    }

    /// A session whose start was refused.
    pub(super) fn not_started(&mut self, key: Key, why: NotStarted) {
        let Self {
            links, units, cx, ..
        } = self;
        let Some(Link::Session(link)) = links.find_mut(key) else {
            return;
        };
        match why {
            // Taken over by a newer login while it moved: the connection is dropped unanswered.
            NotStarted::Replaced => link.end(EndReason::Replaced, false, units, cx),
            NotStarted::Refused => {
                cx.counters.logins_refused.add(1);
                link.refuse();
                link.end(EndReason::Refused, true, units, cx);
            }
        }
    }
}
