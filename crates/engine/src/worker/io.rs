//! A task's I/O: memory for it, the request to the backstore, and what comes back.

use backstores::{IoDone, IoRequest, StoreIo};
use block::{IoError, IoErrorKind, Lba};
use iscsi_proto::session::TaskId;
use reactor::{Buffer, Memory};
use scsi::lu::{Admit, IoKind};
use scsi::{Io, MAP_BYTES, ReadInto, Step, TaskAttribute, WriteFrom};

use super::cx::{Cx, Kind, Owner, StoreOp, from_token, pin_key, token};
use super::protection;
use super::session::SessionLink;
use super::step::{Event, Progress};
use super::task::{State, Task};
use super::unit::{Unit, Units};

/// What an I/O works on.
pub(super) enum Ground {
    /// This memory; `None` for what moves no data.
    Memory(Option<Memory>),
    /// The store's own memory, which is read as it is sent, or none that a store is asked for: it is done.
    Pinned,
    /// Both windows are still to be sent.
    Undrained,
    /// There is no memory now.
    Starving,
}

impl SessionLink {
    /// Step::Io: gives a request to the backstore.
    pub(super) fn start_io(
        &mut self,
        id: TaskId,
        io: Io,
        units: &mut Units,
        cx: &mut Cx,
    ) -> Progress {
        self.announce(id, cx);
        let (held, link) = (self.held_bytes, self.key);
        let Some(task) = self.task(id) else {
            return Progress::Later;
        };
        let index = task.io_unit();
        let Some(unit) = units.find(index) else {
            let gone = IoError::new(IoErrorKind::Gone, store_io(&io).kind());
            return Progress::Now(Event::Io(Err(gone)));
        };
        let (before, copies) = (task.held_bytes, task.copies);
        let memory = match ground(task, &io, unit, copies, held, cx) {
            Ground::Memory(memory) => memory,
            Ground::Pinned => return Progress::Now(Event::Io(Ok(()))),
            Ground::Undrained => {
                task.state = State::Undrained(io);
                self.want_room(id, cx);
                return Progress::Later;
            }
            Ground::Starving => {
                task.state = State::Starving(Step::Io(io));
                cx.starving.push_back((link, id));
                self.memory_is_short(cx);
                return Progress::Later;
            }
        };
        let lent = task.held_bytes - before;
        let op = cx.ops.insert(StoreOp {
            owner: Owner::Task {
                link,
                task: id,
                key: task.key,
            },
            unit: index,
        });
        task.op = Some(op);
        let token = token(Kind::Store, op);
        let request = IoRequest {
            token,
            io: store_io(&io),
            memory,
            passes: 0,
        };
        task.state = State::Storing(io);
        unit.store.submit(request, &mut cx.port(index));
        self.held_bytes += lent;
        // A store that answers at once needs no detour over the queue.
        if cx.done.back().is_some_and(|done| done.token == token)
            && let Some(done) = cx.done.pop_back()
            && let Some(event) = self.store_done(id, done, cx)
        {
            return Progress::Now(event);
        }
        Progress::Later
    }

    /// A backstore is done with a request of this task: its memory comes back. `None`: the task was not waiting for it.
    fn store_done(&mut self, id: TaskId, done: IoDone, cx: &mut Cx) -> Option<Event> {
        let (_, op_key) = from_token(done.token);
        let op = cx.ops.remove(op_key)?;
        let task = self.task(id)?;
        if !matches!(op.owner, Owner::Task { key, .. } if key == task.key) {
            return None;
        }
        task.op = None;
        if let State::Storing(io) = std::mem::replace(&mut task.state, State::Waiting) {
            task.take_back(&io, done.memory);
        }
        Some(Event::Io(done.result))
    }

    /// The same, for a completion that came by the queue.
    pub(super) fn handle_store_done(
        &mut self,
        id: TaskId,
        done: IoDone,
        units: &mut Units,
        cx: &mut Cx,
    ) {
        let Some(event) = self.store_done(id, done, cx) else {
            return;
        };
        let Some(task) = self.task(id) else { return };
        if task.aborting {
            return self.finish_abort(id, units, cx);
        }
        if let Some(fault) = task.fault {
            return self.finish_fault(id, fault, units, cx);
        }
        self.go_on(id, event, units, cx);
    }

