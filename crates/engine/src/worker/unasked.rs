//! What a session tells its initiator unasked, where its portal group says so: unit attentions as they come, and that there is
//! something to negotiate (RFC 7143 §11.9.1, events 0 and 4).

use iscsi_wire::Lun64;
use scsi::lu::UnitAttention;
use scsi::{Done, Lun, Sense, SenseFormat};

use super::cx::Cx;
use super::session::SessionLink;
use crate::shared::UnitIndex;

/// By when an initiator that is asked to negotiate is to begin, in seconds.
const NEGOTIATE_WITHIN: u16 = 10;

impl SessionLink {
    /// A unit attention was established, and stays pending: the next command hears of it too. It is told over one connection, for
    /// each LUN that shows the unit.
    pub(super) fn report(&mut self, unit: UnitIndex, attention: UnitAttention, cx: &mut Cx) {
        let Some(c) = self.connections.open().next().map(|one| one.c) else {
            return;
        };
        if self.ending.is_some() {
            return;
        }
        let (asc, ascq) = attention.additional_sense();
        let done = Done::check_condition(Sense::unit_attention(asc, ascq), SenseFormat::Fixed);
        let mut sense = Vec::new();
        done.write_sense(&mut sense);
        let luns = self.place.luns.clone();
        for entry in luns.iter().filter(|entry| entry.unit == unit) {
            if let Some(lun) = Lun::new(entry.lun.0) {
                self.proto.report_event(c, Lun64(lun.encode()), &sense);
            }
        }
        self.mark_dirty(cx);
    }

    /// Data segments may be of another length from now on: each connection's initiator is asked to hear it.
    pub(super) fn ask_to_negotiate(&mut self, max_recv_bytes: u32, cx: &mut Cx) {
        if self.ending.is_some() || self.discovery {
            return;
        }
        for connection in self.connections.open() {
            let c = connection.c;
            self.proto
                .request_negotiation(c, max_recv_bytes, NEGOTIATE_WITHIN);
        }
        self.mark_dirty(cx);
    }
}
