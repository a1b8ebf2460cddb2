//! The durable backend: sled. No other file names it. The layout is specified in `docs/spec/store.md`.

use crate::limits::{OPEN_LOCK_WAIT_MS, SLED_CACHE_BYTES, SLED_FLUSH_EVERY_MS};
use crate::record::{
    BodyError, FORMAT, entry_key, local_key, open_entry, open_record, seal_record,
};
use mars_meta_model::{Entry, Store, Write, encode_entry};
use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Why the backend could not be opened, read or written. What is on disk stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum SledError {
    /// Another process holds the store.
    #[error("the metadata store {0} is in use by another process: stop that one first")]
    InUse(PathBuf),
    /// The folder cannot be created, opened or synced.
    #[error("the metadata store {path}: {error}: check the file system and its permissions")]
    Io {
        /// The folder.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// sled does not accept what is in the folder, or fails on it.
    #[error(
        "the metadata store {path} does not open: {reason}: set it aside and let the node refill from its \
         peers, or restore a backup"
    )]
    Broken {
        /// The folder.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The folder exists, but it holds no store, or one that lost its contents.
    #[error(
        "the metadata store {0} has no format record: it is no store, or has lost its contents: set it aside \
         and let the node refill from its peers, or restore a backup"
    )]
    NoFormat(PathBuf),
    /// Written by a later version.
    #[error("the metadata store {path} has format '{found}', this program reads '{expected}': upgrade it", expected = FORMAT)]
    Format {
        /// The folder.
        path: PathBuf,
        /// The format found.
        found: String,
    },
    /// One record is damaged, or of a later version.
    #[error(
        "the record '{record}' of the metadata store {path} cannot be used: {reason}: set the store aside and \
         let the node refill from its peers, or restore a backup"
    )]
    Record {
        /// The folder.
        path: PathBuf,
        /// The record's key.
        record: String,
        /// The reason.
        reason: String,
        /// It is of a later version, as far as can be told: an upgrade reads it.
        later: bool,
    },
    /// A write or sync failed; whether it is on disk is known after opening again.
    #[error("the metadata store {path} could not be written: {reason}")]
    Write {
        /// The folder.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
}

impl SledError {
    /// Whether the store is damaged: no other program reads it either, and waiting or mending the machine does not
    /// help. Not so if it is in use, of a later version, or if the file system refuses.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        match self {
            Self::Broken { .. } | Self::NoFormat(_) => true,
            Self::Record { later, .. } => !*later,
            Self::InUse(_) | Self::Io { .. } | Self::Format { .. } | Self::Write { .. } => false,
        }
    }
}

/// Takes the key of a record, and what it holds.
pub(crate) type RecordSink<'s> =
    dyn FnMut(&[u8], Result<Option<Entry>, BodyError>) -> Result<(), SledError> + 's;

/// A [`Store`] in a folder of its own.
#[derive(Debug)]
pub struct SledStore {
    path: PathBuf,
    db: sled::Db,
    /// sled's data file, to be synced behind each flush, which alone does not reach stable storage.
    data: File,
}

impl SledStore {
    /// Opens the store in the folder `path`; makes a new one if there is no such folder (or an empty one).
    /// Waits a moment for another process to release it. Blocks.
    ///
    /// # Errors
    /// [`SledError`]. Nothing is ever repaired or emptied here: see [`set_aside`].
    pub fn open(path: &Path) -> Result<Self, SledError> {
        if is_absent_or_empty(path).map_err(|error| io_error(path, error))? {
            create(path)?;
        }
        let store = Self::open_existing(path)?;
        match store.read(&local_key("format"))? {
            None => Err(SledError::NoFormat(path.to_owned())),
            Some(found) if found != FORMAT.as_bytes() => Err(store.other_format(&found)),
            Some(_) => Ok(store),
        }
    }

    /// The store has another format than this program writes.
    pub(crate) fn other_format(&self, found: &[u8]) -> SledError {
        SledError::Format {
            path: self.path.clone(),
            found: found.escape_ascii().to_string(),
        }
    }

