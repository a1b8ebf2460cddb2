//! Offline check of a store: every record is read, nothing is loaded and nothing is mended.

use crate::aside::copy_folder;
use crate::config::NODE_ID;
use crate::core::CEILING;
use crate::group::{GroupChange, group_key, group_sequence, keys_of, open_group};
use crate::limits::{DAMAGED_NAMED_MAX, KEYS_NAMED_MAX, OPEN_LOCK_WAIT_MS};
use crate::lock::FileLock;
use crate::packed::{first_group, local};
use crate::record::{
    BodyError, ENTRIES, FIRST_GROUP, FORMAT, FORMAT_1, FORMAT_NAME, LOCALS, RecordError, local_key,
    open_entry, open_record,
};
use crate::sled_records::{Records, SledRecords};
use crate::store_error::{SledError, io_error, other_format};
use mars_meta_model::{Entry, Key};
use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Local record of the daemon: number of the last testimony, as text.
const WITNESS: &str = "witness";
/// Local record of the daemon: the cluster, as text.
const CLUSTER: &str = "cluster";

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
    /// Keys with a live entry, as far as their records are good.
    pub live: u64,
    /// Keys with a tombstone, as far as their records are good.
    pub tombstones: u64,
    /// Good records of the node's own.
    pub local: u64,
    /// How many records cannot be used.
    pub damaged: u64,
    /// The first of them, by key.
    pub named: Vec<Damaged>,
    /// Why not all records could be read: the backend failed.
    pub unreadable: Option<String>,
    /// Number of the last testimony that the store holds (`docs/spec/store.md`, "Witness"), if its record is good.
    pub witness: Option<u64>,
    /// Cluster that the store says it belongs to, as text; empty or `None`: none.
    pub cluster: Option<String>,
    /// Identity of the node whose store it is.
    pub node: Option<u128>,
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

/// Reads every record of the store in the folder `path`. The store must not be in use. Nothing in the folder is changed: sled
/// drops at every opening what it takes for a write that was cut off, so a copy is read, which lies beside the folder
/// meanwhile (`.NAME.fsck-PID`). Blocks.
///
/// # Errors
/// [`FsckError`]: it could not be checked. Damage is no error but part of the answer.
pub fn fsck(path: &Path) -> Result<Fsck, FsckError> {
    look_through(path, &mut BTreeMap::new())
}

/// What could be read of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Salvage {
    /// All entries that good records hold, in key order, tombstones too. If some are damaged, what they held is not among
    /// them, or is in an earlier state.
    pub entries: Vec<Entry>,
    /// What a check found.
    pub found: Fsck,
}

/// As [`fsck`], and hands over what the good records hold: to read a store back that was set aside.
///
/// # Errors
/// As [`fsck`].
pub fn salvage(path: &Path) -> Result<Salvage, FsckError> {
    let mut entries = BTreeMap::new();
    let mut found = look_through(path, &mut entries)?;
    if let Some(refused) = found
        .unreadable
        .as_ref()
        .filter(|_| path.join("db").is_file())
    {
        let mut others = BTreeMap::new();
        let without = read_copy(path, &mut others, Snapshots::Left)?;
        // A log of which sled takes the end for torn is read up to there: whichever gives more.
        if others.len() > entries.len() {
            let read = without.unreadable.as_ref();
            let read = read.map_or("all of that".to_owned(), |reason| {
                format!("in part: {reason}")
            });
            let refused = Some(format!(
                "{refused}; without sled's snapshots (snap.*) its log was read, {read}"
            ));
            (entries, found) = (others, without);
            found.unreadable = refused;
        }
    }
    let entries = entries.into_values().collect();
    Ok(Salvage { entries, found })
}

fn look_through(path: &Path, keys: &mut BTreeMap<Key, Entry>) -> Result<Fsck, FsckError> {
    if !path.is_dir() {
        return Err(FsckError::NoStore(path.to_owned()));
    }
    // sled would make them anew.
    for file in ["conf", "db"] {
        if !path.join(file).is_file() {
            return Ok(Fsck {
                unreadable: Some(format!("the file {file} is not in the folder")),
                ..Fsck::default()
            });
        }
    }
    read_copy(path, keys, Snapshots::Taken)
}

/// What becomes of sled's snapshots, which tell where in its log each page is: without them it reads the whole log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Snapshots {
    Taken,
    Left,
}

fn read_copy(
    path: &Path,
    keys: &mut BTreeMap<Key, Entry>,
    snapshots: Snapshots,
) -> Result<Fsck, FsckError> {
    let mut found = Fsck::default();
    let copy = Copy::of(path).map_err(FsckError::Store)?;
    if snapshots == Snapshots::Left {
        copy.forget_snapshots().map_err(FsckError::Store)?;
    }
    let checked = SledRecords::open(&copy.0).and_then(|records| check(&records, &mut found, keys));
    drop(copy);
    match checked {
        Ok(()) => Ok(found),
        Err(error) if error.is_damage() => {
            found.unreadable = Some(match error {
                SledError::Broken { reason, .. } => reason,
                other => other.to_string(),
            });
            Ok(found)
        }
        Err(SledError::Format { found, .. }) => Err(FsckError::Store(SledError::Format {
            path: path.to_owned(),
            found,
        })),
        Err(error) => Err(FsckError::Store(error)),
    }
}

