//! Archives of events that are over.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| frontrow_shard::cold::fuzz_read(data));
