//! The 4096-byte header of a log segment.

use mars_lamport::Timestamp;

use super::wire::{array, put, put_text64, text64, u16_at, u32_at, u64_at};
use crate::limits::{MAX_ALIGNMENT, MIN_ALIGNMENT};
use crate::version::Digest;
use crate::{LogPos, Name};

/// Length of the segment header, bytes; log position 0 stands at this file offset.
pub const HEADER_LENGTH: usize = 4096;
/// Version of the native log format.
pub const VERSION: u16 = 2;

const MAGIC: &[u8; 8] = b"MARSLOG2";
const AT_CRC: usize = HEADER_LENGTH - 4;
const AT_RESOURCE: usize = 112;
const AT_ORIGIN: usize = 176;
const AT_PRED_ORIGIN: usize = 240;
const AT_REST: usize = 304;

/// The segment that came before, as the origin knew it when it began the new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predecessor {
    /// Its number, and its final length as a position.
    pub end: LogPos,
    /// The host that wrote it.
    pub origin: Name,
    /// Digest of the version chain up to and including it.
    pub digest: Digest,
}

/// What stands in the header of a segment file `log-%09d-ORIGIN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The resource that the segment belongs to.
    pub resource: Name,
    /// The host that writes the segment.
    pub origin: Name,
    /// Number of the segment, at least 1.
    pub number: u64,
    /// Random number drawn for this file; every batch repeats it, so that older bytes are never taken for data.
    pub generation: u64,
    /// When the segment was created.
    pub created: Timestamp,
    /// Sequence number of the first record.
    pub base_sequence: u64,
    /// Every batch starts and ends at a multiple of this; a power of two, 64 to 4096.
    pub alignment: u32,
    /// The segment before, absent for the first one of a history.
    pub predecessor: Option<Predecessor>,
}

/// Why a segment header was refused. Nothing may be read from the file behind it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// Fewer than 4096 bytes: the creation of the file was interrupted; no batch can be in it.
    #[error("segment header is cut off: {0} of 4096 bytes")]
    Short(usize),
    /// Not a native segment (a legacy log, or another file).
    #[error("file does not start with the magic of a native log segment")]
    Magic,
    /// Damaged header.
    #[error("checksum of the segment header is {found:08x}, expected {computed:08x}")]
    Checksum {
        /// As stored.
        found: u32,
        /// Over the bytes as read.
        computed: u32,
    },
    /// Written by a newer program.
    #[error("log format version {0} is unknown here (this program knows 2): upgrade it")]
    Version(u16),
    /// Written by a newer program that uses something which older ones must not ignore.
    #[error("segment header carries unknown incompatible flags {0:#x}: upgrade this program")]
    Flags(u32),
    /// A field is out of its range although the checksum is right.
    #[error("segment header field '{0}' is out of range")]
    Field(&'static str),
}

impl SegmentHeader {
    /// Encodes the header.
    ///
    /// # Errors
    /// [`SegmentError::Field`] if alignment, number or predecessor number are out of range.
    pub fn encode(&self) -> Result<Box<[u8]>, SegmentError> {
        self.check()?;
        let mut buf = vec![0_u8; HEADER_LENGTH].into_boxed_slice();
        put(&mut buf, 0, MAGIC);
        put(&mut buf, 8, &VERSION.to_le_bytes());
        put(&mut buf, 12, &4096_u32.to_le_bytes());
        put(&mut buf, 24, &self.alignment.to_le_bytes());
        put(&mut buf, 32, &self.generation.to_le_bytes());
        put(&mut buf, 40, &self.number.to_le_bytes());
        put(&mut buf, 48, &self.created.as_nanos().to_le_bytes());
        put(&mut buf, 56, &self.base_sequence.to_le_bytes());
        put_text64(&mut buf, AT_RESOURCE, self.resource.as_str());
        put_text64(&mut buf, AT_ORIGIN, self.origin.as_str());
        if let Some(pred) = &self.predecessor {
            put(&mut buf, 64, &pred.end.segment.to_le_bytes());
            put(&mut buf, 72, &pred.end.position.to_le_bytes());
            put(&mut buf, 80, pred.digest.to_string().as_bytes());
            put_text64(&mut buf, AT_PRED_ORIGIN, pred.origin.as_str());
        }
        let crc = crc32c::crc32c(buf.get(..AT_CRC).unwrap_or_default());
        put(&mut buf, AT_CRC, &crc.to_le_bytes());
        Ok(buf)
    }

