//! READ and WRITE that are over as soon as they have come: the logical unit is quiet ([`LuShard::plain`](scsi::lu::LuShard::plain)),
//! and its store has memory of its own to send from, or to write to.
//!
//! What stands here comes to the same as the general way (`receive`, `step`, `io`), with less on the way: a write enters no
//! task set, since nothing can come between its begin and its end; a read enters it once, as the I/O that it is until the
//! socket has its data.

use backstores::LocalStore;
use iscsi_proto::session::{CommandEvent, Outcome};
use reactor::Pin;
use scsi::lu::{Plain, PlainKind};
use scsi::{Command, Status};

use super::cx::{Cx, pin_key, task_key};
use super::session::SessionLink;
use super::task::{State, Task};
use super::unit::{Unit, Units};
use crate::directory::count;
use crate::panics::guard;
use crate::shared::LunEntry;

impl SessionLink {
    /// Does a command that can be done here and now. `input` is what has been received behind its header. Returns whether it
    /// was; if not, nothing has happened.
    pub(super) fn do_plain(
        &mut self,
        event: &CommandEvent,
        (command, entry): (&Command, LunEntry),
        input: &[u8],
        units: &mut Units,
        cx: &mut Cx,
    ) -> bool {
        // What is sent has to be kept, or what comes is damaged perhaps: the general way knows how.
        if !event.deliver || self.proto.recovers() {
            return false;
        }
        let digest = self.connections.get(event.connection);
        if digest.is_none_or(|one| one.data_digest) {
            return false;
        }
        let nexus = self.nexus();
        let Some(unit) = units.find(entry.unit) else {
            return false;
        };
        let Some(plain) = unit.shard.plain(nexus, command, entry.write_protect) else {
            return false;
        };
        match plain.kind {
            PlainKind::Read => {
                if event.brings_data() {
                    return false;
                }
                let Some(pin) = unit.store.pin(plain.lba, plain.blocks) else {
                    return false;
                };
                self.read_plain(event, command, (plain, pin), unit, cx)
            }
            PlainKind::Write { durable } => {
                let whole = event.data_follows == plain.bytes && event.unsolicited_follows == 0;
                let Some(data) = input.get(..plain.bytes as usize).filter(|_| whole) else {
                    return false;
                };
                write_plain(&mut *unit.store, &plain, data, durable) && {
                    unit.shard.count_plain(&plain);
                    self.wrote_plain(event, &plain, cx);
                    true
                }
            }
        }
    }

    fn read_plain(
        &mut self,
        event: &CommandEvent,
        command: &Command,
        (plain, pin): (Plain, Pin),
        unit: &mut Unit,
        cx: &mut Cx,
    ) -> bool {
        let sending = pin_key(cx.next_pin());
        let nexus = self.nexus();
        if !unit.shard.enter_plain_read(sending, nexus, &plain) {
            return false;
        }
        unit.shard.count_plain(&plain);
        self.serial = self.serial.wrapping_add(1);
        let key = task_key(self.key, event.task, self.serial);
        let (index, connection) = (unit.index, event.connection);
        self.put_task(event.task, || Task {
            connection,
            state: State::Answered,
            ..Task::new(key, index, false, *command)
        });
        if let Some(task) = self.task(event.task) {
            task.keep_pin(0, pin, sending);
        }
        let bytes = u64::from(plain.bytes);
        cx.counters.read_bytes.add(bytes);
        count(&self.record.counters.read_bytes, bytes);
        self.answer_plain(event, &plain, Some((0, plain.bytes)), cx);
        true
    }

    /// The blocks are written. The data is still to pass by the protocol, which drops it.
    fn wrote_plain(&mut self, event: &CommandEvent, plain: &Plain, cx: &mut Cx) {
        let bytes = u64::from(plain.bytes);
        cx.counters.written_bytes.add(bytes);
        count(&self.record.counters.written_bytes, bytes);
        self.proto.discard_data(event.task);
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

/// Whether the blocks have been written.
fn write_plain(store: &mut dyn LocalStore, plain: &Plain, data: &[u8], durable: bool) -> bool {
    guard(|| store.write_now(plain.lba, data, durable)).unwrap_or(false)
}
