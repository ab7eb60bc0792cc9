//! Snapshot files: header, blocks, and what a flipped bit makes of them.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| frontrow_wal::fuzz_snapshot(data));
