//! Ends that come from outside a session, and whatever time brings.

use std::time::Duration;

use model::ObjectId;

use super::ending::EndReason;
use super::{Link, Worker, seconds_until};
use crate::slots::Key;

impl Worker {
    pub(super) fn end_session(&mut self, key: Key, reason: EndReason) {
        let Self {
            links, units, cx, ..
        } = self;
        if let Some(Link::Session(link)) = links.find_mut(key) {
            link.end(reason, false, units, cx);
        }
    }

    /// TARGET COLD RESET of this target.
    pub(super) fn end_sessions_of(&mut self, target: ObjectId) {
        for key in self.links.keys() {
            let Self {
                links, units, cx, ..
            } = self;
            if let Some(Link::Session(link)) = links.find_mut(key)
                && (link.place.admitted.as_ref()).is_some_and(|by| by.target == target)
            {
                // The response to the reset is on its way: it goes first.
                link.end(EndReason::Reset, true, units, cx);
            }
        }
    }

    /// Refuses new logins, asks every session to log out, and drops what is left at the deadline.
    pub(super) fn start_drain(&mut self, deadline: Duration) {
        self.close_listeners();
        let earlier = self.drain.map_or(deadline, |at| at.min(deadline));
        self.drain = Some(earlier);
        let seconds = seconds_until(earlier, self.cx.now);
        for key in self.links.keys() {
            match self.links.find_mut(key) {
                Some(Link::Login(login)) => {
                    let fate = login.close(&mut self.cx);
                    self.fate(key, fate);
                }
                Some(Link::Session(session)) => {
                    session.request_logout(seconds, &mut self.units, &mut self.cx);
                }
                Some(Link::Member(_)) | None => {}
            }
        }
    }

    pub(super) fn timers(&mut self) {
        let now = self.cx.now;
        while let Some(key) = self.cx.timers.pop_due(now) {
            let Self {
                links, units, cx, ..
            } = self;
            match links.find_mut(key) {
                Some(Link::Login(login)) => {
                    let fate = login.timer_due(cx);
                    self.fate(key, fate);
                }
                Some(Link::Session(session)) => session.timer_due(units, cx),
                Some(Link::Member(_)) | None => {}
            }
        }
        self.listener_timers();
        if self.drain.is_some_and(|at| at <= now) {
            for key in self.links.keys() {
                self.end_session(key, EndReason::Drained);
            }
        }
    }
}
