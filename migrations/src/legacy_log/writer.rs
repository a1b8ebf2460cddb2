//! Writer of the current layout.

use super::checksum::{Checksum, old_word};
use super::compress::{Compression, pack_lz4, pack_zlib};
use super::layout::{END_MAGIC, HEADER, OVERHEAD, START_MAGIC, TRAILER, VERSION, head, put, tail};
use super::record::Code;
use crate::limits::{LEGACY_SECTOR, LEGACY_WRITE_MAX};
use mars_lamport::Timestamp;

/// How the writer compresses. (It reads LZO, but does not write it.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Packing {
    /// Raw LZ4 block.
    Lz4,
    /// Deflate with the wrapping of zlib, level 3.
    Zlib,
}

/// What is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewRecord<'p> {
    /// Lamport stamp of the write request.
    pub stamp: Timestamp,
    /// What it is for.
    pub code: Code,
    /// First byte on the device, a multiple of 512.
    pub offset: u64,
    /// The payload: 512 to 4096 bytes, a multiple of 512.
    pub payload: &'p [u8],
}

/// Why a record cannot be written. Nothing was, and the sequence number stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Too little, too much, or no whole sectors.
    #[error(
        "payload of {0} bytes: a record of a legacy log takes 512 to 4096, in multiples of 512"
    )]
    Payload(usize),
    /// Not at a sector, or beyond what the format can express.
    #[error("device offset {0} is no multiple of 512 below 2^63")]
    Offset(u64),
    /// The stamp cannot be expressed.
    #[error("stamp {0} cannot be expressed in a legacy log")]
    Stamp(Timestamp),
}

/// Makes the records of one log. Settings may be changed between records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    sequence: u32,
    /// Checksum of the records to come.
    pub checksum: Checksum,
    /// Compression of the records to come, where it pays.
    pub packing: Option<Packing>,
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

impl Writer {
    /// The writer of a new log: CRC32C, no compression, first sequence number 1.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            sequence: 1,
            checksum: Checksum::Crc32c,
            packing: None,
        }
    }

    /// A writer that goes on with this sequence number.
    #[must_use]
    pub const fn with_sequence(sequence: u32) -> Self {
        Self {
            sequence,
            ..Self::new()
        }
    }

    /// Sequence number of the next record.
    #[must_use]
    pub const fn sequence(&self) -> u32 {
        self.sequence
    }

    /// Encodes one record.
    ///
    /// # Errors
    /// [`WriteError`], a fault of the caller.
    pub fn record(&mut self, new: &NewRecord<'_>) -> Result<Vec<u8>, WriteError> {
        let length = new.payload.len();
        let bad_payload = WriteError::Payload(length);
        let sectors = length.is_multiple_of(LEGACY_SECTOR);
        if length == 0 || length > LEGACY_WRITE_MAX || !sectors {
            return Err(bad_payload);
        }
        let end = new.offset.checked_add(length as u64);
        let fits = end.is_some_and(|end| i64::try_from(end).is_ok())
            && new.offset.is_multiple_of(LEGACY_SECTOR as u64);
        let position = i64::try_from(new.offset).ok().filter(|_| fits);
        let position = position.ok_or(WriteError::Offset(new.offset))?;
        let seconds = i64::try_from(new.stamp.secs()).map_err(|_| WriteError::Stamp(new.stamp))?;
        let nanoseconds =
            i64::try_from(new.stamp.subsec_nanos()).map_err(|_| WriteError::Stamp(new.stamp))?;

        let packed = self.pack(new.payload);
        let (compression, stored) = match &packed {
            Some((kind, packed)) => (Some(*kind), packed.as_slice()),
            None => (None, new.payload),
        };
        let room = match compression {
            Some(_) => stored.len().next_multiple_of(8),
            None => stored.len(),
        };
        let total = i16::try_from(room + OVERHEAD).map_err(|_| bad_payload)?;
        let stored16 = i16::try_from(stored.len()).map_err(|_| bad_payload)?;
        let unpacked = match compression {
            Some(_) => i16::try_from(length).map_err(|_| bad_payload)?,
            None => 0,
        };

        let mut out = vec![0; HEADER + room + TRAILER];
        put(&mut out, 0, &START_MAGIC);
        put(&mut out, head::VERSION, &[VERSION]);
        put(&mut out, head::VALID, &[1]);
        put(&mut out, head::TOTAL, &total.to_le_bytes());
        put(&mut out, head::SECONDS, &seconds.to_le_bytes());
        put(&mut out, head::NANOSECONDS, &nanoseconds.to_le_bytes());
        put(&mut out, head::POSITION, &position.to_le_bytes());
        put(&mut out, head::STORED, &stored16.to_le_bytes());
        put(&mut out, head::UNPACKED, &unpacked.to_le_bytes());
        put(&mut out, head::CODE, &new.code.number().to_le_bytes());
        put(&mut out, HEADER, stored);
        let trailer = out.get_mut(HEADER + room..).unwrap_or_default();
        self.trailer(trailer, new.payload, compression);
        self.sequence = self.sequence.wrapping_add(1);
        Ok(out)
    }

    /// The compressed payload, if its padded form is smaller.
    fn pack(&self, payload: &[u8]) -> Option<(Compression, Vec<u8>)> {
        let room = payload.len().checked_sub(8)?;
        match self.packing? {
            Packing::Lz4 => Some((Compression::Lz4, pack_lz4(payload, room)?)),
            Packing::Zlib => Some((Compression::Zlib, pack_zlib(payload, room)?)),
        }
    }

    fn trailer(&self, out: &mut [u8], payload: &[u8], compression: Option<Compression>) {
        put(out, 0, &END_MAGIC);
        put(out, tail::VALID, &[1]);
        let flags = self.checksum.flag() | compression.map_or(0, Compression::flag);
        put(out, tail::FLAGS, &flags.to_le_bytes());
        put(out, tail::SEQUENCE, &self.sequence.to_le_bytes());
        match self.checksum.folded(payload) {
            Some(folded) => put(out, tail::CHECKSUM, &folded),
            None => put(out, tail::OLD_CHECKSUM, &old_word(payload).to_le_bytes()),
        }
    }
}
