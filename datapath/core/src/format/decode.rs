//! Decoding of a batch: everything is checked before anything is believed.

use bytes::Bytes;
use mars_lamport::Timestamp;

use super::batch::{AT_CRC, AT_HEADER_CRC, BATCH_HEADER, DESCRIPTOR, MAGIC};
use super::record::{Record, RecordBody, RecordError, Successor};
use super::segment::VERSION;
use super::wire::{align_up, array, u16_at, u32_at, u64_at};
use crate::limits::{MAX_BATCH, MAX_BATCH_PAYLOAD, MAX_BATCH_RECORDS};

/// Unknown flags in the low byte of a batch header stop replay, those in the high byte are ignored.
const CRITICAL_FLAGS: u16 = 0x00ff;

/// What the next batch must be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expect {
    /// Generation of the segment.
    pub generation: u64,
    /// Alignment of the segment, bytes.
    pub alignment: u32,
    /// Position of the batch.
    pub position: u64,
    /// Sequence number of its first record.
    pub sequence: Sequence,
    /// Size of the device, bytes: no record may go beyond.
    pub device_size: u64,
}

/// What is known about the next sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sequence {
    /// It must be this one.
    Exactly(u64),
    /// It must not be smaller (reading starts in the middle of a segment).
    AtLeast(u64),
}

/// A validated batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Position of its first byte.
    pub position: u64,
    /// Position behind its padding; the next batch stands here.
    pub end: u64,
    /// Sequence number of its first record; the others follow by one.
    pub base_sequence: u64,
    /// When it was made.
    pub stamp: Timestamp,
    /// Its records; payloads are slices of the bytes that were decoded.
    pub records: Vec<Record>,
}

impl Batch {
    /// Sequence number behind the last record.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.base_sequence.saturating_add(self.records.len() as u64)
    }

    /// Whether the batch ends its segment for good.
    #[must_use]
    pub fn closes(&self) -> bool {
        self.records
            .last()
            .is_some_and(|record| record.body == RecordBody::CloseMark)
    }

    /// Who may go on behind a batch that closes its segment; `None` if it does not close it, or does not say who: that of an
    /// earlier version.
    #[must_use]
    pub fn successor(&self) -> Option<&Successor> {
        let named = self
            .records
            .iter()
            .rev()
            .find_map(|record| match &record.body {
                RecordBody::Successor(successor) => Some(successor),
                _ => None,
            });
        named.filter(|_| self.closes())
    }

    /// Bytes of payload in all records.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        self.records
            .iter()
            .map(|record| record.payload().len())
            .sum()
    }
}

/// How far a failing batch is to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Good so far, but not all bytes are there.
    Incomplete,
    /// These bytes are no batch of this place: torn, stale, zero or damaged.
    NotABatch,
    /// The bytes are as they were written, and must not be applied.
    Refused,
}

/// Why bytes are no batch that may be applied. Nothing of it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// More bytes are needed.
    #[error("{have} of {need} bytes are there")]
    Short {
        /// Bytes given.
        have: usize,
        /// Bytes needed for the next decision.
        need: usize,
    },
    /// No batch begins here.
    #[error("no batch begins here")]
    Magic,
    /// The fixed header is damaged.
    #[error("checksum of the batch header does not match")]
    HeaderChecksum,
    /// Bytes of an earlier use of the file.
    #[error("generation is {found:016x}, the segment's is {expected:016x}")]
    Generation {
        /// As stored.
        found: u64,
        /// Of the segment.
        expected: u64,
    },
    /// A batch of another place.
    #[error("batch was written for position {0}")]
    Position(u64),
    /// Header, descriptors, payload or padding are damaged.
    #[error("checksum of the batch does not match")]
    Checksum,
    /// Intact, but from a newer program.
    #[error("batch version {0} is unknown here (this program knows 2): upgrade it")]
    Version(u16),
    /// Intact, but with flags that must not be ignored.
    #[error(
        "batch flags {0:#06x} contain unknown ones that must not be ignored: upgrade this program"
    )]
    Flags(u16),
    /// Lengths and counts of the header contradict each other or exceed the limits.
    #[error(
        "batch of {length} bytes with {records} records and {payload} bytes of payload is impossible"
    )]
    Length {
        /// Bytes of the batch.
        length: u32,
        /// Records.
        records: u32,
        /// Bytes of payload.
        payload: u32,
    },
    /// Intact, but not the successor of the batch before.
    #[error("sequence number is {found}, expected {expected}")]
    Sequence {
        /// As stored.
        found: u64,
        /// Needed.
        expected: u64,
    },
    /// Intact, but reserved bytes are not zero.
    #[error("a reserved field or the padding is not zero")]
    Reserved,
    /// Intact, but a record cannot be applied.
    #[error("record {index}: {error}")]
    Record {
        /// Index in the batch.
        index: usize,
        /// Why.
        error: RecordError,
    },
}

impl BatchError {
    /// How far the bytes are to be believed.
    #[must_use]
    pub const fn trust(&self) -> Trust {
        match self {
            Self::Short { .. } => Trust::Incomplete,
            Self::Magic
            | Self::HeaderChecksum
            | Self::Generation { .. }
            | Self::Position(_)
            | Self::Checksum => Trust::NotABatch,
            Self::Version(_)
            | Self::Flags(_)
            | Self::Length { .. }
            | Self::Sequence { .. }
            | Self::Reserved
            | Self::Record { .. } => Trust::Refused,
        }
    }
}

/// The fixed part of a batch, checked against its own checksum and its place, not against the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Bytes of the batch, padding included.
    pub length: usize,
    /// Records.
    pub records: usize,
    /// Bytes of payload.
    pub payload: usize,
    /// Sequence number of the first record.
    pub base_sequence: u64,
    /// When it was made.
    pub stamp: Timestamp,
}

