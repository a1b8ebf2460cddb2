//! Records of a batch and their 32-byte descriptors.

use bytes::Bytes;

use super::wire::{array, put, u16_at, u32_at, u64_at};
use crate::limits::MAX_RECORD_PAYLOAD;
use crate::name::Name;

pub(super) const KIND_WRITE: u8 = 1;
pub(super) const KIND_ZEROES: u8 = 2;
pub(super) const KIND_DISCARD: u8 = 3;
pub(super) const KIND_FLUSH: u8 = 4;
pub(super) const KIND_CLOSE: u8 = 5;
/// Unknown kinds above this may be skipped; up to this they stop replay.
pub const MAX_MARK_KIND: u8 = 127;
/// May be skipped: programs that do not know it go by the close mark alone.
pub(super) const KIND_SUCCESSOR: u8 = 128;

/// Flags in the low half must be understood, those in the high half may be ignored.
const CRITICAL_FLAGS: u8 = 0x0f;
const FLAG_FUA: u8 = 0x10;

/// One operation on the device, or a mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// First byte on the device; 0 for marks.
    pub offset: u64,
    /// The application asked for stable storage before completion.
    pub fua: bool,
    /// What it does.
    pub body: RecordBody,
}

/// What a record does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordBody {
    /// These bytes were written; 1 byte to 1 MiB.
    Write(Bytes),
    /// That many bytes were set to zero.
    Zeroes(u64),
    /// That many bytes were discarded: they read as zero afterwards.
    Discard(u64),
    /// The application flushed: everything before is to be stable together.
    FlushMark,
    /// Who may go on behind the close mark that follows in this batch.
    Successor(Successor),
    /// The segment ends here for good; the last record of its last batch.
    CloseMark,
    /// A record of a later version that may be skipped, with its kind (128 to 255) and payload length.
    Ignored {
        /// The unknown kind.
        kind: u8,
        /// Bytes of payload that were skipped.
        payload: u32,
    },
}

/// Who may begin the segment behind a closed one (`docs/spec/log-format.md`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Successor {
    /// This host alone.
    Host(Name),
    /// Whoever is designated primary.
    Anyone,
}

impl Successor {
    /// Reads the payload; `None` if it is in no form that this program knows.
    fn decode(payload: &[u8]) -> Option<Self> {
        if payload.is_empty() {
            return Some(Self::Anyone);
        }
        std::str::from_utf8(payload)
            .ok()?
            .parse()
            .ok()
            .map(Self::Host)
    }
}

/// Why a record of an intact batch cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A later version's record that must not be skipped.
    #[error("kind {0} is unknown and must not be skipped: upgrade this program")]
    Kind(u8),
    /// A later version's flag that must not be ignored.
    #[error("flags {0:#04x} contain unknown ones that must not be ignored: upgrade this program")]
    Flags(u8),
    /// Range beyond the device.
    #[error("range {offset}+{length} exceeds the device of {device} bytes")]
    Range {
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
        /// Size of the device, bytes.
        device: u64,
    },
    /// Length and payload contradict each other, or exceed the limits.
    #[error("length {length} with a payload of {payload} bytes is impossible for kind {kind}")]
    Length {
        /// The kind.
        kind: u8,
        /// Length on the device.
        length: u64,
        /// Bytes in the batch.
        payload: u32,
    },
    /// Payload is not where the records before it end.
    #[error("payload stands at {found}, expected {expected}")]
    PayloadOffset {
        /// As stored.
        found: u32,
        /// Where the payload of the record before ends.
        expected: usize,
    },
    /// A reserved field is not zero.
    #[error("a reserved field is not zero")]
    Reserved,
    /// Something follows a close mark in its batch.
    #[error("a record follows the close mark")]
    AfterClose,
}

impl Record {
    /// A write of `data` at `offset`.
    #[must_use]
    pub const fn write(offset: u64, data: Bytes) -> Self {
        Self {
            offset,
            fua: false,
            body: RecordBody::Write(data),
        }
    }

    /// A record that is no more than a mark.
    #[must_use]
    pub const fn mark(body: RecordBody) -> Self {
        Self {
            offset: 0,
            fua: false,
            body,
        }
    }

    /// Bytes of the device that the record covers; 0 for marks.
    #[must_use]
    pub fn length(&self) -> u64 {
        match &self.body {
            RecordBody::Write(data) => data.len() as u64,
            RecordBody::Zeroes(length) | RecordBody::Discard(length) => *length,
            RecordBody::FlushMark
            | RecordBody::Successor(_)
            | RecordBody::CloseMark
            | RecordBody::Ignored { .. } => 0,
        }
    }

