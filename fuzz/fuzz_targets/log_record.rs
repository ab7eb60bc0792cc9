//! Payloads of log records.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| frontrow_shard::record::fuzz_decode(data));
