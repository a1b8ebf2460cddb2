//! The threads that do a primary's blocking IO: log appends, log syncs, disk writes.
//!
//! Each takes jobs from a bounded queue that its driver never overfills, because the logger bounds what is
//! under way, and answers with an event.

use super::driver::Event;
use super::storage::Disk;
use crate::limits::JOB_QUEUE_LEN;
use bytes::Bytes;
use mars_datapath_core::LogPos;
use mars_datapath_core::format::file_offset;
use mars_datapath_core::logger::{RequestId, WriteBackToken};
use mars_datapath_core::overlay::Content;
use mars_datapath_io::{AppendError, AppendFile, Backend, open_append, open_append_on};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;
use tokio::sync::mpsc;

/// Longest wait for a completion of the log before new jobs are looked for.
const POLL_TIMEOUT: Duration = Duration::from_millis(100);

/// A finished job.
#[derive(Debug)]
pub(crate) enum Done {
    /// A batch reached its file completely, or not.
    Appended {
        end: LogPos,
        result: Result<(), AppendError>,
    },
    /// The log is on stable storage below `upto`, or not.
    Synced {
        upto: LogPos,
        result: io::Result<()>,
    },
    /// A write-back reached the disk, or not.
    WrittenBack {
        token: WriteBackToken,
        result: io::Result<()>,
    },
    /// A write past the log reached the disk, or not.
    PassedThrough {
        id: RequestId,
        result: io::Result<()>,
    },
    /// The disk was flushed, or not.
    DiskFlushed { result: io::Result<()> },
}

/// A job of the append thread.
pub(crate) enum AppendJob {
    /// Append to this file from now on, with plain system calls if so wished. Opened by the thread that uses it.
    Open { file: File, without_io_uring: bool },
    /// Write `parts` one behind the other at log position `position`.
    Append {
        end: LogPos,
        position: u64,
        parts: Vec<Bytes>,
    },
}

/// A job of the sync thread.
pub(crate) struct SyncJob {
    /// The file to sync.
    pub(crate) file: Arc<File>,
    /// What the answer names.
    pub(crate) upto: LogPos,
}

/// A job of the disk thread.
pub(crate) enum DiskJob {
    /// Write back.
    WriteBack {
        token: WriteBackToken,
        offset: u64,
        content: Content,
    },
    /// Write past the log.
    PassThrough {
        id: RequestId,
        offset: u64,
        content: Content,
    },
    /// Flush.
    Flush,
}

/// The three threads of a primary; they end when this is dropped.
pub(crate) struct Workers {
    append: SyncSender<AppendJob>,
    sync: SyncSender<SyncJob>,
    disk: SyncSender<DiskJob>,
}

/// A worker's queue is full or its thread is gone; the job was not taken.
#[derive(Debug, thiserror::Error)]
#[error("the {0} worker does not take jobs any more")]
pub(crate) struct WorkerGone(&'static str);

impl Workers {
    /// Starts the threads for resource `name`.
    pub(crate) fn start(
        name: &str,
        disk: Arc<Disk>,
        events: &mpsc::Sender<Event>,
    ) -> io::Result<Self> {
        let (append, append_jobs) = sync_channel(JOB_QUEUE_LEN);
        let (sync, sync_jobs) = sync_channel(JOB_QUEUE_LEN);
        let (disk_tx, disk_jobs) = sync_channel(JOB_QUEUE_LEN);
        let out = events.clone();
        spawn(format!("log-{name}"), move || {
            append_loop(&append_jobs, &out);
        })?;
        let out = events.clone();
        spawn(format!("sync-{name}"), move || sync_loop(&sync_jobs, &out))?;
        let out = events.clone();
        spawn(format!("disk-{name}"), move || {
            disk_loop(&disk_jobs, &disk, &out);
        })?;
        Ok(Self {
            append,
            sync,
            disk: disk_tx,
        })
    }

    /// Hands over a job of the append thread.
    pub(crate) fn append(&self, job: AppendJob) -> Result<(), WorkerGone> {
        hand(&self.append, job, "log")
    }

    /// Hands over a job of the sync thread.
    pub(crate) fn sync(&self, job: SyncJob) -> Result<(), WorkerGone> {
        hand(&self.sync, job, "log sync")
    }

    /// Hands over a job of the disk thread.
    pub(crate) fn disk(&self, job: DiskJob) -> Result<(), WorkerGone> {
        hand(&self.disk, job, "disk")
    }
}

fn hand<T>(queue: &SyncSender<T>, job: T, what: &'static str) -> Result<(), WorkerGone> {
    queue.try_send(job).map_err(|error| match error {
        TrySendError::Full(_) | TrySendError::Disconnected(_) => WorkerGone(what),
    })
}

/// Starts a thread with a name that fits the kernel's limit of 15 bytes when it can.
pub(crate) fn spawn(name: String, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new()
        .name(name)
        .spawn(work)
        .map(|_| ())
}

fn append_loop(jobs: &Receiver<AppendJob>, events: &mpsc::Sender<Event>) {
    let mut log = AppendLoop {
        events,
        file: None,
        ends: BTreeMap::new(),
        next_token: 0,
    };
    loop {
        // Take everything that waits, so that it goes to the kernel together; block only when nothing is under way.
        let first = if log.ends.is_empty() {
            jobs.recv().ok()
        } else {
            jobs.try_recv().ok()
        };
        if first.is_none() && log.ends.is_empty() {
            return;
        }
        let waiting = first
            .into_iter()
            .chain(std::iter::from_fn(|| jobs.try_recv().ok()));
        let taken = waiting
            .take(JOB_QUEUE_LEN)
            .try_for_each(|job| log.take(job));
        if taken.and_then(|()| log.complete()).is_err() {
            return;
        }
    }
}

/// The driver is gone.
struct Gone;

struct AppendLoop<'a> {
    events: &'a mpsc::Sender<Event>,
    file: Option<io::Result<Box<dyn AppendFile>>>,
    ends: BTreeMap<u64, LogPos>,
    next_token: u64,
}

