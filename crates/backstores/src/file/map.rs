//! Which blocks a file keeps: its holes, in blocks.

use std::io;

use block::MapRun;
use reactor::{Buffer, Memory, Op, Token};

use super::local::{LocalFile, Step, Task, end};
use crate::api::IoPort;
use crate::check::put_runs;

impl LocalFile {
    pub(super) fn start_map(
        &mut self,
        token: Token,
        task: Task,
        buffer: Buffer,
        port: &mut dyn IoPort,
    ) {
        if self.store.is_block_device {
            // What a device below keeps it does not tell.
            let all = MapRun {
                blocks: task.range.bytes / self.block_bytes(),
                mapped: true,
            };
            let mut memory = Some(Memory::Owned(buffer));
            put_runs(&mut memory, std::iter::once(all));
            return end(port, token, Ok(()), memory);
        }
        let op = Op::Map {
            file: self.id,
            offset: task.range.offset,
            bytes: task.range.bytes,
            buffer,
        };
        self.push(token, task, Step::Map, op, port);
    }

    pub(super) fn map_done(
        &self,
        token: Token,
        task: &Task,
        result: io::Result<usize>,
        mut buffer: Buffer,
        port: &mut dyn IoPort,
    ) {
        let result = match result {
            Ok(filled) => {
                let bytes = in_blocks(&mut buffer, filled, self.block_bytes());
                buffer.set_len(bytes);
                Ok(())
            }
            Err(error) => Err(task.os_error(&error)),
        };
        end(port, token, result, Some(Memory::Owned(buffer)));
    }

    fn block_bytes(&self) -> u64 {
        u64::from(self.store.geometry().block_size_bytes.max(1))
    }
}

/// Makes runs of bytes, as [`Op::Map`] tells them, into runs of blocks, in their place; how many bytes they take. A block of
/// which any part is kept is mapped.
fn in_blocks(memory: &mut [u8], filled: usize, block_bytes: u64) -> usize {
    let (runs, _) = memory.as_chunks_mut::<{ MapRun::BYTES }>();
    let (mut bytes_told, mut blocks_told) = (0u64, 0u64);
    let mut kept = 0;
    for at in 0..runs.len().min(filled / MapRun::BYTES) {
        let word = u64::from_le_bytes(runs[at]);
        let mapped = word & 1 != 0;
        bytes_told = bytes_told.saturating_add(word >> 1);
        let end = if mapped {
            bytes_told.div_ceil(block_bytes)
        } else {
            bytes_told / block_bytes
        };
        let run = MapRun {
            blocks: end.saturating_sub(blocks_told),
            mapped,
        };
        if run.blocks > 0 {
            runs[kept] = run.to_bytes();
            kept += 1;
            blocks_told = end;
        }
    }
    kept * MapRun::BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_bytes_become_runs_of_blocks_with_part_blocks_mapped() {
        let runs = |told: &[(u64, bool)], block| {
            let words = told
                .iter()
                .map(|(bytes, kept)| bytes << 1 | u64::from(*kept));
            let mut memory: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
            let filled = memory.len();
            memory.extend([0xff; 24]);
            let bytes = in_blocks(&mut memory, filled, block);
            let run = |run: MapRun| (run.blocks, run.mapped);
            MapRun::all(&memory[..bytes]).map(run).collect::<Vec<_>>()
        };
        let told = [(4096, false), (8192, true), (4096, false)];
        assert_eq!(runs(&told, 512), [(8, false), (16, true), (8, false)]);
        // The hole ends within a block, and so does the data behind it.
        let told = [(5000, false), (100, true), (11284, false)];
        assert_eq!(runs(&told, 4096), [(1, false), (1, true), (2, false)]);
        let told = [(1, true), (1, false), (4094, true), (4096, false)];
        assert_eq!(runs(&told, 4096), [(1, true), (1, false)]);
        assert_eq!(runs(&[], 512), []);
    }
}
