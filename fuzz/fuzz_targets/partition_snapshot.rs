//! Snapshots of partitions.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| frontrow_shard::snapshot::fuzz_load(data));