/// Decodes the fixed header at the start of `buf`, which steers how many bytes to read.
///
/// # Errors
/// See [`BatchError`]; only [`Trust::Incomplete`] asks for more bytes.
pub fn decode_header(buf: &[u8], expect: &Expect) -> Result<BatchHeader, BatchError> {
    if buf.len() < BATCH_HEADER {
        return Err(BatchError::Short {
            have: buf.len(),
            need: BATCH_HEADER,
        });
    }
    if &array::<4>(buf, 0) != MAGIC {
        return Err(BatchError::Magic);
    }
    let crc = crc32c::crc32c(buf.get(..AT_HEADER_CRC).unwrap_or_default());
    if u32_at(buf, AT_HEADER_CRC) != crc {
        return Err(BatchError::HeaderChecksum);
    }
    let generation = u64_at(buf, 16);
    if generation != expect.generation {
        return Err(BatchError::Generation {
            found: generation,
            expected: expect.generation,
        });
    }
    if u64_at(buf, 24) != expect.position {
        return Err(BatchError::Position(u64_at(buf, 24)));
    }
    if u16_at(buf, 4) != VERSION {
        return Err(BatchError::Version(u16_at(buf, 4)));
    }
    let (length32, count32, payload32) = (u32_at(buf, 8), u32_at(buf, 12), u32_at(buf, 48));
    let impossible = BatchError::Length {
        length: length32,
        records: count32,
        payload: payload32,
    };
    let as_usize = |n: u32| usize::try_from(n).map_err(|_| impossible.clone());
    let (length, records, payload) = (
        as_usize(length32)?,
        as_usize(count32)?,
        as_usize(payload32)?,
    );
    let within = (1..=MAX_BATCH_RECORDS).contains(&records)
        && payload <= MAX_BATCH_PAYLOAD
        && length <= MAX_BATCH;
    let padded = align_up(
        BATCH_HEADER + DESCRIPTOR * records.min(MAX_BATCH_RECORDS) + payload,
        as_usize(expect.alignment)?,
    );
    if !within || length != padded {
        return Err(impossible);
    }
    Ok(BatchHeader {
        length,
        records,
        payload,
        base_sequence: u64_at(buf, 32),
        stamp: Timestamp::from_nanos(u64_at(buf, 40)),
    })
}

/// Decodes the batch at the start of `buf`; bytes behind it are not looked at.
///
/// # Errors
/// See [`BatchError`]; only [`Trust::Incomplete`] asks for more bytes.
pub fn decode_batch(buf: &Bytes, expect: &Expect) -> Result<Batch, BatchError> {
    let header = decode_header(buf, expect)?;
    let Some(all) = buf.get(..header.length) else {
        return Err(BatchError::Short {
            have: buf.len(),
            need: header.length,
        });
    };
    let crc = crc32c::crc32c(all.get(..AT_CRC).unwrap_or_default());
    let crc = crc32c::crc32c_append(crc, all.get(BATCH_HEADER..).unwrap_or_default());
    if u32_at(all, AT_CRC) != crc {
        return Err(BatchError::Checksum);
    }
    if u16_at(all, 6) & CRITICAL_FLAGS != 0 {
        return Err(BatchError::Flags(u16_at(all, 6)));
    }
    let descriptors = BATCH_HEADER + DESCRIPTOR * header.records;
    let payload_end = descriptors + header.payload;
    if u32_at(all, 52) != 0 || all.iter().skip(payload_end).any(|b| *b != 0) {
        return Err(BatchError::Reserved);
    }
    let found = header.base_sequence;
    let wrong = match expect.sequence {
        Sequence::Exactly(expected) if found != expected => Some(expected),
        Sequence::AtLeast(expected) if found < expected => Some(expected),
        Sequence::Exactly(_) | Sequence::AtLeast(_) => None,
    };
    let count = header.records as u64;
    if wrong.is_some() || found.checked_add(count).is_none() {
        return Err(BatchError::Sequence {
            found,
            expected: wrong.unwrap_or(0),
        });
    }
    let payload = buf.slice(descriptors..payload_end);
    let records = decode_records(all, header.records, &payload, expect.device_size)?;
    let length = header.length as u64;
    let end = expect
        .position
        .checked_add(length)
        .ok_or(BatchError::Position(expect.position))?;
    Ok(Batch {
        position: expect.position,
        end,
        base_sequence: found,
        stamp: header.stamp,
        records,
    })
}

fn decode_records(
    all: &[u8],
    count: usize,
    payload: &Bytes,
    device_size: u64,
) -> Result<Vec<Record>, BatchError> {
    let mut records: Vec<Record> = Vec::with_capacity(count.min(MAX_BATCH_RECORDS));
    let mut expected = 0_usize;
    let descriptors = all
        .get(BATCH_HEADER..)
        .unwrap_or_default()
        .chunks_exact(DESCRIPTOR);
    for (index, descriptor) in descriptors.take(count).enumerate() {
        let fail = |error| BatchError::Record { index, error };
        if records
            .last()
            .is_some_and(|last| last.body == RecordBody::CloseMark)
        {
            return Err(fail(RecordError::AfterClose));
        }
        let record = Record::decode(descriptor, payload, expected, device_size).map_err(fail)?;
        expected += match &record.body {
            RecordBody::Ignored { payload, .. } => usize::try_from(*payload).unwrap_or(usize::MAX),
            _ => record.payload().len(),
        };
        records.push(record);
    }
    if expected != payload.len() {
        let found = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let error = RecordError::PayloadOffset { found, expected };
        return Err(BatchError::Record {
            index: count,
            error,
        });
    }
    Ok(records)
}
