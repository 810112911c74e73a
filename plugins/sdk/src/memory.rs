//! Memory for one call.
//!
//! Every call runs in a fresh instance that is thrown away afterwards, so memory only has to be handed
//! out. The usual allocator asks the host for more pages at its first use, which costs as much as a small
//! decision itself; this one begins with what the instance has anyway.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use core::ptr;

/// Bytes of a page of WebAssembly memory.
const PAGE: usize = 64 * 1024;

unsafe extern "C" {
    /// Where the linker's data ends and free memory begins.
    static __heap_base: u8;
}

struct Bump {
    /// The first free byte; 0 before the first allocation.
    next: Cell<usize>,
}

// SAFETY: an instance has one thread.
unsafe impl Sync for Bump {}

#[global_allocator]
static MEMORY: Bump = Bump { next: Cell::new(0) };

impl Bump {
    fn next(&self) -> usize {
        match self.next.get() {
            0 => (&raw const __heap_base).addr(),
            next => next,
        }
    }

    /// Makes everything below `end` usable.
    fn reach(&self, end: usize) -> bool {
        let size = core::arch::wasm32::memory_size(0) * PAGE;
        end <= size || core::arch::wasm32::memory_grow(0, (end - size).div_ceil(PAGE)) != usize::MAX
    }
}

// SAFETY: a block lies between what was free before it and what is free after it, so no two overlap; its
// start is aligned, and its end was made usable.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(start) = self.next().checked_next_multiple_of(layout.align()) else { return ptr::null_mut() };
        let Some(end) = start.checked_add(layout.size()) else { return ptr::null_mut() };
        if !self.reach(end) {
            return ptr::null_mut();
        }
        self.next.set(end);
        ptr::with_exposed_provenance_mut(start)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // Only the last block can be taken back; text that is built and dropped is that.
        if block.addr() + layout.size() == self.next() {
            self.next.set(block.addr());
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let last = block.addr() + layout.size() == self.next();
        if let Some(end) = block.addr().checked_add(size)
            && last
            && self.reach(end)
        {
            self.next.set(end);
            return block;
        }
        if size <= layout.size() {
            return block;
        }
        // SAFETY: the caller gave a valid size and the alignment of a valid layout.
        let new = unsafe { self.alloc(Layout::from_size_align_unchecked(size, layout.align())) };
        if !new.is_null() {
            // SAFETY: both blocks hold the bytes of the smaller, and do not overlap.
            unsafe { ptr::copy_nonoverlapping(block, new, layout.size()) };
        }
        new
    }
}
