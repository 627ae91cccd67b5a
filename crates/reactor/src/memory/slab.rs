//! A worker's memory: one reserved range of addresses, cut into superblocks of 1 MiB.
//!
//! A superblock in use belongs to one power-of-two class (4 KiB to 1 MiB); when its last buffer goes it may be cut
//! for another class. Address space is reserved once, pages are touched when first used, and the pages of empty
//! superblocks go back to the kernel with [`Slab::trim`], which the driver calls when the worker has nothing to do.
//! Allocating and freeing are a few bit operations; neither allocates on the heap.

use std::cell::RefCell;
use std::io;
use std::ptr::NonNull;
use std::rc::Rc;

use super::Buffer;
use crate::sys::mapping::Mapping;

/// The smallest class, and the alignment of every buffer, in bytes.
pub const MIN_BUFFER_BYTES: usize = 4 << 10;
/// The largest buffer, in bytes.
pub const MAX_BUFFER_BYTES: usize = SUPERBLOCK_BYTES;

const SUPERBLOCK_BYTES: usize = 1 << 20;
const CLASSES: usize = 9;
const CHUNKS: usize = SUPERBLOCK_BYTES / MIN_BUFFER_BYTES;
/// Empty superblocks that keep their pages when a worker goes idle.
const RESERVE_SUPERBLOCKS: usize = 2;

/// A worker's memory, and its budget. A handle: clones are the same slab.
#[derive(Clone)]
pub struct Slab {
    inner: Rc<Inner>,
}

struct Inner {
    mapping: Mapping,
    state: RefCell<State>,
}

/// Where a buffer lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk {
    pub(super) ptr: NonNull<u8>,
    superblock: u32,
    index: u16,
    class: u8,
}

impl Slab {
    /// Reserves `budget_bytes` of address space (rounded up to 1 MiB, at least 1 MiB). Costs no memory before use.
    ///
    /// # Errors
    /// What `mmap` answers, e.g. where the address space is limited; `InvalidInput` for a budget past 16 TiB.
    pub fn new(budget_bytes: usize) -> io::Result<Self> {
        let superblocks = budget_bytes.div_ceil(SUPERBLOCK_BYTES).max(1);
        if superblocks > 1 << 24 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mapping = Mapping::anonymous(superblocks * SUPERBLOCK_BYTES)?;
        let state = RefCell::new(State::new(superblocks));
        Ok(Self {
            inner: Rc::new(Inner { mapping, state }),
        })
    }

    /// One contiguous buffer of `len_bytes` (1 to 1 MiB), aligned to 4 KiB. What it holds is unspecified but
    /// initialised: it is not cleared between uses. `None` when the budget is spent, or the length is out of range.
    pub fn allocate(&self, len_bytes: usize) -> Option<Buffer> {
        let class = class_of(len_bytes)?;
        let (superblock, index) = self.inner.state.borrow_mut().take(class)?;
        let offset = superblock * SUPERBLOCK_BYTES + index * class_bytes(class);
        let chunk = Chunk {
            ptr: self.inner.mapping.at(offset),
            superblock: u32::try_from(superblock).ok()?,
            index: u16::try_from(index).ok()?,
            class: u8::try_from(class).ok()?,
        };
        let len = u32::try_from(len_bytes).ok()?;
        Some(Buffer::from_chunk(self.clone(), chunk, len))
    }

    /// Bytes lent out, counted by class: a buffer of 5,000 bytes counts 8,192.
    pub fn used_bytes(&self) -> usize {
        self.inner.state.borrow().used_bytes
    }

    /// Bytes that can be lent out at most.
    pub fn budget_bytes(&self) -> usize {
        self.inner.mapping.len()
    }

    /// How often memory has come back. An allocation that failed may succeed when this has moved.
    pub fn frees(&self) -> u64 {
        self.inner.state.borrow().frees
    }

