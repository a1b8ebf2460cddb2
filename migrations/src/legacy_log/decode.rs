//! One record: every check in the order of the original, and those that it leaves out.

use super::checksum::{Checksum, old_word};
use super::compress::Compression;
use super::fault::Fault;
use super::layout::{
    END_MAGIC, HEADER, OVERHEAD, START_MAGIC, TRAILER, VERSION, array, head, i16_at, i64_at, tail,
    u16_at, u32_at,
};
use super::record::{Record, Warning};
use crate::limits::LEGACY_SECTOR;

/// What the record is held against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Where it begins in the file.
    pub(super) position: u64,
    /// Sequence number of the record before; 0 = unknown.
    pub(super) last_sequence: u32,
    /// Size of the device, bytes.
    pub(super) device_size: Option<u64>,
}

/// Why there is no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// So many bytes are needed for the next decision.
    Short(usize),
    /// It is no good, whatever follows.
    Fault(Fault),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Decodes the record at the start of `buf`; what follows it does not matter.
pub(super) fn decode(buf: &[u8], rules: &Rules) -> Result<Record, Stop> {
    let total_length = frame(buf)?;
    let whole = buf.get(..total_length).unwrap_or_default();
    let (front, trailer) = whole
        .split_at_checked(total_length.saturating_sub(TRAILER))
        .unwrap_or_default();
    let (header, stored) = front.split_at_checked(HEADER).unwrap_or_default();
    ending(trailer)?;
    let sequence = u32_at(trailer, tail::SEQUENCE);
    let warning = follows(rules.last_sequence, sequence)?;
    let flags = u16_at(trailer, tail::FLAGS);
    let lengths = Lengths::of(header, stored.len(), flags)?;
    let offset = place(header, lengths.payload, rules.device_size)?;
    let packed = stored.get(..lengths.stored).unwrap_or_default();
    let payload = match lengths.compression {
        Some(kind) => kind.unpack(packed, lengths.payload).map_err(Fault::from)?,
        None => packed.to_vec(),
    };
    let checksum = verify(trailer, flags, &payload)?;
    Ok(Record {
        position: rules.position,
        total_length,
        code: i16_at(header, head::CODE).into(),
        sequence,
        stamp_secs: i64_at(header, head::SECONDS),
        stamp_nanos: i64_at(header, head::NANOSECONDS),
        written: (flags == 0).then(|| {
            let seconds = i64_at(trailer, tail::WRITTEN_SECONDS);
            (seconds, i64_at(trailer, tail::WRITTEN_NANOSECONDS))
        }),
        offset,
        stored_length: lengths.stored,
        compression: lengths.compression,
        checksum,
        flags,
        old_checksum: u32_at(trailer, tail::OLD_CHECKSUM),
        payload,
        warning,
    })
}

/// Length of the record, if all of it is there.
fn frame(buf: &[u8]) -> Result<usize, Stop> {
    let differs = |(a, b): (&u8, &u8)| a != b;
    if buf.iter().zip(&START_MAGIC).any(differs) {
        return Err(Fault::StartMagic.into());
    }
    if buf.len() < HEADER {
        return Err(Stop::Short(HEADER));
    }
    let [version] = array(buf, head::VERSION);
    if version != VERSION {
        return Err(Fault::Version(version).into());
    }
    if array(buf, head::VALID) == [0] {
        return Err(Fault::Unfinished.into());
    }
    let total = i16_at(buf, head::TOTAL);
    let length = match usize::try_from(total) {
        Ok(0) => return Err(Fault::NoLength.into()),
        Ok(length) => length,
        Err(_) => return Err(Fault::NegativeLength(total).into()),
    };
    if length > buf.len() {
        return Err(Stop::Short(length));
    }
    if length <= OVERHEAD {
        return Err(Fault::ShortLength(length).into());
    }
    Ok(length)
}

