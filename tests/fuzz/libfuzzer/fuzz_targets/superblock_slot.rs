//! `mars_fuzz::superblock_slot` for libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = mars_fuzz::superblock_slot(data);
});