    /// Gives the pages of empty superblocks back to the kernel, but for a small reserve. Returns how many bytes.
    pub fn trim(&self) -> usize {
        let mut state = self.inner.state.borrow_mut();
        let mut trimmed = 0;
        while state.warm_count > RESERVE_SUPERBLOCKS {
            let Some(superblock) = state.warm.first() else {
                break;
            };
            let class = usize::from(state.superblocks[superblock].class);
            state.partial[class].remove(superblock);
            state.warm.remove(superblock);
            state.warm_count -= 1;
            state.cold.insert(superblock);
            self.inner
                .mapping
                .discard(superblock * SUPERBLOCK_BYTES, SUPERBLOCK_BYTES);
            trimmed += SUPERBLOCK_BYTES;
        }
        trimmed
    }

    /// Whether [`Self::trim`] would give anything back.
    pub(crate) fn has_idle_pages(&self) -> bool {
        self.inner.state.borrow().warm_count > RESERVE_SUPERBLOCKS
    }

    pub(super) fn free(&self, chunk: Chunk) {
        self.inner.state.borrow_mut().give_back(chunk);
    }

    /// Starts the count of a frozen buffer at one.
    pub(super) fn start_count(&self, chunk: Chunk) {
        self.inner.state.borrow_mut().counts[chunk.slot()] = 1;
    }

    /// One more holder of a frozen buffer. False when the count is at its end (no holder is added).
    #[must_use]
    pub(super) fn retain(&self, chunk: Chunk) -> bool {
        let mut state = self.inner.state.borrow_mut();
        let count = &mut state.counts[chunk.slot()];
        let raised = count.checked_add(1);
        *count = raised.unwrap_or(*count);
        raised.is_some()
    }

    /// One holder of a frozen buffer less; the last one frees it.
    pub(super) fn release(&self, chunk: Chunk) {
        let mut state = self.inner.state.borrow_mut();
        let count = &mut state.counts[chunk.slot()];
        *count = count.saturating_sub(1);
        if *count == 0 {
            state.give_back(chunk);
        }
    }

    /// Whether a frozen buffer has one holder only.
    pub(super) fn is_sole(&self, chunk: Chunk) -> bool {
        self.inner.state.borrow().counts[chunk.slot()] == 1
    }
}

impl std::fmt::Debug for Slab {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slab")
            .field("used_bytes", &self.used_bytes())
            .field("budget_bytes", &self.budget_bytes())
            .finish()
    }
}

impl Chunk {
    pub(super) fn capacity_bytes(self) -> usize {
        class_bytes(self.class as usize)
    }

    fn slot(self) -> usize {
        self.superblock as usize * CHUNKS + self.index as usize
    }
}

struct State {
    superblocks: Vec<Superblock>,
    /// Superblocks of each class with room.
    partial: [IndexSet; CLASSES],
    /// Empty superblocks whose pages may be resident. They stay cut, and in `partial` of their class, until another class needs them.
    warm: IndexSet,
    warm_count: usize,
    /// Empty superblocks without pages.
    cold: IndexSet,
    /// Holders of frozen buffers, by chunk. Zero while the chunk is free or uniquely owned.
    counts: Vec<u32>,
    used_bytes: usize,
    frees: u64,
}

#[derive(Clone)]
struct Superblock {
    free: [u64; CHUNKS / 64],
    used: u16,
    /// For which class it is cut; meaningless while it is cold.
    class: u8,
}

impl State {
    fn new(superblocks: usize) -> Self {
        let mut cold = IndexSet::new(superblocks);
        for superblock in 0..superblocks {
            cold.insert(superblock);
        }
        Self {
            superblocks: vec![
                Superblock {
                    free: [0; CHUNKS / 64],
                    used: 0,
                    class: 0,
                };
                superblocks
            ],
            partial: std::array::from_fn(|_| IndexSet::new(superblocks)),
            warm: IndexSet::new(superblocks),
            warm_count: 0,
            cold,
            counts: vec![0; superblocks * CHUNKS],
            used_bytes: 0,
            frees: 0,
        }
    }

