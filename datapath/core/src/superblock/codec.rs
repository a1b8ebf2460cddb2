//! Bytes of one superblock slot.

use mars_lamport::Timestamp;

use super::{Flags, Superblock, SyncState};
use crate::format::wire::{array, put, put_text64, text64, u16_at, u32_at, u64_at};
use crate::limits::{MAX_CHAIN_VALUE, SUPERBLOCK_SLOT};
use crate::version::{LogEnd, LogName, SyncPos};
use crate::{LogPos, Name};

const MAGIC: &[u8; 8] = b"MARSSUPR";
const VERSION: u16 = 1;
const AT_RESOURCE: usize = 128;
const AT_ORIGIN: usize = 192;
const AT_TARGET_ORIGIN: usize = 256;
const AT_VERSION: usize = 320;
const AT_PREVIOUS: usize = 832;
const AT_REST: usize = 1344;
const AT_CRC: usize = SUPERBLOCK_SLOT - 4;

const PRIMARY: u32 = 1;
const EMERGENCY: u32 = 2;
const CLEAN: u32 = 4;
const SYNCING: u32 = 8;
const HAS_TARGET: u32 = 16;

/// Why a slot is not usable (the other one may be), or a superblock cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SuperblockError {
    /// Fewer than 4096 bytes.
    #[error("superblock slot is cut off: {0} of 4096 bytes")]
    Short(usize),
    /// No superblock was ever written there, or it is another file.
    #[error("superblock slot has no magic")]
    Magic,
    /// Torn or damaged.
    #[error("checksum of the superblock slot does not match")]
    Checksum,
    /// Intact, but written by a newer program: the other, older slot must not be used instead.
    #[error("superblock version {0} is unknown here (this program knows 1): upgrade it")]
    Version(u16),
    /// Intact, but a field is out of its range: the other, older slot must not be used instead.
    #[error("superblock field '{0}' is out of range")]
    Field(&'static str),
}

/// Encodes one slot with `generation`, which must be larger than that of all slots before.
///
/// # Errors
/// [`SuperblockError::Field`] if a version value is longer than 400 bytes.
pub fn encode_slot(sb: &Superblock, generation: u64) -> Result<Box<[u8]>, SuperblockError> {
    let mut buf = vec![0_u8; SUPERBLOCK_SLOT].into_boxed_slice();
    let mut flags = 0;
    for (set, bit) in [
        (sb.flags.primary, PRIMARY),
        (sb.flags.emergency, EMERGENCY),
        (sb.flags.clean, CLEAN),
        (sb.flags.syncing, SYNCING),
        (sb.sync.target.is_some(), HAS_TARGET),
    ] {
        flags |= if set { bit } else { 0 };
    }
    put(&mut buf, 0, MAGIC);
    put(&mut buf, 8, &VERSION.to_le_bytes());
    put(&mut buf, 12, &flags.to_le_bytes());
    put(&mut buf, 16, &generation.to_le_bytes());
    put(&mut buf, 24, &sb.written.as_nanos().to_le_bytes());
    put(&mut buf, 32, &sb.incarnation);
    let numbers = [
        sb.disk_size,
        sb.applied.log.number,
        sb.applied.position,
        sb.sync.synced,
        sb.sync.total,
        sb.sync.started_at.segment,
        sb.sync.started_at.position,
    ];
    for (index, number) in numbers.iter().enumerate() {
        put(&mut buf, 48 + 8 * index, &number.to_le_bytes());
    }
    if let Some(target) = &sb.sync.target {
        put(&mut buf, 104, &target.applied.log.number.to_le_bytes());
        put(&mut buf, 112, &target.applied.position.to_le_bytes());
        put(&mut buf, 120, &target.dirty.to_le_bytes());
        put_text64(
            &mut buf,
            AT_TARGET_ORIGIN,
            target.applied.log.origin.as_str(),
        );
    }
    put_text64(&mut buf, AT_RESOURCE, sb.resource.as_str());
    put_text64(&mut buf, AT_ORIGIN, sb.applied.log.origin.as_str());
    put_chain(&mut buf, AT_VERSION, &sb.version, "version")?;
    put_chain(
        &mut buf,
        AT_PREVIOUS,
        &sb.previous_version,
        "previous version",
    )?;
    let crc = crc32c::crc32c(buf.get(..AT_CRC).unwrap_or_default());
    put(&mut buf, AT_CRC, &crc.to_le_bytes());
    Ok(buf)
}