fn ending(trailer: &[u8]) -> Result<(), Fault> {
    let magic: [u8; 8] = array(trailer, 0);
    if magic != END_MAGIC {
        let [first, rest @ ..] = magic;
        return Err(match first {
            _ if rest != [first; 7] => Fault::EndMagic,
            0 => Fault::EndUnwritten,
            byte => Fault::EndPoison(byte),
        });
    }
    match array(trailer, tail::VALID) {
        [1] => Ok(()),
        [other] => Err(Fault::ValidCopy(other)),
    }
}

fn follows(before: u32, found: u32) -> Result<Option<Warning>, Fault> {
    if before == 0 || found == 0 {
        return Ok(None);
    }
    match before.checked_add(1) {
        Some(expected) if found > expected => Err(Fault::SequenceGap { found, expected }),
        Some(expected) if found == expected => Ok(None),
        _ => Ok(Some(Warning::SequenceBack { before })),
    }
}

struct Lengths {
    compression: Option<Compression>,
    stored: usize,
    payload: usize,
}

impl Lengths {
    /// The lengths of a record with `room` bytes between header and trailer, made consistent.
    fn of(header: &[u8], room: usize, flags: u16) -> Result<Self, Fault> {
        let stored = i16_at(header, head::STORED);
        let unpacked = i16_at(header, head::UNPACKED);
        let compression = Compression::of_flags(flags)?.filter(|_| unpacked != 0);
        let bad_unpacked = Fault::UnpackedLength { unpacked, stored };
        if compression.is_some() && (unpacked <= stored || !is_sectors(unpacked)) {
            return Err(bad_unpacked);
        }
        let bad_stored = Fault::StoredLength { stored, room };
        let stored = match usize::try_from(stored) {
            Ok(0) | Err(_) => return Err(bad_stored),
            Ok(stored) => stored,
        };
        let (needed, payload) = match compression {
            Some(_) => {
                let payload = usize::try_from(unpacked).map_err(|_| bad_unpacked)?;
                (stored.next_multiple_of(8), payload)
            }
            None => (stored, stored),
        };
        if needed != room {
            return Err(bad_stored);
        }
        Ok(Self {
            compression,
            stored,
            payload,
        })
    }
}

fn is_sectors(length: i16) -> bool {
    usize::try_from(length).is_ok_and(|length| length.is_multiple_of(LEGACY_SECTOR))
}

/// First byte on the device, if the payload covers whole sectors within it.
fn place(header: &[u8], length: usize, device_size: Option<u64>) -> Result<u64, Fault> {
    let offset = i64_at(header, head::POSITION);
    let device = device_size.unwrap_or(i64::MAX.unsigned_abs());
    let bytes = length as u64;
    let start = u64::try_from(offset).ok();
    let end = start.and_then(|start| start.checked_add(bytes));
    let (Some(start), true) = (start, end.is_some_and(|end| end <= device)) else {
        return Err(Fault::Range {
            offset,
            length,
            device,
        });
    };
    let sector = LEGACY_SECTOR as u64;
    if start.is_multiple_of(sector) && bytes.is_multiple_of(sector) {
        Ok(start)
    } else {
        Err(Fault::Sectors { offset, length })
    }
}

/// The kind of checksum that holds.
fn verify(trailer: &[u8], flags: u16, payload: &[u8]) -> Result<Checksum, Fault> {
    let field: [u8; 16] = array(trailer, tail::CHECKSUM);
    let word = u32_at(trailer, tail::OLD_CHECKSUM);
    let announced = Checksum::of_flags(flags);
    let fault = match announced.folded(payload) {
        Some(folded) if folded == field => return Ok(announced),
        None if announced == Checksum::Md5Old && word == 0 => Fault::NoChecksum,
        None if announced == Checksum::Md5Old && old_word(payload) == word => {
            return Ok(announced);
        }
        _ => Fault::Checksum,
    };
    // The original's second attempt. A field of zeroes proves nothing: any periodic payload folds to it.
    let second = Checksum::Crc32c;
    if field != [0; 16] && second.folded(payload) == Some(field) {
        return Ok(second);
    }
    Err(fault)
}
