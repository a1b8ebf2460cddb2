//! Shared pieces: a seeded stream of numbers, golden files, sample values.

use std::path::PathBuf;

use mars_datapath_core::LogPos;
use mars_datapath_core::format::{BatchStart, Predecessor, SegmentHeader};
use mars_lamport::Timestamp;

/// SplitMix64: a portable seeded stream.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}

/// Compares with `tests/golden/NAME`; writes it instead if `MARS_BLESS` is set.
pub(crate) fn golden(name: &str, bytes: &[u8]) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var_os("MARS_BLESS").is_some() {
        std::fs::write(&path, bytes).unwrap();
    }
    let stored = std::fs::read(&path).unwrap();
    assert!(
        stored == bytes,
        "{name} differs from the golden bytes: formats do not change silently"
    );
}

pub(crate) fn header() -> SegmentHeader {
    SegmentHeader {
        resource: "mydata".parse().unwrap(),
        origin: "hosta".parse().unwrap(),
        number: 3,
        generation: 0x0123_4567_89ab_cdef,
        created: Timestamp::from_parts(1_742_550_000, 5),
        base_sequence: 1000,
        alignment: 64,
        predecessor: Some(Predecessor {
            end: LogPos::new(2, 279_483_136),
            origin: "hostb".parse().unwrap(),
            digest: "8728a48cf769fd147be6683e3b8d6d59".parse().unwrap(),
        }),
    }
}

pub(crate) fn start_of(header: &SegmentHeader) -> BatchStart {
    BatchStart {
        generation: header.generation,
        position: 0,
        base_sequence: header.base_sequence,
        stamp: Timestamp::from_parts(1_742_550_001, 7),
        alignment: header.alignment,
    }
}