/// A copy of a store, removed when dropped.
struct Copy(PathBuf);

impl Copy {
    fn of(path: &Path) -> Result<Self, SledError> {
        let failed = |error| io_error(path, error);
        // sled's own lock; held while it is copied. Threads of sled give it back a moment after a store was closed.
        let deadline = Instant::now() + Duration::from_millis(OPEN_LOCK_WAIT_MS);
        let _held = loop {
            let held = File::open(path.join("db")).map_err(failed)?;
            match FileLock::take(held) {
                Ok(held) => break held,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(20));
                }
                Err(TryLockError::WouldBlock) => return Err(SledError::InUse(path.to_owned())),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        };
        let absolute = std::path::absolute(path).map_err(failed)?;
        let name = absolute.file_name().unwrap_or_default().to_string_lossy();
        let copy = Self(absolute.with_file_name(format!(".{name}.fsck-{}", std::process::id())));
        if copy.0.exists() {
            fs::remove_dir_all(&copy.0).map_err(|error| io_error(&copy.0, error))?;
        }
        copy_folder(path, &copy.0).map_err(|error| io_error(&copy.0, error))?;
        Ok(copy)
    }

    fn forget_snapshots(&self) -> Result<(), SledError> {
        let failed = |error| io_error(&self.0, error);
        for file in fs::read_dir(&self.0).map_err(failed)? {
            let file = file.map_err(failed)?;
            if file.file_name().to_string_lossy().starts_with("snap.") {
                fs::remove_file(file.path()).map_err(failed)?;
            }
        }
        Ok(())
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // What stays is overwritten by the next check of this number.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a pass over all records has seen.
struct Pass<'f> {
    found: &'f mut Fsck,
    /// Format 2: entries lie in groups.
    packed: bool,
    /// Groups below do not count.
    first: u64,
    /// The group that has to come next, if that is known.
    next: Option<u64>,
    /// What each key holds.
    keys: &'f mut BTreeMap<Key, Entry>,
}

impl Pass<'_> {
    fn hold(&mut self, entry: Entry) {
        self.keys.insert(entry.key.clone(), entry);
    }

    fn look(&mut self, key: &[u8], record: &[u8]) {
        if key.starts_with(LOCALS) {
            match open_record(key, record) {
                Ok(_) => self.found.local += 1,
                Err(error) => self.found.add(key, error.to_string()),
            }
        } else if key.starts_with(ENTRIES) {
            // Beside groups, what was converted counts no more.
            if !self.packed {
                match open_entry(key, record) {
                    Ok(entry) => self.hold(entry),
                    Err(error) => self.found.add(key, error.to_string()),
                }
            }
        } else if let Some(sequence) = group_sequence(key) {
            if self.packed && sequence >= self.first {
                self.group(sequence, key, record);
            }
        } else {
            self.found.add(key, BodyError::table().to_string());
        }
    }

    fn group(&mut self, sequence: u64, key: &[u8], record: &[u8]) {
        for missing in self.next.unwrap_or(sequence)..sequence {
            let named = self.found.named.len() < DAMAGED_NAMED_MAX;
            if !named {
                self.found.damaged += sequence - missing;
                break;
            }
            let missing = group_key(missing);
            self.found.add(&missing, RecordError::Missing.to_string());
        }
        self.next = Some(sequence.saturating_add(1));
        let mut changes = Vec::new();
        if let Err(error) = open_group(key, record, &mut |change| changes.push(change)) {
            let hint = hint(record);
            self.found.add(key, format!("{error}{hint}"));
            return;
        }
        for change in changes {
            match change {
                GroupChange::Put(entry) => self.hold(entry),
                GroupChange::Remove(key) => {
                    self.keys.remove(&key);
                }
            }
        }
    }
}

/// What a damaged group seems to be about.
fn hint(record: &[u8]) -> String {
    let keys = keys_of(record);
    let named: Vec<&str> = keys.iter().take(KEYS_NAMED_MAX).map(Key::as_str).collect();
    match (named.is_empty(), keys.len().saturating_sub(named.len())) {
        (true, _) => String::new(),
        (false, 0) => format!("; it seems to hold {}", named.join(", ")),
        (false, more) => format!("; it seems to hold {} and {more} more", named.join(", ")),
    }
}

/// A damaged record is no error: it is named when all are read.
fn damaged_later<T>(error: SledError) -> Result<Option<T>, SledError> {
    match error {
        SledError::Record { .. } => Ok(None),
        error => Err(error),
    }
}