    /// The payload that travels with the record; empty for all but writes and successors.
    #[must_use]
    pub fn payload(&self) -> Bytes {
        match &self.body {
            RecordBody::Write(data) => data.clone(),
            RecordBody::Successor(Successor::Host(name)) => {
                Bytes::copy_from_slice(name.as_str().as_bytes())
            }
            _ => Bytes::new(),
        }
    }

    pub(super) const fn kind(&self) -> u8 {
        match &self.body {
            RecordBody::Write(_) => KIND_WRITE,
            RecordBody::Zeroes(_) => KIND_ZEROES,
            RecordBody::Discard(_) => KIND_DISCARD,
            RecordBody::FlushMark => KIND_FLUSH,
            RecordBody::Successor(_) => KIND_SUCCESSOR,
            RecordBody::CloseMark => KIND_CLOSE,
            RecordBody::Ignored { kind, .. } => *kind,
        }
    }

    pub(super) fn put_descriptor(&self, out: &mut [u8], payload_at: u32, payload: u32) {
        put(out, 0, &[self.kind(), if self.fua { FLAG_FUA } else { 0 }]);
        put(out, 4, &payload_at.to_le_bytes());
        put(out, 8, &self.offset.to_le_bytes());
        put(out, 16, &self.length().to_le_bytes());
        put(out, 24, &payload.to_le_bytes());
    }

    /// Reads one descriptor; `payload` is all payload of the batch, `expected` where this one's must begin.
    pub(super) fn decode(
        descriptor: &[u8],
        payload: &Bytes,
        expected: usize,
        device: u64,
    ) -> Result<Self, RecordError> {
        let [kind, flags] = array(descriptor, 0);
        let offset = u64_at(descriptor, 8);
        let length = u64_at(descriptor, 16);
        let payload_length = u32_at(descriptor, 24);
        if kind == 0 || (kind > KIND_CLOSE && kind <= MAX_MARK_KIND) {
            return Err(RecordError::Kind(kind));
        }
        if flags & CRITICAL_FLAGS != 0 {
            return Err(RecordError::Flags(flags));
        }
        let found = u32_at(descriptor, 4);
        if usize::try_from(found) != Ok(expected) {
            return Err(RecordError::PayloadOffset { found, expected });
        }
        let bad_length = RecordError::Length {
            kind,
            length,
            payload: payload_length,
        };
        let bytes = usize::try_from(payload_length).map_err(|_| bad_length.clone())?;
        let end = expected
            .checked_add(bytes)
            .filter(|end| *end <= payload.len());
        let end = end.ok_or_else(|| bad_length.clone())?;
        if kind > MAX_MARK_KIND {
            let named = (kind == KIND_SUCCESSOR)
                .then(|| Successor::decode(payload.get(expected..end).unwrap_or_default()))
                .flatten();
            let body = named.map_or(
                RecordBody::Ignored {
                    kind,
                    payload: payload_length,
                },
                RecordBody::Successor,
            );
            return Ok(Self {
                offset: 0,
                fua: false,
                body,
            });
        }
        if u16_at(descriptor, 2) != 0 || u32_at(descriptor, 28) != 0 {
            return Err(RecordError::Reserved);
        }
        let body = match kind {
            KIND_WRITE if length == u64::from(payload_length) && bytes <= MAX_RECORD_PAYLOAD => {
                RecordBody::Write(payload.slice(expected..end))
            }
            KIND_ZEROES if bytes == 0 => RecordBody::Zeroes(length),
            KIND_DISCARD if bytes == 0 => RecordBody::Discard(length),
            KIND_FLUSH if bytes == 0 => RecordBody::FlushMark,
            KIND_CLOSE if bytes == 0 => RecordBody::CloseMark,
            _ => return Err(bad_length),
        };
        let is_mark = matches!(body, RecordBody::FlushMark | RecordBody::CloseMark);
        if is_mark != (length == 0) || (is_mark && offset != 0) {
            return Err(bad_length);
        }
        if offset.checked_add(length).is_none_or(|end| end > device) && !is_mark {
            return Err(RecordError::Range {
                offset,
                length,
                device,
            });
        }
        Ok(Self {
            offset,
            fua: flags & FLAG_FUA != 0,
            body,
        })
    }
}
