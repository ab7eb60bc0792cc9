//! Seating plans: pretix JSON, CSV, stored plans.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| frontrow_venue::fuzz_decode(data));
