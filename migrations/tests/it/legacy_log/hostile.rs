//! Every check by itself, their order, and bytes that nobody wrote.

use super::{lcg, scan, scan_with, vector};
use mars_lamport::Timestamp;
use mars_migrations::legacy_log::{
    Checksum, Code, Errno, Fault, LzoError, NewRecord, Packing, ScanEnd, ScanOptions, UnpackError,
    Writer,
};
use mars_migrations::limits::{LEGACY_BUFFER_MAX, LEGACY_RECORD_MAX};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// Bytes that are put at a place.
type Patch<'p> = (usize, &'p [u8]);

/// Trailer of a record with 512 bytes of plain payload.
const TRAILER: usize = 48 + 512;

fn record(writer: &mut Writer, seed: u32, offset: u64, length: usize) -> Vec<u8> {
    let payload = lcg(seed, length);
    let new = NewRecord {
        stamp: Timestamp::from_parts(1_700_000_000, 5),
        code: Code::New,
        offset,
        payload: &payload,
    };
    writer.record(&new).unwrap()
}

fn plain() -> Vec<u8> {
    record(&mut Writer::new(), 1, 4096, 512)
}

/// The verdict on a good record of 512 bytes into which `patches` were written.
fn verdict(patches: &[(usize, &[u8])]) -> ScanEnd {
    let mut bytes = plain();
    for (at, patch) in patches {
        bytes[*at..*at + patch.len()].copy_from_slice(patch);
    }
    let (records, end) = scan(&bytes);
    assert_eq!((records.len(), end.position()), (0, 0), "{end}");
    end
}

fn fault(patches: &[(usize, &[u8])]) -> Fault {
    match verdict(patches) {
        ScanEnd::Bad { fault, .. } => fault,
        other => panic!("{other}"),
    }
}

#[test]
fn each_fault_has_the_numbers_of_the_original() {
    let t = TRAILER;
    let negative = (-596_i16).to_le_bytes();
    let big = 600_i16.to_le_bytes();
    let cases: Vec<(Vec<Patch<'_>>, u8, Option<u32>)> = vec![
        (vec![(0, &[0; 596])], 74, Some(10_013)),
        (vec![(8, &[2])], 74, Some(10_003)),
        (vec![(9, &[0])], 74, Some(10_003)),
        (vec![(10, &[0, 0])], 85, Some(10_004)),
        (vec![(10, &negative)], 74, Some(10_005)),
        (vec![(10, &big)], 11, Some(10_006)),
        (vec![(10, &[84, 0])], 85, Some(10_007)),
        (vec![(t, &[0; 8])], 85, None),
        (vec![(t, &[0x6b; 8])], 74, Some(10_021)),
        (
            vec![(t, b"\x6b\x6b\x6b\x6b\x6b\x6b\x6b\x6c")],
            56,
            Some(10_020),
        ),
        (vec![(t + 12, &[2])], 74, Some(10_009)),
        (vec![(t + 12, &[0])], 74, Some(10_009)),
        (vec![(t + 14, &[4, 4]), (38, &[1, 2])], 74, Some(10_152)),
        (vec![(t + 14, &[4, 4]), (38, &[0, 0x80])], 74, Some(10_152)),
        (
            vec![(t + 14, &[4, 4]), (36, &[0xf9, 1]), (38, &[0, 4])],
            74,
            Some(10_150),
        ),
        (vec![(t + 14, &[4, 7])], 74, Some(10_150)),
        (vec![(36, &[1, 2])], 74, Some(10_012)),
        (vec![(36, &[0, 0])], 74, Some(10_012)),
        (vec![(36, &[0, 0xfe])], 74, Some(10_012)),
        (vec![(48, &[0; 4])], 74, Some(10_101)),
        (vec![(t + 14, &[0, 0]), (t + 20, &[9])], 74, Some(10_100)),
        (vec![(28, &[1])], 74, None),
        (vec![(28, &[0xff; 8])], 74, None),
        (
            vec![(28, &[0, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f])],
            74,
            None,
        ),
    ];
    for (patches, errno, code) in cases {
        let end = verdict(&patches);
        let found = (end.errno().map(Errno::number), end.mars_code());
        assert_eq!(found, (Some(errno), code), "{patches:02x?}: {end}");
        assert!(end.to_string().contains(&errno.to_string()), "{end}");
    }
}

#[test]
fn earlier_checks_come_first() {
    let t = TRAILER;
    let all: [(usize, &[u8], Fault); 9] = [
        (0, &[1], Fault::StartMagic),
        (8, &[2], Fault::Version(2)),
        (9, &[0], Fault::Unfinished),
        (t, &[7; 8], Fault::EndPoison(7)),
        (t + 12, &[0], Fault::ValidCopy(0)),
        (t + 14, &[4, 3], Fault::Unpack(UnpackError::Flags(0x0304))),
        (
            36,
            &[0, 1],
            Fault::StoredLength {
                stored: 256,
                room: 512,
            },
        ),
        (
            28,
            &[1],
            Fault::Sectors {
                offset: 4097,
                length: 512,
            },
        ),
        (48, &[0; 8], Fault::Checksum),
    ];
    for first in 0..all.len() {
        let patches: Vec<(usize, &[u8])> = all[first..].iter().map(|c| (c.0, c.1)).collect();
        assert_eq!(fault(&patches), all[first].2);
    }
}