    /// The lowest free chunk of the lowest superblock with room: low addresses fill first, so that high ones empty.
    fn take(&mut self, class: usize) -> Option<(usize, usize)> {
        let superblock = match self.partial[class].first() {
            Some(superblock) => superblock,
            None => self.carve(class)?,
        };
        let entry = &mut self.superblocks[superblock];
        let (word, bits) = entry
            .free
            .iter_mut()
            .enumerate()
            .find(|(_, bits)| **bits != 0)?;
        let bit = bits.trailing_zeros() as usize;
        *bits &= *bits - 1;
        if entry.used == 0 {
            self.warm.remove(superblock);
            self.warm_count -= 1;
        }
        entry.used += 1;
        if entry.used as usize == chunks_of(class) {
            self.partial[class].remove(superblock);
        }
        self.used_bytes += class_bytes(class);
        Some((superblock, word * 64 + bit))
    }

    fn carve(&mut self, class: usize) -> Option<usize> {
        let superblock = if let Some(superblock) = self.warm.first() {
            let old = usize::from(self.superblocks[superblock].class);
            self.partial[old].remove(superblock);
            superblock
        } else {
            let superblock = self.cold.first()?;
            self.cold.remove(superblock);
            self.warm.insert(superblock);
            self.warm_count += 1;
            superblock
        };
        let entry = &mut self.superblocks[superblock];
        entry.class = u8::try_from(class).ok()?;
        for (word, bits) in entry.free.iter_mut().enumerate() {
            *bits = match chunks_of(class).saturating_sub(word * 64) {
                left @ 0..=63 => (1 << left) - 1,
                _ => u64::MAX,
            };
        }
        self.partial[class].insert(superblock);
        Some(superblock)
    }

    fn give_back(&mut self, chunk: Chunk) {
        let (superblock, class) = (chunk.superblock as usize, chunk.class as usize);
        let index = chunk.index as usize;
        let entry = &mut self.superblocks[superblock];
        debug_assert_eq!(
            entry.free[index / 64] & 1 << (index % 64),
            0,
            "a chunk is freed once"
        );
        entry.free[index / 64] |= 1 << (index % 64);
        entry.used -= 1;
        if entry.used == 0 {
            self.warm.insert(superblock);
            self.warm_count += 1;
        }
        self.partial[class].insert(superblock);
        self.used_bytes -= class_bytes(class);
        self.frees += 1;
    }
}

/// A set of small numbers that knows where its least member may be.
struct IndexSet {
    words: Vec<u64>,
    /// No word before this one has a member.
    hint: usize,
}

impl IndexSet {
    fn new(members: usize) -> Self {
        Self {
            words: vec![0; members.div_ceil(64)],
            hint: 0,
        }
    }

    fn insert(&mut self, member: usize) {
        self.words[member / 64] |= 1 << (member % 64);
        self.hint = self.hint.min(member / 64);
    }

    fn remove(&mut self, member: usize) {
        self.words[member / 64] &= !(1 << (member % 64));
    }

    fn first(&mut self) -> Option<usize> {
        while let Some(word) = self.words.get(self.hint) {
            if *word != 0 {
                return Some(self.hint * 64 + word.trailing_zeros() as usize);
            }
            self.hint += 1;
        }
        self.hint = self.words.len();
        None
    }
}

/// The class that holds `len_bytes`.
fn class_of(len_bytes: usize) -> Option<usize> {
    if !(1..=MAX_BUFFER_BYTES).contains(&len_bytes) {
        return None;
    }
    let bits = len_bytes
        .next_power_of_two()
        .max(MIN_BUFFER_BYTES)
        .trailing_zeros();
    Some((bits - MIN_BUFFER_BYTES.trailing_zeros()) as usize)
}

fn class_bytes(class: usize) -> usize {
    MIN_BUFFER_BYTES << class
}

fn chunks_of(class: usize) -> usize {
    CHUNKS >> class
}

#[cfg(test)]
#[path = "slab_tests.rs"]
mod tests;
