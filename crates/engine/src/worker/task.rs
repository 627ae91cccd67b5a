//! A command on its way: what the device server wants next, and the memory it has.

use iscsi_proto::session::{ConnectionIndex, TaskId};
use reactor::{Buffer, Frozen, Memory, Pin};
use scsi::lu::TaskKey;
use scsi::{Command, Done, Io, Step};

use super::part::TaskPart;
use crate::shared::UnitIndex;
use crate::slots::Key;

/// Windows of read data that a task may hold: one that the socket drains, one that the backstore fills.
pub(super) const READ_WINDOWS: usize = 2;

/// One SCSI command, from its header to its status.
pub(super) struct Task {
    pub(super) key: TaskKey,
    /// The connection that brought it, and that its answer goes over.
    pub(super) connection: ConnectionIndex,
    /// What it sends is copied, and not taken from a store's own memory: its connection has a data digest, or its session keeps what it
    /// sends.
    pub(super) copies: bool,
    /// Its session recovers: read data is kept until it is acknowledged, and not only until it is sent.
    pub(super) keeps: bool,
    pub(super) unit: UnitIndex,
    pub(super) write_protected: bool,
    pub(super) command: Command,
    pub(super) scsi: Option<scsi::Task>,
    pub(super) state: State,
    /// The part of the command's data that the device server works on: offset and bytes.
    pub(super) collected: (u32, u32),
    /// The command's Data-Out is valid from its start up to here.
    pub(super) contiguous: u32,
    pub(super) window: Window,
    pub(super) reads: [Option<ReadWindow>; READ_WINDOWS],
    pub(super) scratch: Option<Buffer>,
    /// Its scratch memory is the one that is lent beyond every share, see [`super::cx::Cx::emergency`].
    pub(super) emergency: bool,
    pub(super) aborting: bool,
    /// Where it is aborted, its answer is TASK ABORTED; else it has none.
    pub(super) tells_abort: bool,
    /// Its Data-Out broke the rules while a backstore worked for it.
    pub(super) fault: Option<iscsi_proto::session::DataFault>,
    /// Read data up to here has been told to the protocol.
    pub(super) announced: u32,
    /// A store operation, while a backstore has one.
    pub(super) op: Option<Key>,
    /// What it counts for in its session's share of memory, in bytes.
    pub(super) held_bytes: usize,
    /// The part of a third-party copy that it has under way: all that comes for the task is for it.
    pub(super) part: Option<Box<TaskPart>>,
}

/// What a task waits for.
#[derive(Debug)]
pub(super) enum State {
    /// Its turn in CmdSN order.
    Undelivered,
    /// Data-Out: resume when [`Task::contiguous`] reaches the end.
    DataOut { offset: u32, bytes: u32 },
    /// Memory, to do this step.
    Starving(Step),
    /// Its turn again, after others had theirs: it has done much at one go.
    Yielded(Step),
    /// Earlier windows to be sent, before this read.
    Undrained(Io),
    /// A backstore.
    Storing(Io),
    /// The home, or a fence to be lifted.
    Waiting,
    /// Has its answer: what that does to other commands has to be done first, or an ACA condition cleared. Its parameter data
    /// are kept with it.
    Ending(Box<(Done, Vec<u8>)>),
    /// Its answer to be gathered.
    Answered,
}

/// The memory that Data-Out is collected in: part of the command's data, from `start` on.
#[derive(Debug, Default)]
pub(super) struct Window {
    pub(super) start: u32,
    pub(super) memory: WindowMemory,
}

#[derive(Debug, Default)]
pub(super) enum WindowMemory {
    #[default]
    None,
    Here(Buffer),
    /// With the driver, which receives into it, or with a backstore, which writes it.
    Away,
}

impl Window {
    pub(super) fn buffer(&self) -> Option<&Buffer> {
        if let WindowMemory::Here(buffer) = &self.memory {
            Some(buffer)
        } else {
            None
        }
    }

    pub(super) fn buffer_mut(&mut self) -> Option<&mut Buffer> {
        if let WindowMemory::Here(buffer) = &mut self.memory {
            Some(buffer)
        } else {
            None
        }
    }

    /// The bytes of the command's data from `offset` on, if they are here.
    pub(super) fn slice(&self, offset: u32, bytes: u32) -> Option<&[u8]> {
        let at = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        self.buffer()?
            .get(at..at.checked_add(usize::try_from(bytes).ok()?)?)
    }

    /// Takes the buffer away.
    pub(super) fn take(&mut self) -> Option<Buffer> {
        match std::mem::replace(&mut self.memory, WindowMemory::Away) {
            WindowMemory::Here(buffer) => Some(buffer),
            other => {
                self.memory = other;
                None
            }
        }
    }

    pub(super) fn put_back(&mut self, buffer: Buffer) {
        self.memory = WindowMemory::Here(buffer);
    }

    /// Whether the command's data [offset, offset + bytes) has a place here.
    pub(super) fn covers(&self, offset: u32, bytes: u32) -> bool {
        let Some(at) = offset.checked_sub(self.start) else {
            return false;
        };
        let end = u64::from(at) + u64::from(bytes);
        self.buffer().is_some_and(|b| end <= b.len() as u64)
    }
}

/// Data-In that waits to be gathered.
#[derive(Debug)]
pub(super) struct ReadWindow {
    pub(super) offset: u32,
    pub(super) bytes: u32,
    pub(super) data: ReadData,
    /// What it counts for in its session's share of memory, in bytes.
    pub(super) held_bytes: usize,
    /// As what the shard knows the read while it is sent from the store's own memory.
    pub(super) pin: Option<TaskKey>,
}