#[test]
fn the_end_of_the_device_is_respected() {
    let bytes = plain();
    let with = |device_size| {
        let options = ScanOptions {
            device_size: Some(device_size),
            ..ScanOptions::default()
        };
        scan_with(&options, &bytes, usize::MAX)
    };
    assert_eq!(with(4608).0.len(), 1);
    let (records, end) = with(4607);
    let fault = Fault::Range {
        offset: 4096,
        length: 512,
        device: 4607,
    };
    assert_eq!(
        (records.len(), end),
        (0, ScanEnd::Bad { position: 0, fault })
    );
}

#[test]
fn sequence_numbers_may_go_back_but_not_skip() {
    let from = |last_sequence, sequence| {
        let options = ScanOptions {
            last_sequence,
            ..ScanOptions::default()
        };
        let bytes = record(&mut Writer::with_sequence(sequence), 1, 0, 512);
        let (records, end) = scan_with(&options, &bytes, usize::MAX);
        match end {
            ScanEnd::Clean { .. } => Ok(records[0].warning.is_some()),
            ScanEnd::Bad { fault, .. } => Err(fault),
            other => panic!("{other}"),
        }
    };
    assert_eq!(from(6, 7), Ok(false));
    assert_eq!(from(7, 7), Ok(true));
    assert_eq!(from(7, 1), Ok(true));
    assert_eq!((from(0, 9), from(9, 0)), (Ok(false), Ok(false)));
    assert_eq!(from(u32::MAX, 1), Ok(true));
    let gap = Fault::SequenceGap {
        found: 8,
        expected: 7,
    };
    assert_eq!(from(6, 8), Err(gap));
}

#[test]
fn a_second_kind_of_checksum_is_tried_but_zeroes_prove_nothing() {
    // A CRC32C that is announced as MD5.
    let (records, end) = scan(&patched(plain(), TRAILER + 14, &[2, 0]));
    assert!(end.is_clean(), "{end}");
    assert_eq!(records[0].checksum, Checksum::Crc32c);
    // An old MD5 word over a sector that was lost: zeroes, whose CRC32C folds to the zeroes in the field.
    let mut writer = Writer::new();
    writer.checksum = Checksum::Md5Old;
    let bytes = patched(record(&mut writer, 1, 0, 512), 48, &[0; 512]);
    assert_eq!(scan(&bytes).1.mars_code(), Some(10_101));
}

fn patched(mut bytes: Vec<u8>, at: usize, patch: &[u8]) -> Vec<u8> {
    bytes[at..at + patch.len()].copy_from_slice(patch);
    bytes
}

#[test]
fn padding_of_compressed_payloads_is_not_looked_at_but_its_length_is() {
    let log = vector("one-lz4.bin");
    assert_eq!(scan(&patched(log.clone(), 48 + 541, &[1, 2, 3])).0.len(), 1);
    let end = scan(&patched(log, 36, &500_i16.to_le_bytes())).1;
    assert_eq!(end.mars_code(), Some(10_012));
}

#[test]
fn payloads_must_have_exactly_the_announced_length() {
    for name in ["one-lz4.bin", "one-zlib.bin", "lzo/multi-lzo.bin"] {
        for length in [3584_i16, 4608, 32_256] {
            let log = patched(vector(name), 38, &length.to_le_bytes());
            let (records, end) = scan(&log);
            assert_eq!(
                (records.len(), end.mars_code()),
                (0, Some(10_150)),
                "{name} {length}"
            );
        }
    }
}

#[test]
fn every_cut_of_a_log_is_torn_at_the_record_it_cuts() {
    let log = vector("multi-5.bin");
    let starts = [0, 596, 1704, 5884, 6552, 7148];
    for cut in 0..log.len() {
        let (records, end) = scan(&log[..cut]);
        let whole = starts.iter().rposition(|start| *start <= cut).unwrap();
        let start = starts[whole];
        assert_eq!((records.len(), end.position()), (whole, start as u64));
        let code = match cut - start {
            0 => None,
            1..48 => Some((11, None)),
            _ => Some((11, Some(10_006))),
        };
        let found = end.errno().map(|errno| (errno.number(), end.mars_code()));
        assert_eq!(found, code, "cut at {cut}: {end}");
    }
}

#[test]
fn nothing_behind_a_fault_is_looked_at_and_memory_stays_bounded() {
    let mut log = plain();
    log.extend([0; 512]);
    log.extend(plain());
    let (records, end) = scan(&log);
    assert_eq!((records.len(), end.position()), (1, 596));
    let mut scanner = mars_migrations::legacy_log::Scanner::new(&ScanOptions::default());
    let many = plain().repeat(1000);
    assert_eq!(scanner.feed(&many), LEGACY_BUFFER_MAX);
    assert_eq!(scanner.feed(&many), 0);
    const { assert!(LEGACY_BUFFER_MAX > 2 * LEGACY_RECORD_MAX) };
    assert!(scanner.next_record().is_some());
    assert_eq!(scanner.feed(&many), 596);
}