    /// Opens what is in the folder without a look at its format; sled makes what is missing.
    pub(crate) fn open_existing(path: &Path) -> Result<Self, SledError> {
        let deadline = Instant::now() + Duration::from_millis(OPEN_LOCK_WAIT_MS);
        loop {
            match open_guarded(path) {
                Err(SledError::InUse(_)) if Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(20));
                }
                other => return other,
            }
        }
    }

    /// The body of a record.
    pub(crate) fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, SledError> {
        let found = guarded(|| self.db.get(key)).map_err(|fault| fault.of(&self.path))?;
        found
            .map(|bytes| open_record(key, &bytes).map(<[u8]>::to_vec))
            .transpose()
            .map_err(|error| self.bad_record(key, &error.into()))
    }

    fn bad_record(&self, key: &[u8], error: &BodyError) -> SledError {
        SledError::Record {
            path: self.path.clone(),
            record: key.escape_ascii().to_string(),
            reason: error.to_string(),
            later: error.is_later(),
        }
    }

    /// Hands every record to `sink`, with what it holds: an entry, nothing for a local record, or what is wrong
    /// with it.
    pub(crate) fn each_record(&self, sink: &mut RecordSink<'_>) -> Result<(), SledError> {
        let mut iter = self.db.iter();
        while let Some((key, bytes)) =
            guarded(|| iter.next().transpose()).map_err(|fault| fault.of(&self.path))?
        {
            let found = match &key[..] {
                [b'e', b'|', ..] => open_entry(&key, &bytes).map(Some),
                [b'l', b'|', ..] => open_record(&key, &bytes).map(|_| None).map_err(Into::into),
                _ => Err(BodyError::table()),
            };
            sink(&key, found)?;
        }
        Ok(())
    }

    /// Flush, then sync of the data file: sled's flush alone leaves the data to the kernel.
    fn sync(&self) -> Result<(), String> {
        guarded(|| self.db.flush()).map_err(|fault| fault.reason)?;
        self.data.sync_data().map_err(|error| error.to_string())
    }
}

impl Store for SledStore {
    type Error = SledError;

    fn load(&mut self, sink: &mut dyn FnMut(Entry)) -> Result<(), SledError> {
        self.each_record(&mut |key, found| {
            if let Some(entry) = found.map_err(|error| self.bad_record(key, &error))? {
                sink(entry);
            }
            Ok(())
        })
    }

    fn commit(&mut self, writes: &[Write<'_>]) -> Result<(), SledError> {
        if writes.is_empty() {
            return Ok(());
        }
        // One batch on one tree is atomic; a later write of the same key replaces an earlier one.
        let mut batch = sled::Batch::default();
        for write in writes {
            match write {
                Write::Put(entry) => {
                    let key = entry_key(&entry.key);
                    let mut body = Vec::new();
                    encode_entry(entry, &mut body);
                    let record = seal_record(&key, &body);
                    batch.insert(key, record);
                }
                Write::Remove(key) => batch.remove(entry_key(key)),
                Write::Local { name, value } => {
                    let key = local_key(name);
                    let record = seal_record(&key, value);
                    batch.insert(key, record);
                }
            }
        }
        guarded(|| self.db.apply_batch(batch))
            .map_err(|fault| fault.reason)
            .and_then(|()| self.sync())
            .map_err(|reason| SledError::Write {
                path: self.path.clone(),
                reason,
            })
    }

    fn local(&mut self, name: &str) -> Result<Option<Vec<u8>>, SledError> {
        self.read(&local_key(name))
    }
}

#[cfg(test)]
impl SledStore {
    /// A record as it lies on disk.
    pub(crate) fn raw(&self, key: &[u8]) -> Vec<u8> {
        self.db.get(key).unwrap().unwrap().to_vec()
    }

