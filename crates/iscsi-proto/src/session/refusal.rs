//! What bad input gets: a Reject, or the end of the connection (RFC 7143 §7, §11.17).

use iscsi_wire::{Bhs, Itt, ParseError, Reject, RejectReason};

use super::task::RequestSlot;
use super::{ConnectionIndex, DropReason, Event, Session};
use crate::connection::{Ending, MAX_QUEUED_REJECTS, Reply};

impl Session {
    /// Rejects a PDU and drops its data.
    pub(super) fn refuse(
        &mut self,
        c: ConnectionIndex,
        reason: RejectReason,
        bhs: &Bhs,
    ) -> Option<Event> {
        self.skip_segment(c, bhs);
        self.reject(c, reason, bhs)
    }

    /// Queues a Reject.
    pub(super) fn reject(
        &mut self,
        c: ConnectionIndex,
        reason: RejectReason,
        bhs: &Bhs,
    ) -> Option<Event> {
        self.reject_with(c, reason, bhs, 0)
    }

    /// The same, with the DataSN or R2TSN that comes next (RFC 7143 §11.17.2).
    pub(super) fn reject_with(
        &mut self,
        c: ConnectionIndex,
        reason: RejectReason,
        bhs: &Bhs,
        data_sn: u32,
    ) -> Option<Event> {
        self.counters.rejects += 1;
        let connection = self.connection_mut(c)?;
        if connection.queued_rejects() >= MAX_QUEUED_REJECTS {
            return self.end_connection(c, DropReason::TooManyRejects, false);
        }
        // RFC 7143 §11.17: the data segment is the complete header of the rejected PDU.
        let data = bhs.0.to_vec();
        let data_segment_length = u32::try_from(data.len()).unwrap_or(0);
        let reject = Reject {
            reason,
            data_segment_length,
            itt: Itt::RESERVED,
            data_sn,
            ..Reject::default()
        };
        let reply = Reply {
            data,
            ..Reply::new(reject.emit(), RequestSlot::None)
        };
        connection.replies.push_back(reply);
        None
    }

    /// RFC 7143 §7.7: a format error ends all connections of the session. The Reject tells the peer which header it was.
    pub(super) fn format_error(&mut self, c: ConnectionIndex, bhs: &Bhs) -> Option<Event> {
        let full = self.reject(c, RejectReason::InvalidPduField, bhs);
        let event = full.or_else(|| self.end_connection(c, DropReason::Format, true));
        for (_, connection) in self.connections.iter_mut() {
            connection.ending.get_or_insert(Ending {
                reason: DropReason::Format,
                flush: false,
                told: false,
            });
        }
        self.untold_ends = true;
        event
    }

    pub(super) fn malformed(
        &mut self,
        c: ConnectionIndex,
        bhs: &Bhs,
        error: ParseError,
    ) -> Option<Event> {
        match error {
            ParseError::InvalidField { .. } => self.format_error(c, bhs),
            ParseError::UnknownOpcode(_) | ParseError::UnexpectedOpcode { .. } => {
                self.refuse(c, RejectReason::CommandNotSupported, bhs)
            }
        }
    }

    /// RFC 7143 §7.8: Reject with reason 02h. The request is lost, and with it a CmdSN that at ErrorRecoveryLevel 0
    /// nobody fills again: the session is recovered instead (§7.1.5).
    pub(super) fn data_digest_error(&mut self, c: ConnectionIndex, bhs: &Bhs) -> Option<Event> {
        let full = self.reject(c, RejectReason::DataDigestError, bhs);
        full.or_else(|| self.end_connection(c, DropReason::DataDigest, true))
    }

    /// The connection is over, unless it was already: the engine is told with the next event.
    pub(super) fn end_connection_later(&mut self, c: ConnectionIndex, reason: DropReason) {
        if let Some(connection) = self.connection_mut(c)
            && connection.ending.is_none()
        {
            connection.ending = Some(Ending {
                reason,
                flush: false,
                told: false,
            });
            self.untold_ends = true;
        }
    }

    /// The connection is over, unless it was already. The event that says so.
    pub(super) fn end_connection(
        &mut self,
        c: ConnectionIndex,
        reason: DropReason,
        flush: bool,
    ) -> Option<Event> {
        let connection = self.connection_mut(c)?;
        if connection.ending.is_some() {
            return None;
        }
        connection.ending = Some(Ending {
            reason,
            flush,
            told: true,
        });
        Some(Event::ConnectionDone { c, reason, flush })
    }
}
