//! READ and WRITE that are over as soon as they have come: the logical unit is quiet ([`LuShard::plain`](scsi::lu::LuShard::plain)),
//! and its store has memory of its own to send from, or to write to.
//!
//! What stands here comes to the same as the general way (`receive`, `step`, `io`), with less on the way. A write enters no
//! task set, since nothing can come between its begin and its end, nor does a read whose data is copied; one that is sent from
//! the store's own memory enters it once, as the I/O that it is until the socket has its data.

use iscsi_proto::session::{CommandEvent, Outcome};
use reactor::Pin;
use scsi::lu::{Plain, PlainKind};
use scsi::{Command, Status};

use super::cx::{Cx, pin_key, task_key};
use super::session::SessionLink;
use super::task::{ReadWindow, State, Task};
use super::unit::{Unit, Units};
use crate::directory::count;
use crate::panics::guard;
use crate::shared::LunEntry;

impl SessionLink {
    /// Does a command that can be done here and now. `behind` is what has been received behind its header. Returns how much of
    /// that it took; `None`: nothing has happened.
    pub(super) fn do_plain(
        &mut self,
        event: &CommandEvent,
        (command, entry): (&Command, LunEntry),
        behind: &[u8],
        units: &mut Units,
        cx: &mut Cx,
    ) -> Option<usize> {
        // A session that recovers keeps what it sends, and proves what it receives.
        if !event.deliver || self.proto.recovers() {
            return None;
        }
        let unit = units.find(entry.unit)?;
        let plain = unit
            .shard
            .plain(self.nexus(), command, entry.write_protect)?;
        match plain.kind {
            PlainKind::Read if !event.brings_data() => {
                let read = self.read_plain(event, command, &plain, unit, cx);
                read.then_some(0)
            }
            PlainKind::Write { durable }
                if event.data_follows == plain.bytes && event.unsolicited_follows == 0 =>
            {
                let taken = self.proto.whole_immediate_data(event, behind)?;
                let data = behind.get(..plain.bytes as usize)?;
                let write = || unit.store.write_now(plain.lba, data, durable);
                if !guard(write).unwrap_or(false) {
                    return None;
                }
                unit.shard.count_plain(&plain);
                self.wrote_plain(event, &plain, cx);
                Some(taken)
            }
            _ => None,
        }
    }

    fn read_plain(
        &mut self,
        event: &CommandEvent,
        command: &Command,
        plain: &Plain,
        unit: &mut Unit,
        cx: &mut Cx,
    ) -> bool {
        let Some(pin) = unit.store.pin(plain.lba, plain.blocks) else {
            return false;
        };
        let connection = self.connections.get(event.connection);
        let digest = connection.is_none_or(|one| one.data_digest);
        let Some(window) = (if digest {
            self.copied(&pin, cx)
        } else {
            self.pinned(pin, plain, unit, cx)
        }) else {
            return false;
        };
        unit.shard.count_plain(plain);
        self.serial = self.serial.wrapping_add(1);
        let key = task_key(self.key, event.task, self.serial);
        self.held_bytes += window.held_bytes;
        self.put_task(event.task, || Task::new(key, unit.index, false, *command));
        if let Some(task) = self.task(event.task) {
            task.connection = event.connection;
            task.state = State::Answered;
            task.held_bytes = window.held_bytes;
            task.reads[0] = Some(window);
        }
        let bytes = u64::from(plain.bytes);
        cx.counters.read_bytes.add(bytes);
        count(&self.record.counters.read_bytes, bytes);
        self.answer_plain(event, plain, Some((0, plain.bytes)), cx);
        true
    }

    /// A digest covers the very bytes that are sent: memory that others write is copied first.
    fn copied(&self, pin: &Pin, cx: &Cx) -> Option<ReadWindow> {
        let mut buffer = cx.lend(pin.len() as usize, self.held_bytes)?;
        pin.copy_out(0, &mut buffer).ok()?;
        Some(ReadWindow::copied(0, buffer))
    }

    fn pinned(&self, pin: Pin, plain: &Plain, unit: &mut Unit, cx: &mut Cx) -> Option<ReadWindow> {
        let sending = pin_key(cx.next_pin());
        let entered = unit.shard.enter_plain_read(sending, self.nexus(), plain);
        entered.then(|| ReadWindow::pinned(0, pin, sending))
    }

    /// The blocks are written.
    fn wrote_plain(&mut self, event: &CommandEvent, plain: &Plain, cx: &mut Cx) {
        let bytes = u64::from(plain.bytes);
        cx.counters.written_bytes.add(bytes);
        count(&self.record.counters.written_bytes, bytes);
        self.proto.take_immediate_data(event);
        self.note_progress(event.connection, cx.now);
        self.answer_plain(event, plain, None, cx);
    }

    fn answer_plain(
        &mut self,
        event: &CommandEvent,
        plain: &Plain,
        data_in: Option<(u32, u32)>,
        cx: &mut Cx,
    ) {
        let outcome = Outcome {
            status: Status::Good.code(),
            sense: &[],
            data_in,
            transfer_bytes: u64::from(plain.bytes),
            fence: false,
        };
        if guard(|| self.proto.complete(event.task, &outcome)).is_err() {
            self.poisoned = true;
        }
        self.mark_dirty(cx);
    }
}
