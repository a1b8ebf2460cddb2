//! sled behind the port [`Records`]. No other file names it, but the error for what it reports.

use crate::limits::{
    OPEN_LOCK_WAIT_MS, PAGE_RECORDS, SEGMENT_BYTES, SLED_CACHE_BYTES, SLED_FLUSH_EVERY_MS,
};
use crate::lock::FileLock;
use crate::store_error::{SledError, io_error};
use std::fs::{self, File, TryLockError};
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// How old a change of a folder must be so that a later one bears another time.
const BLOBS_SETTLE: Duration = Duration::from_millis(100);

/// A key, and its new record, or `None` to remove it.
pub(crate) type Change = (Vec<u8>, Option<Vec<u8>>);

/// Takes a key and its record as it lies on disk; whether it wants more.
pub(crate) type RawSink<'s> = dyn FnMut(&[u8], &[u8]) -> Result<bool, SledError> + 's;

/// Ordered records on stable storage: what the layout of the store is written on.
pub(crate) trait Records {
    /// The folder, for messages.
    fn path(&self) -> &Path;

    /// The record of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, SledError>;

    /// All records from the key `from` on, in order.
    fn scan(&self, from: &[u8], sink: &mut RawSink<'_>) -> Result<(), SledError>;

    /// The last key below `end`.
    fn last_below(&self, end: &[u8]) -> Result<Option<Vec<u8>>, SledError>;

    /// Length that all records may have, in bytes, if none is to be put beside the log.
    fn longest(&self) -> usize;

    /// Makes all changes, or none if the machine fails meanwhile. They are durable with the next [`Records::sync`];
    /// a crash before it takes away the last batches, never one with a later one left.
    fn write(&self, batch: Vec<Change>) -> Result<(), SledError>;

    /// Gives back the memory of what was read. Nothing may have been written since the last [`Records::sync`].
    fn release(&mut self) -> Result<(), SledError>;

    /// Makes durable what was written.
    fn sync(&mut self) -> Result<(), SledError>;
}

/// A sled database in a folder.
#[derive(Debug)]
pub(crate) struct SledRecords {
    path: PathBuf,
    /// `None`: it could not be opened again.
    open: Option<Open>,
    /// The greatest number of a file beside the log that is synced.
    blobs: i64,
    /// When something was changed among these files, if nothing can have happened since then.
    blobs_changed: Option<SystemTime>,
}

#[derive(Debug)]
struct Open {
    db: sled::Db,
    /// sled's data file, to be synced behind each flush, which alone does not reach stable storage.
    data: File,
    /// Length of a segment of the log in bytes.
    segment: usize,
}

impl SledRecords {
    /// Opens what is in the folder, without a look at its format; sled makes what is missing. Waits a moment for
    /// another process to release it. Blocks.
    pub(crate) fn open(path: &Path) -> Result<Self, SledError> {
        let deadline = Instant::now() + Duration::from_millis(OPEN_LOCK_WAIT_MS);
        loop {
            match open_guarded(path) {
                Err(SledError::InUse(_)) if Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(20));
                }
                opened => {
                    return Ok(Self {
                        path: path.to_owned(),
                        open: Some(opened?),
                        blobs: -1,
                        blobs_changed: None,
                    });
                }
            }
        }
    }

    fn open_now(&self) -> Result<&Open, SledError> {
        let closed = || self.write_error("it could not be opened again".to_owned());
        self.open.as_ref().ok_or_else(closed)
    }

    fn write_error(&self, reason: String) -> SledError {
        SledError::Write {
            path: self.path.clone(),
            reason,
        }
    }

    /// sled puts pages of more than 128 KiB beside the log, and never syncs them. The layout avoids them; long local
    /// records next to each other may still make one.
    fn sync_blobs(&mut self) -> io::Result<()> {
        let folder = self.path.join("blobs");
        let changed = fs::metadata(&folder)?.modified()?;
        if self.blobs_changed == Some(changed) {
            return Ok(());
        }
        // The clock of the file system is coarse: what happens next may bear the same time.
        let settled = changed.elapsed().is_ok_and(|age| age > BLOBS_SETTLE);
        let mut greatest = self.blobs;
        for file in fs::read_dir(&folder)? {
            let file = file?;
            let number = file.file_name().to_str().and_then(|name| name.parse().ok());
            if number.is_none_or(|number: i64| number <= self.blobs) {
                continue;
            }
            match File::open(file.path()) {
                Ok(file) => file.sync_all()?,
                // sled has removed it already.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            greatest = greatest.max(number.unwrap_or(greatest));
        }
        if greatest > self.blobs {
            File::open(&folder)?.sync_all()?;
            self.blobs = greatest;
        }
        self.blobs_changed = settled.then_some(changed);
        Ok(())
    }
}