    /// Queues windows that have been read and not been told to the protocol: more are to follow.
    fn announce(&mut self, id: TaskId, cx: &mut Cx) {
        let Some(task) = self.task(id) else { return };
        let from = task.announced;
        let mut told = Vec::new();
        for window in task.reads.iter().flatten() {
            if window.offset >= from {
                told.push((window.offset, window.bytes));
            }
        }
        if told.is_empty() {
            return;
        }
        told.sort_unstable();
        for (offset, bytes) in told {
            if let Some(task) = self.task(id) {
                task.announced = offset.saturating_add(bytes);
            }
            self.proto.data_in(id, offset, bytes);
        }
        self.mark_dirty(cx);
    }
}

/// Memory for an I/O of the task, whose session holds `held` bytes.
fn ground(
    task: &mut Task,
    io: &Io,
    unit: &mut Unit,
    copies: bool,
    held: usize,
    cx: &mut Cx,
) -> Ground {
    let block_size_bytes = unit.shard.snapshot().geometry().block_size_bytes;
    let bytes = |blocks: u64| {
        let bytes = blocks.saturating_mul(u64::from(block_size_bytes));
        usize::try_from(bytes).unwrap_or(usize::MAX)
    };
    match *io {
        Io::Read {
            lba,
            blocks,
            into: ReadInto::DataIn { offset },
        } => {
            if task.free_read_slot().is_none() {
                return Ground::Undrained;
            }
            // A digest covers the very bytes that are sent: memory that others write is copied first.
            if !copies && pin(task, unit, (lba, blocks), offset, cx) {
                return Ground::Pinned;
            }
            lend(task, bytes(blocks), held, cx)
        }
        Io::Read {
            blocks,
            into: ReadInto::Scratch,
            ..
        } => scratch(task, bytes(blocks), held, cx),
        Io::Write { blocks, from, .. } => write_ground(task, from, bytes(blocks), held, cx),
        Io::ReadTuples {
            blocks, delivers, ..
        } => protection::read_ground(task, (bytes(blocks), blocks, delivers), held, cx),
        Io::WriteTuples { blocks, .. } => {
            protection::write_ground(task, (bytes(blocks), blocks), held, cx)
        }
        Io::Strip { offset, blocks } => protection::strip(task, (offset, blocks), bytes(1)),
        Io::Deliver {
            offset,
            with_tuples,
        } => protection::deliver(task, (offset, with_tuples), bytes(1)),
        Io::Map { .. } => scratch(task, MAP_BYTES, held, cx),
        Io::Flush | Io::Unmap { .. } | Io::WriteZeroes { .. } => Ground::Memory(None),
    }
}

/// Memory for a write of `bytes` bytes, with what is to be written in it.
#[inline]
fn write_ground(
    task: &mut Task,
    from: WriteFrom,
    bytes: usize,
    held: usize,
    cx: &mut Cx,
) -> Ground {
    match from {
        WriteFrom::Pattern { bytes: length } => match scratch(task, bytes, held, cx) {
            Ground::Memory(Some(Memory::Owned(mut buffer))) => {
                let pattern = task.window.slice(task.window.start, length);
                scsi::fill_pattern(pattern.unwrap_or_default(), &mut buffer);
                Ground::Memory(Some(Memory::Owned(buffer)))
            }
            other => other,
        },
        WriteFrom::Scratch => match task.scratch.take() {
            Some(buffer) => Ground::Memory(Some(part_of(buffer, 0, bytes))),
            None => Ground::Starving,
        },
        WriteFrom::OrScratch { offset } => or_scratch(task, offset, bytes),
        WriteFrom::DataOut { offset } => {
            let at = offset.saturating_sub(task.window.start);
            match task.window.take() {
                Some(buffer) => Ground::Memory(Some(part_of(buffer, at, bytes))),
                None => Ground::Starving,
            }
        }
    }
}

