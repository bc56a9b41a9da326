#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| { if data.len() > 3 && data[0] == b'a' && data[1] == b'q' { let _ = similar_fast_core::search::TreeSearch::load(data); } });