    /// Decodes and checks a header from the first bytes of a file.
    ///
    /// # Errors
    /// See [`SegmentError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, SegmentError> {
        let buf = bytes
            .get(..HEADER_LENGTH)
            .ok_or(SegmentError::Short(bytes.len()))?;
        if &array::<8>(buf, 0) != MAGIC {
            return Err(SegmentError::Magic);
        }
        let found = u32_at(buf, AT_CRC);
        let computed = crc32c::crc32c(buf.get(..AT_CRC).unwrap_or_default());
        if found != computed {
            return Err(SegmentError::Checksum { found, computed });
        }
        if u16_at(buf, 8) != VERSION {
            return Err(SegmentError::Version(u16_at(buf, 8)));
        }
        if u32_at(buf, 16) != 0 {
            return Err(SegmentError::Flags(u32_at(buf, 16)));
        }
        let zero = |from: usize, to: usize| buf.iter().take(to).skip(from).all(|b| *b == 0);
        if u32_at(buf, 12) != 4096 || !zero(10, 12) || !zero(28, 32) || !zero(AT_REST, AT_CRC) {
            return Err(SegmentError::Field("reserved"));
        }
        let name = |at: usize, field: &'static str| {
            let text = text64(buf, at).ok_or(SegmentError::Field(field))?;
            text.parse::<Name>().map_err(|_| SegmentError::Field(field))
        };
        let predecessor = if zero(64, 112) && zero(AT_PRED_ORIGIN, AT_REST) {
            None
        } else {
            let digest = std::str::from_utf8(buf.get(80..112).unwrap_or_default())
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or(SegmentError::Field("predecessor digest"))?;
            Some(Predecessor {
                end: LogPos::new(u64_at(buf, 64), u64_at(buf, 72)),
                origin: name(AT_PRED_ORIGIN, "predecessor origin")?,
                digest,
            })
        };
        let header = Self {
            resource: name(AT_RESOURCE, "resource")?,
            origin: name(AT_ORIGIN, "origin")?,
            number: u64_at(buf, 40),
            generation: u64_at(buf, 32),
            created: Timestamp::from_nanos(u64_at(buf, 48)),
            base_sequence: u64_at(buf, 56),
            alignment: u32_at(buf, 24),
            predecessor,
        };
        header.check()?;
        Ok(header)
    }

    /// Whether this segment was begun as the successor of what ends at `end`.
    ///
    /// Recovery that starts at the very end of a closed segment finds no close mark any more; the header of
    /// the successor, written only after that end was durable, is the proof that nothing is missing.
    #[must_use]
    pub fn follows(&self, end: LogPos) -> bool {
        self.predecessor
            .as_ref()
            .is_some_and(|pred| pred.end == end)
    }

    fn check(&self) -> Result<(), SegmentError> {
        let range = MIN_ALIGNMENT..=MAX_ALIGNMENT;
        if !self.alignment.is_power_of_two() || !range.contains(&self.alignment) {
            return Err(SegmentError::Field("alignment"));
        }
        if self.number == 0 {
            return Err(SegmentError::Field("number"));
        }
        match &self.predecessor {
            Some(pred) if pred.end.segment >= self.number => {
                Err(SegmentError::Field("predecessor number"))
            }
            _ => Ok(()),
        }
    }
}