#[derive(Debug)]
pub(super) enum ReadData {
    Frozen(Frozen),
    Pinned(Pin),
    /// Parameter data: small, copied into the list's arena.
    Small(Vec<u8>),
}

impl ReadWindow {
    /// Data that was copied, from `offset` of the command's on.
    #[inline]
    pub(super) fn copied(offset: u32, buffer: Buffer) -> Self {
        Self {
            offset,
            bytes: u32::try_from(buffer.len()).unwrap_or(u32::MAX),
            held_bytes: buffer.capacity(),
            data: ReadData::Frozen(buffer.freeze()),
            pin: None,
        }
    }

    /// Data that is sent from the store's own memory; the shard knows the read by this name.
    #[inline]
    pub(super) fn pinned(offset: u32, pin: Pin, key: TaskKey) -> Self {
        Self {
            offset,
            bytes: pin.len(),
            data: ReadData::Pinned(pin),
            held_bytes: 0,
            pin: Some(key),
        }
    }
}

impl Task {
    #[inline(always)]
    pub(super) fn new(
        key: TaskKey,
        unit: UnitIndex,
        write_protected: bool,
        command: Command,
    ) -> Self {
        Self {
            key,
            connection: ConnectionIndex::default(),
            copies: false,
            keeps: false,
            unit,
            write_protected,
            command,
            scsi: None,
            state: State::Undelivered,
            collected: (0, 0),
            contiguous: 0,
            window: Window::default(),
            reads: [const { None }; READ_WINDOWS],
            scratch: None,
            emergency: false,
            aborting: false,
            tells_abort: false,
            fault: None,
            announced: 0,
            op: None,
            held_bytes: 0,
            part: None,
        }
    }

    /// The step it was parked with, to be done now.
    pub(super) fn take_parked(&mut self) -> Option<Step> {
        match std::mem::replace(&mut self.state, State::Waiting) {
            State::Starving(step) | State::Yielded(step) => Some(step),
            State::Undrained(io) => Some(Step::Io(io)),
            other => {
                self.state = other;
                None
            }
        }
    }

    /// The name of its part, while it has one.
    pub(super) fn part_key(&self) -> Option<TaskKey> {
        self.part.as_deref().map(|part| part.key)
    }

    /// The unit that its I/O goes to.
    pub(super) fn io_unit(&self) -> UnitIndex {
        self.part.as_deref().map_or(self.unit, |part| part.unit)
    }

    /// A place for one more window of read data.
    pub(super) fn free_read_slot(&mut self) -> Option<&mut Option<ReadWindow>> {
        self.reads.iter_mut().find(|slot| slot.is_none())
    }

    /// A window that is sent from the store's own memory.
    pub(super) fn keep_pin(&mut self, offset: u32, pin: Pin, key: TaskKey) {
        if let Some(slot) = self.free_read_slot() {
            *slot = Some(ReadWindow::pinned(offset, pin, key));
        }
    }

    /// The end of the window of read data that comes first.
    pub(super) fn first_read_end(&self) -> Option<u32> {
        let windows = self.reads.iter().flatten();
        windows.map(|w| w.offset.saturating_add(w.bytes)).min()
    }

    pub(super) fn read_window(&self, offset: u32) -> Option<&ReadWindow> {
        let holds = |w: &&ReadWindow| {
            offset >= w.offset && u64::from(offset) < u64::from(w.offset) + u64::from(w.bytes)
        };
        self.reads.iter().flatten().find(holds)
    }

    /// Lets go of the windows that end at or before `end`: pins go to `pins`. Returns what they counted for, if there was one.
    pub(super) fn drop_reads_through(
        &mut self,
        end: u64,
        pins: &mut Vec<(UnitIndex, TaskKey)>,
    ) -> Option<usize> {
        let mut dropped = None;
        for slot in &mut self.reads {
            let over = |w: &mut ReadWindow| u64::from(w.offset) + u64::from(w.bytes) <= end;
            if let Some(window) = slot.take_if(over) {
                dropped = Some(dropped.unwrap_or(0) + window.held_bytes);
                pins.extend(window.pin.map(|key| (self.unit, key)));
            }
        }
        if let Some(bytes) = dropped {
            self.held_bytes = self.held_bytes.saturating_sub(bytes);
        }
        dropped
    }

    /// The pins of windows that are still here.
    pub(super) fn pins(&self) -> impl Iterator<Item = (UnitIndex, TaskKey)> {
        let pin = |w: &ReadWindow| w.pin.map(|key| (self.unit, key));
        self.reads.iter().flatten().filter_map(pin)
    }

    /// Puts a request's memory back where it came from.
    pub(super) fn take_back(&mut self, io: &Io, memory: Option<Memory>) {
        let Some(memory) = memory else { return };
        match io {
            Io::Read {
                into: scsi::ReadInto::DataIn { offset },
                ..
            } => {
                let offset = *offset;
                if let Memory::Owned(buffer) = memory
                    && let Some(slot) = self.free_read_slot()
                {
                    *slot = Some(ReadWindow::copied(offset, buffer));
                }
            }
            Io::Write {
                from: scsi::WriteFrom::DataOut { .. },
                ..
            } => {
                if let Some(buffer) = thaw(memory) {
                    self.window.put_back(buffer);
                }
            }
            _ => self.scratch = thaw(memory),
        }
    }
}

/// The buffer behind a request's memory, to be written again.
fn thaw(memory: Memory) -> Option<Buffer> {
    match memory {
        Memory::Owned(buffer) => Some(buffer),
        Memory::Frozen { buffer, .. } => buffer.try_unfreeze().ok(),
        Memory::Pinned(_) => None,
    }
}

/// A placed receive: whose window the driver has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placing {
    pub(super) task: TaskId,
    pub(super) key: TaskKey,
}
