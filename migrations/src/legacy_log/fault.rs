//! What can be wrong with a record, in the numbers of the original.

use super::compress::UnpackError;

/// The four kinds of trouble that the original tells apart, with its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Errno {
    /// Bytes are missing; perhaps they come later.
    Again,
    /// Something was never written: zeroes where numbers must be.
    Restart,
    /// The end of a record is not where it should be.
    BadRequest,
    /// Damage.
    BadMessage,
}

impl Errno {
    /// The number, positive; the original publishes it with a minus sign.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Again => 11,
            Self::BadRequest => 56,
            Self::BadMessage => 74,
            Self::Restart => 85,
        }
    }
}

/// Why the bytes at a place are no record that may be applied. Nothing of it was given out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No record begins here; zeroes are the usual case.
    #[error("no record begins here")]
    StartMagic,
    /// The format version is not 1.
    #[error("format version is {0}, only 1 is known")]
    Version(u8),
    /// The writer did not get to the end of the record.
    #[error("record was never completed: its valid flag is 0")]
    Unfinished,
    /// The length was never written.
    #[error("length of the record is 0: it was never written")]
    NoLength,
    /// The length is impossible.
    #[error("length of the record is negative ({0})")]
    NegativeLength(i16),
    /// The length leaves no room for a payload.
    #[error("length of the record is {0}: no payload fits")]
    ShortLength(usize),
    /// The end of the record was never written.
    #[error("end of the record is zero: it was never written")]
    EndUnwritten,
    /// The end of the record is one byte repeated: memory that was never filled in.
    #[error("end of the record is byte {0:#04x} repeated: memory that was not filled in")]
    EndPoison(u8),
    /// The end of the record is something else.
    #[error("no end of a record where its length says")]
    EndMagic,
    /// The second valid flag is not 1.
    #[error("valid flag at the end of the record is {0} instead of 1")]
    ValidCopy(u8),
    /// Records are missing.
    #[error("sequence number is {found} where {expected} must follow: records are missing")]
    SequenceGap {
        /// As stored.
        found: u32,
        /// One above the record before.
        expected: u32,
    },
    /// The original length of a compressed payload is impossible.
    #[error("{stored} bytes cannot be the compressed form of {unpacked}")]
    UnpackedLength {
        /// Announced length of the payload.
        unpacked: i16,
        /// Length as stored.
        stored: i16,
    },
    /// Stored length and length of the record contradict each other.
    #[error("stored length {stored} does not fit the {room} bytes of payload in the record")]
    StoredLength {
        /// Length as stored.
        stored: i16,
        /// Bytes between header and trailer.
        room: usize,
    },
    /// The payload would not go to whole sectors of the device.
    #[error("{length} bytes at {offset} are no whole sectors of 512 bytes")]
    Sectors {
        /// First byte on the device, as stored.
        offset: i64,
        /// Bytes.
        length: usize,
    },
    /// The payload would go beyond the device.
    #[error("{length} bytes at {offset} are not within the device of {device} bytes")]
    Range {
        /// First byte on the device, as stored.
        offset: i64,
        /// Bytes.
        length: usize,
        /// Size of the device, bytes.
        device: u64,
    },
    /// The payload could not be unpacked.
    #[error("payload cannot be unpacked: {0}")]
    Unpack(#[from] UnpackError),
    /// The record carries no checksum.
    #[error("record has no checksum")]
    NoChecksum,
    /// The checksum is wrong.
    #[error("checksum of the payload does not match")]
    Checksum,
}

impl Fault {
    /// The class of the fault.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        match self {
            Self::NoLength | Self::ShortLength(_) | Self::EndUnwritten => Errno::Restart,
            Self::EndMagic => Errno::BadRequest,
            _ => Errno::BadMessage,
        }
    }

    /// The original's number for it, positive; `None` where it has none.
    #[must_use]
    pub const fn mars_code(&self) -> Option<u32> {
        Some(match self {
            Self::StartMagic => 10_013,
            Self::Version(_) | Self::Unfinished => 10_003,
            Self::NoLength => 10_004,
            Self::NegativeLength(_) => 10_005,
            Self::ShortLength(_) => 10_007,
            Self::EndPoison(_) => 10_021,
            Self::EndMagic => 10_020,
            Self::ValidCopy(_) => 10_009,
            Self::SequenceGap { .. } => 10_010,
            Self::UnpackedLength { .. } => 10_152,
            Self::StoredLength { .. } => 10_012,
            Self::Unpack(_) => 10_150,
            Self::NoChecksum => 10_100,
            Self::Checksum => 10_101,
            Self::EndUnwritten | Self::Sectors { .. } | Self::Range { .. } => return None,
        })
    }

    /// The byte that the original adds to code 10021.
    #[must_use]
    pub const fn poison(&self) -> Option<u8> {
        match self {
            Self::EndPoison(byte) => Some(*byte),
            _ => None,
        }
    }
}
