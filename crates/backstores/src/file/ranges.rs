//! Giving blocks back, and zeroing them: by the file system's means, or by hand where it has none.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use block::{IoErrorKind, IoOpKind};
use reactor::{LocalShared, Memory, Op, SharedMemory, Token};

use super::local::{LocalFile, Step, Task, end};
use crate::api::IoPort;
use crate::check::ByteRange;

/// Zeros are written in pieces of this size where the file system cannot zero a range.
const ZERO_PIECE_BYTES: u32 = 1 << 20;

impl LocalFile {
    pub(super) fn start_unmap(&mut self, token: Token, task: Task, port: &mut dyn IoPort) {
        let ByteRange { offset, bytes } = task.range;
        let file = self.id;
        if !self.store.caps.unmap {
            // Nobody was told that it can, and nothing is what it does.
            return end(port, token, Ok(()), None);
        }
        let op = if self.store.is_block_device {
            Op::Discard {
                file,
                offset,
                bytes,
            }
        } else {
            Op::Punch {
                file,
                offset,
                bytes,
            }
        };
        self.push(token, task, Step::Range, op, port);
    }

    pub(super) fn start_zeroes(
        &mut self,
        token: Token,
        task: Task,
        may_unmap: bool,
        port: &mut dyn IoPort,
    ) {
        let ByteRange { offset, bytes } = task.range;
        let file = self.id;
        let state = &self.store.state;
        let punch =
            may_unmap && self.store.caps.unmap_zeroes && !state.no_punch.load(Ordering::Relaxed);
        let op = if punch {
            Op::Punch {
                file,
                offset,
                bytes,
            }
        } else if !state.no_zero.load(Ordering::Relaxed) {
            Op::Zero {
                file,
                offset,
                bytes,
            }
        } else {
            return self.write_zeros(token, task, offset, port);
        };
        self.push(token, task, Step::Range, op, port);
    }

    pub(super) fn range_done(
        &mut self,
        token: Token,
        task: Task,
        result: io::Result<()>,
        port: &mut dyn IoPort,
    ) {
        let Err(error) = result else {
            if self.write_cache() {
                return end(port, token, Ok(()), None);
            }
            // Without a cache, what completed is durable; the range operations alone do not promise that.
            return self.join_flush(token, task, port);
        };
        let error = task.os_error(&error);
        if error.kind != IoErrorKind::Unsupported {
            return end(port, token, Err(error), None);
        }
        let state = &self.store.state;
        match task.kind {
            // A discard promises nothing, so one that did nothing has kept its promise.
            IoOpKind::Unmap if self.store.is_block_device => {
                return end(port, token, Ok(()), None);
            }
            // The others read as zeros afterwards, whatever the file system can do.
            IoOpKind::Unmap => state.no_punch.store(true, Ordering::Relaxed),
            _ => state.no_zero.store(true, Ordering::Relaxed),
        }
        self.write_zeros(token, task, task.range.offset, port);
    }

    /// Writes the next piece of zeros from `next` on, or ends the request when there is none.
    pub(super) fn write_zeros(
        &mut self,
        token: Token,
        task: Task,
        next: u64,
        port: &mut dyn IoPort,
    ) {
        let behind = task.range.offset.saturating_add(task.range.bytes);
        let left = behind.saturating_sub(next);
        if left == 0 {
            return match task.step {
                Step::Zeros { durable: None, .. } => end(port, token, Ok(()), None),
                _ => self.sync.hold(token, task, None),
            };
        }
        let bytes = u32::try_from(left)
            .unwrap_or(ZERO_PIECE_BYTES)
            .min(ZERO_PIECE_BYTES);
        let Some(data) = self.zeros(bytes) else {
            return end(port, token, Err(task.error(IoErrorKind::Busy)), None);
        };
        let durable = !self.write_cache();
        let op = Op::Write {
            file: self.id,
            offset: next,
            data,
            durable,
        };
        let step = Step::Zeros {
            next: next.saturating_add(u64::from(bytes)),
            durable: durable.then(|| self.sync.start()),
        };
        self.push(token, task, step, op, port);
    }

    fn zeros(&mut self, bytes: u32) -> Option<Memory> {
        if self.zeros.is_none() {
            // Never written, so it takes no memory: every page is the kernel's one page of zeros.
            let memory = SharedMemory::new(u64::from(ZERO_PIECE_BYTES)).ok()?;
            self.zeros = Some(LocalShared::new(Arc::new(memory)));
        }
        let pin = self.zeros.as_ref()?.pin(0, bytes)?;
        Some(Memory::Pinned(pin))
    }
}
