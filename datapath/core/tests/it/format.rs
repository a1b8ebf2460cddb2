//! Log format and scanner: golden bytes, round trips, truncation, bit flips, stale bytes, damage.

use bytes::Bytes;
use mars_datapath_core::format::{
    Batch, BatchError, BatchStart, EncodeError, Expect, Record, RecordBody, RecordError,
    SegmentError, SegmentHeader, Sequence, decode_batch, encode_batch,
};
use mars_datapath_core::limits::{MAX_BATCH_RECORDS, MAX_RECORD_PAYLOAD};
use mars_datapath_core::scan::{ScanEnd, Scanner, TornReason};
use proptest::prelude::*;

use crate::support::{golden, header, start_of};

const DEVICE: u64 = 1 << 20;

fn worked_example() -> Vec<Record> {
    vec![
        Record {
            offset: 8192,
            fua: true,
            body: RecordBody::Write(Bytes::from_static(b"hello, log")),
        },
        Record {
            offset: 0,
            fua: false,
            body: RecordBody::Zeroes(4096),
        },
        Record::mark(RecordBody::FlushMark),
    ]
}

/// Encodes batches one behind the other from position 0 on; also gives the ends of the batches.
fn segment(header: &SegmentHeader, batches: &[Vec<Record>]) -> (Vec<u8>, Vec<u64>) {
    let mut start = start_of(header);
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for records in batches {
        let encoded = encode_batch(&start, records).unwrap();
        assert_eq!(encoded.length, encoded.to_vec().len());
        bytes.extend(encoded.to_vec());
        start.position = bytes.len() as u64;
        start.base_sequence += records.len() as u64;
        ends.push(start.position);
    }
    (bytes, ends)
}

/// Scans `bytes` in chunks of `chunk` bytes.
fn scan(header: &SegmentHeader, bytes: &[u8], chunk: usize) -> (Vec<Batch>, ScanEnd) {
    let mut scanner = Scanner::new(header, 0, DEVICE);
    let mut batches = Vec::new();
    for mut piece in bytes.chunks(chunk) {
        while !piece.is_empty() {
            let taken = scanner.feed(piece);
            batches.extend(std::iter::from_fn(|| scanner.next_batch()));
            piece = &piece[taken..];
        }
    }
    batches.extend(std::iter::from_fn(|| scanner.next_batch()));
    (batches, scanner.end())
}

fn records_of(batches: &[Batch]) -> Vec<Vec<Record>> {
    batches.iter().map(|batch| batch.records.clone()).collect()
}

fn record() -> impl Strategy<Value = Record> {
    let place = 0..(DEVICE - 2000);
    prop_oneof![
        (
            place.clone(),
            prop::collection::vec(any::<u8>(), 1..200),
            any::<bool>()
        )
            .prop_map(|(offset, data, fua)| Record {
                offset,
                fua,
                body: RecordBody::Write(data.into())
            }),
        (place.clone(), 1..2000_u64, any::<bool>()).prop_map(|(offset, len, fua)| Record {
            offset,
            fua,
            body: RecordBody::Zeroes(len)
        }),
        (place, 1..2000_u64).prop_map(|(offset, len)| Record {
            offset,
            fua: false,
            body: RecordBody::Discard(len)
        }),
        Just(Record::mark(RecordBody::FlushMark)),
    ]
}

fn batches() -> impl Strategy<Value = Vec<Vec<Record>>> {
    prop::collection::vec(prop::collection::vec(record(), 1..6), 1..6)
}

#[test]
fn golden_segment_header() {
    let bytes = header().encode().unwrap();
    golden("segment-header.bin", &bytes);
    assert_eq!(SegmentHeader::decode(&bytes).unwrap(), header());
    let first = SegmentHeader {
        predecessor: None,
        ..header()
    };
    assert_eq!(
        SegmentHeader::decode(&first.encode().unwrap()).unwrap(),
        first
    );
}

#[test]
fn golden_batch() {
    let (bytes, _) = segment(&header(), &[worked_example()]);
    golden("batch.bin", &bytes);
    let (found, end) = scan(&header(), &bytes, 7);
    assert_eq!(records_of(&found), [worked_example()]);
    assert_eq!(
        end,
        ScanEnd::Clean {
            position: bytes.len() as u64
        }
    );
}