impl AppendLoop<'_> {
    fn tell(&self, end: LogPos, result: Result<(), AppendError>) -> Result<(), Gone> {
        let event = Event::Worker(Done::Appended { end, result });
        self.events.blocking_send(event).map_err(|_| Gone)
    }

    fn take(&mut self, job: AppendJob) -> Result<(), Gone> {
        match job {
            AppendJob::Open {
                file,
                without_io_uring: true,
            } => {
                self.file = Some(open_append_on(file, Backend::Worker));
                Ok(())
            }
            AppendJob::Open {
                file,
                without_io_uring: false,
            } => {
                self.file = Some(open_append(file));
                Ok(())
            }
            AppendJob::Append {
                end,
                position,
                parts,
            } => {
                self.next_token += 1;
                let submitted = match &mut self.file {
                    Some(Ok(file)) => {
                        file.submit_write(self.next_token, file_offset(position), parts)
                    }
                    Some(Err(error)) => {
                        let error = io::Error::new(error.kind(), error.to_string());
                        Err(AppendError::Failed(error))
                    }
                    None => Err(AppendError::Failed(io::Error::other(
                        "no log segment is open",
                    ))),
                };
                match submitted {
                    Ok(()) => {
                        self.ends.insert(self.next_token, end);
                        Ok(())
                    }
                    Err(error) => self.tell(end, Err(error)),
                }
            }
        }
    }

    /// Waits for the next completions and passes them on.
    fn complete(&mut self) -> Result<(), Gone> {
        let Some(Ok(file)) = self.file.as_mut().filter(|_| !self.ends.is_empty()) else {
            return Ok(());
        };
        let mut out = Vec::new();
        let waited = file.poll_completions(POLL_TIMEOUT, &mut out);
        for completion in out {
            if let Some(end) = self.ends.remove(&completion.token) {
                self.tell(end, completion.result)?;
            }
        }
        if let Err(error) = waited {
            for (_, end) in std::mem::take(&mut self.ends) {
                let error = io::Error::new(error.kind(), error.to_string());
                self.tell(end, Err(AppendError::Failed(error)))?;
            }
        }
        Ok(())
    }
}

fn sync_loop(jobs: &Receiver<SyncJob>, events: &mpsc::Sender<Event>) {
    while let Ok(SyncJob { file, upto }) = jobs.recv() {
        let done = Done::Synced {
            upto,
            result: file.sync_data(),
        };
        if events.blocking_send(Event::Worker(done)).is_err() {
            return;
        }
    }
}

fn disk_loop(jobs: &Receiver<DiskJob>, disk: &Disk, events: &mpsc::Sender<Event>) {
    while let Ok(job) = jobs.recv() {
        let done = match job {
            DiskJob::WriteBack {
                token,
                offset,
                content,
            } => Done::WrittenBack {
                token,
                result: disk.write(offset, &content),
            },
            DiskJob::PassThrough {
                id,
                offset,
                content,
            } => Done::PassedThrough {
                id,
                result: disk.write(offset, &content),
            },
            DiskJob::Flush => Done::DiskFlushed {
                result: disk.flush(),
            },
        };
        if events.blocking_send(Event::Worker(done)).is_err() {
            return;
        }
    }
}
