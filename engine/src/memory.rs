//! Huge pages for what is large: arenas and rings are read at random, and with pages of 4 KiB nearly every such
//! read misses the processor's table of addresses, too. And memory at the start for what the start makes, with huge
//! pages or without: a page that is first touched by a claim makes that claim wait for the kernel to clear it.

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering};

/// Size and alignment of a huge page on x86-64 and, with 4 KiB pages, on aarch64.
const HUGE: usize = 2 << 20;
/// Size of a small page.
const PAGE: usize = 4096;
/// Blocks from this size on are populated; smaller ones are soon touched anyway.
const WORTH_POPULATING: usize = 64 << 10;

static WANTED: AtomicBool = AtomicBool::new(false);
static POPULATED: AtomicBool = AtomicBool::new(false);

/// The system's allocator, except that blocks of 2 MiB and more are mappings of their own, aligned so that the
/// kernel can give them huge pages, and marked as worth them (`madvise`; see
/// `/sys/kernel/mm/transparent_hugepage/enabled`).
///
/// Which of them are marked: those that are asked for as zeros, and all once [`HugePages::want`] says so. Zeros are
/// asked for by tables, which are read at random from the first entry on; what only reserves room is filled from
/// its front, and may stay empty for the most part.
///
/// A marked block's first touch makes 2 MiB resident. Clearing so much at once takes long enough to be felt, so
/// blocks made while the process starts are best populated at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct HugePages;

impl HugePages {
    /// Whether all blocks made from now on are marked, or tables only, as it is before this is called.
    pub fn want(wanted: bool) {
        WANTED.store(wanted, Ordering::Relaxed);
    }

    /// Runs `make`; blocks of 64 KiB and more made meanwhile, by whatever thread, are backed by memory before they
    /// are used, marked or not.
    pub fn populated<T>(make: impl FnOnce() -> T) -> T {
        POPULATED.store(true, Ordering::Relaxed);
        let made = make();
        POPULATED.store(false, Ordering::Relaxed);
        made
    }

    /// Gives back to the system what the allocator keeps of small blocks that were freed; large ones went back when
    /// they were. Takes milliseconds: not for a core.
    pub fn give_back() {
        #[cfg(all(target_os = "linux", target_env = "gnu"))]
        {
            unsafe extern "C" {
                fn malloc_trim(keep: usize) -> i32;
            }
            // SAFETY: the C library's own; it takes its locks itself and touches free memory only.
            unsafe { malloc_trim(0) };
        }
    }
}

/// The mapping's length for a block, if it gets one.
fn mapped_bytes(layout: Layout) -> Option<usize> {
    (layout.size() >= HUGE && layout.align() <= HUGE)
        .then(|| layout.size().checked_next_multiple_of(HUGE))
        .flatten()
}

/// A new mapping of zeros, `bytes` long and aligned to [`HUGE`], for a block of `used` bytes, marked if `huge`; null if
/// there is no memory.
fn map(bytes: usize, used: usize, huge: bool) -> *mut u8 {
    let Some(with_slack) = bytes.checked_add(HUGE) else { return null_mut() };
    let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
    // SAFETY: a new anonymous mapping at an address of the kernel's choice touches nobody's memory.
    let Ok(start) = (unsafe { mmap_anonymous(null_mut(), with_slack, access, flags) }) else {
        return null_mut();
    };
    let before = start.cast::<u8>().align_offset(HUGE);
    let block = start.cast::<u8>().wrapping_add(before);
    // SAFETY: both pieces lie inside the mapping just made, beside the block, and nobody knows of them. A
    // failure leaves address space unused and nothing else.
    unsafe {
        if before > 0 {
            let _ = munmap(start, before);
        }
        if before < HUGE {
            let _ = munmap(block.wrapping_add(bytes).cast(), HUGE - before);
        }
    }
    if huge {
        // SAFETY: the range is ours. A kernel without huge pages refuses, and small pages do as well.
        let _ = unsafe { madvise(block.cast(), bytes, Advice::LinuxHugepage) };
    }
    // Not what lies behind the block: in small pages nobody would ever touch it.
    populate(block, used);
    block
}

/// Backs a new block of `bytes` with memory, if that is asked for and the block is worth it.
fn populate(block: *mut u8, bytes: usize) {
    if bytes < WORTH_POPULATING || block.is_null() || !POPULATED.load(Ordering::Relaxed) {
        return;
    }
    // The pages at either end are shared with other blocks, or used at once.
    let before = block.align_offset(PAGE);
    let inside = (bytes - before) / PAGE * PAGE;
    // SAFETY: the range lies inside the block, which is the caller's, and its content stays. A kernel before 5.14
    // refuses, and so does one with larger pages; then the first touch does it.
    let _ = unsafe { madvise(block.wrapping_add(before).cast(), inside, Advice::LinuxPopulateWrite) };
}