#[test]
fn segment_headers_are_refused_by_reason() {
    let good = header().encode().unwrap();
    let sealed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        let crc = crc32c_of(&bytes[..4092]);
        bytes[4092..].copy_from_slice(&crc.to_le_bytes());
        SegmentHeader::decode(&bytes).unwrap_err()
    };
    assert_eq!(
        SegmentHeader::decode(&good[..4095]),
        Err(SegmentError::Short(4095))
    );
    assert_eq!(SegmentHeader::decode(&[0; 4096]), Err(SegmentError::Magic));
    assert_eq!(sealed(8, 3), SegmentError::Version(3));
    assert_eq!(sealed(16, 1), SegmentError::Flags(1));
    assert_eq!(sealed(24, 63), SegmentError::Field("alignment"));
    assert_eq!(sealed(40, 0), SegmentError::Field("number"));
    assert_eq!(sealed(40, 2), SegmentError::Field("predecessor number"));
    assert_eq!(sealed(80, b'x'), SegmentError::Field("predecessor digest"));
    assert_eq!(sealed(112, 64), SegmentError::Field("resource"));
    assert_eq!(sealed(113, b'/'), SegmentError::Field("resource"));
    assert_eq!(sealed(400, 1), SegmentError::Field("reserved"));
    for bit in 0..8 * good.len() {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(SegmentHeader::decode(&bytes).is_err(), "bit {bit}");
    }
}

/// The test's own CRC32C, bit by bit, so that a golden file is not only compared with itself.
fn crc32c_of(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
        }
    }
    !crc
}

/// Changes bytes of an encoded batch and makes its checksums right again.
fn reseal(bytes: &[u8], changes: &[(usize, u8)]) -> Bytes {
    let mut bytes = bytes.to_vec();
    for (at, byte) in changes {
        bytes[*at] = *byte;
    }
    let header = crc32c_of(&bytes[..56]);
    bytes[56..60].copy_from_slice(&header.to_le_bytes());
    let rest = [&bytes[..60], &bytes[64..]].concat();
    bytes[60..64].copy_from_slice(&crc32c_of(&rest).to_le_bytes());
    bytes.into()
}

#[test]
fn intact_batches_that_must_not_be_applied_are_refused_by_reason() {
    let (bytes, _) = segment(&header(), &[worked_example()]);
    let expect = Expect {
        generation: header().generation,
        alignment: 64,
        position: 0,
        sequence: Sequence::Exactly(1000),
        device_size: DEVICE,
    };
    let error = |changes: &[(usize, u8)]| {
        let error = decode_batch(&reseal(&bytes, changes), &expect).unwrap_err();
        let mut scanner = Scanner::with_expect(expect);
        scanner.feed(&reseal(&bytes, changes));
        assert_eq!(scanner.next_batch(), None);
        assert_eq!(
            scanner.end(),
            ScanEnd::Refused {
                position: 0,
                why: error.clone()
            }
        );
        error
    };
    let record = |index, error| BatchError::Record { index, error };
    assert!(decode_batch(&reseal(&bytes, &[]), &expect).is_ok());
    assert_eq!(error(&[(4, 3)]), BatchError::Version(3));
    assert_eq!(error(&[(6, 1)]), BatchError::Flags(1));
    assert_eq!(error(&[(64, 6)]), record(0, RecordError::Kind(6)));
    assert_eq!(error(&[(65, 0x01)]), record(0, RecordError::Flags(1)));
    assert_eq!(error(&[(66, 1)]), record(0, RecordError::Reserved));
    assert!(matches!(
        error(&[(79, 1)]),
        BatchError::Record {
            error: RecordError::Range { .. },
            ..
        }
    ));
    assert!(matches!(
        error(&[(80, 11)]),
        BatchError::Record {
            error: RecordError::Length { .. },
            ..
        }
    ));
    assert!(matches!(
        error(&[(68, 1)]),
        BatchError::Record {
            error: RecordError::PayloadOffset { .. },
            ..
        }
    ));
    assert_eq!(
        error(&[(32, 0)]),
        BatchError::Sequence {
            found: 768,
            expected: 1000
        }
    );
    assert_eq!(error(&[(52, 1)]), BatchError::Reserved);
    assert_eq!(error(&[(bytes.len() - 1, 1)]), BatchError::Reserved);
    assert!(matches!(error(&[(12, 0)]), BatchError::Length { .. }));
    assert!(matches!(error(&[(48, 200)]), BatchError::Length { .. }));
    // What may be ignored is ignored.
    let ignorable = reseal(&bytes, &[(7, 1), (65, 0x30), (128, 200)]);
    let batch = decode_batch(&ignorable, &expect).unwrap();
    assert_eq!(batch.records[0], worked_example()[0]);
    assert_eq!(
        batch.records[2].body,
        RecordBody::Ignored {
            kind: 200,
            payload: 0
        }
    );
}

