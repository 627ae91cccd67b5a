//! Memory of reads and writes of blocks with protection information: it stands apart from them in the store, and behind each of
//! them on the wire.
//!
//! One buffer does for a window: it has room for both, the blocks are moved apart or together in it. So nobody waits for memory
//! with memory in hand.

use reactor::{Buffer, Memory};

use super::cx::Cx;
use super::io::{Ground, lend, scratch};
use super::task::{ReadData, ReadWindow, Task};

const TUPLE: usize = block::TUPLE_BYTES as usize;

/// Memory that the tuples of some blocks are read into, with room for the blocks and them.
pub(super) fn read_ground(
    task: &mut Task,
    (bytes, blocks, delivers): (usize, u64, bool),
    held: usize,
    cx: &mut Cx,
) -> Ground {
    let tuples = tuple_bytes(blocks);
    let room = bytes.saturating_add(tuples);
    let ground = match (delivers, task.scratch.is_none()) {
        (true, _) if task.free_read_slot().is_none() => return Ground::Undrained,
        // What is delivered leaves the task: it is no memory beyond a share.
        (true, true) => lend(task, room, held, cx),
        _ => scratch(task, room, held, cx),
    };
    cut(ground, tuples)
}

/// Memory with the tuples that the task has to write, with room for the blocks: some commands read them again.
pub(super) fn write_ground(
    task: &mut Task,
    (bytes, blocks): (usize, u64),
    held: usize,
    cx: &mut Cx,
) -> Ground {
    let length = tuple_bytes(blocks);
    let ground = scratch(task, bytes.saturating_add(length), held, cx);
    let ground = cut(ground, length);
    let Ground::Memory(Some(Memory::Owned(mut buffer))) = ground else {
        return ground;
    };
    let tuples = task.scsi.as_ref().map_or(&[][..], |scsi| scsi.tuples());
    // The device server made them for just these blocks.
    if tuples.len() == buffer.len() {
        buffer.copy_from_slice(tuples);
    }
    Ground::Memory(Some(Memory::Owned(buffer)))
}

/// Moves the blocks of the Data-Out window together that stand from `offset` on.
pub(super) fn strip(task: &mut Task, (offset, blocks): (u32, u64), block_bytes: usize) -> Ground {
    let at = offset.saturating_sub(task.window.start) as usize;
    let bytes = tuple_bytes(blocks).saturating_mul(block_bytes / TUPLE + 1);
    let window = task.window.buffer_mut();
    let Some(place) = window.and_then(|window| window.get_mut(at..at.saturating_add(bytes))) else {
        return Ground::Starving;
    };
    scsi::strip_tuples(place, block_bytes);
    Ground::Pinned
}

/// Makes a window of Data-In of what the task has read.
pub(super) fn deliver(
    task: &mut Task,
    (offset, with_tuples): (u32, bool),
    block_bytes: usize,
) -> Ground {
    let Some(mut buffer) = task.scratch.take() else {
        return Ground::Starving;
    };
    if with_tuples {
        let tuples = task.scsi.as_ref().map_or(&[][..], |scsi| scsi.tuples());
        buffer.set_len(buffer.len() + tuples.len());
        scsi::insert_tuples(&mut buffer, block_bytes, tuples);
    }
    keep(task, offset, buffer);
    Ground::Pinned
}

fn keep(task: &mut Task, offset: u32, buffer: Buffer) {
    let bytes = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
    let held_bytes = buffer.capacity();
    if let Some(slot) = task.free_read_slot() {
        *slot = Some(ReadWindow {
            offset,
            bytes,
            data: ReadData::Frozen(buffer.freeze()),
            held_bytes,
            pin: None,
        });
    }
}

fn tuple_bytes(blocks: u64) -> usize {
    let bytes = blocks.saturating_mul(TUPLE as u64);
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// The same memory, of which so many bytes are shown.
fn cut(ground: Ground, bytes: usize) -> Ground {
    match ground {
        Ground::Memory(Some(Memory::Owned(mut buffer))) => {
            buffer.set_len(bytes);
            Ground::Memory(Some(Memory::Owned(buffer)))
        }
        ground => ground,
    }
}
