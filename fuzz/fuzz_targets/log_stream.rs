//! The replication stream, at both ends.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| frontrow_wal::stream::fuzz_stream(data));
