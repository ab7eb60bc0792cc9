//! Segments of the log.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| frontrow_wal::fuzz_decode(data));