/// Has a read sent from the store's own memory, if the store has such. It counts as an I/O of the logical unit until the socket has
/// taken it, so that a fence waits for it: what others may write only as one step is never sent half written.
fn pin(
    task: &mut Task,
    unit: &mut Unit,
    (lba, blocks): (Lba, u64),
    offset: u32,
    cx: &mut Cx,
) -> bool {
    let Some(nexus) = task.scsi.as_ref().map(scsi::Task::nexus) else {
        return false;
    };
    let Some(pin) = unit.store.pin(lba, blocks) else {
        return false;
    };
    let key = pin_key(cx.next_pin());
    let shard = &mut unit.shard;
    if shard.enter(key, nexus, TaskAttribute::Simple).is_ok() {
        let version = shard.version();
        if shard.admit_io(key, Some((lba, blocks)), IoKind::Read, version) == Admit::Go {
            task.keep_pin(offset, pin, key);
            return true;
        }
        shard.leave(key);
    }
    false
}

/// `bytes` bytes from `at` on, whole or as a part that can be made whole again.
fn part_of(buffer: Buffer, at: u32, bytes: usize) -> Memory {
    if at == 0 && buffer.len() == bytes {
        return Memory::Owned(buffer);
    }
    let end = at.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
    Memory::Frozen {
        buffer: buffer.freeze(),
        range: at..end,
    }
}

/// The task's scratch memory, made or reused.
pub(super) fn scratch(task: &mut Task, bytes: usize, held: usize, cx: &mut Cx) -> Ground {
    match task.scratch.take() {
        Some(mut buffer) if buffer.capacity() >= bytes => {
            buffer.set_len(bytes);
            Ground::Memory(Some(Memory::Owned(buffer)))
        }
        _ => match lend(task, bytes, held, cx) {
            // A third-party copy may hold its memory for as long as another unit takes; what it waits for needs this one.
            Ground::Starving if !cx.emergency && task.part.is_none() => emergency(task, bytes, cx),
            ground => ground,
        },
    }
}

/// What the task has read into its scratch memory, with the bits of its Data-Out from `offset` on set in it.
fn or_scratch(task: &mut Task, offset: u32, bytes: usize) -> Ground {
    let Some(mut buffer) = task.scratch.take() else {
        return Ground::Starving;
    };
    let length = u32::try_from(bytes).unwrap_or(u32::MAX);
    for (read, sent) in buffer
        .iter_mut()
        .zip(task.window.slice(offset, length).unwrap_or_default())
    {
        *read |= sent;
    }
    Ground::Memory(Some(Memory::Owned(buffer)))
}

/// One task of a worker at a time gets scratch memory beyond every share: tasks that all hold a window and all wait for
/// scratch memory would wait for each other.
fn emergency(task: &mut Task, bytes: usize, cx: &mut Cx) -> Ground {
    let Some(buffer) = cx.slab.allocate(bytes) else {
        return Ground::Starving;
    };
    cx.emergency = true;
    task.emergency = true;
    Ground::Memory(Some(Memory::Owned(buffer)))
}

pub(super) fn lend(task: &mut Task, bytes: usize, held: usize, cx: &Cx) -> Ground {
    let Some(buffer) = cx.lend(bytes, held) else {
        return Ground::Starving;
    };
    task.held_bytes += buffer.capacity();
    Ground::Memory(Some(Memory::Owned(buffer)))
}

pub(super) fn store_io(io: &Io) -> StoreIo {
    match *io {
        Io::Read { lba, blocks, .. } => StoreIo::Read { lba, blocks },
        Io::Write {
            lba,
            blocks,
            durable,
            ..
        } => StoreIo::Write {
            lba,
            blocks,
            durable,
        },
        // Where no store is asked, nothing gets here.
        Io::Flush | Io::Strip { .. } | Io::Deliver { .. } => StoreIo::Flush,
        Io::ReadTuples { lba, blocks, .. } => StoreIo::ReadTuples { lba, blocks },
        Io::WriteTuples {
            lba,
            blocks,
            durable,
        } => StoreIo::WriteTuples {
            lba,
            blocks,
            durable,
        },
        Io::Map { lba, blocks } => StoreIo::Map { lba, blocks },
        Io::Unmap { lba, blocks } => StoreIo::Unmap { lba, blocks },
        Io::WriteZeroes {
            lba,
            blocks,
            may_unmap,
        } => StoreIo::WriteZeroes {
            lba,
            blocks,
            may_unmap,
        },
    }
}
