//! Tokens of holds.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| frontrow_protocol::fuzz::fuzz_token(data));
