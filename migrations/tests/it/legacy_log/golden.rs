//! The worked example of `docs/spec/legacy-log.md` is what the code reads and writes.

use super::{lcg, scan};
use mars_lamport::Timestamp;
use mars_migrations::legacy_log::{Checksum, Code, NewRecord, Writer};

const PAGE: &str = include_str!("../../../../docs/spec/legacy-log.md");

/// Bytes of the hex dump below the heading of the example: the lines of its first code block, up to two blanks
/// in a row, without their address.
fn example() -> Vec<u8> {
    let section = PAGE.split("## Worked example").nth(1).unwrap();
    let block = section.split("```").nth(1).unwrap();
    let mut bytes = Vec::new();
    for line in block.lines().filter(|line| !line.trim().is_empty()) {
        let (address, rest) = line.split_once("  ").unwrap();
        let digits: String = rest
            .split("    ")
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        if digits.starts_with('(') {
            // The payload is generated.
            bytes.extend(lcg(1, 512));
            continue;
        }
        assert_eq!(
            usize::from_str_radix(address, 16).unwrap(),
            bytes.len(),
            "{line}"
        );
        for at in (0..digits.len()).step_by(2) {
            bytes.push(u8::from_str_radix(&digits[at..at + 2], 16).unwrap());
        }
    }
    bytes
}

#[test]
fn the_worked_example_is_read_and_written() {
    let bytes = example();
    let (records, end) = scan(&bytes);
    assert!(end.is_clean(), "{end}");
    let record = &records[0];
    assert_eq!(
        record.stamp(),
        Timestamp::from_parts(1_700_000_000, 123_456_789)
    );
    assert_eq!((record.offset, record.sequence), (4096, 1));
    assert_eq!(
        (record.code, record.checksum),
        (Code::New, Checksum::Crc32c)
    );
    assert_eq!(record.payload, lcg(1, 512));
    let new = NewRecord {
        stamp: record.stamp(),
        code: Code::New,
        offset: 4096,
        payload: &record.payload,
    };
    assert_eq!(Writer::new().record(&new).unwrap(), bytes);
}
