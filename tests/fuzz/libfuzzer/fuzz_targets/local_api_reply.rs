//! `mars_fuzz::local_api_reply` for libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = mars_fuzz::local_api_reply(data);
});
