//! From log records to changes.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| drop(frontrow_cdc::fuzz_changes(data)));
