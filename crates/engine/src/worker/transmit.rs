//! Gathers what is ready into one vectored send: header bytes in the list's arena, payloads by reference.

use iscsi_proto::session::{ConnectionIndex, Piece, TaskId};
use iscsi_wire::{Crc32c, pad};
use reactor::{Op, SendList, SendPiece};

use super::cx::{Cx, Kind, token};
use super::ending::EndReason;
use super::session::SessionLink;
use super::task::{ReadData, State, Task};
use super::unit::Units;
use crate::panics::guard;

/// At most this much is gathered into one send.
const SEND_BUDGET_BYTES: usize = 1 << 20;

impl SessionLink {
    /// Sends what is ready on every connection.
    pub(super) fn flush(&mut self, units: &mut Units, cx: &mut Cx) {
        self.dirty = false;
        if self.poisoned {
            return self.panicked(units, cx);
        }
        // What answers have made possible without input: the end after a logout.
        while let Some(event) = self.proto.poll_event() {
            self.event(event, (&[], &[]), units, cx);
        }
        for c in self.connections.places() {
            self.flush_connection(c, units, cx);
        }
        if self.proto.recovers() {
            // What has been sent may be what something waited for.
            while let Some(event) = self.proto.poll_event() {
                self.event(event, (&[], &[]), units, cx);
            }
            self.arm_recovery(cx);
        }
    }

    /// Sends what is ready on a connection, unless a send is under way: then its completion comes here again.
    fn flush_connection(&mut self, c: ConnectionIndex, units: &mut Units, cx: &mut Cx) {
        let Some(connection) = self.connections.get_mut(c) else {
            return;
        };
        if connection.sending.is_some() || connection.is_closed() {
            return;
        }
        let mut list = cx.list();
        cx.transmit.clear();
        std::mem::swap(&mut list.arena, &mut cx.transmit.arena);
        if !connection.preface.is_empty() {
            // The last Login Response goes before everything else, in a send of its own.
            list.arena.append(&mut connection.preface);
            let end = u32::try_from(list.arena.len()).unwrap_or(u32::MAX);
            list.pieces.push(SendPiece::Arena(0..end));
        } else {
            std::mem::swap(&mut list.arena, &mut cx.transmit.arena);
            let (now, transmit) = (cx.now, &mut cx.transmit);
            if guard(|| {
                self.proto
                    .poll_transmit(c, now, transmit, SEND_BUDGET_BYTES)
            })
            .is_err()
            {
                cx.give_back_list(list);
                return self.panicked(units, cx);
            }
            self.gather(c, &mut list, cx);
        }
        if list.pieces.is_empty() {
            cx.give_back_list(list);
            self.release_pins(c, units, cx);
            let connection = self.connections.get(c);
            if connection.is_some_and(|one| one.ending.is_some()) {
                self.close_connection(c, units, cx);
            }
            return;
        }
        let Some(connection) = self.connections.get_mut(c) else {
            return;
        };
        connection.sending = Some(cx.now);
        cx.driver.push(
            Op::Send {
                socket: connection.socket,
                list,
            },
            token(Kind::Send, connection.key),
        );
    }

    /// A send with the driver is over: its memory no longer counts.
    pub(super) fn sent(&mut self, c: ConnectionIndex, ok: bool, units: &mut Units, cx: &mut Cx) {
        let Some(connection) = self.connections.get_mut(c) else {
            return;
        };
        connection.sending = None;
        let sent = std::mem::take(&mut connection.sending_bytes);
        self.held_bytes = self.held_bytes.saturating_sub(sent);
        self.release_pins(c, units, cx);
        if !ok {
            self.end_connection(c, EndReason::Closed, false, units, cx);
        }
        self.mark_dirty(cx);
        self.look_at_connection(c, units, cx);
        self.look_at_end(units, cx);
    }