#[test]
fn a_broken_lzo_stream_is_named() {
    let bytes = vector("lzo/multi-lzo.bin");
    let end = scan(&patched(bytes, 48, &[17, 0, 0])).1;
    let ScanEnd::Bad { fault, .. } = &end else {
        panic!("{end}");
    };
    let lzo = matches!(fault, Fault::Unpack(UnpackError::Lzo(LzoError::End(_))));
    assert!(lzo, "{end}");
    assert_eq!(end.mars_code(), Some(10_150));
}

#[expect(clippy::print_stdout, reason = "shown when a test fails")]
fn show_seed(seed: u64) {
    println!("seed {seed:#x}");
}

fn config(seed: u64, cases: u32) -> ProptestConfig {
    show_seed(seed);
    ProptestConfig {
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        cases,
        ..ProptestConfig::default()
    }
}

/// However the bytes are cut into pieces, the outcome is the same; nothing is given out twice or from beyond.
fn holds(bytes: &[u8], step: usize) {
    let options = ScanOptions {
        device_size: Some(2 << 40),
        ..ScanOptions::default()
    };
    let whole = scan_with(&options, bytes, usize::MAX);
    assert_eq!(scan_with(&options, bytes, step), whole);
    let (records, end) = whole;
    let mut position = 0;
    for record in &records {
        assert_eq!(record.position, position);
        position = record.end();
        assert!(record.offset + record.payload.len() as u64 <= 2 << 40);
        assert!(record.payload.len() % 512 == 0 && !record.payload.is_empty());
    }
    assert_eq!(end.position(), position);
    assert!(position <= bytes.len() as u64);
}

/// All vectors, one behind the other in a list.
fn logs() -> Vec<Vec<u8>> {
    let mut logs = vec![vector("lzo/multi-lzo.bin")];
    for name in [
        "multi-5",
        "one-lz4",
        "one-zlib",
        "multi-seqback",
        "one-legacy2013",
    ] {
        logs.push(vector(&format!("{name}.bin")));
    }
    let mut writer = Writer::new();
    let mut log = Vec::new();
    for (seed, checksum) in (1..).zip(Checksum::ALL) {
        writer.checksum = checksum;
        writer.packing = [None, Some(Packing::Lz4), Some(Packing::Zlib)][(seed % 3) as usize];
        log.extend(record(&mut writer, seed, 512, 1024));
    }
    logs.push(log);
    logs
}

#[test]
fn garbage_is_survived() {
    let mut runner = proptest::test_runner::TestRunner::new(config(0x1e6a_c710, 1000));
    let header = prop_oneof![Just(Vec::new()), Just(plain()[..10].to_vec())];
    let body = proptest::collection::vec(any::<u8>(), 0..2000);
    runner
        .run(&(header, body, 1..100_usize), |(mut bytes, body, step)| {
            bytes.extend(body);
            holds(&bytes, step);
            Ok(())
        })
        .unwrap();
}

#[test]
fn mutated_logs_are_survived() {
    let logs = logs();
    let mut runner = proptest::test_runner::TestRunner::new(config(0x1e6a_c711, 1500));
    let patch = (any::<prop::sample::Index>(), any::<u8>());
    let patches = proptest::collection::vec(patch, 0..6);
    let strategy = (
        0..logs.len(),
        patches,
        any::<prop::sample::Index>(),
        1..9000_usize,
    );
    runner
        .run(&strategy, |(which, patches, cut, step)| {
            let mut bytes = logs[which].clone();
            for (at, value) in patches {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            bytes.truncate(cut.index(bytes.len() * 2));
            holds(&bytes, step);
            Ok(())
        })
        .unwrap();
}

/// What gets past the header: the decoders see random streams, their checks alone keep them in bounds.
#[test]
fn mutated_payloads_reach_the_decoders() {
    let logs = [
        (vector("one-lz4.bin"), 541),
        (vector("one-zlib.bin"), 581),
        (vector("lzo/multi-lzo.bin"), 100),
    ];
    let mut unpack_faults = 0;
    let mut x = 0x1e6a_c712_u32;
    show_seed(x.into());
    for (log, length) in &logs {
        for _ in 0..1500 {
            let mut bytes = log.clone();
            for _ in 0..3 {
                x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = 48 + (x >> 8) as usize % length;
                bytes[at] = x.to_be_bytes()[0];
            }
            let (_, end) = scan(&bytes);
            let fault = matches!(
                &end,
                ScanEnd::Bad {
                    fault: Fault::Unpack(_),
                    ..
                }
            );
            unpack_faults += u32::from(fault);
            holds(&bytes, 1000);
        }
    }
    assert!(unpack_faults > 1000, "{unpack_faults}");
}