// SAFETY: small blocks are the system allocator's from birth to death; large ones are mappings of their own, told
// apart by the layout alone, which is the same at `alloc` and `dealloc`. Neither unwinds.
unsafe impl GlobalAlloc for HugePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if let Some(bytes) = mapped_bytes(layout) {
            return map(bytes, layout.size(), WANTED.load(Ordering::Relaxed));
        }
        // SAFETY: the caller's promises are passed on.
        let block = unsafe { System.alloc(layout) };
        populate(block, layout.size());
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if let Some(bytes) = mapped_bytes(layout) {
            return map(bytes, layout.size(), true);
        }
        // SAFETY: the caller's promises are passed on.
        let block = unsafe { System.alloc_zeroed(layout) };
        populate(block, layout.size());
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match mapped_bytes(layout) {
            // SAFETY: the block is a whole mapping made by `map` with the same length, and nobody uses it any more.
            Some(bytes) => drop(unsafe { munmap(block.cast(), bytes) }),
            // SAFETY: the block came from the system's allocator with this layout.
            None => unsafe { System.dealloc(block, layout) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller promises a size that is not zero and does not overflow when rounded up to the alignment.
        let wanted = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        match (mapped_bytes(layout), mapped_bytes(wanted)) {
            // SAFETY: the block came from the system's allocator, and stays there.
            (None, None) => unsafe { System.realloc(block, layout, new_size) },
            (Some(old), Some(new)) if old == new => block,
            _ => {
                // SAFETY: the new block is another one and long enough for the shorter of the two.
                let moved = unsafe { self.alloc(wanted) };
                if !moved.is_null() {
                    // SAFETY: as above; then nobody uses the old one any more.
                    unsafe {
                        std::ptr::copy_nonoverlapping(block, moved, layout.size().min(new_size));
                        self.dealloc(block, layout);
                    }
                }
                moved
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes, 8).expect("a layout")
    }

    #[test]
    fn a_large_block_is_aligned_zero_and_keeps_its_content_when_it_grows() {
        let (small, large, larger) = (layout(1000), layout(3 * HUGE + 5), layout(9 * HUGE));
        // SAFETY: every block is used inside its length and freed once, with its layout.
        unsafe {
            let block = HugePages.alloc_zeroed(large);
            assert!(!block.is_null() && block.align_offset(HUGE) == 0);
            assert!((0..large.size()).step_by(4096).all(|at| *block.add(at) == 0));
            block.add(large.size() - 1).write(7);
            let grown = HugePages.realloc(block, large, larger.size());
            assert_eq!(*grown.add(large.size() - 1), 7);
            grown.write(9);
            let shrunk = HugePages.realloc(grown, larger, small.size());
            assert_eq!(*shrunk, 9);
            let again = HugePages.realloc(shrunk, small, large.size());
            assert_eq!(*again, 9);
            HugePages.dealloc(again, large);
        }
    }

    /// What the kernel says this process has in memory.
    fn resident_kib() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a resident size");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
    }

    #[test]
    fn a_populated_block_is_in_memory_before_it_is_touched() {
        // 64 MiB, as one block and as many.
        let grown = |bytes: usize, populated: bool| {
            let block = layout(bytes);
            let before = resident_kib();
            // SAFETY: each block is freed once, with its layout.
            let make = || (0..(64 << 20) / bytes).map(|_| unsafe { HugePages.alloc(block) }).collect();
            let blocks: Vec<*mut u8> = if populated { HugePages::populated(make) } else { make() };
            let grown = resident_kib().saturating_sub(before);
            // SAFETY: as above.
            blocks.into_iter().for_each(|it| unsafe { HugePages.dealloc(it, block) });
            grown
        };
        // Other tests of this process come and go meanwhile, with blocks of a few MiB.
        for bytes in [64 << 20, 1 << 20] {
            assert!(grown(bytes, false) < 32 << 10, "{bytes}");
            assert!(grown(bytes, true) > 32 << 10, "{bytes}");
        }
    }

    #[test]
    fn no_memory_is_null_and_not_a_crash() {
        // SAFETY: nothing is used that was not given.
        assert!(unsafe { HugePages.alloc(layout(1 << 60)) }.is_null());
    }
}