fn check<R: Records>(
    records: &R,
    found: &mut Fsck,
    keys: &mut BTreeMap<Key, Entry>,
) -> Result<(), SledError> {
    let format = local(records, FORMAT_NAME).or_else(damaged_later)?;
    if let Some(other) = &format
        && ![FORMAT.as_bytes(), FORMAT_1.as_bytes()].contains(&other.as_slice())
    {
        return Err(other_format(records.path(), other));
    }
    let first = first_group(records).map(Some).or_else(damaged_later)?;
    let mut pass = Pass {
        found,
        packed: format.as_deref() != Some(FORMAT_1.as_bytes()),
        first: first.unwrap_or(0),
        next: first,
        keys,
    };
    records.scan(b"", &mut |key, record| {
        pass.look(key, record);
        Ok(true)
    })?;
    let (keys, live) = (
        pass.keys.len(),
        pass.keys.values().filter(|one| !one.is_tombstone()),
    );
    found.live = u64::try_from(live.count()).unwrap_or(u64::MAX);
    found.tombstones = u64::try_from(keys).unwrap_or(u64::MAX) - found.live;
    let text = |name: &str| -> Result<Option<String>, SledError> {
        let body = local(records, name).or_else(damaged_later)?;
        Ok(body.and_then(|body| String::from_utf8(body).ok()))
    };
    found.witness = text(WITNESS)?.and_then(|text| text.parse().ok());
    found.cluster = text(CLUSTER)?;
    let node = local(records, NODE_ID).or_else(damaged_later)?;
    found.node = node.and_then(|body| body.try_into().ok().map(u128::from_le_bytes));
    if format.is_none() && records.get(&local_key(FORMAT_NAME))?.is_none() {
        let reason = "it is missing: this is no store, or it has lost its contents";
        found.add(&local_key(FORMAT_NAME), reason.to_owned());
    }
    for (name, len) in [(CEILING, 8), (NODE_ID, 16), (FIRST_GROUP, 8)] {
        let Some(body) = local(records, name).or_else(damaged_later)? else {
            continue;
        };
        if body.len() != len {
            found.local -= 1;
            let (len, wanted) = (body.len(), len);
            let reason = RecordError::Length { len, wanted }.to_string();
            found.add(&local_key(name), reason);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SledStore;
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
        drop(held);
        let good = fsck(&path).unwrap();
        assert_eq!((good.live, good.tombstones, good.local), (1, 1, 2));
        assert!(good.is_good());
        let held = salvage(&path).unwrap().entries;
        let keys: Vec<&str> = held.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(keys, ["userspace/a", "userspace/b"]);
        assert!(!held[0].is_tombstone() && held[1].is_tombstone());
        assert_eq!(fsck(&path).unwrap(), good, "a check changes nothing");

        let mut held = SledStore::open(&path).unwrap();
        let [three, four] = ["c", "d"].map(|name| entry(&format!("userspace/{name}"), None, 3, 1));
        held.commit(&[Write::Put(&three)]).unwrap();
        held.commit(&[Write::Put(&four)]).unwrap();
        held.commit(&[Write::Local {
            name: "ceiling",
            value: b"short",
        }])
        .unwrap();
        drop(held);
        let mut records = SledRecords::open(&path).unwrap();
        let mut record = records.get(&group_key(1)).unwrap().unwrap();
        let at = record.len() - 1;
        record[at] ^= 4;
        let batch = vec![(group_key(1), Some(record)), (group_key(2), None)];
        records.write(batch).unwrap();
        records.sync().unwrap();
        drop(records);
        let Salvage {
            entries,
            found: bad,
        } = salvage(&path).unwrap();
        assert_eq!(
            entries,
            std::slice::from_ref(&four),
            "what is good is handed over"
        );
        assert!(!bad.is_good() && bad.unreadable.is_none());
        assert_eq!(
            (bad.live, bad.tombstones, bad.local, bad.damaged),
            (0, 1, 2, 3)
        );
        assert_eq!(bad.named[0].record, "p|0000000000000001");
        let reason = &bad.named[0].reason;
        assert!(reason.contains("checksum"), "{bad:?}");
        assert!(reason.contains("seems to hold userspace/a, "), "{bad:?}");
        assert_eq!(bad.named[1].record, "p|0000000000000002");
        assert!(bad.named[1].reason.contains("missing"), "{bad:?}");
        assert_eq!(bad.named[2].record, "l|ceiling");
    }

    #[test]
    fn what_is_no_store_is_not_made_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        assert!(matches!(fsck(&path), Err(FsckError::NoStore(_))));
        fs::create_dir(&path).unwrap();
        assert!(fsck(&path).unwrap().unreadable.is_some());
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
        fs::remove_dir(&path).unwrap();
        drop(store(dir.path()));
        let lost = File::options().write(true).open(path.join("db")).unwrap();
        lost.set_len(0).unwrap();
        assert!(!fsck(&path).unwrap().is_good());
    }
}
