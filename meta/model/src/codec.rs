//! The encoding of an entry, version 1: `docs/spec/entry.md`. On disk and on the wire.

use crate::limits::{ENTRY_EXT_LEN_MAX, KEY_LEN_MAX, VALUE_LEN_MAX};
use crate::{Cell, Entry, Key, NodeId, ParseKeyError, ParseValueError, Value};
use mars_lamport::Timestamp;
use std::ops::Range;

const VERSION: u8 = 1;
const FLAG_TOMBSTONE: u8 = 1;
const FLAG_FORCED: u8 = 2;
const FLAGS_KNOWN: u8 = FLAG_TOMBSTONE | FLAG_FORCED;
/// version, flags, epoch, stamp, origin, boot, three lengths
const HEADER_LEN: usize = 1 + 1 + 2 + 8 + 16 + 8 + 2 + 2 + 2;

/// Why bytes are no entry of a version that this program reads. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeEntryError {
    /// The bytes end before the entry does.
    #[error("entry ends after {have} bytes, {need} are needed")]
    Truncated {
        /// Bytes there.
        have: usize,
        /// Bytes needed at least.
        need: usize,
    },
    /// An entry of a later version.
    #[error("entry of version {0}: this program reads version {VERSION}, upgrade it")]
    Version(u8),
    /// Flag bits that this program does not know; they change the meaning of an entry.
    #[error("entry with unknown flags {0:#04x}: upgrade this program")]
    Flags(u8),
    /// A length beyond its limit, or a tombstone with a value.
    #[error("entry with an impossible length of its {0}")]
    Length(&'static str),
    /// The key is not UTF-8.
    #[error("entry whose key is not UTF-8")]
    KeyEncoding,
    /// The key breaks a rule.
    #[error("entry with a bad key: {0}")]
    Key(#[from] ParseKeyError),
    /// The value breaks a rule.
    #[error("entry with a bad value: {0}")]
    Value(#[from] ParseValueError),
}

/// Appends the encoding of `entry` to `out`.
pub fn encode_entry(entry: &Entry, out: &mut Vec<u8>) {
    let (flag, value): (u8, &[u8]) = match &entry.cell {
        Cell::Live(value) => (0, value.as_bytes()),
        Cell::Tombstone => (FLAG_TOMBSTONE, &[]),
    };
    let forced = if entry.forced { FLAG_FORCED } else { 0 };
    // All three are bounded by their types' invariants, far below 2^16.
    let len16 = |len: usize| u16::try_from(len).unwrap_or(u16::MAX).to_le_bytes();
    let ext = &entry.ext[..entry.ext.len().min(ENTRY_EXT_LEN_MAX)];
    out.reserve(HEADER_LEN + entry.key.as_str().len() + value.len() + ext.len());
    out.extend_from_slice(&[VERSION, flag | forced]);
    out.extend_from_slice(&entry.epoch.to_le_bytes());
    out.extend_from_slice(&entry.stamp.as_nanos().to_le_bytes());
    out.extend_from_slice(&entry.origin.0.to_le_bytes());
    out.extend_from_slice(&entry.boot.to_le_bytes());
    out.extend_from_slice(&len16(entry.key.as_str().len()));
    out.extend_from_slice(&len16(value.len()));
    out.extend_from_slice(&len16(ext.len()));
    out.extend_from_slice(entry.key.as_str().as_bytes());
    out.extend_from_slice(value);
    out.extend_from_slice(ext);
}

/// Bytes that [`encode_entry`] will append.
#[must_use]
pub fn encoded_len(entry: &Entry) -> usize {
    let value = entry.value().map_or(0, |v| v.as_bytes().len());
    HEADER_LEN + entry.key.as_str().len() + value + entry.ext.len().min(ENTRY_EXT_LEN_MAX)
}

/// Where the key of the entry at the front of `bytes` lies, and the entry's length, without a look at its key's and its value's rules: for who looks
/// for the last one of many.
///
/// # Errors
/// [`DecodeEntryError`], as [`decode_entry`], if the entry is of a later version or does not end.
pub fn peek_entry(bytes: &[u8]) -> Result<(Range<usize>, usize), DecodeEntryError> {
    let mut reader = Reader { bytes, at: 0 };
    let [version, flags] = reader.array()?;
    if version != VERSION {
        return Err(DecodeEntryError::Version(version));
    }
    if flags & !FLAGS_KNOWN != 0 {
        return Err(DecodeEntryError::Flags(flags));
    }
    // Epoch, stamp, origin, boot.
    reader.take(2 + 8 + 16 + 8)?;
    let key_len = usize::from(u16::from_le_bytes(reader.array()?));
    let value_len = usize::from(u16::from_le_bytes(reader.array()?));
    let ext_len = usize::from(u16::from_le_bytes(reader.array()?));
    let key = reader.at..reader.at + key_len;
    reader.take(key_len)?;
    reader.take(value_len + ext_len)?;
    Ok((key, reader.at))
}

/// Reads one entry from the front of `bytes`; returns it and the number of bytes it took.
///
/// # Errors
/// [`DecodeEntryError`]; never panics, whatever the bytes are.
pub fn decode_entry(bytes: &[u8]) -> Result<(Entry, usize), DecodeEntryError> {
    let mut reader = Reader { bytes, at: 0 };
    let [version] = reader.array()?;
    if version != VERSION {
        return Err(DecodeEntryError::Version(version));
    }
    let [flags] = reader.array()?;
    if flags & !FLAGS_KNOWN != 0 {
        return Err(DecodeEntryError::Flags(flags));
    }
    let epoch = u16::from_le_bytes(reader.array()?);
    let stamp = Timestamp::from_nanos(u64::from_le_bytes(reader.array()?));
    let origin = NodeId(u128::from_le_bytes(reader.array()?));
    let boot = u64::from_le_bytes(reader.array()?);
    let key_len = usize::from(u16::from_le_bytes(reader.array()?));
    let value_len = usize::from(u16::from_le_bytes(reader.array()?));
    let ext_len = usize::from(u16::from_le_bytes(reader.array()?));
    let tombstone = flags & FLAG_TOMBSTONE != 0;
    if key_len > KEY_LEN_MAX {
        return Err(DecodeEntryError::Length("key"));
    }
    if value_len > VALUE_LEN_MAX || (tombstone && value_len != 0) {
        return Err(DecodeEntryError::Length("value"));
    }
    if ext_len > ENTRY_EXT_LEN_MAX {
        return Err(DecodeEntryError::Length("extension"));
    }
    let key =
        std::str::from_utf8(reader.take(key_len)?).map_err(|_| DecodeEntryError::KeyEncoding)?;
    let parsed = Key::parse(key)?;
    if parsed.as_str() != key {
        // An encoded key is in its one canonical form: without the legacy root.
        return Err(DecodeEntryError::Key(ParseKeyError::Outside(
            crate::shown::escaped(key),
        )));
    }
    let value = reader.take(value_len)?;
    let cell = if tombstone {
        Cell::Tombstone
    } else {
        Cell::Live(Value::new(value)?)
    };
    let ext = reader.take(ext_len)?.into();
    let forced = flags & FLAG_FORCED != 0;
    Ok((
        Entry {
            key: parsed,
            cell,
            epoch,
            stamp,
            origin,
            boot,
            forced,
            ext,
        },
        reader.at,
    ))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeEntryError> {
        let need = self.at + len;
        let error = DecodeEntryError::Truncated {
            have: self.bytes.len(),
            need,
        };
        let slice = self.bytes.get(self.at..need).ok_or(error)?;
        self.at = need;
        Ok(slice)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeEntryError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::arb_entry;
    use proptest::prelude::*;

    fn sample(cell: Cell) -> Entry {
        Entry {
            key: Key::parse("resource-r/primary").unwrap(),
            cell,
            epoch: 0,
            stamp: Timestamp::from_nanos(0x1122_3344_5566_7788),
            origin: NodeId(0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100),
            boot: 7,
            forced: false,
            ext: Box::default(),
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn golden_bytes() {
        let mut bytes = Vec::new();
        encode_entry(
            &sample(Cell::Live(Value::text("hosta").unwrap())),
            &mut bytes,
        );
        assert_eq!(
            hex(&bytes),
            "010000008877665544332211000102030405060708090a0b0c0d0e0f0700000000000000120005000000\
             7265736f757263652d722f7072696d617279686f737461"
        );
        bytes.clear();
        encode_entry(&sample(Cell::Tombstone), &mut bytes);
        assert_eq!(
            hex(&bytes),
            "010100008877665544332211000102030405060708090a0b0c0d0e0f0700000000000000120000000000\
             7265736f757263652d722f7072696d617279"
        );
    }

    #[test]
    fn later_versions_and_unknown_flags_are_told_apart_from_damage() {
        let mut bytes = Vec::new();
        encode_entry(&sample(Cell::Tombstone), &mut bytes);
        let mut later = bytes.clone();
        later[0] = 2;
        assert_eq!(decode_entry(&later), Err(DecodeEntryError::Version(2)));
        let mut flags = bytes.clone();
        flags[1] = 0x80;
        assert_eq!(decode_entry(&flags), Err(DecodeEntryError::Flags(0x80)));
    }

    proptest! {
        #[test]
        fn reads_back_and_every_prefix_is_refused(entry in arb_entry()) {
            let mut bytes = Vec::new();
            encode_entry(&entry, &mut bytes);
            prop_assert_eq!(bytes.len(), encoded_len(&entry));
            for cut in 0..bytes.len() {
                prop_assert!(decode_entry(&bytes[..cut]).is_err());
                prop_assert!(peek_entry(&bytes[..cut]).is_err());
            }
            let len = bytes.len();
            bytes.push(0xaa);
            let (key, peeked) = peek_entry(&bytes).unwrap();
            prop_assert_eq!((&bytes[key], peeked), (entry.key.as_str().as_bytes(), len));
            prop_assert_eq!(decode_entry(&bytes), Ok((entry, len)));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode_entry(&bytes);
        }
    }
}
