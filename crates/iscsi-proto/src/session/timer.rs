//! Silence: when the session pings its peer, and when it gives up (RFC 7143 §11.19).
//!
//! Any byte that comes is a sign of life: an answer may stand behind much data on a slow line.

use core::time::Duration;

use iscsi_wire::{Itt, NopIn};

use super::task::RequestSlot;
use super::{ConnectionIndex, DropReason, Event, Session};
use crate::connection::{Connection, Ping, Reply, StatSnUse};
use crate::login::SessionType;

impl Session {
    /// When [`Session::handle_timeout`] is next due, on the clock of `now`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let connections = self.connections.iter();
        connections
            .filter_map(|(_, connection)| self.due(connection))
            .chain(self.recovery_ends())
            .chain(self.recovery_due())
            .chain(self.awaited_due())
            .min()
    }

    /// Lets time act: pings peers that are silent, and ends the connection of one that stays so.
    pub fn handle_timeout(&mut self, now: Duration) -> Option<Event> {
        self.look_at_recovery(now);
        self.expire_awaited(now);
        if let Some(event) = self.poll_event() {
            return Some(event);
        }
        if let Some(event) = self.expire(now) {
            return Some(event);
        }
        loop {
            let is_due = |one: &Connection| self.due(one).is_some_and(|due| due <= now);
            let due = self.connections.iter().find(|(_, one)| is_due(one));
            let (c, unanswered) = due.map(|(c, one)| (c, one.ping.is_some()))?;
            if unanswered {
                return self.end_connection(c, DropReason::PingTimeout, false);
            }
            self.ping(c, now);
        }
    }

    /// Moves the clock of a session that came from another process: its peer counts as heard now.
    pub fn restart_clock(&mut self, now: Duration) {
        self.restart_recovery(now);
        for (_, connection) in self.connections.iter_mut() {
            connection.last_heard = now;
            if let Some(ping) = &mut connection.ping {
                ping.sent = now;
            }
        }
    }

    fn due(&self, connection: &Connection) -> Option<Duration> {
        let interval = self.limits.nop_interval?;
        // open-iscsi gives a discovery up when it is pinged; how long one may last is the owner's to say.
        if connection.is_deaf() || self.kind == SessionType::Discovery {
            return None;
        }
        let heard = connection.last_heard;
        Some(match connection.ping {
            Some(ping) => heard.max(ping.sent).saturating_add(self.limits.nop_timeout),
            None => heard.saturating_add(interval),
        })
    }

    pub(super) fn ping(&mut self, c: ConnectionIndex, now: Duration) {
        let ttt = self.take_ttt();
        self.counters.pings += 1;
        let Some(connection) = self.connection_mut(c) else {
            return;
        };
        // RFC 7143 §11.19.1, §11.19.2: a target's ping has a tag to be answered with, no Initiator Task Tag, and uses
        // up no StatSN.
        let nop = NopIn {
            itt: Itt::RESERVED,
            ttt,
            ..NopIn::default()
        };
        let reply = Reply {
            stat_sn: StatSnUse::Tell,
            ..Reply::new(nop.emit(), RequestSlot::None)
        };
        connection.ping = Some(Ping {
            ttt,
            sent: now,
            again: 0,
        });
        connection.replies.push_back(reply);
        self.watch_recovery();
    }
}
