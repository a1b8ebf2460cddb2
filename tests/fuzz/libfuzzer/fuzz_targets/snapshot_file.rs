//! `mars_fuzz::snapshot_file` for libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = mars_fuzz::snapshot_file(data);
});
