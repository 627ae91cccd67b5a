//! An allocator that counts, to show that a path allocates nothing, or that nothing is left behind.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Counts the allocations of every thread that is not exempt. Made a test program's `#[global_allocator]`.
#[derive(Debug, Default)]
pub struct CountingAllocator {
    allocations: AtomicU64,
    live_bytes: AtomicI64,
}

thread_local! {
    static EXEMPT: Cell<bool> = const { Cell::new(false) };
}

impl CountingAllocator {
    /// One that has counted nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            allocations: AtomicU64::new(0),
            live_bytes: AtomicI64::new(0),
        }
    }

    /// Does not count this thread's allocations: a test's own side.
    pub fn exempt_this_thread(&self) {
        EXEMPT.set(true);
    }

    /// Allocations so far, and reallocations.
    #[must_use]
    pub fn allocations(&self) -> u64 {
        self.allocations.load(Ordering::Relaxed)
    }

    /// Bytes allocated and not given back, by all threads, exempt or not.
    #[must_use]
    pub fn live_bytes(&self) -> i64 {
        self.live_bytes.load(Ordering::Relaxed)
    }

    /// Has the system's allocator give back what it keeps of freed memory, so that what is resident is what is held.
    pub fn trim(&self) {
        // SAFETY: takes no pointer, and may be called at any time.
        unsafe { libc::malloc_trim(0) };
    }

    fn grow(&self, by: usize) {
        let by = i64::try_from(by).unwrap_or(i64::MAX);
        self.live_bytes.fetch_add(by, Ordering::Relaxed);
    }

    fn shrink(&self, by: usize) {
        let by = i64::try_from(by).unwrap_or(i64::MAX);
        self.live_bytes.fetch_sub(by, Ordering::Relaxed);
    }

    fn count(&self) {
        // A thread that is ending has no flag any more.
        if !EXEMPT.try_with(Cell::get).unwrap_or(true) {
            self.allocations.fetch_add(1, Ordering::Relaxed);
        }
    }
}

// SAFETY: hands everything to the system's allocator, and counts without allocating.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.count();
        self.grow(layout.size());
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        self.shrink(layout.size());
        // SAFETY: the caller keeps `dealloc`'s contract; `at` came from the system's allocator.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        self.count();
        self.shrink(layout.size());
        self.grow(bytes);
        // SAFETY: the caller keeps `realloc`'s contract; `at` came from the system's allocator.
        unsafe { System.realloc(at, layout, bytes) }
    }
}
