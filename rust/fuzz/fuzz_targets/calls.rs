//! Any calls of a search: ask, tell, fail, advance, plan, reweight, save and load in between.

#![no_main]

#[path = "../../core/tests/calls/mod.rs"]
mod calls;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| calls::make_calls(bytes));
