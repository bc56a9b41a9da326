//! Any file: one that was saved and altered, or, where the first byte is odd, one made of the input.

#![no_main]

#[path = "../../core/tests/calls/mod.rs"]
mod calls;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, bytes)) = bytes.split_first() else {
        return;
    };
    if kind % 2 == 0 {
        calls::file::altered_file(bytes);
    } else {
        calls::file::any_file(bytes);
    }
});
