//! Bytes of the compact comparison: ranges are named by the leading bits that their key hashes share.

use super::overlay::{get_print, put_print};
use super::{Body, DecodeError, ItemSet, PrintGroup, get_list, get_scope, put_list, put_scope};
use crate::limits::{ITEM_SETS_MAX, ITEMS_MAX, PRINT_GROUPS_MAX};
use crate::reader::Reader;
use mars_lamport::Timestamp;

pub(crate) const PRINTS: u8 = 14;
pub(crate) const LISTS: u8 = 15;

/// Most fingerprints in a group: those of the sixteen parts.
const PARTS: u8 = 16;
/// Leading bits that a range can have in common; all of them is a single hash.
const BITS_MAX: u8 = 64;
/// Bytes of the part of an entry's fingerprint in a list.
const TAG_LEN: usize = 6;
/// In place of an epoch: two bytes with it follow.
const LONG_EPOCH: u8 = u8::MAX;

pub(super) fn put_prints(out: &mut Vec<u8>, groups: &[PrintGroup]) {
    put_list(out, groups, |out, group| {
        put_scope(out, &group.scope);
        put_prefix(out, group.bits, group.lo);
        // One, or as many as a range has parts.
        out.push(u8::try_from(group.prints.len()).unwrap_or(PARTS));
        for print in &group.prints {
            put_print(out, *print);
        }
    });
}

pub(super) fn get_prints(reader: &mut Reader<'_>) -> Result<Body, DecodeError> {
    let groups = get_list(reader, PRINT_GROUPS_MAX, "range groups", |r| {
        let scope = get_scope(r)?;
        let (bits, lo) = get_prefix(r)?;
        let count = r.u8()?;
        if count != 1 && (count != PARTS || bits >= BITS_MAX) {
            return Err(DecodeError::Field("number of fingerprints"));
        }
        let prints = (0..count).map(|_| get_print(r)).collect::<Result<_, _>>()?;
        Ok(PrintGroup {
            scope,
            bits,
            lo,
            prints,
        })
    })?;
    Ok(Body::Prints(groups))
}

pub(super) fn put_lists(out: &mut Vec<u8>, sets: &[ItemSet]) {
    put_list(out, sets, |out, set| {
        put_scope(out, &set.scope);
        let bits = shared_bits(set.lo, set.hi);
        put_prefix(out, bits, set.lo);
        put_list(out, &set.items, |out, (hash, epoch, stamp, tag)| {
            out.extend_from_slice(&hash.to_le_bytes()[..suffix_len(bits)]);
            match u8::try_from(*epoch) {
                Ok(short) if short != LONG_EPOCH => out.push(short),
                _ => {
                    out.push(LONG_EPOCH);
                    out.extend_from_slice(&epoch.to_le_bytes());
                }
            }
            out.extend_from_slice(&stamp.as_nanos().to_le_bytes());
            out.extend_from_slice(&tag.to_le_bytes()[..TAG_LEN]);
        });
    });
}

pub(super) fn get_lists(reader: &mut Reader<'_>) -> Result<Body, DecodeError> {
    let sets = get_list(reader, ITEM_SETS_MAX, "item sets", |r| {
        let scope = get_scope(r)?;
        let (bits, lo) = get_prefix(r)?;
        let hi = lo | width(bits);
        let items = get_list(r, ITEMS_MAX, "items", |r| {
            let low = part(r, suffix_len(bits))?;
            let epoch = match r.u8()? {
                LONG_EPOCH => r.u16()?,
                short => u16::from(short),
            };
            let stamp = Timestamp::from_nanos(r.u64()?);
            Ok((lo | (low & width(bits)), epoch, stamp, part(r, TAG_LEN)?))
        })?;
        Ok(ItemSet {
            scope,
            lo,
            hi,
            items,
        })
    })?;
    Ok(Body::Lists(sets))
}

/// The last hash of a range whose first one is 0.
pub(crate) const fn width(bits: u8) -> u64 {
    if bits >= BITS_MAX {
        0
    } else {
        u64::MAX >> bits
    }
}

/// How many leading bits all hashes of a range have in common.
fn shared_bits(lo: u64, hi: u64) -> u8 {
    u8::try_from((lo ^ hi).leading_zeros()).unwrap_or(BITS_MAX)
}

/// Bytes that hold all bits behind the common ones.
fn suffix_len(bits: u8) -> usize {
    usize::from(BITS_MAX - bits).div_ceil(8)
}

/// Number of common bits, and the bytes that hold them, the greatest first.
fn put_prefix(out: &mut Vec<u8>, bits: u8, lo: u64) {
    out.push(bits);
    out.extend_from_slice(&lo.to_be_bytes()[..usize::from(bits).div_ceil(8)]);
}

fn get_prefix(reader: &mut Reader<'_>) -> Result<(u8, u64), DecodeError> {
    let bits = reader.u8()?;
    if bits > BITS_MAX {
        return Err(DecodeError::Field("range"));
    }
    let mut bytes = [0; 8];
    let len = usize::from(bits).div_ceil(8);
    bytes[..len].copy_from_slice(reader.take(len)?);
    let lo = u64::from_be_bytes(bytes);
    if lo & width(bits) != 0 {
        return Err(DecodeError::Field("range"));
    }
    Ok((bits, lo))
}

/// A number of up to 8 bytes.
fn part(reader: &mut Reader<'_>, len: usize) -> Result<u64, DecodeError> {
    let mut bytes = [0; 8];
    bytes[..len].copy_from_slice(reader.take(len)?);
    Ok(u64::from_le_bytes(bytes))
}
