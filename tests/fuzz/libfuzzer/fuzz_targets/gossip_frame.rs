//! `mars_fuzz::gossip_frame` for libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = mars_fuzz::gossip_frame(data);
});
