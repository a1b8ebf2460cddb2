//! Log segments, superblocks, and logs of the original.

use bytes::Bytes;
use mars_datapath_core::format::{
    BATCH_HEADER, BatchStart, Expect, HEADER_LENGTH, SegmentHeader, Sequence, decode_batch,
    encode_batch,
};
use mars_datapath_core::superblock::{decode_slot, encode_slot};
use mars_migrations::legacy_log::{Record, ScanEnd, ScanOptions, Scanner};

/// Bytes of a batch header that its checksum covers.
const AT_HEADER_CRC: usize = 56;
/// Where the checksum of the whole batch stands.
const AT_CRC: usize = 60;
/// Size of the device that the batches are for.
pub(crate) const DEVICE_SIZE: u64 = 1 << 30;
/// Generation of the segment that they stand in.
pub(crate) const GENERATION: u64 = 7;
/// Its alignment.
pub(crate) const ALIGNMENT: u32 = 512;

fn put(bytes: &mut [u8], at: usize, crc: u32) {
    if let Some(place) = bytes.get_mut(at..at + 4) {
        place.copy_from_slice(&crc.to_le_bytes());
    }
}

/// The bytes behind the first one, made as long as a header if the first one is odd, with the right checksum.
fn sealed(data: &[u8], len: usize) -> Vec<u8> {
    let Some((how, rest)) = data.split_first() else {
        return Vec::new();
    };
    let mut bytes = rest.to_vec();
    if how % 2 == 1 {
        bytes.resize(len, 0);
        let crc = crc32c::crc32c(&bytes[..len - 4]);
        put(&mut bytes, len - 4, crc);
    }
    bytes
}

/// The header of a segment. The first byte says whether the checksum is put right (odd).
pub fn segment_header(data: &[u8]) -> bool {
    let bytes = sealed(data, HEADER_LENGTH);
    let Ok(header) = SegmentHeader::decode(&bytes) else {
        return false;
    };
    let again = header.encode();
    let read = again.as_ref().map(|bytes| SegmentHeader::decode(bytes));
    assert_eq!(read, Ok(Ok(header)));
    // No byte is stray: but for the flags that may be ignored, and so the checksum, a header has one encoding.
    let known = |bytes: &[u8]| [&bytes[..20], &bytes[24..HEADER_LENGTH - 4]].concat();
    assert_eq!(again.map(|again| known(&again)), Ok(known(&bytes)));
    true
}

/// A slot of a superblock. The first byte says whether the checksum is put right (odd).
pub fn superblock_slot(data: &[u8]) -> bool {
    let bytes = sealed(data, mars_datapath_core::limits::SUPERBLOCK_SLOT);
    let Ok((generation, superblock)) = decode_slot(&bytes) else {
        return false;
    };
    let again = encode_slot(&superblock, generation).map(|slot| decode_slot(&slot));
    assert_eq!(again, Ok(Ok((generation, superblock))));
    true
}

/// A batch of records at the beginning of a segment. The first byte says whether the checksums are put right (odd), and
/// for how long a batch (the rest of it, in units of the alignment).
pub fn log_batch(data: &[u8]) -> bool {
    let Some((how, rest)) = data.split_first() else {
        return false;
    };
    let mut bytes = rest.to_vec();
    if how % 2 == 1 {
        let unit = usize::try_from(ALIGNMENT).unwrap_or(usize::MAX);
        bytes.resize(unit * (1 + usize::from(how / 2)), 0);
        let crc = crc32c::crc32c(&bytes[..AT_HEADER_CRC]);
        put(&mut bytes, AT_HEADER_CRC, crc);
        let crc = crc32c::crc32c(&bytes[..AT_CRC]);
        let crc = crc32c::crc32c_append(crc, &bytes[BATCH_HEADER..]);
        put(&mut bytes, AT_CRC, crc);
    }
    let expect = Expect {
        generation: GENERATION,
        alignment: ALIGNMENT,
        position: 0,
        sequence: Sequence::AtLeast(0),
        device_size: DEVICE_SIZE,
    };
    let Ok(batch) = decode_batch(&Bytes::from(bytes), &expect) else {
        return false;
    };
    for record in &batch.records {
        let end = record.offset.checked_add(record.payload().len() as u64);
        assert!(end.is_some_and(|end| end <= DEVICE_SIZE), "{record:?}");
    }
    let start = BatchStart {
        generation: GENERATION,
        position: 0,
        base_sequence: batch.base_sequence,
        stamp: batch.stamp,
        alignment: ALIGNMENT,
    };
    // Records of a later version are read past, and not written.
    if let Ok(again) = encode_batch(&start, &batch.records) {
        assert_eq!(
            decode_batch(&Bytes::from(again.to_vec()), &expect),
            Ok(batch)
        );
    }
    true
}

/// All records and the verdict, fed in pieces of `piece` bytes.
fn scan(data: &[u8], options: &ScanOptions, piece: usize) -> (Vec<Record>, ScanEnd) {
    let mut scanner = Scanner::new(options);
    let mut records = Vec::new();
    for mut bytes in data.chunks(piece.max(1)) {
        while !bytes.is_empty() {
            let taken = scanner.feed(bytes);
            let before = records.len();
            while let Some(record) = scanner.next_record() {
                records.push(record);
            }
            assert!(
                taken > 0 || records.len() > before,
                "the scanner stands still"
            );
            bytes = &bytes[taken..];
        }
    }
    let end = scanner.end();
    (records, end)
}

/// A log of the original; the first byte says how large the pieces are. It must not matter.
pub fn legacy_log(data: &[u8]) -> bool {
    let Some((piece, rest)) = data.split_first() else {
        return false;
    };
    let options = ScanOptions {
        position: 0,
        last_sequence: 0,
        device_size: Some(DEVICE_SIZE),
    };
    let whole = scan(rest, &options, rest.len());
    let pieces = scan(rest, &options, 1 + usize::from(*piece) * 8);
    assert_eq!(whole, pieces, "the size of the pieces matters");
    let mut at = 0;
    for record in &whole.0 {
        assert_eq!(record.position, at, "records follow each other");
        assert!(
            record.offset.saturating_add(record.payload.len() as u64) <= DEVICE_SIZE,
            "{record:?}"
        );
        at = record.end();
    }
    assert!(at <= rest.len() as u64);
    !whole.0.is_empty()
}
