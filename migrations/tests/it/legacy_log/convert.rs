//! A legacy log as a native segment: the same writes in the same order.

use super::{folder, scan, vector};
use mars_datapath_core::format::{HEADER_LENGTH, RecordBody, SegmentHeader};
use mars_datapath_core::scan as native;
use mars_lamport::Timestamp;
use mars_migrations::legacy_log::{ConvertOptions, Converted, convert};

const DEVICE: u64 = 2 << 40;

fn options() -> ConvertOptions {
    ConvertOptions {
        resource: "mydata".parse().unwrap(),
        origin: "hosta".parse().unwrap(),
        number: 3,
        generation: 0x0123_4567_89ab_cdef,
        created: Timestamp::from_nanos(9),
        base_sequence: 1,
        predecessor: None,
        device_size: Some(DEVICE),
        mark: None,
    }
}

fn converted(legacy: &[u8], options: &ConvertOptions) -> (Vec<u8>, Converted) {
    let mut out = Vec::new();
    let report = convert(&mut &legacy[..], &mut out, options).unwrap();
    (out, report)
}

/// Writes of a native segment with their stamps, and its end.
fn native_writes(bytes: &[u8]) -> (Vec<(u64, Vec<u8>, Timestamp)>, native::ScanEnd) {
    let header = SegmentHeader::decode(bytes).unwrap();
    assert_eq!(header.number, 3);
    let mut scanner = native::Scanner::new(&header, 0, DEVICE);
    let mut writes = Vec::new();
    let mut rest = &bytes[HEADER_LENGTH..];
    loop {
        rest = &rest[scanner.feed(rest)..];
        while let Some(batch) = scanner.next_batch() {
            for record in batch.records {
                match record.body {
                    RecordBody::Write(data) => {
                        writes.push((record.offset, data.to_vec(), batch.stamp));
                    }
                    RecordBody::CloseMark => {}
                    other => panic!("{other:?}"),
                }
            }
        }
        if rest.is_empty() {
            return (writes, scanner.end());
        }
    }
}

#[test]
fn every_vector_becomes_a_segment_with_the_same_writes() {
    let mut seen = 0;
    for file in std::fs::read_dir(folder()).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "bin") {
            continue;
        }
        let legacy = std::fs::read(&path).unwrap();
        let (records, legacy_end) = scan(&legacy);
        let applied = records.iter().filter(|record| record.is_applied());
        let expected: Vec<_> = applied
            .map(|r| (r.offset, r.payload.clone(), r.stamp()))
            .collect();
        let (bytes, report) = converted(&legacy, &options());
        let (writes, end) = native_writes(&bytes);
        assert_eq!(writes, expected, "{path:?}");
        let file_end = (bytes.len() - HEADER_LENGTH) as u64;
        assert_eq!((end.position(), report.position), (file_end, file_end));
        // Only a complete log is closed: a replica must not believe that a torn one goes on elsewhere.
        let closed = matches!(end, native::ScanEnd::Closed { .. });
        assert_eq!(closed, legacy_end.is_clean(), "{path:?}: {end:?}");
        assert_eq!(report.taken, expected.len() as u64);
        assert_eq!(report.left_out, (records.len() - expected.len()) as u64);
        assert_eq!(report.end, legacy_end);
        seen += 1;
    }
    println!("{seen} legacy logs were converted");
    assert_eq!(seen, 22);
}

#[test]
fn places_between_records_have_native_counterparts() {
    let log = vector("multi-5.bin");
    let mark = |place| {
        let options = ConvertOptions {
            mark: Some(place),
            ..options()
        };
        converted(&log, &options).1.mark
    };
    // 64 + 32 + 512 and 64 + 32 + 1024, each up to a multiple of 64.
    assert_eq!(mark(0), Some(0));
    assert_eq!(mark(596), Some(640));
    assert_eq!(mark(1704), Some(640 + 1152));
    assert_eq!((mark(600), mark(7149)), (None, None));
}

#[test]
fn a_pre_image_moves_the_place_but_writes_nothing() {
    let options = ConvertOptions {
        mark: Some(596),
        ..options()
    };
    let (_, report) = converted(&vector("multi-preimage.bin"), &options);
    assert_eq!(
        (report.mark, report.taken, report.left_out),
        (Some(0), 1, 1)
    );
}

#[test]
fn records_beyond_the_device_end_the_log() {
    let options = ConvertOptions {
        device_size: Some(8192),
        ..options()
    };
    let (_, report) = converted(&vector("multi-5.bin"), &options);
    assert_eq!((report.taken, report.end.position()), (3, 5884));
}
