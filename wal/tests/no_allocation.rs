//! In the steady state, appending and committing allocate nothing on the core.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::os::unix::fs::FileExt;

use frontrow_wal::{Carrier, DataDir, DirOptions, Durability, LogOptions};

struct Counting;

thread_local! {
    /// Allocations of this thread; the others may be preparing a segment at any time.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system allocator unchanged; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn append_and_commit_allocate_nothing() {
    let (thread, caller) = (Carrier::Thread, Carrier::Caller);
    for (durability, carrier) in
        [(Durability::Mapped, thread), (Durability::Direct, thread), (Durability::Direct, caller)]
    {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::open(folder.path(), DirOptions::new(1)).unwrap();
        let options = LogOptions { segment_bytes: 8 << 20, durability, carrier, ..LogOptions::small() };
        let mut log = dir.open_stream(0, &options, || {}).unwrap();
        let mut file = None;
        let mut run = |commits: u64| {
            for commit in 0..commits {
                for lsn in 0..50 {
                    log.append(1, commit * 50 + lsn, 7, 2, &[9; 96]).unwrap();
                }
                log.commit().unwrap();
                while let Some(write) = log.next_write() {
                    file = write.file.or(file.take());
                    let to = file.as_ref().unwrap();
                    let result = to.write_all_at(&write.buffer[write.range], write.offset);
                    log.written(write.buffer, result);
                }
                log.flush().unwrap();
            }
        };
        // The first wait on a channel sets up its thread-local.
        run(20);
        let before = ALLOCATIONS.get();
        run(200);
        assert_eq!(ALLOCATIONS.get() - before, 0, "{durability:?} by {carrier:?}");
    }
}
