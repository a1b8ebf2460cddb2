//! A record as the reader gives it out.

use super::checksum::Checksum;
use super::compress::Compression;
use mars_lamport::Timestamp;

/// What a record is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// The payload was written to the device: the only kind that is replayed.
    New,
    /// What stood on the device before: never replayed.
    Old,
    /// Anything else: never replayed.
    Other(i16),
}

impl Code {
    /// As stored.
    #[must_use]
    pub const fn number(self) -> i16 {
        match self {
            Self::New => 1,
            Self::Old => 2,
            Self::Other(number) => number,
        }
    }
}

impl From<i16> for Code {
    fn from(number: i16) -> Self {
        match number {
            1 => Self::New,
            2 => Self::Old,
            other => Self::Other(other),
        }
    }
}

/// Something odd about a record that does not end the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warning {
    /// The sequence number repeats or goes back (the log was opened again): 10011.
    SequenceBack {
        /// Of the record before.
        before: u32,
    },
}

impl Warning {
    /// The original's number for it, positive.
    #[must_use]
    pub const fn mars_code(self) -> u32 {
        match self {
            Self::SequenceBack { .. } => 10_011,
        }
    }
}

/// A record whose checks all passed, payload unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it begins in the file, bytes.
    pub position: u64,
    /// Its bytes in the file.
    pub total_length: usize,
    /// What it is for.
    pub code: Code,
    /// Sequence number; 0 = unknown.
    pub sequence: u32,
    /// Lamport stamp of the write request: seconds since 1970, as stored.
    pub stamp_secs: i64,
    /// Nanoseconds of the stamp, as stored; not checked by anything.
    pub stamp_nanos: i64,
    /// When the record was written, seconds and nanoseconds; only in logs from before 2019.
    pub written: Option<(i64, i64)>,
    /// First byte on the device, a multiple of 512.
    pub offset: u64,
    /// Bytes of payload as stored, without padding.
    pub stored_length: usize,
    /// How it was compressed.
    pub compression: Option<Compression>,
    /// What held when the checksum was verified. [`Checksum::Crc32c`] also where another kind was announced and
    /// only that one fits, as the original accepts.
    pub checksum: Checksum,
    /// Check flags as stored: 0 before 2019.
    pub flags: u16,
    /// Word of the old checksum as stored.
    pub old_checksum: u32,
    /// The payload as the application wrote it; a multiple of 512 bytes.
    pub payload: Vec<u8>,
    /// What is odd about it.
    pub warning: Option<Warning>,
}

impl Record {
    /// Position behind it.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.position.saturating_add(self.total_length as u64)
    }

    /// Whether replay applies it.
    #[must_use]
    pub fn is_applied(&self) -> bool {
        self.code == Code::New
    }

    /// The stamp; an impossible one (nothing protects it) gives the nearest possible.
    #[must_use]
    pub fn stamp(&self) -> Timestamp {
        let ns = i128::from(self.stamp_secs) * 1_000_000_000 + i128::from(self.stamp_nanos);
        Timestamp::from_nanos(u64::try_from(ns.max(0)).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_stamps_become_the_nearest_possible() {
        let stamp = |stamp_secs, stamp_nanos| {
            let record = Record {
                position: 0,
                total_length: 596,
                code: Code::New,
                sequence: 1,
                stamp_secs,
                stamp_nanos,
                written: None,
                offset: 0,
                stored_length: 512,
                compression: None,
                checksum: Checksum::Crc32c,
                flags: Checksum::Crc32c.flag(),
                old_checksum: 0,
                payload: Vec::new(),
                warning: None,
            };
            record.stamp().as_nanos()
        };
        assert_eq!(stamp(1, 5), 1_000_000_005);
        assert_eq!(stamp(-1, 5), 0);
        assert_eq!(stamp(1, 2_000_000_000), 3_000_000_000);
        assert_eq!(stamp(i64::MAX, i64::MAX), u64::MAX);
        assert_eq!(stamp(i64::MIN, i64::MIN), 0);
    }
}
