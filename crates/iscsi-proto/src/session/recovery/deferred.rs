//! Requests that bring data of their own, in a session that recovers and has a data digest: they count as received once that digest has been
//! seen (RFC 7143 §7.3, §7.8). One whose digest is wrong is rejected, and leaves a gap in CmdSN that the initiator fills by sending it again.

use iscsi_wire::{Bhs, RejectReason, SerialNumber};

use crate::connection::{Connection, Purpose, Segment};
use crate::session::input::Admission;
use crate::session::task::RequestSlot;
use crate::session::window::{Arrival, HeldRequest};
use crate::session::{ConnectionIndex, Event, Session, TaskId};

impl Session {
    /// Whether a request counts as received only after its data.
    pub(in crate::session) fn waits_for_digest(&self, c: ConnectionIndex, bhs: &Bhs) -> bool {
        self.recovers()
            && bhs.data_segment_length() > 0
            && self.connection(c).is_some_and(|one| one.data_digest)
    }

    /// Judges a request that has data and no order towards commands: now, or after that data.
    pub(in crate::session) fn admit_with_data(
        &mut self,
        c: ConnectionIndex,
        bhs: &Bhs,
    ) -> Admission {
        let waits = !bhs.immediate() && self.waits_for_digest(c, bhs);
        if waits && self.window.classify(cmd_sn_of(bhs)) != Arrival::Ignored {
            return Admission::Now(RequestSlot::None);
        }
        self.admit(c, bhs, RequestSlot::Immediate, HeldRequest::Nothing)
    }

    /// The data of a request has come, and it was right: the place it has if it did not have one before. `None` where it is ignored.
    pub(in crate::session) fn admit_proved(
        &mut self,
        c: ConnectionIndex,
        bhs: &Bhs,
        slot: RequestSlot,
    ) -> Option<RequestSlot> {
        if slot != RequestSlot::None || bhs.immediate() || !self.waits_for_digest(c, bhs) {
            return Some(slot);
        }
        let cmd_sn = cmd_sn_of(bhs);
        // Another connection may have filled the gap meanwhile, as by an abort of it.
        if self.window.classify(cmd_sn) == Arrival::Ignored {
            self.counters.ignored_requests += 1;
            return None;
        }
        self.window.accept(cmd_sn, HeldRequest::Nothing);
        Some(RequestSlot::Numbered)
    }

    /// A command has immediate data: its CmdSN does not count, nor is it delivered, before that has come.
    pub(in crate::session) fn hold_unproved(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get_mut(id) else {
            return;
        };
        if task.slot == RequestSlot::Numbered {
            task.slot = RequestSlot::None;
        }
        if let Some(recovery) = &mut task.recovery {
            recovery.unproved = true;
        }
    }

    /// The immediate data of a command has come, and was right: the command counts as received, and is delivered in its turn.
    pub(in crate::session) fn prove_command(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get_mut(id) else {
            return;
        };
        let numbered = task.slot == RequestSlot::None;
        let (cmd_sn, answered) = (task.cmd_sn, task.completion.is_some());
        let unproved = task.recovery.as_mut().map(|one| &mut one.unproved);
        if !unproved.is_some_and(core::mem::take) {
            return;
        }
        let mut arrival = Arrival::InOrder;
        if numbered {
            arrival = self.window.classify(cmd_sn);
            if arrival == Arrival::Ignored {
                self.counters.ignored_requests += 1;
                return self.let_go(id);
            }
            self.window.accept(cmd_sn, HeldRequest::Command(id));
            if let Some(task) = self.tasks.get_mut(id) {
                task.slot = RequestSlot::Numbered;
            }
        }
        if answered {
            self.queue_answer(id);
        } else if arrival == Arrival::InOrder {
            self.tell_engine(Event::Deliver { task: id });
        }
    }

    /// A command is aborted before its data has come: its CmdSN counts as received, unless its connection has gone (RFC 7143 §11.6.1, §11.14).
    pub(in crate::session) fn count_unproved(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(id).filter(|task| task.is_unproved()) else {
            return;
        };
        let (cmd_sn, numbered) = (task.cmd_sn, task.slot == RequestSlot::None);
        let open = |one: &Connection| one.ending.is_none();
        if numbered && self.connection(task.connection).is_some_and(open) {
            self.window.plug(cmd_sn, cmd_sn.next());
        }
    }

    /// Takes back the data of a PDU that was collected last.
    fn drop_collected(&mut self, c: ConnectionIndex, bhs: &Bhs) {
        let bytes = bhs.data_segment_length() as usize;
        if let Some(connection) = self.connection_mut(c) {
            let whole = connection.collected.len();
            connection.collected.truncate(whole.saturating_sub(bytes));
        }
    }

    /// RFC 7143 §7.8: a request whose data is damaged is rejected and discarded.
    pub(in crate::session) fn discard_damaged(
        &mut self,
        c: ConnectionIndex,
        segment: &Segment,
    ) -> Option<Event> {
        match segment.purpose {
            Purpose::Immediate(id) => self.let_go(id),
            Purpose::Ping { slot, .. } | Purpose::Text { slot } => {
                self.drop_collected(c, &segment.bhs);
                self.free_slot(c, slot);
            }
            Purpose::DataOut { .. } | Purpose::Ignore => {}
        }
        self.reject(c, RejectReason::DataDigestError, &segment.bhs)
    }
}

fn cmd_sn_of(bhs: &Bhs) -> SerialNumber {
    let [.., a, b, c, d] = bhs.0[..28] else {
        return SerialNumber(0);
    };
    SerialNumber(u32::from_be_bytes([a, b, c, d]))
}
