//! Logout, and what the target says unasked about the end (RFC 7143 §11.14, §11.15, §11.9).

use iscsi_wire::{
    AsyncEvent, AsyncMessage, Bhs, Cid, Itt, LogoutReason, LogoutRequest, LogoutResponse,
    LogoutResponseCode, Lun64, MAX_DATA_SEGMENT_BYTES, RejectReason, opcode,
};

use super::input::Admission;
use super::task::RequestSlot;
use super::window::{HeldLogout, HeldRequest};
use super::{ConnectionIndex, DropReason, Event, LogoutHandle, LogoutScope, Session, SessionType};
use crate::connection::{Ending, Reply};
use crate::negotiate::TaskReporting;

/// A logout that the engine has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PendingLogout {
    handle: LogoutHandle,
    scope: LogoutScope,
    pub(super) itt: Itt,
    pub(super) slot: RequestSlot,
    /// Which connection asked, while it is there.
    pub(super) carrier: Option<ConnectionIndex>,
}

impl Session {
    pub(super) fn handle_logout_request(&mut self, c: ConnectionIndex, bhs: &Bhs) -> Option<Event> {
        let request = match LogoutRequest::parse(bhs) {
            Ok(request) => request,
            Err(error) => return self.malformed(c, bhs, error),
        };
        if let LogoutReason::Other(_) = request.reason {
            return self.refuse(c, RejectReason::InvalidPduField, bhs);
        }
        if self.kind == SessionType::Discovery && request.reason != LogoutReason::CloseSession {
            // RFC 7143 §4.3: a discovery session is closed as a whole.
            return self.refuse(c, RejectReason::ProtocolError, bhs);
        }
        let logout = HeldLogout {
            itt: request.itt,
            reason: request.reason,
            cid: request.cid,
        };
        match self.admit(
            c,
            bhs,
            RequestSlot::Immediate,
            HeldRequest::Logout(c, logout),
        ) {
            Admission::Now(slot) => {
                self.skip_segment(c, bhs);
                self.log_out(c, logout, slot)
            }
            Admission::Later => {
                self.skip_segment(c, bhs);
                None
            }
            Admission::Refused(event) => event,
        }
    }

    /// Whose statuses the ExpStatSN of a PDU acknowledges. RFC 7143 §11.14.4: that of a Logout Request those of the connection
    /// it names.
    pub(super) fn acknowledged_by(&self, c: ConnectionIndex, bhs: &Bhs) -> ConnectionIndex {
        if bhs.opcode() != opcode::LOGOUT_REQUEST {
            return c;
        }
        match LogoutRequest::parse(bhs) {
            Ok(request) if request.reason != LogoutReason::CloseSession => {
                self.find_connection(request.cid).unwrap_or(c)
            }
            _ => c,
        }
    }

    /// A logout in its turn.
    pub(super) fn log_out(
        &mut self,
        c: ConnectionIndex,
        logout: HeldLogout,
        slot: RequestSlot,
    ) -> Option<Event> {
        let HeldLogout { itt, reason, cid } = logout;
        let named = self.find_connection(cid);
        let scope = match (reason, named) {
            (LogoutReason::CloseSession, _) => Ok(LogoutScope::Session),
            // RFC 7143 §11.15.1: recovery is for ErrorRecoveryLevel 2.
            (LogoutReason::RemoveConnectionForRecovery, _) if self.allegiance.is_none() => {
                Err(LogoutResponseCode::RecoveryNotSupported)
            }
            (LogoutReason::RemoveConnectionForRecovery, Some(named)) => {
                Ok(LogoutScope::Recovery(named))
            }
            (_, Some(named)) => Ok(LogoutScope::Connection(named)),
            (_, None) => Err(LogoutResponseCode::CidNotFound),
        };
        let scope = match scope {
            Ok(scope) => scope,
            Err(response) => {
                self.answer_logout(c, itt, slot, response);
                return None;
            }
        };
        let handle = LogoutHandle(self.take_handle());
        for (at, connection) in self.connections.iter_mut() {
            connection.logging_out |= scope.covers(at);
        }
        self.logouts.push(PendingLogout {
            handle,
            scope,
            itt,
            slot,
            carrier: Some(c),
        });
        Some(Event::Logout {
            handle,
            scope,
            carrier: c,
        })
    }

    /// Answers a logout. The response leaves after the status of every command that was completed before. Where it says
    /// that what was named is closed, [`Event::ConnectionDone`] comes next for each connection of it, and what is queued
    /// is to be sent first. The answer to a logout whose own connection has gone is sent nowhere.
    pub fn complete_logout(&mut self, handle: LogoutHandle, response: LogoutResponseCode) {
        let Some(at) = self.logouts.iter().position(|one| one.handle == handle) else {
            return;
        };
        let PendingLogout {
            scope,
            itt,
            slot,
            carrier,
            ..
        } = self.logouts.swap_remove(at);
        for (at, connection) in self.connections.iter_mut() {
            if !scope.covers(at) {
                continue;
            }
            connection.logging_out = false;
            if response == LogoutResponseCode::Closed && connection.ending.is_none() {
                let reason = match scope {
                    LogoutScope::Recovery(_) => DropReason::LoggedOutForRecovery,
                    _ => DropReason::LoggedOut,
                };
                connection.ending = Some(Ending {
                    reason,
                    flush: true,
                    told: false,
                });
                self.untold_ends = true;
            }
        }
        if let LogoutScope::Connection(c) | LogoutScope::Recovery(c) = scope
            && response == LogoutResponseCode::Closed
        {
            self.forget_lost(c);
        }
        if let Some(carrier) = carrier {
            self.answer_logout(carrier, itt, slot, response);
        }
    }

