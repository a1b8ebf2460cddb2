//! `mars_fuzz::datagram_brief` for libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = mars_fuzz::datagram_brief(data);
});