impl Records for SledRecords {
    fn path(&self) -> &Path {
        &self.path
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, SledError> {
        let db = &self.open_now()?.db;
        let found = guarded(|| db.get(key)).map_err(|fault| fault.of(&self.path))?;
        Ok(found.map(|bytes| bytes.to_vec()))
    }

    fn scan(&self, from: &[u8], sink: &mut RawSink<'_>) -> Result<(), SledError> {
        let bounds = (Bound::Included(from), Bound::Unbounded);
        let mut iter = self.open_now()?.db.range::<&[u8], _>(bounds);
        while let Some((key, bytes)) =
            guarded(|| iter.next().transpose()).map_err(|fault| fault.of(&self.path))?
        {
            if !sink(&key, &bytes)? {
                break;
            }
        }
        Ok(())
    }

    fn longest(&self) -> usize {
        let segment = self
            .open
            .as_ref()
            .map_or(SEGMENT_BYTES, |open| open.segment);
        // Of a page, 72 bytes are its own, and of a record some 25 beside its content.
        (segment / 4 - 72) / PAGE_RECORDS - 32
    }

    fn last_below(&self, end: &[u8]) -> Result<Option<Vec<u8>>, SledError> {
        let db = &self.open_now()?.db;
        let found = guarded(|| db.get_lt(end)).map_err(|fault| fault.of(&self.path))?;
        Ok(found.map(|(key, _)| key.to_vec()))
    }

    fn write(&self, changes: Vec<Change>) -> Result<(), SledError> {
        let db = &self.open_now()?.db;
        let written = match <[Change; 1]>::try_from(changes) {
            // A batch costs one write to the disk more than the one record.
            Ok([(key, Some(record))]) => guarded(|| db.insert(key, record).map(drop)),
            Ok([(key, None)]) => guarded(|| db.remove(key).map(drop)),
            // One batch on one tree is atomic.
            Err(changes) => {
                let mut batch = sled::Batch::default();
                for (key, record) in changes {
                    match record {
                        Some(record) => batch.insert(key, record),
                        None => batch.remove(key),
                    }
                }
                guarded(|| db.apply_batch(batch))
            }
        };
        written.map_err(|fault| self.write_error(fault.reason))
    }

    fn release(&mut self) -> Result<(), SledError> {
        self.open = None;
        *self = Self::open(&self.path)?;
        Ok(())
    }

    /// Flush, then sync of the data file: sled's flush alone leaves the data to the kernel.
    fn sync(&mut self) -> Result<(), SledError> {
        self.sync_blobs()
            .map_err(|error| self.write_error(error.to_string()))?;
        let Open { db, data, .. } = self.open_now()?;
        guarded(|| db.flush()).map_err(|fault| self.write_error(fault.reason))?;
        let synced = data.sync_data();
        synced.map_err(|error| self.write_error(error.to_string()))
    }
}

/// The length of a segment with which the store was made: one of an earlier version keeps its own.
fn segment_of(path: &Path) -> usize {
    let conf = fs::read(path.join("conf")).unwrap_or_default();
    let text = String::from_utf8_lossy(&conf);
    let written = text
        .lines()
        .find_map(|line| line.strip_prefix("segment_size: ")?.parse().ok());
    // A shorter one than sled's own default was never written; sled refuses what does not fit its file.
    written
        .filter(|len: &usize| *len >= 512 << 10)
        .unwrap_or(SEGMENT_BYTES)
}

/// Whether a file of this name is a snapshot that sled has not finished.
fn is_unfinished(name: &str) -> bool {
    name.starts_with("snap.") && name.ends_with(".generating")
}

/// Removes snapshots that sled began while it opened the store and did not finish, as on a full disk: it would read them at
/// the next opening as if they were whole, and take the store for damaged. What a snapshot says is in the log, from the one
/// before on: sled recovers from that however old it is. Held meanwhile: sled's own lock, so that nobody is writing one.
fn remove_unfinished(path: &Path) -> Result<(), SledError> {
    let failed = |error| io_error(path, error);
    let held = match File::open(path.join("db")) {
        Ok(held) => held,
        // Nothing was ever written.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    let _held = FileLock::take(held).map_err(|error| match error {
        TryLockError::WouldBlock => SledError::InUse(path.to_owned()),
        TryLockError::Error(error) => failed(error),
    })?;
    for file in fs::read_dir(path).map_err(failed)? {
        let file = file.map_err(failed)?;
        if file.file_name().to_str().is_some_and(is_unfinished) {
            fs::remove_file(file.path()).map_err(failed)?;
            tracing::warn!(file = %file.path().display(), "an unfinished snapshot of the store was removed: an earlier opening was cut off, as by a full disk");
        }
    }
    Ok(())
}

