//! Logout, and what the target says unasked about the end (RFC 7143 §11.14, §11.15, §11.9).

use iscsi_wire::{
    AsyncEvent, AsyncMessage, Bhs, Itt, LogoutReason, LogoutRequest, LogoutResponse,
    LogoutResponseCode, RejectReason,
};

use super::input::Admission;
use super::task::RequestSlot;
use super::window::{HeldLogout, HeldRequest};
use super::{ConnectionIndex, DropReason, Event, LogoutHandle, Session, SessionType};
use crate::connection::{Ending, PendingLogout, Reply};

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

    /// A logout in its turn.
    pub(super) fn log_out(
        &mut self,
        c: ConnectionIndex,
        logout: HeldLogout,
        slot: RequestSlot,
    ) -> Option<Event> {
        let HeldLogout { itt, reason, cid } = logout;
        let known = self
            .connections
            .iter()
            .any(|connection| connection.cid == cid);
        let refused = match reason {
            // RFC 7143 §11.14.1: recovery is for ErrorRecoveryLevel 2.
            LogoutReason::RemoveConnectionForRecovery => {
                Some(LogoutResponseCode::RecoveryNotSupported)
            }
            LogoutReason::CloseConnection if !known => Some(LogoutResponseCode::CidNotFound),
            _ => None,
        };
        if let Some(response) = refused {
            self.answer_logout(c, itt, slot, response);
            return None;
        }
        let handle = LogoutHandle(self.take_handle());
        let connection = self.connection_mut(c)?;
        connection.logout = Some(PendingLogout { handle, itt, slot });
        Some(Event::Logout { handle, reason })
    }

    /// Answers a logout. The response leaves after the status of every command that was completed before. Where it says
    /// that the connection is closed, [`Event::ConnectionDone`] comes next, and what is queued is to be sent first.
    pub fn complete_logout(&mut self, handle: LogoutHandle, response: LogoutResponseCode) {
        for c in 0..u8::try_from(self.connections.len()).unwrap_or(u8::MAX) {
            let c = ConnectionIndex(c);
            let Some(connection) = self.connection_mut(c) else {
                return;
            };
            let Some(PendingLogout { itt, slot, .. }) =
                connection.logout.take_if(|logout| logout.handle == handle)
            else {
                continue;
            };
            if response == LogoutResponseCode::Closed && connection.ending.is_none() {
                let reason = DropReason::LoggedOut;
                connection.ending = Some(Ending {
                    reason,
                    flush: true,
                    told: false,
                });
            }
            return self.answer_logout(c, itt, slot, response);
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

    /// Tells the initiator that this connection is going to be dropped: Async Message, event 2 (RFC 7143 §11.9.1).
    pub fn notify_drop(&mut self, c: ConnectionIndex) {
        let Some(connection) = self.connection(c) else {
            return;
        };
        let parameter1 = connection.cid.0;
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

    fn tell(&mut self, c: ConnectionIndex, message: AsyncMessage) {
        let message = AsyncMessage {
            itt: Itt::RESERVED,
            ..message
        };
        if let Some(connection) = self.connection_mut(c)
            && connection.ending.is_none()
        {
            connection
                .replies
                .push_back(Reply::new(message.emit(), RequestSlot::None));
        }
    }
}