#[test]
fn limits_hold_at_and_above() {
    let start = start_of(&header());
    let full = Record::write(0, vec![7; MAX_RECORD_PAYLOAD].into());
    let over = Record::write(0, vec![7; MAX_RECORD_PAYLOAD + 1].into());
    assert!(encode_batch(&start, &vec![full.clone(); 32]).is_ok());
    assert!(matches!(
        encode_batch(&start, &vec![full; 33]),
        Err(EncodeError::Payload(_))
    ));
    assert_eq!(encode_batch(&start, &[over]), Err(EncodeError::Record(0)));
    let mark = Record::mark(RecordBody::FlushMark);
    assert!(encode_batch(&start, &vec![mark.clone(); MAX_BATCH_RECORDS]).is_ok());
    let many = vec![mark.clone(); MAX_BATCH_RECORDS + 1];
    assert_eq!(
        encode_batch(&start, &many),
        Err(EncodeError::Records(MAX_BATCH_RECORDS + 1))
    );
    assert_eq!(encode_batch(&start, &[]), Err(EncodeError::Records(0)));
    let close = Record::mark(RecordBody::CloseMark);
    assert_eq!(
        encode_batch(&start, &[close, mark.clone()]),
        Err(EncodeError::Record(0))
    );
    let odd = BatchStart {
        position: 32,
        ..start
    };
    assert!(matches!(
        encode_batch(&odd, &[mark]),
        Err(EncodeError::Alignment { .. })
    ));
}

#[test]
fn the_largest_batch_passes_the_scanner() {
    let full = Record::write(0, vec![7; MAX_RECORD_PAYLOAD].into());
    let (bytes, ends) = segment(&header(), &[vec![full.clone(); 32], vec![full]]);
    let (found, end) = scan(&header(), &bytes, bytes.len());
    assert_eq!(
        (found.len(), end),
        (2, ScanEnd::Clean { position: ends[1] })
    );
}

#[test]
fn a_close_mark_ends_the_segment_whatever_follows() {
    let close = vec![
        worked_example()[0].clone(),
        Record::mark(RecordBody::CloseMark),
    ];
    let (mut bytes, ends) = segment(&header(), &[close, worked_example()]);
    bytes.extend([0xff; 100]);
    let (found, end) = scan(&header(), &bytes, 64);
    assert_eq!(
        (found.len(), end),
        (1, ScanEnd::Closed { position: ends[0] })
    );
}

#[test]
fn damage_in_the_middle_is_told_from_a_torn_tail() {
    let (bytes, ends) = segment(&header(), &vec![worked_example(); 4]);
    let hit = usize::try_from(ends[1]).unwrap();
    for at in [hit, hit + 8, hit + 61, hit + 170] {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x40;
        let (found, end) = scan(&header(), &bytes, 100);
        assert_eq!(found.len(), 2);
        assert!(
            matches!(end, ScanEnd::Damaged { position, .. } if position == ends[1]),
            "{end:?}"
        );
    }
    // The same in the last batch may be an append that was cut off by a power loss ...
    let mut torn = bytes;
    let last = torn.len() - 64;
    torn[last] ^= 1;
    let (_, end) = scan(&header(), &torn, 100);
    assert!(
        matches!(end, ScanEnd::Torn { position, .. } if position == ends[2]),
        "{end:?}"
    );
    // ... but not for who knows that the origin had made it durable.
    let known = end.clone().knowing_durable(ends[3]);
    assert!(matches!(known, ScanEnd::Damaged { .. }), "{known:?}");
    assert_eq!(end.clone().knowing_durable(ends[2]), end);
}