/// Opens in a thread of its own: sled may panic on a damaged store.
fn open_guarded(path: &Path) -> Result<Open, SledError> {
    remove_unfinished(path)?;
    let opened = open_sled(path);
    if let Err(SledError::Io { .. } | SledError::Broken { .. }) = &opened {
        // Programs of earlier versions do not know them. The error that is told is the first one.
        let _ = remove_unfinished(path);
    }
    opened
}

fn open_sled(path: &Path) -> Result<Open, SledError> {
    let segment = segment_of(path);
    let folder = path.to_owned();
    let opened = thread::spawn(move || {
        guarded(|| {
            sled::Config::new()
                .path(&folder)
                .segment_size(segment)
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
    let failed = |error| io_error(path, error);
    // sled renames a snapshot and never syncs the folder.
    let synced = File::open(path).and_then(|folder| folder.sync_all());
    synced.map_err(failed)?;
    let data = File::open(path.join("db")).map_err(failed)?;
    Ok(Open { db, data, segment })
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

/// Kinds of errors that come of writing only, whatever made them up.
const fn is_refusal(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{
        FileTooLarge, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull, WriteZero,
    };
    matches!(
        kind,
        FileTooLarge
            | PermissionDenied
            | QuotaExceeded
            | ReadOnlyFilesystem
            | StorageFull
            | WriteZero
    )
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
                    if error.raw_os_error().is_some()
                        || is_refusal(error.kind())
                        || is_of_the_system(&reason) =>
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
        // No space, in each form in which sled hands it on: as it came, kept for later askers, without its number, in a panic.
        let full = || sled::Error::Io(io::Error::from_raw_os_error(28));
        let zero = sled::Error::Io(io::Error::new(io::ErrorKind::WriteZero, "nothing"));
        let nameless = sled::Error::Io(io::Error::new(io::ErrorKind::StorageFull, "no space"));
        for error in [full(), full().clone(), zero, nameless] {
            let error = fails(error);
            assert!(matches!(error, SledError::Io { .. }), "{error}");
            assert!(!error.is_damage());
        }
        let panics = || -> sled::Result<()> { panic!("unwrap on an Err value: {:?}", full()) };
        let panicked = guarded(panics).unwrap_err().of(path);
        assert!(!panicked.is_damage(), "{panicked}");
        let torn = sled::Error::Io(io::Error::new(io::ErrorKind::UnexpectedEof, "short"));
        assert!(fails(torn).is_damage());
        let later = sled::Error::Unsupported("version 2".to_owned());
        assert!(!fails(later).is_damage());
    }
}
