//! The buffers that receives stage into.
//!
//! They have memory of their own, beside the worker's slab: commands that wait for their data may have taken all of that
//! one, and it is the next receive that sets them free. An idle connection holds none: a buffer is taken when data is
//! there, and comes back when what it holds has been handled.

use std::io;

use crate::memory::{Buffer, MAX_BUFFER_BYTES, MIN_BUFFER_BYTES, Slab};

/// Receives tried in one go; more come after their completions were handed out. So many buffers there are.
pub(super) const RECEIVES_AT_ONCE: usize = 64;

/// A driver's staging buffers.
#[derive(Debug)]
pub(super) struct Staging {
    slab: Slab,
    bytes: usize,
}

impl Staging {
    /// Buffers of `bytes` bytes, brought into the range that a slab can serve.
    pub(super) fn new(bytes: usize) -> io::Result<Self> {
        let bytes = bytes
            .clamp(MIN_BUFFER_BYTES, MAX_BUFFER_BYTES)
            .next_power_of_two();
        Ok(Self {
            slab: Slab::new(RECEIVES_AT_ONCE * bytes)?,
            bytes,
        })
    }

    /// One buffer, unless all are still being handled.
    pub(super) fn allocate(&self) -> Option<Buffer> {
        self.slab.allocate(self.bytes)
    }

    /// Moves when a buffer has come back.
    pub(super) fn frees(&self) -> u64 {
        self.slab.frees()
    }

    pub(super) fn slab(&self) -> &Slab {
        &self.slab
    }
}