/// Decodes one slot: its generation and content.
///
/// # Errors
/// See [`SuperblockError`].
pub fn decode_slot(bytes: &[u8]) -> Result<(u64, Superblock), SuperblockError> {
    let buf = bytes
        .get(..SUPERBLOCK_SLOT)
        .ok_or(SuperblockError::Short(bytes.len()))?;
    if &array::<8>(buf, 0) != MAGIC {
        return Err(SuperblockError::Magic);
    }
    if u32_at(buf, AT_CRC) != crc32c::crc32c(buf.get(..AT_CRC).unwrap_or_default()) {
        return Err(SuperblockError::Checksum);
    }
    if u16_at(buf, 8) != VERSION {
        return Err(SuperblockError::Version(u16_at(buf, 8)));
    }
    let flags = u32_at(buf, 12);
    if flags & !(PRIMARY | EMERGENCY | CLEAN | SYNCING | HAS_TARGET) != 0 {
        return Err(SuperblockError::Field("flags"));
    }
    let rest = buf.get(AT_REST..AT_CRC).unwrap_or_default();
    if u16_at(buf, 10) != 0 || rest.iter().any(|b| *b != 0) {
        return Err(SuperblockError::Field("reserved"));
    }
    let name = |at: usize, field: &'static str| {
        let text = text64(buf, at).ok_or(SuperblockError::Field(field))?;
        text.parse::<Name>()
            .map_err(|_| SuperblockError::Field(field))
    };
    let end = |number: usize, origin: usize, field: &'static str| {
        let log = LogName {
            number: u64_at(buf, number),
            origin: name(origin, field)?,
        };
        Ok(LogEnd {
            log,
            position: u64_at(buf, number + 8),
        })
    };
    let target = if flags & HAS_TARGET == 0 {
        None
    } else {
        let applied = end(104, AT_TARGET_ORIGIN, "sync target")?;
        Some(SyncPos {
            applied,
            dirty: u64_at(buf, 120),
        })
    };
    let superblock = Superblock {
        resource: name(AT_RESOURCE, "resource")?,
        incarnation: array(buf, 32),
        applied: end(56, AT_ORIGIN, "origin")?,
        version: chain(buf, AT_VERSION, "version")?,
        previous_version: chain(buf, AT_PREVIOUS, "previous version")?,
        sync: SyncState {
            synced: u64_at(buf, 72),
            total: u64_at(buf, 80),
            started_at: LogPos::new(u64_at(buf, 88), u64_at(buf, 96)),
            target,
        },
        flags: Flags {
            primary: flags & PRIMARY != 0,
            emergency: flags & EMERGENCY != 0,
            clean: flags & CLEAN != 0,
            syncing: flags & SYNCING != 0,
        },
        disk_size: u64_at(buf, 48),
        written: Timestamp::from_nanos(u64_at(buf, 24)),
    };
    Ok((u64_at(buf, 16), superblock))
}

fn put_chain(
    buf: &mut [u8],
    at: usize,
    text: &str,
    field: &'static str,
) -> Result<(), SuperblockError> {
    let length = u16::try_from(text.len()).map_err(|_| SuperblockError::Field(field))?;
    if text.len() > MAX_CHAIN_VALUE {
        return Err(SuperblockError::Field(field));
    }
    put(buf, at, &length.to_le_bytes());
    put(buf, at + 2, text.as_bytes());
    Ok(())
}

fn chain(buf: &[u8], at: usize, field: &'static str) -> Result<String, SuperblockError> {
    let error = SuperblockError::Field(field);
    let length = usize::from(u16_at(buf, at));
    let text = buf
        .get(at + 2..at + 2 + length)
        .filter(|_| length <= MAX_CHAIN_VALUE);
    let text = text.and_then(|text| std::str::from_utf8(text).ok());
    text.map(ToOwned::to_owned).ok_or(error)
}
