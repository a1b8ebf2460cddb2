//! Offline check of a store: every record is read, nothing is loaded and nothing is mended.

use crate::config::NODE_ID;
use crate::core::CEILING;
use crate::limits::DAMAGED_NAMED_MAX;
use crate::record::{FORMAT, local_key};
use crate::sled_store::{SledError, SledStore};
use std::path::{Path, PathBuf};

/// A record that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// Its key, with the prefix of its table; bytes that are no text are escaped.
    pub record: String,
    /// What is wrong with it.
    pub reason: String,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fsck {
    /// Good records of live entries.
    pub live: u64,
    /// Good records of tombstones.
    pub tombstones: u64,
    /// Good records of the node's own.
    pub local: u64,
    /// How many records cannot be used.
    pub damaged: u64,
    /// The first of them, by key.
    pub named: Vec<Damaged>,
    /// Why not all records could be read: the backend failed.
    pub unreadable: Option<String>,
}

impl Fsck {
    /// Whether every record is good.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        self.damaged == 0 && self.unreadable.is_none()
    }

    fn add(&mut self, record: &[u8], reason: String) {
        self.damaged += 1;
        if self.named.len() < DAMAGED_NAMED_MAX {
            self.named.push(Damaged {
                record: record.escape_ascii().to_string(),
                reason,
            });
        }
    }
}

/// Why a store could not be checked. Says nothing about its condition.
#[derive(Debug, thiserror::Error)]
pub enum FsckError {
    /// There is no such folder.
    #[error("there is no store in {0}: name the folder, by default db in the state folder")]
    NoStore(PathBuf),
    /// In use, of a later format, or the file system refuses.
    #[error(transparent)]
    Store(SledError),
}

/// Reads every record of the store in the folder `path`. The store must not be in use. No record is changed or removed;
/// sled, which reads them, drops what it takes for a write that was cut off, as at every opening. Blocks.
///
/// # Errors
/// [`FsckError`]: it could not be checked. Damage is no error but part of the answer.
pub fn fsck(path: &Path) -> Result<Fsck, FsckError> {
    if !path.is_dir() {
        return Err(FsckError::NoStore(path.to_owned()));
    }
    let mut found = Fsck::default();
    // sled would make them anew.
    for file in ["conf", "db"] {
        if !path.join(file).is_file() {
            found.unreadable = Some(format!("the file {file} is not in the folder"));
            return Ok(found);
        }
    }
    let checked = SledStore::open_existing(path).and_then(|store| check(&store, &mut found));
    match checked {
        Ok(()) => Ok(found),
        Err(error) if error.is_damage() => {
            found.unreadable = Some(match error {
                SledError::Broken { reason, .. } => reason,
                other => other.to_string(),
            });
            Ok(found)
        }
        Err(error) => Err(FsckError::Store(error)),
    }
}

fn check(store: &SledStore, found: &mut Fsck) -> Result<(), SledError> {
    store.each_record(&mut |key, record| {
        match record {
            Ok(Some(entry)) if entry.is_tombstone() => found.tombstones += 1,
            Ok(Some(_)) => found.live += 1,
            Ok(None) => found.local += 1,
            Err(error) => found.add(key, error.to_string()),
        }
        Ok(())
    })?;
    for (name, len) in [("format", None), (CEILING, Some(8)), (NODE_ID, Some(16))] {
        let key = local_key(name);
        let body = match store.read(&key) {
            Ok(body) => body,
            // Counted above.
            Err(SledError::Record { .. }) => continue,
            Err(error) => return Err(error),
        };
        match (body, len) {
            (None, None) => found.add(
                &key,
                "it is missing: this is no store, or it has lost its contents".to_owned(),
            ),
            (Some(body), None) if body != FORMAT.as_bytes() => {
                return Err(store.other_format(&body));
            }
            (Some(body), Some(len)) if body.len() != len => {
                found.local -= 1;
                found.add(&key, format!("it has {} bytes, not {len}", body.len()));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::testing::entry;
    use mars_meta_model::{Store as _, Write};

    fn store(dir: &Path) -> SledStore {
        let mut store = SledStore::open(&dir.join("db")).unwrap();
        let (one, two) = (
            entry("userspace/a", Some("1"), 1, 1),
            entry("userspace/b", None, 2, 1),
        );
        let local = Write::Local {
            name: "x",
            value: b"1",
        };
        store
            .commit(&[Write::Put(&one), Write::Put(&two), local])
            .unwrap();
        store
    }

    #[test]
    fn a_good_store_is_counted_and_a_flipped_bit_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let held = store(dir.path());
        assert!(matches!(
            fsck(&path),
            Err(FsckError::Store(SledError::InUse(_)))
        ));
        let mut record = held.raw(b"e|userspace/a");
        drop(held);
        let good = fsck(&path).unwrap();
        assert_eq!((good.live, good.tombstones, good.local), (1, 1, 2));
        assert!(good.is_good());
        assert_eq!(fsck(&path).unwrap(), good, "a check changes nothing");

        let at = record.len() - 1;
        record[at] ^= 4;
        let mut held = SledStore::open(&path).unwrap();
        held.put_raw(b"e|userspace/a", &record);
        held.commit(&[Write::Local {
            name: "ceiling",
            value: b"short",
        }])
        .unwrap();
        drop(held);
        let bad = fsck(&path).unwrap();
        assert!(!bad.is_good() && bad.unreadable.is_none());
        assert_eq!(
            (bad.live, bad.tombstones, bad.local, bad.damaged),
            (0, 1, 2, 2)
        );
        assert_eq!(bad.named[0].record, "e|userspace/a");
        assert!(bad.named[0].reason.contains("checksum"), "{bad:?}");
        assert_eq!(bad.named[1].record, "l|ceiling");
    }

    #[test]
    fn what_is_no_store_is_not_made_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        assert!(matches!(fsck(&path), Err(FsckError::NoStore(_))));
        std::fs::create_dir(&path).unwrap();
        assert!(fsck(&path).unwrap().unreadable.is_some());
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0);
        std::fs::remove_dir(&path).unwrap();
        drop(store(dir.path()));
        let lost = std::fs::File::options()
            .write(true)
            .open(path.join("db"))
            .unwrap();
        lost.set_len(0).unwrap();
        assert!(!fsck(&path).unwrap().is_good());
    }
}
