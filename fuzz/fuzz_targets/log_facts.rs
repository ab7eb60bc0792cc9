//! What operations caused, as it stands in log records.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| frontrow_shard::record::fuzz_facts(data));
