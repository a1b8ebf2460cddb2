//! Legacy logs: vectors, hostile bytes, writer, conversion.

mod convert;
mod golden;
mod hostile;
mod vectors;
mod write;

use mars_migrations::legacy_log::{Record, ScanEnd, ScanOptions, Scanner};
use std::path::PathBuf;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/legacy-logs")
}

fn vector(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap()
}

/// The payload generator of the vectors.
fn lcg(seed: u32, length: usize) -> Vec<u8> {
    let mut x = seed;
    let next = |_| {
        x = x.wrapping_mul(1_103_515_245).wrapping_add(12_345) % (1 << 31);
        x.to_le_bytes()[2]
    };
    (0..length).map(next).collect()
}

/// Scans `bytes`, fed in pieces of `step` bytes.
fn scan_with(options: &ScanOptions, bytes: &[u8], step: usize) -> (Vec<Record>, ScanEnd) {
    let mut scanner = Scanner::new(options);
    let mut records = Vec::new();
    for piece in bytes.chunks(step) {
        let mut rest = piece;
        while !rest.is_empty() {
            let taken = scanner.feed(rest);
            rest = &rest[taken..];
            let before = records.len();
            while let Some(record) = scanner.next_record() {
                records.push(record);
            }
            assert!(taken > 0 || records.len() > before, "no progress");
        }
    }
    (records, scanner.end())
}

fn scan(bytes: &[u8]) -> (Vec<Record>, ScanEnd) {
    scan_with(&ScanOptions::default(), bytes, usize::MAX)
}