    fn answer_logout(
        &mut self,
        c: ConnectionIndex,
        itt: Itt,
        slot: RequestSlot,
        response: LogoutResponseCode,
    ) {
        let response = LogoutResponse {
            response,
            itt,
            time2wait: self.params.default_time2wait,
            time2retain: self.params.default_time2retain,
            ..LogoutResponse::default()
        };
        if let Some(connection) = self.connection_mut(c) {
            let after_completion = connection.completions;
            connection.replies.push_back(Reply {
                after_completion,
                ..Reply::new(response.emit(), slot)
            });
        }
    }

    /// Asks the initiator to log out within `seconds`: Async Message, event 1 (RFC 7143 §11.9.1). Commands go on until
    /// it does.
    pub fn request_logout(&mut self, c: ConnectionIndex, seconds: u16) {
        self.tell(
            c,
            AsyncMessage {
                async_event: AsyncEvent::LogoutRequested,
                parameter3: seconds,
                ..AsyncMessage::default()
            },
        );
    }

    /// Tells the initiator over connection `c` that the connection of this CID has been or is going to be dropped: Async
    /// Message, event 2 (RFC 7143 §11.9.1).
    pub fn notify_drop(&mut self, c: ConnectionIndex, dropped: Cid) {
        let parameter1 = dropped.0;
        self.tell(
            c,
            AsyncMessage {
                async_event: AsyncEvent::ConnectionDropped,
                parameter1,
                parameter2: self.params.default_time2wait,
                parameter3: self.params.default_time2retain,
                ..AsyncMessage::default()
            },
        );
    }

    /// Tells the initiator over connection `c` that all connections of the session are going to be dropped: Async Message,
    /// event 3 (RFC 7143 §11.9.1). `retained`: its tasks may still be reassigned.
    pub fn notify_session_drop(&mut self, c: ConnectionIndex, retained: bool) {
        let time2retain = self.params.default_time2retain;
        self.tell(
            c,
            AsyncMessage {
                async_event: AsyncEvent::SessionDropped,
                parameter2: self.params.default_time2wait,
                parameter3: if retained { time2retain } else { 0 },
                ..AsyncMessage::default()
            },
        );
    }

    /// Asks the initiator to begin a text exchange within `seconds`, and declares a new MaxRecvDataSegmentLength of the
    /// target's in it: Async Message, event 4 (RFC 7143 §11.9.1, §13.12). In bytes, brought within 512 to 2^24 - 1. Longer
    /// segments are taken from now on; shorter ones are not insisted on.
    pub fn request_negotiation(&mut self, c: ConnectionIndex, max_recv_bytes: u32, seconds: u16) {
        let bytes = max_recv_bytes.clamp(512, MAX_DATA_SEGMENT_BYTES);
        let discovery = self.kind == SessionType::Discovery;
        let Some(connection) = self.connection_mut(c).filter(|_| !discovery) else {
            return;
        };
        connection.declares = Some(bytes);
        connection.max_recv_data_segment_length =
            connection.max_recv_data_segment_length.max(bytes);
        self.tell(
            c,
            AsyncMessage {
                async_event: AsyncEvent::NegotiationRequested,
                parameter3: seconds,
                ..AsyncMessage::default()
            },
        );
    }

    /// Tells the initiator over connection `c` that tasks of a logical unit that are allegiant to it have been ended by a
    /// task management function: Async Message, event 5 (RFC 7143 §4.2.3.4 d). Nothing unless TaskReporting is FastAbort.
    ///
    /// The initiator's acknowledgement (§4.2.3.4 g) sets nothing free: Data-Out of tasks that are over is dropped by its tag
    /// as it comes, and no tag is given out again while any may come.
    pub fn notify_termination(&mut self, c: ConnectionIndex, lun: Lun64) {
        if self.params.task_reporting != TaskReporting::FastAbort {
            return;
        }
        self.tell(
            c,
            AsyncMessage {
                async_event: AsyncEvent::TasksTerminated,
                lun,
                ..AsyncMessage::default()
            },
        );
    }

    /// Reports a SCSI event of a logical unit over connection `c`: Async Message, event 0 (RFC 7143 §11.9.1), with its sense
    /// data.
    pub fn report_event(&mut self, c: ConnectionIndex, lun: Lun64, sense: &[u8]) {
        let sense = &sense[..sense.len().min(super::MAX_SENSE_BYTES)];
        let length = u16::try_from(sense.len()).unwrap_or(0);
        // RFC 7143 §11.9.4: SenseLength, then the sense data.
        let mut data = length.to_be_bytes().to_vec();
        data.extend_from_slice(sense);
        let most = self.limits.max_text_bytes as usize;
        let crowded = |one: &crate::connection::Connection| one.queued_bytes() + data.len() > most;
        if self.connection(c).is_none_or(crowded) {
            // An initiator that does not read what it is told hears of it by unit attention.
            return;
        }
        let message = AsyncMessage {
            async_event: AsyncEvent::ScsiEvent,
            lun,
            data_segment_length: u32::from(length) + 2,
            ..AsyncMessage::default()
        };
        self.tell_with(c, message, data);
    }

    fn tell(&mut self, c: ConnectionIndex, message: AsyncMessage) {
        self.tell_with(c, message, Vec::new());
    }

    fn tell_with(&mut self, c: ConnectionIndex, message: AsyncMessage, data: Vec<u8>) {
        let message = AsyncMessage {
            itt: Itt::RESERVED,
            ..message
        };
        if let Some(connection) = self.connection_mut(c)
            && connection.ending.is_none()
        {
            connection.replies.push_back(Reply {
                data,
                ..Reply::new(message.emit(), RequestSlot::None)
            });
        }
    }
}
