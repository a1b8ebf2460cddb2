//! Native log format version 2: segment header, batches, records (`docs/spec/log-format.md`).

mod batch;
mod decode;
mod record;
mod segment;
pub(crate) mod wire;

pub use batch::{BATCH_HEADER, BatchStart, DESCRIPTOR, EncodeError, EncodedBatch, encode_batch};
pub use decode::{
    Batch, BatchError, BatchHeader, Expect, Sequence, Trust, decode_batch, decode_header,
};
pub use record::{MAX_MARK_KIND, Record, RecordBody, RecordError, Successor};
pub use segment::{HEADER_LENGTH, Predecessor, SegmentError, SegmentHeader, VERSION};

/// File offset of log position `position`.
#[must_use]
pub const fn file_offset(position: u64) -> u64 {
    position.saturating_add(HEADER_LENGTH as u64)
}

/// Log position at the end of a file of `length` bytes; 0 if it holds no more than the header.
#[must_use]
pub const fn end_position(length: u64) -> u64 {
    length.saturating_sub(HEADER_LENGTH as u64)
}
