//! Keys and records of the store on disk: `docs/spec/store.md`.

use mars_meta_model::{DecodeEntryError, Entry, Key, decode_entry};

/// Name of the local record that holds the format.
pub(crate) const FORMAT_NAME: &str = "format";
/// Content of the format record.
pub(crate) const FORMAT: &str = "mars-meta 2";
/// The same of the format before, which is converted when it is opened.
pub(crate) const FORMAT_1: &str = "mars-meta 1";
/// Name of the local record with the number of the first group that counts.
pub(crate) const FIRST_GROUP: &str = "first-group";
/// Beginning of the keys of entries in format 1.
pub(crate) const ENTRIES: &[u8] = b"e|";
/// Beginning of the keys of local records.
pub(crate) const LOCALS: &[u8] = b"l|";
/// Version of a record.
const RECORD_VERSION: u8 = 1;
/// Bytes before the body: version and checksum.
pub(crate) const HEADER_LEN: usize = 5;

/// Why a record cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Fewer bytes than the header.
    #[error("it has {0} bytes, fewer than its header")]
    Short(usize),
    /// Of another version.
    #[error("it has version {0}, this program reads version {RECORD_VERSION}: upgrade it")]
    Version(u8),
    /// Damaged.
    #[error("its checksum is {found:08x}, not {expected:08x}")]
    Checksum {
        /// As stored.
        expected: u32,
        /// Of the bytes.
        found: u32,
    },
    /// More than an entry.
    #[error("it has bytes behind its entry")]
    Trailing,
    /// A record in the place of another.
    #[error("its entry has another key")]
    OtherKey,
    /// Not of this format.
    #[error("it belongs to no known table")]
    Table,
    /// A local record of a wrong length.
    #[error("it has {len} bytes, not {wanted}")]
    Length {
        /// Bytes found.
        len: usize,
        /// Bytes that it should have.
        wanted: usize,
    },
    /// A group that is not there, though one behind it is.
    #[error("it is missing, and there are later ones")]
    Missing,
    /// A change of a group of a kind that later versions know.
    #[error("a change in it has kind {0}, which this program does not know: upgrade it")]
    Kind(u8),
    /// A group forgets what is no key, or ends within it.
    #[error("a removed key in it cannot be read")]
    RemovedKey,
}

/// Why a record, or the entry in it, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The entry.
    #[error(transparent)]
    Entry(#[from] DecodeEntryError),
}

impl BodyError {
    /// A record of no known table.
    pub(crate) const fn table() -> Self {
        Self::Record(RecordError::Table)
    }

    /// Whether it is not damaged but of a later version, as far as can be told.
    pub(crate) const fn is_later(&self) -> bool {
        matches!(
            self,
            Self::Record(RecordError::Version(_) | RecordError::Kind(_))
                | Self::Entry(DecodeEntryError::Version(_) | DecodeEntryError::Flags(_))
        )
    }
}

/// Key of an entry's record in format 1.
#[must_use]
pub fn entry_key(key: &Key) -> Vec<u8> {
    [ENTRIES, key.as_str().as_bytes()].concat()
}

/// Key of a local record.
#[must_use]
pub fn local_key(name: &str) -> Vec<u8> {
    [LOCALS, name.as_bytes()].concat()
}

fn checksum(key: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), body)
}

/// Version, checksum over key and body, body.
#[must_use]
pub fn seal_record(key: &[u8], body: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(HEADER_LEN + body.len());
    record.push(RECORD_VERSION);
    record.extend_from_slice(&checksum(key, body).to_le_bytes());
    record.extend_from_slice(body);
    record
}

/// The body of a record.
///
/// # Errors
/// [`RecordError`].
pub fn open_record<'a>(key: &[u8], record: &'a [u8]) -> Result<&'a [u8], RecordError> {
    let short = RecordError::Short(record.len());
    let (version, rest) = record.split_first().ok_or(short)?;
    if *version != RECORD_VERSION {
        return Err(RecordError::Version(*version));
    }
    let (sum, body) = rest.split_first_chunk::<4>().ok_or(short)?;
    let (expected, found) = (u32::from_le_bytes(*sum), checksum(key, body));
    if expected != found {
        return Err(RecordError::Checksum { expected, found });
    }
    Ok(body)
}

/// The entry in a record of format 1.
///
/// # Errors
/// [`BodyError`].
pub fn open_entry(key: &[u8], record: &[u8]) -> Result<Entry, BodyError> {
    let body = open_record(key, record)?;
    let (entry, len) = decode_entry(body)?;
    if len != body.len() {
        return Err(RecordError::Trailing.into());
    }
    if entry_key(&entry.key) != key {
        return Err(RecordError::OtherKey.into());
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::{encode_entry, testing::entry};

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn golden_bytes() {
        let key = local_key("format");
        assert_eq!(
            hex(&seal_record(&key, FORMAT_1.as_bytes())),
            "012b675baf6d6172732d6d6574612031"
        );
        assert_eq!(
            hex(&seal_record(&key, FORMAT.as_bytes())),
            "01df940bbc6d6172732d6d6574612032"
        );
        let held = entry("uuid", Some("x"), 1, 2);
        let mut body = Vec::new();
        encode_entry(&held, &mut body);
        assert_eq!(
            hex(&seal_record(&entry_key(&held.key), &body)),
            "014c64c106010000000100000000000000020000000000000000000000000000000100\
             0000000000000400010000007575696478"
        );
    }

    #[test]
    fn every_flipped_bit_and_every_other_place_is_noticed() {
        let key = local_key("a");
        let record = seal_record(&key, b"content");
        assert_eq!(open_record(&key, &record), Ok(&b"content"[..]));
        for at in 0..record.len() * 8 {
            let mut damaged = record.clone();
            damaged[at / 8] ^= 1 << (at % 8);
            assert!(open_record(&key, &damaged).is_err(), "bit {at}");
        }
        assert!(open_record(&local_key("b"), &record).is_err());
        for len in 0..HEADER_LEN {
            assert!(open_record(&key, &record[..len]).is_err());
        }
    }
}
