//! `mars_fuzz::legacy_log` for libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = mars_fuzz::legacy_log(data);
});
