//! One command's data where PDUs may be missing, late or there twice: what [`Task`] does at ErrorRecoveryLevel 1 and above.

use std::time::Duration;

use iscsi_wire::{DataIn, ReadyToTransfer, ResponseCode, ScsiResponse};

use super::incoming::{Arrival, Asked, Kind, Piece};
use crate::session::length_of;
use crate::task::Task;
use crate::{Params, Violation};

impl Task {
    /// Takes the data of a Data-In, whatever its place. The status it may carry is another matter.
    pub(crate) fn take_numbered_data(
        &mut self,
        pdu: &DataIn,
        data: &[u8],
        broken: &mut Vec<Violation>,
    ) {
        let itt = pdu.itt;
        let mut breaks = |rule| broken.push(Violation::Data { itt, rule });
        let bytes = length_of(data);
        let end = pdu.buffer_offset.checked_add(bytes);
        let Some(end) = end.filter(|end| *end <= self.in_expected) else {
            return breaks("Data-In passes what was expected");
        };
        if !pdu.status_present && bytes == 0 {
            breaks("Data-In has neither data nor status");
        }
        let Some(incoming) = self.incoming.as_deref_mut() else {
            return;
        };
        if incoming.count() >= MAX_PIECES {
            return breaks("Data-In PDUs without end");
        }
        let piece = Piece {
            offset: pdu.buffer_offset,
            bytes,
            kind: Kind::Data {
                ends_sequence: pdu.r#final,
            },
        };
        // RFC 7143 §7.9: of a duplicate nothing is taken, and what is acknowledged is so once.
        if pdu.acknowledge && pdu.data_sn >= incoming.acknowledged {
            incoming.ack_wanted = Some(Asked {
                ttt: pdu.ttt,
                lun: pdu.lun,
                data_sn: pdu.data_sn,
            });
        }
        let place = pdu.buffer_offset as usize..end as usize;
        match incoming.take(pdu.data_sn, piece) {
            Arrival::New => {
                if self.input.len() < place.end {
                    self.input.resize(place.end, 0);
                }
                self.input[place].copy_from_slice(data);
                self.in_received = incoming.data().1;
            }
            // RFC 7143 §11.16: what is sent again is an exact replica; §7.9: and is discarded where it came before.
            Arrival::Again if incoming.restarted => {}
            Arrival::Again => {
                if self.input.get(place).is_some_and(|before| before != data) {
                    breaks("Data-In sent again has other data");
                }
            }
            Arrival::Differs => breaks("Data-In sent again is not a replica"),
        }
    }

    /// Takes an R2T, whatever its place. Whether it is to be answered.
    pub(crate) fn take_numbered_r2t(
        &mut self,
        r2t: &ReadyToTransfer,
        params: &Params,
        broken: &mut Vec<Violation>,
    ) -> bool {
        let itt = r2t.itt;
        let mut hold = |holds: bool, rule| {
            if !holds {
                broken.push(Violation::Data { itt, rule });
            }
            holds
        };
        let desired = r2t.desired_data_transfer_length;
        let end = r2t.buffer_offset.checked_add(desired);
        let end = end.filter(|end| *end <= self.out_expected);
        let (Some(end), Some(incoming)) = (end, self.incoming.as_deref_mut()) else {
            return hold(false, "R2T passes what was expected");
        };
        if incoming.restarted && incoming.count() == 0 {
            // After a reassignment the target numbers on, or sends again what it has not seen answered.
            (incoming.next, incoming.until) = (r2t.r2t_sn, r2t.r2t_sn);
        }
        let piece = Piece {
            offset: r2t.buffer_offset,
            bytes: desired,
            kind: Kind::R2t(r2t.ttt),
        };
        let arrival = incoming.take(r2t.r2t_sn, piece);
        let has_holes = incoming.has_holes();
        hold(
            arrival != Arrival::Differs,
            "R2T sent again is not a replica",
        );
        // RFC 7143 §7.9: duplicates are discarded.
        if arrival != Arrival::New {
            return false;
        }
        hold(
            desired <= params.max_burst_length,
            "R2T passes MaxBurstLength",
        );
        hold(
            r2t.lun == self.lun || r2t.lun.0 == 0,
            "R2T names another LUN",
        );
        // RFC 7143 §11.8: a recovery R2T asks again for what an earlier one has asked for; no other goes back, and none leaps.
        let in_order = r2t.buffer_offset <= self.out_sent;
        hold(
            !params.data_sequence_in_order || in_order || has_holes,
            "R2T is out of order",
        );
        self.out_sent = if params.data_sequence_in_order {
            self.out_sent.max(end)
        } else {
            self.out_sent.saturating_add(desired).min(self.out_expected)
        };
        true
    }

