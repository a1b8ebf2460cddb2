//! The file of `meta export`, version 1: `docs/spec/store-export.md`.

use mars_meta_model::{DecodeEntryError, Entry, Key, decode_entry, encode_entry};

const MAGIC: &[u8; 7] = b"MARSEXP";
const VERSION: u8 = 1;
/// magic, version, system clock, number of entries
const HEADER_LEN: usize = 7 + 1 + 8 + 8;
const DIGEST_LEN: usize = 32;

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreExport {
    /// System clock when it was made, ns since the epoch.
    pub wall_ns: u64,
    /// All entries in key order, tombstones included.
    pub entries: Vec<Entry>,
}

/// Why a file cannot be read. Nothing of it was used.
#[derive(Debug, thiserror::Error)]
pub enum ReadExportError {
    /// It begins otherwise.
    #[error("this is no file of meta export")]
    Magic,
    /// Of a later version.
    #[error("the file has version {0}, this program reads {VERSION}: upgrade it")]
    Version(u8),
    /// Cut short, or changed.
    #[error("the file is damaged or not complete: its checksum does not fit; take another copy")]
    Checksum,
    /// The checksum fits, but not the content: a fault of the program that wrote it, or an entry of a later version.
    #[error("entry {at} of the file cannot be used: {error}")]
    Entry {
        /// Its number, from 0.
        at: u64,
        /// The reason.
        error: DecodeEntryError,
    },
    /// Keys out of order or given twice, or another number of entries than announced.
    #[error("the entries of the file are not in order, or their number is wrong")]
    Order,
}

/// The bytes of the file.
#[must_use]
pub fn encode_export(export: &StoreExport) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.push(VERSION);
    out.extend_from_slice(&export.wall_ns.to_le_bytes());
    let count = u64::try_from(export.entries.len()).unwrap_or(u64::MAX);
    out.extend_from_slice(&count.to_le_bytes());
    for entry in &export.entries {
        encode_entry(entry, &mut out);
    }
    let digest = blake3::hash(&out);
    out.extend_from_slice(digest.as_bytes());
    out
}

/// Reads the bytes of such a file.
///
/// # Errors
/// [`ReadExportError`].
pub fn decode_export(bytes: &[u8]) -> Result<StoreExport, ReadExportError> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(ReadExportError::Magic)?;
    match rest.first() {
        Some(&VERSION) => {}
        Some(other) => return Err(ReadExportError::Version(*other)),
        None => return Err(ReadExportError::Checksum),
    }
    let (content, digest) = bytes
        .split_last_chunk::<DIGEST_LEN>()
        .filter(|(content, _)| content.len() >= HEADER_LEN)
        .ok_or(ReadExportError::Checksum)?;
    if blake3::hash(content).as_bytes() != digest {
        return Err(ReadExportError::Checksum);
    }
    let number = |at: usize| {
        let bytes = content.get(at..).and_then(|rest| rest.first_chunk::<8>());
        bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    };
    let (wall_ns, count) = (number(8), number(16));
    let mut rest = content.get(HEADER_LEN..).unwrap_or_default();
    let mut entries: Vec<Entry> = Vec::new();
    let mut at = 0;
    while !rest.is_empty() {
        let (entry, len) =
            decode_entry(rest).map_err(|error| ReadExportError::Entry { at, error })?;
        let last: Option<&Key> = entries.last().map(|entry| &entry.key);
        if last.is_some_and(|last| *last >= entry.key) {
            return Err(ReadExportError::Order);
        }
        entries.push(entry);
        rest = rest.get(len..).unwrap_or_default();
        at += 1;
    }
    if at != count {
        return Err(ReadExportError::Order);
    }
    Ok(StoreExport { wall_ns, entries })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::testing::entry;

    fn example() -> StoreExport {
        StoreExport {
            wall_ns: 3,
            entries: vec![
                entry("userspace/gone", None, 2, 1),
                entry("uuid", Some("x"), 1, 2),
            ],
        }
    }

    #[test]
    fn golden_bytes() {
        let bytes = encode_export(&example());
        let doc = include_str!("../../docs/spec/store-export.md");
        let block = doc.rsplit("```").nth(1).unwrap();
        let hex: String = block.split_whitespace().collect();
        let found: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(found, hex);
        assert_eq!(decode_export(&bytes).unwrap(), example());
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let bytes = encode_export(&example());
        for at in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[at / 8] ^= 1 << (at % 8);
            assert!(decode_export(&damaged).is_err(), "bit {at}");
        }
        for len in 0..bytes.len() {
            assert!(decode_export(&bytes[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn entries_must_be_in_order() {
        let mut wrong = example();
        wrong.entries.swap(0, 1);
        let error = decode_export(&encode_export(&wrong)).unwrap_err();
        assert!(matches!(error, ReadExportError::Order), "{error}");
    }
}
