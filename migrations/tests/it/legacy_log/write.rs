//! The writer: what it makes is read back, and is what another encoder makes.

use super::{lcg, scan, vector};
use mars_lamport::Timestamp;
use mars_migrations::legacy_log::{
    Checksum, Code, Compression, NewRecord, Packing, Record, WriteError, Writer,
};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};

/// Vectors that another encoder made in the current layout, undamaged from their first to their last byte. Those with
/// compressed records are compared after unpacking only: two compressors may differ.
const SAME: [&str; 10] = [
    "one-crc32c.bin",
    "one-crc32.bin",
    "one-md5.bin",
    "one-sha1.bin",
    "one-md5old.bin",
    "one-4k-crc32c.bin",
    "one-incompressible.bin",
    "multi-preimage.bin",
    "weak-fold.bin",
    "multi-seqback.bin",
];

/// Writes the record again.
fn again(writer: &mut Writer, old: &Record) -> Vec<u8> {
    if writer.sequence() != old.sequence {
        *writer = Writer::with_sequence(old.sequence);
    }
    writer.checksum = old.checksum;
    writer.packing = match old.compression {
        Some(Compression::Lz4) => Some(Packing::Lz4),
        Some(Compression::Zlib) => Some(Packing::Zlib),
        _ => None,
    };
    let new = NewRecord {
        stamp: old.stamp(),
        code: old.code,
        offset: old.offset,
        payload: &old.payload,
    };
    writer.record(&new).unwrap()
}

#[test]
fn uncompressed_vectors_are_reproduced_byte_for_byte() {
    for name in SAME {
        let bytes = vector(name);
        let mut writer = Writer::new();
        let written: Vec<u8> = (scan(&bytes).0.iter())
            .flat_map(|record| again(&mut writer, record))
            .collect();
        assert_eq!(written, bytes, "{name}");
    }
    println!("{} logs are reproduced byte for byte", SAME.len());
}

#[test]
fn compressed_vectors_are_reproduced_in_meaning() {
    for name in ["one-zlib.bin", "one-lz4.bin", "multi-5.bin"] {
        let (records, _) = scan(&vector(name));
        let mut writer = Writer::new();
        let written: Vec<u8> = (records.iter())
            .flat_map(|record| again(&mut writer, record))
            .collect();
        let (reread, end) = scan(&written);
        assert!(end.is_clean(), "{name}: {end}");
        let meaning = |r: &Record| {
            let how = (r.flags, r.compression, r.sequence, r.old_checksum);
            (r.stamp(), r.offset, r.code, how, r.payload.clone())
        };
        let left: Vec<_> = records.iter().map(meaning).collect();
        let right: Vec<_> = reread.iter().map(meaning).collect();
        assert_eq!(left, right, "{name}");
    }
}

#[test]
fn incompressible_payload_is_stored_plain() {
    for packing in [Packing::Lz4, Packing::Zlib] {
        let mut writer = Writer::new();
        writer.packing = Some(packing);
        let payload = lcg(3, 4096);
        let new = NewRecord {
            stamp: Timestamp::from_nanos(1),
            code: Code::New,
            offset: 0,
            payload: &payload,
        };
        let bytes = writer.record(&new).unwrap();
        assert_eq!(bytes.len(), 4096 + 84);
        assert_eq!(scan(&bytes).0[0].compression, None);
    }
}

#[test]
fn what_the_format_cannot_hold_is_refused_and_leaves_no_gap() {
    let mut writer = Writer::new();
    let payload = vec![1; 8192];
    let mut write = |offset, length: usize| {
        writer.record(&NewRecord {
            stamp: Timestamp::from_nanos(1),
            code: Code::New,
            offset,
            payload: &payload[..length],
        })
    };
    for length in [0, 511, 513, 4608, 8192] {
        assert_eq!(write(0, length), Err(WriteError::Payload(length)));
    }
    let far = i64::MAX.unsigned_abs() - 511;
    for offset in [1, 511, far, u64::MAX - 511] {
        assert_eq!(write(offset, 512), Err(WriteError::Offset(offset)));
    }
    assert!(write(far - 512, 512).is_ok());
    assert_eq!(writer.sequence(), 2);
}

#[derive(Clone, Debug)]
struct Write {
    nanos: u64,
    sectors: usize,
    at: u64,
    fill: Vec<u8>,
    checksum: Checksum,
    packing: Option<Packing>,
    code: i16,
}

fn write() -> impl Strategy<Value = Write> {
    let checksum = prop::sample::select(Checksum::ALL.to_vec());
    let packing = prop::sample::select(vec![None, Some(Packing::Lz4), Some(Packing::Zlib)]);
    let fill = proptest::collection::vec(any::<u8>(), 1..600);
    let place = (1..=8_usize, 0..1_u64 << 40);
    (any::<u64>(), place, fill, checksum, packing, -1..4_i16).prop_map(
        |(nanos, (sectors, at), fill, checksum, packing, code)| Write {
            nanos,
            sectors,
            at: at * 512,
            fill,
            checksum,
            packing,
            code,
        },
    )
}

#[test]
fn all_that_is_written_is_read_back() {
    let seed = 0x1e6a_c713;
    println!("seed {seed:#x}");
    let mut runner = TestRunner::new(ProptestConfig {
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        cases: 300,
        ..ProptestConfig::default()
    });
    let strategy = proptest::collection::vec(write(), 1..12);
    runner
        .run(&strategy, |writes| {
            let mut writer = Writer::new();
            let mut log = Vec::new();
            let payload = |w: &Write| -> Vec<u8> {
                w.fill
                    .iter()
                    .copied()
                    .cycle()
                    .take(w.sectors * 512)
                    .collect()
            };
            for w in &writes {
                (writer.checksum, writer.packing) = (w.checksum, w.packing);
                let record = writer.record(&NewRecord {
                    stamp: Timestamp::from_nanos(w.nanos),
                    code: w.code.into(),
                    offset: w.at,
                    payload: &payload(w),
                });
                log.extend(record.unwrap());
            }
            let (records, end) = scan(&log);
            // An old checksum word of zero counts as none, as it does for the original.
            prop_assert!(end.is_clean(), "{end}");
            prop_assert_eq!(records.len(), writes.len());
            for (record, w) in records.iter().zip(&writes) {
                prop_assert_eq!(&record.payload, &payload(w));
                prop_assert_eq!(record.offset, w.at);
                prop_assert_eq!(record.stamp().as_nanos(), w.nanos);
                prop_assert_eq!(record.code, Code::from(w.code));
                prop_assert_eq!(record.checksum, w.checksum);
            }
            Ok(())
        })
        .unwrap();
}
