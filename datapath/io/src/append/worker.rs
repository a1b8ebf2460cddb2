//! The portable twin: a thread that writes and syncs with plain system calls.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::progress::Progress;
use super::{AppendError, AppendFile, Backend, Completion};
use crate::limits::MAX_IN_FLIGHT;

enum Job {
    Write(u64, Progress),
    Sync(u64),
}

/// Writer with a thread of its own; jobs are done in the order of submission.
#[derive(Debug)]
pub(super) struct WorkerFile {
    jobs: Option<SyncSender<Job>>,
    done: Receiver<(u64, io::Result<()>)>,
    bell: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
    in_flight: usize,
    poisoned: bool,
}

impl WorkerFile {
    pub(super) fn new(file: File) -> io::Result<Self> {
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (jobs, todo) = sync_channel::<Job>(MAX_IN_FLIGHT);
        let (report, done) = sync_channel(MAX_IN_FLIGHT);
        let ring = Arc::clone(&bell);
        let work = move || {
            while let Ok(job) = todo.recv() {
                let (token, result) = match job {
                    Job::Write(token, progress) => (token, write(&file, progress)),
                    Job::Sync(token) => (token, rustix::fs::fdatasync(&file).map_err(Into::into)),
                };
                if report.send((token, result)).is_err() {
                    return;
                }
                // If the counter is full the descriptor is readable already, which is all that matters.
                let _full = rustix::io::write(&*ring, &[1; 8]);
            }
        };
        let thread = std::thread::Builder::new()
            .name("mars-log".into())
            .spawn(work)?;
        let thread = Some(thread);
        Ok(Self {
            jobs: Some(jobs),
            done,
            bell,
            thread,
            in_flight: 0,
            poisoned: false,
        })
    }

    fn submit(&mut self, job: Job) -> Result<(), AppendError> {
        if self.poisoned {
            return Err(AppendError::Poisoned);
        }
        if self.in_flight >= MAX_IN_FLIGHT {
            return Err(AppendError::Busy);
        }
        let sent = self.jobs.as_ref().and_then(|jobs| jobs.try_send(job).ok());
        self.in_flight += usize::from(sent.is_some());
        sent.ok_or(AppendError::Busy)
    }
}

fn write(file: &File, mut progress: Progress) -> io::Result<()> {
    while !progress.is_done() {
        let buffers: Vec<_> = progress.buffers().map(|part| IoSlice::new(part)).collect();
        match rustix::io::pwritev(file, &buffers, progress.offset) {
            Ok(written) => progress.advance(written)?,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

impl AppendFile for WorkerFile {
    fn submit_write(
        &mut self,
        token: u64,
        offset: u64,
        parts: Vec<Bytes>,
    ) -> Result<(), AppendError> {
        self.submit(Job::Write(token, Progress::new(offset, parts)))
    }

    fn submit_sync(&mut self, token: u64) -> Result<(), AppendError> {
        self.submit(Job::Sync(token))
    }

    fn poll_completions(&mut self, timeout: Duration, out: &mut Vec<Completion>) -> io::Result<()> {
        if self.in_flight == 0 {
            return Ok(());
        }
        let wait = Timespec::try_from(timeout).ok();
        let mut fds = [PollFd::new(&*self.bell, PollFlags::IN)];
        match poll(&mut fds, wait.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        // Quiet the bell first: what is reported after this read rings it again.
        let _quiet = rustix::io::read(&*self.bell, &mut [0; 8]);
        while let Ok((token, result)) = self.done.try_recv() {
            self.in_flight = self.in_flight.saturating_sub(1);
            let result = if self.poisoned {
                Err(AppendError::Poisoned)
            } else {
                result.map_err(AppendError::of)
            };
            self.poisoned |= matches!(result, Err(AppendError::Failed(_)));
            out.push(Completion { token, result });
        }
        Ok(())
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn ready_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    fn backend(&self) -> Backend {
        Backend::Worker
    }
}

impl Drop for WorkerFile {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the worker has been reported by its own thread.
            drop(thread.join());
        }
    }
}
