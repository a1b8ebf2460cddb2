//! `mars_fuzz::log_batch` for libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = mars_fuzz::log_batch(data);
});
