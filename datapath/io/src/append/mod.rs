//! Append writer of one file: writes and syncs go out without waiting, completions come back by token.

mod progress;
mod ring;
mod worker;

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use bytes::Bytes;

pub use ring::available;

/// One finished write or sync.
#[derive(Debug)]
pub struct Completion {
    /// As given at submission.
    pub token: u64,
    /// Whether all of it was done.
    pub result: Result<(), AppendError>,
}

/// Why a write or sync was not done, or not taken.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The filesystem is full: a part of the write may be in the file. The writer stays usable.
    #[error("no space left for the log: {0}")]
    NoSpace(#[source] io::Error),
    /// The file failed: what is in it is not known. Every later write and sync fails with `Poisoned`.
    #[error("log file failed: {0}")]
    Failed(#[source] io::Error),
    /// An earlier failure makes all further ones void; the file must be opened and recovered anew.
    #[error("log file has failed before")]
    Poisoned,
    /// Too many are under way; nothing was taken. Wait for a completion.
    #[error("too many log operations are under way")]
    Busy,
}

impl AppendError {
    /// The verdict on an error of the system.
    fn of(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace(error),
            _ => Self::Failed(error),
        }
    }
}

/// Writer of one file. Used by one thread at a time.
///
/// Dropping it waits for what is under way.
pub trait AppendFile: Send + std::fmt::Debug {
    /// Starts to write `parts` one behind the other at file offset `offset`; they are kept until done.
    /// A short write is continued; the completion says that all is written, or why not.
    ///
    /// # Errors
    /// [`AppendError::Busy`] or [`AppendError::Poisoned`]; nothing was started, no completion comes.
    fn submit_write(
        &mut self,
        token: u64,
        offset: u64,
        parts: Vec<Bytes>,
    ) -> Result<(), AppendError>;

    /// Starts to make stable all writes whose completions were handed out before this call.
    ///
    /// # Errors
    /// As for writes. A failed sync is reported once and poisons the file: the system may have dropped
    /// the bytes and would call the next sync good.
    fn submit_sync(&mut self, token: u64) -> Result<(), AppendError>;

    /// Appends to `out` what is done, waiting up to `timeout` for the first one.
    ///
    /// # Errors
    /// An error of the waiting itself; what is under way stays under way.
    fn poll_completions(&mut self, timeout: Duration, out: &mut Vec<Completion>) -> io::Result<()>;

    /// How many are under way.
    fn in_flight(&self) -> usize;

    /// A descriptor that is readable when completions wait, for event loops. Poll once after submitting,
    /// too: what needs no work is complete at once and makes nothing readable.
    fn ready_fd(&self) -> BorrowedFd<'_>;

    /// Which twin this is.
    fn backend(&self) -> Backend;
}

/// The two implementations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// io_uring, no thread of its own.
    Ring,
    /// A thread with plain system calls.
    Worker,
}

/// Opens a writer on `file` with the best backend of this machine.
///
/// # Errors
/// Neither backend could be set up; the file is closed.
pub fn open_append(file: File) -> io::Result<Box<dyn AppendFile>> {
    let backend = if available().is_ok() {
        Backend::Ring
    } else {
        Backend::Worker
    };
    open_append_on(file, backend)
}

/// Opens a writer on `file` with this backend (configuration, tests).
///
/// # Errors
/// The backend could not be set up; the file is closed.
pub fn open_append_on(file: File, backend: Backend) -> io::Result<Box<dyn AppendFile>> {
    Ok(match backend {
        Backend::Ring => Box::new(ring::RingFile::new(file)?),
        Backend::Worker => Box::new(worker::WorkerFile::new(file)?),
    })
}
