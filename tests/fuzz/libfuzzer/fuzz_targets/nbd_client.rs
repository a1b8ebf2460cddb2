//! `mars_fuzz::nbd_client` for libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = mars_fuzz::nbd_client(data);
});
