//! Encoding of a batch: one header, descriptors, payload, padding.

use bytes::Bytes;
use mars_lamport::Timestamp;

use super::record::{KIND_CLOSE, MAX_MARK_KIND, Record, RecordBody};
use super::segment::VERSION;
use super::wire::{align_up, put};
use crate::limits::{
    MAX_ALIGNMENT, MAX_BATCH_PAYLOAD, MAX_BATCH_RECORDS, MAX_RECORD_PAYLOAD, MIN_ALIGNMENT,
};

/// Length of a batch header, bytes.
pub const BATCH_HEADER: usize = 64;
/// Length of a record descriptor, bytes.
pub const DESCRIPTOR: usize = 32;

pub(super) const MAGIC: &[u8; 4] = b"MBAT";
pub(super) const AT_HEADER_CRC: usize = 56;
pub(super) const AT_CRC: usize = 60;

static ZEROES: [u8; MAX_ALIGNMENT as usize] = [0; MAX_ALIGNMENT as usize];

/// Where a batch stands and when it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchStart {
    /// Generation of the segment.
    pub generation: u64,
    /// Position of the batch in the segment.
    pub position: u64,
    /// Sequence number of its first record.
    pub base_sequence: u64,
    /// When it was made.
    pub stamp: Timestamp,
    /// Alignment of the segment.
    pub alignment: u32,
}

/// An encoded batch in parts that go to the file one behind the other; the payload is not copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedBatch {
    /// Header and descriptors, payloads, padding; none of them empty.
    pub parts: Vec<Bytes>,
    /// Sum of all parts, bytes; a multiple of the alignment.
    pub length: usize,
}

impl EncodedBatch {
    /// All parts in one piece (a copy).
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        self.parts.concat()
    }
}

/// Why records cannot be encoded as one batch. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Too few or too many records.
    #[error("{0} records in one batch: must be 1 to 4096")]
    Records(usize),
    /// Too much payload.
    #[error("{0} bytes of payload in one batch: at most 32 MiB")]
    Payload(usize),
    /// One record is empty, too long, or of a kind that is only ever read.
    #[error("record {0} is empty, longer than 1 MiB, or behind a close mark")]
    Record(usize),
    /// Alignment no power of two from 64 to 4096, or position not aligned.
    #[error("position {position} or alignment {alignment} is out of range")]
    Alignment {
        /// Position of the batch.
        position: u64,
        /// Alignment of the segment.
        alignment: u32,
    },
}

/// Encodes `records` as one batch.
///
/// # Errors
/// See [`EncodeError`]; it is a fault of the caller, never of the data.
pub fn encode_batch(start: &BatchStart, records: &[Record]) -> Result<EncodedBatch, EncodeError> {
    let aligned = (MIN_ALIGNMENT..=MAX_ALIGNMENT).contains(&start.alignment)
        && start.alignment.is_power_of_two()
        && start.position.is_multiple_of(u64::from(start.alignment));
    let bad_alignment = EncodeError::Alignment {
        position: start.position,
        alignment: start.alignment,
    };
    if !aligned {
        return Err(bad_alignment);
    }
    if records.is_empty() || records.len() > MAX_BATCH_RECORDS {
        return Err(EncodeError::Records(records.len()));
    }
    let head_length = BATCH_HEADER + DESCRIPTOR * records.len();
    let mut head = vec![0_u8; head_length];
    let mut payload_length = 0_usize;
    let mut payloads = Vec::new();
    for (index, record) in records.iter().enumerate() {
        let payload = record.payload();
        if !may_be_encoded(record, index + 1 == records.len()) {
            return Err(EncodeError::Record(index));
        }
        let at = u32::try_from(payload_length);
        let length = u32::try_from(payload.len());
        let (Ok(at), Ok(length)) = (at, length) else {
            return Err(EncodeError::Payload(payload_length));
        };
        let descriptor = BATCH_HEADER + DESCRIPTOR * index;
        record.put_descriptor(head.get_mut(descriptor..).unwrap_or_default(), at, length);
        payload_length = payload_length.saturating_add(payload.len());
        if payload_length > MAX_BATCH_PAYLOAD {
            return Err(EncodeError::Payload(payload_length));
        }
        if !payload.is_empty() {
            payloads.push(payload);
        }
    }
    let used = head_length + payload_length;
    let alignment = usize::try_from(start.alignment).map_err(|_| bad_alignment)?;
    let length = align_up(used, alignment);
    let length32 = u32::try_from(length).map_err(|_| EncodeError::Payload(payload_length))?;
    let count = u32::try_from(records.len()).map_err(|_| EncodeError::Records(records.len()))?;
    let payload32 =
        u32::try_from(payload_length).map_err(|_| EncodeError::Payload(payload_length))?;

    put(&mut head, 0, MAGIC);
    put(&mut head, 4, &VERSION.to_le_bytes());
    put(&mut head, 8, &length32.to_le_bytes());
    put(&mut head, 12, &count.to_le_bytes());
    put(&mut head, 16, &start.generation.to_le_bytes());
    put(&mut head, 24, &start.position.to_le_bytes());
    put(&mut head, 32, &start.base_sequence.to_le_bytes());
    put(&mut head, 40, &start.stamp.as_nanos().to_le_bytes());
    put(&mut head, 48, &payload32.to_le_bytes());
    let header_crc = crc32c::crc32c(head.get(..AT_HEADER_CRC).unwrap_or_default());
    put(&mut head, AT_HEADER_CRC, &header_crc.to_le_bytes());

    let padding = ZEROES.get(..length - used).unwrap_or_default();
    let mut crc = crc32c::crc32c(head.get(..AT_CRC).unwrap_or_default());
    crc = crc32c::crc32c_append(crc, head.get(BATCH_HEADER..).unwrap_or_default());
    for payload in &payloads {
        crc = crc32c::crc32c_append(crc, payload);
    }
    crc = crc32c::crc32c_append(crc, padding);
    put(&mut head, AT_CRC, &crc.to_le_bytes());

    let mut parts = Vec::with_capacity(payloads.len() + 2);
    parts.push(Bytes::from(head));
    parts.append(&mut payloads);
    if !padding.is_empty() {
        parts.push(Bytes::from_static(padding));
    }
    Ok(EncodedBatch { parts, length })
}

fn may_be_encoded(record: &Record, last: bool) -> bool {
    match &record.body {
        RecordBody::Write(data) => !data.is_empty() && data.len() <= MAX_RECORD_PAYLOAD,
        RecordBody::Zeroes(length) | RecordBody::Discard(length) => *length > 0,
        RecordBody::FlushMark | RecordBody::Successor(_) => record.offset == 0,
        RecordBody::CloseMark => record.offset == 0 && record.kind() == KIND_CLOSE && last,
        RecordBody::Ignored { kind, payload } => *kind > MAX_MARK_KIND && *payload == 0,
    }
}