    /// Turns the protocol's pieces into memory.
    fn gather(&mut self, c: ConnectionIndex, list: &mut SendList, cx: &mut Cx) {
        std::mem::swap(&mut list.arena, &mut cx.transmit.arena);
        let mut pieces = std::mem::take(&mut cx.transmit.pieces);
        for piece in pieces.drain(..) {
            match piece {
                Piece::Arena(range) => list.pieces.push(SendPiece::Arena(range)),
                Piece::TaskData {
                    task,
                    offset,
                    bytes,
                    digest_at,
                } => {
                    self.gather_data(c, task, (offset, bytes), digest_at, list, cx);
                }
                Piece::Release { task } => {
                    // Dropped where it stands: a task is too large to be moved about for nothing.
                    if let Some(slot) = self.tasks.get_mut(task.index())
                        && let Some(task) = slot
                    {
                        self.held_bytes = self.held_bytes.saturating_sub(task.held_bytes);
                        if let Some(connection) = self.connections.get_mut(c) {
                            connection.pins.extend(task.pins());
                        }
                        *slot = None;
                    }
                }
            }
        }
        cx.transmit.pieces = pieces;
    }

    /// One payload, which may lie in several windows.
    fn gather_data(
        &mut self,
        c: ConnectionIndex,
        id: TaskId,
        (mut offset, bytes): (u32, u32),
        digest_at: Option<u32>,
        list: &mut SendList,
        cx: &mut Cx,
    ) {
        let link = self.key;
        let end = offset.saturating_add(bytes);
        let mut crc = digest_at.map(|_| Crc32c::new());
        let Some(task) = self.tasks.get_mut(id.index()).and_then(Option::as_mut) else {
            return self.lost_data(id);
        };
        while offset < end {
            let Some((piece, taken)) = piece_at(task, offset, end, &mut crc, &mut list.arena)
            else {
                return self.lost_data(id);
            };
            list.pieces.push(piece);
            offset = offset.saturating_add(taken.max(1));
        }
        if let (Some(mut crc), Some(at)) = (crc, digest_at) {
            crc.update(&[0; 3][..pad(bytes as usize)]);
            let at = at as usize;
            if let Some(hole) = list.arena.get_mut(at..at + 4) {
                hole.copy_from_slice(&crc.wire_bytes());
            }
        }
        if task.keeps {
            return;
        }
        let Some(connection) = self.connections.get_mut(c) else {
            return;
        };
        if let Some(freed) = task.drop_reads_through(u64::from(end), &mut connection.pins) {
            if matches!(task.state, State::Undrained(_)) {
                cx.drained.push_back((link, id));
            }
            connection.sending_bytes += freed;
        }
    }

    /// The protocol wants to send what is not there. Never sent: anything but the bytes that were read.
    fn lost_data(&mut self, id: TaskId) {
        tracing::error!(
            session = self.id.0,
            task = id.0,
            "read data is gone; the session ends"
        );
        self.poisoned = true;
    }
}

/// The run of one window from `offset` on, and its length.
fn piece_at(
    task: &Task,
    offset: u32,
    end: u32,
    crc: &mut Option<Crc32c>,
    arena: &mut Vec<u8>,
) -> Option<(SendPiece, u32)> {
    let window = task.read_window(offset)?;
    let from = offset.checked_sub(window.offset)?;
    let to = window.bytes.min(end.checked_sub(window.offset)?);
    let range = from..to;
    let span = range.start as usize..range.end as usize;
    let piece = match &window.data {
        ReadData::Frozen(frozen) => {
            if let Some(crc) = crc {
                crc.update(frozen.get(span)?);
            }
            SendPiece::Frozen {
                buffer: frozen.clone(),
                range: range.clone(),
            }
        }
        ReadData::Pinned(pin) => SendPiece::Pinned(pin.slice(range.clone())?),
        ReadData::Small(bytes) => {
            let bytes = bytes.get(span)?;
            if let Some(crc) = crc {
                crc.update(bytes);
            }
            let start = u32::try_from(arena.len()).ok()?;
            arena.extend_from_slice(bytes);
            SendPiece::Arena(start..u32::try_from(arena.len()).ok()?)
        }
    };
    Some((piece, range.end - range.start))
}
