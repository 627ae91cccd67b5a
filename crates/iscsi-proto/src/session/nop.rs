//! Pings of the initiator (RFC 7143 §11.18, §11.19). The session's own are in `timer`.

use iscsi_wire::{Bhs, Itt, NopIn, NopOut, RejectReason, Ttt};

use super::input::Admission;
use super::task::RequestSlot;
use super::window::HeldRequest;
use super::{ConnectionIndex, Event, Session, SessionType};
use crate::connection::{Purpose, Reply};

impl Session {
    pub(super) fn handle_nop_out(&mut self, c: ConnectionIndex, bhs: &Bhs) -> Option<Event> {
        let nop = match NopOut::parse(bhs) {
            Ok(nop) => nop,
            Err(error) => return self.malformed(c, bhs, error),
        };
        if nop.itt == Itt::RESERVED {
            // An answer to a ping of ours, or news of ExpStatSN: neither is answered.
            self.skip_segment(c, bhs);
            let connection = self.connection_mut(c)?;
            connection.ping = connection.ping.filter(|ping| ping.ttt != nop.ttt);
            return None;
        }
        if self.kind == SessionType::Discovery {
            // RFC 7143 §4.3: neither Text nor Logout.
            return self.refuse(c, RejectReason::ProtocolError, bhs);
        }
        let most = self.limits.max_text_bytes as usize;
        let bytes = bhs.data_segment_length() as usize;
        let connection = self.connection_mut(c)?;
        let cut = connection.queued_bytes() + connection.collected.len() + bytes > most;
        let admission = if cut {
            self.admit(c, bhs, RequestSlot::Immediate, HeldRequest::Nothing)
        } else {
            self.admit_with_data(c, bhs)
        };
        let slot = match admission {
            Admission::Now(slot) => slot,
            // A ping has no order towards commands: it is answered as it comes.
            Admission::Later => RequestSlot::Numbered,
            Admission::Refused(event) => return event,
        };
        if cut {
            // A bound on memory comes before the echo of a peer that does not read its answers.
            self.counters.ping_bytes_cut += u64::from(bhs.data_segment_length());
            self.skip_segment(c, bhs);
            self.pong(c, nop.itt, slot, Vec::new());
        } else if bytes == 0 {
            self.pong(c, nop.itt, slot, Vec::new());
        } else {
            self.begin_segment(c, bhs, Purpose::Ping { itt: nop.itt, slot }, 0);
        }
        None
    }

    /// The end of a ping's data, which stands last in what was collected.
    pub(super) fn echo(&mut self, c: ConnectionIndex, itt: Itt, slot: RequestSlot, bhs: &Bhs) {
        let Some(connection) = self.connection_mut(c) else {
            return;
        };
        let bytes = bhs.data_segment_length() as usize;
        let data = connection
            .collected
            .split_off(connection.collected.len().saturating_sub(bytes));
        let Some(slot) = self.admit_proved(c, bhs, slot) else {
            return;
        };
        self.pong(c, itt, slot, data);
    }

    fn pong(&mut self, c: ConnectionIndex, itt: Itt, slot: RequestSlot, mut data: Vec<u8>) {
        let Some(connection) = self.connection_mut(c) else {
            return;
        };
        // RFC 7143 §11.19.4: the ping data comes back, as far as the initiator's MaxRecvDataSegmentLength reaches.
        data.truncate(connection.max_send_data_segment_length as usize);
        let nop = NopIn {
            data_segment_length: u32::try_from(data.len()).unwrap_or(0),
            itt,
            ttt: Ttt::RESERVED,
            ..NopIn::default()
        };
        connection.replies.push_back(Reply {
            data,
            ..Reply::new(nop.emit(), slot)
        });
    }
}
