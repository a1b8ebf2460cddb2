//! sled behind the port [`Records`]. No other file names it, but the error for what it reports.

use crate::limits::{OPEN_LOCK_WAIT_MS, SLED_CACHE_BYTES, SLED_FLUSH_EVERY_MS};
use crate::store_error::{SledError, io_error};
use std::fs::{self, File};
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

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

    /// Makes all changes, or none if the machine fails meanwhile. They are durable with the next [`Records::sync`];
    /// a crash before it takes away the last batches, never one with a later one left.
    fn write(&self, batch: Vec<Change>) -> Result<(), SledError>;

    /// Makes durable what was written.
    fn sync(&mut self) -> Result<(), SledError>;
}

/// A sled database in a folder.
#[derive(Debug)]
pub(crate) struct SledRecords {
    path: PathBuf,
    db: sled::Db,
    /// sled's data file, to be synced behind each flush, which alone does not reach stable storage.
    data: File,
    /// The greatest number of a file beside the log that is synced.
    blobs: i64,
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
                other => return other,
            }
        }
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
        Ok(())
    }
}

impl Records for SledRecords {
    fn path(&self) -> &Path {
        &self.path
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, SledError> {
        let found = guarded(|| self.db.get(key)).map_err(|fault| fault.of(&self.path))?;
        Ok(found.map(|bytes| bytes.to_vec()))
    }

    fn scan(&self, from: &[u8], sink: &mut RawSink<'_>) -> Result<(), SledError> {
        let bounds = (Bound::Included(from), Bound::Unbounded);
        let mut iter = self.db.range::<&[u8], _>(bounds);
        while let Some((key, bytes)) =
            guarded(|| iter.next().transpose()).map_err(|fault| fault.of(&self.path))?
        {
            if !sink(&key, &bytes)? {
                break;
            }
        }
        Ok(())
    }

    fn last_below(&self, end: &[u8]) -> Result<Option<Vec<u8>>, SledError> {
        let found = guarded(|| self.db.get_lt(end)).map_err(|fault| fault.of(&self.path))?;
        Ok(found.map(|(key, _)| key.to_vec()))
    }

    fn write(&self, changes: Vec<Change>) -> Result<(), SledError> {
        // One batch on one tree is atomic.
        let mut batch = sled::Batch::default();
        for (key, record) in changes {
            match record {
                Some(record) => batch.insert(key, record),
                None => batch.remove(key),
            }
        }
        guarded(|| self.db.apply_batch(batch)).map_err(|fault| self.write_error(fault.reason))
    }

    /// Flush, then sync of the data file: sled's flush alone leaves the data to the kernel.
    fn sync(&mut self) -> Result<(), SledError> {
        self.sync_blobs()
            .map_err(|error| self.write_error(error.to_string()))?;
        guarded(|| self.db.flush()).map_err(|fault| self.write_error(fault.reason))?;
        let synced = self.data.sync_data();
        synced.map_err(|error| self.write_error(error.to_string()))
    }
}

/// Opens in a thread of its own: sled may panic on a damaged store.
fn open_guarded(path: &Path) -> Result<SledRecords, SledError> {
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
    Ok(SledRecords {
        path: path.to_owned(),
        db,
        data,
        blobs: -1,
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
