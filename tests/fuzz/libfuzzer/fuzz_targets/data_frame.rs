//! `mars_fuzz::data_frame` for libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = mars_fuzz::data_frame(data);
});
