//! `mars_fuzz::segment_header` for libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = mars_fuzz::segment_header(data);
});