#[test]
fn zeroes_behind_the_end_are_no_damage() {
    let (mut bytes, ends) = segment(&header(), &[worked_example()]);
    for extra in [1, 63, 64, 65, 5000] {
        bytes.truncate(usize::try_from(ends[0]).unwrap());
        bytes.extend(vec![0; extra]);
        let (_, end) = scan(&header(), &bytes, 50);
        assert_eq!(
            end,
            ScanEnd::Torn {
                position: ends[0],
                why: TornReason::Zeroes
            },
            "{extra}"
        );
    }
}

#[test]
fn reading_can_begin_at_any_batch() {
    let (bytes, ends) = segment(&header(), &vec![worked_example(); 3]);
    let mut scanner = Scanner::new(&header(), ends[0], DEVICE);
    scanner.feed(&bytes[usize::try_from(ends[0]).unwrap()..]);
    let found: Vec<_> = std::iter::from_fn(|| scanner.next_batch()).collect();
    assert_eq!(
        found.iter().map(|b| b.base_sequence).collect::<Vec<_>>(),
        [1003, 1006]
    );
    assert_eq!(scanner.end(), ScanEnd::Clean { position: ends[2] });
    assert_eq!(scanner.fed(), ends[2]);
}

proptest! {
    #[test]
    fn what_is_encoded_is_scanned(batches in batches(), chunk in 1..300_usize) {
        let (bytes, ends) = segment(&header(), &batches);
        let (found, end) = scan(&header(), &bytes, chunk);
        prop_assert_eq!(records_of(&found), batches);
        prop_assert_eq!(found.iter().map(|b| b.end).collect::<Vec<_>>(), ends.clone());
        prop_assert_eq!(end, ScanEnd::Clean { position: *ends.last().unwrap() });
    }

    #[test]
    fn older_bytes_behind_the_end_are_never_taken(
        old in batches(), new in batches(), generation in any::<u64>(),
    ) {
        let stale = SegmentHeader { generation, ..header() };
        prop_assume!(generation != header().generation);
        let (mut bytes, _) = segment(&stale, &old);
        let (fresh, ends) = segment(&header(), &new);
        bytes.resize(bytes.len().max(fresh.len()), 0);
        bytes[..fresh.len()].copy_from_slice(&fresh);
        let (found, end) = scan(&header(), &bytes, 333);
        prop_assert_eq!(records_of(&found), new);
        prop_assert_eq!(end.position(), *ends.last().unwrap());
        prop_assert!(matches!(end, ScanEnd::Clean { .. } | ScanEnd::Torn { .. }), "{:?}", end);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn cut_anywhere_gives_a_prefix(batches in batches()) {
        let (bytes, ends) = segment(&header(), &batches);
        for cut in 0..bytes.len() {
            let (found, end) = scan(&header(), &bytes[..cut], 4096);
            let whole = ends.iter().filter(|end| **end <= cut as u64).count();
            prop_assert_eq!(records_of(&found), batches[..whole].to_vec());
            let at = whole.checked_sub(1).map_or(0, |last| ends[last]);
            prop_assert_eq!(end.position(), at);
            let clean = matches!(end, ScanEnd::Clean { .. });
            prop_assert_eq!(clean, at == cut as u64);
            prop_assert!(clean || matches!(end, ScanEnd::Torn { .. }), "{:?}", end);
        }
    }

    #[test]
    fn no_flipped_bit_is_accepted(batches in batches()) {
        let (bytes, ends) = segment(&header(), &batches);
        for bit in 0..8 * bytes.len() {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let (found, end) = scan(&header(), &bytes, 4096);
            let whole = ends.iter().filter(|end| **end <= bit as u64 / 8).count();
            prop_assert_eq!(found.len(), whole);
            let good = matches!(end, ScanEnd::Clean { .. } | ScanEnd::Closed { .. });
            prop_assert!(!good, "{:?}", end);
        }
    }

    #[test]
    fn garbage_is_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000), at in 0..2000_usize) {
        let (mut good, _) = segment(&header(), &[worked_example()]);
        let at = at.min(good.len());
        good.truncate(at);
        good.extend(bytes);
        let (found, end) = scan(&header(), &good, 17);
        prop_assert!(found.len() <= 1);
        prop_assert!(end.position() <= good.len() as u64);
    }
}