    /// What the last Data-In of a command says of how many there are.
    pub(crate) fn expect_data_through(&mut self, pdu: &DataIn) {
        if let Some(incoming) = self.incoming.as_deref_mut() {
            incoming.until = incoming.until.max(pdu.data_sn.saturating_add(1));
        }
    }

    /// RFC 7143 §7.9: an ExpDataSN that implies missing Data-In PDUs.
    pub(crate) fn expect_data_of(&mut self, response: &ScsiResponse) {
        let completed = response.response == ResponseCode::CommandCompleted;
        let shared = self.out_expected > 0;
        let expected = self.in_expected;
        let Some(incoming) = self.incoming.as_deref_mut() else {
            return;
        };
        if completed && !shared && !incoming.restarted {
            incoming.until = incoming.until.max(response.exp_data_sn);
        }
        let (pdus, bytes) = incoming.data();
        // R2Ts count in the numbering and not in ExpDataSN; and the residual tells of what the count does not.
        let told = !incoming.restarted && pdus < response.exp_data_sn;
        let short = !shared && bytes < wanted_bytes(expected, response);
        incoming.wants_rest = completed && ((told && shared) || (short && !incoming.has_holes()));
    }

    /// Of the last R-Data SNACK; 0 without one.
    pub(crate) fn snack_tag(&self) -> u32 {
        self.incoming.as_deref().map_or(0, |of| of.snack_tag)
    }

    /// Whether all data known to be sent has come.
    pub(crate) fn has_all_data(&self) -> bool {
        self.incoming
            .as_deref()
            .is_none_or(|incoming| !incoming.has_holes() && !incoming.wants_rest)
    }

    /// RFC 7143 §11.5.6: what a reassignment acknowledges; what came after it is discarded.
    pub(crate) fn prepare_reassignment(&mut self) -> u32 {
        let reads = self.in_expected > 0;
        let incoming = self.incoming.get_or_insert_default();
        let next = if reads { incoming.next } else { 0 };
        incoming.forget_from(next);
        // RFC 7143 §7.2.2: the SNACK Tag is forgotten with the connection.
        (incoming.snack_tag, incoming.old_segments) = (0, false);
        self.in_received = incoming.data().1;
        next
    }

    /// RFC 7143 §11.16.3: an R-Data SNACK discards what is not acknowledged.
    pub(crate) fn prepare_resegmentation(&mut self, tag: u32, now: Duration) {
        if let Some(incoming) = self.incoming.as_deref_mut() {
            incoming.forget_from(incoming.acknowledged);
            (incoming.snack_tag, incoming.old_segments) = (tag, false);
            incoming.want_rest_from(now);
            self.in_received = incoming.data().1;
        }
    }
}

fn wanted_bytes(expected: u32, response: &ScsiResponse) -> u32 {
    let good = response.status == 0;
    match (good, response.underflow) {
        (true, true) => expected.saturating_sub(response.residual_count),
        (true, false) => expected,
        (false, _) => 0,
    }
}

/// Numbered PDUs of one command.
const MAX_PIECES: usize = 1 << 20;