    /// Puts any bytes in the place of a record.
    pub(crate) fn put_raw(&self, key: &[u8], record: &[u8]) {
        self.db.insert(key, record).unwrap();
        self.sync().unwrap();
    }
}

/// Where [`set_aside`] would put the folder `path` now: `NAME.bad-SECONDS`, next to it.
#[must_use]
pub fn aside_name(path: &Path) -> PathBuf {
    let secs = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut aside = path.with_file_name(format!("{name}.bad-{secs}"));
    for more in 1..1000 {
        if !aside.exists() {
            break;
        }
        aside = path.with_file_name(format!("{name}.bad-{secs}.{more}"));
    }
    aside
}

/// Renames the folder of a store that does not open to `aside` (see [`aside_name`]). The caller decided that the node
/// starts empty and refills from its peers.
///
/// # Errors
/// If the folder cannot be renamed; it is then where it was.
pub fn set_aside(path: &Path, aside: &Path) -> io::Result<()> {
    fs::rename(path, aside)?;
    sync_parent(path)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

fn is_absent_or_empty(path: &Path) -> io::Result<bool> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// Makes a store under another name and renames it when its format record is durable: a folder of the right
/// name is never half made, so one without that record has lost it.
fn create(path: &Path) -> Result<(), SledError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let fresh = path.with_file_name(format!("{name}.new"));
    let prepare = || -> io::Result<()> {
        if fresh.exists() {
            fs::remove_dir_all(&fresh)?;
        }
        fs::create_dir_all(&fresh)
    };
    prepare().map_err(|error| io_error(&fresh, error))?;
    let mut store = SledStore::open_existing(&fresh)?;
    store.commit(&[Write::Local {
        name: "format",
        value: FORMAT.as_bytes(),
    }])?;
    drop(store);
    let publish = || -> io::Result<()> {
        File::open(&fresh)?.sync_all()?;
        fs::rename(&fresh, path)?;
        sync_parent(path)
    };
    publish().map_err(|error| io_error(path, error))
}

fn io_error(path: &Path, error: io::Error) -> SledError {
    SledError::Io {
        path: path.to_owned(),
        error,
    }
}

/// Opens in a thread of its own: sled may panic on a damaged store.
fn open_guarded(path: &Path) -> Result<SledStore, SledError> {
    let folder = path.to_owned();
    let opened = thread::spawn(move || {
        guarded(|| {
            sled::Config::new()
                .path(&folder)
                .mode(sled::Mode::HighThroughput)
                .cache_capacity(SLED_CACHE_BYTES)
                .flush_every_ms(Some(SLED_FLUSH_EVERY_MS))
                .use_compression(false)
                .open()
        })
    });
    let db = match opened.join() {
        Ok(Ok(db)) => db,
        Ok(Err(fault)) if fault.reason.contains("could not acquire lock") => {
            return Err(SledError::InUse(path.to_owned()));
        }
        Ok(Err(fault)) => return Err(fault.of(path)),
        Err(_) => {
            return Err(SledError::Broken {
                path: path.to_owned(),
                reason: "the opening thread ended unexpectedly".to_owned(),
            });
        }
    };
    let data = File::open(path.join("db")).map_err(|error| io_error(path, error))?;
    Ok(SledStore {
        path: path.to_owned(),
        db,
        data,
    })
}

/// What sled reported.
struct Fault {
    reason: String,
    kind: FaultKind,
}

enum FaultKind {
    /// The operating system refused: says nothing about what is on disk.
    Io(io::ErrorKind),
    /// A feature or format that this sled does not know.
    Unsupported,
    Damage,
}

impl Fault {
    fn of(self, path: &Path) -> SledError {
        let path = path.to_owned();
        match self.kind {
            FaultKind::Io(kind) => SledError::Io {
                path,
                error: io::Error::new(kind, self.reason),
            },
            FaultKind::Unsupported => SledError::Format {
                path,
                found: self.reason,
            },
            FaultKind::Damage => SledError::Broken {
                path,
                reason: self.reason,
            },
        }
    }
}

/// sled hands errors of the system on as texts, sometimes in a panic.
fn is_of_the_system(reason: &str) -> bool {
    reason.contains("Os { code:") || reason.contains("(os error ")
}

/// Runs `work`, turning errors and panics of sled into faults.
fn guarded<T>(work: impl FnOnce() -> sled::Result<T>) -> Result<T, Fault> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            let reason = error.to_string();
            let kind = match &error {
                // Without a number of the system, sled made it up of what it had read.
                sled::Error::Io(error)
                    if error.raw_os_error().is_some() || is_of_the_system(&reason) =>
                {
                    FaultKind::Io(error.kind())
                }
                sled::Error::Unsupported(_) => FaultKind::Unsupported,
                _ => FaultKind::Damage,
            };
            Err(Fault { reason, kind })
        }
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            let reason = format!("sled gave up: {}", text.unwrap_or("no reason given"));
            let kind = if is_of_the_system(&reason) {
                FaultKind::Io(io::ErrorKind::Other)
            } else {
                FaultKind::Damage
            };
            Err(Fault { reason, kind })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::testing::entry;

    fn store_with(key: &[u8], record: Vec<u8>) -> (tempfile::TempDir, SledStore) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SledStore::open(&dir.path().join("db")).unwrap();
        let held = entry("userspace/whole", Some("1"), 1, 1);
        store.commit(&[Write::Put(&held)]).unwrap();
        store.db.insert(key, record).unwrap();
        (dir, store)
    }

    fn load_error(key: &[u8], record: Vec<u8>) -> SledError {
        let (_dir, mut store) = store_with(key, record);
        store.load(&mut |_| {}).unwrap_err()
    }

    #[test]
    fn a_record_that_cannot_be_used_is_named_with_the_reason_and_the_next_step() {
        let body = |key: &str| {
            let mut body = Vec::new();
            encode_entry(&entry(key, Some("1"), 1, 1), &mut body);
            body
        };
        let sealed = |key: &[u8], body: &[u8]| seal_record(key, body);
        let mut flipped = sealed(b"e|a", &body("a"));
        flipped[9] ^= 1;
        let mut later = body("a");
        later[0] = 2;
        let mut trailing = body("a");
        trailing.push(0);
        let cases = [
            ("e|a", flipped, "checksum"),
            ("e|a", sealed(b"e|b", &body("b")), "checksum"),
            ("e|a", sealed(b"e|a", &body("b")), "another key"),
            ("e|a", sealed(b"e|a", &trailing), "behind its entry"),
            ("e|a", sealed(b"e|a", &later), "version 2"),
            ("e|a", vec![9], "version 9"),
            ("e|a", vec![], "0 bytes"),
            ("x|a", sealed(b"x|a", b""), "no known table"),
            ("l|a", vec![1, 0, 0, 0, 0, 7], "checksum"),
        ];
        for (key, record, reason) in cases {
            let error = load_error(key.as_bytes(), record);
            // What a later program wrote is no damage.
            assert_eq!(error.is_damage(), !reason.contains("version"), "{error}");
            let error = error.to_string();
            assert!(error.contains(&format!("'{key}'")), "{error}");
            assert!(error.contains(reason), "{error}");
            assert!(error.contains("set the store aside"), "{error}");
        }
    }

    #[test]
    fn a_store_of_another_format_is_refused() {
        let record = seal_record(b"l|format", b"mars-meta 2");
        let (dir, store) = store_with(b"l|format", record);
        store.sync().unwrap();
        drop(store);
        let error = SledStore::open(&dir.path().join("db")).unwrap_err();
        assert!(matches!(error, SledError::Format { .. }), "{error}");
        assert!(!error.is_damage());
        assert!(error.to_string().contains("'mars-meta 2'"), "{error}");
    }

    #[test]
    fn what_the_system_refuses_is_no_damage() {
        let path = Path::new("/db");
        let eio = || io::Error::from_raw_os_error(5);
        let fails = |error: sled::Error| {
            let outcome: Result<(), Fault> = guarded(|| Err(error));
            outcome.err().unwrap().of(path)
        };
        let io = sled::Error::Io(eio());
        assert!(matches!(fails(io.clone()), SledError::Io { .. }));
        assert!(matches!(fails(io), SledError::Io { .. }));
        let torn = sled::Error::Io(io::Error::new(io::ErrorKind::UnexpectedEof, "short"));
        assert!(fails(torn).is_damage());
        let later = sled::Error::Unsupported("version 2".to_owned());
        assert!(!fails(later).is_damage());
    }
}
